// The scalar steps of attention, as a device does them: in float, where the definitions (backend/definitions.h) are in
// double. Same bits.
#ifndef BITNET_BACKEND_CUDA_ATTENTION_MATH_H_
#define BITNET_BACKEND_CUDA_ATTENTION_MATH_H_

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/long_sum.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/backend/definitions.h"
#include "bitnet/base/exact_math.h"
#include "bitnet/base/host_device.h"

namespace bitnet::cuda {

// Exp. Of the reduction both roundings are of the exact x - n * ln2; a step of the polynomial rounds the exact sum,
// where the definition rounds it to double first, which would differ if that double lay half way between two floats. It
// never does: all 1.1e9 arguments from 0 to -87 have been compared (as for backend/simd/exp-inl.h).
BITNET_HOST_DEVICE inline float ExpByFloats(float x) {
  using C = ExpConstants;
  constexpr float kHigh = 0x1.62e4p-1f;
  constexpr float kLow = static_cast<float>(C::kLn2 - double{kHigh});
  static_assert(double{kHigh} + double{kLow} == C::kLn2);
  if (std::isnan(x)) return x;
  if (x < C::kLowest) return 0.0f;
  const float n = std::rint(x * C::kLog2E);
  const float r = fmaf(-n, kLow, fmaf(-n, kHigh, x));
  // (Constants by themselves: a device has no access to arrays of the host's.)
  constexpr float c0 = C::kPolynomial[0], c1 = C::kPolynomial[1], c2 = C::kPolynomial[2], c3 = C::kPolynomial[3],
                  c4 = C::kPolynomial[4], c5 = C::kPolynomial[5], c6 = C::kPolynomial[6];
  float p = fmaf(c0, r, c1);
  p = fmaf(p, r, c2);
  p = fmaf(p, r, c3);
  p = fmaf(p, r, c4);
  p = fmaf(p, r, c5);
  p = fmaf(p, r, c6);
  return p * BitCast<float>(static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23);
}

// Probability.
BITNET_HOST_DEVICE inline float ProbabilityByFloats(float score, float max) {
  const float x = score - max;
  return x <= 0.0f ? ExpByFloats(x) : kNaN;
}

// float(double(dot) * double(factor)): a product of floats, where the dot is one.
BITNET_HOST_DEVICE inline float ScoreOf(int32_t dot, float factor) {
  constexpr int32_t kExact = 1 << 24;
  return -kExact <= dot && dot <= kExact ? static_cast<float>(dot) * factor
                                         : static_cast<float>(static_cast<double>(dot) * static_cast<double>(factor));
}

// WeightInUnits for a unit that is known: w / unit as two products by powers of two. What comes below the smallest
// normal float on the way is nothing in units; nothing overflows, since no weight is 2^15 units.
struct UnitsOf {
  float first;
  float second;

  // Of a unit of WeightUnit; of 0 and NaN no weight counts.
  BITNET_HOST_DEVICE static UnitsOf Unit(double unit) {
    if (!(unit > 0.0)) return {0.0f, 0.0f};
    const int exponent = 1023 - static_cast<int>(BitCast<uint64_t>(unit) >> 52);
    const int half = exponent / 2;
    return {PowerOfTwo(half), PowerOfTwo(exponent - half)};
  }
  BITNET_HOST_DEVICE int32_t operator()(float weight) const {
    if (first == 0.0f) return 0;
    const float units = std::rint(weight * first * second);
    constexpr float kMost = kMaxWeight;
    return static_cast<int32_t>(units > kMost ? kMost : units < -kMost ? -kMost : units);
  }

 private:
  BITNET_HOST_DEVICE static float PowerOfTwo(int exponent) {
    return BitCast<float>(static_cast<uint32_t>(exponent + 127) << 23);
  }
};

// OrderedSum(n, term) by a warp, all of whose threads have it: a chain a thread (long_sum.h), 1024 terms at a time.
template <class Device, class Term>
BITNET_DEVICE double OrderedSumOfWarp(Device& d, uint32_t n, const Term& term) {
  constexpr uint32_t kPart = kWarp * kTermsOfChain;
  const auto part_sum = [&](uint32_t begin) {
    double chain = 0.0;
    for (uint32_t i = begin + FirstOfChain(d.lane()), k = 0; k < kTermsOfChain && i < n; ++k, i += kChainsOfBlock) {
      chain += static_cast<double>(term(i));
    }
    return TreeOfWarp(d, chain);
  };
  if (n <= kPart) return FoldLanes(d, part_sum(0));
  // As BlockTree: one sum of each power of two of parts that is complete.
  constexpr unsigned kLevels = 15;
  double sums[kLevels];
  uint32_t parts = 0;
  for (uint32_t begin = 0; begin < n; begin += kPart, ++parts) {
    double part = part_sum(begin);
    unsigned level = 0;
    for (; (parts >> level & 1u) != 0; ++level) part = sums[level] + part;
    sums[level] = part;
  }
  double total = 0.0;
  for (unsigned level = 0; parts >> level != 0; ++level) {
    if ((parts >> level & 1u) != 0) total = sums[level] + total;
  }
  return FoldLanes(d, total);
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_ATTENTION_MATH_H_
