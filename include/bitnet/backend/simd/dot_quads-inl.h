// Integer products of weights in quads (quad_weights-inl.h): an exact dot for each run of columns in which the steps of
// both sides are constant (all columns, where a row has one), in the lanes of rows; then dot and step go to a double
// total of each row.
//
// Few tokens: quads are unpacked in registers and multiplied at once, for several blocks of rows, each a stream of
// memory, with one token's inputs. Many tokens: a run of a block is unpacked once for all of them.
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
#include "bitnet/base/size.h"
#include "bitnet/tensor/matrix_view.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

template <LevelFormat W>
class QuadProduct {
  using Weights = QuadWeights<W>;
  using Packing = typename Weights::Packing;
  using Dot = BlockDot<W>;
  using Sum = DotSum<typename Dot::Codes, int8_t>;
  static constexpr size_t kRowVectors = 4;
  static constexpr size_t kLanes = kVectorBytes / kRowVectors;

 public:
  // Blocks that are walked through at once; their accumulators stay in registers.
  static constexpr size_t kBlocks = kManyRegisters ? 4 : Sum::kMethod == DotMethod::kPairs ? 1 : 2;

  QuadProduct(const Weights& weights, const ColumnRuns& runs, const RunInputs& inputs, const InputRows<int8_t>& x,
              MatrixView<float> y)
      : weights_(weights), runs_(runs.runs()), inputs_(inputs), x_(x), y_(y) {}

  // y of blocks [begin, end), one token after the other.
  HWY_NOINLINE void MultiplyFew(size_t begin, size_t end) const {
    HWY_ALIGN double totals[kBlocks * kVectorBytes];
    for (size_t block = begin; block < end;) {
      const size_t left = end - block;
      const size_t blocks = left >= kBlocks ? kBlocks : 1;
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

  // The same for many tokens, in memory of so many bytes.
  static size_t ScratchBytes(size_t tokens) {
    const size_t most = RoundUp(std::min(kMostTokens, tokens), kAmxTokens);
    return most * kVectorBytes * (sizeof(double) + sizeof(int32_t)) + kChunkCols * kVectorBytes;
  }
  HWY_NOINLINE void MultiplyMany(size_t begin, size_t end, std::byte* memory) const {
    const size_t most = RoundUp(std::min(kMostTokens, x_.tokens), kAmxTokens);
    auto* totals = reinterpret_cast<double*>(memory);
    auto* sums = reinterpret_cast<int32_t*>(totals + most * kVectorBytes);
    auto* quads = reinterpret_cast<uint8_t*>(sums + most * kVectorBytes);
    bitnet::detail::AmxTiles unit;
    for (size_t block = begin; block < end; ++block) {
      for (size_t first = 0; first < x_.tokens; first += kMostTokens) {
        const size_t tokens = std::min(kMostTokens, x_.tokens - first);
        std::fill(totals, totals + tokens * kVectorBytes, 0.0);
        for (size_t run = 0; run < runs_.size(); ++run) AddRun(unit, block, run, first, tokens, quads, sums, totals);
        const size_t row = block * kVectorBytes;
        for (size_t t = 0; t < tokens; ++t) {
          StoreTotals(totals + t * kVectorBytes, std::min(kVectorBytes, weights_.rows() - row),
                      y_.Row(first + t) + row);
        }
      }
    }
  }

 private:
  // Of each block's stream (LookupDot).
  static constexpr size_t kAhead = 1024;
  // Tokens whose totals stay in the first-level cache beside a run's quads, and columns of these.
  static constexpr size_t kMostTokens = 64;
  static constexpr size_t kChunkCols = 256;
  static_assert(kChunkCols % Packing::kUnitCols == 0 && kChunkCols % kAmxCols == 0);

  const float* Steps(const uint8_t* block, const ColumnRun& run) const {
    return reinterpret_cast<const float*>(block + run.steps);
  }
  // Dots of offsets to dots of levels, where that is not done by the correction alone.
  static HWY_INLINE hn::Vec<DI32> Corrected(hn::Vec<DI32> dots, int32_t correction) {
    if constexpr (Correction<W>::kFactor != 1) dots = hn::Mul(dots, hn::Set(DI32(), Correction<W>::kFactor));
    if constexpr (Correction<W>::kBottom != 0) dots = hn::Add(dots, hn::Set(DI32(), correction));
    return dots;
  }
  // totals of kCount blocks from `block` on, for one token. At their end it prefetches the beginnings of the next
  // blocks, if they are to follow.
  template <size_t kCount>
  HWY_NOINLINE void Run(size_t block, bool are_followed, size_t token, double* HWY_RESTRICT totals) const {
    const uint8_t* const packed = weights_.Block(block);
    const size_t block_bytes = weights_.block_bytes();
    const size_t ahead_of_last = kAhead + (are_followed ? (kCount - 1) * block_bytes : 0);
    std::fill(totals, totals + kCount * kVectorBytes, 0.0);
    const int32_t* corrections = inputs_.corrections + token * runs_.size();
    for (size_t r = 0; r < runs_.size(); ++r) {
      const ColumnRun& run = runs_[r];
      const int8_t* HWY_RESTRICT x = inputs_.levels + token * inputs_.stride + run.input;
      Sum sums[kCount][kRowVectors];
      HWY_UNROLL(4) for (size_t b = 0; b < kCount; ++b) {
        HWY_UNROLL(4) for (size_t v = 0; v < kRowVectors; ++v) sums[b][v] = Sum::Zero();
        __builtin_prefetch(packed + b * block_bytes + run.steps + kAhead);
      }
      const uint8_t* HWY_RESTRICT at = packed + run.codes;
      const size_t ahead = run.codes + kAhead < block_bytes ? kAhead : ahead_of_last;
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
          hn::Store(Corrected(sums[b][v].sum, corrections[r]), DI32(), dots + v * kLanes);
        }
        AddScaled(dots, Steps(packed + b * block_bytes, run), x_.Step(token, run.x_group), totals + b * kVectorBytes);
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

  // totals of one block += a run, for tokens [first, first + tokens).
  void AddRun(bitnet::detail::AmxTiles& matrix_unit, size_t block, size_t r, size_t first, size_t tokens,
              uint8_t* HWY_RESTRICT quads, int32_t* HWY_RESTRICT sums, double* HWY_RESTRICT totals) const {
    const ColumnRun& run = runs_[r];
    const uint8_t* const packed = weights_.Block(block);
    const float* const steps = Steps(packed, run);
    // Sums begin with what makes dots of offsets dots of levels, or that is left for the end.
    constexpr bool kIsSum = Correction<W>::kFactor == 1;
    const auto correction = [&](size_t t) { return inputs_.corrections[(first + t) * runs_.size() + r]; };
    const auto begin_sums = [&](size_t t, size_t count, int32_t* HWY_RESTRICT to) {
      for (size_t k = 0; k < count; ++k) {
        const bool is_corrected = kIsSum && Correction<W>::kBottom != 0 && t + k < tokens;
        std::fill_n(to + k * kVectorBytes, kVectorBytes, is_corrected ? correction(t + k) : 0);
      }
    };
    const auto add_totals = [&](size_t t, int32_t* HWY_RESTRICT dots) HWY_ATTR {
      if constexpr (!kIsSum) {
        for (size_t i = 0; i < kVectorBytes; i += kLanes) {
          hn::Store(Corrected(hn::Load(DI32(), dots + i), correction(t)), DI32(), dots + i);
        }
      }
      AddScaled(dots, steps, x_.Step(first + t, run.x_group), totals + t * kVectorBytes);
    };

    // A run of several chunks keeps the sums of all tokens between them; of one chunk, those of a tile do.
    constexpr size_t kChunkUnits = kChunkCols / Packing::kUnitCols;
    const bool is_one_chunk = run.units <= kChunkUnits;
    if (!is_one_chunk) begin_sums(0, RoundUp(tokens, kAmxTokens), sums);
    for (size_t unit = 0; unit < run.units; unit += kChunkUnits) {
      const size_t units = std::min(kChunkUnits, run.units - unit);
      const size_t cols = units * Packing::kUnitCols;
      UnpackUnits<W>(packed + run.codes + unit * Packing::kUnitBytes, units, quads);
      std::fill(quads + cols * kVectorBytes, quads + RoundUp(cols, kAmxCols) * kVectorBytes, uint8_t{0});
      const int8_t* x = inputs_.levels + first * inputs_.stride + run.input + unit * Packing::kUnitCols;
      const bool is_last = unit + units == run.units;
      Dot::EachTile(matrix_unit, quads, cols, x, inputs_.stride, tokens,
                    [&](size_t t, size_t count, auto&& multiply) HWY_ATTR {
                      int32_t* const to = is_one_chunk ? sums : sums + t * kVectorBytes;
                      if (is_one_chunk) begin_sums(t, count, to);
                      multiply(to);
                      if (!is_last) return;
                      for (size_t k = 0; k < std::min(count, tokens - t); ++k) {
                        add_totals(t + k, to + k * kVectorBytes);
                      }
                    });
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
