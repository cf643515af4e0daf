// Scale rules: the step of a span of reals (docs/numerics.md, "Scale rules").
//
// To add one, write a struct with
//   template <LevelFormat F> static double Step(std::span<const float> x);
// which returns the step before rounding to float; a NaN or an infinity says that the span cannot be quantized.
// A rule may instead name a statistic (SumOfMagnitudes, LargestMagnitude, Range) and derive the step from it; backends
// then compute the statistic in vectors. With `static constexpr bool kRunsOnDevice = true` too, and StepFrom marked
// BITNET_HOST_DEVICE (base/host_device.h), a device need not ask the host for the step.
#ifndef BITNET_QUANT_SCALE_RULE_H_
#define BITNET_QUANT_SCALE_RULE_H_

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bitnet/base/exact_math.h"
#include "bitnet/base/host_device.h"
#include "bitnet/format/format.h"

namespace bitnet {

// sum |x_i| in the fixed order of eight double lanes; NaN or infinite if any x is.
struct SumOfMagnitudes {
  double sum = 0.0;
  static SumOfMagnitudes Of(std::span<const float> x) {
    return {OrderedSum(x.size(), [&](size_t i) { return std::fabs(x[i]); })};
  }
};

// The bits of |x|: as integers they are ordered like the magnitudes, infinity above them and NaN above all.
BITNET_HOST_DEVICE inline uint32_t MagnitudeBits(float x) { return BitCast<uint32_t>(x) & 0x7fffffffu; }

// max |x_i|; 0 for no x; NaN if any x is.
struct LargestMagnitude {
  float max = 0.0f;
  static LargestMagnitude Of(std::span<const float> x) {
    uint32_t bits = 0;
    for (float v : x) bits = std::max(bits, MagnitudeBits(v));
    return {std::bit_cast<float>(bits)};
  }
};

// max(0, max x_i) and min(0, min x_i); both NaN if any x is NaN or infinite.
struct Range {
  float min = 0.0f;
  float max = 0.0f;
  static Range Of(std::span<const float> x) {
    if (!std::isfinite(LargestMagnitude::Of(x).max)) return {NAN, NAN};
    Range range;
    for (float v : x) {
      range.min = std::min(range.min, v);
      range.max = std::max(range.max, v);
    }
    return range;
  }
};

// step = (N/D) mean|x| / sqrt(largest level): eq. 2 for ternary, eq. 7 for INT4.
template <int kNumerator = 1, int kDenominator = 1>
struct AbsMeanTimes {
  static_assert(kNumerator > 0 && kDenominator > 0, "bitnet: the factor of AbsMeanTimes must be positive");
  using Statistic = SumOfMagnitudes;
  static constexpr bool kRunsOnDevice = true;
  template <LevelFormat F>
  BITNET_HOST_DEVICE static double StepFrom(SumOfMagnitudes s, size_t n) {
    if (n == 0) return 0.0;
    const double factor = static_cast<double>(kNumerator) / kDenominator;
    return factor * (s.sum / static_cast<double>(n)) / std::sqrt(static_cast<double>(FormatTraits<F>::kTop));
  }
};
using AbsMean = AbsMeanTimes<>;

// step = max|x| / largest level: eq. 3 for INT8.
struct AbsMax {
  using Statistic = LargestMagnitude;
  static constexpr bool kRunsOnDevice = true;
  template <LevelFormat F>
  BITNET_HOST_DEVICE static double StepFrom(LargestMagnitude s, size_t) {
    return static_cast<double>(s.max) / FormatTraits<F>::kTop;
  }
};

// The smallest step that clips nothing: eqs. 8 and 9 for the FP4 formats.
struct MinMax {
  using Statistic = Range;
  static constexpr bool kRunsOnDevice = true;
  template <LevelFormat F>
  BITNET_HOST_DEVICE static double StepFrom(Range s, size_t) {
    const double up = static_cast<double>(s.max) / FormatTraits<F>::kTop;
    if constexpr (FormatTraits<F>::kBottom < 0) {
      const double down = static_cast<double>(s.min) / FormatTraits<F>::kBottom;
      return up < down ? down : up;  // (NaN in both, if at all)
    } else {
      return up;
    }
  }
};

template <class R, class F>
concept StatisticRule = requires(typename R::Statistic s) {
  { R::template StepFrom<F>(s, size_t{1}) } -> std::convertible_to<double>;
};

template <class R, class F>
concept SpanRule = requires(std::span<const float> x) {
  { R::template Step<F>(x) } -> std::convertible_to<double>;
};

template <class R, class F>
concept ScaleRule = LevelFormat<F> &&(StatisticRule<R, F> || SpanRule<R, F>);

// The step as it is stored: rounded to float; 0 where it would be subnormal, NaN where it is not finite or negative.
BITNET_HOST_DEVICE inline float RoundStep(double step) {
  const float rounded = static_cast<float>(step);
  if (!(rounded >= 0.0f) || std::isinf(rounded)) return kNaN;
  return rounded < FLT_MIN ? 0.0f : rounded;
}

// The factor that turns reals into units of the step; 0 where the step is 0 or NaN.
BITNET_HOST_DEVICE inline float InverseStep(float step) { return step > 0.0f ? 1.0f / step : 0.0f; }

// The step of the span x under rule R for format F.
template <LevelFormat F, ScaleRule<F> R>
float StepOf(std::span<const float> x) {
  if constexpr (StatisticRule<R, F>) {
    return RoundStep(R::template StepFrom<F>(R::Statistic::Of(x), x.size()));
  } else {
    return RoundStep(R::template Step<F>(x));
  }
}

}  // namespace bitnet

#endif  // BITNET_QUANT_SCALE_RULE_H_
