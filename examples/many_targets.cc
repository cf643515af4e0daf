// One program for many CPUs: the same product compiled for every SIMD target, the best one chosen when it runs. Nothing
// is linked for it. Compile without -march; the folder of this file must be among the include folders (-I), because the
// file includes itself.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "many_targets.cc"
// clang-format off: targets.h configures Highway, then foreach_target.h includes this file once for each target
#include <bitnet/backend/simd/targets.h>
#include <hwy/foreach_target.h>
// clang-format on
#include <bitnet/backend/simd/simd_backend-inl.h>

// What is compiled for each target. The functions that call SimdBackend live in the target's namespace; plain C++ like
// this needs no more (own kernels would stand between HWY_BEFORE_NAMESPACE and HWY_AFTER_NAMESPACE).
namespace many_targets::HWY_NAMESPACE {

// y = Q(x) Q(w)^T with ternary weights and 4-bit inputs.
inline void Project(bitnet::MatrixView<const float> w, bitnet::MatrixView<const float> x, bitnet::MatrixView<float> y) {
  const bitnet::HWY_NAMESPACE::SimdBackend backend;
  const auto weights = bitnet::QuantizedMatrix<bitnet::Ternary>::From<bitnet::A48::Weight>(w);
  const auto matrix = backend.Prepare<bitnet::Int<4>>(weights, bitnet::Access::kDense);
  bitnet::QuantizedTokens<bitnet::Int<4>> tokens;
  backend.Quantize<bitnet::A48::Input>(x, tokens);
  backend.MatMul(matrix, tokens, y);
}

}  // namespace many_targets::HWY_NAMESPACE

#if HWY_ONCE  // the last pass: what exists once

#include <bitnet/backend/simd/cpu.h>

#include <bit>
#include <cstdint>
#include <cstdio>
#include <vector>

namespace many_targets {

struct Target {
  int64_t bit;  // smaller is better
  const char* name;
  void (*project)(bitnet::MatrixView<const float>, bitnet::MatrixView<const float>, bitnet::MatrixView<float>);
};

// A line for each target that this program was compiled for, from the best on.
constexpr Target kTargets[] = {
#if HWY_TARGETS & HWY_AVX3_SPR
    {HWY_AVX3_SPR, "AVX-512 of Sapphire Rapids", &N_AVX3_SPR::Project},
#endif
#if HWY_TARGETS & HWY_AVX3_ZEN4
    {HWY_AVX3_ZEN4, "AVX-512 of Zen 4", &N_AVX3_ZEN4::Project},
#endif
#if HWY_TARGETS & HWY_AVX3_DL
    {HWY_AVX3_DL, "AVX-512 with VNNI", &N_AVX3_DL::Project},
#endif
#if HWY_TARGETS & HWY_AVX3
    {HWY_AVX3, "AVX-512", &N_AVX3::Project},
#endif
#if HWY_TARGETS & HWY_AVX2
    {HWY_AVX2, "AVX2", &N_AVX2::Project},
#endif
#if HWY_TARGETS & HWY_SSE4
    {HWY_SSE4, "SSE4", &N_SSE4::Project},
#endif
#if HWY_TARGETS & HWY_SSSE3
    {HWY_SSSE3, "SSSE3", &N_SSSE3::Project},
#endif
    {HWY_STATIC_TARGET, "the compiler's default", &HWY_NAMESPACE::Project},
};

// FNV-1a of the bits.
uint64_t Checksum(const std::vector<float>& y) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const float v : y) hash = (hash ^ std::bit_cast<uint32_t>(v)) * 0x100000001b3u;
  return hash;
}

}  // namespace many_targets

int main() {
  constexpr size_t kRows = 200, kCols = 300, kTokens = 3;
  std::vector<float> w(kRows * kCols), x(kTokens * kCols);
  for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(i * i % 23) - 11.0f;
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * i % 31) / 8.0f - 2.0f;

  const int64_t supported = bitnet::SupportedTargets();
  const char* best = nullptr;
  uint64_t first_checksum = 0;
  for (const many_targets::Target& target : many_targets::kTargets) {
    if ((supported & target.bit) == 0) {
      std::printf("%-28s not on this CPU\n", target.name);
      continue;
    }
    std::vector<float> y(kTokens * kRows);
    target.project({w.data(), kRows, kCols}, {x.data(), kTokens, kCols}, {y.data(), kTokens, kRows});
    const uint64_t checksum = many_targets::Checksum(y);
    std::printf("%-28s checksum %016llx\n", target.name, static_cast<unsigned long long>(checksum));
    if (best == nullptr) {
      best = target.name;
      first_checksum = checksum;
    }
    if (checksum != first_checksum) {
      std::printf("The results differ: a bug.\n");
      return 1;
    }
  }
  std::printf("The best target of this CPU is: %s\n", best);
  return 0;
}

#endif  // HWY_ONCE
