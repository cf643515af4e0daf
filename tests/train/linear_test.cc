#include <bitnet/backend/reference.h>
#include <bitnet/train/linear.h>
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "testing/random_values.h"
#include "testing/tiny_model.h"

namespace bitnet::testing {
namespace {

// The training product and the reference's, of the same reals.
template <AnyQuantizer W, AnyQuantizer X, class Keep = KeepAll>
void CheckLinear(size_t rows, size_t cols, size_t tokens, float scale = 1.0f) {
  INFO(rows << " x " << cols << ", " << tokens << " tokens");
  const ReferenceBackend backend;
  const std::vector<float> w = NormalValues(rows * cols, cols, scale);
  const std::vector<float> x = NormalValues(tokens * cols, rows + 1, scale);
  const MatrixView<const float> weights(w.data(), rows, cols);
  const MatrixView<const float> inputs(x.data(), tokens, cols);

  const auto matrix = QuantizedMatrix<typename W::Format>::template Quantize<W>(weights);
  QuantizedRows<OperandOf<X>> quantized;
  if constexpr (Keep::kAll) {
    reference::Quantize<X>(inputs, quantized);
  } else {
    reference::QuantizeTopK<X>(inputs, Keep::Count(cols), quantized);
  }
  std::vector<float> expected(tokens * rows);
  reference::MatMul(matrix, quantized, MatrixView<float>(expected.data(), tokens, rows));

  WeightOperand operand;
  operand.Resize<W>(rows + 2, cols);  // not alone: one row above, one below
  QuantizeWeights<W>(backend, w, 1, rows, operand);
  FloatLevels levels;
  std::vector<float> values(x.size());
  QuantizeInputs<X, Keep>(backend, inputs, levels, MatrixView<float>(values.data(), tokens, cols));
  std::vector<float> y(tokens * (rows + 2));
  const MatrixView<float> out(y.data(), tokens, rows + 2);
  LinearForward<typename W::Format, typename X::Format>(levels, operand.levels, out);
  for (size_t t = 0; t < tokens; ++t) {
    CHECK(SameBits(out[t].subspan(1, rows), {expected.data() + t * rows, rows}));
  }

  // Values are step * level.
  std::vector<float> row(cols);
  for (size_t r = 0; r < rows; ++r) {
    matrix.DequantizeRow(r, row);
    CHECK(SameBits(row, operand.values[r + 1]));
  }
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t c = 0; c < cols; ++c) {
      const float step = quantized.Steps(t)[quantized.step_groups().Of(c)];
      REQUIRE(SameBits(values[t * cols + c], step * static_cast<float>(quantized[t][c])));
    }
  }
}

TEST_CASE("LinearForward: has the bits of the reference backend, whatever the granularity") {
  for (const size_t cols : {1u, 7u, 16u, 33u, 128u, 173u}) {
    CheckLinear<A48::Weight, A48::Input>(5, cols, 4);
    CheckLinear<A48::Weight, B158::Input>(9, cols, 3, 1e-3f);
    CheckLinear<A48::Weight, A48Fp4::Input>(4, cols, 2, 1e3f);
    CheckLinear<A48::Weight, A48::OutputInput, KeepHalf>(6, cols, 5);
    CheckLinear<Quantizer<Binary, AbsMean, PerRow>, Quantizer<Int<3>, AbsMean>>(5, cols, 4);
    CheckLinear<Quantizer<FiveLevel, AbsMean, PerGroup<16>>, A48::Input>(5, cols, 4);
    CheckLinear<A48::Weight, Quantizer<Int<8>, AbsMax, PerGroup<10>>>(5, cols, 4);
    CheckLinear<Quantizer<Int<4>, AbsMax, PerGroup<7>>, Quantizer<Int<4>, AbsMax, PerGroup<5>>>(5, cols, 4);
  }
}

TEST_CASE("LinearForward: is exact where float sums are not") {
  // All products 127 * 127 or -128 * 127: 5460 of them are far beyond 2^24.
  using Int8 = Quantizer<Int<8>, AbsMax>;
  static_assert(FloatSumsSuffice<Int<8>, Int<8>>(1024));
  static_assert(!FloatSumsSuffice<Int<8>, Int<8>>(1025));
  static_assert(FloatSumsSuffice<Ternary, Int<8>>(131072));
  static_assert(!FloatSumsSuffice<Ternary, Int<8>>(131073));
  CheckLinear<Int8, Int8>(3, 5460, 2);
  const ReferenceBackend backend;
  constexpr size_t kCols = 5461;
  std::vector<float> ones(kCols, 1.0f);
  ones[kCols - 1] = 1.0f / 127;  // level 1: the sum is 5460 * 127 * 127 + 1, which no float can hold
  WeightOperand w;
  w.Resize<Int8>(1, kCols);
  QuantizeWeights<Int8>(backend, ones, 0, 1, w);
  FloatLevels x;
  std::vector<float> values(kCols);
  QuantizeInputs<Int8>(backend, AsRow(std::span<const float>(ones)), x, AsRow(std::span(values)));
  float y = 0.0f;
  LinearForward<Int<8>, Int<8>>(x, w.levels, MatrixView<float>(&y, 1, 1));
  const double dot = 5460.0 * 127 * 127 + 1;
  CHECK(y == static_cast<float>(dot * double(x.steps[0] * w.levels.steps[0])));
}

TEST_CASE("LinearForward: a zero matrix, a zero input and NaN give what the reference gives") {
  const ReferenceBackend backend;
  for (const float bad : {0.0f, NAN}) {
    WeightOperand w;
    w.Resize<A48::Weight>(1, 3);
    QuantizeWeights<A48::Weight>(backend, std::vector<float>{-1.0f, 1.0f, -1.0f}, 0, 1, w);
    std::vector<float> x = {bad, bad, bad};
    FloatLevels levels;
    QuantizeInputs<B158::Input>(backend, AsRow(std::span<const float>(x)), levels, AsRow(std::span(x)));
    float y = 1.0f;
    LinearForward<Ternary, Int<8>>(levels, w.levels, MatrixView<float>(&y, 1, 1));
    CHECK(SameBits(y, bad));
  }
}

TEST_CASE("WeightGradients, InputGradient: are the products by the quantized operands") {
  const ReferenceBackend backend;
  constexpr size_t kTokens = 70, kRows = 150, kCols = 37;
  const std::vector<float> dy = NormalValues(kTokens * kRows, 1);
  const std::vector<float> x = NormalValues(kTokens * kCols, 2);
  WeightOperand w;
  w.Resize<A48::Weight>(kRows, kCols);
  QuantizeWeights<A48::Weight>(backend, NormalValues(kRows * kCols, 3), 0, kRows, w);
  // What was there is added to.
  std::vector<float> dw(kRows * kCols, 2.0f), dx(kTokens * kCols), second(3 * kCols);
  const MatrixView<const float> dys(dy.data(), kTokens, kRows);
  const MatrixView<const float> xs(x.data(), kTokens, kCols);
  const WeightGradient gradients[] = {{dys, xs, dw.data()}, {dys.Cols(7, 3), xs, second.data()}};
  WeightGradients(DefaultExecutor(), gradients);
  InputGradient<Unquantized>(ReferenceBackend(), dys, w, MatrixView<float>(dx.data(), kTokens, kCols));
  // Float sums of n terms of size 1: n roundings of at most 6e-8 of a partial sum of about sqrt(n).
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kCols; ++c) {
      double sum = 0.0;
      for (size_t t = 0; t < kTokens; ++t) sum += double(dys[t][r]) * double(xs[t][c]);
      REQUIRE(std::fabs(2.0 + sum - double(dw[r * kCols + c])) < 3e-5);
      if (r >= 7 && r < 10) REQUIRE(std::fabs(sum - double(second[(r - 7) * kCols + c])) < 3e-5);
    }
  }
  for (size_t t = 0; t < kTokens; ++t) {
    for (size_t c = 0; c < kCols; ++c) {
      double sum = 0.0;
      for (size_t r = 0; r < kRows; ++r) sum += double(dys[t][r]) * double(w.values[r][c]);
      REQUIRE(std::fabs(sum - double(dx[t * kCols + c])) < 6e-5);
    }
  }
}

}  // namespace
}  // namespace bitnet::testing
