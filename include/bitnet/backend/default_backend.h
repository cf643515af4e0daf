// DefaultBackend<...>: the backend that layers use where none is named: SimdBackend for the instruction set that this
// translation unit is compiled for.
//
// A template (of anything), so that it is looked up where a layer is used: in a file that compiles itself for several
// targets (hwy/foreach_target.h) the name must not bind to the first target, which the machine may not have. There it
// means the baseline target, in the last pass.
#ifndef BITNET_BACKEND_DEFAULT_BACKEND_DECLARED_H_
#define BITNET_BACKEND_DEFAULT_BACKEND_DECLARED_H_

namespace bitnet {

template <class>
struct DefaultBackendFor;
template <class T>
using DefaultBackend = typename DefaultBackendFor<T>::type;

}  // namespace bitnet

#endif  // BITNET_BACKEND_DEFAULT_BACKEND_DECLARED_H_

#include "bitnet/backend/simd/simd_backend.h"

#if HWY_ONCE
#ifndef BITNET_BACKEND_DEFAULT_BACKEND_H_
#define BITNET_BACKEND_DEFAULT_BACKEND_H_

namespace bitnet {

template <class>
struct DefaultBackendFor {
  using type = SimdBackend;
};

}  // namespace bitnet

#endif  // BITNET_BACKEND_DEFAULT_BACKEND_H_
#endif  // HWY_ONCE
