// Integer products of weights in quads (quad_weights-inl.h): an exact dot for each run of columns in which the steps of
// both sides are constant (all columns, where a row has one), in the lanes of rows; then dot and step go to a double
// total of each row.
//
// Quads are unpacked in registers and multiplied at once, for several blocks of rows, each a stream of memory, or for
// one (streams.h), with one token's inputs. (Many tokens: block_runs-inl.h.)
#if defined(BITNET_BACKEND_SIMD_DOT_QUADS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_DOT_QUADS_INL_H_
#undef BITNET_BACKEND_SIMD_DOT_QUADS_INL_H_
#else
#define BITNET_BACKEND_SIMD_DOT_QUADS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "bitnet/backend/simd/codes-inl.h"
#include "bitnet/backend/simd/column_runs.h"
#include "bitnet/backend/simd/dot_block-inl.h"
#include "bitnet/backend/simd/input_rows-inl.h"
#include "bitnet/backend/simd/quad_weights-inl.h"
#include "bitnet/backend/simd/run_totals-inl.h"
#include "bitnet/backend/simd/streams.h"
#include "bitnet/tensor/matrix_view.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

template <LevelFormat W>
class QuadProduct {
  using Weights = QuadWeights<W>;
  using Packing = typename Weights::Packing;
  using Sum = DotSum<typename BlockDot<W>::Codes, int8_t>;
  static constexpr size_t kRowVectors = 4;
  static constexpr size_t kLanes = kVectorBytes / kRowVectors;

 public:
  // Blocks that are walked through at once, or, where few streams are read best, one; their accumulators stay in
  // registers.
  static constexpr size_t kBlocks = kManyRegisters ? 4 : Sum::kMethod == DotMethod::kPairs ? 1 : 2;

  QuadProduct(const Weights& weights, const ColumnRuns& runs, const RunInputs& inputs, const InputRows<int8_t>& x,
              MatrixView<float> y)
      : weights_(weights), runs_(runs.runs()), inputs_(inputs), x_(x), y_(y) {}

  // y of blocks [begin, end), one token after the other.
  HWY_NOINLINE void Multiply(size_t begin, size_t end) const {
    HWY_ALIGN double totals[kBlocks * kVectorBytes];
    const bool few_streams = ReadsFewStreamsBest();
    for (size_t block = begin; block < end;) {
      const size_t left = end - block;
      const size_t blocks = left >= kBlocks && !few_streams ? kBlocks : 1;
      for (size_t t = 0; t < x_.tokens; ++t) {
        if (blocks == kBlocks) {
          Run<kBlocks>(block, left > blocks, t, totals);
        } else {
          Run<1>(block, left > blocks, t, totals);
        }
        const size_t row = block * kVectorBytes;
        StoreTotals(totals, std::min(blocks * kVectorBytes, weights_.rows() - row), y_.Row(t) + row);
      }
      block += blocks;
    }
  }

 private:
  // Of each block's stream (LookupDot). (AMD Zen 5, INT6 in groups of 16: one stream 4096 ahead 0.87 of the read
  // bandwidth, 6144 0.92, 8192 0.90; two streams 2048 ahead 0.75; four 1024 ahead 0.59.)
  template <size_t kCount>
  static constexpr size_t kAhead = kCount == 1 ? 6144 : 1024;

  // totals of kCount blocks from `block` on, for one token. At their end it prefetches the beginnings of the next
  // blocks, if they are to follow.
  template <size_t kCount>
  HWY_NOINLINE void Run(size_t block, bool are_followed, size_t token, double* HWY_RESTRICT totals) const {
    const uint8_t* const packed = weights_.Block(block);
    const size_t block_bytes = weights_.block_bytes();
    const size_t ahead_of_last = kAhead<kCount> + (are_followed ? (kCount - 1) * block_bytes : 0);
    std::fill(totals, totals + kCount * kVectorBytes, 0.0);
    const int32_t* corrections = inputs_.corrections + token * runs_.size();
    for (size_t r = 0; r < runs_.size(); ++r) {
      const ColumnRun& run = runs_[r];
      const int8_t* HWY_RESTRICT x = inputs_.levels + token * inputs_.stride + run.input;
      Sum sums[kCount][kRowVectors];
      HWY_UNROLL(4) for (size_t b = 0; b < kCount; ++b) {
        HWY_UNROLL(4) for (size_t v = 0; v < kRowVectors; ++v) sums[b][v] = Sum::Zero();
        __builtin_prefetch(packed + b * block_bytes + run.steps + kAhead<kCount>);
      }
      const uint8_t* HWY_RESTRICT at = packed + run.codes;
      const size_t ahead = run.codes + kAhead<kCount> < block_bytes ? kAhead<kCount> : ahead_of_last;
      for (size_t unit = 0; unit < run.units; ++unit, at += Packing::kUnitBytes, x += Packing::kUnitCols) {
        HWY_UNROLL(4) for (size_t b = 0; b < kCount; ++b) {
          HWY_UNROLL(8) for (size_t line = 0; line < Packing::kUnitBytes; line += 64) {
            __builtin_prefetch(at + b * block_bytes + ahead + line);
          }
        }
        [&]<size_t... q>(std::index_sequence<q...>) HWY_ATTR { (AddQuad<kCount, q>(at, block_bytes, x, sums), ...); }
        (std::make_index_sequence<Packing::kUnitQuads>());
        HWY_UNROLL(4) for (size_t b = 0; b < kCount; ++b) {
          HWY_UNROLL(4) for (size_t v = 0; v < kRowVectors; ++v) {
            sums[b][v].Flush();
            sums[b][v].sum = KeepInRegister(sums[b][v].sum);
          }
        }
      }
      HWY_UNROLL(4) for (size_t b = 0; b < kCount; ++b) {
        HWY_ALIGN int32_t dots[kVectorBytes];
        HWY_UNROLL(4) for (size_t v = 0; v < kRowVectors; ++v) {
          hn::Store(CorrectedDots<W>(sums[b][v].sum, corrections[r]), DI32(), dots + v * kLanes);
        }
        HWY_ALIGN float buffer[kVectorBytes];
        const float* steps = weights_.StepsAt(packed + b * block_bytes + run.steps, buffer);
        AddScaled(dots, steps, x_.Step(token, run.x_group), totals + b * kVectorBytes);
      }
    }
  }
  template <size_t kCount, size_t q>
  static HWY_INLINE void AddQuad(const uint8_t* HWY_RESTRICT unit, size_t block_bytes, const int8_t* HWY_RESTRICT x,
                                 Sum (&sums)[kCount][kRowVectors]) {
    int32_t four;
    std::memcpy(&four, x + 4 * q, sizeof(four));
    const auto inputs = hn::BitCast(DI8(), hn::Set(DI32(), four));
    HWY_UNROLL(4) for (size_t b = 0; b < kCount; ++b) {
      HWY_UNROLL(4) for (size_t v = 0; v < kRowVectors; ++v) {
        sums[b][v].Add(OffsetsOfQuad<W, q>(unit + b * block_bytes + v * Packing::kUnitVectors * kVectorBytes), inputs);
        if constexpr ((q + 1) % Sum::kAddsToFlush == 0 && q + 1 != Packing::kUnitQuads) sums[b][v].Flush();
      }
    }
  }

  const Weights& weights_;
  const std::vector<ColumnRun>& runs_;
  RunInputs inputs_;
  InputRows<int8_t> x_;
  MatrixView<float> y_;
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_DOT_QUADS_INL_H_
