// TestAttention<B>(): attention over the cache against the reference. Part of backend_conformance.h.
#ifndef BITNET_TESTS_TESTING_CONFORMANCE_ATTENTION_H_
#define BITNET_TESTS_TESTING_CONFORMANCE_ATTENTION_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/reference.h"
#include "bitnet/backend/reference_operations.h"
#include "testing/awkward_formats.h"
#include "testing/conformance_products.h"
#include "testing/device_matrix.h"
#include "testing/same_bits.h"

namespace bitnet::testing {

template <Format F>
std::vector<LevelOf<F>> DrawHead(Random& random, size_t dim, Fill fill) {
  std::vector<LevelOf<F>> levels(dim);
  for (auto& level : levels) {
    if constexpr (kIsFloat<F>) {
      level = NearestReal<F>(DrawReal(random, fill == Fill::kTop ? Fill::kRandom : fill));
    } else {
      level = static_cast<LevelOf<F>>(DrawLevel<F>(random, fill, 1));
    }
  }
  return levels;
}

// Whether both sequences have the same levels and steps at the first so many tokens.
bool SameTokens(const auto& a, const auto& b, size_t tokens) {
  bool same = true;
  const auto compare = [&](auto part) {
    for (size_t head = 0; head < a.kv_heads(); ++head) {
      for (size_t t = 0; t < tokens; ++t) {
        reference::WithHead(a, part, head, t, [&](const auto* levels_a, float step_a) {
          reference::WithHead(b, part, head, t, [&](const auto* levels_b, float step_b) {
            same = same && std::equal(levels_a, levels_a + a.head_dim(), levels_b) && SameBits(step_a, step_b);
          });
        });
      }
    }
  };
  compare(reference::kKeys);
  compare(reference::kValues);
  return same;
}

template <Format F, Format First>
void DrawHeads(size_t tokens, Fill fill, uint64_t seed, QuantizedHeads<F, First>& heads) {
  Random random(seed);
  for (size_t h = 0; h < heads.heads(); ++h) {
    const size_t dim = heads.head_dim();
    heads.StoreFirst(h, DrawHead<First>(random, dim, fill).data(), DrawStep(random, fill));
    for (size_t s = 1; s < tokens; ++s) {
      heads.Store(h, s, DrawHead<F>(random, dim, fill).data(), DrawStep(random, fill));
    }
  }
}
template <class Quantizers>
HostCache<Quantizers> DrawCache(size_t kv_heads, size_t dim, size_t tokens, Fill fill, uint64_t seed) {
  HostCache<Quantizers> cache(kv_heads, dim, tokens);
  DrawHeads(tokens, fill, seed, cache.keys);
  DrawHeads(tokens, fill, seed + 1, cache.values);
  return cache;
}

// Any quantizer of a format: levels are drawn, not quantized, here.
template <Format F>
struct SomeQuantizerOf {
  using type = Quantizer<F, AbsMax>;
};
template <>
struct SomeQuantizerOf<Float> {
  using type = Unquantized;
};
template <RealFormat F>
struct SomeQuantizerOf<F> {
  using type = Rounded<F>;
};
template <Format F>
using SomeQuantizer = typename SomeQuantizerOf<F>::type;
template <Format Q, Format K, Format K0, Format V, Format V0>
using SomeQuantizers =
    CacheQuantizers<SomeQuantizer<Q>, SomeQuantizer<K>, SomeQuantizer<K0>, SomeQuantizer<V>, SomeQuantizer<V0>>;

// A cache that holds one sequence, in pages of no order.
template <class Quantizers, class B>
struct SequenceIn {
  typename B::template Cache<Quantizers> cache;
  std::vector<uint32_t> table;

  SequenceIn(const B& backend, typename B::Stream& stream, const HostCache<Quantizers>& host)
      : cache(backend.template NewCache<Quantizers>(host.kv_heads(), host.head_dim())),
        table(PagesFor(host.max_tokens())) {
    backend.ResizeCache(cache, table.size() + 1);
    for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<uint32_t>(table.size() - i);
    backend.WriteCache(stream, host, host.max_tokens(), table, cache);
  }
  // The only one.
  std::vector<PageTable> tables() const { return {table}; }
};

// `tokens` tokens of sequence `sequence` from `first` on.
inline std::vector<Place> PlacesFrom(size_t first, size_t tokens, uint32_t sequence = 0) {
  std::vector<Place> places(tokens);
  for (size_t t = 0; t < tokens; ++t) places[t] = {sequence, static_cast<uint32_t>(first + t)};
  return places;
}
inline HostWhere WhereOf(std::span<const Place> places, std::span<const PageTable> tables, size_t dim) {
  HostWhere where;
  where.Set(places, tables, Rope(dim / 2 * 2, 100.0f));
  return where;
}
// What the reference makes of queries over a sequence.
template <class Quantizers>
void ExpectAttend(const QuantizedRows<typename Quantizers::Query::Format>& q, std::span<const Place> places,
                  const HostCache<Quantizers>& cache, const AttentionShape& shape, MatrixView<float> y) {
  const ReferenceBackend backend;
  ReferenceBackend::Stream stream;
  const SequenceIn<Quantizers, ReferenceBackend> sequence(backend, stream, cache);
  reference::Attend(q, WhereOf(places, sequence.tables(), shape.head_dim), sequence.cache, shape, y);
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
    {530, 1, 3, Fill::kRandom},
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
template <class Quantizers>
struct AttentionExpectation {
  AttentionShape shape;
  HostCache<Quantizers> cache;
  QuantizedRows<typename Quantizers::Query::Format> q;
  GuardedMatrix y;
};

template <Format Q>
QuantizedRows<Q> DrawQueries(size_t rows, size_t dim, Fill fill, uint64_t seed) {
  Random random(seed);
  QuantizedRows<Q> q;
  q.Resize(rows, dim);
  for (size_t row = 0; row < rows; ++row) {
    std::ranges::copy(DrawHead<Q>(random, dim, fill), q[row].begin());
    q.Steps(row)[0] = DrawStep(random, fill == Fill::kBadSteps && row % 4 != 0 ? Fill::kRandom : fill);
  }
  return q;
}

// (Apart from the backend, so that it is compiled once for all of them.)
template <class Quantizers>
[[gnu::noinline]] AttentionExpectation<Quantizers> ExpectAttention(const AttentionCase& c) {
  using Q = typename Quantizers::Query::Format;
  AttentionExpectation<Quantizers> expected{
      {c.heads, c.kv_heads, c.dim},
      DrawCache<Quantizers>(c.kv_heads, c.dim, c.first_position + c.tokens, c.fill, c.dim),
      DrawQueries<Q>(c.tokens * c.heads, c.dim, c.fill, c.dim + 2),
      {c.tokens, c.heads * c.dim}};
  ExpectAttend<Quantizers>(expected.q, PlacesFrom(c.first_position, c.tokens), expected.cache, expected.shape,
                           expected.y.view());
  return expected;
}

template <class Quantizers, class B>
void TestAttentionOf(const B& backend, const char* name) {
  using Q = typename Quantizers::Query::Format;
  ThreadPool three(3);
  const B on_threads = MakeBackend<B>(three);
  for (const AttentionCase& c : kAttentionCases) {
    const auto expected = ExpectAttention<Quantizers>(c);
    for (const bool threads : {false, true}) {
      // The number of threads changes nothing; short contexts use one.
      if (threads && c.first_position < 250) continue;
      const B& used = threads ? on_threads : backend;
      typename B::Stream stream = used.NewStream();
      const SequenceIn<Quantizers, B> sequence(used, stream, expected.cache);
      typename B::template Rows<Q> q;
      used.Write(stream, expected.q, q);
      typename B::Where where;
      used.SetWhere(stream, PlacesFrom(c.first_position, c.tokens), sequence.tables(), Rope(c.dim / 2 * 2, 100.0f),
                    where);
      DeviceMatrix y(used, stream, c.tokens, c.heads * c.dim);
      used.Attend(stream, q, where, sequence.cache, expected.shape, y.view());
      y.ExpectSame(expected.y, name,
                   "head_dim " + std::to_string(c.dim) + ", " + std::to_string(c.tokens) + " tokens from position " +
                       std::to_string(c.first_position) + ", fill " + std::to_string(static_cast<int>(c.fill)) +
                       (threads ? ", three threads" : ""));
    }
  }
}

// A sequence of `length` tokens in a cache: sizes; what was saved is restored to other pages, and a page that becomes a
// copy goes on without its original.
template <class Quantizers, class B>
void TestKeptPages(const B& backend, typename B::Stream& stream, const AttentionShape& shape,
                   typename B::template Cache<Quantizers>& cache, PageTable table, size_t length,
                   const HostCache<Quantizers>& expected, const char* name) {
  const auto page_bytes = backend.template PageBytes<Quantizers>(shape.kv_heads, shape.head_dim);
  const size_t pages = cache.pages();
  Expect(page_bytes.has_value() && *page_bytes * pages == cache.StoredBytes(), name, "the size of a cache");
  Expect(cache.BytesPerToken() != 0 && cache.BytesPerToken() * kPageTokens <= *page_bytes, name,
         "the bytes of a token");

  HostCache<Quantizers> saved;
  backend.ReadCache(stream, cache, table, length, saved);
  ExpectFinished(backend, stream, name);
  Expect(saved.max_tokens() == length && SameTokens(saved, expected, length), name, "a sequence that is read");
  // Restored without its last token, which is then stored anew; beside a copy whose last page is another's copy.
  std::vector<uint32_t> restored, copied(table.begin(), table.end());
  backend.ResizeCache(cache, pages + table.size() + 1);
  Expect(cache.pages() == pages + table.size() + 1, name, "a cache that has grown");
  for (size_t i = 0; i < table.size(); ++i) restored.push_back(static_cast<uint32_t>(pages + i));
  backend.WriteCache(stream, saved, length - 1, restored, cache);
  copied.back() = static_cast<uint32_t>(pages + table.size());
  backend.CopyPage(stream, cache, table.back(), copied.back());
  const auto at = static_cast<uint32_t>(length - 1);
  const std::vector<Place> places = {{0, at}, {1, at}};
  const PageTable tables[] = {restored, copied};
  const size_t width = shape.kv_heads * shape.head_dim;
  Random random(length);
  std::vector<float> k(places.size() * width), v(places.size() * width);
  for (float& x : k) x = Normal(random);
  for (float& x : v) x = Normal(random);
  DeviceMatrix device_k(backend, stream, places.size(), width, k), device_v(backend, stream, places.size(), width, v);
  typename B::Where where;
  backend.SetWhere(stream, places, tables, Rope(shape.head_dim, 100.0f), where);
  backend.Store(stream, device_k.view(), device_v.view(), where, cache);
  const auto expect = [&](PageTable of, size_t row, const char* which) {
    // The reference's, made anew.
    const ReferenceBackend host;
    ReferenceBackend::Stream host_stream;
    SequenceIn<Quantizers, ReferenceBackend> sequence(host, host_stream, expected);
    if (row < places.size()) {
      GuardedMatrix host_k(1, width,
                           std::vector<float>(k.begin() + static_cast<std::ptrdiff_t>(row * width),
                                              k.begin() + static_cast<std::ptrdiff_t>((row + 1) * width)));
      GuardedMatrix host_v(1, width,
                           std::vector<float>(v.begin() + static_cast<std::ptrdiff_t>(row * width),
                                              v.begin() + static_cast<std::ptrdiff_t>((row + 1) * width)));
      const std::vector<Place> place = {{0, at}};
      reference::Store(host_k.view(), host_v.view(), WhereOf(place, sequence.tables(), shape.head_dim), sequence.cache);
    }
    HostCache<Quantizers> read;
    backend.ReadCache(stream, cache, of, length, read);
    ExpectFinished(backend, stream, name);
    Expect(SameTokens(read, PagedSequence(sequence.cache, sequence.table), length), name, which);
  };
  expect(restored, 0, "a sequence restored to other pages");
  expect(copied, 1, "a sequence whose last page is a copy");
  expect(table, 2, "a sequence of whose last page there is a copy");
  backend.ResizeCache(cache, 0);
  Expect(cache.pages() == 0 && cache.StoredBytes() == 0, name, "a cache that has given its pages back");
}

// Several sequences in one pass, and what Store leaves in their pages.
template <AnyQuantizer Query, AnyQuantizer K, AnyQuantizer K0, AnyQuantizer V, AnyQuantizer V0, class B>
void TestSequences(const B& backend, const char* name) {
  using Quantizers = CacheQuantizers<Query, K, K0, V, V0>;
  constexpr AttentionShape kShape{6, 2, 24};
  constexpr size_t kSequences = 3, kTokens = 300;
  typename B::Stream stream = backend.NewStream();
  Random random(5);
  const ReferenceBackend host;
  auto expected = host.NewCache<Quantizers>(kShape.kv_heads, kShape.head_dim);
  auto actual = backend.template NewCache<Quantizers>(kShape.kv_heads, kShape.head_dim);
  host.ResizeCache(expected, kSequences * PagesFor(kTokens));
  // It grows while it holds tokens: the second pages lie behind all first ones.
  backend.ResizeCache(actual, kSequences);
  std::vector<std::vector<uint32_t>> pages(kSequences);
  std::vector<PageTable> tables(kSequences);
  for (size_t i = 0; i < kSequences; ++i) {
    pages[i] = {static_cast<uint32_t>(kSequences - 1 - i), static_cast<uint32_t>(kSequences + i)};
    tables[i] = pages[i];
  }

  // Passes of all mixtures: tokens of one sequence, of all in turn, runs of several.
  size_t lengths[kSequences] = {};
  for (size_t pass = 0; pass < 12; ++pass) {
    std::vector<Place> places;
    for (size_t i = 0; i < 5; ++i) {
      const size_t sequence = pass < 2 ? pass : UniformBelow(random, kSequences);
      const size_t tokens =
          std::min<size_t>(1 + UniformBelow(random, pass % 3 == 0 ? 60 : 2), kTokens - lengths[sequence]);
      for (const Place& place : PlacesFrom(lengths[sequence], tokens, static_cast<uint32_t>(sequence))) {
        places.push_back(place);
      }
      lengths[sequence] += tokens;
    }
    if (std::any_of(std::begin(lengths), std::end(lengths), [](size_t n) { return n > kPageTokens; })) {
      backend.ResizeCache(actual, kSequences * PagesFor(kTokens));
    }
    const std::string place = "pass " + std::to_string(pass);
    const size_t width = kShape.kv_heads * kShape.head_dim;
    std::vector<float> k(places.size() * width), v(places.size() * width);
    for (float& x : k) x = Normal(random);
    for (float& x : v) x = Normal(random);
    const HostWhere host_where = WhereOf(places, tables, kShape.head_dim);
    typename B::Where where;
    backend.SetWhere(stream, places, tables, Rope(kShape.head_dim, 100.0f), where);
    GuardedMatrix host_k(places.size(), width, k), host_v(places.size(), width, v);
    DeviceMatrix device_k(backend, stream, places.size(), width, k), device_v(backend, stream, places.size(), width, v);
    reference::Store(host_k.view(), host_v.view(), host_where, expected);
    backend.Store(stream, device_k.view(), device_v.view(), where, actual);

    using Q = typename Query::Format;
    const QuantizedRows<Q> host_q = DrawQueries<Q>(places.size() * kShape.heads, kShape.head_dim, Fill::kRandom, pass);
    typename B::template Rows<Q> q;
    backend.Write(stream, host_q, q);
    GuardedMatrix expected_y(places.size(), kShape.heads * kShape.head_dim);
    DeviceMatrix y(backend, stream, places.size(), kShape.heads * kShape.head_dim);
    reference::Attend(host_q, host_where, expected, kShape, expected_y.view());
    backend.Attend(stream, q, where, actual, kShape, y.view());
    y.ExpectSame(expected_y, name, place);
  }
  Expect(actual.pages() == kSequences * PagesFor(kTokens), name, "second pages");
  // All of a sequence, read back.
  HostCache<Quantizers> first;
  for (size_t i = 0; i < kSequences; ++i) {
    HostCache<Quantizers> read;
    backend.ReadCache(stream, actual, tables[i], lengths[i], read);
    ExpectFinished(backend, stream, name);
    Expect(read.max_tokens() == lengths[i] && SameTokens(read, PagedSequence(expected, tables[i]), lengths[i]), name,
           "ReadCache of sequence " + std::to_string(i));
    if (i == 0) first = std::move(read);
  }
  const PageTable table = tables[0].first(PagesFor(lengths[0]));
  TestKeptPages<Quantizers>(backend, stream, kShape, actual, table, lengths[0], first, name);
}

// Steps that make one score or weight stand out, vanish, or spoil the others: of keys and of values at one token of
// three blocks, where all others have the step 1/8. Levels are random, or all the largest.
template <class B>
void TestAttentionExtremes(const B& backend) {
  using K = MidRise<3>;
  using K0 = MidRise<4>;
  using Quantizers = SomeQuantizers<MidRise<4>, K, K0, K, K0>;
  typename B::Stream stream = backend.NewStream();
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
        HostCache<Quantizers> cache(1, kDim, kTokens);
        Random random(i);
        for (size_t s = 0; s < kTokens; ++s) {
          const float k_step = i % 3 == 0 && s == at ? step : 0.125f;
          const float v_step = (i % 3 == 1 && s == at) || (i % 3 == 2 && s != at) ? step : 0.125f;
          if (s == 0) {
            cache.keys.StoreFirst(0, DrawHead<K0>(random, kDim, fill).data(), k_step);
            cache.values.StoreFirst(0, DrawHead<K0>(random, kDim, fill).data(), v_step);
          } else {
            cache.keys.Store(0, s, DrawHead<K>(random, kDim, fill).data(), k_step);
            cache.values.Store(0, s, DrawHead<K>(random, kDim, fill).data(), v_step);
          }
        }
        QuantizedRows<MidRise<4>> host_q;
        host_q.Resize(3, kDim);
        for (size_t r = 0; r < 3; ++r) {
          std::ranges::copy(DrawHead<MidRise<4>>(random, kDim, fill), host_q[r].begin());
          host_q.Steps(r)[0] = 0.25f;
        }
        const AttentionShape shape{3, 1, kDim};
        const std::vector<Place> places = PlacesFrom(kTokens - 1, 1);
        GuardedMatrix expected(1, 3 * kDim);
        ExpectAttend<Quantizers>(host_q, places, cache, shape, expected.view());
        const SequenceIn<Quantizers, B> sequence(backend, stream, cache);
        typename B::template Rows<MidRise<4>> q;
        backend.Write(stream, host_q, q);
        typename B::Where where;
        backend.SetWhere(stream, places, sequence.tables(), Rope(kDim, 100.0f), where);
        DeviceMatrix y(backend, stream, 1, 3 * kDim);
        backend.Attend(stream, q, where, sequence.cache, shape, y.view());
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
  const B backend = MakeBackend<B>();
  TestAttentionOf<SomeQuantizers<MidRise<4>, MidRise<3>, MidRise<4>, MidRise<3>, MidRise<4>>>(backend, "Attend of A48");
  TestAttentionOf<SomeQuantizers<Int<8>, Int<5>, Int<8>, Fp4E2M1, Squares>>(backend, "Attend of 4 to 8 bits");
  TestAttentionOf<SomeQuantizers<Int<8>, Int<8>, Int<8>, Int<8>, Int<8>>>(backend, "Attend of 8 bits");
  TestAttentionExtremes(backend);
  using Head = Quantizer<MidRise<4>, AbsMax>;
  using Cached = Quantizer<MidRise<3>, AbsMax>;
  TestSequences<Head, Cached, Head, Cached, Head>(backend, "sequences of A48");
}

template <class B>
void TestOtherAttention() {
  const B backend = MakeBackend<B>();
  TestAttentionOf<SomeQuantizers<Float, Float, Float, Float, Float>>(backend, "Attend of reals");
  TestAttentionOf<SomeQuantizers<Int<4>, Fp4E2M1, Binary, Int<6>, UInt<7>>>(backend, "Attend of 1 to 7 bits");
  TestAttentionOf<SomeQuantizers<MidRise<8>, Ternary, BigSteps, FiveLevels, MidRise<2>>>(backend,
                                                                                         "Attend of unusual formats");
  TestAttentionOf<SomeQuantizers<Int<8>, FiveLevels, Int<8>, FiveLevels, Int<8>>>(backend, "Attend of five levels");
  TestAttentionOf<SomeQuantizers<Int<8>, UInt<4>, UInt<8>, UInt<8>, UInt<4>>>(backend,
                                                                              "Attend of what is not negative");
  TestAttentionOf<SomeQuantizers<Int<4>, MidRise<8>, Squares, Squares, MidRise<8>>>(backend, "Attend of 256 levels");
  TestAttentionOf<SomeQuantizers<Int<4>, Squares, Fp4E2M1, MidRise<8>, Fp4E2M1>>(backend, "Attend of squares");
  TestAttentionOf<SomeQuantizers<Int<4>, Int<8>, Int<8>, BigSteps, Int<8>>>(backend, "Attend of values beyond 8 bits");
  TestAttentionOf<SomeQuantizers<Float, MidRise<3>, MidRise<4>, Float, Float>>(backend, "Attend of reals and codes");
  TestAttentionOf<SomeQuantizers<Float, BFloat16, BFloat16, Float16, Float16>>(backend, "Attend of reals of 16 bits");
  TestAttentionOf<SomeQuantizers<Int<8>, Float16, BFloat16, BFloat16, Float>>(backend, "Attend of reals of all kinds");
  using Five = Quantizer<FiveLevels, AbsMean>;
  TestSequences<Quantizer<Int<8>, AbsMax>, Five, Quantizer<Int<8>, AbsMax>, Signs, Five>(backend,
                                                                                         "sequences of five levels");
  TestSequences<Unquantized, Unquantized, Unquantized, Unquantized, Unquantized>(backend, "sequences of reals");
  using Half = Rounded<Float16>;
  using Brain = Rounded<BFloat16>;
  TestSequences<Unquantized, Half, Half, Brain, Unquantized>(backend, "sequences of reals of 16 bits");
}

template <class B>
void TestAttention() {
  TestSomeAttention<B>();
  TestOtherAttention<B>();
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_CONFORMANCE_ATTENTION_H_
