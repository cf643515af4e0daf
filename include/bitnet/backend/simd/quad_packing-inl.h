// QuadPacking<bits>: how codes of 1 to 8 bits lie in quads: four columns of one row in a 32-bit lane.
//
//   [unit][vector of rows][vector]     N bytes a vector, N / 4 rows; a block of N rows has four vectors of rows
//
// A unit is the fewest quads that fill whole vectors. A code is cut into parts of 8, 4, 2 and 1 bits, the largest the
// lowest; a part of w bits has vectors of its own, each with 8 / w quads, from the lowest bits of its bytes up. So 6
// bits, with four quads a unit, take three vectors; 4 + 2 bits of the code of quad q:
//
//   vector 0      1111 0000     bits 3-0 of quads 0 and 1
//   vector 1      3333 2222     bits 3-0 of quads 2 and 3
//   vector 2      33 22 11 00   bits 5-4 of all four
#if defined(BITNET_BACKEND_SIMD_QUAD_PACKING_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_QUAD_PACKING_INL_H_
#undef BITNET_BACKEND_SIMD_QUAD_PACKING_INL_H_
#else
#define BITNET_BACKEND_SIMD_QUAD_PACKING_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "bitnet/backend/simd/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

template <size_t kBits>
struct QuadPacking {
  static_assert(1 <= kBits && kBits <= 8);
  static constexpr size_t kUnitQuads = kBits % 2 != 0 ? 8 : kBits % 4 != 0 ? 4 : kBits % 8 != 0 ? 2 : 1;
  static constexpr size_t kUnitVectors = kUnitQuads * kBits / 8;
  static constexpr size_t kUnitCols = 4 * kUnitQuads;
  // Of a block of N rows.
  static constexpr size_t kUnitBytes = 4 * kUnitVectors * kVectorBytes;

  // The part of a code that begins at its bit `low`.
  static constexpr size_t Width(size_t low) {
    size_t width = 8;
    while (width > kBits - low) width /= 2;
    return width;
  }
  struct Place {
    size_t vector;
    size_t bit;
  };
  // Where the part at bit `low` of quad q lies.
  static constexpr Place Of(size_t q, size_t low) {
    const size_t width = Width(low);
    const size_t quads = 8 / width;  // of a vector
    return {kUnitQuads * low / 8 + q / quads, q % quads * width};
  }

  // The codes of quad q, one a byte, of a vector of rows whose vectors begin at `at`.
  template <size_t q>
  static HWY_INLINE hn::Vec<DU8> Codes(const uint8_t* HWY_RESTRICT at) {
    const DU8 d;
    const auto codes = Gather<q, 0>(at, hn::Zero(d));
    return kBits == 8 ? codes : hn::And(codes, hn::Set(d, static_cast<uint8_t>((1u << kBits) - 1)));
  }

  // The first byte of column c of a unit, in vectors of row r of a block; the next vector is kVectorBytes further.
  static constexpr size_t Offset(size_t r, size_t c) {
    constexpr size_t kLanes = kVectorBytes / 4;
    return r / kLanes * kUnitVectors * kVectorBytes + r % kLanes * 4 + c % 4;
  }
  // Writes the codes of a unit of one row; `at` is what Offset gives for its first column.
  static void Store(const uint8_t* codes, uint8_t* at) {
    uint32_t words[kUnitVectors] = {};
    [&]<size_t... q>(std::index_sequence<q...>) {
      const auto add = [&]<size_t kQuad>(std::integral_constant<size_t, kQuad>) {
        uint32_t four;
        std::memcpy(&four, codes + 4 * kQuad, sizeof(four));
        AddParts<kQuad, 0>(four, words);
      };
      (add(std::integral_constant<size_t, q>()), ...);
    }
    (std::make_index_sequence<kUnitQuads>());
    for (size_t v = 0; v < kUnitVectors; ++v) std::memcpy(at + v * kVectorBytes, &words[v], sizeof(words[v]));
  }
  // The code of quad q; `at` is what Offset gives.
  static size_t Load(const uint8_t* at, size_t q) {
    size_t code = 0;
    for (size_t low = 0; low < kBits; low += Width(low)) {
      const Place place = Of(q, low);
      code |= (size_t{at[place.vector * kVectorBytes]} >> place.bit & ((1u << Width(low)) - 1)) << low;
    }
    return code;
  }

 private:
  // Puts the parts at kLow and above of the four codes of quad q into their vectors' words.
  template <size_t q, size_t kLow>
  static void AddParts(uint32_t codes, uint32_t (&words)[kUnitVectors]) {
    constexpr Place kAt = Of(q, kLow);
    constexpr uint32_t kMask = ((1u << Width(kLow)) - 1) * 0x01010101u;
    words[kAt.vector] |= (codes >> kLow & kMask) << kAt.bit;
    if constexpr (kLow + Width(kLow) < kBits) AddParts<q, kLow + Width(kLow)>(codes, words);
  }

  // The parts of quad q's codes at kLow and above, over `low`, which holds those below. Junk above the code.
  template <size_t q, size_t kLow>
  static HWY_INLINE hn::Vec<DU8> Gather(const uint8_t* HWY_RESTRICT at, hn::Vec<DU8> low) {
    const DU8 d;
    constexpr Place kAt = Of(q, kLow);
    auto part = hn::LoadU(d, at + kAt.vector * kVectorBytes);
    if constexpr (kAt.bit > kLow) {
      part = hn::BitCast(d, hn::ShiftRight<static_cast<int>(kAt.bit - kLow)>(hn::BitCast(DU16(), part)));
    } else if constexpr (kAt.bit < kLow) {
      part = hn::BitCast(d, hn::ShiftLeft<static_cast<int>(kLow - kAt.bit)>(hn::BitCast(DU16(), part)));
    }
    if constexpr (kLow != 0)
      part = hn::BitwiseIfThenElse(hn::Set(d, static_cast<uint8_t>((1u << kLow) - 1)), low, part);
    if constexpr (kLow + Width(kLow) < kBits) {
      return Gather<q, kLow + Width(kLow)>(at, part);
    } else {
      return part;
    }
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_QUAD_PACKING_INL_H_
