// Exp of base/exact_math.h in vectors, with the same bits.
#if defined(BITNET_BACKEND_SIMD_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_EXP_INL_H_
#undef BITNET_BACKEND_SIMD_EXP_INL_H_
#else
#define BITNET_BACKEND_SIMD_EXP_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <limits>

#include "bitnet/backend/simd/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

#if HWY_HAVE_FLOAT64 && HWY_TARGET != HWY_EMU128

// Exp(x) where x <= 0, else NaN. Every float operation of the definition is the double one (whose products are exact)
// and one rounding.
HWY_INLINE Doubles8 ExpOrNan(const Doubles8& x) {
  using Constants = ExpConstants;
  const Doubles8::D d;
  const hn::RebindToSigned<Doubles8::D> d64;
  const Doubles8 scaled = (x * Doubles8::Set(double{Constants::kLog2E})).RoundedToFloat();
  Doubles8 n;
  HWY_UNROLL(4) for (size_t i = 0; i < Doubles8::kParts; ++i) n.part[i] = hn::Round(scaled.part[i]);
  const Doubles8 r = Doubles8::NegMulAdd(n, Doubles8::Set(Constants::kLn2), x).RoundedToFloat();
  Doubles8 p = Doubles8::Set(double{Constants::kPolynomial[0]});
  HWY_UNROLL(6) for (size_t k = 1; k < 7; ++k) {
    p = Doubles8::MulAdd(p, r, Doubles8::Set(double{Constants::kPolynomial[k]})).RoundedToFloat();
  }
  HWY_UNROLL(4) for (size_t i = 0; i < Doubles8::kParts; ++i) {
    // n as the low bits of a large number's significand, then as an exponent.
    const auto low = hn::BitCast(d64, hn::Add(n.part[i], hn::Set(d, 0x1.8p52)));
    const auto power = hn::Add(hn::ShiftLeft<52>(low), hn::Set(d64, int64_t{1023} << 52));
    const auto value = hn::Mul(p.part[i], hn::BitCast(d, power));
    const auto nan = hn::Set(d, std::numeric_limits<double>::quiet_NaN());
    const auto defined = hn::IfThenElse(hn::Le(x.part[i], hn::Zero(d)), value, nan);
    p.part[i] = hn::IfThenZeroElse(hn::Lt(x.part[i], hn::Set(d, double{Constants::kLowest})), defined);
  }
  return p;
}

#else

HWY_INLINE Doubles8 ExpOrNan(const Doubles8& x) {
  return Doubles8::Of([&](size_t i) {
    return x.lane[i] <= 0.0 ? double{Exp(static_cast<float>(x.lane[i]))} : std::numeric_limits<double>::quiet_NaN();
  });
}

#endif  // HWY_HAVE_FLOAT64 && HWY_TARGET != HWY_EMU128

// x[k] = Exp(x[k]) for kCount vectors of floats that are not above zero (if they are: any value), or NaN. Step by step
// for all vectors: each step waits for the one before.
#if HWY_NATIVE_FMA

// In float, a fused multiply-add for each step of the definition. The reduction has the same bits because both
// roundings are of the exact x - n * ln2. A step of the polynomial rounds the exact sum, where the definition rounds it
// to double first: that would differ if the double lay half way between two floats. It never does: all 1.1e9 arguments
// from 0 to -87 have been compared.
template <size_t kCount>
HWY_INLINE void ExpOf(hn::Vec<DF32>* HWY_RESTRICT x) {
  using Constants = ExpConstants;
  const DF32 d;
  // ln 2 in two floats. n times the first, and x minus that, need no more bits than a float has where n is not 0.
  constexpr float kHigh = 0x1.62e4p-1f;
  constexpr float kLow = static_cast<float>(Constants::kLn2 - double{kHigh});
  static_assert(double{kHigh} + double{kLow} == Constants::kLn2);
  hn::Vec<DF32> n[kCount], r[kCount], p[kCount];
  HWY_UNROLL(4) for (size_t k = 0; k < kCount; ++k) {
    n[k] = hn::Round(hn::Mul(x[k], hn::Set(d, Constants::kLog2E)));
    r[k] = hn::NegMulAdd(n[k], hn::Set(d, kHigh), x[k]);
    p[k] = hn::Set(d, Constants::kPolynomial[0]);
  }
  HWY_UNROLL(4) for (size_t k = 0; k < kCount; ++k) r[k] = hn::NegMulAdd(n[k], hn::Set(d, kLow), r[k]);
  HWY_UNROLL(6) for (size_t step = 1; step < 7; ++step) {
    const auto next = hn::Set(d, Constants::kPolynomial[step]);
    HWY_UNROLL(4) for (size_t k = 0; k < kCount; ++k) p[k] = hn::MulAdd(p[k], r[k], next);
  }
  HWY_UNROLL(4) for (size_t k = 0; k < kCount; ++k) {
    // n + 127 as the low bits of a large number's significand, then as an exponent.
    const auto low = hn::BitCast(DI32(), hn::Add(n[k], hn::Set(d, 12582912.0f + 127.0f)));
    const auto value = hn::Mul(p[k], hn::BitCast(d, hn::ShiftLeft<23>(low)));
    x[k] = hn::IfThenZeroElse(hn::Lt(x[k], hn::Set(d, Constants::kLowest)), value);
  }
}

#elif HWY_HAVE_FLOAT64 && HWY_TARGET != HWY_EMU128

// What is a single rounding in float is done there; the multiply-adds are in double.
template <size_t kCount>
HWY_INLINE void ExpOf(hn::Vec<DF32>* HWY_RESTRICT x) {
  using Constants = ExpConstants;
  const DF32 d;
  const hn::Half<DF32> dh;
  const hn::Repartition<double, DF32> dd;
  using Double = hn::Vec<decltype(dd)>;
  hn::Vec<DF32> n[kCount];
  Double r[2 * kCount], p[2 * kCount];
  const auto ln2 = hn::Set(dd, Constants::kLn2);
  HWY_UNROLL(4) for (size_t k = 0; k < kCount; ++k) {
    n[k] = hn::Round(hn::Mul(x[k], hn::Set(d, Constants::kLog2E)));
    r[2 * k] = hn::NegMulAdd(hn::PromoteLowerTo(dd, n[k]), ln2, hn::PromoteLowerTo(dd, x[k]));
    r[2 * k + 1] = hn::NegMulAdd(hn::PromoteUpperTo(dd, n[k]), ln2, hn::PromoteUpperTo(dd, x[k]));
  }
  HWY_UNROLL(8) for (size_t k = 0; k < 2 * kCount; ++k) r[k] = hn::PromoteTo(dd, hn::DemoteTo(dh, r[k]));
  HWY_UNROLL(8) for (size_t k = 0; k < 2 * kCount; ++k) p[k] = hn::Set(dd, double{Constants::kPolynomial[0]});
  HWY_UNROLL(6) for (size_t step = 1; step < 6; ++step) {
    const auto next = hn::Set(dd, double{Constants::kPolynomial[step]});
    HWY_UNROLL(8) for (size_t k = 0; k < 2 * kCount; ++k) p[k] = hn::MulAdd(p[k], r[k], next);
    if (step < 4) {
      // abs(r) is below 0.35: the first three results lie in one binade each, that of the coefficient. Adding 2^29 of
      // it and half of that leaves the bits of a float, rounded to even.
      constexpr double kBinade[] = {0.0, 0x1p-7, 0x1p-5, 0x1p-3};
      const auto large = hn::Set(dd, kBinade[step < 4 ? step : 0] * 0x1.8p29);
      HWY_UNROLL(8) for (size_t k = 0; k < 2 * kCount; ++k) p[k] = hn::Sub(hn::Add(p[k], large), large);
    } else {
      HWY_UNROLL(8) for (size_t k = 0; k < 2 * kCount; ++k) p[k] = hn::PromoteTo(dd, hn::DemoteTo(dh, p[k]));
    }
  }
  const auto last = hn::Set(dd, double{Constants::kPolynomial[6]});
  HWY_UNROLL(4) for (size_t k = 0; k < kCount; ++k) {
    const auto value = hn::Combine(d, hn::DemoteTo(dh, hn::MulAdd(p[2 * k + 1], r[2 * k + 1], last)),
                                   hn::DemoteTo(dh, hn::MulAdd(p[2 * k], r[2 * k], last)));
    // n + 127 as the low bits of a large number's significand, then as an exponent.
    const auto low = hn::BitCast(DI32(), hn::Add(n[k], hn::Set(d, 12582912.0f + 127.0f)));
    const auto scaled = hn::Mul(value, hn::BitCast(d, hn::ShiftLeft<23>(low)));
    x[k] = hn::IfThenZeroElse(hn::Lt(x[k], hn::Set(d, Constants::kLowest)), scaled);
  }
}

#else

template <size_t kCount>
HWY_INLINE void ExpOf(hn::Vec<DF32>* HWY_RESTRICT x) {
  constexpr size_t kLanes = HWY_LANES(float);
  for (size_t k = 0; k < kCount; ++k) {
    float lane[kLanes];
    hn::StoreU(x[k], DF32(), lane);
    for (size_t i = 0; i < kLanes; ++i) lane[i] = lane[i] > 0.0f ? 1.0f : Exp(lane[i]);
    x[k] = hn::LoadU(DF32(), lane);
  }
}

#endif  // HWY_NATIVE_FMA

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_EXP_INL_H_
