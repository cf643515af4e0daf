// SimdMatrix<W, X, U>: weights W as the vector kernels read them, for inputs X and the uses U (backend/uses.h). The
// layout, a class in a file of its own, follows from the type alone:
//
//   RealWeights    real weights
//   LookupWeights  read whole, where lookups pay (lookup_plan.h) and a row has one step on either side
//   QuadWeights    else read whole, if codes and inputs fit a byte (inputs a signed one)
//   ColumnWeights  columns are chosen; codes fit a byte, inputs are integers
//   RowWeights     all else
//
// A layout does not know the format of the inputs, but for the plan of lookups, so that its kernels are compiled once
// for all inputs that are held in the same type. To add one: a class with rows(), cols(), step_groups(), Step(),
// StoredBytes() and UnpackRow(), its place in kWeightLayout and SelectLayout below, and its kernel in products-inl.h.
#if defined(BITNET_BACKEND_SIMD_SIMD_MATRIX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_SIMD_MATRIX_INL_H_
#undef BITNET_BACKEND_SIMD_SIMD_MATRIX_INL_H_
#else
#define BITNET_BACKEND_SIMD_SIMD_MATRIX_INL_H_
#endif

#include <cmath>
#include <cstddef>
#include <type_traits>

#include "bitnet/backend/simd/column_weights-inl.h"
#include "bitnet/backend/simd/lookup_weights-inl.h"
#include "bitnet/backend/simd/quad_weights-inl.h"
#include "bitnet/backend/simd/real_weights-inl.h"
#include "bitnet/backend/simd/row_weights-inl.h"
#include "bitnet/backend/uses.h"
#include "bitnet/base/assert.h"
#include "bitnet/base/executor.h"
#include "bitnet/tensor/operand.h"
#include "bitnet/tensor/quantized_matrix.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

enum class WeightLayout { kReals, kLookups, kQuads, kColumns, kRows };

template <Operand W, Operand X, class U>
inline constexpr WeightLayout kWeightLayout = [] {
  if constexpr (kIsFloat<FormatOf<W>>) {
    return WeightLayout::kReals;
  } else {
    constexpr bool kFitsByte = OffsetTraits<FormatOf<W>>::kFitsByte;
    if (U::template kHas<ChosenColumns>) {
      return kFitsByte && !kIsFloat<FormatOf<X>> ? WeightLayout::kColumns : WeightLayout::kRows;
    }
    if (!U::template kHas<Dense> || U::template kHas<ChosenRows>) return WeightLayout::kRows;
    if (PlanProduct<W, X>(kTableEntries).method == ProductMethod::kLookup) return WeightLayout::kLookups;
    return kFitsByte && std::is_same_v<LevelOf<FormatOf<X>>, int8_t> ? WeightLayout::kQuads : WeightLayout::kRows;
  }
}();

namespace detail {
template <Format W, LookupPlan kPlan, WeightLayout kLayout>
struct SelectLayout;
template <RealFormat W, LookupPlan kPlan>
struct SelectLayout<W, kPlan, WeightLayout::kReals> {
  using type = RealWeights<W>;
};
template <LevelFormat W, LookupPlan kPlan>
struct SelectLayout<W, kPlan, WeightLayout::kLookups> {
  using type = LookupWeights<W, kPlan>;
};
template <LevelFormat W, LookupPlan kPlan>
struct SelectLayout<W, kPlan, WeightLayout::kQuads> {
  using type = QuadWeights<W>;
};
template <LevelFormat W, LookupPlan kPlan>
struct SelectLayout<W, kPlan, WeightLayout::kColumns> {
  using type = ColumnWeights<W>;
};
template <LevelFormat W, LookupPlan kPlan>
struct SelectLayout<W, kPlan, WeightLayout::kRows> {
  using type = RowWeights<W>;
};
}  // namespace detail

template <Operand W, Operand X, class U>
class SimdMatrix {
  static_assert(!(U::template kHas<ChosenRows> && U::template kHas<ChosenColumns>),
                "bitnet: no layout serves chosen rows and chosen columns alike: prepare a matrix for each");

 public:
  static constexpr LookupPlan kPlan = PlanProduct<W, X>(kTableEntries);
  static constexpr WeightLayout kLayout = kWeightLayout<W, X, U>;
  using Weights = typename detail::SelectLayout<FormatOf<W>, kPlan, kLayout>::type;

  SimdMatrix() = default;
  SimdMatrix(const QuantizedMatrix<FormatOf<W>>& weights, Executor& executor) : weights_(Checked(weights), executor) {
    if constexpr (kLayout == WeightLayout::kReals && U::template kHas<ChosenColumns>) is_finite_ = weights_.IsFinite();
  }

  size_t rows() const { return weights_.rows(); }
  size_t cols() const { return weights_.cols(); }
  // Of codes and steps, padding included.
  size_t StoredBytes() const { return weights_.StoredBytes(); }
  const Weights& weights() const { return weights_; }
  // Whether no weight is NaN or infinite, so that columns of zero inputs may be read. (Known of real
  // weights whose columns are chosen; true of all others.)
  bool is_finite() const { return is_finite_; }

 private:
  // (By the layout alone: a group that is as wide as a row is one too.)
  static const QuantizedMatrix<FormatOf<W>>& Checked(const QuantizedMatrix<FormatOf<W>>& weights) {
    BITNET_ASSERT((weights.granularity().group != 0) == kIsGrouped<W>,
                  "PrepareMatrix: steps for groups of columns belong to Grouped<> operands");
    return weights;
  }

  Weights weights_;
  bool is_finite_ = true;
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_SIMD_MATRIX_INL_H_
