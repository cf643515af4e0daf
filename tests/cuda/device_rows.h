// Rows, lists and numbers in memory of the emulated device, and what the tests of operations on them compare.
#ifndef BITNET_TESTS_CUDA_DEVICE_ROWS_H_
#define BITNET_TESTS_CUDA_DEVICE_ROWS_H_

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

#include "bitnet/backend/cuda/views.h"
#include "bitnet/tensor/channel_lists.h"
#include "bitnet/tensor/operand.h"
#include "bitnet/tensor/quantized_rows.h"
#include "testing/awkward_values.h"
#include "testing/same_bits.h"
#include "testing/simt.h"

namespace bitnet::testing {

// Rows of quantized values, of exact size, as RowsView describes them.
template <Operand X>
class DeviceRows {
 public:
  using Level = LevelOf<FormatOf<X>>;

  // `group`: of columns with one step; 0 where a row has one.
  DeviceRows(size_t rows, size_t cols, size_t group) : group_(group) {
    const StepGroups step_groups = {cols, group};
    view_.stride = cuda::PaddedLevels<Level>(cols);
    view_.rows = static_cast<uint32_t>(rows);
    view_.cols = static_cast<uint32_t>(cols);
    view_.group = static_cast<uint32_t>(group == 0 ? cols : group);
    view_.groups = static_cast<uint32_t>(step_groups.Count());
    view_.levels = memory_.Allocate<Level>(rows * view_.stride);
    view_.steps = memory_.Allocate<float>(rows * view_.groups);
    view_.channels = memory_.Allocate<uint32_t>(rows * cols);
    view_.counts = memory_.Allocate<uint32_t>(rows);
  }
  const cuda::RowsView<X>& view() const { return view_; }

  void ExpectSame(const QuantizedRows<X>& expected, const std::string& place) const {
    for (size_t r = 0; r < view_.rows; ++r) {
      for (size_t s = 0; s < view_.groups; ++s) {
        Differ(view_.Steps(r)[s], expected.Steps(r)[s], place, "step", r, s);
      }
      for (size_t c = 0; c < view_.cols; ++c) {
        Differ(static_cast<float>(view_.Row(r)[c]), static_cast<float>(expected[r][c]), place, "level", r, c);
      }
      for (size_t c = view_.cols; c < view_.stride; ++c) {
        Differ(static_cast<float>(view_.Row(r)[c]), 0.0f, place, "padding", r, c);
      }
    }
  }
  void ExpectSameLists(const ChannelLists& expected, const std::string& place) const {
    for (size_t r = 0; r < view_.rows; ++r) {
      const std::vector<uint32_t> list(view_.Channels(r), view_.Channels(r) + std::min(view_.counts[r], view_.cols));
      Expect(std::ranges::equal(list, expected[r]), "list", place + ", row " + std::to_string(r));
    }
  }

 private:
  static void Differ(float actual, float expected, const std::string& place, const char* what, size_t row, size_t i) {
    if (SameBits(actual, expected)) return;
    FAIL_CHECK(place << ": " << std::string(what) << " " << i << " of row " << row << " is " << actual << ", not "
                     << expected);
  }

  size_t group_;
  DeviceMemory memory_;
  cuda::RowsView<X> view_ = {};
};

// Lists of channels, of exact size.
class DeviceLists {
 public:
  DeviceLists(size_t tokens, size_t width)
      : view_{memory_.Allocate<uint32_t>(tokens * width), memory_.Allocate<uint32_t>(tokens),
              static_cast<uint32_t>(tokens), static_cast<uint32_t>(width)} {}
  const cuda::ListsView& view() const { return view_; }
  void ExpectSame(const ChannelLists& expected, const std::string& place) const {
    for (size_t t = 0; t < view_.tokens; ++t) {
      const std::vector<uint32_t> list(view_.Row(t), view_.Row(t) + std::min(view_.counts[t], view_.width));
      Expect(std::ranges::equal(list, expected[t]), "list", place + ", token " + std::to_string(t));
    }
  }

 private:
  DeviceMemory memory_;
  cuda::ListsView view_;
};

// An input of an operation, and how the device runs it: schedules take turns.
struct RowsCase {
  size_t rows;
  size_t cols;
  Kind kind;
  Schedule schedule;
  std::string place;
  GuardedMatrix x;
};

// Every kind of row at some widths, a kind each at others.
template <class Widths>
std::vector<RowsCase> DrawRows(const Widths& every_kind, const Widths& one_kind, int top) {
  std::vector<RowsCase> cases;
  const auto add = [&](size_t rows, size_t cols, Kind kind) {
    Schedule schedule = kSchedules[cases.size() % kSchedules.size()];
    schedule.seed += cases.size();
    std::ostringstream place;
    place << rows << "x" << cols << ", kind " << static_cast<int>(kind) << ", " << schedule;
    cases.push_back({rows, cols, kind, schedule, place.str(),
                     GuardedMatrix(rows, cols, AwkwardValues(kind, rows * cols, cols + rows, top))});
  };
  constexpr auto kKinds = static_cast<size_t>(Kind::kCount);
  for (const size_t cols : every_kind) {
    for (size_t kind = 0; kind < kKinds; ++kind) add(1 + cols % 3, cols, static_cast<Kind>(kind));
  }
  size_t kind = 0;
  for (const size_t cols : one_kind) add(2, cols, static_cast<Kind>(kind++ % kKinds));
  return cases;
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_CUDA_DEVICE_ROWS_H_
