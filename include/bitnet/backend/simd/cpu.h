// SupportedTargets(): which of Highway's targets the CPU that the program runs on can execute, without libhwy. For
// programs that compile kernels for several targets and choose at run time (examples/many_targets.cc).
#ifndef BITNET_BACKEND_SIMD_CPU_H_
#define BITNET_BACKEND_SIMD_CPU_H_

#include <cstdint>

#include "bitnet/backend/simd/targets.h"

namespace bitnet {

// A set of HWY_<target> bits, among them always that of the emulated target and those that the program was compiled
// for. A smaller bit is a better target. Other CPUs than x86 report no more than what the program was compiled for.
inline int64_t SupportedTargets() {
  int64_t targets = HWY_EMU128 | HWY_BASELINE_TARGETS;
#if HWY_ARCH_X86 && (defined(__GNUC__) || defined(__clang__))
  __builtin_cpu_init();
  // Each group is what Highway's functions for the target may use (HWY_TARGET_STR in hwy/ops/set_macros-inl.h).
  bool has = __builtin_cpu_supports("sse2");
  const auto add_if = [&](bool supported, int64_t target) {
    has = has && supported;
    if (has) targets |= target;
  };
  add_if(true, HWY_SSE2);
  add_if(__builtin_cpu_supports("ssse3"), HWY_SSSE3);
#ifdef HWY_DISABLE_PCLMUL_AES
  add_if(__builtin_cpu_supports("sse4.1") && __builtin_cpu_supports("sse4.2"), HWY_SSE4);
#else
  add_if(__builtin_cpu_supports("sse4.1") && __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("aes") &&
             __builtin_cpu_supports("pclmul"),
         HWY_SSE4);
#endif
  // All CPUs with these have F16C too.
  add_if(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
             __builtin_cpu_supports("bmi2"),
         HWY_AVX2);
  add_if(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512bw"),
         HWY_AVX3);
  add_if(__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi") &&
             __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vpopcntdq") &&
             __builtin_cpu_supports("avx512bitalg") && __builtin_cpu_supports("vpclmulqdq") &&
             __builtin_cpu_supports("gfni"),
         HWY_AVX3_DL);
  // HWY_AVX3_ZEN4 runs on Intel CPUs too, but is tuned for AMD's.
  add_if(__builtin_cpu_supports("avx512bf16"), __builtin_cpu_is("amd") ? HWY_AVX3_ZEN4 : 0);
#if HWY_COMPILER_GCC_ACTUAL
  // Clang learns this name with version 16 or so.
  add_if(__builtin_cpu_supports("avx512fp16"), HWY_AVX3_SPR);
#endif
#endif
  return targets;
}

}  // namespace bitnet

#endif  // BITNET_BACKEND_SIMD_CPU_H_
