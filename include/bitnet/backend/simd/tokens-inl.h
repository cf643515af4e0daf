// The operations on each row of activations, split among threads: quantizers, lists, norm, rotation, the gated unit.
#if defined(BITNET_BACKEND_SIMD_TOKENS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_TOKENS_INL_H_
#undef BITNET_BACKEND_SIMD_TOKENS_INL_H_
#else
#define BITNET_BACKEND_SIMD_TOKENS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bitnet/backend/check_shapes.h"
#include "bitnet/backend/definitions.h"
#include "bitnet/backend/simd/elementwise-inl.h"
#include "bitnet/backend/simd/grain.h"
#include "bitnet/backend/simd/lists-inl.h"
#include "bitnet/backend/simd/quantize-inl.h"
#include "bitnet/backend/simd/simd_rows.h"
#include "bitnet/backend/simd/transform-inl.h"
#include "bitnet/backend/where.h"
#include "bitnet/base/executor.h"
#include "bitnet/tensor/channel_lists.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/quantized_rows.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// y = T x; y may be x.
template <AnyTransform T>
void TransformRows(Executor& executor, MatrixView<const float> x, MatrixView<float> y) {
  CheckTransform(x, y);
  EachRow(executor, x.rows(), x.cols(), [&](size_t r) { TransformRow(T(), x.Row(r), x.cols(), y.Row(r)); });
}

// One row's levels and steps; levels of magnitudes below min_bits are 0 (built-in quantizers only).
template <AnyQuantizer Q>
void QuantizeRow(std::span<const float> x, int32_t min_bits, size_t row, SimdRows<OperandOf<Q>>& out) {
  CheckQuantizes<Q>();
  const StepGroups step_groups = out.step_groups();
  for (size_t begin = 0; begin < x.size(); begin = step_groups.End(begin)) {
    const auto span = x.subspan(begin, step_groups.End(begin) - begin);
    out.Steps(row)[step_groups.Of(begin)] = QuantizeSpan<Q>(span, min_bits, out.Row(row) + begin);
  }
}

template <AnyQuantizer Q>
void QuantizeRows(Executor& executor, MatrixView<const float> x, SimdRows<OperandOf<Q>>& out) {
  out.Resize(x.rows(), x.cols(), kGroupSize<typename Q::Granularity>);
  EachRow(executor, x.rows(), x.cols(), [&](size_t r) { QuantizeRow<Q>(x[r], 0, r, out); });
}

template <AnyQuantizer Q>
void QuantizeTopKOfRows(Executor& executor, MatrixView<const float> x, size_t k, SimdRows<OperandOf<Q>>& out) {
  static_assert(HasZero<typename Q::Format>(),
                "bitnet: top-k sets inputs to zero, so its quantizer needs a format with the level 0");
  out.Resize(x.rows(), x.cols(), kGroupSize<typename Q::Granularity>);
  EachRow(executor, x.rows(), x.cols(), [&](size_t r) {
    TopK top = FindTopKOfSpan(x[r], k);
    auto* levels = out.Row(r);
    if constexpr (kIsBuiltInQuantizer<Q>) {
      QuantizeRow<Q>(x[r], static_cast<int32_t>(top.threshold.bits), r, out);
      if (!top.leaves_equals) return;
    } else {
      QuantizeRow<Q>(x[r], 0, r, out);
    }
    for (size_t c = 0; c < x.cols(); ++c) {
      if (!KeepNext(top.threshold, x[r][c])) levels[c] = 0;
    }
  });
}

template <Operand X>
void ListNonzeroOfRows(Executor& executor, SimdRows<X>& x) {
  ChannelLists& lists = x.nonzero();
  lists.Resize(x.rows(), x.cols());
  ParallelRanges(executor, x.rows(), Grain(x.cols()), 1, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) lists.SetCount(r, ListNonzero(x.Row(r), x.cols(), lists.Row(r)));
  });
}

// The sum over the rows of times(row) * levels that are not zero.
template <Operand X, class Times>
uint64_t CountNonzeroOfRows(const SimdRows<X>& x, Times&& times) {
  uint64_t count = 0;
  for (size_t r = 0; r < x.rows(); ++r) {
    size_t of_row = 0;
    for (const auto level : x[r]) of_row += level != LevelOf<FormatOf<X>>{} ? 1u : 0u;
    count += uint64_t{of_row} * times(r);
  }
  return count;
}

inline void NormRows(Executor& executor, MatrixView<const float> x, std::span<const float> gain, float eps,
                     MatrixView<float> y) {
  CheckRmsNorm(x, gain, y);
  EachRow(executor, x.rows(), x.cols(), [&](size_t r) {
    const float factor = InverseRms(SumOfSquares(x.Row(r), x.cols()), x.cols(), eps);
    ScaleByGain(x.Row(r), factor, gain.data(), x.cols(), y.Row(r));
  });
}

inline void RotateRows(Executor& executor, const HostWhere& where, MatrixView<float> y) {
  const size_t head_dim = CheckRotate(where, y);
  EachRow(executor, y.rows(), y.cols(), [&](size_t r) {
    for (size_t first = 0; first < y.cols(); first += head_dim) {
      RotateHalves(where.Cos(r).data(), where.Sin(r).data(), head_dim / 2, y.Row(r) + first);
    }
  });
}

inline void AddRows(Executor& executor, MatrixView<const float> x, MatrixView<float> y) {
  CheckAdd(x, y);
  EachRow(executor, x.rows(), x.cols(), [&](size_t r) { AddTo(x.Row(r), x.cols(), y.Row(r)); });
}

template <Activation A>
void ListOpenGatesOfRows(Executor& executor, MatrixView<const float> gate, ChannelLists& open) {
  open.Resize(gate.rows(), gate.cols());
  EachRow(executor, gate.rows(), gate.cols(),
          [&](size_t r) { open.SetCount(r, ListOpenGates(A(), gate.Row(r), gate.cols(), open.Row(r))); });
}

template <Activation A>
void GluOfRows(Executor& executor, MatrixView<const float> gate, MatrixView<const float> up, const ChannelLists& open,
               MatrixView<float> y) {
  CheckGlu(gate, up, open, y);
  EachRow(executor, gate.rows(), gate.cols(), [&](size_t r) {
    if (open.Count(r) == gate.cols()) {
      GluOfOpen(A(), gate.Row(r), up.Row(r), gate.cols(), y.Row(r));
    } else {
      GluOfListed(A(), gate.Row(r), up.Row(r), open[r], gate.cols(), y.Row(r));
    }
  });
}

inline void CopyRows(MatrixView<const float> from, MatrixView<float> to) {
  BITNET_ASSERT(from.rows() == to.rows() && from.cols() == to.cols(), "Copy: both must have the same shape");
  for (size_t r = 0; r < from.rows(); ++r) std::copy(from[r].begin(), from[r].end(), to.Row(r));
}

// Between the plain form of rows and ours.
template <Operand X, template <class> class From, template <class> class To>
void CopyRows(const From<X>& from, To<X>& to) {
  to.Resize(from.rows(), from.cols(), from.step_groups().group);
  for (size_t r = 0; r < from.rows(); ++r) {
    std::copy(from[r].begin(), from[r].end(), to[r].begin());
    std::copy(from.Steps(r).begin(), from.Steps(r).end(), to.Steps(r).begin());
  }
  to.nonzero() = from.nonzero();
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_TOKENS_INL_H_
