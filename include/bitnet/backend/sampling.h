// Sampling: how a token is drawn from logits by one random number, so that every backend draws the same one
// (docs/numerics.md, "Sampling"). Weights are integers: sums of them are exact in any order.
#ifndef BITNET_BACKEND_SAMPLING_H_
#define BITNET_BACKEND_SAMPLING_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/base/exp_row.h"
#include "bitnet/base/host_device.h"
#include "bitnet/base/random.h"
#include "bitnet/base/result.h"

namespace bitnet {

// Sums of the weights of so many tokens, at most 2^40 each, fit 64 bits.
inline constexpr uint32_t kMostSampledTokens = (1u << 24) - 1;

struct SamplerOptions {
  float temperature = 1.0f;  // 0: greedy, the largest logit (the lowest token among equals)
  size_t top_k = 0;          // draw from the k most probable tokens; 0: from all
  float top_p = 1.0f;        // draw from the fewest tokens whose probability reaches p; 1: from all
  float min_p = 0.0f;        // leave out tokens less probable than min_p times the most probable one; 0: none

  Result<Done> Validate() const {
    if (!(temperature >= 0.0f) || !std::isfinite(temperature)) {
      return Error{"sampling: temperature is " + std::to_string(temperature) + "; it must be finite and not negative"};
    }
    if (!(top_p > 0.0f && top_p <= 1.0f)) {
      return Error{"sampling: top_p is " + std::to_string(top_p) + "; it must be above 0 and at most 1"};
    }
    if (!(min_p >= 0.0f && min_p <= 1.0f)) {
      return Error{"sampling: min_p is " + std::to_string(min_p) + "; it must be between 0 and 1"};
    }
    return Done{};
  }
};

// Why no token can be drawn.
enum class SampleRefusal : uint32_t { kNone, kNoLogits, kNan, kInfinite, kAllMinusInfinity };

// The same in a sentence; `token` is the one whose logit is at fault.
inline Error RefusalError(SampleRefusal refusal, uint32_t token) {
  switch (refusal) {
    case SampleRefusal::kNan:
      return {"the logit of token " + std::to_string(token) + " is NaN: the model's weights or inputs are not finite"};
    case SampleRefusal::kInfinite:
      return {"no token can be drawn: the logit of token " + std::to_string(token) + " is infinite"};
    case SampleRefusal::kAllMinusInfinity:
      return {"no token can be drawn: the logits of all tokens are minus infinity"};
    default:
      return {"no token can be drawn: there are no logits"};
  }
}

// What every backend asserts before it draws.
inline void CheckSample(size_t vocab, const SamplerOptions& options) {
  BITNET_ASSERT(vocab <= kMostSampledTokens, "SampleToken: sums of the weights of 2^24 tokens could overflow");
  BITNET_ASSERT(options.Validate().ok(), "SampleToken: the options are not valid: see SamplerOptions::Validate");
}

// Memory of SampleToken, kept between calls.
struct SampleScratch {
  std::vector<uint64_t> keys;     // of the tokens that top-k leaves
  std::vector<float> logits;      // and theirs
  std::vector<uint64_t> weights;  // of the candidates
};

namespace detail {

// Numbers with the order of the logits; both zeros have one.
BITNET_HOST_DEVICE inline uint32_t OrderOfLogit(float logit) {
  const auto bits = BitCast<uint32_t>(logit + 0.0f);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

// keys: of the k most probable tokens, in the order of their numbers; of equal ones the lowest. A key is the order of
// the logit, and below it the token, which counts down.
inline void FindTopTokens(std::span<const float> logits, size_t k, std::vector<uint64_t>& keys) {
  const auto key = [&](size_t token) {
    return uint64_t{OrderOfLogit(logits[token])} << 32 | ~static_cast<uint32_t>(token);
  };
  keys.resize(k);
  for (size_t i = 0; i < k; ++i) keys[i] = key(i);
  std::make_heap(keys.begin(), keys.end(), std::greater<>());  // the least of them is in front
  for (size_t i = k; i < logits.size(); ++i) {
    if (key(i) < keys.front()) continue;
    std::pop_heap(keys.begin(), keys.end(), std::greater<>());
    keys.back() = key(i);
    std::push_heap(keys.begin(), keys.end(), std::greater<>());
  }
  std::sort(keys.begin(), keys.end(),
            [](uint64_t a, uint64_t b) { return static_cast<uint32_t>(a) > static_cast<uint32_t>(b); });
}

// weights[i] = floor(2^40 Exp((logit - max) / temperature)).
inline void WeighLogits(std::span<const float> logits, float max, float temperature, std::vector<uint64_t>& weights) {
  constexpr size_t kBlock = 64;  // known to the compiler, for vectors
  const double inverse = 1.0 / double(temperature);
  weights.resize(logits.size());
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    const size_t n = std::min(kBlock, logits.size() - begin);
    float x[kBlock];
    std::fill(std::copy_n(logits.data() + begin, n, x), x + kBlock, max);
    for (float& v : x) v = static_cast<float>((double(v) - double(max)) * inverse);
    ExpRow(x, kBlock, 0.0f);
    for (size_t i = 0; i < n; ++i) {
      weights[begin + i] = static_cast<uint64_t>(static_cast<int64_t>(x[i] * 0x1p40f));
    }
  }
}

inline uint64_t SumOf(std::span<const uint64_t> weights) {
  return std::accumulate(weights.begin(), weights.end(), uint64_t{0});
}

// The fewest of the most probable candidates whose weights reach `wanted` keep them; the others' become 0. Of equal
// candidates the first are taken. All together weigh at least `wanted`, which is not 0.
//
// The least order that is kept is found digit by digit, from the highest, by sums of weights: nothing is sorted.
inline void KeepMostProbable(std::span<const float> logits, uint64_t wanted, std::vector<uint64_t>& weights) {
  struct Digit {
    int shift, bits;
  };
  uint64_t least = 0;
  for (const Digit& digit : {Digit{21, 11}, Digit{10, 11}, Digit{0, 10}}) {
    uint64_t sums[size_t{1} << 11] = {};
    const size_t last = (size_t{1} << digit.bits) - 1;
    for (size_t i = 0; i < logits.size(); ++i) {
      const uint64_t order = uint64_t{OrderOfLogit(logits[i])} >> digit.shift;
      if (order >> digit.bits == least) sums[order & last] += weights[i];
    }
    size_t value = last;
    for (; sums[value] < wanted; --value) wanted -= sums[value];
    least = least << digit.bits | value;
  }
  for (size_t i = 0; i < logits.size(); ++i) {
    const uint64_t order = OrderOfLogit(logits[i]);
    if (order > least) continue;
    if (order < least || wanted == 0) {
      weights[i] = 0;
    } else {
      wanted -= std::min(wanted, weights[i]);
    }
  }
}

}  // namespace detail

// The token that `random` draws, which should be uniform in [0, 2^64); greedy options do not look at it. top-k is
// applied first, then top-p, then min-p. Options must be valid. Refuses NaN logits, and logits of which none is above
// minus infinity.
inline Result<uint32_t> SampleToken(std::span<const float> logits, const SamplerOptions& options, uint64_t random,
                                    SampleScratch& scratch) {
  CheckSample(logits.size(), options);
  size_t best = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i])) return RefusalError(SampleRefusal::kNan, static_cast<uint32_t>(i));
    if (logits[i] > logits[best]) best = i;
  }
  if (logits.empty()) return RefusalError(SampleRefusal::kNoLogits, 0);
  if (std::isinf(logits[best])) {
    return RefusalError(logits[best] > 0.0f ? SampleRefusal::kInfinite : SampleRefusal::kAllMinusInfinity,
                        static_cast<uint32_t>(best));
  }
  if (options.temperature == 0.0f) return static_cast<uint32_t>(best);

  std::span<const float> candidates = logits;
  const bool is_top_k = options.top_k != 0 && options.top_k < logits.size();
  const auto token = [&](size_t i) {
    return is_top_k ? ~static_cast<uint32_t>(scratch.keys[i]) : static_cast<uint32_t>(i);
  };
  if (is_top_k) {
    detail::FindTopTokens(logits, options.top_k, scratch.keys);
    scratch.logits.resize(options.top_k);
    for (size_t i = 0; i < options.top_k; ++i) scratch.logits[i] = logits[token(i)];
    candidates = scratch.logits;
  }
  std::vector<uint64_t>& weights = scratch.weights;
  detail::WeighLogits(candidates, logits[best], options.temperature, weights);
  if (options.top_p < 1.0f) {
    const double wanted = double(options.top_p) * static_cast<double>(detail::SumOf(weights));
    detail::KeepMostProbable(candidates, static_cast<uint64_t>(std::ceil(wanted)), weights);
  }
  if (options.min_p > 0.0f) {
    // (The most probable token weighs 2^40.)
    const auto least = static_cast<uint64_t>(std::ceil(double(options.min_p) * 0x1p40));
    for (uint64_t& weight : weights) weight = weight >= least ? weight : 0;
  }
  uint64_t left = ScaleBits(random, detail::SumOf(weights));
  size_t drawn = 0;
  for (; left >= weights[drawn]; ++drawn) left -= weights[drawn];
  return token(drawn);
}

}  // namespace bitnet

#endif  // BITNET_BACKEND_SAMPLING_H_
