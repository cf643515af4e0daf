// Sampler: the next token from logits: greedy, or by temperature, top-k and top-p, with a given generator. (How a token
// is drawn: backend/sampling.h.)
#ifndef BITNET_MODEL_SAMPLER_H_
#define BITNET_MODEL_SAMPLER_H_

#include <cstdint>
#include <span>

#include "bitnet/backend/sampling.h"
#include "bitnet/base/assert.h"
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
    const bool is_greedy = options_.temperature == 0.0f;
    return SampleToken(logits, options_, is_greedy ? 0 : RandomBits(generator), scratch_);
  }

 private:
  SamplerOptions options_;
  SampleScratch scratch_;
};

}  // namespace bitnet

#endif  // BITNET_MODEL_SAMPLER_H_
