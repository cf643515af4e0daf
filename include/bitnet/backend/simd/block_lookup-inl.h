// Integer products of many tokens by lookups, for CPUs that shuffle bytes of a 64-byte vector and sum up quads of them
// (AVX-512 VBMI and VNNI).
//
// One vector holds four tables of 16 entries, one token's partial sums for four groups of columns side by side (a unit;
// with ternary weights 12 columns). The four indices of a row are the bytes of a 32-bit lane, so one shuffle looks up
// 16 rows, and one instruction of the dot product adds the four partial sums up, with the groups' signs as its other
// operand: two instructions for 192 multiply-adds where a dot product alone does 64.
//
// Entries are partial sums + 128, for the dot product wants them unsigned; sums start at minus what that adds up to.
#if defined(BITNET_BACKEND_SIMD_BLOCK_LOOKUP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_BLOCK_LOOKUP_INL_H_
#undef BITNET_BACKEND_SIMD_BLOCK_LOOKUP_INL_H_
#else
#define BITNET_BACKEND_SIMD_BLOCK_LOOKUP_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>

#include "bitnet/backend/simd/dot_block-inl.h"
#include "bitnet/backend/simd/dot_lookup-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// Entries of a table; kPlan is for so many.
inline constexpr size_t kBlockTableEntries = 16;

template <LevelFormat W, LookupPlan kPlan>
class BlockLookup {
  static constexpr size_t kUnitGroups = 4;
  static constexpr size_t kUnitCols = kUnitGroups * kPlan.group;
  static constexpr size_t kLanes = HWY_LANES(int32_t);  // rows of a vector
  static constexpr size_t kRowVectors = 4;              // of a block of N rows
  // Of a block and a unit: [vector of rows][indices, signs].
  static constexpr size_t kUnitBytes = kRowVectors * 2 * kVectorBytes;

 public:
  // Shuffle and addition look up four groups where two dot products multiply eight columns.
  static constexpr bool kPays =
      kHasByteTables128 && kPlan.method == ProductMethod::kLookup && kPlan.planes == 1 && kPlan.group >= 3;
  // From so many tokens on, making indices of the weights costs less than what they save. (Sapphire Rapids, 6912 x
  // 2560, one thread, time over that of BlockDot: 32 tokens 1.2 - 1.4, 64 tokens 0.7 - 0.9, 128 and 256 tokens 0.7 -
  // 0.85.)
  static constexpr size_t kMinTokens = 48;

  // ---- Tables: [unit][group][entry].

  using Tables = TablesOfGroups<W, kPlan, kBlockTableEntries, 128>;
  static constexpr size_t Units(size_t cols) { return (cols + kUnitCols - 1) / kUnitCols; }
  static constexpr size_t TableBytes(size_t cols) { return Units(cols) * kVectorBytes; }  // of a token
  static constexpr size_t TableBytes(size_t tokens, size_t cols) {                        // of all
    return SizeProduct(kVectorBytes, Units(cols), tokens);
  }
  template <class Input>
  static void BuildTables(const Input* x, size_t cols, uint8_t* tables) {
    Tables::Build(x, cols, Units(cols) * kUnitGroups, tables);
  }
  static const void* Key() {
    static constexpr char kKey = 0;
    return &kKey;
  }

  // ---- Products.

  // Blocks of rows whose indices are kept for all tokens, and tokens whose tables are read for all of these blocks.
  // With 2560 columns each takes 0.9 MiB; what the second-level cache does not hold is 2 bytes a cycle from the third.
  static constexpr size_t kMostBlocks = 8;
  static constexpr size_t kMostTokens = 64;

  // Memory of one thread.
  class Scratch {
   public:
    Scratch(std::byte* memory, size_t blocks, size_t cols)
        : starts_(reinterpret_cast<int32_t*>(memory)),
          sums_(starts_ + Kept(blocks) * kVectorBytes),
          codes_(reinterpret_cast<uint8_t*>(sums_ + kPairBlocks * kSumsOfBlock)),
          quads_(codes_ + Kept(blocks) * Units(cols) * kUnitBytes) {}

    template <class Quads>
    static size_t Bytes(size_t blocks, size_t cols) {
      return SizeSum((Kept(blocks) * kVectorBytes + kPairBlocks * kSumsOfBlock) * sizeof(int32_t),
                     SizeProduct(kUnitBytes, Kept(blocks), Units(cols)), kWindow<Quads> * kVectorBytes);
    }

   private:
    friend class BlockLookup;
    static size_t Kept(size_t blocks) { return std::min(kMostBlocks, blocks); }
    int32_t* starts_;  // [block][row]
    int32_t* sums_;    // [block of a pair][token][row]
    uint8_t* codes_;   // [block][unit][kUnitBytes]
    uint8_t* quads_;
  };

  // The indices and signs of block `block` of the source, to number i of the scratch.
  template <class Quads>
  static HWY_NOINLINE void Unpack(const Quads& source, size_t block, size_t cols, size_t i, const Scratch& scratch) {
    const DI32 d32;
    const size_t units = Units(cols);
    uint8_t* HWY_RESTRICT codes = scratch.codes_ + i * units * kUnitBytes;
    uint8_t* HWY_RESTRICT quads = scratch.quads_;
    hn::Vec<DI32> starts[kRowVectors];
    HWY_UNROLL(4) for (size_t v = 0; v < kRowVectors; ++v) starts[v] = hn::Zero(d32);
    static_assert(Quads::kChunkCols % kAmxCols == 0, "Fill's zeros end with the chunk");
    constexpr size_t kWindowUnits = kWindow<Quads> / kUnitCols;
    for (size_t unit = 0; unit < units; unit += kWindowUnits) {
      const size_t first = unit * kUnitCols;
      const size_t window_units = std::min(kWindowUnits, units - unit);
      const size_t window_cols = std::min(window_units * kUnitCols, source.cols() - first);
      for (size_t col = 0; col < window_cols; col += Quads::kChunkCols) {
        const size_t n = std::min(Quads::kChunkCols, source.cols() - first - col);
        source.Fill(block, first + col, n, quads + col * kVectorBytes);
      }
      const size_t filled = RoundUp(window_cols, 4);
      if (filled < window_units * kUnitCols) {
        std::fill(quads + filled * kVectorBytes, quads + window_units * kUnitCols * kVectorBytes, uint8_t{0});
      }
      for (size_t u = 0; u < window_units; ++u) {
        HWY_UNROLL(4) for (size_t v = 0; v < kRowVectors; ++v) {
          const auto indices = IndicesOf(quads + (u * kUnitCols + v) * kVectorBytes);
          StoreCodes(indices, codes + v * 2 * kVectorBytes, starts[v]);
        }
        codes += kUnitBytes;
      }
    }
    HWY_UNROLL(4) for (size_t v = 0; v < kRowVectors; ++v) {
      hn::StoreU(hn::Neg(starts[v]), d32, scratch.starts_ + i * kVectorBytes + v * kLanes);
    }
  }

  // For blocks [0, blocks) of the scratch: store(block, sums), where sums[t * N + i] is the dot of row i (in the order
  // of the quads) with token first + t, t < tokens <= kMostTokens. tables: of all tokens.
  template <class F>
  static void Run(size_t blocks, size_t cols, const uint8_t* tables, size_t first, size_t tokens,
                  const Scratch& scratch, F&& store) {
    const size_t units = Units(cols);
    for (size_t pair = 0; pair < blocks; pair += kPairBlocks) {
      const size_t count = std::min(kPairBlocks, blocks - pair);
      for (size_t b = 0; b < count; ++b) {
        for (size_t t = 0; t < tokens; ++t) {
          std::copy_n(scratch.starts_ + (pair + b) * kVectorBytes, kVectorBytes,
                      scratch.sums_ + b * kSumsOfBlock + t * kVectorBytes);
        }
      }
      for (size_t unit = 0; unit < units; unit += kChunkUnits) {
        const size_t chunk = std::min(kChunkUnits, units - unit);
        for (size_t t = 0; t < tokens; t += kTokenTile) {
          // A tile that is not full does its last token's work again, into the spare.
          const uint8_t* tile_tables[kTokenTile];
          for (size_t k = 0; k < kTokenTile; ++k) {
            tile_tables[k] = tables + (first + std::min(t + k, tokens - 1)) * TableBytes(cols) + unit * kVectorBytes;
          }
          for (size_t b = 0; b < count; ++b) {
            const uint8_t* codes = scratch.codes_ + ((pair + b) * units + unit) * kUnitBytes;
            for (size_t v = 0; v < kRowVectors; v += kTileVectors) {
              int32_t* tile_sums[kTokenTile];
              for (size_t k = 0; k < kTokenTile; ++k) {
                tile_sums[k] = scratch.sums_ + b * kSumsOfBlock + std::min(t + k, tokens) * kVectorBytes + v * kLanes;
              }
              AddTile(codes + v * 2 * kVectorBytes, chunk, tile_tables, tile_sums);
            }
          }
        }
      }
      for (size_t b = 0; b < count; ++b) store(pair + b, scratch.sums_ + b * kSumsOfBlock);
    }
  }

 private:
  // A tile's sums are in registers. Two blocks share what of the tables comes from the second-level cache, and a chunk
  // of their indices stays in the first.
  static constexpr size_t kTokenTile = 8;
  static constexpr size_t kTileVectors = 2;
  static constexpr size_t kPairBlocks = 2;
  static constexpr size_t kChunkUnits = 32;
  static constexpr size_t kSumsOfBlock = (kMostTokens + 1) * kVectorBytes;
  // Columns whose quads are made at once: whole chunks of the source, which Fill does not exceed, and whole units.
  template <class Quads>
  static constexpr size_t kWindow = std::lcm(Quads::kChunkCols, kUnitCols);

  // kPowers[group][quad]: what each column of the quad counts in the index of the group.
  static constexpr auto kPowers = [] {
    std::array<std::array<std::array<int8_t, 4>, kPlan.group>, kUnitGroups> powers{};
    for (size_t group = 0; group < kUnitGroups; ++group) {
      int power = 1;
      for (size_t i = 0; i < kPlan.group; ++i, power *= static_cast<int>(FormatTraits<W>::kCount)) {
        const size_t col = group * kPlan.group + i;
        powers[group][col / 4][col % 4] = static_cast<int8_t>(power);
      }
    }
    return powers;
  }();

  // Indices, as codes make them, of the four groups of 16 rows, whose quads are four vectors apart.
  static HWY_INLINE hn::Vec<DU8> IndicesOf(const uint8_t* HWY_RESTRICT quads) {
    static_assert(FormatTraits<W>::kIsUniform, "an index is made of codes; quads have offsets");
    const DI32 d32;
    auto all = hn::Zero(d32);
    for (size_t group = 0; group < kUnitGroups; ++group) {
      auto index = hn::Zero(d32);
      for (size_t q = 0; q < kPlan.group; ++q) {
        int32_t powers;
        std::memcpy(&powers, kPowers[group][q].data(), sizeof(powers));
        if (powers == 0) continue;
        const auto offsets = hn::LoadU(DU8(), quads + q * 4 * kVectorBytes);
        index = hn::SumOfMulQuadAccumulate(d32, offsets, hn::BitCast(DI8(), hn::Set(d32, powers)), index);
      }
      all = hn::Or(all, hn::ShiftLeftSame(index, static_cast<int>(8 * group)));
    }
    return hn::BitCast(DU8(), all);
  }

  // Stores indices into the tables of a unit, and signs; start += what 128 an entry adds up to.
  static HWY_INLINE void StoreCodes(hn::Vec<DU8> indices, uint8_t* HWY_RESTRICT to, hn::Vec<DI32>& start) {
    const DU8 d;
    const DI8 di;
    auto signs = hn::Set(di, int8_t{1});
    if constexpr (kPlan.mirrored) {
      constexpr size_t kLast = [] {
        size_t combinations = 1;
        for (size_t i = 0; i < kPlan.group; ++i) combinations *= FormatTraits<W>::kCount;
        return combinations - 1;
      }();
      const auto mirror = hn::Sub(hn::Set(d, uint8_t{kLast}), indices);
      const auto is_mirrored = hn::Lt(mirror, indices);
      indices = hn::Min(indices, mirror);
      signs = hn::IfThenElse(hn::RebindMask(di, is_mirrored), hn::Set(di, int8_t{-1}), signs);
    }
    const auto table = hn::BitCast(d, hn::Set(DU32(), 0x30201000u));
    hn::StoreU(hn::Or(indices, table), d, to);
    hn::StoreU(signs, di, reinterpret_cast<int8_t*>(to) + kVectorBytes);
    start = hn::SumOfMulQuadAccumulate(DI32(), hn::Set(d, uint8_t{128}), signs, start);
  }

  // sums[t] += the lookups of `units` units in tables[t], for kTileVectors vectors of rows.
  static HWY_NOINLINE void AddTile(const uint8_t* HWY_RESTRICT codes, size_t units, const uint8_t* const* tables,
                                   int32_t* const* sums) {
    const DI8 d;
    const DI32 d32;
    hn::Vec<DI32> sum[kTokenTile][kTileVectors];
    const int8_t* HWY_RESTRICT table[kTokenTile];
    HWY_UNROLL(8) for (size_t t = 0; t < kTokenTile; ++t) {
      table[t] = reinterpret_cast<const int8_t*>(tables[t]);
      HWY_UNROLL(2) for (size_t v = 0; v < kTileVectors; ++v) sum[t][v] = hn::LoadU(d32, sums[t] + v * kLanes);
    }
    for (size_t unit = 0; unit < units; ++unit) {
      hn::Vec<DU8> index[kTileVectors];
      hn::Vec<DI8> sign[kTileVectors];
      HWY_UNROLL(2) for (size_t v = 0; v < kTileVectors; ++v) {
        index[v] = hn::LoadU(DU8(), codes + v * 2 * kVectorBytes);
        sign[v] = hn::LoadU(d, reinterpret_cast<const int8_t*>(codes) + (v * 2 + 1) * kVectorBytes);
      }
      HWY_UNROLL(8) for (size_t t = 0; t < kTokenTile; ++t) {
        const auto entries = hn::LoadU(d, table[t] + unit * kVectorBytes);
        HWY_UNROLL(2) for (size_t v = 0; v < kTileVectors; ++v) {
          const auto partial = hn::TableLookupLanes(entries, hn::IndicesFromVec(d, hn::BitCast(d, index[v])));
          sum[t][v] = hn::SumOfMulQuadAccumulate(d32, hn::BitCast(DU8(), partial), sign[v], sum[t][v]);
        }
      }
      HWY_UNROLL(8) for (size_t t = 0; t < kTokenTile; ++t) {
        HWY_UNROLL(2) for (size_t v = 0; v < kTileVectors; ++v) sum[t][v] = KeepInRegister(sum[t][v]);
      }
      codes += kUnitBytes;
    }
    HWY_UNROLL(8) for (size_t t = 0; t < kTokenTile; ++t) {
      HWY_UNROLL(2) for (size_t v = 0; v < kTileVectors; ++v) hn::StoreU(sum[t][v], d32, sums[t] + v * kLanes);
    }
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_BLOCK_LOOKUP_INL_H_
