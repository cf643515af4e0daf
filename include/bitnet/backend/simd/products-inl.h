// Which kernel multiplies what: by the layout of the weights, the kinds of the operands, the segments and the tokens.
#if defined(BITNET_BACKEND_SIMD_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_PRODUCTS_INL_H_
#undef BITNET_BACKEND_SIMD_PRODUCTS_INL_H_
#else
#define BITNET_BACKEND_SIMD_PRODUCTS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bitnet/backend/simd/block_lookup-inl.h"
#include "bitnet/backend/simd/dot_block-inl.h"
#include "bitnet/backend/simd/dot_columns-inl.h"
#include "bitnet/backend/simd/dot_floats-inl.h"
#include "bitnet/backend/simd/dot_lookup-inl.h"
#include "bitnet/backend/simd/dot_rows-inl.h"
#include "bitnet/backend/simd/dot_segments-inl.h"
#include "bitnet/backend/simd/simd_matrix-inl.h"
#include "bitnet/tensor/matrix_view.h"
#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// y = float(double(dot) * double(scale)), as the sum of one term from +0: never -0.
HWY_INLINE float Scaled(int32_t dot, float scale) {
  return static_cast<float>(0.0 + static_cast<double>(dot) * static_cast<double>(scale));
}

// Scaled of n dots; the scale of each is `step`, or steps[i] where there are any, times x_step. `are_small`: the dots
// are below 2^24, so that they are floats, and a float product rounds like the definition's. `past_caches`: y is
// written to memory without fetching its lines first, if it starts on one; FlushStream must follow.
HWY_NOINLINE inline void ScaleDots(const int32_t* HWY_RESTRICT dots, size_t n, const float* steps, float step,
                                   float x_step, bool are_small, bool past_caches, float* HWY_RESTRICT y) {
  const DF32 d;
  size_t i = 0;
  if (are_small) {
    constexpr size_t kLineBytes = 64;  // parts of lines would be slow
    past_caches = past_caches && reinterpret_cast<uintptr_t>(y) % kLineBytes == 0;
    const auto x_steps = hn::Set(d, x_step);
    auto scale = hn::Mul(hn::Set(d, step), x_steps);
    for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
      if (steps != nullptr) scale = hn::Mul(hn::LoadU(d, steps + i), x_steps);
      const auto dot = hn::ConvertTo(d, hn::LoadU(DI32(), dots + i));
      const auto scaled = hn::Add(hn::Mul(dot, scale), hn::Zero(d));
      if (past_caches) {
        hn::Stream(scaled, d, y + i);
      } else {
        hn::StoreU(scaled, d, y + i);
      }
    }
  }
  for (; i < n; ++i) y[i] = Scaled(dots[i], (steps != nullptr ? steps[i] : step) * x_step);
}

namespace detail {
struct NoBlockLookup {
  static constexpr bool kPays = false;
};
// (BlockLookup of Float has no meaning.)
template <Format W, Format X>
struct SelectBlockLookup {
  using type = NoBlockLookup;
};
template <LevelFormat W, LevelFormat X>
struct SelectBlockLookup<W, X> {
  using type = BlockLookup<W, X>;
};
}  // namespace detail

// Products of one matrix with some tokens. Each function does a range of the work; SimdBackend splits it.
template <Format W, Format XFormat>
class Product {
  using X = LevelOf<XFormat>;
  static constexpr LookupPlan kPlan = PlanProduct<W, XFormat>(kTableEntries);
  using Matrix = PackedWeights<W, kPlan>;
  using Codes = typename Matrix::Codes;
  static constexpr bool kIsInteger = Matrix::kIsInteger;

 public:
  Product(const Matrix& matrix, const InputRows<X>& x, MatrixView<float> y)
      : matrix_(matrix),
        x_(x),
        y_(y),
        has_one_segment_(matrix.segments().Count() == 1 && x.segments.Count() == 1 && matrix.cols() != 0) {}

  // Rows [begin, end) of all tokens, the part-th range of rows.
  HWY_NOINLINE void Rows(size_t begin, size_t end, size_t part) const {
    if constexpr (Matrix::kCanBeByLookups) {
      if (matrix_.by_lookups() && has_one_segment_) {
        for (size_t t = 0; t < x_.tokens; ++t) LookupRows(begin, end, t, part);
        return;
      }
    }
    if (x_.tokens == 1) {
      constexpr size_t kAtOnce = 1024;
      for (size_t row = begin; row < end; row += kAtOnce) {
        uint32_t order[kAtOnce];
        OneToken(0, InTurns({nullptr, row, std::min(kAtOnce, end - row)}, order));
      }
      return;
    }
    if (!has_one_segment_) return RowsBySegments(begin, end);
    if constexpr (kIsInteger) {
      IntegerRows(begin, end);
    } else {
      for (size_t t = 0; t < x_.tokens; t += kFloatTokenBlock) {
        FloatRows({nullptr, begin, end - begin}, t, std::min(kFloatTokenBlock, x_.tokens - t));
      }
    }
  }

  // The same in blocks of rows, each unpacked for many tokens: how many blocks there are, or 0 if Rows is to be taken;
  // and blocks [begin, end), with memory of ScratchBytes(end - begin) bytes, and with the tables of all tokens if
  // UsesTables().
  size_t Blocks() const {
    size_t blocks = 0;
    WithQuads([&](const auto& quads) { blocks = quads.blocks(); });
    return blocks;
  }
  using Lookup = typename detail::SelectBlockLookup<W, XFormat>::type;
  static bool UsesTables(size_t tokens) {
    if constexpr (Lookup::kPays) return tokens >= Lookup::kMinTokens && !HasMatrixUnit();
    return false;
  }
  size_t ScratchBytes(size_t most_blocks) const {
    size_t bytes = 0;
    WithQuads([&]<class Quads>(const Quads&) {
      bytes = (std::min(MaxBlockTokens(), x_.tokens) + 1) * kVectorBytes * sizeof(int32_t);
      if constexpr (Lookup::kPays) {
        if (UsesTables(x_.tokens)) bytes = Lookup::Scratch::template Bytes<Quads>(most_blocks, matrix_.cols());
      }
    });
    return bytes;
  }
  void MultiplyBlocks(size_t begin, size_t end, const uint8_t* tables, std::byte* scratch) const {
    WithQuads([&](const auto& quads) {
      if constexpr (Lookup::kPays) {
        if (UsesTables(x_.tokens)) return LookUpQuads(quads, begin, end, tables, scratch);
      }
      MultiplyQuads(quads, begin, end, reinterpret_cast<int32_t*>(scratch));
    });
    hwy::FlushStream();
  }

  // The listed rows of one token.
  HWY_NOINLINE void OneToken(size_t token, const IndexList& rows) const {
    if (!has_one_segment_ || matrix_.by_columns() || matrix_.by_lookups()) {
      for (size_t i = 0; i < rows.count; ++i) {
        DotRowBySegments(matrix_, rows[i], x_, token, 1, y_.Row(token) + rows[i]);
      }
    } else if constexpr (kIsInteger) {
      IntegerRowsOfToken(token, rows);
    } else {
      FloatRows(rows, token, 1);
    }
  }

  bool has_one_segment() const { return has_one_segment_; }

  // Tiles of rows (kBlockCodes each) [begin, end) for one token, over the listed columns, which hold all inputs that
  // are not zero.
  HWY_NOINLINE void Columns(size_t begin, size_t end, size_t token, const IndexList& columns) const {
    if constexpr (Matrix::kCanBeByColumns) {
      for (size_t tile = begin; tile < end; ++tile) {
        if (has_one_segment_) {
          HWY_ALIGN int32_t sums[Codes::kBlockCodes] = {};
          AddColumnsOfTiles(tile, 1, token, columns, sums);
          StoreTile(tile, token, SumOfToken(token), sums);
        } else {
          TileBySegments(tile, token, columns);
        }
      }
    }
  }

  // The same in two steps, for one segment: sums (kBlockCodes of each tile) += some of the columns, for all rows; then
  // y from the sums of `parts` such calls, which lie one after the other.
  HWY_NOINLINE void AddColumnsOfPart(size_t token, const IndexList& columns, int32_t* sums) const {
    if constexpr (Matrix::kCanBeByColumns) {
      for (size_t tile = 0; tile < matrix_.tiles(); tile += kTileGroup) {
        const size_t tiles = std::min(kTileGroup, matrix_.tiles() - tile);
        AddColumnsOfTiles(tile, tiles, token, columns, sums + tile * Codes::kBlockCodes);
      }
    }
  }
  HWY_NOINLINE void StoreParts(size_t token, size_t parts, int32_t* sums) const {
    if constexpr (Matrix::kCanBeByColumns) {
      const size_t count = matrix_.tiles() * Codes::kBlockCodes;
      for (size_t part = 1; part < parts; ++part) AddSums(sums + part * count, count, sums);
      const int32_t sum_of_inputs = SumOfToken(token);
      for (size_t tile = 0; tile < matrix_.tiles(); ++tile) {
        StoreTile(tile, token, sum_of_inputs, sums + tile * Codes::kBlockCodes);
      }
    }
  }

 private:
  static constexpr size_t kFloatTokenBlock = 16;

  // Bytes of results from which on they are written past the caches, where they would push the inputs out and not stay.
  // (6912 x 256: 0.8 ms instead of 1.4 - 1.9, of a product's 8 - 16; the second-level cache has 2 MiB.)
  static constexpr size_t kCachedResults = size_t{1} << 20;

  // From so many tokens on, unpacking the weights for all costs less than tables for each.
  static constexpr size_t kManyTokens = 4;

  // Tiles whose accumulators are in the first-level cache together.
  static constexpr size_t kTileGroup = 16;

  float Scale(size_t row, size_t token) const { return matrix_.Step(row, 0) * x_.Step(token, 0); }

  // y of rows [row, row + n) from their dots of levels (one segment).
  void StoreDots(const int32_t* dots, size_t row, size_t n, size_t token, bool past_caches = false) const {
    constexpr size_t kLargest = size_t{FormatTraits<W>::kMaxMagnitude} << (8 * sizeof(X) - 1);
    const bool are_small = matrix_.cols() <= (size_t{1} << 24) / kLargest;
    const float* steps = matrix_.RowSteps() == nullptr ? nullptr : matrix_.RowSteps() + row;
    ScaleDots(dots, n, steps, matrix_.Step(0, 0), x_.Step(token, 0), are_small, past_caches, y_.Row(token) + row);
  }
  int32_t SumOfToken(size_t token) const {
    return Correction<W>::kBottom == 0 ? 0 : SumOfInputs(x_.Row(token), matrix_.cols());
  }

  void RowsBySegments(size_t begin, size_t end) const {
    for (size_t r = begin; r < end; ++r) {
      for (size_t t = 0; t < x_.tokens; t += kSegmentTokens) {
        const size_t tokens = std::min(kSegmentTokens, x_.tokens - t);
        float y[kSegmentTokens];
        DotRowBySegments(matrix_, r, x_, t, tokens, y);
        for (size_t k = 0; k < tokens; ++k) y_.Row(t + k)[r] = y[k];
      }
    }
  }

  void LookupRows(size_t begin, size_t end, size_t token, size_t part) const {
    if constexpr (Matrix::kCanBeByLookups) {
      using Layout = typename Matrix::Lookups;
      using Dot = LookupDot<W, kPlan>;
      const uint8_t* tables = LookupTablesOf<W, kPlan>(x_, token, matrix_.cols(), part);
      const size_t block_bytes = Layout::BlockBytes(matrix_.cols());
      HWY_ALIGN int32_t dots[Layout::kBlocks * kVectorBytes];
      const size_t end_block = (end + kVectorBytes - 1) / kVectorBytes;
      for (size_t block = begin / kVectorBytes; block < end_block;) {
        const uint8_t* packed = matrix_.LookupBlock(block);
        const size_t left = end_block - block;
        size_t blocks = 1;
        if (left >= Layout::kBlocks) {
          blocks = Layout::kBlocks;
          Dot::template Run<Layout::kBlocks>(packed, block_bytes, left > blocks, tables, dots);
        } else if (left >= Layout::kBlocks / 2) {
          blocks = Layout::kBlocks / 2;
          Dot::template Run<Layout::kBlocks / 2>(packed, block_bytes, left > blocks, tables, dots);
        } else {
          Dot::template Run<1>(packed, block_bytes, left > blocks, tables, dots);
        }
        const size_t row = block * kVectorBytes;
        StoreDots(dots, row, std::min(blocks * kVectorBytes, matrix_.rows() - row), token);
        block += blocks;
      }
    }
  }

  // f(quads of the matrix), if its blocks are what many tokens are multiplied with.
  template <class F>
  void WithQuads(F&& f) const {
    if constexpr (std::is_same_v<X, int8_t> && Matrix::kCanBeByColumns) {
      if (!has_one_segment_ || x_.tokens < kManyTokens) return;
      if constexpr (Matrix::kCanBeByLookups) {
        if (matrix_.by_lookups()) return f(LookupQuads<W, kPlan>(matrix_));
      }
      if (matrix_.by_columns()) return f(ColumnQuads<W, kPlan>(matrix_));
      if constexpr (kVectorBytes == 64) {
        // (The vectors' dot product needs no quads of rows.)
        if (HasMatrixUnit() || UsesTables(x_.tokens)) return f(RowQuads<W, kPlan>(matrix_));
      }
    }
  }

  template <class Quads>
  HWY_NOINLINE void MultiplyQuads(const Quads& quads, size_t begin, size_t end, int32_t* HWY_RESTRICT sums) const {
    const size_t most = std::min(MaxBlockTokens(), x_.tokens);
    for (size_t first = 0; first < x_.tokens; first += most) {
      const size_t tokens = std::min(most, x_.tokens - first);
      int32_t input_sums[kMostBlockTokens];
      for (size_t t = 0; t < tokens; ++t) input_sums[t] = SumOfToken(first + t);
      for (size_t block = begin; block < end; ++block) {
        if (quads.Rows(block).count == 0) continue;
        BlockDot<W>::Run(quads, block, x_, first, tokens, sums);
        StoreBlock(quads, block, first, tokens, sums, [&](size_t t, int32_t* dots) HWY_ATTR {
          for (size_t r = 0; r < kVectorBytes; ++r) dots[r] = Correction<W>::DotOfLevels(dots[r], input_sums[t]);
        });
      }
    }
  }

  template <class Quads>
  HWY_NOINLINE void LookUpQuads(const Quads& quads, size_t begin, size_t end, const uint8_t* tables,
                                std::byte* memory) const {
    const typename Lookup::Scratch scratch(memory, end - begin, matrix_.cols());
    for (size_t block = begin; block < end;) {
      size_t unpacked[Lookup::kMostBlocks];
      size_t blocks = 0;
      for (; block < end && blocks < Lookup::kMostBlocks; ++block) {
        if (quads.Rows(block).count == 0) continue;
        Lookup::Unpack(quads, block, matrix_.cols(), blocks, scratch);
        unpacked[blocks++] = block;
      }
      for (size_t first = 0; first < x_.tokens; first += Lookup::kMostTokens) {
        const size_t tokens = std::min(Lookup::kMostTokens, x_.tokens - first);
        Lookup::Run(blocks, matrix_.cols(), tables, first, tokens, scratch, [&](size_t b, int32_t* sums) HWY_ATTR {
          StoreBlock(quads, unpacked[b], first, tokens, sums, [](size_t, int32_t*) {});
        });
      }
    }
  }

  // y of a block's rows for tokens [first, first + tokens) from their sums; correct(t, dots) makes them dots of levels.
  template <class Quads, class F>
  HWY_INLINE void StoreBlock(const Quads& quads, size_t block, size_t first, size_t tokens, int32_t* HWY_RESTRICT sums,
                             F&& correct) const {
    const RowRange rows = quads.Rows(block);
    const bool past_caches = y_.rows() * y_.cols() * sizeof(float) > kCachedResults;
    for (size_t t = 0; t < tokens; ++t) {
      HWY_ALIGN int32_t ordered[kVectorBytes];
      int32_t* dots = sums + t * kVectorBytes;
      if constexpr (!Quads::kIsOrdered) {
        OrderSums<typename BlockDot<W>::Codes>(dots, ordered);
        dots = ordered;
      }
      correct(t, dots);
      StoreDots(dots, rows.begin, rows.count, first + t, past_caches);
    }
  }

  // sums of tiles [begin, begin + tiles), at most kTileGroup: += the listed columns.
  void AddColumnsOfTiles(size_t begin, size_t tiles, size_t token, const IndexList& columns, int32_t* sums) const {
    using Dot = ColumnDot<Codes, X>;
    const size_t stride = matrix_.run().Bytes();
    const uint8_t* first = matrix_.Column(0) + begin * Codes::kBlockBytes;
    HWY_ALIGN int32_t dots[kTileGroup * Codes::kBlockCodes];
    for (size_t i = 0; i < columns.count;) {
      std::fill(dots, dots + tiles * Codes::kBlockCodes, 0);
      const size_t end = std::min(columns.count - i, Dot::kMaxColumns) + i;
      ColumnGroup ahead(first, stride, columns, i);
      for (; i < end; i += kColumnsAtOnce) {
        const ColumnGroup group = ahead;
        ahead = ColumnGroup(first, stride, columns, i + kColumnsAtOnce);
        int32_t inputs[Dot::kGroups];
        Dot::Gather(columns, i, x_.Row(token), inputs);
        Dot::AddTiles(group, ahead, inputs, tiles, dots);
      }
      Dot::AddDots(dots, tiles, sums);
    }
  }

  // dots (of levels) of a tile's rows in order, from its sums; returns how many. dots has room for kBlockCodes.
  size_t DotsOfTile(size_t tile, int32_t sum_of_inputs, const int32_t* sums, int32_t* dots) const {
    OrderSums<Codes>(sums, dots);
    const size_t rows = std::min(Codes::kBlockCodes, matrix_.rows() - tile * Codes::kBlockCodes);
    if (tile >= matrix_.run().whole_blocks) {
      // Smaller planes.
      const size_t n = matrix_.run().tail_bytes;
      for (size_t p = 1; p < Codes::kPlanes; ++p) {
        std::copy(dots + p * kVectorBytes, dots + p * kVectorBytes + n, dots + p * n);
      }
    }
    for (size_t r = 0; r < Codes::kBlockCodes; ++r) dots[r] = Correction<W>::DotOfLevels(dots[r], sum_of_inputs);
    return rows;
  }

  void StoreTile(size_t tile, size_t token, int32_t sum_of_inputs, const int32_t* sums) const {
    HWY_ALIGN int32_t dots[Codes::kBlockCodes];
    const size_t rows = DotsOfTile(tile, sum_of_inputs, sums, dots);
    StoreDots(dots, tile * Codes::kBlockCodes, rows, token);
  }

  void TileBySegments(size_t tile, size_t token, const IndexList& columns) const {
    double totals[Codes::kBlockCodes] = {};
    size_t next = 0;
    EachCommonSegment(matrix_.segments(), x_.segments, [&](size_t, size_t end, size_t ws, size_t xs) HWY_ATTR {
      const size_t first = next;
      while (next < columns.count && columns[next] < end) ++next;
      const IndexList part = columns.Part(first, next - first);
      int32_t sums[Codes::kBlockCodes] = {};
      AddColumnsOfTiles(tile, 1, token, part, sums);
      const int32_t sum = SumOfListed(part, x_.Row(token));
      int32_t dots[Codes::kBlockCodes];
      const size_t rows = DotsOfTile(tile, sum, sums, dots);
      for (size_t r = 0; r < rows; ++r) {
        const float scale = matrix_.Step(tile * Codes::kBlockCodes + r, ws) * x_.Step(token, xs);
        totals[r] += static_cast<double>(dots[r]) * static_cast<double>(scale);
      }
    });
    const size_t begin = tile * Codes::kBlockCodes;
    for (size_t r = begin; r < std::min(begin + Codes::kBlockCodes, matrix_.rows()); ++r) {
      y_.Row(token)[r] = static_cast<float>(totals[r - begin]);
    }
  }

  void IntegerRowsOfToken(size_t token, const IndexList& rows) const {
    const int32_t sum = SumOfToken(token);
    float* y = y_.Row(token);
    for (size_t i = 0; i < rows.count; i += kRowsAtOnce) {
      const size_t n = std::min(kRowsAtOnce, rows.count - i);
      const uint8_t* packed[kRowsAtOnce];
      const uint8_t* ahead[kRowsAtOnce];
      for (size_t k = 0; k < kRowsAtOnce; ++k) {
        packed[k] = matrix_.Row(rows[i + std::min(k, n - 1)]);
        ahead[k] = matrix_.Row(rows[std::min(i + kRowsAtOnce + k, rows.count - 1)]);
      }
      int32_t dots[kRowsAtOnce];
      DotPackedRows<Codes>(packed, ahead, matrix_.run(), x_.Row(token), dots);
      for (size_t k = 0; k < n; ++k) {
        const size_t row = rows[i + k];
        y[row] = Scaled(Correction<W>::DotOfLevels(dots[k], sum), Scale(row, token));
      }
    }
  }

  void IntegerRows(size_t begin, size_t end) const {
    for (size_t first = 0; first < x_.tokens; first += kTokenBlock) {
      const size_t tokens = std::min(kTokenBlock, x_.tokens - first);
      const X* inputs[kTokenBlock];
      int32_t sums[kTokenBlock];
      for (size_t t = 0; t < tokens; ++t) {
        inputs[t] = x_.Row(first + t);
        sums[t] = SumOfToken(first + t);
      }
      for (size_t r = begin; r < end; r += kRowTile) {
        const size_t n = std::min(kRowTile, end - r);
        const uint8_t* packed[kRowTile];
        for (size_t k = 0; k < kRowTile; ++k) packed[k] = matrix_.Row(r + std::min(k, n - 1));
        int32_t dots[kTokenBlock][kRowTile];
        DotPackedRowsTokens<Codes>(packed, matrix_.run(), matrix_.cols(), inputs, tokens, dots);
        for (size_t t = 0; t < tokens; ++t) {
          float* y = y_.Row(first + t) + r;
          for (size_t k = 0; k < n; ++k) {
            y[k] = Scaled(Correction<W>::DotOfLevels(dots[t][k], sums[t]), Scale(r + k, first + t));
          }
        }
      }
    }
  }

  // Tokens [first, first + tokens), at most kFloatTokenBlock.
  void FloatRows(const IndexList& rows, size_t first, size_t tokens) const {
    constexpr size_t kChunk = 1024;  // columns of a row tile that stay in the first-level cache
    HWY_ALIGN float unpacked[kIsFloat<W> ? 1 : kFloatRowTile * kChunk];
    Doubles8 sums[kFloatTokenBlock * kFloatRowTile];
    for (size_t i = 0; i < rows.count; i += kFloatRowTile) {
      const size_t n = std::min(kFloatRowTile, rows.count - i);
      for (size_t k = 0; k < RoundUp(tokens, kFloatTokenTile) * kFloatRowTile; ++k) sums[k] = Doubles8::Set(0.0);
      for (size_t col = 0; col < matrix_.cols(); col += kChunk) {
        const size_t cols = std::min(kChunk, matrix_.cols() - col);
        const float* w[kFloatRowTile];
        for (size_t k = 0; k < kFloatRowTile; ++k) {
          const size_t row = rows[i + std::min(k, n - 1)];
          if constexpr (kIsFloat<W>) {
            w[k] = matrix_.FloatRow(row) + col;
          } else {
            w[k] = unpacked + k * kChunk;
            if (k < n) matrix_.UnpackRow(row, col, cols, unpacked + k * kChunk);
            if (k >= n) w[k] = w[n - 1];
          }
        }
        for (size_t t = 0; t < tokens; t += kFloatTokenTile) {
          // A tile that is not full does its last token's work again.
          const X* inputs[kFloatTokenTile];
          for (size_t k = 0; k < kFloatTokenTile; ++k) {
            inputs[k] = x_.Row(first + std::min(t + k, tokens - 1)) + col;
          }
          Doubles8* tile = sums + t * kFloatRowTile;
          if (t + 1 == tokens) {
            AddFloatTile<X, 1>(w, inputs, cols, tile);
          } else {
            AddFloatTile<X, kFloatTokenTile>(w, inputs, cols, tile);
          }
        }
      }
      for (size_t t = 0; t < tokens; ++t) {
        for (size_t k = 0; k < n; ++k) {
          const size_t row = rows[i + k];
          const auto dot = static_cast<float>(Fold(sums[t * kFloatRowTile + k]));
          y_.Row(first + t)[row] =
              static_cast<float>(0.0 + static_cast<double>(dot) * static_cast<double>(Scale(row, first + t)));
        }
      }
    }
  }

  const Matrix& matrix_;
  InputRows<X> x_;
  MatrixView<float> y_;
  bool has_one_segment_;
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_PRODUCTS_INL_H_
