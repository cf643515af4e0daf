// The baseline of all claims: products and decode attention with weights and cache in 16-bit floats (bfloat16), inputs
// and sums in float. Not part of the library. As good as the memory stream that it reads: each thread reads several
// places in turn, as ReadBandwidth does (measure.h), and any number of threads splits the work evenly.
//
// A vector of 16-bit values is widened as two vectors of floats, those at even and those at odd places, by a shift and
// a mask; the floats that they meet are kept in the same order ("apart").
#ifndef BITNET_BENCHMARKS_BF16_H_
#define BITNET_BENCHMARKS_BF16_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>

#include "bitnet/backend/simd/targets.h"
#include "bitnet/base/assert.h"
#include "bitnet/base/executor.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/matrix_view.h"
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

namespace bitnet {

// Nearest, ties to even. NaN may become infinite.
inline uint16_t Bf16FromFloat(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
inline float FloatFromBf16(uint16_t x) { return std::bit_cast<float>(static_cast<uint32_t>(x) << 16); }

// [rows, cols], row-major; reads may run past the end. Nothing is between rows, but a line where all rows would start
// in the same set of a cache.
class Bf16Matrix {
 public:
  static constexpr size_t kReadBeyond = 128;

  Bf16Matrix() = default;
  Bf16Matrix(size_t rows, size_t cols)
      : rows_(rows), cols_(cols), stride_(cols % 1024 == 0 ? cols + 32 : cols), values_(rows * stride_ + kReadBeyond) {}
  explicit Bf16Matrix(MatrixView<const float> x) : Bf16Matrix(x.rows(), x.cols()) {
    for (size_t r = 0; r < rows_; ++r) std::transform(x.Row(r), x.Row(r) + cols_, Row(r), Bf16FromFloat);
  }
  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  uint16_t* Row(size_t row) { return values_.data() + row * stride_; }
  const uint16_t* Row(size_t row) const { return values_.data() + row * stride_; }
  size_t StoredBytes() const { return rows_ * cols_ * sizeof(uint16_t); }

 private:
  size_t rows_ = 0;
  size_t cols_ = 0;
  size_t stride_ = 0;
  AlignedVector<uint16_t> values_;
};

// Keys and values of one layer: rows are [kv_heads * max_tokens], a head's history is contiguous.
struct Bf16Cache {
  Bf16Cache() = default;
  Bf16Cache(size_t heads, size_t dim, size_t most)
      : kv_heads(heads), max_tokens(most), keys(heads * most, dim), values(heads * most, dim) {}
  size_t StoredBytes() const { return keys.StoredBytes() + values.StoredBytes(); }

  size_t kv_heads = 0;
  size_t max_tokens = 0;
  Bf16Matrix keys, values;
};

// What the functions below need besides; keep it between calls.
struct Bf16Scratch {
  AlignedVector<float> inputs;  // apart
  AlignedVector<float> scores;
  AlignedVector<float> partial;
};

}  // namespace bitnet

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {
namespace bf16 {

namespace hn = hwy::HWY_NAMESPACE;
using DF = hn::ScalableTag<float>;
using DU = hn::Repartition<uint32_t, DF>;
inline constexpr size_t kLanes = hn::MaxLanes(DF());
inline constexpr size_t kBlock = 2 * kLanes;  // values that a vector of 16-bit floats holds

// Places that a thread reads in turn.
inline constexpr size_t kStreams = 8;
// How far ahead lines are asked for, in values: 1 KiB; a head's history is short. With 4 KiB
// attention with one thread reads 0.83 of the bandwidth, with this 0.92; products 0.96 and 0.98 or more.
inline constexpr size_t kAhead = 512;

// How many of n rows each place holds: an odd number, so that the places do not fall into the
// same sets of the caches.
inline size_t StreamLength(size_t n) { return n < kStreams ? 0 : (n / kStreams - 1) | 1; }

struct Pair {
  hn::Vec<DF> even, odd;
};

HWY_INLINE Pair Load(const uint16_t* from) {
  const auto bits = hn::BitCast(DU(), hn::LoadU(hn::Repartition<uint16_t, DF>(), from));
  return {hn::BitCast(DF(), hn::ShiftLeft<16>(bits)), hn::BitCast(DF(), hn::And(bits, hn::Set(DU(), 0xffff0000u)))};
}

inline size_t Blocks(size_t n) { return (n + kBlock - 1) / kBlock; }

// to[0, Blocks(n) * kBlock): the values at even places of each block, then those at odd ones, times `factor`.
inline void Apart(const float* from, size_t n, float factor, float* to) {
  std::fill(to, to + Blocks(n) * kBlock, 0.0f);
  for (size_t i = 0; i < n; ++i) to[i / kBlock * kBlock + i % 2 * kLanes + i % kBlock / 2] = factor * from[i];
}
inline size_t PlaceApart(size_t i) { return i / kBlock * kBlock + i % 2 * kLanes + i % kBlock / 2; }

// sums[k] = sum of the lanes of vector k.
HWY_INLINE void SumsOfLanes(hn::Vec<DF> v0, hn::Vec<DF> v1, hn::Vec<DF> v2, hn::Vec<DF> v3, float* sums) {
  const DF d;
  const hn::Repartition<uint64_t, DF> d64;
  const auto v01 = hn::BitCast(d64, hn::Add(hn::InterleaveLower(d, v0, v1), hn::InterleaveUpper(d, v0, v1)));
  const auto v23 = hn::BitCast(d64, hn::Add(hn::InterleaveLower(d, v2, v3), hn::InterleaveUpper(d, v2, v3)));
  const auto sum =
      hn::Add(hn::BitCast(d, hn::InterleaveLower(d64, v01, v23)), hn::BitCast(d, hn::InterleaveUpper(d64, v01, v23)));
  HWY_ALIGN float lanes[kLanes];
  hn::Store(sum, d, lanes);
  const hn::CappedTag<float, 4> d4;
  auto total = hn::Load(d4, lanes);
  for (size_t i = 4; i < kLanes; i += 4) total = hn::Add(total, hn::Load(d4, lanes + i));
  hn::StoreU(total, d4, sums);
}

// dots[i][first + k] = <row k, x + i * stride> for four rows and four inputs, apart.
HWY_INLINE void Dots4(const uint16_t* const* rows, const float* HWY_RESTRICT x, size_t stride, size_t blocks,
                      size_t first, float (*dots)[kStreams]) {
  const DF d;
  hn::Vec<DF> sum[16];
  HWY_UNROLL(16) for (size_t k = 0; k < 16; ++k) sum[k] = hn::Zero(d);
  for (size_t b = 0; b < blocks; ++b) {
    HWY_UNROLL(4) for (size_t k = 0; k < 4; ++k) {
      const Pair w = Load(rows[k] + b * kBlock);
      __builtin_prefetch(rows[k] + b * kBlock + kAhead, 0, 3);
      HWY_UNROLL(4) for (size_t i = 0; i < 4; ++i) {
        sum[i * 4 + k] = hn::MulAdd(w.even, hn::Load(d, x + i * stride + b * kBlock), sum[i * 4 + k]);
        sum[i * 4 + k] = hn::MulAdd(w.odd, hn::Load(d, x + i * stride + b * kBlock + kLanes), sum[i * 4 + k]);
      }
    }
  }
  HWY_UNROLL(4) for (size_t i = 0; i < 4; ++i) {
    SumsOfLanes(sum[i * 4], sum[i * 4 + 1], sum[i * 4 + 2], sum[i * 4 + 3], dots[i] + first);
  }
}

// dots[k] = <row k, x> for kStreams rows; x apart.
HWY_INLINE void Dots(const uint16_t* const* rows, const float* HWY_RESTRICT x, size_t blocks, float* dots) {
  const DF d;
  hn::Vec<DF> even[kStreams], odd[kStreams];
  HWY_UNROLL(8) for (size_t k = 0; k < kStreams; ++k) even[k] = odd[k] = hn::Zero(d);
  for (size_t b = 0; b < blocks; ++b) {
    const auto x_even = hn::Load(d, x + b * kBlock);
    const auto x_odd = hn::Load(d, x + b * kBlock + kLanes);
    HWY_UNROLL(8) for (size_t k = 0; k < kStreams; ++k) {
      const Pair w = Load(rows[k] + b * kBlock);
      __builtin_prefetch(rows[k] + b * kBlock + kAhead, 0, 3);
      even[k] = hn::MulAdd(w.even, x_even, even[k]);
      odd[k] = hn::MulAdd(w.odd, x_odd, odd[k]);
    }
  }
  // What may lie between rows.
  HWY_UNROLL(8) for (size_t k = 0; k < kStreams; ++k) __builtin_prefetch(rows[k] + blocks * kBlock + kAhead, 0, 3);
  HWY_UNROLL(2) for (size_t k = 0; k < kStreams; k += 4) {
    SumsOfLanes(hn::Add(even[k], odd[k]), hn::Add(even[k + 1], odd[k + 1]), hn::Add(even[k + 2], odd[k + 2]),
                hn::Add(even[k + 3], odd[k + 3]), dots + k);
  }
}

HWY_INLINE float Dot(const uint16_t* row, const float* HWY_RESTRICT x, size_t blocks) {
  const DF d;
  auto sum = hn::Zero(d);
  for (size_t b = 0; b < blocks; ++b) {
    const Pair w = Load(row + b * kBlock);
    sum = hn::MulAdd(w.even, hn::Load(d, x + b * kBlock), sum);
    sum = hn::MulAdd(w.odd, hn::Load(d, x + b * kBlock + kLanes), sum);
  }
  return hn::ReduceSum(d, sum);
}

// y[r] = <w[r], x> for r in [begin, end).
HWY_NOINLINE inline void MatVecRows(const Bf16Matrix& w, const float* x, size_t begin, size_t end, float* y) {
  const size_t blocks = Blocks(w.cols());
  const size_t length = StreamLength(end - begin);
  for (size_t i = 0; i < length; ++i) {
    const uint16_t* rows[kStreams];
    float dots[kStreams];
    for (size_t k = 0; k < kStreams; ++k) rows[k] = w.Row(begin + k * length + i);
    Dots(rows, x, blocks, dots);
    for (size_t k = 0; k < kStreams; ++k) y[begin + k * length + i] = dots[k];
  }
  for (size_t r = begin + length * kStreams; r < end; ++r) y[r] = Dot(w.Row(r), x, blocks);
}

// y [1, rows] = x [1, cols] w^T.
inline void MatVec(Executor& executor, const Bf16Matrix& w, std::span<const float> x, Bf16Scratch& scratch,
                   std::span<float> y) {
  BITNET_ASSERT(x.size() == w.cols() && y.size() == w.rows(), "MatVec: x must have a value a column, y one a row");
  scratch.inputs.resize(std::max(scratch.inputs.size(), Blocks(w.cols()) * kBlock));
  Apart(x.data(), x.size(), 1.0f, scratch.inputs.data());
  ParallelRanges(executor, w.rows(), 16, 1,
                 [&](size_t begin, size_t end) { MatVecRows(w, scratch.inputs.data(), begin, end, y.data()); });
}

// Some rows and tokens whose sums stay in registers.
inline constexpr size_t kTileRows = 6;
inline constexpr size_t kTileTokens = 4;
inline constexpr size_t kChunk = 1024;  // columns of a tile's rows, as floats, that stay in the first-level cache

HWY_INLINE void DotTile(const float* HWY_RESTRICT w, const float* const* x, size_t cols, float* HWY_RESTRICT dots) {
  const DF d;
  hn::Vec<DF> sum[kTileRows * kTileTokens];
  HWY_UNROLL(24) for (size_t k = 0; k < kTileRows * kTileTokens; ++k) sum[k] = hn::Zero(d);
  for (size_t c = 0; c < cols; c += kLanes) {
    hn::Vec<DF> in[kTileTokens];
    HWY_UNROLL(4) for (size_t t = 0; t < kTileTokens; ++t) in[t] = hn::LoadU(d, x[t] + c);
    HWY_UNROLL(6) for (size_t r = 0; r < kTileRows; ++r) {
      const auto weight = hn::Load(d, w + r * kChunk + c);
      HWY_UNROLL(4) for (size_t t = 0; t < kTileTokens; ++t) {
        sum[r * kTileTokens + t] = hn::MulAdd(weight, in[t], sum[r * kTileTokens + t]);
      }
    }
  }
  HWY_UNROLL(6) for (size_t k = 0; k < kTileRows * kTileTokens; k += 4) {
    SumsOfLanes(sum[k], sum[k + 1], sum[k + 2], sum[k + 3], dots + k);
  }
}

// y[t][r] for r in [begin, end) and all tokens. x: [tokens, stride] apart; a chunk of it stays in the second-level
// cache.
HWY_NOINLINE inline void MatMulRows(const Bf16Matrix& w, const float* x, size_t stride, size_t begin, size_t end,
                                    MatrixView<float> y) {
  HWY_ALIGN float tile[kTileRows * kChunk];
  for (size_t first = 0; first < w.cols(); first += kChunk) {
    const size_t blocks = Blocks(std::min(kChunk, w.cols() - first));
    for (size_t r = begin; r < end; r += kTileRows) {
      const size_t rows = std::min(kTileRows, end - r);
      for (size_t k = 0; k < kTileRows; ++k) {
        const uint16_t* row = w.Row(r + std::min(k, rows - 1)) + first;
        for (size_t b = 0; b < blocks; ++b) {
          const Pair pair = Load(row + b * kBlock);
          hn::Store(pair.even, DF(), tile + k * kChunk + b * kBlock);
          hn::Store(pair.odd, DF(), tile + k * kChunk + b * kBlock + kLanes);
        }
      }
      for (size_t t = 0; t < y.rows(); t += kTileTokens) {
        const size_t tokens = std::min(kTileTokens, y.rows() - t);
        const float* inputs[kTileTokens];
        for (size_t k = 0; k < kTileTokens; ++k) inputs[k] = x + (t + std::min(k, tokens - 1)) * stride + first;
        float dots[kTileRows * kTileTokens];
        // The next tile's weights, a share for each step.
        const size_t share = kTileRows * blocks * kBlock / RoundUp(y.rows(), kTileTokens) * kTileTokens + kBlock;
        for (size_t i = t / kTileTokens * share;
             i < std::min((t / kTileTokens + 1) * share, kTileRows * blocks * kBlock); i += kBlock) {
          const size_t row = std::min(r + kTileRows + i / (blocks * kBlock), end - 1);
          __builtin_prefetch(w.Row(row) + first + i % (blocks * kBlock), 0, 2);
        }
        DotTile(tile, inputs, blocks * kBlock, dots);
        for (size_t k = 0; k < rows; ++k) {
          for (size_t j = 0; j < tokens; ++j) {
            float& to = y.Row(t + j)[r + k];
            to = (first == 0 ? 0.0f : to) + dots[k * kTileTokens + j];
          }
        }
      }
    }
  }
}

// y [tokens, rows] = x [tokens, cols] w^T, 64 tokens at a time.
inline void MatMul(Executor& executor, const Bf16Matrix& w, MatrixView<const float> x, Bf16Scratch& scratch,
                   MatrixView<float> y) {
  BITNET_ASSERT(x.cols() == w.cols() && y.cols() == w.rows() && y.rows() == x.rows(), "MatMul: shapes do not agree");
  constexpr size_t kMost = 64;
  if (x.rows() == 1) return MatVec(executor, w, x[0], scratch, {y.Row(0), y.cols()});
  const size_t stride = Blocks(w.cols()) * kBlock;
  scratch.inputs.resize(std::max(scratch.inputs.size(), x.rows() * stride));
  for (size_t t = 0; t < x.rows(); ++t) Apart(x.Row(t), x.cols(), 1.0f, scratch.inputs.data() + t * stride);
  ParallelRanges(executor, w.rows(), kTileRows, kTileRows, [&](size_t begin, size_t end) {
    for (size_t t = 0; t < x.rows(); t += kMost) {
      MatMulRows(w, scratch.inputs.data() + t * stride, stride, begin, end, y.Rows(t, std::min(kMost, x.rows() - t)));
    }
  });
}

// sum[h * stride + i] += sum_k weights[h][k] * row(k)[i] for the kBlocks blocks from `first` on; sum is apart.
template <size_t kHeads, size_t kBlocks>
HWY_INLINE void AddWeighted(const uint16_t* const* rows, size_t first, const float (*weights)[32], size_t count,
                            size_t stride, float* HWY_RESTRICT sum) {
  const DF d;
  hn::Vec<DF> sums[kHeads * 2 * kBlocks];
  HWY_UNROLL(4) for (size_t h = 0; h < kHeads; ++h) {
    HWY_UNROLL(8) for (size_t i = 0; i < 2 * kBlocks; ++i) {
      sums[h * 2 * kBlocks + i] = hn::LoadU(d, sum + h * stride + first * kBlock + i * kLanes);
    }
  }
  for (size_t k = 0; k < count; ++k) {
    HWY_UNROLL(4) for (size_t b = 0; b < kBlocks; ++b) {
      const Pair v = Load(rows[k] + (first + b) * kBlock);
      __builtin_prefetch(rows[k] + (first + b) * kBlock + kAhead, 0, 3);
      HWY_UNROLL(4) for (size_t h = 0; h < kHeads; ++h) {
        const auto weight = hn::Set(d, weights[h][k]);
        auto* to = sums + (h * kBlocks + b) * 2;
        to[0] = hn::MulAdd(weight, v.even, to[0]);
        to[1] = hn::MulAdd(weight, v.odd, to[1]);
      }
    }
  }
  HWY_UNROLL(4) for (size_t h = 0; h < kHeads; ++h) {
    HWY_UNROLL(8) for (size_t i = 0; i < 2 * kBlocks; ++i) {
      hn::StoreU(sums[h * 2 * kBlocks + i], d, sum + h * stride + first * kBlock + i * kLanes);
    }
  }
}

template <size_t kHeads, size_t kBlocks>
HWY_INLINE void AddWeightedRows(const uint16_t* const* rows, const float (*weights)[32], size_t count, size_t blocks,
                                size_t stride, float* sum) {
  size_t b = 0;
  for (; b + kBlocks <= blocks; b += kBlocks) AddWeighted<kHeads, kBlocks>(rows, b, weights, count, stride, sum);
  for (; b < blocks; ++b) AddWeighted<kHeads, 1>(rows, b, weights, count, stride, sum);
}

// Some query heads over tokens [begin, end) of their key/value head: partial[h] = {sum[blocks * kBlock], max, total}.
HWY_NOINLINE inline void AttendPart(const Bf16Cache& cache, size_t kv_head, size_t begin, size_t end, const float* q,
                                    size_t heads, float* score, float* partial) {
  constexpr size_t kTile = 4;  // times kStreams tokens, whose rows stay in the first-level cache for all heads
  const size_t blocks = Blocks(cache.keys.cols());
  const size_t width = blocks * kBlock;
  const size_t tokens = end - begin;
  const size_t length = StreamLength(tokens);
  const size_t base = kv_head * cache.max_tokens + begin;
  for (size_t i = 0; i < length; ++i) {
    const uint16_t* rows[kStreams];
    for (size_t k = 0; k < kStreams; ++k) rows[k] = cache.keys.Row(base + k * length + i);
    for (size_t h = 0; h < heads;) {
      float dots[4][kStreams];
      const size_t n = heads - h >= 4 ? 4 : 1;
      if (n == 1) {
        Dots(rows, q + h * width, blocks, dots[0]);
      } else {
        for (size_t k = 0; k < kStreams; k += 4) Dots4(rows + k, q + h * width, width, blocks, k, dots);
      }
      for (size_t j = 0; j < n; ++j, ++h) {
        for (size_t k = 0; k < kStreams; ++k) score[h * tokens + k * length + i] = dots[j][k];
      }
    }
  }
  for (size_t s = length * kStreams; s < tokens; ++s) {
    for (size_t h = 0; h < heads; ++h) {
      score[h * tokens + s] = Dot(cache.keys.Row(base + s), q + h * width, blocks);
    }
  }

  for (size_t h = 0; h < heads; ++h) {
    const DF d;
    float* mine = score + h * tokens;
    float* sum = partial + h * (width + 2);
    std::fill(sum, sum + width, 0.0f);
    auto most = hn::Set(d, mine[0]);
    size_t s = 0;
    for (; s + kLanes <= tokens; s += kLanes) most = hn::Max(most, hn::LoadU(d, mine + s));
    float max = hn::ReduceMax(d, most);
    for (; s < tokens; ++s) max = std::max(max, mine[s]);
    auto total = hn::Zero(d);
    float rest = 0.0f;
    s = 0;
    for (; s + kLanes <= tokens; s += kLanes) {
      const auto e = hn::Exp(d, hn::Sub(hn::LoadU(d, mine + s), hn::Set(d, max)));
      hn::StoreU(e, d, mine + s);
      total = hn::Add(total, e);
    }
    for (; s < tokens; ++s) rest += mine[s] = std::exp(mine[s] - max);
    sum[width] = max;
    sum[width + 1] = hn::ReduceSum(d, total) + rest;
  }

  const auto add = [&](const uint16_t* const* rows, const size_t* at, size_t count) HWY_ATTR {
    for (size_t h = 0; h < heads;) {
      float weights[4][kTile * kStreams];
      const size_t n = heads - h >= 4 ? 4 : 1;
      for (size_t j = 0; j < n; ++j) {
        for (size_t k = 0; k < count; ++k) weights[j][k] = score[(h + j) * tokens + at[k]];
      }
      float* sum = partial + h * (width + 2);
      if (n == 4) AddWeightedRows<4, 2>(rows, weights, count, blocks, width + 2, sum);
      if (n == 1) AddWeightedRows<1, 4>(rows, weights, count, blocks, width + 2, sum);
      h += n;
    }
  };
  const uint16_t* rows[kTile * kStreams];
  size_t at[kTile * kStreams];
  for (size_t i = 0; i < length; i += kTile) {
    size_t count = 0;
    for (size_t j = i; j < std::min(i + kTile, length); ++j) {
      for (size_t k = 0; k < kStreams; ++k) {
        at[count] = k * length + j;
        rows[count] = cache.values.Row(base + at[count]);
        ++count;
      }
    }
    add(rows, at, count);
  }
  for (size_t s = length * kStreams; s < tokens; ++s) {
    at[0] = s;
    rows[0] = cache.values.Row(base + s);
    add(rows, at, 1);
  }
}

// out [heads * dim] = attention of one token's queries q [heads, dim] over the first `visible` tokens of the cache.
// Query head h reads key/value head h / (heads / kv_heads).
inline void Attend(Executor& executor, const Bf16Cache& cache, MatrixView<const float> q, size_t visible,
                   Bf16Scratch& scratch, std::span<float> out) {
  const size_t dim = cache.keys.cols();
  const size_t heads = q.rows();
  BITNET_ASSERT(heads % cache.kv_heads == 0 && q.cols() == dim && out.size() == heads * dim,
                "Attend: a row of q must be a head, out hold heads * dim values, and kv_heads divide heads");
  BITNET_ASSERT(visible >= 1 && visible <= cache.max_tokens, "Attend: there must be a token, and room for all");
  const size_t group = heads / cache.kv_heads;
  const size_t width = Blocks(dim) * kBlock;
  // So many parts of each head's history that all threads have the same share.
  const size_t threads = executor.Threads();
  const size_t parts = std::min(threads / std::gcd(threads, cache.kv_heads), visible);
  const size_t units = cache.kv_heads * parts;
  const size_t part_tokens = (visible + parts - 1) / parts;
  scratch.inputs.resize(std::max(scratch.inputs.size(), heads * width));
  scratch.scores.resize(std::max(scratch.scores.size(), units * group * part_tokens));
  scratch.partial.resize(std::max(scratch.partial.size(), units * group * (width + 2)));
  const float factor = 1.0f / std::sqrt(static_cast<float>(dim));
  for (size_t h = 0; h < heads; ++h) Apart(q.Row(h), dim, factor, scratch.inputs.data() + h * width);
  ParallelRanges(executor, units, 1, 1, [&](size_t first, size_t last) {
    for (size_t unit = first; unit < last; ++unit) {
      const size_t kv_head = unit / parts;
      const size_t part = unit % parts;
      AttendPart(cache, kv_head, visible * part / parts, visible * (part + 1) / parts,
                 scratch.inputs.data() + kv_head * group * width, group,
                 scratch.scores.data() + unit * group * part_tokens,
                 scratch.partial.data() + unit * group * (width + 2));
    }
  });
  for (size_t h = 0; h < heads; ++h) {
    const auto partial = [&](size_t part) {
      return scratch.partial.data() + ((h / group * parts + part) * group + h % group) * (width + 2);
    };
    float max = partial(0)[width];
    for (size_t part = 1; part < parts; ++part) max = std::max(max, partial(part)[width]);
    float total = 0.0f;
    for (size_t part = 0; part < parts; ++part)
      total += std::exp(partial(part)[width] - max) * partial(part)[width + 1];
    std::fill_n(out.data() + h * dim, dim, 0.0f);
    for (size_t part = 0; part < parts; ++part) {
      const float weight = std::exp(partial(part)[width] - max) / total;
      for (size_t i = 0; i < dim; ++i) out[h * dim + i] += weight * partial(part)[PlaceApart(i)];
    }
  }
}

}  // namespace bf16
}  // namespace HWY_NAMESPACE

namespace bf16 = HWY_NAMESPACE::bf16;

}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BENCHMARKS_BF16_H_
