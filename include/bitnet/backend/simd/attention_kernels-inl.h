// The kernels of attention over the quantized cache: dots of queries with keys, probabilities, weights, sums of values.
// attention-inl.h calls them for one block of kAttentionBlock tokens at a time.
#if defined(BITNET_BACKEND_SIMD_ATTENTION_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_ATTENTION_KERNELS_INL_H_
#undef BITNET_BACKEND_SIMD_ATTENTION_KERNELS_INL_H_
#else
#define BITNET_BACKEND_SIMD_ATTENTION_KERNELS_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "bitnet/backend/definitions.h"
#include "bitnet/backend/simd/codes-inl.h"
#include "bitnet/backend/simd/exp-inl.h"
#include "bitnet/backend/simd/head_codes-inl.h"
#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// Rows of a tile: pairs (token, query head) that share the unpacking of keys and values.
inline constexpr size_t kTileRows = 4;

// The kernels fetch the next block of keys or values, `ahead`, while they read one: a piece of each of its quarters in
// turn, for a core reads four places faster than one. (Measured, Sapphire Rapids, one thread, 32x32x128 heads, 8192
// tokens, us: 2613 with one place, 2285 with four, 2843 with eight; two and four blocks ahead, into the first or the
// second cache: 4 % more than one block; all at once before a quarter of the work: 20 % more.)

// All kernels take rows 0 ... kRows - 1 of a tile; what belongs to a row is `stride` values after the one before.

// dots[r * kAttentionBlock + s] = dot of the offsets of token s with row r, for the tokens of `count` groups (and up to
// 12 more). Rows of q: queries that HeadCodes<K>::Arrange left, or ArrangeForPairs.
template <LevelFormat K, size_t kRows, bool kInPairs>
HWY_NOINLINE void DotGroups(const uint8_t* HWY_RESTRICT groups, size_t group_bytes, size_t count,
                            const int8_t* HWY_RESTRICT q, size_t stride, size_t dim, const uint8_t* ahead,
                            int32_t* HWY_RESTRICT dots) {
  using Head = HeadCodes<K>;
  using D8 = hn::RebindToSigned<typename Head::D>;
  using D32 = hn::RepartitionToWideX2<D8>;
  const D8 d8;
  const D32 d32;
  constexpr size_t kHalves = Head::kHalves;
  constexpr size_t kGroups = Head::kGroups;
  const size_t quarter = kAttentionBlock / 16 * group_bytes;
  using Sum = hn::Vec<D32>;
  constexpr size_t kParts = kInPairs ? 2 : 1;
  for (size_t g = 0; g < count; g += kGroups) {
    for (size_t byte = 0; g % 4 == 0 && byte < group_bytes; byte += 64) {
      HWY_UNROLL(4) for (size_t i = 0; i < 4; ++i) hwy::Prefetch(ahead + i * quarter + g / 4 * group_bytes + byte);
    }
    Sum sum[kRows][kGroups * kHalves];
    const uint8_t* HWY_RESTRICT packed[kGroups];
    HWY_UNROLL(4) for (size_t k = 0; k < kGroups; ++k) {
      packed[k] = groups + HWY_MIN(g + k, count - 1) * group_bytes;
      HWY_UNROLL(4) for (size_t r = 0; r < kRows; ++r) {
        HWY_UNROLL(2) for (size_t h = 0; h < kHalves; ++h) sum[r][k * kHalves + h] = hn::Zero(d32);
      }
    }
    const int8_t* HWY_RESTRICT inputs = q;
    for (size_t i = 0; i < 4 * dim; i += Head::kCodes * kHalves * kParts) {
      HWY_UNROLL(2) for (size_t h = 0; h < kHalves; ++h) {
        hn::Vec<D8> input[kRows][kParts];
        HWY_UNROLL(4) for (size_t r = 0; r < kRows; ++r) {
          HWY_UNROLL(2) for (size_t part = 0; part < kParts; ++part) {
            input[r][part] = hn::LoadU(d8, inputs + r * stride + part * Head::kCodes);
          }
        }
        HWY_UNROLL(4) for (size_t k = 0; k < kGroups; ++k) {
          hn::Vec<typename Head::D> codes[kParts];
          if constexpr (kInPairs) {
            Head::LoadPair(packed[k], codes);
          } else {
            codes[0] = Head::Load(packed[k]);
          }
          packed[k] += Head::kBytes * kParts;
          HWY_UNROLL(2) for (size_t part = 0; part < kParts; ++part) {
            HWY_UNROLL(4) for (size_t r = 0; r < kRows; ++r) {
              Sum& to = sum[r][k * kHalves + h];
              to = KeepInRegister(hn::SumOfMulQuadAccumulate(d32, codes[part], input[r][part], to));
            }
          }
        }
        inputs += Head::kCodes * kParts;
      }
    }
    HWY_UNROLL(4) for (size_t r = 0; r < kRows; ++r) {
      auto of_tokens = Head::TokenSums(d32, sum[r]);
      if constexpr (kInPairs) of_tokens = hn::ShiftRight<Head::kBits>(of_tokens);
      hn::StoreU(of_tokens, d32, dots + r * kAttentionBlock + 4 * g);
    }
  }
}

// score[s] = float(level dot * (factor * step[s])) for s < n, given dots of offsets. `is_small`: the dots of levels are
// below 2^24, so that a float product is the definition's.
template <LevelFormat K>
HWY_NOINLINE void ScoresOfDots(const int32_t* HWY_RESTRICT dots, int32_t sum_of_inputs, const float* HWY_RESTRICT steps,
                               float factor, bool is_small, size_t n, float* HWY_RESTRICT score) {
  const DF32 d;
  const DI32 d32;
  const int32_t correction = Correction<K>::DotOfLevels(0, sum_of_inputs);
  const auto factors = hn::Set(d, factor);
  // Reads dots, steps and writes scores up to a vector beyond n; there is room for that.
  for (size_t s = 0; s < n; s += hn::Lanes(d)) {
    const auto dot = CorrectedDots<K>(hn::LoadU(d32, dots + s), correction);
    const auto scale = hn::Mul(factors, hn::LoadU(d, steps + s));
    if (is_small) {
      hn::StoreU(hn::Mul(hn::ConvertTo(d, dot), scale), d, score + s);
    } else {
      HWY_ALIGN int32_t levels[hn::MaxLanes(DF32())];
      HWY_ALIGN float scales[hn::MaxLanes(DF32())];
      hn::Store(dot, d32, levels);
      hn::Store(scale, d, scales);
      for (size_t i = 0; i < hn::Lanes(d); ++i) {
        score[s + i] = static_cast<float>(static_cast<double>(levels[i]) * static_cast<double>(scales[i]));
      }
    }
  }
}

// The largest of score[0, n), n > 0. With a NaN among them all outputs are NaN, whatever the maximum is taken to be.
HWY_NOINLINE inline float MaxOf(const float* HWY_RESTRICT score, size_t n) {
  const DF32 d;
  constexpr size_t kLanes = HWY_LANES(float);
  constexpr size_t kCount = 4;  // a maximum waits for the one before
  float max = score[0];
  size_t s = 0;
  if (n >= kCount * kLanes) {
    hn::Vec<DF32> most[kCount];
    HWY_UNROLL(4) for (size_t k = 0; k < kCount; ++k) most[k] = hn::LoadU(d, score + k * kLanes);
    for (s = kCount * kLanes; s + kCount * kLanes <= n; s += kCount * kLanes) {
      HWY_UNROLL(4) for (size_t k = 0; k < kCount; ++k) {
        most[k] = hn::Max(most[k], hn::LoadU(d, score + s + k * kLanes));
      }
    }
    max = hn::ReduceMax(d, hn::Max(hn::Max(most[0], most[1]), hn::Max(most[2], most[3])));
  }
  for (; s < n; ++s) max = std::max(max, score[s]);
  return max;
}

// What the probabilities of a block's tokens add up to, and the largest magnitude of a weight (NaN or infinite if one
// is).
struct BlockSums {
  double total;
  float largest;
};

// Weights of a row in a block: weight[s] = p[s] * step[s] for s < n (p[s], where there are no steps), zeros from n on
// up to a multiple of kVectorBytes; scores are readable up to there. p[s] = Exp(score[s] - max), which is not above
// zero; if it is, there is a NaN score, whose p makes the total NaN, and so all outputs.
template <bool kHasSteps>
HWY_NOINLINE BlockSums WeighScores(const float* HWY_RESTRICT score, float max, const float* HWY_RESTRICT steps,
                                   size_t n, float* HWY_RESTRICT weight) {
  const DF32 d;
  const DU32 du32;
  constexpr size_t kLanes = HWY_LANES(float);
  constexpr size_t kCount = HWY_MAX(kManyRegisters ? 4 : 1, kSumLanes / kLanes);
  constexpr size_t kChunk = kCount * kLanes;
  static_assert(kAttentionBlock % kVectorBytes == 0 && kVectorBytes % kChunk == 0);
  const auto magnitude = hn::Set(du32, 0x7fffffffu);
  auto most = hn::Zero(du32);
  Doubles8 sum = Doubles8::Set(0.0);
  HWY_ALIGN float p[kChunk];
  const auto weigh = [&](size_t first, auto is_whole) HWY_ATTR {
    hn::Vec<DF32> x[kCount];
    HWY_UNROLL(4) for (size_t k = 0; k < kCount; ++k) {
      const size_t s = first + k * kLanes;
      x[k] = hn::Sub(hn::LoadU(d, score + s), hn::Set(d, max));
      // exp is 0 there.
      if (!is_whole && s + kLanes > n) x[k] = hn::IfThenElse(hn::FirstN(d, s < n ? n - s : 0), x[k], hn::Set(d, -1e9f));
    }
    ExpOf<kCount>(x);
    HWY_UNROLL(4) for (size_t k = 0; k < kCount; ++k) {
      const size_t s = first + k * kLanes;
      hn::Store(x[k], d, p + k * kLanes);
      if constexpr (kHasSteps) {
        const bool is_inside = is_whole || s + kLanes <= n;
        x[k] = hn::Mul(x[k], is_inside ? hn::LoadU(d, steps + s) : hn::LoadN(d, steps + s, s < n ? n - s : 0));
        most = hn::Max(most, hn::And(hn::BitCast(du32, x[k]), magnitude));
      }
      hn::StoreU(x[k], d, weight + s);
    }
    // (Zeros change no sum.)
    HWY_UNROLL(8) for (size_t i = 0; i < kChunk; i += kSumLanes) sum = sum + Doubles8::Load(p + i);
  };
  size_t s = 0;
  for (; s + kChunk <= n; s += kChunk) weigh(s, std::true_type());
  for (; s % kVectorBytes != 0 || s < n; s += kChunk) weigh(s, std::false_type());
  return {Fold(sum), std::bit_cast<float>(hn::ReduceMax(du32, most))};
}

// The weights of one row in a block, counted in units: 256 * high + low, and their sums.
struct BlockWeights {
  alignas(64) uint8_t low[kTileRows][kAttentionBlock];
  alignas(64) int8_t high[kTileRows][kAttentionBlock];
  int32_t sum[kTileRows];
  int32_t low_sum[kTileRows];  // for offsets beyond 127

  void Clear(size_t row) {
    std::memset(low[row], 0, kAttentionBlock);
    std::memset(high[row], 0, kAttentionBlock);
    sum[row] = 0;
  }
  int32_t Weight(size_t row, size_t s) const { return 256 * int32_t{high[row][s]} + int32_t{low[row][s]}; }
};

// weights of `row` from what WeighScores left; those from n on are 0. Returns the unit.
HWY_NOINLINE inline double WeightsInUnits(const float* HWY_RESTRICT weight, float largest, size_t n,
                                          BlockWeights& weights, size_t row) {
  const DF32 d;
  const DI32 d32;
  const DI16 d16;
  const DU8 du8;
  const double unit = WeightUnit(largest);
  size_t s = 0;
  auto sum = hn::Zero(d32);
  if (unit > 0.0) {
    // 1 / unit may be beyond the floats: in two steps, both exact (but for weights that count 0).
    const int exponent = 1023 - static_cast<int>(std::bit_cast<uint64_t>(unit) >> 52);
    const auto power = [](int e) { return std::bit_cast<float>((127 + e) << 23); };
    const auto first = hn::Set(d, power(std::min(exponent, 100)));
    const auto second = hn::Set(d, power(std::max(exponent - 100, 0)));
    // A float that large has no bits below 1: the addition rounds, to even. (So it may be fused with exact products.)
    const auto large = hn::Set(d, 12582912.0f);
    const auto count = [&](size_t at) HWY_ATTR {
      const auto scaled = hn::Add(hn::Mul(hn::Mul(hn::LoadU(d, weight + at), first), second), large);
      return hn::Sub(hn::BitCast(d32, scaled), hn::BitCast(d32, large));
    };
    // Saturates at 32767; below, -32767 is the bound.
    static_assert(kMaxWeight == 32767);
    const auto counts = [&](size_t at) HWY_ATTR {
      const auto both = hn::OrderedDemote2To(d16, count(at), count(at + hn::Lanes(d)));
      return hn::Max(both, hn::Set(d16, int16_t{-kMaxWeight}));
    };
    const auto ones = hn::Set(d16, int16_t{1});
    for (; s < n; s += kVectorBytes) {
      const auto lower = counts(s);
      const auto upper = counts(s + 2 * hn::Lanes(d));
      sum = hn::Add(sum, hn::Add(hn::WidenMulPairwiseAdd(d32, lower, ones), hn::WidenMulPairwiseAdd(d32, upper, ones)));
      const auto low = hn::ConcatEven(du8, hn::BitCast(du8, upper), hn::BitCast(du8, lower));
      const auto high = hn::ConcatOdd(du8, hn::BitCast(du8, upper), hn::BitCast(du8, lower));
      hn::StoreU(low, du8, weights.low[row] + s);
      hn::StoreU(high, du8, reinterpret_cast<uint8_t*>(weights.high[row]) + s);
    }
  }
  std::memset(weights.low[row] + s, 0, kAttentionBlock - s);
  std::memset(weights.high[row] + s, 0, kAttentionBlock - s);
  weights.sum[row] = hn::ReduceSum(d32, sum);
  return unit;
}

// Bytes dot products take one signed factor. High digits of weights are; low digits are not, and meet the offsets, or,
// where these are beyond 127, offsets - 128: what is missing is then 128 times the sum of the low digits.
template <LevelFormat V>
inline constexpr bool kIsBeyond127 = OffsetTraits<V>::kMaxOffset > 127;

// The sums of the low digits of all rows.
HWY_NOINLINE inline void SumLowDigits(BlockWeights& weights) {
  const DU8 d;
  const hn::Repartition<uint64_t, DU8> d64;
  for (size_t r = 0; r < kTileRows; ++r) {
    auto sum = hn::Zero(d64);
    for (size_t s = 0; s < kAttentionBlock; s += kVectorBytes) {
      sum = hn::Add(sum, hn::SumsOf8(hn::LoadU(d, weights.low[r] + s)));
    }
    weights.low_sum[r] = static_cast<int32_t>(hn::ReduceSum(d64, sum));
  }
}

// Sums of weight * level of some dimensions, from those of offsets: of a vector, or of a pair.
template <LevelFormat V, class Sum, size_t kParts>
HWY_INLINE void StoreSums(Sum (&sum)[kParts], int32_t sum_of_weights, int32_t* HWY_RESTRICT to) {
  const hn::DFromV<Sum> d32;
  if constexpr (kParts == 2) {
    const auto odd = hn::ShiftRight<HeadCodes<V>::kBits>(sum[1]);
    sum[1] = hn::InterleaveWholeUpper(d32, sum[0], odd);
    sum[0] = hn::InterleaveWholeLower(d32, sum[0], odd);
  }
  const int32_t correction = Correction<V>::DotOfLevels(0, sum_of_weights);
  HWY_UNROLL(2) for (size_t k = 0; k < kParts; ++k) {
    hn::StoreU(CorrectedDots<V>(sum[k], correction), d32, to + k * hn::MaxLanes(d32));
  }
}

// sums[r * stride + i] = sum over the tokens of `count` groups of weight * level of dimension i, for the dimensions of
// the vectors first ... first + kVectors - 1. Of the next block as many bytes are fetched.
template <LevelFormat V, size_t kRows, size_t kVectors>
HWY_NOINLINE void SumGroups(const uint8_t* HWY_RESTRICT groups, size_t group_bytes, size_t count, size_t first,
                            const BlockWeights& weights, const uint8_t* ahead, int32_t* HWY_RESTRICT sums,
                            size_t stride) {
  using Head = HeadCodes<V>;
  using D8 = typename Head::D;
  using D32 = hn::RepartitionToWideX2<hn::RebindToSigned<D8>>;
  const D8 du8;
  const hn::RebindToSigned<D8> d8;
  const D32 d32;
  constexpr bool kInPairs = Head::kHasPairs;
  constexpr size_t kParts = kInPairs ? 2 : 1;
  static_assert(kVectors % kParts == 0);
  hn::Vec<D32> low[kRows][kVectors];
  hn::Vec<D32> high[kRows][kVectors];
  HWY_UNROLL(4) for (size_t r = 0; r < kRows; ++r) {
    HWY_UNROLL(8) for (size_t v = 0; v < kVectors; ++v) low[r][v] = high[r][v] = hn::Zero(d32);
  }
  // From a quarter to the next, and back.
  constexpr size_t kPiece = kVectors * Head::kBytes;
  const size_t quarter = kAttentionBlock / 16 * group_bytes;
  const auto hop = static_cast<std::ptrdiff_t>(quarter);
  const std::ptrdiff_t hops[4] = {hop, hop, hop, static_cast<std::ptrdiff_t>(kPiece) - 3 * hop};
  for (size_t g = 0; g < count; ++g) {
    HWY_UNROLL(4) for (size_t byte = 0; byte < kPiece; byte += 64) hwy::Prefetch(ahead + byte);
    ahead += hops[g % 4];
    hn::Vec<D8> codes[kVectors];
    HWY_UNROLL(4) for (size_t v = 0; v < kVectors; v += kParts) {
      if constexpr (kInPairs) {
        Head::LoadAcrossPair(groups + g * group_bytes, (first + v) / 2, codes + v);
      } else {
        codes[v] = Head::LoadAcross(groups + g * group_bytes, first + v);
      }
    }
    HWY_UNROLL(4) for (size_t r = 0; r < kRows; ++r) {
      int32_t low_of_four, high_of_four;
      std::memcpy(&low_of_four, weights.low[r] + 4 * g, sizeof(int32_t));
      std::memcpy(&high_of_four, weights.high[r] + 4 * g, sizeof(int32_t));
      const auto w_low = hn::BitCast(du8, hn::Set(d32, low_of_four));
      const auto w_high = hn::BitCast(d8, hn::Set(d32, high_of_four));
      HWY_UNROLL(8) for (size_t v = 0; v < kVectors; ++v) {
        auto offsets = codes[v];
        if constexpr (kIsBeyond127<V>) offsets = hn::Xor(offsets, hn::Set(du8, uint8_t{128}));
        low[r][v] = KeepInRegister(hn::SumOfMulQuadAccumulate(d32, w_low, hn::BitCast(d8, offsets), low[r][v]));
        high[r][v] = KeepInRegister(hn::SumOfMulQuadAccumulate(d32, codes[v], w_high, high[r][v]));
      }
    }
  }
  HWY_UNROLL(4) for (size_t r = 0; r < kRows; ++r) {
    HWY_UNROLL(8) for (size_t v = 0; v < kVectors; v += kParts) {
      hn::Vec<D32> sum[kParts];
      HWY_UNROLL(2) for (size_t k = 0; k < kParts; ++k) {
        sum[k] = hn::Add(low[r][v + k], hn::ShiftLeft<8>(high[r][v + k]));
        if constexpr (kIsBeyond127<V>) sum[k] = hn::Add(sum[k], hn::Set(d32, 128 * weights.low_sum[r]));
      }
      StoreSums<V>(sum, weights.sum[r], sums + r * stride + (first + v) * (Head::kCodes / 4));
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_ATTENTION_KERNELS_INL_H_
