// Exp of base/exact_math.h, eight at a time, with the same bits.
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

// x[i] = ExpOrNan(x[i]) for i < n.
HWY_NOINLINE inline void ExpOfSpan(float* HWY_RESTRICT x, size_t n) {
  size_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes) ExpOrNan(Doubles8::Load(x + i)).StoreFloats(x + i);
  if (i < n) {
    float last[kSumLanes];
    ExpOrNan(LoadTail(x + i, n - i)).StoreFloats(last);
    for (size_t k = 0; i + k < n; ++k) x[i + k] = last[k];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_EXP_INL_H_
