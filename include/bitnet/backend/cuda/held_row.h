// How a block of threads holds a row of reals: 32 values a thread, in registers, in the order of long sums
// (long_sum.h): of columns that follow each other, eight threads have 256. So a thread adds what it has, and no value
// goes through shared memory; eight threads read 32 bytes together. A row wider than the threads can hold is taken part
// after part, and read again each time.
//
// What is read is a source, a parameter of a kernel, with `Shared<kThreads>` for shared memory, and
// `kMinBlocks<kThreads>` (limits.h) with which such a kernel keeps most of its values in registers. Of(row, begin) is
// that of a row from a column on, whose
//   Begin(d, shared, held)   comes first: it makes ready what each value depends on, and leaves the row loaded
//   operator()(column)       is a value then
#ifndef BITNET_BACKEND_CUDA_HELD_ROW_H_
#define BITNET_BACKEND_CUDA_HELD_ROW_H_

#include <cstddef>
#include <cstdint>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/long_sum.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/base/assert.h"

namespace bitnet::cuda {

template <unsigned kThreads>
class HeldRow {
 public:
  static constexpr unsigned kHeld = kTermsOfChain;
  static constexpr uint32_t kPart = kThreads * kHeld;

  BITNET_DEVICE HeldRow(uint32_t thread, uint32_t cols) : first_(FirstOfChain(thread)), cols_(cols) {}

  float values[kHeld];  // 0 beyond the row

  BITNET_DEVICE uint32_t cols() const { return cols_; }
  // Of values[j] in the part that begins at a column.
  BITNET_DEVICE uint32_t Column(uint32_t part, unsigned j) const { return part + first_ + j * kChainsOfBlock; }

  template <class Source>
  BITNET_DEVICE void Load(const Source& at, uint32_t part = 0) {
    BITNET_UNROLL
    for (unsigned j = 0; j < kHeld; ++j) values[j] = Column(part, j) < cols_ ? at(Column(part, j)) : 0.0f;
  }
  // The first part, if it is all: then EachPart reads nothing.
  template <class Source>
  BITNET_DEVICE void LoadWhole(const Source& at) {
    if (cols_ <= kPart) Load(at);
  }
  // use(part) with the values of one part after the other, by all threads.
  template <class Source, class Use>
  BITNET_DEVICE void EachPart(const Source& at, Use&& use) {
    for (uint32_t part = 0; part < cols_; part += kPart) {
      if (cols_ > kPart) Load(at, part);
      use(part);
    }
  }

 private:
  uint32_t first_;
  uint32_t cols_;
};

// Reals as they are.
struct PlainSource {
  template <unsigned kThreads>
  static constexpr unsigned kMinBlocks = 512 / kThreads;
  template <unsigned kThreads>
  using Shared = NoShared;
  struct OfRow {
    const float* x;
    BITNET_DEVICE float operator()(uint32_t column) const { return x[column]; }
    template <class Device, class Held>
    BITNET_DEVICE void Begin(Device&, NoShared&, Held& held) {
      held.LoadWhole(*this);
    }
  };
  ConstReals x;

  BITNET_DEVICE OfRow Of(size_t row, uint32_t begin) const { return {x.Row(row) + begin}; }
};

// launch.template operator()<kThreads>() with as many threads as a row wants: as few as hold it, for others wait at
// each barrier. (512 hold 16384 values; 1024 would have half as many registers each.)
template <class Launch>
void WithThreadsFor(size_t cols, Launch&& launch) {
  BITNET_ASSERT(cols < size_t{1} << 31, "backend/cuda: a row has at most 2^31 values");
  if (cols <= HeldRow<128>::kPart) {
    launch.template operator()<128>();
  } else {
    launch.template operator()<512>();
  }
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_HELD_ROW_H_
