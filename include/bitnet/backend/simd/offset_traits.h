// OffsetTraits<F>: a format's levels as the byte kernels hold them.
//
// A level is  bottom + offset * distance,  where `distance` is the greatest that makes all offsets whole numbers.
// Offsets are not negative, which is what byte dot-product instructions want, and mostly equal to the codes.
#ifndef BITNET_BACKEND_SIMD_OFFSET_TRAITS_H_
#define BITNET_BACKEND_SIMD_OFFSET_TRAITS_H_

#include <bit>
#include <cstddef>
#include <numeric>

#include "bitnet/format/format.h"

namespace bitnet {

template <LevelFormat F>
struct OffsetTraits {
  using Traits = FormatTraits<F>;
  static constexpr int kDistance = [] {
    int distance = 0;
    for (size_t i = 1; i < Traits::kCount; ++i) distance = std::gcd(distance, Traits::Level(i) - Traits::kBottom);
    return distance;
  }();
  static constexpr int Offset(size_t code) { return (Traits::Level(code) - Traits::kBottom) / kDistance; }
  static constexpr int kMaxOffset = Offset(Traits::kCount - 1);
  static constexpr bool kFitsByte = kMaxOffset <= 255;
  // Codes are looked up where they are few and are not the offsets themselves.
  static constexpr bool kIsListed = !Traits::kIsUniform && kFitsByte && Traits::kCount <= 16;
  // What is stored in a byte: codes, else offsets.
  static constexpr bool kIsCode = Traits::kIsUniform || kIsListed;
  static constexpr size_t kBits = !kFitsByte ? 16 : kIsCode ? std::bit_ceil(static_cast<size_t>(Traits::kCodeBits)) : 8;
  // What is stored for a code: itself, its offset, or its level as 16 bits.
  static constexpr int Stored(size_t code) {
    return !kFitsByte ? Traits::Level(code) : kIsCode ? static_cast<int>(code) : Offset(code);
  }
};

}  // namespace bitnet

#endif  // BITNET_BACKEND_SIMD_OFFSET_TRAITS_H_
