// MatMulTiles: rows of codes times many tokens, by the matrix unit. A block has 64 tokens; each of its four warps has
// 32 rows (16 with steps for groups of columns).
//
// A warp loads a line of each of its rows into registers and unpacks quads on the way to the unit: codes never lie in
// shared memory, and are read once a block. The inputs of the spans that a line's pieces have in common, up to 128
// columns of 64 tokens, come into shared memory by asynchronous copies while the ones before are multiplied, and are
// what the warps share: a lane's 16 bytes serve two products of the unit for each 16 rows.
//
// For 32 rows and 128 columns a warp does 64 products of the unit (4096 multiply-adds each, 1.5 cycles of an H100's SM
// where mma.sync reaches its best), 16 loads of 16 bytes from shared memory (4 cycles each), and unpacks 32 quads (2
// instructions a lane each): 100 cycles of the unit, 64 of shared memory, 40 slots of a scheduler.
//
// With steps for groups, sums in double take a warp 32 multiply-adds and as many conversions for each run, so that
// groups of 128 columns leave about a third of that.
#ifndef BITNET_BACKEND_CUDA_PRODUCT_TILES_H_
#define BITNET_BACKEND_CUDA_PRODUCT_TILES_H_

#include <cstddef>
#include <cstdint>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/fragments.h"
#include "bitnet/backend/cuda/packed_rows.h"
#include "bitnet/backend/cuda/runs.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/base/assert.h"
#include "bitnet/tensor/operand.h"

namespace bitnet::cuda {

// Of at most Words::kSumCols columns; groups as in MatMulByRows.
template <Operand W, Operand X, class To>
struct MatMulTiles {
  using View = PackedRowsView<W>;
  using Words = typename View::Words;
  static constexpr unsigned kThreads = 128;
  static constexpr bool kHasRuns = kIsGrouped<W> || kIsGrouped<X>;
  static constexpr uint32_t kRowTiles = kHasRuns ? 1 : 2;  // of 16 rows, of a warp
  static constexpr uint32_t kTokenTiles = 8;               // of 8 tokens
  static constexpr uint32_t kRows = kRowTiles * kUnitRows * (kThreads / kWarp);
  static constexpr uint32_t kTokens = kTokenTiles * kUnitTokens;
  struct Shared {
    // Two stages of [token][span]. In odd tokens the halves of a line change places, so that eight lanes, which read
    // four spans of two tokens, meet each bank once.
    alignas(16) int8_t inputs[2][kTokens][kLinePieces][kSpanCols];
  };

  View w;
  RowsView<X> x;
  To y;
  Runs runs;
  uint32_t token_tiles;

  template <class Stream>
  static void LaunchIn(Stream& stream, const View& w, const RowsView<X>& x, const To& y) {
    const uint32_t token_tiles = BlocksFor(x.rows, kTokens);
    BITNET_ASSERT(w.cols != 0, "backend/cuda: tiles have columns");
    stream.Launch(MatMulTiles{w, x, y, Runs::Of(w.cols, w.group, x.group), token_tiles},
                  Grid{BlocksFor(w.rows, kRows) * token_tiles, 1});
  }

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    Lane lane(d, *this, d.block() % token_tiles * kTokens,
              d.block() / token_tiles * kRows + d.warp() * kRowTiles * kUnitRows);
    const uint32_t lines = w.Lines();
    Fetch(d, shared, lane.first_token, 0, 0, 0);
    d.CopyCommit();
    uint32_t stage = 0;
    for (uint32_t line = 0; line < lines; ++line) {
      lane.LoadLine(d, line);
      BITNET_UNROLL
      for (unsigned s = 0; s < View::kSpans; ++s) {
        d.template CopyWait<0>();
        d.Barrier();  // all have it, and are done with the other stage
        const bool is_last = s + 1 == View::kSpans;
        if (!is_last || line + 1 < lines) {
          Fetch(d, shared, lane.first_token, is_last ? line + 1 : line, is_last ? 0 : s + 1, 1 - stage);
        }
        d.CopyCommit();
        lane.Multiply(d, shared.inputs[stage], line, s);
        stage = 1 - stage;
      }
    }
    lane.Store(d);
  }

 private:
  // Spans (s, 0), (s, 1), ... of a line, of all tokens; zeros where there is none. A thread has one of the spans, of
  // every 16th token.
  template <class Device>
  BITNET_DEVICE void Fetch(Device& d, Shared& shared, uint32_t first_token, uint32_t line, uint32_t s,
                           uint32_t stage) const {
    constexpr uint32_t kEach = kThreads / kLinePieces;
    static_assert(kEach % 2 == 0);
    const uint32_t pieces = w.PiecesOfLine(line);
    const uint32_t token = d.thread() / kLinePieces;
    const uint32_t piece = d.thread() % kLinePieces;
    const uint32_t col = line * View::kLineCols + (pieces * s + piece) * kSpanCols;
    const bool is_there = piece < pieces && col < x.stride;
    const int8_t* from = x.Row(first_token + token) + col;
    int8_t* to = shared.inputs[stage][token][Place(token, piece)];
    BITNET_UNROLL
    for (uint32_t i = 0; i < kTokens / kEach; ++i) {
      const bool is_wanted = is_there && first_token + token + i * kEach < x.rows;
      d.CopyAsync(to + i * (kEach * kLinePieces * kSpanCols), is_wanted ? from : x.levels, is_wanted ? 16u : 0u);
      from += kEach * x.stride;
    }
  }
  BITNET_DEVICE static uint32_t Place(uint32_t token, uint32_t piece) { return piece ^ (token % 2 * 4); }

  // What a lane does.
  struct Lane {
    const MatMulTiles& of;
    UnitLane at;
    uint32_t first_token;
    uint32_t first_row;
    const std::byte* rows[kRowTiles][2];
    uint32_t words[kRowTiles][2][2][4];  // of a line: piece q or q + 4, row g or g + 8
    UnitSums<Words> sums[kRowTiles][kTokenTiles];
    double totals[kHasRuns ? kTokenTiles : 1][4];
    RunWalk walk;  // the run that the sums are of

    template <class Device>
    BITNET_DEVICE Lane(const Device& d, const MatMulTiles& kernel, uint32_t token, uint32_t row)
        : of(kernel), at(d), first_token(token), first_row(row), walk(kernel.runs, 0) {
      BITNET_UNROLL
      for (unsigned m = 0; m < kRowTiles; ++m) {
        BITNET_UNROLL
        for (unsigned i = 0; i < 2; ++i) rows[m][i] = of.w.Row(RowAt(m, 2 * i));
        BITNET_UNROLL
        for (unsigned tile = 0; tile < kTokenTiles; ++tile) sums[m][tile].Clear();
      }
      if constexpr (kHasRuns) {
        BITNET_UNROLL
        for (unsigned i = 0; i < kTokenTiles * 4; ++i) totals[i / 4][i % 4] = 0.0;
      }
    }
    // Of sum i; beyond the last row that one, for what comes of it is not used.
    BITNET_DEVICE uint32_t RowAt(unsigned m, unsigned i) const {
      const uint32_t row = first_row + m * kUnitRows + at.Row(i);
      return row < of.w.rows ? row : of.w.rows - 1;
    }
    BITNET_DEVICE uint32_t TokenAt(unsigned tile, unsigned i) const {
      const uint32_t token = first_token + tile * kUnitTokens + at.Token(i);
      return token < of.x.rows ? token : of.x.rows - 1;
    }

    template <class Device>
    BITNET_DEVICE void LoadLine(Device& d, uint32_t line) {
      BITNET_UNROLL
      for (unsigned m = 0; m < kRowTiles; ++m) {
        BITNET_UNROLL
        for (unsigned i = 0; i < 4; ++i) {
          const uint32_t piece = line * kLinePieces + i / 2 * 4 + at.q;
          uint32_t(&to)[4] = words[m][i / 2][i % 2];
          BITNET_UNROLL
          for (unsigned k = 0; k < 4; ++k) to[k] = 0;
          if (piece < of.w.pieces) d.Load16(to, rows[m][i % 2] + size_t{piece} * 16);
        }
      }
    }

    template <class Device>
    BITNET_DEVICE void Multiply(Device& d, const int8_t (&inputs)[kTokens][kLinePieces][kSpanCols], uint32_t line,
                                unsigned s) {
      const uint32_t pieces = of.w.PiecesOfLine(line);
      BITNET_UNROLL
      for (unsigned half = 0; half < 2; ++half) {
        if (4 * half >= pieces) continue;
        uint32_t weights[kRowTiles][2][4];
        BITNET_UNROLL
        for (unsigned m = 0; m < kRowTiles; ++m) {
          BITNET_UNROLL
          for (unsigned i = 0; i < 8; ++i) {
            const unsigned quad = 4 * s + i / 4 * 2 + i % 4 / 2;
            weights[m][i / 4][i % 4] =
                Words::Quad(d, words[m][half][i % 2][quad / Words::kQuads], quad % Words::kQuads);
          }
        }
        if constexpr (!kHasRuns) {
          MultiplySpans(d, inputs, half, weights, true);
        } else {
          const uint32_t first = line * View::kLineCols + (pieces * s + 4 * half) * kSpanCols;
          const uint32_t count = pieces - 4 * half < 4 ? pieces - 4 * half : 4;
          const uint32_t all = first + count * kSpanCols;
          const uint32_t end = all < of.w.cols ? all : of.w.cols;
          const uint32_t mine = first + at.q * kSpanCols;
          for (uint32_t begin = first; begin < end;) {
            const uint32_t run_end = walk.End(of.runs);
            const uint32_t to = run_end < end ? run_end : end;
            MultiplySpans(d, inputs, half, weights, mine >= begin && mine < to);
            if (to == run_end) EndRun(d);
            begin = to;
          }
        }
      }
    }

    template <class Device>
    BITNET_DEVICE void Store(Device& d) {
      BITNET_UNROLL
      for (unsigned m = 0; m < kRowTiles; ++m) {
        float w_steps[2];
        BITNET_UNROLL
        for (unsigned i = 0; i < 2; ++i) w_steps[i] = kHasRuns ? 0.0f : of.w.Steps(RowAt(m, 2 * i))[0];
        BITNET_UNROLL
        for (unsigned tile = 0; tile < kTokenTiles; ++tile) {
          int32_t x_sums[2];
          sums[0][tile].SpreadInputs(d, x_sums);
          BITNET_UNROLL
          for (unsigned i = 0; i < 4; ++i) {
            const uint32_t token = first_token + tile * kUnitTokens + at.Token(i);
            const uint32_t row = first_row + m * kUnitRows + at.Row(i);
            if (token >= of.x.rows || row >= of.w.rows) continue;
            double total = totals[kHasRuns ? tile : 0][i];
            if constexpr (!kHasRuns) {
              total = 0.0 + double(Words::Dot(sums[m][tile].c[i], x_sums[i % 2])) *
                                double(w_steps[i / 2] * of.x.Steps(token)[0]);
            }
            of.y(token, row, static_cast<float>(total));
          }
        }
      }
    }

   private:
    // The inputs of other runs are zeros meanwhile.
    template <class Device>
    BITNET_DEVICE void MultiplySpans(Device& d, const int8_t (&inputs)[kTokens][kLinePieces][kSpanCols], unsigned half,
                                     const uint32_t (&weights)[kRowTiles][2][4], bool is_wanted) {
      BITNET_UNROLL
      for (unsigned tile = 0; tile < kTokenTiles; ++tile) {
        const uint32_t token = tile * kUnitTokens + at.g;
        uint32_t span[4];
        LoadSpan(d, span, inputs[token][Place(token, 4 * half + at.q)], is_wanted);
        BITNET_UNROLL
        for (unsigned k = 0; k < 2; ++k) {
          const uint32_t b[2] = {span[2 * k], span[2 * k + 1]};
          BITNET_UNROLL
          for (unsigned m = 0; m < kRowTiles; ++m) {
            sums[m][tile].Multiply(d, weights[m][k], b);
          }
          sums[0][tile].CountInputs(d, b);
        }
      }
    }

    // total += dot * step.
    template <class Device>
    BITNET_DEVICE void EndRun(Device& d) {
      float w_steps[2];
      BITNET_UNROLL
      for (unsigned i = 0; i < 2; ++i) w_steps[i] = of.w.Steps(RowAt(0, 2 * i))[walk.w_at];
      BITNET_UNROLL
      for (unsigned tile = 0; tile < kTokenTiles; ++tile) {
        int32_t x_sums[2];
        sums[0][tile].SpreadInputs(d, x_sums);
        float x_steps[2];
        BITNET_UNROLL
        for (unsigned i = 0; i < 2; ++i) x_steps[i] = of.x.Steps(TokenAt(tile, i))[walk.x_at];
        BITNET_UNROLL
        for (unsigned i = 0; i < 4; ++i) {
          totals[tile][i] +=
              double(Words::Dot(sums[0][tile].c[i], x_sums[i % 2])) * double(w_steps[i / 2] * x_steps[i % 2]);
        }
        sums[0][tile].Clear();
      }
      walk.Pass(of.runs);
    }
  };
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_PRODUCT_TILES_H_
