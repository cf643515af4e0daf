// What the threads of a block find out together of integers: sums of those before, largest ones.
#ifndef BITNET_BACKEND_CUDA_BLOCK_SCAN_H_
#define BITNET_BACKEND_CUDA_BLOCK_SCAN_H_

#include <cstdint>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/unroll.h"

namespace bitnet::cuda {

template <class T>
struct Scanned {
  T before;  // the sum over the threads before this one
  T all;
};

// Over the 32 threads of a warp.
template <class Device, class T>
BITNET_DEVICE Scanned<T> ScanWarp(Device& d, T v) {
  T sum = v;
  BITNET_UNROLL
  for (unsigned distance = 1; distance < kWarp; distance *= 2) {
    const T below = d.Shuffle(sum, d.lane() >= distance ? d.lane() - distance : d.lane());
    if (d.lane() >= distance) sum += below;
  }
  return {static_cast<T>(sum - v), d.Shuffle(sum, kWarp - 1)};
}

// Over the threads of a block. `of_warps` is free again after a barrier.
template <unsigned kThreads, class Device, class T>
BITNET_DEVICE Scanned<T> ScanBlock(Device& d, T (&of_warps)[kThreads / kWarp], T v) {
  const Scanned<T> in_warp = ScanWarp(d, v);
  if (d.lane() == 0) of_warps[d.warp()] = in_warp.all;
  d.Barrier();
  const Scanned<T> of_warp = ScanWarp(d, d.lane() < kThreads / kWarp ? of_warps[d.lane()] : T{});
  return {in_warp.before + d.Shuffle(of_warp.before, d.warp()), of_warp.all};
}

BITNET_HOST_DEVICE constexpr uint32_t LargerOf(uint32_t a, uint32_t b) { return a < b ? b : a; }
BITNET_HOST_DEVICE constexpr uint64_t LargerOf(uint64_t a, uint64_t b) { return a < b ? b : a; }

// The largest of the threads of a block, which all have it. `of_warps` is free again after a barrier.
template <unsigned kThreads, class Device, class T>
BITNET_DEVICE T LargestOfBlock(Device& d, T (&of_warps)[kThreads / kWarp], T v) {
  constexpr unsigned kWarps = kThreads / kWarp;
  static_assert((kWarps & (kWarps - 1)) == 0);
  BITNET_UNROLL
  for (unsigned mask = kWarp / 2; mask > 0; mask /= 2) v = LargerOf(v, d.ShuffleXor(v, mask));
  if (d.lane() == 0) of_warps[d.warp()] = v;
  d.Barrier();
  T all = of_warps[d.lane() % kWarps];
  BITNET_UNROLL
  for (unsigned mask = kWarps / 2; mask > 0; mask /= 2) all = LargerOf(all, d.ShuffleXor(all, mask));
  return all;
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_BLOCK_SCAN_H_
