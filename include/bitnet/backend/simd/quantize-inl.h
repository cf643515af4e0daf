// Quantizers in vectors: the statistic of a span, the nearest levels, top-k. The definitions are in quant/.
//
// Traps: compilers fuse an Add with the Mul before it, so nothing is added to v = x * inverse; it is compared, rounded
// or multiplied only.
#if defined(BITNET_BACKEND_SIMD_QUANTIZE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_QUANTIZE_INL_H_
#undef BITNET_BACKEND_SIMD_QUANTIZE_INL_H_
#else
#define BITNET_BACKEND_SIMD_QUANTIZE_INL_H_
#endif

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "bitnet/backend/simd/vectors-inl.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/quant/top_k.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// ---- Statistics.

HWY_INLINE hn::Vec<DI32> MagnitudeBitsOf(hn::Vec<DF32> x) {
  return hn::And(hn::BitCast(DI32(), x), hn::Set(DI32(), 0x7fffffff));
}

inline SumOfMagnitudes StatisticOf(SumOfMagnitudes, std::span<const float> x) {
  return {SumOfBlocks(x.size(), [&](size_t begin, size_t end) HWY_ATTR {
    return SumOf8(begin, end, [&](Doubles8 sum, size_t i, size_t count) HWY_ATTR {
      const Doubles8 v = count == kSumLanes ? Doubles8::Load(x.data() + i) : LoadTail(x.data() + i, count);
      return sum + v.Magnitudes();
    });
  })};
}

inline LargestMagnitude StatisticOf(LargestMagnitude, std::span<const float> x) {
  const DF32 d;
  auto max = hn::Zero(DI32());
  size_t i = 0;
  for (; i + hn::Lanes(d) <= x.size(); i += hn::Lanes(d)) {
    max = hn::Max(max, MagnitudeBitsOf(hn::LoadU(d, x.data() + i)));
  }
  auto bits = static_cast<uint32_t>(hn::ReduceMax(DI32(), max));
  for (; i < x.size(); ++i) bits = std::max(bits, MagnitudeBits(x[i]));
  return {std::bit_cast<float>(bits)};
}

inline Range StatisticOf(Range, std::span<const float> x) {
  if (!std::isfinite(StatisticOf(LargestMagnitude(), x).max)) return {NAN, NAN};
  const DF32 d;
  auto min = hn::Zero(d);
  auto max = hn::Zero(d);
  size_t i = 0;
  for (; i + hn::Lanes(d) <= x.size(); i += hn::Lanes(d)) {
    const auto v = hn::LoadU(d, x.data() + i);
    min = hn::Min(min, v);
    max = hn::Max(max, v);
  }
  // std::min and std::max keep +0 before -0.
  Range range;
  range.min = std::min(range.min, hn::ReduceMin(d, min));
  range.max = std::max(range.max, hn::ReduceMax(d, max));
  for (; i < x.size(); ++i) {
    range.min = std::min(range.min, x[i]);
    range.max = std::max(range.max, x[i]);
  }
  return range;
}

// Any other statistic computes itself.
template <class Statistic>
Statistic StatisticOf(Statistic, std::span<const float> x) {
  return Statistic::Of(x);
}

template <LevelFormat F, ScaleRule<F> R>
float StepOfSpan(std::span<const float> x) {
  if constexpr (StatisticRule<R, F>) {
    return RoundStep(R::template StepFrom<F>(StatisticOf(typename R::Statistic(), x), x.size()));
  } else {
    return RoundStep(R::template Step<F>(x));
  }
}

// ---- Nearest levels.

// Ties to even. The emulation of some targets adds to its argument, which the compiler could fuse with the product that
// it is.
HWY_INLINE hn::Vec<DF32> RoundToEven(hn::Vec<DF32> v) {
#if HWY_TARGET == HWY_EMU128
  const DF32 d;
  float lanes[hn::Lanes(d)];
  hn::StoreU(v, d, lanes);
  for (float& lane : lanes) lane = std::nearbyint(lane);
  return hn::LoadU(d, lanes);
#else
  return hn::Round(v);
#endif
}

template <LevelFormat F>
struct NearestLevels {
  using Traits = FormatTraits<F>;
  static constexpr int kSpacing = Traits::kSpacing;
  static constexpr bool kIsUniformPower = Traits::kIsUniform && std::has_single_bit(static_cast<unsigned>(kSpacing));
  // All thresholds are at odd multiples of half the spacing, ties go to even: round-half-to-even.
  static constexpr bool kByRounding = kIsUniformPower && Traits::kHasZero;
  // All thresholds are at multiples of the spacing, ties go up: floor.
  static constexpr bool kByFloor =
      kIsUniformPower && !Traits::kHasZero && kSpacing % 2 == 0 && (kSpacing / 2 - Traits::kBottom) % kSpacing == 0;

  // v > kAbove[i] where the reference's comparison of 2v with twice the threshold i holds; v rises by kRise[i] there.
  static constexpr auto kAbove = [] {
    std::array<float, Traits::kCount - 1> above{};
    for (size_t i = 0; i < above.size(); ++i) {
      above[i] = static_cast<float>(Traits::kTwiceThreshold[i]) * 0.5f;
      if (!Traits::kTieUp[i]) continue;
      // v >= t where v > the float below t.
      const auto bits = std::bit_cast<uint32_t>(above[i]);
      above[i] = std::bit_cast<float>(above[i] == 0.0f ? 0x80000001u : above[i] > 0.0f ? bits - 1 : bits + 1);
    }
    return above;
  }();
  static constexpr auto kRise = [] {
    std::array<float, Traits::kCount - 1> rise{};
    for (size_t i = 0; i < rise.size(); ++i) rise[i] = static_cast<float>(Traits::Level(i + 1) - Traits::Level(i));
    return rise;
  }();

  // The levels nearest to v, as floats; NaN gives the level nearest to zero.
  static HWY_INLINE hn::Vec<DF32> Of(hn::Vec<DF32> v) {
    const DF32 d;
    constexpr auto kStep = static_cast<float>(kSpacing);
    constexpr auto kBottom = static_cast<float>(Traits::kBottom);
    constexpr auto kTop = static_cast<float>(Traits::kTop);
    auto level = hn::Set(d, kBottom);
    if constexpr (kByRounding) {
      const auto steps = kSpacing == 1 ? v : hn::Mul(v, hn::Set(d, 1.0f / kStep));
      level = RoundToEven(steps);
      if constexpr (kSpacing != 1) level = hn::Mul(level, hn::Set(d, kStep));
      level = hn::Min(hn::Max(level, hn::Set(d, kBottom)), hn::Set(d, kTop));
    } else if constexpr (kByFloor) {
      // The inner Floor keeps the sign of values so small that their quotient would round to zero.
      const auto below = hn::Floor(hn::Mul(hn::Floor(v), hn::Set(d, 1.0f / kStep)));
      constexpr int kFirst = (kSpacing / 2 - Traits::kBottom) / kSpacing;  // the code of the level above zero
      const auto clamped = hn::Min(hn::Max(below, hn::Set(d, static_cast<float>(-kFirst))),
                                   hn::Set(d, static_cast<float>(static_cast<int>(Traits::kCount) - 1 - kFirst)));
      level = hn::Add(hn::Mul(clamped, hn::Set(d, kStep)), hn::Set(d, kBottom + kStep * static_cast<float>(kFirst)));
    } else {
      for (size_t i = 0; i + 1 < Traits::kCount; ++i) {
        level = hn::Add(level, hn::IfThenElseZero(hn::Gt(v, hn::Set(d, kAbove[i])), hn::Set(d, kRise[i])));
      }
    }
    return hn::IfThenElse(hn::IsNaN(v), hn::Set(d, static_cast<float>(Traits::kZeroLevel)), level);
  }
};

// levels[0, n) of x[0, n) under the inverse step; 0 where the magnitude's bits are below min_bits.
template <LevelFormat F>
HWY_NOINLINE void LevelsOfSpan(const float* HWY_RESTRICT x, size_t n, float inverse, int32_t min_bits,
                               LevelOf<F>* HWY_RESTRICT levels) {
  const DF32 d;
  const hn::Rebind<LevelOf<F>, DF32> d_level;
  constexpr size_t kLanes = hn::Lanes(DF32());
  const auto quantize = [&](const float* from, LevelOf<F>* to) HWY_ATTR {
    const auto value = hn::LoadU(d, from);
    auto level = hn::ConvertTo(DI32(), NearestLevels<F>::Of(hn::Mul(value, hn::Set(d, inverse))));
    const auto kept = hn::Ge(MagnitudeBitsOf(value), hn::Set(DI32(), min_bits));
    level = hn::IfThenElseZero(kept, level);
    hn::StoreU(hn::DemoteTo(d_level, level), d_level, to);
  };
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) quantize(x + i, levels + i);
  if (i < n) {
    float from[kLanes] = {};
    LevelOf<F> to[kLanes];
    std::copy(x + i, x + n, from);
    quantize(from, to);
    std::copy(to, to + (n - i), levels + i);
  }
}

// levels[0, n) of the values of a span that shares a step, which is returned; levels of magnitudes below min_bits are 0
// (built-in quantizers only).
template <AnyQuantizer Q>
float QuantizeSpan(std::span<const float> x, int32_t min_bits, LevelOf<typename Q::Format>* levels) {
  if constexpr (kIsBuiltInQuantizer<Q>) {
    const float step = StepOfSpan<typename Q::Format, typename Q::Rule>(x);
    LevelsOfSpan<typename Q::Format>(x.data(), x.size(), InverseStep(step), min_bits, levels);
    return step;
  } else {
    return Q::Quantize(x, levels);
  }
}

// ---- Top-k.

// Magnitudes from `threshold` on are kept, of those equal to it the first few if some of them are left out. (FindTopK
// of quant/top_k.h goes on to the k-th magnitude itself.)
struct TopK {
  TopKThreshold threshold;
  bool leaves_equals = false;
};

HWY_NOINLINE inline size_t CountAtLeast(std::span<const float> x, uint32_t bits) {
  const DF32 d;
  const auto bound = hn::Set(DI32(), static_cast<int32_t>(bits));
  auto count0 = hn::Zero(DI32());
  auto count1 = hn::Zero(DI32());
  size_t i = 0;
  for (; i + 2 * hn::Lanes(d) <= x.size(); i += 2 * hn::Lanes(d)) {
    const auto a = MagnitudeBitsOf(hn::LoadU(d, x.data() + i));
    const auto b = MagnitudeBitsOf(hn::LoadU(d, x.data() + i + hn::Lanes(d)));
    count0 = hn::Sub(count0, hn::VecFromMask(DI32(), hn::Ge(a, bound)));
    count1 = hn::Sub(count1, hn::VecFromMask(DI32(), hn::Ge(b, bound)));
  }
  auto count = static_cast<size_t>(hn::ReduceSum(DI32(), hn::Add(count0, count1)));
  for (; i < x.size(); ++i) count += MagnitudeBits(x[i]) >= bits;
  return count;
}

inline TopK FindTopKOfSpan(std::span<const float> x, size_t k) {
  BITNET_ASSERT(k >= 1 && k <= x.size(), "top-k needs 1 <= k <= n");
  uint32_t bits = 0;
  for (int bit = 30; bit >= 0; --bit) {
    const uint32_t candidate = bits | (uint32_t{1} << bit);
    const size_t at_least = CountAtLeast(x, candidate);
    // Exactly k: more bits would tell no values apart.
    if (at_least == k) return {{candidate, k}, false};
    if (at_least > k) bits = candidate;
  }
  const size_t above = bits == 0x7fffffffu ? 0 : CountAtLeast(x, bits + 1);
  return {{bits, k - above}, true};
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_QUANTIZE_INL_H_
