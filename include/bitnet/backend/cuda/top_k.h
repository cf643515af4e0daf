// The k largest magnitudes of a row that a block of threads holds (quant/top_k.h): their threshold is found digit by
// digit, from the highest, by counting; among equals the lowest columns are kept.
#ifndef BITNET_BACKEND_CUDA_TOP_K_H_
#define BITNET_BACKEND_CUDA_TOP_K_H_

#include <cstdint>

#include "bitnet/backend/cuda/block_scan.h"
#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/held_row.h"
#include "bitnet/backend/cuda/lists.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/quant/scale_rule.h"

namespace bitnet::cuda {

// Counts of the values of a digit of at most 11 bits, from which threads read runs that follow each other: one place in
// 33 is left out, so that they lie in different banks.
struct DigitCounts {
  static constexpr unsigned kMost = 1u << 11;
  uint32_t counts[kMost + kMost / 32];
  BITNET_DEVICE uint32_t& operator[](uint32_t digit) { return counts[digit + digit / 32]; }
};

template <unsigned kThreads>
struct TopKShared {
  DigitCounts counts;
  uint32_t of_warps[kThreads / kWarp];
  uint32_t digit, wanted, found;
  OrderShared<kThreads> order;
};

template <unsigned kThreads>
class TopK {
 public:
  using Held = HeldRow<kThreads>;
  using Shared = TopKShared<kThreads>;

  // Of the k largest, 1 <= k <= columns.
  template <class Device, class Source>
  BITNET_DEVICE void Find(Device& d, Shared& shared, Held& row, const Source& at, uint32_t k) {
    wanted_ = k;
    // (Three digits of 11, 10 and 10 bits: the first has the exponent and the top of the significand, so that the
    // values of a row do not all count at one place.)
    AddDigit<20, 11>(d, shared, row, at);
    if (leaves_equals_) AddDigit<10, 10>(d, shared, row, at);
    if (leaves_equals_) AddDigit<0, 10>(d, shared, row, at);
    equals_ = 0;
  }

  // Of the values of the next part: bit j is set where value j is among the k largest.
  template <class Device>
  BITNET_DEVICE uint32_t Keep(Device& d, Shared& shared, const Held& row, uint32_t part) {
    uint32_t kept = 0;
    uint32_t equal = 0;
    BITNET_UNROLL
    for (unsigned j = 0; j < Held::kHeld; ++j) {
      const uint32_t bits = MagnitudeBits(row.values[j]);
      const bool is_there = row.Column(part, j) < row.cols();
      kept |= (is_there && bits > threshold_ ? 1u : 0u) << j;
      equal |= (is_there && bits == threshold_ ? 1u : 0u) << j;
    }
    if (!leaves_equals_) return kept | equal;
    equals_ = EachInOrder<kThreads>(d, shared.order, part, equal, equals_, [&](unsigned j, uint32_t rank) {
      if (rank < wanted_) kept |= 1u << j;
    });
    return kept;
  }

 private:
  // Lengthens the threshold by the digit that lies `kShift` bits up; all values that have the digits before are
  // counted.
  template <unsigned kShift, unsigned kBits, class Device, class Source>
  BITNET_DEVICE void AddDigit(Device& d, Shared& shared, Held& row, const Source& at) {
    constexpr uint32_t kDigits = 1u << kBits;
    constexpr uint32_t kOwn = kDigits / kThreads;
    for (uint32_t i = d.thread(); i < kDigits; i += kThreads) shared.counts[i] = 0;
    d.Barrier();
    row.EachPart(at, [&](uint32_t part) {
      BITNET_UNROLL
      for (unsigned j = 0; j < Held::kHeld; ++j) {
        const uint32_t digits = MagnitudeBits(row.values[j]) >> kShift;
        if (row.Column(part, j) < row.cols() && digits >> kBits == threshold_ >> kShift >> kBits) {
          d.AtomicAdd(&shared.counts[digits % kDigits], uint32_t{1});
        }
      }
    });
    d.Barrier();
    // A thread has so many digits, the first thread the largest.
    const uint32_t top = kDigits - 1 - d.thread() * kOwn;
    uint32_t own = 0;
    for (uint32_t i = 0; i < kOwn; ++i) own += shared.counts[top - i];
    uint32_t above = ScanBlock<kThreads>(d, shared.of_warps, own).before;
    if (above < wanted_ && wanted_ - above <= own) {
      uint32_t digit = top;
      for (; above + shared.counts[digit] < wanted_; --digit) above += shared.counts[digit];
      shared.digit = digit;
      shared.wanted = wanted_ - above;
      shared.found = shared.counts[digit];
    }
    d.Barrier();
    threshold_ |= shared.digit << kShift;
    wanted_ = shared.wanted;
    // Where all are kept that have these digits, no further ones are wanted.
    leaves_equals_ = shared.found != wanted_;
  }

  uint32_t threshold_ = 0;  // magnitude bits
  uint32_t wanted_ = 0;     // of those that are equal to it, or have its digits so far
  bool leaves_equals_ = true;
  uint32_t equals_ = 0;  // of the parts before
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_TOP_K_H_
