// Lists of channels: the non-zero inputs, the open gates.
#if defined(BITNET_BACKEND_SIMD_LISTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_LISTS_INL_H_
#undef BITNET_BACKEND_SIMD_LISTS_INL_H_
#else
#define BITNET_BACKEND_SIMD_LISTS_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bitnet/backend/simd/vectors-inl.h"
#include "bitnet/scheme/activation.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// list[0, count) = the i < n where the value is not zero; returns count. `list` has room for n.
template <class T>
HWY_NOINLINE size_t ListNonzero(const T* HWY_RESTRICT values, size_t n, uint32_t* HWY_RESTRICT list) {
  const DU32 d;
  const hn::Rebind<T, DU32> d_value;
  const size_t lanes = hn::Lanes(d);
  size_t count = 0;
  size_t i = 0;
  auto index = hn::Iota(d, 0);
  // A whole vector is written at count <= i, so the list never needs more than the room for what was looked at.
  for (; i + lanes <= n; i += lanes, index = hn::Add(index, hn::Set(d, static_cast<uint32_t>(lanes)))) {
    const auto value = hn::LoadU(d_value, values + i);
    hn::Mask<DU32> nonzero;
    if constexpr (std::is_same_v<T, float>) {
      nonzero = hn::RebindMask(d, hn::Not(hn::Eq(value, hn::Zero(d_value))));  // NaN is not zero
    } else if constexpr (std::is_signed_v<T>) {
      const DI32 d32;
      nonzero = hn::RebindMask(d, hn::Ne(hn::PromoteTo(d32, value), hn::Zero(d32)));
    } else {
      nonzero = hn::Ne(hn::PromoteTo(d, value), hn::Zero(d));
    }
    count += hn::CompressStore(index, nonzero, d, list + count);
  }
  for (; i < n; ++i) {
    list[count] = static_cast<uint32_t>(i);
    count += values[i] != T{} ? 1u : 0u;
  }
  return count;
}

// The same for the channels where relu(g)^2 is not zero: neither g <= 0 nor so small that its square vanishes.
HWY_NOINLINE inline size_t ListOpenGates(SquaredRelu, const float* HWY_RESTRICT gate, size_t n,
                                         uint32_t* HWY_RESTRICT list) {
  const DF32 d;
  const DU32 d32;
  const size_t lanes = hn::Lanes(d);
  size_t count = 0;
  size_t i = 0;
  auto index = hn::Iota(d32, 0);
  for (; i + lanes <= n; i += lanes, index = hn::Add(index, hn::Set(d32, static_cast<uint32_t>(lanes)))) {
    const auto g = hn::LoadU(d, gate + i);
    const auto closed = hn::Or(hn::Le(g, hn::Zero(d)), hn::Eq(hn::Mul(g, g), hn::Zero(d)));
    count += hn::CompressStore(index, hn::RebindMask(d32, hn::Not(closed)), d32, list + count);
  }
  for (; i < n; ++i) {
    list[count] = static_cast<uint32_t>(i);
    count += SquaredRelu::Value(gate[i]) != 0.0f ? 1u : 0u;
  }
  return count;
}

template <Activation A>
size_t ListOpenGates(A, const float* gate, size_t n, uint32_t* list) {
  size_t count = 0;
  for (size_t i = 0; i < n; ++i) {
    list[count] = static_cast<uint32_t>(i);
    count += !A::kMakesZeros || A::Value(gate[i]) != 0.0f ? 1u : 0u;
  }
  return count;
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_LISTS_INL_H_
