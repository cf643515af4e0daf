// WeightSteps: the steps of a matrix of weights: one for all, one a row, or one for each group of columns of a row.
#ifndef BITNET_BACKEND_SIMD_WEIGHT_STEPS_H_
#define BITNET_BACKEND_SIMD_WEIGHT_STEPS_H_

#include <cstddef>

#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/quantized_matrix.h"
#include "bitnet/tensor/segments.h"

namespace bitnet {

class WeightSteps {
 public:
  WeightSteps() = default;
  template <Format W>
  explicit WeightSteps(const QuantizedMatrix<W>& weights)
      : segments_(weights.segments()),
        per_row_(weights.layout().per_row),
        steps_(weights.steps().begin(), weights.steps().end()) {}

  Segments segments() const { return segments_; }
  float Of(size_t row, size_t segment = 0) const { return steps_[(per_row_ ? row * segments_.Count() : 0) + segment]; }
  // The rows' steps where each has one, else nullptr: all have Of(0).
  const float* OfRows() const { return per_row_ ? steps_.data() : nullptr; }
  size_t StoredBytes() const { return steps_.size() * sizeof(float); }

 private:
  Segments segments_;
  bool per_row_ = false;
  AlignedVector<float> steps_;
};

}  // namespace bitnet

#endif  // BITNET_BACKEND_SIMD_WEIGHT_STEPS_H_
