#include "bitnet/layer/kv_cache.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

#include "bitnet/backend/default_backend.h"
#include "bitnet/backend/reference.h"
#include "testing/expect_assertion.h"
#include "testing/random_values.h"
#include "testing/tiny_model.h"

namespace bitnet {
namespace {

using testing::Breaks;
using testing::NormalValues;
using testing::SameBits;

constexpr size_t kHeads = 3, kDim = 10, kWidth = kHeads * kDim;

// Checks a stored head against its quantizer, applied to the reals.
template <AnyQuantizer Q, class Cache>
void CheckHead(const Cache& cache, size_t head, size_t token, std::span<const float> reals) {
  std::vector<LevelOf<typename Q::Format>> expected(kDim), loaded(kDim);
  const float step = Q::Quantize(reals, expected.data());
  cache.template Load<typename Q::Format>(head, token, loaded);
  CHECK(loaded == expected);
  CHECK(cache.Step(head, token) == step);
}

template <class Cache, AnyQuantizer Q, AnyQuantizer First>
void CheckAll(const Cache& cache, const std::vector<float>& reals) {
  for (size_t t = 0; t < reals.size() / kWidth; ++t) {
    for (size_t h = 0; h < kHeads; ++h) {
      CAPTURE(t);
      CAPTURE(h);
      const auto head = std::span(reals).subspan(t * kWidth + h * kDim, kDim);
      if (t == 0) {
        CheckHead<First>(cache, h, t, head);
      } else {
        CheckHead<Q>(cache, h, t, head);
      }
    }
  }
}

template <Scheme S>
void CheckStores() {
  constexpr size_t kTokens = 9;
  const DefaultBackend<S> backend;
  const std::vector<float> k = NormalValues(kTokens * kWidth, 1), v = NormalValues(kTokens * kWidth, 2);
  const auto rows = [](const std::vector<float>& x, size_t first, size_t count) {
    return MatrixView<const float>(x.data() + first * kWidth, count, kWidth);
  };
  // However the tokens are cut into calls, and over what was there before.
  for (const std::vector<size_t>& cuts : {std::vector<size_t>{9}, {1, 8}, {4, 5}, {1, 1, 1, 1, 1, 1, 1, 1, 1}}) {
    KvCache<S> cache(kHeads, kDim, kTokens);
    CHECK(cache.max_tokens() == kTokens);
    for (const bool over : {false, true}) {
      if (over) cache.Store(backend, rows(v, 0, kTokens), rows(k, 0, kTokens), 0);  // others, to be overwritten
      size_t at = 0;
      for (const size_t n : cuts) {
        cache.Store(backend, rows(k, at, n), rows(v, at, n), at);
        at += n;
      }
      CheckAll<typename KvCache<S>::Keys, typename S::Key, typename S::FirstKey>(cache.keys(), k);
      CheckAll<typename KvCache<S>::Values, typename S::Value, typename S::FirstValue>(cache.values(), v);
    }
  }
}

struct Int8Cache : A48 {
  using Key = Quantizer<Int<8>, AbsMax>;
  using Value = Quantizer<testing::FiveLevel, AbsMean>;  // packed three to a byte
  using FirstKey = Key;
  using FirstValue = Quantizer<MidRise<8>, AbsMax>;
};

TEST_CASE("KvCache: holds what the scheme's quantizers give, the first token by its own") {
  SUBCASE("A48: 3 bits, the first token 4") { CheckStores<A48>(); }
  SUBCASE("8 bits and five levels") { CheckStores<Int8Cache>(); }
  SUBCASE("Mixed: wider first keys, real values") { CheckStores<testing::Mixed>(); }
  SUBCASE("Fp32: reals") { CheckStores<Fp32>(); }
}

TEST_CASE("KvCache: bytes of a token") {
  // 64 values of 3 bits are 24 bytes, and a step; for keys and values, for two heads.
  const KvCache<A48> a48(2, 64, 100);
  CHECK(a48.BytesPerToken() == 2 * 2 * (24 + 4));
  CHECK(a48.keys().FirstBytes() == 32);
  // The first token's codes lie apart, 32 bytes a head; vector loads may read beyond the codes and the steps of the
  // two.
  CHECK(a48.StoredBytes() == 100 * a48.BytesPerToken() + 2 * 2 * 32 + 4 * HeadCache<Float>::kReadBeyond);
  CHECK(KvCache<Fp32>(2, 64, 100).BytesPerToken() == 2 * 2 * 64 * 4);
  // Codes are packed in whole units: of eight codes, or of three to a byte.
  CHECK(KvCache<Int8Cache>(1, 10, 100).BytesPerToken() == (16 + 4) + (4 + 4));
}

TEST_CASE("KvCache: what does not fit is stopped with a sentence") {
  const ReferenceBackend backend;
  KvCache<A48> cache(kHeads, kDim, 2);
  const std::vector<float> x(3 * (kWidth + 1));
  const MatrixView<const float> three(x.data(), 3, kWidth), gaps(x.data(), 2, kWidth, kWidth + 1),
      narrow(x.data(), 1, kWidth - kDim);
  CHECK(Breaks("out of range", [&] { cache.Store(backend, three, three, 0); }));
  CHECK(Breaks("out of range", [&] { cache.Store(backend, three.Rows(0, 1), three.Rows(0, 1), 2); }));
  CHECK(Breaks("contiguous", [&] { cache.Store(backend, gaps, gaps, 0); }));
  CHECK(Breaks("kv_heads * head_dim", [&] { cache.Store(backend, narrow, narrow, 0); }));
}

}  // namespace
}  // namespace bitnet
