// How the kernels hold weight levels, and how they multiply them with inputs. All is derived from the formats.
//
// Levels are held as offsets (offset_traits.h):
//   dot(levels, x) = distance * dot(offsets, x) + bottom * sum(x).
// Offsets are stored in 1, 2, 4 or 8 bits, in planes: a block of kPlanes * N codes takes N bytes (N: bytes of a
// vector); byte i holds codes i, N + i, 2N + i, ... from its lowest bit up, so that a plane is one shift and one mask
// of a vector:
//
//   2 bits:   bits 7 6 | 5 4 | 3 2 | 1 0   of byte i
//             code 3N+i| 2N+i| N+i |  i
//
// The last block of a row may be smaller, and its planes with it (plane_run-inl.h). Padding is code 0.
// All sums are taken modulo 2^32: only the dot of levels must fit 32 bits (DotFits), not the intermediate dot of
// offsets.
#if defined(BITNET_BACKEND_SIMD_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_CODES_INL_H_
#undef BITNET_BACKEND_SIMD_CODES_INL_H_
#else
#define BITNET_BACKEND_SIMD_CODES_INL_H_
#endif

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bitnet/backend/simd/offset_traits.h"
#include "bitnet/backend/simd/vectors-inl.h"
#include "bitnet/format/format.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// No list: the code is the offset.
struct Unlisted {};

// Codes of a format that is listed to offsets.
template <LevelFormat F, class V>
HWY_INLINE V ListedOffsets(V codes) {
  alignas(16) static constexpr auto kOffsets = [] {
    std::array<uint8_t, 16> offsets{};
    for (size_t i = 0; i < FormatTraits<F>::kCount; ++i) offsets[i] = static_cast<uint8_t>(OffsetTraits<F>::Offset(i));
    return offsets;
  }();
  return hn::TableLookupBytes(hn::LoadDup128(hn::DFromV<V>(), kOffsets.data()), codes);
}

// ---- Planes of offsets from packed blocks.

// Offsets that fit a byte. kMaxOffset bounds them; List is a format whose codes are looked up, or Unlisted.
template <size_t kBitsT, int kMaxOffsetT, class List>
struct ByteCodes {
  static constexpr size_t kBits = kBitsT;
  static constexpr int kMaxOffset = kMaxOffsetT;
  static constexpr bool kIsByte = true;
  static constexpr bool kIsOffset = std::is_same_v<List, Unlisted>;  // a code
  static constexpr size_t kPlanes = 8 / kBits;
  static constexpr size_t kBlockCodes = kPlanes * kVectorBytes;
  static constexpr size_t kBlockBytes = kVectorBytes;

  using Plane = hn::Vec<DU8>;
  using Unpacked = uint8_t;  // an offset in memory

  // Codes 0 ... 2^kBits - 1 to offsets.
  static HWY_INLINE Plane OffsetsOf(Plane codes) {
    if constexpr (kIsOffset) {
      return codes;
    } else {
      return ListedOffsets<List>(codes);
    }
  }
  // The lowest kBits of each byte.
  static HWY_INLINE Plane LowCodes(Plane packed) {
    if constexpr (kBits == 8) {
      return packed;
    } else {
      return hn::And(packed, hn::Set(DU8(), static_cast<uint8_t>((1u << kBits) - 1)));
    }
  }
  // The next plane's bits moved to the bottom; bits of the neighbouring byte enter above them.
  static HWY_INLINE Plane NextPlane(Plane packed) {
    if constexpr (kBits == 8) {
      return packed;
    } else {
      return hn::BitCast(DU8(), hn::ShiftRight<kBits>(hn::BitCast(DU16(), packed)));
    }
  }

  // A block, of which Next() gives one plane after the other.
  struct Block {
    Plane packed;
    static HWY_INLINE Block Load(const uint8_t* HWY_RESTRICT bytes) { return {hn::LoadU(DU8(), bytes)}; }
    // `count` bytes, then code 0.
    static HWY_INLINE Block LoadTail(const uint8_t* HWY_RESTRICT bytes, size_t count) {
      return {hn::LoadN(DU8(), bytes, count)};
    }
    HWY_INLINE Plane Next() {
      const Plane codes = LowCodes(packed);
      packed = NextPlane(packed);
      return OffsetsOf(codes);
    }
  };

  static HWY_INLINE Plane LoadPlane(const Unpacked* HWY_RESTRICT p) { return hn::LoadU(DU8(), p); }
  static HWY_INLINE void StorePlane(Plane plane, Unpacked* HWY_RESTRICT p) { hn::StoreU(plane, DU8(), p); }
  static HWY_INLINE Plane Ones() { return hn::Set(DU8(), uint8_t{1}); }
};

// A vector of bytes as 16 bits each, or what is 16 bits from the start: the first and the second half of N values.
struct WidePlane {
  hn::Vec<DI16> low, high;
};

// Levels that need 16 bits, as they are: "offsets" of distance 1 from bottom 0.
struct WideCodes {
  static constexpr size_t kBits = 16;
  static constexpr int kMaxOffset = 32767;
  static constexpr bool kIsByte = false;
  static constexpr size_t kPlanes = 1;
  static constexpr size_t kBlockCodes = kVectorBytes;
  static constexpr size_t kBlockBytes = 2 * kVectorBytes;

  using Plane = WidePlane;
  using Unpacked = int16_t;

  static HWY_INLINE Plane LoadPlane(const Unpacked* HWY_RESTRICT p) {
    return {hn::LoadU(DI16(), p), hn::LoadU(DI16(), p + kVectorBytes / 2)};
  }
  static HWY_INLINE void StorePlane(const Plane& plane, Unpacked* HWY_RESTRICT p) {
    hn::StoreU(plane.low, DI16(), p);
    hn::StoreU(plane.high, DI16(), p + kVectorBytes / 2);
  }
  struct Block {
    Plane plane;
    static HWY_INLINE Block Load(const uint8_t* HWY_RESTRICT bytes) {
      const DU8 d;
      return {{hn::BitCast(DI16(), hn::LoadU(d, bytes)), hn::BitCast(DI16(), hn::LoadU(d, bytes + kVectorBytes))}};
    }
    static HWY_INLINE Block LoadTail(const uint8_t* HWY_RESTRICT bytes, size_t) {
      return Load(bytes);
    }  // (never smaller)
    HWY_INLINE Plane Next() { return plane; }
  };
};

template <LevelFormat F>
using CodesOf = std::conditional_t<!OffsetTraits<F>::kFitsByte, WideCodes,
                                   ByteCodes<HWY_MIN(OffsetTraits<F>::kBits, 8), OffsetTraits<F>::kMaxOffset,
                                             std::conditional_t<OffsetTraits<F>::kIsListed, F, Unlisted>>>;

// dot of levels = kFactor * dot of offsets + kBottom * sum of inputs.
template <LevelFormat F>
struct Correction {
  static constexpr bool kIsByte = OffsetTraits<F>::kFitsByte;
  static constexpr int kFactor = kIsByte ? OffsetTraits<F>::kDistance : 1;
  static constexpr int kBottom = kIsByte ? FormatTraits<F>::kBottom : 0;
  static constexpr int32_t DotOfLevels(int32_t dot_of_offsets, int32_t sum_of_inputs) {
    return static_cast<int32_t>(static_cast<uint32_t>(kFactor) * static_cast<uint32_t>(dot_of_offsets) +
                                static_cast<uint32_t>(kBottom) * static_cast<uint32_t>(sum_of_inputs));
  }
};

// A vector of dots of offsets to dots of levels; `correction` is DotOfLevels(0, sum of inputs).
template <LevelFormat F, class V>
HWY_INLINE V CorrectedDots(V dots, int32_t correction) {
  const hn::DFromV<V> d;
  if constexpr (Correction<F>::kFactor != 1) dots = hn::Mul(dots, hn::Set(d, Correction<F>::kFactor));
  if constexpr (Correction<F>::kBottom != 0) dots = hn::Add(dots, hn::Set(d, correction));
  return dots;
}

// The level with this offset.
template <LevelFormat F, class T>
HWY_INLINE T LevelFromOffset(int offset) {
  return static_cast<T>(Correction<F>::kFactor * offset + Correction<F>::kBottom);
}

// ---- Multiplication of N offsets with N inputs of type X (int8_t, uint8_t or int16_t), added up in 32-bit lanes.

enum class DotMethod {
  kQuads,  // four products of u8 and i8 to a 32-bit lane
  kPairs,  // x86 without VNNI: two products to a 16-bit lane, exact where offsets are small; widened at Flush
  kWide,   // 16 bits each, two products to a 32-bit lane
};

template <class Codes, class X>
inline constexpr DotMethod kDotMethod = [] {
  if (!Codes::kIsByte || !std::is_same_v<X, int8_t>) return DotMethod::kWide;
  const bool has_cheap_pairs = HWY_ARCH_X86 && HWY_TARGET > HWY_AVX3_DL && HWY_TARGET <= HWY_SSSE3;
  // A block's planes are added before a flush: their pairs must fit 16 bits.
  return has_cheap_pairs && Codes::kMaxOffset * static_cast<int>(Codes::kPlanes) <= 127 ? DotMethod::kPairs
                                                                                        : DotMethod::kQuads;
}();

// N inputs in the form that Codes multiplies with.
template <class Codes, class X>
struct Inputs {
  static constexpr bool kIsWide = kDotMethod<Codes, X> == DotMethod::kWide;
  using V = std::conditional_t<kIsWide, WidePlane, hn::Vec<DI8>>;

  static HWY_INLINE V Load(const X* HWY_RESTRICT x) {
    if constexpr (!kIsWide) {
      return hn::LoadU(DI8(), x);
    } else if constexpr (sizeof(X) == 2) {
      return {hn::LoadU(DI16(), x), hn::LoadU(DI16(), x + kVectorBytes / 2)};
    } else {
      const hn::Rebind<X, DI16> half;
      return {hn::PromoteTo(DI16(), hn::LoadU(half, x)), hn::PromoteTo(DI16(), hn::LoadU(half, x + kVectorBytes / 2))};
    }
  }
};

template <class Codes, class X>
struct DotSum {
  static constexpr DotMethod kMethod = kDotMethod<Codes, X>;
  // A Flush is due after this many Adds at the latest; a multiple of all kPlanes.
  static constexpr size_t kAddsToFlush =
      kMethod == DotMethod::kPairs ? std::bit_floor(static_cast<size_t>(32767 / (2 * 128 * Codes::kMaxOffset))) : 1024;
  static_assert(kMethod != DotMethod::kPairs || kAddsToFlush >= Codes::kPlanes);

  hn::Vec<DI32> sum;
  hn::Vec<DI16> pairs;  // kPairs only

  static HWY_INLINE DotSum Zero() { return {hn::Zero(DI32()), hn::Zero(DI16())}; }

  HWY_INLINE void Add(const typename Codes::Plane& w, const typename Inputs<Codes, X>::V& x) {
    if constexpr (kMethod == DotMethod::kQuads) {
      sum = hn::SumOfMulQuadAccumulate(DI32(), w, x, sum);
    } else if constexpr (kMethod == DotMethod::kPairs) {
      pairs = hn::Add(pairs, hn::SatWidenMulPairwiseAdd(DI16(), w, x));
    } else if constexpr (Codes::kIsByte) {
      AddWide(hn::PromoteTo(DI16(), hn::LowerHalf(w)), x.low);
      AddWide(hn::PromoteTo(DI16(), hn::UpperHalf(hn::Half<DU8>(), w)), x.high);
    } else {
      AddWide(w.low, x.low);
      AddWide(w.high, x.high);
    }
  }
  HWY_INLINE void AddWide(hn::Vec<DI16> w, hn::Vec<DI16> x) {
    sum = hn::Add(sum, hn::WidenMulPairwiseAdd(DI32(), w, x));
  }
  HWY_INLINE void Flush() {
    if constexpr (kMethod == DotMethod::kPairs) {
      AddWide(pairs, hn::Set(DI16(), int16_t{1}));
      pairs = hn::Zero(DI16());
    }
  }
};

// sum of x[0, n) modulo 2^32; x is readable and zero up to a multiple of kVectorBytes.
template <class X>
HWY_INLINE int32_t SumOfInputs(const X* HWY_RESTRICT x, size_t n) {
  using Codes = ByteCodes<8, 1, Unlisted>;
  auto sum = DotSum<Codes, X>::Zero();
  for (size_t i = 0; i < n; i += kVectorBytes) {
    sum.Add(Codes::Ones(), Inputs<Codes, X>::Load(x + i));
    sum.Flush();
  }
  return hn::ReduceSum(DI32(), sum.sum);
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_CODES_INL_H_
