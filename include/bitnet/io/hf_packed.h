// Ternary matrices as PyPI's transformers packs them: `weight`, bytes [rows / 4, cols], and `weight_scale`, one real.
//
//   bits    7 6   5 4   3 2   1 0        of byte (r, c)
//   row    r+3q  r+2q   r+q    r         q = rows / 4;  a code is 0, 1 or 2: the weight + 1;  3 is no code
//
// What the scale means is said elsewhere (quantization_config.linear_class): outputs are divided by it (`bitlinear`) or
// multiplied (`autobitlinear`).
#ifndef BITNET_IO_HF_PACKED_H_
#define BITNET_IO_HF_PACKED_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/base/result.h"
#include "bitnet/format/format.h"
#include "bitnet/format/packing.h"
#include "bitnet/tensor/quantized_matrix.h"

namespace bitnet {

enum class HfScale : uint8_t { kDivides, kMultiplies };

// The step of a matrix with this weight_scale: the scale, or 1 / scale, rounded once. Refused where either is no
// positive normal number.
inline Result<float> StepOfHfScale(float scale, HfScale meaning) {
  const float step = meaning == HfScale::kMultiplies ? scale : 1.0f / scale;
  if (!std::isnormal(step) || !std::isnormal(scale) || scale < 0.0f) {
    return Error{
        "the scale is " + std::to_string(scale) + "; a positive number " +
        (meaning == HfScale::kMultiplies ? "by which outputs are multiplied" : "by which outputs are divided") +
        " was expected"};
  }
  return step;
}

// The scale whose step comes nearest to this one: where it divides, the step comes back for six of seven steps, and
// else within a rounding. (No neighbour of the inverse does better.) `step` must be a positive normal number.
inline float HfScaleOfStep(float step, HfScale meaning) {
  BITNET_ASSERT(std::isnormal(step) && step > 0.0f, "HfScaleOfStep: the step must be a positive normal number");
  return meaning == HfScale::kMultiplies ? step : 1.0f / step;
}

// A matrix [rows, cols] of packed bytes [rows / 4, cols]. `rows` must be a multiple of 4, and the bytes as many. A code
// of 3 is refused with its row and column.
inline Result<QuantizedMatrix<Ternary>> UnpackHf(std::span<const uint8_t> packed, size_t rows, size_t cols,
                                                 float step) {
  BITNET_ASSERT(rows % 4 == 0 && packed.size() == SizeProduct(rows / 4, cols),
                "UnpackHf: there must be a byte for each column of four rows");
  using Matrix = QuantizedMatrix<Ternary>;
  Matrix matrix(rows, cols, StepGranularity::Of<Whole>());
  matrix.steps()[0] = step;
  const size_t quarter = rows / 4;
  std::vector<uint8_t> codes(cols);
  for (size_t r = 0; r < quarter; ++r) {
    const std::span<const uint8_t> bytes = packed.subspan(r * cols, cols);
    for (size_t i = 0; i < 4; ++i) {
      uint8_t largest = 0;
      for (size_t c = 0; c < cols; ++c) {
        codes[c] = static_cast<uint8_t>((uint32_t{bytes[c]} >> (2 * i)) & 3u);
        largest = std::max(largest, codes[c]);
      }
      const size_t row = r + i * quarter;
      if (largest == 3) {
        const auto at = std::find(codes.begin(), codes.end(), uint8_t{3});
        return Error{"row " + std::to_string(row) + ", column " + std::to_string(at - codes.begin()) +
                     ": the code is 3; 0, 1 and 2 are weights"};
      }
      Packing<Ternary>::Pack(codes, matrix.bytes().subspan(row * Matrix::RowBytes(cols), Matrix::RowBytes(cols)));
    }
  }
  return matrix;
}

// packed[0, cols) = row r of the packed bytes, r < rows / 4. `rows` must be a multiple of 4, and the matrix of one
// step.
inline void PackHfRow(const QuantizedMatrix<Ternary>& matrix, size_t r, std::span<uint8_t> packed) {
  BITNET_ASSERT(matrix.rows() % 4 == 0 && matrix.granularity() == StepGranularity::Of<Whole>(),
                "PackHfRow: the matrix must have a multiple of 4 rows, and one step");
  BITNET_ASSERT(packed.size() == matrix.cols(), "PackHfRow: the destination must hold one byte a column");
  std::vector<uint8_t> codes(matrix.cols());
  std::fill(packed.begin(), packed.end(), uint8_t{0});
  for (size_t i = 0; i < 4; ++i) {
    matrix.UnpackCodes(r + i * (matrix.rows() / 4), codes);
    for (size_t c = 0; c < codes.size(); ++c) packed[c] = static_cast<uint8_t>(packed[c] | codes[c] << (2 * i));
  }
}

}  // namespace bitnet

#endif  // BITNET_IO_HF_PACKED_H_
