#include "bitnet/format/format.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "testing/test_format.h"

namespace bitnet {
namespace {

using testing::TestFormat;

// Formats that nobody built in.
struct FiveLevel {
  static constexpr auto kLevels = std::array{-2, -1, 0, 1, 2};
};
struct Irregular {
  static constexpr auto kLevels = std::array{-7, -3, 0, 1, 9};
};
struct NoZero {  // not symmetric; the level nearest to zero is below it
  static constexpr auto kLevels = std::array{-5, -1, 2, 3, 11, 12};
};
struct AllPositive {
  static constexpr auto kLevels = std::array{1, 2, 4, 8, 16, 32, 64, 128};
};
struct Wide {
  static constexpr auto kLevels = std::array{-32768, -300, 0, 5, 32767};
};
struct SixOfShort {  // another integer type
  static constexpr std::array<int16_t, 6> kLevels = {-3, -2, -1, 0, 1, 200};
};
struct SevenOfInt8 {
  static constexpr std::array<signed char, 7> kLevels = {-64, -8, -1, 0, 1, 8, 64};
};

template <class F>
constexpr bool Is(size_t count, int bits, int bottom, int top, bool zero, bool symmetric, bool uniform) {
  using T = FormatTraits<F>;
  return T::kCount == count && T::kCodeBits == bits && T::kBottom == bottom && T::kTop == top && T::kHasZero == zero &&
         T::kIsSymmetric == symmetric && T::kIsUniform == uniform;
}

// The table of docs/numerics.md.    levels bits bottom  top   zero  symm. uniform
static_assert(Is<Ternary>(3, 2, -1, 1, true, true, true));
static_assert(Is<Binary>(2, 1, -1, 1, false, true, true));
static_assert(Is<Int<2>>(4, 2, -2, 1, true, false, true));
static_assert(Is<Int<3>>(8, 3, -4, 3, true, false, true));
static_assert(Is<Int<4>>(16, 4, -8, 7, true, false, true));
static_assert(Is<Int<8>>(256, 8, -128, 127, true, false, true));
static_assert(Is<UInt<2>>(4, 2, 0, 3, true, false, true));
static_assert(Is<UInt<4>>(16, 4, 0, 15, true, false, true));
static_assert(Is<UInt<8>>(256, 8, 0, 255, true, false, true));
static_assert(Is<MidRise<1>>(2, 1, -1, 1, false, true, true));
static_assert(Is<MidRise<3>>(8, 3, -7, 7, false, true, true));
static_assert(Is<MidRise<4>>(16, 4, -15, 15, false, true, true));
static_assert(Is<MidRise<8>>(256, 8, -255, 255, false, true, true));
static_assert(Is<Fp4E2M1>(15, 4, -12, 12, true, true, false));
static_assert(Is<Fp4E1M2>(15, 4, -7, 7, true, true, true));
static_assert(Is<FiveLevel>(5, 3, -2, 2, true, true, true));
static_assert(Is<Irregular>(5, 3, -7, 9, true, false, false));

static_assert(FormatTraits<MidRise<3>>::kSpacing == 2);
static_assert(FormatTraits<Int<4>>::kSpacing == 1);
static_assert(std::is_same_v<LevelOf<Int<8>>, int8_t>);
static_assert(std::is_same_v<LevelOf<UInt<8>>, uint8_t>);
static_assert(std::is_same_v<LevelOf<UInt<7>>, int8_t>);
static_assert(std::is_same_v<LevelOf<MidRise<7>>, int8_t>);
static_assert(std::is_same_v<LevelOf<MidRise<8>>, int16_t>);
static_assert(std::is_same_v<LevelOf<SixOfShort>, int16_t>);
static_assert(std::is_same_v<LevelOf<Float>, float>);

static_assert(Format<Ternary> && Format<Irregular> && Format<Float>);
static_assert(LevelFormat<Ternary> && !LevelFormat<Float> && !Format<int>);
static_assert(kIsFloat<Float> && !kIsFloat<Ternary>);

// Usable where the compiler computes.
static_assert(NearestLevel<Int<4>>(2.5f) == 2 && NearestLevel<Int<4>>(3.5f) == 4);
static_assert(CodeOfLevel<Fp4E2M1>(-12) == 0 && CodeOfLevel<Fp4E2M1>(8) == 13 && CodeOfLevel<MidRise<3>>(5) == 6);

TEST_CASE("Format: the code that quantizing zero gives") {
  CHECK(FormatTraits<Ternary>::kZeroCode == 1);
  CHECK(FormatTraits<Binary>::kZeroLevel == 1);  // a tie goes up
  CHECK(FormatTraits<MidRise<3>>::kZeroLevel == 1);
  CHECK(FormatTraits<UInt<4>>::kZeroCode == 0);
  CHECK(FormatTraits<NoZero>::kZeroLevel == -1);
  CHECK(FormatTraits<AllPositive>::kZeroLevel == 1);
  CHECK(FormatTraits<Irregular>::kZeroCode == 2);
}

TEST_CASE("Nearest level: integers round half to even, as nearbyint does") {
  for (int i = -40; i <= 40; ++i) {
    const float v = static_cast<float>(i) / 4.0f;
    CHECK(NearestLevel<Int<4>>(v) == std::clamp(static_cast<int>(std::nearbyint(v)), -8, 7));
    CHECK(NearestLevel<Int<8>>(v) == static_cast<int>(std::nearbyint(v)));
    CHECK(NearestLevel<Ternary>(v) == std::clamp(static_cast<int>(std::nearbyint(v)), -1, 1));
    CHECK(NearestLevel<Int<3>>(v) == std::clamp(static_cast<int>(std::nearbyint(v)), -4, 3));
  }
}

TEST_CASE("Nearest level: hand-worked ties") {
  // E2M1 in halves; an even mantissa is 0, 2, 4, 8 (that is 0, 1, 2, 4).
  CHECK(NearestLevel<Fp4E2M1>(0.5f) == 0);
  CHECK(NearestLevel<Fp4E2M1>(1.5f) == 2);
  CHECK(NearestLevel<Fp4E2M1>(2.5f) == 2);
  CHECK(NearestLevel<Fp4E2M1>(3.5f) == 4);
  CHECK(NearestLevel<Fp4E2M1>(5.0f) == 4);
  CHECK(NearestLevel<Fp4E2M1>(7.0f) == 8);
  CHECK(NearestLevel<Fp4E2M1>(10.0f) == 8);
  CHECK(NearestLevel<Fp4E2M1>(-0.5f) == 0);
  CHECK(NearestLevel<Fp4E2M1>(-5.0f) == -4);
  CHECK(NearestLevel<Fp4E2M1>(-10.0f) == -8);
  CHECK(NearestLevel<Fp4E2M1>(10.000001f) == 12);
  // Without the level 0, upward.
  CHECK(NearestLevel<Binary>(0.0f) == 1);
  CHECK(NearestLevel<Binary>(-0.0f) == 1);
  CHECK(NearestLevel<MidRise<3>>(-2.0f) == -1);
  CHECK(NearestLevel<MidRise<3>>(-6.0f) == -5);
  CHECK(NearestLevel<MidRise<3>>(2.0f) == 3);
  CHECK(NearestLevel<NoZero>(-3.0f) == -1);
  CHECK(NearestLevel<NoZero>(0.5f) == 2);
  CHECK(NearestLevel<NoZero>(7.0f) == 11);
  // Irregular {-7, -3, 0, 1, 9}: -3 and 1 are at odd distances, -7, 0 and 9 at even ones.
  CHECK(NearestLevel<Irregular>(-5.0f) == -7);
  CHECK(NearestLevel<Irregular>(-1.5f) == 0);
  CHECK(NearestLevel<Irregular>(0.5f) == 0);
  CHECK(NearestLevel<Irregular>(5.0f) == 9);
}

// Eq. 9 to the letter: the grid of a minifloat with e exponent and m mantissa bits under a real exponent bias b.
double MinifloatOfEquation9(double x, double largest, int e, int m) {
  if (x == 0.0) return 0.0;
  const double b = std::log2((2.0 - std::exp2(-m)) / largest) + std::exp2(e) - 1.0;
  const double step = std::exp2(std::max(std::floor(std::log2(std::fabs(x)) + b), 1.0) - m - b);
  return step * std::nearbyint(x / step);
}

template <class F>
void CompareWithEquation9(int e, int m) {
  using Q = Quantizer<F, MinMax>;
  for (const size_t n : testing::kSizes) {
    for (const uint64_t seed : {1u, 2u}) {
      CAPTURE(n);
      CAPTURE(seed);
      const std::vector<float> x = seed == 1 ? testing::NormalValues(n, n) : testing::SpreadValues(n, n);
      std::vector<float> y(n);
      const float step = Q::FakeQuantize(x, y.data());
      double largest = 0.0;
      for (const float v : x) largest = std::max(largest, std::fabs(static_cast<double>(v)));
      for (size_t i = 0; i < n; ++i) {
        const double v = static_cast<double>(x[i]) / static_cast<double>(step);
        // So close to a tie that rounding the step to float may decide it: not compared. (None in the normal vectors.)
        bool close = false;
        for (const int twice : FormatTraits<F>::kTwiceThreshold) close = close || std::fabs(2.0 * v - twice) < 1e-5;
        if (close) continue;
        const double expected = MinifloatOfEquation9(x[i], largest, e, m);
        // The step is rounded once, and so is the product: 2^-23 of the value.
        if (std::fabs(y[i] - expected) > std::fabs(expected) * 0x1p-23) {
          FAIL_CHECK("x = " << x[i] << " gives " << y[i] << ", eq. 9 says " << expected);
        }
      }
      // The largest magnitude lands on the largest code.
      const auto at =
          std::max_element(x.begin(), x.end(), [](float a, float b) { return std::fabs(a) < std::fabs(b); });
      if (largest > 0.0) {
        CHECK(std::abs(Q::LevelAt(*at, InverseStep(step))) == FormatTraits<F>::kTop);
      }
    }
  }
}

TEST_CASE("Fp4E2M1: the grid of eq. 9 under its real exponent bias") { CompareWithEquation9<Fp4E2M1>(2, 1); }
TEST_CASE("Fp4E1M2: the grid of eq. 9 under its real exponent bias") { CompareWithEquation9<Fp4E1M2>(1, 2); }

TEST_CASE("Fp4E2M1: ties of eq. 9 go the same way") {
  // The largest is 12 steps of 2^k, so that all of eq. 9 is exact but log2, whose floor is not near an integer here.
  for (int i = -48; i <= 48; ++i) {
    const float x = static_cast<float>(i) / 4.0f;
    const float v[] = {x, 12.0f};
    float y[2];
    Quantizer<Fp4E2M1, MinMax>::FakeQuantize(v, y);
    CHECK(y[0] == doctest::Approx(MinifloatOfEquation9(x, 12.0, 2, 1)).epsilon(1e-12));
  }
}

TEST_CASE("Ternary: is a format") { TestFormat<Ternary>(); }
TEST_CASE("Binary: is a format") { TestFormat<Binary>(); }
TEST_CASE("Int<B>: is a format") {
  TestFormat<Int<2>>();
  TestFormat<Int<3>>();
  TestFormat<Int<4>>();
  TestFormat<Int<7>>();
  TestFormat<Int<8>>();
}
TEST_CASE("UInt<B>: is a format") {
  TestFormat<UInt<4>>();
  TestFormat<UInt<8>>();
}
TEST_CASE("MidRise<B>: is a format") {
  TestFormat<MidRise<1>>();
  TestFormat<MidRise<3>>();
  TestFormat<MidRise<4>>();
  TestFormat<MidRise<8>>();
}
TEST_CASE("Fp4: is a format") {
  TestFormat<Fp4E2M1>();
  TestFormat<Fp4E1M2>();
}
TEST_CASE("User-defined formats: are formats") {
  TestFormat<FiveLevel>();
  TestFormat<Irregular>();
  TestFormat<NoZero>();
  TestFormat<AllPositive>();
  TestFormat<Wide>();
  TestFormat<SixOfShort>();
  TestFormat<SevenOfInt8>();
}

}  // namespace
}  // namespace bitnet
