// Products of SimdBackend (and of the reference), kernel alone, one thread:
//   BM_<Op>/<formats>/<backend>/<rows>x<cols>[xtokens]/t<threads>
// Weights are rotated through more memory than the last-level cache holds, as in a model; BITNET_BENCH_CACHE_MIB=0 in
// the environment keeps one matrix, in cache. Counters: bytes of weights per second, multiply-adds per second (of the
// dense product), and the share of the read bandwidth that BM_ReadBandwidth measures in the same run.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "bitnet/backend/reference.h"
#include "bitnet/backend/simd/simd_backend.h"
#include "bitnet/base/random.h"

namespace bitnet {
namespace {

using TernaryWeights = Quantizer<Ternary, AbsMean>;
using Int4Inputs = Quantizer<Int<4>, AbsMean>;
using Int8Inputs = Quantizer<Int<8>, AbsMax>;

size_t RotatedBytes() {
  static const size_t bytes = [] {
    const char* mib = std::getenv("BITNET_BENCH_CACHE_MIB");
    return (mib != nullptr ? static_cast<size_t>(std::atoll(mib)) : size_t{320}) << 20;
  }();
  return bytes;
}

// Bytes per second that one thread reads, best of some passes over memory beyond the caches.
double ReadBandwidth() {
  static const double best = [] {
    std::vector<uint64_t> memory((size_t{320} << 20) / sizeof(uint64_t), 1);
    double bytes_per_second = 0.0;
    for (int pass = 0; pass < 5; ++pass) {
      const auto start = std::chrono::steady_clock::now();
      uint64_t sum[8] = {};
      for (size_t i = 0; i + 8 <= memory.size(); i += 8) {
        for (size_t k = 0; k < 8; ++k) sum[k] += memory[i + k];
      }
      benchmark::DoNotOptimize(sum);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      bytes_per_second =
          std::max(bytes_per_second, static_cast<double>(memory.size() * sizeof(uint64_t)) / seconds.count());
    }
    return bytes_per_second;
  }();
  return best;
}

void BM_ReadBandwidth(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(ReadBandwidth());
  state.counters["bytes/s"] = ReadBandwidth();
}
BENCHMARK(BM_ReadBandwidth)->Iterations(1);

std::vector<float> Normals(size_t n, uint64_t seed, double density = 1.0) {
  Random random(seed);
  std::vector<float> x(n);
  for (float& v : x) v = UniformReal(random) < density ? Normal(random) : 0.0f;
  return x;
}

// What a benchmark reads: copies of a matrix, and inputs with a density.
template <class W, class X, class B>
struct Operands {
  using Inputs = QuantizedTokens<typename X::Format>;

  Operands(size_t rows, size_t cols, size_t tokens, Access access, double density)
      : y_values(tokens * rows), y(y_values.data(), tokens, rows) {
    const std::vector<float> w = Normals(rows * cols, 1);
    const auto weights = QuantizedMatrix<typename W::Format>::template From<W>({w.data(), rows, cols});
    do {
      matrices.push_back(backend.template Prepare<typename X::Format>(weights, access));
    } while (matrices.size() * matrices[0].StoredBytes() < RotatedBytes());
    const std::vector<float> reals = Normals(tokens * cols, 2, density);
    backend.template Quantize<X>(MatrixView<const float>(reals.data(), tokens, cols), x);
    backend.FindNonzero(x);
  }

  const auto& Next() { return matrices[next++ % matrices.size()]; }

  // Runs f for all iterations. `density`: the share of the weights that has to be read.
  template <class F>
  void Run(benchmark::State& state, double density, F&& f) {
    const auto start = std::chrono::steady_clock::now();
    for (auto _ : state) f();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const auto iterations = static_cast<double>(state.iterations());
    const double bytes = density * static_cast<double>(matrices[0].StoredBytes()) * iterations;
    const double products =
        static_cast<double>(matrices[0].rows() * matrices[0].cols()) * static_cast<double>(x.tokens()) * iterations;
    state.counters["bytes/s"] = benchmark::Counter(bytes, benchmark::Counter::kIsRate);
    state.counters["MAC/s"] = benchmark::Counter(products, benchmark::Counter::kIsRate);
    state.counters["of_bandwidth"] = bytes / seconds.count() / ReadBandwidth();
    if (density < 1.0) state.counters["density"] = density;
  }

  SequentialExecutor executor;
  B backend{executor};
  std::vector<typename B::template Matrix<typename W::Format, typename X::Format>> matrices;
  Inputs x;
  std::vector<float> y_values;
  MatrixView<float> y;
  size_t next = 0;
};

template <class W, class X, class B>
void MatMul(benchmark::State& state, size_t rows, size_t cols, size_t tokens) {
  Operands<W, X, B> operands(rows, cols, tokens, Access::kDense, 1.0);
  operands.Run(state, 1.0, [&] { operands.backend.MatMul(operands.Next(), operands.x, operands.y); });
}

template <class W, class X, class B>
void MatMulRows(benchmark::State& state, size_t rows, size_t cols, double density) {
  Operands<W, X, B> operands(rows, cols, 1, Access::kRows, 1.0);
  Random random(3);
  ChannelLists open;
  open.Resize(1, rows);
  size_t count = 0;
  for (size_t r = 0; r < rows; ++r) {
    open.Row(0)[count] = static_cast<uint32_t>(r);
    count += UniformReal(random) < density ? 1u : 0u;
  }
  open.SetCount(0, count);
  operands.Run(state, static_cast<double>(count) / static_cast<double>(rows),
               [&] { operands.backend.MatMulRows(operands.Next(), operands.x, open, operands.y); });
}

template <class W, class X, class B>
void MatMulColumns(benchmark::State& state, size_t rows, size_t cols, double density) {
  Operands<W, X, B> operands(rows, cols, 1, Access::kColumns, density);
  operands.Run(state, static_cast<double>(operands.x.CountNonzero()) / static_cast<double>(cols),
               [&] { operands.backend.MatMulColumns(operands.Next(), operands.x, operands.y); });
}

template <class W, class X, class B>
void Register(const std::string& formats, const std::string& backend, bool is_fast) {
  const auto name = [&](const char* op, size_t rows, size_t cols, const char* more) {
    return std::string("BM_") + op + "/" + formats + "/" + backend + "/" + std::to_string(rows) + "x" +
           std::to_string(cols) + more + "/t1";
  };
  const auto add = [](const std::string& label, auto run) {
    benchmark::RegisterBenchmark(label.c_str(), run)->Unit(benchmark::kMicrosecond);
  };
  add(name("MatVec", 2560, 6912, ""), [](benchmark::State& s) { MatMul<W, X, B>(s, 2560, 6912, 1); });
  if (!is_fast) return;
  add(name("MatVec", 6912, 2560, ""), [](benchmark::State& s) { MatMul<W, X, B>(s, 6912, 2560, 1); });
  add(name("MatVec", 2560, 2560, ""), [](benchmark::State& s) { MatMul<W, X, B>(s, 2560, 2560, 1); });
  add(name("MatMul", 2560, 6912, "x64"), [](benchmark::State& s) { MatMul<W, X, B>(s, 2560, 6912, 64); });
  add(name("MatMulRows", 6912, 2560, ""), [](benchmark::State& s) { MatMulRows<W, X, B>(s, 6912, 2560, 0.325); });
  add(name("MatMulColumns", 2560, 6912, ""), [](benchmark::State& s) { MatMulColumns<W, X, B>(s, 2560, 6912, 0.16); });
}

const bool kRegistered = [] {
  Register<TernaryWeights, Int4Inputs, SimdBackend>("Ternary*Int<4>", "Simd", true);
  Register<TernaryWeights, Int8Inputs, SimdBackend>("Ternary*Int<8>", "Simd", true);
  Register<TernaryWeights, Unquantized, SimdBackend>("Ternary*Float", "Simd", false);
  Register<Unquantized, Unquantized, SimdBackend>("Float*Float", "Simd", false);
  Register<TernaryWeights, Int4Inputs, ReferenceBackend>("Ternary*Int<4>", "Reference", false);
  return true;
}();

}  // namespace
}  // namespace bitnet
