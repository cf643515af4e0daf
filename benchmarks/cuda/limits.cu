// What the GPU can do, measured in the run whose numbers are given as shares of it.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "benchmarks/cuda/bf16_kernels.h"
#include "benchmarks/cuda/gpu.cuh"
#include "benchmarks/cuda/measure.h"

namespace bitnet::cuda_bench {
namespace {

// Reads all of a block of memory.
struct ReadKernel {
  static constexpr unsigned kThreads = 512;
  static constexpr unsigned kAtOnce = 8;
  using Shared = NoShared;
  const std::byte* from;
  size_t pieces;  // of 16 bytes
  uint32_t* to;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    const size_t all = size_t{d.blocks()} * kThreads;
    uint32_t sum = 0;
    for (size_t i = size_t{d.block()} * kThreads + d.thread(); i < pieces; i += kAtOnce * all) {
      uint32_t words[kAtOnce][4] = {};
      BITNET_UNROLL
      for (unsigned k = 0; k < kAtOnce; ++k) {
        if (i + k * all < pieces) d.Load16(words[k], from + 16 * (i + k * all));
      }
      BITNET_UNROLL
      for (unsigned k = 0; k < kAtOnce; ++k) sum ^= words[k][0] ^ words[k][1] ^ words[k][2] ^ words[k][3];
    }
    if (sum == 0x9e3779b9u) *to = sum;  // (else the loads would be left out)
  }
};

// Multiplies tiles that stay in registers.
struct MultiplyKernel {
  static constexpr unsigned kThreads = 256;
  static constexpr unsigned kSums = 8;
  static constexpr unsigned kRounds = 4096;
  static constexpr double kMacs = double{kThreads} / 32 * kSums * kRounds * (16 * 8 * 32);  // of a block
  using Shared = NoShared;
  int32_t* to;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    uint32_t a[4], b[2];
    BITNET_UNROLL
    for (unsigned i = 0; i < 4; ++i) a[i] = (d.thread() + 7 * i + 1) * 2654435761u;
    BITNET_UNROLL
    for (unsigned i = 0; i < 2; ++i) b[i] = (d.thread() + 5 * i + 3) * 0x7feb352du;
    int32_t sums[kSums][4] = {};
    for (unsigned round = 0; round < kRounds; ++round) {
      BITNET_UNROLL
      for (unsigned i = 0; i < kSums; ++i) d.Mma(sums[i], a, b);
    }
    int32_t sum = 0;
    BITNET_UNROLL
    for (unsigned i = 0; i < kSums; ++i) sum += sums[i][0] ^ sums[i][1] ^ sums[i][2] ^ sums[i][3];
    if (sum == 0x1234567) *to = sum;
  }
};

}  // namespace

Limits MeasureLimits() {
  Limits limits;
  TimedStream stream;
  DeviceArray<uint32_t> to(1);
  {
    const DeviceArray<std::byte> memory(std::max(2 * RotatedBytes(), size_t{1} << 30));
    BITNET_CHECK(cudaMemset(memory.data(), 1, memory.size()));
    for (const unsigned blocks : {2u, 4u, 8u, 16u}) {  // of a multiprocessor
      const ReadKernel kernel{memory.data(), memory.size() / 16, to.data()};
      const double seconds = SecondsOf(stream, 0.1, [&] {
        stream.Launch(kernel, Grid{blocks * Multiprocessors(), 1});
      });
      limits.bytes_per_s = std::max(limits.bytes_per_s, static_cast<double>(memory.size()) / seconds);
    }
  }
  const Grid grid{4 * Multiprocessors(), 1};
  const double seconds =
      SecondsOf(stream, 0.2, [&] { stream.Launch(MultiplyKernel{reinterpret_cast<int32_t*>(to.data())}, grid); });
  limits.int8_macs_per_s = MultiplyKernel::kMacs * grid.x / seconds;

  // Large products by cuBLAS.
  constexpr size_t kSize = 8192;
  constexpr double kMacs = double{kSize} * kSize * kSize;
  const DeviceArray<Bf16> w(kSize * kSize), x(kSize * kSize), y(2 * kSize * kSize);
  for (const auto* matrix : {&w, &x}) {
    stream.Launch(FillKernel{matrix->data(), matrix->size(), 1.0f, 1}, Grid{16 * Multiprocessors(), 1});
  }
  Blas blas(stream);
  limits.bf16_macs_per_s =
      kMacs / SecondsOf(stream, 0.2, [&] { blas.MatMul(w.data(), x.data(), y.data(), kSize, kSize, kSize); });
  Int8MatMul product(stream, kSize, kSize, kSize);
  for (size_t i = 0; i < product.algorithms(); ++i) {
    if (!product.Run(i, w.data(), x.data(), y.data())) continue;
    const double one = SecondsOf(stream, 0.05, [&] { product.Run(i, w.data(), x.data(), y.data()); });
    limits.cublas_int8_macs_per_s = std::max(limits.cublas_int8_macs_per_s, kMacs / one);
  }
  return limits;
}

}  // namespace bitnet::cuda_bench
