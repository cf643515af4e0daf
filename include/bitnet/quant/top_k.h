// Top-k by magnitude: exactly k values are kept; ties go to the lowest index; NaN counts as the largest magnitude,
// so that it is kept and seen.
#ifndef BITNET_QUANT_TOP_K_H_
#define BITNET_QUANT_TOP_K_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bitnet/base/assert.h"
#include "bitnet/quant/scale_rule.h"

namespace bitnet {

// The share of the values that a scheme keeps. Count(n) = ceil(n * N / D).
template <size_t kNumerator, size_t kDenominator>
struct Keep {
  static_assert(kNumerator > 0 && kNumerator <= kDenominator, "bitnet: Keep<N, D> needs 0 < N <= D");
  static constexpr bool kAll = kNumerator == kDenominator;
  static constexpr size_t Count(size_t n) {
    const uint64_t rest = uint64_t{n % kDenominator} * kNumerator;
    return n / kDenominator * kNumerator +
           static_cast<size_t>(rest / kDenominator + (rest % kDenominator != 0 ? 1 : 0));
  }
};
using KeepAll = Keep<1, 1>;
using KeepHalf = Keep<1, 2>;

// The k-th largest magnitude as bits, and how many values equal to it are kept (the first ones).
struct TopKThreshold {
  uint32_t bits = 0;
  size_t equal_kept = 0;
};

// In linear time: the bits of the threshold are found from the highest down, by counting. No memory is needed.
inline TopKThreshold FindTopK(std::span<const float> x, size_t k) {
  BITNET_ASSERT(k >= 1 && k <= x.size(), "top-k needs 1 <= k <= n");
  uint32_t bits = 0;
  for (int bit = 30; bit >= 0; --bit) {
    const uint32_t candidate = bits | (uint32_t{1} << bit);
    size_t at_least = 0;
    for (float v : x) at_least += MagnitudeBits(v) >= candidate;
    if (at_least >= k) bits = candidate;
  }
  size_t above = 0;
  for (float v : x) above += MagnitudeBits(v) > bits;
  return {bits, k - above};
}

// mask[i] = whether x[i] is kept.
inline void TopKMask(std::span<const float> x, size_t k, std::span<uint8_t> mask) {
  BITNET_ASSERT(mask.size() == x.size(), "TopKMask: mask and values differ in length");
  TopKThreshold threshold = FindTopK(x, k);
  for (size_t i = 0; i < x.size(); ++i) {
    const uint32_t bits = MagnitudeBits(x[i]);
    const bool tie = bits == threshold.bits && threshold.equal_kept > 0;
    threshold.equal_kept -= tie ? 1u : 0u;
    mask[i] = (bits > threshold.bits || tie) ? 1 : 0;
  }
}

}  // namespace bitnet

#endif  // BITNET_QUANT_TOP_K_H_
