// From exact dots to outputs, where a row has one step on either side: y = float(double(dot) * double(w_step *
// x_step)).
#if defined(BITNET_BACKEND_SIMD_SCALE_DOTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_SCALE_DOTS_INL_H_
#undef BITNET_BACKEND_SIMD_SCALE_DOTS_INL_H_
#else
#define BITNET_BACKEND_SIMD_SCALE_DOTS_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <limits>

#include "bitnet/backend/simd/vectors-inl.h"
#include "bitnet/format/format.h"
#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// As the sum of one term from +0: never -0.
HWY_INLINE float Scaled(int32_t dot, float scale) {
  return static_cast<float>(0.0 + static_cast<double>(dot) * static_cast<double>(scale));
}

// Whether dots of `cols` levels with inputs of any value of type X are at most 2^24, so that they are floats, and a
// float product rounds like the definition's.
template <LevelFormat W, class X>
constexpr bool DotsAreFloats(size_t cols) {
  using Values = std::numeric_limits<X>;
  constexpr int kLargestInput = HWY_MAX(int{Values::max()}, -int{Values::min()});
  constexpr size_t kLargest = size_t{FormatTraits<W>::kMaxMagnitude} * size_t{kLargestInput};
  return cols <= (size_t{1} << 24) / kLargest;
}

// Scaled of n dots; the scale of each is `step`, or steps[i] where there are any, times x_step. `are_floats`:
// DotsAreFloats. `past_caches`: y is written to memory without fetching its lines first, if it starts on one;
// FlushStream must follow.
HWY_NOINLINE inline void ScaleDots(const int32_t* HWY_RESTRICT dots, size_t n, const float* steps, float step,
                                   float x_step, bool are_floats, bool past_caches, float* HWY_RESTRICT y) {
  const DF32 d;
  size_t i = 0;
  if (are_floats) {
    constexpr size_t kLineBytes = 64;  // parts of lines would be slow
    past_caches = past_caches && reinterpret_cast<uintptr_t>(y) % kLineBytes == 0;
    const auto x_steps = hn::Set(d, x_step);
    auto scale = hn::Mul(hn::Set(d, step), x_steps);
    for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
      if (steps != nullptr) scale = hn::Mul(hn::LoadU(d, steps + i), x_steps);
      const auto dot = hn::ConvertTo(d, hn::LoadU(DI32(), dots + i));
      const auto scaled = hn::Add(hn::Mul(dot, scale), hn::Zero(d));
      if (past_caches) {
        hn::Stream(scaled, d, y + i);
      } else {
        hn::StoreU(scaled, d, y + i);
      }
    }
  }
  for (; i < n; ++i) y[i] = Scaled(dots[i], (steps != nullptr ? steps[i] : step) * x_step);
}

// y[row ... row + n) of one token, from the dots of these rows of weights.
template <class Weights>
HWY_INLINE void StoreDots(const int32_t* HWY_RESTRICT dots, size_t row, size_t n, const Weights& weights, float x_step,
                          bool are_floats, bool past_caches, float* HWY_RESTRICT y) {
  const float* steps = weights.StepsOfRows(row);
  ScaleDots(dots, n, steps, steps != nullptr ? 0.0f : weights.Step(0), x_step, are_floats, past_caches, y + row);
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_SCALE_DOTS_INL_H_
