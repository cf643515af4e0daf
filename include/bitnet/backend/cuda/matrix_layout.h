// MatrixLayout<W, X, U>: how weights W lie on a device for inputs X and the uses U.
//
//   using Layout = MatrixLayout<W, X, U>;
//   typename Layout::View view = Layout::Shape(weights);  // trivially copyable; view.bytes is the memory it needs
//   Layout::Pack(weights, view, bytes);                   // into a span of so many bytes on the host
//   view.base = memory;                                   // once they are on the device, at a multiple of 256 bytes
//
// Which layout it is, is all that depends on X and U; kernels take views. Another layout is one more class like the
// three below, and a line here.
#ifndef BITNET_BACKEND_CUDA_MATRIX_LAYOUT_H_
#define BITNET_BACKEND_CUDA_MATRIX_LAYOUT_H_

#include <type_traits>

#include "bitnet/backend/cuda/code_words.h"
#include "bitnet/backend/cuda/packed_columns.h"
#include "bitnet/backend/cuda/packed_rows.h"
#include "bitnet/backend/cuda/plain_rows.h"
#include "bitnet/backend/uses.h"
#include "bitnet/tensor/operand.h"

namespace bitnet::cuda {

namespace detail {

template <Operand W, Operand X, class U>
constexpr auto ChooseLayout() {
  if constexpr (!kHasByteLevels<FormatOf<W>> || (U::kMultiplies && !kHasByteLevels<FormatOf<X>>)) {
    return std::type_identity<PlainRows<W>>();
  } else if constexpr (U::template kHas<ChosenColumns>) {
    return std::type_identity<PackedColumns<W>>();
  } else {
    return std::type_identity<PackedRows<W>>();
  }
}

}  // namespace detail

template <Operand W, Operand X, class U>
using MatrixLayout = typename decltype(detail::ChooseLayout<W, X, U>())::type;

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_MATRIX_LAYOUT_H_
