// The laws that keys or values keep, however they are stored: QuantizedHeads, SimdHeads.
#ifndef BITNET_TESTS_TESTING_HEADS_LAWS_H_
#define BITNET_TESTS_TESTING_HEADS_LAWS_H_

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "bitnet/format/format.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/tensor/stored_reals.h"
#include "testing/random_values.h"
#include "testing/test_format.h"

namespace bitnet::testing {

template <LevelFormat F>
std::vector<LevelOf<F>> RandomLevels(size_t n, uint64_t seed) {
  std::vector<LevelOf<F>> levels;
  for (const uint8_t code : RandomCodes<F>(n, seed))
    levels.push_back(static_cast<LevelOf<F>>(FormatTraits<F>::Level(code)));
  return levels;
}

// Everything that was stored is there again, after all of it has been stored, in an order of no pattern.
template <class Heads>
void CheckRoundTrip(size_t heads, size_t head_dim, size_t tokens) {
  CAPTURE(heads);
  CAPTURE(head_dim);
  CAPTURE(tokens);
  using F = typename Heads::FormatOfRest;
  using First = typename Heads::FormatOfFirst;
  Heads cache(heads, head_dim, tokens);
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

template <template <Format, Format> class Heads>
void CheckHeads() {
  SUBCASE("token 0 need not be the first of a sequence") {
    Heads<MidRise<3>, MidRise<4>> cache(2, 10, 4);
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
  SUBCASE("Float keeps the reals, step 1") {
    Heads<Float, Float> cache(2, 5, 3);
    for (size_t i = 0; i < 6; ++i) cache.Store(i / 3, i % 3, NormalValues(5, i).data(), 1.0f);
    for (size_t i = 0; i < 6; ++i) {
      std::vector<float> values(5);
      cache.Load(i / 3, i % 3, values);
      CHECK(values == NormalValues(5, i));
      CHECK(cache.Step(i / 3, i % 3) == 1.0f);
    }
    CHECK(cache.BytesPerToken() == 40);
  }
  SUBCASE("reals of 16 bits take two bytes, the first token may be of another kind") {
    const auto check = []<class F, class First>(F, First) {
      Heads<F, First> cache(2, 5, 3);
      const auto rounded = []<class R>(R, size_t seed) {
        std::vector<float> values = NormalValues(5, seed);
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
      CHECK(cache.StoredBytes() == Heads<F, First>::StoredBytes(2, 5, 3));
    };
    check(BFloat16(), BFloat16());
    check(Float16(), Float16());
    check(BFloat16(), Float());
    check(Float(), Float16());
  }
  SUBCASE("storing a token again changes that one only") {
    Heads<MidRise<3>, MidRise<4>> cache(1, 10, 4);
    for (size_t t = 1; t < 4; ++t) cache.Store(0, t, RandomLevels<MidRise<3>>(10, t).data(), 1.0f);
    cache.Store(0, 2, RandomLevels<MidRise<3>>(10, 99).data(), 2.0f);
    for (size_t t = 1; t < 4; ++t) {
      std::vector<int8_t> levels(10);
      cache.Load(0, t, levels);
      CHECK(levels == RandomLevels<MidRise<3>>(10, t == 2 ? 99 : t));
    }
  }
  SUBCASE("its bytes are known before it takes them, where they fit") {
    for (const size_t tokens : {0u, 1u, 4u, 5u, 103u}) {
      CHECK(Heads<Int<3>, Int<4>>::StoredBytes(3, 20, tokens) == Heads<Int<3>, Int<4>>(3, 20, tokens).StoredBytes());
      CHECK(Heads<Float, Float>::StoredBytes(3, 20, tokens) == Heads<Float, Float>(3, 20, tokens).StoredBytes());
    }
    constexpr size_t kMax = std::numeric_limits<size_t>::max();
    CHECK(!Heads<Int<3>, Int<3>>::StoredBytes(2, 20, kMax));
    CHECK(!Heads<Int<3>, Int<3>>::StoredBytes(kMax / 2, 1, 1));
    CHECK(!Heads<Float, Float>::StoredBytes(1, 20, kMax / 20));
  }
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_HEADS_LAWS_H_
