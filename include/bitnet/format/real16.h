// Reals in 16 bits: BFloat16 (8 bits of exponent, 7 of mantissa: the range of float) and Float16 (IEEE half precision:
// 5 and 10). Formats, and the values that memory holds of them. Widening is exact; Nearest rounds to nearest, ties to
// even, beyond the largest to infinity. A NaN stays a NaN, quiet, with its sign and the top of its payload.
#ifndef BITNET_FORMAT_REAL16_H_
#define BITNET_FORMAT_REAL16_H_

#include <cstdint>

#include "bitnet/base/host_device.h"

namespace bitnet {

namespace detail {

// The bits of v / 2^shift, rounded to nearest, ties to even.
BITNET_HOST_DEVICE constexpr uint32_t ShiftToNearest(uint32_t v, uint32_t shift) {
  const uint32_t half = uint32_t{1} << (shift - 1);
  return (v + (half - 1) + ((v >> shift) & 1u)) >> shift;
}

}  // namespace detail

struct BFloat16 {
  uint16_t bits = 0;

  BITNET_HOST_DEVICE static constexpr BFloat16 Nearest(float x) {
    const auto wide = BitCast<uint32_t>(x);
    const bool is_nan = (wide & 0x7fffffffu) > 0x7f800000u;
    return {static_cast<uint16_t>(is_nan ? (wide >> 16) | 0x0040u : detail::ShiftToNearest(wide, 16))};
  }
  BITNET_HOST_DEVICE constexpr operator float() const { return BitCast<float>(uint32_t{bits} << 16); }
};

struct Float16 {
  uint16_t bits = 0;

  BITNET_HOST_DEVICE static constexpr Float16 Nearest(float x) {
    const auto wide = BitCast<uint32_t>(x);
    const uint32_t sign = wide >> 31 << 15;
    const uint32_t magnitude = wide & 0x7fffffffu;
    uint32_t half = 0x7c00u;  // infinity
    if (magnitude > 0x7f800000u) {
      half = 0x7e00u | ((magnitude >> 13) & 0x03ffu);
    } else if (magnitude >= kLeastNormal) {
      if (magnitude < kTooLarge) half = detail::ShiftToNearest(magnitude - kRebias, 13);
    } else {
      // In units of 2^-24: below half of one nothing is left.
      const uint32_t shift = 126u - (magnitude >> 23);
      half = shift > 24 ? 0u : detail::ShiftToNearest((magnitude & 0x007fffffu) | 0x00800000u, shift);
    }
    return {static_cast<uint16_t>(sign | half)};
  }

  BITNET_HOST_DEVICE constexpr operator float() const {
    const uint32_t sign = uint32_t{bits} >> 15 << 31;
    const uint32_t magnitude = bits & 0x7fffu;
    if (magnitude >= 0x7c00u) {
      const uint32_t quiet = magnitude == 0x7c00u ? 0u : 0x00400000u;
      return BitCast<float>(sign | 0x7f800000u | magnitude << 13 | quiet);
    }
    if (magnitude >= 0x0400u) return BitCast<float>(sign | ((magnitude << 13) + kRebias));
    const float value = static_cast<float>(magnitude) * 0x1p-24f;
    return BitCast<float>(sign | BitCast<uint32_t>(value));
  }

 private:
  static constexpr uint32_t kRebias = (127u - 15u) << 23;
  static constexpr uint32_t kLeastNormal = (127u - 14u) << 23;  // 2^-14
  static constexpr uint32_t kTooLarge = 0x477ff000u;            // 65520, halfway to what would be the next
};

}  // namespace bitnet

#endif  // BITNET_FORMAT_REAL16_H_
