// Integer products with weights by columns: only the listed columns are read.
//
// Four active columns of a tile are interleaved, so that a 32-bit lane holds one row's bytes of the four, and
// multiplied with the four inputs, broadcast. One accumulator lane belongs to one row; all of a pass stay in registers.
// Inputs of more than 8 bits: two columns at a time, each byte followed by a zero byte.
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

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// dots[r] = dot of offsets of row r of the tile with x over `list`, r < Codes::kBlockCodes, modulo 2^32.
// Returns the sum of the listed inputs.
template <class Codes, class X>
HWY_NOINLINE int32_t DotColumns(const uint8_t* HWY_RESTRICT tile, const IndexList& list, const X* HWY_RESTRICT x,
                                int32_t* HWY_RESTRICT dots) {
  const DU8 d8;
  const DU16 d16;
  const DI32 d32;
  constexpr bool kIsWide = Inputs<Codes, X>::kIsWide;
  constexpr size_t kAtOnce = kIsWide ? 2 : 4;
  // Planes whose accumulators, four each, fit the registers; the columns of the other passes come from the cache.
  constexpr size_t kPassPlanes = HWY_MIN(Codes::kPlanes, kManyRegisters ? 4 : 2);
  constexpr size_t kAhead = 32;  // columns asked for in advance; see kernels.md: not tuned yet

  uint32_t sum_of_inputs = 0;
  for (size_t pass = 0; pass < Codes::kPlanes / kPassPlanes; ++pass) {
    const int shift = static_cast<int>(pass * kPassPlanes * Codes::kBits);
    hn::Vec<DI32> sum[kPassPlanes][4];
    HWY_UNROLL(4) for (size_t p = 0; p < kPassPlanes; ++p) {
      HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) sum[p][j] = hn::Zero(d32);
    }
    for (size_t i = 0; i < list.count; i += kAtOnce) {
      const uint8_t* block[kAtOnce];
      uint32_t inputs = 0;
      for (size_t k = 0; k < kAtOnce; ++k) {
        // Past the end: the last column again, times zero.
        const size_t column = list[std::min(i + k, list.count - 1)];
        const auto input = i + k < list.count ? static_cast<uint32_t>(int32_t{x[column]}) : 0;
        block[k] = tile + column * Codes::kBlockBytes;
        inputs |= (input & (kIsWide ? 0xffffu : 0xffu)) << (k * (kIsWide ? 16 : 8));
        if (pass == 0) sum_of_inputs += input;
        if (list.indices != nullptr) {
          __builtin_prefetch(tile + list[std::min(i + k + kAhead, list.count - 1)] * Codes::kBlockBytes);
        }
      }
      const auto x4 = hn::Set(d32, static_cast<int32_t>(inputs));
      const auto a = hn::LoadU(d8, block[0]);
      const auto b = kIsWide ? hn::Zero(d8) : hn::LoadU(d8, block[kIsWide ? 0 : 1]);
      const auto c = hn::LoadU(d8, block[kIsWide ? 1 : 2]);
      const auto d = kIsWide ? hn::Zero(d8) : hn::LoadU(d8, block[kIsWide ? 0 : 3]);
      const auto ab0 = hn::BitCast(d16, hn::InterleaveLower(d8, a, b));
      const auto ab1 = hn::BitCast(d16, hn::InterleaveUpper(d8, a, b));
      const auto cd0 = hn::BitCast(d16, hn::InterleaveLower(d8, c, d));
      const auto cd1 = hn::BitCast(d16, hn::InterleaveUpper(d8, c, d));
      // quads[j], block b of 16 bytes: rows 16b + 4j ... 16b + 4j + 3 of each plane.
      hn::Vec<DU8> quads[4] = {
          hn::BitCast(d8, hn::InterleaveLower(d16, ab0, cd0)), hn::BitCast(d8, hn::InterleaveUpper(d16, ab0, cd0)),
          hn::BitCast(d8, hn::InterleaveLower(d16, ab1, cd1)), hn::BitCast(d8, hn::InterleaveUpper(d16, ab1, cd1))};
      HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) {
        auto packed = quads[j];
        if constexpr (kPassPlanes < Codes::kPlanes) {
          packed = hn::BitCast(d8, hn::ShiftRightSame(hn::BitCast(d16, packed), shift));
        }
        HWY_UNROLL(4) for (size_t p = 0; p < kPassPlanes; ++p) {
          const auto w = Codes::OffsetsOf(Codes::LowCodes(packed));
          packed = Codes::NextPlane(packed);
          if constexpr (kIsWide) {
            sum[p][j] =
                hn::Add(sum[p][j], hn::WidenMulPairwiseAdd(d32, hn::BitCast(DI16(), w), hn::BitCast(DI16(), x4)));
          } else {
            DotSum<Codes, X> dot{sum[p][j], hn::Zero(DI16())};
            dot.Add(w, hn::BitCast(DI8(), x4));
            dot.Flush();
            sum[p][j] = dot.sum;
          }
        }
      }
    }
    HWY_UNROLL(4) for (size_t p = 0; p < kPassPlanes; ++p) {
      HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) {
        HWY_ALIGN int32_t lanes[hn::Lanes(DI32())];
        hn::Store(sum[p][j], d32, lanes);
        int32_t* plane = dots + (pass * kPassPlanes + p) * kVectorBytes;
        for (size_t block = 0; block < kVectorBytes / 16; ++block) {
          std::memcpy(plane + 16 * block + 4 * j, lanes + 4 * block, 4 * sizeof(int32_t));
        }
      }
    }
  }
  return static_cast<int32_t>(sum_of_inputs);
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_DOT_COLUMNS_INL_H_
