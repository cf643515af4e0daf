// What the backends share of docs/numerics.md: scalar definitions and bounds, without a backend's header. Training and
// the checks of a scheme borrow them too, and a device's kernels call them. (The order of a long sum is in
// base/exact_math.h.)
#ifndef BITNET_BACKEND_DEFINITIONS_H_
#define BITNET_BACKEND_DEFINITIONS_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "bitnet/base/exact_math.h"
#include "bitnet/base/host_device.h"
#include "bitnet/format/format.h"
#include "bitnet/quant/top_k.h"

namespace bitnet {

// Tokens of a block of attention: tokens 0 ... 255, 256 ... 511, ... of a sequence. Sums over tokens are sums over
// blocks of sums within them, so that threads can share a head (docs/numerics.md, "Attention").
inline constexpr size_t kAttentionBlock = 256;

// The heads of an attention layer.
struct AttentionShape {
  size_t heads = 0;     // query heads
  size_t kv_heads = 0;  // divides heads; query head h reads key/value head h / (heads / kv_heads)
  size_t head_dim = 0;
};

// Whether a dot product of `cols` levels stays below 2^29, as products require of integer formats: it fits 32 bits, and
// its product with a step (24 bits) is exact in double.
template <Format W, Format X>
constexpr bool DotFits(size_t cols) {
  if constexpr (kIsFloat<W> || kIsFloat<X>) {
    return true;
  } else {
    constexpr auto kLargest =
        static_cast<size_t>(FormatTraits<W>::kMaxMagnitude) * static_cast<size_t>(FormatTraits<X>::kMaxMagnitude);
    return cols <= ((size_t{1} << 29) - 1) / kLargest;
  }
}

// Whether zero is a value of the format.
template <Format X>
constexpr bool HasZero() {
  if constexpr (kIsFloat<X>) {
    return true;
  } else {
    return FormatTraits<X>::kHasZero;
  }
}

// Whether the next value of a row, in order, is among the k largest; uses up ties.
BITNET_HOST_DEVICE inline bool KeepNext(TopKThreshold& threshold, float value) {
  const uint32_t bits = MagnitudeBits(value);
  const bool tie = bits == threshold.bits && threshold.equal_kept > 0;
  threshold.equal_kept -= tie ? 1u : 0u;
  return bits > threshold.bits || tie;
}

// The factor of RMSNorm.
BITNET_HOST_DEVICE inline float InverseRms(double sum_of_squares, size_t n, float eps) {
  return static_cast<float>(1.0 / std::sqrt(sum_of_squares / static_cast<double>(n) + double(eps)));
}

// The factor of an attention score: float(q_step * float(1 / sqrt(head_dim))).
BITNET_HOST_DEVICE inline float ScoreFactor(float q_step, size_t head_dim) {
  return q_step * static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
}

// exp(score - max), not yet divided by the sum. A NaN score stays NaN; an infinite maximum gives NaN too.
BITNET_HOST_DEVICE inline float Probability(float score, float max) {
  const float x = score - max;
  return x <= 0.0f ? Exp(x) : kNaN;
}

// The unit in which the weights of quantized values are counted within a block, given the largest magnitude of a
// weight: the power of two that is contained 2^14 to 2^15 times. 0 for 0; NaN for what is not finite.
BITNET_HOST_DEVICE inline double WeightUnit(float largest) {
  if (!std::isfinite(largest)) return double{kNaN};
  int exponent = 0;
  return std::frexp(largest, &exponent) == 0.0f ? 0.0 : std::ldexp(1.0, exponent - 15);
}
inline constexpr int32_t kMaxWeight = 32767;
// A weight in units, at most kMaxWeight; no weight counts where the unit is 0 or NaN.
BITNET_HOST_DEVICE inline int32_t WeightInUnits(float weight, double unit) {
  if (!(unit > 0.0)) return 0;
  const double units = std::rint(static_cast<double>(weight) / unit);
  return units > kMaxWeight ? kMaxWeight : units < -kMaxWeight ? -kMaxWeight : static_cast<int32_t>(units);
}

}  // namespace bitnet

#endif  // BITNET_BACKEND_DEFINITIONS_H_
