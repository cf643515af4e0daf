// Number formats: a format is an ascending list of integers, its levels; a value is step * level.
//
// To add a format, write a struct with `static constexpr auto kLevels = std::array{...};` and nothing else:
//   struct FiveLevel { static constexpr auto kLevels = std::array{-2, -1, 0, 1, 2}; };
// FormatTraits<F> derives every other fact from the list at compile time. A *code* is the index of a level, from 0.
// `Float` stands where nothing is quantized, `BFloat16` and `Float16` where reals are kept in 16 bits; they have no
// levels. Nothing here quantizes: see quant/.
#ifndef BITNET_FORMAT_FORMAT_H_
#define BITNET_FORMAT_FORMAT_H_

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bitnet/format/real16.h"

namespace bitnet {

namespace detail {

template <int kFirst, int kLast, int kSpacing = 1>
constexpr auto Progression() {
  std::array<int, static_cast<size_t>((kLast - kFirst) / kSpacing + 1)> levels{};
  for (size_t i = 0; i < levels.size(); ++i) levels[i] = kFirst + static_cast<int>(i) * kSpacing;
  return levels;
}

}  // namespace detail

struct Ternary {
  static constexpr auto kLevels = std::array{-1, 0, 1};
};

struct Binary {
  static constexpr auto kLevels = std::array{-1, 1};
};

// Two's complement: -2^(B-1) ... 2^(B-1) - 1.
template <int kBits>
struct Int {
  static_assert(kBits >= 2 && kBits <= 8, "bitnet: Int<B> needs 2 to 8 bits");
  static constexpr auto kLevels = detail::Progression<-(1 << (kBits - 1)), (1 << (kBits - 1)) - 1>();
};

// 0 ... 2^B - 1, for values that are never negative.
template <int kBits>
struct UInt {
  static_assert(kBits >= 2 && kBits <= 8, "bitnet: UInt<B> needs 2 to 8 bits");
  static constexpr auto kLevels = detail::Progression<0, (1 << kBits) - 1>();
};

// The odd numbers -(2^B - 1) ... 2^B - 1: unsigned codes u stand for 2u - (2^B - 1). All codes are used, symmetric
// about zero, zero itself is not a level. The paper's unsigned absmax integers of the Q, K and V heads.
template <int kBits>
struct MidRise {
  static_assert(kBits >= 1 && kBits <= 8, "bitnet: MidRise<B> needs 1 to 8 bits");
  static constexpr auto kLevels = detail::Progression<-((1 << kBits) - 1), (1 << kBits) - 1, 2>();
};

// Four-bit floating point, 2 exponent bits and 1 mantissa bit: magnitudes 0, 0.5, 1, 1.5, 2, 3, 4, 6, in halves.
// The two zeros are one level, so code 15 is unused.
struct Fp4E2M1 {
  static constexpr auto kLevels = std::array{-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12};
};

// 1 exponent bit and 2 mantissa bits: magnitudes 0, 0.25 ... 1.75, in quarters; a uniform grid.
struct Fp4E1M2 {
  static constexpr auto kLevels = detail::Progression<-7, 7>();
};

// Not quantized: 32-bit floating point.
struct Float {};

template <class F>
concept LevelFormat = requires {
  { F::kLevels.size() } -> std::convertible_to<size_t>;
  { F::kLevels[0] } -> std::convertible_to<int>;
};

// Reals. In products, in rows of inputs and in registers they are floats, whose values the format holds; matrices and
// caches store StoredReal.
template <class F>
concept RealFormat = std::same_as<F, Float> || std::same_as<F, BFloat16> || std::same_as<F, Float16>;

template <class F>
concept Format = LevelFormat<F> || RealFormat<F>;

template <class F>
inline constexpr bool kIsFloat = RealFormat<F>;

template <RealFormat F>
using StoredReal = std::conditional_t<std::same_as<F, Float>, float, F>;

// The value of the format nearest to x; Float's is x.
template <RealFormat F>
constexpr StoredReal<F> NearestReal(float x) {
  if constexpr (std::same_as<F, Float>) {
    return x;
  } else {
    return F::Nearest(x);
  }
}

// Everything that follows from the list of levels.
template <LevelFormat F>
struct FormatTraits {
  static constexpr size_t kCount = F::kLevels.size();
  static_assert(std::is_integral_v<std::remove_cvref_t<decltype(F::kLevels[0])>>,
                "bitnet: a format's levels are integers; list fractions in units of the smallest (halves, quarters)");
  static_assert(kCount >= 2, "bitnet: a format needs at least two levels");
  static_assert(kCount <= 256, "bitnet: a format has at most 256 levels, so that a code fits a byte");

  static constexpr int Level(size_t code) { return static_cast<int>(F::kLevels[code]); }

  static constexpr bool IsAscending() {
    for (size_t i = 1; i < kCount; ++i) {
      if (Level(i) <= Level(i - 1)) return false;
    }
    return true;
  }
  static_assert(IsAscending(), "bitnet: a format's levels must be listed in ascending order, each once");

  static constexpr int kBottom = Level(0);
  static constexpr int kTop = Level(kCount - 1);
  static_assert(!IsAscending() || kTop > 0,
                "bitnet: a format needs a level above zero: steps are derived from the largest level");
  static_assert(kTop <= 32767 && kBottom >= -32768, "bitnet: a format's levels must fit 16 bits");

  static constexpr int kMaxMagnitude = kTop > -kBottom ? kTop : -kBottom;

  // The code of level 0, or where there is none that of the level nearest to it, the larger of two. Quantizing 0
  // gives it.
  static constexpr size_t kZeroCode = [] {
    const auto magnitude = [](size_t code) { return Level(code) < 0 ? -Level(code) : Level(code); };
    size_t nearest = 0;
    for (size_t code = 1; code < kCount; ++code) {
      if (magnitude(code) <= magnitude(nearest)) nearest = code;
    }
    return nearest;
  }();
  static constexpr int kZeroLevel = Level(kZeroCode);
  static constexpr bool kHasZero = kZeroLevel == 0;

  static constexpr bool kIsSymmetric = [] {
    for (size_t i = 0; i < kCount; ++i) {
      if (Level(i) != -Level(kCount - 1 - i)) return false;
    }
    return true;
  }();

  // Equal distances: level = kBottom + code * kSpacing.
  static constexpr int kSpacing = Level(1) - kBottom;
  static constexpr bool kIsUniform = [] {
    for (size_t i = 1; i < kCount; ++i) {
      if (Level(i) - Level(i - 1) != Level(1) - Level(0)) return false;
    }
    return true;
  }();

  // Bits of a code held alone.
  static constexpr int kCodeBits = std::bit_width(kCount - 1);

  // The smallest integer type that holds every level.
  using LevelType = std::conditional_t<(kBottom >= -128 && kTop <= 127), int8_t,
                                       std::conditional_t<(kBottom >= 0 && kTop <= 255), uint8_t, int16_t>>;

  // Between levels i and i + 1 lies twice the threshold: v rounds up where 2v > kTwiceThreshold[i], and at equality
  // where kTieUp[i]: a tie goes to the level at an even distance from level 0; without a level 0, to the larger.
  static constexpr auto kTwiceThreshold = [] {
    std::array<int, kCount - 1> twice{};
    for (size_t i = 0; i + 1 < kCount; ++i) twice[i] = Level(i) + Level(i + 1);
    return twice;
  }();
  static constexpr auto kTieUp = [] {
    std::array<bool, kCount - 1> up{};
    for (size_t i = 0; i + 1 < kCount; ++i) {
      const size_t distance = i + 1 > kZeroCode ? i + 1 - kZeroCode : kZeroCode - (i + 1);
      up[i] = !kHasZero || distance % 2 == 0;
    }
    return up;
  }();
};

namespace detail {
template <class F>
struct StoredTypeOf {
  using type = typename FormatTraits<F>::LevelType;
};
template <RealFormat F>
struct StoredTypeOf<F> {
  using type = float;
};
}  // namespace detail

// What one unpacked value is held in: the level's integer type, or float for reals.
template <Format F>
using LevelOf = typename detail::StoredTypeOf<F>::type;

// The code of the level nearest to v (docs/numerics.md, "Nearest level"); v must not be NaN.
template <LevelFormat F>
constexpr size_t NearestCode(float v) {
  using Traits = FormatTraits<F>;
  size_t code = 0;
  for (size_t i = 0; i + 1 < Traits::kCount; ++i) {
    const float twice = static_cast<float>(Traits::kTwiceThreshold[i]);
    code += (Traits::kTieUp[i] ? 2.0f * v >= twice : 2.0f * v > twice) ? 1u : 0u;
  }
  return code;
}

// The nearest level itself.
template <LevelFormat F>
constexpr int NearestLevel(float v) {
  return FormatTraits<F>::Level(NearestCode<F>(v));
}

// The code of a level; `level` must be one of the list.
template <LevelFormat F>
constexpr size_t CodeOfLevel(int level) {
  using Traits = FormatTraits<F>;
  if constexpr (Traits::kIsUniform) {
    return static_cast<size_t>((level - Traits::kBottom) / Traits::kSpacing);
  } else {
    size_t code = 0;
    while (code + 1 < Traits::kCount && Traits::Level(code) < level) ++code;
    return code;
  }
}

}  // namespace bitnet

#endif  // BITNET_FORMAT_FORMAT_H_
