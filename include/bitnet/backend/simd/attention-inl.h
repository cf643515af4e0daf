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
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>

#include "bitnet/backend/check_shapes.h"
#include "bitnet/backend/definitions.h"
#include "bitnet/backend/simd/attention_kernels-inl.h"
#include "bitnet/backend/simd/attention_reals-inl.h"
#include "bitnet/backend/simd/attention_unit-inl.h"
#include "bitnet/backend/simd/dot_any_runs-inl.h"
#include "bitnet/backend/simd/dot_floats-inl.h"
#include "bitnet/backend/simd/grain.h"
#include "bitnet/backend/simd/head_codes-inl.h"
#include "bitnet/backend/simd/simd_heads.h"
#include "bitnet/backend/where.h"
#include "bitnet/base/executor.h"
#include "bitnet/base/size.h"
#include "bitnet/tensor/key_values.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// The sum of a block, exact: 256 weights of at most 2^15 - 1 times a level.
template <Format V, Format V0>
struct ValueSumOf {
  static constexpr int64_t kLargest =
      int64_t{kAttentionBlock} * kMaxWeight * HWY_MAX(FormatTraits<V>::kMaxMagnitude, FormatTraits<V0>::kMaxMagnitude);
  static_assert(kLargest < int64_t{1} << 53, "bitnet: a block's sum must be exact in double");
  using type = std::conditional_t<kLargest <= std::numeric_limits<int32_t>::max(), int32_t, int64_t>;
};
template <RealFormat V, RealFormat V0>
struct ValueSumOf<V, V0> {
  using type = double;  // in the order of the tokens
};

// What runs for these formats.
template <Format Q, Format K, Format V, Format V0>
struct AttentionFacts {
  // Scores of groups of four tokens: byte products of queries and offsets.
  static constexpr bool kFastScores = std::is_same_v<LevelOf<Q>, int8_t> && kHasHeadCodes<K>;
  // The dot product of a pair is 2^kBits times that of offsets: it must fit 32 bits, and its inputs a byte.
  static constexpr size_t kMostPairedDims = [] {
    if constexpr (kFastScores) {
      constexpr int64_t kInput = int64_t{FormatTraits<Q>::kMaxMagnitude} << HeadLayout<K>::kBits;
      return HeadCodes<K>::kHasPairs && kInput <= 127
                 ? static_cast<size_t>(std::numeric_limits<int32_t>::max() / (kInput * OffsetTraits<K>::kMaxOffset))
                 : size_t{0};
    } else {
      return size_t{0};
    }
  }();
  static constexpr bool kKeyPairs = kMostPairedDims != 0;
  // Sums of groups: byte products of digits of weights and offsets.
  static constexpr bool kSumsGroups = kHasHeadCodes<V> && std::is_same_v<typename ValueSumOf<V, V0>::type, int32_t>;
  static constexpr bool kUnitSums = kSumsGroups && UnitSums::kCanRead<V>;
};
// The matrix unit takes as long for one row as for all: at one and two rows vectors are faster. And it must be set up,
// for a call and for a block: 512 tokens are 5 % faster, 128 tokens would be 5 % slower, 64 dimensions 2 %.
inline constexpr size_t kLeastUnitTokens = 2 * kAttentionBlock;

// What reads keys or values in groups, in words.
template <LevelFormat F>
std::string DescribeGroups(bool in_pairs) {
  if constexpr (HeadLayout<F>::kIsByte) return "byte dot product of offsets";
  return "byte dot product of " + std::string(in_pairs ? "pairs of " : "") + std::to_string(HeadLayout<F>::kBits) +
         "-bit codes";
}

// What runs, in a line.
template <class Quantizers>
std::string DescribeAttention() {
  using K = typename Quantizers::Formats::Key;
  using V = typename Quantizers::Formats::Value;
  using Facts = AttentionFacts<typename Quantizers::Query::Format, K, V, typename Quantizers::Formats::FirstValue>;
  std::string text = "scores: ";
  if constexpr (Facts::kFastScores) {
    text += DescribeGroups<K>(Facts::kKeyPairs);
  } else {
    text += kIsFloat<K> ? "float, sums in double" : "one by one";
  }
  text += "; sums of values: ";
  if constexpr (Facts::kSumsGroups) {
    text += DescribeGroups<V>(HeadCodes<V>::kHasPairs);
    if (Facts::kUnitSums && bitnet::detail::HasAmx()) {
      text += ", from " + std::to_string(kLeastUnitTokens) + " tokens on matrix unit for 3 or 4 rows";
    }
  } else {
    text += kIsFloat<V> ? "float, sums in double" : "one by one";
  }
  return text;
}

template <class Formats>
using SimdKeyValues = KeyValues<SimdHeads<typename Formats::Key, typename Formats::FirstKey>,
                                SimdHeads<typename Formats::Value, typename Formats::FirstValue>>;
template <class Quantizers>
using SimdCache = CacheBy<Quantizers, PagedKeyValues<SimdKeyValues<typename Quantizers::Formats>>>;

// One call of Attend for a sequence. Threads make workers of it.
template <Format Q, Format K, Format K0, Format V, Format V0>
class AttentionCall {
 public:
  using Sum = typename ValueSumOf<V, V0>::type;
  using Cache = PagedKeyValues<KeyValues<SimdHeads<K, K0>, SimdHeads<V, V0>>>;

  // The queries from row first_query on are those of the tokens at first_position and after of the sequence.
  AttentionCall(const SimdRows<Q>& q, size_t first_query, const Cache& cache, PageTable table,
                const AttentionShape& shape, size_t first_position, MatrixView<float> out)
      : q_(q),
        first_query_(first_query),
        cache_(cache),
        table_(table),
        shape_(shape),
        first_position_(first_position),
        out_(out),
        share_(shape.heads / shape.kv_heads),
        rows_(out.rows() * share_),
        tiles_of_head_((rows_ + kTileRows - 1) / kTileRows),
        dims_(RoundUp(shape.head_dim, 64)),
        max_blocks_(table.size()) {}

  size_t tiles() const { return tiles_of_head_ * shape_.kv_heads; }
  // Of a block.
  const SimdHeads<K, K0>& keys(size_t b) const { return cache_[table_[b]].keys; }
  const SimdHeads<V, V0>& values(size_t b) const { return cache_[table_[b]].values; }
  const uint8_t* Keys(size_t tile, size_t b) const { return keys(b).Group(tile / tiles_of_head_, 0); }
  // Of the tile that sees most.
  size_t blocks() const { return (first_position_ + out_.rows() + kAttentionBlock - 1) / kAttentionBlock; }

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
    return SizeSum(RoundUp(SizeProduct(kTileRows * 4, dims_), kAlignment),
                   RoundUp(SizeProduct(sizeof(float), dims_), kAlignment),
                   RoundUp(SizeProduct(sizeof(double) * kTileRows, dims_), kAlignment));
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
        const size_t query = call_.first_query_ + token * call_.shape_.heads + head;
        q_[r] = call_.q_.Row(query);
        factor_[r] = ScoreFactor(call_.q_.Steps(query)[0], dim);
        visible_[r] = call_.first_position_ + token + 1;
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
      const size_t first = begin == 0 ? 1 : 0;
      if (HasFastScores()) {
        ScoreGroups(b, end - begin, of);
      } else if (kIsFloat<K> && call_.shape_.head_dim <= kMostRealDims) {
        ScoreReals(b, first, end - begin, of);
      } else {
        for (size_t s = first; s < end - begin; ++s) ScoreOne(b, s, Levels(call_.keys(b), s), of);
      }
      if (b == 0) ScoreOne(0, 0, FirstLevels(call_.keys(0)), of);
      for (size_t r = 0; r < count_; ++r) {
        const size_t n = InBlock(r, begin);
        of.maxima[r * call_.max_blocks_ + b] =
            n == 0 ? -std::numeric_limits<float>::infinity() : MaxOf(Scores(r, of) + begin, n);
      }
    }

    void FindMaxima(const Tile& of) {
      if constexpr (!kIsFloat<V>) {
        if (begin_ < end_) PrefetchSteps(call_.values(begin_));
      }
      for (size_t r = 0; r < count_; ++r) max_[r] = MaxOf(of.maxima + r * call_.max_blocks_, Blocks(visible_[r]));
    }

    void SumValues(size_t b, const Tile& of) {
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
          const auto sums = WeighScores<true>(score, max_[r], call_.values(b).Steps(kv_head_), n, p[0]);
          total = sums.total;
          double& unit = of.units[r * call_.max_blocks_ + b];
          unit = WeightsInUnits(p[0], sums.largest, n, weights, r);
          if (SumsByUnit()) unit_sums_.KeepAwake();
          counts = counts || unit > 0.0;
        }
      }
      if constexpr (kIsFloat<V>) {
        for (size_t r = count_; r < kTileRows; ++r) std::fill(p[r], p[r] + tokens, 0.0f);
        SumRealValues(b, p[0], of);
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
        if (b + 1 < end_) PrefetchSteps(call_.values(b + 1));
        if constexpr (kSumsGroups) {
          // The kernel takes 1, 2 or 4 rows.
          for (size_t r = count_; r < kTileRows; ++r) weights.Clear(r);
          if constexpr (kIsBeyond127<V>) SumLowDigits(weights);
          SumAllGroups(b, (tokens + 3) / 4, weights, of);
        } else {
          for (size_t r = 0; r < count_; ++r) std::fill(Sums(r, b, of), Sums(r, b, of) + call_.dims_, Sum{0});
          for (size_t s = begin == 0 ? 1 : 0; s < tokens; ++s) {
            const LevelOf<V>* v = Levels(call_.values(b), s);
            for (size_t r = 0; r < count_; ++r) AddLevels(weights.Weight(r, s), v, Sums(r, b, of));
          }
        }
        if (begin == 0) {
          const LevelOf<V0>* v = FirstLevels(call_.values(0));
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
    using Facts = AttentionFacts<Q, K, V, V0>;
    static constexpr bool kFastScores = Facts::kFastScores;
    static constexpr size_t kMostPairedDims = Facts::kMostPairedDims;
    static constexpr bool kKeyPairs = Facts::kKeyPairs;
    bool HasFastScores() const { return kFastScores && (!kKeyPairs || call_.shape_.head_dim <= kMostPairedDims); }
    static constexpr bool kSumsGroups = Facts::kSumsGroups;
    bool SumsByUnit() const {
      return Facts::kUnitSums && count_ > 2 && call_.shape_.head_dim > 64 && visible_[count_ - 1] >= kLeastUnitTokens &&
             bitnet::detail::HasAmx();
    }

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
          HeadCodes<K>::Arrange(q_[r], dim, to);
        }
      }
    }

    // Scores of the first n tokens of block b.
    void ScoreGroups(size_t b, size_t n, const Tile& of) const {
      if constexpr (kFastScores) {
        HWY_ALIGN int32_t dots[kTileRows * kAttentionBlock];
        const size_t dim = call_.shape_.head_dim;
        const auto& keys = call_.keys(b);
        PrefetchSteps(keys);
        const auto run = [&]<size_t kRows>(std::integral_constant<size_t, kRows>) {
          DotGroups<K, kRows, kKeyPairs>(keys.Group(kv_head_, 0), keys.GroupBytes(), (n + 3) / 4, queries_,
                                         4 * call_.dims_, dim, AfterKeys(b), dots);
        };
        WithRows(run);
        const bool is_small = dim <= (size_t{1} << 24) / (size_t{FormatTraits<K>::kMaxMagnitude} *
                                                          size_t{FormatTraits<Q>::kMaxMagnitude});
        for (size_t r = 0; r < count_; ++r) {
          ScoresOfDots<K>(dots + r * kAttentionBlock, input_sum_[r], keys.Steps(kv_head_), factor_[r], is_small, n,
                          Scores(r, of) + b * kAttentionBlock);
        }
      }
    }

    // Of this head, in a block that is read next. (Reals have none.)
    template <class Heads>
    void PrefetchSteps(const Heads& heads) const {
      const float* steps = heads.Steps(kv_head_);
      for (size_t i = 0; i < kAttentionBlock; i += 64 / sizeof(float)) __builtin_prefetch(steps + i);
    }

    // What is read after block b of the keys or of the values, to be fetched in the meantime; if nothing is, that
    // block.
    const uint8_t* AfterKeys(size_t b) const {
      return b + 1 < end_ ? call_.keys(b + 1).Group(kv_head_, 0) : call_.values(begin_).Group(kv_head_, 0);
    }
    const uint8_t* AfterValues(size_t b) const {
      if (b + 1 == end_ && next_ != nullptr) return next_;
      return call_.values(std::min(b + 1, end_ - 1)).Group(kv_head_, 0);
    }

    void SumAllGroups(size_t b, size_t groups, const BlockWeights& weights, const Tile& of) {
      if constexpr (kSumsGroups) {
        constexpr size_t kDims = HeadCodes<V>::kCodes / 4;
        constexpr size_t kLeast = HeadCodes<V>::kHasPairs ? 2 : 1;
        const size_t vectors = RoundUp(call_.shape_.head_dim, kLeast * kDims) / kDims;
        const uint8_t* from = call_.values(b).Group(kv_head_, 0);
        const size_t group_bytes = call_.values(b).GroupBytes();
        const uint8_t* ahead = AfterValues(b);
        const size_t stride = of.sum_blocks * call_.dims_;
        if constexpr (UnitSums::kCanRead<V>) {
          if (SumsByUnit()) {
            unit_sums_.Add<V>(from, group_bytes, groups, call_.shape_.head_dim, weights, ahead, Sums(0, b, of), stride);
            return;
          }
        }
        const auto run = [&]<size_t kRows>(std::integral_constant<size_t, kRows>) {
          constexpr size_t kVectors = (kManyRegisters ? 8 : 4) / kRows;
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

    // Scores of token s of block b, whose key is k.
    template <class Level>
    void ScoreOne(size_t b, size_t s, const Level* k, const Tile& of) const {
      const size_t dim = call_.shape_.head_dim;
      for (size_t r = 0; r < count_; ++r) {
        const float scale = factor_[r] * call_.keys(b).Step(kv_head_, s);
        double dot;
        if constexpr (kIsFloat<Q> || std::is_same_v<Level, float>) {
          FloatDot sum;
          sum.Add(q_[r], k, dim);
          dot = static_cast<double>(sum.Total());
        } else {
          dot = static_cast<double>(DotLevels(q_[r], k, dim));
        }
        Scores(r, of)[b * kAttentionBlock + s] = static_cast<float>(dot * static_cast<double>(scale));
      }
    }

    // Scores of tokens [first, n) of block b.
    void ScoreReals(size_t b, size_t first, size_t n, const Tile& of) const {
      if constexpr (kIsFloat<K>) {
        if (first == n) return;
        ScoresOfReals(Reals(call_.keys(b), first), call_.shape_.head_dim, n - first, kPageTokens - 1 - first, q_,
                      count_, call_.shape_.head_dim, factor_, of.scores + b * kAttentionBlock + first,
                      call_.ScoreStride());
      }
    }

    // The reals of a head at a token, where they lie.
    template <RealFormat Stored, Format First>
    const StoredReal<Stored>* Reals(const SimdHeads<Stored, First>& heads, size_t s) const {
      return reinterpret_cast<const StoredReal<Stored>*>(heads.Group(kv_head_, s));
    }

    // The levels of a head at a token, and at the first of the sequence, unpacked.
    template <Format Stored, Format First>
    const LevelOf<Stored>* Levels(const SimdHeads<Stored, First>& heads, size_t s) const {
      auto* to = reinterpret_cast<LevelOf<Stored>*>(levels_);
      heads.Load(kv_head_, s, {to, call_.shape_.head_dim});
      return to;
    }
    template <Format Stored, Format First>
    const LevelOf<First>* FirstLevels(const SimdHeads<Stored, First>& heads) const {
      auto* to = reinterpret_cast<LevelOf<First>*>(levels_);
      heads.LoadFirst(kv_head_, {to, call_.shape_.head_dim});
      return to;
    }

    template <class Level>
    void AddLevels(int32_t weight, const Level* HWY_RESTRICT v, Sum* HWY_RESTRICT sums) const {
      if (weight == 0) return;
      for (size_t i = 0; i < call_.shape_.head_dim; ++i) sums[i] += static_cast<Sum>(weight) * static_cast<Sum>(v[i]);
    }

    // Sums of values that are reals, given the weights p [row][token of the block]: of the tokens that all rows see for
    // all rows, then of the others.
    void SumRealValues(size_t b, const float* p, const Tile& of) const {
      const size_t begin = b * kAttentionBlock;
      const size_t dim = call_.shape_.head_dim;
      const size_t stride = of.sum_blocks * call_.dims_;
      double* const sums = Sums(0, b, of);
      for (size_t r = 0; r < kTileRows; ++r) std::fill(sums + r * stride, sums + r * stride + call_.dims_, 0.0);
      const size_t first = begin == 0 ? 1 : 0;
      if (first == 1) {
        const float* v = FirstLevels(call_.values(0));
        for (size_t r = 0; r < count_; ++r) {
          const auto weight = static_cast<double>(p[r * kAttentionBlock]);
          for (size_t i = 0; i < dim; ++i) sums[r * stride + i] += weight * static_cast<double>(v[i]);
        }
      }
      const size_t shared = std::max(first, InBlock(0, begin));
      const auto add = [&]<size_t kRows>(std::integral_constant<size_t, kRows>, size_t row, size_t from, size_t to) {
        if (from == to) return;
        SumReals<kRows>(Reals(call_.values(b), from), dim, to - from, kPageTokens - 1 - from, dim,
                        p + row * kAttentionBlock + from, kAttentionBlock, sums + row * stride, stride);
      };
      WithRows([&](auto rows) { add(rows, 0, first, shared); });
      for (size_t r = 1; r < count_; ++r) {
        add(std::integral_constant<size_t, 1>(), r, shared, std::max(shared, InBlock(r, begin)));
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
    UnitSums unit_sums_;
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
    const auto take = [&]<class T>(T*& part, size_t n) {  // n for each row
      if (memory != nullptr) part = reinterpret_cast<T*>(memory + used);
      used = SizeSum(used, RoundUp(SizeProduct(sizeof(T) * kTileRows, n), kAlignment));
    };
    Tile tile{};
    take(tile.scores, ScoreStride());
    take(tile.maxima, max_blocks_);
    take(tile.totals, max_blocks_);
    take(tile.units, max_blocks_);
    take(tile.sums, SizeProduct(sum_blocks, dims_));
    tile.sum_blocks = sum_blocks;
    return {tile, used};
  }

  const SimdRows<Q>& q_;
  const size_t first_query_;
  const Cache& cache_;
  const PageTable table_;
  const AttentionShape& shape_;
  const size_t first_position_;
  const MatrixView<float> out_;
  const size_t share_;
  const size_t rows_;  // of a key/value head
  const size_t tiles_of_head_;
  const size_t dims_;
  const size_t max_blocks_;
};

// Memory for attention, kept by the caller so that decoding allocates nothing.
class AttentionScratch {
 public:
  // `bytes` of memory of any content, on a cache line; it grows only.
  std::byte* Reserve(size_t bytes) {
    if (memory_.size() < bytes) memory_.resize(ElementCount<std::byte>(bytes));
    return memory_.data();
  }

 private:
  AlignedVector<std::byte> memory_;
};

// out [tokens, heads * head_dim]: attention of the queries from row first_query on, of tokens at first_position and
// after of the sequence with these pages.
template <Format Q, Format K, Format K0, Format V, Format V0>
void AttendRun(Executor& executor, AttentionScratch& scratch, const SimdRows<Q>& q, size_t first_query,
               const PagedKeyValues<KeyValues<SimdHeads<K, K0>, SimdHeads<V, V0>>>& cache, PageTable table,
               const AttentionShape& shape, size_t first_position, MatrixView<float> out) {
  using Call = AttentionCall<Q, K, K0, V, V0>;
  const Call call(q, first_query, cache, table, shape, first_position, out);
  const size_t tiles = call.tiles();
  if (tiles == 0) return;
  // Memory for all of the pages: decoding asks for the same until there is another.
  const size_t threads = executor.Threads();
  const size_t whole_bytes = SizeSum(call.WorkerBytes(), call.TileBytes(1));
  const size_t split_bytes = call.TileBytes(call.max_blocks());
  std::byte* const memory =
      scratch.Reserve(SizeSum(SizeProduct(threads, whole_bytes), SizeProduct(threads - 1, split_bytes)));
  const auto split_tile = [&](size_t i) {
    return call.TileAt(memory + threads * whole_bytes + i * split_bytes, call.max_blocks());
  };

  const uint64_t work = uint64_t{2} * shape.head_dim * (first_position + out.rows()) * out.rows() * shape.heads;
  const auto parts = static_cast<size_t>(std::clamp<uint64_t>(work / kWorthAThread, 1, threads));
  // Each part takes as many whole tiles as the others. The tiles left are split: all parts score some of their
  // blocks, then sum up some, then merge some rows.
  const size_t split = tiles % parts;
  const size_t blocks = call.blocks();
  const auto split_begin = [&](size_t part) { return PartBegin(split * blocks, part, parts); };
  const auto each_split_block = [&](size_t part, auto& worker, auto&& taken, auto&& f) {
    for (size_t i = split_begin(part); i < split_begin(part + 1);) {
      const size_t tile = i / blocks;
      const size_t end = std::min(split_begin(part + 1), (tile + 1) * blocks);
      worker.Take(tiles - split + tile, i % blocks, end - tile * blocks, nullptr);
      taken(split_tile(tile));
      for (; i < end; ++i) {
        if (i % blocks < worker.tile_blocks()) f(i % blocks, split_tile(tile));
      }
    }
  };
  executor.Run(parts, [&](size_t part) {
    std::byte* const own = memory + part * whole_bytes;
    typename Call::Worker worker(call, own);
    const auto tile = call.TileAt(own + call.WorkerBytes(), 1);
    const uint8_t* const split_keys =
        split == 0 ? nullptr : call.Keys(tiles - split + split_begin(part) / blocks, split_begin(part) % blocks);
    for (size_t i = part; i < tiles - split; i += parts) {
      worker.Run(i, tile, i + parts < tiles - split ? call.Keys(i + parts, 0) : split_keys);
    }
    each_split_block(
        part, worker, [](const auto&) {}, [&](size_t b, const auto& of) { worker.Score(b, of); });
  });
  if (split == 0) return;
  executor.Run(parts, [&](size_t part) {
    typename Call::Worker worker(call, memory + part * whole_bytes);
    each_split_block(
        part, worker, [&](const auto& of) { worker.FindMaxima(of); },
        [&](size_t b, const auto& of) { worker.SumValues(b, of); });
  });
  executor.Run(parts, [&](size_t part) {
    typename Call::Worker worker(call, memory + part * whole_bytes);
    for (size_t i = part; i < split * kTileRows; i += parts) {
      worker.Take(tiles - split + i / kTileRows, 0, 0, nullptr);
      if (i % kTileRows < worker.count()) worker.Merge(i % kTileRows, split_tile(i / kTileRows));
    }
  });
}

// Each token over the tokens of its sequence up to its own.
template <class Cache, Format Q>
void AttendTokens(Executor& executor, AttentionScratch& scratch, const SimdRows<Q>& q, const HostWhere& where,
                  const Cache& cache, const AttentionShape& shape, MatrixView<float> out) {
  CheckHeadDotsFit<Q, typename Cache::Quantizers::Formats>(shape.head_dim);
  CheckAttend(q, where, cache, shape, out);
  for (const HostWhere::Run& run : where.runs()) {
    AttendRun(executor, scratch, q, run.first_token * shape.heads, cache, where.Table(run.sequence), shape,
              run.first_position, out.Rows(run.first_token, run.tokens));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_ATTENTION_INL_H_
