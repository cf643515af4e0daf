// Integer products of many tokens with weights in the layout of lookups: a block of N rows is unpacked, for a chunk of
// columns, to offsets (codes-inl.h) in quads, and multiplied with tiles of tokens, whose accumulators stay in
// registers.
//
// A quad is four columns of one row in a 32-bit lane, against four inputs of a token, broadcast. Unpacking costs about
// as much as multiplying with four tokens.
#if defined(BITNET_BACKEND_SIMD_DOT_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_DOT_BLOCK_INL_H_
#undef BITNET_BACKEND_SIMD_DOT_BLOCK_INL_H_
#else
#define BITNET_BACKEND_SIMD_DOT_BLOCK_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "bitnet/backend/simd/codes-inl.h"
#include "bitnet/backend/simd/dot_columns-inl.h"
#include "bitnet/backend/simd/dot_lookup-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

template <LevelFormat W, LookupPlan kPlan>
class BlockDot {
  using Layout = LookupLayout<W, kPlan>;
  using Packing = typename Layout::Packing;
  using Tables = LookupTables<W, kPlan>;
  static constexpr int kMaxOffset = OffsetTraits<W>::kMaxOffset;
  static_assert(kMaxOffset <= 127, "an entry of a table bounds the levels");

 public:
  // Offsets in memory, one a byte.
  using Codes = ByteCodes<8, kMaxOffset, Unlisted>;
  static constexpr size_t kTokenTile = kManyRegisters ? 4 : 2;
  // Tokens that one unpacking serves; their sums, and a chunk, fit the first-level cache.
  static constexpr size_t kTokens = 64;

  // dots[t * N + i] = dot of offsets of row i of the block with x[t], t < tokens <= kTokens. Reads inputs up to the
  // last unit's end and a multiple of four, whatever they are: offsets are 0 there.
  static HWY_NOINLINE void Run(const uint8_t* HWY_RESTRICT block, size_t units, const int8_t* const* x, size_t tokens,
                               int32_t* HWY_RESTRICT dots) {
    HWY_ALIGN uint8_t columns[kChunkCols * kVectorBytes];
    HWY_ALIGN uint8_t quads[kChunkCols * kVectorBytes];
    HWY_ALIGN int32_t sums[(kTokens + 1) * kVectorBytes];  // the last is a spare
    std::fill(sums, sums + tokens * kVectorBytes, 0);
    for (size_t unit = 0; unit < units; unit += kChunkUnits) {
      const size_t count = std::min(kChunkUnits, units - unit);
      const size_t cols = count * Layout::kUnitCols;
      for (size_t u = 0; u < count; ++u) {
        Unpack(block + (unit + u) * Layout::kUnitBytes, columns + u * Layout::kUnitCols * kVectorBytes);
      }
      std::fill(columns + cols * kVectorBytes, columns + RoundUp(cols, 4) * kVectorBytes, uint8_t{0});
      for (size_t c = 0; c < cols; c += 4) Interleave(columns + c * kVectorBytes, quads + c * kVectorBytes);
      for (size_t t = 0; t < tokens; t += kTokenTile) {
        // A tile that is not full does its last token's work again, into the spare.
        const int8_t* inputs[kTokenTile];
        int32_t* tile[kTokenTile];
        for (size_t k = 0; k < kTokenTile; ++k) {
          inputs[k] = x[std::min(t + k, tokens - 1)] + unit * Layout::kUnitCols;
          tile[k] = sums + (t + k < tokens ? t + k : kTokens) * kVectorBytes;
        }
        AddTile(quads, RoundUp(cols, 4), inputs, tile);
      }
    }
    for (size_t t = 0; t < tokens; ++t) OrderSums<Codes>(sums + t * kVectorBytes, dots + t * kVectorBytes);
  }

 private:
  // About 240 columns: with 64-byte vectors, and as quads, 15 KiB.
  static constexpr size_t kChunkUnits = std::max<size_t>(1, 240 / Layout::kUnitCols / 4) * 4;
  static constexpr size_t kChunkCols = RoundUp(kChunkUnits * Layout::kUnitCols, 4);

  // kOffsets[i][entry]: of weight i of the group with this index, its offset; where a sign may follow, its distance
  // from the middle, doubled, which the sign turns around.
  alignas(64) static constexpr auto kOffsets = [] {
    std::array<std::array<uint8_t, Tables::kTableBytes>, kPlan.group> offsets{};
    size_t combinations = 1;
    for (size_t i = 0; i < kPlan.group; ++i, combinations *= FormatTraits<W>::kCount) {
      for (size_t entry = 0; entry < kPlan.entries; ++entry) {
        const int offset = OffsetTraits<W>::Offset(entry / combinations % FormatTraits<W>::kCount);
        offsets[i][entry] = static_cast<uint8_t>(kPlan.mirrored ? 2 * offset - kMaxOffset : offset);
      }
    }
    return offsets;
  }();

  // The offsets of a unit, column by column.
  static HWY_INLINE void Unpack(const uint8_t* HWY_RESTRICT unit, uint8_t* HWY_RESTRICT columns) {
    [&]<size_t... kGroup>(std::index_sequence<kGroup...>) HWY_ATTR {
      (UnpackGroup<kGroup>(unit, columns + kGroup * kPlan.group * kVectorBytes), ...);
    }
    (std::make_index_sequence<Packing::kUnitGroups>());
  }
  template <size_t kGroup>
  static HWY_INLINE void UnpackGroup(const uint8_t* HWY_RESTRICT unit, uint8_t* HWY_RESTRICT columns) {
    const DU8 d;
    const auto index = Packing::template Index<kGroup>(unit);
    HWY_UNROLL(8) for (size_t i = 0; i < kPlan.group; ++i) {
      const auto found = ByteTable<Tables::kTableBytes>::Load(kOffsets[i].data()).Lookup(index);
      auto offset = hn::BitCast(d, Packing::template Signed<kGroup>(unit, found));
      if constexpr (kPlan.mirrored) {
        const auto doubled = hn::Add(offset, hn::Set(d, static_cast<uint8_t>(kMaxOffset)));
        offset = hn::AverageRound(doubled, hn::Zero(d));
      }
      hn::StoreU(offset, d, columns + i * kVectorBytes);
    }
  }

  // Four columns to four vectors of quads, in the order of OrderSums.
  static HWY_INLINE void Interleave(const uint8_t* HWY_RESTRICT columns, uint8_t* HWY_RESTRICT quads) {
    const DU8 d8;
    const DU16 d16;
    const auto a = hn::LoadU(d8, columns);
    const auto b = hn::LoadU(d8, columns + kVectorBytes);
    const auto c = hn::LoadU(d8, columns + 2 * kVectorBytes);
    const auto d = hn::LoadU(d8, columns + 3 * kVectorBytes);
    const auto ab0 = hn::BitCast(d16, hn::InterleaveLower(d8, a, b));
    const auto ab1 = hn::BitCast(d16, hn::InterleaveUpper(d8, a, b));
    const auto cd0 = hn::BitCast(d16, hn::InterleaveLower(d8, c, d));
    const auto cd1 = hn::BitCast(d16, hn::InterleaveUpper(d8, c, d));
    hn::StoreU(hn::BitCast(d8, hn::InterleaveLower(d16, ab0, cd0)), d8, quads);
    hn::StoreU(hn::BitCast(d8, hn::InterleaveUpper(d16, ab0, cd0)), d8, quads + kVectorBytes);
    hn::StoreU(hn::BitCast(d8, hn::InterleaveLower(d16, ab1, cd1)), d8, quads + 2 * kVectorBytes);
    hn::StoreU(hn::BitCast(d8, hn::InterleaveUpper(d16, ab1, cd1)), d8, quads + 3 * kVectorBytes);
  }

  // sums[t] += dots of the quads of `cols` columns with x[t].
  static HWY_NOINLINE void AddTile(const uint8_t* HWY_RESTRICT quads, size_t cols, const int8_t* const* x,
                                   int32_t* const* sums) {
    using Sum = DotSum<Codes, int8_t>;
    const DI32 d32;
    constexpr size_t kLanes = hn::Lanes(DI32());
    Sum sum[kTokenTile][4];
    const int8_t* HWY_RESTRICT input[kTokenTile];
    HWY_UNROLL(4) for (size_t t = 0; t < kTokenTile; ++t) {
      input[t] = x[t];
      HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) sum[t][j] = {hn::LoadU(d32, sums[t] + j * kLanes), hn::Zero(DI16())};
    }
    const auto step = [&](size_t c) HWY_ATTR {
      hn::Vec<DU8> quad[4];
      HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) quad[j] = hn::LoadU(DU8(), quads + (c + j) * kVectorBytes);
      HWY_UNROLL(4) for (size_t t = 0; t < kTokenTile; ++t) {
        int32_t four;
        std::memcpy(&four, input[t] + c, sizeof(four));
        const auto inputs = hn::BitCast(DI8(), hn::Set(d32, four));
        HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) sum[t][j].Add(quad[j], inputs);
      }
    };
    if constexpr (Sum::kMethod != DotMethod::kPairs) {
      for (size_t c = 0; c < cols; c += 4) {
        step(c);
        HWY_UNROLL(4) for (size_t t = 0; t < kTokenTile; ++t) {
          HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) sum[t][j].sum = KeepInRegister(sum[t][j].sum);
        }
      }
    } else {
      constexpr size_t kSteps = HWY_MIN(Sum::kAddsToFlush, 8);
      for (size_t c = 0; c < cols;) {
        const size_t end = std::min(cols, c + 4 * kSteps);
        for (; c < end; c += 4) step(c);
        HWY_UNROLL(4) for (size_t t = 0; t < kTokenTile; ++t) {
          HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) sum[t][j].Flush();
        }
      }
    }
    HWY_UNROLL(4) for (size_t t = 0; t < kTokenTile; ++t) {
      HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) hn::StoreU(sum[t][j].sum, d32, sums[t] + j * kLanes);
    }
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_DOT_BLOCK_INL_H_
