// Long sums on a device: the bits of OrderedSum (base/exact_math.h), by the threads of a block or of a warp.
//
// A chain is what a lane of one of its blocks of 256 terms adds up: 32 terms, one after the other, by one thread.
// Neighbouring threads have neighbouring chains: lane t % 8 of block t / 8. The tree over the blocks is one of shuffles
// within a warp, whose 32 threads have four blocks; then one over warps. A block that is not there counts as +0: to add
// it changes nothing, since no sum that began with +0 is -0.
#ifndef BITNET_BACKEND_CUDA_LONG_SUM_H_
#define BITNET_BACKEND_CUDA_LONG_SUM_H_

#include <cstddef>
#include <cstdint>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/base/exact_math.h"

namespace bitnet::cuda {

inline constexpr unsigned kChainsOfBlock = static_cast<unsigned>(kSumLanes);
inline constexpr unsigned kTermsOfChain = static_cast<unsigned>(kSumBlock / kSumLanes);
inline constexpr unsigned kBlocksOfWarp = kWarp / kChainsOfBlock;

// The first term of a thread's chain; the next ones follow it at distances of kChainsOfBlock.
BITNET_DEVICE uint32_t FirstOfChain(uint32_t thread) {
  return thread / kChainsOfBlock * static_cast<uint32_t>(kSumBlock) + thread % kChainsOfBlock;
}

// The sum of the eight lanes that neighbouring threads hold; all of these have it. (Both orders of an addition have the
// same bits.)
template <class Device>
BITNET_DEVICE double FoldLanes(Device& d, double lane) {
  lane += d.ShuffleXor(lane, 4);
  lane += d.ShuffleXor(lane, 2);
  return lane + d.ShuffleXor(lane, 1);
}

// A node of the tree for each lane, over the four blocks whose chains a warp holds; all four threads of a lane have it.
template <class Device>
BITNET_DEVICE double TreeOfWarp(Device& d, double chain) {
  chain += d.ShuffleXor(chain, 8);
  return chain + d.ShuffleXor(chain, 16);
}

// OrderedSum of at most 256 terms, by a warp; all of its threads have it. All of them call term(i), for the same i
// where they have the same lane.
template <class Device, class Term>
BITNET_DEVICE double OrderedSumOfBlock(Device& d, unsigned n, const Term& term) {
  double chain = 0.0;
  for (unsigned i = d.lane() % kChainsOfBlock; i < n; i += kChainsOfBlock) chain += static_cast<double>(term(i));
  return FoldLanes(d, chain);
}

// Shared memory of a LongSum.
template <unsigned kThreads>
struct LongSumShared {
  // Of the tree over parts: 2^20 of 128 threads have 2^32 terms.
  static constexpr unsigned kLevels = 21;
  double of_warps[kThreads / kWarp][kChainsOfBlock];
  double parts[kLevels][kChainsOfBlock];
};

// A long sum by all threads of a block, part after part: of 32 kThreads terms each, a chain a thread.
template <unsigned kThreads>
class LongSum {
 public:
  static constexpr uint32_t kPart = kThreads * kTermsOfChain;
  using Shared = LongSumShared<kThreads>;

  // The next part, of which this thread has a chain; a term that is not there is +0.
  template <class Device>
  BITNET_DEVICE void Add(Device& d, Shared& shared, double chain) {
    const double of_warp = TreeOfWarp(d, chain);
    if (parts_ != 0) d.Barrier();  // for the first warp has read what is overwritten here
    if (d.lane() < kChainsOfBlock) shared.of_warps[d.warp()][d.lane()] = of_warp;
    d.Barrier();
    if (d.warp() == 0) {
      const double part = TreeOfWarps(d, shared);
      if (d.lane() < kChainsOfBlock) Push(shared.parts, d.lane(), part);
    }
    ++parts_;
  }

  // The sum; only the first thread has it.
  template <class Device>
  BITNET_DEVICE double Total(Device& d, const Shared& shared) const {
    if (d.warp() != 0) return 0.0;
    return FoldLanes(d, d.lane() < kChainsOfBlock ? Tree(shared.parts, d.lane()) : 0.0);
  }

 private:
  static constexpr unsigned kNodes = kThreads / kWarp / kBlocksOfWarp;
  static_assert(kNodes * kBlocksOfWarp * kWarp == kThreads && (kNodes & (kNodes - 1)) == 0,
                "a block of a long sum has 128 threads, or 256, 512, 1024");

  template <class Device>
  BITNET_DEVICE static double TreeOfWarps(Device& d, const Shared& shared) {
    double nodes[kNodes];
    BITNET_UNROLL
    for (unsigned i = 0; i < kNodes; ++i) {
      nodes[i] =
          TreeOfWarp(d, shared.of_warps[i * kBlocksOfWarp + d.lane() / kChainsOfBlock][d.lane() % kChainsOfBlock]);
    }
    BITNET_UNROLL
    for (unsigned half = 1; half < kNodes; half *= 2) {
      BITNET_UNROLL
      for (unsigned i = 0; i < kNodes; i += 2 * half) nodes[i] += nodes[i + half];
    }
    return nodes[0];
  }

  // As BlockTree of base/exact_math.h: one sum of each power of two of parts that is complete.
  BITNET_DEVICE void Push(double (&parts)[Shared::kLevels][kChainsOfBlock], unsigned lane, double part) const {
    unsigned level = 0;
    for (; ((parts_ >> level) & 1u) != 0; ++level) part += parts[level][lane];
    parts[level][lane] = part;
  }
  BITNET_DEVICE double Tree(const double (&parts)[Shared::kLevels][kChainsOfBlock], unsigned lane) const {
    double total = 0.0;
    for (unsigned level = 0; parts_ >> level != 0; ++level) {
      if (((parts_ >> level) & 1u) != 0) total += parts[level][lane];
    }
    return total;
  }

  uint32_t parts_ = 0;
};

// OrderedSum(n, term) by all threads of a block; only the first has it. Each term is called once, by some thread.
template <unsigned kThreads, class Device, class Term>
BITNET_DEVICE double OrderedSum(Device& d, LongSumShared<kThreads>& shared, uint32_t n, const Term& term) {
  LongSum<kThreads> sum;
  const uint32_t first = FirstOfChain(d.thread());
  for (uint32_t part = 0; part < n; part += LongSum<kThreads>::kPart) {
    double chain = 0.0;
    for (unsigned j = 0; j < kTermsOfChain; ++j) {
      const uint32_t i = part + first + j * kChainsOfBlock;
      if (i < n) chain += static_cast<double>(term(i));
    }
    sum.Add(d, shared, chain);
  }
  return sum.Total(d, shared);
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_LONG_SUM_H_
