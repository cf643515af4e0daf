#include "bitnet/tensor/quantized_heads.h"

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <limits>
#include <new>
#include <vector>

#include "testing/expect_assertion.h"
#include "testing/heads_laws.h"

namespace bitnet::quantized_heads_test {
namespace {

using testing::Breaks;
using testing::CheckRoundTrip;

struct FiveLevel {
  static constexpr auto kLevels = std::array{-2, -1, 0, 1, 2};
};

// half * half is the first product that does not fit, quarter * 4 another; both would wrap around to 0.
constexpr size_t kHalf = size_t{1} << (sizeof(size_t) * 4);
constexpr size_t kQuarter = ~size_t{0} / 4 + 1;

TEST_CASE("QuantizedHeads: gives back what was stored, the first token in its own format") {
  for (const size_t head_dim : {1u, 7u, 8u, 16u, 20u, 128u}) {
    CheckRoundTrip<QuantizedHeads<MidRise<3>, MidRise<4>>>(3, head_dim, 9);
    CheckRoundTrip<QuantizedHeads<MidRise<4>, MidRise<4>>>(2, head_dim, 5);
    CheckRoundTrip<QuantizedHeads<MidRise<3>, MidRise<8>>>(2, head_dim, 4);
    CheckRoundTrip<QuantizedHeads<FiveLevel, Ternary>>(2, head_dim, 4);  // a narrower first token
  }
  CheckRoundTrip<QuantizedHeads<MidRise<3>, MidRise<4>>>(1, 64, 1);  // only a first token
}

TEST_CASE("QuantizedHeads: obeys the laws of heads_laws.h") { testing::CheckHeads<QuantizedHeads>(); }

TEST_CASE("QuantizedHeads: exactly 3 bits a value") {
  const QuantizedHeads<MidRise<3>, MidRise<4>> cache(8, 128, 1000);
  CHECK(cache.BytesPerToken() == 8 * (48 + 4));
  CHECK(cache.StoredBytes() == 8 * (64 + 1000 * 48) + 8 * 1000 * 4);
}

TEST_CASE("QuantizedHeads: out of range is an assertion") {
  QuantizedHeads<MidRise<3>, MidRise<4>> cache(2, 8, 3);
  const std::vector<int8_t> levels(8, 1);
  CHECK(Breaks("out of range", [&] { cache.Store(2, 1, levels.data(), 1.0f); }));
  CHECK(Breaks("out of range", [&] { cache.Store(0, 3, levels.data(), 1.0f); }));
  CHECK(QuantizedHeads<MidRise<3>>().heads() == 0);
}

TEST_CASE("QuantizedHeads: a size that does not fit throws, and is not memory that is too small") {
  using Quantized = QuantizedHeads<MidRise<3>, MidRise<4>>;
  CHECK_THROWS_AS((QuantizedHeads<Float, Float>(kHalf, 4, kHalf)), std::bad_array_new_length);
  CHECK_THROWS_AS((QuantizedHeads<Float, Float>(1, kQuarter, 1)), std::bad_array_new_length);
  CHECK_THROWS_AS((QuantizedHeads<Float, Float>(1, kQuarter, 3)), std::bad_array_new_length);
  // Steps alone, for heads of no dimensions.
  CHECK_THROWS_AS(Quantized(kHalf, 0, kHalf), std::bad_array_new_length);
  CHECK_THROWS_AS(Quantized(1, 8, ~size_t{0}), std::bad_array_new_length);
}

}  // namespace
}  // namespace bitnet::quantized_heads_test
