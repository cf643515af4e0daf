// MatMulByColumns: columns of codes times the inputs that are not zero, or all of them, by the matrix unit.
//
// A warp has 256 rows, eight pieces of a column (columns_of_unit.h), and 32 columns at once, its block the next ones in
// turn. A list of inputs is read where it lies, with its length. With many columns and few rows there are several
// parts, each with its blocks: their sums go to scratch memory, and AddParts makes the outputs of them. Runs of columns
// (runs.h), where there are steps for groups, are parts too.
//
// Bytes: the codes of the columns, once for each 8 or 16 tokens, of a list once for its token; 4 bytes of scratch for
// each part and output, written and read once, in the second-level cache. 32 columns of 256 rows of ternary weights are
// 148 instructions a lane to unpack, 32 of the unit and 8 loads, 47 cycles of an SM; an H200's memory gives it 8192
// ternary weights in 100.
#ifndef BITNET_BACKEND_CUDA_PRODUCT_OF_COLUMNS_H_
#define BITNET_BACKEND_CUDA_PRODUCT_OF_COLUMNS_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bitnet/backend/cuda/columns_of_unit.h"
#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/fragments.h"
#include "bitnet/backend/cuda/packed_columns.h"
#include "bitnet/backend/cuda/runs.h"
#include "bitnet/backend/cuda/scratch.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/tensor/operand.h"

namespace bitnet::cuda {

// How many of an ascending list are below a bound, by a warp.
template <class Device>
BITNET_DEVICE uint32_t CountBelow(Device& d, const uint32_t* list, uint32_t count, uint32_t bound) {
  uint32_t below = 0;
  for (uint32_t left = count; left != 0;) {
    // Of 32 pieces the ones whose last element is below.
    const uint32_t piece = left / kWarp + (left % kWarp != 0 ? 1 : 0);
    const uint32_t last = (d.lane() + 1) * piece - 1;
    const bool is_below = last < left && list[below + last] < bound;
    const uint32_t whole = d.PopCount(d.Ballot(is_below)) * piece;
    below += whole;
    left = left - whole < piece ? left - whole : piece - 1;
  }
  return below;
}

// What a product's parts are, of each run so many: `runs.count * of_run` in all.
struct ColumnParts {
  Runs runs;
  uint32_t of_run;
  int32_t* sums;  // [part][token][row]; nullptr where there is one part, which is the dot
};

// Tiles: of 8 tokens, that a block has; of listed columns one token. Runs begin at multiples of 32 columns.
template <Operand W, Operand X, uint32_t kTiles, bool kIsListed, class To>
struct MatMulByColumns {
  using View = PackedColumnsView<W>;
  using Words = typename View::Words;
  static constexpr unsigned kThreads = 128;
  using Unit = ColumnsOfUnit<W, X, kTiles, 8, kIsListed>;
  static constexpr uint32_t kRows = kPieceRows * 8;
  static constexpr uint32_t kBlockCols = Unit::kCols * (kThreads / kWarp);
  static constexpr uint32_t kTokens = kIsListed ? 1 : kUnitTokens * kTiles;
  // Of a token, so that the lanes of a warp, which have rows of eight pieces and four pairs of tokens, meet each bank
  // once.
  static constexpr uint32_t kStride = kRows + 4;
  struct Shared {
    int32_t dots[kTokens * kStride];  // [token][row of a piece][piece]
  };

  View w;
  RowsView<X> x;
  To y;
  ColumnParts parts;
  uint32_t row_tiles;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    const uint32_t part = d.block() / row_tiles % (parts.runs.count * parts.of_run);
    const uint32_t first_token = d.block() / row_tiles / (parts.runs.count * parts.of_run) * kTokens;
    const uint32_t first_piece = d.block() % row_tiles * 8;
    const uint32_t tokens = x.rows - first_token < kTokens ? x.rows - first_token : kTokens;
    const uint32_t thread = d.thread();
    for (uint32_t i = thread; i < kTokens * kStride; i += kThreads) shared.dots[i] = 0;
    d.Barrier();

    const Runs::Run run = parts.runs[part / parts.of_run];
    const Range all = PositionsOf(d, first_token, run);
    const uint32_t each = (all.end - all.begin) / parts.of_run / kBlockCols * kBlockCols + kBlockCols;
    const uint32_t skip = part % parts.of_run * each;
    Unit unit(d, w, x, first_token, tokens, first_piece);
    if (skip < all.end - all.begin) {
      const uint32_t begin = all.begin + skip;
      const uint32_t end = all.end - begin < each ? all.end : begin + each;
      for (uint32_t at = begin + d.warp() * Unit::kCols; at < end;) {
        // As many columns as surely fit a sum.
        for (uint32_t held = Unit::kCols; held <= Words::kSumCols && at < end; held += Unit::kCols, at += kBlockCols) {
          unit.Multiply(d, at, end);
        }
        unit.Take(d, [&](uint32_t token, uint32_t row, int32_t dot) {
          d.AtomicAdd(&shared.dots[token * kStride + row * 8 + unit.at.g], dot);
        });
      }
    }
    d.Barrier();

    for (uint32_t i = thread; i < tokens * kRows; i += kThreads) {
      const uint32_t token = i / kRows;
      const uint32_t in_tile = i % kRows;
      const size_t row = size_t{first_piece} * kPieceRows + in_tile;
      if (row >= w.rows) continue;
      const int32_t dot = shared.dots[token * kStride + in_tile % kPieceRows * 8 + in_tile / kPieceRows];
      const size_t at_token = first_token + token;
      if (parts.sums != nullptr) {
        parts.sums[(size_t{part} * x.rows + at_token) * w.rows + row] = dot;
      } else {
        const double total = 0.0 + double(dot) * double(w.Steps(row)[0] * x.Steps(at_token)[0]);
        y(at_token, row, static_cast<float>(total));
      }
    }
  }

 private:
  struct Range {
    uint32_t begin;
    uint32_t end;
  };
  // Of a run: columns, or positions in the token's list.
  template <class Device>
  BITNET_DEVICE Range PositionsOf(Device& d, uint32_t token, Runs::Run run) const {
    if constexpr (!kIsListed) {
      return {run.begin, run.end};
    } else if (parts.runs.count == 1) {
      return {0, x.counts[token]};
    } else {
      const uint32_t count = x.counts[token];
      const uint32_t begin = CountBelow(d, x.Channels(token), count, run.begin);
      return {begin, CountBelow(d, x.Channels(token), count, run.end)};
    }
  }
};

// Outputs of the sums of parts, added up run by run. Steps are those of the weights, whatever their layout.
template <Operand W, Operand X, class To>
struct AddParts {
  static constexpr unsigned kThreads = 128;
  using Shared = NoShared;

  PackedColumnsView<W> w;
  RowsView<X> x;
  To y;
  ColumnParts parts;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    const size_t i = size_t{d.block()} * kThreads + d.thread();
    if (i >= size_t{x.rows} * w.rows) return;
    const size_t token = i / w.rows;
    const size_t row = i % w.rows;
    double total = 0.0;
    for (uint32_t r = 0; r < parts.runs.count; ++r) {
      const Runs::Run run = parts.runs[r];
      if (run.begin == run.end) continue;
      int32_t dot = 0;
      for (uint32_t p = 0; p < parts.of_run; ++p) {
        dot += parts.sums[(size_t{r * parts.of_run + p} * x.rows + token) * w.rows + row];
      }
      const float step = w.Steps(row)[run.begin / parts.runs.w_group] * x.Steps(token)[run.begin / parts.runs.x_group];
      total += double(dot) * double(step);
    }
    y(token, row, static_cast<float>(total));
  }
};

// A launch, or two.
template <Operand W, Operand X, uint32_t kTiles, bool kIsListed, class To>
struct ColumnsProduct {
  using Kernel = MatMulByColumns<W, X, kTiles, kIsListed, To>;
  // Blocks that fill a device: two for each multiprocessor of an H100 or H200. (More cost more scratch.)
  static constexpr uint32_t kBlocks = 264;

  template <class Stream>
  static void LaunchIn(Stream& stream, const PackedColumnsView<W>& w, const RowsView<X>& x, const To& y) {
    const Runs runs = Runs::Of(w.cols, w.group, x.group);
    const uint32_t row_tiles = BlocksFor(w.rows, Kernel::kRows);
    const uint32_t token_tiles = BlocksFor(x.rows, Kernel::kTokens);
    const uint32_t longest = BlocksFor(runs.Cell(), Kernel::kBlockCols);
    const uint64_t wanted = kBlocks / (uint64_t{row_tiles} * token_tiles * runs.count);
    ColumnParts parts = {runs, static_cast<uint32_t>(wanted < longest ? (wanted == 0 ? 1 : wanted) : longest), nullptr};
    const uint32_t all = runs.count * parts.of_run;
    if (all > 1) {
      parts.sums = stream.template Scratch<int32_t>(ScratchSlot::kProduct, size_t{all} * x.rows * w.rows);
    }
    stream.Launch(Kernel{w, x, y, parts, row_tiles}, Grid{row_tiles * all * token_tiles, 1});
    if (all > 1) {
      stream.Launch(AddParts<W, X, To>{w, x, y, parts}, Grid{BlocksFor(size_t{x.rows} * w.rows, 128), 1});
    }
  }
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_PRODUCT_OF_COLUMNS_H_
