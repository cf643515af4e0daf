// AdamW with bias correction and gradient clipping to a global norm:
//
//   g' = g * min(1, clip / |g|)
//   m = beta1 m + (1 - beta1) g',  v = beta2 v + (1 - beta2) g'^2
//   w -= rate * (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + decay * w),  t = step + 1
//
// Decay applies to matrices, not to the gains of norms.
#ifndef BITNET_TRAIN_ADAMW_H_
#define BITNET_TRAIN_ADAMW_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bitnet/base/executor.h"
#include "bitnet/model/weights.h"

namespace bitnet {

struct AdamWOptions {
  float beta1 = 0.9f;
  float beta2 = 0.95f;
  float eps = 1e-8f;
};

namespace detail {

inline constexpr size_t kParameterChunk = 1 << 14;

// f(chunk) for runs of at most kParameterChunk parameters of all tensors; a chunk never crosses a tensor.
struct ParameterChunk {
  size_t tensor;
  size_t begin;
  size_t size;
  bool is_gain;
};

inline std::vector<ParameterChunk> ChunksOf(const LatentWeights& weights) {
  std::vector<ParameterChunk> chunks;
  size_t tensor = 0;
  weights.ForEach([&](const std::string& name, const std::vector<float>& values, size_t, size_t) {
    for (size_t begin = 0; begin < values.size(); begin += kParameterChunk) {
      chunks.push_back({tensor, begin, std::min(kParameterChunk, values.size() - begin), LatentWeights::IsGain(name)});
    }
    ++tensor;
  });
  return chunks;
}

template <class Weights>
auto TensorsOf(Weights& weights) {
  using T = decltype(weights.embedding.data());
  std::vector<T> tensors;
  weights.ForEach([&](const std::string&, auto& values, size_t, size_t) { tensors.push_back(values.data()); });
  return tensors;
}

}  // namespace detail

// The Euclidean norm over all parameters, in double.
inline double GlobalNorm(Executor& executor, const LatentWeights& gradients) {
  const std::vector<detail::ParameterChunk> chunks = detail::ChunksOf(gradients);
  const auto tensors = detail::TensorsOf(gradients);
  std::vector<double> squares(chunks.size());
  executor.Run(chunks.size(), [&](size_t i) {
    const float* g = tensors[chunks[i].tensor] + chunks[i].begin;
    squares[i] = OrderedSum(chunks[i].size, [&](size_t k) { return double(g[k]) * double(g[k]); });
  });
  double sum = 0.0;
  for (const double square : squares) sum += square;
  return std::sqrt(sum);
}

class AdamW {
 public:
  AdamW() = default;
  AdamW(const LatentWeights& like, const AdamWOptions& options)
      : options_(options),
        first_(LatentWeights::Zeros(like.config, like.sub_layer_norms)),
        second_(LatentWeights::Zeros(like.config, like.sub_layer_norms)) {}

  // One update of the weights; gradients are multiplied by `scale`: see ClipScale. `step` counts from 0.
  void Update(Executor& executor, uint64_t step, float rate, float decay, float scale, const LatentWeights& gradients,
              LatentWeights& weights) {
    const std::vector<detail::ParameterChunk> chunks = detail::ChunksOf(weights);
    const auto ws = detail::TensorsOf(weights);
    const auto gs = detail::TensorsOf(gradients);
    const auto ms = detail::TensorsOf(first_);
    const auto vs = detail::TensorsOf(second_);
    const auto t = static_cast<double>(step) + 1.0;
    const auto correct1 = static_cast<float>(1.0 / (1.0 - std::pow(double(options_.beta1), t)));
    const auto correct2 = static_cast<float>(1.0 / (1.0 - std::pow(double(options_.beta2), t)));
    const float beta1 = options_.beta1;
    const float beta2 = options_.beta2;
    const float eps = options_.eps;
    executor.Run(chunks.size(), [&](size_t i) {
      const detail::ParameterChunk& chunk = chunks[i];
      float* w = ws[chunk.tensor] + chunk.begin;
      float* m = ms[chunk.tensor] + chunk.begin;
      float* v = vs[chunk.tensor] + chunk.begin;
      const float* g = gs[chunk.tensor] + chunk.begin;
      const float shrink = chunk.is_gain ? 0.0f : decay;
      for (size_t k = 0; k < chunk.size; ++k) {
        const float clipped = g[k] * scale;
        m[k] = beta1 * m[k] + (1.0f - beta1) * clipped;
        v[k] = beta2 * v[k] + (1.0f - beta2) * clipped * clipped;
        w[k] -= rate * (m[k] * correct1 / (std::sqrt(v[k] * correct2) + eps) + shrink * w[k]);
      }
    });
  }

  // What gradients of this norm are multiplied by so that it is at most `clip`.
  static float ClipScale(double norm, double clip) { return norm > clip ? static_cast<float>(clip / norm) : 1.0f; }

  LatentWeights& first_moment() { return first_; }
  LatentWeights& second_moment() { return second_; }
  const LatentWeights& first_moment() const { return first_; }
  const LatentWeights& second_moment() const { return second_; }

 private:
  AdamWOptions options_;
  LatentWeights first_, second_;
};

}  // namespace bitnet

#endif  // BITNET_TRAIN_ADAMW_H_
