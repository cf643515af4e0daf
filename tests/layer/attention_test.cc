#include "bitnet/layer/attention.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "bitnet/backend/reference.h"
#include "bitnet/backend/simd/default_backend.h"
#include "layer/paper_oracle.h"
#include "testing/expect_assertion.h"
#include "testing/one_page.h"
#include "testing/random_values.h"
#include "testing/tiny_model.h"

namespace bitnet::attention_test {
namespace {

using testing::Breaks;
using testing::NormalValues;
using testing::PaperOracle;
using testing::PaperScheme;
using testing::Reals;
using testing::SameBits;
using testing::ToReals;

constexpr size_t kHidden = 64, kDim = 6, kTokens = 8;
constexpr float kEps = 1e-3f, kBase = 100.0f;

struct Case {
  size_t heads, kv_heads;
  std::vector<float> q, k, v, o, gain, x, q_gain, k_gain;

  Case(size_t query_heads, size_t shared_heads, uint64_t seed)
      : heads(query_heads),
        kv_heads(shared_heads),
        q(NormalValues(heads * kDim * kHidden, 8 * seed, 0.3f)),
        k(NormalValues(kv_heads * kDim * kHidden, 8 * seed + 1, 0.3f)),
        v(NormalValues(kv_heads * kDim * kHidden, 8 * seed + 2, 0.3f)),
        o(NormalValues(heads * kDim * kHidden, 8 * seed + 3, 0.3f)),
        gain(NormalValues(heads * kDim, 8 * seed + 4)),
        x(NormalValues(kTokens * kHidden, 8 * seed + 5)),
        q_gain(NormalValues(kDim, 8 * seed + 6)),
        k_gain(NormalValues(kDim, 8 * seed + 7)) {}
};

template <Scheme S, class B = DefaultBackend<S>>
class Run {
 public:
  explicit Run(const Case& c, bool sub_norm = std::is_same_v<S, testing::Mixed>,
               bool head_norms = std::is_same_v<S, testing::Mixed>)
      : attention_(Weights(c.q, kHidden), Weights(c.k, kHidden), Weights(c.v, kHidden), Weights(c.o, c.heads * kDim),
                   sub_norm ? RmsNorm<B>(c.gain, kEps, backend_) : RmsNorm<B>(), c.heads, c.kv_heads, backend_,
                   head_norms ? HeadNorms<B>{{c.q_gain, kEps, backend_}, {c.k_gain, kEps, backend_}} : HeadNorms<B>()),
        cache_(backend_.template NewCache<CacheQuantizersOf<S>>(c.kv_heads, kDim)) {
    backend_.ResizeCache(cache_, PagesFor(kTokens));
  }

  // Tokens [first, first + count) of x.
  std::vector<float> operator()(const std::vector<float>& x, size_t first, size_t count, WeightUse* use = nullptr) {
    std::vector<Place> places(count);
    for (size_t t = 0; t < count; ++t) places[t].position = static_cast<uint32_t>(first + t);
    backend_.SetWhere(stream_, places, testing::kOnePage, Rope(kDim, kBase), where_);
    std::vector<float> y(count * kHidden);
    attention_(backend_, stream_, MatrixView<const float>(x.data() + first * kHidden, count, kHidden), where_, cache_,
               buffers_, MatrixView<float>(y.data(), count, kHidden), use);
    return y;
  }
  const Attention<S, B>& attention() const { return attention_; }

 private:
  static QuantizedMatrix<typename S::Weight::Format> Weights(const std::vector<float>& w, size_t cols) {
    return QuantizedMatrix<typename S::Weight::Format>::template Quantize<typename S::Weight>(
        MatrixView<const float>(w.data(), w.size() / cols, cols));
  }

  B backend_;
  Attention<S, B> attention_;
  typename Attention<S, B>::Cache cache_;
  typename Attention<S, B>::Buffers buffers_;
  typename B::Stream stream_;
  typename B::Where where_;
};

// The bound: about twenty roundings to float lie between x and y (norms and steps 5, product 2, rotation 2, step and
// score 4, exp 2, weight and sum 3, step and product 4); each errs by 2^-24 of a value, and a value that reaches y is
// hardly larger than the largest of y.
constexpr double kBound = 20 * 0x1p-24;

template <Scheme S>
void CheckAgainstPaper(const PaperScheme& paper, size_t heads, size_t kv_heads, bool head_norms = false) {
  constexpr size_t kPaperTokens = 6;  // the more values, the more come near a tie
  size_t compared = 0;
  double worst = 0.0;
  for (uint64_t seed = 1; seed <= 1000 && compared < 3; ++seed) {
    const Case c(heads, kv_heads, seed);
    PaperOracle oracle(paper);
    std::vector<Reals> x;
    for (size_t t = 0; t < kPaperTokens; ++t) x.push_back(ToReals(std::span(c.x).subspan(t * kHidden, kHidden)));
    const std::vector<Reals> expected =
        oracle.Attention(x, ToReals(c.q), ToReals(c.k), ToReals(c.v), ToReals(c.o), ToReals(c.gain),
                         static_cast<double>(kEps), static_cast<double>(kBase), heads, kv_heads, kDim,
                         head_norms ? ToReals(c.q_gain) : Reals(), head_norms ? ToReals(c.k_gain) : Reals());
    if (oracle.margin() < 2e-6) continue;
    ++compared;
    CAPTURE(seed);
    Run<S> run(c, paper.sub_norms, head_norms);
    std::vector<float> y = run(c.x, 0, 4);  // prefill, then decode
    for (size_t t = 4; t < kPaperTokens; ++t) {
      const std::vector<float> one = run(c.x, t, 1);
      y.insert(y.end(), one.begin(), one.end());
    }
    double largest = 0.0;
    for (const Reals& token : expected) {
      for (const double v : token) largest = std::max(largest, std::fabs(v));
    }
    for (size_t t = 0; t < kPaperTokens; ++t) {
      for (size_t i = 0; i < kHidden; ++i) {
        worst = std::max(worst, std::fabs(static_cast<double>(y[t * kHidden + i]) - expected[t][i]) / largest);
      }
    }
  }
  CAPTURE(worst);
  CHECK(compared == 3);
  CHECK(worst <= kBound);
  CHECK(worst >= kBound / 100);  // not loose
}

TEST_CASE("Attention: is the paper's formulae, in doubles") {
  SUBCASE("A48, a key/value head for two query heads") { CheckAgainstPaper<A48>(testing::PaperA48(), 4, 2); }
  SUBCASE("A48, for each") { CheckAgainstPaper<A48>(testing::PaperA48(), 3, 3); }
  SUBCASE("A48, one for all") { CheckAgainstPaper<A48>(testing::PaperA48(), 3, 1); }
  SUBCASE("A48 with a sub-layer norm") {
    PaperScheme paper = testing::PaperA48();
    paper.sub_norms = true;
    CheckAgainstPaper<A48>(paper, 4, 2);
  }
  SUBCASE("A48 with norms of heads") { CheckAgainstPaper<A48>(testing::PaperA48(), 4, 2, true); }
  SUBCASE("A48Fp4") { CheckAgainstPaper<A48Fp4>(testing::PaperA48Fp4(), 4, 2); }
  SUBCASE("B158") { CheckAgainstPaper<B158>(testing::PaperB158(), 4, 2); }
  SUBCASE("Fp32") { CheckAgainstPaper<Fp32>(testing::PaperFp32(), 4, 2); }
}

template <Scheme S>
void CheckCuts() {
  const Case c(4, 2, 3);
  Run<S> whole(c);
  const std::vector<float> expected = whole(c.x, 0, kTokens);
  Run<S, ReferenceBackend> reference(c);
  CHECK(SameBits(reference(c.x, 0, kTokens), expected));
  for (const std::vector<size_t>& cuts : {std::vector<size_t>{1, 1, 1, 1, 1, 1, 1, 1}, {1, 7}, {5, 3}}) {
    Run<S> run(c);
    std::vector<float> y;
    size_t at = 0;
    for (const size_t n : cuts) {
      const std::vector<float> part = run(c.x, at, n);
      y.insert(y.end(), part.begin(), part.end());
      at += n;
    }
    CHECK(SameBits(y, expected));
  }
}

TEST_CASE("Attention: the same bits however tokens are cut into calls, and by the reference") {
  SUBCASE("A48") { CheckCuts<A48>(); }
  SUBCASE("Fp32") { CheckCuts<Fp32>(); }
  SUBCASE("Mixed") { CheckCuts<testing::Mixed>(); }
}

TEST_CASE("Attention: a token does not see later ones") {
  const Case c(4, 2, 4);
  std::vector<float> other = c.x;
  for (size_t i = 5 * kHidden; i < other.size(); ++i) other[i] = -3.0f * other[i] + 1.0f;
  const std::vector<float> y = Run<A48>(c)(c.x, 0, kTokens), z = Run<A48>(c)(other, 0, kTokens);
  CHECK(SameBits(std::span(y).first(5 * kHidden), std::span(z).first(5 * kHidden)));
  CHECK(!SameBits(std::span(y).subspan(5 * kHidden, kHidden), std::span(z).subspan(5 * kHidden, kHidden)));
}

TEST_CASE("Attention: weights used are those of inputs that are not zero") {
  Case c(4, 2, 5);
  // Zeros in the input stay zeros under INT4.
  size_t nonzero = 0;
  for (size_t t = 0; t < kTokens; ++t) {
    for (size_t i = 0; i < kHidden; ++i) {
      float& v = c.x[t * kHidden + i];
      v = i < 3 * t ? 0.0f : v < 0.0f ? -1.0f : 1.0f;
      nonzero += v != 0.0f;
    }
  }
  Run<A48> run(c);
  WeightUse use;
  run(c.x, 0, 5, &use);
  run(c.x, 5, 3, &use);
  run(c.x, 0, kTokens);  // without counting
  const size_t qkv_rows = (4 + 2 + 2) * kDim;
  CHECK(use.qkv.used == nonzero * qkv_rows);
  CHECK(use.qkv.total == kTokens * kHidden * qkv_rows);
  // Top-k keeps 12 of 24 inputs of each token; INT8 may round some of them to zero, but not many.
  CHECK(use.out.total == kTokens * 4 * kDim * kHidden);
  CHECK(use.out.used <= kTokens * 2 * kDim * kHidden);
  CHECK(use.out.used >= kTokens * 2 * kDim * kHidden * 9 / 10);
  CHECK(use.gate.total == 0);
  // Without top-k and without quantization all are used.
  WeightUse all;
  Run<Fp32>(Case(4, 2, 5))(Case(4, 2, 5).x, 0, 2, &all);
  CHECK(all.out.used == all.out.total);
  CHECK(all.Overall().used == all.Overall().total);
}

TEST_CASE("Attention: bytes are those of the four projections") {
  const Case c(4, 2, 6);
  const Run<Fp32, ReferenceBackend> run(c);
  CHECK(run.attention().WeightBytes() == (4 + 2 + 2 + 4) * kDim * kHidden * sizeof(float));
  CHECK(run.attention().NormWidth() == 0);
  CHECK(Run<Fp32, ReferenceBackend>(c, true).attention().NormWidth() == 4 * kDim);
  CHECK(Run<Fp32, ReferenceBackend>(c, true, true).attention().NormWidth() == 6 * kDim);
}

TEST_CASE("Attention: projections that do not fit together are stopped with a sentence") {
  using Weights = QuantizedMatrix<Ternary>;
  const StepGranularity whole;
  const Weights q(24, 10, whole), kv(12, 10, whole), o(10, 24, whole);
  const ReferenceBackend backend;
  const auto make = [&](const Weights& q_, const Weights& k_, const Weights& v_, const Weights& o_, size_t heads,
                        size_t kv_heads) {
    Attention<A48, ReferenceBackend>(q_, k_, v_, o_, RmsNorm<ReferenceBackend>(), heads, kv_heads, backend);
  };
  make(q, kv, kv, o, 4, 2);
  CHECK(Breaks("kv_heads must divide heads", [&] { make(q, kv, kv, o, 4, 3); }));
  CHECK(Breaks("kv_heads must divide heads", [&] { make(q, kv, kv, o, 5, 5); }));
  CHECK(Breaks("kv_heads must divide heads", [&] { make(q, kv, kv, o, 0, 2); }));
  CHECK(Breaks("kv_heads must divide heads", [&] { make(q, kv, kv, o, 4, 0); }));
  CHECK(Breaks("shapes do not agree", [&] { make(q, kv, kv, o, 4, 4); }));
  CHECK(Breaks("shapes do not agree", [&] { make(q, kv, q, o, 4, 2); }));
  CHECK(Breaks("shapes do not agree", [&] { make(q, kv, kv, kv, 4, 2); }));
  CHECK(Breaks("shapes do not agree", [&] { make(q, Weights(12, 9, whole), kv, o, 4, 2); }));
  CHECK(Breaks("shapes do not agree", [&] { make(q, kv, kv, Weights(9, 24, whole), 4, 2); }));
  const RmsNorm<ReferenceBackend> narrow(std::vector<float>(10, 1.0f), kEps, backend);
  CHECK(Breaks("heads * head_dim gains, or none",
               [&] { Attention<A48, ReferenceBackend>(q, kv, kv, o, narrow, 4, 2, backend); }));
}

}  // namespace
}  // namespace bitnet::attention_test
