// Products with a float operand: sums in eight double lanes, in the order of docs/numerics.md.
#if defined(BITNET_BACKEND_SIMD_DOT_FLOATS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_DOT_FLOATS_INL_H_
#undef BITNET_BACKEND_SIMD_DOT_FLOATS_INL_H_
#else
#define BITNET_BACKEND_SIMD_DOT_FLOATS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "bitnet/backend/simd/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// A register tile: rows x tokens accumulators of Doubles8::kParts registers.
inline constexpr size_t kFloatRowTile = Doubles8::kParts == 4 && !kManyRegisters ? 2 : 4;
inline constexpr size_t kFloatTokenTile = Doubles8::kParts == 1 ? 4 : 1;

// sums[t * kFloatRowTile + r] += w[r] x[t] over n values; a multiple of 8, except where the row ends.
template <class X, size_t kTokens>
HWY_NOINLINE void AddFloatTile(const float* const* w, const X* const* x, size_t n, Doubles8* sums) {
  Doubles8 sum[kTokens][kFloatRowTile];
  const float* HWY_RESTRICT row[kFloatRowTile];
  const X* HWY_RESTRICT input[kTokens];
  HWY_UNROLL(4) for (size_t r = 0; r < kFloatRowTile; ++r) row[r] = w[r];
  HWY_UNROLL(4) for (size_t t = 0; t < kTokens; ++t) {
    input[t] = x[t];
    HWY_UNROLL(4) for (size_t r = 0; r < kFloatRowTile; ++r) sum[t][r] = sums[t * kFloatRowTile + r];
  }
  size_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes) {
    Doubles8 inputs[kTokens];
    HWY_UNROLL(4) for (size_t t = 0; t < kTokens; ++t) inputs[t] = Doubles8::Load(input[t] + i);
    HWY_UNROLL(4) for (size_t r = 0; r < kFloatRowTile; ++r) {
      const Doubles8 weights = Doubles8::Load(row[r] + i);
      HWY_UNROLL(4) for (size_t t = 0; t < kTokens; ++t) sum[t][r] = Doubles8::MulAdd(weights, inputs[t], sum[t][r]);
    }
  }
  if (i < n) {
    for (size_t r = 0; r < kFloatRowTile; ++r) {
      const Doubles8 weights = LoadTail(row[r] + i, n - i);
      for (size_t t = 0; t < kTokens; ++t) {
        sum[t][r] = Doubles8::MulAdd(weights, LoadTail(input[t] + i, n - i), sum[t][r]);
      }
    }
  }
  HWY_UNROLL(4) for (size_t t = 0; t < kTokens; ++t) {
    HWY_UNROLL(4) for (size_t r = 0; r < kFloatRowTile; ++r) sums[t * kFloatRowTile + r] = sum[t][r];
  }
}

// lanes += a[i] * b[i] for i < n, where a[0] belongs to lane phase % 8.
template <class A, class B>
HWY_NOINLINE void AddToLanes(SumLanes& lanes, size_t phase, const A* HWY_RESTRICT a, const B* HWY_RESTRICT b,
                             size_t n) {
  const auto add_one = [&](size_t i) HWY_ATTR {
    lanes.lane[(phase + i) % kSumLanes] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  };
  size_t i = 0;
  for (; i < n && (phase + i) % kSumLanes != 0; ++i) add_one(i);
  if (i + kSumLanes <= n) {
    Doubles8 sum = Doubles8::Load(lanes.lane);
    for (; i + kSumLanes <= n; i += kSumLanes) {
      sum = Doubles8::MulAdd(Doubles8::Load(a + i), Doubles8::Load(b + i), sum);
    }
    sum.Store(lanes.lane);
  }
  for (; i < n; ++i) add_one(i);
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_DOT_FLOATS_INL_H_
