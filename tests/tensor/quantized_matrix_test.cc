#include "bitnet/tensor/quantized_matrix.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "testing/expect_assertion.h"
#include "testing/random_values.h"

namespace bitnet {
namespace {

using testing::Breaks;
using testing::NormalValues;

struct FiveLevel {
  static constexpr auto kLevels = std::array{-2, -1, 0, 1, 2};
};

// What Q makes of `weights`, whose granularity cuts them as `steps` says, one span at a time by Quantizer itself.
template <class Q>
void CompareWithSpans(size_t rows, size_t cols, size_t stride) {
  using F = typename Q::Format;
  CAPTURE(rows);
  CAPTURE(cols);
  CAPTURE(stride);
  // What lies between the rows must not be read: it would make every step NaN.
  std::vector<float> data(rows * stride, std::numeric_limits<float>::quiet_NaN());
  const std::vector<float> values = NormalValues(rows * cols, rows + 1000 * cols);
  const MatrixView<float> view(data.data(), rows, cols, stride);
  for (size_t r = 0; r < rows; ++r)
    std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(r * cols), cols, view.Row(r));

  const auto matrix = QuantizedMatrix<F>::template Quantize<Q>(view);
  CHECK(matrix.rows() == rows);
  CHECK(matrix.cols() == cols);
  CHECK(matrix.IsValid());

  using G = typename Q::Granularity;
  const size_t group = kGroupSize<G> != 0 ? kGroupSize<G> : cols;
  const bool whole = std::is_same_v<G, Whole>;
  const size_t steps = whole ? 1 : rows * ((cols + group - 1) / group);
  CHECK(matrix.steps().size() == steps);
  CHECK(matrix.StoredBytes() == rows * Packing<F>::Bytes(cols) + 4 * steps);
  CHECK(matrix.bytes().size() == rows * Packing<F>::Bytes(cols));

  const float whole_step = Q::Step(values);
  for (size_t r = 0; r < rows; ++r) {
    std::vector<LevelOf<F>> levels(cols);
    std::vector<float> dequantized(cols);
    matrix.UnpackRow(r, levels);
    matrix.DequantizeRow(r, dequantized);
    for (size_t c = 0; c < cols; ++c) {
      const size_t begin = c / group * group;
      const std::span<const float> span = view[r].subspan(begin, std::min(group, cols - begin));
      const float step = whole ? whole_step : Q::Step(span);
      const int level = Q::LevelAt(view[r][c], InverseStep(step));
      const bool same = matrix.Step(r, matrix.step_groups().Of(c)) == step && levels[c] == level &&
                        dequantized[c] == step * static_cast<float>(level);
      if (!same) FAIL_CHECK("row " << r << ", column " << c);
    }
  }
}

template <class Q>
void CompareInAllShapes() {
  for (const size_t cols : {1u, 2u, 3u, 5u, 8u, 17u, 70u}) {
    for (const size_t rows : {1u, 4u}) {
      CompareWithSpans<Q>(rows, cols, cols);
      CompareWithSpans<Q>(rows, cols, cols + 3);
    }
  }
}

TEST_CASE("QuantizedMatrix: one step for all, whatever the stride") {
  CompareInAllShapes<Quantizer<Ternary, AbsMean>>();
  CompareInAllShapes<Quantizer<Int<3>, MinMax>>();
}
TEST_CASE("QuantizedMatrix: a step a row") {
  CompareInAllShapes<Quantizer<Ternary, AbsMean, PerRow>>();
  CompareInAllShapes<Quantizer<FiveLevel, AbsMax, PerRow>>();
}
TEST_CASE("QuantizedMatrix: a step for each group of a row, the last one short") {
  CompareInAllShapes<Quantizer<Ternary, AbsMean, PerGroup<3>>>();
  CompareInAllShapes<Quantizer<Fp4E2M1, MinMax, PerGroup<8>>>();
  CompareInAllShapes<Quantizer<Int<8>, AbsMax, PerGroup<1>>>();
  CompareInAllShapes<Quantizer<Binary, AbsMean, PerGroup<100>>>();
}

TEST_CASE("QuantizedMatrix: by hand") {
  // alpha = 2: levels 0 -1 1 | 1 0 -1.
  const std::vector<float> w = {0.5f, -4.0f, 1.5f, 3.0f, 0.0f, -3.0f};
  const auto matrix = QuantizedMatrix<Ternary>::Quantize<Quantizer<Ternary, AbsMean>>({w.data(), 2, 3});
  CHECK(matrix.Step(0, 0) == 2.0f);
  CHECK(matrix.Step(1, 0) == 2.0f);
  REQUIRE(matrix.bytes().size() == 2);
  // Codes 1 0 2 | 2 1 0, padded with 1: 1 + 2*9 + 27 + 81 and 2 + 3 + 27 + 81.
  CHECK(matrix.bytes()[0] == 127);
  CHECK(matrix.bytes()[1] == 113);
  CHECK(matrix.RowCodes(1).data() == matrix.bytes().data() + 1);
  CHECK(matrix.RowCodes(1).size() == 1);
}

TEST_CASE("QuantizedMatrix: a NaN poisons what shares its step, and nothing else") {
  std::vector<float> w = NormalValues(24, 1);
  w[8 + 2] = std::numeric_limits<float>::quiet_NaN();
  const MatrixView<const float> view(w.data(), 3, 8);
  std::vector<float> row(8);
  const auto nans = [&](const auto& matrix, size_t r) {
    matrix.DequantizeRow(r, row);
    return std::count_if(row.begin(), row.end(), [](float v) { return std::isnan(v); });
  };
  const auto whole = QuantizedMatrix<Ternary>::Quantize<Quantizer<Ternary, AbsMean>>(view);
  const auto rows = QuantizedMatrix<Ternary>::Quantize<Quantizer<Ternary, AbsMean, PerRow>>(view);
  const auto groups = QuantizedMatrix<Ternary>::Quantize<Quantizer<Ternary, AbsMean, PerGroup<3>>>(view);
  CHECK(nans(whole, 0) == 8);
  CHECK(nans(rows, 0) == 0);
  CHECK(nans(rows, 1) == 8);
  CHECK(nans(groups, 1) == 3);
  CHECK(nans(groups, 2) == 0);
  CHECK(whole.IsValid());
}

TEST_CASE("QuantizedMatrix: Float keeps the reals, step 1") {
  const std::vector<float> w = NormalValues(4 * 9, 3);
  const auto matrix = QuantizedMatrix<Float>::Quantize<Unquantized>(MatrixView<const float>(w.data() + 1, 3, 8, 9));
  CHECK(matrix.StoredBytes() == 3 * 8 * 4);
  CHECK(matrix.IsValid());
  std::vector<float> row(8);
  for (size_t r = 0; r < 3; ++r) {
    CHECK(matrix.Step(r, 0) == 1.0f);
    const std::vector<float> expected(w.begin() + 1 + static_cast<std::ptrdiff_t>(9 * r),
                                      w.begin() + 9 + static_cast<std::ptrdiff_t>(9 * r));
    matrix.UnpackRow(r, row);
    CHECK(row == expected);
    matrix.DequantizeRow(r, row);
    CHECK(row == expected);
  }
  // As a file reader makes it: the bytes are written from outside.
  const QuantizedMatrix<Float> empty(2, 3, StepGranularity{});
  CHECK(empty.Step(1, 0) == 1.0f);
}

TEST_CASE("QuantizedMatrix: reals of 16 bits take two bytes a value, step 1") {
  const auto check = []<class F>(F) {
    const std::vector<float> w = NormalValues(4 * 9, 3);
    const MatrixView<const float> view(w.data() + 1, 3, 7, 9);
    const auto matrix = QuantizedMatrix<F>::template Quantize<Rounded<F>>(view);
    CHECK(matrix.StoredBytes() == 3 * 7 * 2);
    CHECK(matrix.IsValid());
    std::vector<float> row(7), expected(7);
    for (size_t r = 0; r < 3; ++r) {
      CHECK(matrix.Step(r, 0) == 1.0f);
      Rounded<F>::Quantize(view[r], expected.data());
      matrix.UnpackRow(r, row);
      CHECK(row == expected);
      matrix.DequantizeRow(r, row);
      CHECK(row == expected);
    }
  };
  check(BFloat16());
  check(Float16());
}

// A quantizer of one's own, which says a format that does not hold its reals.
struct NotRounded : Unquantized {
  using Format = BFloat16;
};

TEST_CASE("QuantizedMatrix: reals that the format does not hold are an assertion") {
  const std::vector<float> held = {1.0f, -0.5f}, other = {1.0f, 0x1.01p0f};
  const auto from = [](const std::vector<float>& w) {
    return QuantizedMatrix<BFloat16>::Quantize<NotRounded>(MatrixView<const float>(w.data(), 1, 2));
  };
  CHECK(from(held).rows() == 1);
  CHECK(testing::Breaks("a level that its format lacks", [&] { from(other); }));
}

TEST_CASE("QuantizedMatrix: foreign bytes are told, in any row") {
  const auto granularity = StepGranularity::Of<PerRow>();
  QuantizedMatrix<Ternary> matrix(3, 7, granularity);
  CHECK(matrix.IsValid());  // code 0 everywhere
  CHECK(matrix.Step(2, 0) == 0.0f);
  for (size_t i = 0; i < matrix.bytes().size(); ++i) {
    matrix.bytes()[i] = 243;
    CHECK_FALSE(matrix.IsValid());
    matrix.bytes()[i] = 242;
    CHECK(matrix.IsValid());
  }
  QuantizedMatrix<Int<4>> every(2, 9, granularity);
  for (uint8_t& byte : every.bytes()) byte = 0xff;
  CHECK(every.IsValid());
  QuantizedMatrix<Fp4E2M1> fifteen(2, 9, granularity);
  fifteen.bytes()[fifteen.bytes().size() - 1] = 0xf0;
  CHECK_FALSE(fifteen.IsValid());
  // ... and unpack to levels all the same.
  std::vector<int8_t> levels(9);
  fifteen.UnpackRow(1, levels);
  for (const int8_t level : levels) CHECK(level >= -12);
}

TEST_CASE("QuantizedMatrix: what was copied by its bytes and steps is the same matrix") {
  const std::vector<float> w = NormalValues(5 * 11, 9);
  using Q = Quantizer<Ternary, AbsMean, PerGroup<4>>;
  const auto from = QuantizedMatrix<Ternary>::Quantize<Q>({w.data(), 5, 11});
  QuantizedMatrix<Ternary> to(from.rows(), from.cols(), from.granularity());
  REQUIRE(to.bytes().size() == from.bytes().size());
  REQUIRE(to.steps().size() == from.steps().size());
  std::copy(from.bytes().begin(), from.bytes().end(), to.bytes().begin());
  std::copy(from.steps().begin(), from.steps().end(), to.steps().begin());
  std::vector<float> a(11);
  std::vector<float> b(11);
  for (size_t r = 0; r < 5; ++r) {
    from.DequantizeRow(r, a);
    to.DequantizeRow(r, b);
    CHECK(a == b);
  }
}

// Of each four values in a row the two largest are kept; and at least one is, so that short rests are seen too.
template <class Base>
struct TwoOfFour : Base {
  static float Quantize(std::span<const float> x, typename Base::Level* levels) {
    const float step = Base::Quantize(x, levels);
    for (size_t i = 0; i < x.size(); ++i) {
      const auto four = x.subspan(i / 4 * 4, std::min<size_t>(4, x.size() - i / 4 * 4));
      size_t larger = 0;
      for (const float other : four) larger += std::fabs(other) > std::fabs(x[i]) ? 1u : 0u;
      if (larger >= 2) levels[i] = 0;
    }
    return step * 2.0f;
  }
};

// Signs alone: neither Step nor LevelAt.
struct Signs {
  using Format = Ternary;
  using Granularity = PerRow;
  static float Quantize(std::span<const float> x, int8_t* levels) {
    for (size_t i = 0; i < x.size(); ++i) levels[i] = x[i] > 0.0f ? 1 : -1;
    return 0.25f;
  }
};

// The definition: Q::Quantize of each span that shares a step.
template <class Q>
void CompareWithQuantize(size_t rows, size_t cols) {
  using F = typename Q::Format;
  const std::vector<float> values = NormalValues((rows + 1) * (cols + 2), rows + 1000 * cols);
  const MatrixView<const float> view(values.data(), rows, cols, cols + 2);
  std::vector<float> dense;
  for (size_t r = 0; r < rows; ++r) dense.insert(dense.end(), view[r].begin(), view[r].end());
  const size_t group = kGroupSize<typename Q::Granularity>;
  const bool whole = std::is_same_v<typename Q::Granularity, Whole>;
  std::vector<LevelOf<F>> expected(rows * cols);
  std::vector<float> steps;
  for (size_t begin = 0; begin < dense.size();) {
    const size_t left = whole ? dense.size() : cols - begin % cols;
    const size_t size = group == 0 ? left : std::min(group, left);
    steps.push_back(Q::Quantize({dense.data() + begin, size}, expected.data() + begin));
    begin += size;
  }
  for (const auto& matrix : {QuantizedMatrix<F>::template Quantize<Q>(view),
                             QuantizedMatrix<F>::template Quantize<Q>({dense.data(), rows, cols})}) {
    CHECK(std::equal(steps.begin(), steps.end(), matrix.steps().begin(), matrix.steps().end()));
    std::vector<LevelOf<F>> levels(rows * cols);
    for (size_t r = 0; r < rows; ++r) matrix.UnpackRow(r, std::span(levels).subspan(r * cols, cols));
    CHECK(levels == expected);
  }
}

TEST_CASE("QuantizedMatrix: the function that quantizes is Quantize, also where a quantizer hides another's") {
  for (const size_t cols : {1u, 3u, 8u, 13u}) {
    CompareWithQuantize<TwoOfFour<Quantizer<Ternary, AbsMean>>>(5, cols);
    CompareWithQuantize<TwoOfFour<Quantizer<Int<4>, AbsMax, PerRow>>>(5, cols);
    CompareWithQuantize<TwoOfFour<Quantizer<Fp4E2M1, MinMax, PerGroup<6>>>>(5, cols);
    CompareWithQuantize<Signs>(5, cols);
    CompareWithQuantize<Quantizer<Ternary, AbsMean>>(5, cols);
    CompareWithQuantize<Quantizer<Binary, AbsMean, PerGroup<5>>>(5, cols);
  }
}

struct BeyondTernary : Quantizer<Ternary, AbsMean> {
  static float Quantize(std::span<const float> x, int8_t* levels) {
    std::fill(levels, levels + x.size(), int8_t{2});
    return 1.0f;
  }
};

TEST_CASE("QuantizedMatrix: a quantizer that gives a level which its format lacks is an assertion") {
  const std::vector<float> w = NormalValues(6, 1);
  CHECK(Breaks("gave a level that its format lacks", [&] {
    (void)QuantizedMatrix<Ternary>::Quantize<BeyondTernary>({w.data(), 2, 3});
  }));
}

// FromLevels of what Quantize has made must give that matrix.
template <class Q>
void CheckFromLevels(size_t rows, size_t cols) {
  using F = typename Q::Format;
  const std::vector<float> w = NormalValues(rows * cols, 3);
  const auto from = QuantizedMatrix<F>::template Quantize<Q>({w.data(), rows, cols});
  std::vector<LevelOf<F>> levels(rows * cols);
  for (size_t r = 0; r < rows; ++r) from.UnpackRow(r, std::span(levels).subspan(r * cols, cols));
  const auto matrix = QuantizedMatrix<F>::FromLevels(levels, rows, cols, from.steps(), from.granularity());
  REQUIRE(matrix.ok());
  CHECK(matrix->granularity() == from.granularity());
  CHECK(std::equal(from.bytes().begin(), from.bytes().end(), matrix->bytes().begin(), matrix->bytes().end()));
  CHECK(std::equal(from.steps().begin(), from.steps().end(), matrix->steps().begin(), matrix->steps().end()));
}

TEST_CASE("QuantizedMatrix: FromLevels takes the levels and steps of others") {
  for (const size_t cols : {1u, 7u, 40u}) {
    CheckFromLevels<Quantizer<Ternary, AbsMean>>(6, cols);
    CheckFromLevels<Quantizer<Int<8>, AbsMax, PerRow>>(6, cols);
    CheckFromLevels<Quantizer<UInt<8>, AbsMax, PerRow>>(6, cols);
    CheckFromLevels<Quantizer<MidRise<3>, AbsMax, PerGroup<7>>>(6, cols);
    CheckFromLevels<Quantizer<Fp4E2M1, MinMax, PerGroup<5>>>(6, cols);
  }
  CheckFromLevels<Quantizer<Ternary, AbsMean>>(0, 5);
  CheckFromLevels<Quantizer<Ternary, AbsMean, PerRow>>(0, 5);
}

template <Format F>
std::string Refusal(const std::vector<LevelOf<F>>& levels, size_t rows, size_t cols, const std::vector<float>& steps,
                    StepGranularity granularity = {}) {
  const auto matrix = QuantizedMatrix<F>::FromLevels(levels, rows, cols, steps, granularity);
  return matrix.ok() ? "" : matrix.error();
}

TEST_CASE("QuantizedMatrix: FromLevels refuses what is no matrix of the format, with a sentence") {
  const std::vector<int8_t> levels = {1, 0, -1, 1, 1, 0};
  const auto rows = StepGranularity::Of<PerRow>();
  CHECK(Refusal<Ternary>(levels, 2, 3, {0.5f}) == "");
  CHECK(Refusal<Ternary>(levels, 2, 3, {0.5f, 0.0f}, rows) == "");
  CHECK(Refusal<Ternary>(levels, 3, 3, {0.5f}) == "levels: there are 6; a matrix of 3 x 3 was expected");
  const size_t huge = size_t{1} << (sizeof(size_t) * 8 - 1);
  CHECK(Refusal<Ternary>({}, huge, 2, {0.5f}).find("levels: there are 0; a matrix of ") == 0);
  CHECK(Refusal<Ternary>(levels, 2, 3, {0.5f, 0.5f}) == "levels: there are 2 steps; 2 x 3 levels with one step need 1");
  CHECK(Refusal<Ternary>(levels, 2, 3, {0.5f}, rows) ==
        "levels: there are 1 steps; 2 x 3 levels with a step a row (StepGranularity::Of<PerRow>()) need 2");
  CHECK(Refusal<Ternary>(levels, 2, 3, {0.5f, 0.5f}, StepGranularity::Of<PerGroup<2>>()) ==
        "levels: there are 2 steps; 2 x 3 levels with a step for each 2 columns of a row need 4");
  for (const float step : {-1.0f, INFINITY, NAN}) {
    CHECK(Refusal<Ternary>(levels, 2, 3, {0.5f, step}, rows).find("levels: step 1 is ") == 0);
  }
  CHECK(Refusal<Ternary>({1, 0, -1, 1, 2, 7}, 2, 3, {0.5f}) ==
        "levels: the one at row 1, column 1 is 2, which the format does not have");
  CHECK(Refusal<Binary>({1, -1, 0, 1}, 2, 2, {0.5f}) ==
        "levels: the one at row 1, column 0 is 0, which the format does not have");
  CHECK(Refusal<Ternary>({-2}, 1, 1, {0.5f}) != "");
  CHECK(Refusal<Fp4E2M1>({5}, 1, 1, {0.5f}) != "");
  CHECK(Refusal<Fp4E2M1>({13}, 1, 1, {0.5f}) != "");
  CHECK(Breaks("groups of a row", [&] { Refusal<Ternary>(levels, 2, 3, {0.5f, 0.5f}, {false, 2}); }));
}

TEST_CASE("QuantizedMatrix: no rows") {
  const auto matrix = QuantizedMatrix<Ternary>::Quantize<Quantizer<Ternary, AbsMean>>({nullptr, 0, 7});
  CHECK(matrix.rows() == 0);
  CHECK(matrix.bytes().empty());
  CHECK(matrix.IsValid());
  CHECK(QuantizedMatrix<Int<4>>().rows() == 0);
}

TEST_CASE("QuantizedMatrix: a destination of another length is an assertion") {
  const QuantizedMatrix<Ternary> matrix(1, 4, StepGranularity{});
  std::vector<int8_t> levels(5);
  std::vector<float> values(3);
  CHECK(Breaks("UnpackRow", [&] { matrix.UnpackRow(0, levels); }));
  CHECK(Breaks("DequantizeRow", [&] { matrix.DequantizeRow(0, values); }));
}

static_assert(StepGranularity::Of<Whole>() == StepGranularity{false, 0});
static_assert(StepGranularity::Of<PerRow>() == StepGranularity{true, 0});
static_assert(StepGranularity::Of<PerGroup<5>>() == StepGranularity{true, 5});

TEST_CASE("QuantizedMatrix: a size that does not fit throws, and is not memory that is too small") {
  constexpr size_t kQuarter = ~size_t{0} / 4 + 1;  // times 4 would wrap around to 0
  CHECK_THROWS_AS(QuantizedMatrix<Int<8>>(4, kQuarter, StepGranularity{}), std::bad_array_new_length);
  CHECK_THROWS_AS(QuantizedMatrix<Int<8>>(1, ~size_t{0}, StepGranularity{}), std::bad_array_new_length);
  CHECK_THROWS_AS(QuantizedMatrix<Float>(1, kQuarter, StepGranularity{}), std::bad_array_new_length);
  CHECK_THROWS_AS((StepGranularity{true, 1}.Count(4, kQuarter)), std::bad_array_new_length);
  CHECK(StepGranularity{true, 0}.Count(4, kQuarter) == 4);
}

// Reals of which each pair keeps its larger one.
template <class G>
struct PrunedReals : Unquantized {
  using Granularity = G;
  static float Quantize(std::span<const float> x, float* y) {
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t other = (i ^ 1) < x.size() ? i ^ 1 : i;
      y[i] = std::fabs(x[i]) < std::fabs(x[other]) ? 0.0f : x[i];
    }
    return 1.0f;
  }
};

TEST_CASE("QuantizedMatrix: From calls a quantizer of one's own for reals too") {
  const auto check = []<class Q>(Q) {
    constexpr size_t kRows = 3, kCols = 6;
    const std::vector<float> w = testing::NormalValues(kRows * kCols, 5);
    const auto matrix = QuantizedMatrix<Float>::Quantize<Q>(MatrixView<const float>(w.data(), kRows, kCols));
    std::vector<float> row(kCols);
    for (size_t r = 0; r < kRows; ++r) {
      matrix.UnpackRow(r, row);
      for (size_t c = 0; c < kCols; c += 2) {
        const float a = w[r * kCols + c], b = w[r * kCols + c + 1];
        CHECK(row[c] == (std::fabs(a) < std::fabs(b) ? 0.0f : a));
        CHECK(row[c + 1] == (std::fabs(b) < std::fabs(a) ? 0.0f : b));
        CHECK(matrix.Step(r, matrix.step_groups().Of(c)) == 1.0f);
      }
    }
  };
  check(PrunedReals<Whole>());
  check(PrunedReals<PerRow>());
  check(PrunedReals<PerGroup<2>>());
}

TEST_CASE("QuantizedMatrix: FromLevels refuses rows of nothing, and says steps that are small") {
  const float one = 1.0f;
  CHECK_FALSE(QuantizedMatrix<Ternary>::FromLevels({}, ~size_t{0}, 0, {&one, 1}).ok());
  const int8_t level = 1;
  const float negative = -1e-9f;
  const auto refused = QuantizedMatrix<Ternary>::FromLevels({&level, 1}, 1, 1, {&negative, 1});
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().find("step 0 is -1e-09; it must be finite and not negative") != std::string::npos);
}

}  // namespace
}  // namespace bitnet
