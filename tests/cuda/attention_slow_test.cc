// Attention on a device against the reference: levels, and what stands out.
#include "bitnet/backend/cuda/attention.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "cuda/device_cache.h"
#include "cuda/test_attention.h"
#include "testing/awkward_formats.h"
#include "testing/conformance_attention.h"
#include "testing/simt.h"

namespace bitnet::testing::cuda_attention_slow_test {
namespace {

TEST_CASE("ExpByFloats: the bits of Exp") {
  // (All of them have been compared, in 15 s.)
  size_t differ = 0;
  for (uint32_t bits = 0x80000000u; bits <= 0xc2af0000u; bits += 4799) {
    const auto x = std::bit_cast<float>(bits);
    differ += SameBits(cuda::ExpByFloats(x), Exp(x)) ? 0u : 1u;
  }
  CHECK(differ == 0);
  for (const float x : {0.0f, -0.0f, -87.0f, -86.99999f, -87.00001f, -3e38f, -std::numeric_limits<float>::infinity()}) {
    CHECK(SameBits(cuda::ExpByFloats(x), Exp(x)));
  }
  CHECK(std::isnan(cuda::ExpByFloats(std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("UnitsOf: WeightInUnits") {
  Random random(3);
  size_t differ = 0;
  for (int trial = 0; trial < 100000; ++trial) {
    const auto draw = [&](uint64_t sign) { return std::bit_cast<float>(static_cast<uint32_t>(random() >> 33 | sign)); };
    const float largest = trial % 100 == 0 ? std::numeric_limits<float>::denorm_min() : draw(0);
    const double unit = WeightUnit(largest);
    const cuda::UnitsOf units = cuda::UnitsOf::Unit(unit);
    float weight = std::ldexp(draw(trial % 2 == 0 ? 0 : 0x80000000u), 0);
    if (std::isfinite(largest) && trial % 3 != 0) {
      // Of its size, often a tie.
      weight = static_cast<float>(unit * (0.5 * static_cast<double>(UniformBelow(random, 131072)) - 32768.0));
      if (!(std::fabs(weight) <= largest)) continue;
    } else if (std::isfinite(largest) && !(std::fabs(weight) <= largest)) {
      continue;
    }
    differ += units(weight) == WeightInUnits(weight, unit) ? 0u : 1u;
  }
  CHECK(differ == 0);
  CHECK(cuda::UnitsOf::Unit(0.0)(0.0f) == 0);
  CHECK(cuda::UnitsOf::Unit(std::numeric_limits<double>::quiet_NaN())(1.0f) == 0);
}

TEST_CASE("ScoreOf: one rounding") {
  Random random(4);
  for (int trial = 0; trial < 100000; ++trial) {
    const auto dot = static_cast<int32_t>(static_cast<uint32_t>(random() >> 32)) >> UniformBelow(random, 31);
    const auto factor = std::bit_cast<float>(static_cast<uint32_t>(random() >> 32));
    if (!SameBits(cuda::ScoreOf(dot, factor), static_cast<float>(double(dot) * double(factor)))) FAIL_CHECK(dot);
  }
}

// Heads 2/1 over one sequence, of which `steps(position)` are the steps of key and value; queries have the step 1/4.
template <class Quantizers, class Steps>
void TestSteps(size_t dim, size_t length, Fill fill, const Steps& steps, const std::string& name) {
  HostCache<Quantizers> host(1, dim, length);
  Random random(length);
  const auto fill_heads = [&]<Format F, Format First>(QuantizedHeads<F, First>& heads, auto step_of) {
    heads.StoreFirst(0, DrawHead<First>(random, dim, fill).data(), step_of(steps(0)));
    for (size_t s = 1; s < length; ++s) heads.Store(0, s, DrawHead<F>(random, dim, fill).data(), step_of(steps(s)));
  };
  fill_heads(host.keys, [](std::pair<float, float> of_both) { return of_both.first; });
  fill_heads(host.values, [](std::pair<float, float> of_both) { return of_both.second; });
  auto q = DrawQueries<typename Quantizers::Query::Format>(2, dim, fill, dim);
  for (size_t r = 0; r < 2; ++r) q.Steps(r)[0] = 0.25f;
  TestSequence<Quantizers>(host, q, PlacesFrom(length - 1, 1), {2, 1, dim}, name);
}

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST_CASE("Attend on a device: steps that make one score or weight stand out, vanish, or spoil the others") {
  using Quantizers = SomeQuantizers<MidRise<4>, MidRise<3>, MidRise<4>, MidRise<3>, MidRise<4>>;
  constexpr float kSteps[] = {0x1.fffffep-3f, 0.0f, 1e-45f, 1e-38f, 100.0f, 3e38f, -0.125f, -1e30f, kNaN, kInfinity};
  size_t i = 0;
  for (const float step : kSteps) {
    for (const size_t at : {0u, 7u, 255u, 256u, 529u}) {
      for (const int which : {0, 1, 2}) {
        if (++i % 4 != 0 && step != -1e30f) continue;
        const std::string name =
            "step " + std::to_string(step) + ", token " + std::to_string(at) + ", of " + std::to_string(which);
        TestSteps<Quantizers>(
            24, 530, i % 2 == 0 ? Fill::kRandom : Fill::kTop,
            [&](size_t s) {
              // The step of one key, of one value, or of all values but one.
              return std::pair(which == 0 && s == at ? step : 0.125f,
                               (which == 1 && s == at) || (which == 2 && s != at) ? step : 0.125f);
            },
            name);
      }
    }
  }
}

TEST_CASE("Attend on a device: sums of pages are added in order") {
  // Two pages cancel each other: what is added between is lost, what comes after is not.
  using Quantizers = SomeQuantizers<MidRise<4>, MidRise<3>, MidRise<4>, MidRise<3>, MidRise<4>>;
  for (const size_t large : {0u, 1u, 2u}) {
    TestSteps<Quantizers>(
        16, 3 * kPageTokens + 50, Fill::kTop,
        [&](size_t s) {
          const size_t page = s / kPageTokens;
          const float step = page == large ? 0x1p70f : page == large + 1 ? -0x1p70f : 1.0f;
          return std::pair(0.0f, s % kPageTokens == 9 ? step : 0.0f);
        },
        "pages from " + std::to_string(large));
  }
}

TEST_CASE("Attend on a device: the largest score of many pages") {
  using Quantizers = SomeQuantizers<MidRise<4>, MidRise<3>, MidRise<4>, MidRise<3>, MidRise<4>>;
  for (const size_t largest : {2 * kPageTokens, 35 * kPageTokens}) {
    TestSteps<Quantizers>(
        8, 36 * kPageTokens, Fill::kTop, [&](size_t s) { return std::pair(s == largest ? 0.3f : 0.1f, 0.125f); },
        "at " + std::to_string(largest));
  }
}

TEST_CASE("Attend on a device: weights that two digits do not hold") {
  // All scores are 0, so that steps are weights: of both signs, and nearly two powers of two. Few are that deep.
  const auto test = [&]<class Quantizers>(const Quantizers&, size_t dim, const char* name) {
    for (const Fill fill : {Fill::kRandom, Fill::kBottom}) {
      Random random(9);
      TestSteps<Quantizers>(
          dim, 300, fill,
          [&](size_t s) {
            constexpr float kWeights[] = {-0x1.fffffep-3f, -0x1.fep-3f, -0x1.fdfcp-3f, 0x1.fffffep-3f, -0.1f, 0.0f};
            return std::pair(0.0f, s < 3 ? -0x1.fffffep-3f : kWeights[UniformBelow(random, 6)]);
          },
          name);
    }
  };
  test(SomeQuantizers<MidRise<4>, MidRise<3>, MidRise<4>, MidRise<3>, MidRise<4>>(), 200, "A48");
  test(SomeQuantizers<Int<8>, Int<8>, Int<8>, Int<8>, Int<8>>(), 16, "Int<8>");
  test(SomeQuantizers<Int<4>, Int<4>, Int<4>, BigSteps, BigSteps>(), 140, "BigSteps");
}

TEST_CASE("Attend on a device: A48, as the reference") {
  TestAttend<MidRise<4>, MidRise<3>, MidRise<4>, MidRise<3>, MidRise<4>>("A48", true);
}

TEST_CASE("Attend on a device: levels that fit bytes, as the reference") {
  TestAttend<Int<8>, Int<8>, Int<8>, Int<8>, Int<8>>("Int<8>", true);
  TestAttend<Int<4>, Fp4E2M1, UInt<4>, Int<4>, Squares>("Int<4>, Fp4E2M1", false);
  TestAttend<Int<8>, Int<6>, Binary, Int<5>, UInt<7>>("Int<6>, Int<5>", false);
}

TEST_CASE("Attend on a device: levels beyond bytes, as the reference") {
  TestAttend<UInt<8>, FiveLevels, Int<5>, Fp4E2M1, FiveLevels>("UInt<8>, FiveLevels, Fp4E2M1", false);
  TestAttend<MidRise<8>, MidRise<8>, UInt<8>, MidRise<8>, MidRise<8>>("MidRise<8>", true);
  TestAttend<MidRise<8>, BigSteps, Int<4>, BigSteps, ManyBigSteps>("BigSteps", true);
  TestAttend<UInt<4>, ManyBigSteps, BigSteps, ManyBigSteps, Int<4>>("ManyBigSteps", false);
}

}  // namespace
}  // namespace bitnet::testing::cuda_attention_slow_test
