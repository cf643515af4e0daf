// Products of kernels of the CUDA backend, on the emulated device, against the reference.
#ifndef BITNET_TESTS_TESTING_PRODUCT_TEST_H_
#define BITNET_TESTS_TESTING_PRODUCT_TEST_H_

#include <cstddef>
#include <span>
#include <string>

#include "bitnet/backend/cuda/matrix_layout.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/tensor/operand.h"
#include "testing/conformance_products.h"
#include "testing/device_product.h"
#include "testing/simt_schedule.h"

namespace bitnet::testing {

// A case on the device; its results are to be those of the reference, by whatever computes them.
template <Operand W, Operand X>
class DeviceProduct {
 public:
  DeviceProduct(const char* pair, const ProductCase& c, size_t cols)
      : expected_(ExpectProduct<FormatOf<W>, X>(pair, c, cols)), x_(UploadRows(memory_, expected_.x)) {}

  const ProductExpectation<FormatOf<W>, X>& expected() const { return expected_; }
  size_t rows() const { return expected_.weights.rows(); }
  const cuda::RowsView<X>& x() const { return x_; }
  DeviceMemory& memory() { return memory_; }
  template <class Layout>
  typename Layout::View Matrix() {
    return UploadMatrix<Layout>(memory_, expected_.weights);
  }

  // launch(stream, y) in a schedule makes all outputs, ...
  template <class Launches>
  void ExpectAll(const char* what, const Schedule& schedule, const Launches& launch) {
    Expect(what, schedule, launch, expected_.all);
  }
  // ... the same where zero inputs read no weight, ...
  template <class Launches>
  void ExpectColumns(const char* what, const Schedule& schedule, const Launches& launch) {
    Expect(what, schedule, launch, expected_.by_columns);
  }
  // ... or those that are listed.
  template <class Launches>
  void ExpectListed(const char* what, const Schedule& schedule, const Launches& launch) {
    DeviceMemory memory;
    DeviceOutput y(memory, x_.rows, rows());
    const cuda::ListsView lists = UploadLists(memory, expected_.rows);
    if (!Run(what, schedule, [&](EmulatedStream& stream) { launch(stream, lists, y.view()); })) return;
    ForgetUnlisted(expected_.rows, y.Host().view());
    y.host().ExpectSame(expected_.listed, what, expected_.place);
  }
  template <class Launches>
  void ExpectLookedUp(const char* what, const Schedule& schedule, const Launches& launch) {
    DeviceMemory memory;
    DeviceOutput y(memory, expected_.numbers.size(), expected_.weights.cols());
    const uint32_t* numbers = memory.Upload(expected_.numbers);
    if (!Run(what, schedule, [&](EmulatedStream& stream) { launch(stream, numbers, y.view()); })) return;
    y.Host().ExpectSame(expected_.looked_up, what, expected_.place);
  }

 private:
  template <class Launches>
  void Expect(const char* what, const Schedule& schedule, const Launches& launch, const GuardedMatrix& expected) {
    DeviceMemory memory;
    DeviceOutput y(memory, x_.rows, rows());
    if (!Run(what, schedule, [&](EmulatedStream& stream) { launch(stream, y.view()); })) return;
    y.Host().ExpectSame(expected, what, expected_.place);
  }
  template <class Launches>
  bool Run(const char* what, const Schedule& schedule, const Launches& launch) {
    try {
      EmulatedStream stream(schedule);
      launch(stream);
      return true;
    } catch (const SimtError& error) {
      FAIL_CHECK(std::string(what) << ", " << expected_.place << ": " << error.what());
      return false;
    }
  }

  DeviceMemory memory_;
  ProductExpectation<FormatOf<W>, X> expected_;
  cuda::RowsView<X> x_;
};

// test(case, columns, schedule) for each case with every width; schedules take turns. Operands whose steps have no
// groups have none in a case either.
template <Operand W, Operand X, class Test>
void EachCase(std::span<const ProductCase> cases, std::span<const size_t> widths, const Test& test) {
  size_t i = 0;
  for (const size_t cols : widths) {
    for (ProductCase c : cases) {
      if (!kIsGrouped<W>) c.weights.group = 0;
      if (!kIsGrouped<X>) c.group = 0;
      test(c, cols, kSchedules[i++ % kSchedules.size()]);
    }
  }
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_PRODUCT_TEST_H_
