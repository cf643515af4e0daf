// GrowingMatrix: a float matrix that layers keep between calls; memory is taken only where a shape is larger than any
// before, so that steady decoding allocates nothing.
#ifndef BITNET_TENSOR_GROWING_MATRIX_H_
#define BITNET_TENSOR_GROWING_MATRIX_H_

#include <cstddef>

#include "bitnet/base/size.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/matrix_view.h"

namespace bitnet {

class GrowingMatrix {
 public:
  // A view [rows, cols], contiguous, of unspecified contents. Ends the life of earlier views.
  MatrixView<float> Shape(size_t rows, size_t cols) {
    const size_t count = ElementCount<float>(rows, cols);
    if (values_.size() < count) values_.resize(count);
    return {values_.data(), rows, cols};
  }

 private:
  AlignedVector<float> values_;
};

}  // namespace bitnet

#endif  // BITNET_TENSOR_GROWING_MATRIX_H_
