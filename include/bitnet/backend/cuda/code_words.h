// CodeWords<F>: the codes of a format as kernels unpack them: fields of 1, 2, 4 or 8 bits in words of 32, four at a
// time. A quad is four of them, which become the four signed bytes that the dot product of bytes and the matrix unit
// take. Of a word with fields of B bits, quad k has bits [B k, B k + B) of each byte: one shift and one mask.
//
//   word (B = 2)   byte 3     byte 2     byte 1     byte 0
//                  3 2 1 0    3 2 1 0    3 2 1 0    3 2 1 0     of which quad the two bits are
//
// What the bytes of a quad mean is derived from the levels:
//
//   8 bits   more than 16 levels: the level itself
//   table    levels at no common distance: looked up by their code
//   signed   zero in the middle: spacing * a two's complement number, in the byte's highest bits, where the shift puts
//            it; dots are divided by 2^kShift, exactly
//   offset   others: spacing * code + kOffset; the offset's share is kOffset times the sum of the inputs
//
// So a zero word times inputs that are zero is nothing, in all of them: padding is zero words.
#ifndef BITNET_BACKEND_CUDA_CODE_WORDS_H_
#define BITNET_BACKEND_CUDA_CODE_WORDS_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/format_tables.h"
#include "bitnet/base/host_device.h"
#include "bitnet/format/format.h"

namespace bitnet::cuda {

// Whether levels are signed bytes: what quads are made of, and multiplied with.
template <Format F>
inline constexpr bool kHasByteLevels = std::is_same_v<LevelOf<F>, int8_t>;

// Four bytes of 1: the dot product with them is a sum.
inline constexpr uint32_t kOnes = 0x01010101u;

namespace detail {

// Levels by code, four to a word, as Select4 takes them.
template <LevelFormat F>
inline constexpr auto kLevelBytes = [] {
  Table<uint32_t, 4> table{};
  for (size_t code = 0; code < FormatTraits<F>::kCount && code < 16; ++code) {
    const auto byte = static_cast<uint8_t>(static_cast<int8_t>(FormatTraits<F>::Level(code)));
    table.values[code / 4] |= uint32_t{byte} << (8 * (code % 4));
  }
  return table;
}();

}  // namespace detail

template <LevelFormat F>
requires kHasByteLevels<F>
struct CodeWords {
  using Traits = FormatTraits<F>;

  static constexpr unsigned kBits = Traits::kCodeBits > 4 ? 8 : Traits::kCodeBits > 2 ? 4 : Traits::kCodeBits;
  static constexpr unsigned kQuads = 8 / kBits;  // of a word
  static constexpr uint32_t kMask = (1u << kBits) - 1;

  static constexpr bool kIsLevel = kBits == 8;
  static constexpr bool kIsTable = !kIsLevel && !Traits::kIsUniform;
  static constexpr bool kIsSigned = !kIsLevel && !kIsTable && Traits::kHasZero && Traits::kBottom != 0 &&
                                    Traits::kZeroCode <= (1u << (kBits - 1)) &&
                                    Traits::kCount - Traits::kZeroCode <= (1u << (kBits - 1));
  static constexpr unsigned kShift = kIsSigned ? 8 - kBits : 0;
  static constexpr int kFactor = kIsLevel || kIsTable ? 1 : Traits::kSpacing;
  static constexpr int kOffset = kIsLevel || kIsTable || kIsSigned ? 0 : Traits::kBottom;

  // Columns whose products with bytes surely fit a sum of 32 bits.
  static constexpr uint32_t kSumCols = 0x7fffffffu / (128 * 128);

  // What is stored of a code.
  static constexpr uint32_t Stored(size_t code) {
    if constexpr (kIsLevel) {
      return static_cast<uint8_t>(static_cast<int8_t>(Traits::Level(code)));
    } else if constexpr (kIsSigned) {
      return static_cast<uint32_t>(code - Traits::kZeroCode) & kMask;
    } else {
      return static_cast<uint32_t>(code);
    }
  }
  // Where the field of element i of a word lies.
  BITNET_HOST_DEVICE static constexpr unsigned FieldShift(unsigned i) { return 8 * (i % 4) + kBits * (i / 4); }

  // The level of a stored field.
  BITNET_HOST_DEVICE static int LevelOfField(uint32_t field) {
    if constexpr (kIsLevel) {
      return static_cast<int8_t>(field);
    } else if constexpr (kIsTable) {
      return Level<F>(field);
    } else if constexpr (kIsSigned) {
      constexpr int kHalf = 1 << (kBits - 1);
      return kFactor * ((static_cast<int>(field) ^ kHalf) - kHalf);
    } else {
      return kFactor * static_cast<int>(field) + kOffset;
    }
  }

  // The bytes of quad k of a word.
  template <class Device>
  static BITNET_DEVICE uint32_t Quad(Device& d, uint32_t word, unsigned k) {
    if constexpr (kIsLevel) {
      return word;
    } else if constexpr (kIsSigned) {
      return (word << (kShift - kBits * k)) & (kOnes * (kMask << kShift));
    } else {
      const uint32_t fields = (word >> (kBits * k)) & (kOnes * kMask);
      if constexpr (kIsTable) {
        static constexpr auto table = detail::kLevelBytes<F>;
        const uint32_t words[4] = {table[0], table[1], table[2], table[3]};
        return d.Select4(words, fields);
      } else {
        return fields;
      }
    }
  }

  // The dot product of levels, of that of quads and of the sum of the inputs. (Modulo 2^32, as the sums are.)
  BITNET_HOST_DEVICE static int32_t Dot(int32_t sum, int32_t x_sum) {
    return static_cast<int32_t>(static_cast<uint32_t>(kFactor) * static_cast<uint32_t>(sum >> kShift) +
                                static_cast<uint32_t>(kOffset) * static_cast<uint32_t>(x_sum));
  }
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_CODE_WORDS_H_
