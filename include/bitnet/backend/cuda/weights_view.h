// What the layouts of weights have in common: a matrix on a device is one block of memory, codes and then steps, and a
// view of it for kernels. Views are made on the host before there is memory (`Shape` of a layout), and told where it
// is.
#ifndef BITNET_BACKEND_CUDA_WEIGHTS_VIEW_H_
#define BITNET_BACKEND_CUDA_WEIGHTS_VIEW_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "bitnet/base/assert.h"
#include "bitnet/base/host_device.h"
#include "bitnet/base/size.h"
#include "bitnet/tensor/operand.h"
#include "bitnet/tensor/quantized_matrix.h"

namespace bitnet::cuda {

// Of all layouts. The steps are those of QuantizedMatrix, in its order: one, or one a row, or one for each group of
// columns of a row; of reals they are 1.
struct WeightsView {
  const std::byte* base;  // where the matrix lies: at a multiple of 256 bytes
  size_t steps_at;        // from there
  size_t bytes;           // in all
  uint32_t rows;
  uint32_t cols;
  uint32_t group;      // columns that share a step; cols where a row has one
  uint32_t groups;     // of a row, at least 1
  uint32_t row_steps;  // steps from one row's to the next one's; 0 where all have the same

  BITNET_HOST_DEVICE const float* Steps(size_t row) const {
    return reinterpret_cast<const float*>(base + steps_at) + row * row_steps;
  }
};

// Kernels count rows and columns in 32 bits; a matrix of more has no place in today's devices.
inline uint32_t Count32(size_t n) {
  BITNET_ASSERT(n < (size_t{1} << 31), "PrepareMatrix: more than 2^31 rows or columns");
  return static_cast<uint32_t>(n);
}

// That of a matrix whose codes take so many bytes.
template <Operand W>
WeightsView ShapeOf(const QuantizedMatrix<FormatOf<W>>& weights, size_t code_bytes) {
  const StepGranularity granularity = weights.granularity();
  BITNET_ASSERT((granularity.group != 0) == kIsGrouped<W>,
                "PrepareMatrix: steps for groups of columns belong to Grouped<> operands");
  WeightsView view = {};
  view.rows = Count32(weights.rows());
  view.cols = Count32(weights.cols());
  view.group = granularity.group == 0 ? view.cols : static_cast<uint32_t>(std::min(granularity.group, weights.cols()));
  view.groups = Count32(weights.step_groups().Count());
  view.row_steps = granularity.per_row ? view.groups : 0;
  view.steps_at = SizeSum(code_bytes, size_t{255}) / 256 * 256;
  view.bytes = SizeSum(view.steps_at, SizeProduct(weights.steps().size(), sizeof(float)));
  return view;
}

// Steps to where they belong; codes are the layout's.
inline void PackSteps(std::span<const float> steps, const WeightsView& view, std::span<std::byte> to) {
  BITNET_ASSERT(to.size() == view.bytes, "Pack: the destination must have the bytes of the shape");
  if (!steps.empty()) std::memcpy(to.data() + view.steps_at, steps.data(), steps.size_bytes());
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_WEIGHTS_VIEW_H_
