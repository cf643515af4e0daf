// Quads: four columns of one row in a 32-bit lane, one byte each, against four inputs of a token. What many tokens are
// multiplied with (dot_block-inl.h, block_lookup-inl.h), made from each layout of weights by a class of
//
//   size_t cols() const; size_t blocks() const; RowRange Rows(size_t block) const;
//   static constexpr size_t kChunkCols;   // columns whose quads fit the first-level cache beside some inputs
//   void Fill(size_t block, size_t first, size_t cols, uint8_t* quads) const;
//   static constexpr bool kIsOrdered;
//
// Fill writes the quads of columns [first, first + cols) of a block of up to N rows, offsets (codes-inl.h) in order of
// columns, and zeros up to a multiple of kAmxCols. Rows are in the order of OrderSums, or, if kIsOrdered, in their own.
#if defined(BITNET_BACKEND_SIMD_QUADS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_QUADS_INL_H_
#undef BITNET_BACKEND_SIMD_QUADS_INL_H_
#else
#define BITNET_BACKEND_SIMD_QUADS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "bitnet/backend/simd/amx.h"
#include "bitnet/backend/simd/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// Whether the matrix unit multiplies: its blocks have 64 rows.
HWY_INLINE bool HasMatrixUnit() { return kVectorBytes == 64 && bitnet::detail::HasAmx(); }
using bitnet::detail::kAmxCols;
using bitnet::detail::kAmxTokens;

HWY_INLINE void StoreQuads(hn::Vec<DU8> a, hn::Vec<DU8> b, hn::Vec<DU8> c, hn::Vec<DU8> d, uint8_t* HWY_RESTRICT to) {
  hn::Vec<DU8> quads[4];
  Interleave(a, b, c, d, quads);
  HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) hn::StoreU(quads[j], DU8(), to + j * kVectorBytes);
}

struct RowRange {
  size_t begin;
  size_t count;
};

// Blocks of N rows, the last of which may have fewer.
struct RowBlocks {
  size_t rows;
  size_t Count() const { return (rows + kVectorBytes - 1) / kVectorBytes; }
  RowRange Rows(size_t block) const {
    return {block * kVectorBytes, std::min(kVectorBytes, rows - block * kVectorBytes)};
  }
};

// dots[p * N + i] of plane p and byte i from the order of registers: blocks of 16 bytes are transposed.
template <size_t kPlanes>
HWY_INLINE void OrderSums(const int32_t* HWY_RESTRICT sums, int32_t* HWY_RESTRICT dots) {
  const DI32 d;
  constexpr size_t kLanes = hn::Lanes(DI32());
  for (size_t i = 0; i < kPlanes * kVectorBytes; i += kVectorBytes) {
    hn::Vec<DI32> v[4];
    HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) v[j] = hn::LoadU(d, sums + i + j * kLanes);
    if constexpr (kVectorBytes > 16) {
      const auto even01 = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(v[1]), v[0]);
      const auto even23 = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(v[3]), v[2]);
      const auto odd01 = hn::OddEvenBlocks(v[1], hn::SwapAdjacentBlocks(v[0]));
      const auto odd23 = hn::OddEvenBlocks(v[3], hn::SwapAdjacentBlocks(v[2]));
      if constexpr (kVectorBytes == 32) {
        v[0] = even01, v[1] = even23, v[2] = odd01, v[3] = odd23;
      } else {
        v[0] = hn::ConcatLowerLower(d, even23, even01);
        v[1] = hn::ConcatLowerLower(d, odd23, odd01);
        v[2] = hn::ConcatUpperUpper(d, even23, even01);
        v[3] = hn::ConcatUpperUpper(d, odd23, odd01);
      }
    }
    HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) hn::StoreU(v[j], d, dots + i + j * kLanes);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_QUADS_INL_H_
