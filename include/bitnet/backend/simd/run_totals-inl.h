// What products share whose rows have several steps: inputs of runs of columns (column_runs.h), and the totals of rows
// in double, to which each run adds double(dot) * double(float(w_step * x_step)).
#if defined(BITNET_BACKEND_SIMD_RUN_TOTALS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_RUN_TOTALS_INL_H_
#undef BITNET_BACKEND_SIMD_RUN_TOTALS_INL_H_
#else
#define BITNET_BACKEND_SIMD_RUN_TOTALS_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "bitnet/backend/simd/codes-inl.h"
#include "bitnet/backend/simd/column_runs.h"
#include "bitnet/backend/simd/input_rows-inl.h"
#include "bitnet/backend/simd/product_scratch.h"
#include "bitnet/base/size.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// sum of x[0, n), modulo 2^32.
HWY_INLINE int32_t SumOfLevels(const int8_t* HWY_RESTRICT x, size_t n) {
  using Ones = ByteCodes<8, 1, Unlisted>;
  auto sum = DotSum<Ones, int8_t>::Zero();
  for (size_t i = 0; i < n; i += kVectorBytes) {
    sum.Add(Ones::Ones(), n - i >= kVectorBytes ? hn::LoadU(DI8(), x + i) : hn::LoadN(DI8(), x + i, n - i));
    sum.Flush();
  }
  return hn::ReduceSum(DI32(), sum.sum);
}

// Inputs as runs read them.
struct RunInputs {
  const int8_t* levels;  // of a token: `stride` further from token to token
  size_t stride;
  const int32_t* corrections;  // [token][run]: what makes a dot of offsets one of levels
};

// totals[0, N) += double(dot) * double(float(step * x_step)), exact products.
HWY_INLINE void AddScaled(const int32_t* HWY_RESTRICT dots, const float* HWY_RESTRICT steps, float x_step,
                          double* HWY_RESTRICT totals) {
  // (By memory: halves of registers cost a shuffle each.)
  HWY_ALIGN float scales[kVectorBytes];
  for (size_t i = 0; i < kVectorBytes; i += kVectorBytes / 4) {
    hn::Store(hn::Mul(hn::LoadU(DF32(), steps + i), hn::Set(DF32(), x_step)), DF32(), scales + i);
  }
  HWY_UNROLL(8) for (size_t i = 0; i < kVectorBytes; i += kSumLanes) {
    Doubles8::MulAdd(Doubles8::Load(dots + i), Doubles8::Load(scales + i), Doubles8::Load(totals + i))
        .Store(totals + i);
  }
}

// y[0, n) = float(totals).
HWY_INLINE void StoreTotals(const double* HWY_RESTRICT totals, size_t n, float* HWY_RESTRICT y) {
  size_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes) Doubles8::Load(totals + i).StoreFloats(y + i);
  for (; i < n; ++i) y[i] = static_cast<float>(totals[i]);
}

// The inputs of runs, and their corrections, in memory of the scratch.
template <LevelFormat W>
RunInputs InputsOfRuns(ProductScratch& scratch, const InputRows<int8_t>& x) {
  const ColumnRuns& runs = scratch.runs();
  const size_t count = runs.runs().size();
  RunInputs inputs{x.levels, x.stride, nullptr};
  if (runs.are_copied()) {
    int8_t* copies = scratch.Inputs(SizeSum(SizeProduct(x.tokens, runs.width()), SimdRows<Int<8>>::kReadBeyond));
    runs.CopyInputs(x, copies);
    inputs.levels = copies;
    inputs.stride = runs.width();
  }
  int32_t* corrections = scratch.Sums(SizeProduct(x.tokens, count));
  for (size_t t = 0; t < x.tokens && Correction<W>::kBottom != 0; ++t) {
    for (size_t r = 0; r < count; ++r) {
      const ColumnRun& run = runs.runs()[r];
      const int32_t sum = SumOfLevels(x.Row(t) + run.begin, run.end - run.begin);
      corrections[t * count + r] = Correction<W>::DotOfLevels(0, sum);
    }
  }
  inputs.corrections = corrections;
  return inputs;
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_RUN_TOTALS_INL_H_
