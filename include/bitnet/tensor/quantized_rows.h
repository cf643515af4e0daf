// QuantizedRows<O>: rows of levels with their steps, and on demand the list of each row's non-zero columns: the inputs
// of a product (a row a token), or queries (a row a head of a token). The plain form, on the host; backends have their
// own.
#ifndef BITNET_TENSOR_QUANTIZED_ROWS_H_
#define BITNET_TENSOR_QUANTIZED_ROWS_H_

#include <cstddef>
#include <span>

#include "bitnet/base/assert.h"
#include "bitnet/base/size.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/channel_lists.h"
#include "bitnet/tensor/operand.h"
#include "bitnet/tensor/step_groups.h"

namespace bitnet {

// A buffer that is kept between calls: Resize allocates only where it grows.
template <Operand O>
class QuantizedRows {
 public:
  using Level = LevelOf<FormatOf<O>>;

  // [rows, cols], of unspecified contents. A step for each row; or, of a Grouped<> operand, for each `group` columns.
  // nonzero() is empty until it is filled.
  void Resize(size_t rows, size_t cols, size_t group = 0) {
    BITNET_ASSERT((group != 0) == kIsGrouped<O>, "QuantizedRows: groups of columns belong to Grouped<> operands");
    // The shape changes once there is memory for it.
    const StepGroups step_groups = {cols, group};
    const size_t levels = ElementCount<Level>(rows, cols);
    const size_t steps = ElementCount<float>(rows, step_groups.Count());
    if (levels_.size() < levels) levels_.resize(levels);
    if (steps_.size() < steps) steps_.resize(steps);
    rows_ = rows;
    step_groups_ = step_groups;
    nonzero_.Resize(0, cols);
  }

  size_t rows() const { return rows_; }
  size_t cols() const { return step_groups_.cols; }
  StepGroups step_groups() const { return step_groups_; }

  std::span<Level> operator[](size_t row) { return {levels_.data() + row * cols(), cols()}; }
  std::span<const Level> operator[](size_t row) const { return {levels_.data() + row * cols(), cols()}; }
  // The steps of a row's groups.
  std::span<float> Steps(size_t row) { return {steps_.data() + row * step_groups_.Count(), step_groups_.Count()}; }
  std::span<const float> Steps(size_t row) const {
    return {steps_.data() + row * step_groups_.Count(), step_groups_.Count()};
  }

  // The columns of each row whose level is not zero, once somebody has listed them.
  const ChannelLists& nonzero() const { return nonzero_; }
  ChannelLists& nonzero() { return nonzero_; }

 private:
  size_t rows_ = 0;
  StepGroups step_groups_;
  AlignedVector<Level> levels_;
  AlignedVector<float> steps_;
  ChannelLists nonzero_;
};

}  // namespace bitnet

#endif  // BITNET_TENSOR_QUANTIZED_ROWS_H_
