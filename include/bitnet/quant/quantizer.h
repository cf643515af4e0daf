// Quantizer<Format, Rule, Granularity>: reals to levels and a step, and back.
//
// The same type serves inference, training, export and the cache, and all of them by one function: Quantize, of each
// span that shares a step. A quantizer has no state. `Unquantized` stands where a scheme keeps reals, Rounded<BFloat16>
// and Rounded<Float16> where it keeps them in 16 bits. The functions here are the definition, plain loops; backends
// have vector versions that give the same bits.
//
// To write one that is no format and scale rule, derive from a Quantizer and hide Quantize, or write a struct with what
// AnyQuantizer asks for (FakeQuantize and Error serve only who calls them). Spans may have any length. What is trained
// must be element by element: train/check_quantizers.h.
#ifndef BITNET_QUANT_QUANTIZER_H_
#define BITNET_QUANT_QUANTIZER_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

#include "bitnet/base/assert.h"
#include "bitnet/format/format.h"
#include "bitnet/quant/scale_rule.h"

namespace bitnet {

// Granularity: how many values share a step.
//   Whole        all that the caller hands over at once: a weight matrix, a token's activations, a head
//   PerRow       each row of a weight matrix (each output)
//   PerGroup<N>  N consecutive values of a row; the last group of a row may be shorter
struct Whole {};
struct PerRow {};
template <size_t kSize>
struct PerGroup {};
using PerTensor = Whole;
using PerToken = Whole;
using PerHead = Whole;

namespace detail {
template <class G>
struct GroupSizeOf {
  static constexpr size_t value = 0;
};
template <size_t kSize>
struct GroupSizeOf<PerGroup<kSize>> {
  static_assert(kSize > 0, "bitnet: PerGroup needs at least one value in a group");
  static constexpr size_t value = kSize;
};
}  // namespace detail

// Values in a group for PerGroup<N>, 0 for the other granularities.
template <class G>
inline constexpr size_t kGroupSize = detail::GroupSizeOf<G>::value;

// What quantizing a span did to it.
struct QuantizationError {
  double mean_squared = 0.0;  // mean of (step * level - x)^2
  double max = 0.0;           // largest |step * level - x|
  size_t clipped = 0;         // values beyond the end levels by more than half a step
};

namespace detail {

// Facts for static_assert: of a concept itself compilers would print all that it is made of, after the sentence.
template <class F>
inline constexpr bool kIsLevelFormat = LevelFormat<F>;
template <class R, class F>
inline constexpr bool kIsScaleRule = ScaleRule<R, F>;
template <class G>
inline constexpr bool kIsGranularity = std::same_as<G, Whole> || std::same_as<G, PerRow> || (kGroupSize<G> > 0);

}  // namespace detail

template <class FormatT, class RuleT, class GranularityT = Whole>
struct Quantizer;

template <LevelFormat FormatT, class RuleT, class GranularityT>
struct Quantizer<FormatT, RuleT, GranularityT> {
  using Format = FormatT;
  using Rule = RuleT;
  using Granularity = GranularityT;
  using Level = LevelOf<Format>;
  static_assert(detail::kIsScaleRule<Rule, Format>,
                "bitnet: a Quantizer's second argument must be a scale rule: see quant/scale_rule.h");
  static_assert(detail::kIsGranularity<Granularity>,
                "bitnet: a Quantizer's third argument must be Whole, PerRow or PerGroup<N>");

  // The step of one span that shares a step.
  static float Step(std::span<const float> x) { return StepOf<Format, Rule>(x); }

  // The level of x under the inverse step. A NaN gives the level nearest to zero; the step says that it was one.
  static int LevelAt(float x, float inverse_step) {
    const float v = x * inverse_step;
    return std::isnan(v) ? FormatTraits<Format>::kZeroLevel : NearestLevel<Format>(v);
  }

  // levels[0, n) of x[0, n) with one step, which is returned.
  static float Quantize(std::span<const float> x, Level* levels) {
    const float step = Step(x);
    const float inverse = InverseStep(step);
    for (size_t i = 0; i < x.size(); ++i) levels[i] = static_cast<Level>(LevelAt(x[i], inverse));
    return step;
  }

  // y = step * level; x and y may be the same. With PerGroup<N> group by group, else with one step, which is returned
  // (that of the last group).
  static float FakeQuantize(std::span<const float> x, float* y) {
    float step = 0.0f;
    EachGroup(x, [&](size_t begin, std::span<const float> group) {
      step = Step(group);
      const float inverse = InverseStep(step);
      for (size_t i = 0; i < group.size(); ++i) y[begin + i] = step * static_cast<float>(LevelAt(group[i], inverse));
    });
    return step;
  }

  // With PerGroup<N> over all groups.
  static QuantizationError Error(std::span<const float> x) {
    using Traits = FormatTraits<Format>;
    QuantizationError error;
    EachGroup(x, [&](size_t, std::span<const float> group) {
      const float step = Step(group);
      const float inverse = InverseStep(step);
      for (float value : group) {
        const double difference = static_cast<double>(step) * LevelAt(value, inverse) - static_cast<double>(value);
        error.mean_squared += difference * difference;
        // A NaN is kept, and so seen.
        if (!std::isnan(error.max) && !(std::fabs(difference) <= error.max)) error.max = std::fabs(difference);
        const float v = value * inverse;
        error.clipped += v > static_cast<float>(Traits::kTop) + 0.5f || v < static_cast<float>(Traits::kBottom) - 0.5f;
      }
    });
    if (!x.empty()) error.mean_squared /= static_cast<double>(x.size());
    return error;
  }

 private:
  // use(begin, span) for each run of values that shares a step; once, also for no values, where there are no groups.
  template <class Use>
  static void EachGroup(std::span<const float> x, Use&& use) {
    constexpr size_t kGroup = kGroupSize<Granularity>;
    if constexpr (kGroup == 0) {
      use(size_t{0}, x);
    } else {
      for (size_t begin = 0; begin < x.size(); begin += kGroup) {
        use(begin, x.subspan(begin, std::min(kGroup, x.size() - begin)));
      }
    }
  }
};

// Of what is no format: says so, and is a quantizer all the same, so that no other error follows.
template <class FormatT, class RuleT, class GranularityT>
struct Quantizer : Quantizer<Ternary, AbsMean> {
  static_assert(detail::kIsLevelFormat<FormatT>,
                "bitnet: a Quantizer's first argument must be a number format, with levels, and its second a scale "
                "rule: Quantizer<Ternary, AbsMean> (Unquantized keeps reals)");
};

// Keeps reals as they are.
struct Unquantized {
  using Format = Float;
  using Granularity = Whole;
  using Level = float;
  static float Quantize(std::span<const float> x, float* y) {
    if (y != x.data()) std::copy(x.begin(), x.end(), y);
    return 1.0f;
  }
  static float FakeQuantize(std::span<const float> x, float* y) { return Quantize(x, y); }
  static QuantizationError Error(std::span<const float>) { return {}; }
};

// Keeps reals in 16 bits, each rounded to the nearest.
template <RealFormat FormatT>
struct Rounded {
  using Format = FormatT;
  using Granularity = Whole;
  using Level = float;
  static float Quantize(std::span<const float> x, float* y) {
    for (size_t i = 0; i < x.size(); ++i) y[i] = NearestReal<Format>(x[i]);
    return 1.0f;
  }
  static float FakeQuantize(std::span<const float> x, float* y) { return Quantize(x, y); }
  // Clipped is what becomes infinite.
  static QuantizationError Error(std::span<const float> x) {
    QuantizationError error;
    for (const float value : x) {
      const float rounded = NearestReal<Format>(value);
      const double difference = static_cast<double>(rounded) - static_cast<double>(value);
      error.mean_squared += difference * difference;
      // A NaN is kept, and so seen.
      if (!std::isnan(error.max) && !(std::fabs(difference) <= error.max)) error.max = std::fabs(difference);
      error.clipped += std::isinf(rounded) && std::isfinite(value);
    }
    if (!x.empty()) error.mean_squared /= static_cast<double>(x.size());
    return error;
  }
};

template <class Q>
concept AnyQuantizer = Format<typename Q::Format> &&
    requires(std::span<const float> x, LevelOf<typename Q::Format>* y) {
  typename Q::Granularity;
  { Q::Quantize(x, y) } -> std::same_as<float>;
};

namespace detail {
template <class Q>
inline constexpr bool kIsQuantizer = AnyQuantizer<Q>;
}  // namespace detail

// Whether Q is a Quantizer itself, nothing derived from one: then each level follows from the value and the step, by
// Step and LevelAt.
template <class Q>
inline constexpr bool kIsBuiltInQuantizer = false;
template <LevelFormat F, class R, class G>
inline constexpr bool kIsBuiltInQuantizer<Quantizer<F, R, G>> = true;

// Whether Q keeps reals, each by itself and with the step 1: Unquantized or Rounded itself.
template <class Q>
inline constexpr bool kKeepsReals = std::same_as<Q, Unquantized>;
template <RealFormat F>
inline constexpr bool kKeepsReals<Rounded<F>> = true;

}  // namespace bitnet

#endif  // BITNET_QUANT_QUANTIZER_H_
