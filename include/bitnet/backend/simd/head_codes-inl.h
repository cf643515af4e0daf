// The packed codes of a HeadCache, in vectors: 8 codes of B bits lie in B bytes, little endian, for any B.
//
// A byte shuffle brings to each 16-bit lane the two bytes that hold its code, a product with a power of two moves the
// code to the top (and the bits above it out), a shift right brings it down. With AVX-512 VBMI: a shuffle across the
// vector brings to each 64-bit lane the bytes of its 8 codes, and one instruction takes 8 bits from 8 places of a lane.
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

#if HWY_TARGET <= HWY_AVX3_DL && HWY_ARCH_X86_64
inline constexpr bool kHasBitGather = kVectorBytes == 64;
#else
inline constexpr bool kHasBitGather = false;
#endif

template <LevelFormat F>
struct HeadCodes {
  static constexpr size_t kBits = static_cast<size_t>(FormatTraits<F>::kCodeBits);
  // By the product, the codes of half a vector must come from 16 bytes, the reach of a shuffle.
  static constexpr size_t kCodes = HWY_MIN(kVectorBytes, kHasBitGather || kBits <= 4 ? 64 : 32);
  using D = hn::CappedTag<uint8_t, kCodes>;
  using D16 = hn::RepartitionToWide<D>;
  static constexpr size_t kBytes = kCodes / 8 * kBits;
  // Whether LoadAcross can be used.
  static constexpr bool kHasAcross = kBits <= 4;

  // Offsets (codes-inl.h) of kCodes codes from the byte `packed` on. Reads up to 64 bytes.
  static HWY_INLINE hn::Vec<D> Load(const uint8_t* HWY_RESTRICT packed) {
    if constexpr (kHasBitGather) {
      return Gather(packed, kGather);
    } else {
      return Listed(hn::OrderedTruncate2To(D(), Half(packed, kProduct, 0), Half(packed + kBytes / 2, kProduct, 0)));
    }
  }

  // Vector i of a group of four tokens (tensor/head_cache.h), offsets of one dimension of the four side by side.
  static HWY_INLINE hn::Vec<D> LoadAcross(const uint8_t* HWY_RESTRICT group, size_t i) {
    static_assert(kHasAcross);
    if constexpr (kHasBitGather) {
      return Gather(group + i * kBytes, kGatherAcross);
    } else {
      // Four tokens' units of 8 codes are at most 16 bytes.
      const size_t low = i * kCodes;
      const size_t high = low + kCodes / 2;
      return Listed(hn::OrderedTruncate2To(D(), Half(group + low / 32 * 4 * kBits, kProductAcross, low % 32),
                                           Half(group + high / 32 * 4 * kBits, kProductAcross, high % 32)));
    }
  }

 private:
  static HWY_INLINE hn::Vec<D> Listed(hn::Vec<D> codes) {
    if constexpr (OffsetTraits<F>::kIsListed) {
      alignas(16) static constexpr auto kOffsets = [] {
        std::array<uint8_t, 16> offsets{};
        for (size_t i = 0; i < FormatTraits<F>::kCount; ++i) {
          offsets[i] = static_cast<uint8_t>(OffsetTraits<F>::Offset(i));
        }
        return offsets;
      }();
      return hn::TableLookupBytes(hn::LoadDup128(D(), kOffsets.data()), codes);
    } else {
      return codes;
    }
  }

  // Where 16-bit lanes take their code: two bytes, and the factor that moves it to the top.
  struct Product {
    std::array<uint8_t, 64> bytes{};
    std::array<uint16_t, 32> factors{};
    constexpr void Set(size_t lane, size_t bit) {
      bytes[2 * lane] = static_cast<uint8_t>(bit / 8);
      // Past the last byte no bits are needed.
      bytes[2 * lane + 1] = static_cast<uint8_t>(HWY_MIN(bit / 8 + 1, 15));
      factors[lane] = static_cast<uint16_t>(1u << (16 - kBits - bit % 8));
    }
  };
  static constexpr Product kProduct = [] {
    Product product;
    for (size_t lane = 0; lane < 32; ++lane) {
      if (lane * kBits / 8 < 16) product.Set(lane, lane * kBits);
    }
    return product;
  }();
  static constexpr Product kProductAcross = [] {
    Product product;
    for (size_t lane = 0; kHasAcross && lane < 32; ++lane) product.Set(lane, (lane % 4 * 8 + lane / 4) * kBits);
    return product;
  }();

  static HWY_INLINE hn::Vec<D16> Half(const uint8_t* HWY_RESTRICT packed, const Product& product, size_t lane) {
    const D d;
    const D16 d16;
    const auto pairs = hn::TableLookupBytes(hn::LoadDup128(d, packed), hn::LoadU(d, product.bytes.data() + 2 * lane));
    const auto high = hn::Mul(hn::BitCast(d16, pairs), hn::LoadU(d16, product.factors.data() + lane));
    return hn::ShiftRight<16 - kBits>(high);
  }

  // Which 8 bytes come to a 64-bit lane, and from which of its bits a code starts.
  struct BitGather {
    alignas(64) std::array<uint8_t, 64> bytes{};
    alignas(64) std::array<uint8_t, 64> bits{};
  };
  static constexpr BitGather kGather = [] {
    BitGather gather;
    for (size_t i = 0; i < 64; ++i) {
      gather.bytes[i] = static_cast<uint8_t>(HWY_MIN(i / 8 * kBits + i % 8, 63));
      gather.bits[i] = static_cast<uint8_t>(i % 8 * kBits);
    }
    return gather;
  }();
  // A lane: two dimensions of four tokens, which are two bytes of each.
  static constexpr BitGather kGatherAcross = [] {
    BitGather gather;
    for (size_t i = 0; i < 64; ++i) {
      const size_t bit = i / 8 % 4 * 2 * kBits;  // of the dimensions, in a token's unit
      const size_t unit = i / 32 * 4 * kBits;
      gather.bytes[i] = static_cast<uint8_t>(HWY_MIN(unit + i % 8 / 2 * kBits + bit / 8 + i % 2, 63));
      gather.bits[i] = static_cast<uint8_t>(i % 4 * 16 + bit % 8 + i % 8 / 4 * kBits);
    }
    return gather;
  }();

  static HWY_INLINE hn::Vec<D> Gather(const uint8_t* HWY_RESTRICT packed, const BitGather& gather) {
#if HWY_TARGET <= HWY_AVX3_DL && HWY_ARCH_X86_64
    const D d;
    // No more than is needed: fewer loads touch two cache lines.
    const hn::CappedTag<uint8_t, kBytes <= 32 ? 32 : 64> d_packed;
    const auto bytes = hn::ResizeBitCast(d, hn::LoadU(d_packed, packed));
    const auto lanes = hn::TableLookupLanes(bytes, hn::IndicesFromVec(d, hn::Load(d, gather.bytes.data())));
    const auto places = hn::Load(d, gather.bits.data());
    const hn::Vec<D> codes{_mm512_multishift_epi64_epi8(places.raw, lanes.raw)};
    return Listed(hn::And(codes, hn::Set(d, static_cast<uint8_t>((1u << kBits) - 1))));
#else
    return hn::LoadU(D(), packed + 0 * gather.bytes[0]);
#endif
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_HEAD_CODES_INL_H_
