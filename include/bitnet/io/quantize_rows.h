// QuantizeRows<Q>: a quantized matrix of reals that are read row by row, wherever they are: no float copy of the whole
// is made. The result is that of QuantizedMatrix::Quantize<Q> of all values, to the bit.
//
// Rows go through a buffer of some 64 KiB. Where all weights share a step (absmean of a matrix), they are read twice:
// for the step, and for the levels. Where that step is not derived from a statistic (quant/scale_rule.h), or Q is a
// quantizer of one's own for a whole matrix, a float copy is made after all.
#ifndef BITNET_IO_QUANTIZE_ROWS_H_
#define BITNET_IO_QUANTIZE_ROWS_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/base/exact_math.h"
#include "bitnet/base/size.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/quant/scale_rule.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/quantized_matrix.h"

namespace bitnet {

namespace detail {

// A statistic of values that come in pieces: that of all of them at once, to the bit.
template <class Statistic>
class RunningStatistic;

template <>
class RunningStatistic<SumOfMagnitudes> {
 public:
  void Add(std::span<const float> x) {
    for (size_t i = 0; i < x.size();) {
      const size_t n = std::min(x.size() - i, kSumBlock - in_block_);
      const std::span<const float> part = x.subspan(i, n);
      size_t k = 0;
      for (; k < n && (in_block_ + k) % kSumLanes != 0; ++k) AddTo((in_block_ + k) % kSumLanes, part[k]);
      // All lanes at once, which compilers make vectors of.
      for (; k + kSumLanes <= n; k += kSumLanes) {
        for (size_t lane = 0; lane < kSumLanes; ++lane) AddTo(lane, part[k + lane]);
      }
      for (; k < n; ++k) AddTo((in_block_ + k) % kSumLanes, part[k]);
      i += n;
      in_block_ += n;
      if (in_block_ == kSumBlock) {
        blocks_.Add(std::exchange(block_, {}));
        in_block_ = 0;
      }
    }
  }
  SumOfMagnitudes Total() const {
    BlockTree<SumLanes> blocks = blocks_;
    if (in_block_ > 0) blocks.Add(block_);
    return {blocks.Total().Fold()};
  }

 private:
  void AddTo(size_t lane, float x) { block_.lane[lane] += static_cast<double>(std::fabs(x)); }

  BlockTree<SumLanes> blocks_;
  SumLanes block_;
  size_t in_block_ = 0;
};

template <>
class RunningStatistic<LargestMagnitude> {
 public:
  void Add(std::span<const float> x) {
    const float both[] = {total_.max, LargestMagnitude::Of(x).max};
    total_ = LargestMagnitude::Of(both);
  }
  LargestMagnitude Total() const { return total_; }

 private:
  LargestMagnitude total_;
};

template <>
class RunningStatistic<Range> {
 public:
  void Add(std::span<const float> x) {
    const Range range = Range::Of(x);
    const float ends[] = {total_.min, total_.max, range.min, range.max};
    total_ = Range::Of(ends);
  }
  Range Total() const { return total_; }

 private:
  Range total_;
};

template <class Statistic>
concept RunsOverRows = requires(RunningStatistic<Statistic> running, std::span<const float> x) {
  running.Add(x);
  { running.Total() } -> std::same_as<Statistic>;
};

// Whether Q's step of a whole matrix comes from a statistic that runs over rows.
template <class Q>
inline constexpr bool kStepRunsOverRows = false;
template <LevelFormat F, class R>
requires StatisticRule<R, F> && RunsOverRows<typename R::Statistic>
inline constexpr bool kStepRunsOverRows<Quantizer<F, R, Whole>> = true;

}  // namespace detail

// [rows, cols]; read(row, values) sets values[0, cols) of a row, and is called for row after row, once or twice.
template <AnyQuantizer Q, class Read>
requires std::is_invocable_v<Read&, size_t, std::span<float>> QuantizedMatrix<typename Q::Format> QuantizeRows(
    size_t rows, size_t cols, Read&& read) {
  using Matrix = QuantizedMatrix<typename Q::Format>;
  constexpr size_t kBufferValues = size_t{1} << 14;
  constexpr StepGranularity kGranularity = StepGranularity::Of<typename Q::Granularity>();
  constexpr bool kStepsOfRows = kGranularity.per_row;  // (in a lambda nvcc reads no member of a constant)
  constexpr bool kRowByRow = kStepsOfRows || kKeepsReals<Q>;
  const bool whole = !kRowByRow && !detail::kStepRunsOverRows<Q>;
  const size_t rows_at_once = whole ? rows : std::clamp<size_t>(kBufferValues / std::max<size_t>(cols, 1), 1, rows + 1);
  std::vector<float> buffer(ElementCount<float>(std::min(rows_at_once, rows), cols));
  // f(first row, view of some rows) for all rows.
  const auto for_rows = [&](auto&& f) {
    for (size_t r = 0; r < rows; r += rows_at_once) {
      const size_t n = std::min(rows_at_once, rows - r);
      for (size_t i = 0; i < n; ++i) read(r + i, std::span(buffer).subspan(i * cols, cols));
      f(r, MatrixView<const float>(buffer.data(), n, cols));
    }
  };
  if (whole) {
    for_rows([](size_t, MatrixView<const float>) {});
    return Matrix::template Quantize<Q>(MatrixView<const float>(buffer.data(), rows, cols));
  }

  Matrix matrix(rows, cols, kGranularity);
  // Rows that are quantized: they stand in the matrix as they stand in one of their own.
  const auto store = [&](size_t r, const Matrix& part) {
    std::copy(part.bytes().begin(), part.bytes().end(),
              matrix.bytes().begin() + static_cast<std::ptrdiff_t>(r * Matrix::RowBytes(cols)));
    if constexpr (kStepsOfRows) {
      std::copy(part.steps().begin(), part.steps().end(),
                matrix.steps().begin() + static_cast<std::ptrdiff_t>(r * matrix.step_groups().Count()));
    }
  };
  if constexpr (kRowByRow) {
    for_rows([&](size_t r, MatrixView<const float> part) { store(r, Matrix::template Quantize<Q>(part)); });
  } else if constexpr (detail::kStepRunsOverRows<Q>) {
    using Rule = typename Q::Rule;
    detail::RunningStatistic<typename Rule::Statistic> statistic;
    for_rows([&](size_t, MatrixView<const float> part) { statistic.Add({part.data(), part.rows() * cols}); });
    const float step =
        RoundStep(Rule::template StepFrom<typename Q::Format>(statistic.Total(), SizeProduct(rows, cols)));
    const float inverse = InverseStep(step);
    matrix.steps()[0] = step;
    std::vector<uint8_t> codes(cols);
    for_rows([&](size_t r, MatrixView<const float> part) {
      for (size_t i = 0; i < part.rows(); ++i) {
        for (size_t c = 0; c < cols; ++c) {
          codes[c] = static_cast<uint8_t>(CodeOfLevel<typename Q::Format>(Q::LevelAt(part[i][c], inverse)));
        }
        Packing<typename Q::Format>::Pack(
            codes, matrix.bytes().subspan((r + i) * Matrix::RowBytes(cols), Matrix::RowBytes(cols)));
      }
    });
  }
  return matrix;
}

// Of a matrix of reals.
template <AnyQuantizer Q, RealFormat F>
QuantizedMatrix<typename Q::Format> QuantizeRows(const QuantizedMatrix<F>& from) {
  return QuantizeRows<Q>(from.rows(), from.cols(),
                         [&](size_t row, std::span<float> values) { from.UnpackRow(row, values); });
}

}  // namespace bitnet

#endif  // BITNET_IO_QUANTIZE_ROWS_H_
