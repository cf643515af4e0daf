// RealWeights<F>: real weights row by row as they are stored, [row][value], a row padded to a cache line. What reads
// them makes floats of them on the way.
#if defined(BITNET_BACKEND_SIMD_REAL_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_REAL_WEIGHTS_INL_H_
#undef BITNET_BACKEND_SIMD_REAL_WEIGHTS_INL_H_
#else
#define BITNET_BACKEND_SIMD_REAL_WEIGHTS_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "bitnet/backend/simd/dot_floats-inl.h"
#include "bitnet/backend/simd/weight_steps.h"
#include "bitnet/base/executor.h"
#include "bitnet/base/size.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/quantized_matrix.h"
#include "bitnet/tensor/step_groups.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

template <RealFormat F>
class RealWeights {
 public:
  using Level = float;
  using Stored = StoredReal<F>;
  static constexpr size_t kUnpackMultiple = 1;
  // Threads share the rows at multiples of this many.
  static constexpr size_t kRowMultiple = kFloatRowTile;

  RealWeights() = default;
  RealWeights(const QuantizedMatrix<F>& weights, Executor& executor)
      : rows_(weights.rows()),
        cols_(weights.cols()),
        stride_(RoundUp(cols_, kLineValues)),
        values_(ElementCount<Stored>(rows_, stride_)),
        steps_(weights) {
    ParallelRanges(executor, rows_, 16, 1, [&](size_t begin, size_t end) {
      for (size_t r = begin; r < end && cols_ != 0; ++r) {
        std::memcpy(values_.data() + r * stride_, weights.RowCodes(r).data(), cols_ * sizeof(Stored));
      }
    });
  }

  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  size_t StoredBytes() const { return values_.size() * sizeof(Stored); }
  StepGroups step_groups() const { return steps_.step_groups(); }
  float Step(size_t row, size_t step_group = 0) const { return steps_.Of(row, step_group); }
  const Stored* Row(size_t row) const { return values_.data() + row * stride_; }
  // Whether no value is NaN or infinite, so that one times a zero input adds nothing.
  bool IsFinite() const {
    return std::all_of(values_.begin(), values_.end(), [](float w) { return std::isfinite(w); });
  }

  // to[0, n) = values of a row from column `first` on.
  HWY_NOINLINE void UnpackRow(size_t row, size_t first, size_t n, float* HWY_RESTRICT to) const {
    const DF32 d;
    const Stored* HWY_RESTRICT from = Row(row) + first;
    size_t i = 0;
    for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) hn::StoreU(LoadReals(d, from + i), d, to + i);
    for (; i < n; ++i) to[i] = from[i];
  }

 private:
  static constexpr size_t kLineValues = 64 / sizeof(Stored);

  size_t rows_ = 0;
  size_t cols_ = 0;
  size_t stride_ = 0;
  AlignedVector<Stored> values_;
  WeightSteps<StepOrder::kByRow> steps_;
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_REAL_WEIGHTS_INL_H_
