// MatrixMemory: weights on a device, in the layout that their uses ask for (matrix_layout.h).
#ifndef BITNET_BACKEND_CUDA_MATRICES_H_
#define BITNET_BACKEND_CUDA_MATRICES_H_

#include <cstddef>
#include <vector>

#include "bitnet/backend/cuda/matrix_layout.h"
#include "bitnet/backend/cuda/memory.h"
#include "bitnet/tensor/operand.h"
#include "bitnet/tensor/quantized_matrix.h"

namespace bitnet::cuda {

template <Machine M, Operand W, Operand X, class U>
class MatrixMemory {
 public:
  using Layout = MatrixLayout<W, X, U>;

  MatrixMemory() = default;
  MatrixMemory(const M& machine, const QuantizedMatrix<FormatOf<W>>& weights) : view_(Layout::Shape(weights)) {
    std::vector<std::byte> bytes(view_.bytes);
    Layout::Pack(weights, view_, bytes);
    memory_ = Memory<M>(machine, bytes.size());
    // (A fault of a copy at once is the machine's.)
    if (memory_.data() != nullptr) static_cast<void>(machine.Upload(memory_.data(), bytes.data(), bytes.size()));
    view_.base = memory_.data();
  }

  size_t rows() const { return view_.rows; }
  size_t cols() const { return view_.cols; }
  size_t StoredBytes() const { return view_.bytes; }
  const typename Layout::View& view() const { return view_; }

 private:
  Memory<M> memory_;
  typename Layout::View view_ = {};
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_MATRICES_H_
