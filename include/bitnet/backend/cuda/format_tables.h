// A format's levels in device code: a kernel cannot read the arrays of FormatTraits, which are the host's.
#ifndef BITNET_BACKEND_CUDA_FORMAT_TABLES_H_
#define BITNET_BACKEND_CUDA_FORMAT_TABLES_H_

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "bitnet/base/host_device.h"
#include "bitnet/format/format.h"

namespace bitnet::cuda {

// An array that a device can index.
template <class T, size_t kSize>
struct Table {
  T values[kSize];
  BITNET_HOST_DEVICE constexpr T operator[](size_t i) const { return values[i]; }
};

template <LevelFormat F>
inline constexpr auto kLevelTable = [] {
  Table<int16_t, FormatTraits<F>::kCount> table{};
  for (size_t i = 0; i < FormatTraits<F>::kCount; ++i) table.values[i] = static_cast<int16_t>(F::kLevels[i]);
  return table;
}();

// A value has at least the level i + 1 where it is above kBelowLevel[i]: half of FormatTraits<F>::kTwiceThreshold, and
// where a tie goes up the float below that. (Not twice the value by twice the threshold: the value is a product, and
// nvcc makes of v + v a fused multiply-add.)
template <LevelFormat F>
inline constexpr auto kBelowLevel = [] {
  Table<float, FormatTraits<F>::kCount - 1> table{};
  for (size_t i = 0; i + 1 < FormatTraits<F>::kCount; ++i) {
    const float threshold = static_cast<float>(FormatTraits<F>::kTwiceThreshold[i]) * 0.5f;
    const auto bits = BitCast<uint32_t>(threshold);
    const uint32_t below = threshold == 0.0f ? 0x80000001u : threshold > 0.0f ? bits - 1 : bits + 1;
    table.values[i] = FormatTraits<F>::kTieUp[i] ? BitCast<float>(below) : threshold;
  }
  return table;
}();

// FormatTraits<F>::Level(code).
template <LevelFormat F>
BITNET_HOST_DEVICE inline int Level(unsigned code) {
  using Traits = FormatTraits<F>;
  if constexpr (Traits::kIsUniform) {
    return Traits::kBottom + static_cast<int>(code) * Traits::kSpacing;
  } else {
    static constexpr auto table = kLevelTable<F>;
    return table[code];
  }
}

// NearestCode<F>(v); v must not be NaN.
template <LevelFormat F>
BITNET_HOST_DEVICE inline unsigned NearestCode(float v) {
  using Traits = FormatTraits<F>;
  constexpr auto kLast = static_cast<int>(Traits::kCount - 1);
  // Thresholds at all integers and a half, ties to even.
  constexpr bool kByRounding = Traits::kIsUniform && Traits::kSpacing == 1 && Traits::kHasZero;
  // Levels are the odd integers, thresholds the even ones, ties go up.
  constexpr bool kByFloor = Traits::kIsUniform && Traits::kSpacing == 2 && Traits::kBottom % 2 != 0;
  if constexpr (kByRounding || kByFloor) {
    constexpr float kBelow = Traits::kBottom - 1;
    constexpr float kAbove = Traits::kTop + 1;
    const float within = v < kBelow ? kBelow : v > kAbove ? kAbove : v;
    int code = 0;
    if constexpr (kByRounding) {
      code = static_cast<int>(std::rint(within)) - Traits::kBottom;
    } else {
      // The inner floor keeps the sign of values so small that half of them is zero.
      code = static_cast<int>(std::floor(std::floor(within) * 0.5f)) + (1 - Traits::kBottom) / 2;
    }
    return static_cast<unsigned>(code < 0 ? 0 : code > kLast ? kLast : code);
  } else {
    static constexpr auto table = kBelowLevel<F>;
    unsigned code = 0;
    for (size_t i = 0; i + 1 < Traits::kCount; ++i) code += v > table[i] ? 1u : 0u;
    return code;
  }
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_FORMAT_TABLES_H_
