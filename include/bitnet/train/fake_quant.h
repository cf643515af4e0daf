// The operands of a training product: levels as floats, which Eigen multiplies exactly, and their steps.
//
// The backend quantizes, by the same Quantizer types as in inference, so levels and steps are those of the exported
// model. Gradients go straight through: the backward pass reads the values step * level and ignores the rounding. (Not
// the transform before it: its gradient is its transpose, in linear.h and layer.h.)
#ifndef BITNET_TRAIN_FAKE_QUANT_H_
#define BITNET_TRAIN_FAKE_QUANT_H_

#include <algorithm>
#include <cstddef>
#include <span>
#include <type_traits>

#include "bitnet/backend/backend.h"
#include "bitnet/base/size.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/quant/top_k.h"
#include "bitnet/quant/transform.h"
#include "bitnet/tensor/operand.h"
#include "bitnet/tensor/quantized_matrix.h"
#include "bitnet/train/matrix.h"

namespace bitnet {

struct FloatLevels {
  FloatMatrix levels;  // [rows, cols]; the reals themselves where nothing is quantized
  StepGroups step_groups;
  AlignedVector<float> steps;  // [rows, step_groups.Count()]

  void Resize(size_t rows, size_t cols, size_t group) {
    const StepGroups cut = {cols, group};
    steps.resize(ElementCount<float>(rows, cut.Count()));
    levels.Resize(rows, cols);
    step_groups = cut;
  }
  float Step(size_t row, size_t step_group) const { return steps[row * step_groups.Count() + step_group]; }
};

namespace detail {

// Levels of rows as floats, steps, and values = step * level.
template <Format F, class Rows>
void SpreadRows(const Rows& rows, MatrixView<float> levels, std::span<float> steps, MatrixView<float> values) {
  const StepGroups step_groups = rows.step_groups();
  for (size_t t = 0; t < rows.rows(); ++t) {
    const std::span<const LevelOf<F>> from = rows[t];
    float* level = levels.Row(t);
    float* value = values.Row(t);
    for (size_t begin = 0, s = 0; begin < step_groups.cols; begin = step_groups.End(begin), ++s) {
      const float step = steps[t * step_groups.Count() + s] = rows.Steps(t)[s];
      for (size_t c = begin; c < step_groups.End(begin); ++c) {
        level[c] = static_cast<float>(from[c]);
        value[c] = kIsFloat<F> ? level[c] : step * level[c];
      }
    }
  }
}

}  // namespace detail

// out = the levels of Q(x), x [tokens, cols], of which each token keeps the share Keep; values [tokens, cols] =
// step * level: of Q(T x), where Q is Transformed. `values` may be x.
template <AnyQuantizer Q, class Keep = KeepAll, HostBackend B>
void QuantizeInputs(const B& backend, MatrixView<const float> x, FloatLevels& out, MatrixView<float> values) {
  // Kept between calls by each worker.
  thread_local typename B::template Rows<OperandOf<Q>> rows;
  typename B::Stream stream = backend.NewStream();
  MatrixView<const float> inputs = x;
  if constexpr (!kTransformsNothing<Q>) {
    backend.template Transform<TransformOf<Q>>(stream, x, values);
    inputs = values;
  }
  if constexpr (Keep::kAll) {
    backend.template Quantize<Untransformed<Q>>(stream, inputs, rows);
  } else {
    backend.template QuantizeTopK<Untransformed<Q>>(stream, inputs, Keep::Count(x.cols()), rows);
  }
  out.Resize(x.rows(), x.cols(), rows.step_groups().group);
  detail::SpreadRows<typename Q::Format>(rows, out.levels, out.steps, values);
}

// Quantized weights of one product: of several matrices with the same inputs, one below the other.
struct WeightOperand {
  FloatLevels levels;  // read by the forward pass
  FloatMatrix values;  // step * level, read by the backward pass
  size_t rows() const { return values.rows(); }
  size_t cols() const { return values.cols(); }

  template <AnyQuantizer Q>
  void Resize(size_t rows, size_t cols) {
    levels.Resize(rows, cols, kGroupSize<typename Q::Granularity>);
    values.Resize(rows, cols);
  }
};

// Rows [first_row, first_row + rows) of `out` = Q(weights [rows, cols]): the levels and steps of
// QuantizedMatrix::Quantize.
template <AnyQuantizer Q, HostBackend B>
void QuantizeWeights(const B& backend, std::span<const float> weights, size_t first_row, size_t rows,
                     WeightOperand& out) {
  using F = typename Q::Format;
  const size_t cols = out.cols();
  BITNET_ASSERT(CheckedProduct(rows, cols) == weights.size(), "QuantizeWeights: weights must be [rows, cols]");
  const MatrixView<float> levels = out.levels.levels.Rows(first_row, rows);
  const MatrixView<float> values = out.values.Rows(first_row, rows);
  const size_t steps_a_row = out.levels.step_groups.Count();
  const std::span<float> steps(out.levels.steps.data() + first_row * steps_a_row, rows * steps_a_row);
  thread_local typename B::template Rows<OperandOf<Q>> quantized;
  typename B::Stream stream = backend.NewStream();
  if constexpr (StepGranularity::Of<typename Q::Granularity>().per_row) {
    backend.template Quantize<Q>(stream, MatrixView<const float>(weights.data(), rows, cols), quantized);
    detail::SpreadRows<F>(quantized, levels, steps, values);
  } else {
    // One step for the matrix: it is one long row.
    backend.template Quantize<Q>(stream, AsRow(weights), quantized);
    float step = 0.0f;
    detail::SpreadRows<F>(quantized, MatrixView<float>(levels.data(), 1, rows * cols), {&step, 1},
                          MatrixView<float>(values.data(), 1, rows * cols));
    std::fill(steps.begin(), steps.end(), step);
  }
}

}  // namespace bitnet

#endif  // BITNET_TRAIN_FAKE_QUANT_H_
