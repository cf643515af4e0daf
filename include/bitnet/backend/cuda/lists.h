// Ascending lists of columns, made and counted on the device: FindNonzero, CountNonzero, and what quantizers and gates
// list by.
#ifndef BITNET_BACKEND_CUDA_LISTS_H_
#define BITNET_BACKEND_CUDA_LISTS_H_

#include <cstddef>
#include <cstdint>

#include "bitnet/backend/cuda/block_scan.h"
#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/held_row.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/tensor/operand.h"

namespace bitnet::cuda {

// Shared memory of EachInOrder.
template <unsigned kThreads>
struct OrderShared {
  uint32_t of_warps[2]
                   [kThreads / kWarp];  // of parts by turns: nobody has to wait until all have read those of the last
};

// use(j, rank) for each of a thread's held values (held_row.h) of the part that begins at a column whose bit j of
// `flags` is set; rank counts them in the order of their columns, over all threads, from `before` on. Returns the rank
// after the last. (Of parts that follow each other.)
template <unsigned kThreads, class Device, class Use>
BITNET_DEVICE uint32_t EachInOrder(Device& d, OrderShared<kThreads>& shared, uint32_t part, uint32_t flags,
                                   uint32_t before, const Use& use) {
  // Eight threads have 256 columns, of which value j of all of them comes before value j + 1 of any.
  const uint32_t count = static_cast<uint32_t>(d.PopCount(flags));
  const Scanned<uint32_t> in_warp = ScanWarp(d, count);
  const uint32_t before_eight = d.Shuffle(in_warp.before, d.lane() / kChainsOfBlock * kChainsOfBlock);
  uint32_t(&warps)[kThreads / kWarp] = shared.of_warps[part / HeldRow<kThreads>::kPart % 2];
  if (d.lane() == 0) warps[d.warp()] = in_warp.all;
  d.Barrier();
  const Scanned<uint32_t> of_warps = ScanWarp(d, d.lane() < kThreads / kWarp ? warps[d.lane()] : uint32_t{0});
  uint32_t rank = before + d.Shuffle(of_warps.before, d.warp()) + before_eight;
  if (in_warp.all != 0) {
    const unsigned shift = d.lane() / kChainsOfBlock * kChainsOfBlock;
    const uint32_t below = (1u << d.lane() % kChainsOfBlock) - 1;
    BITNET_UNROLL
    for (unsigned j = 0; j < kTermsOfChain; ++j) {
      const bool is_set = ((flags >> j) & 1u) != 0;
      const uint32_t of_eight = (d.Ballot(is_set) >> shift) & 0xffu;
      if (is_set) use(j, rank + static_cast<uint32_t>(d.PopCount(of_eight & below)));
      rank += static_cast<uint32_t>(d.PopCount(of_eight));
    }
  }
  return before + of_warps.all;
}

// ---- The columns of each row whose level is not zero.

template <Operand X, unsigned kThreadsOfBlock>
struct FindNonzeroKernel {
  static constexpr unsigned kThreads = kThreadsOfBlock;
  using Held = HeldRow<kThreads>;
  using Shared = OrderShared<kThreads>;
  RowsView<X> x;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    using Level = typename RowsView<X>::Level;
    const size_t row = d.block();
    const Level* levels = x.Row(row);
    uint32_t* channels = x.Channels(row);
    uint32_t count = 0;
    for (uint32_t part = 0; part < x.cols; part += Held::kPart) {
      const uint32_t first = part + FirstOfChain(d.thread());
      uint32_t flags = 0;
      BITNET_UNROLL
      for (unsigned j = 0; j < Held::kHeld; ++j) {
        const uint32_t column = first + j * kChainsOfBlock;
        if (column < x.cols && levels[column] != Level{}) flags |= 1u << j;
      }
      count = EachInOrder<kThreads>(d, shared, part, flags, count,
                                    [&](unsigned j, uint32_t rank) { channels[rank] = first + j * kChainsOfBlock; });
    }
    if (d.thread() == 0) x.counts[row] = count;
  }
};

template <Operand X, class Stream>
void FindNonzero(Stream& stream, const RowsView<X>& x) {
  if (x.rows == 0) return;
  WithThreadsFor(x.cols, [&]<unsigned kThreads>() {
    stream.Launch(FindNonzeroKernel<X, kThreads>{x}, Grid{x.rows, 1});
  });
}

// ---- All columns of each row.

struct ListAllKernel {
  static constexpr unsigned kThreads = 256;
  using Shared = NoShared;
  ListsView lists;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    const size_t row = d.block();
    for (uint32_t column = d.thread(); column < lists.width; column += kThreads) lists.Row(row)[column] = column;
    if (d.thread() == 0) lists.counts[row] = lists.width;
  }
};

template <class Stream>
void ListAll(Stream& stream, const ListsView& lists) {
  if (lists.tokens != 0) stream.Launch(ListAllKernel{lists}, Grid{lists.tokens, 1});
}

// ---- How many levels are not zero.

struct SetCountKernel {
  static constexpr unsigned kThreads = kWarp;
  using Shared = NoShared;
  uint64_t* count;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    if (d.thread() == 0) *count = 0;
  }
};

// Adds those of a row, each as often as `pairs` says of it, or once.
template <Operand X>
struct CountNonzeroKernel {
  static constexpr unsigned kThreads = 256;
  struct Shared {
    uint32_t of_warps[kThreads / kWarp];
  };
  RowsView<X> x;
  const uint32_t* pairs;
  uint64_t* count;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    using Level = typename RowsView<X>::Level;
    const size_t row = d.block();
    const Level* levels = x.Row(row);
    uint32_t own = 0;
    for (uint32_t column = d.thread(); column < x.cols; column += kThreads) own += levels[column] != Level{} ? 1u : 0u;
    const uint32_t all = ScanBlock<kThreads>(d, shared.of_warps, own).all;
    if (d.thread() == 0) d.AtomicAdd(count, uint64_t{all} * (pairs == nullptr ? 1u : pairs[row]));
  }
};

// *count on the device, over all rows ...
template <Operand X, class Stream>
void CountNonzero(Stream& stream, const RowsView<X>& x, uint64_t* count) {
  stream.Launch(SetCountKernel{count}, Grid{});
  if (x.rows != 0) stream.Launch(CountNonzeroKernel<X>{x, nullptr, count}, Grid{x.rows, 1});
}
// ... and, where each row's inputs meet as many outputs as `lists` has for it, over all pairs of the two.
template <Operand X, class Stream>
void CountNonzero(Stream& stream, const RowsView<X>& x, const ListsView& lists, uint64_t* count) {
  stream.Launch(SetCountKernel{count}, Grid{});
  if (x.rows != 0) stream.Launch(CountNonzeroKernel<X>{x, lists.counts, count}, Grid{x.rows, 1});
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_LISTS_H_
