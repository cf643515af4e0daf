// DecodeTensor: a tensor of a GGUF file as codes and steps, or as reals; nothing is rounded, and no floats are made of
// codes. DecodeReals: a vector, such as a norm's gain.
//
// Steps keep their granularity: one for each group of columns of a block, for a row, or for the tensor. Where all
// blocks (or rows) of a type whose codes have one or two bits have the same step, the matrix has that one step, and
// `folded` says so; a block whose step is 0 then has zero codes.
//
// Negative steps. Of formats whose levels are symmetric (Ternary, Binary) the codes change their sign instead. Int<4>,
// Int<6>, Int<8> and {-1, 0, 1, 2} have no level for that: Q6_K and Q4_0 files have negative steps in half of their
// groups, and the matrix keeps them as they are (`negative_steps`). Products and rows of such matrices are those of the
// values; files of this library (SaveModel) refuse them.
//
// Refused, with row and column: codes without a level (3 in ternary types, bytes of trits that no encoder writes),
// steps and reals that are not finite.
#ifndef BITNET_IO_BLOCKS_H_
#define BITNET_IO_BLOCKS_H_

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/base/size.h"
#include "bitnet/format/format.h"
#include "bitnet/io/block_codes.h"
#include "bitnet/io/block_types.h"
#include "bitnet/io/gguf.h"
#include "bitnet/io/pack_codes.h"
#include "bitnet/io/quoted.h"
#include "bitnet/io/tensor_matrix.h"
#include "bitnet/tensor/quantized_matrix.h"

namespace bitnet {

// The three layouts that writers gave I2_S. They have one number and cannot be told apart by their bytes.
enum class I2sLayout {
  kA,  // all official files: 128 values in 32 bytes
  kB,  // written on ARM: 64 values in 16 bytes
  kC,  // written on x86 without activation parallelism: four rows in a byte
};

struct TensorDecodeOptions {
  I2sLayout i2s = I2sLayout::kA;
};

struct DecodedTensor {
  TensorMatrix matrix;
  bool folded = false;          // several equal steps became one
  bool negative_steps = false;  // some are kept, see above
};

namespace detail {

// A tensor whose bytes are as many as its type takes.
struct BlocksOfTensor {
  std::span<const uint8_t> bytes;
  size_t rows;
  size_t cols;

  static std::string Place(size_t row, size_t col) {
    return "row " + std::to_string(row) + ", column " + std::to_string(col) + ": ";
  }
};

// The blocks of a type, row by row.
template <class Type>
class BlockReader {
 public:
  using Rows = block::Rows;
  static constexpr BlockLayout kLayout = Type::kLayout;  // (nvcc refuses a reference)
  static constexpr size_t kValues = kLayout.values;
  static constexpr bool kAcross = Type::kRows == Rows::kAcross;
  static constexpr bool kInFours = Type::kRows == Rows::kAcrossInFours;

  explicit BlockReader(const BlocksOfTensor& tensor) : t_(tensor) {
    // The first block may begin before the row, the last end after it.
    codes_.resize(SizeSum(t_.cols, 2 * kValues, kPackCodesSlack));
  }

  size_t blocks() const { return t_.cols / kValues; }
  // Block b of a row (not of those that run across rows).
  const uint8_t* Block(size_t row, size_t b) const {
    if constexpr (Type::kRows == Rows::kFoursFirst) {
      return RowBegin(row) + 16 + (row % 4) * 4 + b * kLayout.bytes;
    } else {
      return RowBegin(row) + kRowBytes + b * kLayout.bytes;
    }
  }
  // Of a row or the tensor.
  float Step(size_t row) const {
    if constexpr (kAcross || kInFours) {
      return block::Load<float>(t_.bytes.data() + t_.bytes.size() - 32);
    } else if constexpr (Type::kRows == Rows::kFoursFirst) {
      return block::Load<float>(RowBegin(row) + (row % 4) * 4);
    } else if constexpr (Type::kRows == Rows::kHalfFirst) {
      return block::Load<Float16>(RowBegin(row));
    } else {
      return block::Load<float>(RowBegin(row));
    }
  }

  // The codes of a row, or nullptr where one is not below kCount (Wrong() says which). Valid until the next row;
  // kPackCodesSlack bytes follow.
  template <size_t kCount>
  uint8_t* Row(size_t row) {
    uint8_t* codes = codes_.data();
    size_t wrong = t_.cols;
    if constexpr (kInFours) {
      constexpr std::array kOfRow = {&BlockReader::Quarter<0, kCount>, &BlockReader::Quarter<1, kCount>,
                                     &BlockReader::Quarter<2, kCount>, &BlockReader::Quarter<3, kCount>};
      wrong = (this->*kOfRow[row % 4])(t_.bytes.data() + row / 4 * t_.cols);
    } else if constexpr (kAcross) {
      const uint64_t begin = uint64_t{row} * t_.cols;
      const auto skip = static_cast<size_t>(begin % kValues);
      const uint8_t* at = t_.bytes.data() + static_cast<size_t>(begin / kValues) * kLayout.bytes;
      codes += skip;
      for (size_t value = 0; value < skip + t_.cols; value += kValues, at += kLayout.bytes) {
        UnpackBlock<kLayout>(at, codes_.data() + value);
        if (IsLegalBlock<kLayout, kCount>(at)) continue;
        for (size_t i = 0; i < kValues && wrong == t_.cols; ++i) {
          const size_t col = value + i - skip;  // of another row: beyond all columns
          if (codes_[value + i] >= kCount && col < t_.cols) wrong = col;
        }
      }
    } else {
      bool legal = true;
      for (size_t b = 0; b < blocks(); ++b) {
        const uint8_t* const at = Block(row, b);
        UnpackBlock<kLayout>(at, codes + b * kValues);
        legal &= IsLegalBlock<kLayout, kCount>(at);
      }
      for (size_t b = 0; !legal && wrong == t_.cols && b < blocks(); ++b) {
        const size_t in_block = FindIllegal(kLayout, kCount, Block(row, b));
        if (in_block < kValues) wrong = b * kValues + in_block;
      }
    }
    if constexpr (Type::kFlip != 0) {
      for (size_t c = 0; c < t_.cols; ++c) codes[c] = static_cast<uint8_t>(codes[c] ^ Type::kFlip);
    }
    wrong_ = wrong;
    return wrong == t_.cols ? codes : nullptr;
  }
  size_t Wrong() const { return wrong_; }

 private:
  static constexpr size_t kRowBytes = Type::kRows == Rows::kHalfFirst ? 2 : Type::kRows == Rows::kFloatFirst ? 4 : 0;
  const uint8_t* RowBegin(size_t row) const {
    if constexpr (Type::kRows == Rows::kFoursFirst) {
      return t_.bytes.data() + row / 4 * (16 + blocks() * kLayout.bytes);
    } else {
      return t_.bytes.data() + row * (kRowBytes + blocks() * kLayout.bytes);
    }
  }
  // Row k of four that share their bytes. Returns the column of an illegal code, or cols.
  template <int k, size_t kCount>
  size_t Quarter(const uint8_t* bytes) {
    constexpr const BlockLayout& kOfRow = layout::kI2sC<k>;
    size_t wrong = t_.cols;
    for (size_t c = 0; c < t_.cols; c += kValues) {
      std::array<uint8_t, kLayout.bytes> block{};
      std::memcpy(block.data(), bytes + c, std::min(t_.cols - c, block.size()));
      UnpackBlock<kOfRow>(block.data(), codes_.data() + c);
      if (wrong < t_.cols || IsLegalBlock<kOfRow, kCount>(block.data())) continue;
      wrong = c + FindIllegal(kOfRow, kCount, block.data());
    }
    return wrong;
  }

  BlocksOfTensor t_;
  std::vector<uint8_t> codes_;
  size_t wrong_ = 0;
};

inline std::string NotFinite(float step) {
  return std::string("the step is ") + (std::isnan(step) ? "NaN" : "infinite") + "; it must be finite";
}

// The one step of all blocks, or of all rows, where they agree; else none. Signs do not matter where codes can change
// theirs, and a step of 0 agrees with any where codes can be 0.
template <class Type, bool kIsSymmetric, bool kHasZero>
Result<std::optional<float>> CommonStep(const BlocksOfTensor& t, const BlockReader<Type>& reader) {
  std::optional<float> common;
  bool agree = true;
  const auto look = [&](float step) {
    if (kIsSymmetric) step = std::fabs(step);
    if (kHasZero && step == 0.0f) return;
    agree = agree && (!common || *common == step);
    common = step;
  };
  for (size_t r = 0; r < t.rows; ++r) {
    if constexpr (Type::kGroup == 0) {
      const float step = reader.Step(r);
      if (!std::isfinite(step)) return Error{BlocksOfTensor::Place(r, 0) + NotFinite(step)};
      look(step);
      if (BlockReader<Type>::kAcross || BlockReader<Type>::kInFours) break;
    } else {
      for (size_t b = 0; b < reader.blocks(); ++b) {
        float step;
        Type::Steps(reader.Block(r, b), &step);
        if (!std::isfinite(step)) return Error{BlocksOfTensor::Place(r, b * Type::kGroup) + NotFinite(step)};
        look(step);
      }
    }
  }
  return agree ? std::optional(common.value_or(0.0f)) : std::nullopt;
}

// The codes of the blocks are those of F, which may have fewer levels than the type.
template <class Type, LevelFormat F>
Result<DecodedTensor> DecodeAs(const BlocksOfTensor& t) {
  using Traits = FormatTraits<F>;
  using Reader = BlockReader<Type>;
  constexpr bool kMayFold = Traits::kCodeBits <= 2;
  constexpr bool kOneStep = Reader::kAcross || Reader::kInFours;
  Reader reader(t);
  std::optional<float> common;
  if constexpr (kMayFold) {
    auto looked = CommonStep<Type, Traits::kIsSymmetric, Traits::kHasZero>(t, reader);
    if (!looked.ok()) return Error{looked.error()};
    common = *looked;
  }
  DecodedTensor decoded;
  const size_t groups = Type::kGroup == 0 ? 1 : t.cols / std::max<size_t>(Type::kGroup, 1);
  decoded.folded = common && !kOneStep && (t.rows > 1 || groups > 1);
  const StepGranularity granularity = common ? StepGranularity() : StepGranularity{true, Type::kGroup};
  QuantizedMatrix<F> matrix(t.rows, t.cols, granularity);
  if (common) matrix.steps()[0] = *common;
  const size_t row_bytes = QuantizedMatrix<F>::RowBytes(t.cols);
  std::vector<float> steps(groups);
  for (size_t r = 0; r < t.rows; ++r) {
    uint8_t* const codes = reader.template Row<Traits::kCount>(r);
    if (codes == nullptr) {
      return Error{BlocksOfTensor::Place(r, reader.Wrong()) + "the code there is none of the " +
                   std::to_string(Traits::kCount) + " that the type has"};
    }
    if constexpr (Type::kGroup == 0) {
      steps[0] = reader.Step(r);
    } else {
      for (size_t b = 0; b < reader.blocks(); ++b) {
        Type::Steps(reader.Block(r, b), steps.data() + b * Type::kStepsPerBlock);
      }
    }
    for (size_t g = 0; g < groups; ++g) {
      float& step = steps[g];
      if constexpr (!kMayFold) {
        if (!std::isfinite(step)) return Error{BlocksOfTensor::Place(r, g * Type::kGroup) + NotFinite(step)};
      }
      uint8_t* const of_group = codes + g * Type::kGroup;
      const size_t n = Type::kGroup == 0 ? t.cols : Type::kGroup;
      if (step == 0.0f) {
        step = 0.0f;  // -0
        if (Traits::kHasZero && common) std::memset(of_group, static_cast<int>(Traits::kZeroCode), n);
      } else if (step < 0.0f) {
        if constexpr (Traits::kIsSymmetric) {
          step = -step;
          for (size_t i = 0; i < n; ++i) of_group[i] = static_cast<uint8_t>(Traits::kCount - 1 - of_group[i]);
        } else {
          decoded.negative_steps = true;
        }
      }
      if (!common) matrix.steps()[r * groups + g] = step;
    }
    PackCodes<F>(codes, t.cols, matrix.bytes().data() + r * row_bytes);
  }
  decoded.matrix = std::move(matrix);
  return Result<DecodedTensor>(std::move(decoded));
}

template <class Type>
Result<DecodedTensor> DecodeBlocks(const BlocksOfTensor& t) {
  using F = typename Type::Format;
  if constexpr (std::is_same_v<F, MinusOneToTwo>) {
    const BlockReader<Type> reader(t);
    bool is_ternary = true;
    for (size_t r = 0; r < t.rows && is_ternary; ++r) {
      for (size_t b = 0; b < reader.blocks(); ++b) is_ternary &= IsLegalBlock<Type::kLayout, 3>(reader.Block(r, b));
    }
    if (is_ternary) return DecodeAs<Type, Ternary>(t);
  }
  return DecodeAs<Type, F>(t);
}

template <RealFormat F>
Result<DecodedTensor> DecodeStoredReals(const BlocksOfTensor& t) {
  using Bits = typename UnsignedOf<sizeof(StoredReal<F>)>::type;
  constexpr Bits kExponent = std::is_same_v<F, Float>      ? static_cast<Bits>(0x7f800000u)
                             : std::is_same_v<F, BFloat16> ? static_cast<Bits>(0x7f80u)
                                                           : static_cast<Bits>(0x7c00u);
  QuantizedMatrix<F> matrix(t.rows, t.cols, {});
  const size_t n = t.rows * t.cols;
  constexpr size_t kChunk = 64;
  for (size_t begin = 0; begin < n; begin += kChunk) {
    std::array<Bits, kChunk> bits{};
    const size_t count = std::min(kChunk, n - begin);
    std::memcpy(bits.data(), t.bytes.data() + begin * sizeof(Bits), count * sizeof(Bits));
    unsigned wrong = 0;
    for (const Bits b : bits) wrong |= (b & kExponent) == kExponent ? 1u : 0u;
    for (size_t i = 0; wrong != 0; ++i) {
      if ((bits[i] & kExponent) != kExponent) continue;
      return Error{BlocksOfTensor::Place((begin + i) / t.cols, (begin + i) % t.cols) +
                   "the value is not finite; it must be"};
    }
    std::memcpy(matrix.bytes().data() + begin * sizeof(Bits), bits.data(), count * sizeof(Bits));
  }
  return DecodedTensor{std::move(matrix)};
}

struct TensorDecoder {
  std::string_view type;
  Result<DecodedTensor> (*decode)(const BlocksOfTensor&);
};
// I2_S: in the order of I2sLayout.
inline constexpr auto kTensorDecoders = std::to_array<TensorDecoder>({
    {"I2_S", &DecodeBlocks<block::I2sA>},
    {"I2_S", &DecodeBlocks<block::I2sB>},
    {"I2_S", &DecodeBlocks<block::I2sC>},
    {"TQ1_0", &DecodeBlocks<block::Tq1_0>},
    {"TQ2_0", &DecodeBlocks<block::Tq2_0>},
    {"IQ1_BN", &DecodeBlocks<block::Iq1Bn>},
    {"IQ2_BN", &DecodeBlocks<block::Iq2Bn>},
    {"IQ2_BN_R4", &DecodeBlocks<block::Iq2BnR4>},
    {"Q1_0", &DecodeBlocks<block::Q1_0>},
    {"Q2_0", &DecodeBlocks<block::Q2_0>},
    {"PQ2_0", &DecodeBlocks<block::Pq2_0>},
    {"PTQ1_0", &DecodeBlocks<block::Ptq1_0>},
    {"Q4_0", &DecodeBlocks<block::Q4_0>},
    {"Q6_K", &DecodeBlocks<block::Q6_K>},
    {"Q8_0", &DecodeBlocks<block::Q8_0>},
    {"F32", &DecodeStoredReals<Float>},
    {"F16", &DecodeStoredReals<Float16>},
    {"BF16", &DecodeStoredReals<BFloat16>},
});

inline const TensorDecoder* FindDecoder(std::string_view type, I2sLayout i2s) {
  const auto found = std::find_if(kTensorDecoders.begin(), kTensorDecoders.end(),
                                  [&](const TensorDecoder& decoder) { return decoder.type == type; });
  if (found == kTensorDecoders.end()) return nullptr;
  return &*found + (type == "I2_S" ? static_cast<size_t>(i2s) : 0);
}

}  // namespace detail

// Why tensors of this type cannot be decoded; empty where they can.
inline std::string WhyNotDecoded(const GgufTensor& tensor) {
  if (tensor.type == nullptr) return "its type is number " + std::to_string(tensor.type_id) + ", which is not known";
  if (!tensor.type->refusal.empty()) return std::string(tensor.type->refusal);
  if (detail::FindDecoder(tensor.type->name, I2sLayout::kA) != nullptr) return {};
  return "its type is " + std::string(tensor.type->name) + " (number " + std::to_string(tensor.type_id) +
         "), which is not read";
}

// The tensor as [rows, cols]: what has more than two dimensions is its rows, one after the other. Takes memory for the
// result and a row. Any thread; several may decode tensors of one file. file.Release(tensor) afterwards.
inline Result<DecodedTensor> DecodeTensor(const GgufFile& file, const GgufTensor& tensor,
                                          const TensorDecodeOptions& options = {}) {
  const auto refuse = [&](const std::string& why) {
    return Error{file.path() + ": tensor " + Quoted(tensor.name) + ": " + why};
  };
  if (const std::string why = WhyNotDecoded(tensor); !why.empty()) return refuse(why);
  if (!std::in_range<size_t>(tensor.rows()) || !std::in_range<size_t>(tensor.cols())) {
    return refuse("its " + std::to_string(tensor.rows()) + " x " + std::to_string(tensor.cols()) +
                  " values are more than this machine can address");
  }
  const detail::BlocksOfTensor blocks = {tensor.bytes, static_cast<size_t>(tensor.rows()),
                                         static_cast<size_t>(tensor.cols())};
  if (tensor.type->name == "I2_S") {
    // The bytes that the file has are checked to be those of the shape: n / 4 and 32.
    const uint64_t values = tensor.rows() * tensor.cols();
    const uint64_t unit = options.i2s == I2sLayout::kA ? 128 : options.i2s == I2sLayout::kB ? 64 : 4;
    if (options.i2s == I2sLayout::kC ? tensor.rows() % 4 != 0 : values % unit != 0) {
      return refuse("I2_S of " + std::to_string(tensor.rows()) + " x " + std::to_string(tensor.cols()) +
                    " values; this layout has " +
                    (options.i2s == I2sLayout::kC ? "rows in fours" : "multiples of " + std::to_string(unit)) +
                    ", and writers disagree about the rest");
    }
  }
  Result<DecodedTensor> decoded = detail::FindDecoder(tensor.type->name, options.i2s)->decode(blocks);
  if (!decoded.ok()) return refuse(decoded.error());
  return decoded;
}

// The values of a tensor of F32, F16 or BF16, row by row.
inline Result<std::vector<float>> DecodeReals(const GgufFile& file, const GgufTensor& tensor) {
  const std::string_view type = tensor.type == nullptr ? std::string_view() : tensor.type->name;
  if (type != "F32" && type != "F16" && type != "BF16") {
    return Error{file.path() + ": tensor " + Quoted(tensor.name) + ": its type is " + tensor.TypeName() +
                 "; F32, F16 or BF16 was expected"};
  }
  const Result<DecodedTensor> decoded = DecodeTensor(file, tensor);
  if (!decoded.ok()) return Error{decoded.error()};
  std::vector<float> values(static_cast<size_t>(tensor.rows() * tensor.cols()));
  std::visit(
      [&]<Format F>(const QuantizedMatrix<F>& matrix) {
        if constexpr (RealFormat<F>) LoadReals<F>(matrix.bytes().data(), values);
      },
      decoded->matrix);
  return values;
}

}  // namespace bitnet

#endif  // BITNET_IO_BLOCKS_H_
