// QuantizedMatrix<F>: weights in their canonical form, the same on every machine: codes packed row by row (each row
// starts on a byte) and steps. Files hold it; backends turn it into their own layout once (Prepare).
#ifndef BITNET_TENSOR_QUANTIZED_MATRIX_H_
#define BITNET_TENSOR_QUANTIZED_MATRIX_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/base/size.h"
#include "bitnet/format/packing.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/segments.h"

namespace bitnet {

// How many steps a matrix has: one, one a row, or one for each group of columns of each row.
struct StepLayout {
  bool per_row = false;
  size_t group = 0;  // 0: a row is not cut

  template <class Granularity>
  static constexpr StepLayout Of() {
    return {!std::is_same_v<Granularity, Whole>, kGroupSize<Granularity>};
  }
  size_t Count(size_t rows, size_t cols) const {
    return SizeProduct(per_row ? rows : size_t{1}, Segments{cols, group}.Count());
  }
  friend bool operator==(const StepLayout&, const StepLayout&) = default;
};

template <Format F>
class QuantizedMatrix {
 public:
  QuantizedMatrix() = default;
  // [rows, cols], zero codes, zero steps (Float: zeros).
  QuantizedMatrix(size_t rows, size_t cols, StepLayout layout)
      : rows_(rows),
        cols_(cols),
        layout_(layout),
        bytes_(ElementCount<uint8_t>(rows, RowBytes(cols))),
        steps_(ElementCount<float>(layout.Count(rows, cols)), kIsFloat<F> ? 1.0f : 0.0f) {}

  // Quantizes weights [rows, cols] with Q; the steps are those of Q's granularity.
  template <AnyQuantizer Q>
  requires std::is_same_v<typename Q::Format, F>
  static QuantizedMatrix From(MatrixView<const float> weights);

  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  StepLayout layout() const { return layout_; }
  Segments segments() const { return {cols_, layout_.group}; }

  // Packed codes of a row (for Float: its values).
  static constexpr size_t RowBytes(size_t cols) {
    if constexpr (kIsFloat<F>) {
      return SizeProduct(sizeof(float), cols);
    } else {
      return Packing<F>::Bytes(cols);
    }
  }
  std::span<const uint8_t> RowCodes(size_t row) const {
    return {bytes_.data() + row * RowBytes(cols_), RowBytes(cols_)};
  }

  // The step of a row's segment; 1 for Float.
  float Step(size_t row, size_t segment) const {
    return steps_[(layout_.per_row ? row * segments().Count() : 0) + segment];
  }

  // codes[0, cols) of a row.
  void UnpackCodes(size_t row, std::span<uint8_t> codes) const {
    static_assert(!kIsFloat<F>, "bitnet: reals have no codes");
    BITNET_ASSERT(codes.size() == cols_, "UnpackCodes: the destination must hold one code a column");
    Packing<F>::Unpack(RowCodes(row).data(), 0, codes);
  }
  // levels[0, cols) of a row (for Float: its values).
  void UnpackRow(size_t row, std::span<LevelOf<F>> levels) const {
    BITNET_ASSERT(levels.size() == cols_, "UnpackRow: the destination must hold one value a column");
    if constexpr (kIsFloat<F>) {
      std::memcpy(levels.data(), RowCodes(row).data(), cols_ * sizeof(float));
    } else {
      Packing<F>::UnpackLevels(RowCodes(row).data(), 0, levels);
    }
  }

  // values[0, cols) = step * level of a row.
  void DequantizeRow(size_t row, std::span<float> values) const {
    BITNET_ASSERT(values.size() == cols_, "DequantizeRow: the destination must hold one value a column");
    std::vector<LevelOf<F>> levels(cols_);
    UnpackRow(row, levels);
    for (size_t c = 0; c < cols_; ++c) {
      values[c] =
          kIsFloat<F> ? static_cast<float>(levels[c]) : Step(row, segments().Of(c)) * static_cast<float>(levels[c]);
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
  size_t rows_ = 0;
  size_t cols_ = 0;
  StepLayout layout_;
  AlignedVector<uint8_t> bytes_;
  AlignedVector<float> steps_;
};

template <Format F>
template <AnyQuantizer Q>
requires std::is_same_v<typename Q::Format, F> QuantizedMatrix<F> QuantizedMatrix<F>::From(
    MatrixView<const float> weights) {
  const size_t rows = weights.rows();
  const size_t cols = weights.cols();
  QuantizedMatrix matrix(rows, cols, StepLayout::Of<typename Q::Granularity>());
  if constexpr (kIsFloat<F>) {
    for (size_t r = 0; r < rows; ++r) {
      std::memcpy(matrix.bytes_.data() + r * RowBytes(cols), weights.Row(r), cols * sizeof(float));
    }
  } else {
    static_assert(WeightQuantizer<Q>,
                  "bitnet: a quantizer of weights needs Step(span) and LevelAt(value, inverse step) besides Quantize: "
                  "the steps of a matrix are found apart from its levels (see quant/quantizer.h)");
    std::vector<uint8_t> codes(cols);
    const Segments segments = matrix.segments();
    float whole = 0.0f;
    if (!matrix.layout_.per_row) {
      std::vector<float> contiguous;
      std::span<const float> all(weights.data(), weights.IsContiguous() ? rows * cols : 0);
      if (!weights.IsContiguous()) {
        for (size_t r = 0; r < rows; ++r) contiguous.insert(contiguous.end(), weights[r].begin(), weights[r].end());
        all = contiguous;
      }
      whole = matrix.steps_[0] = Q::Step(all);
    }
    for (size_t r = 0; r < rows; ++r) {
      for (size_t begin = 0; begin < cols; begin = segments.End(begin)) {
        const auto span = weights[r].subspan(begin, segments.End(begin) - begin);
        const float step = matrix.layout_.per_row ? Q::Step(span) : whole;
        if (matrix.layout_.per_row) matrix.steps_[r * segments.Count() + segments.Of(begin)] = step;
        const float inverse = InverseStep(step);
        for (size_t i = 0; i < span.size(); ++i) {
          codes[begin + i] = static_cast<uint8_t>(CodeOfLevel<F>(Q::LevelAt(span[i], inverse)));
        }
      }
      Packing<F>::Pack(codes, std::span(matrix.bytes_).subspan(r * RowBytes(cols), RowBytes(cols)));
    }
  }
  return matrix;
}

}  // namespace bitnet

#endif  // BITNET_TENSOR_QUANTIZED_MATRIX_H_
