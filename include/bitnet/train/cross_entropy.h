// Cross-entropy of a tile of tokens and its gradient, natural logarithm.
#ifndef BITNET_TRAIN_CROSS_ENTROPY_H_
#define BITNET_TRAIN_CROSS_ENTROPY_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bitnet/train/matrix.h"
#include "bitnet/train/softmax.h"

namespace bitnet {

// sum_t -log softmax(logits[t])[targets[t]]. The logits become the gradient of `scale` times it,
// scale * (softmax - one hot), unless scale is 0.
inline double CrossEntropy(MatrixView<float> logits, std::span<const uint32_t> targets, float scale) {
  thread_local AlignedVector<float> row;
  const size_t vocab = logits.cols();
  row.resize(vocab);
  double loss = 0.0;
  for (size_t t = 0; t < logits.rows(); ++t) {
    float* x = logits.Row(t);
    const float max = RowMax(x, vocab);
    std::copy(x, x + vocab, row.begin());
    ExpRow(row.data(), vocab, max);
    const double total = OrderedSum(vocab, [&](size_t i) { return row[i]; });
    loss += std::log(total) + (double(max) - double(x[targets[t]]));
    if (scale == 0.0f) continue;
    const auto factor = static_cast<float>(double(scale) / total);
    for (size_t i = 0; i < vocab; ++i) x[i] = row[i] * factor;
    x[targets[t]] -= scale;
  }
  return loss;
}

}  // namespace bitnet

#endif  // BITNET_TRAIN_CROSS_ENTROPY_H_
