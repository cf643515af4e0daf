// Products of one matrix, of prepared inputs: ours, cuBLAS's in bfloat16, cuBLASLt's in int8. Weights are copies of a
// matrix in turn, more than the caches hold; the calls follow each other in a graph. cuBLASLt's is the fastest of what
// it proposes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <vector>

#include "benchmarks/cuda/bf16_kernels.h"
#include "benchmarks/cuda/gpu.cuh"
#include "benchmarks/cuda/measure.h"
#include "benchmarks/made_up.h"
#include "bitnet/cuda.h"

namespace bitnet::cuda_bench {
namespace {

constexpr double kSeconds = 0.03;  // of a line
constexpr size_t kTokens[] = {1, 4, 16, 256, 2048};

struct Shape {
  size_t rows, cols;
  bool has_baselines;  // the last is there for its size alone
};
constexpr Shape kShapes[] = {{2560, 2560, true},  {13824, 2560, true}, {2560, 6912, true},  {3200, 10240, true},
                             {20480, 3200, true}, {22016, 4096, true}, {4096, 11008, true}, {65536, 4096, false}};

// What a line is compared with, of the same shape and tokens.
struct Baselines {
  double bf16 = 0.0, int8 = 0.0;  // seconds
};

class ProductBench {
 public:
  ProductBench(const Limits& limits, Report& report, Targets& targets)
      : limits_(limits), report_(report), targets_(targets), blas_(timed_) {}

  void Run(const Shape& shape) {
    shape_ = shape;
    name_ = std::to_string(shape.rows) + "x" + std::to_string(shape.cols);
    std::vector<Baselines> baselines(std::size(kTokens));
    if (shape.has_baselines) {
      // Without a baseline ours are measured all the same.
      try {
        RunBf16(baselines);
        RunInt8(baselines);
      } catch (const std::exception& exception) {
        std::printf("  FAILED: baselines of %s: %s\n", name_.c_str(), exception.what());
        report_.Add("failures", Record().Set("what", "baselines of " + name_).Set("reason", exception.what()));
      }
    }
    const auto weights = MadeUp<A48::Weight>(shape.rows, shape.cols);
    {
      // (Rows that are chosen lie as those of all.)
      const auto matrix = backend_.PrepareMatrix<Ternary, Int<4>, Uses<ChosenRows>>(weights);
      const RotatedCopies copies(matrix.view().base, matrix.view().bytes);
      RunDense<A48::Input>("ternary x INT4", matrix.view(), copies, baselines);
      RunDense<A48Fp4::Input>("ternary x FP4", matrix.view(), copies, baselines);
      RunDense<B158::Input>("W1.58A8", matrix.view(), copies, baselines);
      RunChosenRows(matrix.view(), copies, baselines[0]);
    }
    const auto matrix = backend_.PrepareMatrix<Ternary, Int<8>, Uses<ChosenColumns>>(weights);
    RunChosenColumns(matrix.view(), RotatedCopies(matrix.view().base, matrix.view().bytes), baselines[0]);
  }

 private:
  // calls(i) for each copy.
  template <class F>
  double Seconds(const RotatedCopies& copies, F&& call) {
    return SecondsOfCalls(timed_, kSeconds, copies.count(), call);
  }
  void Finish() {
    if (const Result<Done> done = backend_.Finish(stream_); !done.ok()) Give("inputs", done.error());
  }
  // Quantized rows of values.
  template <class Q>
  void Quantize(const std::vector<float>& values, size_t tokens, CudaBackend::Rows<OperandOf<Q>>& rows) {
    const MatrixView<float> x = backend_.Shape(stream_, of_x_, tokens, shape_.cols);
    backend_.Write(stream_, {values.data(), tokens, shape_.cols}, x);
    backend_.Quantize<Q>(stream_, x, rows);
    Finish();
  }
  // Some random rows, again and again.
  std::vector<float> Inputs(size_t tokens) const {
    std::vector<float> values = Normals(std::min(tokens, size_t{32}) * shape_.cols, 3);
    const size_t few = values.size();
    values.resize(tokens * shape_.cols);
    for (size_t i = few; i < values.size(); ++i) values[i] = values[i - few];
    return values;
  }
  template <class View>
  static View At(View view, const std::byte* base) {
    view.base = base;
    return view;
  }

  void RunBf16(std::vector<Baselines>& baselines) {
    DeviceArray<Bf16> w(shape_.rows * shape_.cols);
    timed_.Launch(FillKernel{w.data(), w.size(), 0.05f, 1}, Grid{16 * Multiprocessors(), 1});
    timed_.Wait();
    const RotatedCopies copies(w.data(), w.size() * sizeof(Bf16));
    for (size_t t = 0; t < std::size(kTokens); ++t) {
      const DeviceArray<Bf16> x(kTokens[t] * shape_.cols), y(kTokens[t] * shape_.rows);
      timed_.Launch(FillKernel{x.data(), x.size(), 1.7f, 2}, Grid{16 * Multiprocessors(), 1});
      baselines[t].bf16 = Seconds(copies, [&](size_t i) {
        blas_.MatMul(reinterpret_cast<const Bf16*>(copies[i]), x.data(), y.data(), shape_.rows, shape_.cols,
                     kTokens[t]);
      });
      Add("cuBLAS bfloat16", kTokens[t], baselines[t].bf16, 2.0 * static_cast<double>(w.size()), baselines[t]);
    }
  }
  void RunInt8(std::vector<Baselines>& baselines) {
    DeviceArray<Bf16> w(shape_.rows * shape_.cols / 2);
    timed_.Launch(FillKernel{w.data(), w.size(), 1.0f, 1}, Grid{16 * Multiprocessors(), 1});
    timed_.Wait();
    const RotatedCopies copies(w.data(), w.size() * sizeof(Bf16));
    for (size_t t = 0; t < std::size(kTokens); ++t) {
      const DeviceArray<Bf16> x(kTokens[t] * shape_.cols / 2);
      const DeviceArray<int32_t> y(kTokens[t] * shape_.rows);
      timed_.Launch(FillKernel{x.data(), x.size(), 1.0f, 2}, Grid{16 * Multiprocessors(), 1});
      Int8MatMul product(timed_, shape_.rows, shape_.cols, kTokens[t]);
      size_t best = product.algorithms();
      double best_seconds = 0.0;
      for (size_t a = 0; a < product.algorithms(); ++a) {
        if (!product.Run(a, copies[0], x.data(), y.data())) continue;
        size_t next = 0;
        const double seconds = SecondsOf(timed_, 0.0, [&] { product.Run(a, copies[next++], x.data(), y.data()); });
        if (best == product.algorithms() || seconds < best_seconds) {
          best = a;
          best_seconds = seconds;
        }
      }
      if (best == product.algorithms()) continue;  // it has none, as for one token
      baselines[t].int8 = Seconds(copies, [&](size_t i) { product.Run(best, copies[i], x.data(), y.data()); });
      Add("cuBLASLt int8", kTokens[t], baselines[t].int8, 2.0 * static_cast<double>(w.size()), baselines[t]);
    }
  }

  template <class Q, class View>
  void RunDense(const char* what, const View& view, const RotatedCopies& copies,
                const std::vector<Baselines>& baselines) {
    for (size_t t = 0; t < std::size(kTokens); ++t) {
      CudaBackend::Rows<OperandOf<Q>> x;
      Quantize<Q>(Inputs(kTokens[t]), kTokens[t], x);
      const MatrixView<float> y = backend_.Shape(stream_, of_y_, kTokens[t], shape_.rows);
      const double seconds =
          Seconds(copies, [&](size_t i) { cuda::MatMul(timed_, At(view, copies[i]), x.view(), cuda::Reals(y)); });
      Add(what, kTokens[t], seconds, static_cast<double>(view.bytes), baselines[t]);
      if (kTokens[t] != 1 || !std::is_same_v<Q, A48::Input>) continue;
      const double share = static_cast<double>(view.bytes) / seconds / limits_.bytes_per_s;
      const double mib = static_cast<double>(view.bytes) / (1 << 20);
      if (mib > 15.0) {
        targets_.AtLeast("matvec " + name_ + ", one token: share of the read bandwidth", mib > 60.0 ? 0.75 : 0.6,
                         share);
      }
      const bool is_large = shape_.rows * shape_.cols >= size_t{20480} * 3200;
      if (shape_.has_baselines && (is_large || name_ == "2560x2560")) {
        targets_.AtLeast("matvec " + name_ + ", one token: times faster than cuBLAS bfloat16", is_large ? 5.0 : 2.0,
                         baselines[t].bf16 / seconds);
      }
    }
  }
  // `up` of one token, of which a third of the gates are open.
  template <class View>
  void RunChosenRows(const View& view, const RotatedCopies& copies, const Baselines& baselines) {
    CudaBackend::Rows<Int<4>> x;
    Quantize<A48::Input>(Normals(shape_.cols, 3), 1, x);
    Random random(5);
    ChannelLists open;
    open.Resize(1, shape_.rows);
    size_t count = 0;
    for (size_t r = 0; r < shape_.rows; ++r) {
      if (UniformReal(random) < 1.0 / 3) open.Row(0)[count++] = static_cast<uint32_t>(r);
    }
    open.SetCount(0, count);
    CudaBackend::Lists lists;
    backend_.Write(stream_, open, lists);
    const MatrixView<float> y = backend_.Shape(stream_, of_y_, 1, shape_.rows);
    Finish();
    const double seconds = Seconds(copies, [&](size_t i) {
      cuda::MatMulRows(timed_, At(view, copies[i]), x.view(), lists.view(), cuda::Reals(y));
    });
    Add("ternary x INT4, 1/3 of the rows", 1, seconds, static_cast<double>(view.bytes) / 3, baselines);
  }
  // `down` of one token, and the attention output: of 16 and 50 % of the inputs.
  template <class View>
  void RunChosenColumns(const View& view, const RotatedCopies& copies, const Baselines& baselines) {
    for (const int percent : {16, 50}) {
      Random random(6);
      std::vector<float> values = Normals(shape_.cols, 3);
      for (float& v : values) v = 100.0 * UniformReal(random) < percent ? (v < 0.0f ? v - 0.5f : v + 0.5f) : 0.0f;
      CudaBackend::Rows<Int<8>> x;
      Quantize<A48::DownInput>(values, 1, x);
      backend_.FindNonzero(stream_, x);
      const MatrixView<float> y = backend_.Shape(stream_, of_y_, 1, shape_.rows);
      Finish();
      const double seconds = Seconds(
          copies, [&](size_t i) { cuda::MatMulColumns(timed_, At(view, copies[i]), x.view(), cuda::Reals(y)); });
      Add(percent == 16 ? "ternary x INT8, 16 % of the columns" : "ternary x INT8, 50 % of the columns", 1, seconds,
          static_cast<double>(view.bytes) * percent / 100, baselines);
    }
  }

  // `bytes`: of weights that are needed.
  void Add(const char* what, size_t tokens, double seconds, double bytes, const Baselines& baselines) {
    const double macs = static_cast<double>(shape_.rows * shape_.cols * tokens);
    Record record;
    record.Set("shape", name_).Set("tokens", tokens).Set("what", what).Set("us", 1e6 * seconds).Set("bytes", bytes);
    record.Set("of_bandwidth", bytes / seconds / limits_.bytes_per_s);
    record.Set("of_int8_rate", macs / seconds / limits_.int8_macs_per_s);
    if (baselines.bf16 != 0.0) record.Set("over_bf16", baselines.bf16 / seconds);
    if (baselines.int8 != 0.0) record.Set("over_int8", baselines.int8 / seconds);
    report_.Add("products", record);
    std::printf(
        "  %-11s %4zu tokens  %-35s %9.2f us, %4.2f of the bandwidth, %4.2f of the int8 rate, %6.2f times bf16\n",
        name_.c_str(), tokens, what, 1e6 * seconds, bytes / seconds / limits_.bytes_per_s,
        macs / seconds / limits_.int8_macs_per_s, baselines.bf16 / seconds);
  }

  const Limits& limits_;
  Report& report_;
  Targets& targets_;
  TimedStream timed_;
  Blas blas_;
  CudaBackend backend_{*CudaBackend::Create()};
  CudaBackend::Stream stream_ = backend_.NewStream();
  CudaBackend::Reals of_x_, of_y_;
  Shape shape_ = {};
  std::string name_;
};

}  // namespace

void MeasureProducts(const Limits& limits, Report& report, Targets& targets) {
  ProductBench bench(limits, report, targets);
  for (const Shape& shape : kShapes) bench.Run(shape);
}

}  // namespace bitnet::cuda_bench
