// TensorMatrix: what a tensor of a public file is here: codes and steps, or reals, in the format of its type.
#ifndef BITNET_IO_TENSOR_MATRIX_H_
#define BITNET_IO_TENSOR_MATRIX_H_

#include <array>
#include <variant>

#include "bitnet/format/format.h"
#include "bitnet/tensor/quantized_matrix.h"

namespace bitnet {

// Two bits, all of which are levels: -1, 0, 1, 2. What is ternary in such types is given as Ternary.
struct MinusOneToTwo {
  static constexpr auto kLevels = std::array{-1, 0, 1, 2};
};

using TensorMatrix = std::variant<QuantizedMatrix<Ternary>, QuantizedMatrix<Binary>, QuantizedMatrix<MinusOneToTwo>,
                                  QuantizedMatrix<Int<4>>, QuantizedMatrix<Int<6>>, QuantizedMatrix<Int<8>>,
                                  QuantizedMatrix<BFloat16>, QuantizedMatrix<Float16>, QuantizedMatrix<Float>>;

}  // namespace bitnet

#endif  // BITNET_IO_TENSOR_MATRIX_H_
