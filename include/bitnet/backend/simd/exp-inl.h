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

#if HWY_HAVE_FLOAT64 && HWY_TARGET != HWY_EMU128

// x[k] = Exp(x[k]) where x[k] <= 0, else NaN, for kCount vectors of floats. What is a single rounding in float is done
// there; the multiply-adds are in double. Step by step for all vectors: each step waits for the one before.
template <size_t kCount>
HWY_INLINE void ExpOrNan(hn::Vec<DF32>* HWY_RESTRICT x) {
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
    const auto nan = hn::Set(d, std::numeric_limits<float>::quiet_NaN());
    const auto defined = hn::IfThenElse(hn::Le(x[k], hn::Zero(d)), scaled, nan);
    x[k] = hn::IfThenZeroElse(hn::Lt(x[k], hn::Set(d, Constants::kLowest)), defined);
  }
}

// p[i] = ReferenceBackend::Probability(score[i], max) for i < n.
HWY_NOINLINE inline void Probabilities(const float* HWY_RESTRICT score, float max, size_t n, float* HWY_RESTRICT p) {
  const DF32 d;
  constexpr size_t kLanes = HWY_LANES(float);
  constexpr size_t kCount = kManyRegisters ? 4 : 1;
  const auto most = hn::Set(d, max);
  size_t i = 0;
  for (; i + kCount * kLanes <= n; i += kCount * kLanes) {
    hn::Vec<DF32> x[kCount];
    HWY_UNROLL(4) for (size_t k = 0; k < kCount; ++k) x[k] = hn::Sub(hn::LoadU(d, score + i + k * kLanes), most);
    ExpOrNan<kCount>(x);
    HWY_UNROLL(4) for (size_t k = 0; k < kCount; ++k) hn::StoreU(x[k], d, p + i + k * kLanes);
  }
  for (; i < n; i += kLanes) {
    const size_t lanes = HWY_MIN(kLanes, n - i);
    hn::Vec<DF32> x[1] = {hn::Sub(hn::LoadN(d, score + i, lanes), most)};
    ExpOrNan<1>(x);
    hn::StoreN(x[0], d, p + i, lanes);
  }
}

#else

HWY_NOINLINE inline void Probabilities(const float* HWY_RESTRICT score, float max, size_t n, float* HWY_RESTRICT p) {
  for (size_t i = 0; i < n; ++i) {
    const float x = score[i] - max;
    p[i] = x <= 0.0f ? Exp(x) : std::numeric_limits<float>::quiet_NaN();
  }
}

#endif  // HWY_HAVE_FLOAT64 && HWY_TARGET != HWY_EMU128

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_EXP_INL_H_
