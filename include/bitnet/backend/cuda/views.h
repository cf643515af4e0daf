// What kernels are given of the backend's objects: pointers into device memory and sizes. Plain structs, since kernel
// parameters are copied byte by byte. Who has one owns nothing.
#ifndef BITNET_BACKEND_CUDA_VIEWS_H_
#define BITNET_BACKEND_CUDA_VIEWS_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bitnet/backend/where.h"
#include "bitnet/base/host_device.h"
#include "bitnet/format/format.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/operand.h"

namespace bitnet::cuda {

// Reals [rows, cols]; a row begins every `stride` values. At any address that a float may have.
template <class T>
struct RealsOf {
  T* data;
  size_t stride;
  size_t rows;
  size_t cols;

  RealsOf() = default;
  RealsOf(MatrixView<T> view)
      : data(view.data()), stride(view.stride()), rows(view.rows()), cols(view.cols()) {}  // NOLINT
  // Of reals that may be changed, to be read alone.
  template <class U>
  requires(std::is_same_v<const U, T>) BITNET_HOST_DEVICE
      RealsOf(const RealsOf<U>& other)  // NOLINT: implicit on purpose
      : data(other.data), stride(other.stride), rows(other.rows), cols(other.cols) {}
  BITNET_HOST_DEVICE T* Row(size_t r) const { return data + r * stride; }
};
using Reals = RealsOf<float>;
using ConstReals = RealsOf<const float>;

// Values of a row of levels, padded so that a row begins on 16 bytes; what pads is zero.
template <class Level>
constexpr size_t PaddedLevels(size_t cols) {
  constexpr size_t kEach = 16 / sizeof(Level);
  return (cols + kEach - 1) / kEach * kEach;
}

// Quantized rows. Levels as the format's LevelOf (int8_t of most formats, int16_t, uint8_t, float); data begins on 256
// bytes.
template <Operand X>
struct RowsView {
  using Level = LevelOf<FormatOf<X>>;
  Level* levels;       // [rows, stride]
  float* steps;        // [rows, groups]
  uint32_t* channels;  // [rows, cols]: of each row the ascending columns whose level is not zero, once listed
  uint32_t* counts;    // [rows]: how many
  size_t stride;       // PaddedLevels<Level>(cols)
  uint32_t rows;
  uint32_t cols;
  uint32_t group;   // columns that share a step; cols where a row has one
  uint32_t groups;  // steps of a row, at least 1

  BITNET_HOST_DEVICE Level* Row(size_t r) const { return levels + r * stride; }
  BITNET_HOST_DEVICE float* Steps(size_t r) const { return steps + r * groups; }
  BITNET_HOST_DEVICE uint32_t* Channels(size_t r) const { return channels + r * cols; }
};

// For each token an ascending list of some of `width` channels.
struct ListsView {
  uint32_t* channels;  // [tokens, width]
  uint32_t* counts;    // [tokens]
  uint32_t tokens;
  uint32_t width;

  BITNET_HOST_DEVICE uint32_t* Row(size_t token) const { return channels + token * width; }
};

// Where the tokens of a pass stand: one block of device memory, whose contents change from pass to pass.
struct WhereView {
  const Place* places;         // [tokens]
  const uint32_t* pages;       // of all sequences, one after the other
  const uint32_t* first_page;  // [sequences + 1]: where those of a sequence begin in `pages`
  const float* cos;            // [tokens, pairs]
  const float* sin;
  uint32_t tokens;
  uint32_t sequences;
  uint32_t pairs;
  uint32_t most_pages;  // of a sequence of this pass

  // The page of the cache that holds a position of a token's sequence.
  BITNET_HOST_DEVICE uint32_t Page(size_t token, uint32_t position) const {
    return pages[first_page[places[token].sequence] + position / 256];
  }
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_VIEWS_H_
