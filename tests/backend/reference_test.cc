// The reference's operations against double arithmetic, hand-worked values and golden vectors: it is the oracle of the
// others.
#include "bitnet/backend/reference.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "testing/expect_assertion.h"
#include "testing/golden.h"
#include "testing/one_page.h"
#include "testing/random_values.h"

namespace bitnet {
namespace {

using testing::Breaks;
using testing::Golden;
using testing::kFirstPages;
using testing::kFourPages;
using testing::NormalValues;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr double kHalfUlp = 0x1p-24;  // what one rounding to float can change, relatively
constexpr double kPrinted = 5e-10;    // golden values have nine digits

struct FiveLevel {
  static constexpr auto kLevels = std::array{-2, -1, 0, 1, 2};
};
struct One {  // a rule: the step is 1, so that levels are what was given
  template <LevelFormat F>
  static double Step(std::span<const float>) {
    return 1.0;
  }
};

MatrixView<const float> View(const std::vector<float>& x, size_t rows) { return {x.data(), rows, x.size() / rows}; }
MatrixView<float> View(std::vector<float>& x, size_t rows) { return {x.data(), rows, x.size() / rows}; }

// A product and everything it was made of.
template <class W, class X>
struct Product {
  using FW = typename W::Format;
  using FX = typename X::Format;
  size_t rows, cols, tokens;
  QuantizedMatrix<FW> weights;
  QuantizedRows<OperandOf<X>> x;
  std::vector<float> y;

  Product(const std::vector<float>& w, size_t n_rows, const std::vector<float>& inputs, size_t n_tokens)
      : rows(n_rows),
        cols(w.size() / n_rows),
        tokens(n_tokens),
        weights(QuantizedMatrix<FW>::template Quantize<W>(View(w, n_rows))),
        y(n_rows * n_tokens) {
    reference::Quantize<X>(View(inputs, n_tokens), x);
    reference::MatMul(weights, x, View(y, n_tokens));
  }
};

// Compares with the product of step * level in double. The product of two steps is rounded once; with a float operand
// so is each group's sum; the total is rounded once more. Returns the largest share of that bound that was used.
template <class W, class X>
double CompareWithDouble(size_t rows, size_t cols, size_t tokens) {
  using FW = typename W::Format;
  using FX = typename X::Format;
  CAPTURE(rows);
  CAPTURE(cols);
  CAPTURE(tokens);
  const Product<W, X> p(NormalValues(rows * cols, cols), rows, NormalValues(tokens * cols, cols + 1, 3.0f), tokens);
  const double roundings = kIsFloat<FW> || kIsFloat<FX> ? 2.0 : 1.0;
  double used = 0.0;
  std::vector<LevelOf<FW>> w(cols);
  for (size_t r = 0; r < rows; ++r) {
    p.weights.UnpackRow(r, w);
    for (size_t t = 0; t < tokens; ++t) {
      std::vector<double> of_run(cols + 1, 0.0);  // groups counted by their first column
      double exact = 0.0;
      double magnitudes = 0.0;
      size_t step_group = 0;
      for (size_t c = 0; c < cols; ++c) {
        const size_t ws = p.weights.step_groups().Of(c);
        const size_t xs = p.x.step_groups().Of(c);
        if (c > 0 && (ws != p.weights.step_groups().Of(c - 1) || xs != p.x.step_groups().Of(c - 1))) step_group = c;
        const double term = static_cast<double>(p.weights.Step(r, ws)) * static_cast<double>(w[c]) *
                            static_cast<double>(p.x.Steps(t)[xs]) * static_cast<double>(p.x[t][c]);
        exact += term;
        magnitudes += std::fabs(term);
        of_run[step_group] += term;
      }
      double size = 0.0;
      for (const double s : of_run) size += std::fabs(s);
      const double y = p.y[t * rows + r];
      // And the roundings of this sum in double; 1.001: rounding errors of rounding errors.
      const double bound =
          1.001 * kHalfUlp * (roundings * size + std::fabs(y)) + static_cast<double>(cols) * 0x1p-51 * magnitudes;
      const double error = std::fabs(y - exact);
      if (error > bound) FAIL_CHECK("row " << r << ", token " << t << ": " << y << " is not " << exact);
      if (bound > 0.0) used = std::max(used, error / bound);
    }
  }
  return used;
}

template <class W, class X>
void CompareInAllShapes() {
  double used = 0.0;
  for (const size_t cols : testing::kSizes) {
    used = std::max(used, CompareWithDouble<W, X>(5, cols, 2));
  }
  used = std::max(used, CompareWithDouble<W, X>(40, 100, 3));
  CHECK(used > 0.25);  // the bound is not loose
}

TEST_CASE("MatMul: the product of dequantized operands, but for roundings that are counted") {
  CompareInAllShapes<Quantizer<Ternary, AbsMean>, Quantizer<Int<4>, AbsMean>>();
  CompareInAllShapes<Quantizer<Ternary, AbsMean>, Quantizer<Int<8>, AbsMax>>();
  CompareInAllShapes<Quantizer<Ternary, AbsMean>, Quantizer<Fp4E2M1, MinMax>>();
  CompareInAllShapes<Quantizer<Binary, AbsMean>, Quantizer<Int<3>, AbsMean>>();
  CompareInAllShapes<Quantizer<MidRise<8>, AbsMax>, Quantizer<UInt<8>, AbsMax>>();
}
TEST_CASE("MatMul: with a step for each row and each group of columns") {
  CompareInAllShapes<Quantizer<Ternary, AbsMean, PerRow>, Quantizer<Int<4>, AbsMean>>();
  CompareInAllShapes<Quantizer<FiveLevel, AbsMean, PerGroup<3>>, Quantizer<Int<4>, AbsMean>>();
  CompareInAllShapes<Quantizer<Ternary, AbsMean>, Quantizer<Int<8>, AbsMax, PerGroup<16>>>();
  CompareInAllShapes<Quantizer<Int<4>, AbsMax, PerGroup<6>>, Quantizer<Int<4>, AbsMean, PerGroup<4>>>();
}
TEST_CASE("MatMul: with float operands") {
  CompareInAllShapes<Unquantized, Unquantized>();
  CompareInAllShapes<Quantizer<Ternary, AbsMean>, Unquantized>();
  CompareInAllShapes<Unquantized, Quantizer<Int<8>, AbsMax>>();
  CompareInAllShapes<Quantizer<Ternary, AbsMean, PerGroup<5>>, Unquantized>();
}

TEST_CASE("MatMul: by hand") {
  // alpha = 2, levels 1 0 -1 | 1 1 -1; gamma / 127 = 0.5, levels 127 -3 2.
  const Product<Quantizer<Ternary, AbsMean>, Quantizer<Int<8>, AbsMax>> p({2.5f, -0.5f, -2.0f, 1.5f, 3.0f, -2.5f}, 2,
                                                                          {63.5f, -1.5f, 1.0f}, 1);
  CHECK(p.y == std::vector<float>{125.0f, 122.0f});  // (127 - 2) * 2 * 0.5, (127 - 3 - 2) * 2 * 0.5
}

TEST_CASE("MatMul: extremes are exact, where 16 bits would overflow") {
  using W = Quantizer<Ternary, AbsMean>;
  // All weights +1, activations 127, 2560 columns: 2560 * 127.
  const Product<W, Quantizer<Int<8>, AbsMax>> plus(std::vector<float>(2 * 2560, 1.0f), 2,
                                                   std::vector<float>(2560, 127.0f), 1);
  CHECK(plus.y == std::vector<float>{325120.0f, 325120.0f});
  const Product<W, Quantizer<Int<8>, AbsMax>> minus(std::vector<float>(2560, -1.0f), 1,
                                                    std::vector<float>(2560, 127.0f), 1);
  CHECK(minus.y == std::vector<float>{-325120.0f});
  // -128 is reached by a rule that clips.
  const Product<W, Quantizer<Int<8>, One>> lowest(std::vector<float>(2560, 1.0f), 1, std::vector<float>(2560, -200.0f),
                                                  1);
  CHECK(lowest.y == std::vector<float>{-327680.0f});
  const Product<W, Quantizer<Int<4>, One>> low(std::vector<float>(8640, -1.0f), 1, std::vector<float>(8640, -9.0f), 1);
  CHECK(low.y == std::vector<float>{69120.0f});
  // 255 * 255 * 8256 is just within 2^29, and a float.
  const Product<Quantizer<MidRise<8>, One>, Quantizer<UInt<8>, One>> wide(std::vector<float>(8256, 255.0f), 1,
                                                                          std::vector<float>(8256, 300.0f), 1);
  CHECK(wide.y == std::vector<float>{536846400.0f});
  const Product<W, Quantizer<Int<8>, AbsMax>> zero(std::vector<float>(64, 0.0f), 2, std::vector<float>(32, 0.0f), 1);
  CHECK(zero.y == std::vector<float>{0.0f, 0.0f});
}

TEST_CASE("MatMul: the product of steps is rounded to float, then the total") {
  // Steps 1 + 2^-12 each: their product 1 + 2^-11 + 2^-24 is a tie, 1 + 2^-11 in float. dot = 3, and 3 * 2^-24 would
  // have been seen in the total.
  const float step = 1.0f + 0x1p-12f;
  const Product<Quantizer<Ternary, AbsMax>, Quantizer<Int<2>, AbsMax>> p(std::vector<float>(3, step), 1,
                                                                         std::vector<float>(3, step), 1);
  CHECK(p.y[0] == 3.0f + 3.0f * 0x1p-11f);
  // StepGroups are added in double: 2^24 + 1 - 2^24 is 1.
  const Product<Quantizer<Ternary, AbsMax, PerGroup<1>>, Quantizer<Int<2>, AbsMax>> q({0x1p24f, 1.0f, -0x1p24f}, 1,
                                                                                      {1.0f, 1.0f, 1.0f}, 1);
  CHECK(q.y[0] == 1.0f);
}

TEST_CASE("MatMul: a group's sum of floats is rounded to float before it is scaled and added") {
  // 1 + 2^-30 is 1 in float; less 1, nothing is left.
  const Product<Quantizer<Ternary, AbsMax, PerGroup<2>>, Unquantized> p({1, 1, -1, -1}, 1, {1, 0x1p-30f, 1, 0}, 1);
  CHECK(p.y[0] == 0.0f);
}

TEST_CASE("MatMul: sums of floats go over eight lanes counted from the group's start") {
  // Position 0 and 8 share a lane (1 is lost beside 2^53), 3 and 7 do not.
  std::vector<float> x(12, 0.0f);
  x[0] = 0x1p53f;
  x[8] = 1.0f;
  x[11] = -0x1p53f;  // lane 3
  const Product<Unquantized, Unquantized> whole(std::vector<float>(12, 1.0f), 1, x, 1);
  CHECK(whole.y[0] == 0.0f);
  x[8] = 0.0f;
  x[7] = 1.0f;  // lane 7, folded with lane 3: -2^53 + 1 is kept
  const Product<Unquantized, Unquantized> other(std::vector<float>(12, 1.0f), 1, x, 1);
  CHECK(other.y[0] == 1.0f);
}

// Rows of `lists` for each token, in the order given.
ChannelLists Lists(size_t width, const std::vector<std::vector<uint32_t>>& rows) {
  ChannelLists lists;
  lists.Resize(rows.size(), width);
  for (size_t t = 0; t < rows.size(); ++t) {
    std::copy(rows[t].begin(), rows[t].end(), lists.Row(t));
    lists.SetCount(t, rows[t].size());
  }
  return lists;
}

template <class W, class X>
void CheckSubsets() {
  const size_t rows = 9;
  const size_t cols = 70;
  const size_t tokens = 3;
  std::vector<float> inputs = NormalValues(tokens * cols, 2);
  for (size_t i = 0; i < inputs.size(); i += 3) inputs[i] = 0.0f;
  for (size_t c = 0; c < cols; ++c) inputs[cols + c] = 0.0f;  // a token of zeros
  Product<W, X> p(NormalValues(rows * cols, 1), rows, inputs, tokens);

  const ChannelLists some = Lists(rows, {{0, 3, 8}, {}, {0, 1, 2, 3, 4, 5, 6, 7, 8}});
  std::vector<float> y(tokens * rows, -77.0f);
  reference::MatMulRows(p.weights, p.x, some, View(y, tokens));
  size_t next = 0;
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t r = 0; r < rows; ++r) {
      const bool listed = std::find(some[t].begin(), some[t].end(), r) != some[t].end();
      CHECK(y[next] == (listed ? p.y[next] : -77.0f));
      ++next;
    }
  }

  CHECK(Breaks("FindNonzero", [&] { reference::MatMulColumns(p.weights, p.x, View(y, tokens)); }));
  reference::FindNonzero(p.x);
  size_t nonzero = 0;
  for (size_t t = 0; t < tokens; ++t) nonzero += p.x.nonzero().Count(t);
  CHECK(nonzero == reference::CountNonzero(p.x));
  reference::MatMulColumns(p.weights, p.x, View(y, tokens));
  CHECK(y == p.y);
}

TEST_CASE("MatMulRows, MatMulColumns: the same bits as MatMul, and nothing else is touched") {
  CheckSubsets<Quantizer<Ternary, AbsMean>, Quantizer<Int<8>, AbsMax>>();
  CheckSubsets<Quantizer<Ternary, AbsMean>, Unquantized>();
  CheckSubsets<Unquantized, Quantizer<Int<4>, AbsMean>>();
  CheckSubsets<Unquantized, Unquantized>();
  CheckSubsets<Quantizer<Int<4>, AbsMean, PerGroup<8>>, Quantizer<Int<4>, AbsMean, PerGroup<12>>>();
}

TEST_CASE("MatMulColumns: reads only the columns that are listed") {
  Product<Quantizer<Ternary, AbsMean>, Quantizer<Int<8>, AbsMax>> p(std::vector<float>(8, 1.0f), 1,
                                                                    {1, 2, 4, 8, 16, 32, 64, 127}, 1);
  CHECK(p.y[0] == 254.0f);
  p.x.nonzero() = Lists(8, {{1, 6}});
  reference::MatMulColumns(p.weights, p.x, View(p.y, 1));
  CHECK(p.y[0] == 66.0f);
}

TEST_CASE("FindNonzero: columns in ascending order; a NaN counts") {
  QuantizedRows<Float> x;
  reference::Quantize<Unquantized>(View(std::vector<float>{0, 1, -0.0f, kNaN, 0, 2}, 2), x);
  reference::FindNonzero(x);
  CHECK(x.nonzero().tokens() == 2);
  CHECK(x.nonzero().Count(0) == 1);
  CHECK(x.nonzero()[0][0] == 1);
  CHECK(x.nonzero().Count(1) == 2);
  CHECK(x.nonzero()[1][0] == 0);
  CHECK(x.nonzero()[1][1] == 2);
}

TEST_CASE("Products: shapes that do not fit, and dots beyond 29 bits, are assertions") {
  Product<Quantizer<Ternary, AbsMean>, Quantizer<Int<8>, AbsMax>> p(NormalValues(12, 1), 3, NormalValues(8, 2), 2);
  std::vector<float> y(6);
  CHECK(Breaks("[tokens, rows]", [&] { reference::MatMul(p.weights, p.x, View(y, 3)); }));
  QuantizedRows<Int<8>> narrow;
  narrow.Resize(2, 3);
  CHECK(Breaks("as wide as", [&] { reference::MatMul(p.weights, narrow, View(y, 2)); }));
  CHECK(Breaks("for each token", [&] { reference::MatMulRows(p.weights, p.x, ChannelLists(), View(y, 2)); }));

  static_assert(DotFits<Ternary, Int<8>>((1 << 29) / 128 - 1) && !DotFits<Ternary, Int<8>>((1 << 29) / 128));
  static_assert(DotFits<Float, Int<8>>(~size_t{0}));
  // 255 * 255 * 8257 is the first beyond 2^29.
  static_assert(DotFits<MidRise<8>, MidRise<8>>(8256) && !DotFits<MidRise<8>, MidRise<8>>(8257));
}

TEST_CASE("Embed: rows by their numbers, in any order") {
  const std::vector<float> w = NormalValues(5 * 11, 3);
  const auto weights = QuantizedMatrix<Ternary>::Quantize<Quantizer<Ternary, AbsMean, PerGroup<4>>>(View(w, 5));
  const std::vector<uint32_t> numbers = {4, 0, 4, 2};
  std::vector<float> rows(4 * 11), row(11);
  reference::Embed(weights, numbers, View(rows, 4));
  for (size_t i = 0; i < 4; ++i) {
    weights.DequantizeRow(numbers[i], row);
    CHECK(std::equal(row.begin(), row.end(), View(rows, 4).Row(i)));
  }
  CHECK(Breaks("no such row",
               [&] { reference::Embed(weights, std::vector<uint32_t>{5}, MatrixView<float>(rows.data(), 1, 11)); }));
  CHECK(Breaks("must be [tokens, cols]", [&] { reference::Embed(weights, numbers, View(rows, 2)); }));
}

TEST_CASE("ReferenceBackend: prepares weights as they are; refuses dots beyond 29 bits and steps of another kind") {
  const ReferenceBackend backend;
  const auto weights = QuantizedMatrix<Ternary>::Quantize<Quantizer<Ternary, AbsMean>>(View(NormalValues(55, 3), 5));
  const auto matrix = backend.PrepareMatrix<Ternary, Int<4>, Uses<Dense>>(weights);
  CHECK(matrix.rows() == 5);
  CHECK(matrix.cols() == 11);
  CHECK(matrix.StoredBytes() == weights.StoredBytes());
  const QuantizedMatrix<MidRise<8>> wide(1, 8257, StepGranularity{});
  CHECK(Breaks("could reach 2^29", [&] { backend.PrepareMatrix<MidRise<8>, MidRise<8>, Uses<Dense>>(wide); }));
  CHECK(Breaks("Grouped<> operands", [&] { backend.PrepareMatrix<Grouped<Ternary>, Int<4>, Uses<Dense>>(weights); }));
}

// ---- Quantizing tokens

TEST_CASE("Quantize: each token, or each group of a token, is Quantizer's own") {
  const std::vector<float> x = NormalValues(3 * 20, 4);
  QuantizedRows<Int<4>> tokens;
  using Q = Quantizer<Int<4>, AbsMean>;
  using G = Quantizer<Int<4>, AbsMean, PerGroup<8>>;
  // Strided: what lies between the rows is not read.
  std::vector<float> wide(3 * 23, kNaN);
  for (size_t t = 0; t < 3; ++t)
    std::copy_n(x.begin() + static_cast<std::ptrdiff_t>(20 * t), 20,
                wide.begin() + static_cast<std::ptrdiff_t>(23 * t));
  for (const MatrixView<const float> view : {View(x, 3), MatrixView<const float>(wide.data(), 3, 20, 23)}) {
    reference::Quantize<Q>(view, tokens);
    for (size_t t = 0; t < 3; ++t) {
      std::vector<int8_t> levels(20);
      CHECK(tokens.Steps(t)[0] == Q::Quantize(view[t], levels.data()));
      CHECK(std::equal(levels.begin(), levels.end(), tokens[t].begin()));
    }
    QuantizedRows<Grouped<Int<4>>> grouped;
    reference::Quantize<G>(view, grouped);
    CHECK(grouped.step_groups().Count() == 3);
    for (size_t t = 0; t < 3; ++t) {
      for (size_t s = 0; s < 3; ++s) {
        const auto span = view[t].subspan(8 * s, s == 2 ? 4 : 8);
        std::vector<int8_t> levels(span.size());
        CHECK(grouped.Steps(t)[s] == G::Quantize(span, levels.data()));
        CHECK(std::equal(levels.begin(), levels.end(), grouped[t].begin() + static_cast<std::ptrdiff_t>(8 * s)));
      }
    }
  }
}

TEST_CASE("Quantize: of the value codes of an untrained projection some percent are exact ties") {
  // Heads are integers k times one step, and absmax divides by the largest, K: 7 k / K is an even integer, a tie of
  // MidRise<3>, for every k = 0 and for some others.
  constexpr size_t kTokens = 64, kHeads = 2, kDim = 64;
  size_t rounded_away = 0;  // of all
  for (const size_t hidden : {size_t{64}, size_t{512}}) {
    const std::vector<float> w = NormalValues(kHeads * kDim * hidden, 1), x = NormalValues(kTokens * hidden, 2);
    const auto weights = QuantizedMatrix<Ternary>::Quantize<Quantizer<Ternary, AbsMean>>(View(w, kHeads * kDim));
    QuantizedRows<Int<4>> inputs;
    reference::Quantize<Quantizer<Int<4>, AbsMean>>(View(x, kTokens), inputs);
    std::vector<float> values(kTokens * kHeads * kDim);
    reference::MatMul(weights, inputs, View(values, kTokens));
    size_t ties = 0;
    for (size_t head = 0; head < kTokens * kHeads; ++head) {
      const std::span<const float> v = std::span(values).subspan(head * kDim, kDim);
      const double unit = static_cast<double>(weights.Step(0, 0) * inputs.Steps(head / kHeads)[0]);
      std::vector<int64_t> k(kDim);
      int64_t largest = 0;
      for (size_t i = 0; i < kDim; ++i) {
        k[i] = std::llrint(static_cast<double>(v[i]) / unit);
        largest = std::max<int64_t>(largest, std::abs(k[i]));
      }
      const float inverse = InverseStep(StepOf<MidRise<3>, AbsMax>(v));
      for (size_t i = 0; i < kDim; ++i) {
        const int64_t sevenfold = 7 * k[i];
        if (sevenfold % largest != 0 || sevenfold / largest % 2 != 0) continue;
        ++ties;
        rounded_away += v[i] * inverse != static_cast<float>(sevenfold / largest);
      }
    }
    const double percent = 100.0 / static_cast<double>(values.size());
    INFO("hidden " << hidden << ": " << static_cast<double>(ties) * percent << " %");
    CHECK(static_cast<double>(ties) * percent > 0.5);
    CHECK(static_cast<double>(ties) * percent < 4.0);
  }
  CHECK(rounded_away > 0);  // some are decided by the rounding of x * (1 / step)
}

TEST_CASE("QuantizeTopK: golden values of eq. 1") {
  const Golden golden("topk");
  using Q = Quantizer<Int<8>, AbsMax>;
  for (int i = 0; i < golden.Int("count"); ++i) {
    const std::string key = "topk/" + std::to_string(i);
    CAPTURE(key);
    const std::vector<float> x = golden.Floats(key + "/input");
    const float step = golden.Float(key + "/int8_step");
    QuantizedRows<Int<8>> tokens;
    reference::QuantizeTopK<Q>(View(x, 1), static_cast<size_t>(golden.Int(key + "/k")), tokens);
    CHECK(std::fabs(tokens.Steps(0)[0] - step) <= step * 0x1p-23f);
    CHECK(std::vector<int>(tokens[0].begin(), tokens[0].end()) == golden.Ints(key + "/int8_levels"));
  }
}

TEST_CASE("QuantizeTopK: the mask is of the reals, the step of all of them") {
  // 10 and 9 are the largest, but the step is that of the mean of all: 5.5 / sqrt(7).
  const std::vector<float> x = {10, 1, -9, 2, 0, 0, 0, 0, 0, 0, 22, 22};
  using Q = Quantizer<Int<4>, AbsMean>;
  QuantizedRows<Int<4>> tokens;
  reference::QuantizeTopK<Q>(View(x, 3), 2, tokens);
  CHECK(tokens.Steps(0)[0] == static_cast<float>(5.5 / std::sqrt(7.0)));
  CHECK(tokens[0][0] == 5);
  CHECK(tokens[0][1] == 0);
  CHECK(tokens[0][2] == -4);
  CHECK(tokens[0][3] == 0);
  CHECK(tokens.Steps(1)[0] == 0.0f);
  CHECK(tokens[2][2] == 5);  // 22 / (11 / sqrt(7))
  // Unquantized too.
  QuantizedRows<Float> reals;
  reference::QuantizeTopK<Unquantized>(View(x, 3), 1, reals);
  CHECK(std::vector<float>(reals[0].begin(), reals[0].begin() + 4) == std::vector<float>{10, 0, 0, 0});
  CHECK(std::vector<float>(reals[2].begin(), reals[2].begin() + 4) == std::vector<float>{0, 0, 22, 0});
  // All kept: as without.
  QuantizedRows<Int<4>> all;
  reference::QuantizeTopK<Q>(View(x, 3), 4, tokens);
  reference::Quantize<Q>(View(x, 3), all);
  for (size_t t = 0; t < 3; ++t) CHECK(std::ranges::equal(all[t], tokens[t]));
}

// ---- Norm, rotary embedding, FFN

TEST_CASE("RmsNorm: golden values, in place too") {
  const Golden golden("glu_norm_rope");
  const int count = golden.Int("norm/count");
  CHECK(count > 3);
  double used = 0.0;
  for (int i = 0; i < count; ++i) {
    const std::string key = "norm/" + std::to_string(i);
    CAPTURE(key);
    const std::vector<float> x = golden.Floats(key + "/input");
    const std::vector<float> gain = golden.Floats(key + "/gain");
    const std::vector<double>& expected = golden.Doubles(key + "/output");
    std::vector<float> y(x.size());
    reference::RmsNorm(View(x, 1), gain, golden.Float(key + "/eps"), View(y, 1));
    for (size_t c = 0; c < x.size(); ++c) {
      // The factor and two products are rounded.
      const double bound = (3.001 * kHalfUlp + kPrinted) * std::fabs(expected[c]);
      const double error = std::fabs(static_cast<double>(y[c]) - expected[c]);
      CHECK(error <= bound);
      if (bound > 0.0) used = std::max(used, error / bound);
    }
    std::vector<float> same = x;
    reference::RmsNorm(View(same, 1), gain, golden.Float(key + "/eps"), View(same, 1));
    CHECK(same == y);
  }
  CHECK(used > 0.25);
}

TEST_CASE("RmsNorm: by hand, each row its own") {
  // Mean squares 4 and 0.25; eps 0.
  const std::vector<float> x = {2, -2, 2, -2, 0.5f, 0.5f, -0.5f, 0.5f};
  const std::vector<float> gain = {1, 2, 3, -1};
  std::vector<float> y(8);
  reference::RmsNorm(View(x, 2), gain, 0.0f, View(y, 2));
  CHECK(y == std::vector<float>{1, -2, 3, 1, 1, 2, -3, -1});
  reference::RmsNorm(View(std::vector<float>(4, 0.0f), 1), gain, 1e-5f, MatrixView<float>(y.data(), 1, 4));
  CHECK(std::all_of(y.begin(), y.begin() + 4, [](float v) { return v == 0.0f; }));
  CHECK(InverseRms(3.0, 4, 0.25f) == 1.0f);
  CHECK(Breaks("same width", [&] { reference::RmsNorm(View(x, 1), gain, 0.0f, View(y, 1)); }));
}

TEST_CASE("Rotate: golden values") {
  const Golden golden("glu_norm_rope");
  const int count = golden.Int("rope/count");
  CHECK(count > 8);
  for (int i = 0; i < count; ++i) {
    const std::string key = "rope/" + std::to_string(i);
    CAPTURE(key);
    const std::vector<float> x = golden.Floats(key + "/input");
    const std::vector<double>& expected = golden.Doubles(key + "/output");
    const size_t d = x.size();
    std::vector<float> cos(d / 2);
    std::vector<float> sin(d / 2);
    for (size_t j = 0; j < d / 2; ++j) {
      const double angle =
          golden.Double(key + "/position") *
          std::pow(golden.Double(key + "/base"), -2.0 * static_cast<double>(j) / static_cast<double>(d));
      cos[j] = static_cast<float>(std::cos(angle));
      sin[j] = static_cast<float>(std::sin(angle));
    }
    std::vector<float> y = x;
    reference::RotateHead(cos, sin, y);
    for (size_t c = 0; c < d; ++c) {
      // The result is rounded; another library's cos and sin may round to the neighbouring float.
      const double size = std::fabs(x[c % (d / 2)]) + std::fabs(x[c % (d / 2) + d / 2]);
      CHECK(std::fabs(static_cast<double>(y[c]) - expected[c]) <=
            (kHalfUlp + kPrinted) * std::fabs(expected[c]) + 0x1p-24 * size);
    }
  }
}

TEST_CASE("RotateHead: a quarter turn, pairs (i, i + d/2)") {
  std::vector<float> head = {1, 2, 3, 4};
  const std::vector<float> cos = {0, 1};
  const std::vector<float> sin = {1, 0};
  reference::RotateHead(cos, sin, head);
  CHECK(head == std::vector<float>{-3, 2, 1, 4});
  CHECK(Breaks("even", [&] { reference::RotateHead(cos, sin, std::span(head).first(3)); }));
  CHECK(Breaks("even", [&] { reference::RotateHead(cos, std::span(sin).first(1), head); }));
}

TEST_CASE("Rotate: every head of a token by the angles of its position") {
  const Rope rope(4, 100.0f);
  HostWhere where;
  where.Set(std::vector<Place>{{0, 3}, {1, 0}}, {}, rope);
  const std::vector<float> x = NormalValues(2 * 12, 1);
  std::vector<float> y = x, expected = x;
  reference::Rotate(where, View(y, 2));
  for (size_t t = 0; t < 2; ++t) {
    std::vector<float> cos(2), sin(2);
    rope.Angles(t == 0 ? 3 : 0, cos, sin);
    for (size_t h = 0; h < 3; ++h) reference::RotateHead(cos, sin, std::span(expected).subspan(t * 12 + h * 4, 4));
  }
  CHECK(y == expected);
  CHECK(std::equal(y.begin() + 12, y.end(), x.begin() + 12));  // position 0 turns nothing
  CHECK(Breaks("head_dim / 2 angles", [&] { reference::Rotate(where, View(y, 4)); }));
  CHECK(Breaks("head_dim / 2 angles", [&] { reference::Rotate(where, MatrixView<float>(y.data(), 2, 10, 12)); }));
}

TEST_CASE("Add: y += x") {
  std::vector<float> y = {1, 2, 3, 4};
  reference::Add(View(std::vector<float>{10, 20, 30, 40}, 2), View(y, 2));
  CHECK(y == std::vector<float>{11, 22, 33, 44});
  CHECK(Breaks("same shape", [&] { reference::Add(View(std::vector<float>(4), 1), View(y, 2)); }));
}

TEST_CASE("OpenGates, Glu: golden values of eq. 5, and what down reads") {
  const Golden golden("glu_norm_rope");
  const int count = golden.Int("glu/count");
  CHECK(count > 3);
  for (int i = 0; i < count; ++i) {
    const std::string key = "glu/" + std::to_string(i);
    CAPTURE(key);
    const std::vector<float> gate = golden.Floats(key + "/gate");
    std::vector<float> up = golden.Floats(key + "/up");
    const std::vector<double>& expected = golden.Doubles(key + "/product");
    ChannelLists open;
    reference::OpenGates<SquaredRelu>(View(gate, 1), open);
    std::vector<uint32_t> positive;
    for (size_t c = 0; c < gate.size(); ++c) {
      if (gate[c] > 0.0f) positive.push_back(static_cast<uint32_t>(c));
    }
    CHECK(std::equal(positive.begin(), positive.end(), open[0].begin(), open[0].end()));
    std::vector<float> y(gate.size(), -77.0f);
    reference::Glu<SquaredRelu>(View(gate, 1), View(std::as_const(up), 1), open, View(y, 1));
    for (size_t c = 0; c < gate.size(); ++c) {
      CHECK(std::fabs(static_cast<double>(y[c]) - expected[c]) <=
            (2.001 * kHalfUlp + kPrinted) * std::fabs(expected[c]));
      if (expected[c] == 0.0) CHECK(y[c] == 0.0f);
    }
    QuantizedRows<Int<8>> down;
    reference::Quantize<Quantizer<Int<8>, AbsMax>>(View(std::as_const(y), 1), down);
    CHECK(std::vector<int>(down[0].begin(), down[0].end()) == golden.Ints(key + "/levels"));
    // `up` where the gate is closed has not been computed: whatever is there is not read. In place.
    for (size_t c = 0; c < gate.size(); ++c) {
      if (!(gate[c] > 0.0f)) up[c] = kNaN;
    }
    reference::Glu<SquaredRelu>(View(gate, 1), View(std::as_const(up), 1), open, View(up, 1));
    CHECK(up == y);
  }
}

TEST_CASE("OpenGates, Glu: a NaN gate is open; an activation without zeros opens all") {
  const std::vector<float> gate = {kNaN, -1, 0, 2, 1, -1};
  const std::vector<float> up = {1, 1, 1, 1, kNaN, kNaN};
  ChannelLists open;
  reference::OpenGates<SquaredRelu>(View(gate, 2), open);
  CHECK(open.Count(0) == 1);
  CHECK(open.Count(1) == 2);
  std::vector<float> y(6);
  reference::Glu<SquaredRelu>(View(gate, 2), View(up, 2), open, View(y, 2));
  CHECK(std::isnan(y[0]));
  CHECK(y[1] == 0.0f);
  CHECK(y[3] == 4.0f);
  CHECK(std::isnan(y[4]));
  CHECK(y[5] == 0.0f);  // not computed, exactly zero
  reference::OpenGates<Silu>(View(gate, 2), open);
  CHECK(open.Count(0) == 3);
  reference::Glu<Silu>(View(gate, 2), View(up, 2), open, View(y, 2));
  CHECK(y[3] == 2.0f * Silu::Value(2.0f) / 2.0f);
  CHECK(y[2] == 0.0f);
  CHECK(Breaks("same shape", [&] { reference::Glu<Silu>(View(gate, 1), View(up, 2), open, View(y, 2)); }));
}

// ---- Attention

// The heads, and where the first query stands.
struct Shape : AttentionShape {
  size_t first_position;
  Shape(size_t heads_, size_t kv_heads_, size_t head_dim_, size_t first)
      : AttentionShape{heads_, kv_heads_, head_dim_}, first_position(first) {}
};

// Attend over one cache.
template <Operand Q, class Cache>
void AttendAt(const QuantizedRows<Q>& q, const Cache& cache, const Shape& shape, MatrixView<float> out) {
  std::vector<Place> places(out.rows());
  for (size_t t = 0; t < places.size(); ++t) places[t].position = static_cast<uint32_t>(shape.first_position + t);
  HostWhere where;
  // In pages, as the operation takes it.
  using Quantizers = typename Cache::Quantizers;
  HostPages<Quantizers> pages(cache.kv_heads(), cache.head_dim());
  pages.Resize(std::size(kFirstPages));
  reference::WriteCache<Quantizers>(cache, cache.max_tokens(), kFirstPages, pages);
  where.Set(places, kFourPages, Rope(2, 10.0f));
  reference::Attend(q, where, pages, shape, out);
}

// Attention of real-valued inputs under quantizers Q, K (token 0: K0), V (V0); with the oracle in double.
template <class Q, class K, class K0, class V, class V0>
struct Attention {
  Shape shape;
  size_t tokens;
  QuantizedRows<typename Q::Format> q;
  HostCache<CacheQuantizers<Q, K, K0, V, V0>> cache;
  std::vector<float> out;
  // Dequantized in double: [token, head, dim].
  std::vector<double> qd, kd, vd;

  Attention(Shape s, size_t n, const std::vector<float>& query, const std::vector<float>& key,
            const std::vector<float>& value, size_t capacity)
      : shape(s), tokens(n), cache(s.kv_heads, s.head_dim, capacity), out(n * s.heads * s.head_dim) {
    reference::Quantize<Q>(View(query, n * s.heads), q);
    for (size_t r = 0; r < q.rows(); ++r) {
      for (size_t i = 0; i < q.cols(); ++i) {
        qd.push_back(static_cast<double>(q.Steps(r)[0]) * static_cast<double>(q[r][i]));
      }
    }
    StoreAll<K, K0>(key, cache.keys, kd);
    StoreAll<V, V0>(value, cache.values, vd);
    AttendAt(q, cache, shape, View(out, tokens));
  }

  // Tokens first_position + n of them are stored, in order.
  template <class S, class S0, class Heads>
  void StoreAll(const std::vector<float>& x, Heads& heads, std::vector<double>& dequantized) {
    for (size_t r = 0; r < x.size() / shape.head_dim; ++r) {
      const size_t token = r / shape.kv_heads;
      const std::span<const float> head = std::span(x).subspan(r * shape.head_dim, shape.head_dim);
      const auto store = [&]<class Quantizer>(Quantizer, auto is_first) {
        std::vector<typename Quantizer::Level> levels(shape.head_dim);
        const float step = Quantizer::Quantize(head, levels.data());
        if constexpr (is_first) {
          heads.StoreFirst(r % shape.kv_heads, levels.data(), step);
        } else {
          heads.Store(r % shape.kv_heads, token, levels.data(), step);
        }
        for (const auto level : levels) dequantized.push_back(static_cast<double>(step) * static_cast<double>(level));
      };
      if (token == 0) {
        store(S0{}, std::true_type());
      } else {
        store(S{}, std::false_type());
      }
    }
  }

  // Largest share used of the bound: each score is rounded five times (1/sqrt(d), q_step *, * k_step, the dot product
  // of reals, the product), S being the largest; so is the difference to the largest, of at most 2 S; Exp adds two
  // units, the weight one rounding. A weight is so within e = 2^-24 (2 * 5 S + 2 S + 4 + 1), relatively, the sum of
  // weights too, the output within 2 e max|v| and its own rounding. A weight of a quantized value is a whole number of
  // units, within 2^-15 of the block's largest (of all tokens here).
  double CompareWithDouble() const {
    const size_t d = shape.head_dim;
    double used = 0.0;
    for (size_t t = 0; t < tokens; ++t) {
      for (size_t h = 0; h < shape.heads; ++h) {
        const size_t kv = h / (shape.heads / shape.kv_heads);
        const size_t visible = shape.first_position + t + 1;
        std::vector<double> p(visible);
        double largest = 0.0;
        double max = -HUGE_VAL;
        for (size_t s = 0; s < visible; ++s) {
          double dot = 0.0;
          for (size_t i = 0; i < d; ++i)
            dot += qd[(t * shape.heads + h) * d + i] * kd[(s * shape.kv_heads + kv) * d + i];
          p[s] = dot / std::sqrt(static_cast<double>(d));
          max = std::max(max, p[s]);
          largest = std::max(largest, std::fabs(p[s]));
        }
        double sum = 0.0;
        for (double& v : p) sum += (v = std::exp(v - max));
        const double e = kHalfUlp * (12.0 * largest + 5.0);
        const auto step = [&](size_t s) { return static_cast<double>(cache.values.Step(kv, s)); };
        double largest_weight = 0.0;
        for (size_t s = 0; s < visible; ++s) largest_weight = std::max(largest_weight, p[s] * step(s));
        for (size_t i = 0; i < d; ++i) {
          double exact = 0.0;
          double biggest = 0.0;
          double levels = 0.0;
          for (size_t s = 0; s < visible; ++s) {
            const double v = vd[(s * shape.kv_heads + kv) * d + i];
            exact += p[s] / sum * v;
            biggest = std::max(biggest, std::fabs(v));
            if (!kIsFloat<typename V::Format>) levels += std::fabs(v / step(s));
          }
          const double y = out[(t * shape.heads + h) * d + i];
          const double counting = std::ldexp(largest_weight * levels / sum, -15);
          // Scores below -87 are 0.
          const double bound = 1.01 * (2.0 * e * biggest + kHalfUlp * std::fabs(y) + counting) + 1e-37;
          if (!(std::fabs(y - exact) <= bound))
            FAIL_CHECK("token " << t << ", head " << h << ": " << y << ", " << exact);
          used = std::max(used, std::fabs(y - exact) / bound);
        }
      }
    }
    return used;
  }
};

template <int kBits>
using MidRiseAbsMax = Quantizer<MidRise<kBits>, AbsMax>;
using Q4 = MidRiseAbsMax<4>;
using Kv3 = MidRiseAbsMax<3>;
using Paper = Attention<Q4, Kv3, Q4, Kv3, Q4>;
using Real = Attention<Unquantized, Unquantized, Unquantized, Unquantized, Unquantized>;

template <class A>
void CompareWithGolden(const Golden& golden, const std::string& name) {
  CAPTURE(name);
  const std::vector<int> config = golden.Ints("config");
  const auto size = [&](size_t i) { return static_cast<size_t>(config[i]); };
  const A attention({size(1), size(2), size(3), 0}, size(0), golden.Floats("q"), golden.Floats("k"), golden.Floats("v"),
                    size(0));
  const double used = attention.CompareWithDouble();
  CHECK(used > 0.005);
  const std::vector<double>& expected = golden.Doubles(name + "/output");
  REQUIRE(expected.size() == attention.out.size());
  // Scores here are below 16 and values below 4: e = 2^-24 * 200, 2 e * 4 is below 1e-4. Steps may round otherwise:
  // 2^-23.
  for (size_t i = 0; i < expected.size(); ++i) {
    if (!(std::fabs(attention.out[i] - expected[i]) < 2e-5)) FAIL_CHECK("value " << i);
  }
}

TEST_CASE("Attend: golden values") {
  const Golden golden("attention");
  CompareWithGolden<Paper>(golden, "q4_kv3_first4");
  CompareWithGolden<Attention<Q4, Q4, Q4, Q4, Q4>>(golden, "q4_kv4");
  using Kv8 = MidRiseAbsMax<8>;
  CompareWithGolden<Attention<Kv8, Kv8, Kv8, Kv8, Kv8>>(golden, "q8_kv8");
  CompareWithGolden<Attention<Q4, Unquantized, Unquantized, Unquantized, Unquantized>>(golden, "q4_kvfloat");
  CompareWithGolden<Real>(golden, "float");
}

template <class A>
double CompareInShape(Shape shape, size_t tokens, float scale) {
  CAPTURE(shape.heads);
  CAPTURE(shape.kv_heads);
  CAPTURE(shape.head_dim);
  CAPTURE(shape.first_position);
  CAPTURE(tokens);
  const size_t all = shape.first_position + tokens;
  const A attention(shape, tokens, NormalValues(tokens * shape.heads * shape.head_dim, 1, scale),
                    NormalValues(all * shape.kv_heads * shape.head_dim, 2, scale),
                    NormalValues(all * shape.kv_heads * shape.head_dim, 3), all + 5);
  return attention.CompareWithDouble();
}

template <class A>
void CompareInAllShapes() {
  double used = 0.0;
  for (const size_t head_dim : {2u, 8u, 20u, 64u, 128u}) {
    for (const auto& [heads, kv_heads] : {std::pair<size_t, size_t>{1, 1}, {4, 4}, {6, 2}, {5, 1}}) {
      used = std::max(used, CompareInShape<A>({heads, kv_heads, head_dim, 0}, 3, 1.0f));
      used = std::max(used, CompareInShape<A>({heads, kv_heads, head_dim, 17}, 1, 1.0f));
      used = std::max(used, CompareInShape<A>({heads, kv_heads, head_dim, 5}, 4, 3.0f));
    }
  }
  CHECK(used > 0.02);  // roundings rarely all point one way
}

TEST_CASE("Attend: softmax(q k / sqrt(d)) v in double, within the bound that follows from the roundings") {
  CompareInAllShapes<Paper>();
  CompareInAllShapes<Real>();
  CompareInAllShapes<Attention<Q4, Unquantized, Unquantized, Kv3, Q4>>();
  CompareInAllShapes<Attention<Unquantized, Kv3, Kv3, Unquantized, Unquantized>>();
}

TEST_CASE("Attend: one visible token gives its value, whatever the score") {
  const Shape shape{2, 1, 4, 0};
  const Real attention(shape, 1, NormalValues(8, 1, 100.0f), NormalValues(4, 2, 100.0f), {1, 2, 3, 4}, 3);
  CHECK(attention.out == std::vector<float>{1, 2, 3, 4, 1, 2, 3, 4});
}

TEST_CASE("Attend: equal scores give the mean; a score far below counts nothing") {
  const Shape shape{1, 1, 2, 2};
  const Real mean(shape, 1, {0, 0}, NormalValues(6, 2), {3, 1, 6, 1, 9, 4}, 3);
  CHECK(mean.out == std::vector<float>{6, 2});
  const Real far(shape, 1, {100, 0}, {0, 0, 2, 0, 0, 0}, {3, 1, 6, 1, 9, 4}, 3);
  CHECK(far.out == std::vector<float>{6, 1});
}

TEST_CASE("Attend: the unit of weights is the power of two that the largest holds 2^14 to 2^15 times") {
  CHECK(WeightUnit(1.0f) == 0x1p-14);
  CHECK(WeightUnit(std::nextafter(2.0f, 0.0f)) == 0x1p-14);
  CHECK(WeightUnit(2.0f) == 0x1p-13);
  CHECK(WeightUnit(0.75f) == 0x1p-15);
  CHECK(WeightUnit(0x1p-149f) == 0x1p-163);
  CHECK(WeightUnit(std::numeric_limits<float>::max()) == 0x1p113);
  CHECK(WeightUnit(0.0f) == 0.0);
  CHECK(std::isnan(WeightUnit(kNaN)));
  CHECK(std::isnan(WeightUnit(INFINITY)));
  CHECK(WeightInUnits(1.0f, 0x1p-14) == 16384);
  CHECK(WeightInUnits(std::nextafter(2.0f, 0.0f), 0x1p-14) == 32767);  // rounded 32768
  CHECK(WeightInUnits(-1.9999f, 0x1p-14) == -32766);
  CHECK(WeightInUnits(0x1.8p-14f, 0x1p-14) == 2);  // ties to even
  CHECK(WeightInUnits(0x1.4p-13f, 0x1p-14) == 2);
  CHECK(WeightInUnits(0x1p-149f, 0x1p-163) == 16384);
  CHECK(WeightInUnits(1.0f, 0.0) == 0);
  CHECK(WeightInUnits(1.0f, static_cast<double>(kNaN)) == 0);
}

TEST_CASE("Attend: weights are counted in units of their block, blocks are added in order") {
  // All scores are zero, so a weight is the value's step.
  constexpr size_t kTokens = 600;
  HostCache<
      CacheQuantizers<Unquantized, Unquantized, Unquantized, Quantizer<Int<4>, AbsMax>, Quantizer<Int<4>, AbsMax>>>
      cache(1, 1, kTokens);
  std::vector<double> blocks(3);
  for (size_t block = 0; block < 3; ++block) {
    const double largest = 300.0 / static_cast<double>(block * block + 1);  // of all steps of the block: its first
    const double unit = std::exp2(std::floor(std::log2(largest)) - 14);
    int64_t sum = 0;
    for (size_t s = 256 * block; s < std::min<size_t>(kTokens, 256 * block + 256); ++s) {
      const auto step = static_cast<float>(largest / static_cast<double>(s - 256 * block + 1));
      const auto level = static_cast<int8_t>(static_cast<int>(s % 16) - 8);
      if (s == 0) {
        cache.values.StoreFirst(0, &level, step);
      } else {
        cache.values.Store(0, s, &level, step);
      }
      sum += std::min<int64_t>(32767, std::llrint(static_cast<double>(step) / unit)) * level;
    }
    blocks[block] = static_cast<double>(sum) * unit;
  }
  QuantizedRows<Float> q;
  q.Resize(1, 1);
  q[0][0] = 0.0f;
  q.Steps(0)[0] = 1.0f;
  float out = 0.0f;
  AttendAt(q, cache, {1, 1, 1, kTokens - 1}, MatrixView<float>(&out, 1, 1));
  CHECK(out == static_cast<float>(((blocks[0] + blocks[1]) + blocks[2]) / 600.0));
}

TEST_CASE("Attend: 255 weights just below half a unit vanish together, almost an INT8 step of the output; never more") {
  // All scores are zero, so a weight is the value's step. What is lost is at most half a unit a token, so 128 units of
  // the at least 2^14 that the largest weight has: 1/128 of it, where INT8 absmax has steps of 1/127.
  constexpr size_t kTokens = 256;
  HostCache<
      CacheQuantizers<Unquantized, Unquantized, Unquantized, Quantizer<Int<4>, AbsMax>, Quantizer<Int<4>, AbsMax>>>
      cache(1, 1, kTokens);
  const float small = std::nextafter(0x1p-15f, 0.0f);
  const int8_t level = 7;
  cache.values.StoreFirst(0, &level, 1.0f);
  for (size_t s = 1; s < kTokens; ++s) cache.values.Store(0, s, &level, small);
  QuantizedRows<Float> q;
  q.Resize(1, 1);
  q[0][0] = 0.0f;
  q.Steps(0)[0] = 1.0f;
  float out = 0.0f;
  AttendAt(q, cache, {1, 1, 1, kTokens - 1}, MatrixView<float>(&out, 1, 1));
  const double exact = 7.0 * (1.0 + 255.0 * static_cast<double>(small)) / 256.0;
  const double error_in_int8_steps = (exact - static_cast<double>(out)) / (exact / 127.0);
  CHECK(out == 7.0f / 256.0f);
  CHECK(error_in_int8_steps == doctest::Approx(0.98).epsilon(0.01));
}

TEST_CASE("Attend: a block of tokens is the same bits as one token after the other") {
  const Shape shape{4, 2, 16, 0};
  const std::vector<float> q = NormalValues(7 * 64, 1);
  Paper block(shape, 7, q, NormalValues(7 * 32, 2), NormalValues(7 * 32, 3), 7);
  for (size_t t = 0; t < 7; ++t) {
    QuantizedRows<MidRise<4>> one;
    reference::Quantize<Q4>(MatrixView<const float>(q.data() + t * 64, 4, 16), one);
    std::vector<float> out(64);
    AttendAt(one, block.cache, {4, 2, 16, t}, View(out, 1));
    CHECK(std::equal(out.begin(), out.end(), block.out.begin() + static_cast<std::ptrdiff_t>(64 * t)));
  }
}

TEST_CASE("Attend: a NaN or an infinity is seen by those that see the token, and by no other") {
  for (const float bad : {kNaN, INFINITY, -INFINITY}) {
    for (const bool in_key : {true, false}) {
      for (const size_t at : {size_t{0}, size_t{2}, size_t{4}}) {
        const auto check = [&](auto type) {
          using A = typename decltype(type)::type;
          std::vector<float> k = NormalValues(5 * 2 * 8, 2);
          std::vector<float> v = NormalValues(5 * 2 * 8, 3);
          (in_key ? k : v)[(at * 2 + 1) * 8 + 3] = bad;  // head 1
          std::vector<float> q = NormalValues(5 * 4 * 8, 1);
          const A attention({4, 2, 8, 0}, 5, q, k, v, 5);
          for (size_t i = 0; i < attention.out.size(); ++i) {
            const size_t token = i / 32;
            const size_t kv_head = i / 8 % 4 / 2;
            const bool sees = kv_head == 1 && token >= at;
            if (!sees) CHECK(std::isfinite(attention.out[i]));
            // A quantized head is NaN as a whole; of reals the one value (and a key: all of them).
            const bool whole = !std::is_same_v<A, Real> || in_key;
            if (sees && (whole || i % 8 == 3)) {
              // An infinite key makes a score of -inf where the query is of the other sign: a weight of zero.
              const bool negative = std::is_same_v<A, Real> && in_key && std::isinf(bad) &&
                                    (bad > 0) != (q[i / 8 * 8 + 3] > 0) && token > 0;
              CHECK((!std::isfinite(attention.out[i]) || negative));
            }
          }
        };
        check(std::type_identity<Paper>{});
        check(std::type_identity<Real>{});
      }
    }
  }
}

TEST_CASE("Attend: a NaN query is NaN, and its neighbours are not") {
  std::vector<float> q = NormalValues(2 * 2 * 8, 1);
  q[9] = kNaN;  // token 0, head 1
  const Paper attention({2, 1, 8, 0}, 2, q, NormalValues(16, 2), NormalValues(16, 3), 2);
  for (size_t i = 0; i < 32; ++i) CHECK(std::isnan(attention.out[i]) == (i / 8 == 1));
}

TEST_CASE("Attend: shapes that do not fit are assertions") {
  const Shape shape{4, 2, 8, 0};
  Paper a(shape, 2, NormalValues(64, 1), NormalValues(32, 2), NormalValues(32, 3), 2);
  const auto attend = [&](const Shape& s) { AttendAt(a.q, a.cache, s, View(a.out, 2)); };
  CHECK(Breaks("beyond the pages", [&] { attend({4, 2, 8, 4 * kPageTokens - 1}); }));
  CHECK(Breaks("beyond the pages", [&] { attend({4, 2, 8, 0xfffffffeu}); }));
  CHECK(Breaks("agree in shape", [&] { attend({2, 2, 8, 0}); }));
  CHECK(Breaks("kv_heads", [&] { attend({4, 3, 8, 0}); }));
  CHECK(Breaks("kv_heads", [&] { attend({4, 0, 8, 0}); }));
  CHECK(Breaks("other heads", [&] { attend({4, 4, 8, 0}); }));
}

TEST_CASE("NaN: a weight or an input that is NaN is seen in every output it reaches") {
  std::vector<float> w = NormalValues(3 * 8, 1);
  std::vector<float> x = NormalValues(2 * 8, 2);
  w[8] = kNaN;  // row 1
  const Product<Quantizer<Ternary, AbsMean, PerRow>, Quantizer<Int<4>, AbsMean>> weight(w, 3, x, 2);
  for (size_t i = 0; i < 6; ++i) CHECK(std::isnan(weight.y[i]) == (i % 3 == 1));
  w[8] = 0.0f;
  x[3] = kNaN;  // token 0
  Product<Quantizer<Ternary, AbsMean>, Quantizer<Int<4>, AbsMean>> input(w, 3, x, 2);
  for (size_t i = 0; i < 6; ++i) CHECK(std::isnan(input.y[i]) == (i < 3));
  // Its levels are all zero: skipping them must not hide it.
  reference::FindNonzero(input.x);
  CHECK(input.x.nonzero().Count(0) == 0);
  std::vector<float> y(6);
  reference::MatMulColumns(input.weights, input.x, View(y, 2));
  for (size_t i = 0; i < 6; ++i) CHECK(std::isnan(y[i]) == (i < 3));
  reference::QuantizeTopK<Quantizer<Int<4>, AbsMean>>(View(std::as_const(x), 2), 1, input.x);
  reference::MatMul(input.weights, input.x, View(y, 2));
  for (size_t i = 0; i < 6; ++i) CHECK(std::isnan(y[i]) == (i < 3));
  std::vector<float> normed(16);
  reference::RmsNorm(View(std::as_const(x), 2), std::vector<float>(8, 1.0f), 1e-5f, View(normed, 2));
  for (size_t i = 0; i < 16; ++i) CHECK(std::isnan(normed[i]) == (i < 8));
}

}  // namespace
}  // namespace bitnet
