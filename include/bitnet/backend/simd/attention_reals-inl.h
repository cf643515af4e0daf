// Scores of keys and sums of values that are reals, in memory as StoredReal: one token after the other, `stride` apart.
#if defined(BITNET_BACKEND_SIMD_ATTENTION_REALS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_ATTENTION_REALS_INL_H_
#undef BITNET_BACKEND_SIMD_ATTENTION_REALS_INL_H_
#else
#define BITNET_BACKEND_SIMD_ATTENTION_REALS_INL_H_
#endif

#include <cstddef>

#include "bitnet/backend/simd/dot_floats-inl.h"
#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// Prefetches n values of a token kAhead bytes behind token s, at most token `last`. (2048 tokens of bfloat16, 20 query
// heads on 5, and 32 on 32, Sapphire Rapids, one thread: 0.85 and 2.45 ms; without it 1.1 and 3.0; 1 KiB ahead 0.95 and
// 2.5, 4 KiB 0.78 and 2.7, 8 KiB 0.75 and 2.9.)
template <class V>
HWY_INLINE void PrefetchReals(const V* values, size_t stride, size_t s, size_t last, size_t n) {
  constexpr size_t kAhead = 2048 / sizeof(V);
  const V* from = values + HWY_MIN(s + kAhead / HWY_MAX(stride, 1), last) * stride;
  for (size_t i = 0; i < n; i += 64 / sizeof(V)) hwy::Prefetch(from + i);
}

// The widest head that ScoresOfReals takes.
inline constexpr size_t kMostRealDims = kFloatChunk;

// scores[r][s] = float(double(float(the ordered sum of q[r] times key s)) * double(factors[r])), r < rows, s < n; rows
// of scores are score_stride apart. There are keys up to number `last`.
template <class K, class Q>
HWY_NOINLINE void ScoresOfReals(const K* keys, size_t stride, size_t n, size_t last, const Q* const* q, size_t rows,
                                size_t dim, const float* factors, float* scores, size_t score_stride) {
  const auto score = [&]<size_t kQueries>(size_t s, size_t first) HWY_ATTR {
    // A tile that is not full does its last key's and query's work again.
    const K* of_keys[kFloatRowTile];
    const Q* queries[kQueries];
    const size_t tokens = HWY_MIN(kFloatRowTile, n - s);
    const size_t count = HWY_MIN(kQueries, rows - first);
    for (size_t k = 0; k < kFloatRowTile; ++k) of_keys[k] = keys + (s + HWY_MIN(k, tokens - 1)) * stride;
    for (size_t r = 0; r < kQueries; ++r) queries[r] = q[first + HWY_MIN(r, count - 1)];
    FloatTile<kQueries> tile;
    MultiplyFloatChunk<K, Q, kQueries>(of_keys, queries, dim, tile);
    for (size_t r = 0; r < count; ++r) {
      const auto factor = static_cast<double>(factors[first + r]);
      for (size_t k = 0; k < tokens; ++k) {
        const auto dot = static_cast<float>(Fold(tile[r][k]));
        scores[(first + r) * score_stride + s + k] = static_cast<float>(static_cast<double>(dot) * factor);
      }
    }
  };
  for (size_t s = 0; s < n; s += kFloatRowTile) {
    for (size_t k = 0; k < kFloatRowTile; ++k) PrefetchReals(keys, stride, s + k, last, dim);
    for (size_t r = 0; r < rows; r += kFloatTokenTile) {
      if (r + 1 == rows) {
        score.template operator()<1>(s, r);
      } else {
        score.template operator()<kFloatTokenTile>(s, r);
      }
    }
  }
}

// Doubles8 that stay in registers.
inline constexpr size_t kRealSums = HWY_MAX(1, (kManyRegisters ? 16 : 8) / Doubles8::kParts);

// sums[r][0, 8 * kGroups) += the sum over the n tokens, in order, of p[r] of a token times its values. There are values
// up to token `last`.
template <size_t kRows, size_t kGroups, class V>
HWY_NOINLINE void AddReals(const V* HWY_RESTRICT values, size_t stride, size_t n, size_t last,
                           const float* HWY_RESTRICT p, size_t p_stride, double* HWY_RESTRICT sums, size_t sum_stride) {
  Doubles8 sum[kRows][kGroups];
  HWY_UNROLL(4) for (size_t r = 0; r < kRows; ++r) {
    HWY_UNROLL(16) for (size_t g = 0; g < kGroups; ++g) {
      sum[r][g] = Doubles8::Load(sums + r * sum_stride + g * kSumLanes);
    }
  }
  for (size_t s = 0; s < n; ++s) {
    PrefetchReals(values, stride, s, last, kGroups * kSumLanes);
    Doubles8 weight[kRows];
    HWY_UNROLL(4) for (size_t r = 0; r < kRows; ++r) {
      weight[r] = Doubles8::Set(static_cast<double>(p[r * p_stride + s]));
    }
    HWY_UNROLL(16) for (size_t g = 0; g < kGroups; ++g) {
      const Doubles8 value = Doubles8::Load(values + s * stride + g * kSumLanes);
      HWY_UNROLL(4) for (size_t r = 0; r < kRows; ++r) sum[r][g] = Doubles8::MulAdd(weight[r], value, sum[r][g]);
    }
  }
  HWY_UNROLL(4) for (size_t r = 0; r < kRows; ++r) {
    HWY_UNROLL(16) for (size_t g = 0; g < kGroups; ++g) sum[r][g].Store(sums + r * sum_stride + g * kSumLanes);
  }
}

// The same of all dimensions, rounded up to 8: so many are read of each token, and written.
template <size_t kRows, class V>
void SumReals(const V* values, size_t stride, size_t n, size_t last, size_t dim, const float* p, size_t p_stride,
              double* sums, size_t sum_stride) {
  constexpr size_t kGroups = HWY_MAX(1, kRealSums / kRows);
  size_t i = 0;
  for (; kGroups > 1 && i + (kGroups - 1) * kSumLanes < dim; i += kGroups * kSumLanes) {
    AddReals<kRows, kGroups>(values + i, stride, n, last, p, p_stride, sums + i, sum_stride);
  }
  for (; i < dim; i += kSumLanes) AddReals<kRows, 1>(values + i, stride, n, last, p, p_stride, sums + i, sum_stride);
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_ATTENTION_REALS_INL_H_
