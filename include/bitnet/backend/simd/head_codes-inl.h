// The packed codes of a HeadCache, in vectors: 8 codes of B bits lie in B bytes, little endian, for any B.
//
// A byte shuffle brings to each 16-bit lane the two bytes that hold its code, a product with a power of two moves the
// code to the top (and the bits above it out), a shift right brings it down.
#if defined(BITNET_BACKEND_SIMD_HEAD_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_HEAD_CODES_INL_H_
#undef BITNET_BACKEND_SIMD_HEAD_CODES_INL_H_
#else
#define BITNET_BACKEND_SIMD_HEAD_CODES_INL_H_
#endif

#include <array>
#include <cstddef>
#include <cstdint>

#include "bitnet/backend/simd/codes-inl.h"
#include "bitnet/format/packing.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

namespace detail {
template <Format F>
constexpr bool HasBitCodes() {
  if constexpr (kIsFloat<F>) {
    return false;
  } else {
    return !Packing<F>::kIsRadix && OffsetTraits<F>::kFitsByte &&
           (FormatTraits<F>::kIsUniform || OffsetTraits<F>::kIsListed);
  }
}
}  // namespace detail

// Whether HeadCodes<F> can read the format; others are unpacked by HeadCache::Load.
template <Format F>
inline constexpr bool kHasBitCodes = detail::HasBitCodes<F>();

template <LevelFormat F>
struct HeadCodes {
  static constexpr size_t kBits = static_cast<size_t>(FormatTraits<F>::kCodeBits);
  // The codes of half a vector must come from 16 bytes, the reach of a shuffle.
  static constexpr size_t kCodes = HWY_MIN(kVectorBytes, kBits <= 4 ? 64 : 32);
  using D = hn::CappedTag<uint8_t, kCodes>;
  using D16 = hn::RepartitionToWide<D>;
  static constexpr size_t kHalfBytes = kCodes / 16 * kBits;

  // Offsets (codes-inl.h) of kCodes codes from the byte `packed` on. Reads up to 16 bytes beyond them.
  static HWY_INLINE hn::Vec<D> Load(const uint8_t* HWY_RESTRICT packed) {
    const D d;
    const auto codes = hn::OrderedTruncate2To(d, Half(packed), Half(packed + kHalfBytes));
    if constexpr (OffsetTraits<F>::kIsListed) {
      alignas(16) static constexpr auto kOffsets = [] {
        std::array<uint8_t, 16> offsets{};
        for (size_t i = 0; i < FormatTraits<F>::kCount; ++i) {
          offsets[i] = static_cast<uint8_t>(OffsetTraits<F>::Offset(i));
        }
        return offsets;
      }();
      return hn::TableLookupBytes(hn::LoadDup128(d, kOffsets.data()), codes);
    } else {
      return codes;
    }
  }

 private:
  // Lane i of a 128-bit block b takes the code at bit i * kBits of the block's kBits bytes, which start at b * kBits.
  static constexpr auto kBytes = [] {
    std::array<uint8_t, kCodes> bytes{};
    for (size_t i = 0; i < kCodes / 2; ++i) {
      const size_t byte = i / 8 * kBits + i % 8 * kBits / 8;
      bytes[2 * i] = static_cast<uint8_t>(byte);
      // Past the last byte no bits are needed.
      bytes[2 * i + 1] = static_cast<uint8_t>(HWY_MIN(byte + 1, 15));
    }
    return bytes;
  }();
  static constexpr auto kFactors = [] {
    std::array<uint16_t, kCodes / 2> factors{};
    for (size_t i = 0; i < factors.size(); ++i) {
      factors[i] = static_cast<uint16_t>(1u << (16 - kBits - i % 8 * kBits % 8));
    }
    return factors;
  }();

  static HWY_INLINE hn::Vec<D16> Half(const uint8_t* HWY_RESTRICT packed) {
    const D d;
    const D16 d16;
    const auto pairs = hn::TableLookupBytes(hn::LoadDup128(d, packed), hn::LoadU(d, kBytes.data()));
    const auto high = hn::Mul(hn::BitCast(d16, pairs), hn::LoadU(d16, kFactors.data()));
    return hn::ShiftRight<16 - kBits>(high);
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_HEAD_CODES_INL_H_
