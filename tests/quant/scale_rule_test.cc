#include "bitnet/quant/scale_rule.h"

#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "bitnet/quant/quantizer.h"
#include "testing/random_values.h"

namespace bitnet {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Irregular {  // largest level 9, smallest -3
  static constexpr auto kLevels = std::array{-3, 0, 1, 9};
};

template <class F, class Rule>
float Step(const std::vector<float>& x) {
  return StepOf<F, Rule>(x);
}

TEST_CASE("AbsMean: mean magnitude over the root of the largest level") {
  const std::vector<float> x = {1.0f, -2.0f, 3.0f, -6.0f};                      // mean magnitude 3
  CHECK(Step<Ternary, AbsMean>(x) == 3.0f);                                     // eq. 2
  CHECK(Step<Int<4>, AbsMean>(x) == static_cast<float>(3.0 / std::sqrt(7.0)));  // eq. 7
  CHECK(Step<Irregular, AbsMean>(x) == 1.0f);
  CHECK(Step<Binary, AbsMean>(x) == 3.0f);
  CHECK(Step<Int<4>, AbsMeanTimes<2>>(x) == static_cast<float>(6.0 / std::sqrt(7.0)));  // the ablation
  CHECK(Step<Ternary, AbsMeanTimes<1, 2>>(x) == 1.5f);
  CHECK(Step<Ternary, AbsMeanTimes<3, 4>>(x) == 2.25f);
}

TEST_CASE("AbsMax: largest magnitude over the largest level") {
  CHECK(Step<Int<8>, AbsMax>({1.0f, -254.0f, 3.0f}) == 2.0f);  // eq. 3
  CHECK(Step<Int<4>, AbsMax>({1.0f, -14.0f, 3.0f}) == 2.0f);   // -14 is -7 steps: -8 is never used
  CHECK(Step<MidRise<3>, AbsMax>({3.5f}) == 0.5f);
  CHECK(Step<UInt<4>, AbsMax>({-30.0f, 15.0f}) == 2.0f);
}

TEST_CASE("MinMax: the smallest step that clips nothing") {
  CHECK(Step<Int<4>, MinMax>({7.0f, -8.0f}) == 1.0f);
  CHECK(Step<Int<4>, MinMax>({7.0f, -16.0f}) == 2.0f);  // the lower end decides
  CHECK(Step<Int<4>, MinMax>({14.0f, -8.0f}) == 2.0f);  // the upper end decides
  CHECK(Step<Int<4>, MinMax>({-8.0f, -4.0f}) == 1.0f);  // nothing above zero
  CHECK(Step<Int<4>, MinMax>({3.5f, 7.0f}) == 1.0f);    // nothing below zero
  CHECK(Step<Irregular, MinMax>({9.0f, -6.0f}) == 2.0f);
  CHECK(Step<UInt<4>, MinMax>({30.0f, -500.0f}) == 2.0f);  // no level below zero: negative values do not count
  CHECK(Step<UInt<4>, MinMax>({-500.0f}) == 0.0f);
  // Symmetric formats: the same as AbsMax.
  for (const size_t n : testing::kSizes) {
    const std::vector<float> x = testing::SpreadValues(n, n);
    CHECK(Step<Fp4E2M1, MinMax>(x) == Step<Fp4E2M1, AbsMax>(x));
    CHECK(Step<MidRise<4>, MinMax>(x) == Step<MidRise<4>, AbsMax>(x));
  }
}

TEST_CASE("Scale rules: a span of nothing, or of zeros, has step zero") {
  for (const std::vector<float>& x : {std::vector<float>{}, std::vector<float>(9), std::vector<float>{-0.0f}}) {
    for (const float step :
         {Step<Int<4>, AbsMean>(x), Step<Int<8>, AbsMax>(x), Step<Fp4E2M1, MinMax>(x), Step<UInt<3>, MinMax>(x)}) {
      CHECK(step == 0.0f);
      CHECK_FALSE(std::signbit(step));
    }
  }
}

TEST_CASE("Scale rules: a NaN or an infinity anywhere makes the step NaN") {
  for (const float bad : {kNaN, -kNaN, kInfinity, -kInfinity}) {
    for (const size_t n : {1u, 2u, 9u, 20u}) {
      for (size_t at = 0; at < n; ++at) {
        std::vector<float> x = testing::NormalValues(n, n);
        x[at] = bad;
        CHECK(std::isnan(Step<Int<4>, AbsMean>(x)));
        CHECK(std::isnan(Step<Int<8>, AbsMax>(x)));
        CHECK(std::isnan(Step<Fp4E2M1, MinMax>(x)));
        CHECK(std::isnan(Step<UInt<4>, MinMax>(x)));
        if (n > 1) x[(at + 1) % n] = kNaN;  // both at once
        CHECK(std::isnan(Step<Int<8>, AbsMax>(x)));
        CHECK(std::isnan(Step<Int<4>, MinMax>(x)));
      }
    }
  }
}

TEST_CASE("Scale rules: a step below the smallest normal float is zero") {
  CHECK(Step<Binary, AbsMax>({FLT_MIN}) == FLT_MIN);
  CHECK(Step<Binary, AbsMax>({std::nextafter(FLT_MIN, 0.0f)}) == 0.0f);
  CHECK(Step<Int<8>, AbsMax>({127.0f * FLT_MIN}) == FLT_MIN);
  CHECK(Step<Int<8>, AbsMax>({126.0f * FLT_MIN}) == 0.0f);
  CHECK(Step<Int<4>, AbsMean>({FLT_MIN, FLT_MIN}) == 0.0f);
  CHECK(RoundStep(1e-40) == 0.0f);
  CHECK(RoundStep(5e-324) == 0.0f);
  CHECK(InverseStep(FLT_MIN) == 0x1p126f);
}

TEST_CASE("Scale rules: the largest floats do not overflow") {
  CHECK(Step<Ternary, AbsMean>(std::vector<float>(100, FLT_MAX)) == FLT_MAX);
  CHECK(Step<Int<4>, AbsMax>({FLT_MAX, -FLT_MAX}) == static_cast<float>(static_cast<double>(FLT_MAX) / 7.0));
  CHECK(std::isnan(Step<Ternary, AbsMeanTimes<2>>({FLT_MAX})));  // the step itself would be infinite
}

TEST_CASE("RoundStep: what no step can be is NaN") {
  CHECK(RoundStep(1.5) == 1.5f);
  CHECK(RoundStep(0.1) == 0.1f);
  CHECK(std::isnan(RoundStep(-1.0)));
  CHECK(std::isnan(RoundStep(1e39)));
  CHECK(std::isnan(RoundStep(std::numeric_limits<double>::quiet_NaN())));
  CHECK(std::isnan(RoundStep(std::numeric_limits<double>::infinity())));
  CHECK(RoundStep(-0.0) == 0.0f);
  CHECK_FALSE(std::signbit(RoundStep(-0.0)));
}

TEST_CASE("InverseStep: 0 where there is no step") {
  CHECK(InverseStep(4.0f) == 0.25f);
  CHECK(InverseStep(3.0f) == 1.0f / 3.0f);
  CHECK(InverseStep(0.0f) == 0.0f);
  CHECK(InverseStep(kNaN) == 0.0f);
}

TEST_CASE("Statistics: hand-worked") {
  const std::vector<float> x = {1.0f, -4.0f, 2.0f};
  CHECK(SumOfMagnitudes::Of(x).sum == 7.0);
  CHECK(LargestMagnitude::Of(x).max == 4.0f);
  CHECK(Range::Of(x).min == -4.0f);
  CHECK(Range::Of(x).max == 2.0f);
  CHECK(Range::Of(std::vector<float>{3.0f, 5.0f}).min == 0.0f);
  CHECK(Range::Of(std::vector<float>{-3.0f, -5.0f}).max == 0.0f);
  CHECK(LargestMagnitude::Of({}).max == 0.0f);
  CHECK(std::isnan(LargestMagnitude::Of(std::vector<float>{kInfinity, kNaN, 1.0f}).max));
  CHECK(std::isnan(Range::Of(std::vector<float>{kInfinity, 1.0f}).min));
  CHECK(std::isnan(Range::Of(std::vector<float>{kInfinity, 1.0f}).max));
}

TEST_CASE("SumOfMagnitudes: in the fixed order of eight lanes") {
  // 2^53 and a 1 in the same lane: lost. In another half of the lanes, two of them: kept.
  std::vector<float> x(12, 0.0f);
  x[0] = -0x1p53f;
  x[8] = -1.0f;
  CHECK(SumOfMagnitudes::Of(x).sum == 0x1p53);
  x[3] = 1.0f;
  x[7] = -1.0f;
  CHECK(SumOfMagnitudes::Of(x).sum == 0x1p53 + 2.0);
}

TEST_CASE("MagnitudeBits: ordered like magnitudes, infinity above, NaN above all") {
  CHECK(MagnitudeBits(-0.0f) == 0);
  CHECK(MagnitudeBits(-2.0f) == MagnitudeBits(2.0f));
  const float ascending[] = {0.0f, std::numeric_limits<float>::denorm_min(), FLT_MIN, -1.0f, 1.5f, -FLT_MAX, kInfinity,
                             -kNaN};
  for (size_t i = 1; i < std::size(ascending); ++i)
    CHECK(MagnitudeBits(ascending[i - 1]) < MagnitudeBits(ascending[i]));
}

// Rules of a user: the step of a span, without a statistic.
struct SecondLargest {
  template <LevelFormat F>
  static double Step(std::span<const float> x) {
    double first = 0.0;
    double second = 0.0;
    for (const float v : x) {
      const double m = std::fabs(static_cast<double>(v));
      second = std::max(second, std::min(first, m));
      first = std::max(first, m);
    }
    return second / FormatTraits<F>::kTop;
  }
};
struct Fixed {
  template <LevelFormat F>
  static double Step(std::span<const float>) {
    return 0.5;
  }
};
struct NotARule {};
struct Broken {
  template <LevelFormat F>
  static double Step(std::span<const float>) {
    return -1.0;
  }
};

static_assert(SpanRule<SecondLargest, Int<4>> && !StatisticRule<SecondLargest, Int<4>>);
static_assert(StatisticRule<AbsMax, Int<4>> && !SpanRule<AbsMax, Int<4>>);
static_assert(ScaleRule<AbsMean, Ternary> && ScaleRule<MinMax, Fp4E2M1> && ScaleRule<Fixed, Binary>);
static_assert(!ScaleRule<NotARule, Int<4>> && !ScaleRule<int, Int<4>> && !ScaleRule<AbsMax, Float>);

TEST_CASE("Scale rules: one of a user's") {
  const std::vector<float> x = {100.0f, -14.0f, 3.0f};
  CHECK(Step<Int<4>, SecondLargest>(x) == 2.0f);
  std::vector<int8_t> levels(3);
  CHECK(Quantizer<Int<4>, SecondLargest>::Quantize(x, levels.data()) == 2.0f);
  CHECK(levels == std::vector<int8_t>{7, -7, 2});  // 100 is clipped, 1.5 is a tie
  CHECK(Quantizer<Int<4>, SecondLargest>::Error(x).clipped == 1);
  CHECK(std::isnan(Quantizer<Int<4>, Broken>::Quantize(x, levels.data())));
  CHECK(levels == std::vector<int8_t>{0, 0, 0});
}

TEST_CASE("Scale rules: infinities and NaN under a step that does not see them") {
  using Q = Quantizer<Int<4>, Fixed>;
  const std::vector<float> x = {kInfinity, -kInfinity, kNaN, 1.0f, FLT_MAX};
  std::vector<int8_t> levels(x.size());
  CHECK(Q::Quantize(x, levels.data()) == 0.5f);
  CHECK(levels == std::vector<int8_t>{7, -8, 0, 2, 7});
  // A NaN is not hidden in the error.
  CHECK(std::isnan(Q::Error(std::vector<float>{kNaN, 1.0f}).max));
  CHECK(std::isnan(Q::Error(std::vector<float>{kNaN, 1.0f}).mean_squared));
  CHECK(std::isnan(Q::Error(std::vector<float>{1.0f, kNaN, 9.0f}).max));
}

}  // namespace
}  // namespace bitnet
