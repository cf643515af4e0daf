// The packed codes of a SimdHeads (head_layout.h), in vectors. HeadCodes<F> is one of two classes: of codes in bits,
// and of offsets in bytes.
//
// Codes in bits: 8 codes of B bits lie in B bytes. A byte shuffle brings to each 16-bit lane the two bytes that hold
// its code, a product with a power of two moves the code to the top (and the bits above it out), a shift right brings
// it down. With AVX-512 VBMI: a shuffle across the vector brings to each 64-bit lane the bytes of its 8 codes, and one
// instruction takes 8 bits from 8 places of a lane. Codes of up to 3 bits come in pairs, two neighbours to a byte, so
// that a mask takes one from it, in its place: those of odd dimensions are 2^B times as large. 4 instructions for 128
// codes instead of 6.
//
// Offsets in bytes need no unpacking; four dimensions of four tokens are transposed by a byte shuffle.
#if defined(BITNET_BACKEND_SIMD_HEAD_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_HEAD_CODES_INL_H_
#undef BITNET_BACKEND_SIMD_HEAD_CODES_INL_H_
#else
#define BITNET_BACKEND_SIMD_HEAD_CODES_INL_H_
#endif

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "bitnet/backend/simd/codes-inl.h"
#include "bitnet/backend/simd/head_layout.h"
#include "bitnet/base/size.h"
#include "bitnet/tensor/aligned_vector.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// Whether there is a HeadCodes<F>; others are unpacked by SimdHeads::Load.
template <Format F>
inline constexpr bool kHasHeadCodes = [] {
  if constexpr (kIsFloat<F>) {
    return false;
  } else {
    return OffsetTraits<F>::kFitsByte;
  }
}();

#if HWY_TARGET <= HWY_AVX3_DL && HWY_ARCH_X86_64
inline constexpr bool kHasBitGather = kVectorBytes == 64;
#else
inline constexpr bool kHasBitGather = false;
#endif

// kDims dimensions of x for each of four tokens, then the next; zeros up to a multiple of 64 dimensions.
template <size_t kDims>
HWY_INLINE void ArrangeUnits(const int8_t* HWY_RESTRICT x, size_t dim, int8_t* HWY_RESTRICT to) {
  std::memset(to, 0, 4 * RoundUp(dim, 64));
  for (size_t i = 0; i < dim; i += kDims) {
    for (size_t k = 0; k < 4; ++k) std::memcpy(to + 4 * i + kDims * k, x + i, HWY_MIN(kDims, dim - i));
  }
}

template <LevelFormat F>
struct BitHeadCodes {
  static constexpr size_t kBits = HeadLayout<F>::kBits;
  static constexpr size_t kCodes = HWY_MIN(kVectorBytes, 64);
  using D = hn::CappedTag<uint8_t, kCodes>;
  using D16 = hn::RepartitionToWide<D>;
  static constexpr size_t kBytes = kCodes / 8 * kBits;
  static constexpr size_t kLanes = kCodes / 4;
  // A vector has lanes of so many groups' tokens, after TokenSums; those of 16 bytes hold half of a group's unit.
  static constexpr size_t kGroups = HWY_MAX(1, kLanes / 4);
  static constexpr size_t kHalves = kCodes == 16 ? 2 : 1;
  // Whether there are LoadPair and LoadAcrossPair.
  static constexpr bool kHasPairs = kHasBitGather && !OffsetTraits<F>::kIsListed && 2 * kBits < 8;

  // Offsets (codes-inl.h) of kCodes codes from the byte `packed` on. Reads up to 64 bytes.
  static HWY_INLINE hn::Vec<D> Load(const uint8_t* HWY_RESTRICT packed) {
    if constexpr (kHasBitGather) {
      return Gather(packed, kGather);
    } else {
      return Listed(hn::OrderedTruncate2To(D(), Half(packed, kProduct, 0), Half(packed + kBytes / 2, kProduct, 0)));
    }
  }

  // x as Load's codes meet it: dimensions 0 ... 7 for each of four tokens, then 8 ... 15, ...; zeros up to a multiple
  // of 64 dimensions.
  static HWY_INLINE void Arrange(const int8_t* HWY_RESTRICT x, size_t dim, int8_t* HWY_RESTRICT to) {
    ArrangeUnits<8>(x, dim, to);
  }

  // The sums of four tokens of kGroups groups side by side, from those of Load's codes: sum[k] of group k (of its half
  // k).
  template <class D32>
  static HWY_INLINE hn::Vec<D32> TokenSums(D32 d32, const hn::Vec<D32>* HWY_RESTRICT sum) {
    hn::Vec<D32> low, high;
    if constexpr (kLanes <= 8) {
      low = sum[0];
      high = sum[1];
    } else {
      // The upper halves are of the next 8 dimensions.
      low = hn::Add(hn::ConcatLowerLower(d32, sum[1], sum[0]), hn::ConcatUpperUpper(d32, sum[1], sum[0]));
      high = hn::Add(hn::ConcatLowerLower(d32, sum[3], sum[2]), hn::ConcatUpperUpper(d32, sum[3], sum[2]));
    }
    return hn::Add(hn::ConcatEven(d32, high, low), hn::ConcatOdd(d32, high, low));
  }

  // Vector i of a group of four tokens (simd_heads.h), offsets of one dimension of the four side by side.
  static HWY_INLINE hn::Vec<D> LoadAcross(const uint8_t* HWY_RESTRICT group, size_t i) {
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

  // Offsets of 32 dimensions of four tokens: those of even dimensions, and those of odd ones times 2^kBits. A 32-bit
  // lane holds those of one token's unit, in the order of ArrangeForPairs.
  static HWY_INLINE void LoadPair(const uint8_t* HWY_RESTRICT packed, hn::Vec<D>* HWY_RESTRICT offsets) {
    Split(Windows<64>(packed, kGatherPair), offsets);
  }

  // The same of dimensions 32 * i, ... of a group. A 32-bit lane holds those of a dimension: lane j dimension 2 * j,
  // and 2 * j + 1.
  static HWY_INLINE void LoadAcrossPair(const uint8_t* HWY_RESTRICT group, size_t i, hn::Vec<D>* HWY_RESTRICT offsets) {
    Split(Windows<64>(group + i * 2 * kBytes, kGatherAcrossPair), offsets);
  }

  // The inputs that meet the parts of pairs: 32 dimensions of x for each four tokens, those of even dimensions times
  // 2^kBits, so that all products are 2^kBits times as large. Reads x, and writes, up to a multiple of 64 dimensions.
  static HWY_INLINE void ArrangeForPairs(const int8_t* HWY_RESTRICT x, size_t dim, int8_t* HWY_RESTRICT to) {
    const D d;
    for (size_t i = 0; i < dim; i += kCodes / 2) {
      const auto inputs = hn::LoadU(d, reinterpret_cast<const uint8_t*>(x + i / kCodes * kCodes));
      HWY_UNROLL(2) for (size_t k = 0; k < 2; ++k) {
        const auto from = hn::Load(d, kInputsOfPair[i / (kCodes / 2) % 2].data() + k * kCodes);
        const auto part = hn::TableLookupLanes(inputs, hn::IndicesFromVec(d, from));
        hn::StoreU(k == 0 ? hn::ShiftLeft<kBits>(part) : part, d, reinterpret_cast<uint8_t*>(to + 4 * i + k * kCodes));
      }
    }
  }

 private:
  static HWY_INLINE hn::Vec<D> Listed(hn::Vec<D> codes) {
    if constexpr (OffsetTraits<F>::kIsListed) {
      return ListedOffsets<F>(codes);
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
    for (size_t lane = 0; lane < 32; ++lane) product.Set(lane, lane * kBits);
    return product;
  }();
  static constexpr Product kProductAcross = [] {
    Product product;
    for (size_t lane = 0; lane < 32; ++lane) product.Set(lane, (lane % 4 * 8 + lane / 4) * kBits);
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

  // Pairs: a byte takes two codes. Lanes of 32 bits are ordered so that the sums of a token lie side by side, as those
  // of Load do: unit 0 and 1 of token 0, of token 1, ..., then units 2 and 3.
  static constexpr size_t UnitOfLane(size_t lane) { return lane / 8 * 2 + lane % 2; }
  static constexpr size_t TokenOfLane(size_t lane) { return lane % 8 / 2; }
  static constexpr BitGather kGatherPair = [] {
    BitGather gather;
    for (size_t i = 0; i < 64; ++i) {
      const size_t lane = i / 4;
      const size_t byte = (UnitOfLane(lane) * 4 + TokenOfLane(lane)) * kBits;
      gather.bytes[i] = static_cast<uint8_t>(HWY_MIN(byte + i % 4, 63));
      gather.bits[i] = static_cast<uint8_t>(i % 8 / 4 * 32 + i % 4 * 2 * kBits);
    }
    return gather;
  }();
  // A 64-bit lane: four dimensions of four tokens, which are two bytes of each.
  static constexpr BitGather kGatherAcrossPair = [] {
    BitGather gather;
    for (size_t i = 0; i < 64; ++i) {
      const size_t bit = i / 8 % 2 * 4 * kBits;  // of the dimensions, in a token's unit
      const size_t unit = i / 16 * 4 * kBits;
      gather.bytes[i] = static_cast<uint8_t>(HWY_MIN(unit + i % 8 / 2 * kBits + bit / 8 + i % 2, 63));
      gather.bits[i] = static_cast<uint8_t>(i % 4 * 16 + bit % 8 + i % 8 / 4 * 2 * kBits);
    }
    return gather;
  }();
  // Which of 64 inputs meet the even and the odd codes of a pair, of the first 32 and the second.
  alignas(64) static constexpr auto kInputsOfPair = [] {
    std::array<std::array<uint8_t, 128>, 2> from{};
    for (size_t i = 0; i < 64; ++i) {
      for (size_t k = 0; k < 2; ++k) {
        const size_t dim = UnitOfLane(i / 4) * 8 + i % 4 * 2 + k;
        from[0][k * 64 + i] = static_cast<uint8_t>(dim);
        from[1][k * 64 + i] = static_cast<uint8_t>(32 + dim);
      }
    }
    return from;
  }();
  static HWY_INLINE void Split(hn::Vec<D> windows, hn::Vec<D>* HWY_RESTRICT offsets) {
    constexpr unsigned kMask = (1u << kBits) - 1;
    offsets[0] = hn::And(windows, hn::Set(D(), static_cast<uint8_t>(kMask)));
    offsets[1] = hn::And(windows, hn::Set(D(), static_cast<uint8_t>((kMask << kBits) & 0xff)));
  }

  static HWY_INLINE hn::Vec<D> Gather(const uint8_t* HWY_RESTRICT packed, const BitGather& gather) {
    // No more is read than is needed: fewer loads touch two cache lines.
    return Listed(hn::And(Windows < kBytes <= 32 ? 32 : 64 > (packed, gather),
                          hn::Set(D(), static_cast<uint8_t>((1u << kBits) - 1))));
  }

  // 8 bits from each place.
  template <size_t kRead>
  static HWY_INLINE hn::Vec<D> Windows(const uint8_t* HWY_RESTRICT packed, const BitGather& gather) {
#if HWY_TARGET <= HWY_AVX3_DL && HWY_ARCH_X86_64
    const D d;
    const auto bytes = hn::ResizeBitCast(d, hn::LoadU(hn::CappedTag<uint8_t, kRead>(), packed));
    const auto lanes = hn::TableLookupLanes(bytes, hn::IndicesFromVec(d, hn::Load(d, gather.bytes.data())));
    const auto places = hn::Load(d, gather.bits.data());
    return hn::Vec<D>{_mm512_multishift_epi64_epi8(places.raw, lanes.raw)};
#else
    return hn::LoadU(D(), packed + 0 * gather.bytes[0]);
#endif
  }
};

// The interface of BitHeadCodes.
template <LevelFormat F>
struct ByteHeadCodes {
  static constexpr size_t kCodes = HWY_MIN(kVectorBytes, 64);
  using D = hn::CappedTag<uint8_t, kCodes>;
  static constexpr size_t kBytes = kCodes;
  static constexpr size_t kLanes = kCodes / 4;
  static constexpr size_t kGroups = kLanes / 4;
  static constexpr size_t kHalves = 1;
  static constexpr bool kHasPairs = false;

  static HWY_INLINE hn::Vec<D> Load(const uint8_t* HWY_RESTRICT offsets) { return hn::LoadU(D(), offsets); }

  static HWY_INLINE void Arrange(const int8_t* HWY_RESTRICT x, size_t dim, int8_t* HWY_RESTRICT to) {
    ArrangeUnits<4>(x, dim, to);
  }

  // Each 16 bytes of Load's have lanes of the four tokens.
  template <class D32>
  static HWY_INLINE hn::Vec<D32> TokenSums(D32 d32, const hn::Vec<D32>* HWY_RESTRICT sum) {
    if constexpr (kGroups == 1) {
      return sum[0];
    } else {
      const auto fold = [&](size_t a, size_t b) HWY_ATTR {
        return hn::Add(hn::ConcatLowerLower(d32, sum[b], sum[a]), hn::ConcatUpperUpper(d32, sum[b], sum[a]));
      };
      if constexpr (kGroups == 2) {
        return fold(0, 1);
      } else {
        const auto even = fold(0, 2);
        const auto odd = fold(1, 3);
        return hn::OddEvenBlocks(hn::Add(odd, hn::SwapAdjacentBlocks(odd)),
                                 hn::Add(even, hn::SwapAdjacentBlocks(even)));
      }
    }
  }

  static HWY_INLINE hn::Vec<D> LoadAcross(const uint8_t* HWY_RESTRICT group, size_t i) {
    alignas(16) static constexpr uint8_t kTransposed[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
    return hn::TableLookupBytes(hn::LoadU(D(), group + i * kBytes), hn::LoadDup128(D(), kTransposed));
  }
};

template <LevelFormat F>
using HeadCodes = std::conditional_t<HeadLayout<F>::kIsByte, ByteHeadCodes<F>, BitHeadCodes<F>>;

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_HEAD_CODES_INL_H_
