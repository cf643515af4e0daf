// One row times some tokens where the row has several steps: an exact dot, or an ordered sum, for each run of
// columns in which both steps are constant. Correct for groups of any size; meant for groups of 32 and more.
#if defined(BITNET_BACKEND_SIMD_DOT_ANY_RUNS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_DOT_ANY_RUNS_INL_H_
#undef BITNET_BACKEND_SIMD_DOT_ANY_RUNS_INL_H_
#else
#define BITNET_BACKEND_SIMD_DOT_ANY_RUNS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "bitnet/backend/simd/dot_floats-inl.h"
#include "bitnet/backend/simd/input_rows-inl.h"
#include "bitnet/backend/simd/real_weights-inl.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/step_groups.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// sum a[i] * b[i], modulo 2^32; levels of at most 16 bits each. Reads no more than n values.
template <class A, class B>
HWY_NOINLINE int32_t DotLevels(const A* HWY_RESTRICT a, const B* HWY_RESTRICT b, size_t n) {
  const DI32 d32;
  constexpr size_t kLanes = hn::Lanes(DI16());
  const auto widen = [](auto v) HWY_ATTR {
    if constexpr (sizeof(hn::TFromV<decltype(v)>) == 1) {
      return hn::PromoteTo(DI16(), v);
    } else {
      return v;
    }
  };
  const hn::Rebind<A, DI16> da;
  const hn::Rebind<B, DI16> db;
  auto sum = hn::Zero(d32);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    sum = hn::Add(sum, hn::WidenMulPairwiseAdd(d32, widen(hn::LoadU(da, a + i)), widen(hn::LoadU(db, b + i))));
  }
  int32_t total = hn::ReduceSum(d32, sum);
  if (i < n) {
    A a_tail[kLanes] = {};
    B b_tail[kLanes] = {};
    std::copy(a + i, a + n, a_tail);
    std::copy(b + i, b + n, b_tail);
    const auto tail = hn::WidenMulPairwiseAdd(d32, widen(hn::LoadU(da, a_tail)), widen(hn::LoadU(db, b_tail)));
    total = static_cast<int32_t>(static_cast<uint32_t>(total) + static_cast<uint32_t>(hn::ReduceSum(d32, tail)));
  }
  return total;
}

inline constexpr size_t kRunTokens = 8;

// y[t] = product of row `row` with the tokens first_token + t of x, t < tokens <= kRunTokens.
template <class Weights, class X>
HWY_NOINLINE void DotRowByRuns(const Weights& weights, size_t row, const InputRows<X>& x, size_t first_token,
                               size_t tokens, float* HWY_RESTRICT y) {
  using Level = typename Weights::Level;
  constexpr bool kIsInteger = !std::is_same_v<Level, float> && !std::is_same_v<X, float>;
  using Sum = std::conditional_t<kIsInteger, uint32_t, FloatDot>;
  constexpr size_t kWindow = 1024;
  constexpr size_t kBlock = Weights::kUnpackMultiple;
  static_assert(kWindow % kBlock == 0);
  HWY_ALIGN Level window[kWindow];  // columns [window_begin, window_end) of the row
  size_t window_begin = 0;
  size_t window_end = 0;
  double total[kRunTokens] = {};

  EachCommonRun(weights.step_groups(), x.step_groups, [&](size_t begin, size_t end, size_t ws, size_t xs) HWY_ATTR {
    Sum sum[kRunTokens] = {};
    for (size_t at = begin; at < end;) {
      if (at >= window_end) {
        window_begin = at / kBlock * kBlock;
        window_end = std::min(weights.cols(), window_begin + kWindow);
        weights.UnpackRow(row, window_begin, window_end - window_begin, window);
      }
      const size_t n = std::min(end, window_end) - at;
      const Level* w = window + (at - window_begin);
      for (size_t t = 0; t < tokens; ++t) {
        const auto* inputs = x.Row(first_token + t) + at;
        if constexpr (kIsInteger) {
          sum[t] += static_cast<uint32_t>(DotLevels(w, inputs, n));
        } else {
          sum[t].Add(w, inputs, n);
        }
      }
      at += n;
    }
    for (size_t t = 0; t < tokens; ++t) {
      const float scale = weights.Step(row, ws) * x.Step(first_token + t, xs);
      if constexpr (kIsInteger) {
        total[t] += static_cast<double>(static_cast<int32_t>(sum[t])) * static_cast<double>(scale);
      } else {
        total[t] += static_cast<double>(sum[t].Total()) * static_cast<double>(scale);
      }
    }
  });
  for (size_t t = 0; t < tokens; ++t) y[t] = static_cast<float>(total[t]);
}

// y of rows [begin, end) of all tokens.
template <class Weights, class X>
void MultiplyByRuns(const Weights& weights, size_t begin, size_t end, const InputRows<X>& x, MatrixView<float> y) {
  for (size_t r = begin; r < end; ++r) {
    for (size_t t = 0; t < x.tokens; t += kRunTokens) {
      const size_t tokens = std::min(kRunTokens, x.tokens - t);
      float of_tokens[kRunTokens];
      DotRowByRuns(weights, r, x, t, tokens, of_tokens);
      for (size_t k = 0; k < tokens; ++k) y.Row(t + k)[r] = of_tokens[k];
    }
  }
}

// Row `row` times one token, of which only the listed columns count. For weights that may be NaN or infinite: others
// need no list, since zeros add nothing.
template <RealFormat W, class X>
HWY_NOINLINE float DotRowOfColumns(const RealWeights<W>& weights, size_t row, const InputRows<X>& x, size_t token,
                                   std::span<const uint32_t> columns) {
  const StoredReal<W>* w = weights.Row(row);
  double total = 0.0;
  size_t next = 0;
  EachCommonRun(weights.step_groups(), x.step_groups, [&](size_t begin, size_t end, size_t ws, size_t xs) HWY_ATTR {
    FloatDot sum;
    size_t at = begin;
    for (; next < columns.size() && columns[next] < end; ++next) {
      const size_t c = columns[next];
      sum.AddAfter(c - at, static_cast<double>(w[c]) * static_cast<double>(x.Row(token)[c]));
      at = c + 1;
    }
    const float scale = weights.Step(row, ws) * x.Step(token, xs);
    total += static_cast<double>(sum.Total()) * static_cast<double>(scale);
  });
  return static_cast<float>(total);
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_DOT_ANY_RUNS_INL_H_
