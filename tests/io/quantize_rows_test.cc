#include "bitnet/io/quantize_rows.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "bitnet/scheme/scheme.h"
#include "testing/random_values.h"

namespace bitnet::quantize_rows_test {
namespace {

// Quantizers of one's own: a rule without a statistic, and one that is no Quantizer.
struct LargestOverThree {
  template <LevelFormat F>
  static double Step(std::span<const float> x) {
    return static_cast<double>(LargestMagnitude::Of(x).max) / 3.0;
  }
};
struct HalfAbsMean : Quantizer<Ternary, AbsMean> {
  static float Quantize(std::span<const float> x, Level* levels) {
    const float step = 0.5f * Quantizer<Ternary, AbsMean>::Quantize(x, levels);
    for (size_t i = 0; i < x.size(); ++i) levels[i] = static_cast<Level>(LevelAt(x[i], InverseStep(step)));
    return step;
  }
};

template <class Q>
void CheckSame(const std::vector<float>& values, size_t rows, size_t cols) {
  std::vector<size_t> order;
  const auto matrix = QuantizeRows<Q>(rows, cols, [&](size_t r, std::span<float> to) {
    CHECK(to.size() == cols);
    order.push_back(r);
    std::copy_n(values.data() + r * cols, cols, to.data());
  });
  const auto expected =
      QuantizedMatrix<typename Q::Format>::template Quantize<Q>(MatrixView<const float>(values.data(), rows, cols));
  CHECK(matrix.rows() == rows);
  CHECK(matrix.cols() == cols);
  CHECK(matrix.granularity() == expected.granularity());
  CHECK(std::ranges::equal(matrix.bytes(), expected.bytes()));
  REQUIRE(matrix.steps().size() == expected.steps().size());
  for (size_t i = 0; i < matrix.steps().size(); ++i) {
    CHECK(std::bit_cast<uint32_t>(matrix.steps()[i]) == std::bit_cast<uint32_t>(expected.steps()[i]));
  }
  // Row after row, once or twice.
  for (size_t i = 0; i < order.size(); ++i) CHECK(order[i] == i % rows);
  CHECK((order.size() == rows || order.size() == 2 * rows));
}

template <class Q>
void CheckSameOfAllShapes() {
  // Rows that do and do not end with a lane, a block of the sum, a unit of the packing; more than the buffer holds.
  for (const auto& shape : {std::pair<size_t, size_t>{1, 1},
                            {3, 1},
                            {1, 257},
                            {5, 8},
                            {7, 13},
                            {33, 255},
                            {64, 256},
                            {129, 300},
                            {2, 20000},
                            {3, 5460}}) {
    const size_t rows = shape.first, cols = shape.second;
    INFO("seed 1, " << rows << " x " << cols);
    CheckSame<Q>(testing::SpreadValues(rows * cols, 1), rows, cols);
  }
  CheckSame<Q>(std::vector<float>(5 * 13, 0.0f), 5, 13);
}

TEST_CASE("RunningStatistic: of pieces of any size it is that of all values, to the bit of a double") {
  const std::vector<float> values = testing::SpreadValues(3000, 9);
  for (const size_t piece :
       {size_t{1}, size_t{3}, size_t{8}, size_t{13}, size_t{255}, size_t{256}, size_t{300}, size_t{3000}}) {
    detail::RunningStatistic<SumOfMagnitudes> sum;
    for (size_t i = 0; i < values.size(); i += piece) {
      sum.Add(std::span(values).subspan(i, std::min(piece, values.size() - i)));
      CHECK(sum.Total().sum == SumOfMagnitudes::Of(std::span(values).first(std::min(i + piece, values.size()))).sum);
    }
  }
}

TEST_CASE("RunningStatistic: the ends of a range count, in whichever piece") {
  for (const std::vector<float>& values : {std::vector<float>{-3, 5, 1, 2}, {1, 2, -3, 5}, {5, 1, 2, -3}}) {
    detail::RunningStatistic<Range> range;
    detail::RunningStatistic<LargestMagnitude> largest;
    for (const float& value : values) {
      range.Add(std::span(&value, 1));
      largest.Add(std::span(&value, 1));
    }
    CHECK(range.Total().min == -3.0f);
    CHECK(range.Total().max == 5.0f);
    CHECK(largest.Total().max == 5.0f);
  }
}

TEST_CASE("QuantizeRows: the bits are those of all values quantized at once") {
  CheckSameOfAllShapes<Quantizer<Ternary, AbsMean>>();
  CheckSameOfAllShapes<Quantizer<Ternary, AbsMax>>();
  CheckSameOfAllShapes<Quantizer<Int<4>, MinMax>>();
  CheckSameOfAllShapes<Quantizer<Ternary, AbsMean, PerRow>>();
  CheckSameOfAllShapes<Quantizer<Int<4>, AbsMax, PerRow>>();
  CheckSameOfAllShapes<Quantizer<Ternary, AbsMean, PerGroup<32>>>();
  CheckSameOfAllShapes<Unquantized>();
  CheckSameOfAllShapes<Rounded<BFloat16>>();
  CheckSameOfAllShapes<Rounded<Float16>>();
  CheckSameOfAllShapes<Quantizer<Ternary, LargestOverThree>>();
  CheckSameOfAllShapes<HalfAbsMean>();
}

TEST_CASE("QuantizeRows: a step that is no number says that a value was none, in whichever row") {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    for (const size_t at : {size_t{0}, size_t{2999}, size_t{9999}, size_t{29999}}) {
      std::vector<float> values = testing::NormalValues(30000, 2);
      values[at] = bad;
      CheckSame<Quantizer<Ternary, AbsMean>>(values, 30, 1000);
      CheckSame<Quantizer<Ternary, AbsMax>>(values, 30, 1000);
      CheckSame<Quantizer<Int<4>, MinMax>>(values, 30, 1000);
      const auto matrix = QuantizeRows<Quantizer<Ternary, AbsMean>>(
          30, 1000, [&](size_t r, std::span<float> to) { std::copy_n(values.data() + r * 1000, 1000, to.data()); });
      CHECK(std::isnan(matrix.steps()[0]));
    }
  }
}

TEST_CASE("QuantizeRows: no rows") {
  const auto matrix = QuantizeRows<Quantizer<Ternary, AbsMean>>(0, 5, [](size_t, std::span<float>) { CHECK(false); });
  CHECK(matrix.rows() == 0);
}

}  // namespace
}  // namespace bitnet::quantize_rows_test
