// What stands between the products of a model in bfloat16, as kernels for a GPU: the baseline of ./dev cuda, whose
// products are cuBLAS's. Sums in float, in no order that anybody promises. Written against a Device
// (bitnet/backend/cuda/device.h), so that the emulated one tests them (tests/benchmarks/bf16_kernels_test.cc).
#ifndef BITNET_BENCHMARKS_CUDA_BF16_KERNELS_H_
#define BITNET_BENCHMARKS_CUDA_BF16_KERNELS_H_

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/base/host_device.h"

namespace bitnet::cuda_bench {

using cuda::Grid;
using cuda::kWarp;
using cuda::NoShared;

using Bf16 = uint16_t;  // its bits

BITNET_HOST_DEVICE inline float FloatOf(Bf16 bits) { return BitCast<float>(uint32_t{bits} << 16); }
// To the nearest, ties to even. (No NaN.)
BITNET_HOST_DEVICE inline Bf16 Bf16Of(float v) {
  const uint32_t bits = BitCast<uint32_t>(v);
  return static_cast<Bf16>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
// Four that lie together, at a multiple of 8 bytes.
BITNET_DEVICE void LoadFour(float (&to)[4], const Bf16* from) {
  const uint64_t four = *reinterpret_cast<const uint64_t*>(from);
  BITNET_UNROLL
  for (unsigned i = 0; i < 4; ++i) to[i] = FloatOf(static_cast<Bf16>(four >> 16 * i));
}

template <class Device>
BITNET_DEVICE float WarpSumOf(Device& d, float v) {
  for (unsigned mask = kWarp / 2; mask != 0; mask /= 2) v += d.ShuffleXor(v, mask);
  return v;
}

// The sum, or the largest, of a value of each thread of a block; all have it.
template <unsigned kThreads>
struct OfBlock {
  float of_warps[kThreads / kWarp];
  template <class Device>
  BITNET_DEVICE float Sum(Device& d, float v) {
    v = WarpSumOf(d, v);
    Exchange(d, v);
    float sum = 0.0f;
    for (const float each : of_warps) sum += each;
    return sum;
  }
  template <class Device>
  BITNET_DEVICE float Max(Device& d, float v) {
    Exchange(d, cuda::WarpMax(d, v));
    float max = of_warps[0];
    for (const float each : of_warps) max = each > max ? each : max;
    return max;
  }

 private:
  template <class Device>
  BITNET_DEVICE void Exchange(Device& d, float v) {
    d.Barrier();  // what was read before
    if (d.lane() == 0) of_warps[d.warp()] = v;
    d.Barrier();
  }
};

// Weights: repeatable noise, uniform in [-scale, scale).
struct FillKernel {
  static constexpr unsigned kThreads = 256;
  using Shared = NoShared;
  Bf16* to;
  size_t count;
  float scale;
  uint32_t seed;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    for (size_t i = size_t{d.block()} * kThreads + d.thread(); i < count; i += size_t{d.blocks()} * kThreads) {
      uint32_t bits = static_cast<uint32_t>(i * 2654435761u) ^ seed;
      bits = (bits ^ bits >> 16) * 0x7feb352du;
      bits = (bits ^ bits >> 15) * 0x846ca68bu;
      to[i] = Bf16Of(scale * (static_cast<float>(static_cast<int32_t>(bits ^ bits >> 16)) * 0x1p-31f));
    }
  }
};

// x [tokens, hidden] = the rows of a table.
struct EmbedKernel {
  static constexpr unsigned kThreads = 256;
  using Shared = NoShared;
  const Bf16* table;
  const uint32_t* tokens;
  Bf16* x;
  uint32_t hidden;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    const size_t token = d.block();
    for (unsigned i = d.thread(); i < hidden; i += kThreads) {
      x[token * hidden + i] = table[size_t{tokens[token]} * hidden + i];
    }
  }
};

// y [tokens, hidden] = x / rms(x). (Gains are 1; a block a token.)
struct NormKernel {
  static constexpr unsigned kThreads = 256;
  using Shared = OfBlock<kThreads>;
  const Bf16* x;
  Bf16* y;
  uint32_t hidden;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    const Bf16* row = x + size_t{d.block()} * hidden;
    float squares = 0.0f;
    for (unsigned i = d.thread(); i < hidden; i += kThreads) squares += FloatOf(row[i]) * FloatOf(row[i]);
    const float mean = shared.Sum(d, squares) / static_cast<float>(hidden);
    const float factor = 1.0f / std::sqrt(mean + 1e-5f);
    for (unsigned i = d.thread(); i < hidden; i += kThreads) {
      y[size_t{d.block()} * hidden + i] = Bf16Of(FloatOf(row[i]) * factor);
    }
  }
};

// h [tokens, ffn] = silu(gate) * up of rows [gate, up].
struct GluKernel {
  static constexpr unsigned kThreads = 256;
  using Shared = NoShared;
  const Bf16* gate_and_up;  // [tokens, 2 * ffn]
  Bf16* h;
  uint32_t ffn;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    const unsigned i = d.block() * kThreads + d.thread();
    if (i >= ffn) return;
    const size_t token = d.block_y();
    const float gate = FloatOf(gate_and_up[token * 2 * ffn + i]);
    const float up = FloatOf(gate_and_up[token * 2 * ffn + ffn + i]);
    h[token * ffn + i] = Bf16Of(up * gate / (1.0f + std::exp(-gate)));
  }
};

// Heads, and where keys and values of all conversations lie: [conversations, kv_heads, max_tokens, head_dim] each.
struct Heads {
  uint32_t heads, kv_heads, head_dim, max_tokens;
  BITNET_HOST_DEVICE uint32_t width() const { return (heads + 2 * kv_heads) * head_dim; }
  BITNET_HOST_DEVICE size_t At(size_t conversation, uint32_t kv_head, size_t position) const {
    return ((conversation * kv_heads + kv_head) * max_tokens + position) * head_dim;
  }
};

// Turns queries (in place) and keys of qkv [tokens, width] by their position, and stores keys and values. Pairs are the
// halves of a head. Tokens that follow each other, from `position` on, of one conversation; or one of each. The angle
// of pair i is position * base^(-2i/head_dim). (A block a token and head of queries, keys or values.)
struct RotateAndStoreKernel {
  static constexpr unsigned kThreads = 64;
  using Shared = NoShared;
  Bf16* qkv;
  Bf16* keys;
  Bf16* values;
  Heads of;
  uint32_t position;
  bool is_prompt;
  float log2_base;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    const uint32_t head = d.block();  // [0, heads + 2 kv_heads)
    const size_t token = d.block_y();
    const size_t conversation = is_prompt ? 0 : token;
    const size_t at = is_prompt ? position + token : position;
    Bf16* x = qkv + token * of.width() + size_t{head} * of.head_dim;
    if (head >= of.heads + of.kv_heads) {
      Bf16* to = values + of.At(conversation, head - of.heads - of.kv_heads, at);
      for (unsigned i = d.thread(); i < of.head_dim; i += kThreads) to[i] = x[i];
      return;
    }
    Bf16* to = head < of.heads ? x : keys + of.At(conversation, head - of.heads, at);
    const unsigned half = of.head_dim / 2;
    for (unsigned i = d.thread(); i < half; i += kThreads) {
      const float exponent = -2.0f * static_cast<float>(i) / static_cast<float>(of.head_dim) * log2_base;
      const float angle = static_cast<float>(at) * std::exp2(exponent);
      const float cos = std::cos(angle);
      const float sin = std::sin(angle);
      const float first = FloatOf(x[i]);
      const float second = FloatOf(x[half + i]);
      to[i] = Bf16Of(first * cos - second * sin);
      to[half + i] = Bf16Of(first * sin + second * cos);
    }
  }
};

// ---- Attention of one token of each conversation: "flash decoding". A block has a conversation, a head of keys and
// values with all of its queries, and a part of the positions; its warps take turns. Then the parts are merged.

inline constexpr uint32_t kMostQueries = 4;  // of a head of keys and values
inline constexpr uint32_t kMostHeadDim = 128;

// What a part has found of a query.
struct AttentionPart {
  float max;                   // of scores
  float sum;                   // of weights e^(score - max)
  float values[kMostHeadDim];  // their sums
};

template <uint32_t kQueries>
struct AttendKernel {
  static constexpr unsigned kThreads = 128;
  static constexpr unsigned kWarps = kThreads / kWarp;
  static constexpr unsigned kAtOnce = 4;  // positions of a warp
  struct Shared {
    AttentionPart parts[kWarps];
  };
  const Bf16* qkv;  // [conversations, width]
  const Bf16* keys;
  const Bf16* values;
  AttentionPart* parts;  // [conversations, heads, parts]
  Heads of;
  uint32_t tokens;      // of each conversation
  uint32_t part_count;  // of each head

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    const uint32_t part = d.block() % part_count;
    const uint32_t kv_head = d.block() / part_count % of.kv_heads;
    const size_t conversation = d.block() / part_count / of.kv_heads;
    const uint32_t each = (tokens + part_count - 1) / part_count;
    const uint32_t begin = part * each;
    const uint32_t end = begin + each < tokens ? begin + each : tokens;
    const unsigned dim = d.lane() * 4;
    const bool has_dim = dim < of.head_dim;
    const float scale = 1.44269504f / std::sqrt(static_cast<float>(of.head_dim));  // for 2^x
    const Bf16* k = keys + of.At(conversation, kv_head, 0);
    const Bf16* v = values + of.At(conversation, kv_head, 0);

    float q[kQueries][4] = {};
    float max[kQueries], sum[kQueries], all[kQueries][4];
    BITNET_UNROLL
    for (uint32_t i = 0; i < kQueries; ++i) {
      if (has_dim) LoadFour(q[i], qkv + conversation * of.width() + (kv_head * kQueries + i) * of.head_dim + dim);
      max[i] = -1e30f;
      sum[i] = 0.0f;
      BITNET_UNROLL
      for (unsigned j = 0; j < 4; ++j) all[i][j] = 0.0f;
    }
    for (uint32_t first = begin + d.warp() * kAtOnce; first < end; first += kThreads / kWarp * kAtOnce) {
      float of_keys[kAtOnce][4] = {}, of_values[kAtOnce][4] = {};
      BITNET_UNROLL
      for (unsigned t = 0; t < kAtOnce; ++t) {
        if (!has_dim || first + t >= end) continue;
        LoadFour(of_keys[t], k + size_t{first + t} * of.head_dim + dim);
        LoadFour(of_values[t], v + size_t{first + t} * of.head_dim + dim);
      }
      BITNET_UNROLL
      for (uint32_t i = 0; i < kQueries; ++i) {
        float scores[kAtOnce];
        float new_max = max[i];
        BITNET_UNROLL
        for (unsigned t = 0; t < kAtOnce; ++t) {
          float score = 0.0f;
          BITNET_UNROLL
          for (unsigned j = 0; j < 4; ++j) score += q[i][j] * of_keys[t][j];
          scores[t] = WarpSumOf(d, score) * scale;
          if (first + t < end && scores[t] > new_max) new_max = scores[t];
        }
        const float factor = std::exp2(max[i] - new_max);
        max[i] = new_max;
        sum[i] *= factor;
        BITNET_UNROLL
        for (unsigned j = 0; j < 4; ++j) all[i][j] *= factor;
        BITNET_UNROLL
        for (unsigned t = 0; t < kAtOnce; ++t) {
          const float weight = first + t < end ? std::exp2(scores[t] - new_max) : 0.0f;
          sum[i] += weight;
          BITNET_UNROLL
          for (unsigned j = 0; j < 4; ++j) all[i][j] += weight * of_values[t][j];
        }
      }
    }
    // The warps' parts become the block's, query by query.
    BITNET_UNROLL
    for (uint32_t i = 0; i < kQueries; ++i) {
      d.Barrier();
      AttentionPart& mine = shared.parts[d.warp()];
      if (d.lane() == 0) {
        mine.max = max[i];
        mine.sum = sum[i];
      }
      BITNET_UNROLL
      for (unsigned j = 0; j < 4; ++j) mine.values[dim + j] = all[i][j];
      d.Barrier();
      AttentionPart& to = parts[(conversation * of.heads + kv_head * kQueries + i) * part_count + part];
      MergeParts(shared.parts, kWarps, d.thread(), kThreads, of.head_dim, &to.max, &to.sum, to.values);
    }
  }

  // Each thread some of the values; the first thread max and sum.
  static BITNET_DEVICE void MergeParts(const AttentionPart* from, uint32_t count, unsigned thread, unsigned threads,
                                       uint32_t head_dim, float* max_of_all, float* sum_of_all, float* values_of_all) {
    float max = from[0].max;
    for (uint32_t p = 1; p < count; ++p) max = from[p].max > max ? from[p].max : max;
    float sum = 0.0f;
    for (uint32_t p = 0; p < count; ++p) sum += from[p].sum * std::exp2(from[p].max - max);
    for (unsigned i = thread; i < head_dim; i += threads) {
      float value = 0.0f;
      for (uint32_t p = 0; p < count; ++p) value += from[p].values[i] * std::exp2(from[p].max - max);
      values_of_all[i] = value;
    }
    if (thread != 0) return;
    *max_of_all = max;
    *sum_of_all = sum;
  }
};

// y [conversations, heads * head_dim]: a block of a head.
struct MergeKernel {
  static constexpr unsigned kThreads = kMostHeadDim;
  struct Shared {
    AttentionPart all;
  };
  const AttentionPart* parts;
  Bf16* y;
  uint32_t head_dim;
  uint32_t part_count;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    AttendKernel<1>::MergeParts(parts + size_t{d.block()} * part_count, part_count, d.thread(), kThreads, head_dim,
                                &shared.all.max, &shared.all.sum, shared.all.values);
    d.Barrier();
    for (unsigned i = d.thread(); i < head_dim; i += kThreads) {
      y[size_t{d.block()} * head_dim + i] = Bf16Of(shared.all.values[i] / shared.all.sum);
    }
  }
};

// How many parts, for a GPU of so many multiprocessors: several blocks each, of 64 positions at least.
inline uint32_t AttentionPartsFor(size_t conversations, uint32_t kv_heads, uint32_t tokens, uint32_t multiprocessors) {
  const size_t heads = conversations * kv_heads;
  const size_t wanted = (size_t{8} * multiprocessors + heads - 1) / heads;
  const size_t most = (tokens + 63) / 64;
  const size_t parts = wanted < most ? wanted : most;
  return static_cast<uint32_t>(parts == 0 ? 1 : parts);
}

// The two, in a stream.
template <class Stream>
void Attend(Stream& stream, const Bf16* qkv, const Bf16* keys, const Bf16* values, AttentionPart* parts, Bf16* y,
            const Heads& of, uint32_t conversations, uint32_t tokens, uint32_t part_count) {
  const Grid grid{conversations * of.kv_heads * part_count, 1};
  if (of.heads == of.kv_heads) {
    stream.Launch(AttendKernel<1>{qkv, keys, values, parts, of, tokens, part_count}, grid);
  } else {
    stream.Launch(AttendKernel<kMostQueries>{qkv, keys, values, parts, of, tokens, part_count}, grid);
  }
  stream.Launch(MergeKernel{parts, y, of.head_dim, part_count}, Grid{conversations * of.heads, 1});
}

// ---- Attention of a prompt, between products: weights [heads, queries, keys] of scores, row by row, of the keys up to
// the query's own. (A block a row.)
struct SoftmaxKernel {
  static constexpr unsigned kThreads = 256;
  using Shared = OfBlock<kThreads>;
  const float* scores;
  Bf16* weights;
  uint32_t tokens;
  float scale;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    const size_t row = size_t{d.block_y()} * tokens + d.block();
    const uint32_t seen = d.block() + 1;
    const float* x = scores + row * tokens;
    float max = -1e30f;
    for (uint32_t i = d.thread(); i < seen; i += kThreads) max = x[i] > max ? x[i] : max;
    max = shared.Max(d, max);
    float sum = 0.0f;
    for (uint32_t i = d.thread(); i < seen; i += kThreads) sum += std::exp2((x[i] - max) * scale);
    const float factor = 1.0f / shared.Sum(d, sum);
    for (uint32_t i = d.thread(); i < tokens; i += kThreads) {
      weights[row * tokens + i] = i < seen ? Bf16Of(std::exp2((x[i] - max) * scale) * factor) : Bf16{0};
    }
  }
};

}  // namespace bitnet::cuda_bench

#endif  // BITNET_BENCHMARKS_CUDA_BF16_KERNELS_H_
