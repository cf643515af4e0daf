// The SIMD targets that a *_targets_test.cc is compiled for; included first. The file is compiled without -march and
// includes itself once for each target (hwy/foreach_target.h):
//
//   #undef HWY_TARGET_INCLUDE
//   #define HWY_TARGET_INCLUDE "backend/this_targets_test.cc"
//   #include "testing/targets.h"
//   #include "hwy/foreach_target.h"
//   #include "bitnet/backend/simd/simd_backend-inl.h"
//
//   namespace bitnet::HWY_NAMESPACE {
//   TEST_CASE("SimdBackend " BITNET_TARGET_NAME ": law") { if (testing::CanRun(HWY_TARGET)) ...; }
//   }
//
// Test cases stand outside HWY_BEFORE_NAMESPACE, so that they themselves run on every CPU.
#ifndef BITNET_TESTS_TESTING_TARGETS_H_
#define BITNET_TESTS_TESTING_TARGETS_H_

#ifdef HWY_TARGETS
#error "testing/targets.h chooses Highway's targets: include it before every Highway header"
#endif

// All that the compiler can make: the emulated target and those below the baseline too. (With -march=native, where the
// emulated target would be compiled for the native CPU: only better ones than the baseline.)
#define HWY_COMPILE_ALL_ATTAINABLE
#define HWY_WANT_AVX3_DL
// AVX3_ZEN4 and AVX3_SPR use the same instructions as AVX3_DL in our kernels: they would cost compile time only. The
// others: see simd/targets.h. On 32-bit x86, which stands for all machines of 32 bits, one target with a shuffle of
// bytes and one without are enough. (Highway has AVX2 there with g++ 13 and newer.)
#if defined(__i386__)
#define BITNET_NOT_ON_32_BITS (HWY_AVX2 | HWY_SSSE3 | HWY_EMU128)
#else
#define BITNET_NOT_ON_32_BITS 0
#endif
// What takes long to compile is tested for fewer targets, by a definition before: BITNET_FEW_TARGETS, those of
// ExtentOf's kAll; BITNET_NO_EMULATED_TARGET, all but the emulated one, whose every operation is a loop to compile.
#if defined(BITNET_FEW_TARGETS) && defined(__x86_64__)
#define BITNET_NOT_OF_FEW (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3 | HWY_EMU128)
#elif defined(BITNET_FEW_TARGETS) || defined(BITNET_NO_EMULATED_TARGET)
#define BITNET_NOT_OF_FEW HWY_EMU128
#else
#define BITNET_NOT_OF_FEW 0
#endif
#define HWY_DISABLED_TARGETS                                                                                    \
  (BITNET_NOT_OF_FEW | HWY_SCALAR | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_AVX3_ZEN4 | \
   HWY_AVX3_SPR | HWY_NEON | HWY_NEON_BF16 | BITNET_NOT_ON_32_BITS)

#include <doctest/doctest.h>

#include "bitnet/backend/simd/cpu.h"
#include "bitnet/backend/simd/targets.h"

#if HWY_ARCH_X86_32
static_assert((HWY_TARGETS & HWY_SSE4) != 0 && (HWY_TARGETS & HWY_SSE2) != 0);
#elif HWY_ARCH_X86 && defined(__GNUC__)
static_assert((HWY_TARGETS & HWY_AVX3_DL) != 0 && (HWY_TARGETS & HWY_AVX2) != 0);
#if !defined(BITNET_FEW_TARGETS)
static_assert((HWY_TARGETS & HWY_SSE4) != 0);
#endif
#endif

#define BITNET_TARGET_NAME HWY_STR(HWY_NAMESPACE)

namespace bitnet::testing {

inline bool CanRun(int64_t target) {
  const bool can = (SupportedTargets() & target) != 0;
  if (!can) MESSAGE("not tested: this CPU lacks the target's instructions");
  return can;
}

// How much a target is tested. All of it for all of them would compile for many minutes; kSome has one case for each
// way in which operands are held.
enum class Extent { kSome, kAll };
constexpr Extent ExtentOf(int64_t target) {
  if (target == HWY_EMU128) return Extent::kSome;
  return target == HWY_AVX2 || target == HWY_AVX3_DL || target > HWY_SSE2 ? Extent::kAll : Extent::kSome;
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_TARGETS_H_
