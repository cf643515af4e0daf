// HeadLayout<F>: what a SimdHeads stores of a level, in units of whole bytes.
//
//   up to 16 levels:              8 codes of B bits in B bytes, little endian; B the fewest bits that hold a code
//   more, offsets fit a byte:     4 offsets (offset_traits.h) in 4 bytes
//   offsets do not fit a byte:    8 codes of B bits, as above; no kernel reads them
//
// Bytes for 5 to 7 bits: four tokens' codes of a dimension are then one byte shuffle away from the packed ones, with
// all instruction sets.
#ifndef BITNET_BACKEND_SIMD_HEAD_LAYOUT_H_
#define BITNET_BACKEND_SIMD_HEAD_LAYOUT_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "bitnet/backend/simd/offset_traits.h"
#include "bitnet/base/size.h"
#include "bitnet/format/format.h"

namespace bitnet {

template <LevelFormat F>
struct HeadLayout {
  using Traits = FormatTraits<F>;
  using Level = LevelOf<F>;

  static constexpr bool kIsByte = Traits::kCount > 16 && OffsetTraits<F>::kFitsByte;
  static constexpr size_t kBits = kIsByte ? 8 : static_cast<size_t>(Traits::kCodeBits);
  static constexpr size_t kUnitCodes = kIsByte ? 4 : 8;
  static constexpr size_t kUnitBytes = kUnitCodes * kBits / 8;

  static constexpr size_t Bytes(size_t n) {
    return SizeProduct(kUnitBytes, n / kUnitCodes + (n % kUnitCodes != 0 ? 1u : 0u));
  }

  // A unit of levels[0, n), then what stands for the lowest level.
  static void Pack(const Level* levels, size_t n, uint8_t* to) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; ++i) bytes |= uint64_t{Stored(levels[i])} << (8 * i);
    const uint64_t word = kIsByte ? bytes : Join(bytes);
    for (size_t i = 0; i < kUnitBytes; ++i) to[i] = static_cast<uint8_t>(word >> (8 * i));
  }
  static void Unpack(const uint8_t* from, size_t n, Level* levels) {
    uint64_t word = 0;
    for (size_t i = 0; i < kUnitBytes; ++i) word |= uint64_t{from[i]} << (8 * i);
    for (size_t i = 0; i < n; ++i, word >>= kBits) levels[i] = kLevels[word & kMask];
  }

 private:
  static constexpr uint64_t kMask = (uint64_t{1} << kBits) - 1;
  static constexpr size_t kRange = static_cast<size_t>(Traits::kTop - Traits::kBottom) + 1;

  static constexpr uint8_t Code(size_t code) {
    return static_cast<uint8_t>(kIsByte ? OffsetTraits<F>::Offset(code) : static_cast<int>(code));
  }
  // Of each number from the lowest level on that is a level, what is stored.
  static constexpr bool kIsTable = !Traits::kIsUniform && kRange <= 1024;
  static constexpr auto kStored = [] {
    std::array<uint8_t, kIsTable ? kRange : 1> stored{};
    for (size_t code = 0; kIsTable && code < Traits::kCount; ++code) {
      stored[static_cast<size_t>(Traits::Level(code) - Traits::kBottom)] = Code(code);
    }
    return stored;
  }();
  static uint8_t Stored(Level level) {
    if constexpr (kIsTable) {
      return kStored[static_cast<size_t>(level - Traits::kBottom)];
    } else if constexpr (Traits::kIsUniform) {
      return static_cast<uint8_t>(static_cast<unsigned>(level - Traits::kBottom) / unsigned{Traits::kSpacing});
    } else {
      return Code(CodeOfLevel<F>(level));
    }
  }
  static constexpr auto kLevels = [] {
    std::array<Level, size_t{1} << kBits> levels{};
    for (size_t code = 0; code < Traits::kCount; ++code) levels[Code(code)] = static_cast<Level>(Traits::Level(code));
    return levels;
  }();

  // The lowest kBits of eight bytes side by side: of pairs, of fours, of all.
  static constexpr uint64_t Join(uint64_t bytes) {
    if constexpr (kBits < 8) {
      bytes = (bytes & 0x00ff00ff00ff00ff) | (bytes & 0xff00ff00ff00ff00) >> (8 - kBits);
      bytes = (bytes & 0x0000ffff0000ffff) | (bytes & 0xffff0000ffff0000) >> (16 - 2 * kBits);
      bytes = (bytes & 0x00000000ffffffff) | (bytes & 0xffffffff00000000) >> (32 - 4 * kBits);
    }
    return bytes;
  }
};

}  // namespace bitnet

#endif  // BITNET_BACKEND_SIMD_HEAD_LAYOUT_H_
