// Operations on rows of reals whose results depend on no neighbours: Add, Copy, Rotate.
#ifndef BITNET_BACKEND_CUDA_ELEMENTWISE_H_
#define BITNET_BACKEND_CUDA_ELEMENTWISE_H_

#include <cstddef>
#include <cstdint>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/base/assert.h"

namespace bitnet::cuda {

// of(row, column) for each element of [rows, cols].
template <class Of>
struct EachElementKernel {
  static constexpr unsigned kThreads = 256;
  static constexpr unsigned kEach = 4;  // columns of a thread, side by side with its neighbours'
  using Shared = NoShared;

  Of of;
  size_t rows;
  size_t cols;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    const size_t first = size_t{d.block()} * (kThreads * kEach) + d.thread();
    for (size_t row = d.block_y(); row < rows; row += d.blocks_y()) {
      BITNET_UNROLL
      for (unsigned j = 0; j < kEach; ++j) {
        const size_t column = first + j * kThreads;
        if (column < cols) of(row, column);
      }
    }
  }
};

template <class Of, class Stream>
void EachElement(Stream& stream, size_t rows, size_t cols, const Of& of) {
  using K = EachElementKernel<Of>;
  constexpr size_t kMostBlocks = 65535;
  if (rows == 0 || cols == 0) return;
  stream.Launch(K{of, rows, cols}, Grid{BlocksFor(cols, K::kThreads * K::kEach),
                                        static_cast<unsigned>(rows < kMostBlocks ? rows : kMostBlocks)});
}

struct AddOf {
  ConstReals x;
  Reals y;
  BITNET_DEVICE void operator()(size_t row, size_t column) const { y.Row(row)[column] += x.Row(row)[column]; }
};
// y += x.
template <class Stream>
void Add(Stream& stream, const ConstReals& x, const Reals& y) {
  EachElement(stream, y.rows, y.cols, AddOf{x, y});
}

struct CopyOf {
  ConstReals x;
  Reals y;
  BITNET_DEVICE void operator()(size_t row, size_t column) const { y.Row(row)[column] = x.Row(row)[column]; }
};
// y = x.
template <class Stream>
void Copy(Stream& stream, const ConstReals& x, const Reals& y) {
  EachElement(stream, y.rows, y.cols, CopyOf{x, y});
}

// The pair (i, i + pairs) of a head, turned by its angle.
struct RotateOf {
  const float* cos;
  const float* sin;
  uint32_t pairs;
  Reals y;
  // `column` counts the pairs of all heads.
  BITNET_DEVICE void operator()(size_t row, size_t column) const {
    const size_t head = column / pairs;
    const size_t i = column % pairs;
    float* first = y.Row(row) + head * 2 * pairs + i;
    const double c = cos[row * pairs + i];
    const double s = sin[row * pairs + i];
    const double a = first[0];
    const double b = first[pairs];
    first[0] = static_cast<float>(a * c - b * s);
    first[pairs] = static_cast<float>(b * c + a * s);
  }
};
// Rotates all heads of all tokens by their angles, in place; y [tokens, heads * head_dim].
template <class Stream>
void Rotate(Stream& stream, const WhereView& where, size_t head_dim, const Reals& y) {
  BITNET_ASSERT(head_dim == 2 * size_t{where.pairs}, "Rotate: there must be head_dim / 2 angles for each token");
  EachElement(stream, y.rows, y.cols / 2, RotateOf{where.cos, where.sin, where.pairs, y});
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_ELEMENTWISE_H_
