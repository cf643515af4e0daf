#include "bitnet/backend/cuda/format_tables.h"

#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <vector>

#include "bitnet/base/random.h"
#include "testing/awkward_formats.h"

namespace bitnet {
namespace {

struct Evens {  // no odd integers, and no zero
  static constexpr auto kLevels = std::array{2, 4, 6};
};
struct Odds {
  static constexpr auto kLevels = std::array{-3, -1, 1, 3, 5};
};
struct AboveZero {
  static constexpr auto kLevels = std::array{1, 2, 3};
};
struct Far {
  static constexpr auto kLevels = std::array{-32768, -1, 0, 32766, 32767};
};

// Each threshold and level with its neighbours, what is next to zero, what is out of reach; and whatever bits.
template <LevelFormat F>
std::vector<float> Values() {
  std::vector<float> values = {0.0f,     -0.0f,    FLT_TRUE_MIN, -FLT_TRUE_MIN, FLT_MIN, -FLT_MIN, FLT_MAX,
                               -FLT_MAX, INFINITY, -INFINITY,    1e10f,         -1e10f,  32768.5f, -2.0f * FLT_TRUE_MIN,
                               0.5f};
  for (int twice = 2 * FormatTraits<F>::kBottom - 5; twice <= 2 * FormatTraits<F>::kTop + 5; ++twice) {
    if (twice > 2000 && twice < 2 * FormatTraits<F>::kTop - 2000) continue;
    if (twice < -2000 && twice > 2 * FormatTraits<F>::kBottom + 2000) continue;
    const float v = static_cast<float>(twice) * 0.5f;
    values.insert(values.end(), {v, std::nextafter(v, -INFINITY), std::nextafter(v, INFINITY)});
  }
  Random random(3);
  for (int i = 0; i < 3000; ++i) {
    const auto v = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (!std::isnan(v)) values.push_back(v);
    values.push_back(Normal(random) * static_cast<float>(FormatTraits<F>::kTop));
  }
  return values;
}

template <LevelFormat F>
void TestFormat(const char* name) {
  CAPTURE(name);
  size_t wrong = 0;
  for (unsigned code = 0; code < FormatTraits<F>::kCount; ++code) {
    wrong += cuda::Level<F>(code) == FormatTraits<F>::Level(code) ? 0u : 1u;
  }
  CHECK(wrong == 0);
  for (const float v : Values<F>()) {
    if (cuda::NearestCode<F>(v) != NearestCode<F>(v)) {
      FAIL_CHECK(v << ": " << cuda::NearestCode<F>(v) << ", not " << NearestCode<F>(v));
      return;
    }
  }
}

TEST_CASE("Levels and nearest codes for devices: those of every format") {
  TestFormat<Ternary>("Ternary");
  TestFormat<Binary>("Binary");
  TestFormat<Int<2>>("Int<2>");
  TestFormat<Int<4>>("Int<4>");
  TestFormat<Int<8>>("Int<8>");
  TestFormat<UInt<2>>("UInt<2>");
  TestFormat<UInt<8>>("UInt<8>");
  TestFormat<MidRise<1>>("MidRise<1>");
  TestFormat<MidRise<3>>("MidRise<3>");
  TestFormat<MidRise<4>>("MidRise<4>");
  TestFormat<MidRise<8>>("MidRise<8>");
  TestFormat<Fp4E2M1>("Fp4E2M1");
  TestFormat<Fp4E1M2>("Fp4E1M2");
  TestFormat<testing::FiveLevels>("FiveLevels");
  TestFormat<testing::BigSteps>("BigSteps");
  TestFormat<testing::Squares>("Squares");
  TestFormat<testing::Threes>("Threes");
  TestFormat<testing::PowersOfTwo>("PowersOfTwo");
  TestFormat<testing::Lopsided>("Lopsided");
  TestFormat<testing::OnOff>("OnOff");
  TestFormat<testing::Sixteens>("Sixteens");
  TestFormat<testing::OneSided>("OneSided");
  TestFormat<Evens>("Evens");
  TestFormat<Odds>("Odds");
  TestFormat<AboveZero>("AboveZero");
  TestFormat<Far>("Far");
}

}  // namespace
}  // namespace bitnet
