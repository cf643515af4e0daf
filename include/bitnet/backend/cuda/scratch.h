// Scratch memory of a stream, by what it is for: an operation's own until it ends.
#ifndef BITNET_BACKEND_CUDA_SCRATCH_H_
#define BITNET_BACKEND_CUDA_SCRATCH_H_

#include <cstddef>

namespace bitnet::cuda {

enum class ScratchSlot { kProduct, kQuantize, kTransform, kAttention, kValues, kSampling, kRandom, kCounts, kCount };

inline constexpr size_t kScratchSlots = static_cast<size_t>(ScratchSlot::kCount);

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_SCRATCH_H_
