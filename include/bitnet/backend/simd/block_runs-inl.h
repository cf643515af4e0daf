// Integer products of many tokens, steps for groups of columns on either side: each run of columns (column_runs.h) of a
// block of rows is unpacked to quads once for many tokens, of whatever layout, and multiplied (dot_block-inl.h); then
// dot and step go to a double total of each row and token.
#if defined(BITNET_BACKEND_SIMD_BLOCK_RUNS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_BLOCK_RUNS_INL_H_
#undef BITNET_BACKEND_SIMD_BLOCK_RUNS_INL_H_
#else
#define BITNET_BACKEND_SIMD_BLOCK_RUNS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bitnet/backend/simd/codes-inl.h"
#include "bitnet/backend/simd/column_runs.h"
#include "bitnet/backend/simd/dot_block-inl.h"
#include "bitnet/backend/simd/input_rows-inl.h"
#include "bitnet/backend/simd/quads-inl.h"
#include "bitnet/backend/simd/run_totals-inl.h"
#include "bitnet/base/size.h"
#include "bitnet/tensor/matrix_view.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// Weights besides have StepsOfBlock(block, step_group, buffer): N floats, in the buffer or where they lie.
template <LevelFormat W, class Weights>
class BlockRunsProduct {
  using Quads = typename Weights::Quads;
  using Dot = BlockDot<W>;
  // Tokens whose totals stay in the first-level cache beside a run's quads.
  static constexpr size_t kMostTokens = 64;

 public:
  BlockRunsProduct(const Weights& weights, const ColumnRuns& runs, const RunInputs& inputs, const InputRows<int8_t>& x,
                   MatrixView<float> y)
      : weights_(weights), quads_(weights.quads()), runs_(runs.runs()), inputs_(inputs), x_(x), y_(y) {}
  size_t blocks() const { return quads_.blocks(); }

  // Memory of one thread.
  size_t ScratchBytes() const {
    return SumTokens() * kVectorBytes * (sizeof(double) + sizeof(int32_t)) + Quads::kChunkCols * kVectorBytes;
  }
  // y of blocks [begin, end).
  HWY_NOINLINE void Multiply(size_t begin, size_t end, std::byte* memory) const {
    auto* totals = reinterpret_cast<double*>(memory);
    auto* sums = reinterpret_cast<int32_t*>(totals + SumTokens() * kVectorBytes);
    auto* quads = reinterpret_cast<uint8_t*>(sums + SumTokens() * kVectorBytes);
    bitnet::detail::AmxTiles unit;
    for (size_t block = begin; block < end; ++block) {
      const RowRange rows = quads_.Rows(block);
      if (rows.count == 0) continue;
      for (size_t first = 0; first < x_.tokens; first += kMostTokens) {
        const size_t tokens = std::min(kMostTokens, x_.tokens - first);
        std::fill(totals, totals + tokens * kVectorBytes, 0.0);
        for (size_t run = 0; run < runs_.size(); ++run) AddRun(unit, block, run, first, tokens, quads, sums, totals);
        for (size_t t = 0; t < tokens; ++t) {
          StoreTotals(totals + t * kVectorBytes, rows.count, y_.Row(first + t) + rows.begin);
        }
      }
    }
  }

 private:
  // Whole tiles.
  size_t SumTokens() const { return RoundUp(std::min(kMostTokens, x_.tokens), kAmxTokens); }

  // totals of one block += a run, for tokens [first, first + tokens).
  void AddRun(bitnet::detail::AmxTiles& matrix_unit, size_t block, size_t r, size_t first, size_t tokens,
              uint8_t* HWY_RESTRICT quads, int32_t* HWY_RESTRICT sums, double* HWY_RESTRICT totals) const {
    const ColumnRun& run = runs_[r];
    HWY_ALIGN float buffer[kVectorBytes];
    const float* const steps = weights_.StepsOfBlock(block, run.w_group, buffer);
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
      HWY_ALIGN int32_t ordered[kVectorBytes];
      if constexpr (!Quads::kIsOrdered) {
        OrderSums<1>(dots, ordered);
        dots = ordered;
      }
      if constexpr (!kIsSum) {
        for (size_t i = 0; i < kVectorBytes; i += hn::Lanes(DI32())) {
          hn::Store(CorrectedDots<W>(hn::Load(DI32(), dots + i), correction(t)), DI32(), dots + i);
        }
      }
      AddScaled(dots, steps, x_.Step(first + t, run.x_group), totals + t * kVectorBytes);
    };

    // A run of several chunks keeps the sums of all tokens between them; of one chunk, those of a tile do.
    const size_t width = run.before + run.end - run.begin;
    const bool is_one_chunk = width <= Quads::kChunkCols;
    if (!is_one_chunk) begin_sums(0, RoundUp(tokens, kAmxTokens), sums);
    for (size_t col = 0; col < width; col += Quads::kChunkCols) {
      const size_t cols = std::min(Quads::kChunkCols, width - col);
      quads_.Fill(block, run.begin - run.before + col, cols, quads);
      const int8_t* x = inputs_.levels + first * inputs_.stride + run.input + col;
      const bool is_last = col + cols == width;
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
  Quads quads_;
  const std::vector<ColumnRun>& runs_;
  RunInputs inputs_;
  InputRows<int8_t> x_;
  MatrixView<float> y_;
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_BLOCK_RUNS_INL_H_
