// MatMulByColumns: columns of codes times the inputs that are not zero, or all of them, by the matrix unit.
//
// A warp has 256 rows: lane 4 g + q has 32 of them, piece g (packed_columns.h), in columns 4 q ... 4 q + 3 and 16 more
// of the 32 columns that it takes at once: 8 loads under way, each of which is, with those of the lanes beside it, 32 B
// bytes of a column, B the bits of a field. Words of four columns are transposed byte by byte, 8 instructions for
// 128 / B codes; then a shift and a mask give four columns of a row, a weight of the unit. Its two rows of 16 are two
// of the lane's 32.
//
// A list of inputs is read where it lies, with its length; blocks take equal parts of it, and the four warps of a block
// 32 columns in turn. With a long list and few rows there are many parts: their sums go to scratch memory, and AddParts
// makes the output of them. Parts of a run of columns (runs.h), where there are steps for groups, likewise.
//
// Bytes: the codes of the listed columns, once for each token (of dense products for 8 or 16); 4 bytes of scratch for
// each part and output, written and read once, from the second-level cache. 32 columns of 256 rows of ternary weights
// are 148 instructions a lane to unpack, 32 of the unit and 8 loads, 47 cycles of an SM; an H200's memory gives it 8192
// ternary weights in 100.
#ifndef BITNET_BACKEND_CUDA_PRODUCT_OF_COLUMNS_H_
#define BITNET_BACKEND_CUDA_PRODUCT_OF_COLUMNS_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

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

// The words of four columns, byte by byte: to[i] has byte i of each.
BITNET_DEVICE void TransposeBytes(const uint32_t (&from)[4], uint32_t (&to)[4]) {
  const uint32_t low02 = (from[0] & 0xffffu) | from[2] << 16;
  const uint32_t low13 = (from[1] & 0xffffu) | from[3] << 16;
  const uint32_t high02 = from[0] >> 16 | (from[2] & 0xffff0000u);
  const uint32_t high13 = from[1] >> 16 | (from[3] & 0xffff0000u);
  constexpr uint32_t kEven = 0x00ff00ffu;
  to[0] = (low02 & kEven) | (low13 & kEven) << 8;
  to[1] = (low02 >> 8 & kEven) | (low13 & ~kEven);
  to[2] = (high02 & kEven) | (high13 & kEven) << 8;
  to[3] = (high02 >> 8 & kEven) | (high13 & ~kEven);
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
  static constexpr unsigned kMinBlocks = kTiles > 1 ? 2 : 3;  // on a multiprocessor
  static constexpr uint32_t kRows = kPieceRows * 8;
  static constexpr uint32_t kCols = 32;  // at once, of a warp
  static constexpr uint32_t kBlockCols = kCols * (kThreads / kWarp);
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
    Lane lane(d, *this, first_token, tokens, first_piece);
    if (skip < all.end - all.begin) {
      const uint32_t begin = all.begin + skip;
      const uint32_t end = all.end - begin < each ? all.end : begin + each;
      for (uint32_t at = begin + d.warp() * kCols; at < end;) {
        // As many columns as surely fit a sum.
        for (uint32_t held = kCols; held <= Words::kSumCols && at < end; held += kCols, at += kBlockCols) {
          lane.Multiply(d, at, end);
        }
        lane.Flush(d, shared);
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

  // What a lane does.
  struct Lane {
    const MatMulByColumns& of;
    UnitLane at;
    uint32_t first_token;
    uint32_t tokens;
    uint32_t piece;
    UnitSums<Words> sums[kTiles][kPieceRows / 2];  // of two rows of the piece

    template <class Device>
    BITNET_DEVICE Lane(const Device& d, const MatMulByColumns& kernel, uint32_t token, uint32_t count,
                       uint32_t first_piece)
        : of(kernel), at(d), first_token(token), tokens(count), piece(first_piece + at.g) {
      Clear();
    }

    // The columns at 32 positions from `first` on, as far as they go.
    template <class Device>
    BITNET_DEVICE void Multiply(Device& d, uint32_t first, uint32_t end) {
      constexpr uint32_t kWords = View::kPieceWords;
      uint32_t words[2][4][kWords];
      uint32_t inputs[kTiles][2];
      BITNET_UNROLL
      for (unsigned e = 0; e < 2; ++e) {
        const uint32_t position = first + 16 * e + 4 * at.q;
        uint32_t cols[4];
        BITNET_UNROLL
        for (unsigned i = 0; i < 4; ++i) {
          cols[i] = position + i;
          if (kIsListed && position + i < end) cols[i] = of.x.Channels(first_token)[position + i];
        }
        BITNET_UNROLL
        for (unsigned i = 0; i < 4; ++i) {
          BITNET_UNROLL
          for (unsigned k = 0; k < kWords; ++k) words[e][i][k] = 0;
          if (position + i < end && piece < of.w.pieces) LoadWords(d, words[e][i], of.w.Piece(cols[i], piece));
        }
        BITNET_UNROLL
        for (unsigned tile = 0; tile < kTiles; ++tile) inputs[tile][e] = InputsAt(tile, position, cols, end);
      }
      BITNET_UNROLL
      for (unsigned tile = 0; tile < kTiles; ++tile) sums[tile][0].CountInputs(d, inputs[tile]);
      BITNET_UNROLL
      for (unsigned k = 0; k < kWords; ++k) {
        uint32_t rows[2][4];
        BITNET_UNROLL
        for (unsigned e = 0; e < 2; ++e) {
          const uint32_t four[4] = {words[e][0][k], words[e][1][k], words[e][2][k], words[e][3][k]};
          TransposeBytes(four, rows[e]);
        }
        BITNET_UNROLL
        for (unsigned i = 0; i < 2 * Words::kQuads; ++i) {
          const unsigned row = i % 2 * 2;
          const unsigned quad = i / 2;
          const uint32_t weights[4] = {Words::Quad(d, rows[0][row], quad), Words::Quad(d, rows[0][row + 1], quad),
                                       Words::Quad(d, rows[1][row], quad), Words::Quad(d, rows[1][row + 1], quad)};
          BITNET_UNROLL
          for (unsigned tile = 0; tile < kTiles; ++tile) {
            sums[tile][k * 2 * Words::kQuads + i].Multiply(d, weights, inputs[tile]);
          }
        }
      }
    }

    // Adds the sums to those of the block, and begins anew.
    template <class Device>
    BITNET_DEVICE void Flush(Device& d, Shared& shared) {
      BITNET_UNROLL
      for (unsigned tile = 0; tile < kTiles; ++tile) {
        int32_t x_sums[2];
        sums[tile][0].SpreadInputs(d, x_sums);
        BITNET_UNROLL
        for (unsigned i = 0; i < kPieceRows / 2; ++i) {
          BITNET_UNROLL
          for (unsigned k = 0; k < 4; ++k) {
            const uint32_t token = tile * kUnitTokens + at.Token(k);
            if (token >= tokens) continue;
            // Sums i are those of bytes (2 (i % 2), 2 (i % 2) + 1) of quad i / 2 of all words.
            const uint32_t row = i / 2 * 4 + i % 2 * 2 + k / 2;
            d.AtomicAdd(&shared.dots[token * kStride + row * 8 + at.g], Words::Dot(sums[tile][i].c[k], x_sums[k % 2]));
          }
        }
      }
      Clear();
    }

   private:
    // Of this lane's token, at four positions.
    BITNET_DEVICE uint32_t InputsAt(unsigned tile, uint32_t position, const uint32_t (&cols)[4], uint32_t end) const {
      const uint32_t token = tile * kUnitTokens + at.g;
      uint32_t four = 0;
      if (token >= tokens) return four;
      const int8_t* levels = of.x.Row(first_token + token);
      if constexpr (kIsListed) {
        BITNET_UNROLL
        for (unsigned i = 0; i < 4; ++i) {
          if (position + i < end) four |= uint32_t{static_cast<uint8_t>(levels[cols[i]])} << (8 * i);
        }
      } else {
        // (Beyond the last column are zeros.)
        if (position < end) four = *reinterpret_cast<const uint32_t*>(levels + position);
      }
      return four;
    }
    BITNET_DEVICE void Clear() {
      BITNET_UNROLL
      for (unsigned i = 0; i < kTiles * (kPieceRows / 2); ++i) sums[i / (kPieceRows / 2)][i % (kPieceRows / 2)].Clear();
    }
  };
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
  // Blocks that fill a device: two for each of 132 multiprocessors. (More of them for fewer rows cost more scratch.)
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
