// Rows that a block of threads takes in parts, or that the larger block takes.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bitnet/backend/cuda/gates.h"
#include "bitnet/backend/cuda/norm.h"
#include "bitnet/backend/cuda/quantize.h"
#include "bitnet/backend/reference_operations.h"
#include "cuda/device_rows.h"

namespace bitnet {
namespace {

using testing::AwkwardValues;
using testing::DeviceLists;
using testing::DeviceRows;
using testing::DrawRows;
using testing::EmulatedStream;
using testing::GuardedMatrix;
using testing::RowsCase;

using Q = Quantizer<Int<4>, AbsMean>;
using X = Int<4>;

void TestRow(RowsCase& c) {
  EmulatedStream stream(c.schedule);
  const MatrixView<const float> x = c.x.view();
  std::vector<float> gain = AwkwardValues(testing::Kind::kNormal, c.cols, 5);
  QuantizedRows<X> expected;
  {
    const size_t k = c.cols / 3;
    DeviceRows<X> rows(c.rows, c.cols, 0);
    reference::QuantizeTopK<Q>(x, k, expected);
    reference::FindNonzero(expected);
    cuda::QuantizeTopK<Q>(stream, x, k, rows.view(), true);
    rows.ExpectSame(expected, "QuantizeTopK, " + c.place);
    rows.ExpectSameLists(expected.nonzero(), "QuantizeTopK, " + c.place);
    cuda::FindNonzero(stream, rows.view());
    rows.ExpectSameLists(expected.nonzero(), "FindNonzero, " + c.place);
  }
  {
    DeviceRows<X> rows(c.rows, c.cols, 0);
    GuardedMatrix normed(c.rows, c.cols), y(c.rows, c.cols);
    reference::RmsNorm(x, gain, 1e-5f, normed.view());
    reference::Quantize<Q>(normed.view(), expected);
    cuda::RmsNormQuantize<Q>(stream, x, gain.data(), 1e-5f, rows.view());
    rows.ExpectSame(expected, "RmsNormQuantize, " + c.place);
    cuda::RmsNorm(stream, x, gain.data(), 1e-5f, y.view());
    y.ExpectSame(normed, "RmsNorm", c.place);
  }
  ChannelLists open;
  reference::OpenGates<SquaredRelu>(x, open);
  DeviceLists lists(c.rows, c.cols);
  cuda::OpenGates<SquaredRelu>(stream, x, lists.view());
  lists.ExpectSame(open, "OpenGates, " + c.place);
}

TEST_CASE("Rows on a device: of widths at which a larger block has them, and in parts") {
  const std::vector<size_t> widths = {4096, 4097, 6912, 16384, 16385, 33000};
  for (RowsCase& c : DrawRows(std::vector<size_t>{}, widths, 7)) TestRow(c);
}

// What the kernels do with 128 threads at any width, one part after the other.
TEST_CASE("Rows on a device: many parts") {
  const std::vector<size_t> widths = {4097, 8191, 8192, 8193, 13000, 20481, 40000};
  for (RowsCase& c : DrawRows(std::vector<size_t>{}, widths, 7)) {
    const MatrixView<const float> x = c.x.view();
    const std::vector<float> gain = AwkwardValues(testing::Kind::kNormal, c.cols, 5);
    GuardedMatrix normed(c.rows, c.cols), y(c.rows, c.cols);
    QuantizedRows<X> expected;
    EmulatedStream stream(c.schedule);
    DeviceRows<X> rows(c.rows, c.cols, 0);
    const cuda::Grid grid = {static_cast<unsigned>(c.rows), 1};
    const auto k = static_cast<uint32_t>(c.cols / 2);

    reference::QuantizeTopK<Q>(x, k, expected);
    reference::FindNonzero(expected);
    stream.Launch(cuda::QuantizeRowsKernel<Q, cuda::PlainSource, true, 128>{{x}, rows.view(), k, true}, grid);
    rows.ExpectSame(expected, "QuantizeTopK, " + c.place);
    rows.ExpectSameLists(expected.nonzero(), "QuantizeTopK, " + c.place);

    reference::RmsNorm(x, gain, 1e-5f, normed.view());
    reference::Quantize<Q>(normed.view(), expected);
    reference::FindNonzero(expected);
    const cuda::NormSource norm = {x, gain.data(), 1e-5f};
    stream.Launch(cuda::QuantizeRowsKernel<Q, cuda::NormSource, false, 128>{norm, rows.view(), 0, true}, grid);
    rows.ExpectSame(expected, "RmsNormQuantize, " + c.place);
    rows.ExpectSameLists(expected.nonzero(), "RmsNormQuantize, " + c.place);
    stream.Launch(cuda::RmsNormKernel<128>{norm, y.view()}, grid);
    y.ExpectSame(normed, "RmsNorm", c.place);
  }
}

}  // namespace
}  // namespace bitnet
