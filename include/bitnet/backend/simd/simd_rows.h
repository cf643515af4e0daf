// SimdRows<O>: the quantized inputs of a product, or queries, as the vector kernels read them: levels unpacked and
// padded, steps, and on demand the list of each row's non-zero columns and tables that products made of them.
//
// A buffer that layers keep between calls: Resize allocates only where it grows.
#ifndef BITNET_BACKEND_SIMD_SIMD_ROWS_H_
#define BITNET_BACKEND_SIMD_SIMD_ROWS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bitnet/base/assert.h"
#include "bitnet/base/size.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/channel_lists.h"
#include "bitnet/tensor/operand.h"
#include "bitnet/tensor/step_groups.h"

namespace bitnet {

// What a product computed of the inputs and left for the next ones that read them, in a form that `key` names; nullptr:
// nothing.
struct PreparedInputs {
  const void* key = nullptr;
  std::span<const uint8_t> bytes;
};

template <Operand O>
class SimdRows {
 public:
  using Level = LevelOf<FormatOf<O>>;

  // Levels of a row are followed by zeros up to a multiple of this many, so that vector loads may run past the end.
  static constexpr size_t kPadding = 128;
  // So many more values after the last row may be read; what they are is unspecified.
  static constexpr size_t kReadBeyond = 1024;

  // [rows, cols], of unspecified contents; padding is zero. A step for each row; or, of a Grouped<> operand, for each
  // `group` columns. nonzero() is empty until it is filled.
  void Resize(size_t rows, size_t cols, size_t group = 0) {
    BITNET_ASSERT((group != 0) == kIsGrouped<O>, "SimdRows: groups of columns belong to Grouped<> operands");
    // The shape changes once there is memory for it.
    const StepGroups step_groups = {cols, group};
    const size_t stride = RoundUp(std::max<size_t>(cols, 1), kPadding);
    const size_t levels = ElementCount<Level>(SizeSum(SizeProduct(rows, stride), kReadBeyond));
    const size_t steps = ElementCount<float>(rows, step_groups.Count());
    if (levels_.size() < levels) levels_.resize(levels);
    if (steps_.size() < steps) steps_.resize(steps);
    rows_ = rows;
    step_groups_ = step_groups;
    stride_ = stride;
    for (size_t r = 0; r < rows; ++r) std::fill(Row(r) + cols, Row(r) + stride_, Level{});
    nonzero_.Resize(0, cols);
    key_ = nullptr;
  }

  size_t rows() const { return rows_; }
  size_t cols() const { return step_groups_.cols; }
  size_t stride() const { return stride_; }
  StepGroups step_groups() const { return step_groups_; }

  Level* Row(size_t row) { return levels_.data() + row * stride_; }
  const Level* Row(size_t row) const { return levels_.data() + row * stride_; }
  std::span<Level> operator[](size_t row) { return {Row(row), cols()}; }
  std::span<const Level> operator[](size_t row) const { return {Row(row), cols()}; }
  std::span<float> Steps(size_t row) { return {steps_.data() + row * step_groups_.Count(), step_groups_.Count()}; }
  std::span<const float> Steps(size_t row) const {
    return {steps_.data() + row * step_groups_.Count(), step_groups_.Count()};
  }

  // The columns of each row whose level is not zero, once somebody has listed them.
  const ChannelLists& nonzero() const { return nonzero_; }
  ChannelLists& nonzero() { return nonzero_; }

  PreparedInputs prepared() const { return {key_, {prepared_.data(), prepared_bytes_}}; }
  // Room for a prepared form, which holds until the next Resize: levels must not change after it.
  uint8_t* TablesFor(const void* key, size_t bytes) {
    if (prepared_.size() < bytes) prepared_.resize(ElementCount<uint8_t>(bytes));
    key_ = key;
    prepared_bytes_ = bytes;
    return prepared_.data();
  }

 private:
  size_t rows_ = 0;
  size_t stride_ = 0;
  StepGroups step_groups_;
  AlignedVector<Level> levels_;
  AlignedVector<float> steps_;
  ChannelLists nonzero_;
  const void* key_ = nullptr;
  size_t prepared_bytes_ = 0;
  AlignedVector<uint8_t> prepared_;
};

}  // namespace bitnet

#endif  // BITNET_BACKEND_SIMD_SIMD_ROWS_H_
