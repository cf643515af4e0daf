// Sampler: the next token from logits: greedy, or by temperature, top-k and top-p, with a given generator.
#ifndef BITNET_MODEL_SAMPLER_H_
#define BITNET_MODEL_SAMPLER_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bitnet/backend/sampling.h"
#include "bitnet/base/random.h"
#include "bitnet/base/result.h"

namespace bitnet {

// Keeps a buffer between calls. Options must be valid.
class Sampler {
 public:
  explicit Sampler(SamplerOptions options = {}) : options_(options) {
    BITNET_ASSERT(options.Validate().ok(), "Sampler: the options are not valid: see SamplerOptions::Validate");
  }

  // Draws a token; one 64-bit number is taken from the generator unless greedy. top-k is applied before top-p.
  // Refuses NaN logits, and logits of which none is above minus infinity.
  template <class Generator>
  Result<uint32_t> operator()(std::span<const float> logits, Generator& generator) {
    size_t best = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
      if (std::isnan(logits[i])) {
        return Error{"the logit of token " + std::to_string(i) +
                     " is NaN: the model's weights or inputs are not finite"};
      }
      if (logits[i] > logits[best]) best = i;
    }
    if (logits.empty() || std::isinf(logits[best])) {
      return Error{"no token can be drawn: no logits, or the largest is infinite"};
    }
    if (options_.temperature == 0.0f) return static_cast<uint32_t>(best);

    candidates_.resize(logits.size());
    for (size_t i = 0; i < logits.size(); ++i) candidates_[i] = {logits[i], static_cast<uint32_t>(i)};
    const auto more_probable = [](const Candidate& a, const Candidate& b) {
      return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
    };
    size_t count = candidates_.size();
    if (options_.top_k != 0 && options_.top_k < count) {
      count = options_.top_k;
      std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(count),
                        candidates_.end(), more_probable);
    } else if (options_.top_p < 1.0f) {
      std::sort(candidates_.begin(), candidates_.end(), more_probable);
    }
    weights_.resize(count);
    double total = 0.0;
    for (size_t i = 0; i < count; ++i) {
      weights_[i] = std::exp((double(candidates_[i].logit) - double(logits[best])) / double(options_.temperature));
      total += weights_[i];
    }
    if (options_.top_p < 1.0f) {
      const double wanted = double(options_.top_p) * total;
      double sum = 0.0;
      size_t kept = 0;
      while (kept < count && sum < wanted) sum += weights_[kept++];
      count = kept;
      total = sum;
    }
    double left = UniformReal(generator) * total;
    for (size_t i = 0; i < count; ++i) {
      left -= weights_[i];
      if (left < 0.0) return candidates_[i].token;
    }
    return candidates_[LastPossible(count)].token;
  }

 private:
  struct Candidate {
    float logit;
    uint32_t token;
  };

  // Rounding may leave a crumb of `left`: it belongs to the last token of non-zero weight.
  size_t LastPossible(size_t count) const {
    while (count > 1 && weights_[count - 1] == 0.0) --count;
    return count - 1;
  }

  SamplerOptions options_;
  std::vector<Candidate> candidates_;
  std::vector<double> weights_;
};

}  // namespace bitnet

#endif  // BITNET_MODEL_SAMPLER_H_
