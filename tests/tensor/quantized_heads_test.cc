#include "bitnet/tensor/quantized_heads.h"

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <limits>
#include <new>
#include <vector>

#include "testing/expect_assertion.h"
#include "testing/random_values.h"
#include "testing/test_format.h"

namespace bitnet::quantized_heads_test {
namespace {

using testing::Breaks;
using testing::RandomCodes;

struct FiveLevel {
  static constexpr auto kLevels = std::array{-2, -1, 0, 1, 2};
};

// half * half is the first product that does not fit, quarter * 4 another; both would wrap around to 0.
constexpr size_t kHalf = size_t{1} << (sizeof(size_t) * 4);
constexpr size_t kQuarter = ~size_t{0} / 4 + 1;

template <LevelFormat F>
std::vector<LevelOf<F>> RandomLevels(size_t n, uint64_t seed) {
  std::vector<LevelOf<F>> levels;
  for (const uint8_t code : RandomCodes<F>(n, seed))
    levels.push_back(static_cast<LevelOf<F>>(FormatTraits<F>::Level(code)));
  return levels;
}

// Everything that was stored is there again, after all of it has been stored, in an order of no pattern.
template <LevelFormat F, LevelFormat First>
void CheckRoundTrip(size_t heads, size_t head_dim, size_t tokens) {
  CAPTURE(heads);
  CAPTURE(head_dim);
  CAPTURE(tokens);
  QuantizedHeads<F, First> cache(heads, head_dim, tokens);
  const size_t all = heads * tokens;
  for (size_t i = 0; i < all; ++i) {
    const size_t at = i * 7919 % all;  // 7919 is prime and divides none of the sizes used
    const size_t token = at % tokens;
    const auto step = static_cast<float>(at + 1);
    if (token == 0) {
      cache.StoreFirst(at / tokens, RandomLevels<First>(head_dim, at).data(), step);
    } else {
      cache.Store(at / tokens, token, RandomLevels<F>(head_dim, at).data(), step);
    }
  }
  for (size_t at = 0; at < all; ++at) {
    const size_t token = at % tokens;
    CHECK(cache.Step(at / tokens, token) == static_cast<float>(at + 1));
    if (token == 0) {
      std::vector<LevelOf<First>> levels(head_dim);
      cache.LoadFirst(at / tokens, levels);
      CHECK(levels == RandomLevels<First>(head_dim, at));
    } else {
      std::vector<LevelOf<F>> levels(head_dim);
      cache.Load(at / tokens, token, levels);
      CHECK(levels == RandomLevels<F>(head_dim, at));
    }
  }
}

TEST_CASE("QuantizedHeads: gives back what was stored, the first token in its own format") {
  for (const size_t head_dim : {1u, 7u, 8u, 16u, 20u, 128u}) {
    CheckRoundTrip<MidRise<3>, MidRise<4>>(3, head_dim, 9);
    CheckRoundTrip<MidRise<4>, MidRise<4>>(2, head_dim, 5);
    CheckRoundTrip<MidRise<3>, MidRise<8>>(2, head_dim, 4);
    CheckRoundTrip<FiveLevel, Ternary>(2, head_dim, 4);  // a narrower first token
  }
  CheckRoundTrip<MidRise<3>, MidRise<4>>(1, 64, 1);  // only a first token
}

TEST_CASE("QuantizedHeads: token 0 need not be the first of a sequence") {
  QuantizedHeads<MidRise<3>, MidRise<4>> cache(2, 10, 4);
  for (const bool first : {false, true, false}) {
    for (size_t head = 0; head < 2; ++head) {
      cache.Store(head, 1, RandomLevels<MidRise<3>>(10, 7 + head).data(), 2.0f);
      if (first) {
        cache.StoreFirst(head, RandomLevels<MidRise<4>>(10, head).data(), 3.0f);
      } else {
        cache.Store(head, 0, RandomLevels<MidRise<3>>(10, head).data(), 4.0f);
      }
    }
    for (size_t head = 0; head < 2; ++head) {
      std::vector<int8_t> levels(10);
      if (first) {
        cache.LoadFirst(head, levels);
        CHECK(levels == RandomLevels<MidRise<4>>(10, head));
      } else {
        cache.Load(head, 0, levels);
        CHECK(levels == RandomLevels<MidRise<3>>(10, head));
      }
      CHECK(cache.Step(head, 0) == (first ? 3.0f : 4.0f));
      cache.Load(head, 1, levels);
      CHECK(levels == RandomLevels<MidRise<3>>(10, 7 + head));
    }
  }
}

TEST_CASE("QuantizedHeads: Float keeps the reals, step 1") {
  QuantizedHeads<Float> cache(2, 5, 3);
  for (size_t i = 0; i < 6; ++i) cache.Store(i / 3, i % 3, testing::NormalValues(5, i).data(), 1.0f);
  for (size_t i = 0; i < 6; ++i) {
    std::vector<float> values(5);
    cache.Load(i / 3, i % 3, values);
    CHECK(values == testing::NormalValues(5, i));
    CHECK(cache.Step(i / 3, i % 3) == 1.0f);
  }
  CHECK(cache.BytesPerToken() == 40);
}

TEST_CASE("QuantizedHeads: reals of 16 bits take two bytes, the first token may be of another kind") {
  const auto check = []<class F, class First>(F, First) {
    QuantizedHeads<F, First> cache(2, 5, 3);
    const auto rounded = []<class R>(R, size_t seed) {
      std::vector<float> values = testing::NormalValues(5, seed);
      Rounded<R>::Quantize(values, values.data());
      return values;
    };
    for (size_t head = 0; head < 2; ++head) {
      cache.StoreFirst(head, rounded(First(), head).data(), 1.0f);
      for (size_t t = 1; t < 3; ++t) cache.Store(head, t, rounded(F(), 2 * t + head).data(), 1.0f);
    }
    for (size_t head = 0; head < 2; ++head) {
      std::vector<float> values(5);
      cache.LoadFirst(head, values);
      CHECK(values == rounded(First(), head));
      for (size_t t = 1; t < 3; ++t) {
        cache.Load(head, t, values);
        CHECK(values == rounded(F(), 2 * t + head));
      }
      CHECK(cache.Step(head, 1) == 1.0f);
    }
    CHECK(cache.BytesPerToken() == 2 * 5 * sizeof(StoredReal<F>));
    CHECK(cache.StoredBytes() == QuantizedHeads<F, First>::StoredBytes(2, 5, 3));
  };
  check(BFloat16(), BFloat16());
  check(Float16(), Float16());
  check(BFloat16(), Float());
  check(Float(), Float16());
}

TEST_CASE("QuantizedHeads: exactly 3 bits a value") {
  const QuantizedHeads<MidRise<3>, MidRise<4>> cache(8, 128, 1000);
  CHECK(cache.BytesPerToken() == 8 * (48 + 4));
  CHECK(cache.StoredBytes() == 8 * (64 + 1000 * 48) + 8 * 1000 * 4);
}

TEST_CASE("QuantizedHeads: storing a token again changes that one only") {
  QuantizedHeads<MidRise<3>, MidRise<4>> cache(1, 10, 4);
  for (size_t t = 1; t < 4; ++t) cache.Store(0, t, RandomLevels<MidRise<3>>(10, t).data(), 1.0f);
  cache.Store(0, 2, RandomLevels<MidRise<3>>(10, 99).data(), 2.0f);
  for (size_t t = 1; t < 4; ++t) {
    std::vector<int8_t> levels(10);
    cache.Load(0, t, levels);
    CHECK(levels == RandomLevels<MidRise<3>>(10, t == 2 ? 99 : t));
  }
}

TEST_CASE("QuantizedHeads: its bytes are known before it takes them, where they fit") {
  for (const size_t tokens : {0u, 1u, 4u, 5u, 103u}) {
    CHECK(QuantizedHeads<Int<3>, Int<4>>::StoredBytes(3, 20, tokens) ==
          QuantizedHeads<Int<3>, Int<4>>(3, 20, tokens).StoredBytes());
    CHECK(QuantizedHeads<Float>::StoredBytes(3, 20, tokens) == QuantizedHeads<Float>(3, 20, tokens).StoredBytes());
  }
  constexpr size_t kMax = std::numeric_limits<size_t>::max();
  CHECK(!QuantizedHeads<Int<3>>::StoredBytes(2, 20, kMax));
  CHECK(!QuantizedHeads<Int<3>>::StoredBytes(kMax / 2, 1, 1));
  CHECK(!QuantizedHeads<Float>::StoredBytes(1, 20, kMax / 20));
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
