// The memory layout that lookups read: indices of groups of weights (lookup_plan.h), a vector of rows at a time.
//
//   [block of N rows][unit][vector]       N: bytes of a vector
//
// Byte i of each vector of a block belongs to its row i, so that one table serves a whole vector. Kernels walk through
// several blocks at once: they share each table that is loaded, and hardware fetches ahead better for several streams
// than for one (measured on Sapphire Rapids, 6912 x 2560 ternary from memory, one thread: blocks interleaved in one
// stream 10 - 12 GB/s, 2 streams 15, 4 streams 17, 8 streams 19, of 20).
//
// A unit is one group where an index with its sign is a byte (sign in bit 7). Otherwise it is eight groups in b vectors
// of b-bit indices, and one of signs, group j's in bit j. The first vectors hold an index in their b low bits; what is
// left of their high bits, from vector to vector, holds the other indices. With b = 5:
//
//   vector     0         1         2         3         4
//   bits 4-0   index 0   index 1   index 2   index 3   index 4
//   bits 7-5   555       766       666       ...       index 5: bits 7-5 of vector 0, 6-5 of vector 1; and so on
//
// Padding is code 0, whose offset is 0: in tables its inputs count as 0, in dot products of offsets they do not matter.
#if defined(BITNET_BACKEND_SIMD_LOOKUP_LAYOUT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_LOOKUP_LAYOUT_INL_H_
#undef BITNET_BACKEND_SIMD_LOOKUP_LAYOUT_INL_H_
#else
#define BITNET_BACKEND_SIMD_LOOKUP_LAYOUT_INL_H_
#endif

#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include "bitnet/backend/simd/lookup_plan.h"
#include "bitnet/backend/simd/vectors-inl.h"
#include "bitnet/base/size.h"
#include "bitnet/tensor/aligned_vector.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// Bytes that one shuffle looks up in: two registers with AVX-512 VBMI and NEON, else one of 16 bytes; SSE2 has none.
inline constexpr bool kHasByteTables128 = HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL;
inline constexpr size_t kTableEntries = kHasByteTables128                              ? 128
                                        : HWY_ARCH_ARM_A64 && HWY_TARGET != HWY_EMU128 ? 32
                                        : HWY_TARGET == HWY_SSE2                       ? 0
                                                                                       : 16;

// Everything that depends on the stored width of an index.
template <size_t kIndexBits, bool kMirrored>
struct IndexPacking {
  static constexpr bool kIsByte = kIndexBits + (kMirrored ? 1 : 0) == 8;
  static constexpr size_t kUnitGroups = kIsByte ? 1 : 8;
  static constexpr size_t kUnitVectors = kIsByte ? 1 : kIndexBits + (kMirrored ? 1 : 0);

  struct Place {
    size_t vector;
    size_t bit;
  };
  // Where bit k of the index of group j of a unit lies.
  static constexpr Place OfIndex(size_t j, size_t k) {
    if (kIsByte) return {0, k};
    constexpr size_t kHigh = 8 - kIndexBits;
    constexpr size_t kCommon = std::gcd(size_t{8}, kIndexBits);
    constexpr size_t kGroups = 8 / kCommon;            // share ...
    constexpr size_t kVectors = kIndexBits / kCommon;  // ... so many vectors
    const size_t first = j / kGroups * kVectors;
    const size_t i = j % kGroups;
    if (i < kVectors) return {first + i, k};
    const size_t high_bit = (i - kVectors) * kIndexBits + k;
    return {first + high_bit / kHigh, kIndexBits + high_bit % kHigh};
  }
  static constexpr Place OfSign(size_t j) { return kIsByte ? Place{0, 7} : Place{kIndexBits, j}; }

  using V = hn::Vec<DU8>;

  // The index of group j, in the low bits of each byte; above them 0, or, for tables of 128, a bit 7 that is ignored.
  template <size_t j>
  static HWY_INLINE V Index(const uint8_t* HWY_RESTRICT unit) {
    const DU8 d;
    if constexpr (kIsByte) {
      return hn::LoadU(d, unit);
    } else {
      const V index = Gather<j, 0>(unit, hn::Zero(d));
      if constexpr (kIndexBits == 7) {
        return index;
      } else {
        return hn::And(index, hn::Set(d, static_cast<uint8_t>((1u << kIndexBits) - 1)));
      }
    }
  }

  // v, negated where group j's sign is set.
  template <size_t j>
  static HWY_INLINE hn::Vec<DI8> Signed(const uint8_t* HWY_RESTRICT unit, hn::Vec<DI8> v) {
    if constexpr (!kMirrored) {
      return v;
    } else {
      const DI8 d;
      auto sign = hn::LoadU(DU8(), unit + OfSign(j).vector * kVectorBytes);
      if constexpr (OfSign(j).bit != 7) {
        sign = hn::BitCast(DU8(), hn::ShiftLeft<7 - OfSign(j).bit>(hn::BitCast(DU16(), sign)));
      }
      // Only AVX-512 looks at bit 7 alone; others take a sign that is 0 for something else.
      if constexpr (!(HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3)) sign = hn::Or(sign, hn::Set(DU8(), uint8_t{1}));
      return hn::IfNegativeThenNegOrUndefIfZero(hn::BitCast(d, sign), v);
    }
  }

 private:
  // Bits k and above of the index of group j, over `low`, which holds those below. Junk above the index.
  template <size_t j, size_t k>
  static HWY_INLINE V Gather(const uint8_t* HWY_RESTRICT unit, V low) {
    const DU8 d;
    constexpr Place kAt = OfIndex(j, k);
    V piece = hn::LoadU(d, unit + kAt.vector * kVectorBytes);
    if constexpr (kAt.bit != k) piece = hn::BitCast(d, hn::ShiftRight<kAt.bit - k>(hn::BitCast(DU16(), piece)));
    if constexpr (k != 0) piece = hn::BitwiseIfThenElse(hn::Set(d, static_cast<uint8_t>((1u << k) - 1)), low, piece);
    constexpr size_t kNext = [] {
      size_t next = k + 1;
      while (next < kIndexBits && OfIndex(j, next).vector == kAt.vector) ++next;
      return next;
    }();
    if constexpr (kNext < kIndexBits) {
      return Gather<j, kNext>(unit, piece);
    } else {
      return piece;
    }
  }
};

// The layout of W weights by a plan.
template <LevelFormat W, LookupPlan kPlan>
struct LookupLayout {
  using Packing = IndexPacking<kPlan.index_bits, kPlan.mirrored>;
  static constexpr size_t kUnitCols = Packing::kUnitGroups * kPlan.group;
  static constexpr size_t kUnitBytes = Packing::kUnitVectors * kVectorBytes;  // of one block
  // Blocks that are walked through at once. Their accumulators, three a plane, stay in registers where there are 32 and
  // one plane; of two planes some do not, at no cost in cache, and eight streams are worth it. (AMD Zen 5, ternary by
  // INT8 from memory: 105 us instead of 139, in cache 45 both.)
  static constexpr size_t kBlocks = kManyRegisters ? 8 : 4;

  static constexpr size_t Units(size_t cols) { return (cols + kUnitCols - 1) / kUnitCols; }
  static constexpr size_t BlockBytes(size_t cols) { return Units(cols) * kUnitBytes; }
  static constexpr size_t Bytes(size_t rows, size_t cols) {
    return SizeProduct(kUnitBytes, Units(cols), RoundUp(rows, kVectorBytes) / kVectorBytes);
  }

  // The first vector's byte of a row in a unit; the next vector is kVectorBytes further.
  static size_t Offset(size_t cols, size_t row, size_t unit) {
    return row / kVectorBytes * BlockBytes(cols) + unit * kUnitBytes + row % kVectorBytes;
  }

  // Sets (in zeroed bytes) the index of the group of `codes`, group j of its unit. A row's byte in the next vector is
  // `stride` further.
  static void Store(uint8_t* unit, size_t stride, size_t j, const uint8_t* codes) {
    constexpr size_t kLevels = FormatTraits<W>::kCount;
    size_t index = 0;
    size_t combinations = 1;
    for (size_t i = 0; i < kPlan.group; ++i, combinations *= kLevels) index += codes[i] * combinations;
    const bool is_negative = kPlan.mirrored && index >= kPlan.entries;
    if (is_negative) index = combinations - 1 - index;
    if constexpr (Packing::kIsByte) {
      unit[0] = static_cast<uint8_t>(index | (is_negative ? 0x80 : 0));
    } else {
      if (is_negative) Set(unit, stride, Packing::OfSign(j));
      for (size_t k = 0; k < kPlan.index_bits; ++k) {
        if ((index >> k & 1) != 0) Set(unit, stride, Packing::OfIndex(j, k));
      }
    }
  }
  // The codes of group j of a unit.
  static void Load(const uint8_t* unit, size_t stride, size_t j, uint8_t* codes) {
    constexpr size_t kLevels = FormatTraits<W>::kCount;
    size_t index = 0;
    for (size_t k = 0; k < kPlan.index_bits; ++k) index |= Get(unit, stride, Packing::OfIndex(j, k)) << k;
    const bool negative = kPlan.mirrored && Get(unit, stride, Packing::OfSign(j)) != 0;
    for (size_t i = 0; i < kPlan.group; ++i, index /= kLevels) {
      const size_t code = index % kLevels;
      codes[i] = static_cast<uint8_t>(negative ? kLevels - 1 - code : code);
    }
  }

 private:
  static void Set(uint8_t* unit, size_t stride, typename Packing::Place at) {
    uint8_t& byte = unit[at.vector * stride];
    byte = static_cast<uint8_t>(byte | 1u << at.bit);
  }
  static size_t Get(const uint8_t* unit, size_t stride, typename Packing::Place at) {
    return unit[at.vector * stride] >> at.bit & 1;
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_LOOKUP_LAYOUT_INL_H_
