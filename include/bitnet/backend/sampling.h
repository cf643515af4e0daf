// Sampling: how a token is drawn from logits. Interim: see model/sampler.h.
#ifndef BITNET_BACKEND_SAMPLING_H_
#define BITNET_BACKEND_SAMPLING_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bitnet/base/result.h"

namespace bitnet {

struct SamplerOptions {
  float temperature = 1.0f;  // 0: greedy, the largest logit (the lowest token among equals)
  size_t top_k = 0;          // draw from the k most probable tokens; 0: from all
  float top_p = 1.0f;        // draw from the fewest tokens whose probability reaches p; 1: from all

  Result<Done> Validate() const {
    if (!(temperature >= 0.0f) || !std::isfinite(temperature)) {
      return Error{"sampling: temperature is " + std::to_string(temperature) + "; it must be finite and not negative"};
    }
    if (!(top_p > 0.0f && top_p <= 1.0f)) {
      return Error{"sampling: top_p is " + std::to_string(top_p) + "; it must be above 0 and at most 1"};
    }
    return Done{};
  }
};

struct SampleScratch {};
inline Result<uint32_t> SampleToken(std::span<const float>, const SamplerOptions&, uint64_t, SampleScratch&) {
  return uint32_t{0};
}

}  // namespace bitnet

#endif  // BITNET_BACKEND_SAMPLING_H_
