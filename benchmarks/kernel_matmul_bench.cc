// Products, kernel alone:
//   BM_<Op>/<formats>/<backend>/<rows>x<cols>[x<tokens>][/<percent>%]/t<threads>
// Op: MatVec (all of the matrix, one token), MatMul (some tokens), MatMulRows (a share of the rows), MatMulColumns (a
// share of the inputs is not zero), MatVecByRows (all of the matrix, in the layout of MatMulRows); with InCache, one
// matrix is read again and again, else copies of it in turn, of RotatedBytes() in all (measure.h), as in a model.
// Formats are those of weights and inputs; Ternary/64: with a step for each 64 columns, Ternary/64Half: with steps that
// are halves.
//
// A line is the median of calls (so Google Benchmark sees one iteration, and says so after the name), with inputs whose
// tables, where products make any, an earlier product left. Counters: bytes of weights that the product needs per
// second, multiply-adds per second (of what is needed), both as shares of what the machine can (read bandwidth with as
// many threads, and peak of the int8 dot product, measured right before and after the line), and the density where
// something is skipped.
//
// BITNET_BENCH_ALL=1 in the environment adds the shapes of the paper's models; --shape ROWSxCOLS measures that shape
// alone (main.cc).
#include <benchmark/benchmark.h>

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <vector>

#include "benchmarks/bf16.h"
#include "benchmarks/measure.h"
#include "benchmarks/shapes.h"
#include "bitnet/backend/erased.h"
#include "bitnet/backend/reference.h"
#include "bitnet/backend/simd/simd_backend.h"
#include "bitnet/base/random.h"
#include "bitnet/tensor/aligned_vector.h"

namespace bitnet {
namespace {

using TernaryWeights = Quantizer<Ternary, AbsMean>;
using Int4Inputs = Quantizer<Int<4>, AbsMean>;
using Int8Inputs = Quantizer<Int<8>, AbsMax>;
using Fp4Inputs = Quantizer<Fp4E2M1, MinMax>;
using HeadWeights = Quantizer<Int<4>, AbsMax, PerRow>;
// Levels -1, 0, 1, 2, as the ternary weights of some public files are stored.
struct FourLevels {
  static constexpr std::array<int, 4> kLevels = {-1, 0, 1, 2};
};
template <class F, size_t kGroup>
using GroupedWeights = Quantizer<F, AbsMax, PerGroup<kGroup>>;
// Steps that are halves, as public files have them.
struct HalfAbsMax : AbsMax {
  template <LevelFormat F>
  static double StepFrom(LargestMagnitude s, size_t n) {
    return double{float{Float16::Nearest(static_cast<float>(AbsMax::StepFrom<F>(s, n)))}};
  }
};
template <class F, size_t kGroup>
using HalfGroupedWeights = Quantizer<F, HalfAbsMax, PerGroup<kGroup>>;
template <class F>
using RowStepWeights = Quantizer<F, AbsMax, PerRow>;

constexpr double kSecondsALine = 0.25;

struct Shape {
  size_t rows, cols;
  std::string Name(size_t tokens = 1) const {
    std::string name = std::to_string(rows);
    name.append("x").append(std::to_string(cols));
    if (tokens != 1) name.append("x").append(std::to_string(tokens));
    return name;
  }
};

std::vector<float> Normals(size_t n, uint64_t seed, double density = 1.0) {
  Random random(seed);
  std::vector<float> x(n);
  for (float& v : x) v = UniformReal(random) < density ? Normal(random) : 0.0f;
  return x;
}

// ---- Limits.

void BM_ReadBandwidth(benchmark::State& state, size_t threads) {
  for (auto _ : state) {
    const Bandwidth& best = ReadBandwidth(threads);
    state.SetIterationTime(1e9 / best.bytes_per_second);
    state.counters["bytes/s"] = best.bytes_per_second;
    state.counters["streams"] = static_cast<double>(best.method.streams);
    state.counters["step"] = static_cast<double>(best.method.step);
    state.counters["prefetch"] = static_cast<double>(best.method.prefetch);
  }
}

void BM_DotPeak(benchmark::State& state, size_t threads) {
  for (auto _ : state) {
    state.SetIterationTime(1e9 / DotPeak(threads));
    state.counters["MAC/s"] = DotPeak(threads);
  }
}

// ---- A line.

struct Work {
  double bytes = 0.0;     // of weights that a call needs
  double products = 0.0;  // multiply-adds that a call needs
  double density = 1.0;   // the share of the weights that is needed
  bool is_rotated = true;
};

template <class F>
void Report(benchmark::State& state, size_t threads, const Work& work, F&& call) {
  for (auto _ : state) {
    double bandwidth = work.is_rotated ? ReadRateNow(threads) : 0.0;
    double peak = DotPeakNow(threads);
    call();
    const double seconds = Median(TimeCalls(kSecondsALine, 3, call));
    bandwidth = (bandwidth + (work.is_rotated ? ReadRateNow(threads) : 0.0)) / 2;
    peak = (peak + DotPeakNow(threads)) / 2;
    state.SetIterationTime(seconds);
    if (work.bytes == 0.0) continue;
    state.counters["bytes/s"] = work.bytes / seconds;
    state.counters["MAC/s"] = work.products / seconds;
    if (work.is_rotated) state.counters["of_bandwidth"] = work.bytes / seconds / bandwidth;
    state.counters["of_dot_peak"] = work.products / seconds / peak;
    if (work.density < 1.0) state.counters["density"] = work.density;
  }
}

// Operands of the last line, which the next often needs again: making copies takes longer than a line. Those of one
// line alone, whatever their type: memory does not hold those of all.
struct KeptOperands {
  std::string key;
  std::shared_ptr<void> operands;
};

KeptOperands& LastOperands() {
  static KeptOperands* last = new KeptOperands;
  return *last;
}

template <class T, class Make>
T& Kept(const std::string& key, Make&& make) {
  KeptOperands& last = LastOperands();
  const std::string key_of_type = std::string(typeid(T).name()) + key;
  if (last.key != key_of_type) {
    last.operands.reset();
    last.operands = make();
    last.key = key_of_type;
  }
  return *static_cast<T*>(last.operands.get());
}

std::string Label(const char* op, const std::string& formats, const char* backend, const std::string& shape,
                  size_t threads) {
  return std::string("BM_") + op + "/" + formats + "/" + backend + "/" + shape + "/t" + std::to_string(threads);
}

template <class F>
void Add(const std::string& label, F&& run) {
  benchmark::RegisterBenchmark(label.c_str(), run)->Unit(benchmark::kMicrosecond)->Iterations(1)->UseManualTime();
}

// ---- Products of a backend.

template <class B>
B On(Executor& executor) {
  if constexpr (std::is_constructible_v<B, Executor&>) {
    return B(executor);
  } else {
    return B(SimdBackend(executor));
  }
}

template <class W, class X, class B, class U>
struct Operands {
  using M = typename B::template Matrix<OperandOf<W>, OperandOf<X>, U>;

  explicit Operands(const Shape& shape)
      : matrices([&] {
          const std::vector<float> w = Normals(shape.rows * shape.cols, 1);
          const auto weights =
              QuantizedMatrix<typename W::Format>::template Quantize<W>({w.data(), shape.rows, shape.cols});
          return On<B>(PoolOf(AllThreads())).template PrepareMatrix<OperandOf<W>, OperandOf<X>, U>(weights);
        }()) {}

  RotatedCopies<M> matrices;
};

struct Line {
  const char* op;
  Shape shape;
  size_t tokens = 1;
  double density = 1.0;

  std::string Name() const {
    std::string name = shape.Name(tokens);
    const bool skips = std::string_view(op) == "MatMulRows" || std::string_view(op) == "MatMulColumns";
    if (skips) name.append("/").append(std::to_string(std::lround(100 * density))).append("%");
    return name;
  }
};

template <class W, class X, class B, class U>
void RunLine(benchmark::State& state, const std::string& formats, const Line& line, bool is_rotated, size_t threads) {
  const auto [rows, cols] = line.shape;
  constexpr bool kByRows = U::template kHas<ChosenRows>;
  constexpr bool kByColumns = U::template kHas<ChosenColumns>;
  auto& operands = Kept<Operands<W, X, B, U>>(formats + line.shape.Name(),
                                              [&] { return std::make_shared<Operands<W, X, B, U>>(line.shape); });
  const B backend = On<B>(PoolOf(threads));
  typename B::Stream stream = backend.NewStream();
  typename B::template Rows<OperandOf<X>> x;
  const std::vector<float> reals = Normals(line.tokens * cols, 2, kByColumns ? line.density : 1.0);
  backend.template Quantize<X>(stream, MatrixView<const float>(reals.data(), line.tokens, cols), x);
  backend.FindNonzero(stream, x);
  AlignedVector<float> results(line.tokens * rows);
  const MatrixView<float> y(results.data(), line.tokens, rows);

  ChannelLists open;
  if (kByRows) {
    Random random(3);
    open.Resize(line.tokens, rows);
    for (size_t t = 0; t < line.tokens; ++t) {
      size_t count = 0;
      for (size_t r = 0; r < rows; ++r) {
        if (UniformReal(random) < line.density) open.Row(t)[count++] = static_cast<uint32_t>(r);
      }
      open.SetCount(t, count);
    }
  }

  const std::string_view op = line.op;
  Work work;
  if (op == "MatMulRows") work.density = static_cast<double>(open.Count(0)) / static_cast<double>(rows);
  if (kByColumns) work.density = static_cast<double>(x.nonzero().Count(0)) / static_cast<double>(cols);
  work.is_rotated = is_rotated;
  work.bytes = work.density * static_cast<double>(operands.matrices.First().StoredBytes());
  work.products = work.density * static_cast<double>(rows * cols * line.tokens);
  Report(state, threads, work, [&] {
    const auto& matrix = is_rotated ? operands.matrices.Next() : operands.matrices.First();
    if constexpr (kByRows) {
      if (op == "MatMulRows") return backend.MatMulRows(stream, matrix, x, open, y);
    }
    if constexpr (kByColumns) {
      return backend.MatMulColumns(stream, matrix, x, y);
    } else {
      backend.MatMul(stream, matrix, x, y);
    }
  });
}

template <class W, class X, class B, class U = Uses<Dense>>
void AddLineOf(const std::string& formats, const char* backend, const Line& line, bool is_rotated) {
  const std::string op = std::string(line.op) + (is_rotated ? "" : "InCache");
  for (const size_t threads : ThreadCounts()) {
    Add(Label(op.c_str(), formats, backend, line.Name(), threads),
        [=](benchmark::State& state) { RunLine<W, X, B, U>(state, formats, line, is_rotated, threads); });
  }
}
template <class W, class X, class B, class U = Uses<Dense>>
void AddLine(const std::string& formats, const char* backend, const Line& line, bool in_cache_too = true) {
  AddLineOf<W, X, B, U>(formats, backend, line, true);
  if (in_cache_too) AddLineOf<W, X, B, U>(formats, backend, line, false);
}

// ---- Baselines.

void AddBf16(const Shape& shape, size_t tokens) {
  for (const size_t threads : ThreadCounts()) {
    const std::string name = shape.Name(tokens);
    Add(Label(tokens == 1 ? "MatVec" : "MatMul", "Bf16*Float", "Baseline", name, threads),
        [=](benchmark::State& state) {
          auto& matrices = Kept<RotatedCopies<Bf16Matrix>>("bf16" + shape.Name(), [&] {
            const std::vector<float> w = Normals(shape.rows * shape.cols, 1);
            return std::make_shared<RotatedCopies<Bf16Matrix>>(
                Bf16Matrix(MatrixView<const float>(w.data(), shape.rows, shape.cols)));
          });
          const std::vector<float> x = Normals(tokens * shape.cols, 2);
          std::vector<float> y(tokens * shape.rows);
          Bf16Scratch scratch;
          const auto weights = static_cast<double>(shape.rows * shape.cols);
          Report(state, threads, {2 * weights, weights * static_cast<double>(tokens)}, [&] {
            bf16::MatMul(PoolOf(threads), matrices.Next(), {x.data(), tokens, shape.cols}, scratch,
                         {y.data(), tokens, shape.rows});
          });
        });
  }
}

void BM_AttendBf16(benchmark::State& state, size_t heads, size_t kv_heads, size_t dim, size_t tokens, size_t threads) {
  Bf16Cache first(kv_heads, dim, tokens);
  const std::vector<float> reals = Normals(kv_heads * tokens * dim, 1);
  first.keys = first.values = Bf16Matrix(MatrixView<const float>(reals.data(), kv_heads * tokens, dim));
  RotatedCopies<Bf16Cache> caches(std::move(first));
  const std::vector<float> q = Normals(heads * dim, 2);
  std::vector<float> out(heads * dim);
  Bf16Scratch scratch;
  const auto bytes = static_cast<double>(caches.First().StoredBytes());
  Report(state, threads, {bytes, static_cast<double>(2 * heads * dim * tokens)}, [&] {
    bf16::Attend(PoolOf(threads), caches.Next(), {q.data(), heads, dim}, tokens, scratch, out);
  });
}

// One thread: a matrix times a vector is not split by Eigen.
void BM_Eigen(benchmark::State& state, const Shape& shape) {
  using M = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const auto rows = static_cast<Eigen::Index>(shape.rows);
  const auto cols = static_cast<Eigen::Index>(shape.cols);
  std::vector<M> matrices;
  const double bytes = static_cast<double>(shape.rows * shape.cols) * sizeof(float);
  while (static_cast<double>(matrices.size()) * bytes <= static_cast<double>(RotatedBytes())) {
    matrices.push_back(M::Ones(rows, cols));
  }
  const Eigen::VectorXf x = Eigen::VectorXf::Ones(cols);
  Eigen::VectorXf y(rows);
  size_t next = 0;
  Report(state, 1, {bytes, bytes / sizeof(float)}, [&] {
    y.noalias() = matrices[next++ % matrices.size()] * x;
    benchmark::DoNotOptimize(y.data());
  });
}

// ---- The list.

constexpr Shape kUp{6912, 2560};
constexpr Shape kDown{2560, 6912};
constexpr Shape kSquare{2560, 2560};
constexpr Shape kInCache{1536, 1536};  // 0.5 MB

// What a layer of an a4.8 model does, for inputs of `X` and 8-bit inputs of down.
template <class X>
void AddTernary(const std::string& formats) {
  using B = SimdBackend;
  AddLine<TernaryWeights, X, B>(formats, "Simd", {"MatVec", kUp});
  AddLine<TernaryWeights, X, B>(formats, "Simd", {"MatVec", kDown});
  AddLine<TernaryWeights, X, B>(formats, "Simd", {"MatVec", kSquare});
  AddLine<TernaryWeights, X, B>(formats, "Simd", {"MatVec", kInCache});
  AddLine<TernaryWeights, X, B, Uses<ChosenRows>>(formats, "Simd", {"MatVecByRows", kInCache});
  AddLine<TernaryWeights, X, B>(formats, "Simd", {"MatMul", kUp, 64}, false);
  AddLine<TernaryWeights, X, B>(formats, "Simd", {"MatMul", kUp, 256}, false);
  AddLine<TernaryWeights, X, B, Uses<ChosenRows>>(formats, "Simd", {"MatMulRows", kUp, 64, 0.325}, false);
  AddLine<TernaryWeights, X, B, Uses<ChosenColumns>>(formats, "Simd", {"MatMulColumns", kDown, 64, 0.16}, false);
}

// Steps for groups of columns, beside the same weights with a step for each row.
template <class F, class X, size_t... kGroup>
void AddGroups(const std::string& weights, const std::string& inputs) {
  using B = SimdBackend;
  for (const size_t tokens : {1u, 64u}) {
    const Line line{tokens == 1 ? "MatVec" : "MatMul", kUp, tokens};
    AddLine<RowStepWeights<F>, X, B>(weights + "PerRow*" + inputs, "Simd", line, tokens == 1);
    (AddLine<GroupedWeights<F, kGroup>, X, B>(weights + "/" + std::to_string(kGroup) + "*" + inputs, "Simd", line,
                                              tokens == 1),
     ...);
    (AddLine<HalfGroupedWeights<F, kGroup>, X, B>(weights + "/" + std::to_string(kGroup) + "Half*" + inputs, "Simd",
                                                  line, false),
     ...);
  }
}
template <class F, class X, size_t... kGroup>
void AddChosenGroups(const std::string& weights, const std::string& inputs) {
  const Line rows{"MatMulRows", kUp, 1, 0.325}, columns{"MatMulColumns", kDown, 1, 0.16};
  (AddLine<GroupedWeights<F, kGroup>, X, SimdBackend, Uses<ChosenRows>>(
       weights + "/" + std::to_string(kGroup) + "*" + inputs, "Simd", rows, false),
   ...);
  (AddLine<GroupedWeights<F, kGroup>, X, SimdBackend, Uses<ChosenColumns>>(
       weights + "/" + std::to_string(kGroup) + "*" + inputs, "Simd", columns, false),
   ...);
}
void AddAllGroups() {
  AddGroups<Ternary, Int4Inputs, 64, 128, 256>("Ternary", "Int<4>");
  AddGroups<Ternary, Int8Inputs, 64, 128, 256>("Ternary", "Int<8>");
  AddGroups<FourLevels, Int4Inputs, 64, 128, 256>("FourLevels", "Int<4>");
  AddGroups<FourLevels, Int8Inputs, 64, 128, 256>("FourLevels", "Int<8>");
  AddGroups<Int<8>, Int8Inputs, 32>("Int<8>", "Int<8>");
  AddGroups<Int<6>, Int8Inputs, 16>("Int<6>", "Int<8>");
  AddGroups<Int<4>, Int8Inputs, 32>("Int<4>", "Int<8>");
  AddGroups<Ternary, Quantizer<Int<8>, AbsMax, PerGroup<128>>, 128>("Ternary", "Int<8>/128");
  AddChosenGroups<Ternary, Int8Inputs, 64, 128, 256>("Ternary", "Int<8>");
}

// Time against density.
void AddDensities() {
  for (const double density : {0.01, 0.05, 0.1, 0.16, 0.25, 0.325, 0.5, 0.65, 0.8, 1.0}) {
    AddLine<TernaryWeights, Int4Inputs, SimdBackend, Uses<ChosenRows>>("Ternary*Int<4>", "Simd",
                                                                       {"MatMulRows", kUp, 1, density}, false);
  }
  for (const double density : {0.01, 0.05, 0.1, 0.16, 0.25, 0.325, 0.5, 0.65, 0.8, 1.0}) {
    AddLine<TernaryWeights, Int8Inputs, SimdBackend, Uses<ChosenColumns>>("Ternary*Int<8>", "Simd",
                                                                          {"MatMulColumns", kDown, 1, density}, false);
  }
  AddLine<TernaryWeights, Int8Inputs, SimdBackend, Uses<ChosenColumns>>("Ternary*Int<8>", "Simd",
                                                                        {"MatMulColumns", kSquare, 1, 0.5}, false);
}

// Of several conversations: what their tokens share comes from memory.
void AddSeveralTokens() {
  for (const size_t tokens : {4u, 8u, 16u}) {
    AddLine<TernaryWeights, Int4Inputs, SimdBackend>("Ternary*Int<4>", "Simd", {"MatMul", kUp, tokens}, false);
    AddLine<TernaryWeights, Int4Inputs, SimdBackend, Uses<ChosenRows>>("Ternary*Int<4>", "Simd",
                                                                       {"MatMulRows", kUp, tokens, 0.5}, false);
    AddLine<TernaryWeights, Int8Inputs, SimdBackend, Uses<ChosenColumns>>("Ternary*Int<8>", "Simd",
                                                                          {"MatMulColumns", kDown, tokens, 0.5}, false);
    AddLine<HeadWeights, Int8Inputs, SimdBackend>("Int<4>PerRow*Int<8>", "Simd", {"MatMul", {32000, 2560}, tokens},
                                                  false);
  }
}

void AddLimits() {
  for (const size_t threads : ThreadCounts()) {
    const std::string t = "/t" + std::to_string(threads);
    Add("BM_ReadBandwidth" + t, [threads](benchmark::State& state) { BM_ReadBandwidth(state, threads); });
    Add("BM_DotPeak" + t, [threads](benchmark::State& state) { BM_DotPeak(state, threads); });
  }
}

const bool kRegistered = [] {
  benchmark::AddCustomContext("machine", MachineDescription());
  benchmark::AddCustomContext("matrix_unit", detail::HasAmx() ? "yes" : "no");
  benchmark::AddCustomContext("rotated_MiB", std::to_string(RotatedBytes() >> 20));
  AddLimits();
  AddTernary<Int4Inputs>("Ternary*Int<4>");
  AddTernary<Fp4Inputs>("Ternary*Fp4E2M1");
  AddTernary<Int8Inputs>("Ternary*Int<8>");
  // What a virtual call costs beside a small product. (Copies of an erased matrix share its weights.)
  AddLineOf<TernaryWeights, Int4Inputs, Erased<SimdBackend>>("Ternary*Int<4>", "Erased", {"MatVec", kInCache}, false);
  AddDensities();
  AddSeveralTokens();
  AddAllGroups();
  AddLine<HeadWeights, Int8Inputs, SimdBackend>("Int<4>PerRow*Int<8>", "Simd", {"MatVec", {32000, 2560}}, false);
  AddLine<TernaryWeights, Unquantized, SimdBackend>("Ternary*Float", "Simd", {"MatVec", kDown}, false);
  AddLine<Unquantized, Unquantized, SimdBackend>("Float*Float", "Simd", {"MatVec", kDown}, false);
  AddBf16(kUp, 1);
  AddBf16(kUp, 64);
  AddBf16(kDown, 1);
  for (const size_t threads : ThreadCounts()) {
    const std::string t = "/t" + std::to_string(threads);
    for (const size_t tokens : {2048u, 8192u, 32768u}) {
      for (const size_t kv_heads : {32u, 5u}) {
        const size_t heads = kv_heads == 5 ? 20 : 32;
        Add("BM_Attend/Float*Bf16/Baseline/" + std::to_string(heads) + "x" + std::to_string(kv_heads) + "x128/" +
                std::to_string(tokens) + t,
            [=](benchmark::State& state) { BM_AttendBf16(state, heads, kv_heads, 128, tokens, threads); });
      }
    }
  }
  Add("BM_MatVec/Float*Float/Eigen/" + kDown.Name() + "/t1", [](benchmark::State& state) { BM_Eigen(state, kDown); });
  AddLine<TernaryWeights, Int4Inputs, ReferenceBackend>("Ternary*Int<4>", "Reference", {"MatVec", kDown}, false);

  const char* all = std::getenv("BITNET_BENCH_ALL");
  if (all != nullptr && std::string(all) != "0") {
    for (const ModelShape& shape : ModelShapes()) {
      const Shape up{shape.config.ffn, shape.config.hidden};
      const Shape down{shape.config.hidden, shape.config.ffn};
      const Shape square{shape.config.hidden, shape.config.hidden};
      for (const size_t tokens : {1u, 256u}) {
        const char* op = tokens == 1 ? "MatVec" : "MatMul";
        for (const Shape& s : {up, square}) {
          AddLine<TernaryWeights, Int4Inputs, SimdBackend>("Ternary*Int<4>", "Simd", {op, s, tokens}, false);
        }
        AddLine<TernaryWeights, Int8Inputs, SimdBackend>("Ternary*Int<8>", "Simd", {op, down, tokens}, false);
        AddLine<TernaryWeights, Int4Inputs, SimdBackend, Uses<ChosenRows>>(
            "Ternary*Int<4>", "Simd", {"MatMulRows", up, tokens, 1.0 - shape.closed_gates}, false);
        AddLine<TernaryWeights, Int8Inputs, SimdBackend, Uses<ChosenColumns>>(
            "Ternary*Int<8>", "Simd", {"MatMulColumns", down, tokens, 1.0 - shape.down_zeros}, false);
        AddBf16(up, tokens);
      }
    }
  }
  return true;
}();

}  // namespace

// What --shape measures: the products that a layer of an a4.8 model may do with such a matrix, beside 16-bit floats.
void RegisterShapes(const std::vector<MatrixShape>& shapes) {
  AddLimits();
  for (const auto& [rows, cols] : shapes) {
    const Shape s{rows, cols};
    for (const size_t tokens : {1u, 64u, 256u}) {
      const char* op = tokens == 1 ? "MatVec" : "MatMul";
      AddLine<TernaryWeights, Int4Inputs, SimdBackend>("Ternary*Int<4>", "Simd", {op, s, tokens}, false);
      AddLine<TernaryWeights, Int8Inputs, SimdBackend>("Ternary*Int<8>", "Simd", {op, s, tokens}, false);
      AddBf16(s, tokens);
    }
    AddLine<TernaryWeights, Int4Inputs, SimdBackend, Uses<ChosenRows>>("Ternary*Int<4>", "Simd",
                                                                       {"MatMulRows", s, 1, 0.325}, false);
    AddLine<TernaryWeights, Int8Inputs, SimdBackend, Uses<ChosenColumns>>("Ternary*Int<8>", "Simd",
                                                                          {"MatMulColumns", s, 1, 0.16}, false);
  }
}

}  // namespace bitnet
