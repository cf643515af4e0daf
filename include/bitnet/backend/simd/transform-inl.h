// The Hadamard transform in vectors: quant/transform.h's pairs (a, b) -> (a + b, a - b), in its order.
//
// Pairs that lie in one vector: the vector with its halves swapped is added to the vector with the upper half of each
// pair negated; a - b and a + (-b) are the same float. Pairs of two vectors: a sum and a difference. A pass over a
// block loads up to kReach vectors and does all of the stages that these hold: the pairs within a vector, and three
// more, in the first pass; three in each later one. A block of 2048 takes three passes with AVX-512.
#if defined(BITNET_BACKEND_SIMD_TRANSFORM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_TRANSFORM_INL_H_
#undef BITNET_BACKEND_SIMD_TRANSFORM_INL_H_
#else
#define BITNET_BACKEND_SIMD_TRANSFORM_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "bitnet/backend/simd/vectors-inl.h"
#include "bitnet/quant/transform.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// Vectors that a pass holds at once.
inline constexpr size_t kReach = 8;

// Where the signs come: in T before all else, in T^T after it.
enum class SignsAt { kNowhere, kBefore, kAfter };

// The sign bits of a block's values.
template <class Signs, size_t kBlock>
inline constexpr auto kSignBits = [] {
  std::array<uint32_t, kBlock> bits{};
  for (size_t i = 0; i < kBlock; ++i) bits[i] = Signs::IsNegative(i) ? 0x80000000u : 0u;
  return bits;
}();

HWY_INLINE hn::Vec<DF32> ChangeSigns(hn::Vec<DF32> v, const uint32_t* HWY_RESTRICT signs) {
  return hn::Xor(v, hn::BitCast(DF32(), hn::LoadU(DU32(), signs)));
}

// The pairs (i, i + kHalf) of each vector.
template <size_t kHalf>
HWY_INLINE hn::Vec<DF32> AddAndSubtractWithin(hn::Vec<DF32> v) {
  const DF32 d;
  if constexpr (kHalf < hn::Lanes(DF32())) {
    alignas(kVectorBytes) static constexpr auto kUpper = [] {
      std::array<uint32_t, HWY_LANES(float)> bits{};
      for (size_t i = 0; i < bits.size(); ++i) bits[i] = (i & kHalf) != 0 ? 0x80000000u : 0u;
      return bits;
    }();
    const auto negated = hn::Xor(v, hn::BitCast(d, hn::Load(DU32(), kUpper.data())));
    if constexpr (kHalf == 1) return hn::Add(hn::Reverse2(d, v), negated);
    if constexpr (kHalf == 2) return hn::Add(hn::Shuffle1032(v), negated);
    if constexpr (kHalf == 4) return hn::Add(hn::SwapAdjacentBlocks(v), negated);
    if constexpr (kHalf == 8) return hn::Add(hn::ConcatLowerUpper(d, v, v), negated);
  } else {
    return v;
  }
}

HWY_INLINE void AddAndSubtract(hn::Vec<DF32>& a, hn::Vec<DF32>& b) {
  const auto sum = hn::Add(a, b);
  b = hn::Sub(a, b);
  a = sum;
}

// The pairs (i, i + kHalf) of kCount vectors, then (i, i + 2 kHalf), ...
template <size_t kHalf, size_t kCount>
HWY_INLINE void AddAndSubtractAcross(hn::Vec<DF32> (&v)[kCount]) {
  if constexpr (kHalf < kCount) {
    [&]<size_t... kPair>(std::index_sequence<kPair...>) HWY_ATTR {
      (AddAndSubtract(v[kPair / kHalf * 2 * kHalf + kPair % kHalf],
                      v[kPair / kHalf * 2 * kHalf + kPair % kHalf + kHalf]),
       ...);
    }
    (std::make_index_sequence<kCount / 2>());
    AddAndSubtractAcross<2 * kHalf>(v);
  }
}

// The stages of kCount vectors from `from` on, `stride` values apart, to `to`; kFirst: those within a vector before
// them; kLast: times the factor, and the signs of T^T after it.
template <size_t kCount, bool kFirst, bool kLast, SignsAt kSigns>
HWY_INLINE void PassOfVectors(const float* from, size_t stride, float factor, const uint32_t* HWY_RESTRICT signs,
                              float* to) {
  const DF32 d;
  hn::Vec<DF32> v[kCount];
  [&]<size_t... kI>(std::index_sequence<kI...>) HWY_ATTR {
    ((v[kI] = hn::LoadU(d, from + kI * stride)), ...);
    if constexpr (kFirst) {
      if constexpr (kSigns == SignsAt::kBefore) ((v[kI] = ChangeSigns(v[kI], signs + kI * stride)), ...);
      ((v[kI] = AddAndSubtractWithin<1>(v[kI])), ...);
      ((v[kI] = AddAndSubtractWithin<2>(v[kI])), ...);
      ((v[kI] = AddAndSubtractWithin<4>(v[kI])), ...);
      ((v[kI] = AddAndSubtractWithin<8>(v[kI])), ...);
    }
  }
  (std::make_index_sequence<kCount>());
  AddAndSubtractAcross<1>(v);
  [&]<size_t... kI>(std::index_sequence<kI...>) HWY_ATTR {
    if constexpr (kLast) {
      ((v[kI] = hn::Mul(v[kI], hn::Set(d, factor))), ...);
      if constexpr (kSigns == SignsAt::kAfter) ((v[kI] = ChangeSigns(v[kI], signs + kI * stride)), ...);
    }
    (hn::StoreU(v[kI], d, to + kI * stride), ...);
  }
  (std::make_index_sequence<kCount>());
}

// A pass over n values whose kCount vectors at a time lie `stride` apart.
template <size_t kCount, bool kFirst, bool kLast, SignsAt kSigns>
HWY_NOINLINE void PassOfBlock(const float* x, size_t n, size_t stride, float factor, const uint32_t* signs, float* y) {
  constexpr size_t kLanes = hn::Lanes(DF32());
  const auto at = [](const uint32_t* table, size_t i) { return kSigns == SignsAt::kNowhere ? table : table + i; };
  for (size_t begin = 0; begin < n; begin += kCount * stride) {
    for (size_t i = begin; i < begin + stride; i += kLanes) {
      PassOfVectors<kCount, kFirst, kLast, kSigns>(x + i, stride, factor, at(signs, i), y + i);
    }
  }
}

// As many vectors at a time as are left to combine: kCount or fewer.
template <bool kFirst, SignsAt kSigns, size_t kCount = kReach>
void PassOf(const float* x, size_t n, size_t stride, float factor, const uint32_t* signs, float* y) {
  if (kCount > 1 && n / stride < kCount) {
    if constexpr (kCount > 1) PassOf<kFirst, kSigns, kCount / 2>(x, n, stride, factor, signs, y);
  } else if (n / stride == kCount) {
    PassOfBlock<kCount, kFirst, true, kSigns>(x, n, stride, factor, signs, y);
  } else {
    PassOfBlock<kCount, kFirst, false, kSigns>(x, n, stride, factor, signs, y);
  }
}

// y = T x or T^T x for a block of n values, a power of two; y may be x.
template <SignsAt kSigns>
void TransformBlock(const float* x, size_t n, float factor, const uint32_t* signs, float* y) {
  constexpr size_t kLanes = hn::Lanes(DF32());
  if (n >= kLanes) {
    size_t stride = kLanes;
    PassOf<true, kSigns>(x, n, stride, factor, signs, y);
    for (stride *= kReach; stride < n; stride *= kReach) PassOf<false, kSigns>(y, n, stride, factor, signs, y);
    return;
  }
  // What a vector does not fill: the definition.
  float few[kLanes];
  for (size_t i = 0; i < n; ++i) few[i] = kSigns == SignsAt::kBefore && signs[i] != 0 ? -x[i] : x[i];
  for (size_t h = 1; h < n; h *= 2) {
    for (size_t i = 0; i < n; ++i) {
      if ((i & h) != 0) continue;
      const float a = few[i], b = few[i + h];
      few[i] = a + b;
      few[i + h] = a - b;
    }
  }
  for (size_t i = 0; i < n; ++i) {
    const float value = few[i] * factor;
    y[i] = kSigns == SignsAt::kAfter && signs[i] != 0 ? -value : value;
  }
}

template <size_t kBlock, class Signs, SignsAt kAt>
void TransformBlocks(const float* x, size_t n, float* y) {
  using T = Hadamard<kBlock, Signs>;
  constexpr SignsAt kSigns = T::kHasSigns ? kAt : SignsAt::kNowhere;
  T::EachBlock(n, [&](size_t begin, size_t count) HWY_ATTR {
    const uint32_t* signs = nullptr;
    if constexpr (T::kHasSigns) signs = kSignBits<Signs, kBlock>.data();
    TransformBlock<kSigns>(x + begin, count, T::Factor(count), signs, y + begin);
  });
}

// y [n] = T x; y may be x.
template <size_t kBlock, class Signs>
void TransformRow(Hadamard<kBlock, Signs>, const float* x, size_t n, float* y) {
  TransformBlocks<kBlock, Signs, SignsAt::kBefore>(x, n, y);
}
template <size_t kBlock, class Signs>
void TransformRow(Transposed<Hadamard<kBlock, Signs>>, const float* x, size_t n, float* y) {
  TransformBlocks<kBlock, Signs, SignsAt::kAfter>(x, n, y);
}
// Any other transform does it itself.
template <AnyTransform T>
void TransformRow(T, const float* x, size_t n, float* y) {
  if (y != x) std::copy(x, x + n, y);
  T::Apply({y, n});
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_TRANSFORM_INL_H_
