// MatMulByRows: rows of codes times a few tokens, or the rows that a list names times its token, by the matrix unit.
//
// A block has 16 rows. Its warps take lines of them in turn (packed_rows.h), 128 bytes of each row: a lane loads pieces
// q and q + 4 of rows g and g + 8, 64 bytes, and the next 64 before it uses them. Their quads are the unit's weights as
// they are, after a shift and a mask; inputs come from caches, 128 bytes a lane at once. The warps' sums meet in shared
// memory.
//
// Bytes: the codes once from memory for each 16 tokens (the rest from the second-level cache); the inputs once a block,
// from caches. Of one token seven of the unit's eight columns are idle, and still it takes fewer instructions than dot
// products of bytes: 4096 ternary weights are 56 a lane to unpack them, 8 of the unit and 12 loads, 76 slots of an SM's
// four schedulers or 19 cycles; dot products are another 32 and take twice their slot. An H200's memory gives an SM
// 4096 ternary weights in 50 cycles.
//
// With steps for groups of columns the dots of runs go to shared memory, where a thread for each output adds them up in
// order; round by round, a round being as many lines as there is room for runs.
#ifndef BITNET_BACKEND_CUDA_PRODUCT_OF_ROWS_H_
#define BITNET_BACKEND_CUDA_PRODUCT_OF_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/fragments.h"
#include "bitnet/backend/cuda/packed_rows.h"
#include "bitnet/backend/cuda/runs.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/tensor/operand.h"

namespace bitnet::cuda {

// Which outputs are wanted: all, or of each token the rows that its list names.
struct AllRows {
  BITNET_DEVICE uint32_t Count(uint32_t, uint32_t rows) const { return rows; }
  BITNET_DEVICE uint32_t Row(uint32_t, uint32_t i) const { return i; }
};
struct ListedRows {
  ListsView lists;
  BITNET_DEVICE uint32_t Count(uint32_t token, uint32_t) const { return lists.counts[token]; }
  BITNET_DEVICE uint32_t Row(uint32_t token, uint32_t i) const { return lists.Row(token)[i]; }
};

// Tiles: of 8 tokens, that a block has. Inputs whose groups are at multiples of 16 columns, weights likewise.
template <Operand W, Operand X, uint32_t kTiles, class Chosen, class To>
struct MatMulByRows {
  using View = PackedRowsView<W>;
  using Words = typename View::Words;
  static constexpr unsigned kThreads = 128;
  static constexpr uint32_t kWarps = kThreads / kWarp;
  static constexpr bool kHasRuns = kIsGrouped<W> || kIsGrouped<X>;
  static constexpr bool kIsListed = std::is_same_v<Chosen, ListedRows>;
  static constexpr uint32_t kTokens = kIsListed ? 1 : kUnitTokens * kTiles;
  static_assert(!kHasRuns || kTiles == 1);

  // Slots of a round's runs: at least those of a line, and 128 for up to four tokens.
  static constexpr uint32_t kMostSlots = 130;
  static constexpr uint32_t kLineSlots = View::kLineCols / kSpanCols + 2;
  static constexpr uint32_t kDots = kUnitRows * (!kHasRuns                               ? kTokens * kWarps
                                                 : kTokens * kLineSlots > 4 * kMostSlots ? kTokens * kLineSlots
                                                                                         : 4 * kMostSlots);
  static constexpr uint32_t kSteps = kHasRuns ? kMostSlots + 1 : 1;
  struct Shared {
    int32_t dots[kDots];  // [slot, or, without groups, warp][token][row]
    float w_steps[kUnitRows][kSteps];
    float x_steps[kTokens][kSteps];
  };

  View w;
  RowsView<X> x;
  Chosen chosen;
  To y;
  Runs runs;
  uint32_t token_tiles;
  uint32_t granule_shift;   // runs begin at multiples of 2^that
  uint32_t lines_of_round;  // (all, without groups)

  template <class Stream>
  static void LaunchIn(Stream& stream, const View& w, const RowsView<X>& x, const Chosen& chosen, const To& y) {
    MatMulByRows kernel = {w, x, chosen, y, Runs::Of(w.cols, w.group, x.group), BlocksFor(x.rows, kTokens), 0, 0};
    const uint32_t granule = kernel.runs.Granule();
    while (granule >> kernel.granule_shift != 1) ++kernel.granule_shift;
    kernel.lines_of_round = w.Lines();
    if (kHasRuns && kernel.runs.count > 1) {
      const uint32_t tokens = x.rows < kTokens ? x.rows : kTokens;
      const uint32_t room = kDots / (kUnitRows * tokens);
      const uint32_t cols =
          ((room < kMostSlots ? room : kMostSlots) - 2) * (granule < View::kLineCols ? granule : View::kLineCols);
      const uint32_t lines = cols / View::kLineCols;
      kernel.lines_of_round = lines < kWarps ? lines : kWarps;
    }
    stream.Launch(kernel, Grid{BlocksFor(w.rows, kUnitRows) * kernel.token_tiles, 1});
  }

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    const uint32_t first_token = d.block() % token_tiles * kTokens;
    const uint32_t first_row = d.block() / token_tiles * kUnitRows;
    const uint32_t rows = chosen.Count(first_token, w.rows);
    if (first_row >= rows) return;
    const uint32_t tokens = x.rows - first_token < kTokens ? x.rows - first_token : kTokens;

    Lane lane(d, *this, first_token, tokens);
    BITNET_UNROLL
    for (unsigned i = 0; i < 2; ++i) lane.rows[i] = w.Row(RowAt(first_token, first_row + lane.at.Row(2 * i), rows));
    const uint32_t lines = w.Lines();
    lane.Load(d, lane.warp, RoundAt(0).end_line);

    const uint32_t thread = d.thread();
    if constexpr (!kHasRuns) {
      // Of the outputs that a thread makes: the steps, long before they are wanted.
      Output outputs[kOfThread];
      float w_steps[kOfThread];
      float x_steps[kOfThread];
      BITNET_UNROLL
      for (unsigned i = 0; i < kOfThread; ++i) {
        outputs[i] = OutputAt(i * kThreads + thread, first_token, tokens, first_row, rows);
        w_steps[i] = outputs[i].is_there ? w.Steps(outputs[i].row)[0] : 0.0f;
        x_steps[i] = outputs[i].is_there ? x.Steps(first_token + outputs[i].token)[0] : 0.0f;
      }
      lane.ClearDots(shared);
      lane.Multiply(d, shared, RoundAt(0));
      d.Barrier();
      BITNET_UNROLL
      for (unsigned i = 0; i < kOfThread; ++i) {
        if (!outputs[i].is_there) continue;
        int32_t dot = 0;
        BITNET_UNROLL
        for (unsigned k = 0; k < kWarps; ++k) dot += shared.dots[k * (kUnitRows * kTokens) + i * kThreads + thread];
        const double total = 0.0 + double(dot) * double(w_steps[i] * x_steps[i]);
        y(first_token + outputs[i].token, outputs[i].row, static_cast<float>(total));
      }
    } else {
      for (uint32_t i = thread; i < kDots; i += kThreads) shared.dots[i] = 0;
      const Output output = OutputAt(thread, first_token, tokens, first_row, rows);
      Sum sum = {0.0, 0};
      for (Round round = RoundAt(0); round.first_line < lines; round = RoundAt(round.end_line)) {
        LoadSteps(shared, thread, round, first_token, tokens, first_row, rows);
        d.Barrier();
        lane.Multiply(d, shared, round);
        if (round.end_line < lines) lane.Load(d, round.end_line + lane.warp, RoundAt(round.end_line).end_line);
        d.Barrier();
        if (output.is_there) AddUp(shared, round, thread, tokens, sum);
        if (round.end_line < lines) d.Barrier();
      }
      if (output.is_there) y(first_token + output.token, output.row, static_cast<float>(sum.total));
    }
  }

 private:
  // Lines, and their columns.
  struct Round {
    uint32_t first_line;
    uint32_t end_line;
    uint32_t begin;
    uint32_t end;
  };
  // Output i of a block is of row i % 16 of its rows, and of its token i / 16.
  static constexpr uint32_t kOfThread = (kUnitRows * kTokens + kThreads - 1) / kThreads;
  static_assert(!kHasRuns || kOfThread == 1);
  struct Output {
    bool is_there;
    uint32_t token;  // of the block
    uint32_t row;    // of the matrix
  };
  BITNET_DEVICE Output OutputAt(uint32_t i, uint32_t first_token, uint32_t tokens, uint32_t first_row,
                                uint32_t rows) const {
    const uint32_t at = first_row + i % kUnitRows;
    return {i / kUnitRows < tokens && at < rows, i / kUnitRows, RowAt(first_token, at, rows)};
  }
  // Of the runs as far as rounds have come; and of the last one, which may go on, the dot.
  struct Sum {
    double total;
    int32_t dot;
  };

  BITNET_DEVICE Round RoundAt(uint32_t line) const {
    const uint32_t lines = w.Lines();
    Round round = {line, lines - line < lines_of_round ? lines : line + lines_of_round, 0, 0};
    round.begin = line * View::kLineCols;
    round.end = round.end_line * View::kLineCols < w.cols ? round.end_line * View::kLineCols : w.cols;
    return round;
  }

  // Beyond the last row: that one, for what comes of it is not used.
  BITNET_DEVICE uint32_t RowAt(uint32_t token, uint32_t i, uint32_t rows) const {
    return chosen.Row(token, i < rows ? i : rows - 1);
  }
  BITNET_DEVICE uint32_t Slot(const Round& round, uint32_t begin) const {
    return (begin >> granule_shift) - (round.begin >> granule_shift);
  }

  BITNET_DEVICE void LoadSteps(Shared& shared, uint32_t thread, const Round& round, uint32_t first_token,
                               uint32_t tokens, uint32_t first_row, uint32_t rows) const {
    const uint32_t w_first = round.begin / runs.w_group;
    const uint32_t w_count = (round.end - 1) / runs.w_group - w_first + 1;
    for (uint32_t i = thread; i < kUnitRows * w_count; i += kThreads) {
      shared.w_steps[i / w_count][i % w_count] =
          w.Steps(RowAt(first_token, first_row + i / w_count, rows))[w_first + i % w_count];
    }
    const uint32_t x_first = round.begin / runs.x_group;
    const uint32_t x_count = (round.end - 1) / runs.x_group - x_first + 1;
    for (uint32_t i = thread; i < tokens * x_count; i += kThreads) {
      shared.x_steps[i / x_count][i % x_count] = x.Steps(first_token + i / x_count)[x_first + i % x_count];
    }
  }

  // The runs of a round, in order.
  BITNET_DEVICE void AddUp(Shared& shared, const Round& round, uint32_t output, uint32_t tokens, Sum& sum) const {
    const uint32_t row = output % kUnitRows;
    const uint32_t token = output / kUnitRows;
    RunWalk walk(runs, round.begin);
    const uint32_t w_first = walk.w_at;
    const uint32_t x_first = walk.x_at;
    for (uint32_t begin = round.begin; begin < round.end;) {
      const uint32_t end = walk.End(runs);
      int32_t& dot = shared.dots[(Slot(round, begin) * tokens + token) * kUnitRows + row];
      sum.dot += dot;
      dot = 0;
      if (end > round.end) break;  // it goes on in the next round
      const float step = shared.w_steps[row][walk.w_at - w_first] * shared.x_steps[token][walk.x_at - x_first];
      sum.total += double(sum.dot) * double(step);
      sum.dot = 0;
      begin = end;
      walk.Pass(runs);
    }
  }

  // What a lane does of the products.
  struct Lane {
    const MatMulByRows& of;
    UnitLane at;
    uint32_t warp;
    uint32_t tokens;           // of the block
    const std::byte* rows[2];  // g and g + 8
    const int8_t* inputs;      // of token g, from span q on; token g + 8 is 8 rows away
    uint32_t next[2][2][4];    // of the next line: piece q or q + 4; of which row; words
    // A product of the unit waits for the one before it with the same sums: these take turns.
    static constexpr unsigned kSums = kHasRuns || kTiles > 1 ? 2 : 4;
    UnitSums<Words> sums[kTiles][kSums];
    uint32_t slot = 0;  // of the run that they are of
    uint32_t held = 0;  // columns that they are of

    template <class Device>
    BITNET_DEVICE Lane(const Device& d, const MatMulByRows& kernel, uint32_t first_token, uint32_t count)
        : of(kernel),
          at(d),
          warp(d.warp()),
          tokens(count),
          inputs(kernel.x.Row(first_token + (at.g < count ? at.g : 0)) + at.q * kSpanCols) {}

    template <class Device>
    BITNET_DEVICE void Load(Device& d, uint32_t line, uint32_t end) {
      BITNET_UNROLL
      for (unsigned half = 0; half < 2; ++half) {
        const uint32_t piece = line * kLinePieces + 4 * half + at.q;
        BITNET_UNROLL
        for (unsigned i = 0; i < 2; ++i) {
          BITNET_UNROLL
          for (unsigned k = 0; k < 4; ++k) next[half][i][k] = 0;
          if (line < end && piece < of.w.pieces) d.Load16(next[half][i], rows[i] + size_t{piece} * 16);
        }
      }
    }

    template <class Device>
    BITNET_DEVICE void Multiply(Device& d, Shared& shared, const Round& round) {
      Clear();
      for (uint32_t line = round.first_line + warp; line < round.end_line; line += kWarps) {
        uint32_t now[2][2][4];
        BITNET_UNROLL
        for (unsigned i = 0; i < 16; ++i) now[i / 8][i / 4 % 2][i % 4] = next[i / 8][i / 4 % 2][i % 4];
        const bool is_last = line + kWarps >= round.end_line;
        Load(d, line + kWarps, round.end_line);
        MultiplyLine(d, shared, round, line, now);
        // (As many columns as surely fit a sum.)
        if (is_last || held + View::kLineCols > Words::kSumCols) Flush(d, shared);
      }
    }

    // Those of the warp; each lane its own.
    BITNET_DEVICE void ClearDots(Shared& shared) const {
      BITNET_UNROLL
      for (unsigned i = 0; i < kTiles * 4; ++i) {
        const uint32_t token = i / 4 * kUnitTokens + at.Token(i % 4);
        if (token < kTokens) shared.dots[DotAt(i / 4, i % 4)] = 0;
      }
    }

   private:
    // Spans of a piece whose inputs are loaded at once: 32 registers.
    static constexpr unsigned kAtOnce = View::kSpans * kTiles <= 4 ? View::kSpans : 4 / kTiles;
    using Inputs = uint32_t[kAtOnce][2][kTiles][4];

    template <class Device>
    BITNET_DEVICE void MultiplyLine(Device& d, Shared& shared, const Round& round, uint32_t line,
                                    const uint32_t (&words)[2][2][4]) {
      const uint32_t pieces = of.w.PiecesOfLine(line);
      const uint32_t first = line * (View::kLineCols / kSpanCols);
      RunWalk walk(of.runs, line * View::kLineCols);
      BITNET_UNROLL
      for (unsigned from = 0; from < View::kSpans; from += kAtOnce) {
        Inputs loaded;
        LoadInputs(d, loaded, first + pieces * from, pieces);
        BITNET_UNROLL
        for (unsigned i = 0; i < 2 * kAtOnce; ++i) {
          const unsigned half = i % 2;
          uint32_t weights[2][4];
          BITNET_UNROLL
          for (unsigned k = 0; k < 8; ++k) {
            // Quads 4 s ... 4 s + 3 of the piece, s being the span: two for each product of the unit.
            const unsigned quad = 4 * (from + i / 2) + k / 4 * 2 + k % 4 / 2;
            weights[k / 4][k % 4] = Words::Quad(d, words[half][k % 2][quad / Words::kQuads], quad % Words::kQuads);
          }
          if constexpr (kHasRuns) {
            const uint32_t left = pieces < 4 * half ? 0 : pieces - 4 * half;
            MultiplyRuns(d, shared, round, walk, first + pieces * (from + i / 2) + 4 * half, left < 4 ? left : 4,
                         weights, loaded[i / 2][half]);
          } else {
            MultiplySpans(d, i, weights, loaded[i / 2][half]);
          }
        }
      }
      if constexpr (!kHasRuns) held += View::kLineCols;
    }

    // Those of the spans of pieces q and q + 4, from `first` on, of each token; zeros where there are none.
    template <class Device>
    BITNET_DEVICE void LoadInputs(Device& d, Inputs& to, uint32_t first, uint32_t pieces) {
      const auto spans = static_cast<uint32_t>(of.x.stride / kSpanCols);
      BITNET_UNROLL
      for (unsigned i = 0; i < 2 * kAtOnce; ++i) {
        const uint32_t piece = 4 * (i % 2);
        const uint32_t span = first + pieces * (i / 2) + piece;
        BITNET_UNROLL
        for (unsigned tile = 0; tile < kTiles; ++tile) {
          LoadSpan(d, to[i / 2][i % 2][tile], inputs + size_t{span} * kSpanCols + tile * (kUnitTokens * of.x.stride),
                   piece + at.q < pieces && span + at.q < spans && tile * kUnitTokens + at.g < tokens);
        }
      }
    }

    template <class Device>
    BITNET_DEVICE void MultiplySpans(Device& d, unsigned turn, const uint32_t (&weights)[2][4],
                                     const uint32_t (&spans)[kTiles][4]) {
      BITNET_UNROLL
      for (unsigned tile = 0; tile < kTiles; ++tile) {
        BITNET_UNROLL
        for (unsigned k = 0; k < 2; ++k) {
          const uint32_t b[2] = {spans[tile][2 * k], spans[tile][2 * k + 1]};
          sums[tile][(2 * turn + k) % kSums].Multiply(d, weights[k], b);
          sums[tile][0].CountInputs(d, b);
        }
      }
    }

    // The spans first ... first + count, run by run: inputs of other runs are zeros meanwhile.
    template <class Device>
    BITNET_DEVICE void MultiplyRuns(Device& d, Shared& shared, const Round& round, RunWalk& walk, uint32_t first,
                                    uint32_t count, const uint32_t (&weights)[2][4],
                                    const uint32_t (&spans)[kTiles][4]) {
      const uint32_t all = (first + count) * kSpanCols;
      const uint32_t end = all < of.w.cols ? all : of.w.cols;
      const uint32_t mine = (first + at.q) * kSpanCols;
      for (uint32_t begin = first * kSpanCols; begin < end;) {
        const uint32_t run_begin = walk.Begin(of.runs);
        const uint32_t run_end = walk.End(of.runs);
        const uint32_t to = run_end < end ? run_end : end;
        const uint32_t now = of.Slot(round, run_begin < round.begin ? round.begin : run_begin);
        if (now != slot) Flush(d, shared);
        slot = now;
        uint32_t of_run[kTiles][4];
        BITNET_UNROLL
        for (unsigned i = 0; i < kTiles * 4; ++i) {
          of_run[i / 4][i % 4] = mine >= begin && mine < to ? spans[i / 4][i % 4] : 0;
        }
        MultiplySpans(d, 0, weights, of_run);
        held += to - begin;
        if (to == run_end) walk.Pass(of.runs);
        begin = to;
      }
    }

    BITNET_DEVICE void Clear() {
      BITNET_UNROLL
      for (unsigned i = 0; i < kTiles * kSums; ++i) sums[i / kSums][i % kSums].Clear();
      held = 0;
    }

    // Where the sums i of a tile are added.
    BITNET_DEVICE uint32_t DotAt(unsigned tile, unsigned i) const {
      const uint32_t token = tile * kUnitTokens + at.Token(i);
      return ((kHasRuns ? slot * tokens : warp * kTokens) + token) * kUnitRows + at.Row(i);
    }

    // Adds the sums to those of the run, which other warps may add to as well, or of the warp, whose lanes have their
    // own.
    template <class Device>
    BITNET_DEVICE void Flush(Device& d, Shared& shared) {
      if (held == 0) return;
      BITNET_UNROLL
      for (unsigned tile = 0; tile < kTiles; ++tile) {
        int32_t of_inputs[2];
        sums[tile][0].SpreadInputs(d, of_inputs);
        BITNET_UNROLL
        for (unsigned i = 0; i < 4; ++i) {
          const uint32_t token = tile * kUnitTokens + at.Token(i);
          if (token >= (kHasRuns ? tokens : kTokens)) continue;
          int32_t sum = 0;
          BITNET_UNROLL
          for (unsigned k = 0; k < kSums; ++k) sum += sums[tile][k].c[i];
          int32_t* to = &shared.dots[DotAt(tile, i)];
          if constexpr (kHasRuns) {
            d.AtomicAdd(to, Words::Dot(sum, of_inputs[i % 2]));
          } else {
            *to += Words::Dot(sum, of_inputs[i % 2]);
          }
        }
      }
      Clear();
    }
  };
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_PRODUCT_OF_ROWS_H_
