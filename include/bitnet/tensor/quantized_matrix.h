// QuantizedMatrix<F>: weights in their canonical form, the same on every machine: codes packed row by row (each row
// starts on a byte), or reals, and steps. Files hold it; backends turn it into their own layout once (PrepareMatrix).
#ifndef BITNET_TENSOR_QUANTIZED_MATRIX_H_
#define BITNET_TENSOR_QUANTIZED_MATRIX_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/base/check_numbers.h"
#include "bitnet/base/result.h"
#include "bitnet/base/size.h"
#include "bitnet/format/packing.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/quant/transform.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/step_groups.h"
#include "bitnet/tensor/stored_reals.h"

namespace bitnet {

// A granularity (quant/quantizer.h) as a value, which files hold: one step a matrix, one a row, or one for each group
// of columns of a row.
struct StepGranularity {
  bool per_row = false;
  size_t group = 0;  // 0: a row is not cut

  template <class Granularity>
  static constexpr StepGranularity Of() {
    return {!std::is_same_v<Granularity, Whole>, kGroupSize<Granularity>};
  }
  size_t Count(size_t rows, size_t cols) const {
    return SizeProduct(per_row ? rows : size_t{1}, StepGroups{cols, group}.Count());
  }
  friend bool operator==(const StepGranularity&, const StepGranularity&) = default;
};

template <Format F>
class QuantizedMatrix {
 public:
  QuantizedMatrix() = default;
  QuantizedMatrix(const QuantizedMatrix&) = default;
  QuantizedMatrix(QuantizedMatrix&&) noexcept = default;
  // Where memory ends, what is assigned to stays as it was.
  QuantizedMatrix& operator=(const QuantizedMatrix& other) {
    QuantizedMatrix copy(other);
    return *this = std::move(copy);
  }
  QuantizedMatrix& operator=(QuantizedMatrix&&) noexcept = default;
  // [rows, cols], zero codes, zero steps (reals: zeros).
  QuantizedMatrix(size_t rows, size_t cols, StepGranularity granularity)
      : rows_(rows),
        cols_(cols),
        granularity_(granularity),
        bytes_(ElementCount<uint8_t>(rows, RowBytes(cols))),
        steps_(ElementCount<float>(granularity.Count(rows, cols)), kIsFloat<F> ? 1.0f : 0.0f) {}

  // Quantizes weights [rows, cols]: Q::Quantize of each span that shares a step, as in training. The spans are those of
  // Q's granularity: all weights row by row, or each row, or each group of a row. (For all weights at once a quantizer
  // of one's own takes a buffer of a level for each.)
  template <AnyQuantizer Q>
  requires std::is_same_v<typename Q::Format, F>
  static QuantizedMatrix Quantize(MatrixView<const float> weights);

  // Weights that somebody else has quantized: levels [rows, cols], row by row, and steps in the order of the
  // granularity: one; or StepGranularity::Of<PerRow>(), one a row; or StepGranularity::Of<PerGroup<N>>(), those of the
  // first row's groups, then those of the second. What is no matrix of the format is refused with a sentence.
  static Result<QuantizedMatrix> FromLevels(std::span<const LevelOf<F>> levels, size_t rows, size_t cols,
                                            std::span<const float> steps, StepGranularity granularity = {});

  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  StepGranularity granularity() const { return granularity_; }
  StepGroups step_groups() const { return {cols_, granularity_.group}; }

  // Packed codes of a row (of reals: StoredReal<F>).
  static constexpr size_t RowBytes(size_t cols) {
    if constexpr (kIsFloat<F>) {
      return SizeProduct(sizeof(StoredReal<F>), cols);
    } else {
      return Packing<F>::Bytes(cols);
    }
  }
  std::span<const uint8_t> RowCodes(size_t row) const {
    return {bytes_.data() + row * RowBytes(cols_), RowBytes(cols_)};
  }

  // The step of a row's group; 1 for reals.
  float Step(size_t row, size_t step_group) const {
    return steps_[(granularity_.per_row ? row * step_groups().Count() : 0) + step_group];
  }

  // codes[0, cols) of a row.
  void UnpackCodes(size_t row, std::span<uint8_t> codes) const {
    static_assert(!kIsFloat<F>, "bitnet: reals have no codes");
    BITNET_ASSERT(codes.size() == cols_, "UnpackCodes: the destination must hold one code a column");
    Packing<F>::Unpack(RowCodes(row).data(), 0, codes);
  }
  // levels[0, cols) of a row (of reals: the values).
  void UnpackRow(size_t row, std::span<LevelOf<F>> levels) const {
    BITNET_ASSERT(levels.size() == cols_, "UnpackRow: the destination must hold one value a column");
    if constexpr (kIsFloat<F>) {
      LoadReals<F>(RowCodes(row).data(), levels);
    } else {
      Packing<F>::UnpackLevels(RowCodes(row).data(), 0, levels);
    }
  }

  // values[0, cols) = step * level of a row.
  void DequantizeRow(size_t row, std::span<float> values) const {
    BITNET_ASSERT(row < rows_, "DequantizeRow: there is no such row");
    BITNET_ASSERT(values.size() == cols_, "DequantizeRow: the destination must hold one value a column");
    std::vector<LevelOf<F>> levels(cols_);
    UnpackRow(row, levels);
    for (size_t c = 0; c < cols_; ++c) {
      values[c] =
          kIsFloat<F> ? static_cast<float>(levels[c]) : Step(row, step_groups().Of(c)) * static_cast<float>(levels[c]);
    }
  }

  // Bytes of codes and steps.
  size_t StoredBytes() const { return bytes_.size() + (kIsFloat<F> ? 0 : steps_.size() * sizeof(float)); }

  // Raw access for files. Whoever writes must leave valid codes: see IsValid.
  std::span<const uint8_t> bytes() const { return bytes_; }
  std::span<uint8_t> bytes() { return bytes_; }
  std::span<const float> steps() const { return steps_; }
  std::span<float> steps() { return steps_; }

  // Whether all codes have levels, as they do unless bytes() was written from outside.
  bool IsValid() const {
    if constexpr (!kIsFloat<F>) {
      for (size_t r = 0; r < rows_; ++r) {
        if (!Packing<F>::Valid(RowCodes(r), cols_)) return false;
      }
    }
    return true;
  }

 private:
  // Packs levels [cols] into a row (of reals: stores the values); `codes` is a buffer. Returns the first column whose
  // level the format lacks, or cols.
  size_t PackRow(size_t row, std::span<const LevelOf<F>> levels, std::vector<uint8_t>& codes) {
    if constexpr (kIsFloat<F>) {
      for (size_t c = 0; c < cols_; ++c) {
        if (std::bit_cast<uint32_t>(float{NearestReal<F>(levels[c])}) != std::bit_cast<uint32_t>(levels[c])) return c;
      }
      StoreReals<F>(levels, bytes_.data() + row * RowBytes(cols_));
    } else {
      codes.resize(cols_);
      for (size_t c = 0; c < cols_; ++c) {
        const size_t code = CodeOfLevel<F>(levels[c]);
        if (code >= FormatTraits<F>::kCount || FormatTraits<F>::Level(code) != levels[c]) return c;
        codes[c] = static_cast<uint8_t>(code);
      }
      Packing<F>::Pack(codes, std::span(bytes_).subspan(row * RowBytes(cols_), RowBytes(cols_)));
    }
    return cols_;
  }

  size_t rows_ = 0;
  size_t cols_ = 0;
  StepGranularity granularity_;
  AlignedVector<uint8_t> bytes_;
  AlignedVector<float> steps_;
};

template <Format F>
template <AnyQuantizer Q>
requires std::is_same_v<typename Q::Format, F> QuantizedMatrix<F> QuantizedMatrix<F>::Quantize(
    MatrixView<const float> weights) {
  static_assert(!kIsTransformed<Q>,
                "bitnet: weights are quantized as they are: what is Transformed are inputs and heads "
                "(quant/transform.h)");
  const size_t rows = weights.rows();
  const size_t cols = weights.cols();
  QuantizedMatrix matrix(rows, cols, StepGranularity::Of<typename Q::Granularity>());
  std::vector<uint8_t> codes;
  const auto row_of_levels = [&](size_t r, std::span<const LevelOf<F>> levels) {
    const size_t packed = matrix.PackRow(r, levels, codes);
    BITNET_ASSERT(packed == cols, "a quantizer of weights gave a level that its format lacks");
  };
  if constexpr (std::is_same_v<Q, Unquantized>) {
    for (size_t r = 0; r < rows; ++r) row_of_levels(r, weights[r]);
  } else if constexpr (kKeepsReals<Q>) {
    std::vector<float> reals(cols);
    for (size_t r = 0; r < rows; ++r) {
      Q::Quantize(weights[r], reals.data());
      row_of_levels(r, reals);
    }
  } else {
    const auto set_step = [&](size_t i, float step) {
      if constexpr (kIsFloat<F>) {
        BITNET_ASSERT(step == 1.0f, "a quantizer of reals must return the step 1: they are kept as they are");
      } else {
        matrix.steps_[i] = step;
      }
    };
    std::vector<LevelOf<F>> levels(cols);
    if (matrix.granularity_.per_row) {
      const StepGroups step_groups = matrix.step_groups();
      for (size_t r = 0; r < rows; ++r) {
        for (size_t begin = 0; begin < cols; begin = step_groups.End(begin)) {
          set_step(r * step_groups.Count() + step_groups.Of(begin),
                   Q::Quantize(weights[r].subspan(begin, step_groups.End(begin) - begin), levels.data() + begin));
        }
        row_of_levels(r, levels);
      }
      return matrix;
    }
    std::vector<float> contiguous;
    std::span<const float> all(weights.data(), weights.IsContiguous() ? rows * cols : 0);
    if (!weights.IsContiguous()) {
      for (size_t r = 0; r < rows; ++r) contiguous.insert(contiguous.end(), weights[r].begin(), weights[r].end());
      all = contiguous;
    }
    if constexpr (kIsBuiltInQuantizer<Q>) {
      // What Quantize does, row by row.
      const float inverse = InverseStep(matrix.steps_[0] = Q::Step(all));
      for (size_t r = 0; r < rows; ++r) {
        for (size_t c = 0; c < cols; ++c) levels[c] = static_cast<LevelOf<F>>(Q::LevelAt(weights[r][c], inverse));
        row_of_levels(r, levels);
      }
    } else {
      levels.resize(all.size());
      set_step(0, Q::Quantize(all, levels.data()));
      for (size_t r = 0; r < rows; ++r) row_of_levels(r, std::span(levels).subspan(r * cols, cols));
    }
  }
  return matrix;
}

template <Format F>
Result<QuantizedMatrix<F>> QuantizedMatrix<F>::FromLevels(std::span<const LevelOf<F>> levels, size_t rows, size_t cols,
                                                          std::span<const float> steps, StepGranularity granularity) {
  static_assert(!kIsFloat<F>, "bitnet: reals have no levels: QuantizedMatrix<Float>::Quantize<Unquantized> takes them");
  BITNET_ASSERT(granularity.per_row || granularity.group == 0, "FromLevels: groups of columns are groups of a row");
  const auto refuse = [](const std::string& what) { return Error{"levels: " + what}; };
  const std::string shape = std::to_string(rows) + " x " + std::to_string(cols);
  if (rows != 0 && cols == 0) return refuse("a matrix of " + shape + " was stated; rows must have columns");
  if (CheckedProduct(rows, cols) != levels.size()) {
    return refuse("there are " + std::to_string(levels.size()) + "; a matrix of " + shape + " was expected");
  }
  const size_t expected = granularity.Count(rows, cols);  // at most as many as levels, or one a row
  if (steps.size() != expected) {
    return refuse("there are " + std::to_string(steps.size()) + " steps; " + shape + " levels with " +
                  (!granularity.per_row ? "one step"
                   : granularity.group == 0
                       ? "a step a row (StepGranularity::Of<PerRow>())"
                       : "a step for each " + std::to_string(granularity.group) + " columns of a row") +
                  " need " + std::to_string(expected));
  }
  const std::string fault = FaultOfNumbers(steps, NumberRange::kFiniteNotNegative, "step");
  if (!fault.empty()) return refuse(fault);
  QuantizedMatrix matrix(rows, cols, granularity);
  std::copy(steps.begin(), steps.end(), matrix.steps_.begin());
  std::vector<uint8_t> codes;
  for (size_t r = 0; r < rows; ++r) {
    const size_t wrong = matrix.PackRow(r, levels.subspan(r * cols, cols), codes);
    if (wrong < cols) {
      return refuse("the one at row " + std::to_string(r) + ", column " + std::to_string(wrong) + " is " +
                    std::to_string(levels[r * cols + wrong]) + ", which the format does not have");
    }
  }
  return matrix;
}

}  // namespace bitnet

#endif  // BITNET_TENSOR_QUANTIZED_MATRIX_H_
