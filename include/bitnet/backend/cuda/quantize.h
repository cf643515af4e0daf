// Rows of reals to rows of levels and steps: the built-in quantizers, and those that keep reals. Other quantizers are
// the host's (kQuantizesOnDevice).
//
// A block of threads has a row, which it holds in registers (held_row.h) for the statistic, the threshold of top-k, the
// levels and the list of those that are not zero: one launch. Narrow rows, such as heads, and groups that have steps of
// their own take eight threads each.
#ifndef BITNET_BACKEND_CUDA_QUANTIZE_H_
#define BITNET_BACKEND_CUDA_QUANTIZE_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bitnet/backend/cuda/block_scan.h"
#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/format_tables.h"
#include "bitnet/backend/cuda/held_row.h"
#include "bitnet/backend/cuda/lists.h"
#include "bitnet/backend/cuda/long_sum.h"
#include "bitnet/backend/cuda/top_k.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/backend/definitions.h"
#include "bitnet/base/assert.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/quant/scale_rule.h"
#include "bitnet/tensor/operand.h"

namespace bitnet::cuda {

namespace detail {

template <class R, class F>
concept DeviceRule = StatisticRule<R, F> && R::kRunsOnDevice &&
    (std::is_same_v<typename R::Statistic, SumOfMagnitudes> ||
     std::is_same_v<typename R::Statistic, LargestMagnitude> || std::is_same_v<typename R::Statistic, Range>);

template <class Q>
inline constexpr bool kHasDeviceRule = false;
template <LevelFormat F, class R, class G>
inline constexpr bool kHasDeviceRule<Quantizer<F, R, G>> = DeviceRule<R, F>;

}  // namespace detail

// Whether kernels do what Q does: a Quantizer whose rule has `kRunsOnDevice` (quant/scale_rule.h), or one that keeps
// reals.
template <class Q>
inline constexpr bool kQuantizesOnDevice = kKeepsReals<Q> || detail::kHasDeviceRule<Q>;

// ---- The step of a span, some threads having its values.

// What a thread adds up for a statistic; Of(reduce) is that of all threads, where reduce(v) is the largest, or the
// ordered sum of the chains, over them. (Magnitudes are compared as integers: NaN is the largest.)
template <class Statistic>
struct Partial;

template <>
struct Partial<SumOfMagnitudes> {
  double chain = 0.0;
  BITNET_DEVICE void Add(float value) { chain += static_cast<double>(std::fabs(value)); }
  template <class Reduce>
  BITNET_DEVICE SumOfMagnitudes Of(const Reduce& reduce) const {
    return {reduce(chain)};
  }
};

template <>
struct Partial<LargestMagnitude> {
  uint32_t bits = 0;
  BITNET_DEVICE void Add(float value) { bits = LargerOf(bits, MagnitudeBits(value)); }
  template <class Reduce>
  BITNET_DEVICE LargestMagnitude Of(const Reduce& reduce) const {
    return {BitCast<float>(reduce(bits))};
  }
};

template <>
struct Partial<Range> {
  uint32_t above = 0;  // of what is above zero
  uint32_t below = 0;
  BITNET_DEVICE void Add(float value) {
    const bool is_negative = BitCast<uint32_t>(value) >> 31 != 0;
    above = LargerOf(above, is_negative ? 0u : MagnitudeBits(value));
    below = LargerOf(below, is_negative ? MagnitudeBits(value) : 0u);
  }
  template <class Reduce>
  BITNET_DEVICE Range Of(const Reduce& reduce) const {
    constexpr uint32_t kInfinity = 0x7f800000u;
    const uint32_t up = reduce(above);
    const uint32_t down = reduce(below);
    if (up >= kInfinity || down >= kInfinity) return {kNaN, kNaN};
    return {down == 0 ? 0.0f : -BitCast<float>(down), BitCast<float>(up)};
  }
};

template <class Q>
BITNET_DEVICE float StepOf(typename Q::Rule::Statistic statistic, uint32_t n) {
  return RoundStep(Q::Rule::template StepFrom<typename Q::Format>(statistic, n));
}

// Shared memory of FindStep.
template <unsigned kThreads>
struct StepShared {
  LongSumShared<kThreads> sum;
  uint32_t of_warps[2][kThreads / kWarp];  // for each of the largest ones of a statistic
  float step, inverse;
};

// shared.step, and its inverse, of a row that a block of threads holds.
template <class Q, unsigned kThreads, class Device, class Source>
BITNET_DEVICE void FindStep(Device& d, StepShared<kThreads>& shared, HeldRow<kThreads>& row, const Source& at) {
  using Statistic = typename Q::Rule::Statistic;
  Statistic statistic;
  if constexpr (std::is_same_v<Statistic, SumOfMagnitudes>) {
    LongSum<kThreads> sum;
    row.EachPart(at, [&](uint32_t) {
      Partial<Statistic> own;
      BITNET_UNROLL
      for (const float value : row.values) own.Add(value);
      sum.Add(d, shared.sum, own.chain);
    });
    statistic = {sum.Total(d, shared.sum)};
  } else {
    Partial<Statistic> own;
    row.EachPart(at, [&](uint32_t) {
      BITNET_UNROLL
      for (const float value : row.values) own.Add(value);
    });
    unsigned largest = 0;
    statistic = own.Of([&](uint32_t bits) { return LargestOfBlock<kThreads>(d, shared.of_warps[largest++], bits); });
  }
  // (Divisions are many instructions, in double slow ones where a device has few units for them: one thread's are
  // enough.)
  if (d.thread() == 0) {
    shared.step = StepOf<Q>(statistic, row.cols());
    shared.inverse = InverseStep(shared.step);
  }
  d.Barrier();
}

// ---- Levels.

template <class Q>
BITNET_DEVICE typename Q::Level LevelAt(float value, float inverse_step) {
  using Format = typename Q::Format;
  if constexpr (std::is_same_v<Format, Float>) {
    return value;
  } else if constexpr (kIsFloat<Format>) {
    return Format::Nearest(value);
  } else {
    const float v = value * inverse_step;
    return static_cast<typename Q::Level>(std::isnan(v) ? FormatTraits<Format>::kZeroLevel
                                                        : Level<Format>(NearestCode<Format>(v)));
  }
}

// What follows the levels of a row, up to the next 16 bytes, is zero.
template <Operand X>
BITNET_DEVICE void PadRow(const RowsView<X>& out, size_t row, uint32_t thread) {
  if (thread < out.stride - out.cols) out.Row(row)[out.cols + thread] = {};
}

// A block of threads quantizes a span: a row, or one of its groups.
template <AnyQuantizer Q, class Source, bool kIsTopK, unsigned kThreadsOfBlock>
struct QuantizeRowsKernel {
  static constexpr unsigned kThreads = kThreadsOfBlock;
  static constexpr unsigned kMinBlocks = Source::template kMinBlocks<kThreads>;
  using X = OperandOf<Q>;
  using Held = HeldRow<kThreads>;
  struct NoTopK {};
  struct Shared {
    typename Source::template Shared<kThreads> source;
    StepShared<kThreads> step;
    std::conditional_t<kIsTopK, TopKShared<kThreads>, NoTopK> top_k;
    OrderShared<kThreads> list;
  };

  Source source;
  RowsView<X> out;
  uint32_t k;      // of top-k
  bool is_listed;  // whether the columns of levels that are not zero are wanted too

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    const size_t row = d.block() / out.groups;
    const uint32_t group = d.block() % out.groups;
    const uint32_t begin = group * out.group;
    const uint32_t cols = out.cols - begin < out.group ? out.cols - begin : out.group;
    auto at = source.Of(row, begin);
    Held held(d.thread(), cols);
    at.Begin(d, shared.source, held);

    float step = 1.0f;
    float inverse = 1.0f;
    if constexpr (!kKeepsReals<Q>) {
      FindStep<Q, kThreads>(d, shared.step, held, at);
      step = shared.step.step;
      inverse = shared.step.inverse;
    }
    [[maybe_unused]] TopK<kThreads> top_k;
    if constexpr (kIsTopK) top_k.Find(d, shared.top_k, held, at, k);

    auto* levels = out.Row(row) + begin;
    uint32_t count = 0;
    held.EachPart(at, [&](uint32_t part) {
      uint32_t kept = ~0u;
      if constexpr (kIsTopK) kept = top_k.Keep(d, shared.top_k, held, part);
      uint32_t nonzero = 0;
      BITNET_UNROLL
      for (unsigned j = 0; j < Held::kHeld; ++j) {
        const uint32_t column = held.Column(part, j);
        if (column >= cols) continue;
        auto level = LevelAt<Q>(held.values[j], inverse);
        if constexpr (kIsTopK) level = ((kept >> j) & 1u) != 0 ? level : decltype(level){};
        levels[column] = level;
        nonzero |= (level != decltype(level){} ? 1u : 0u) << j;
      }
      if (is_listed) {
        count = EachInOrder<kThreads>(d, shared.list, part, nonzero, count, [&](unsigned j, uint32_t rank) {
          out.Channels(row)[rank] = held.Column(part, j);
        });
      }
    });
    if (d.thread() == 0) out.Steps(row)[group] = step;
    if (is_listed && d.thread() == 0) out.counts[row] = count;
    if (group == 0) PadRow(out, row, d.thread());
  }
};

// Eight threads quantize a span of at most 8 kHeld values.
template <AnyQuantizer Q, unsigned kHeldByThread>
struct QuantizeSpansKernel {
  static constexpr unsigned kThreads = 128;
  static constexpr unsigned kHeld = kHeldByThread;
  static constexpr unsigned kSpans = kThreads / kChainsOfBlock;
  static_assert(kHeld <= kTermsOfChain);
  using X = OperandOf<Q>;
  using Shared = NoShared;

  ConstReals x;
  RowsView<X> out;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    const uint32_t span = d.block() * kSpans + d.thread() / kChainsOfBlock;
    const uint32_t lane = d.thread() % kChainsOfBlock;
    const size_t row = span / out.groups;
    const uint32_t group = span % out.groups;
    const uint32_t begin = group * out.group;
    const bool is_there = row < out.rows;
    const uint32_t left = is_there ? out.cols - begin : 0;
    const uint32_t cols = left < out.group ? left : out.group;
    const float* from = x.Row(is_there ? row : 0) + begin;

    float values[kHeld];
    Partial<typename Q::Rule::Statistic> own;
    BITNET_UNROLL
    for (unsigned j = 0; j < kHeld; ++j) {
      const uint32_t column = lane + j * kChainsOfBlock;
      values[j] = column < cols ? from[column] : 0.0f;
      own.Add(values[j]);
    }
    const float step = StepOf<Q>(own.Of([&](auto v) { return OfEight(d, v); }), cols);
    const float inverse = InverseStep(step);
    if (!is_there) return;

    auto* levels = out.Row(row) + begin;
    BITNET_UNROLL
    for (unsigned j = 0; j < kHeld; ++j) {
      const uint32_t column = lane + j * kChainsOfBlock;
      if (column < cols) levels[column] = LevelAt<Q>(values[j], inverse);
    }
    if (lane == 0) out.Steps(row)[group] = step;
    if (group == out.groups - 1) {
      for (uint32_t i = lane; i < out.stride - out.cols; i += kChainsOfBlock) out.Row(row)[out.cols + i] = {};
    }
  }

 private:
  template <class Device>
  BITNET_DEVICE static double OfEight(Device& d, double chain) {
    return FoldLanes(d, chain);
  }
  template <class Device>
  BITNET_DEVICE static uint32_t OfEight(Device& d, uint32_t bits) {
    BITNET_UNROLL
    for (unsigned mask = kChainsOfBlock / 2; mask > 0; mask /= 2) bits = LargerOf(bits, d.ShuffleXor(bits, mask));
    return bits;
  }
};

// Reals that are kept, a narrow row a warp.
template <AnyQuantizer Q>
struct KeepRealsKernel {
  static constexpr unsigned kThreads = 256;
  static constexpr unsigned kRows = kThreads / kWarp;
  using Shared = NoShared;

  ConstReals x;
  RowsView<OperandOf<Q>> out;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    const size_t row = size_t{d.block()} * kRows + d.warp();
    if (row >= out.rows) return;
    for (size_t column = d.lane(); column < out.stride; column += kWarp) {
      out.Row(row)[column] = column < out.cols ? LevelAt<Q>(x.Row(row)[column], 1.0f) : 0.0f;
    }
    if (d.lane() == 0) out.Steps(row)[0] = 1.0f;
  }
};

// Levels that are not among the k largest become 0, where QuantizeRowsKernel has not seen whole rows.
template <Operand X, unsigned kThreadsOfBlock>
struct KeepTopKKernel {
  static constexpr unsigned kThreads = kThreadsOfBlock;
  using Shared = TopKShared<kThreads>;

  ConstReals x;
  RowsView<X> out;
  uint32_t k;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    const PlainSource::OfRow at{x.Row(d.block())};
    HeldRow<kThreads> held(d.thread(), out.cols);
    held.LoadWhole(at);
    TopK<kThreads> top_k;
    top_k.Find(d, shared, held, at, k);
    auto* levels = out.Row(d.block());
    held.EachPart(at, [&](uint32_t part) {
      const uint32_t kept = top_k.Keep(d, shared, held, part);
      BITNET_UNROLL
      for (unsigned j = 0; j < HeldRow<kThreads>::kHeld; ++j) {
        const uint32_t column = held.Column(part, j);
        if (column < out.cols && ((kept >> j) & 1u) == 0) levels[column] = {};
      }
    });
  }
};

// ---- Launches.

namespace detail {

// (So that 32 bits number them, with those that the last block of threads has none of.)
template <Operand X>
void CheckSpans(const RowsView<X>& out) {
  BITNET_ASSERT(size_t{out.rows} * out.groups < size_t{1} << 31,
                "backend/cuda: at most 2^31 spans are quantized at once");
}

template <AnyQuantizer Q, bool kIsTopK, class Stream, class Source>
void QuantizeRows(Stream& stream, const Source& source, size_t k, const RowsView<OperandOf<Q>>& out, bool is_listed) {
  if (out.rows == 0) return;
  CheckSpans(out);
  WithThreadsFor(out.group, [&]<unsigned kThreads>() {
    stream.Launch(QuantizeRowsKernel<Q, Source, kIsTopK, kThreads>{source, out, static_cast<uint32_t>(k), is_listed},
                  Grid{out.rows * out.groups, 1});
  });
}

template <AnyQuantizer Q, unsigned kHeld, class Stream>
void QuantizeSpans(Stream& stream, const ConstReals& x, const RowsView<OperandOf<Q>>& out) {
  using K = QuantizeSpansKernel<Q, kHeld>;
  CheckSpans(out);
  stream.Launch(K{x, out}, Grid{BlocksFor(size_t{out.rows} * out.groups, K::kSpans), 1});
}

}  // namespace detail

// out = Q(x), row by row; with `is_listed` the columns of the levels that are not zero too, as FindNonzero lists them.
template <AnyQuantizer Q, class Stream>
void Quantize(Stream& stream, const ConstReals& x, const RowsView<OperandOf<Q>>& out, bool is_listed = false) {
  static_assert(kQuantizesOnDevice<Q>);
  constexpr size_t kGroup = kGroupSize<typename Q::Granularity>;
  if (out.rows == 0) return;
  if constexpr (kGroup != 0) {
    if constexpr (kGroup <= kSumBlock) {
      detail::QuantizeSpans<Q, BlocksFor(kGroup, kChainsOfBlock)>(stream, x, out);
    } else {
      detail::QuantizeRows<Q, false>(stream, PlainSource{x}, 0, out, false);
    }
    if (is_listed) FindNonzero(stream, out);
  } else {
    if constexpr (kKeepsReals<Q>) {
      using K = KeepRealsKernel<Q>;
      constexpr uint32_t kNarrow = 1024;
      if (out.cols <= kNarrow && !is_listed) return stream.Launch(K{x, out}, Grid{BlocksFor(out.rows, K::kRows), 1});
    } else {
      if (out.cols <= kSumBlock && !is_listed) return detail::QuantizeSpans<Q, kTermsOfChain>(stream, x, out);
    }
    detail::QuantizeRows<Q, false>(stream, PlainSource{x}, 0, out, is_listed);
  }
}

// Only the k largest magnitudes of each row keep their level, the others get 0; of equal ones the first.
template <AnyQuantizer Q, class Stream>
void QuantizeTopK(Stream& stream, const ConstReals& x, size_t k, const RowsView<OperandOf<Q>>& out,
                  bool is_listed = false) {
  static_assert(kQuantizesOnDevice<Q>);
  static_assert(HasZero<typename Q::Format>(),
                "bitnet: top-k sets inputs to zero, so its quantizer needs a format with the level 0");
  if (out.rows == 0) return;
  BITNET_ASSERT(k >= 1 && k <= out.cols, "top-k needs 1 <= k <= n");
  if constexpr (kIsGrouped<OperandOf<Q>>) {
    Quantize<Q>(stream, x, out);
    WithThreadsFor(out.cols, [&]<unsigned kThreads>() {
      stream.Launch(KeepTopKKernel<OperandOf<Q>, kThreads>{x, out, static_cast<uint32_t>(k)}, Grid{out.rows, 1});
    });
    if (is_listed) FindNonzero(stream, out);
  } else {
    detail::QuantizeRows<Q, true>(stream, PlainSource{x}, k, out, is_listed);
  }
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_QUANTIZE_H_
