// TensorFacts: what the values of a stored tensor are, whatever is wrong with them: how often each level occurs, codes
// that have none, scales, reals that are not finite. For whoever says what a file is; DecodeTensor (io/blocks.h) says
// only the first thing that it cannot take.
//
//   FactsOfTensor(tensor)                  of a GGUF file, of every type that io/blocks.h decodes
//   FactsOfReals<F>(bytes, cols)           values of 16 or 32 bits
//   FactsOfHfPacked(bytes, rows, cols)     ternary weights as transformers packs them (io/hf_packed.h)
//
// Counts are exact. Bytes that are missing at the end are not looked at: of what has rows, the whole rows that are
// there are. Blocks are looked at one after the other; the memory that is taken is that of the result, 16 KiB, and a
// row of codes.
#ifndef BITNET_IO_TENSOR_FACTS_H_
#define BITNET_IO_TENSOR_FACTS_H_

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

#include "bitnet/format/format.h"
#include "bitnet/format/real16.h"
#include "bitnet/io/block_codes.h"
#include "bitnet/io/block_types.h"
#include "bitnet/io/blocks.h"
#include "bitnet/io/gguf.h"
#include "bitnet/tensor/stored_reals.h"

namespace bitnet {

// Of many positive and negative numbers: steps.
struct ScaleFacts {
  uint64_t count = 0;
  uint64_t zeros = 0;
  uint64_t negative = 0;
  uint64_t not_finite = 0;
  float smallest = 0.0f;  // magnitudes of those that are finite and not 0; 0: there are none
  float largest = 0.0f;
  float typical = 0.0f;  // their median, to within a sixteenth; where all are equal, exactly
};

struct TensorFacts {
  // Why the values were not looked at; empty: they were.
  std::string unread;
  uint64_t values = 0;  // that were looked at

  // Of codes: the format's levels, and how many values have each. Of reals both are empty.
  std::vector<int> levels;
  std::vector<uint64_t> counts;
  bool is_ternary = false;       // the type's levels are -1, 0, 1
  uint64_t illegal = 0;          // codes without a level
  bool illegal_blocks = false;   // ... or, of types with five trits a byte, blocks with bytes that are no trits
  std::string first_illegal;     // "row 0, column 3"
  ScaleFacts scales;             // steps; of a type that has one for the tensor, where its bytes are there
  uint64_t zeroed = 0;           // groups whose step is 0 and whose codes are not
  std::string first_not_finite;  // a scale's or a value's place

  // Of reals.
  uint64_t not_finite = 0;
  uint64_t zeros = 0;
  float lowest = 0.0f;  // of those that are finite
  float highest = 0.0f;

  bool all_zero = false;  // every value is 0
  bool constant = false;  // every value is the same; more than one was looked at

  // The share of a level among the values.
  double Share(int level) const {
    const auto at = std::find(levels.begin(), levels.end(), level);
    if (at == levels.end() || values == 0) return 0.0;
    return static_cast<double>(counts[static_cast<size_t>(at - levels.begin())]) / static_cast<double>(values);
  }
};

namespace detail {

// Takes scales in turn; their median is that of bins by exponent and the highest bits of the mantissa.
class ScaleFactsMaker {
 public:
  void Add(float scale) {
    ++facts_.count;
    if (!std::isfinite(scale)) {
      ++facts_.not_finite;
      return;
    }
    if (scale < 0.0f) ++facts_.negative;
    const float magnitude = std::fabs(scale);
    if (magnitude == 0.0f) {
      ++facts_.zeros;
      return;
    }
    ++bins_[std::bit_cast<uint32_t>(magnitude) >> kShift];
    facts_.smallest = facts_.smallest == 0.0f ? magnitude : std::min(facts_.smallest, magnitude);
    facts_.largest = std::max(facts_.largest, magnitude);
  }
  ScaleFacts Facts() const {
    ScaleFacts facts = facts_;
    const uint64_t half = (facts.count - facts.not_finite - facts.zeros) / 2;
    uint64_t below = 0;
    for (size_t i = 0; i < bins_.size(); ++i) {
      below += bins_[i];
      if (below <= half) continue;
      const auto middle = static_cast<uint32_t>(i) << kShift | uint32_t{1} << (kShift - 1);
      facts.typical = std::clamp(std::bit_cast<float>(middle), facts.smallest, facts.largest);
      break;
    }
    return facts;
  }

 private:
  static constexpr int kShift = 20;
  ScaleFacts facts_;
  std::vector<uint64_t> bins_ = std::vector<uint64_t>(size_t{1} << (31 - kShift));
};

inline std::string RowAndColumn(uint64_t row, uint64_t col) {
  return "row " + std::to_string(row) + ", column " + std::to_string(col);
}

// How often each code occurs. (Four tables: equal codes one after the other do not wait for each other.)
class CodeCounter {
 public:
  void Add(const uint8_t* codes, size_t n) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
      for (size_t k = 0; k < 4; ++k) ++count_[k][codes[i + k]];
    }
    for (; i < n; ++i) ++count_[0][codes[i]];
  }
  uint64_t operator[](size_t code) const {
    return count_[0][code] + count_[1][code] + count_[2][code] + count_[3][code];
  }

 private:
  std::array<std::array<uint64_t, 256>, 4> count_{};
};

template <LevelFormat F>
void SetLevels(const CodeCounter& counter, uint8_t flip, TensorFacts& facts) {
  using Traits = FormatTraits<F>;
  facts.is_ternary = std::is_same_v<F, Ternary>;
  for (size_t code = 0; code < Traits::kCount; ++code) {
    facts.levels.push_back(Traits::Level(code));
    facts.counts.push_back(counter[code ^ flip]);
  }
}

// What follows from levels and scales.
inline void Conclude(TensorFacts& facts) {
  if (facts.levels.empty()) {
    facts.all_zero = facts.values > 0 && facts.zeros == facts.values;
    facts.constant = facts.values > 1 && facts.not_finite == 0 && facts.lowest == facts.highest;
    return;
  }
  uint64_t zeros = 0, most = 0;
  for (size_t i = 0; i < facts.levels.size(); ++i) {
    if (facts.levels[i] == 0) zeros = facts.counts[i];
    most = std::max(most, facts.counts[i]);
  }
  const ScaleFacts& s = facts.scales;
  facts.all_zero = facts.values > 0 && (zeros == facts.values || (s.count > 0 && s.zeros == s.count));
  const bool one_scale =
      s.smallest == s.largest && s.zeros == 0 && s.not_finite == 0 && (s.negative == 0 || s.negative == s.count);
  facts.constant = facts.values > 1 && (facts.all_zero || (most == facts.values && one_scale));
}

template <class Type>
TensorFacts FactsOfBlocks(const GgufTensor& tensor) {
  using Traits = FormatTraits<typename Type::Format>;
  using Reader = BlockReader<Type>;
  constexpr const BlockLayout& kLayout = Type::kLayout;
  TensorFacts facts;
  const uint64_t unit = tensor.type->rows_together;
  const uint64_t unit_bytes = tensor.type->Bytes(unit, tensor.cols()).value_or(0);
  if (unit_bytes == 0) {
    facts.unread = "its shape is none that " + std::string(tensor.type->name) + " has";
    return facts;
  }
  const auto rows = static_cast<size_t>(std::min(tensor.rows(), tensor.bytes.size() / unit_bytes * unit));
  if (rows == 0) return facts;
  const auto cols = static_cast<size_t>(tensor.cols());  // as many as a row's bytes say, which are there
  const Reader reader({tensor.bytes, rows, cols});
  CodeCounter counter;
  ScaleFactsMaker scales;
  std::array<uint8_t, kLayout.values> codes;
  std::array<float, std::max<size_t>(Type::kStepsPerBlock, 1)> steps;
  // Of columns [begin, begin + n) of a row, which share a step.
  const auto look_at_step = [&](float step, size_t row, size_t begin) {
    scales.Add(step);
    if (!std::isfinite(step) && facts.first_not_finite.empty()) facts.first_not_finite = RowAndColumn(row, begin);
  };
  const auto has_weights = [&](size_t begin, size_t n) {
    return std::any_of(codes.begin() + static_cast<std::ptrdiff_t>(begin),
                       codes.begin() + static_cast<std::ptrdiff_t>(begin + n), [](uint8_t code) {
                         const auto flipped = static_cast<size_t>(code ^ Type::kFlip);
                         return flipped < Traits::kCount && Traits::Level(flipped) != 0;
                       });
  };
  for (size_t r = 0; r < rows; ++r) {
    bool row_is_zeroed = false;
    float of_row = 1.0f;
    if constexpr (Type::kGroup == 0) {
      of_row = reader.Step(r);
      look_at_step(of_row, r, 0);
    }
    for (size_t b = 0; b < reader.blocks(); ++b) {
      const uint8_t* const block = reader.Block(r, b);
      UnpackBlock<kLayout>(block, codes.data());
      counter.Add(codes.data(), codes.size());
      if (!IsLegalBlock<kLayout, Traits::kCount>(block)) {
        if (facts.illegal++ == 0) {
          facts.first_illegal = RowAndColumn(r, b * kLayout.values + FindIllegal(kLayout, Traits::kCount, block));
        }
      }
      if constexpr (Type::kGroup == 0) {
        row_is_zeroed = row_is_zeroed || (of_row == 0.0f && has_weights(0, codes.size()));
      } else {
        constexpr size_t kPerStep = kLayout.values / Type::kStepsPerBlock;
        Type::Steps(block, steps.data());
        for (size_t i = 0; i < Type::kStepsPerBlock; ++i) {
          look_at_step(steps[i], r, b * kLayout.values + i * kPerStep);
          if (steps[i] == 0.0f && has_weights(i * kPerStep, kPerStep)) ++facts.zeroed;
        }
      }
    }
    if (row_is_zeroed) ++facts.zeroed;
  }
  facts.values = uint64_t{rows} * cols;
  facts.scales = scales.Facts();
  SetLevels<typename Type::Format>(counter, Type::kFlip, facts);
  // Where digits are bits, the codes themselves can be counted.
  facts.illegal_blocks = kLayout.run[0].digits.kind == ByteDigits::kTrits;
  if (!facts.illegal_blocks) {
    facts.illegal = 0;
    for (size_t code = Traits::kCount; code < 256; ++code) facts.illegal += counter[code];
  }
  Conclude(facts);
  return facts;
}

// Bytes of four codes of two bits. `place(byte, n)` says where the value of digit n of a byte is; the first digit is in
// the byte's highest bits where kFromHighest, else in its lowest.
template <bool kFromHighest, class Place>
TensorFacts FactsOfFours(std::span<const uint8_t> bytes, Place&& place) {
  TensorFacts facts;
  std::array<uint64_t, 256> of_byte{};
  for (const uint8_t byte : bytes) ++of_byte[byte];
  CodeCounter unused;
  SetLevels<Ternary>(unused, 0, facts);
  for (unsigned byte = 0; byte < 256; ++byte) {
    for (unsigned n = 0; n < 4; ++n) {
      const unsigned code = (byte >> (2 * n)) & 3u;
      (code < 3 ? facts.counts[code] : facts.illegal) += of_byte[byte];
    }
  }
  for (size_t i = 0; facts.illegal > 0 && facts.first_illegal.empty(); ++i) {
    for (unsigned n = 0; n < 4 && facts.first_illegal.empty(); ++n) {
      const unsigned shift = kFromHighest ? 6 - 2 * n : 2 * n;
      if (((unsigned{bytes[i]} >> shift) & 3u) == 3) facts.first_illegal = place(i, n);
    }
  }
  facts.values = 4 * uint64_t{bytes.size()};
  return facts;
}

inline TensorFacts FactsOfI2s(const GgufTensor& tensor, I2sLayout layout) {
  const uint64_t quarter = tensor.rows() * tensor.cols() / 4;
  const auto codes = tensor.bytes.first(static_cast<size_t>(std::min<uint64_t>(quarter, tensor.bytes.size())));
  const uint64_t cols = tensor.cols();
  TensorFacts facts = FactsOfFours<true>(codes, [&](uint64_t byte, uint64_t digit) {
    if (layout == I2sLayout::kC) return RowAndColumn(byte / cols * 4 + digit, byte % cols);
    const uint64_t in_block = layout == I2sLayout::kA ? 32 : 16;
    const uint64_t value = byte / in_block * in_block * 4 + digit * in_block + byte % in_block;
    return RowAndColumn(value / cols, value % cols);
  });
  if (tensor.bytes.size() >= quarter + sizeof(float)) {
    ScaleFactsMaker scales;
    const auto step = block::Load<float>(tensor.bytes.data() + quarter);
    scales.Add(step);
    facts.scales = scales.Facts();
    if (!std::isfinite(step)) facts.first_not_finite = "the tensor's one scale";
    if (step == 0.0f && facts.counts[0] + facts.counts[2] > 0) facts.zeroed = 1;
  }
  Conclude(facts);
  return facts;
}

}  // namespace detail

// Values of F (Float, Float16, BFloat16) that lie one after the other, at any address; what is left of the last one is
// not looked at. `cols` is for messages.
template <RealFormat F>
TensorFacts FactsOfReals(std::span<const uint8_t> bytes, uint64_t cols) {
  constexpr size_t kChunk = 256;
  TensorFacts facts;
  facts.values = bytes.size() / sizeof(StoredReal<F>);
  bool any = false;
  std::array<float, kChunk> chunk;
  for (uint64_t begin = 0; begin < facts.values; begin += kChunk) {
    const auto values = std::span(chunk).first(static_cast<size_t>(std::min<uint64_t>(kChunk, facts.values - begin)));
    LoadReals<F>(bytes.data() + begin * sizeof(StoredReal<F>), values);
    for (size_t i = 0; i < values.size(); ++i) {
      const float x = values[i];
      if (!std::isfinite(x)) {
        if (facts.not_finite++ == 0) {
          const uint64_t at = begin + i, of_row = std::max<uint64_t>(cols, 1);
          facts.first_not_finite = detail::RowAndColumn(at / of_row, at % of_row);
        }
        continue;
      }
      facts.zeros += x == 0.0f ? 1u : 0u;
      facts.lowest = any ? std::min(facts.lowest, x) : x;
      facts.highest = any ? std::max(facts.highest, x) : x;
      any = true;
    }
  }
  detail::Conclude(facts);
  return facts;
}

// Bytes [rows / 4, cols] as io/hf_packed.h describes them; the scale is another tensor.
inline TensorFacts FactsOfHfPacked(std::span<const uint8_t> bytes, uint64_t rows, uint64_t cols) {
  const uint64_t width = std::max<uint64_t>(cols, 1);
  TensorFacts facts = detail::FactsOfFours<false>(bytes, [&](uint64_t byte, uint64_t n) {
    return detail::RowAndColumn(byte / width + n * (rows / 4), byte % width);
  });
  detail::Conclude(facts);
  return facts;
}

inline TensorFacts FactsOfTensor(const GgufTensor& tensor, I2sLayout i2s = I2sLayout::kA) {
  TensorFacts facts;
  facts.unread = WhyNotDecoded(tensor);
  if (!facts.unread.empty()) return facts;
  const std::string_view type = tensor.type->name;
  if (type == "F32") return FactsOfReals<Float>(tensor.bytes, tensor.cols());
  if (type == "F16") return FactsOfReals<Float16>(tensor.bytes, tensor.cols());
  if (type == "BF16") return FactsOfReals<BFloat16>(tensor.bytes, tensor.cols());
  if (type == "I2_S") return detail::FactsOfI2s(tensor, i2s);
  if (type == "TQ1_0") return detail::FactsOfBlocks<block::Tq1_0>(tensor);
  if (type == "TQ2_0") return detail::FactsOfBlocks<block::Tq2_0>(tensor);
  if (type == "IQ1_BN") return detail::FactsOfBlocks<block::Iq1Bn>(tensor);
  if (type == "IQ2_BN") return detail::FactsOfBlocks<block::Iq2Bn>(tensor);
  if (type == "IQ2_BN_R4") return detail::FactsOfBlocks<block::Iq2BnR4>(tensor);
  if (type == "Q1_0") return detail::FactsOfBlocks<block::Q1_0>(tensor);
  if (type == "Q2_0") return detail::FactsOfBlocks<block::Q2_0>(tensor);
  if (type == "PQ2_0") return detail::FactsOfBlocks<block::Pq2_0>(tensor);
  if (type == "PTQ1_0") return detail::FactsOfBlocks<block::Ptq1_0>(tensor);
  if (type == "Q4_0") return detail::FactsOfBlocks<block::Q4_0>(tensor);
  if (type == "Q6_K") return detail::FactsOfBlocks<block::Q6_K>(tensor);
  if (type == "Q8_0") return detail::FactsOfBlocks<block::Q8_0>(tensor);
  facts.unread = "its type is " + std::string(type) + ", whose values are not looked at";
  return facts;
}

}  // namespace bitnet

#endif  // BITNET_IO_TENSOR_FACTS_H_
