#include "bitnet/backend/cuda/long_sum.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bitnet/backend/cuda/block_scan.h"
#include "bitnet/base/exact_math.h"
#include "testing/awkward_values.h"
#include "testing/simt.h"

namespace bitnet {
namespace {

using testing::AwkwardValues;
using testing::DeviceMemory;
using testing::Kind;

template <unsigned kThreadsOfBlock>
struct SumKernel {
  static constexpr unsigned kThreads = kThreadsOfBlock;
  using Shared = cuda::LongSumShared<kThreads>;
  const float* x;
  uint32_t n;
  double* y;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    const double sum = cuda::OrderedSum<kThreads>(d, shared, n, [&](uint32_t i) { return x[i]; });
    if (d.thread() == 0) *y = sum;
  }
};

struct WarpSumKernel {
  static constexpr unsigned kThreads = 64;
  using Shared = cuda::NoShared;
  const float* x;
  unsigned n;
  double* y;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    y[d.thread()] = cuda::OrderedSumOfBlock(d, n, [&](uint32_t i) { return x[i]; });
  }
};

bool SameSum(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) || std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
}

template <unsigned kThreads>
void TestSums(const std::vector<size_t>& sizes) {
  size_t run = 0;
  for (const size_t n : sizes) {
    for (const Kind kind : {Kind::kNormal, Kind::kHuge, Kind::kTiny, Kind::kNan, Kind::kInfinite, Kind::kZeros}) {
      DeviceMemory memory;
      const std::vector<float> x = AwkwardValues(kind, n, n);
      double* y = memory.Allocate<double>(1);
      const testing::Schedule& schedule = testing::kSchedules[run++ % testing::kSchedules.size()];
      Launch(SumKernel<kThreads>{memory.Upload(x), static_cast<uint32_t>(n), y}, cuda::Grid{}, schedule);
      const double expected = OrderedSum(n, [&](size_t i) { return x[i]; });
      if (!SameSum(*y, expected)) {
        FAIL_CHECK(n << " terms, kind " << static_cast<int>(kind) << ", " << kThreads << " threads, " << schedule
                     << ": " << *y << ", not " << expected);
      }
    }
  }
}

TEST_CASE("Long sums on a device: the order of OrderedSum, by blocks of any size") {
  const std::vector<size_t> sizes = {0,    1,    7,     8,     9,     255,   256,   257,   511,  512,
                                     513,  1024, 1300,  2047,  2560,  3900,  4096,  5460,  6912, 8192,
                                     8193, 9000, 12288, 16384, 16385, 20000, 28672, 33333, 70000};
  TestSums<128>(sizes);
  TestSums<256>(sizes);
  TestSums<512>(sizes);
  TestSums<1024>(sizes);
}

TEST_CASE("Long sums on a device: up to 256 terms by a warp, all of whose threads have it") {
  for (const size_t n : {0u, 1u, 5u, 8u, 9u, 31u, 100u, 128u, 200u, 255u, 256u}) {
    for (const testing::Schedule& schedule : testing::kSchedules) {
      DeviceMemory memory;
      const std::vector<float> x = AwkwardValues(Kind::kNormal, n, n);
      double* y = memory.Allocate<double>(WarpSumKernel::kThreads);
      Launch(WarpSumKernel{memory.Upload(x), static_cast<unsigned>(n), y}, cuda::Grid{}, schedule);
      const double expected = OrderedSum(n, [&](size_t i) { return x[i]; });
      size_t wrong = 0;
      for (unsigned i = 0; i < WarpSumKernel::kThreads; ++i) wrong += SameSum(y[i], expected) ? 0u : 1u;
      CHECK(wrong == 0);
    }
  }
}

template <class T>
struct ScanKernel {
  static constexpr unsigned kThreads = 256;
  struct Shared {
    T of_warps[kThreads / cuda::kWarp];
  };
  const T* x;
  T* before;
  T* all;
  T* largest;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    const cuda::Scanned<T> scanned = cuda::ScanBlock<kThreads>(d, shared.of_warps, x[d.thread()]);
    before[d.thread()] = scanned.before;
    all[d.thread()] = scanned.all;
    d.Barrier();
    largest[d.thread()] = cuda::LargestOfBlock<kThreads>(d, shared.of_warps, x[d.thread()]);
  }
};

template <class T>
void TestScan() {
  constexpr unsigned kThreads = ScanKernel<T>::kThreads;
  Random random(5);
  for (const testing::Schedule& schedule : testing::kSchedules) {
    std::vector<T> x(kThreads);
    T sum = 0, largest = 0;
    for (T& v : x) {
      v = static_cast<T>(random());
      largest = v > largest ? v : largest;
    }
    DeviceMemory memory;
    ScanKernel<T> kernel = {memory.Upload(x), memory.Allocate<T>(kThreads), memory.Allocate<T>(kThreads),
                            memory.Allocate<T>(kThreads)};
    Launch(kernel, cuda::Grid{}, schedule);
    size_t wrong = 0;
    for (unsigned i = 0; i < kThreads; ++i) {
      wrong += kernel.before[i] == sum && kernel.largest[i] == largest ? 0u : 1u;
      sum = static_cast<T>(sum + x[i]);
    }
    for (unsigned i = 0; i < kThreads; ++i) wrong += kernel.all[i] == sum ? 0u : 1u;
    CHECK(wrong == 0);
  }
}

TEST_CASE("Scans on a device: the sum of the threads before, and of all; the largest") {
  TestScan<uint32_t>();
  TestScan<uint64_t>();
}

}  // namespace
}  // namespace bitnet
