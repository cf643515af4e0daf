// Products that a backend may offer in one operation with what stands beside them; where it does not, they are composed
// here. The bits are the same.
#ifndef BITNET_LAYER_FUSED_PRODUCTS_H_
#define BITNET_LAYER_FUSED_PRODUCTS_H_

#include <cstddef>

#include "bitnet/backend/backend.h"
#include "bitnet/tensor/matrix_view.h"

namespace bitnet {

// A matrix, and where its product goes: y [tokens, rows].
template <class Matrix>
struct ProductTo {
  const Matrix& matrix;
  MatrixView<float> y;
};
template <class Matrix>
ProductTo(const Matrix&, MatrixView<float>) -> ProductTo<Matrix>;

// y = x * matrix^T for each of several matrices: `MatMulAll`.
template <Backend B, class X, class... Matrix>
void MatMulAll(const B& backend, typename B::Stream& stream, X& x, const ProductTo<Matrix>&... to) {
  if constexpr (requires { backend.MatMulAll(stream, x, to...); }) {
    backend.MatMulAll(stream, x, to...);
  } else {
    (backend.MatMul(stream, to.matrix, x, to.y), ...);
  }
}

// y += x * matrix^T, of a matrix for all columns (`MatMulAdd`) ...
template <Backend B, class Matrix, class X>
void MatMulAdd(const B& backend, typename B::Stream& stream, const Matrix& matrix, X& x, typename B::Reals& memory,
               MatrixView<float> y) {
  if constexpr (requires { backend.MatMulAdd(stream, matrix, x, y); }) {
    backend.MatMulAdd(stream, matrix, x, y);
  } else {
    const MatrixView<float> product = backend.Shape(stream, memory, y.rows(), y.cols());
    backend.MatMul(stream, matrix, x, product);
    backend.Add(stream, product, y);
  }
}
// ... and of those that FindNonzero listed (`MatMulColumnsAdd`).
template <Backend B, class Matrix, class X>
void MatMulColumnsAdd(const B& backend, typename B::Stream& stream, const Matrix& matrix, X& x,
                      typename B::Reals& memory, MatrixView<float> y) {
  if constexpr (requires { backend.MatMulColumnsAdd(stream, matrix, x, y); }) {
    backend.MatMulColumnsAdd(stream, matrix, x, y);
  } else {
    const MatrixView<float> product = backend.Shape(stream, memory, y.rows(), y.cols());
    backend.MatMulColumns(stream, matrix, x, product);
    backend.Add(stream, product, y);
  }
}

}  // namespace bitnet

#endif  // BITNET_LAYER_FUSED_PRODUCTS_H_
