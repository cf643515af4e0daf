// The laws that quantizers of every format obey are in testing/test_format.h (run by format/format_test.cc); here are
// the golden vectors, hand-worked values, and what is true of particular ones.
#include "bitnet/quant/quantizer.h"

#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "testing/golden.h"
#include "testing/random_values.h"

namespace bitnet {
namespace {

using testing::Golden;

struct FiveLevel {
  static constexpr auto kLevels = std::array{-2, -1, 0, 1, 2};
};

struct One {  // a rule: the step is 1
  template <LevelFormat F>
  static double Step(std::span<const float>) {
    return 1.0;
  }
};

// Levels are equal. The step, computed in double in another order, may round to the neighbouring float: 2^-23 of it;
// the value then differs by as much and its own rounding.
template <class Q>
void CompareWithGolden(const Golden& golden, const std::string& name) {
  size_t cases = 0;
  for (; golden.Has(name + "/" + std::to_string(cases) + "/input"); ++cases) {
    const std::string key = name + "/" + std::to_string(cases);
    CAPTURE(key);
    const std::vector<float> x = golden.Floats(key + "/input");
    const float step = golden.Float(key + "/step");
    const std::vector<float> values = golden.Floats(key + "/values");
    std::vector<typename Q::Level> levels(x.size());
    std::vector<float> y(x.size());
    const float mine = Q::Quantize(x, levels.data());
    CHECK(std::fabs(mine - step) <= step * 0x1p-23f);
    CHECK(std::vector<int>(levels.begin(), levels.end()) == golden.Ints(key + "/levels"));
    Q::FakeQuantize(x, y.data());
    for (size_t i = 0; i < x.size(); ++i) CHECK(std::fabs(y[i] - values[i]) <= std::fabs(values[i]) * 0x1p-22f);
  }
  CHECK(cases >= 9);
}

TEST_CASE("Quantizer: golden vectors of the paper's equations") {
  const Golden golden("quantizers");
  CompareWithGolden<Quantizer<Ternary, AbsMean>>(golden, "ternary_absmean");
  CompareWithGolden<Quantizer<Int<8>, AbsMax>>(golden, "int8_absmax");
  CompareWithGolden<Quantizer<Int<4>, AbsMean>>(golden, "int4_absmean");
  CompareWithGolden<Quantizer<Int<4>, AbsMeanTimes<2>>>(golden, "int4_absmean2");
  CompareWithGolden<Quantizer<Int<4>, AbsMax>>(golden, "int4_absmax");
  CompareWithGolden<Quantizer<Fp4E2M1, MinMax>>(golden, "e2m1_minmax");
  CompareWithGolden<Quantizer<Fp4E1M2, MinMax>>(golden, "e1m2_minmax");
  CompareWithGolden<Quantizer<MidRise<3>, AbsMax>>(golden, "midrise3_absmax");
  CompareWithGolden<Quantizer<MidRise<4>, AbsMax>>(golden, "midrise4_absmax");
  CompareWithGolden<Quantizer<UInt<4>, AbsMax>>(golden, "uint4_absmax");
  CompareWithGolden<Quantizer<Binary, AbsMean>>(golden, "binary_absmean");
  CompareWithGolden<Quantizer<FiveLevel, AbsMean>>(golden, "five_absmean");
}

TEST_CASE("Quantizer: eq. 2 by hand") {
  // alpha = 2; x / alpha = 0.25, -2, 0.75, -0.5 (a tie, to 0), 1.5 (clipped).
  const std::vector<float> x = {0.5f, -4.0f, 1.5f, -1.0f, 3.0f};
  using Q = Quantizer<Ternary, AbsMean>;
  std::vector<int8_t> levels(5);
  CHECK(Q::Quantize(x, levels.data()) == 2.0f);
  CHECK(levels == std::vector<int8_t>{0, -1, 1, 0, 1});
  std::vector<float> y(5);
  CHECK(Q::FakeQuantize(x, y.data()) == 2.0f);
  CHECK(y == std::vector<float>{0.0f, -2.0f, 2.0f, 0.0f, 2.0f});
  // Errors: -0.5, 2, 0.5, 1, -1. Beyond the ends by more than half a step: -4 alone (3 is so by exactly half).
  const QuantizationError error = Q::Error(x);
  CHECK(error.mean_squared == (0.25 + 4.0 + 0.25 + 1.0 + 1.0) / 5.0);
  CHECK(error.max == 2.0);
  CHECK(error.clipped == 1);
  CHECK(Q::Error({}).mean_squared == 0.0);
}

TEST_CASE("Quantizer: eq. 3 by hand") {
  const std::vector<float> x = {127.0f, -127.0f, 0.5f, 1.5f, -0.5f, -63.6f};
  std::vector<int8_t> levels(x.size());
  using Q = Quantizer<Int<8>, AbsMax>;
  CHECK(Q::Quantize(x, levels.data()) == 1.0f);
  CHECK(levels == std::vector<int8_t>{127, -127, 0, 2, 0, -64});
  CHECK(Q::Error(x).clipped == 0);
}

TEST_CASE("Quantizer: clipped counts both ends, more than half a step beyond") {
  using Q = Quantizer<Int<4>, One>;
  CHECK(Q::Error(std::vector<float>{7.5f, -8.5f, 7.0f, -8.0f}).clipped == 0);
  CHECK(Q::Error(std::vector<float>{7.6f, -8.6f, 100.0f, -100.0f}).clipped == 4);
}

// Quantizing what was quantized changes nothing, where the rule finds the same step again: the largest magnitude is
// kept by AbsMax and MinMax in formats symmetric about zero.
template <class Q>
void CheckIdempotent() {
  for (const size_t n : testing::kSizes) {
    CAPTURE(n);
    // Powers of two over the largest level, so that step * level is exact.
    std::vector<float> x = testing::NormalValues(n, n);
    for (float& v : x) v = std::ldexp(std::nearbyint(std::ldexp(v, 6)), -6);
    x[0] = static_cast<float>(FormatTraits<typename Q::Format>::kTop);
    std::vector<float> once(n);
    std::vector<float> twice(n);
    const float step = Q::FakeQuantize(x, once.data());
    CHECK(Q::FakeQuantize(once, twice.data()) == step);
    CHECK(twice == once);
  }
}

TEST_CASE("Quantizer: a power of two scales the step and leaves the levels, for normal values and steps to 2^126") {
  // Beyond 2^126 the inverse of a step is subnormal, and rounded to fewer bits.
  using Q = Quantizer<Ternary, AbsMax>;
  size_t differ_beyond = 0;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    // Many values around the threshold between two levels, half of the largest.
    const float largest = 1.0f + 0.015f * static_cast<float>(seed);
    std::vector<float> x(200, largest);
    for (size_t i = 0; i + 1 < x.size(); ++i) {
      x[i] = std::bit_cast<float>(std::bit_cast<uint32_t>(largest / 2) + static_cast<uint32_t>(i % 3) - 1);
    }
    std::vector<int8_t> levels(x.size()), scaled_levels(x.size());
    const float step = Q::Quantize(x, levels.data());
    for (int k = -125; k <= 126; ++k) {
      std::vector<float> scaled = x;
      for (float& v : scaled) v = std::ldexp(v, k);
      const float scaled_step = Q::Quantize(scaled, scaled_levels.data());
      const bool same = scaled_step == std::ldexp(step, k) && scaled_levels == levels;
      if (scaled_step <= 0x1p126f) {
        CHECK(same);
      } else {
        differ_beyond += !same;
      }
    }
  }
  CHECK(differ_beyond > 0);
}

TEST_CASE("Quantizer: AbsMax and MinMax are idempotent where products are exact") {
  CheckIdempotent<Quantizer<Int<8>, AbsMax>>();
  CheckIdempotent<Quantizer<Int<4>, AbsMax>>();
  CheckIdempotent<Quantizer<MidRise<3>, AbsMax>>();
  CheckIdempotent<Quantizer<MidRise<4>, AbsMax>>();
  CheckIdempotent<Quantizer<Fp4E2M1, MinMax>>();
  CheckIdempotent<Quantizer<Fp4E1M2, MinMax>>();
}

TEST_CASE("Quantizer: levels are idempotent for any reals") {
  for (const size_t n : testing::kSizes) {
    const std::vector<float> x = testing::SpreadValues(n, n);
    std::vector<float> y(n);
    std::vector<int8_t> once(n);
    std::vector<int8_t> twice(n);
    using Q = Quantizer<Int<8>, AbsMax>;
    Q::Quantize(x, once.data());
    Q::FakeQuantize(x, y.data());
    Q::Quantize(y, twice.data());
    CHECK(once == twice);
  }
}

TEST_CASE("Quantizer: more levels make a smaller error") {
  const std::vector<float> x = testing::NormalValues(1000, 5);
  const double e3 = Quantizer<Int<3>, AbsMean>::Error(x).mean_squared;
  const double e4 = Quantizer<Int<4>, AbsMean>::Error(x).mean_squared;
  const double e8 = Quantizer<Int<8>, AbsMax>::Error(x).mean_squared;
  CHECK(e3 > 2.0 * e4);
  CHECK(e4 > 20.0 * e8);
  // A uniform error of one step: step^2 / 12.
  const double step = Quantizer<Int<8>, AbsMax>::Step(x);
  CHECK(e8 == doctest::Approx(step * step / 12.0).epsilon(0.1));
}

TEST_CASE("Unquantized: keeps reals as they are") {
  const std::vector<float> x = {1.5f, -0.0f, 1e-40f, INFINITY};
  std::vector<float> y(4);
  CHECK(Unquantized::Quantize(x, y.data()) == 1.0f);
  CHECK(y == x);
  std::vector<float> same = x;
  CHECK(Unquantized::FakeQuantize(same, same.data()) == 1.0f);
  CHECK(same == x);
  CHECK(Unquantized::Error(x).mean_squared == 0.0);
  CHECK(Unquantized::Error(x).clipped == 0);
}

TEST_CASE("Rounded: the nearest reals of 16 bits, step 1") {
  const std::vector<float> x = {1.0f + 0x1p-8f, 1.0f + 0x3p-8f, -0.0f, 1e-40f, 70000.0f, NAN, -INFINITY};
  std::vector<float> y(x.size());
  CHECK(Rounded<BFloat16>::Quantize(x, y.data()) == 1.0f);
  CHECK(y[0] == 1.0f);
  CHECK(y[1] == 1.0f + 0x1p-6f);
  CHECK(std::signbit(y[2]));
  CHECK(y[3] == static_cast<float>(BFloat16::Nearest(1e-40f)));
  CHECK(y[4] == 70144.0f);
  CHECK(std::isnan(y[5]));
  CHECK(y[6] == -INFINITY);
  std::vector<float> same = x;
  CHECK(Rounded<Float16>::FakeQuantize(same, same.data()) == 1.0f);
  CHECK(same[0] == x[0]);
  CHECK(same[3] == 0.0f);
  CHECK(same[4] == INFINITY);
  const auto kept = std::span(x).first(2);
  CHECK(Rounded<BFloat16>::Error(kept).max == 0x1p-8);
  CHECK(Rounded<BFloat16>::Error(kept).mean_squared == 0x1p-16);
  CHECK(Rounded<Float16>::Error(kept).max == 0.0);
  CHECK(Rounded<Float16>::Error(std::span(x).first(5)).clipped == 1);
  CHECK(std::isnan(Rounded<Float16>::Error(x).max));
  static_assert(kKeepsReals<Unquantized> && kKeepsReals<Rounded<Float16>> && !kKeepsReals<Quantizer<Int<4>, AbsMax>>);
}

static_assert(AnyQuantizer<Rounded<BFloat16>>);
static_assert(AnyQuantizer<Unquantized> && AnyQuantizer<Quantizer<Ternary, AbsMean>> &&
              AnyQuantizer<Quantizer<FiveLevel, MinMax, PerGroup<64>>>);
static_assert(!AnyQuantizer<Ternary> && !AnyQuantizer<int>);
static_assert(std::is_same_v<Quantizer<Int<4>, AbsMean>::Granularity, Whole>);
static_assert(std::is_same_v<PerTensor, Whole> && std::is_same_v<PerToken, Whole> && std::is_same_v<PerHead, Whole>);
static_assert(kGroupSize<PerGroup<3>> == 3 && kGroupSize<Whole> == 0 && kGroupSize<PerRow> == 0);

}  // namespace
}  // namespace bitnet
