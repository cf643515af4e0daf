// PackedRows<W>: weights by rows, their codes as words of fields (code_words.h), for matrices that are read whole, by
// chosen rows, or of which rows are looked up.
//
// A *piece* is 16 bytes of a row, what a lane loads at once; a *line* is 8 pieces, 128 bytes. A *span* is 16 columns,
// 16 bytes of inputs: a piece has 8 / B of them, B the bits of a field. In a line of n pieces (8; the last of a row may
// have fewer) span s of piece p is the columns
//
//   [line begin + 16 (n s + p), + 16)
//
// so that lanes with neighbouring pieces read neighbouring inputs: what they load together is whole lines of weights
// and whole lines of inputs. The spans of a line, in the order (s, p), are its columns in order. Rows begin on 16
// bytes; padding is zero words.
#ifndef BITNET_BACKEND_CUDA_PACKED_ROWS_H_
#define BITNET_BACKEND_CUDA_PACKED_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "bitnet/backend/cuda/code_words.h"
#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/weights_view.h"
#include "bitnet/base/host_device.h"
#include "bitnet/base/size.h"
#include "bitnet/tensor/operand.h"
#include "bitnet/tensor/quantized_matrix.h"

namespace bitnet::cuda {

inline constexpr uint32_t kSpanCols = 16;
inline constexpr uint32_t kLinePieces = 8;

template <Operand W>
requires kHasByteLevels<FormatOf<W>>
struct PackedRowsView : WeightsView {
  using Words = CodeWords<FormatOf<W>>;
  static constexpr bool kIsReal = false;
  static constexpr uint32_t kSpans = 8 / Words::kBits;  // of a piece
  static constexpr uint32_t kPieceCols = kSpans * kSpanCols;
  static constexpr uint32_t kLineCols = kPieceCols * kLinePieces;

  uint32_t pieces;  // of a row

  BITNET_HOST_DEVICE const std::byte* Row(size_t row) const { return base + row * pieces * 16; }
  BITNET_HOST_DEVICE uint32_t Lines() const { return (pieces + kLinePieces - 1) / kLinePieces; }
  BITNET_HOST_DEVICE uint32_t PiecesOfLine(uint32_t line) const {
    const uint32_t left = pieces - line * kLinePieces;
    return left < kLinePieces ? left : kLinePieces;
  }

  // Where the code of a column is: the word of the row, and the element of the word.
  struct Place {
    size_t word;
    unsigned element;
  };
  BITNET_HOST_DEVICE Place PlaceOf(uint32_t col) const {
    const uint32_t line = col / kLineCols;
    const uint32_t span = col % kLineCols / kSpanCols;
    const uint32_t n = PiecesOfLine(line);
    const uint32_t in_piece = span / n * kSpanCols + col % kSpanCols;
    constexpr uint32_t kWordCols = kPieceCols / 4;
    return {size_t{line * kLinePieces + span % n} * 4 + in_piece / kWordCols, in_piece % kWordCols};
  }
  // The level itself, for those who read one by one.
  BITNET_HOST_DEVICE int Value(size_t row, uint32_t col) const {
    const Place place = PlaceOf(col);
    const uint32_t word = reinterpret_cast<const uint32_t*>(Row(row))[place.word];
    return Words::LevelOfField((word >> Words::FieldShift(place.element)) & Words::kMask);
  }
};

template <Operand W>
struct PackedRows {
  using View = PackedRowsView<W>;
  using Weights = QuantizedMatrix<FormatOf<W>>;
  static constexpr const char* kName = "rows of codes";

  static View Shape(const Weights& weights) {
    const size_t pieces = weights.cols() / View::kPieceCols + (weights.cols() % View::kPieceCols != 0 ? 1 : 0);
    View view = {};
    static_cast<WeightsView&>(view) = ShapeOf<W>(weights, SizeProduct(weights.rows(), pieces, size_t{16}));
    view.pieces = Count32(pieces);
    return view;
  }
  static void Pack(const Weights& weights, const View& view, std::span<std::byte> to) {
    using Words = typename View::Words;
    PackSteps(weights.steps(), view, to);
    std::vector<uint8_t> codes(weights.cols());
    std::vector<uint32_t> words(size_t{view.pieces} * 4);
    for (size_t r = 0; r < weights.rows(); ++r) {
      weights.UnpackCodes(r, codes);
      words.assign(words.size(), 0);
      for (size_t c = 0; c < codes.size(); ++c) {
        const auto place = view.PlaceOf(static_cast<uint32_t>(c));
        words[place.word] |= Words::Stored(codes[c]) << Words::FieldShift(place.element);
      }
      if (!words.empty()) std::memcpy(to.data() + r * view.pieces * 16, words.data(), words.size() * sizeof(words[0]));
    }
  }
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_PACKED_ROWS_H_
