// From how many places of memory at once a core reads fastest, where a kernel has the choice.
#ifndef BITNET_BACKEND_SIMD_STREAMS_H_
#define BITNET_BACKEND_SIMD_STREAMS_H_

#include "bitnet/backend/simd/targets.h"

namespace bitnet {

// Whether few long streams beat many: AMD's cores follow one to the memory's speed, Intel's need four to eight.
// (6912 x 2560 from memory, one thread, share of the read bandwidth: docs/kernels.md.)
inline bool ReadsFewStreamsBest() {
#if HWY_ARCH_X86 && (defined(__GNUC__) || defined(__clang__))
  static const bool is_amd = [] {
    __builtin_cpu_init();
    return __builtin_cpu_is("amd") != 0;
  }();
  return is_amd;
#else
  return false;
#endif
}

}  // namespace bitnet

#endif  // BITNET_BACKEND_SIMD_STREAMS_H_
