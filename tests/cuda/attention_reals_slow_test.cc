// Attention on a device against the reference: reals, and reals with levels.
#include "bitnet/backend/cuda/attention_reals.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "cuda/device_cache.h"
#include "cuda/test_attention.h"
#include "testing/awkward_formats.h"

namespace bitnet::testing::cuda_attention_reals_slow_test {
namespace {

TEST_CASE("Attend on a device: reals, as the reference") {
  TestAttend<Float, Float, Float, Float, Float>("Float", true);
  TestAttend<Int<8>, Float16, BFloat16, BFloat16, Float>("reals of all kinds", true);
}

TEST_CASE("Attend on a device: reals and levels, as the reference") {
  TestAttend<Float, MidRise<3>, MidRise<4>, MidRise<3>, MidRise<4>>("Float, MidRise<3>", true);
  TestAttend<Float, BigSteps, Int<8>, Float16, Float>("Float, BigSteps", true);
  TestAttend<BFloat16, ManyBigSteps, ManyBigSteps, Int<8>, Int<8>>("BFloat16, ManyBigSteps", false);
}

using Reals = SomeQuantizers<Float, Float, Float, Float, Float>;

// Some values, and two that cancel each other: what is added between these is lost, and that is another value in any
// other order of the sum.
std::vector<float> DrawCancelling(Random& random, size_t count) {
  std::vector<float> x(count);
  for (float& value : x) value = Normal(random);
  const size_t a = UniformBelow(random, count);
  const size_t b = (a + 1 + UniformBelow(random, count - 1)) % count;
  x[a] = 0x1p60f;
  x[b] = -0x1p60f;
  return x;
}

TEST_CASE("Attend on a device: sums of reals are added in order") {
  for (const size_t dim : {6u, 33u, 128u, 300u}) {
    Random random(dim);
    const size_t length = 2 * kPageTokens + 30;
    const std::vector<float> zeros(dim);
    const std::string name = "head_dim " + std::to_string(dim);
    QuantizedRows<Float> q;
    q.Resize(5, dim);
    for (size_t r = 0; r < 5; ++r) {
      std::fill(q[r].begin(), q[r].end(), 1.0f);
      q.Steps(r)[0] = 1.0f;
    }
    const auto store = [&](auto& heads, size_t s, const std::vector<float>& x) {
      if (s == 0) {
        heads.StoreFirst(0, x.data(), 1.0f);
      } else {
        heads.Store(0, s, x.data(), 1.0f);
      }
    };
    HostCache<Reals> scores(1, dim, length), sums(1, dim, length);
    for (size_t s = 0; s < length; ++s) {
      store(scores.keys, s, DrawCancelling(random, dim));
      store(scores.values, s, DrawHead<Float>(random, dim, Fill::kRandom));
      store(sums.keys, s, zeros);
    }
    // Of each dimension over the tokens.
    std::vector<std::vector<float>> columns;
    for (size_t i = 0; i < dim; ++i) columns.push_back(DrawCancelling(random, length));
    for (size_t s = 0; s < length; ++s) {
      std::vector<float> x(dim);
      for (size_t i = 0; i < dim; ++i) x[i] = columns[i][s];
      store(sums.values, s, x);
    }
    TestSequence<Reals>(scores, q, PlacesFrom(length - 1, 1), {5, 1, dim}, "scores, " + name);
    TestSequence<Reals>(sums, q, PlacesFrom(length - 1, 1), {5, 1, dim}, "values, " + name);
  }
}

TEST_CASE("Attend on a device: what comes after a token is not seen, whatever it is") {
  for (const float after : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    constexpr size_t kDim = 20;
    auto host = DrawCache<Reals>(1, kDim, 12, Fill::kRandom, 3);
    const std::vector<float> x(kDim, after);
    for (const size_t s : {9u, 11u}) {
      host.keys.Store(0, s, x.data(), 1.0f);
      host.values.Store(0, s, x.data(), 1.0f);
    }
    TestSequence<Reals>(host, DrawQueries<Float>(12, kDim, Fill::kRandom, 1), PlacesFrom(0, 12), {1, 1, kDim}, "after");
  }
}

// The sums of probabilities, as doubles: in an output, their last bits are rarely seen.
struct SumKernel {
  static constexpr unsigned kThreads = 256;
  static constexpr uint32_t kRows = 16;
  struct Shared {
    alignas(16) cuda::SharedProbabilities<kRows> p;
  };
  const float* p;
  double* sums;
  uint32_t rows;

  template <class Device>
  void operator()(Device& d, Shared& shared) const {
    for (uint32_t row = 0; row < rows; ++row) shared.p[row][d.thread()] = p[row * kPageTokens + d.thread()];
    d.Barrier();
    cuda::SumProbabilities<kRows>(d, shared.p, rows, [&](uint32_t row, double sum) { sums[row] = sum; });
  }
};

TEST_CASE("SumProbabilities: ordered sums") {
  for (const uint32_t rows : {1u, 3u, 4u, 5u, 16u}) {
    Random random(rows);
    std::vector<float> p(rows * kPageTokens);
    for (float& value : p) value = static_cast<float>(std::ldexp(UniformReal(random), -int(UniformBelow(random, 60))));
    DeviceMemory memory;
    const SumKernel kernel = {memory.Upload(p), memory.Allocate<double>(rows), rows};
    Launch(kernel, cuda::Grid{1, 1}, kSchedules[rows % kSchedules.size()]);
    for (uint32_t row = 0; row < rows; ++row) {
      const double expected = OrderedSum(kPageTokens, [&](size_t i) { return p[row * kPageTokens + i]; });
      CHECK(kernel.sums[row] == expected);
    }
  }
}

}  // namespace
}  // namespace bitnet::testing::cuda_attention_reals_slow_test
