#include "bitnet/backend/cuda/transform.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "bitnet/backend/reference_operations.h"
#include "cuda/device_rows.h"

namespace bitnet {
namespace {

using testing::DrawRows;
using testing::EmulatedStream;
using testing::GuardedMatrix;
using testing::Kind;
using testing::RowsCase;

template <AnyTransform T>
void TestOf(const char* name, const std::vector<size_t>& every_kind, const std::vector<size_t>& one_kind) {
  CAPTURE(name);
  static_assert(cuda::kTransformsOnDevice<T>);
  for (RowsCase& c : DrawRows(every_kind, one_kind, 7)) {
    EmulatedStream stream(c.schedule);
    GuardedMatrix expected(c.rows, c.cols), y(c.rows, c.cols), x = c.x;
    reference::Transform<T>(c.x.view(), expected.view());
    cuda::Transform<T>(stream, MatrixView<const float>(x.view()), y.view());
    y.ExpectSame(expected, "Transform", c.place);
    x.ExpectSame(c.x, "Transform leaves its input alone", c.place);
    cuda::Transform<T>(stream, MatrixView<const float>(x.view()), x.view());
    x.ExpectSame(expected, "Transform in place", c.place);
  }
}

template <AnyTransform T>
void TestTransform(const char* name, const std::vector<size_t>& every_kind, const std::vector<size_t>& one_kind) {
  TestOf<T>(name, every_kind, one_kind);
  TestOf<Transposed<T>>(name, every_kind, one_kind);
}

const std::vector<size_t> kSome = {1, 2, 7, 31, 33, 100, 130, 300};
const std::vector<size_t> kMore = {3,   5,    8,    15,   16,   17,   32,   63,   64,   65,   127,
                                   128, 129,  192,  255,  256,  257,  511,  512,  514,  700,  770,
                                   896, 1023, 1024, 1025, 1500, 2047, 2560, 4095, 4096, 4097, 5460};

TEST_CASE("Hadamard transforms on a device: as the reference, blocks within a warp") {
  TestTransform<Hadamard<1, RandomSigns<1>>>("signs alone", kSome, kMore);
  TestTransform<Hadamard<2>>("Hadamard<2>", kSome, kMore);
  TestTransform<Hadamard<16, RandomSigns<2>>>("Hadamard<16>, signs", kSome, kMore);
  TestTransform<Hadamard<32>>("Hadamard<32>", kSome, kMore);
  TestTransform<Hadamard<128>>("Hadamard<128>", kSome, kMore);
  TestTransform<Hadamard<256, RandomSigns<3>>>("Hadamard<256>, signs", kSome, kMore);
  TestTransform<Hadamard<1024, RandomSigns<4>>>("Hadamard<1024>, signs", kSome, kMore);
}

TEST_CASE("Hadamard transforms on a device: as the reference, blocks of several warps") {
  const std::vector<size_t> none;
  TestTransform<Hadamard<2048>>("Hadamard<2048>", {300}, kMore);
  TestTransform<Hadamard<4096, RandomSigns<5>>>("Hadamard<4096>, signs", {300}, kMore);
  TestTransform<Hadamard<8192, RandomSigns<6>>>("Hadamard<8192>, signs", none,
                                                {1, 130, 1025, 4097, 8191, 8192, 8193, 14336, 17000});
}

TEST_CASE("Hadamard transforms on a device: as the reference, blocks of two launches") {
  const std::vector<size_t> none;
  TestTransform<Hadamard<16384, RandomSigns<7>>>("Hadamard<16384>, signs", none,
                                                 {1, 130, 1025, 8192, 15000, 16384, 16385, 33000});
  TestTransform<Hadamard<32768, RandomSigns<8>>>("Hadamard<32768>, signs", none,
                                                 {1, 5460, 16385, 28672, 32767, 32768, 32769, 66000});
}

TEST_CASE("Hadamard transforms on a device: many rows, as heads are") {
  for (const size_t cols : {16u, 64u, 128u, 200u}) {
    constexpr size_t kRows = 37;
    GuardedMatrix x(kRows, cols, testing::AwkwardValues(Kind::kNormal, kRows * cols, cols)), expected(kRows, cols);
    reference::Transform<Hadamard<64, RandomSigns<9>>>(x.view(), expected.view());
    EmulatedStream stream(testing::kSchedules[cols / 16 % 4]);
    cuda::Transform<Hadamard<64, RandomSigns<9>>>(stream, MatrixView<const float>(x.view()), x.view());
    x.ExpectSame(expected, "Transform", std::to_string(cols) + " columns");
  }
}

TEST_CASE("Hadamard transforms on a device: the factor of each size is the definition's") {
  const cuda::HadamardEnds<Hadamard<32768>> ends;
  for (unsigned log = 0; log < 16; ++log) CHECK(ends.Factor(log) == Hadamard<32768>::Factor(size_t{1} << log));
}

// A transform of one's own: a quarter turn of each pair.
struct QuarterTurns {
  static constexpr bool kRunsOnDevice = true;
  BITNET_HOST_DEVICE static void Turn(float* x, size_t n, float sign) {
    for (size_t i = 0; i + 1 < n; i += 2) {
      const float first = x[i];
      x[i] = -sign * x[i + 1];
      x[i + 1] = sign * first;
    }
  }
  BITNET_HOST_DEVICE static void Apply(float* x, size_t n) { Turn(x, n, 1.0f); }
  BITNET_HOST_DEVICE static void ApplyTranspose(float* x, size_t n) { Turn(x, n, -1.0f); }
  static void Apply(std::span<float> x) { Apply(x.data(), x.size()); }
  static void ApplyTranspose(std::span<float> x) { ApplyTranspose(x.data(), x.size()); }
};
struct OnTheHost {
  static void Apply(std::span<float>) {}
  static void ApplyTranspose(std::span<float>) {}
};
static_assert(!cuda::kTransformsOnDevice<OnTheHost> && !cuda::kTransformsOnDevice<Transposed<OnTheHost>>);

TEST_CASE("Transforms on a device: the identity, and one's own") {
  TestTransform<Identity>("Identity", kSome, {});
  TestTransform<QuarterTurns>("QuarterTurns", kSome, kMore);
  RowsCase c = DrawRows(std::vector<size_t>{}, std::vector<size_t>{5}, 7)[0];
  EmulatedStream stream(c.schedule);
  cuda::Transform<Identity>(stream, MatrixView<const float>(c.x.view()), c.x.view());
  const MatrixView<const float> none(nullptr, 0, 300);
  cuda::Transform<Hadamard<128>>(stream, none, MatrixView<float>(nullptr, 0, 300));
  CHECK(stream.launches() == 0);
}

}  // namespace
}  // namespace bitnet
