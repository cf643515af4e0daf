// Integer products with weights by columns: only the listed columns are read.
//
// Four active columns are interleaved, so that a 32-bit lane holds one row's bytes of the four, and multiplied with the
// four inputs, broadcast. One accumulator lane belongs to one row. Columns go by in batches: a tile of rows keeps its
// accumulators in registers for a batch, and in the first-level cache between batches, while the lines of the next
// batch are asked for, column after column, a few for each four columns of work.
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

// The lines of scattered spans of equal length, to be asked for a few at a time, in turn of kStreams spans.
class LineQueue {
 public:
  LineQueue(const uint8_t* first, size_t stride, size_t bytes, const IndexList& list)
      : first_(first), stride_(stride), bytes_(bytes), list_(list) {}
  HWY_INLINE void Ask(size_t lines) {
    for (; lines != 0 && next_ < list_.count; --lines) {
      __builtin_prefetch(first_ + list_[next_ + stream_] * stride_ + byte_);
      if (++stream_ == kStreams || next_ + stream_ == list_.count) {
        stream_ = 0;
        if ((byte_ += 64) >= bytes_) {
          byte_ = 0;
          next_ += kStreams;
        }
      }
    }
  }

 private:
  const uint8_t* first_;
  size_t stride_;
  size_t bytes_;
  IndexList list_;
  size_t next_ = 0;  // the first span of those that take turns
  size_t stream_ = 0;
  size_t byte_ = 0;
};

// Sum of the listed inputs modulo 2^32.
template <class X>
HWY_INLINE int32_t SumOfListed(const IndexList& list, const X* HWY_RESTRICT x) {
  uint32_t sum = 0;
  for (size_t i = 0; i < list.count; ++i) sum += static_cast<uint32_t>(int32_t{x[list[i]]});
  return static_cast<int32_t>(sum);
}

// sums: Codes::kBlockCodes accumulators of a tile in the order in which they lie in registers; += dot of offsets of the
// tile's rows with x over `list`, modulo 2^32. `tile` is the tile's place in column 0. Asks for kLinesForFour lines of
// `ahead` for each four columns.
template <class Codes, class X>
HWY_NOINLINE void AddColumns(const uint8_t* HWY_RESTRICT tile, size_t stride, const IndexList& list,
                             const X* HWY_RESTRICT x, LineQueue& ahead, int32_t* HWY_RESTRICT sums) {
  const DU8 d8;
  const DU16 d16;
  const DI32 d32;
  constexpr bool kIsWide = Inputs<Codes, X>::kIsWide;
  constexpr size_t kAtOnce = kIsWide ? 2 : 4;
  constexpr size_t kLinesForFour = 4;  // as many as a tile of four columns reads
  // Planes whose accumulators, four each, fit the registers; the columns of the other passes come from the cache.
  constexpr size_t kPassPlanes = HWY_MIN(Codes::kPlanes, kManyRegisters ? 4 : 2);

  for (size_t pass = 0; pass < Codes::kPlanes / kPassPlanes; ++pass) {
    const int shift = static_cast<int>(pass * kPassPlanes * Codes::kBits);
    hn::Vec<DI32> sum[kPassPlanes][4];
    int32_t* HWY_RESTRICT pass_sums = sums + pass * kPassPlanes * kVectorBytes;
    HWY_UNROLL(4) for (size_t p = 0; p < kPassPlanes; ++p) {
      HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) {
        sum[p][j] = hn::LoadU(d32, pass_sums + (p * 4 + j) * hn::Lanes(d32));
      }
    }
    for (size_t i = 0; i < list.count; i += kAtOnce) {
      const uint8_t* block[kAtOnce];
      uint32_t inputs = 0;
      for (size_t k = 0; k < kAtOnce; ++k) {
        // Past the end: the last column again, times zero.
        const size_t column = list[std::min(i + k, list.count - 1)];
        const auto input = i + k < list.count ? static_cast<uint32_t>(int32_t{x[column]}) : 0;
        block[k] = tile + column * stride;
        inputs |= (input & (kIsWide ? 0xffffu : 0xffu)) << (k * (kIsWide ? 16 : 8));
      }
      if (pass == 0) ahead.Ask(kLinesForFour);
      const auto x4 = hn::Set(d32, static_cast<int32_t>(inputs));
      const auto a = hn::LoadU(d8, block[0]);
      const auto b = kIsWide ? hn::Zero(d8) : hn::LoadU(d8, block[kIsWide ? 0 : 1]);
      const auto c = hn::LoadU(d8, block[kIsWide ? 1 : 2]);
      const auto d = kIsWide ? hn::Zero(d8) : hn::LoadU(d8, block[kIsWide ? 0 : 3]);
      // Block b of 16 bytes of quads[j]: rows 16b + 4j ... 16b + 4j + 3 of each plane.
      hn::Vec<DU8> quads[4];
      Interleave(a, b, c, d, quads);
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
            sum[p][j] = KeepInRegister(dot.sum);
          }
        }
      }
    }
    HWY_UNROLL(4) for (size_t p = 0; p < kPassPlanes; ++p) {
      HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) {
        hn::StoreU(sum[p][j], d32, pass_sums + (p * 4 + j) * hn::Lanes(d32));
      }
    }
  }
}

// dots[p * N + i] of plane p and byte i from the order of registers.
template <class Codes>
HWY_INLINE void OrderSums(const int32_t* HWY_RESTRICT sums, int32_t* HWY_RESTRICT dots) {
  for (size_t p = 0; p < Codes::kPlanes; ++p) {
    for (size_t j = 0; j < 4; ++j) {
      for (size_t block = 0; block < kVectorBytes / 16; ++block) {
        std::memcpy(dots + p * kVectorBytes + 16 * block + 4 * j, sums + (p * 4 + j) * hn::Lanes(DI32()) + 4 * block,
                    4 * sizeof(int32_t));
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_DOT_COLUMNS_INL_H_
