// The operands of a product, as conformance_products.h draws them, on the emulated device.
#ifndef BITNET_TESTS_TESTING_DEVICE_PRODUCT_H_
#define BITNET_TESTS_TESTING_DEVICE_PRODUCT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "bitnet/backend/cuda/views.h"
#include "bitnet/tensor/channel_lists.h"
#include "bitnet/tensor/quantized_matrix.h"
#include "bitnet/tensor/quantized_rows.h"
#include "testing/same_bits.h"
#include "testing/simt.h"

namespace bitnet::testing {

// A matrix in a layout.
template <class Layout, class Weights>
typename Layout::View UploadMatrix(DeviceMemory& memory, const Weights& weights) {
  typename Layout::View view = Layout::Shape(weights);
  std::vector<std::byte> bytes(view.bytes, std::byte{0x5a});
  Layout::Pack(weights, view, bytes);
  view.base = memory.Upload(bytes);
  return view;
}

// Rows with their lists, where they have been found.
template <Operand X>
cuda::RowsView<X> UploadRows(DeviceMemory& memory, const QuantizedRows<X>& rows) {
  using Level = LevelOf<FormatOf<X>>;
  const size_t cols = rows.cols();
  const StepGroups groups = rows.step_groups();
  cuda::RowsView<X> view = {};
  view.stride = cuda::PaddedLevels<Level>(cols);
  view.rows = static_cast<uint32_t>(rows.rows());
  view.cols = static_cast<uint32_t>(cols);
  view.group = static_cast<uint32_t>(groups.group == 0 ? cols : groups.group);
  view.groups = static_cast<uint32_t>(groups.Count());
  view.levels = memory.Allocate<Level>(rows.rows() * view.stride);
  view.steps = memory.Allocate<float>(rows.rows() * view.groups);
  for (size_t r = 0; r < rows.rows(); ++r) {
    std::fill_n(view.Row(r), view.stride, Level{});
    std::copy(rows[r].begin(), rows[r].end(), view.Row(r));
    std::copy(rows.Steps(r).begin(), rows.Steps(r).end(), view.Steps(r));
  }
  if (rows.nonzero().tokens() == rows.rows()) {
    view.channels = memory.Allocate<uint32_t>(rows.rows() * cols);
    view.counts = memory.Allocate<uint32_t>(rows.rows());
    for (size_t r = 0; r < rows.rows(); ++r) {
      std::copy(rows.nonzero()[r].begin(), rows.nonzero()[r].end(), view.Channels(r));
      view.counts[r] = static_cast<uint32_t>(rows.nonzero().Count(r));
    }
  }
  return view;
}

inline cuda::ListsView UploadLists(DeviceMemory& memory, const ChannelLists& lists) {
  cuda::ListsView view = {};
  view.tokens = static_cast<uint32_t>(lists.tokens());
  view.width = static_cast<uint32_t>(lists.width());
  view.channels = memory.Allocate<uint32_t>(lists.tokens() * lists.width());
  view.counts = memory.Allocate<uint32_t>(lists.tokens());
  for (size_t t = 0; t < lists.tokens(); ++t) {
    std::copy(lists[t].begin(), lists[t].end(), view.Row(t));
    view.counts[t] = static_cast<uint32_t>(lists.Count(t));
  }
  return view;
}

// A GuardedMatrix of the device's memory.
class DeviceOutput {
 public:
  DeviceOutput(DeviceMemory& memory, size_t rows, size_t cols)
      : host_(rows, cols), values_(memory.Upload(host_.all())) {}

  cuda::Reals view() const { return MatrixView<float>(values_ + 1, host_.rows(), host_.cols(), host_.cols() + 3); }
  // What it holds now; and what it held then.
  GuardedMatrix& Host() {
    std::copy_n(values_, host_.all().size(), host_.all().begin());
    return host_;
  }
  const GuardedMatrix& host() const { return host_; }

 private:
  GuardedMatrix host_;
  float* values_;
};

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_DEVICE_PRODUCT_H_
