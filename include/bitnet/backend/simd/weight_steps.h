// WeightSteps: the steps of a matrix of weights: one for all, one a row, or one for each group of columns of a row;
// those of a row side by side, or those of a group of columns.
#ifndef BITNET_BACKEND_SIMD_WEIGHT_STEPS_H_
#define BITNET_BACKEND_SIMD_WEIGHT_STEPS_H_

#include <cstddef>

#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/quantized_matrix.h"
#include "bitnet/tensor/step_groups.h"

namespace bitnet {

enum class StepOrder { kByRow, kByGroup };

template <StepOrder kOrder>
class WeightSteps {
 public:
  WeightSteps() = default;
  template <Format W>
  explicit WeightSteps(const QuantizedMatrix<W>& weights)
      : step_groups_(weights.step_groups()), steps_(weights.steps().begin(), weights.steps().end()) {
    if (!weights.granularity().per_row) return;
    row_stride_ = kOrder == StepOrder::kByRow ? step_groups_.Count() : 1;
    if (kOrder == StepOrder::kByRow || step_groups_.Count() == 1) return;
    group_stride_ = weights.rows();
    for (size_t row = 0; row < weights.rows(); ++row) {
      for (size_t s = 0; s < step_groups_.Count(); ++s) steps_[s * group_stride_ + row] = weights.Step(row, s);
    }
  }

  StepGroups step_groups() const { return step_groups_; }
  float Of(size_t row, size_t step_group = 0) const { return steps_[row * row_stride_ + step_group * group_stride_]; }
  // Of a group those of all rows (kByGroup), side by side, where each has one, else nullptr: all have Of(0).
  const float* OfRows(size_t step_group = 0) const {
    return row_stride_ != 0 ? steps_.data() + step_group * group_stride_ : nullptr;
  }
  // Of a row those of all groups (kByRow), side by side.
  const float* OfRow(size_t row) const { return steps_.data() + row * row_stride_; }
  size_t StoredBytes() const { return steps_.size() * sizeof(float); }

 private:
  StepGroups step_groups_;
  size_t row_stride_ = 0;
  size_t group_stride_ = 1;
  AlignedVector<float> steps_;
};

}  // namespace bitnet

#endif  // BITNET_BACKEND_SIMD_WEIGHT_STEPS_H_
