// Integer products with weights by columns: only the listed columns are read.
//
// Some columns are read at once (ColumnsAtOnce), a vector of each after the other, while the same lines of the next are
// prefetched. Four are interleaved, so that a 32-bit lane holds one row's bytes of the four, and multiplied with the
// four inputs, broadcast. One accumulator lane belongs to one row; accumulators are in the first-level cache from
// one time to the next. Inputs of more than 8 bits: two columns at a time, each byte followed by a zero byte.
#if defined(BITNET_BACKEND_SIMD_DOT_COLUMNS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_DOT_COLUMNS_INL_H_
#undef BITNET_BACKEND_SIMD_DOT_COLUMNS_INL_H_
#else
#define BITNET_BACKEND_SIMD_DOT_COLUMNS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "bitnet/backend/simd/codes-inl.h"
#include "bitnet/backend/simd/streams.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// Sixteen halve what accumulators take (Zen 5, 2560 x 6912, half of the columns, us of 1 and 16 tokens: eight 82 and
// 775, sixteen 66 and 660), but on Sapphire Rapids one token from memory took longer.
inline constexpr size_t kMostColumnsAtOnce = 16;
inline size_t ColumnsAtOnce() { return ReadsFewStreamsBest() ? kMostColumnsAtOnce : 8; }

// Columns that are read at once, the last repeated where there are fewer.
struct ColumnGroup {
  const uint8_t* column[kMostColumnsAtOnce] = {};
  ColumnGroup(const uint8_t* first, size_t stride, const IndexList& list, size_t begin, size_t at_once) {
    for (size_t k = 0; k < at_once; ++k) column[k] = first + list[std::min(begin + k, list.count - 1)] * stride;
  }
};

// Sum of the listed inputs modulo 2^32.
template <class X>
HWY_INLINE int32_t SumOfListed(const IndexList& list, const X* HWY_RESTRICT x) {
  uint32_t sum = 0;
  for (size_t i = 0; i < list.count; ++i) sum += static_cast<uint32_t>(int32_t{x[list[i]]});
  return static_cast<int32_t>(sum);
}

// How the columns of Codes are multiplied with inputs of type X.
template <class Codes, class X>
struct ColumnDot {
  using Sum = DotSum<Codes, X>;
  static constexpr bool kIsWide = Inputs<Codes, X>::kIsWide;
  static constexpr size_t kInGroup = kIsWide ? 2 : 4;  // columns that are interleaved
  static constexpr size_t kMostGroups = kMostColumnsAtOnce / kInGroup;
  // Codes that are offsets are multiplied where they are in their byte: plane p's accumulators hold 2^(p * kBits) times
  // their dots. A byte times an input is less than 2^15, so this many columns fit 32 bits. (Pairs have no room for it.)
  static constexpr bool kInPlace = Sum::kMethod == DotMethod::kQuads && Codes::kIsOffset;
  static constexpr size_t kMaxColumns = kInPlace ? 65536 : ~size_t{0};
  // Planes whose accumulators, four each, fit the registers; the columns of the other passes come from the cache.
  static constexpr size_t kPassPlanes = HWY_MIN(Codes::kPlanes, kManyRegisters ? 4 : 2);
  static constexpr size_t kLanes = HWY_LANES(int32_t);

  // Inputs of the columns of a list from `begin` on, in so many groups, as AddTiles wants them; 0 past its end.
  static HWY_INLINE void Gather(const IndexList& list, size_t begin, const X* HWY_RESTRICT x, size_t groups,
                                int32_t* inputs) {
    for (size_t group = 0; group < groups; ++group) {
      uint32_t packed = 0;
      for (size_t k = 0; k < kInGroup; ++k) {
        const size_t i = begin + group * kInGroup + k;
        const auto input = i < list.count ? static_cast<uint32_t>(int32_t{x[list[i]]}) : 0;
        packed |= (input & (kIsWide ? 0xffffu : 0xffu)) << (k * (kIsWide ? 16 : 8));
      }
      inputs[group] = static_cast<int32_t>(packed);
    }
  }

  // sums: Codes::kBlockCodes accumulators of each tile, in the order in which they lie in registers; += dots of tiles
  // [0, tiles) of the columns with the inputs, modulo 2^32. Prefetches the same lines of the columns `ahead`.
  static HWY_NOINLINE void AddTiles(const ColumnGroup& columns, const ColumnGroup& ahead,
                                    const int32_t* HWY_RESTRICT inputs, size_t groups, size_t tiles,
                                    int32_t* HWY_RESTRICT sums) {
    for (size_t tile = 0; tile < tiles; ++tile) {
      for (size_t pass = 0; pass < Codes::kPlanes / kPassPlanes; ++pass, sums += kPassPlanes * kVectorBytes) {
        AddPass(columns, ahead, inputs, groups, tile * Codes::kBlockBytes, pass, sums);
      }
    }
  }

  // sums += the dots of `tiles` tiles that AddTiles left in `from`.
  static void AddDots(const int32_t* HWY_RESTRICT from, size_t tiles, int32_t* HWY_RESTRICT sums) {
    const DI32 d32;
    for (size_t i = 0; i < tiles * Codes::kBlockCodes; i += kLanes) {
      auto dots = hn::Load(d32, from + i);
      if constexpr (kInPlace) {
        dots = hn::ShiftRightSame(dots, static_cast<int>(i % Codes::kBlockCodes / kVectorBytes * Codes::kBits));
      }
      hn::StoreU(hn::Add(hn::LoadU(d32, sums + i), dots), d32, sums + i);
    }
  }

 private:
  static HWY_INLINE void AddPass(const ColumnGroup& columns, const ColumnGroup& ahead,
                                 const int32_t* HWY_RESTRICT inputs, size_t groups, size_t at, size_t pass,
                                 int32_t* HWY_RESTRICT sums) {
    const DU8 d8;
    const DU16 d16;
    const DI32 d32;
    const int shift = static_cast<int>(pass * kPassPlanes * Codes::kBits);
    hn::Vec<DI32> sum[kPassPlanes][4];
    HWY_UNROLL(4) for (size_t p = 0; p < kPassPlanes; ++p) {
      HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) sum[p][j] = hn::Load(d32, sums + (p * 4 + j) * kLanes);
    }
    for (size_t group = 0; group < groups; ++group) {
      const uint8_t* const* column = columns.column + group * kInGroup;
      if (pass == 0 && at % 64 == 0) {
        HWY_UNROLL(4) for (size_t k = 0; k < kInGroup; ++k) {
          __builtin_prefetch(ahead.column[group * kInGroup + k] + at);
        }
      }
      const auto x4 = hn::Set(d32, inputs[group]);
      const auto a = hn::LoadU(d8, column[0] + at);
      const auto b = kIsWide ? hn::Zero(d8) : hn::LoadU(d8, column[kIsWide ? 0 : 1] + at);
      const auto c = hn::LoadU(d8, column[kIsWide ? 1 : 2] + at);
      const auto d = kIsWide ? hn::Zero(d8) : hn::LoadU(d8, column[kIsWide ? 0 : 3] + at);
      // Block b of 16 bytes of quads[j]: rows 16b + 4j ... 16b + 4j + 3 of each plane.
      hn::Vec<DU8> quads[4];
      Interleave(a, b, c, d, quads);
      HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) {
        auto packed = quads[j];
        if constexpr (!kInPlace && kPassPlanes < Codes::kPlanes) {
          packed = hn::BitCast(d8, hn::ShiftRightSame(hn::BitCast(d16, packed), shift));
        }
        HWY_UNROLL(4) for (size_t p = 0; p < kPassPlanes; ++p) {
          hn::Vec<DU8> w;
          if constexpr (kInPlace) {
            constexpr uint32_t kLowest = (1u << Codes::kBits) - 1;
            const auto mask = static_cast<uint8_t>(kLowest << (shift + static_cast<int>(p * Codes::kBits)));
            w = Codes::kBits == 8 ? packed : hn::And(packed, hn::Set(d8, mask));
          } else {
            w = Codes::OffsetsOf(Codes::LowCodes(packed));
            packed = Codes::NextPlane(packed);
          }
          if constexpr (kIsWide) {
            sum[p][j] =
                hn::Add(sum[p][j], hn::WidenMulPairwiseAdd(d32, hn::BitCast(DI16(), w), hn::BitCast(DI16(), x4)));
          } else {
            Sum dot{sum[p][j], hn::Zero(DI16())};
            dot.Add(w, hn::BitCast(DI8(), x4));
            dot.Flush();
            sum[p][j] = KeepInRegister(dot.sum);
          }
        }
      }
    }
    HWY_UNROLL(4) for (size_t p = 0; p < kPassPlanes; ++p) {
      HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) hn::Store(sum[p][j], d32, sums + (p * 4 + j) * kLanes);
    }
  }
};

// sums[0, n) += from[0, n), modulo 2^32; n is a multiple of a vector.
HWY_INLINE void AddSums(const int32_t* HWY_RESTRICT from, size_t n, int32_t* HWY_RESTRICT sums) {
  const DI32 d;
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    hn::StoreU(hn::Add(hn::LoadU(d, sums + i), hn::LoadU(d, from + i)), d, sums + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_DOT_COLUMNS_INL_H_
