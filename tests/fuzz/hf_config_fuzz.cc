#include "bitnet/io/hf_config.h"

#include <cmath>
#include <string>

#include "bitnet/base/assert.h"
#include "fuzz/fuzz.h"

namespace bitnet::testing::hf_config_fuzz {

std::vector<std::vector<uint8_t>> Seeds() {
  CheckpointConfig c;
  c.architecture = "bitnet";
  c.vocab = 128256;
  c.hidden = 2560;
  c.layers = 30;
  c.heads = 20;
  c.kv_heads = 5;
  c.head_dim = 128;
  c.ffn = 6912;
  c.max_positions = 4096;
  c.activation = ActivationKind::kSquaredRelu;
  c.sub_layer_norms = true;
  c.rms_eps = 1e-5f;
  c.rope_base = 500000.0f;
  c.tied_embedding = true;
  c.bos = 128000;
  c.eos = {128001, 128009};
  c.weights = CheckpointWeights::kPackedMultiplying;
  c.input_bits = 8;
  std::vector<std::vector<uint8_t>> seeds = {SeedOf(HfConfigText(c))};
  c.architecture = "llama";
  c.sub_layer_norms = false;
  c.weights = CheckpointWeights::kPackedDividing;
  c.rope_scaling = {.kind = RopeScalingKind::kLlama3,
                    .factor = 8.0,
                    .original_positions = 2048,
                    .low_frequency_factor = 1.0,
                    .high_frequency_factor = 4.0};
  seeds.push_back(SeedOf(HfConfigText(c)));
  c.architecture = "qwen3";
  c.head_norms = true;
  c.weights = CheckpointWeights::kMasters;
  c.rope_scaling = {.kind = RopeScalingKind::kYarn, .factor = 4.0, .original_positions = 1024, .attention_factor = 1.2};
  seeds.push_back(SeedOf(HfConfigText(c)));
  seeds.push_back(SeedOf(R"({"model_type": "llama", "architectures": ["BitnetForCausalLM"], "vocab_size": 320,
    "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 64, "hidden_act": "silu", "weight_bits": 1, "input_bits": 8, "rope_scaling": null,
    "sliding_window": 5, "use_sliding_window": false, "layer_types": ["full_attention"], "pruned_heads": {},
    "rope_parameters": {"rope_type": "linear", "factor": 2, "rope_theta": 1e4}, "attention_bias": false})"));
  return seeds;
}

int OneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = bitnet::ParseHfConfig(text, "f");
  (void)bitnet::ParseHfGenerationEos(text, "f").ok();
  if (!config.ok()) {
    BITNET_ASSERT(!config.error().empty() && config.error().size() < 8000, "an error is a sentence");
    return 0;
  }
  BITNET_ASSERT(bitnet::ModelConfigOf(*config).ok(), "a configuration that is read is that of a model");
  if (config->head_dim <= 4096) {
    for (const double f : bitnet::RopeFrequencies(config->head_dim, double{config->rope_base}, config->rope_scaling)) {
      BITNET_ASSERT(std::isfinite(f) && f >= 0.0 && f <= 1.0, "a pair turns forwards, and by at most 1 a position");
    }
  }
  const auto again = bitnet::ParseHfConfig(bitnet::HfConfigText(*config), "f");
  BITNET_ASSERT(again.ok() && *again == *config, "what was read can be written, and reads as the same");
  return 0;
}

BITNET_FUZZ_TARGET(hf_config);

}  // namespace bitnet::testing::hf_config_fuzz
