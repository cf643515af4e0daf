// Embed: rows of weights by their numbers, as reals: y = step * level, or the reals themselves. A thread a value.
#ifndef BITNET_BACKEND_CUDA_EMBED_H_
#define BITNET_BACKEND_CUDA_EMBED_H_

#include <cstddef>
#include <cstdint>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/limits.h"
#include "bitnet/backend/cuda/views.h"

namespace bitnet::cuda {

template <class View>
struct EmbedRows {
  static constexpr unsigned kThreads = 128;
  using Shared = NoShared;

  View w;
  const uint32_t* numbers;  // of rows that there are
  Reals y;
  size_t tokens;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    const uint32_t col = d.block() * kThreads + d.thread();
    if (col >= w.cols) return;
    for (size_t token = d.block_y(); token < tokens; token += d.blocks_y()) {
      const uint32_t row = numbers[token];
      const auto value = static_cast<float>(w.Value(row, col));
      y.Row(token)[col] = View::kIsReal ? value : w.Steps(row)[col / w.group] * value;
    }
  }
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_EMBED_H_
