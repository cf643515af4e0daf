// Rows of exponentials: the bits of Exp, written so that a compiler turns the loop into vectors.
#ifndef BITNET_BASE_EXP_ROW_H_
#define BITNET_BASE_EXP_ROW_H_

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "bitnet/base/exact_math.h"

namespace bitnet {

// x[i] = exp(x[i] - max) for max >= x[i]; NaN where the difference is one.
inline void ExpRow(float* x, size_t n, float max) {
  // Its bits are those of n + 127 in the low bits: shifted by 23 they are 2^n. Unlike a conversion to an integer it is
  // defined for NaN.
  constexpr float kIntegerBits = 12582912.0f + 127.0f;
  constexpr uint32_t kLowestBits = std::bit_cast<uint32_t>(-ExpConstants::kLowest);
  constexpr uint32_t kInfinityBits = 0x7f800000u;
  constexpr uint32_t kNanBits = 0x7fc00000u;
  constexpr const float(&c)[7] = ExpConstants::kPolynomial;
  const auto step = [](float p, float r, float next) {
    return static_cast<float>(double(p) * double(r) + double(next));
  };
  for (size_t i = 0; i < n; ++i) {
    const float v = x[i] - max;
    const float whole = std::rint(v * ExpConstants::kLog2E);
    const float r = static_cast<float>(double(v) - double(whole) * ExpConstants::kLn2);
    float p = step(c[0], r, c[1]);
    p = step(p, r, c[2]);
    p = step(p, r, c[3]);
    p = step(p, r, c[4]);
    p = step(p, r, c[5]);
    p = step(p, r, c[6]);
    const float power = std::bit_cast<float>(std::bit_cast<uint32_t>(whole + kIntegerBits) << 23);
    const uint32_t magnitude = std::bit_cast<uint32_t>(v) & 0x7fffffffu;
    // Masks, not conditions: GCC would move the product into a branch and then not vectorize.
    const uint32_t is_near = 0u - static_cast<uint32_t>(magnitude <= kLowestBits);
    const uint32_t is_nan = 0u - static_cast<uint32_t>(magnitude > kInfinityBits);
    x[i] = std::bit_cast<float>((std::bit_cast<uint32_t>(p * power) & is_near) | (kNanBits & is_nan));
  }
}

}  // namespace bitnet

#endif  // BITNET_BASE_EXP_ROW_H_
