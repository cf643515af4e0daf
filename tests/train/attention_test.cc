#include "bitnet/train/attention.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "bitnet/backend/reference.h"
#include "bitnet/scheme/scheme.h"
#include "testing/one_page.h"
#include "testing/random_values.h"
#include "testing/same_bits.h"

namespace bitnet::testing {
namespace {

// Values of a format whose dot products and weighted sums do not fit float.
struct WideHeads : A48 {
  using Query = Quantizer<MidRise<8>, AbsMax>;
  using Key = Quantizer<MidRise<8>, AbsMax>;
  using FirstKey = Key;
  using Value = Quantizer<Int<8>, AbsMax>;
  using FirstValue = Quantizer<MidRise<8>, AbsMax>;
};

// AttentionForward of one sequence against the backend's attention over a cache, token by token.
template <Scheme S>
void CheckForward(size_t length, size_t head_dim, float bad) {
  CAPTURE(length);
  CAPTURE(head_dim);
  constexpr size_t kHeads = 4, kKvHeads = 2;
  const AttentionDims dims{1, length, kHeads, kKvHeads, head_dim};
  const size_t width = (kHeads + 2 * kKvHeads) * head_dim;
  std::vector<float> x = NormalValues(length * width, 1);
  // A key or value that is not finite, in the second block if there is one.
  if (bad != 0.0f) x[(length - 2) * width + dims.ValueColumn(1) + head_dim / 2] = bad;
  std::vector<float> heads = x, probabilities(kHeads * length * length), attended(length * kHeads * head_dim);
  const ReferenceBackend backend;
  AttentionForward<S>(backend, dims, MatrixView<float>(heads.data(), length, width),
                      MatrixView<float>(probabilities.data(), kHeads * length, length),
                      MatrixView<float>(attended.data(), length, kHeads * head_dim));

  using Cache = HostPages<CacheQuantizers<typename S::Query, typename S::Key, typename S::FirstKey, typename S::Value,
                                          typename S::FirstValue>>;
  Cache cache(kKvHeads, head_dim);
  cache.Resize(PagesFor(length));
  REQUIRE(cache.pages() <= std::size(testing::kFirstPages));
  QuantizedRows<typename S::Query::Format> q;
  HostWhere where;
  std::vector<float> expected(kHeads * head_dim);
  size_t wrong = 0;
  for (size_t t = 0; t < length; ++t) {
    const float* row = x.data() + t * width;
    const auto part = [&](size_t column, size_t cols) { return MatrixView<const float>(row + column, 1, cols); };
    where.Set(std::vector<Place>{{0, static_cast<uint32_t>(t)}}, testing::kFourPages, Rope(2, 10.0f));
    reference::Store(part(dims.KeyColumn(0), kKvHeads * head_dim), part(dims.ValueColumn(0), kKvHeads * head_dim),
                     where, cache);
    reference::Quantize<typename S::Query>(MatrixView<const float>(row, kHeads, head_dim), q);
    reference::Attend(q, where, cache, {kHeads, kKvHeads, head_dim},
                      MatrixView<float>(expected.data(), 1, expected.size()));
    for (size_t i = 0; i < expected.size(); ++i) wrong += !SameBits(attended[t * expected.size() + i], expected[i]);
  }
  CHECK(wrong == 0);
}

template <Scheme S>
void CheckForward() {
  for (const size_t length : {5u, 256u, 257u, 300u}) CheckForward<S>(length, 8, 0.0f);
  CheckForward<S>(70, 33, 0.0f);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    CheckForward<S>(270, 8, bad);
  }
}

TEST_CASE("AttentionForward: the bits of Backend::Attend, across the border of a block") {
  SUBCASE("A48") { CheckForward<A48>(); }
  SUBCASE("8-bit heads") { CheckForward<WideHeads>(); }
  SUBCASE("Fp32") { CheckForward<Fp32>(); }
}

}  // namespace
}  // namespace bitnet::testing
