// Attention of one query head over the quantized cache (docs/numerics.md, "Attention").
//
// Scores: integer dots of unpacked key codes, four tokens at a time. Values: a vector of dimensions stays in registers
// while all tokens go by, in order.
#if defined(BITNET_BACKEND_SIMD_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_ATTENTION_INL_H_
#undef BITNET_BACKEND_SIMD_ATTENTION_INL_H_
#else
#define BITNET_BACKEND_SIMD_ATTENTION_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/simd/dot_floats-inl.h"
#include "bitnet/backend/simd/dot_segments-inl.h"
#include "bitnet/backend/simd/exp-inl.h"
#include "bitnet/backend/simd/head_codes-inl.h"
#include "bitnet/tensor/head_cache.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// dots[k] = dot of offsets of `codes[k]` with q, k < 4. q is zero from its dimension up to a multiple of kVectorBytes.
template <LevelFormat K>
HWY_NOINLINE void DotHeads(const int8_t* HWY_RESTRICT q, size_t dim, const uint8_t* const* codes,
                           int32_t* HWY_RESTRICT dots) {
  using Head = HeadCodes<K>;
  const hn::RepartitionToWideX2<hn::RebindToSigned<typename Head::D>> d32;
  const hn::RebindToSigned<typename Head::D> d8;
  auto sum0 = hn::Zero(d32), sum1 = hn::Zero(d32), sum2 = hn::Zero(d32), sum3 = hn::Zero(d32);
  size_t byte = 0;
  for (size_t i = 0; i < dim; i += Head::kCodes, byte += 2 * Head::kHalfBytes) {
    const auto inputs = hn::LoadU(d8, q + i);
    sum0 = hn::SumOfMulQuadAccumulate(d32, Head::Load(codes[0] + byte), inputs, sum0);
    sum1 = hn::SumOfMulQuadAccumulate(d32, Head::Load(codes[1] + byte), inputs, sum1);
    sum2 = hn::SumOfMulQuadAccumulate(d32, Head::Load(codes[2] + byte), inputs, sum2);
    sum3 = hn::SumOfMulQuadAccumulate(d32, Head::Load(codes[3] + byte), inputs, sum3);
  }
  hn::StoreU(SumsOfLanes(sum0, sum1, sum2, sum3), DI32x4(), dots);
}

// One query head: q[0, dim) with its step, over tokens [0, visible) of a key/value head.
template <Format Q, Format K, Format K0, Format V, Format V0>
class HeadAttention {
 public:
  HeadAttention(const LevelOf<Q>* q, size_t dim, const HeadCache<K, K0>& keys, const HeadCache<V, V0>& values,
                size_t kv_head, size_t visible)
      : q_(q), dim_(dim), keys_(keys), values_(values), head_(kv_head), visible_(visible) {}

  // out[0, dim); `factor` is ReferenceBackend::ScoreFactor of the query's step.
  void Run(float factor, AttentionScratch& scratch, size_t thread, float* out) const {
    float* score = scratch.Scores(thread);
    auto* levels = scratch.template Levels<float>(thread);
    Score<K0>(0, 1, factor, levels, score);
    Score<K>(1, visible_, factor, levels, score);
    Softmax(score);
    for (size_t first = 0; first < dim_; first += kVectorBytes) WeighValues(first, score, levels, out);
  }

 private:
  static constexpr size_t kGroups = kVectorBytes / kSumLanes;

  // score[s] for s in [begin, end), whose keys are stored as `Stored`.
  template <Format Stored>
  void Score(size_t begin, size_t end, float factor, float* levels, float* score) const {
    if constexpr (std::is_same_v<LevelOf<Q>, int8_t> && kHasBitCodes<Stored>) {
      const int32_t sum = Correction<Stored>::kBottom == 0 ? 0 : SumOfInputs(q_, dim_);
      for (size_t s = begin; s < end; s += 4) {
        const uint8_t* codes[4];
        for (size_t k = 0; k < 4; ++k) codes[k] = keys_.Codes(head_, std::min(s + k, end - 1));
        int32_t dots[4];
        DotHeads<Stored>(q_, dim_, codes, dots);
        for (size_t k = 0; k < 4 && s + k < end; ++k) {
          SetScore(s + k, factor, Correction<Stored>::DotOfLevels(dots[k], sum), score);
        }
      }
    } else {
      for (size_t s = begin; s < end; ++s) {
        const LevelOf<Stored>* k = HeadLevels<Stored>(keys_, s, levels);
        if constexpr (kIsFloat<Q> || kIsFloat<Stored>) {
          SumLanes sum;
          AddToLanes(sum, 0, q_, k, dim_);
          SetScore(s, factor, static_cast<float>(sum.Fold()), score);
        } else {
          SetScore(s, factor, DotLevels(q_, k, dim_), score);
        }
      }
    }
  }

  void SetScore(size_t s, float factor, auto dot, float* score) const {
    const float scale = factor * keys_.Step(head_, s);
    score[s] = static_cast<float>(static_cast<double>(dot) * static_cast<double>(scale));
  }

  // The levels of a head at a token: where they lie, or unpacked.
  template <Format Stored>
  const LevelOf<Stored>* HeadLevels(const auto& cache, size_t s, float* levels) const {
    if constexpr (kIsFloat<Stored>) {
      return reinterpret_cast<const float*>(cache.Codes(head_, s));
    } else {
      auto* to = reinterpret_cast<LevelOf<Stored>*>(levels);
      cache.template Load<Stored>(head_, s, {to, dim_});
      return to;
    }
  }

  // score[s] = Exp(score[s] - max). With a NaN among them all outputs are NaN, whatever the maximum is taken to be.
  void Softmax(float* HWY_RESTRICT score) const {
    const DF32 d;
    float max = score[0];
    size_t s = 0;
    if (visible_ >= hn::Lanes(d)) {
      auto most = hn::LoadU(d, score);
      for (; s + hn::Lanes(d) <= visible_; s += hn::Lanes(d)) most = hn::Max(most, hn::LoadU(d, score + s));
      max = hn::ReduceMax(d, most);
    }
    for (; s < visible_; ++s) max = std::max(max, score[s]);

    for (s = 0; s < visible_; ++s) score[s] -= max;
    ExpOfSpan(score, visible_);
  }

  // out[first, first + kVectorBytes), as far as there are dimensions.
  HWY_NOINLINE void WeighValues(size_t first, const float* HWY_RESTRICT score, float* levels, float* out) const {
    const size_t dims = std::min(kVectorBytes, dim_ - first);
    Doubles8 sum[kGroups];
    HWY_UNROLL(8) for (size_t g = 0; g < kGroups; ++g) sum[g] = Doubles8::Set(0.0);
    double total = 0.0;
    AddValues<V0>(0, 1, first, dims, score, levels, sum, total);
    AddValues<V>(1, visible_, first, dims, score, levels, sum, total);
    float results[kVectorBytes];
    HWY_UNROLL(8) for (size_t g = 0; g < kGroups; ++g) {
      (sum[g] / Doubles8::Set(total)).StoreFloats(results + g * kSumLanes);
    }
    std::copy(results, results + dims, out + first);
  }

  template <Format Stored>
  HWY_INLINE void AddValues(size_t begin, size_t end, size_t first, size_t dims, const float* HWY_RESTRICT score,
                            float* levels, Doubles8* HWY_RESTRICT sums, double& total) const {
    Doubles8 sum[kGroups];
    HWY_UNROLL(8) for (size_t g = 0; g < kGroups; ++g) sum[g] = sums[g];
    for (size_t s = begin; s < end; ++s) {
      total += static_cast<double>(score[s]);
      const Doubles8 weight = Doubles8::Set(static_cast<double>(score[s] * values_.Step(head_, s)));
      if constexpr (kHasBitCodes<Stored>) {
        using Head = HeadCodes<Stored>;
        HWY_ALIGN uint8_t offsets[kVectorBytes];
        const uint8_t* packed = values_.Codes(head_, s) + first / 8 * Head::kBits;
        HWY_UNROLL(2) for (size_t i = 0; i < kVectorBytes / Head::kCodes; ++i) {
          hn::Store(Head::Load(packed + i * 2 * Head::kHalfBytes), typename Head::D(), offsets + i * Head::kCodes);
        }
        HWY_UNROLL(8) for (size_t g = 0; g < kGroups; ++g) {
          using C = Correction<Stored>;
          const auto value = Doubles8::template LoadLevels<C::kFactor, C::kBottom>(offsets + g * kSumLanes);
          sum[g] = Doubles8::MulAdd(weight, value, sum[g]);
        }
      } else {
        const LevelOf<Stored>* v = HeadLevels<Stored>(values_, s, levels) + first;
        for (size_t g = 0; g * kSumLanes < dims; ++g) {
          const size_t n = dims - g * kSumLanes;
          const LevelOf<Stored>* from = v + g * kSumLanes;
          sum[g] = Doubles8::MulAdd(weight, n < kSumLanes ? LoadTail(from, n) : Doubles8::Load(from), sum[g]);
        }
      }
    }
    HWY_UNROLL(8) for (size_t g = 0; g < kGroups; ++g) sums[g] = sum[g];
  }

  const LevelOf<Q>* q_;
  size_t dim_;
  const HeadCache<K, K0>& keys_;
  const HeadCache<V, V0>& values_;
  size_t head_;
  size_t visible_;
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_ATTENTION_INL_H_
