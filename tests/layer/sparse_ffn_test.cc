#include "bitnet/layer/sparse_ffn.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "bitnet/backend/reference.h"
#include "bitnet/backend/simd/default_backend.h"
#include "layer/paper_oracle.h"
#include "testing/expect_assertion.h"
#include "testing/random_values.h"
#include "testing/tiny_model.h"

namespace bitnet::sparse_ffn_test {
namespace {

using testing::Breaks;
using testing::NormalValues;
using testing::PaperOracle;
using testing::PaperScheme;
using testing::Reals;
using testing::SameBits;
using testing::ToReals;

constexpr size_t kHidden = 21, kFfn = 50, kTokens = 6;
constexpr float kEps = 1e-3f;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Case {
  std::vector<float> gate, up, down, gain, x;
  explicit Case(uint64_t seed)
      : gate(NormalValues(kFfn * kHidden, 5 * seed, 0.3f)),
        up(NormalValues(kFfn * kHidden, 5 * seed + 1, 0.3f)),
        down(NormalValues(kFfn * kHidden, 5 * seed + 2, 0.3f)),
        gain(NormalValues(kFfn, 5 * seed + 3)),
        x(NormalValues(kTokens * kHidden, 5 * seed + 4)) {}
};

template <Scheme S>
QuantizedMatrix<typename S::Weight::Format> Weights(const std::vector<float>& w, size_t cols) {
  return QuantizedMatrix<typename S::Weight::Format>::template Quantize<typename S::Weight>(
      MatrixView<const float>(w.data(), w.size() / cols, cols));
}

template <Scheme S, class B = DefaultBackend<S>>
std::vector<float> RunFfn(const Case& c, WeightUse* use = nullptr, bool sub_norm = false) {
  const B backend;
  const SparseFfn<S, B> ffn(Weights<S>(c.gate, kHidden), Weights<S>(c.up, kHidden), Weights<S>(c.down, kFfn),
                            sub_norm ? RmsNorm<B>(c.gain, kEps, backend) : RmsNorm<B>(), backend);
  typename SparseFfn<S, B>::Buffers buffers;
  typename B::Stream stream = backend.NewStream();
  const size_t tokens = c.x.size() / kHidden;
  std::vector<float> y(c.x.size());
  // Twice: what the first call left in the buffers must not matter.
  for (int i = 0; i < 2; ++i) {
    ffn(backend, stream, MatrixView<const float>(c.x.data(), tokens, kHidden), buffers,
        MatrixView<float>(y.data(), tokens, kHidden), i == 0 ? use : nullptr);
  }
  return y;
}

// y [rows] = the definition of a product (docs/numerics.md), over all columns, for one token.
template <AnyQuantizer X, Format W>
std::vector<float> DenseProduct(const QuantizedMatrix<W>& weights, std::span<const float> x) {
  const StepGroups x_groups{x.size(), kGroupSize<typename X::Granularity>};
  std::vector<LevelOf<typename X::Format>> levels(x.size());
  std::vector<float> steps;
  for (size_t begin = 0; begin < x.size(); begin = x_groups.End(begin)) {
    steps.push_back(X::Quantize(x.subspan(begin, x_groups.End(begin) - begin), levels.data() + begin));
  }
  std::vector<float> y(weights.rows());
  std::vector<LevelOf<W>> w(weights.cols());
  for (size_t r = 0; r < weights.rows(); ++r) {
    weights.UnpackRow(r, w);
    double total = 0.0;
    EachCommonRun(weights.step_groups(), x_groups, [&](size_t begin, size_t end, size_t ws, size_t xs) {
      double dot;
      if constexpr (kIsFloat<W> || kIsFloat<typename X::Format>) {
        dot = static_cast<float>(OrderedSum(end - begin, [&](size_t i) {
          return static_cast<double>(w[begin + i]) * static_cast<double>(levels[begin + i]);
        }));
      } else {
        int64_t sum = 0;
        for (size_t c = begin; c < end; ++c) sum += int64_t{w[c]} * levels[c];
        dot = static_cast<double>(sum);
      }
      total += dot * static_cast<double>(weights.Step(r, ws) * steps[xs]);
    });
    y[r] = static_cast<float>(total);
  }
  return y;
}

// The feed-forward network with nothing left out. The activations are written out again.
template <Scheme S>
std::vector<float> DenseFfn(const Case& c, bool sub_norm = false) {
  std::vector<float> y;
  const auto gate = Weights<S>(c.gate, kHidden), up = Weights<S>(c.up, kHidden), down = Weights<S>(c.down, kFfn);
  for (size_t t = 0; t < c.x.size() / kHidden; ++t) {
    const auto x = std::span(c.x).subspan(t * kHidden, kHidden);
    const std::vector<float> g = DenseProduct<typename S::Input>(gate, x);
    std::vector<float> h = DenseProduct<typename S::Input>(up, x);
    for (size_t i = 0; i < kFfn; ++i) {
      if constexpr (std::is_same_v<typename S::FfnActivation, SquaredRelu>) {
        h[i] = g[i] <= 0.0f ? 0.0f : h[i] * (g[i] * g[i]);
      } else {
        h[i] *= S::FfnActivation::Value(g[i]);
      }
    }
    if (sub_norm) {
      const MatrixView<float> view(h.data(), 1, kFfn);
      reference::RmsNorm(view, c.gain, kEps, view);
    }
    const std::vector<float> out = DenseProduct<typename S::DownInput>(down, h);
    y.insert(y.end(), out.begin(), out.end());
  }
  return y;
}

struct SiluA48 : A48 {
  using FfnActivation = Silu;
};
struct SiluFp32 : Fp32 {
  using FfnActivation = Silu;
};
struct PerRowA48 : A48 {
  using Weight = Quantizer<Ternary, AbsMean, PerRow>;
};

template <Scheme S>
void CheckDense(bool sub_norm = false) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    CAPTURE(seed);
    Case c(seed);
    std::fill_n(c.x.begin() + 2 * kHidden, kHidden, 0.0f);  // a token without an open gate
    const std::vector<float> expected = DenseFfn<S>(c, sub_norm);
    CHECK(SameBits(RunFfn<S>(c, nullptr, sub_norm), expected));
    if (seed == 1) CHECK(SameBits(RunFfn<S, ReferenceBackend>(c, nullptr, sub_norm), expected));
  }
}

TEST_CASE("SparseFfn: the bits of the dense network that leaves nothing out") {
  SUBCASE("A48") { CheckDense<A48>(); }
  SUBCASE("A48 with a sub-layer norm") { CheckDense<A48>(true); }
  SUBCASE("A48Fp4") { CheckDense<A48Fp4>(); }
  SUBCASE("Fp32") { CheckDense<Fp32>(); }
  SUBCASE("a step for each row") { CheckDense<PerRowA48>(); }
  SUBCASE("Silu, which makes no zeros") { CheckDense<SiluA48>(); }
  SUBCASE("Mixed") { CheckDense<testing::Mixed>(true); }
}

template <Scheme S>
void CheckAgainstPaper(const PaperScheme& paper) {
  // Roundings: steps and product of gate 4, twice; up 4; glu 2; norm 3; step and product of down 4; each errs by 2^-24
  // of a value that is hardly larger than the largest of y.
  constexpr double kBound = 21 * 0x1p-24;
  size_t compared = 0;
  double worst = 0.0;
  for (uint64_t seed = 1; seed <= 200 && compared < 5; ++seed) {
    const Case c(seed);
    PaperOracle oracle(paper);
    std::vector<Reals> x;
    for (size_t t = 0; t < kTokens; ++t) x.push_back(ToReals(std::span(c.x).subspan(t * kHidden, kHidden)));
    const std::vector<Reals> expected =
        oracle.Ffn(x, ToReals(c.gate), ToReals(c.up), ToReals(c.down), ToReals(c.gain), static_cast<double>(kEps));
    if (oracle.margin() < 2e-6) continue;
    ++compared;
    const std::vector<float> y = RunFfn<S>(c, nullptr, paper.sub_norms);
    for (size_t t = 0; t < kTokens; ++t) {
      double largest = 0.0;
      for (const double v : expected[t]) largest = std::max(largest, std::fabs(v));
      for (size_t i = 0; i < kHidden; ++i) {
        worst = std::max(worst, std::fabs(static_cast<double>(y[t * kHidden + i]) - expected[t][i]) / largest);
      }
    }
  }
  CAPTURE(worst);
  CHECK(compared == 5);
  CHECK(worst <= kBound);
  CHECK(worst >= kBound / 100);  // not loose
}

TEST_CASE("SparseFfn: is the paper's formulae, in doubles") {
  SUBCASE("A48") { CheckAgainstPaper<A48>(testing::PaperA48()); }
  SUBCASE("A48 with a sub-layer norm") {
    PaperScheme paper = testing::PaperA48();
    paper.sub_norms = true;
    CheckAgainstPaper<A48>(paper);
  }
  SUBCASE("A48Fp4") { CheckAgainstPaper<A48Fp4>(testing::PaperA48Fp4()); }
  SUBCASE("Fp32") { CheckAgainstPaper<Fp32>(testing::PaperFp32()); }
}

TEST_CASE("SparseFfn: a NaN gate counts as open, and is seen") {
  const auto all_nan = [](const std::vector<float>& y) {
    return std::all_of(y.begin(), y.end(), [](float v) { return std::isnan(v); });
  };
  Case c(1);
  c.gate[7 * kHidden + 2] = kNaN;  // the gate of channel 7, of every token
  CHECK(all_nan(RunFfn<PerRowA48>(c)));
  CHECK(all_nan(DenseFfn<PerRowA48>(c)));
  CHECK(all_nan(RunFfn<Fp32>(c)));
  CHECK(all_nan(RunFfn<SiluFp32>(c)));
  // A NaN token spoils itself alone.
  Case one(2);
  one.x[kHidden] = kNaN;
  const std::vector<float> y = RunFfn<A48>(one), expected = RunFfn<A48>(Case(2));
  CHECK(all_nan({y.begin() + kHidden, y.begin() + 2 * kHidden}));
  CHECK(SameBits(std::span(y).first(kHidden), std::span(expected).first(kHidden)));
  CHECK(SameBits(std::span(y).subspan(2 * kHidden), std::span(expected).subspan(2 * kHidden)));
}

TEST_CASE("SparseFfn: a closed gate hides what stands behind it") {
  Case c(3);
  // Channel 4 is closed for every token: its gate is zero. Its row of up holds an infinity.
  std::fill_n(c.gate.begin() + 4 * kHidden, kHidden, 0.0f);
  const std::vector<float> expected = RunFfn<Fp32>(c);
  c.up[4 * kHidden] = std::numeric_limits<float>::infinity();
  CHECK(SameBits(RunFfn<Fp32>(c), expected));
}

TEST_CASE("SparseFfn: weights used, counted by hand") {
  // Per-row steps, so that a row's level pattern is its own. Two tokens, few inputs not zero: 1 and -1 are clipped to 7
  // and -8.
  Case c(1);
  const auto row = [](std::vector<float>& w, size_t r, size_t cols, std::vector<float> values) {
    values.resize(cols, 0.0f);
    std::copy(values.begin(), values.end(), w.begin() + static_cast<std::ptrdiff_t>(r * cols));
  };
  for (std::vector<float>* w : {&c.gate, &c.up, &c.down}) std::fill(w->begin(), w->end(), 0.0f);
  c.x.assign(2 * kHidden, 0.0f);
  c.x[0] = 1.0f, c.x[1] = -1.0f, c.x[2] = 1.0f;        // token 0: three inputs
  c.x[kHidden + 1] = 1.0f, c.x[kHidden + 5] = 1.0f;    // token 1: two inputs
  row(c.gate, 0, kHidden, {1.0f});                     // open for token 0
  row(c.gate, 9, kHidden, {0.0f, 1.0f});               // open for token 1, negative for token 0
  row(c.gate, 11, kHidden, {1.0f, 1.0f});              // 7 - 8: closed for token 0; open for token 1
  row(c.gate, 12, kHidden, {0.0f, 0.0f, 1.0f, 1.0f});  // open for token 0; 0 for token 1
  row(c.up, 0, kHidden, {1.0f});                       // up is 1: h is not zero
  row(c.up, 9, kHidden, {0.0f, 1.0f});
  row(c.up, 12, kHidden, {0.0f, 0.0f, 0.0f, 1.0f});  // reads what is zero: the gate is open, h is zero
  WeightUse use;
  RunFfn<PerRowA48>(c, &use);
  CHECK(use.gate.used == (3 + 2) * kFfn);
  CHECK(use.gate.total == 2 * kHidden * kFfn);
  CHECK(use.up.used == 3 * 2 + 2 * 2);  // token 0: channels 0 and 12; token 1: channels 9 and 11
  CHECK(use.up.total == 2 * kHidden * kFfn);
  CHECK(use.down.used == (1 + 1) * kHidden);  // token 0: channel 0; token 1: channel 9 (up of 11 is zero)
  CHECK(use.down.total == 2 * kHidden * kFfn);
  CHECK(use.qkv.total + use.out.total == 0);

  // An activation without zeros opens all gates.
  WeightUse silu;
  RunFfn<SiluA48>(Case(1), &silu);
  CHECK(silu.up.used == silu.gate.used);
  CHECK(silu.up.total == kTokens * kHidden * kFfn);
}

TEST_CASE("SparseFfn: bytes, and projections that do not fit together") {
  using Weights = QuantizedMatrix<Float>;
  const StepGranularity whole;
  const ReferenceBackend backend;
  const Weights up(8, 5, whole), down(5, 8, whole);
  const auto make = [&](const Weights& g, const Weights& u, const Weights& d, size_t gains = 8) {
    return SparseFfn<Fp32, ReferenceBackend>(
               g, u, d, RmsNorm<ReferenceBackend>(std::vector<float>(gains, 1.0f), kEps, backend), backend)
        .WeightBytes();
  };
  CHECK(make(up, up, down) == 3 * 8 * 5 * sizeof(float));
  CHECK(Breaks("shapes do not agree", [&] { make(up, Weights(7, 5, whole), down); }));
  CHECK(Breaks("shapes do not agree", [&] { make(up, Weights(8, 6, whole), down); }));
  CHECK(Breaks("shapes do not agree", [&] { make(up, up, Weights(5, 9, whole)); }));
  CHECK(Breaks("shapes do not agree", [&] { make(up, up, Weights(6, 8, whole)); }));
  CHECK(Breaks("ffn gains, or none", [&] { make(up, up, down, 2); }));
}

}  // namespace
}  // namespace bitnet::sparse_ffn_test
