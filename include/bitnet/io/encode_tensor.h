// EncodeTensor<F>: a matrix as the bytes of a GGUF type, the opposite of io/blocks.h.
//
//   TQ1_0, TQ2_0, Q2_0, I2_S (layout A), Q8_0   codes as they are, each level being one of the type; Q8_0 also of reals
//   F32, F16, BF16                              the values, step * level, to the nearest
//
// Codes are exact. A step is a half in most types: `loss` says the largest relative difference of a step (of reals: of
// a value) that is stored. What has no place is refused: levels that the type lacks, several steps where it has one,
// steps and values too large for a half.
#ifndef BITNET_IO_ENCODE_TENSOR_H_
#define BITNET_IO_ENCODE_TENSOR_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/format/format.h"
#include "bitnet/io/block_codes.h"
#include "bitnet/io/block_types.h"
#include "bitnet/io/gguf_types.h"
#include "bitnet/tensor/quantized_matrix.h"

namespace bitnet {

struct EncodedTensor {
  std::vector<uint8_t> bytes;
  double loss = 0.0;
};

namespace detail {

inline void NoteLoss(float stored, float value, double& loss) {
  if (stored == value) return;
  loss = std::max(
      loss, std::abs(static_cast<double>(stored) - static_cast<double>(value)) / std::abs(static_cast<double>(value)));
}

// The step of columns [begin, end) of a row, where they have one.
template <LevelFormat F>
std::optional<float> StepOfColumns(const QuantizedMatrix<F>& matrix, size_t row, size_t begin, size_t end) {
  const StepGroups groups = matrix.step_groups();
  const float step = matrix.Step(row, groups.Of(begin));
  for (size_t g = groups.Of(begin); g <= groups.Of(end - 1); ++g) {
    if (matrix.Step(row, g) != step) return std::nullopt;
  }
  return step;
}

template <class Type, LevelFormat F>
Result<Done> EncodeBlocks(const QuantizedMatrix<F>& matrix, EncodedTensor& to) {
  using G = typename Type::Format;
  constexpr const BlockLayout& kLayout = Type::kLayout;
  constexpr bool kAcross = Type::kRows == block::Rows::kAcross;
  const auto refuse = [&](size_t row, size_t col, const std::string& why) {
    return Error{"row " + std::to_string(row) + ", column " + std::to_string(col) + ": " + why};
  };
  uint8_t* out = to.bytes.data();
  std::vector<uint8_t> codes(matrix.cols());
  std::array<uint8_t, kLayout.values> in_block;
  size_t filled = 0;
  for (size_t r = 0; r < matrix.rows(); ++r) {
    matrix.UnpackCodes(r, codes);
    for (size_t c = 0; c < matrix.cols(); ++c) {
      const int level = FormatTraits<F>::Level(codes[c]);
      const size_t code = CodeOfLevel<G>(std::clamp(level, FormatTraits<G>::kBottom, FormatTraits<G>::kTop));
      if (FormatTraits<G>::Level(code) != level) {
        return refuse(r, c, "the level is " + std::to_string(level) + ", which the type does not have");
      }
      in_block[filled++] = static_cast<uint8_t>(code ^ Type::kFlip);
      if (filled < kLayout.values) continue;
      filled = 0;
      PackBlock<kLayout>(in_block.data(), out);
      if constexpr (!kAcross) {
        const size_t begin = c + 1 - kLayout.values;
        const std::optional<float> step = StepOfColumns(matrix, r, begin, c + 1);
        if (!step) {
          return refuse(r, begin,
                        "the matrix has several steps in the " + std::to_string(kLayout.values) +
                            " columns from there on, which have one in this type");
        }
        const Float16 half = Float16::Nearest(*step);
        if (!std::isfinite(float{half})) {
          return refuse(r, begin, "the step is " + std::to_string(*step) + ", which is too large for a half");
        }
        NoteLoss(half, *step, to.loss);
        std::memcpy(out + Type::kStepAt, &half, sizeof(half));
      }
      out += kLayout.bytes;
    }
  }
  if constexpr (kAcross) {
    const float step = matrix.steps().empty() ? 0.0f : matrix.steps()[0];
    for (const float other : matrix.steps()) {
      if (other != step) return Error{"the matrix has several steps; this type has one for all"};
    }
    std::memcpy(out, &step, sizeof(step));
  }
  return Done{};
}

// Row by row the values of any matrix.
template <Format F, class Use>
void ForEachRowOfValues(const QuantizedMatrix<F>& matrix, Use&& use) {
  std::vector<float> values(matrix.cols());
  for (size_t r = 0; r < matrix.rows(); ++r) {
    matrix.DequantizeRow(r, values);
    use(r, std::span<const float>(values));
  }
}

template <RealFormat G, Format F>
Result<Done> EncodeReals(const QuantizedMatrix<F>& matrix, EncodedTensor& to) {
  Result<Done> done = Done{};
  uint8_t* out = to.bytes.data();
  ForEachRowOfValues(matrix, [&](size_t r, std::span<const float> values) {
    for (size_t c = 0; c < values.size(); ++c, out += sizeof(StoredReal<G>)) {
      const StoredReal<G> real = NearestReal<G>(values[c]);
      if (!std::isfinite(float{real}) && done.ok()) {
        done = Error{"row " + std::to_string(r) + ", column " + std::to_string(c) + ": the value is " +
                     std::to_string(values[c]) + "; what the type can hold was expected"};
      }
      NoteLoss(real, values[c], to.loss);
      std::memcpy(out, &real, sizeof(real));
    }
  });
  return done;
}

// Reals in Q8_0, as llama.cpp rounds them: the step is the largest magnitude / 127, a code x * (1 / step) to the
// nearest, halves away from zero, where the step is not yet a half.
template <RealFormat F>
Result<Done> QuantizeToQ8_0(const QuantizedMatrix<F>& matrix, EncodedTensor& to) {
  constexpr size_t kValues = block::Q8_0::kLayout.values;
  Result<Done> done = Done{};
  uint8_t* out = to.bytes.data();
  ForEachRowOfValues(matrix, [&](size_t r, std::span<const float> values) {
    for (size_t begin = 0; begin < values.size(); begin += kValues, out += block::Q8_0::kLayout.bytes) {
      const auto of_block = values.subspan(begin, kValues);
      float largest = 0.0f;
      bool finite = true;
      for (const float x : of_block) finite = finite && std::isfinite(x), largest = std::max(largest, std::abs(x));
      const float step = largest / 127.0f;
      const Float16 half = Float16::Nearest(step);
      if ((!finite || !std::isfinite(float{half})) && done.ok()) {
        done = Error{"row " + std::to_string(r) + ", columns from " + std::to_string(begin) +
                     " on: the largest magnitude is " + std::to_string(largest) +
                     "; a step that a half holds was expected"};
      }
      const float inverse = step == 0.0f || !finite ? 0.0f : 1.0f / step;
      std::memcpy(out, &half, sizeof(half));
      for (size_t i = 0; i < kValues; ++i) {
        const float code = finite ? std::round(of_block[i] * inverse) : 0.0f;
        out[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(std::clamp(code, -128.0f, 127.0f)));
        NoteLoss(float{half} * code, of_block[i], to.loss);
      }
    }
  });
  return done;
}

template <Format F>
Result<Done> EncodeAs(std::string_view type, const QuantizedMatrix<F>& matrix, EncodedTensor& to) {
  if (type == "F32") return EncodeReals<Float>(matrix, to);
  if (type == "F16") return EncodeReals<Float16>(matrix, to);
  if (type == "BF16") return EncodeReals<BFloat16>(matrix, to);
  if constexpr (kIsFloat<F>) {
    if (type == "Q8_0") return QuantizeToQ8_0(matrix, to);
  } else {
    if (type == "TQ1_0") return EncodeBlocks<block::Tq1_0>(matrix, to);
    if (type == "TQ2_0") return EncodeBlocks<block::Tq2_0>(matrix, to);
    if (type == "Q2_0") return EncodeBlocks<block::Q2_0>(matrix, to);
    if (type == "I2_S") return EncodeBlocks<block::I2sA>(matrix, to);
    if (type == "Q8_0") return EncodeBlocks<block::Q8_0>(matrix, to);
  }
  return Error{kIsFloat<F> ? "reals are not written in this type" : "codes are not written in this type"};
}

}  // namespace detail

// `type` is one of those above (FindGgufType). Errors say row and column.
template <Format F>
Result<EncodedTensor> EncodeTensor(const QuantizedMatrix<F>& matrix, const GgufType& type) {
  const std::string name(type.name);
  const std::optional<uint64_t> bytes = type.Bytes(matrix.rows(), matrix.cols());
  if (!bytes || (name == "I2_S" && uint64_t{matrix.rows()} * matrix.cols() % block::I2sA::kLayout.values != 0)) {
    return Error{name + ": no tensor of this type has " + std::to_string(matrix.rows()) + " x " +
                 std::to_string(matrix.cols()) + " values; multiples of " +
                 std::to_string(name == "I2_S" ? block::I2sA::kLayout.values : type.block_values) + " were expected"};
  }
  EncodedTensor encoded;
  encoded.bytes.resize(SizeProduct(*bytes));
  if (Result<Done> done = detail::EncodeAs(type.name, matrix, encoded); !done.ok()) {
    return Error{name + ": " + done.error()};
  }
  return Result<EncodedTensor>(std::move(encoded));
}

}  // namespace bitnet

#endif  // BITNET_IO_ENCODE_TENSOR_H_
