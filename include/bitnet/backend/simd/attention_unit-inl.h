// Sums of values by Intel's matrix unit (amx.h), for codes that come in pairs (head_codes-inl.h). What it multiplies
// must lie in memory, so values are unpacked to there; that is all that is left to the vector instructions.
#if defined(BITNET_BACKEND_SIMD_ATTENTION_UNIT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_ATTENTION_UNIT_INL_H_
#undef BITNET_BACKEND_SIMD_ATTENTION_UNIT_INL_H_
#else
#define BITNET_BACKEND_SIMD_ATTENTION_UNIT_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bitnet/backend/simd/amx.h"
#include "bitnet/backend/simd/attention_kernels-inl.h"
#include "bitnet/backend/simd/head_codes-inl.h"
#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// Sums of values of a tile of kTileRows rows, as long as the object lives.
class UnitSums {
 public:
  template <Format V>
  static constexpr bool kCanRead = [] {
    if constexpr (kHasHeadCodes<V>) {
      return HeadCodes<V>::kHasPairs;
    } else {
      return false;
    }
  }();

  // Some product, to be asked for every 200 ns or so before Add: after 300 ns without one, the unit takes 200 ns to
  // wake up.
  void KeepAwake() {
    tiles_.Configure(kTiles);
    tiles_.Multiply<kSums, kDigits, kValues>();
  }

  // As SumGroups, but of kTileRows rows, and of all dimensions up to a multiple of 32.
  template <LevelFormat V>
  HWY_NOINLINE void Add(const uint8_t* HWY_RESTRICT groups, size_t group_bytes, size_t count, size_t dim,
                        const BlockWeights& weights, const uint8_t* ahead, int32_t* HWY_RESTRICT sums, size_t stride) {
    using Head = HeadCodes<V>;
    const typename Head::D d;
    constexpr size_t kStripBytes = 2 * Head::kBytes;
    tiles_.Configure(kTiles);
    LoadDigits(weights);
    const size_t quarter = kAttentionBlock / 16 * group_bytes;
    const size_t chunks = (count + kChunkGroups - 1) / kChunkGroups;
    // Values of half of the groups from `first` on; groups after the last are the last again.
    const auto unpack = [&](size_t strip, size_t first, auto is_whole, uint8_t* HWY_RESTRICT to) HWY_ATTR {
      for (size_t g = first; g < first + kChunkGroups / 2; g += 4) {
        HWY_UNROLL(4) for (size_t k = 0; k < 4; ++k) {
          const size_t group = is_whole ? g + k : HWY_MIN(g + k, count - 1);
          hn::Vec<typename Head::D> codes[2];
          Head::LoadAcrossPair(groups + group * group_bytes, strip, codes);
          hn::Store(codes[0], d, to + k * kRowBytes);
          hn::Store(codes[1], d, to + kPartBytes + k * kRowBytes);
          hwy::Prefetch(ahead + k * quarter);
        }
        to += 4 * kRowBytes;
        ahead += kStripBytes;
      }
    };
    // Two parts of a strip of a chunk, and those before. The unit multiplies these while the others are unpacked, a
    // part after each half. (Both after the whole: 30 % slower. Four buffers, multiplied two later: the same.)
    HWY_ALIGN uint8_t buffers[2][2 * kPartBytes];
    const auto multiply = [&]<int kPart>(std::integral_constant<int, kPart>, size_t chunk, const uint8_t* parts) {
      if (chunk == 0) tiles_.Clear<kSums + kPart>();
      tiles_.Load<kValues + kPart>(parts + kPart * kPartBytes, kRowBytes);
      MultiplyChunk<kPart>(chunk);
    };
    using Even = std::integral_constant<int, 0>;
    using Odd = std::integral_constant<int, 1>;
    const size_t strips = (dim + kStripDims - 1) / kStripDims;
    size_t chunk_before = chunks;  // none
    size_t filled = 0;
    for (size_t strip = 0; strip < strips; ++strip) {
      for (size_t chunk = 0; chunk < chunks; ++chunk) {
        const uint8_t* const before = buffers[filled];
        filled = 1 - filled;
        const auto step = [&](auto is_whole) HWY_ATTR {
          const size_t first = chunk * kChunkGroups;
          unpack(strip, first, is_whole, buffers[filled]);
          if (chunk_before != chunks) multiply(Even(), chunk_before, before);
          unpack(strip, first + kChunkGroups / 2, is_whole, buffers[filled] + kPartBytes / 2);
          if (chunk_before != chunks) multiply(Odd(), chunk_before, before);
        };
        if ((chunk + 1) * kChunkGroups <= count) {
          step(std::true_type());
        } else {
          step(std::false_type());
        }
        if (chunk == 0 && strip != 0) StoreStrip<V>(weights, sums + (strip - 1) * kStripDims, stride);
        chunk_before = chunk;
      }
    }
    multiply(Even(), chunk_before, buffers[filled]);
    multiply(Odd(), chunk_before, buffers[filled]);
    StoreStrip<V>(weights, sums + (strips - 1) * kStripDims, stride);
  }

 private:
  // Values of 32 dimensions, a strip, of 16 groups, a chunk, are two parts: even dimensions, and odd ones. A part is a
  // matrix of which a row is of a group.
  static constexpr size_t kChunkGroups = 16;
  static constexpr size_t kChunks = kAttentionBlock / (4 * kChunkGroups);
  static constexpr size_t kStripDims = 32;
  static constexpr size_t kRowBytes = 64;
  static constexpr size_t kPartBytes = kChunkGroups * kRowBytes;
  // Two digits of the weights of each row, and ones.
  static constexpr size_t kDigitRows = 2 * kTileRows + 1;
  // Tiles: sums of the two parts; digits of the four chunks; values of the two parts.
  enum : int { kSums = 0, kDigits = 2, kValues = 6 };
  static_assert(kChunks == kValues - kDigits);
  static constexpr bitnet::detail::AmxTiles::Rows kTiles = {kDigitRows, kDigitRows, kDigitRows,   kDigitRows,
                                                            kDigitRows, kDigitRows, kChunkGroups, kChunkGroups};

  HWY_INLINE void LoadDigits(const BlockWeights& weights) {
    const DU8 du8;
    HWY_ALIGN uint8_t digits[kChunks][kDigitRows][kRowBytes];
    for (size_t chunk = 0; chunk < kChunks; ++chunk) {
      HWY_UNROLL(4) for (size_t r = 0; r < kTileRows; ++r) {
        const auto low = hn::Load(du8, weights.low[r] + chunk * kRowBytes);
        const auto high = hn::Load(du8, reinterpret_cast<const uint8_t*>(weights.high[r]) + chunk * kRowBytes);
        // All rows are signed: 128 less, which StoreStrip gives back by the row of ones.
        hn::Store(hn::Xor(low, hn::Set(du8, uint8_t{128})), du8, digits[chunk][r]);
        hn::Store(high, du8, digits[chunk][kTileRows + r]);
      }
      hn::Store(hn::Set(du8, uint8_t{1}), du8, digits[chunk][2 * kTileRows]);
    }
    tiles_.Load<kDigits>(digits[0], kRowBytes);
    tiles_.Load<kDigits + 1>(digits[1], kRowBytes);
    tiles_.Load<kDigits + 2>(digits[2], kRowBytes);
    tiles_.Load<kDigits + 3>(digits[3], kRowBytes);
  }

  template <int kPart>
  HWY_INLINE void MultiplyChunk(size_t chunk) {
    switch (chunk) {
      case 0:
        return tiles_.Multiply<kSums + kPart, kDigits, kValues + kPart>();
      case 1:
        return tiles_.Multiply<kSums + kPart, kDigits + 1, kValues + kPart>();
      case 2:
        return tiles_.Multiply<kSums + kPart, kDigits + 2, kValues + kPart>();
      default:
        return tiles_.Multiply<kSums + kPart, kDigits + 3, kValues + kPart>();
    }
  }

  template <LevelFormat V>
  HWY_INLINE void StoreStrip(const BlockWeights& weights, int32_t* HWY_RESTRICT sums, size_t stride) {
    const DI32 d32;
    HWY_ALIGN int32_t parts[2][kDigitRows][kRowBytes / sizeof(int32_t)];
    tiles_.Store<kSums>(parts[0], kRowBytes);
    tiles_.Store<kSums + 1>(parts[1], kRowBytes);
    HWY_UNROLL(4) for (size_t r = 0; r < kTileRows; ++r) {
      hn::Vec<DI32> sum[2];
      HWY_UNROLL(2) for (size_t k = 0; k < 2; ++k) {
        const auto high = hn::Load(d32, parts[k][kTileRows + r]);
        const auto twice_high_and_ones = hn::Add(hn::Add(high, high), hn::Load(d32, parts[k][2 * kTileRows]));
        sum[k] = hn::Add(hn::Load(d32, parts[k][r]), hn::ShiftLeft<7>(twice_high_and_ones));
      }
      StoreSums<V>(sum, weights.sum[r], sums + r * stride);
    }
  }

  bitnet::detail::AmxTiles tiles_;
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_ATTENTION_UNIT_INL_H_
