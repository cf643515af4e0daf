// Integer products of rows (row_weights-inl.h) with steps for groups of columns: eight rows are unpacked to offsets,
// then each run of columns in which both steps are constant is multiplied, and the eight dots, in the lanes of one
// vector, go to the rows' totals.
#if defined(BITNET_BACKEND_SIMD_DOT_ROW_RUNS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_DOT_ROW_RUNS_INL_H_
#undef BITNET_BACKEND_SIMD_DOT_ROW_RUNS_INL_H_
#else
#define BITNET_BACKEND_SIMD_DOT_ROW_RUNS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bitnet/backend/simd/codes-inl.h"
#include "bitnet/backend/simd/column_runs.h"
#include "bitnet/backend/simd/dot_block-inl.h"
#include "bitnet/backend/simd/input_rows-inl.h"
#include "bitnet/backend/simd/plane_run-inl.h"
#include "bitnet/backend/simd/row_weights-inl.h"
#include "bitnet/backend/simd/run_totals-inl.h"
#include "bitnet/tensor/matrix_view.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// Runs are those of ColumnRuns::FindAnywhere with units of N columns.
template <LevelFormat W>
class RowRunsProduct {
  using Weights = RowWeights<W>;
  using Codes = typename Weights::Codes;
  using Unpacked = typename BlockDot<W>::Codes;
  using Sum = DotSum<Unpacked, int8_t>;
  static constexpr size_t kRows = kSumLanes;  // at once
  static_assert(kRows == 8);

 public:
  RowRunsProduct(const Weights& weights, const ColumnRuns& runs, const RunInputs& inputs, const InputRows<int8_t>& x,
                 MatrixView<float> y)
      : weights_(weights), runs_(runs.runs()), inputs_(inputs), x_(x), y_(y) {}

  // Memory for Multiply.
  size_t ScratchBytes() const { return kRows * Stride(); }

  // y of the listed rows of tokens [first, end).
  HWY_NOINLINE void Multiply(const IndexList& rows, size_t first, size_t end, std::byte* memory) const {
    auto* unpacked = reinterpret_cast<uint8_t*>(memory);
    for (size_t i = 0; i < rows.count; i += kRows) {
      const size_t n = std::min(kRows, rows.count - i);
      for (size_t k = 0; k < kRows; ++k) {
        // Past the last row, that row again.
        const size_t row = rows[i + std::min(k, n - 1)];
        Prefetch(rows[std::min(i + kRows + k, rows.count - 1)]);
        UnpackOffsets<Codes>(weights_.Row(row), weights_.run(), 0, weights_.cols(), unpacked + k * Stride());
      }
      for (size_t t = first; t < end; ++t) {
        double totals[kRows];
        AddRuns(rows, i, n, unpacked, t, totals);
        for (size_t k = 0; k < n; ++k) y_.Row(t)[rows[i + k]] = static_cast<float>(totals[k]);
      }
    }
  }

 private:
  // Of an unpacked row: whole blocks, and what the last run reads beyond.
  size_t Stride() const { return RoundUp(weights_.cols(), Codes::kBlockCodes) + 2 * kVectorBytes; }

  void Prefetch(size_t row) const {
    const uint8_t* codes = weights_.Row(row);
    for (size_t at = 0; at < weights_.run().Bytes(); at += 64) __builtin_prefetch(codes + at);
    const float* steps = weights_.steps().OfRow(row);
    for (size_t at = 0; at < weights_.step_groups().Count(); at += 64 / sizeof(float)) __builtin_prefetch(steps + at);
  }

  HWY_INLINE void AddRuns(const IndexList& rows, size_t i, size_t n, const uint8_t* HWY_RESTRICT unpacked, size_t token,
                          double* HWY_RESTRICT totals) const {
    const float* steps[kRows];
    for (size_t k = 0; k < kRows; ++k) steps[k] = weights_.steps().OfRow(rows[i + std::min(k, n - 1)]);
    const size_t stride = Stride();
    auto total = Doubles8::Set(0.0);
    for (size_t r = 0; r < runs_.size(); ++r) {
      const ColumnRun& run = runs_[r];
      const int8_t* HWY_RESTRICT x = inputs_.levels + token * inputs_.stride + run.input;
      const uint8_t* HWY_RESTRICT w = unpacked + run.begin;
      Sum sums[kRows];
      HWY_UNROLL(8) for (size_t k = 0; k < kRows; ++k) sums[k] = Sum::Zero();
      for (size_t unit = 0; unit < run.units; ++unit, x += kVectorBytes, w += kVectorBytes) {
        const auto inputs = hn::LoadU(DI8(), x);
        HWY_UNROLL(8) for (size_t k = 0; k < kRows; ++k) {
          sums[k].Add(Unpacked::LoadPlane(w + k * stride), inputs);
          sums[k].Flush();
          sums[k].sum = KeepInRegister(sums[k].sum);
        }
      }
      int32_t dots[kRows];
      HWY_UNROLL(2) for (size_t k = 0; k < kRows; k += 4) {
        const auto four = SumsOfLanes(sums[k].sum, sums[k + 1].sum, sums[k + 2].sum, sums[k + 3].sum);
        hn::StoreU(CorrectedDots<W>(four, inputs_.corrections[token * runs_.size() + r]), DI32x4(), dots + k);
      }
      const float x_step = x_.Step(token, run.x_group);
      float scales[kRows];
      for (size_t k = 0; k < kRows; ++k) scales[k] = steps[k][run.w_group] * x_step;
      total = Doubles8::MulAdd(Doubles8::Load(dots), Doubles8::Load(scales), total);
    }
    total.Store(totals);
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

#endif  // BITNET_BACKEND_SIMD_DOT_ROW_RUNS_INL_H_
