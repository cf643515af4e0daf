// Transforms of rows: the Hadamard transform and its transpose (quant/transform.h), in the order of its definition.
//
// A warp has up to 1024 values that follow each other, 32 a thread: those at the thread's lane. So pairs less than 32
// apart are exchanged by shuffles, others lie in one thread's registers. Blocks of up to 8192 values are a CUDA
// block's, whose warps exchange them once through shared memory; the largest, 16384 and 32768 values, go through global
// memory by a second launch, since not every device has the shared memory for them. What a row has beyond its last
// whole block is in smaller ones, of powers of two, and takes part in the stages that these have.
//
// A transform of one's own runs on the device, a thread a row, if it has `kRunsOnDevice` and, beside Apply and
// ApplyTranspose of spans, the same of (float* x, size_t n), marked BITNET_HOST_DEVICE.
#ifndef BITNET_BACKEND_CUDA_TRANSFORM_H_
#define BITNET_BACKEND_CUDA_TRANSFORM_H_

#include <cstddef>
#include <cstdint>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/elementwise.h"
#include "bitnet/backend/cuda/format_tables.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/base/assert.h"
#include "bitnet/quant/transform.h"

namespace bitnet::cuda {

namespace detail {

// Where the signs come: in T before all else, in T^T after it.
enum class SignsAt { kNowhere, kBefore, kAfter };

template <class T>
struct HadamardFacts {
  static constexpr bool kIsHadamard = false;
};
template <size_t kBlockOf, class SignsOf>
struct HadamardFacts<Hadamard<kBlockOf, SignsOf>> {
  using T = Hadamard<kBlockOf, SignsOf>;
  using Signs = SignsOf;
  static constexpr bool kIsHadamard = true;
  static constexpr uint32_t kBlock = kBlockOf;
  static constexpr SignsAt kSigns = T::kHasSigns ? SignsAt::kBefore : SignsAt::kNowhere;
};
template <class Of>
struct HadamardFacts<Transposed<Of>> : HadamardFacts<Of> {};
template <class Of>
requires HadamardFacts<Of>::kIsHadamard struct HadamardFacts<Transposed<Of>> : HadamardFacts<Of> {
  static constexpr SignsAt kOther = HadamardFacts<Of>::kSigns;
  static constexpr SignsAt kSigns = kOther == SignsAt::kBefore  ? SignsAt::kAfter
                                    : kOther == SignsAt::kAfter ? SignsAt::kBefore
                                                                : SignsAt::kNowhere;
};

// Of a transform of a user's own: `static void Apply(float* x, size_t n)` for kernels.
template <class T>
concept DeviceTransform = AnyTransform<T> && T::kRunsOnDevice && requires(float* x, size_t n) {
  T::Apply(x, n);
  T::ApplyTranspose(x, n);
};
template <class T>
inline constexpr bool kIsDeviceTransform = DeviceTransform<T>;
template <class T>
inline constexpr bool kIsDeviceTransform<Transposed<T>> = kIsDeviceTransform<T>;

// The bits of a block's signs.
template <class Signs, size_t kBlock>
inline constexpr auto kSignTable = [] {
  Table<uint32_t, (kBlock + 31) / 32> table{};
  for (size_t i = 0; i < kBlock; ++i) table.values[i / 32] |= (Signs::IsNegative(i) ? 1u : 0u) << (i % 32);
  return table;
}();

}  // namespace detail

// Whether kernels do T.
template <class T>
inline constexpr bool kTransformsOnDevice =
    kIsIdentity<T> || detail::HadamardFacts<T>::kIsHadamard || detail::kIsDeviceTransform<T>;

// The blocks of a row of `cols` values.
template <uint32_t kBlock>
struct RowOfBlocks {
  uint32_t cols;

  BITNET_HOST_DEVICE uint32_t whole() const { return cols / kBlock * kBlock; }
  // A value has a partner `half` values on or back, within its block, if its reach is at least 2 half. It is below
  // twice the size of its block; 0 beyond the row.
  //
  // (What is left after the whole blocks is cut like its number in binary: a block for each of its bits, from the
  // highest. The highest bit in which an offset differs from that number is the one whose block it lies in.)
  BITNET_DEVICE uint32_t Reach(uint32_t column) const {
    if (column < whole()) return kBlock;
    return column < cols ? (column - whole()) ^ (cols - whole()) : 0;
  }
  // The size of the block of a value, whose reach is not 0, and its logarithm.
  template <class Device>
  BITNET_DEVICE static uint32_t LogSize(Device& d, uint32_t reach) {
    reach |= reach >> 1;
    reach |= reach >> 2;
    reach |= reach >> 4;
    reach |= reach >> 8;
    return static_cast<uint32_t>(d.PopCount(reach)) - 1;  // (below 2^16)
  }
};

// The stages of pairs kUnit, 2 kUnit, ... apart, among values that lie kUnit apart; `column` is that of the first. With
// kIsWhole all are in whole blocks.
template <bool kIsWhole, uint32_t kUnit, uint32_t kCount, uint32_t kBlock>
BITNET_DEVICE void AddAndSubtract(float (&v)[kCount], uint32_t column, const RowOfBlocks<kBlock>& row) {
  BITNET_UNROLL
  for (uint32_t half = 1; half < kCount; half *= 2) {
    if (half * kUnit >= kBlock) break;
    BITNET_UNROLL
    for (uint32_t i = 0; i < kCount; ++i) {
      if ((i & half) != 0) continue;
      if (!kIsWhole && row.Reach(column + i * kUnit) < 2 * half * kUnit) continue;
      const float a = v[i];
      const float b = v[i + half];
      v[i] = a + b;
      v[i + half] = a - b;
    }
  }
}

// The stages of pairs less than 32 apart, which neighbouring lanes have; `column` is that of the first value.
template <bool kIsWhole, uint32_t kCount, uint32_t kBlock, class Device>
BITNET_DEVICE void AddAndSubtractInWarp(Device& d, float (&v)[kCount], uint32_t column,
                                        const RowOfBlocks<kBlock>& row) {
  BITNET_UNROLL
  for (uint32_t half = 1; half < kWarp; half *= 2) {
    if (half >= kBlock) break;
    const bool is_second = (d.lane() & half) != 0;
    BITNET_UNROLL
    for (uint32_t i = 0; i < kCount; ++i) {
      const float other = d.ShuffleXor(v[i], half);
      const float changed = is_second ? other - v[i] : v[i] + other;
      v[i] = kIsWhole || row.Reach(column + i * kWarp) >= 2 * half ? changed : v[i];
    }
  }
}

// What follows the last stage, and comes before the first.
template <class T>
struct HadamardEnds {
  using Facts = detail::HadamardFacts<T>;
  static constexpr uint32_t kBlock = Facts::kBlock;
  using Row = RowOfBlocks<kBlock>;
  float of_two = Facts::T::Factor(2);

  // Facts::T::Factor(2^log): a power of two, or that of two values times one.
  BITNET_DEVICE float Factor(uint32_t log) const {
    const float power = BitCast<float>((127 - log / 2) << 23);
    return log % 2 == 0 ? power : of_two * power;
  }
  BITNET_DEVICE static float WithSign(float v, uint32_t in_block) {
    if constexpr (Facts::kSigns == detail::SignsAt::kNowhere) {
      return v;
    } else {
      static constexpr auto table = detail::kSignTable<typename Facts::Signs, kBlock>;
      return ((table[in_block / 32] >> (in_block % 32)) & 1u) != 0 ? -v : v;
    }
  }
  template <bool kIsWhole, class Device>
  BITNET_DEVICE uint32_t LogSize(Device& d, uint32_t column, const Row& row) const {
    constexpr uint32_t kLog = [] {
      uint32_t log = 0;
      while (uint32_t{1} << log < kBlock) ++log;
      return log;
    }();
    return kIsWhole || column < row.whole() ? kLog : Row::LogSize(d, row.Reach(column));
  }
  template <bool kIsWhole, class Device>
  BITNET_DEVICE float Before(Device& d, float v, uint32_t column, const Row& row) const {
    if constexpr (Facts::kSigns != detail::SignsAt::kBefore) return v;
    const uint32_t size = 1u << LogSize<kIsWhole>(d, column, row);
    return WithSign(v, column & (size - 1));
  }
  template <bool kIsWhole, class Device>
  BITNET_DEVICE float After(Device& d, float v, uint32_t column, const Row& row) const {
    const uint32_t log = LogSize<kIsWhole>(d, column, row);
    v *= Factor(log);
    if constexpr (Facts::kSigns != detail::SignsAt::kAfter) return v;
    return WithSign(v, column & ((1u << log) - 1));
  }
};

// Runs of values of a row, a run a warp: all stages that lie within one. Where blocks are larger, a CUDA block has one,
// and does the others too, if kIsLast; otherwise they are left.
template <class T, bool kIsLast>
struct HadamardKernel {
  static constexpr uint32_t kBlock = detail::HadamardFacts<T>::kBlock;
  static constexpr uint32_t kHeld = kBlock <= 128 ? 4 : kBlock < 1024 ? kBlock / kWarp : 32;
  static constexpr uint32_t kRun = kHeld * kWarp;
  static constexpr bool kExchanges = kIsLast && kBlock > kRun;
  static constexpr uint32_t kRuns = kExchanges ? kBlock / kRun : 4;  // of a CUDA block
  static constexpr unsigned kThreads = kRuns * kWarp;
  struct Exchange {
    float values[kExchanges ? kRuns * kRun : 1];
  };
  using Shared = Exchange;

  ConstReals x;
  Reals y;
  HadamardEnds<T> ends;

  // Of a row: what a CUDA block has where blocks are exchanged, else what a warp has.
  static constexpr uint32_t kPart = kExchanges ? kRuns * kRun : kRun;
  static constexpr uint32_t kParts = kExchanges ? 1 : kRuns;  // of a CUDA block, of rows one after the other

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    const RowOfBlocks<kBlock> blocks{static_cast<uint32_t>(y.cols)};
    const uint32_t parts = (blocks.cols + kPart - 1) / kPart;
    const uint32_t part = d.block() * kParts + (kExchanges ? 0 : d.warp());
    const size_t row = part / parts;
    const uint32_t begin = part % parts * kPart;
    if (row >= y.rows) return;
    if (begin + kPart <= blocks.whole()) {
      Run<true>(d, shared, row, begin, blocks);
    } else {
      Run<false>(d, shared, row, begin, blocks);
    }
  }

 private:
  template <bool kIsWhole, class Device>
  BITNET_DEVICE void Run(Device& d, Shared& shared, size_t row, uint32_t begin,
                         const RowOfBlocks<kBlock>& blocks) const {
    const float* from = x.Row(row);
    float* to = y.Row(row);
    float v[kHeld];
    const uint32_t first = begin + (kExchanges ? d.warp() * kRun : 0) + d.lane();
    BITNET_UNROLL
    for (uint32_t i = 0; i < kHeld; ++i) {
      const uint32_t column = first + i * kWarp;
      v[i] = column < blocks.cols ? ends.template Before<kIsWhole>(d, from[column], column, blocks) : 0.0f;
    }
    AddAndSubtractInWarp<kIsWhole>(d, v, first, blocks);
    AddAndSubtract<kIsWhole, kWarp>(v, first, blocks);
    if constexpr (kExchanges) {
      // A thread had kHeld values kWarp apart of one run; now it has some of each run.
      BITNET_UNROLL
      for (uint32_t i = 0; i < kHeld; ++i) shared.values[first - begin + i * kWarp] = v[i];
      d.Barrier();
      for (uint32_t own = d.thread(); own < kRun; own += kThreads) {
        float of_runs[kRuns];
        BITNET_UNROLL
        for (uint32_t i = 0; i < kRuns; ++i) of_runs[i] = shared.values[own + i * kRun];
        AddAndSubtract<kIsWhole, kRun>(of_runs, begin + own, blocks);
        Store<kIsWhole, kRun>(d, of_runs, begin + own, blocks, to);
      }
    } else {
      Store<kIsWhole, kWarp>(d, v, first, blocks, to);
    }
  }

  template <bool kIsWhole, uint32_t kUnit, uint32_t kCount, class Device>
  BITNET_DEVICE void Store(Device& d, const float (&v)[kCount], uint32_t column, const RowOfBlocks<kBlock>& blocks,
                           float* to) const {
    BITNET_UNROLL
    for (uint32_t i = 0; i < kCount; ++i) {
      const uint32_t at = column + i * kUnit;
      if (at >= blocks.cols) continue;
      if constexpr (kIsLast) {
        to[at] = ends.template After<kIsWhole>(d, v[i], at, blocks);
      } else {
        to[at] = v[i];
      }
    }
  }
};

// The stages that are left of blocks too large for one: a thread has a value of each run.
template <class T>
struct HadamardAcrossKernel {
  static constexpr uint32_t kBlock = detail::HadamardFacts<T>::kBlock;
  static constexpr uint32_t kRun = HadamardKernel<T, false>::kRun;
  static constexpr uint32_t kRuns = kBlock / kRun;
  static constexpr unsigned kThreads = 128;
  using Shared = NoShared;

  Reals y;
  HadamardEnds<T> ends;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    const RowOfBlocks<kBlock> blocks{static_cast<uint32_t>(y.cols)};
    constexpr uint32_t kParts = kRun / kThreads;
    const uint32_t block = d.block() / kParts;
    const uint32_t blocks_of_row = (blocks.cols + kBlock - 1) / kBlock;
    const uint32_t begin = block % blocks_of_row * kBlock;
    const uint32_t column = begin + d.block() % kParts * kThreads + d.thread();
    float* to = y.Row(block / blocks_of_row);
    float v[kRuns];
    BITNET_UNROLL
    for (uint32_t i = 0; i < kRuns; ++i) v[i] = column + i * kRun < blocks.cols ? to[column + i * kRun] : 0.0f;
    if (begin + kBlock <= blocks.whole()) {
      AddAndSubtract<true, kRun>(v, column, blocks);
    } else {
      AddAndSubtract<false, kRun>(v, column, blocks);
    }
    BITNET_UNROLL
    for (uint32_t i = 0; i < kRuns; ++i) {
      const uint32_t at = column + i * kRun;
      if (at < blocks.cols) to[at] = ends.template After<false>(d, v[i], at, blocks);
    }
  }
};

// T by its own functions, a row a thread.
template <AnyTransform T>
struct OwnTransformKernel {
  static constexpr unsigned kThreads = kWarp;
  using Shared = NoShared;
  Reals y;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    const size_t row = size_t{d.block()} * kThreads + d.thread();
    if (row < y.rows) Of<T>::Apply(y.Row(row), y.cols);
  }

 private:
  template <class U>
  struct Of {
    BITNET_DEVICE static void Apply(float* x, size_t n) { U::Apply(x, n); }
    BITNET_DEVICE static void ApplyTranspose(float* x, size_t n) { U::ApplyTranspose(x, n); }
  };
  template <class U>
  struct Of<Transposed<U>> {
    BITNET_DEVICE static void Apply(float* x, size_t n) { Of<U>::ApplyTranspose(x, n); }
    BITNET_DEVICE static void ApplyTranspose(float* x, size_t n) { Of<U>::Apply(x, n); }
  };
};

// y = T x, row by row; y may be x.
template <AnyTransform T, class Stream>
void Transform(Stream& stream, const ConstReals& x, const Reals& y) {
  static_assert(kTransformsOnDevice<T>);
  if (y.rows == 0 || y.cols == 0) return;
  // (Of the smallest parts that blocks of threads take; cols + 128 fits too.)
  BITNET_ASSERT(y.cols < size_t{1} << 31 && y.rows < (size_t{1} << 31) / (y.cols / 128 + 1),
                "backend/cuda: a transform is of at most 2^31 parts of 128 values");
  if constexpr (detail::HadamardFacts<T>::kIsHadamard) {
    constexpr bool kIsLast = detail::HadamardFacts<T>::kBlock <= 8192;
    using K = HadamardKernel<T, kIsLast>;
    stream.Launch(K{x, y, {}}, Grid{BlocksFor(y.rows * BlocksFor(y.cols, K::kPart), K::kParts), 1});
    if constexpr (!kIsLast) {
      using Across = HadamardAcrossKernel<T>;
      const size_t blocks = y.rows * BlocksFor(y.cols, Across::kBlock);
      stream.Launch(Across{y, {}}, Grid{static_cast<unsigned>(blocks * (Across::kRun / Across::kThreads)), 1});
    }
  } else {
    if (y.data != x.data) Copy(stream, x, y);
    if constexpr (!kIsIdentity<T>) {
      using K = OwnTransformKernel<T>;
      stream.Launch(K{y}, Grid{BlocksFor(y.rows, K::kThreads), 1});
    }
  }
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_TRANSFORM_H_
