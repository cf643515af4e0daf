// SimdBackend: the vector backend for the CPU that this program is compiled for (-march).
//
// The results are ReferenceBackend's, bit for bit. In a file that compiles for several targets (hwy/foreach_target.h)
// the name appears in the last pass only and means the baseline target; such files use HWY_NAMESPACE::SimdBackend.
#include "bitnet/backend/simd/simd_backend-inl.h"

// Not under the guard of the first inclusion: with foreach_target that is another target's.
#if HWY_ONCE
#ifndef BITNET_BACKEND_SIMD_SIMD_BACKEND_H_
#define BITNET_BACKEND_SIMD_SIMD_BACKEND_H_

namespace bitnet {

using SimdBackend = HWY_NAMESPACE::SimdBackend;

}  // namespace bitnet

#endif  // BITNET_BACKEND_SIMD_SIMD_BACKEND_H_
#endif  // HWY_ONCE
