// The transform of activations before they are quantized, in place, in cache.
//   BM_Transform/<transform>/<backend>/<rows>x<width>/t<threads>
// Rows are tokens of a hidden size or of an FFN, or heads. A line is the median of calls. Counters: nanoseconds a row;
// and the share of what copying the rows takes, which reads and writes each value once.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "benchmarks/measure.h"
#include "bitnet/backend/reference.h"
#include "bitnet/backend/simd/simd_backend.h"
#include "bitnet/base/random.h"

namespace bitnet {
namespace {

constexpr double kSecondsALine = 0.1;

// Too short to be timed alone: so many calls are.
constexpr size_t kCalls = 100;

template <AnyTransform T, class B>
void Transform(benchmark::State& state, size_t rows, size_t width, size_t threads) {
  const B backend(PoolOf(threads));
  auto stream = backend.NewStream();
  Random random(1);
  std::vector<float> x(rows * width), copy(rows * width);
  for (float& v : x) v = Normal(random);
  const MatrixView<float> view(x.data(), rows, width);
  const auto run = [&] {
    for (size_t i = 0; i < kCalls; ++i) backend.template Transform<T>(stream, view, view);
  };
  const auto run_copy = [&] {
    for (size_t i = 0; i < kCalls; ++i) {
      std::copy(x.begin(), x.end(), copy.begin());
      benchmark::DoNotOptimize(copy.data());
      benchmark::ClobberMemory();
    }
  };
  for (auto _ : state) {
    run();
    const double seconds = Median(TimeCalls(kSecondsALine, 3, run)) / kCalls;
    const double copy_seconds = Median(TimeCalls(kSecondsALine, 3, run_copy)) / kCalls;
    state.SetIterationTime(seconds);
    state.counters["ns/row"] = seconds * 1e9 / static_cast<double>(rows);
    state.counters["of_copy"] = copy_seconds / seconds;
  }
}

template <AnyTransform T, class B = SimdBackend>
void Register(const char* transform, const char* backend, size_t rows, size_t width, size_t threads = 1) {
  const std::string name = std::string("BM_Transform/") + transform + "/" + backend + "/" + std::to_string(rows) + "x" +
                           std::to_string(width) + "/t" + std::to_string(threads);
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& s) { Transform<T, B>(s, rows, width, threads); })
      ->Unit(benchmark::kMicrosecond)
      ->Iterations(1)
      ->UseManualTime();
}

const bool kRegistered = [] {
  for (const size_t width : {2560u, 6912u}) {
    Register<Hadamard<64>>("Hadamard<64>", "Simd", 1, width);
    Register<Hadamard<128>>("Hadamard<128>", "Simd", 1, width);
    Register<Hadamard<256>>("Hadamard<256>", "Simd", 1, width);
    Register<Hadamard<4096>>("Hadamard<4096>", "Simd", 1, width);
    Register<Hadamard<128, RandomSigns<1>>>("Hadamard<128>+signs", "Simd", 1, width);
    Register<Transposed<Hadamard<4096, RandomSigns<1>>>>("Hadamard<4096>+signs^T", "Simd", 1, width);
    Register<Hadamard<128>, ReferenceBackend>("Hadamard<128>", "Reference", 1, width);
    for (const size_t threads : ThreadCounts()) Register<Hadamard<128>>("Hadamard<128>", "Simd", 256, width, threads);
  }
  Register<Hadamard<128>>("Hadamard<128>", "Simd", 20, 128);  // a token's query heads
  return true;
}();

}  // namespace
}  // namespace bitnet
