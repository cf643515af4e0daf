// From how many places of memory at once a core reads fastest, where a kernel has the choice.
#ifndef BITNET_BACKEND_SIMD_STREAMS_H_
#define BITNET_BACKEND_SIMD_STREAMS_H_

#include <cstdlib>
#include <cstring>

#include "bitnet/backend/simd/targets.h"

namespace bitnet {

// Whether few long streams beat many short ones: on AMD's cores, as measured on Zen 5; Intel's, as measured on Sapphire
// Rapids, want four to eight (docs/kernels.md, "Memory"). BITNET_STREAMS=few or many in the
// environment decides otherwise. Results are the same.
inline bool ReadsFewStreamsBest() {
  static const bool few = [] {
    const char* wanted = std::getenv("BITNET_STREAMS");
    if (wanted != nullptr && std::strcmp(wanted, "few") == 0) return true;
    if (wanted != nullptr && std::strcmp(wanted, "many") == 0) return false;
#if HWY_ARCH_X86 && (defined(__GNUC__) || defined(__clang__))
    __builtin_cpu_init();
    return __builtin_cpu_is("amd") != 0;
#else
    return false;
#endif
  }();
  return few;
}

}  // namespace bitnet

#endif  // BITNET_BACKEND_SIMD_STREAMS_H_
