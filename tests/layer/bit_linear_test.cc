#include "bitnet/layer/bit_linear.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bitnet/backend/reference.h"
#include "bitnet/backend/simd/default_backend.h"
#include "bitnet/scheme/scheme.h"
#include "testing/expect_assertion.h"
#include "testing/random_values.h"
#include "testing/tiny_model.h"

namespace bitnet::bit_linear_test {
namespace {

using testing::Breaks;
using testing::FiveLevel;
using testing::NormalValues;
using testing::SameBits;

constexpr size_t kRows = 37, kCols = 70, kTokens = 5;

// The definition, from the quantizers and the reference's product.
template <class W, class X>
std::vector<float> ByReference(const std::vector<float>& weights, const std::vector<float>& x) {
  const size_t tokens = x.size() / kCols;
  const auto matrix =
      QuantizedMatrix<typename W::Format>::template Quantize<W>(MatrixView<const float>(weights.data(), kRows, kCols));
  QuantizedRows<OperandOf<X>> quantized;
  reference::Quantize<X>(MatrixView<const float>(x.data(), tokens, kCols), quantized);
  std::vector<float> y(tokens * kRows);
  reference::MatMul(matrix, quantized, MatrixView<float>(y.data(), tokens, kRows));
  return y;
}

template <class W, class X>
void CheckLaws() {
  const std::vector<float> weights = NormalValues(kRows * kCols, 3, 0.2f);
  const std::vector<float> x = NormalValues(kTokens * kCols, 4);
  const std::vector<float> expected = ByReference<W, X>(weights, x);
  BitLinear<W, X> linear(weights, kRows, kCols);
  CHECK(linear.rows() == kRows);
  CHECK(linear.cols() == kCols);

  std::vector<float> y(expected.size());
  linear(x, y);  // spans
  CHECK(SameBits(y, expected));

  // Views with strides, and what lies between the rows stays.
  constexpr size_t kGap = 3;
  std::vector<float> wide_x(kTokens * (kCols + kGap), 99.0f), wide_y(kTokens * (kRows + kGap), 7.0f);
  for (size_t t = 0; t < kTokens; ++t) std::copy_n(&x[t * kCols], kCols, &wide_x[t * (kCols + kGap)]);
  linear(MatrixView<const float>(wide_x.data(), kTokens, kCols, kCols + kGap),
         MatrixView<float>(wide_y.data(), kTokens, kRows, kRows + kGap));
  for (size_t t = 0; t < kTokens; ++t) {
    CHECK(SameBits({&wide_y[t * (kRows + kGap)], kRows}, {&expected[t * kRows], kRows}));
    for (size_t i = 0; i < kGap; ++i) CHECK(wide_y[t * (kRows + kGap) + kRows + i] == 7.0f);
  }

  // Token by token.
  for (size_t t = 0; t < kTokens; ++t) {
    std::vector<float> one(kRows);
    linear(std::span(x).subspan(t * kCols, kCols), one);
    CHECK(SameBits(one, {&expected[t * kRows], kRows}));
  }

  // From weights that were quantized before, and by the reference backend.
  const auto quantized =
      QuantizedMatrix<typename W::Format>::template Quantize<W>(MatrixView<const float>(weights.data(), kRows, kCols));
  BitLinear<W, X, ReferenceBackend> reference(quantized);
  std::vector<float> z(expected.size());
  reference(x, z);
  CHECK(SameBits(z, expected));
}

TEST_CASE("BitLinear: is the quantizers and the reference's product, in any way it is called") {
  SUBCASE("A48") { CheckLaws<A48::Weight, A48::Input>(); }
  SUBCASE("A48 down") { CheckLaws<A48::Weight, A48::DownInput>(); }
  SUBCASE("A48Fp4") { CheckLaws<A48Fp4::Weight, A48Fp4::Input>(); }
  SUBCASE("five levels, a step for each group on both sides") {
    CheckLaws<Quantizer<FiveLevel, AbsMean, PerGroup<16>>, Quantizer<Int<4>, AbsMax, PerGroup<12>>>();
  }
  SUBCASE("binary weights and 3-bit inputs") { CheckLaws<Quantizer<Binary, AbsMean>, Quantizer<Int<3>, AbsMean>>(); }
  SUBCASE("float weights and inputs") { CheckLaws<Unquantized, Unquantized>(); }
  SUBCASE("ternary weights, float inputs") { CheckLaws<A48::Weight, Unquantized>(); }
}

TEST_CASE("BitLinear: a product by hand") {
  // Weights: mean |w| = 1, so the levels are -1, 0, 1 and the step 1. Input: largest magnitude 7 over 127.
  const std::vector<float> weights = {1.5f, -1.5f, 0.25f, -0.75f, 2.0f, 0.0f};
  const std::vector<float> x = {7.0f, -3.5f, 1.75f};
  std::vector<float> y(2);
  BitLinear<Quantizer<Ternary, AbsMean>, Quantizer<Int<8>, AbsMax>>(weights, 2, 3)(x, y);
  const double step = static_cast<double>(static_cast<float>(7.0 / 127));
  // 127, -63.5 to even -64, 31.75 to 32; row 0 is +1 -1 0, row 1 is -1 +1 0.
  CHECK(y[0] == static_cast<float>(step * (127 + 64)));
  CHECK(y[1] == static_cast<float>(step * (-127 - 64)));
}

TEST_CASE("BitLinear: a float product is the product of doubles but for one rounding") {
  const std::vector<float> weights = NormalValues(kRows * kCols, 5), x = NormalValues(kCols, 6);
  std::vector<float> y(kRows);
  BitLinear<Unquantized, Unquantized>(weights, kRows, kCols)(x, y);
  for (size_t r = 0; r < kRows; ++r) {
    long double exact = 0;
    for (size_t c = 0; c < kCols; ++c) exact += static_cast<long double>(weights[r * kCols + c]) * x[c];
    // Rounding to float, 2^-24 of the value; the doubles before it err by less than 2^-40.
    CHECK(std::fabs(static_cast<double>(exact - y[r])) <= 0x1.01p-24 * std::fabs(static_cast<double>(exact)) + 0x1p-40);
  }
}

TEST_CASE("BitLinear: rows of a list and columns that are not zero give the dense result") {
  const std::vector<float> weights = NormalValues(kRows * kCols, 7);
  std::vector<float> x = NormalValues(2 * kCols, 8);
  for (size_t i = 0; i < x.size(); i += 3) x[i] = 0.0f;
  using B = DefaultBackend<void>;
  const BitLinear<A48::Weight, A48::Input> dense(weights, kRows, kCols);
  const BitLinear<A48::Weight, A48::Input, B, Uses<ChosenRows>> by_rows(weights, kRows, kCols);
  const BitLinear<A48::Weight, A48::Input, B, Uses<ChosenColumns>> by_columns(weights, kRows, kCols);
  const B backend;
  B::Stream stream = backend.NewStream();
  B::Rows<A48::Input::Format> input;
  backend.Quantize<A48::Input>(stream, MatrixView<const float>(x.data(), 2, kCols), input);
  backend.FindNonzero(stream, input);
  std::vector<float> expected(2 * kRows), y(2 * kRows);
  const MatrixView<float> out(y.data(), 2, kRows);
  dense.Apply(stream, input, MatrixView<float>(expected.data(), 2, kRows));

  by_columns.ApplyColumns(stream, input, out);
  CHECK(SameBits(y, expected));

  ChannelLists lists;
  lists.Resize(2, kRows);
  for (size_t t = 0; t < 2; ++t) {
    for (uint32_t i = 0; i < kRows / 2; ++i) lists.Row(t)[i] = 2 * i + static_cast<uint32_t>(t);
    lists.SetCount(t, kRows / 2);
  }
  std::fill(y.begin(), y.end(), 5.0f);
  by_rows.ApplyRows(stream, input, lists, out);
  for (size_t t = 0; t < 2; ++t) {
    for (size_t r = 0; r < kRows; ++r) {
      const bool listed = r >= t && (r - t) % 2 == 0 && (r - t) / 2 < kRows / 2;
      CHECK(y[t * kRows + r] == (listed ? expected[t * kRows + r] : 5.0f));
    }
  }
}

TEST_CASE("BitLinear: wrong sizes are stopped with a sentence") {
  const std::vector<float> weights(6), x(7);
  std::vector<float> y(4);
  using Linear = BitLinear<A48::Weight, A48::Input, ReferenceBackend>;
  CHECK(Breaks("rows * cols", [&] { Linear(weights, 2, 4); }));
  Linear linear(weights, 2, 3);
  CHECK(Breaks("tokens * cols", [&] { linear(x, y); }));
  CHECK(Breaks("tokens * rows", [&] { linear(std::span(x).first(3), y); }));
  CHECK(Breaks("tokens * rows", [&] { linear(std::span(x).first(6), std::span(y).first(2)); }));
  // Products that wrap around to 0.
  CHECK(Breaks("rows * cols", [&] { Linear({}, 4, ~size_t{0} / 4 + 1); }));
  if constexpr (sizeof(size_t) == 4) {
    const std::vector<float> many(1u << 16);
    Linear column(many, many.size(), 1);
    CHECK(Breaks("tokens * rows", [&] { column(many, std::span(y).first(0)); }));
  }
}

}  // namespace
}  // namespace bitnet::bit_linear_test
