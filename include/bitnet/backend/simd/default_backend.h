// DefaultBackend is SimdBackend.
#include "bitnet/backend/default_backend.h"
#include "bitnet/backend/simd/simd_backend.h"

// Not under the guard of the first inclusion: with foreach_target that is another target's.
#if HWY_ONCE
#ifndef BITNET_BACKEND_SIMD_DEFAULT_BACKEND_H_
#define BITNET_BACKEND_SIMD_DEFAULT_BACKEND_H_

namespace bitnet {

template <class>
struct DefaultBackendFor {
  using type = SimdBackend;
};

}  // namespace bitnet

#endif  // BITNET_BACKEND_SIMD_DEFAULT_BACKEND_H_
#endif  // HWY_ONCE
