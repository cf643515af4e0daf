// RopeScaling: how a checkpoint stretches the rotary embedding beyond the positions that it was first trained with, and
// RopeFrequencies, the angles a position that follow from it.
//
// Pair i of a head of d dimensions turns by position * f_i, where f_i = base^(-2i / d), changed by the scaling:
//   default   f_i
//   linear    f_i / factor
//   llama3    by wavelength 2 pi / f_i: f_i below original / high_frequency_factor; f_i / factor above
//             original / low_frequency_factor; between them a mixture, linear in original / wavelength
//   yarn      a mixture of f_i / factor and f_i, linear in i between the pairs that turn `beta_slow` and `beta_fast`
//   times
//             within the original positions; cosines and sines are multiplied by the attention factor
// These are the formulas of PyPI's transformers (modeling_rope_utils.py), in double.
#ifndef BITNET_IO_ROPE_SCALING_H_
#define BITNET_IO_ROPE_SCALING_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "bitnet/base/assert.h"

namespace bitnet {

enum class RopeScalingKind : uint8_t { kDefault, kLinear, kLlama3, kYarn };

struct RopeScaling {
  RopeScalingKind kind = RopeScalingKind::kDefault;
  double factor = 1.0;
  uint32_t original_positions = 0;     // llama3, yarn: what the model was first trained with
  double low_frequency_factor = 0.0;   // llama3
  double high_frequency_factor = 0.0;  // llama3
  double beta_fast = 32.0;             // yarn
  double beta_slow = 1.0;              // yarn
  bool truncate = true;                // yarn: the ends of the mixture are whole pairs
  double attention_factor = 1.0;       // yarn

  friend bool operator==(const RopeScaling&, const RopeScaling&) = default;
};

// Yarn's attention factor where the checkpoint names none: 0.1 mscale ln(factor) + 1 over the same of mscale_all_dim,
// where it has both, else 0.1 ln(factor) + 1.
inline double YarnAttentionFactor(double factor, std::optional<double> mscale, std::optional<double> mscale_all_dim) {
  const auto of = [&](double m) { return factor <= 1.0 ? 1.0 : 0.1 * m * std::log(factor) + 1.0; };
  if (mscale.value_or(0.0) == 0.0 || mscale_all_dim.value_or(0.0) == 0.0) return of(1.0);
  return of(*mscale) / of(*mscale_all_dim);
}

// f_0 ... f_(head_dim / 2 - 1). head_dim must be even, base above 1, and the scaling one that io/hf_config.h would
// accept.
inline std::vector<double> RopeFrequencies(size_t head_dim, double base, const RopeScaling& scaling) {
  BITNET_ASSERT(head_dim % 2 == 0, "RopeFrequencies: head_dim must be even");
  constexpr double kTurn = 6.283185307179586;
  const auto d = static_cast<double>(head_dim);
  const auto original = static_cast<double>(scaling.original_positions);
  std::vector<double> frequencies(head_dim / 2);

  // Yarn: the pair that turns so many times within the original positions.
  const auto pair_of_turns = [&](double turns) {
    return d * std::log(original / (turns * kTurn)) / (2.0 * std::log(base));
  };
  double low = 0.0, high = 0.0;
  if (scaling.kind == RopeScalingKind::kYarn) {
    low = pair_of_turns(scaling.beta_fast);
    high = pair_of_turns(scaling.beta_slow);
    if (scaling.truncate) {
      low = std::floor(low);
      high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, d - 1.0);
    if (low == high) high += 0.001;
  }

  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double f = std::pow(base, -2.0 * static_cast<double>(i) / d);
    const double slow = f / scaling.factor;
    switch (scaling.kind) {
      case RopeScalingKind::kDefault:
        frequencies[i] = f;
        break;
      case RopeScalingKind::kLinear:
        frequencies[i] = slow;
        break;
      case RopeScalingKind::kLlama3: {
        const double turns = original * f / kTurn;  // within the original positions
        const double between =
            (turns - scaling.low_frequency_factor) / (scaling.high_frequency_factor - scaling.low_frequency_factor);
        const double kept = std::clamp(between, 0.0, 1.0);
        frequencies[i] = (1.0 - kept) * slow + kept * f;
        break;
      }
      case RopeScalingKind::kYarn: {
        const double kept = 1.0 - std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
        frequencies[i] = (1.0 - kept) * slow + kept * f;
        break;
      }
    }
  }
  return frequencies;
}

}  // namespace bitnet

#endif  // BITNET_IO_ROPE_SCALING_H_
