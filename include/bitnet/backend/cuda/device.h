// What kernels of the CUDA backend are written against. A kernel is a functor:
//
//   struct Kernel {
//     static constexpr unsigned kThreads = 128;  // of a block: a multiple of 32, at most 1024
//     struct Shared { ... };                     // at 128 bytes; nothing in it has a value at the start
//     float* y; ...                              // parameters: trivially copyable
//     template <class Device>
//     BITNET_DEVICE void operator()(Device& d, Shared& shared) const;
//   };
//
// Shared takes at most 48 KiB (limits.h), 99 where the kernel has `static constexpr bool kLargeShared = true`.
//
// The device type is the only way to the machine. On a GPU it is CudaDevice (device.cuh), whose members are
// intrinsics; on a host it is the emulated device of the tests (tests/testing/simt.h), which checks what a GPU does
// not. One source, so what is proven there holds here. The members of a Device, of a thread in a block in a grid:
//
//   thread() lane() warp()              in the block, in the warp of 32; which warp of the block
//   block() block_y() blocks() blocks_y()   of the grid
//   Barrier()                           all threads of the block
//   Shuffle(v, from) ShuffleXor(v, mask)    a value of 4 or 8 bytes of another lane; all 32 lanes take part
//   Ballot(b)                           bit i: b of lane i
//   Dp4a(a, b, c)                       c + the dot product of four signed bytes
//   PopCount(v) Select4(table, four)    bits set; four bytes looked up in 16 signed bytes, by nibble values in bytes
//   Mma(d, a, b)                        d += a b^T of int8 tiles 16 x 32 and 8 x 32: mma.sync.m16n8k32's fragments
//   CopyAsync(shared, global, bytes)    16 bytes, of which the last 16 - bytes become zero; done after CopyWait
//   CopyCommit() CopyWait<n>()          ends a group of copies; waits until at most n groups are under way
//   Load16(words, from)                 16 bytes at an address that is a multiple of 16
//   AtomicAdd(p, v) AtomicMax(p, v)     of uint32_t, int32_t; AtomicAdd also of uint64_t
//
// A launch without blocks does nothing. Memory is that of ordinary pointers: global ones come as parameters, shared is
// `shared`.
#ifndef BITNET_BACKEND_CUDA_DEVICE_H_
#define BITNET_BACKEND_CUDA_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bitnet/base/host_device.h"

#ifdef __CUDACC__
#define BITNET_DEVICE __device__ __forceinline__
#else
#define BITNET_DEVICE inline
#endif

namespace bitnet::cuda {

inline constexpr unsigned kWarp = 32;

// Blocks of a launch. (y is at most 65535 on a GPU.)
struct Grid {
  unsigned x = 1;
  unsigned y = 1;
  friend bool operator==(const Grid&, const Grid&) = default;
};

// How many blocks of `each` cover n.
constexpr unsigned BlocksFor(size_t n, size_t each) { return static_cast<unsigned>(n / each + (n % each != 0)); }

template <class K>
concept Kernel =
    std::is_trivially_copyable_v<K> && std::is_trivially_default_constructible_v<typename K::Shared> && K::kThreads %
            kWarp ==
        0 &&
    K::kThreads >= kWarp&& K::kThreads <= 1024;

// No shared memory.
struct NoShared {};

// Over the 32 lanes of a warp; all have the result. (Of integers: a float's sum depends on the order.)
template <class Device, class T>
BITNET_DEVICE T WarpSum(Device& d, T v) {
  static_assert(std::is_integral_v<T>);
  for (int mask = 16; mask > 0; mask /= 2) v += d.ShuffleXor(v, mask);
  return v;
}
template <class Device, class T>
BITNET_DEVICE T WarpMax(Device& d, T v) {
  for (int mask = 16; mask > 0; mask /= 2) {
    const T other = d.ShuffleXor(v, mask);
    v = other > v ? other : v;
  }
  return v;
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_DEVICE_H_
