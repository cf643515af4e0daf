#include "bitnet/backend/simd/simd_heads.h"

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <limits>
#include <new>
#include <vector>

#include "testing/awkward_formats.h"
#include "testing/expect_assertion.h"
#include "testing/heads_laws.h"

namespace bitnet::simd_heads_test {
namespace {

using testing::BigSteps;
using testing::Breaks;
using testing::CheckRoundTrip;
using testing::RandomCodes;
using testing::RandomLevels;
using testing::Squares;

struct FiveLevel {
  static constexpr auto kLevels = std::array{-2, -1, 0, 1, 2};
};

// half * half is the first product that does not fit, quarter * 4 another; both would wrap around to 0.
constexpr size_t kHalf = size_t{1} << (sizeof(size_t) * 4);
constexpr size_t kQuarter = ~size_t{0} / 4 + 1;

TEST_CASE("SimdHeads: gives back what was stored, the first token in its own format") {
  for (const size_t head_dim : {1u, 7u, 8u, 16u, 20u, 128u}) {
    CheckRoundTrip<SimdHeads<MidRise<3>, MidRise<4>>>(3, head_dim, 9);
    CheckRoundTrip<SimdHeads<MidRise<4>, MidRise<4>>>(2, head_dim, 5);
    CheckRoundTrip<SimdHeads<MidRise<3>, MidRise<8>>>(2, head_dim, 4);
    CheckRoundTrip<SimdHeads<FiveLevel, Ternary>>(2, head_dim, 4);  // a narrower first token
    CheckRoundTrip<SimdHeads<Fp4E2M1, Int<8>>>(2, head_dim, 5);
    CheckRoundTrip<SimdHeads<Int<8>, Squares>>(2, head_dim, 5);
    CheckRoundTrip<SimdHeads<Squares, UInt<8>>>(2, head_dim, 5);
    CheckRoundTrip<SimdHeads<MidRise<5>, BigSteps>>(2, head_dim, 5);
    CheckRoundTrip<SimdHeads<BigSteps, MidRise<8>>>(2, head_dim, 5);
  }
  CheckRoundTrip<SimdHeads<MidRise<3>, MidRise<4>>>(1, 64, 1);  // only a first token
}

TEST_CASE("SimdHeads: obeys the laws of heads_laws.h") { testing::CheckHeads<SimdHeads>(); }

TEST_CASE("SimdHeads: reals take their own bytes") { CHECK(SimdHeads<Float>(2, 5, 3).TokenBytes() == 20); }

TEST_CASE("SimdHeads: exactly 3 bits a value") {
  const SimdHeads<MidRise<3>, MidRise<4>> cache(8, 128, 1000);
  CHECK(cache.TokenBytes() == 48);
  CHECK(cache.FirstBytes() == 128);
  CHECK(cache.BytesPerToken() == 8 * (48 + 4));
  // Four tokens side by side, a head's groups one after the other, the first tokens apart.
  CHECK(cache.GroupBytes() == 4 * 48);
  CHECK(cache.Group(0, 3) == cache.Group(0, 0));
  CHECK(cache.Group(0, 999) == cache.Group(0, 0) + 249 * 4 * 48);
  CHECK(cache.Group(1, 0) == cache.Group(0, 999) + 4 * 48);
  CHECK(cache.FirstToken(0) == cache.Group(7, 999) + 4 * 48);
  CHECK(cache.FirstToken(7) == cache.FirstToken(0) + 7 * 128);
  // Beyond the bits: a slot for each head's first token, what makes groups whole, and what vectors read beyond the end.
  CHECK(cache.StoredBytes() == 8 * (128 + 1000 * 48) + 8 * 1000 * 4 + 2 * cache.kReadBeyond);
  CHECK(SimdHeads<MidRise<3>, MidRise<4>>(8, 128, 997).StoredBytes() == cache.StoredBytes() - 8 * 3 * 4);
}

TEST_CASE("SimdHeads: up to 16 levels, codes are packed as those of Packing, unit by unit of four tokens") {
  SimdHeads<MidRise<3>, MidRise<4>> cache(1, 20, 8);
  for (size_t token = 4; token < 8; ++token) {
    std::vector<uint8_t> codes = RandomCodes<MidRise<3>>(20, token);
    codes.resize(24);  // what follows a head in its last unit is code 0
    cache.Store(0, token, RandomLevels<MidRise<3>>(20, token).data(), 1.0f);
    std::vector<uint8_t> packed(Packing<MidRise<3>>::Bytes(24));
    Packing<MidRise<3>>::Pack(codes, packed);
    std::vector<uint8_t> stored;
    for (size_t unit = 0; unit < 3; ++unit) {
      const uint8_t* at = cache.Group(0, token) + (unit * 4 + token % 4) * 3;
      stored.insert(stored.end(), at, at + 3);
    }
    CHECK(stored == packed);
  }
}

TEST_CASE("SimdHeads: never a power of five; more than 16 levels are offsets in bytes, four dimensions to a unit") {
  CHECK(SimdHeads<FiveLevel>(1, 128, 4).TokenBytes() == 48);
  CHECK(SimdHeads<UInt<4>>(1, 128, 4).TokenBytes() == 64);
  CHECK(SimdHeads<Int<5>>(1, 128, 4).TokenBytes() == 128);
  SimdHeads<Squares, Int<8>> cache(1, 6, 8);
  const int8_t levels[] = {-100, -81, -64, -49, 121, 1};
  cache.Store(0, 5, levels, 1.0f);
  const auto at = [&](size_t i) { return cache.Group(0, 4)[i / 4 * 16 + 4 + i % 4]; };
  for (size_t i = 0; i < 6; ++i) CHECK(at(i) == levels[i] + 100);
  CHECK(at(6) == 0);
}

TEST_CASE("SimdHeads: out of range is an assertion") {
  SimdHeads<MidRise<3>, MidRise<4>> cache(2, 8, 3);
  const std::vector<int8_t> levels(8, 1);
  CHECK(Breaks("out of range", [&] { cache.Store(2, 1, levels.data(), 1.0f); }));
  CHECK(Breaks("out of range", [&] { cache.Store(0, 3, levels.data(), 1.0f); }));
  CHECK(SimdHeads<MidRise<3>>().heads() == 0);
}

TEST_CASE("SimdHeads: a size that does not fit throws, and is not memory that is too small") {
  using Quantized = SimdHeads<MidRise<3>, MidRise<4>>;
  CHECK_THROWS_AS((SimdHeads<Float, Float>(kHalf, 4, kHalf)), std::bad_array_new_length);
  CHECK_THROWS_AS((SimdHeads<Float, Float>(1, kQuarter, 1)), std::bad_array_new_length);
  CHECK_THROWS_AS((SimdHeads<Float, Float>(1, kQuarter, 3)), std::bad_array_new_length);
  // Steps alone, for heads of no dimensions.
  CHECK_THROWS_AS(Quantized(kHalf, 0, kHalf), std::bad_array_new_length);
  // 8 dimensions: a head takes 3 bytes a token, in groups of four, and 8 for the first; with 16 dimensions and 6 bytes
  // so many make kHalf.
  constexpr size_t kTokens = (kHalf - 16) / 6;
  static_assert(kTokens % 4 == 0 && kTokens * 6 + 16 == kHalf);
  CHECK_THROWS_AS(Quantized(kHalf, 16, kTokens), std::bad_array_new_length);
  CHECK_THROWS_AS(Quantized(1, 8, ~size_t{0}), std::bad_array_new_length);
}

}  // namespace
}  // namespace bitnet::simd_heads_test
