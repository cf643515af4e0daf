// RMSNorm, rotary embedding, residual addition, the gated unit.
#if defined(BITNET_BACKEND_SIMD_ELEMENTWISE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_ELEMENTWISE_INL_H_
#undef BITNET_BACKEND_SIMD_ELEMENTWISE_INL_H_
#else
#define BITNET_BACKEND_SIMD_ELEMENTWISE_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bitnet/backend/simd/exp-inl.h"
#include "bitnet/backend/simd/vectors-inl.h"
#include "bitnet/scheme/activation.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// sum x^2 in the fixed order.
HWY_NOINLINE inline double SumOfSquares(const float* HWY_RESTRICT x, size_t n) {
  return SumOfBlocks(n, [&](size_t begin, size_t end) HWY_ATTR {
    return SumOf8(begin, end, [&](Doubles8 sum, size_t i, size_t count) HWY_ATTR {
      const Doubles8 v = count == kSumLanes ? Doubles8::Load(x + i) : LoadTail(x + i, count);
      return Doubles8::MulAdd(v, v, sum);
    });
  });
}

// y = (x * r) * gain; y may be x.
HWY_NOINLINE inline void ScaleByGain(const float* x, float r, const float* HWY_RESTRICT gain, size_t n, float* y) {
  const DF32 d;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    const auto scaled = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, r));
    hn::StoreU(hn::Mul(scaled, hn::LoadU(d, gain + i)), d, y + i);
  }
  for (; i < n; ++i) y[i] = (x[i] * r) * gain[i];
}

// The pairs (x[i], x[half + i]) rotated by their angles.
HWY_NOINLINE inline void RotateHalves(const float* HWY_RESTRICT cos, const float* HWY_RESTRICT sin, size_t half,
                                      float* x) {
  const auto rotate = [](const Doubles8& a, const Doubles8& b, const Doubles8& c, const Doubles8& s, float* a_to,
                         float* b_to) HWY_ATTR {
    // One of the two products is rounded by itself only if it were not exact: it is.
    Doubles8::NegMulAdd(b, s, a * c).StoreFloats(a_to);
    Doubles8::MulAdd(a, s, b * c).StoreFloats(b_to);
  };
  size_t i = 0;
  for (; i + kSumLanes <= half; i += kSumLanes) {
    rotate(Doubles8::Load(x + i), Doubles8::Load(x + half + i), Doubles8::Load(cos + i), Doubles8::Load(sin + i), x + i,
           x + half + i);
  }
  if (i < half) {
    const size_t n = half - i;
    float a[kSumLanes], b[kSumLanes];
    rotate(LoadTail(x + i, n), LoadTail(x + half + i, n), LoadTail(cos + i, n), LoadTail(sin + i, n), a, b);
    for (size_t k = 0; k < n; ++k) {
      x[i + k] = a[k];
      x[half + i + k] = b[k];
    }
  }
}

// y += x.
HWY_NOINLINE inline void AddTo(const float* HWY_RESTRICT x, size_t n, float* HWY_RESTRICT y) {
  const DF32 d;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    hn::StoreU(hn::Add(hn::LoadU(d, y + i), hn::LoadU(d, x + i)), d, y + i);
  }
  for (; i < n; ++i) y[i] += x[i];
}

// y = up * activation(gate) where listed, 0 elsewhere; y may be up. What `up` holds elsewhere is not looked at.
template <Activation A>
void GluOfListed(A, const float* gate, const float* up, std::span<const uint32_t> open, size_t n, float* y) {
  size_t next = 0;
  for (const uint32_t c : open) {
    std::fill(y + next, y + c, 0.0f);
    y[c] = up[c] * A::Value(gate[c]);
    next = c + 1;
  }
  std::fill(y + next, y + n, 0.0f);
}

// The list is of the channels that are open, which gate says as well.
HWY_NOINLINE inline void GluOfListed(SquaredRelu, const float* gate, const float* up, std::span<const uint32_t>,
                                     size_t n, float* y) {
  const DF32 d;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    const auto g = hn::LoadU(d, gate + i);
    const auto square = hn::Mul(g, g);
    const auto closed = hn::Or(hn::Le(g, hn::Zero(d)), hn::Eq(square, hn::Zero(d)));
    hn::StoreU(hn::IfThenZeroElse(closed, hn::Mul(hn::LoadU(d, up + i), square)), d, y + i);
  }
  for (; i < n; ++i) {
    const float value = SquaredRelu::Value(gate[i]);
    y[i] = value == 0.0f ? 0.0f : up[i] * value;
  }
}

// The same where all channels are open.
template <Activation A>
void GluOfOpen(A, const float* gate, const float* up, size_t n, float* y) {
  for (size_t i = 0; i < n; ++i) y[i] = up[i] * A::Value(gate[i]);
}

// A float sum, product or quotient is the one in double, rounded: 53 bits are more than twice 24 and 2.
HWY_NOINLINE inline void GluOfOpen(Silu, const float* gate, const float* up, size_t n, float* y) {
  const auto value = [](const Doubles8& g, const Doubles8& u) HWY_ATTR {
    const Doubles8 one = Doubles8::Set(1.0);
    const Doubles8 e = ExpOrNan(g.Magnitudes() * Doubles8::Set(-1.0));
    const Doubles8 sigmoid = (Doubles8::WherePositive(g, one, e) / (one + e).RoundedToFloat()).RoundedToFloat();
    return u * (g * sigmoid).RoundedToFloat();
  };
  size_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes) {
    value(Doubles8::Load(gate + i), Doubles8::Load(up + i)).StoreFloats(y + i);
  }
  if (i < n) {
    float last[kSumLanes];
    value(LoadTail(gate + i, n - i), LoadTail(up + i, n - i)).StoreFloats(last);
    for (size_t k = 0; i + k < n; ++k) y[i + k] = last[k];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_ELEMENTWISE_INL_H_
