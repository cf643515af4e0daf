// BitLinear in training: the forward product with the bits of inference, and its two straight-through gradients,
// dX = dY Q(W) T and dW = dY^T Q(X T^T), with the transform T of the input's quantizer, if it has one.
#ifndef BITNET_TRAIN_LINEAR_H_
#define BITNET_TRAIN_LINEAR_H_

#include <cstddef>
#include <cstdint>

#include "bitnet/format/format.h"
#include "bitnet/train/fake_quant.h"
#include "bitnet/train/matrix.h"

namespace bitnet {

// Whether every partial sum of a product of `cols` levels is an integer of at most 2^24, so that float sums are exact.
// A product with a float operand has the rounding of its sum in any case.
template <Format W, Format X>
constexpr bool FloatSumsSuffice(size_t cols) {
  if constexpr (kIsFloat<W> || kIsFloat<X>) {
    return true;
  } else {
    constexpr uint64_t kLargest = uint64_t{FormatTraits<W>::kMaxMagnitude} * uint64_t{FormatTraits<X>::kMaxMagnitude};
    return cols <= (uint64_t{1} << 24) / kLargest;
  }
}

// y [tokens, rows] = x w^T: docs/numerics.md, "Products". Exact sums where both formats have levels.
template <Format W, Format X>
void LinearForward(const FloatLevels& x, const FloatLevels& w, MatrixView<float> y) {
  const MatrixView<const float> xs = x.levels;
  const MatrixView<const float> ws = w.levels;
  if (x.step_groups.Count() == 1 && w.step_groups.Count() == 1 && FloatSumsSuffice<W, X>(xs.cols())) {
    MultiplyTransposed(xs, ws, y);
    for (size_t t = 0; t < y.rows(); ++t) {
      float* row = y.Row(t);
      const float x_step = x.steps[t];
      const float* w_step = w.steps.data();
      // float(double(a) * double(b)) is a * b. Adding zero makes -0 a 0, as a sum that starts at zero does.
      for (size_t r = 0; r < y.cols(); ++r) row[r] = row[r] * (w_step[r] * x_step) + 0.0f;
    }
    return;
  }
  detail::EigenMatrix<double> total =
      detail::EigenMatrix<double>::Zero(static_cast<Eigen::Index>(y.rows()), static_cast<Eigen::Index>(y.cols()));
  detail::EigenMatrix<double> dot;
  EachCommonRun(w.step_groups, x.step_groups, [&](size_t begin, size_t end, size_t ws_group, size_t xs_group) {
    MultiplyTransposedInDouble(xs.Cols(begin, end - begin), ws.Cols(begin, end - begin), dot);
    for (size_t t = 0; t < y.rows(); ++t) {
      for (size_t r = 0; r < y.cols(); ++r) {
        double& sum = dot(static_cast<Eigen::Index>(t), static_cast<Eigen::Index>(r));
        if constexpr (kIsFloat<W> || kIsFloat<X>) sum = static_cast<float>(sum);
        const float scale = w.Step(r, ws_group) * x.Step(t, xs_group);
        total(static_cast<Eigen::Index>(t), static_cast<Eigen::Index>(r)) += sum * double(scale);
      }
    }
  });
  for (size_t t = 0; t < y.rows(); ++t) {
    for (size_t r = 0; r < y.cols(); ++r) {
      y[t][r] = static_cast<float>(total(static_cast<Eigen::Index>(t), static_cast<Eigen::Index>(r)));
    }
  }
}

// dx [tokens, cols] = dy [tokens, rows] Q(w), each row then times T^T, for a product whose input X quantized.
template <AnyQuantizer X, HostBackend B>
void InputGradient(const B& backend, MatrixView<const float> dy, const WeightOperand& w, MatrixView<float> dx) {
  Multiply(dy, w.values, dx);
  if constexpr (!kTransformsNothing<X>) {
    typename B::Stream stream = backend.NewStream();
    backend.template Transform<Transposed<TransformOf<X>>>(stream, dx, dx);
  }
}

// One weight gradient to compute: dw [rows, cols] += dy^T x, dy [tokens, rows], x = Q(T X) [tokens, cols].
struct WeightGradient {
  MatrixView<const float> dy;
  MatrixView<const float> x;
  float* dw;
};

// All of them, cut by rows of dw.
inline void WeightGradients(Executor& executor, std::span<const WeightGradient> gradients) {
  const auto tiles = [](const WeightGradient& g) { return (g.dy.cols() + kTile - 1) / kTile; };
  size_t total = 0;
  for (const WeightGradient& g : gradients) total += tiles(g);
  executor.Run(total, [&](size_t task) {
    const WeightGradient* g = gradients.data();
    while (task >= tiles(*g)) task -= tiles(*g++);
    const size_t begin = task * kTile;
    const size_t rows = std::min(kTile, g->dy.cols() - begin);
    AddTransposedProduct(g->dy.Cols(begin, rows), g->x,
                         MatrixView<float>(g->dw + begin * g->x.cols(), rows, g->x.cols()));
  });
}

}  // namespace bitnet

#endif  // BITNET_TRAIN_LINEAR_H_
