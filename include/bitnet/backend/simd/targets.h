// Highway's configuration for this library, in one place. Included before every Highway header; a file that uses
// hwy/foreach_target.h includes this one first.
//
// We use Highway by its headers alone: static dispatch and operations, none of what needs libhwy (HWY_ASSERT,
// aligned_allocator, ThreadPool, timers, dynamic dispatch).
#ifndef BITNET_BACKEND_SIMD_TARGETS_H_
#define BITNET_BACKEND_SIMD_TARGETS_H_

// From Highway 1.3 on: promises that nothing will be linked.
#ifndef HWY_HEADER_ONLY
#define HWY_HEADER_ONLY
#endif

// Debug builds would reference hwy::Abort from inside some operations, which is in libhwy.
#ifndef HWY_IS_DEBUG_BUILD
#define HWY_IS_DEBUG_BUILD 0
#endif

// Where no SIMD is known, compilers before g++ 14 would get HWY_SCALAR, whose vectors of one lane have no byte shuffles
// or widening products. EMU128 has all operations; the compiler bug for which Highway avoids it (GCC 106322)
// miscompiles none of ours: tests/backend/*_targets_test.cc run on EMU128 too.
#ifndef HWY_BROKEN_EMU128
#define HWY_BROKEN_EMU128 0
#endif

// HWY_SCALAR: see above. The scalable targets: our kernels hold vectors in arrays, whose size must be known when they
// are compiled. Arm CPUs with SVE run NEON instead, RISC-V runs EMU128. Highway's three kinds of NEON differ by AES and
// bfloat16, which we do not use: the one that the compiler's flags give is enough. And in a file that is compiled for
// many targets, AVX3_ZEN4 and AVX3_SPR, which use the same instructions as AVX3_DL in our kernels (AMX is found at run
// time) and would cost compile time only; Highway has AVX3_DL for those who ask.
#ifndef HWY_DISABLED_TARGETS
#ifdef HWY_TARGET_INCLUDE
#ifndef HWY_WANT_AVX3_DL
#define HWY_WANT_AVX3_DL
#endif
#define BITNET_OTHER_AVX3 (HWY_AVX3_ZEN4 | HWY_AVX3_SPR)
#else
#define BITNET_OTHER_AVX3 0
#endif
#if defined(__aarch64__) && defined(__ARM_FEATURE_AES)
#define BITNET_OTHER_NEON HWY_NEON_BF16
#else
#define BITNET_OTHER_NEON (HWY_NEON | HWY_NEON_BF16)
#endif
#define HWY_DISABLED_TARGETS \
  (HWY_SCALAR | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | BITNET_OTHER_NEON | BITNET_OTHER_AVX3)
#endif

// Highway takes SSE4, AVX2 and AVX-512 to include AES and PCLMUL, which -march=x86-64-v2, -v3 and -v4 leave out: they
// would get SSSE3, silently. We use neither instruction, so they need not be there.
#if defined(__SSE4_2__) && !(defined(__AES__) && defined(__PCLMUL__)) && !defined(HWY_DISABLE_PCLMUL_AES)
#define HWY_DISABLE_PCLMUL_AES
#endif

#include <hwy/base.h>
#include <hwy/detect_targets.h>

#if HWY_MAJOR < 1 || (HWY_MAJOR == 1 && HWY_MINOR < 2)
#error "bitnet: Highway 1.2 or newer is needed; Debian 12's libhwy-dev is 1.0.3"
#endif

// Smaller target numbers are better targets.
#if defined(__AVX2__) && HWY_STATIC_TARGET > HWY_AVX2 && !defined(HWY_COMPILE_ONLY_EMU128) && \
    !defined(BITNET_ALLOW_WEAK_TARGET)
#warning \
    "bitnet: AVX2 is enabled but the kernels will use SSE: also give -mfma -mbmi2 -mf16c (and -maes -mpclmul if a Highway header came before), or -march=x86-64-v3; define BITNET_ALLOW_WEAK_TARGET to accept it"
#elif defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && HWY_STATIC_TARGET > HWY_AVX3 && \
    !defined(HWY_COMPILE_ONLY_EMU128) && !defined(BITNET_ALLOW_WEAK_TARGET)
#warning "bitnet: AVX-512 is enabled but the kernels will not use it; define BITNET_ALLOW_WEAK_TARGET to accept it"
#endif

#endif  // BITNET_BACKEND_SIMD_TARGETS_H_
