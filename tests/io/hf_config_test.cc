#include "bitnet/io/hf_config.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/base/file.h"
#include "testing/temporary_file.h"

namespace bitnet::hf_config_test {
namespace {

const std::string kFolder = std::string(BITNET_SOURCE_DIR) + "/tests/golden/io/";

bool Has(const std::string& sentence, std::string_view part) { return sentence.find(part) != std::string::npos; }

CheckpointConfig Read(const std::string& text) {
  const auto config = ParseHfConfig(text, "c");
  INFO((config.ok() ? "" : config.error()));
  REQUIRE(config.ok());
  return *config;
}
std::string Fault(const std::string& text, const HfConfigOptions& options = {}) {
  const auto config = ParseHfConfig(text, "c", options);
  return config.ok() ? "" : config.error();
}
std::string Golden(const std::string& name) {
  const auto bytes = ReadFile(kFolder + name);
  REQUIRE(bytes.ok());
  return {bytes->begin(), bytes->end()};
}

// The configuration of the released 2B model.
constexpr const char* kReleased = R"({
  "architectures": ["BitNetForCausalLM"],
  "auto_map": {"AutoConfig": "configuration_bitnet.BitNetConfig"},
  "bos_token_id": 128000, "eos_token_id": 128001, "hidden_act": "relu2", "hidden_size": 2560,
  "initializer_range": 0.02, "intermediate_size": 6912, "max_position_embeddings": 4096, "model_type": "bitnet",
  "rms_norm_eps": 1e-05, "num_attention_heads": 20, "num_hidden_layers": 30, "num_key_value_heads": 5,
  "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "use_cache": true,
  "vocab_size": 128256,
  "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"}
})";

// A Llama-layout configuration, of which members can be replaced, added and (by "") left out.
std::string Llama(std::vector<std::pair<std::string, std::string>> changes = {}) {
  std::vector<std::pair<std::string, std::string>> members = {
      {"architectures", "[\"LlamaForCausalLM\"]"},
      {"model_type", "\"llama\""},
      {"vocab_size", "128256"},
      {"hidden_size", "4096"},
      {"intermediate_size", "14336"},
      {"num_hidden_layers", "32"},
      {"num_attention_heads", "32"},
      {"num_key_value_heads", "8"},
      {"max_position_embeddings", "8192"},
      {"hidden_act", "\"silu\""},
      {"rms_norm_eps", "1e-05"},
      {"rope_theta", "500000.0"},
      {"quantization_config", "{\"quant_method\": \"bitnet\", \"modules_to_not_convert\": null}"}};
  for (auto& [key, value] : changes) {
    auto found = members.begin();
    while (found != members.end() && found->first != key) ++found;
    if (found == members.end()) found = members.insert(found, {key, ""});
    found->second = value;
  }
  std::string text = "{";
  for (const auto& [key, value] : members) {
    if (!value.empty()) text += (text.size() > 1 ? ", \"" : "\"") + key + "\": " + value;
  }
  return text + "}";
}
std::string FaultWith(const std::string& key, const std::string& value) { return Fault(Llama({{key, value}})); }

TEST_CASE("ParseHfConfig: the released 2B model") {
  const CheckpointConfig c = Read(kReleased);
  CHECK(c.architecture == "bitnet");
  CHECK(c.vocab == 128256);
  CHECK(c.hidden == 2560);
  CHECK(c.layers == 30);
  CHECK(c.heads == 20);
  CHECK(c.kv_heads == 5);
  CHECK(c.head_dim == 128);
  CHECK(c.ffn == 6912);
  CHECK(c.max_positions == 4096);
  CHECK(c.activation == ActivationKind::kSquaredRelu);
  CHECK(c.sub_layer_norms);
  CHECK_FALSE(c.head_norms);
  CHECK(c.rms_eps == 1e-5f);
  CHECK(c.rope_base == 500000.0f);
  CHECK(c.rope_scaling == RopeScaling{});
  CHECK(c.tied_embedding);
  CHECK(c.bos == 128000u);
  CHECK(c.eos == std::vector<uint32_t>{128001});
  CHECK(c.weights == CheckpointWeights::kPackedMultiplying);
  CHECK(c.input_bits == 8);
  const auto model = ModelConfigOf(c);
  REQUIRE(model.ok());
  CHECK(model->sub_layer_norms);
  CHECK(model->kv_width() == 640);
}

TEST_CASE("ParseHfConfig: Llama layouts") {
  const CheckpointConfig c = Read(Llama());
  CHECK(c.architecture == "llama");
  CHECK(c.activation == ActivationKind::kSilu);
  CHECK_FALSE(c.sub_layer_norms);
  CHECK_FALSE(c.tied_embedding);
  CHECK(c.kv_heads == 8);
  CHECK(c.head_dim == 128);
  CHECK(c.weights == CheckpointWeights::kPackedDividing);
  CHECK_FALSE(c.bos.has_value());
  CHECK(c.eos.empty());
  CHECK(Read(Llama({{"head_dim", "256"}})).head_dim == 256);  // Falcon3
  CHECK(Read(Llama({{"rope_theta", ""}})).rope_base == 10000.0f);
  CHECK(Read(Llama({{"rope_theta", "1000042"}})).rope_base == 1000042.0f);
  CHECK(Read(Llama({{"num_key_value_heads", ""}})).kv_heads == 32);
  CHECK(Read(Llama({{"num_key_value_heads", "null"}})).kv_heads == 32);
  CHECK(Read(Llama({{"architectures", ""}})).kv_heads == 8);
  CHECK(Read(Llama({{"eos_token_id", "[128001, 128009]"}})).eos == std::vector<uint32_t>{128001, 128009});
  CHECK(Read(Llama({{"quantization_config", ""}})).weights == CheckpointWeights::kUndeclared);
  CHECK(Read(Llama({{"quantization_config", ""}})).input_bits == 0);
}

TEST_CASE("ParseHfConfig: the community's first models, with sub-layer norms and SiLU") {
  const CheckpointConfig c = Read(Llama({{"architectures", "[\"BitnetForCausalLM\"]"},
                                         {"quantization_config", ""},
                                         {"weight_bits", "1"},
                                         {"input_bits", "8"},
                                         {"rope_theta", "10000.0"},
                                         {"rope_scaling", "null"}}));
  CHECK(c.sub_layer_norms);
  CHECK(c.activation == ActivationKind::kSilu);
  CHECK(c.weights == CheckpointWeights::kMasters);
  CHECK(c.input_bits == 8);
  for (const auto& [weights, inputs] : {std::pair{"2", "8"}, {"1", "4"}, {"1", ""}, {"", "8"}}) {
    CHECK(Has(Fault(Llama({{"quantization_config", ""}, {"weight_bits", weights}, {"input_bits", inputs}})),
              "1 (which means ternary) and 8 are supported"));
  }
}

TEST_CASE("ParseHfConfig: configurations that transformers 5 writes") {
  const CheckpointConfig bitnet = Read(Golden("hf_config_bitnet.json"));
  CHECK(bitnet.weights == CheckpointWeights::kPackedMultiplying);
  CHECK(bitnet.activation == ActivationKind::kSquaredRelu);
  CHECK(bitnet.eos == std::vector<uint32_t>{91, 95});
  CHECK(bitnet.rope_base == 500000.0f);
  CHECK(bitnet.tied_embedding);
  CHECK(Read(Golden("hf_config_bitnet_online.json")).weights == CheckpointWeights::kMasters);
  const CheckpointConfig llama = Read(Golden("hf_config_llama_packed.json"));
  CHECK(llama.weights == CheckpointWeights::kPackedDividing);
  CHECK(llama.head_dim == 64);
  CHECK(llama.bos == 1u);
  const CheckpointConfig qwen = Read(Golden("hf_config_rope_yarn.json"));
  CHECK(qwen.architecture == "qwen3");
  CHECK(qwen.head_norms);
  CHECK(qwen.rope_scaling.kind == RopeScalingKind::kYarn);
  CHECK(qwen.rope_scaling.original_positions == 32768);
  const RopeScaling all = Read(Golden("hf_config_rope_yarn_all.json")).rope_scaling;
  CHECK(all.beta_fast == 24.0);
  CHECK(all.beta_slow == 2.0);
  CHECK_FALSE(all.truncate);
}

TEST_CASE("ParseHfConfig: what changes the arithmetic and is not supported is refused by its name") {
  CHECK(FaultWith("attention_bias", "true") ==
        "c: attention_bias: it is true; projections with biases are not supported");
  CHECK(FaultWith("attention_bias", "false") == "");
  CHECK(Has(FaultWith("attention_bias", "1"), "c: attention_bias: it is 1; true or false was expected"));
  CHECK(Has(FaultWith("mlp_bias", "true"), "mlp_bias: it is true"));
  CHECK(Has(FaultWith("use_sliding_window", "true"), "use_sliding_window: it is true"));
  CHECK(Has(FaultWith("sliding_window", "4096"), "sliding_window: windows of attention are not supported"));
  CHECK(FaultWith("sliding_window", "null") == "");
  CHECK(Fault(Llama({{"sliding_window", "4096"}, {"use_sliding_window", "false"}})) == "");
  CHECK(Has(FaultWith("layer_types", "[\"full_attention\", \"sliding_attention\"]"),
            "layer_types[1]: 'sliding_attention'"));
  CHECK(FaultWith("layer_types", "[\"full_attention\"]") == "");
  CHECK(Has(FaultWith("partial_rotary_factor", "0.5"), "partial_rotary_factor is not 1"));
  CHECK(FaultWith("partial_rotary_factor", "1.0") == "");
  CHECK(Has(FaultWith("is_encoder_decoder", "true"), "only decoders"));
  CHECK(Has(FaultWith("pruned_heads", "{\"1\": [0]}"), "pruned_heads"));
  CHECK(FaultWith("pruned_heads", "{}") == "");
  for (const char* act : {"gelu", "relu", "relu2_glu", ""}) {
    CHECK(Has(FaultWith("hidden_act", std::string("\"") + act + "\""), "hidden_act: the activation '"));
  }
  CHECK(FaultWith("hidden_act", "\"relu2\"") == "");
  CHECK(Has(FaultWith("model_type", "\"mistral\""),
            "model_type: the model type 'mistral' is not known; these are: bitnet, llama, qwen3"));
  CHECK(
      Has(FaultWith("architectures", "[\"LlamaForSequenceClassification\"]"),
          "architectures: the architecture 'LlamaForSequenceClassification' is not known; of model_type 'llama' these "
          "are: LlamaForCausalLM, BitnetForCausalLM"));
  CHECK(Has(FaultWith("architectures", "[\"Qwen3ForCausalLM\"]"), "is not known"));
  CHECK(Has(FaultWith("architectures", "[]"), "architectures: a list of one name was expected"));
}

TEST_CASE("ParseHfConfig: a key that is not known is refused, unless the caller accepts it") {
  CHECK(FaultWith("residual_multiplier", "0.5") ==
        "c: residual_multiplier: this key is not known, and may change what the model computes");
  CHECK(Has(FaultWith("rotate_weights", "false"), "rotate_weights: this key is not known"));
  CHECK(FaultWith("num_experts", "null") == "");
  CHECK(Fault(Llama({{"residual_multiplier", "0.5"}}), {.ignored_keys = {"residual_multiplier"}}) == "");
  CHECK(Fault(Llama({{"a", "0.5"}, {"b", "1"}}), {.ignored_keys = {"a"}}) != "");
  CHECK(Has(FaultWith("quantization_config", "{\"quant_method\": \"bitnet\", \"hadamard\": true}"),
            "quantization_config.hadamard: this key is not known"));
  CHECK(Fault(Llama({{"quantization_config", "{\"quant_method\": \"bitnet\", \"hadamard\": true}"}}),
              {.ignored_keys = {"quantization_config.hadamard"}}) == "");
  CHECK(Has(FaultWith("rope_scaling", "{\"type\": \"linear\", \"factor\": 2, \"finetuned\": true}"),
            "rope_scaling.finetuned: this key is not known"));
}

TEST_CASE("ParseHfConfig: quantization") {
  const auto with = [](const std::string& members) {
    return Llama({{"quantization_config", "{\"quant_method\": \"bitnet\"" + members + "}"}});
  };
  using W = CheckpointWeights;
  CHECK(Read(with("")).weights == W::kPackedDividing);
  CHECK(Read(with(R"(, "linear_class": "bitlinear", "quantization_mode": "online")")).weights == W::kPackedDividing);
  CHECK(Read(with(R"(, "linear_class": "autobitlinear")")).weights == W::kPackedMultiplying);
  CHECK(Read(with(R"(, "linear_class": "autobitlinear", "quantization_mode": "online")")).weights == W::kMasters);
  CHECK(Has(Fault(with(R"(, "linear_class": "autolinear")")),
            "quantization_config.linear_class: 'autolinear' is not known"));
  CHECK(Has(Fault(with(R"(, "linear_class": 1)")), "quantization_config.linear_class: it is 1"));
  CHECK(Has(Fault(with(R"(, "quantization_mode": "later")")),
            "quantization_mode: 'later' is not known; offline and online"));
  CHECK(Has(Fault(with(R"(, "use_rms_norm": true)")), "use_rms_norm: it is true; a norm before every projection"));
  CHECK(Fault(with(R"(, "use_rms_norm": false, "rms_norm_eps": 1e-6)")) == "");
  CHECK(Fault(with(R"(, "modules_to_not_convert": ["lm_head", "model.embed_tokens"])")) == "");
  CHECK(Fault(with(R"(, "modules_to_not_convert": ["lm_head$"])")) == "");
  CHECK(Has(Fault(with(R"(, "modules_to_not_convert": ["lm_head", "model.layers.0"])")),
            "modules_to_not_convert[1]: 'model.layers.0' keeps reals"));
  CHECK(Has(Fault(with(R"(, "modules_to_not_convert": [])")), "lm_head is not among them"));
  CHECK(Has(Fault(with(R"(, "modules_to_not_convert": "lm_head")")), "a list was expected"));
  CHECK(Has(FaultWith("quantization_config", R"({"quant_method": "gptq", "bits": 4})"), "'gptq' is not supported"));
  CHECK(Has(FaultWith("quantization_config", "{}"), "quantization_config: there is no key 'quant_method'"));
  CHECK(Has(FaultWith("quantization_config", "[]"), "quantization_config: it is a list"));
}

TEST_CASE("ParseHfConfig: rotary scaling, old and new") {
  const auto scaling = [](const std::string& text) { return Read(Llama({{"rope_scaling", text}})).rope_scaling; };
  CHECK(scaling(R"({"type": "linear", "factor": 4.0})").factor == 4.0);
  CHECK(scaling(R"({"type": "linear", "rope_type": "linear", "factor": 4})").kind == RopeScalingKind::kLinear);
  CHECK(scaling(R"({"type": "default"})") == RopeScaling{});
  CHECK(scaling("{}") == RopeScaling{});
  const RopeScaling llama3 = scaling(
      R"({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192})");
  CHECK(llama3.kind == RopeScalingKind::kLlama3);
  CHECK(llama3.factor == 32.0);
  CHECK(llama3.low_frequency_factor == 1.0);
  CHECK(llama3.high_frequency_factor == 4.0);
  CHECK(llama3.original_positions == 8192);
  // Where yarn has no original positions those of the model are meant, and no factor is the quotient.
  CHECK(scaling(R"({"type": "yarn", "factor": 2.0})").original_positions == 8192);
  CHECK(scaling(R"({"type": "yarn", "factor": null, "original_max_position_embeddings": 2048})").factor == 4.0);
  CHECK(scaling(R"({"type": "yarn", "factor": 2.0, "beta_fast": 0, "beta_slow": null})").beta_fast == 32.0);
  // The model's own key, as some files have it.
  CHECK(Read(Llama({{"rope_scaling", R"({"type": "yarn", "factor": 2.0})"},
                    {"original_max_position_embeddings", "4096"}}))
            .rope_scaling.original_positions == 4096);

  const CheckpointConfig c = Read(Llama(
      {{"rope_theta", ""}, {"rope_parameters", R"({"rope_type": "linear", "factor": 2, "rope_theta": 20000.0})"}}));
  CHECK(c.rope_base == 20000.0f);
  CHECK(c.rope_scaling.factor == 2.0);

  const auto fault = [](const std::string& text) { return FaultWith("rope_scaling", text); };
  for (const char* type : {"dynamic", "longrope", "su", "ntk", "proportional", ""}) {
    CHECK(
        Has(fault(std::string("{\"type\": \"") + type + "\", \"factor\": 2.0}"),
            "rope_scaling.type: the rotary scaling '" + std::string(type) + "' is not known; default, linear, llama3"));
  }
  CHECK(Has(fault(R"({"type": "linear", "rope_type": "yarn", "factor": 2})"), "it is 'linear', and rope_type 'yarn'"));
  CHECK(Has(fault(R"({"type": "linear"})"), "rope_scaling: there is no key 'factor'"));
  CHECK(Has(fault(R"({"type": "linear", "factor": 0.5})"), "rope_scaling.factor: it is below 1"));
  CHECK(Has(fault(R"({"type": "linear", "factor": "2"})"), "rope_scaling.factor: it is the text '2'"));
  CHECK(Has(fault(R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4})"),
            "high_freq_factor above"));
  CHECK(Has(fault(R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1})"),
            "there is no key 'high_freq_factor'"));
  CHECK(Has(fault(R"({"type": "yarn", "factor": 2, "beta_slow": -1})"), "beta_slow must be above 0"));
  CHECK(Has(fault(R"({"type": "yarn", "factor": 2, "beta_slow": 40})"), "beta_fast not below it"));
  CHECK(
      Has(fault(R"({"type": "yarn", "factor": 2, "attention_factor": 0.0})"), "the attention factor must be above 0"));
  CHECK(Has(fault(R"({"type": "yarn", "original_max_position_embeddings": 16384})"), "the factor at least 1"));
  CHECK(Has(fault(R"({"type": "yarn", "factor": 2, "original_max_position_embeddings": 0})"), "an integer from 1"));
  CHECK(Has(fault("3"), "rope_scaling: it is 3; an object was expected"));
  CHECK(Has(Fault(Llama({{"rope_scaling", "{}"}, {"rope_parameters", "{}"}})), "there is rope_scaling too"));
  CHECK(Has(Fault(Llama({{"rope_parameters", R"({"rope_theta": 10000.0})"}})), "rope_theta differs"));
  CHECK(Has(Fault(Llama({{"rope_parameters", R"({"full_attention": {"rope_type": "default"}})"}})),
            "rope_parameters.full_attention: this key is not known"));
  CHECK(
      Has(Fault(Llama({{"rope_parameters", R"({"partial_rotary_factor": 0.25})"}})), "partial_rotary_factor is not 1"));
  CHECK(Has(Fault(Llama({{"rope_scaling", R"({"type": "yarn", "factor": 2, "original_max_position_embeddings": 2048})"},
                         {"original_max_position_embeddings", "4096"}})),
            "original_max_position_embeddings is 2048 here, and 4096 beside it"));
}

TEST_CASE("ParseHfConfig: sizes and numbers are checked") {
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "max_position_embeddings"}) {
    CHECK(Fault(Llama({{key, ""}})) == "c: there is no key '" + std::string(key) + "'");
    CHECK(Fault(Llama({{key, "null"}})) == "c: there is no key '" + std::string(key) + "'");
    for (const char* value : {"0", "-1", "4294967296", "1.5", "\"1\"", "[1]", "true", "18446744073709551615"}) {
      CHECK(Has(FaultWith(key, value), "c: " + std::string(key) + ": it is "));
    }
    CHECK(FaultWith(key, "4294967295") != "");
  }
  CHECK(Fault(Llama({{"rms_norm_eps", ""}})) == "c: there is no key 'rms_norm_eps'");
  CHECK(Has(FaultWith("rms_norm_eps", "0"), "rms_eps"));
  CHECK(Has(FaultWith("rms_norm_eps", "1e300"), "rms_norm_eps: it does not fit a float"));
  CHECK(Has(FaultWith("rope_theta", "0.5"), "rope_base"));
  CHECK(Has(FaultWith("rope_theta", "-1e300"), "rope_theta: it does not fit a float"));
  CHECK(Has(FaultWith("num_key_value_heads", "5"), "kv_heads must divide heads"));
  CHECK(Has(FaultWith("num_attention_heads", "24"), "does not divide, and there is no head_dim"));
  CHECK(Has(FaultWith("head_dim", "65"), "head_dim is 65"));
  CHECK(Has(FaultWith("eos_token_id", "-1"), "eos_token_id: it is -1"));
  CHECK(Has(FaultWith("eos_token_id", "[2, \"x\"]"), "eos_token_id[1]: it is the text 'x'"));
  CHECK(Has(FaultWith("bos_token_id", "[1]"), "bos_token_id: it is a list"));
  CHECK(Has(Fault("[]"), "an object was expected"));
  CHECK(Has(Fault("{}"), "there is no key 'model_type'"));
  CHECK(Has(Fault(R"({"model_type": "qwen3", "vocab_size": 8})"), "there is no key 'hidden_size'"));
  // What versions of transformers disagree about must be there.
  std::string bitnet = kReleased;
  bitnet.replace(bitnet.find("\"num_key_value_heads\": 5,"), 25, "");
  CHECK(Fault(bitnet) == "c: there is no key 'num_key_value_heads'");
}

TEST_CASE("ParseHfConfig: every cut and many changed bytes are read or refused") {
  const std::string text = Golden("hf_config_rope_yarn_all.json");
  REQUIRE(Fault(text) == "");
  for (size_t n = 0; n + 2 < text.size(); ++n) CHECK(Fault(text.substr(0, n)) != "");
  for (size_t i = 0; i < text.size(); ++i) {
    for (const char byte : {'\0', '0', '9', '-', '.', 'e', '"', '{', '}', ',', '\x80'}) {
      std::string changed = text;
      changed[i] = byte;
      if (const auto config = ParseHfConfig(changed, "c"); config.ok()) CHECK(ModelConfigOf(*config).ok());
    }
  }
}

TEST_CASE("HfConfigText: what it writes reads back as the same") {
  std::vector<CheckpointConfig> configs;
  for (const char* name : {"bitnet", "bitnet_online", "llama_packed", "rope_default", "rope_linear", "rope_llama3",
                           "rope_yarn", "rope_yarn_all", "rope_yarn_attention"}) {
    configs.push_back(Read(Golden("hf_config_" + std::string(name) + ".json")));
  }
  configs.push_back(Read(kReleased));
  configs.push_back(Read(Llama({{"architectures", "[\"BitnetForCausalLM\"]"}})));
  for (const CheckpointConfig& config : configs) CHECK(Read(HfConfigText(config)) == config);
}

TEST_CASE("LoadHfConfig: a folder; generation_config.json has more tokens that end a text") {
  const testing::TemporaryFile name;
  std::filesystem::create_directories(name.path());
  const auto put = [&](const char* file, const std::string& text) {
    REQUIRE(WriteFile(name.path() + "/" + file, std::vector<uint8_t>(text.begin(), text.end())).ok());
  };
  CHECK(Has(LoadHfConfig(name.path()).error(), "config.json: cannot be opened"));
  put("config.json", kReleased);
  CHECK(LoadHfConfig(name.path())->eos == std::vector<uint32_t>{128001});
  put("generation_config.json", R"({"eos_token_id": [128001, 128009], "temperature": 0.6})");
  CHECK(LoadHfConfig(name.path())->eos == std::vector<uint32_t>{128001, 128009});
  put("generation_config.json", R"({"eos_token_id": null})");
  CHECK(LoadHfConfig(name.path())->eos == std::vector<uint32_t>{128001});
  put("generation_config.json", R"({"eos_token_id": "x"})");
  CHECK(Has(LoadHfConfig(name.path()).error(), "generation_config.json: eos_token_id: it is the text 'x'"));
  put("generation_config.json", "[]");
  CHECK_FALSE(LoadHfConfig(name.path()).ok());
  std::filesystem::remove_all(name.path());
}

}  // namespace
}  // namespace bitnet::hf_config_test
