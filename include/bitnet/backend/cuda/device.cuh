// CudaDevice: what a kernel finds on a GPU (device.h says what each member does); and the launch of one. For programs
// that nvcc compiles.
#ifndef BITNET_BACKEND_CUDA_DEVICE_CUH_
#define BITNET_BACKEND_CUDA_DEVICE_CUH_

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/limits.h"
#include "bitnet/backend/cuda/select4.h"
#include "bitnet/base/host_device.h"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error "bitnet: the CUDA backend needs a GPU of compute capability 8.0 or newer (nvcc -arch=sm_80, sm_90a ...)"
#endif

namespace bitnet::cuda {

class CudaDevice {
 public:
  BITNET_DEVICE unsigned thread() const { return threadIdx.x; }
  BITNET_DEVICE unsigned lane() const { return threadIdx.x % kWarp; }
  BITNET_DEVICE unsigned warp() const { return threadIdx.x / kWarp; }
  BITNET_DEVICE unsigned block() const { return blockIdx.x; }
  BITNET_DEVICE unsigned block_y() const { return blockIdx.y; }
  BITNET_DEVICE unsigned blocks() const { return gridDim.x; }
  BITNET_DEVICE unsigned blocks_y() const { return gridDim.y; }

  BITNET_DEVICE void Barrier() const { __syncthreads(); }

  template <class T, class Lane>
  BITNET_DEVICE T Shuffle(T v, Lane from) const {
    return BitCast<T>(__shfl_sync(kAllLanes, BitCast<Bits<T>>(v), static_cast<int>(from)));
  }
  template <class T, class Mask>
  BITNET_DEVICE T ShuffleXor(T v, Mask mask) const {
    return BitCast<T>(__shfl_xor_sync(kAllLanes, BitCast<Bits<T>>(v), static_cast<int>(mask)));
  }
  BITNET_DEVICE uint32_t Ballot(bool b) const { return __ballot_sync(kAllLanes, b); }

  BITNET_DEVICE int32_t Dp4a(uint32_t a, uint32_t b, int32_t c) const {
    return __dp4a(static_cast<int>(a), static_cast<int>(b), c);
  }
  BITNET_DEVICE unsigned PopCount(uint32_t v) const { return static_cast<unsigned>(__popc(static_cast<int>(v))); }

  BITNET_DEVICE uint32_t Select4(const uint32_t (&table)[4], uint32_t four) const {
    return Select4By(BytePerm(), table, four);
  }

  // Volatile: all lanes must come to it, so it may not move to where some do not.
  BITNET_DEVICE void Mma(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) const {
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }

  // (.cg: past the first-level cache, which has no use of what goes to shared memory.)
  BITNET_DEVICE void CopyAsync(void* shared, const void* global, unsigned bytes) const {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(static_cast<unsigned>(__cvta_generic_to_shared(shared))), "l"(__cvta_generic_to_global(global)),
                   "r"(bytes)
                 : "memory");
  }
  BITNET_DEVICE void CopyCommit() const { asm volatile("cp.async.commit_group;" : : : "memory"); }
  template <unsigned kUnderWay>
  BITNET_DEVICE void CopyWait() const {
    asm volatile("cp.async.wait_group %0;" : : "n"(kUnderWay) : "memory");
  }

  BITNET_DEVICE void Load16(uint32_t (&words)[4], const void* from) const {
    const uint4 v = *static_cast<const uint4*>(from);
    words[0] = v.x;
    words[1] = v.y;
    words[2] = v.z;
    words[3] = v.w;
  }

  template <class T>
  BITNET_DEVICE T AtomicAdd(T* p, std::type_identity_t<T> v) const {
    static_assert(std::is_same_v<T, uint32_t> || std::is_same_v<T, int32_t> || std::is_same_v<T, uint64_t>);
    if constexpr (sizeof(T) == 8) {
      return atomicAdd(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(v));
    } else {
      return atomicAdd(p, v);
    }
  }
  template <class T>
  BITNET_DEVICE T AtomicMax(T* p, std::type_identity_t<T> v) const {
    static_assert(std::is_same_v<T, uint32_t> || std::is_same_v<T, int32_t>);
    return atomicMax(p, v);
  }

 private:
  static constexpr unsigned kAllLanes = 0xffffffffu;

  // What the intrinsics take of a value of 4 or 8 bytes.
  template <class T>
  using Bits = std::conditional_t<sizeof(T) == 8, unsigned long long, unsigned>;

  struct BytePerm {
    BITNET_DEVICE uint32_t operator()(uint32_t x, uint32_t y, uint32_t selector) const {
      return __byte_perm(x, y, selector);
    }
  };
};

template <Kernel K>
__global__ void __launch_bounds__(K::kThreads, kMinBlocksOf<K>) RunKernel(const __grid_constant__ K kernel) {
  using Shared = typename K::Shared;
  CudaDevice device;
  if constexpr (std::is_empty_v<Shared>) {
    Shared shared;
    kernel(device, shared);
  } else if constexpr (kHasLargeShared<K>) {
    extern __shared__ __align__(kSharedAlignment) unsigned char bitnet_shared[];
    kernel(device, *reinterpret_cast<Shared*>(bitnet_shared));
  } else {
    __shared__ __align__(kSharedAlignment) Shared shared;
    kernel(device, shared);
  }
}

// Queued after all before it in the stream, and not waited for. A grid without blocks does nothing.
template <Kernel K>
cudaError_t Launch(const K& kernel, Grid grid, cudaStream_t stream) {
  using Shared = typename K::Shared;
  static_assert(sizeof(Shared) <= kMaxSharedBytes<K>,
                "bitnet: more shared memory than a block has (kLargeShared: than it may ask for)");
  static_assert(sizeof(K) <= kMaxKernelBytes && alignof(Shared) <= kSharedAlignment);
  if (grid.x == 0 || grid.y == 0) return cudaSuccess;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(grid.x, grid.y);
  config.blockDim = dim3(K::kThreads);
  config.stream = stream;
  if constexpr (kHasLargeShared<K>) {
    config.dynamicSmemBytes = sizeof(Shared);
    // (Of this GPU: a program may have several.)
    const cudaError_t error = cudaFuncSetAttribute(RunKernel<K>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                   static_cast<int>(sizeof(Shared)));
    if (error != cudaSuccess) return error;
  }
  return cudaLaunchKernelEx(&config, RunKernel<K>, kernel);
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_DEVICE_CUH_
