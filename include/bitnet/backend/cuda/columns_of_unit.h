// ColumnsOfUnit: what a lane of a warp does of a product of columns of codes, by the matrix unit.
//
// Lane 4 g + q has 32 rows, a piece (packed_columns.h), in columns 4 q ... 4 q + 3 and 16 more of 32 columns: eight
// loads under way, each of which is, with those of the lanes beside it, a part of a column that lies together. The
// words of four columns are transposed byte by byte, 8 instructions for 128 / B codes, B the bits of a field; then a
// shift and a mask give four columns of a row, a weight of the unit, whose rows g and g + 8 are two of the lane's 32.
//
// A warp has kPieces pieces. Eight: lane g has piece g, and the unit's columns are tokens. Fewer: 8 / kPieces parts of
// the columns, 32 each, stand side by side; lane g has piece g % kPieces of part g / kPieces, and the unit's columns
// are the same token's inputs of these parts, so that of its sums those of a row's own part count.
#ifndef BITNET_BACKEND_CUDA_COLUMNS_OF_UNIT_H_
#define BITNET_BACKEND_CUDA_COLUMNS_OF_UNIT_H_

#include <cstddef>
#include <cstdint>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/fragments.h"
#include "bitnet/backend/cuda/packed_columns.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/tensor/operand.h"

namespace bitnet::cuda {

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

// Tiles: of 8 tokens. Positions are those of the token's list, or, of what is not listed, columns.
template <Operand W, Operand X, uint32_t kTiles, uint32_t kPieces, bool kIsListed>
struct ColumnsOfUnit {
  using View = PackedColumnsView<W>;
  using Words = typename View::Words;
  static constexpr uint32_t kParts = 8 / kPieces;
  static constexpr uint32_t kCols = 32 * kParts;  // at once
  static constexpr unsigned kPairs = kPieceRows / 2;
  static_assert(kParts == 1 || kTiles == 1);

  const View& w;
  const RowsView<X>& x;
  UnitLane at;
  uint32_t first_token;
  uint32_t tokens;  // of the tiles
  uint32_t piece;
  UnitSums<Words> sums[kTiles][kPairs];  // of two rows of the piece each

  template <class Device>
  BITNET_DEVICE ColumnsOfUnit(const Device& d, const View& weights, const RowsView<X>& inputs, uint32_t token,
                              uint32_t token_count, uint32_t first_piece)
      : w(weights), x(inputs), at(d), first_token(token), tokens(token_count), piece(first_piece + at.g % kPieces) {
    Clear();
  }

  // The columns at kCols positions from `first` on, as far as they go.
  template <class Device>
  BITNET_DEVICE void Multiply(Device& d, uint32_t first, uint32_t end) {
    constexpr uint32_t kWords = View::kPieceWords;
    uint32_t words[2][4][kWords];
    uint32_t inputs[kTiles][2];
    BITNET_UNROLL
    for (unsigned e = 0; e < 2; ++e) {
      const uint32_t position = first + 32 * (at.g / kPieces) + 16 * e + 4 * at.q;
      uint32_t cols[4];
      ColumnsAt(d, position, end, cols);
      BITNET_UNROLL
      for (unsigned i = 0; i < 4; ++i) {
        BITNET_UNROLL
        for (unsigned k = 0; k < kWords; ++k) words[e][i][k] = 0;
        if (position + i < end && piece < w.pieces) LoadWords(d, words[e][i], w.Piece(cols[i], piece));
      }
      if constexpr (kParts == 1) {
        BITNET_UNROLL
        for (unsigned tile = 0; tile < kTiles; ++tile) {
          const uint32_t token = tile * kUnitTokens + at.g;
          inputs[tile][e] = token < tokens ? InputsAt(first_token + token, position, end, cols) : 0;
        }
      } else {
        const uint32_t of_part = first + 32 * at.g + 16 * e + 4 * at.q;
        ColumnsAt(d, of_part, end, cols);
        inputs[0][e] = at.g < kParts ? InputsAt(first_token, of_part, end, cols) : 0;
      }
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

  // use(token of the tiles, row of the piece, dot) for each output that this lane has sums of, in its part of the
  // columns; then begins anew. By all lanes.
  template <class Device, class Use>
  BITNET_DEVICE void Take(Device& d, const Use& use) {
    BITNET_UNROLL
    for (unsigned tile = 0; tile < kTiles; ++tile) {
      int32_t of_inputs[2];
      sums[tile][0].SpreadInputs(d, of_inputs);
      BITNET_UNROLL
      for (unsigned i = 0; i < kPairs; ++i) {
        BITNET_UNROLL
        for (unsigned k = 0; k < 4; ++k) {
          // Pair i has bytes 2 (i % 2) and 2 (i % 2) + 1 of quad i / 2 of all words.
          const uint32_t row = i / 2 * 4 + i % 2 * 2 + k / 2;
          const uint32_t of_unit = tile * kUnitTokens + at.Token(k);
          if (kParts == 1 ? of_unit < tokens : of_unit == at.g / kPieces) {
            use(kParts == 1 ? of_unit : 0, row, Words::Dot(sums[tile][i].c[k], of_inputs[k % 2]));
          }
        }
      }
    }
    Clear();
  }

 private:
  BITNET_DEVICE void Clear() {
    BITNET_UNROLL
    for (unsigned i = 0; i < kTiles * kPairs; ++i) sums[i / kPairs][i % kPairs].Clear();
  }
  // Beyond the end anything.
  template <class Device>
  BITNET_DEVICE void ColumnsAt(Device& d, uint32_t position, uint32_t end, uint32_t (&cols)[4]) const {
    BITNET_UNROLL
    for (unsigned i = 0; i < 4; ++i) cols[i] = position + i;
    if constexpr (kIsListed) {
      const uint32_t* list = x.Channels(first_token) + position;
      if (position + 4 <= end && reinterpret_cast<uintptr_t>(list) % 16 == 0) {
        d.Load16(cols, list);
      } else {
        BITNET_UNROLL
        for (unsigned i = 0; i < 4; ++i) {
          if (position + i < end) cols[i] = list[i];
        }
      }
    }
  }
  // Of a token, at four positions.
  BITNET_DEVICE uint32_t InputsAt(uint32_t token, uint32_t position, uint32_t end, const uint32_t (&cols)[4]) const {
    const int8_t* levels = x.Row(token);
    uint32_t four = 0;
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
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_COLUMNS_OF_UNIT_H_
