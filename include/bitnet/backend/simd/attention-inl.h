// Attention over the quantized cache (docs/numerics.md, "Attention").
//
// A tile is up to kTileRows pairs (token, query head) that read the same key/value head; they share the unpacking of
// its keys and values. Over blocks of kAttentionBlock tokens: first all scores, then, with their maximum known, weights
// and sums of values, added up in the order of the blocks. Tiles, and the blocks of a tile, can go to several threads.
#if defined(BITNET_BACKEND_SIMD_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_ATTENTION_INL_H_
#undef BITNET_BACKEND_SIMD_ATTENTION_INL_H_
#else
#define BITNET_BACKEND_SIMD_ATTENTION_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/reference.h"
#include "bitnet/backend/simd/dot_floats-inl.h"
#include "bitnet/backend/simd/dot_segments-inl.h"
#include "bitnet/backend/simd/exp-inl.h"
#include "bitnet/backend/simd/head_codes-inl.h"
#include "bitnet/tensor/head_cache.h"
#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

inline constexpr size_t kTileRows = 4;

// The kernels fetch the next block of keys or values, `ahead`, while they read one: a piece of each of its quarters in
// turn, for a core reads four places faster than one. (Measured, Sapphire Rapids, one thread, 32x32x128 heads, 8192
// tokens, us: 2613 with one place, 2285 with four, 2843 with eight; two and four blocks ahead, into the first or the
// second cache: 4 % more than one block; all at once before a quarter of the work: 20 % more.)

// ---- Kernels. All take rows 0 ... kRows - 1 of a tile; what belongs to a row is `stride` values after the one before.

// dots[r * kAttentionBlock + s] = dot of the offsets of token s with row r, for the tokens of `count` groups (and up to
// 12 more). A row of q: the query's dimensions 0 ... 7 four times, then 8 ... 15, ..., or arranged for pairs; zeros up
// to a multiple of 64 dimensions.
template <LevelFormat K, size_t kRows, bool kInPairs>
HWY_NOINLINE void DotGroups(const uint8_t* HWY_RESTRICT groups, size_t group_bytes, size_t count,
                            const int8_t* HWY_RESTRICT q, size_t stride, size_t dim, const uint8_t* ahead,
                            int32_t* HWY_RESTRICT dots) {
  using Head = HeadCodes<K>;
  using D8 = hn::RebindToSigned<typename Head::D>;
  using D32 = hn::RepartitionToWideX2<D8>;
  const D8 d8;
  const D32 d32;
  constexpr size_t kLanes = Head::kCodes / 4;
  // Vectors of 16 bytes hold half a group's unit; larger ones give sums of pairs of lanes for kLanes / 4 groups.
  constexpr size_t kHalves = Head::kCodes == 16 ? 2 : 1;
  constexpr size_t kGroups = HWY_MAX(1, kLanes / 4);
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
      Sum low, high;
      if constexpr (kHalves == 2) {
        low = sum[r][0];
        high = sum[r][1];
      } else if constexpr (kGroups == 2) {
        low = sum[r][0];
        high = sum[r][1];
      } else {
        static_assert(kGroups == 4);
        // The upper halves are of the next 8 dimensions.
        low = hn::Add(hn::ConcatLowerLower(d32, sum[r][1], sum[r][0]), hn::ConcatUpperUpper(d32, sum[r][1], sum[r][0]));
        high =
            hn::Add(hn::ConcatLowerLower(d32, sum[r][3], sum[r][2]), hn::ConcatUpperUpper(d32, sum[r][3], sum[r][2]));
      }
      auto of_tokens = hn::Add(hn::ConcatEven(d32, high, low), hn::ConcatOdd(d32, high, low));
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
  using C = Correction<K>;
  const DF32 d;
  const DI32 d32;
  const auto bottom = hn::Set(d32, C::DotOfLevels(0, sum_of_inputs));
  const auto factors = hn::Set(d, factor);
  // Reads dots, steps and writes scores up to a vector beyond n; there is room for that.
  for (size_t s = 0; s < n; s += hn::Lanes(d)) {
    auto dot = hn::LoadU(d32, dots + s);
    if constexpr (C::kFactor != 1) dot = hn::Mul(dot, hn::Set(d32, C::kFactor));
    dot = hn::Add(dot, bottom);
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

  void Clear(size_t row) {
    std::memset(low[row], 0, kAttentionBlock);
    std::memset(high[row], 0, kAttentionBlock);
    sum[row] = 0;
  }
  int32_t Weight(size_t row, size_t s) const { return 256 * int32_t{high[row][s]} + int32_t{low[row][s]}; }
};

// weights of `row` from what WeighScores left; those from n on are 0. Returns the unit.
HWY_NOINLINE inline double CountWeights(const float* HWY_RESTRICT weight, float largest, size_t n,
                                        BlockWeights& weights, size_t row) {
  const DF32 d;
  const DI32 d32;
  const DI16 d16;
  const DU8 du8;
  const double unit = ReferenceBackend::WeightUnit(largest);
  size_t s = 0;
  auto sum = hn::Zero(d32);
  if (unit > 0.0) {
    // 1 / unit may be beyond the floats: in two steps, both exact (but for weights that count 0).
    const int exponent = 1023 - static_cast<int>(std::bit_cast<uint64_t>(unit) >> 52);
    const auto power = [](int n) { return std::bit_cast<float>((127 + n) << 23); };
    const auto first = hn::Set(d, power(std::min(exponent, 100)));
    const auto second = hn::Set(d, power(std::max(exponent - 100, 0)));
    // A float that large has no bits below 1: the addition rounds, to even. (So it may be fused with exact products.)
    const auto large = hn::Set(d, 12582912.0f);
    const auto count = [&](size_t at) HWY_ATTR {
      const auto scaled = hn::Add(hn::Mul(hn::Mul(hn::LoadU(d, weight + at), first), second), large);
      return hn::Sub(hn::BitCast(d32, scaled), hn::BitCast(d32, large));
    };
    // Saturates at 32767; below, -32767 is the bound.
    static_assert(ReferenceBackend::kMaxWeight == 32767);
    const auto counts = [&](size_t at) HWY_ATTR {
      const auto both = hn::OrderedDemote2To(d16, count(at), count(at + hn::Lanes(d)));
      return hn::Max(both, hn::Set(d16, int16_t{-ReferenceBackend::kMaxWeight}));
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

// Whether SumGroups can read the format.
template <Format V>
inline constexpr bool kHasValueSums = [] {
  if constexpr (kHasBitCodes<V>) {
    return HeadCodes<V>::kHasAcross && OffsetTraits<V>::kMaxOffset <= 127;
  } else {
    return false;
  }
}();

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
        low[r][v] = KeepInRegister(hn::SumOfMulQuadAccumulate(d32, w_low, hn::BitCast(d8, codes[v]), low[r][v]));
        high[r][v] = KeepInRegister(hn::SumOfMulQuadAccumulate(d32, codes[v], w_high, high[r][v]));
      }
    }
  }
  HWY_UNROLL(4) for (size_t r = 0; r < kRows; ++r) {
    const auto bottom = hn::Set(d32, Correction<V>::DotOfLevels(0, weights.sum[r]));
    int32_t* HWY_RESTRICT to = sums + r * stride + first * (Head::kCodes / 4);
    HWY_UNROLL(8) for (size_t v = 0; v < kVectors; v += kParts) {
      hn::Vec<D32> sum[kParts];
      HWY_UNROLL(2) for (size_t k = 0; k < kParts; ++k) {
        sum[k] = hn::Add(low[r][v + k], hn::ShiftLeft<8>(high[r][v + k]));
      }
      if constexpr (kInPairs) {
        const auto odd = hn::ShiftRight<Head::kBits>(sum[1]);
        sum[1] = hn::InterleaveWholeUpper(d32, sum[0], odd);
        sum[0] = hn::InterleaveWholeLower(d32, sum[0], odd);
      }
      HWY_UNROLL(2) for (size_t k = 0; k < kParts; ++k) {
        if constexpr (Correction<V>::kFactor != 1) sum[k] = hn::Mul(sum[k], hn::Set(d32, Correction<V>::kFactor));
        hn::StoreU(hn::Add(sum[k], bottom), d32, to + (v + k) * (Head::kCodes / 4));
      }
    }
  }
}

// ---- Attend.

// The sum of a block, exact: 256 weights of at most 2^15 - 1 times a level.
template <Format V, Format V0>
struct ValueSumOf {
  static constexpr int64_t kLargest = int64_t{kAttentionBlock} * ReferenceBackend::kMaxWeight *
                                      HWY_MAX(FormatTraits<V>::kMaxMagnitude, FormatTraits<V0>::kMaxMagnitude);
  static_assert(kLargest < int64_t{1} << 53, "bitnet: a block's sum must be exact in double");
  using type = std::conditional_t<kLargest <= std::numeric_limits<int32_t>::max(), int32_t, int64_t>;
};
template <>
struct ValueSumOf<Float, Float> {
  using type = double;  // in the order of the tokens
};

// One call of Attend. Threads make workers of it.
template <Format Q, Format K, Format K0, Format V, Format V0>
class AttentionCall {
 public:
  using Sum = typename ValueSumOf<V, V0>::type;

  AttentionCall(const QuantizedTokens<Q>& q, const HeadCache<K, K0>& keys, const HeadCache<V, V0>& values,
                const AttentionShape& shape, MatrixView<float> out)
      : q_(q),
        keys_(keys),
        values_(values),
        shape_(shape),
        out_(out),
        share_(shape.heads / shape.kv_heads),
        rows_(out.rows() * share_),
        tiles_of_head_((rows_ + kTileRows - 1) / kTileRows),
        dims_(RoundUp(shape.head_dim, 64)),
        max_blocks_((std::min(keys.max_tokens(), values.max_tokens()) + kAttentionBlock - 1) / kAttentionBlock) {}

  size_t tiles() const { return tiles_of_head_ * shape_.kv_heads; }
  const uint8_t* Keys(size_t tile, size_t b) const { return keys_.Group(tile / tiles_of_head_, b * kAttentionBlock); }
  // Of the tile that sees most.
  size_t blocks() const { return (shape_.first_position + out_.rows() + kAttentionBlock - 1) / kAttentionBlock; }

  // What is known of a tile: [row, block], sums [row, block, dims] if all of them are kept.
  struct Tile {
    float* scores;
    float* maxima;
    double* totals;
    double* units;
    Sum* sums;
    size_t sum_blocks;
  };

  size_t TileBytes(size_t sum_blocks) const { return CarveTile(nullptr, sum_blocks).second; }
  Tile TileAt(std::byte* memory, size_t sum_blocks) const { return CarveTile(memory, sum_blocks).first; }
  size_t max_blocks() const { return max_blocks_; }
  size_t WorkerBytes() const {
    return RoundUp(kTileRows * 4 * dims_, kAlignment) + RoundUp(dims_ * sizeof(float), kAlignment) +
           RoundUp(kTileRows * dims_ * sizeof(double), kAlignment);
  }

  // Does the work of a thread.
  class Worker {
   public:
    // Memory of WorkerBytes().
    Worker(const AttentionCall& call, std::byte* memory)
        : call_(call),
          queries_(reinterpret_cast<int8_t*>(memory)),
          levels_(memory + RoundUp(kTileRows * 4 * call.dims_, kAlignment)),
          acc_(reinterpret_cast<double*>(levels_ + RoundUp(call.dims_ * sizeof(float), kAlignment))) {}

    // All of a tile, in this thread; then the keys at `next` are needed (or nullptr).
    void Run(size_t tile, const Tile& of, const uint8_t* next) {
      Take(tile, 0, call_.blocks(), next);
      const size_t blocks = tile_blocks();
      for (size_t b = 0; b < blocks; ++b) Score(b, of);
      FindMaxima(of);
      std::fill(acc_, acc_ + count_ * call_.dims_, 0.0);
      double total[kTileRows] = {};
      for (size_t b = 0; b < blocks; ++b) {
        SumValues(b, of);
        for (size_t r = 0; r < count_; ++r) {
          AddBlock(r, r, b, of);
          total[r] += of.totals[r * call_.max_blocks_ + b];
        }
      }
      for (size_t r = 0; r < count_; ++r) Divide(r, r, total[r]);
    }

    // The same in parts: Score(b) for blocks [begin, end) of all threads, SumValues(b) for them, Merge for all rows.
    void Take(size_t tile, size_t begin, size_t end, const uint8_t* next) {
      kv_head_ = tile / call_.tiles_of_head_;
      begin_ = begin;
      next_ = next;
      const size_t first = tile % call_.tiles_of_head_ * kTileRows;
      count_ = std::min(kTileRows, call_.rows_ - first);
      const size_t dim = call_.shape_.head_dim;
      for (size_t r = 0; r < count_; ++r) {
        const size_t token = (first + r) / call_.share_;
        const size_t head = kv_head_ * call_.share_ + (first + r) % call_.share_;
        const size_t query = token * call_.shape_.heads + head;
        q_[r] = call_.q_.Row(query);
        factor_[r] = ReferenceBackend::ScoreFactor(call_.q_.Step(query, 0), dim);
        visible_[r] = call_.shape_.first_position + token + 1;
        out_[r] = call_.out_.Row(token) + head * dim;
        if (begin < end) ArrangeQuery(r);
      }
      end_ = std::min(end, tile_blocks());
    }

    size_t Blocks(size_t visible) const { return (visible + kAttentionBlock - 1) / kAttentionBlock; }
    size_t tile_blocks() const { return Blocks(visible_[count_ - 1]); }
    size_t count() const { return count_; }

    void Score(size_t b, const Tile& of) const {
      const size_t begin = b * kAttentionBlock;
      const size_t end = std::min(begin + kAttentionBlock, visible_[count_ - 1]);
      if (HasFastScores()) {
        ScoreGroups(begin, end, of);
      } else {
        ScoreEach<K>(std::max<size_t>(1, begin), end, of);
      }
      if (begin == 0) ScoreEach<K0>(0, 1, of);
      for (size_t r = 0; r < count_; ++r) {
        const size_t n = InBlock(r, begin);
        of.maxima[r * call_.max_blocks_ + b] =
            n == 0 ? -std::numeric_limits<float>::infinity() : MaxOf(Scores(r, of) + begin, n);
      }
    }

    void FindMaxima(const Tile& of) {
      for (size_t r = 0; r < count_; ++r) max_[r] = MaxOf(of.maxima + r * call_.max_blocks_, Blocks(visible_[r]));
    }

    void SumValues(size_t b, const Tile& of) const {
      const size_t begin = b * kAttentionBlock;
      const size_t tokens = InBlock(count_ - 1, begin);
      HWY_ALIGN float p[kIsFloat<V> ? kTileRows : 1][kAttentionBlock];
      BlockWeights weights;
      bool counts = false;
      for (size_t r = 0; r < count_; ++r) {
        const size_t n = InBlock(r, begin);
        const float* score = Scores(r, of) + begin;
        double& total = of.totals[r * call_.max_blocks_ + b];
        if constexpr (kIsFloat<V>) {
          total = WeighScores<false>(score, max_[r], nullptr, n, p[r]).total;
        } else {
          const auto sums = WeighScores<true>(score, max_[r], call_.values_.Steps(kv_head_) + begin, n, p[0]);
          total = sums.total;
          double& unit = of.units[r * call_.max_blocks_ + b];
          unit = CountWeights(p[0], sums.largest, n, weights, r);
          counts = counts || unit > 0.0;
        }
      }
      if constexpr (kIsFloat<V>) {
        for (size_t r = 0; r < count_; ++r) SumReals(begin, InBlock(r, begin), p[r], Sums(r, b, of));
      } else {
        if (!counts) {
          for (size_t r = 0; r < count_; ++r) std::fill(Sums(r, b, of), Sums(r, b, of) + call_.dims_, Sum{0});
          return;
        }
        int32_t first[kTileRows] = {};
        for (size_t r = 0; begin == 0 && r < count_; ++r) {
          first[r] = weights.Weight(r, 0);
          weights.low[r][0] = 0;
          weights.high[r][0] = 0;
          weights.sum[r] -= first[r];
        }
        if constexpr (kSumsGroups) {
          // The kernel takes 1, 2 or 4 rows.
          for (size_t r = count_; r < kTileRows; ++r) weights.Clear(r);
          SumAllGroups(b, (tokens + 3) / 4, weights, of);
        } else {
          for (size_t r = 0; r < count_; ++r) std::fill(Sums(r, b, of), Sums(r, b, of) + call_.dims_, Sum{0});
          for (size_t s = begin == 0 ? 1 : 0; s < tokens; ++s) {
            const LevelOf<V>* v = LevelsOf<V>(call_.values_, begin + s);
            for (size_t r = 0; r < count_; ++r) AddLevels(weights.Weight(r, s), v, Sums(r, b, of));
          }
        }
        if (begin == 0) {
          const LevelOf<V0>* v = LevelsOf<V0>(call_.values_, 0);
          for (size_t r = 0; r < count_; ++r) AddLevels(first[r], v, Sums(r, b, of));
        }
      }
    }

    void Merge(size_t r, const Tile& of) {
      std::fill(acc_, acc_ + call_.dims_, 0.0);
      double total = 0.0;
      for (size_t b = 0; b < Blocks(visible_[r]); ++b) {
        AddBlock(0, r, b, of);
        total += of.totals[r * call_.max_blocks_ + b];
      }
      Divide(0, r, total);
    }

   private:
    static constexpr bool kFastScores = std::is_same_v<LevelOf<Q>, int8_t> && kHasBitCodes<K>;
    // The dot product of a pair is 2^kBits times that of offsets: it must fit 32 bits, and its inputs a byte.
    static constexpr size_t kMostPairedDims = [] {
      if constexpr (kFastScores) {
        constexpr int64_t kInput = int64_t{FormatTraits<Q>::kMaxMagnitude} << HeadCodes<K>::kBits;
        return HeadCodes<K>::kHasPairs && kInput <= 127
                   ? static_cast<size_t>(std::numeric_limits<int32_t>::max() / (kInput * OffsetTraits<K>::kMaxOffset))
                   : size_t{0};
      } else {
        return size_t{0};
      }
    }();
    static constexpr bool kKeyPairs = kMostPairedDims != 0;
    bool HasFastScores() const { return kFastScores && (!kKeyPairs || call_.shape_.head_dim <= kMostPairedDims); }
    static constexpr bool kSumsGroups = kHasValueSums<V> && std::is_same_v<Sum, int32_t>;

    float* Scores(size_t r, const Tile& of) const { return of.scores + r * call_.ScoreStride(); }
    Sum* Sums(size_t r, size_t b, const Tile& of) const {
      return of.sums + (r * of.sum_blocks + (of.sum_blocks == 1 ? 0 : b)) * call_.dims_;
    }
    // Tokens of the block from `begin` on that a row sees.
    size_t InBlock(size_t r, size_t begin) const {
      return visible_[r] <= begin ? 0 : std::min(kAttentionBlock, visible_[r] - begin);
    }

    // Row r of the queries, as DotGroups reads it.
    void ArrangeQuery(size_t r) {
      if constexpr (kFastScores) {
        const size_t dim = call_.shape_.head_dim;
        int8_t* to = queries_ + r * 4 * call_.dims_;
        input_sum_[r] = SumOfInputs(q_[r], dim);
        if constexpr (kKeyPairs) {
          HeadCodes<K>::ArrangeForPairs(q_[r], dim, to);
        } else {
          std::memset(to, 0, 4 * call_.dims_);
          for (size_t i = 0; i < dim; i += 8) {
            for (size_t k = 0; k < 4; ++k) std::memcpy(to + 4 * i + 8 * k, q_[r] + i, std::min<size_t>(8, dim - i));
          }
        }
      }
    }

    void ScoreGroups(size_t begin, size_t end, const Tile& of) const {
      if constexpr (kFastScores) {
        HWY_ALIGN int32_t dots[kTileRows * kAttentionBlock];
        const size_t dim = call_.shape_.head_dim;
        const auto run = [&]<size_t kRows>(std::integral_constant<size_t, kRows>) {
          DotGroups<K, kRows, kKeyPairs>(call_.keys_.Group(kv_head_, begin), call_.keys_.GroupBytes(),
                                         (end - begin + 3) / 4, queries_, 4 * call_.dims_, dim,
                                         AfterKeys(begin / kAttentionBlock), dots);
        };
        WithRows(run);
        const bool is_small = dim <= (size_t{1} << 24) / (size_t{FormatTraits<K>::kMaxMagnitude} *
                                                          size_t{FormatTraits<Q>::kMaxMagnitude});
        for (size_t r = 0; r < count_; ++r) {
          ScoresOfDots<K>(dots + r * kAttentionBlock, input_sum_[r], call_.keys_.Steps(kv_head_) + begin, factor_[r],
                          is_small, end - begin, Scores(r, of) + begin);
        }
      }
    }

    // What is read after block b of the keys or of the values, to be fetched in the meantime; if nothing is, that
    // block.
    const uint8_t* AfterKeys(size_t b) const {
      return b + 1 < end_ ? call_.keys_.Group(kv_head_, (b + 1) * kAttentionBlock)
                          : call_.values_.Group(kv_head_, begin_ * kAttentionBlock);
    }
    const uint8_t* AfterValues(size_t b) const {
      if (b + 1 == end_ && next_ != nullptr) return next_;
      return call_.values_.Group(kv_head_, std::min(b + 1, end_ - 1) * kAttentionBlock);
    }

    void SumAllGroups(size_t b, size_t groups, const BlockWeights& weights, const Tile& of) const {
      if constexpr (kSumsGroups) {
        constexpr size_t kDims = HeadCodes<V>::kCodes / 4;
        constexpr size_t kLeast = HeadCodes<V>::kHasPairs ? 2 : 1;
        const size_t vectors = RoundUp(call_.shape_.head_dim, kLeast * kDims) / kDims;
        const uint8_t* from = call_.values_.Group(kv_head_, b * kAttentionBlock);
        const size_t group_bytes = call_.values_.GroupBytes();
        const uint8_t* ahead = AfterValues(b);
        const auto run = [&]<size_t kRows>(std::integral_constant<size_t, kRows>) {
          constexpr size_t kVectors = (kManyRegisters ? 8 : 4) / kRows;
          const size_t stride = of.sum_blocks * call_.dims_;
          size_t v = 0;
          for (; v + kVectors <= vectors; v += kVectors) {
            SumGroups<V, kRows, kVectors>(from, group_bytes, groups, v, weights, ahead, Sums(0, b, of), stride);
            ahead += kAttentionBlock / 16 * kVectors * HeadCodes<V>::kBytes;
          }
          for (; kVectors > kLeast && v < vectors; v += kLeast) {
            SumGroups<V, kRows, kLeast>(from, group_bytes, groups, v, weights, ahead, Sums(0, b, of), stride);
          }
        };
        WithRows(run);
      }
    }

    // f(the number of rows rounded up to 1, 2 or 4); there is memory for all of them.
    void WithRows(auto&& f) const {
      if (count_ == 1) {
        f(std::integral_constant<size_t, 1>{});
      } else if (count_ == 2) {
        f(std::integral_constant<size_t, 2>{});
      } else {
        f(std::integral_constant<size_t, 4>{});
      }
    }

    // Scores of tokens [begin, end), whose keys are stored as `Stored`, one by one.
    template <Format Stored>
    void ScoreEach(size_t begin, size_t end, const Tile& of) const {
      const size_t dim = call_.shape_.head_dim;
      for (size_t s = begin; s < end; ++s) {
        const LevelOf<Stored>* k = LevelsOf<Stored>(call_.keys_, s);
        for (size_t r = 0; r < count_; ++r) {
          const float scale = factor_[r] * call_.keys_.Step(kv_head_, s);
          double dot;
          if constexpr (kIsFloat<Q> || kIsFloat<Stored>) {
            SumLanes sum;
            AddToLanes(sum, 0, q_[r], k, dim);
            dot = static_cast<double>(static_cast<float>(sum.Fold()));
          } else {
            dot = static_cast<double>(DotLevels(q_[r], k, dim));
          }
          Scores(r, of)[s] = static_cast<float>(dot * static_cast<double>(scale));
        }
      }
    }

    // The levels of a head at a token: where they lie, or unpacked.
    template <Format Stored>
    const LevelOf<Stored>* LevelsOf(const auto& cache, size_t s) const {
      if constexpr (kIsFloat<Stored>) {
        return reinterpret_cast<const float*>(cache.Group(kv_head_, s));
      } else {
        auto* to = reinterpret_cast<LevelOf<Stored>*>(levels_);
        cache.template Load<Stored>(kv_head_, s, {to, call_.shape_.head_dim});
        return to;
      }
    }

    template <class Level>
    void AddLevels(int32_t weight, const Level* HWY_RESTRICT v, Sum* HWY_RESTRICT sums) const {
      if (weight == 0) return;
      for (size_t i = 0; i < call_.shape_.head_dim; ++i) sums[i] += static_cast<Sum>(weight) * static_cast<Sum>(v[i]);
    }

    // Values that are reals: a vector of dimensions stays in registers while the tokens go by, in order.
    void SumReals(size_t begin, size_t n, const float* HWY_RESTRICT p, double* HWY_RESTRICT sums) const {
      constexpr size_t kGroups = kVectorBytes / kSumLanes;
      const size_t dim = call_.shape_.head_dim;
      for (size_t first = 0; first < dim; first += kVectorBytes) {
        const size_t dims = std::min(kVectorBytes, dim - first);
        Doubles8 sum[kGroups];
        HWY_UNROLL(8) for (size_t g = 0; g < kGroups; ++g) sum[g] = Doubles8::Set(0.0);
        for (size_t s = 0; s < n; ++s) {
          const float* HWY_RESTRICT v = LevelsOf<Float>(call_.values_, begin + s) + first;
          const Doubles8 weight = Doubles8::Set(static_cast<double>(p[s]));
          if (dims == kVectorBytes) {
            HWY_UNROLL(8) for (size_t g = 0; g < kGroups; ++g) {
              sum[g] = Doubles8::MulAdd(weight, Doubles8::Load(v + g * kSumLanes), sum[g]);
            }
          } else {
            for (size_t g = 0; g * kSumLanes < dims; ++g) {
              const size_t left = dims - g * kSumLanes;
              const float* from = v + g * kSumLanes;
              const Doubles8 value = left < kSumLanes ? LoadTail(from, left) : Doubles8::Load(from);
              sum[g] = Doubles8::MulAdd(weight, value, sum[g]);
            }
          }
        }
        HWY_UNROLL(8) for (size_t g = 0; g < kGroups; ++g) sum[g].Store(sums + first + g * kSumLanes);
      }
    }

    // acc[to] += the sums of row r in block b.
    void AddBlock(size_t to, size_t r, size_t b, const Tile& of) const {
      double* HWY_RESTRICT acc = acc_ + to * call_.dims_;
      const Sum* HWY_RESTRICT sums = Sums(r, b, of);
      const double unit = kIsFloat<V> ? 1.0 : of.units[r * call_.max_blocks_ + b];
      if constexpr (std::is_same_v<Sum, int64_t>) {
        for (size_t i = 0; i < call_.shape_.head_dim; ++i) acc[i] += static_cast<double>(sums[i]) * unit;
      } else {
        const Doubles8 units = Doubles8::Set(unit);
        for (size_t i = 0; i < call_.shape_.head_dim; i += kSumLanes) {
          Doubles8::MulAdd(Doubles8::Load(sums + i), units, Doubles8::Load(acc + i)).Store(acc + i);
        }
      }
    }

    void Divide(size_t from, size_t r, double total) const {
      const double* acc = acc_ + from * call_.dims_;
      const Doubles8 totals = Doubles8::Set(total);
      const size_t dim = call_.shape_.head_dim;
      for (size_t i = 0; i < dim; i += kSumLanes) {
        float results[kSumLanes];
        (Doubles8::Load(acc + i) / totals).StoreFloats(results);
        std::copy(results, results + std::min(kSumLanes, dim - i), out_[r] + i);
      }
    }

    const AttentionCall& call_;
    int8_t* queries_;
    std::byte* levels_;
    double* acc_;
    size_t begin_ = 0;
    size_t end_ = 0;
    const uint8_t* next_ = nullptr;
    size_t kv_head_ = 0;
    size_t count_ = 0;
    const LevelOf<Q>* q_[kTileRows];
    float factor_[kTileRows];
    int32_t input_sum_[kTileRows];
    size_t visible_[kTileRows];
    float max_[kTileRows];
    float* out_[kTileRows];
  };

 private:
  // Rows of scores start on a cache line, and vectors may write beyond their end.
  size_t ScoreStride() const { return max_blocks_ * kAttentionBlock; }

  // The parts of a tile's memory, and its size.
  std::pair<Tile, size_t> CarveTile(std::byte* memory, size_t sum_blocks) const {
    size_t used = 0;
    const auto take = [&]<class T>(T*& part, size_t n) {
      if (memory != nullptr) part = reinterpret_cast<T*>(memory + used);
      used += RoundUp(n * sizeof(T), kAlignment);
    };
    Tile tile{};
    take(tile.scores, kTileRows * ScoreStride());
    take(tile.maxima, kTileRows * max_blocks_);
    take(tile.totals, kTileRows * max_blocks_);
    take(tile.units, kTileRows * max_blocks_);
    take(tile.sums, kTileRows * sum_blocks * dims_);
    tile.sum_blocks = sum_blocks;
    return {tile, used};
  }

  const QuantizedTokens<Q>& q_;
  const HeadCache<K, K0>& keys_;
  const HeadCache<V, V0>& values_;
  const AttentionShape& shape_;
  const MatrixView<float> out_;
  const size_t share_;
  const size_t rows_;  // of a key/value head
  const size_t tiles_of_head_;
  const size_t dims_;
  const size_t max_blocks_;
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_ATTENTION_INL_H_
