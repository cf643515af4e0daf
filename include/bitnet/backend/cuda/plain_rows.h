// PlainRows<W>: weights by rows, one value after the other as they are: reals in their own 16 or 32 bits, levels as the
// format's LevelOf. For products with reals on either side, and of levels that are no signed bytes. Rows begin on 16
// bytes; padding is zeros.
#ifndef BITNET_BACKEND_CUDA_PLAIN_ROWS_H_
#define BITNET_BACKEND_CUDA_PLAIN_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/weights_view.h"
#include "bitnet/base/host_device.h"
#include "bitnet/base/size.h"
#include "bitnet/format/format.h"
#include "bitnet/tensor/operand.h"
#include "bitnet/tensor/quantized_matrix.h"

namespace bitnet::cuda {

namespace detail {
template <Format F>
struct ElementOf {
  using type = LevelOf<F>;
};
template <RealFormat F>
struct ElementOf<F> {
  using type = StoredReal<F>;
};
}  // namespace detail

template <Operand W>
struct PlainRowsView : WeightsView {
  using Element = typename detail::ElementOf<FormatOf<W>>::type;
  static constexpr bool kIsReal = kIsFloat<FormatOf<W>>;
  static constexpr size_t kElements = 16 / sizeof(Element);  // of 16 bytes

  size_t stride;  // in elements

  BITNET_HOST_DEVICE const Element* Row(size_t row) const {
    return reinterpret_cast<const Element*>(base) + row * stride;
  }
  // A level, or a real.
  BITNET_HOST_DEVICE auto Value(size_t row, uint32_t col) const {
    if constexpr (kIsFloat<FormatOf<W>>) {
      return static_cast<float>(Row(row)[col]);
    } else {
      return int{Row(row)[col]};
    }
  }
};

template <Operand W>
struct PlainRows {
  using View = PlainRowsView<W>;
  using Weights = QuantizedMatrix<FormatOf<W>>;
  static constexpr const char* kName = "rows of values";

  static View Shape(const Weights& weights) {
    View view = {};
    view.stride = SizeSum(weights.cols(), View::kElements - 1) / View::kElements * View::kElements;
    static_cast<WeightsView&>(view) =
        ShapeOf<W>(weights, SizeProduct(weights.rows(), view.stride, sizeof(typename View::Element)));
    return view;
  }
  static void Pack(const Weights& weights, const View& view, std::span<std::byte> to) {
    PackSteps(weights.steps(), view, to);
    std::vector<LevelOf<FormatOf<W>>> levels(weights.cols());
    const size_t row_bytes = view.stride * sizeof(typename View::Element);
    for (size_t r = 0; r < weights.rows(); ++r) {
      std::byte* row = to.data() + r * row_bytes;
      std::memset(row, 0, row_bytes);
      if constexpr (kIsFloat<FormatOf<W>>) {
        const std::span<const uint8_t> reals = weights.RowCodes(r);
        if (!reals.empty()) std::memcpy(row, reals.data(), reals.size());
      } else {
        weights.UnpackRow(r, levels);
        if (!levels.empty()) std::memcpy(row, levels.data(), levels.size() * sizeof(levels[0]));
      }
    }
  }
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_PLAIN_ROWS_H_
