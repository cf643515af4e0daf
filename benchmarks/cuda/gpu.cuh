// What measurements on a GPU need: errors that are thrown as a sentence, memory, a stream that kernels of the library
// are launched into, the time of a call by events, and copies that no cache holds.
#ifndef BITNET_BENCHMARKS_CUDA_GPU_CUH_
#define BITNET_BENCHMARKS_CUDA_GPU_CUH_

#include <cublasLt.h>
#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bitnet/backend/cuda/device.cuh"
#include "bitnet/backend/cuda/scratch.h"

namespace bitnet::cuda_bench {

[[noreturn]] inline void Give(const std::string& call, const std::string& reason) {
  throw std::runtime_error(call + " failed: " + reason);
}
inline void Check(cudaError_t error, const char* call) {
  if (error != cudaSuccess) Give(call, cudaGetErrorString(error));
}
inline void Check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) Give(call, cublasGetStatusString(status));
}
#define BITNET_CHECK(call) ::bitnet::cuda_bench::Check(call, #call)

// ---- The GPU.

inline const cudaDeviceProp& Gpu() {
  static const cudaDeviceProp properties = [] {
    cudaDeviceProp p = {};
    BITNET_CHECK(cudaGetDeviceProperties(&p, 0));
    return p;
  }();
  return properties;
}
inline uint32_t Multiprocessors() { return static_cast<uint32_t>(Gpu().multiProcessorCount); }
// Bytes that a measurement reads before it reads the same again.
inline size_t RotatedBytes() { return 8 * std::max(static_cast<size_t>(Gpu().l2CacheSize), size_t{16} << 20); }
inline size_t FreeBytes() {
  size_t free = 0, total = 0;
  BITNET_CHECK(cudaMemGetInfo(&free, &total));
  return free;
}

// ---- Memory of the device.

template <class T>
class DeviceArray {
 public:
  DeviceArray() = default;
  explicit DeviceArray(size_t count) : count_(count) {
    void* p = nullptr;
    BITNET_CHECK(cudaMalloc(&p, std::max(count, size_t{1}) * sizeof(T)));
    data_ = static_cast<T*>(p);
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    BITNET_CHECK(cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  DeviceArray(DeviceArray&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, size_t{0})) {}
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }
  ~DeviceArray() {
    if (data_ != nullptr) static_cast<void>(cudaFree(data_));
  }
  T* data() const { return data_; }
  size_t size() const { return count_; }
  std::vector<T> Host() const {
    std::vector<T> host(count_);
    BITNET_CHECK(cudaMemcpy(host.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return host;
  }

 private:
  T* data_ = nullptr;
  size_t count_ = 0;
};

// ---- A stream for launch functions of the library, whose calls are captured and timed.

class TimedStream {
 public:
  TimedStream() { BITNET_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  TimedStream(const TimedStream&) = delete;
  TimedStream& operator=(const TimedStream&) = delete;
  ~TimedStream() { static_cast<void>(cudaStreamDestroy(stream_)); }

  template <cuda::Kernel K>
  void Launch(const K& kernel, cuda::Grid grid) {
    Check(cuda::Launch(kernel, grid, stream_), "a kernel's launch");
  }
  // (What a graph names must stay where it is: it grows outside of captures alone.)
  template <class T>
  T* Scratch(cuda::ScratchSlot slot, size_t count) {
    DeviceArray<std::byte>& memory = scratch_[static_cast<size_t>(slot)];
    if (memory.size() < count * sizeof(T)) memory = DeviceArray<std::byte>(count * sizeof(T));
    return reinterpret_cast<T*>(memory.data());
  }
  void Wait() { BITNET_CHECK(cudaStreamSynchronize(stream_)); }
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
  DeviceArray<std::byte> scratch_[cuda::kScratchSlots];
};

// What a stream was given by f(), to be run as one.
class Graph {
 public:
  template <class F>
  Graph(TimedStream& stream, F&& f) : stream_(stream) {
    cudaGraph_t graph = nullptr;
    BITNET_CHECK(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal));
    try {
      f();
    } catch (...) {
      if (cudaStreamEndCapture(stream.get(), &graph) == cudaSuccess) static_cast<void>(cudaGraphDestroy(graph));
      throw;
    }
    BITNET_CHECK(cudaStreamEndCapture(stream.get(), &graph));
    BITNET_CHECK(cudaGraphInstantiateWithFlags(&exec_, graph, 0));
    BITNET_CHECK(cudaGraphDestroy(graph));
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() { static_cast<void>(cudaGraphExecDestroy(exec_)); }
  void Run() { BITNET_CHECK(cudaGraphLaunch(exec_, stream_.get())); }

 private:
  TimedStream& stream_;
  cudaGraphExec_t exec_ = nullptr;
};

inline double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Seconds of run(), which puts work into the stream: the median, by events, of some runs for about `seconds` in all.
template <class Run>
double SecondsOf(TimedStream& stream, double seconds, Run&& run) {
  cudaEvent_t begin = nullptr, end = nullptr;
  BITNET_CHECK(cudaEventCreate(&begin));
  BITNET_CHECK(cudaEventCreate(&end));
  run();
  run();  // clocks rise
  std::vector<double> times;
  double all = 0.0;
  while (times.size() < 5 || (all < seconds && times.size() < 1000)) {
    BITNET_CHECK(cudaEventRecord(begin, stream.get()));
    run();
    BITNET_CHECK(cudaEventRecord(end, stream.get()));
    BITNET_CHECK(cudaEventSynchronize(end));
    float milliseconds = 0.0f;
    BITNET_CHECK(cudaEventElapsedTime(&milliseconds, begin, end));
    times.push_back(static_cast<double>(milliseconds) * 1e-3);
    all += times.back();
  }
  BITNET_CHECK(cudaEventDestroy(begin));
  BITNET_CHECK(cudaEventDestroy(end));
  return Median(times);
}

// Seconds of a call f(i), of `calls` of them that follow each other in a graph, i = 0, 1, ...
template <class F>
double SecondsOfCalls(TimedStream& stream, double seconds, size_t calls, F&& f) {
  f(0);  // takes scratch memory
  stream.Wait();
  Graph graph(stream, [&] {
    for (size_t i = 0; i < calls; ++i) f(i);
  });
  return SecondsOf(stream, seconds, [&] { graph.Run(); }) / static_cast<double>(calls);
}

// A block of memory again and again, more than the caches hold.
class RotatedCopies {
 public:
  RotatedCopies(const void* from, size_t bytes)
      : stride_((bytes + 255) / 256 * 256),
        count_(RotatedBytes() / std::max(stride_, size_t{1}) + 1),
        memory_(count_ * stride_) {
    for (size_t i = 0; i < count_; ++i) {
      BITNET_CHECK(cudaMemcpy(memory_.data() + i * stride_, from, bytes, cudaMemcpyDeviceToDevice));
    }
  }
  size_t count() const { return count_; }
  std::byte* operator[](size_t i) const { return memory_.data() + i % count_ * stride_; }

 private:
  size_t stride_;
  size_t count_;
  DeviceArray<std::byte> memory_;
};

// ---- cuBLAS.

class Blas {
 public:
  explicit Blas(TimedStream& stream) : workspace_(kWorkspace) {
    BITNET_CHECK(cublasCreate(&blas_));
    BITNET_CHECK(cublasSetStream(blas_, stream.get()));
    BITNET_CHECK(cublasSetWorkspace(blas_, workspace_.data(), kWorkspace));
  }
  Blas(const Blas&) = delete;
  Blas& operator=(const Blas&) = delete;
  ~Blas() { static_cast<void>(cublasDestroy(blas_)); }

  // y [tokens, rows] = x [tokens, cols] w^T, and y += that with `beta` 1, in bfloat16 with sums in float; y as Y says:
  // bfloat16 or float.
  template <class Y>
  void MatMul(const uint16_t* w, const uint16_t* x, Y* y, size_t rows, size_t cols, size_t tokens, float beta = 0.0f) {
    const float alpha = 1.0f;
    constexpr cudaDataType kY = sizeof(Y) == 4 ? CUDA_R_32F : CUDA_R_16BF;
    BITNET_CHECK(cublasGemmEx(blas_, CUBLAS_OP_T, CUBLAS_OP_N, static_cast<int>(rows), static_cast<int>(tokens),
                              static_cast<int>(cols), &alpha, w, CUDA_R_16BF, static_cast<int>(cols), x, CUDA_R_16BF,
                              static_cast<int>(cols), &beta, y, kY, static_cast<int>(rows), CUBLAS_COMPUTE_32F,
                              CUBLAS_GEMM_DEFAULT));
  }
  cublasHandle_t get() const { return blas_; }

  static constexpr size_t kWorkspace = size_t{64} << 20;

 private:
  cublasHandle_t blas_ = nullptr;
  DeviceArray<std::byte> workspace_;
};

// y [tokens, rows] = x [tokens, cols] w^T of int8 with int32 sums, by the fastest of what cuBLASLt proposes.
class Int8MatMul {
 public:
  Int8MatMul(TimedStream& stream, size_t rows, size_t cols, size_t tokens)
      : stream_(stream), workspace_(Blas::kWorkspace) {
    BITNET_CHECK(cublasLtCreate(&blas_));
    BITNET_CHECK(cublasLtMatmulDescCreate(&product_, CUBLAS_COMPUTE_32I, CUDA_R_32I));
    const cublasOperation_t transposed = CUBLAS_OP_T;
    BITNET_CHECK(
        cublasLtMatmulDescSetAttribute(product_, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed)));
    BITNET_CHECK(cublasLtMatrixLayoutCreate(&w_, CUDA_R_8I, cols, rows, static_cast<int64_t>(cols)));
    BITNET_CHECK(cublasLtMatrixLayoutCreate(&x_, CUDA_R_8I, cols, tokens, static_cast<int64_t>(cols)));
    BITNET_CHECK(cublasLtMatrixLayoutCreate(&y_, CUDA_R_32I, rows, tokens, static_cast<int64_t>(rows)));
    cublasLtMatmulPreference_t preference = nullptr;
    BITNET_CHECK(cublasLtMatmulPreferenceCreate(&preference));
    const size_t workspace = Blas::kWorkspace;
    BITNET_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                                      sizeof(workspace)));
    // (Where it has none it says so by its status.)
    int count = 0;
    if (cublasLtMatmulAlgoGetHeuristic(blas_, product_, w_, x_, y_, y_, preference, kMost, proposals_, &count) ==
        CUBLAS_STATUS_SUCCESS) {
      algorithms_ = static_cast<size_t>(count);
    }
    BITNET_CHECK(cublasLtMatmulPreferenceDestroy(preference));
  }
  Int8MatMul(const Int8MatMul&) = delete;
  Int8MatMul& operator=(const Int8MatMul&) = delete;
  ~Int8MatMul() {
    static_cast<void>(cublasLtMatrixLayoutDestroy(w_));
    static_cast<void>(cublasLtMatrixLayoutDestroy(x_));
    static_cast<void>(cublasLtMatrixLayoutDestroy(y_));
    static_cast<void>(cublasLtMatmulDescDestroy(product_));
    static_cast<void>(cublasLtDestroy(blas_));
  }

  size_t algorithms() const { return algorithms_; }
  // Whether it took it.
  bool Run(size_t algorithm, const void* w, const void* x, void* y) {
    const int32_t one = 1, none = 0;
    return cublasLtMatmul(blas_, product_, &one, w, w_, x, x_, &none, y, y_, y, y_, &proposals_[algorithm].algo,
                          workspace_.data(), Blas::kWorkspace, stream_.get()) == CUBLAS_STATUS_SUCCESS;
  }

 private:
  TimedStream& stream_;
  DeviceArray<std::byte> workspace_;
  cublasLtHandle_t blas_ = nullptr;
  cublasLtMatmulDesc_t product_ = nullptr;
  cublasLtMatrixLayout_t w_ = nullptr, x_ = nullptr, y_ = nullptr;
  // (An array: nvcc 13.0 breaks off at a std::vector of these, structs without a name.)
  static constexpr int kMost = 8;
  cublasLtMatmulHeuristicResult_t proposals_[kMost] = {};
  size_t algorithms_ = 0;
};

}  // namespace bitnet::cuda_bench

#endif  // BITNET_BENCHMARKS_CUDA_GPU_CUH_
