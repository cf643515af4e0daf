// RmsNorm, gates, rotations and the element-wise operations on the emulated device.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "bitnet/backend/cuda/elementwise.h"
#include "bitnet/backend/cuda/gates.h"
#include "bitnet/backend/cuda/norm.h"
#include "bitnet/backend/reference_operations.h"
#include "bitnet/backend/where.h"
#include "cuda/device_rows.h"
#include "testing/device_matrix.h"
#include "testing/emulated_backend.h"

namespace bitnet {
namespace {

using testing::AwkwardValues;
using testing::DeviceLists;
using testing::DeviceRows;
using testing::DrawRows;
using testing::EmulatedStream;
using testing::GuardedMatrix;
using testing::Kind;
using testing::RowsCase;

const std::vector<size_t> kEveryKind = {1, 2, 7, 8, 9, 33, 100, 255, 256, 257, 300};
const std::vector<size_t> kOneKind = {3, 16, 31, 32, 64, 128, 200, 511, 512, 513, 700, 1023, 1024, 1025, 2560, 5460};

std::vector<RowsCase> Cases() { return DrawRows(kEveryKind, kOneKind, 7); }

TEST_CASE("RmsNorm on a device: as the reference, in place too") {
  for (RowsCase& c : Cases()) {
    EmulatedStream stream(c.schedule);
    const std::vector<float> gain = AwkwardValues(Kind::kNormal, c.cols, 5);
    GuardedMatrix expected(c.rows, c.cols), y(c.rows, c.cols), in_place = c.x;
    reference::RmsNorm(c.x.view(), gain, 1e-5f, expected.view());
    cuda::RmsNorm(stream, MatrixView<const float>(c.x.view()), gain.data(), 1e-5f, y.view());
    y.ExpectSame(expected, "RmsNorm", c.place);
    cuda::RmsNorm(stream, MatrixView<const float>(in_place.view()), gain.data(), 1e-5f, in_place.view());
    in_place.ExpectSame(expected, "RmsNorm in place", c.place);
  }
}

template <AnyQuantizer Q>
void TestRmsNormQuantize(const char* name) {
  CAPTURE(name);
  for (RowsCase& c : Cases()) {
    EmulatedStream stream(c.schedule);
    const std::vector<float> gain = AwkwardValues(Kind::kNormal, c.cols, 5);
    GuardedMatrix normed(c.rows, c.cols);
    QuantizedRows<OperandOf<Q>> expected;
    reference::RmsNorm(c.x.view(), gain, 1e-5f, normed.view());
    reference::Quantize<Q>(normed.view(), expected);
    reference::FindNonzero(expected);
    DeviceRows<OperandOf<Q>> rows(c.rows, c.cols, kGroupSize<typename Q::Granularity>);
    cuda::RmsNormQuantize<Q>(stream, MatrixView<const float>(c.x.view()), gain.data(), 1e-5f, rows.view(), true);
    rows.ExpectSame(expected, "RmsNormQuantize, " + c.place);
    rows.ExpectSameLists(expected.nonzero(), "RmsNormQuantize, " + c.place);
  }
}

TEST_CASE("RmsNormQuantize on a device: the norm, then the quantizer") {
  TestRmsNormQuantize<Quantizer<Int<4>, AbsMean>>("Int<4>, AbsMean");
  TestRmsNormQuantize<Quantizer<Int<8>, AbsMax, PerGroup<5>>>("Int<8>, AbsMax, PerGroup<5>");
  TestRmsNormQuantize<Unquantized>("Unquantized");
}

// Activations of one's own; the second makes no zeros, and only the host has its values.
struct HalfOfPositive {
  static constexpr bool kMakesZeros = true;
  static constexpr bool kRunsOnDevice = true;
  BITNET_HOST_DEVICE static float Value(float g) { return g <= 0.0f ? 0.0f : 0.5f * g; }
  static float Derivative(float g) { return g <= 0.0f ? 0.0f : 0.5f; }
};
struct Linear {
  static constexpr bool kMakesZeros = false;
  static float Value(float g) { return g; }
  static float Derivative(float) { return 1.0f; }
};
static_assert(cuda::kActivatesOnDevice<SquaredRelu> && cuda::kActivatesOnDevice<Silu> &&
              cuda::kActivatesOnDevice<HalfOfPositive> && !cuda::kActivatesOnDevice<Linear>);

template <Activation A>
void TestActivation(const char* name) {
  using Down = Quantizer<Int<8>, AbsMax>;
  CAPTURE(name);
  for (RowsCase& c : Cases()) {
    EmulatedStream stream(c.schedule);
    const MatrixView<const float> gate = c.x.view();
    ChannelLists open;
    reference::OpenGates<A>(gate, open);
    DeviceLists lists(c.rows, c.cols);
    if constexpr (A::kMakesZeros) {
      cuda::OpenGates<A>(stream, gate, lists.view());
    } else {
      cuda::ListAll(stream, lists.view());
    }
    lists.ExpectSame(open, "OpenGates, " + c.place);

    // Nobody has computed `up` where the gate is closed.
    std::vector<float> up_values(c.rows * c.cols, std::numeric_limits<float>::quiet_NaN());
    const std::vector<float> others = AwkwardValues(Kind::kNormal, c.rows * c.cols, 3);
    for (size_t t = 0; t < c.rows; ++t) {
      for (const uint32_t i : open[t]) up_values[t * c.cols + i] = others[t * c.cols + i];
    }
    GuardedMatrix up(c.rows, c.cols, up_values), y(c.rows, c.cols), expected(c.rows, c.cols);
    reference::Glu<A>(gate, up.view(), open, expected.view());
    cuda::Glu<A>(stream, gate, MatrixView<const float>(up.view()), lists.view(), y.view());
    y.ExpectSame(expected, "Glu", c.place);

    QuantizedRows<OperandOf<Down>> quantized;
    reference::Quantize<Down>(expected.view(), quantized);
    reference::FindNonzero(quantized);
    DeviceRows<OperandOf<Down>> rows(c.rows, c.cols, 0);
    cuda::GluQuantize<A, Down>(stream, gate, MatrixView<const float>(up.view()), rows.view(), true);
    rows.ExpectSame(quantized, "GluQuantize, " + c.place);
    rows.ExpectSameLists(quantized.nonzero(), "GluQuantize, " + c.place);

    cuda::Glu<A>(stream, gate, MatrixView<const float>(up.view()), lists.view(), up.view());
    up.ExpectSame(expected, "Glu in place", c.place);
  }
}

TEST_CASE("Gates on a device: lists and products as the reference, whatever `up` holds where they are closed") {
  TestActivation<SquaredRelu>("SquaredRelu");
  TestActivation<Silu>("Silu");
  TestActivation<HalfOfPositive>("HalfOfPositive");
}

TEST_CASE("OpenGates on a device: of an activation that makes no zeros nothing runs until somebody reads the lists") {
  const testing::EmulatedBackend backend;
  auto stream = backend.NewStream();
  const std::vector<float> values(2 * 300, -1.0f);
  testing::DeviceMatrix gate(backend, stream, 2, 300, values);
  testing::EmulatedBackend::Lists lists;
  const auto& launches = backend.machine().counts().launches;
  for (int i = 0; i < 2; ++i) {
    const size_t before = launches;
    backend.OpenGates<Linear>(stream, gate.view(), lists);
    REQUIRE(backend.Finish(stream).ok());
    CHECK(launches == before);
    for (int reads = 0; reads < 2; ++reads) {
      ChannelLists read;
      backend.Read(stream, lists, read);
      REQUIRE(read.tokens() == 2);
      REQUIRE(read.Count(1) == 300);
      CHECK(read[1][299] == 299);
      CHECK(launches == before + 1);
    }
  }
  // Those of other gates are what OpenGates finds.
  backend.OpenGates<SquaredRelu>(stream, gate.view(), lists);
  ChannelLists read;
  backend.Read(stream, lists, read);
  CHECK(read.Count(1) == 0);
}

TEST_CASE("Add and Copy on a device: as the reference") {
  for (RowsCase& c : Cases()) {
    EmulatedStream stream(c.schedule);
    const std::vector<float> others = AwkwardValues(Kind::kNormal, c.rows * c.cols, 7);
    GuardedMatrix expected(c.rows, c.cols, others), y = expected;
    reference::Add(c.x.view(), expected.view());
    cuda::Add(stream, MatrixView<const float>(c.x.view()), y.view());
    y.ExpectSame(expected, "Add", c.place);
    cuda::Copy(stream, MatrixView<const float>(c.x.view()), y.view());
    y.ExpectSame(c.x, "Copy", c.place);
  }
}

TEST_CASE("Add on a device: more rows than a grid has") {
  constexpr size_t kRows = 65535 + 3;
  EmulatedStream stream(testing::kSchedules[2]);
  GuardedMatrix x(kRows, 1, AwkwardValues(Kind::kNormal, kRows, 1));
  GuardedMatrix expected(kRows, 1, AwkwardValues(Kind::kNormal, kRows, 2)), y = expected;
  reference::Add(x.view(), expected.view());
  // (As 65535 blocks of 256 threads would take long here: fewer.)
  using K = cuda::EachElementKernel<cuda::AddOf>;
  stream.Launch(K{{MatrixView<const float>(x.view()), y.view()}, kRows, 1}, cuda::Grid{1, 7});
  y.ExpectSame(expected, "Add", "65538 rows");
}

TEST_CASE("Rotate on a device: as the reference, heads of several widths") {
  for (const size_t head_dim : {2u, 6u, 16u, 64u, 130u}) {
    for (const size_t heads : {1u, 3u, 20u}) {
      for (const testing::Schedule& schedule : testing::kSchedules) {
        constexpr size_t kTokens = 3;
        const Rope rope(head_dim, 100.0f);
        const std::vector<Place> places = {{0, 1}, {1, 8}, {0, 1000}};
        HostWhere where;
        where.Set(places, {}, rope);
        const size_t cols = heads * head_dim;
        GuardedMatrix expected(kTokens, cols, AwkwardValues(Kind::kNan, kTokens * cols, cols)), y = expected;
        reference::Rotate(where, expected.view());
        cuda::WhereView view = {};
        view.cos = where.Cos(0).data();
        view.sin = where.Sin(0).data();
        view.tokens = kTokens;
        view.pairs = static_cast<uint32_t>(where.pairs());
        EmulatedStream stream(schedule);
        cuda::Rotate(stream, view, head_dim, y.view());
        y.ExpectSame(expected, "Rotate", std::to_string(heads) + " heads of " + std::to_string(head_dim));
      }
    }
  }
}

TEST_CASE("Operations on a device: no rows, no columns") {
  EmulatedStream stream(testing::kSchedules[0]);
  using Q = Quantizer<Int<4>, AbsMean>;
  const MatrixView<const float> none(nullptr, 0, 300);
  const MatrixView<float> none_out(nullptr, 0, 300);
  DeviceRows<Int<4>> rows(0, 300, 0);
  DeviceLists lists(0, 300);
  testing::DeviceMemory memory;
  cuda::Quantize<Q>(stream, none, rows.view(), true);
  cuda::QuantizeTopK<Q>(stream, none, 3, rows.view(), true);
  cuda::FindNonzero(stream, rows.view());
  cuda::RmsNorm(stream, none, nullptr, 1e-5f, none_out);
  cuda::RmsNormQuantize<Q>(stream, none, nullptr, 1e-5f, rows.view());
  cuda::OpenGates<SquaredRelu>(stream, none, lists.view());
  cuda::ListAll(stream, lists.view());
  cuda::Glu<SquaredRelu>(stream, none, none, lists.view(), none_out);
  cuda::GluQuantize<SquaredRelu, Q>(stream, none, none, rows.view());
  cuda::Add(stream, none, none_out);
  cuda::Copy(stream, none, none_out);
  cuda::Rotate(stream, {}, 0, none_out);
  CHECK(stream.launches() == 0);
  auto* count = memory.Allocate<uint64_t>(1);
  cuda::CountNonzero(stream, rows.view(), count);
  CHECK(*count == 0);

  const MatrixView<const float> narrow(nullptr, 2, 0);
  DeviceRows<Int<4>> no_columns(2, 0, 0);
  DeviceLists no_channels(2, 0);
  cuda::Quantize<Q>(stream, narrow, no_columns.view());
  cuda::Quantize<Q>(stream, narrow, no_columns.view(), true);
  CHECK(no_columns.view().counts[0] == 0);
  CHECK(no_columns.view().counts[1] == 0);
  cuda::FindNonzero(stream, no_columns.view());
  cuda::OpenGates<SquaredRelu>(stream, narrow, no_channels.view());
  CHECK(no_channels.view().counts[1] == 0);
  no_channels.view().counts[1] = 7;
  cuda::ListAll(stream, no_channels.view());
  CHECK(no_channels.view().counts[1] == 0);
  cuda::CountNonzero(stream, no_columns.view(), count);
  CHECK(*count == 0);
}

}  // namespace
}  // namespace bitnet
