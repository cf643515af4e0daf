// What a kernel may ask of a GPU: what all of sm_80 and later have.
#ifndef BITNET_BACKEND_CUDA_LIMITS_H_
#define BITNET_BACKEND_CUDA_LIMITS_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bitnet/backend/cuda/device.h"

namespace bitnet::cuda {

inline constexpr unsigned kMaxGridX = 0x7fffffff;
inline constexpr unsigned kMaxGridY = 0xffff;
inline constexpr size_t kMaxKernelBytes = 4096;  // of its members: its parameters

// Shared memory begins on this many bytes.
inline constexpr size_t kSharedAlignment = 128;

// A kernel with `static constexpr bool kLargeShared = true` has the memory of a block that must be asked for.
template <Kernel K>
inline constexpr bool kHasLargeShared = [] {
  if constexpr (requires { K::kLargeShared; }) {
    return K::kLargeShared;
  } else {
    return false;
  }
}();

// Registers of a thread are the compiler's choice, which is sometimes a few too small: then it keeps some in memory. A
// kernel with `static constexpr unsigned kMinBlocks` lets it take as many as still leave room for so many blocks on a
// multiprocessor. (docs/cuda_resources.md has what all of them take.)
template <Kernel K>
inline constexpr unsigned kMinBlocksOf = [] {
  if constexpr (requires { K::kMinBlocks; }) {
    return K::kMinBlocks;
  } else {
    return 0u;  // its choice
  }
}();

template <Kernel K>
inline constexpr size_t kMaxSharedBytes = size_t{kHasLargeShared<K> ? 99u : 48u} << 10;

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_LIMITS_H_
