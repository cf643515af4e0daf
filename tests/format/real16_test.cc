#include "bitnet/format/real16.h"

#include <doctest/doctest.h>

#include <bit>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "bitnet/base/random.h"
#include "bitnet/format/format.h"

namespace bitnet {
namespace {

template <class R>
R OfBits(uint32_t bits) {
  return {static_cast<uint16_t>(bits)};
}

// A value by its definition, the exponent's bits and the mantissa's; of the first bits beyond the largest finite ones
// what it would be with one exponent more.
template <class R>
struct Fields;
template <>
struct Fields<BFloat16> {
  static constexpr int kMantissaBits = 7, kBias = 127;
  static constexpr uint32_t kInfinity = 0x7f80;
};
template <>
struct Fields<Float16> {
  static constexpr int kMantissaBits = 10, kBias = 15;
  static constexpr uint32_t kInfinity = 0x7c00;
};
template <class R>
double ValueOf(uint32_t magnitude) {
  constexpr int kBits = Fields<R>::kMantissaBits;
  const auto exponent = static_cast<int>(magnitude >> kBits);
  const auto mantissa = static_cast<int>(magnitude & ((1u << kBits) - 1u));
  return exponent == 0 ? std::ldexp(mantissa, 1 - Fields<R>::kBias - kBits)
                       : std::ldexp((1 << kBits) + mantissa, exponent - Fields<R>::kBias - kBits);
}

// By search: the nearest, ties to even bits.
template <class R>
uint32_t NearestBits(float x) {
  const double magnitude = std::fabs(double(x));
  uint32_t low = 0, high = Fields<R>::kInfinity;
  if (magnitude < ValueOf<R>(high)) {
    while (high - low > 1) {
      const uint32_t middle = (low + high) / 2;
      (ValueOf<R>(middle) <= magnitude ? low : high) = middle;
    }
    const double below = magnitude - ValueOf<R>(low);
    const double above = ValueOf<R>(high) - magnitude;
    if (below < above || (below == above && low % 2 == 0)) high = low;
  }
  return high | (std::signbit(x) ? 0x8000u : 0u);
}

template <class R>
void CheckAllValues() {
  size_t wrong = 0;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const uint32_t magnitude = bits & 0x7fff;
    const float value = OfBits<R>(bits);
    bool right = std::signbit(value) == (bits >= 0x8000);
    if (magnitude < Fields<R>::kInfinity) {
      right = right && std::fabs(double(value)) == ValueOf<R>(magnitude);
    } else if (magnitude == Fields<R>::kInfinity) {
      right = right && std::isinf(value);
    } else {
      right = right && std::isnan(value);
    }
    // And back: itself; of a NaN the quiet one.
    const uint32_t quiet = magnitude > Fields<R>::kInfinity ? 1u << (Fields<R>::kMantissaBits - 1) : 0u;
    right = right && R::Nearest(value).bits == (bits | quiet);
    wrong += !right;
  }
  CHECK(wrong == 0);
}

template <class R>
void CheckRounding() {
  size_t wrong = 0;
  const auto check = [&](float x) {
    wrong += R::Nearest(x).bits != NearestBits<R>(x);
    wrong += R::Nearest(-x).bits != NearestBits<R>(-x);
  };
  // Midway between neighbours, and just beside.
  for (uint32_t bits = 0; bits < Fields<R>::kInfinity; ++bits) {
    const double midway = (ValueOf<R>(bits) + ValueOf<R>(bits + 1)) / 2;
    const auto tie = static_cast<float>(midway);
    REQUIRE(double(tie) == midway);
    check(tie);
    check(std::nextafter(tie, 0.0f));
    check(std::nextafter(tie, std::numeric_limits<float>::infinity()));
  }
  Random random(1);
  for (size_t i = 0; i < 200000; ++i) {
    const auto x = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (std::isfinite(x)) check(x);
  }
  for (const float x : {0.0f, FLT_TRUE_MIN, FLT_MIN, FLT_MAX}) check(x);
  CHECK(wrong == 0);
  CHECK(R::Nearest(std::numeric_limits<float>::infinity()).bits == Fields<R>::kInfinity);
  // Of NaNs of all payloads none becomes infinite.
  for (uint32_t payload = 1; payload != 0x800000; payload <<= 1) {
    const auto nan = std::bit_cast<float>(0xff800000u | payload);
    CHECK(std::isnan(static_cast<float>(R::Nearest(nan))));
    CHECK(R::Nearest(nan).bits >= 0x8000);
  }
}

TEST_CASE("BFloat16: all values") { CheckAllValues<BFloat16>(); }
TEST_CASE("BFloat16: rounds to nearest, ties to even") { CheckRounding<BFloat16>(); }
TEST_CASE("Float16: all values") { CheckAllValues<Float16>(); }
TEST_CASE("Float16: rounds to nearest, ties to even") { CheckRounding<Float16>(); }

// When it is compiled too.
static_assert(float{BFloat16::Nearest(1.0f + 0x1.01p-8f)} == 1.0f + 0x1p-7f);
static_assert(float{Float16::Nearest(1.0f + 0x1.01p-11f)} == 1.0f + 0x1p-10f);
static_assert(float{Float16::Nearest(65519.0f)} == 65504.0f && Float16::Nearest(65520.0f).bits == 0x7c00);

static_assert(RealFormat<BFloat16> && RealFormat<Float16> && RealFormat<Float> && !RealFormat<float>);
static_assert(Format<BFloat16> && !LevelFormat<Float16> && kIsFloat<BFloat16>);
static_assert(std::is_same_v<LevelOf<Float16>, float> && sizeof(StoredReal<Float16>) == 2);

}  // namespace
}  // namespace bitnet
