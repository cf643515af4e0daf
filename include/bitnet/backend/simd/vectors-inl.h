// What all vector files share: tags, tails, and the eight double lanes in which every long sum is added up.
#if defined(BITNET_BACKEND_SIMD_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_VECTORS_INL_H_
#undef BITNET_BACKEND_SIMD_VECTORS_INL_H_
#else
#define BITNET_BACKEND_SIMD_VECTORS_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "bitnet/backend/simd/targets.h"
#include "bitnet/base/exact_math.h"
#include "bitnet/format/real16.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

static_assert(HWY_TARGET != HWY_SCALAR,
              "bitnet: HWY_SCALAR lacks operations; include bitnet headers before Highway's: see simd/targets.h");

// Full vectors. All targets in use have a vector size known at compile time: 16, 32 or 64 bytes.
using DU8 = hn::ScalableTag<uint8_t>;
using DI8 = hn::ScalableTag<int8_t>;
using DU16 = hn::ScalableTag<uint16_t>;
using DI16 = hn::ScalableTag<int16_t>;
using DU32 = hn::ScalableTag<uint32_t>;
using DI32 = hn::ScalableTag<int32_t>;
using DF32 = hn::ScalableTag<float>;
inline constexpr size_t kVectorBytes = HWY_LANES(uint8_t);

// How many accumulators of a register tile fit: AVX-512 and NEON have 32 registers, other targets 16.
inline constexpr bool kManyRegisters = HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64;

// An accumulator at the end of a loop's body. g++ 12 otherwise copies every accumulator of a large tile before vpdpbusd
// (which overwrites it) and back after it, and spills some: 16 instructions become 50.
template <class V>
HWY_INLINE V KeepInRegister(V v) {
#if HWY_COMPILER_GCC_ACTUAL && HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL
  auto raw = v.raw;
  asm("" : "+v"(raw));
  return V{raw};
#else
  return v;
#endif
}

// `count` rows or columns: listed ones, or, without a list, consecutive ones from `first`.
struct IndexList {
  const uint32_t* indices = nullptr;
  size_t first = 0;
  size_t count = 0;
  HWY_INLINE size_t operator[](size_t i) const { return indices != nullptr ? indices[i] : first + i; }
  // `n` of them from number `begin` on.
  HWY_INLINE IndexList Part(size_t begin, size_t n) const {
    return {indices != nullptr ? indices + begin : nullptr, first + begin, n};
  }
};

// Spans of memory that are read in turn. Places far apart are fetched better than neighbours, and several better than
// one: a third of 6912 rows of 640 bytes from memory, in ascending order 7 GB/s, eight at a time 7, one from each
// eighth of the list 9 - 10 (Sapphire Rapids, one thread). With 4 or 16 parts it is as fast or slower.
inline constexpr size_t kStreams = 8;

// The list in an order that takes one from each of kStreams parts in turn; `order` has room for list.count.
HWY_INLINE IndexList InTurns(const IndexList& list, uint32_t* HWY_RESTRICT order) {
  const size_t part = (list.count + kStreams - 1) / kStreams;
  size_t count = 0;
  for (size_t i = 0; i < part; ++i) {
    for (size_t at = i; at < list.count; at += part) order[count++] = static_cast<uint32_t>(list[at]);
  }
  return {order, 0, count};
}

// Four columns of bytes to quads, one row's bytes of the four in 32 bits: in quads[j] block b of 16 bytes has the rows
// 16b + 4j ... 16b + 4j + 3.
HWY_INLINE void Interleave(hn::Vec<DU8> a, hn::Vec<DU8> b, hn::Vec<DU8> c, hn::Vec<DU8> d, hn::Vec<DU8> (&quads)[4]) {
  const DU8 d8;
  const DU16 d16;
  const auto ab0 = hn::BitCast(d16, hn::InterleaveLower(d8, a, b));
  const auto ab1 = hn::BitCast(d16, hn::InterleaveUpper(d8, a, b));
  const auto cd0 = hn::BitCast(d16, hn::InterleaveLower(d8, c, d));
  const auto cd1 = hn::BitCast(d16, hn::InterleaveUpper(d8, c, d));
  quads[0] = hn::BitCast(d8, hn::InterleaveLower(d16, ab0, cd0));
  quads[1] = hn::BitCast(d8, hn::InterleaveUpper(d16, ab0, cd0));
  quads[2] = hn::BitCast(d8, hn::InterleaveLower(d16, ab1, cd1));
  quads[3] = hn::BitCast(d8, hn::InterleaveUpper(d16, ab1, cd1));
}

// ---- Reals of 16 bits to float, exactly.

#if (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2 && !defined(HWY_DISABLE_F16C)) || \
    (HWY_ARCH_ARM_A64 && HWY_TARGET != HWY_EMU128 && HWY_TARGET != HWY_SCALAR)
inline constexpr bool kConvertsFloat16 = true;
#else
inline constexpr bool kConvertsFloat16 = false;
#endif

// As many as the tag has lanes.
template <class D>
HWY_INLINE hn::Vec<D> LoadReals(D d, const float* HWY_RESTRICT p) {
  return hn::LoadU(d, p);
}
template <class D>
HWY_INLINE hn::Vec<D> LoadReals(D d, const BFloat16* HWY_RESTRICT p) {
  const hn::Rebind<uint32_t, D> d32;
  const auto bits = hn::LoadU(hn::Rebind<uint16_t, D>(), &p->bits);
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, bits)));
}
template <class D>
HWY_INLINE hn::Vec<D> LoadReals(D d, const Float16* HWY_RESTRICT p) {
  const hn::Rebind<uint16_t, D> d16;
  const auto bits = hn::LoadU(d16, &p->bits);
  if constexpr (kConvertsFloat16) {
    return hn::PromoteTo(d, hn::BitCast(hn::Rebind<hwy::float16_t, D>(), bits));
  } else {
    // Exponent and mantissa in their places, then a product for the other bias, which makes subnormal values normal.
    // (Highway's own conversion, where there is no instruction, makes infinity 65536.)
    const hn::Rebind<uint32_t, D> d32;
    const auto wide = hn::PromoteTo(d32, bits);
    const auto magnitude = hn::And(wide, hn::Set(d32, 0x7fffu));
    const auto value = hn::Mul(hn::BitCast(d, hn::ShiftLeft<13>(magnitude)), hn::Set(d, 0x1p112f));
    const auto is_finite =
        hn::Lt(hn::BitCast(hn::Rebind<int32_t, D>(), magnitude), hn::Set(hn::Rebind<int32_t, D>(), 0x7c00));
    const auto exponent = hn::IfThenElse(hn::RebindMask(d32, is_finite), hn::Zero(d32), hn::Set(d32, 0x7f800000u));
    const auto sign = hn::ShiftLeft<16>(hn::Xor(wide, magnitude));
    return hn::BitCast(d, hn::Or(hn::Or(hn::BitCast(d32, value), exponent), sign));
  }
}

// ---- Eight lanes of double (docs/numerics.md, "Long sums have one order"): 1, 2 or 4 registers.

#if HWY_HAVE_FLOAT64 && HWY_TARGET != HWY_EMU128

struct Doubles8 {
  using D = hn::CappedTag<double, kSumLanes>;
  static constexpr size_t kPartLanes = HWY_MIN(HWY_LANES(double), kSumLanes);
  static constexpr size_t kParts = kSumLanes / kPartLanes;
  hn::Vec<D> part[kParts];

  static HWY_INLINE Doubles8 Set(double value) {
    Doubles8 out;
    HWY_UNROLL(4) for (size_t i = 0; i < kParts; ++i) out.part[i] = hn::Set(D(), value);
    return out;
  }

  // Eight values of type T at p, converted; exact.
  template <class T>
  static HWY_INLINE Doubles8 Load(const T* HWY_RESTRICT p) {
    const D d;
    Doubles8 out;
    HWY_UNROLL(4) for (size_t i = 0; i < kParts; ++i) {
      const T* HWY_RESTRICT from = p + i * kPartLanes;
      if constexpr (std::is_same_v<T, double>) {
        out.part[i] = hn::LoadU(d, from);
      } else if constexpr (std::is_class_v<T>) {  // reals of 16 bits
        out.part[i] = hn::PromoteTo(d, LoadReals(hn::Rebind<float, D>(), from));
      } else if constexpr (sizeof(T) < 4) {
        const auto narrow = hn::LoadU(hn::Rebind<T, D>(), from);
        out.part[i] = hn::PromoteTo(d, hn::PromoteTo(hn::Rebind<int32_t, D>(), narrow));
      } else {
        out.part[i] = hn::PromoteTo(d, hn::LoadU(hn::Rebind<T, D>(), from));
      }
    }
    return out;
  }

  // kBottom + kFactor * offset of eight bytes; exact.
  template <int kFactor, int kBottom>
  static HWY_INLINE Doubles8 LoadLevels(const uint8_t* HWY_RESTRICT offsets) {
    const hn::Rebind<int32_t, D> d32;
    Doubles8 out;
    HWY_UNROLL(4) for (size_t i = 0; i < kParts; ++i) {
      auto level = hn::PromoteTo(d32, hn::LoadU(hn::Rebind<uint8_t, D>(), offsets + i * kPartLanes));
      if constexpr (kFactor == 2) {
        level = hn::Add(level, level);
      } else if constexpr (kFactor != 1) {
        level = hn::Mul(level, hn::Set(d32, kFactor));
      }
      out.part[i] = hn::PromoteTo(D(), hn::Add(level, hn::Set(d32, kBottom)));
    }
    return out;
  }

  // Rounds to float.
  HWY_INLINE void StoreFloats(float* HWY_RESTRICT p) const {
    const hn::Rebind<float, D> df;
    HWY_UNROLL(4) for (size_t i = 0; i < kParts; ++i) { hn::StoreU(hn::DemoteTo(df, part[i]), df, p + i * kPartLanes); }
  }
  HWY_INLINE void Store(double* HWY_RESTRICT p) const {
    HWY_UNROLL(4) for (size_t i = 0; i < kParts; ++i) hn::StoreU(part[i], D(), p + i * kPartLanes);
  }

  friend HWY_INLINE Doubles8 operator+(Doubles8 a, const Doubles8& b) {
    HWY_UNROLL(4) for (size_t i = 0; i < kParts; ++i) a.part[i] = hn::Add(a.part[i], b.part[i]);
    return a;
  }
  friend HWY_INLINE Doubles8 operator*(Doubles8 a, const Doubles8& b) {
    HWY_UNROLL(4) for (size_t i = 0; i < kParts; ++i) a.part[i] = hn::Mul(a.part[i], b.part[i]);
    return a;
  }
  friend HWY_INLINE Doubles8 operator/(Doubles8 a, const Doubles8& b) {
    HWY_UNROLL(4) for (size_t i = 0; i < kParts; ++i) a.part[i] = hn::Div(a.part[i], b.part[i]);
    return a;
  }
  // a * b + c and c - a * b, where a * b is exact, so that fusing changes nothing.
  static HWY_INLINE Doubles8 MulAdd(const Doubles8& a, const Doubles8& b, Doubles8 c) {
    HWY_UNROLL(4) for (size_t i = 0; i < kParts; ++i) c.part[i] = hn::MulAdd(a.part[i], b.part[i], c.part[i]);
    return c;
  }
  static HWY_INLINE Doubles8 NegMulAdd(const Doubles8& a, const Doubles8& b, Doubles8 c) {
    HWY_UNROLL(4) for (size_t i = 0; i < kParts; ++i) c.part[i] = hn::NegMulAdd(a.part[i], b.part[i], c.part[i]);
    return c;
  }
  // Per lane: condition > 0 ? a : b.
  static HWY_INLINE Doubles8 WherePositive(const Doubles8& condition, Doubles8 a, const Doubles8& b) {
    HWY_UNROLL(4) for (size_t i = 0; i < kParts; ++i) {
      a.part[i] = hn::IfThenElse(hn::Gt(condition.part[i], hn::Zero(D())), a.part[i], b.part[i]);
    }
    return a;
  }
  HWY_INLINE Doubles8 Magnitudes() const {
    Doubles8 out;
    HWY_UNROLL(4) for (size_t i = 0; i < kParts; ++i) out.part[i] = hn::Abs(part[i]);
    return out;
  }
  // Each lane rounded to float precision.
  HWY_INLINE Doubles8 RoundedToFloat() const {
    Doubles8 out;
    const hn::Rebind<float, D> df;
    HWY_UNROLL(4) for (size_t i = 0; i < kParts; ++i) out.part[i] = hn::PromoteTo(D(), hn::DemoteTo(df, part[i]));
    return out;
  }
};

#else  // 32-bit Arm has no double vectors; EMU128 makes the largest float of a double beyond it, not infinity.

struct Doubles8 {
  static constexpr size_t kParts = 4;  // no more accumulators than with pairs
  double lane[kSumLanes];

  template <class F>
  static HWY_INLINE Doubles8 Of(F&& f) {
    Doubles8 out;
    for (size_t i = 0; i < kSumLanes; ++i) out.lane[i] = f(i);
    return out;
  }
  static Doubles8 Set(double value) {
    return Of([&](size_t) { return value; });
  }
  template <class T>
  static Doubles8 Load(const T* p) {
    return Of([&](size_t i) { return static_cast<double>(p[i]); });
  }
  template <int kFactor, int kBottom>
  static Doubles8 LoadLevels(const uint8_t* offsets) {
    return Of([&](size_t i) { return static_cast<double>(kBottom + kFactor * int{offsets[i]}); });
  }
  void StoreFloats(float* p) const {
    for (size_t i = 0; i < kSumLanes; ++i) p[i] = static_cast<float>(lane[i]);
  }
  void Store(double* p) const { std::memcpy(p, lane, sizeof(lane)); }
  friend Doubles8 operator+(const Doubles8& a, const Doubles8& b) {
    return Of([&](size_t i) { return a.lane[i] + b.lane[i]; });
  }
  friend Doubles8 operator*(const Doubles8& a, const Doubles8& b) {
    return Of([&](size_t i) { return a.lane[i] * b.lane[i]; });
  }
  friend Doubles8 operator/(const Doubles8& a, const Doubles8& b) {
    return Of([&](size_t i) { return a.lane[i] / b.lane[i]; });
  }
  static Doubles8 MulAdd(const Doubles8& a, const Doubles8& b, const Doubles8& c) {
    return Of([&](size_t i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
  }
  static Doubles8 NegMulAdd(const Doubles8& a, const Doubles8& b, const Doubles8& c) {
    return Of([&](size_t i) { return c.lane[i] - a.lane[i] * b.lane[i]; });
  }
  static Doubles8 WherePositive(const Doubles8& condition, const Doubles8& a, const Doubles8& b) {
    return Of([&](size_t i) { return condition.lane[i] > 0.0 ? a.lane[i] : b.lane[i]; });
  }
  Doubles8 Magnitudes() const {
    return Of([&](size_t i) { return lane[i] < 0.0 ? -lane[i] : lane[i]; });
  }
  Doubles8 RoundedToFloat() const {
    return Of([&](size_t i) { return static_cast<double>(static_cast<float>(lane[i])); });
  }
};

#endif  // HWY_HAVE_FLOAT64 && HWY_TARGET != HWY_EMU128

// (What is kept in templates of other headers, which are compiled for the compiler's own target.)
HWY_INLINE SumLanes LanesOf(const Doubles8& sum) {
  SumLanes lanes;
  sum.Store(lanes.lane);
  return lanes;
}
HWY_INLINE double Fold(const Doubles8& sum) { return LanesOf(sum).Fold(); }

// The first n < 8 values at p, then zeros. Adding a zero (or the product of two) to a lane changes nothing, for a lane
// that starts at +0 never becomes -0.
template <class T>
HWY_INLINE Doubles8 LoadTail(const T* HWY_RESTRICT p, size_t n) {
  T values[kSumLanes] = {};
  for (size_t i = 0; i < n; ++i) values[i] = p[i];
  return Doubles8::Load(values);
}

// A long sum of n terms, given block_sum(begin, end), the lanes of a block.
template <class F>
HWY_INLINE double SumOfBlocks(size_t n, F&& block_sum) {
  if (n <= kSumBlock) return Fold(block_sum(size_t{0}, n));
  BlockTree<SumLanes> blocks;
  for (size_t begin = 0; begin < n; begin += kSumBlock) {
    blocks.Add(LanesOf(block_sum(begin, HWY_MIN(n, begin + kSumBlock))));
  }
  return blocks.Total().Fold();
}

// The lanes of a block from add(sum, i, count), which adds terms i ... i + count - 1, count <= 8.
template <class F>
HWY_INLINE Doubles8 SumOf8(size_t begin, size_t end, F&& add) {
  Doubles8 sum = Doubles8::Set(0.0);
  size_t i = begin;
  for (; i + kSumLanes <= end; i += kSumLanes) sum = add(sum, i, kSumLanes);
  if (i < end) sum = add(sum, i, end - i);
  return sum;
}

// ---- Sums of four accumulators of 32 bits, as a vector of four.

using DI32x4 = hn::FixedTag<int32_t, 4>;

template <class D>
HWY_INLINE hn::Vec<DI32x4> AddBlocks(D, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return AddBlocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

// {sum of a, sum of b, sum of c, sum of d}, modulo 2^32.
template <class V>
HWY_INLINE hn::Vec<DI32x4> SumsOfLanes(V a, V b, V c, V d) {
  const hn::DFromV<V> d32;
  const hn::RepartitionToWide<hn::DFromV<V>> d64;
  const auto ab = hn::Add(hn::InterleaveLower(d32, a, b), hn::InterleaveUpper(d32, a, b));
  const auto cd = hn::Add(hn::InterleaveLower(d32, c, d), hn::InterleaveUpper(d32, c, d));
  const auto low = hn::InterleaveLower(d64, hn::BitCast(d64, ab), hn::BitCast(d64, cd));
  const auto high = hn::InterleaveUpper(d64, hn::BitCast(d64, ab), hn::BitCast(d64, cd));
  return AddBlocks(d32, hn::Add(hn::BitCast(d32, low), hn::BitCast(d32, high)));
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_VECTORS_INL_H_
