// MatMulByListed: columns of codes times the listed inputs of a token, in one launch. (MatMulByColumns takes two, where
// it cuts the list to fill the device; a launch that waits for another takes longer than what is read here.)
//
// A block has 64 rows, two pieces of each column that is listed, and all of the list: its 8 or 16 warps take 128
// columns in turn, 32 for each quarter of the unit's rows (columns_of_unit.h). Every sum of a warp has its place in
// shared memory, and they are added up at the end.
//
// Bytes: the codes of the listed columns, once from memory. A block asks for 8 B bytes of a column, B the bits of a
// field; of fewer than 32 the second-level cache sends 32. So a list of 2400 columns of ternary weights is 77 KB a
// block, 1200 cycles, while 40 blocks are 2560 rows; 4460 slots of its four schedulers take about as long.
#ifndef BITNET_BACKEND_CUDA_PRODUCT_OF_LISTED_H_
#define BITNET_BACKEND_CUDA_PRODUCT_OF_LISTED_H_

#include <cstddef>
#include <cstdint>

#include "bitnet/backend/cuda/columns_of_unit.h"
#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/packed_columns.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/tensor/operand.h"

namespace bitnet::cuda {

// Where a row has one step.
template <Operand W, Operand X, class To>
struct MatMulByListed {
  using View = PackedColumnsView<W>;
  using Words = typename View::Words;
  static constexpr uint32_t kPieces = 2;
  using Unit = ColumnsOfUnit<W, X, 1, kPieces, true>;
  // (Codes of 4 and 8 bits need more registers than a block of 512 threads has.)
  static constexpr unsigned kThreads = Words::kBits > 2 ? 256 : 512;
  static constexpr uint32_t kWarps = kThreads / kWarp;
  static constexpr uint32_t kRows = kPieces * kPieceRows;
  // Of the sums of a part, and of those of a piece: in a warp each bank is met once.
  static constexpr uint32_t kPieceStride = kPieceRows + 1;
  static constexpr uint32_t kPartStride = kPieces * kPieceStride;
  struct Shared {
    int32_t dots[kWarps * Unit::kParts * kPartStride];  // [warp][part][piece][row of the piece]
  };
  static_assert(!kIsGrouped<W> && !kIsGrouped<X>);
  // A dot product of levels is below 2^29; bytes are shifted, but a sum has its share of the columns: it is below 2^30.
  static_assert((1u << Words::kShift) <= 2 * kWarps * Unit::kParts);

  View w;
  RowsView<X> x;
  To y;
  uint32_t row_tiles;

  template <class Stream>
  static void LaunchIn(Stream& stream, const View& w, const RowsView<X>& x, const To& y) {
    const uint32_t row_tiles = BlocksFor(w.rows, kRows);
    stream.Launch(MatMulByListed{w, x, y, row_tiles}, Grid{row_tiles * x.rows, 1});
  }

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    const uint32_t token = d.block() / row_tiles;
    const uint32_t first_piece = d.block() % row_tiles * kPieces;
    const uint32_t count = x.counts[token];
    // The steps, long before they are wanted.
    const size_t row = size_t{first_piece} * kPieceRows + d.thread();
    const bool has_output = d.thread() < kRows && row < w.rows;
    float w_step = 0.0f;
    float x_step = 0.0f;
    if (has_output) {
      w_step = w.Steps(row)[0];
      x_step = x.Steps(token)[0];
    }
    Unit unit(d, w, x, token, 1, first_piece);

    for (uint32_t at = d.warp() * Unit::kCols; at < count; at += kWarps * Unit::kCols) unit.Multiply(d, at, count);
    // A lane has places of its own.
    const uint32_t part = unit.at.g / kPieces;
    int32_t* mine = shared.dots + (d.warp() * Unit::kParts + part) * kPartStride + unit.at.g % kPieces * kPieceStride;
    unit.Take(d, [&](uint32_t, uint32_t of_piece, int32_t dot) { mine[of_piece] = dot; });
    d.Barrier();
    if (!has_output) return;
    const uint32_t at = d.thread() / kPieceRows * kPieceStride + d.thread() % kPieceRows;
    int32_t dot = 0;
    for (unsigned i = 0; i < kWarps * Unit::kParts; ++i) dot += shared.dots[i * kPartStride + at];
    y(token, row, static_cast<float>(0.0 + double(dot) * double(w_step * x_step)));
  }
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_PRODUCT_OF_LISTED_H_
