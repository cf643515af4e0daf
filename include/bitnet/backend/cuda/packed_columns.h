// PackedColumns<W>: weights by columns, their codes as words of fields (code_words.h), for products that read the
// columns of some inputs.
//
// A *piece* is the codes of 32 rows in one column, B words, B the bits of a field: what a lane loads. The pieces of a
// column lie one after the other, and then come those of the next column: eight lanes read 256 rows of a column in 32 B
// bytes that lie together. Rows are padded to whole pieces by zero words.
#ifndef BITNET_BACKEND_CUDA_PACKED_COLUMNS_H_
#define BITNET_BACKEND_CUDA_PACKED_COLUMNS_H_

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

inline constexpr uint32_t kPieceRows = 32;

template <Operand W>
requires kHasByteLevels<FormatOf<W>>
struct PackedColumnsView : WeightsView {
  using Words = CodeWords<FormatOf<W>>;
  static constexpr bool kIsReal = false;
  static constexpr uint32_t kPieceWords = Words::kBits;
  static constexpr uint32_t kWordRows = 32 / Words::kBits;

  uint32_t pieces;  // of a column

  BITNET_HOST_DEVICE const std::byte* Piece(size_t col, size_t piece) const {
    return base + (col * pieces + piece) * (kPieceWords * 4);
  }
  // The level itself, for those who read one by one.
  BITNET_HOST_DEVICE int Value(size_t row, uint32_t col) const {
    const auto in_piece = static_cast<uint32_t>(row % kPieceRows);
    const uint32_t word = reinterpret_cast<const uint32_t*>(Piece(col, row / kPieceRows))[in_piece / kWordRows];
    return Words::LevelOfField((word >> Words::FieldShift(in_piece % kWordRows)) & Words::kMask);
  }
};

template <Operand W>
struct PackedColumns {
  using View = PackedColumnsView<W>;
  using Weights = QuantizedMatrix<FormatOf<W>>;
  static constexpr const char* kName = "columns of codes";

  static View Shape(const Weights& weights) {
    const size_t pieces = weights.rows() / kPieceRows + (weights.rows() % kPieceRows != 0 ? 1 : 0);
    View view = {};
    static_cast<WeightsView&>(view) =
        ShapeOf<W>(weights, SizeProduct(weights.cols(), pieces, size_t{View::kPieceWords} * 4));
    view.pieces = Count32(pieces);
    return view;
  }
  // A piece's rows at a time: each column's words lie a column apart, and are written once.
  static void Pack(const Weights& weights, const View& view, std::span<std::byte> to) {
    using Words = typename View::Words;
    PackSteps(weights.steps(), view, to);
    const size_t cols = weights.cols();
    std::vector<uint8_t> codes(cols);
    std::vector<uint32_t> words(cols * View::kPieceWords);
    for (size_t piece = 0; piece < view.pieces; ++piece) {
      words.assign(words.size(), 0);
      for (size_t i = 0; i < kPieceRows && piece * kPieceRows + i < weights.rows(); ++i) {
        weights.UnpackCodes(piece * kPieceRows + i, codes);
        const unsigned shift = Words::FieldShift(static_cast<unsigned>(i % View::kWordRows));
        for (size_t c = 0; c < cols; ++c) {
          words[c * View::kPieceWords + i / View::kWordRows] |= Words::Stored(codes[c]) << shift;
        }
      }
      for (size_t c = 0; c < cols; ++c) {
        std::memcpy(to.data() + (c * view.pieces + piece) * View::kPieceWords * 4, &words[c * View::kPieceWords],
                    View::kPieceWords * sizeof(uint32_t));
      }
    }
  }
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_PACKED_COLUMNS_H_
