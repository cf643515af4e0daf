// Integer products of many tokens: a block of N rows is unpacked, for a chunk of columns, to offsets (codes-inl.h) in
// quads, and multiplied with tiles of tokens, whose accumulators stay in registers.
//
// A quad is four columns of one row in a 32-bit lane, against four inputs of a token. Quads are made of each layout of
// weights (LookupQuads, ColumnQuads, RowQuads), and multiplied by Intel's matrix unit where there is one, else by the
// dot product of vectors (BlockDot), or looked up (block_lookup-inl.h). Unpacking costs as much as multiplying with
// four tokens, or 60 with the unit.
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
#include <numeric>
#include <utility>

#include "bitnet/backend/simd/amx.h"
#include "bitnet/backend/simd/codes-inl.h"
#include "bitnet/backend/simd/dot_columns-inl.h"
#include "bitnet/backend/simd/dot_lookup-inl.h"
#include "bitnet/backend/simd/dot_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// Whether the matrix unit multiplies: its blocks have 64 rows.
HWY_INLINE bool HasMatrixUnit() { return kVectorBytes == 64 && bitnet::detail::HasAmx(); }
using bitnet::detail::kAmxCols;
using bitnet::detail::kAmxTokens;

// ---- Quads of each layout. A chunk is kChunkCols columns: its quads fit the first-level cache beside some inputs.
// Fill writes the quads of columns [first, first + cols) of a block, in order, and zeros up to a multiple of kAmxCols.
// Rows are in the order of OrderSums, or, if kIsOrdered, in their own.

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

template <LevelFormat W, LookupPlan kPlan>
class LookupQuads {
  using Layout = LookupLayout<W, kPlan>;
  using Packing = typename Layout::Packing;
  using Tables = LookupTables<W, kPlan>;
  static constexpr int kMaxOffset = OffsetTraits<W>::kMaxOffset;
  static_assert(kMaxOffset <= 127, "an entry of a table bounds the levels");
  // Units that are whole quads.
  static constexpr size_t kQuadUnits = 4 / std::gcd(size_t{4}, Layout::kUnitCols);
  static constexpr size_t kQuadCols = kQuadUnits * Layout::kUnitCols;
  static constexpr size_t kAmxUnits = kAmxCols / std::gcd(kAmxCols, Layout::kUnitCols);

 public:
  static constexpr bool kIsOrdered = false;
  static constexpr size_t kChunkCols =
      std::max<size_t>(1, 256 / (kAmxUnits * Layout::kUnitCols)) * kAmxUnits * Layout::kUnitCols;

  explicit LookupQuads(const PackedWeights<W, kPlan>& matrix) : matrix_(matrix) {}
  size_t cols() const { return Layout::Units(matrix_.cols()) * Layout::kUnitCols; }
  size_t blocks() const { return RowBlocks{matrix_.rows()}.Count(); }
  RowRange Rows(size_t block) const { return RowBlocks{matrix_.rows()}.Rows(block); }

  HWY_NOINLINE void Fill(size_t block, size_t first, size_t cols, uint8_t* HWY_RESTRICT quads) const {
    HWY_ALIGN uint8_t columns[kQuadCols * kVectorBytes];
    const uint8_t* HWY_RESTRICT from = matrix_.LookupBlock(block) + first / Layout::kUnitCols * Layout::kUnitBytes;
    const size_t units = cols / Layout::kUnitCols;
    for (size_t unit = 0; unit < units; unit += kQuadUnits) {
      const size_t count = std::min(kQuadUnits, units - unit);
      HWY_UNROLL(4) for (size_t u = 0; u < count; ++u) {
        Unpack(from + (unit + u) * Layout::kUnitBytes, columns + u * Layout::kUnitCols * kVectorBytes);
      }
      std::fill(columns + count * Layout::kUnitCols * kVectorBytes, std::end(columns), uint8_t{0});
      for (size_t c = 0; c < kQuadCols; c += 4) {
        const uint8_t* HWY_RESTRICT four = columns + c * kVectorBytes;
        StoreQuads(hn::LoadU(DU8(), four), hn::LoadU(DU8(), four + kVectorBytes),
                   hn::LoadU(DU8(), four + 2 * kVectorBytes), hn::LoadU(DU8(), four + 3 * kVectorBytes),
                   quads + (unit * Layout::kUnitCols + c) * kVectorBytes);
      }
    }
    // (Whole quads may end beyond the multiple of kAmxCols that follows the columns.)
    const size_t filled = RoundUp(units, kQuadUnits) * Layout::kUnitCols;
    const size_t end = std::max(filled, RoundUp(cols, kAmxCols));
    std::fill(quads + filled * kVectorBytes, quads + end * kVectorBytes, uint8_t{0});
  }

 private:
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

  const PackedWeights<W, kPlan>& matrix_;
};

// A block is one plane of a tile of rows.
template <LevelFormat W, LookupPlan kPlan>
class ColumnQuads {
  using Codes = typename PackedWeights<W, kPlan>::Codes;

 public:
  static constexpr bool kIsOrdered = false;
  static constexpr size_t kChunkCols = 256;

  explicit ColumnQuads(const PackedWeights<W, kPlan>& matrix) : matrix_(matrix) {}
  size_t cols() const { return matrix_.cols(); }
  size_t blocks() const { return matrix_.tiles() * Codes::kPlanes; }
  RowRange Rows(size_t block) const {
    const size_t tile = block / Codes::kPlanes;
    const size_t plane_codes = tile < matrix_.run().whole_blocks ? kVectorBytes : matrix_.run().tail_bytes;
    const size_t begin = std::min(matrix_.rows(), tile * Codes::kBlockCodes + block % Codes::kPlanes * plane_codes);
    return {begin, std::min(plane_codes, matrix_.rows() - begin)};
  }

  HWY_NOINLINE void Fill(size_t block, size_t first, size_t cols, uint8_t* HWY_RESTRICT quads) const {
    const size_t stride = matrix_.run().Bytes();
    const uint8_t* HWY_RESTRICT from = matrix_.Column(first) + block / Codes::kPlanes * Codes::kBlockBytes;
    const int shift = static_cast<int>(block % Codes::kPlanes * Codes::kBits);
    const auto offsets = [&](size_t c) HWY_ATTR {
      if (c >= cols) return hn::Zero(DU8());
      const auto packed = hn::BitCast(DU16(), hn::LoadU(DU8(), from + c * stride));
      return Codes::OffsetsOf(Codes::LowCodes(hn::BitCast(DU8(), hn::ShiftRightSame(packed, shift))));
    };
    for (size_t c = 0; c < RoundUp(cols, kAmxCols); c += 4) {
      StoreQuads(offsets(c), offsets(c + 1), offsets(c + 2), offsets(c + 3), quads + c * kVectorBytes);
    }
  }

 private:
  const PackedWeights<W, kPlan>& matrix_;
};

// For vectors of 64 bytes.
template <LevelFormat W, LookupPlan kPlan>
class RowQuads {
  using Codes = typename PackedWeights<W, kPlan>::Codes;

 public:
  static constexpr bool kIsOrdered = true;
  static constexpr size_t kChunkCols = HWY_MAX(256, Codes::kBlockCodes);

  explicit RowQuads(const PackedWeights<W, kPlan>& matrix) : matrix_(matrix) {}
  size_t cols() const { return matrix_.cols(); }
  size_t blocks() const { return RowBlocks{matrix_.rows()}.Count(); }
  RowRange Rows(size_t block) const { return RowBlocks{matrix_.rows()}.Rows(block); }

  HWY_NOINLINE void Fill(size_t block, size_t first, size_t cols, uint8_t* HWY_RESTRICT quads) const {
    // Sixteen rows at a time; past the last row, that row again.
    HWY_ALIGN uint8_t rows[16 * (kChunkCols + kVectorBytes)];
    constexpr size_t kStride = kChunkCols + kVectorBytes;
    const size_t whole = RoundUp(cols, kAmxCols);
    for (size_t group = 0; group < 4; ++group) {
      for (size_t r = 0; r < 16; ++r) {
        const size_t row = std::min(block * kVectorBytes + group * 16 + r, matrix_.rows() - 1);
        UnpackOffsets<Codes>(matrix_.Row(row), matrix_.run(), first, cols, rows + r * kStride);
        std::fill(rows + r * kStride + cols, rows + r * kStride + whole, uint8_t{0});
      }
      for (size_t c = 0; c < whole; c += 16) {
        // Transposes 16 x 4 lanes of 32 bits: rows 4b + m of a block b of 16 bytes.
        const auto load = [&](size_t m) HWY_ATTR {
          const hn::Half<DU8> d32;
          const hn::Half<decltype(d32)> d16;
          const uint8_t* HWY_RESTRICT at = rows + m * kStride + c;
          const auto low = hn::Combine(d32, hn::LoadU(d16, at + 4 * kStride), hn::LoadU(d16, at));
          const auto high = hn::Combine(d32, hn::LoadU(d16, at + 12 * kStride), hn::LoadU(d16, at + 8 * kStride));
          return hn::BitCast(DU32(), hn::Combine(DU8(), high, low));
        };
        const DU32 d32;
        const hn::Repartition<uint64_t, DU32> d64;
        const auto a = load(0), b = load(1), e = load(2), f = load(3);
        const auto ab0 = hn::BitCast(d64, hn::InterleaveLower(d32, a, b));
        const auto ab1 = hn::BitCast(d64, hn::InterleaveUpper(d32, a, b));
        const auto ef0 = hn::BitCast(d64, hn::InterleaveLower(d32, e, f));
        const auto ef1 = hn::BitCast(d64, hn::InterleaveUpper(d32, e, f));
        uint8_t* HWY_RESTRICT to = quads + c * kVectorBytes + group * kVectorBytes;
        hn::StoreU(hn::BitCast(DU8(), hn::InterleaveLower(d64, ab0, ef0)), DU8(), to);
        hn::StoreU(hn::BitCast(DU8(), hn::InterleaveUpper(d64, ab0, ef0)), DU8(), to + 4 * kVectorBytes);
        hn::StoreU(hn::BitCast(DU8(), hn::InterleaveLower(d64, ab1, ef1)), DU8(), to + 8 * kVectorBytes);
        hn::StoreU(hn::BitCast(DU8(), hn::InterleaveUpper(d64, ab1, ef1)), DU8(), to + 12 * kVectorBytes);
      }
    }
  }

 private:
  const PackedWeights<W, kPlan>& matrix_;
};

// ---- Products of quads.

// Tokens that one unpacking serves: their sums, and a chunk, fit the first-level cache, or, where multiplying costs
// little, the second.
inline constexpr size_t kMostBlockTokens = kVectorBytes == 64 ? 256 : 64;
HWY_INLINE size_t MaxBlockTokens() { return HasMatrixUnit() ? kMostBlockTokens : 64; }

template <LevelFormat W>
class BlockDot {
  static constexpr size_t kTokenTile = kManyRegisters ? 4 : 2;

 public:
  // Offsets in memory, one a byte.
  using Codes = ByteCodes<8, OffsetTraits<W>::kMaxOffset, Unlisted>;
  // sums[t * N + i] = dot of offsets of row i of the block with token first + t of x, for t < tokens; rows of a vector
  // are in the order of OrderSums. `sums` has room for one token more. Inputs are read beyond the last column, whatever
  // they are.
  template <class Quads>
  static HWY_NOINLINE void Run(const Quads& source, size_t block, const InputRows<int8_t>& x, size_t first,
                               size_t tokens, int32_t* HWY_RESTRICT sums) {
    HWY_ALIGN uint8_t quads[Quads::kChunkCols * kVectorBytes];
    std::fill(sums, sums + tokens * kVectorBytes, 0);
    const auto each_chunk = [&](auto&& multiply) HWY_ATTR {
      for (size_t col = 0; col < source.cols(); col += Quads::kChunkCols) {
        const size_t cols = std::min(Quads::kChunkCols, source.cols() - col);
        source.Fill(block, col, cols, quads);
        multiply(cols, x.Row(first) + col);
      }
    };
    if (HasMatrixUnit()) {
      bitnet::detail::AmxTiles tiles;
      each_chunk([&](size_t cols, const int8_t* inputs) {
        for (size_t t = 0; t < tokens; t += kAmxTokens) {
          tiles.Add(quads, RoundUp(cols, kAmxCols), inputs + t * x.stride, x.stride, std::min(kAmxTokens, tokens - t),
                    sums + t * kVectorBytes);
        }
      });
      return;
    }
    each_chunk([&](size_t cols, const int8_t* inputs) HWY_ATTR {
      for (size_t t = 0; t < tokens; t += kTokenTile) {
        // A tile that is not full does its last token's work again, into the spare.
        const int8_t* tile_inputs[kTokenTile];
        int32_t* tile_sums[kTokenTile];
        for (size_t k = 0; k < kTokenTile; ++k) {
          tile_inputs[k] = inputs + std::min(t + k, tokens - 1) * x.stride;
          tile_sums[k] = sums + std::min(t + k, tokens) * kVectorBytes;
        }
        AddTile(quads, RoundUp(cols, 4), tile_inputs, tile_sums);
      }
    });
  }

 private:
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
