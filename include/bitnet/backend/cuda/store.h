// Store: keys and values of a pass into the pages of a cache. A warp has a head of a token: its quantizer's step, then
// eight values a lane, whose codes are bytes of their own (cache_layout.h). So no two warps write the same byte.
#ifndef BITNET_BACKEND_CUDA_STORE_H_
#define BITNET_BACKEND_CUDA_STORE_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bitnet/backend/cuda/attention_math.h"
#include "bitnet/backend/cuda/cache_layout.h"
#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/format_tables.h"
#include "bitnet/backend/cuda/head_codes.h"
#include "bitnet/backend/cuda/host_calls.h"
#include "bitnet/backend/cuda/objects.h"
#include "bitnet/backend/cuda/quantize.h"
#include "bitnet/backend/cuda/scratch.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/base/size.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/quant/scale_rule.h"
#include "bitnet/tensor/matrix_view.h"

namespace bitnet::cuda {

// The nearest real that a format keeps. (As NearestReal, which is the host's.)
template <RealFormat F>
BITNET_DEVICE StoredReal<F> NearestKept(float x) {
  if constexpr (std::is_same_v<F, Float>) {
    return x;
  } else {
    return F::Nearest(x);
  }
}

// ---- What a warp asks of a head of a token: Begin gives the step, Value(i) is what is kept of value i then, a code or
// a real.

// Quantized here.
template <AnyQuantizer Q>
struct HeadsByKernel {
  using Format = typename Q::Format;
  ConstReals x;  // [tokens, kv_heads * head_dim]

  struct Head {
    const float* x;
    float inverse;

    BITNET_DEVICE auto Value(uint32_t i) const {
      if constexpr (kIsFloat<Format>) {
        return NearestKept<Format>(x[i]);
      } else {
        const float v = x[i] * inverse;
        return std::isnan(v) ? static_cast<unsigned>(FormatTraits<Format>::kZeroCode) : NearestCode<Format>(v);
      }
    }
  };

  template <class Device>
  BITNET_DEVICE Head Begin(Device& d, uint32_t token, uint32_t head, uint32_t dim, float& step) const {
    const float* of_head = x.Row(token) + size_t{head} * dim;
    if constexpr (kIsFloat<Format>) {
      step = 1.0f;
    } else {
      step = StepOfHead(d, of_head, dim);
    }
    return {of_head, InverseStep(step)};
  }

 private:
  template <class Device>
  static BITNET_DEVICE float StepOfHead(Device& d, const float* x, uint32_t dim) {
    using Statistic = typename Q::Rule::Statistic;
    if constexpr (std::is_same_v<Statistic, SumOfMagnitudes>) {
      return StepOf<Q>({OrderedSumOfWarp(d, dim, [&](uint32_t i) { return std::fabs(x[i]); })}, dim);
    } else {
      Partial<Statistic> own;
      for (uint32_t i = d.lane(); i < dim; i += kWarp) own.Add(x[i]);
      return StepOf<Q>(own.Of([&](uint32_t bits) { return WarpMax(d, bits); }), dim);
    }
  }
};

// Quantized before, by the host: rows are heads, [kv_heads, tokens].
template <AnyQuantizer Q>
struct HeadsByHost {
  using Format = typename Q::Format;
  using Level = LevelOf<Format>;
  Level* levels;
  float* steps;
  size_t stride;
  uint32_t tokens;

  struct Head {
    const Level* levels;

    BITNET_DEVICE auto Value(uint32_t i) const {
      if constexpr (kIsFloat<Format>) {
        return NearestKept<Format>(levels[i]);
      } else {
        unsigned code = 0;
        while (code + 1 < FormatTraits<Format>::kCount && cuda::Level<Format>(code) < levels[i]) ++code;
        return code;
      }
    }
  };

  template <class Device>
  BITNET_DEVICE Head Begin(Device&, uint32_t token, uint32_t head, uint32_t, float& step) const {
    const size_t row = size_t{head} * tokens + token;
    step = steps[row];
    return {levels + row * stride};
  }
};

template <AnyQuantizer Q>
using HeadsToStore = std::conditional_t<kQuantizesOnDevice<Q>, HeadsByKernel<Q>, HeadsByHost<Q>>;

// ---- The kernel.

template <class Quantizers>
struct StoreHeadsOfTokens {
  using Layout = CacheLayout<Quantizers>;
  static constexpr unsigned kThreads = 128;
  static constexpr unsigned kHeadsOfBlock = kThreads / kWarp;
  using Shared = NoShared;

  HeadsToStore<typename Quantizers::Key> keys;
  HeadsToStore<typename Quantizers::FirstKey> first_keys;
  HeadsToStore<typename Quantizers::Value> values;
  HeadsToStore<typename Quantizers::FirstValue> first_values;
  WhereView where;
  typename Layout::View cache;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    const size_t item = size_t{d.block()} * kHeadsOfBlock + d.warp();
    const size_t heads = size_t{2} * cache.kv_heads;
    if (item >= heads * where.tokens) return;
    StoreHeadOf(d, static_cast<uint32_t>(item / heads), static_cast<uint32_t>(item % heads));
  }

  // What a warp does of a token: key, value, key, value, ...
  template <class Device>
  BITNET_DEVICE void StoreHeadOf(Device& d, uint32_t token, uint32_t of_token) const {
    const uint32_t head = of_token / 2;
    const uint32_t position = where.places[token].position;
    std::byte* to = cache.Head(where.Page(token, position), head);
    const uint32_t slot = position % static_cast<uint32_t>(kPageTokens);
    if (of_token % 2 == 0) {
      if (position == 0) {
        StoreHead<true, Layout::kFirstKeyApart>(d, first_keys, token, head, 0, to);
      } else {
        StoreHead<true, false>(d, keys, token, head, slot, to);
      }
    } else {
      if (position == 0) {
        StoreHead<false, Layout::kFirstValueApart>(d, first_values, token, head, 0, to);
      } else {
        StoreHead<false, false>(d, values, token, head, slot, to);
      }
    }
  }

 private:
  template <bool kIsKey, bool kIsApart, class Device, class Heads>
  BITNET_DEVICE void StoreHead(Device& d, const Heads& heads, uint32_t token, uint32_t head, uint32_t slot,
                               std::byte* to) const {
    using Format = typename Heads::Format;
    const uint32_t dim = cache.head_dim;
    float step = 0.0f;
    const auto x = heads.Begin(d, token, head, dim, step);
    if constexpr (!kIsFloat<Format>) {
      if (d.lane() == 0) reinterpret_cast<float*>(to + (kIsKey ? cache.key_steps : cache.value_steps))[slot] = step;
    }
    if constexpr (kIsApart) {
      auto* first = reinterpret_cast<KeptLevel<Format>*>(to + (kIsKey ? cache.first_key : cache.first_value));
      for (uint32_t i = d.lane(); i < dim; i += kWarp) {
        if constexpr (kIsFloat<Format>) {
          first[i] = x.Value(i);
        } else {
          first[i] = static_cast<KeptLevel<Format>>(Level<Format>(x.Value(i)));
        }
      }
    } else if constexpr (kIsFloat<Format>) {
      auto* reals = reinterpret_cast<KeptLevel<Format>*>(to + (kIsKey ? 0 : cache.values));
      for (uint32_t i = d.lane(); i < dim; i += kWarp) {
        reals[kIsKey ? size_t{i} * kPageTokens + slot : size_t{slot} * dim + i] = x.Value(i);
      }
    } else {
      using Codes = HeadCodes<Format>;
      for (uint32_t eight = d.lane(); eight < cache.Eights(); eight += kWarp) {
        unsigned codes[8];
        BITNET_UNROLL
        for (uint32_t i = 0; i < 8; ++i) codes[i] = 8 * eight + i < dim ? x.Value(8 * eight + i) : 0u;
        uint8_t bytes[Codes::kWords];
        Codes::Pack(codes, bytes);
        auto* at = reinterpret_cast<uint8_t*>(to);
        at += kIsKey ? KeyByteAt<Codes::kWords>(eight, slot) : cache.values + ValueByteAt<Codes::kWords>(eight, slot);
        BITNET_UNROLL
        for (unsigned w = 0; w < Codes::kWords; ++w) at[w * (kIsKey ? kKeyWordBytes : kPageTokens)] = bytes[w];
      }
    }
  }
};

namespace detail {

// Heads as the kernel wants them; where the host must quantize them, in memory of the stream that `parts` counts.
template <AnyQuantizer Q>
struct StoredHeads {
  using Level = LevelOf<typename Q::Format>;
  size_t levels_at = 0;
  size_t steps_at = 0;

  StoredHeads(Parts& parts, size_t rows, size_t dim) {
    if constexpr (!kQuantizesOnDevice<Q>) {
      levels_at = parts.Add<Level>(SizeProduct(rows, PaddedLevels<Level>(dim)));
      steps_at = parts.Add<float>(rows);
    }
  }
  template <class Stream>
  HeadsToStore<Q> Make(Stream& stream, MatrixView<const float> x, size_t kv_heads, size_t dim,
                       [[maybe_unused]] std::byte* memory) const {
    if constexpr (kQuantizesOnDevice<Q>) {
      return {ConstReals(x)};
    } else {
      const HeadsToStore<Q> heads = {reinterpret_cast<Level*>(memory + levels_at),
                                     reinterpret_cast<float*>(memory + steps_at), PaddedLevels<Level>(dim),
                                     static_cast<uint32_t>(x.rows())};
      for (size_t head = 0; head < kv_heads; ++head) {
        RowsView<typename Q::Format> out = {};
        out.levels = heads.levels + head * x.rows() * heads.stride;
        out.steps = heads.steps + head * x.rows();
        out.stride = heads.stride;
        out.rows = heads.tokens;
        out.cols = static_cast<uint32_t>(dim);
        out.group = out.cols;
        out.groups = 1;
        QuantizeOnHost<Q>(stream, x.Cols(head * dim, dim), 0, out);
      }
      return heads;
    }
  }
};

}  // namespace detail

// Quantizes keys and values [tokens, kv_heads * head_dim], keys already rotated, and stores them, each at its token's
// position, in the pages of its sequence. Shapes are checked before: CheckStore.
template <class Quantizers, class Stream>
void Store(Stream& stream, MatrixView<const float> keys, MatrixView<const float> values, const WhereView& where,
           const typename CacheLayout<Quantizers>::View& cache) {
  using Kernel = StoreHeadsOfTokens<Quantizers>;
  if (where.tokens == 0 || cache.kv_heads == 0) return;
  const size_t dim = cache.head_dim;
  const size_t rows = SizeProduct(size_t{cache.kv_heads}, size_t{where.tokens});
  Parts parts;
  const detail::StoredHeads<typename Quantizers::Key> of_keys(parts, rows, dim);
  const detail::StoredHeads<typename Quantizers::FirstKey> of_first_keys(parts, rows, dim);
  const detail::StoredHeads<typename Quantizers::Value> of_values(parts, rows, dim);
  const detail::StoredHeads<typename Quantizers::FirstValue> of_first_values(parts, rows, dim);
  std::byte* memory =
      parts.bytes() == 0 ? nullptr : stream.template Scratch<std::byte>(ScratchSlot::kAttention, parts.bytes());
  Kernel kernel;
  kernel.keys = of_keys.Make(stream, keys, cache.kv_heads, dim, memory);
  kernel.first_keys = of_first_keys.Make(stream, keys, cache.kv_heads, dim, memory);
  kernel.values = of_values.Make(stream, values, cache.kv_heads, dim, memory);
  kernel.first_values = of_first_values.Make(stream, values, cache.kv_heads, dim, memory);
  kernel.where = where;
  kernel.cache = cache;
  stream.Launch(kernel, {BlocksFor(SizeProduct(rows, size_t{2}), Kernel::kHeadsOfBlock), 1});
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_STORE_H_
