// AdamW with bias correction and gradient clipping to a global norm:
//
//   g' = g * min(1, clip / |g|)
//   m = beta1 m + (1 - beta1) g',  v = beta2 v + (1 - beta2) g'^2
//   w -= rate * (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + decay * w),  t = step + 1
//
// Decay applies by a tensor's role: see Decays.
#ifndef BITNET_TRAIN_ADAMW_H_
#define BITNET_TRAIN_ADAMW_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bitnet/base/executor.h"
#include "bitnet/model/weights.h"

namespace bitnet {

struct AdamWOptions {
  float beta1 = 0.9f;
  float beta2 = 0.95f;
  float eps = 1e-8f;
};

// Whether weights of a role decay: matrices, not the gains of norms.
constexpr bool Decays(TensorRole role) { return role != TensorRole::kGain; }

namespace detail {

inline constexpr size_t kParameterChunk = 1 << 14;

// A run of at most kParameterChunk parameters of one tensor.
struct ParameterChunk {
  size_t begin;  // in LatentWeights::values()
  size_t size;
  bool decays;
};

inline std::vector<ParameterChunk> ChunksOf(const ModelConfig& config) {
  std::vector<ParameterChunk> chunks;
  size_t at = 0;
  ForEachTensor(config, [&](const TensorInfo& tensor) {
    const size_t end = at + tensor.rows * tensor.cols;
    while (at < end) {
      const size_t size = std::min(kParameterChunk, end - at);
      chunks.push_back({at, size, Decays(tensor.role)});
      at += size;
    }
  });
  return chunks;
}

}  // namespace detail

// The Euclidean norm over all parameters, in double.
inline double GlobalNorm(Executor& executor, const LatentWeights& gradients) {
  const std::vector<detail::ParameterChunk> chunks = detail::ChunksOf(gradients.config());
  const float* values = gradients.values().data();
  std::vector<double> squares(chunks.size());
  executor.Run(chunks.size(), [&](size_t i) {
    const float* g = values + chunks[i].begin;
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
      : options_(options), first_(LatentWeights::Zeros(like.config())), second_(LatentWeights::Zeros(like.config())) {}

  // One update of the weights; gradients are multiplied by `scale`: see ClipScale. `step` counts from 0.
  void Update(Executor& executor, uint64_t step, float rate, float decay, float scale, const LatentWeights& gradients,
              LatentWeights& weights) {
    BITNET_ASSERT(weights.config() == first_.config() && gradients.config() == first_.config(),
                  "AdamW::Update: weights and gradients must have the configuration of the moments");
    const std::vector<detail::ParameterChunk> chunks = detail::ChunksOf(weights.config());
    float* const all_w = weights.values().data();
    float* const all_m = first_.values().data();
    float* const all_v = second_.values().data();
    const float* const all_g = gradients.values().data();
    const auto t = static_cast<double>(step) + 1.0;
    const auto correct1 = static_cast<float>(1.0 / (1.0 - std::pow(double(options_.beta1), t)));
    const auto correct2 = static_cast<float>(1.0 / (1.0 - std::pow(double(options_.beta2), t)));
    const float beta1 = options_.beta1;
    const float beta2 = options_.beta2;
    const float eps = options_.eps;
    executor.Run(chunks.size(), [&](size_t i) {
      const detail::ParameterChunk& chunk = chunks[i];
      float* w = all_w + chunk.begin;
      float* m = all_m + chunk.begin;
      float* v = all_v + chunk.begin;
      const float* g = all_g + chunk.begin;
      const float shrink = chunk.decays ? decay : 0.0f;
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
