// TestAttention<B>(): attention over the cache against the reference. Part of backend_conformance.h.
#ifndef BITNET_TESTS_TESTING_CONFORMANCE_ATTENTION_H_
#define BITNET_TESTS_TESTING_CONFORMANCE_ATTENTION_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/reference.h"
#include "testing/awkward_formats.h"
#include "testing/conformance_products.h"
#include "testing/same_bits.h"

namespace bitnet::testing {

template <Format F>
std::vector<LevelOf<F>> DrawHead(Random& random, size_t dim, Fill fill) {
  std::vector<LevelOf<F>> levels(dim);
  for (auto& level : levels) {
    if constexpr (kIsFloat<F>) {
      level = DrawReal(random, fill == Fill::kTop ? Fill::kRandom : fill);
    } else {
      level = static_cast<LevelOf<F>>(DrawLevel<F>(random, fill, 1));
    }
  }
  return levels;
}

template <Format F, Format First>
HeadCache<F, First> DrawCache(size_t heads, size_t dim, size_t tokens, Fill fill, uint64_t seed) {
  Random random(seed);
  HeadCache<F, First> cache(heads, dim, tokens);
  for (size_t h = 0; h < heads; ++h) {
    cache.template Store<First>(h, 0, DrawHead<First>(random, dim, fill).data(), DrawStep(random, fill));
    for (size_t s = 1; s < tokens; ++s) {
      cache.template Store<F>(h, s, DrawHead<F>(random, dim, fill).data(), DrawStep(random, fill));
    }
  }
  return cache;
}

struct AttentionCase {
  size_t dim, tokens, first_position;
  Fill fill;
  size_t heads = 4, kv_heads = 2;
};
inline constexpr AttentionCase kAttentionCases[] = {
    {1, 1, 0, Fill::kRandom},
    {7, 2, 0, Fill::kRandom},
    {8, 1, 3, Fill::kTop},
    {16, 5, 1, Fill::kRandom},
    {31, 1, 4, Fill::kBottom},
    {33, 2, 7, Fill::kRandom},
    {64, 1, 37, Fill::kRandom},
    {65, 3, 8, Fill::kRandom},
    {80, 2, 5, Fill::kSparse},
    {128, 1, 200, Fill::kTop},
    {128, 2, 41, Fill::kRandom},
    {130, 1, 12, Fill::kZero},
    {96, 4, 9, Fill::kBadSteps},
    {192, 2, 19, Fill::kRandom},
    // Around the borders of blocks; heads that make tiles of 1 to 4 rows; enough work for several threads.
    {9, 1, 254, Fill::kRandom},
    {20, 3, 254, Fill::kRandom, 5, 1},
    {128, 1, 255, Fill::kTop, 3, 1},
    {64, 1, 256, Fill::kRandom, 6, 3},
    {40, 2, 510, Fill::kBottom, 2, 2},
    {128, 1, 599, Fill::kRandom, 15, 5},
    {72, 3, 599, Fill::kRandom, 7, 1},
    {64, 1, 700, Fill::kBadSteps, 10, 10},
    // Tiles that the matrix unit is worth setting up for.
    {80, 1, 700, Fill::kBadSteps, 12, 4},
    {97, 2, 515, Fill::kTop, 4, 2},
    {160, 1, 767, Fill::kRandom, 4, 1},
};

// A case and its result.
template <Format Q, Format K, Format K0, Format V, Format V0>
struct AttentionExpectation {
  AttentionShape shape;
  HeadCache<K, K0> keys;
  HeadCache<V, V0> values;
  QuantizedTokens<Q> q;
  GuardedMatrix y;
};

// (Apart from the backend, so that it is compiled once for all of them.)
template <Format Q, Format K, Format K0, Format V, Format V0>
[[gnu::noinline]] AttentionExpectation<Q, K, K0, V, V0> ExpectAttention(const AttentionCase& c) {
  const AttentionShape shape{c.heads, c.kv_heads, c.dim, c.first_position};
  const size_t cached = c.first_position + c.tokens;
  AttentionExpectation<Q, K, K0, V, V0> expected{shape,
                                                 DrawCache<K, K0>(shape.kv_heads, c.dim, cached, c.fill, c.dim),
                                                 DrawCache<V, V0>(shape.kv_heads, c.dim, cached, c.fill, c.dim + 1),
                                                 {},
                                                 {c.tokens, shape.heads * c.dim}};
  Random random(c.dim + 2);
  expected.q.Resize(c.tokens * shape.heads, c.dim);
  for (size_t row = 0; row < expected.q.tokens(); ++row) {
    const auto head = DrawHead<Q>(random, c.dim, c.fill);
    std::copy(head.begin(), head.end(), expected.q.Row(row));
    expected.q.Step(row, 0) = DrawStep(random, c.fill == Fill::kBadSteps && row % 4 != 0 ? Fill::kRandom : c.fill);
  }
  AttentionScratch scratch;
  ReferenceBackend().Attend(expected.q, expected.keys, expected.values, shape, scratch, expected.y.view());
  return expected;
}

template <Format Q, Format K, Format K0, Format V, Format V0, class B>
void TestAttentionOf(const B& backend, const char* name) {
  AttentionScratch scratch;
  ThreadPool three(3);
  for (const AttentionCase& c : kAttentionCases) {
    const auto expected = ExpectAttention<Q, K, K0, V, V0>(c);
    for (const bool threads : {false, true}) {
      // The number of threads changes nothing; short contexts use one.
      if (threads && c.first_position < 250) continue;
      GuardedMatrix y(c.tokens, expected.shape.heads * c.dim);
      (threads ? B(three) : backend)
          .Attend(expected.q, expected.keys, expected.values, expected.shape, scratch, y.view());
      y.ExpectSame(expected.y, name,
                   "head_dim " + std::to_string(c.dim) + ", " + std::to_string(c.tokens) + " tokens from position " +
                       std::to_string(c.first_position) + ", fill " + std::to_string(static_cast<int>(c.fill)) +
                       (threads ? ", three threads" : ""));
    }
  }
}

// Steps that make one score or weight stand out, vanish, or spoil the others: of keys and of values at one token of
// three blocks, where all others have the step 1/8. Levels are random, or all the largest.
template <class B>
void TestAttentionExtremes(const B& backend) {
  using K = MidRise<3>;
  using K0 = MidRise<4>;
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kSteps[] = {0.125f, 0x1.fffffep-3f, 0.0f,    1e-45f, 1e-38f, 1e-34f,
                              100.0f, 3e38f,          -0.125f, -1e30f, kNaN,   kInfinity};
  constexpr size_t kDim = 72, kTokens = 530;
  for (const Fill fill : {Fill::kRandom, Fill::kTop}) {
    for (const size_t at : {0u, 7u, 255u, 256u, 529u}) {
      for (size_t i = 0; i < 3 * std::size(kSteps); ++i) {
        // The step of one key, of one value, or of all values but one.
        const float step = kSteps[i / 3];
        HeadCache<K, K0> keys(1, kDim, kTokens), values(1, kDim, kTokens);
        Random random(i);
        for (size_t s = 0; s < kTokens; ++s) {
          const float k_step = i % 3 == 0 && s == at ? step : 0.125f;
          const float v_step = (i % 3 == 1 && s == at) || (i % 3 == 2 && s != at) ? step : 0.125f;
          if (s == 0) {
            keys.Store<K0>(0, s, DrawHead<K0>(random, kDim, fill).data(), k_step);
            values.Store<K0>(0, s, DrawHead<K0>(random, kDim, fill).data(), v_step);
          } else {
            keys.Store<K>(0, s, DrawHead<K>(random, kDim, fill).data(), k_step);
            values.Store<K>(0, s, DrawHead<K>(random, kDim, fill).data(), v_step);
          }
        }
        QuantizedTokens<MidRise<4>> q;
        q.Resize(3, kDim);
        for (size_t r = 0; r < 3; ++r) {
          const auto head = DrawHead<MidRise<4>>(random, kDim, fill);
          std::copy(head.begin(), head.end(), q.Row(r));
          q.Step(r, 0) = 0.25f;
        }
        const AttentionShape shape{3, 1, kDim, kTokens - 1};
        AttentionScratch scratch;
        GuardedMatrix expected(1, 3 * kDim), y(1, 3 * kDim);
        ReferenceBackend().Attend(q, keys, values, shape, scratch, expected.view());
        backend.Attend(q, keys, values, shape, scratch, y.view());
        y.ExpectSame(expected, "Attend of extremes",
                     "token " + std::to_string(at) + ", case " + std::to_string(i) + ", fill " +
                         std::to_string(static_cast<int>(fill)));
      }
    }
  }
}

// The list in two parts: a test of many targets takes all of it for some of them only.
template <class B>
void TestSomeAttention() {
  const B backend(DefaultExecutor());
  TestAttentionOf<MidRise<4>, MidRise<3>, MidRise<4>, MidRise<3>, MidRise<4>>(backend, "Attend of A48");
  TestAttentionOf<Int<8>, Int<5>, Int<8>, Fp4E2M1, Squares>(backend, "Attend of 4 to 8 bits");
  TestAttentionExtremes(backend);
}

template <class B>
void TestOtherAttention() {
  const B backend(DefaultExecutor());
  TestAttentionOf<Float, Float, Float, Float, Float>(backend, "Attend of reals");
  TestAttentionOf<Int<4>, Fp4E2M1, Binary, Int<6>, UInt<7>>(backend, "Attend of 1 to 7 bits");
  TestAttentionOf<MidRise<8>, Ternary, BigSteps, FiveLevels, MidRise<2>>(backend, "Attend of unusual formats");
  TestAttentionOf<Int<4>, Int<8>, Int<8>, BigSteps, Int<8>>(backend, "Attend of values beyond 8 bits");
  TestAttentionOf<Float, MidRise<3>, MidRise<4>, Float, Float>(backend, "Attend of reals and codes");
}

template <class B>
void TestAttention() {
  TestSomeAttention<B>();
  TestOtherAttention<B>();
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_CONFORMANCE_ATTENTION_H_
