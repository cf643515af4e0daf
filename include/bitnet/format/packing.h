// Packing: codes of any format at its natural density.
//
// A unit is the smallest run of whole bytes that holds whole codes:
//   count a power of two, or no denser radix:  8 codes in kCodeBits bytes, code i at bits [i*B, i*B + B), little endian
//   otherwise (radix):                         one byte holds the most codes with count^k <= 256; first code is the
//                                              lowest digit. Ternary: 5 to a byte, five levels: 3 to a byte.
// Positions are sought in constant time. Bytes above count^k - 1 and codes >= count never come out of Pack; Valid()
// tells them in foreign data. Padding codes in the last unit are the format's zero code.
#ifndef BITNET_FORMAT_PACKING_H_
#define BITNET_FORMAT_PACKING_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bitnet/base/assert.h"
#include "bitnet/base/size.h"
#include "bitnet/format/format.h"

namespace bitnet {

template <LevelFormat F>
struct Packing {
  using Traits = FormatTraits<F>;
  static constexpr size_t kCount = Traits::kCount;

  // Codes that one radix byte holds.
  static constexpr size_t kRadixCodes = [] {
    size_t codes = 0;
    for (size_t states = kCount; states <= 256; states *= kCount) ++codes;
    return codes;
  }();
  static constexpr bool kIsRadix = kRadixCodes * static_cast<size_t>(Traits::kCodeBits) > 8;
  static constexpr size_t kUnitCodes = kIsRadix ? kRadixCodes : 8;
  static constexpr size_t kUnitBytes = kIsRadix ? 1 : static_cast<size_t>(Traits::kCodeBits);

  // Bits that a value costs, padding of the last unit aside.
  static constexpr double kBitsPerValue = 8.0 * static_cast<double>(kUnitBytes) / static_cast<double>(kUnitCodes);

  // Bytes of n packed codes; 0 for 0. Throws as SizeProduct does where they do not fit size_t.
  static constexpr size_t Bytes(size_t n) {
    return SizeProduct(kUnitBytes, n / kUnitCodes + (n % kUnitCodes != 0 ? 1u : 0u));
  }

  // packed[0, Bytes(n)) = codes[0, n); every code < kCount.
  static void Pack(std::span<const uint8_t> codes, std::span<uint8_t> packed) {
    PackEach(codes.size(), packed, [&](size_t i) { return size_t{codes[i]}; });
  }

  // The same of levels, which are the format's.
  static void PackLevels(std::span<const LevelOf<F>> levels, std::span<uint8_t> packed) {
    PackEach(levels.size(), packed, [&](size_t i) { return CodeOfLevel<F>(levels[i]); });
  }

  // The code at position i.
  static uint8_t At(const uint8_t* packed, size_t i) {
    uint8_t at = 0;
    Each(packed, i, 1, [&](size_t, uint8_t code) { at = code; });
    return at;
  }

  // codes[0, codes.size()) = the codes from position `first` on.
  static void Unpack(const uint8_t* packed, size_t first, std::span<uint8_t> codes) {
    Each(packed, first, codes.size(), [&](size_t i, uint8_t code) { codes[i] = code; });
  }

  // The same, as levels.
  static void UnpackLevels(const uint8_t* packed, size_t first, std::span<LevelOf<F>> levels) {
    Each(packed, first, levels.size(),
         [&](size_t i, uint8_t code) { levels[i] = static_cast<LevelOf<F>>(Traits::Level(code)); });
  }

  // Whether the units of the first n positions hold codes below kCount, and radix bytes are below count^k.
  static bool Valid(std::span<const uint8_t> packed, size_t n) {
    if (packed.size() < Bytes(n)) return false;
    if constexpr (!kIsRadix && kBase == kCount) return true;  // all bits are codes, and all codes have levels
    for (size_t unit = 0; unit * kUnitCodes < n; ++unit) {
      uint64_t word = Unit(packed.data(), unit);
      for (size_t i = 0; i < kUnitCodes; ++i) {
        if (word % kBase >= kCount) return false;
        word /= kBase;
      }
      if (word != 0) return false;
    }
    return true;
  }

 private:
  static constexpr uint64_t kBase = kIsRadix ? kCount : uint64_t{1} << Traits::kCodeBits;

  // The codes of each byte that is a unit; a foreign byte may hold a code without a level, which becomes the last one.
  static constexpr auto kCodesOfByte = [] {
    std::array<std::array<uint8_t, kUnitCodes>, kUnitBytes == 1 ? 256 : 1> codes{};
    for (size_t byte = 0; byte < codes.size(); ++byte) {
      size_t rest = byte;
      for (uint8_t& code : codes[byte]) {
        code = static_cast<uint8_t>(rest % kBase < kCount ? rest % kBase : kCount - 1);
        rest /= kBase;
      }
    }
    return codes;
  }();

  static uint64_t Unit(const uint8_t* packed, size_t unit) {
    uint64_t word = 0;
    for (size_t byte = 0; byte < kUnitBytes; ++byte) {
      word |= static_cast<uint64_t>(packed[unit * kUnitBytes + byte]) << (8 * byte);
    }
    return word;
  }

  static void PackEach(size_t n, std::span<uint8_t> packed, auto&& code_at) {
    BITNET_ASSERT(packed.size() >= Bytes(n), "Pack: the destination is shorter than Bytes(codes)");
    for (size_t unit = 0; unit * kUnitCodes < n; ++unit) {
      uint64_t word = 0;
      uint64_t weight = 1;
      for (size_t i = 0; i < kUnitCodes; ++i) {
        const size_t at = unit * kUnitCodes + i;
        const uint64_t code = at < n ? code_at(at) : Traits::kZeroCode;
        BITNET_ASSERT(code < kCount, "Pack: a code is not below the format's number of levels");
        word += code * weight;
        weight *= kBase;
      }
      for (size_t byte = 0; byte < kUnitBytes; ++byte) {
        packed[unit * kUnitBytes + byte] = static_cast<uint8_t>(word >> (8 * byte));
      }
    }
  }

  // use(i, code) for i in [0, n), code being that at position first + i.
  template <class Use>
  static void Each(const uint8_t* packed, size_t first, size_t n, Use&& use) {
    size_t unit = first / kUnitCodes;
    size_t within = first % kUnitCodes;
    if constexpr (kUnitBytes == 1) {
      if (within == 0) {
        size_t i = 0;
        for (; i + kUnitCodes <= n; i += kUnitCodes, ++unit) {
          for (size_t k = 0; k < kUnitCodes; ++k) use(i + k, kCodesOfByte[packed[unit]][k]);
        }
        if (i < n) {
          for (size_t k = 0; i < n; ++i, ++k) use(i, kCodesOfByte[packed[unit]][k]);
        }
        return;
      }
    }
    for (size_t i = 0; i < n; ++unit, within = 0) {
      uint64_t word = Unit(packed, unit);
      for (size_t skip = 0; skip < within; ++skip) word /= kBase;
      for (; within < kUnitCodes && i < n; ++within, ++i) {
        // A foreign byte may hold a code without a level; the last level keeps the access in bounds.
        const uint64_t code = word % kBase;
        use(i, static_cast<uint8_t>(code < kCount ? code : kCount - 1));
        word /= kBase;
      }
    }
  }
};

}  // namespace bitnet

#endif  // BITNET_FORMAT_PACKING_H_
