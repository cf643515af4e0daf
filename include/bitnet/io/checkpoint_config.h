// CheckpointConfig: what a public checkpoint says of itself, whatever file says it (config.json: io/hf_config.h; the
// metadata of a GGUF file). Plain values; who fills it has refused what it does not know.
#ifndef BITNET_IO_CHECKPOINT_CONFIG_H_
#define BITNET_IO_CHECKPOINT_CONFIG_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/io/rope_scaling.h"
#include "bitnet/model/config.h"
#include "bitnet/scheme/activation.h"

namespace bitnet {

// How the weights of the projections are stored, as far as the configuration says it.
enum class CheckpointWeights : uint8_t {
  kUndeclared,        // no word of quantization: the tensors' types say what they are
  kMasters,           // reals, to be quantized as they are loaded: absmean of each matrix, to ternary
  kPackedDividing,    // 2 bits a weight (io/hf_packed.h); outputs are divided by weight_scale
  kPackedMultiplying  // ... are multiplied by it
};

struct CheckpointConfig {
  std::string architecture;  // as the file calls it: "bitnet", "llama", "qwen3", "bitnet-b1.58"

  uint32_t vocab = 0;
  uint32_t hidden = 0;
  uint32_t layers = 0;
  uint32_t heads = 0;
  uint32_t kv_heads = 0;
  uint32_t head_dim = 0;
  uint32_t ffn = 0;
  uint32_t max_positions = 0;

  ActivationKind activation = ActivationKind::kSilu;
  bool sub_layer_norms = false;  // before the attention output projection and before down
  bool head_norms = false;       // of each query and key head, before the rotary embedding
  float rms_eps = 0.0f;
  float rope_base = 0.0f;
  RopeScaling rope_scaling;
  bool tied_embedding = false;

  std::optional<uint32_t> bos;
  std::vector<uint32_t> eos;  // any of them ends a text

  CheckpointWeights weights = CheckpointWeights::kUndeclared;
  uint32_t input_bits = 0;  // of the projections' inputs, absmax of each token; 0: not declared

  friend bool operator==(const CheckpointConfig&, const CheckpointConfig&) = default;
};

// As models of this library have it, validated. What ModelConfig has no member for (the activation) is for the caller
// to heed.
inline Result<ModelConfig> ModelConfigOf(const CheckpointConfig& c) {
  ModelConfig config;
  config.vocab = c.vocab;
  config.hidden = c.hidden;
  config.layers = c.layers;
  config.heads = c.heads;
  config.kv_heads = c.kv_heads;
  config.head_dim = c.head_dim;
  config.ffn = c.ffn;
  config.max_positions = c.max_positions;
  config.rope_base = c.rope_base;
  config.rms_eps = c.rms_eps;
  config.tied_embedding = c.tied_embedding;
  config.sub_layer_norms = c.sub_layer_norms;
  config.head_norms = c.head_norms;
  if (Result<Done> valid = config.Validate(); !valid.ok()) return Error{valid.error()};
  if (c.rope_scaling.kind == RopeScalingKind::kDefault) return config;
  config.rope_frequencies = RopeFrequencies(config.head_dim, double{config.rope_base}, c.rope_scaling);
  if (c.rope_scaling.kind == RopeScalingKind::kYarn) {
    config.rope_magnitude = static_cast<float>(c.rope_scaling.attention_factor);
  }
  if (Result<Done> valid = config.Validate(); !valid.ok()) return Error{valid.error()};
  return config;
}

}  // namespace bitnet

#endif  // BITNET_IO_CHECKPOINT_CONFIG_H_
