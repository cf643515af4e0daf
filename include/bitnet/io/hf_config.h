// config.json of PyPI's transformers, read into a CheckpointConfig, and written from one.
//
// Known are the layouts of the table below. A key that is none of those that are read or listed as harmless is refused
// by its name: a checkpoint that declares what the reader does not know would load, and answer with clean-looking
// nonsense. The caller may name keys that it accepts (HfConfigOptions). `null` is what transformers writes for "not
// there".
//
// Defaults are those of transformers, where all of its versions agree on them; else the key must be there.
#ifndef BITNET_IO_HF_CONFIG_H_
#define BITNET_IO_HF_CONFIG_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "bitnet/base/file.h"
#include "bitnet/base/result.h"
#include "bitnet/io/checkpoint_config.h"
#include "bitnet/io/json.h"
#include "bitnet/io/quoted.h"
#include "bitnet/io/rope_scaling.h"

namespace bitnet {

struct HfConfigOptions {
  // That the file may have though they are not known: "some_key", "quantization_config.some_key".
  std::vector<std::string> ignored_keys;
};

namespace detail {

struct HfLayout {
  std::string_view model_type;
  std::string_view architecture;  // what `architectures` must say, if it is there
  bool sub_layer_norms;
  bool head_norms;
  float rope_base;    // where the file has none; 0: it must have one
  bool all_kv_heads;  // where the file has no num_key_value_heads: as many as heads; else it must have one
};
// The first of a model_type stands for files without `architectures`.
inline constexpr auto kHfLayouts = std::to_array<HfLayout>({
    {"bitnet", "BitNetForCausalLM", true, false, 500000.0f, false},
    {"llama", "LlamaForCausalLM", false, false, 10000.0f, true},
    {"qwen3", "Qwen3ForCausalLM", false, true, 0.0f, false},
    // The community's models of 2024 (700M, 3.3B).
    {"llama", "BitnetForCausalLM", true, false, 10000.0f, true},
    {"bitnet", "BitnetForCausalLM", true, false, 10000.0f, true},
});

// Keys that change nothing of what a model computes for a text: of training, of generation, of the file itself.
inline constexpr auto kHarmlessHfKeys = std::to_array<std::string_view>({
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "attention_dropout",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "id2label",
    "initializer_range",
    "is_decoder",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
});

// Keys that are known, and supported only where they are false.
struct HfFalseKey {
  std::string_view key;
  const char* why;
};
inline constexpr auto kFalseHfKeys = std::to_array<HfFalseKey>({
    {"attention_bias", "projections with biases are not supported"},
    {"mlp_bias", "projections with biases are not supported"},
    {"use_sliding_window", "windows of attention are not supported"},
    {"is_encoder_decoder", "only decoders are supported"},
    {"add_cross_attention", "only decoders are supported"},
    {"tie_encoder_decoder", "only decoders are supported"},
});

// An object of which every key must be read, be harmless or be ignored by the caller.
class HfObject {
 public:
  explicit HfObject(JsonValue object) : object_(object) {}

  const JsonValue& value() const { return object_; }

  // The value of a key; nothing where it is null or not there.
  std::optional<JsonValue> Optional(std::string_view key) {
    read_.push_back(key);
    const std::optional<JsonValue> value = object_.Find(key);
    return value && !value->IsNull() ? value : std::nullopt;
  }
  Result<JsonValue> Required(std::string_view key) {
    const std::optional<JsonValue> value = Optional(key);
    if (!value) return object_.Refuse("there is no key " + Quoted(key));
    return *value;
  }

  // The getters below set a member; after the first fault they do nothing.
  void Positive(std::string_view key, uint32_t& to) { Take(Required(key), to, &HfObject::AsPositive); }
  void Real(std::string_view key, float& to) { Take(Required(key), to, &HfObject::AsFloat); }
  void OptionalPositive(std::string_view key, uint32_t& to) { TakeOptional(key, to, &HfObject::AsPositive); }
  void OptionalReal(std::string_view key, float& to) { TakeOptional(key, to, &HfObject::AsFloat); }
  void Double(std::string_view key, double& to) { Take(Required(key), to, &JsonValue::AsReal); }
  void OptionalDouble(std::string_view key, double& to) { TakeOptional(key, to, &JsonValue::AsReal); }
  void OptionalFlag(std::string_view key, bool& to) { TakeOptional(key, to, &JsonValue::AsFlag); }

  void Fail(const Error& error) {
    if (fault_.empty()) fault_ = error.message;
  }
  void MustBeFalse(std::string_view key, const std::string& why) {
    const std::optional<JsonValue> value = Optional(key);
    if (!value) return;
    const Result<bool> flag = value->AsFlag();
    if (!flag.ok()) {
      Fail(Error{flag.error()});
    } else if (*flag) {
      Fail(value->Refuse("it is true; " + why));
    }
  }
  void RefuseUnknown(std::span<const std::string_view> harmless, std::span<const std::string> ignored) {
    for (const JsonValue member : object_.items()) {
      if (!ok()) return;
      if (member.IsNull() || Contains(read_, member.key()) || Contains(harmless, member.key()) ||
          Contains(ignored, member.Path())) {
        continue;
      }
      Fail(member.Refuse("this key is not known, and may change what the model computes"));
    }
  }

  bool ok() const { return fault_.empty(); }
  Error error() const { return Error{fault_}; }

 private:
  template <class List>
  static bool Contains(const List& list, std::string_view key) {
    return std::find(list.begin(), list.end(), key) != list.end();
  }
  static Result<uint32_t> AsPositive(const JsonValue& value) { return value.AsUnsigned32(1); }
  static Result<float> AsFloat(const JsonValue& value) {
    const Result<double> real = value.AsReal();
    if (!real.ok()) return Error{real.error()};
    if (!(std::fabs(*real) <= static_cast<double>(std::numeric_limits<float>::max()))) {
      return value.Refuse("it does not fit a float");
    }
    return static_cast<float>(*real);
  }

  template <class T, class Get>
  void Take(const Result<JsonValue>& value, T& to, Get get) {
    if (!ok()) return;
    if (!value.ok()) return Fail(Error{value.error()});
    const Result<T> got = std::invoke(get, *value);
    if (!got.ok()) return Fail(Error{got.error()});
    to = *got;
  }
  template <class T, class Get>
  void TakeOptional(std::string_view key, T& to, Get get) {
    if (const std::optional<JsonValue> value = Optional(key)) Take(Result<JsonValue>(*value), to, get);
  }

  JsonValue object_;
  std::vector<std::string_view> read_;
  std::string fault_;
};

// The layout of a model_type and, where the file says them, of its architectures.
inline Result<HfLayout> FindHfLayout(HfObject& config) {
  const Result<JsonValue> type = config.Required("model_type");
  if (!type.ok()) return Error{type.error()};
  const Result<std::string_view> name = type->AsText();
  if (!name.ok()) return Error{name.error()};
  std::string_view architecture;
  const std::optional<JsonValue> architectures = config.Optional("architectures");
  if (architectures) {
    if (!architectures->ExpectList().ok() || architectures->items().size() != 1) {
      return architectures->Refuse("a list of one name was expected");
    }
    const Result<std::string_view> text = (*architectures->items().begin()).AsText();
    if (!text.ok()) return Error{text.error()};
    architecture = *text;
  }
  bool type_is_known = false;
  for (const HfLayout& layout : kHfLayouts) {
    if (layout.model_type == *name && (!architectures || layout.architecture == architecture)) return layout;
    type_is_known = type_is_known || layout.model_type == *name;
  }
  std::string known;
  for (const HfLayout& layout : kHfLayouts) {
    const std::string_view of = type_is_known ? layout.architecture : layout.model_type;
    if ((type_is_known && layout.model_type != *name) || known.find(of) != std::string::npos) continue;
    known += (known.empty() ? "" : ", ") + std::string(of);
  }
  if (type_is_known) {
    return architectures->Refuse("the architecture " + Quoted(architecture) + " is not known; of model_type " +
                                 Quoted(*name) + " these are: " + known);
  }
  return type->Refuse("the model type " + Quoted(*name) + " is not known; these are: " + known);
}

inline Result<ActivationKind> ReadHfActivation(HfObject& config) {
  const Result<JsonValue> value = config.Required("hidden_act");
  if (!value.ok()) return Error{value.error()};
  const Result<std::string_view> name = value->AsText();
  if (!name.ok()) return Error{name.error()};
  if (*name == "silu" || *name == "swish") return ActivationKind::kSilu;
  if (*name == "relu2") return ActivationKind::kSquaredRelu;
  return value->Refuse("the activation " + Quoted(*name) + " is not known; silu, swish and relu2 are");
}

// Token ids: one, or a list.
inline Result<std::vector<uint32_t>> ReadHfTokens(const JsonValue& value) {
  std::vector<uint32_t> tokens;
  const auto add = [&](const JsonValue& item) {
    const Result<uint32_t> token = item.AsUnsigned32();
    if (token.ok()) tokens.push_back(*token);
    return token.ok() ? std::string() : token.error();
  };
  if (value.kind() != JsonKind::kList) {
    if (const std::string fault = add(value); !fault.empty()) return Error{fault};
    return tokens;
  }
  for (const JsonValue item : value.items()) {
    if (const std::string fault = add(item); !fault.empty()) return Error{fault};
  }
  return tokens;
}

// What rope_scaling or rope_parameters says. `outer_original` is the configuration's own key, 0 if it has none.
inline Result<RopeScaling> ReadHfRopeScaling(HfObject& rope, uint32_t max_positions, uint32_t outer_original) {
  std::string_view type = "default";
  std::optional<JsonValue> type_value;
  for (const std::string_view key : {"rope_type", "type"}) {  // the newer name first
    const std::optional<JsonValue> value = rope.Optional(key);
    if (!value) continue;
    const Result<std::string_view> text = value->AsText();
    if (!text.ok()) return Error{text.error()};
    if (type_value && *text != type) return value->Refuse("it is " + Quoted(*text) + ", and rope_type " + Quoted(type));
    type = *text;
    type_value = value;
  }

  RopeScaling scaling;
  const auto read_factor = [&] {
    rope.Double("factor", scaling.factor);
    if (rope.ok() && !(scaling.factor >= 1.0)) {
      rope.Fail(rope.value().Find("factor")->Refuse("it is below 1; a factor is at least 1"));
    }
  };
  const auto read_original = [&] {
    rope.OptionalPositive("original_max_position_embeddings", scaling.original_positions);
    if (outer_original != 0 && scaling.original_positions != 0 && outer_original != scaling.original_positions) {
      rope.Fail(rope.value().Refuse("original_max_position_embeddings is " +
                                    std::to_string(scaling.original_positions) + " here, and " +
                                    std::to_string(outer_original) + " beside it"));
    }
    if (scaling.original_positions == 0) scaling.original_positions = outer_original;
    if (scaling.original_positions == 0) scaling.original_positions = max_positions;
  };
  if (type == "default") {
    scaling.kind = RopeScalingKind::kDefault;
  } else if (type == "linear") {
    scaling.kind = RopeScalingKind::kLinear;
    read_factor();
  } else if (type == "llama3") {
    scaling.kind = RopeScalingKind::kLlama3;
    read_factor();
    read_original();
    rope.Double("low_freq_factor", scaling.low_frequency_factor);
    rope.Double("high_freq_factor", scaling.high_frequency_factor);
    if (rope.ok() &&
        !(scaling.low_frequency_factor > 0.0 && scaling.high_frequency_factor > scaling.low_frequency_factor)) {
      rope.Fail(rope.value().Refuse("low_freq_factor must be above 0, and high_freq_factor above it"));
    }
  } else if (type == "yarn") {
    scaling.kind = RopeScalingKind::kYarn;
    read_original();
    if (rope.Optional("factor")) {
      read_factor();
    } else {
      scaling.factor = static_cast<double>(max_positions) / scaling.original_positions;
    }
    // 0 stands for the default, as in transformers.
    double fast = 0.0, slow = 0.0, attention = -1.0, mscale = 0.0, mscale_all_dim = 0.0;
    rope.OptionalDouble("beta_fast", fast);
    rope.OptionalDouble("beta_slow", slow);
    rope.OptionalDouble("attention_factor", attention);
    rope.OptionalDouble("mscale", mscale);
    rope.OptionalDouble("mscale_all_dim", mscale_all_dim);
    rope.OptionalFlag("truncate", scaling.truncate);
    if (fast != 0.0) scaling.beta_fast = fast;
    if (slow != 0.0) scaling.beta_slow = slow;
    if (!(scaling.beta_slow > 0.0 && scaling.beta_fast >= scaling.beta_slow)) {
      rope.Fail(rope.value().Refuse("beta_slow must be above 0, and beta_fast not below it"));
    }
    const bool declared = rope.value().Find("attention_factor") && !rope.value().Find("attention_factor")->IsNull();
    scaling.attention_factor = declared ? attention : YarnAttentionFactor(scaling.factor, mscale, mscale_all_dim);
    if (!(scaling.attention_factor > 0.0) || !std::isfinite(scaling.attention_factor) || !(scaling.factor >= 1.0)) {
      rope.Fail(rope.value().Refuse("the attention factor must be above 0, and the factor at least 1"));
    }
  } else {
    return type_value->Refuse("the rotary scaling " + Quoted(type) +
                              " is not known; default, linear, llama3 and yarn are");
  }
  if (!rope.ok()) return rope.error();
  return scaling;
}

// Base and scaling of the rotary embedding: rope_theta and rope_scaling, or rope_parameters with both.
inline Result<Done> ReadHfRope(HfObject& config, const HfLayout& layout, const HfConfigOptions& options,
                               CheckpointConfig& to) {
  to.rope_base = layout.rope_base;
  config.OptionalReal("rope_theta", to.rope_base);
  const bool has_theta = config.Optional("rope_theta").has_value();
  uint32_t original = 0;
  config.OptionalPositive("original_max_position_embeddings", original);
  double rotated = 1.0;
  config.OptionalDouble("partial_rotary_factor", rotated);
  if (!config.ok()) return config.error();

  const std::optional<JsonValue> scaling = config.Optional("rope_scaling");
  const std::optional<JsonValue> parameters = config.Optional("rope_parameters");
  if (scaling && parameters) {
    return parameters->Refuse("there is rope_scaling too; one of the two was expected");
  }
  const std::optional<JsonValue> value = scaling ? scaling : parameters;
  if (value) {
    if (Result<Done> object = value->ExpectObject(); !object.ok()) return object;
    HfObject rope(*value);
    const float outer_base = to.rope_base;
    rope.OptionalReal("rope_theta", to.rope_base);
    if (has_theta && to.rope_base != outer_base) {
      return value->Refuse("rope_theta differs from the one beside it");
    }
    rope.OptionalDouble("partial_rotary_factor", rotated);
    Result<RopeScaling> read = ReadHfRopeScaling(rope, to.max_positions, original);
    if (!read.ok()) return Error{read.error()};
    rope.RefuseUnknown({}, options.ignored_keys);
    if (!rope.ok()) return rope.error();
    to.rope_scaling = *read;
  }
  if (rotated != 1.0) {
    return config.value().Refuse("partial_rotary_factor is not 1: heads that are rotated in part are not supported");
  }
  if (to.rope_base == 0.0f) return config.value().Refuse("there is no key 'rope_theta'");
  return Done{};
}

// How weights are stored and inputs quantized: quantization_config, or the keys of the community's first models.
inline Result<Done> ReadHfQuantization(HfObject& config, const HfConfigOptions& options, CheckpointConfig& to) {
  uint32_t weight_bits = 0, input_bits = 0;
  config.OptionalPositive("weight_bits", weight_bits);
  config.OptionalPositive("input_bits", input_bits);
  if (!config.ok()) return config.error();
  const std::optional<JsonValue> value = config.Optional("quantization_config");
  if (!value) {
    if (weight_bits == 0 && input_bits == 0) return Done{};
    if (weight_bits != 1 || input_bits != 8) {
      return config.value().Refuse("weight_bits is " + std::to_string(weight_bits) + " and input_bits " +
                                   std::to_string(input_bits) + "; 1 (which means ternary) and 8 are supported");
    }
    to.weights = CheckpointWeights::kMasters;
    to.input_bits = 8;
    return Done{};
  }
  if (Result<Done> object = value->ExpectObject(); !object.ok()) return object;
  HfObject quantization(*value);
  // The text of a key, one of two; the first where it is not there.
  const auto choice = [&](std::string_view key, std::string_view first,
                          std::string_view second) -> Result<std::string_view> {
    const std::optional<JsonValue> item = quantization.Optional(key);
    if (!item) return first;
    const Result<std::string_view> text = item->AsText();
    if (!text.ok() || *text == first || *text == second) return text;
    return item->Refuse(Quoted(*text) + " is not known; " + std::string(first) + " and " + std::string(second) +
                        " are");
  };
  const Result<JsonValue> method = quantization.Required("quant_method");
  if (!method.ok()) return Error{method.error()};
  const Result<std::string_view> method_name = method->AsText();
  if (!method_name.ok()) return Error{method_name.error()};
  if (*method_name != "bitnet") {
    return method->Refuse("the quantization " + Quoted(*method_name) + " is not supported; bitnet is");
  }
  const Result<std::string_view> linear = choice("linear_class", "bitlinear", "autobitlinear");
  if (!linear.ok()) return Error{linear.error()};
  const Result<std::string_view> mode = choice("quantization_mode", "offline", "online");
  if (!mode.ok()) return Error{mode.error()};
  quantization.MustBeFalse("use_rms_norm", "a norm before every projection is not supported");
  // The layers that keep reals. Names are patterns; those of the head say what is true of every file.
  if (const std::optional<JsonValue> kept = quantization.Optional("modules_to_not_convert")) {
    if (Result<Done> list = kept->ExpectList(); !list.ok()) return list;
    bool names_head = false;
    for (const JsonValue item : kept->items()) {
      const Result<std::string_view> name = item.AsText();
      if (!name.ok()) return Error{name.error()};
      names_head = names_head || *name == "lm_head" || *name == "lm_head$";
      if (*name != "lm_head" && *name != "lm_head$" && *name != "embed_tokens" && *name != "model.embed_tokens") {
        return item.Refuse(Quoted(*name) + " keeps reals; only the embedding and the head may");
      }
    }
    if (!names_head)
      return kept->Refuse("lm_head is not among them: an output head that is quantized is not supported");
  }
  quantization.RefuseUnknown(std::array<std::string_view, 1>{"rms_norm_eps"},
                             options.ignored_keys);  // of the norm that is not there
  if (!quantization.ok()) return quantization.error();
  // A bitlinear is packed, whatever the mode.
  to.weights = *linear == "bitlinear" ? CheckpointWeights::kPackedDividing
               : *mode == "offline"   ? CheckpointWeights::kPackedMultiplying
                                      : CheckpointWeights::kMasters;
  to.input_bits = 8;
  return Done{};
}

inline Result<CheckpointConfig> ReadHfConfig(const JsonValue& root, const HfConfigOptions& options) {
  if (Result<Done> object = root.ExpectObject(); !object.ok()) return Error{object.error()};
  HfObject config(root);
  const Result<HfLayout> layout = FindHfLayout(config);
  if (!layout.ok()) return Error{layout.error()};

  CheckpointConfig c;
  c.architecture = layout->model_type;
  c.sub_layer_norms = layout->sub_layer_norms;
  c.head_norms = layout->head_norms;
  config.Positive("vocab_size", c.vocab);
  config.Positive("hidden_size", c.hidden);
  config.Positive("num_hidden_layers", c.layers);
  config.Positive("num_attention_heads", c.heads);
  config.Positive("intermediate_size", c.ffn);
  config.Positive("max_position_embeddings", c.max_positions);
  config.Real("rms_norm_eps", c.rms_eps);
  config.OptionalFlag("tie_word_embeddings", c.tied_embedding);
  if (!config.ok()) return config.error();

  // null says: as many as heads. Where the key is not there, versions differ.
  c.kv_heads = c.heads;
  config.OptionalPositive("num_key_value_heads", c.kv_heads);
  if (!root.Find("num_key_value_heads") && !layout->all_kv_heads) {
    return root.Refuse("there is no key 'num_key_value_heads'");
  }
  if (c.hidden % c.heads == 0) c.head_dim = c.hidden / c.heads;
  config.OptionalPositive("head_dim", c.head_dim);
  if (c.head_dim == 0) {
    return root.Refuse("hidden_size is " + std::to_string(c.hidden) + ", which num_attention_heads, " +
                       std::to_string(c.heads) + ", does not divide, and there is no head_dim");
  }
  if (layout->head_norms && !root.Find("head_dim")) return root.Refuse("there is no key 'head_dim'");

  const Result<ActivationKind> activation = ReadHfActivation(config);
  if (!activation.ok()) return Error{activation.error()};
  c.activation = *activation;
  if (Result<Done> rope = ReadHfRope(config, *layout, options, c); !rope.ok()) return Error{rope.error()};
  if (Result<Done> read = ReadHfQuantization(config, options, c); !read.ok()) return Error{read.error()};

  if (const std::optional<JsonValue> bos = config.Optional("bos_token_id")) {
    const Result<uint32_t> token = bos->AsUnsigned32();
    if (!token.ok()) return Error{token.error()};
    c.bos = *token;
  }
  if (const std::optional<JsonValue> eos = config.Optional("eos_token_id")) {
    Result<std::vector<uint32_t>> tokens = ReadHfTokens(*eos);
    if (!tokens.ok()) return Error{tokens.error()};
    c.eos = *std::move(tokens);
  }

  for (const HfFalseKey& line : kFalseHfKeys) config.MustBeFalse(line.key, line.why);
  // Sizes of windows say nothing where it is said that there are none.
  const std::optional<JsonValue> window = config.Optional("sliding_window");
  config.Optional("max_window_layers");
  if (window && !root.Find("use_sliding_window")) {
    config.Fail(window->Refuse("windows of attention are not supported"));
  }
  if (const std::optional<JsonValue> types = config.Optional("layer_types")) {
    if (Result<Done> list = types->ExpectList(); !list.ok()) return Error{list.error()};
    for (const JsonValue item : types->items()) {
      const Result<std::string_view> type = item.AsText();
      if (!type.ok()) return Error{type.error()};
      if (*type != "full_attention") return item.Refuse(Quoted(*type) + " is not supported; full_attention is");
    }
  }
  if (const std::optional<JsonValue> pruned = config.Optional("pruned_heads"); pruned && pruned->items().size() != 0) {
    config.Fail(pruned->Refuse("heads that are left out are not supported"));
  }
  config.RefuseUnknown(kHarmlessHfKeys, options.ignored_keys);
  if (!config.ok()) return config.error();
  if (Result<ModelConfig> model = ModelConfigOf(c); !model.ok()) return root.Refuse(model.error());
  return c;
}

inline constexpr ReadLimits kHfConfigLimits = {uint64_t{1} << 24, uint64_t{1} << 24};

}  // namespace detail

// `name` stands for the text in messages.
inline Result<CheckpointConfig> ParseHfConfig(std::string_view text, const std::string& name,
                                              const HfConfigOptions& options = {}) {
  const Result<JsonDocument> json = JsonDocument::Parse(text, name);
  if (!json.ok()) return Error{json.error()};
  return detail::ReadHfConfig(json->root(), options);
}

// The tokens that end a text by generation_config.json, which has more of them than config.json; none where it has
// none.
inline Result<std::vector<uint32_t>> ParseHfGenerationEos(std::string_view text, const std::string& name) {
  const Result<JsonDocument> json = JsonDocument::Parse(text, name);
  if (!json.ok()) return Error{json.error()};
  if (Result<Done> object = json->root().ExpectObject(); !object.ok()) return Error{object.error()};
  const std::optional<JsonValue> eos = json->root().Find("eos_token_id");
  if (!eos || eos->IsNull()) return std::vector<uint32_t>();
  return detail::ReadHfTokens(*eos);
}

// config.json of a folder, with the tokens that end a text from its generation_config.json, if it has one with some.
inline Result<CheckpointConfig> LoadHfConfig(const std::string& folder, const HfConfigOptions& options = {}) {
  const auto text_of = [](const std::vector<uint8_t>& bytes) {
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  const std::string path = folder + "/config.json";
  const Result<std::vector<uint8_t>> bytes = ReadFile(path, detail::kHfConfigLimits);
  if (!bytes.ok()) return Error{bytes.error()};
  Result<CheckpointConfig> config = ParseHfConfig(text_of(*bytes), path, options);
  if (!config.ok()) return config;
  const std::string generation_path = folder + "/generation_config.json";
  std::error_code unknown;
  if (!std::filesystem::exists(generation_path, unknown)) return config;
  const Result<std::vector<uint8_t>> generation = ReadFile(generation_path, detail::kHfConfigLimits);
  if (!generation.ok()) return Error{generation.error()};
  Result<std::vector<uint32_t>> eos = ParseHfGenerationEos(text_of(*generation), generation_path);
  if (!eos.ok()) return Error{eos.error()};
  if (!eos->empty()) config->eos = *std::move(eos);
  return config;
}

// The text of a config.json that says what `c` says. Precondition: c has an architecture that can be read, and what
// goes with it (ParseHfConfig would give it).
inline std::string HfConfigText(const CheckpointConfig& c) {
  const detail::HfLayout* layout = nullptr;
  for (const detail::HfLayout& line : detail::kHfLayouts) {
    if (line.model_type == c.architecture && line.sub_layer_norms == c.sub_layer_norms &&
        line.head_norms == c.head_norms && layout == nullptr) {
      layout = &line;
    }
  }
  BITNET_ASSERT(layout != nullptr, "HfConfigText: transformers has no such architecture with such norms");
  std::string json = "{";
  const auto line = [&](std::string_view key, const std::string& value) {
    json += (json.back() == '{' ? "\n  " : ",\n  ") + JsonText(key) + ": " + value;
  };
  const auto real = [](double value) {
    char digits[40];
    std::snprintf(digits, sizeof(digits), "%.17g", value);
    return std::string(digits);
  };
  const auto flag = [](bool value) { return std::string(value ? "true" : "false"); };
  line("architectures", "[" + JsonText(layout->architecture) + "]");
  line("model_type", JsonText(c.architecture));
  line("vocab_size", std::to_string(c.vocab));
  line("hidden_size", std::to_string(c.hidden));
  line("intermediate_size", std::to_string(c.ffn));
  line("num_hidden_layers", std::to_string(c.layers));
  line("num_attention_heads", std::to_string(c.heads));
  line("num_key_value_heads", std::to_string(c.kv_heads));
  line("head_dim", std::to_string(c.head_dim));
  line("max_position_embeddings", std::to_string(c.max_positions));
  line("hidden_act", JsonText(c.activation == ActivationKind::kSilu ? "silu" : "relu2"));
  line("rms_norm_eps", real(static_cast<double>(c.rms_eps)));
  line("rope_theta", real(static_cast<double>(c.rope_base)));
  const RopeScaling& rope = c.rope_scaling;
  const auto scaled = [&](const char* type, const std::string& rest) {
    line("rope_scaling", "{\"rope_type\": " + JsonText(type) + ", \"factor\": " + real(rope.factor) + rest + "}");
  };
  const std::string original = ", \"original_max_position_embeddings\": " + std::to_string(rope.original_positions);
  switch (rope.kind) {
    case RopeScalingKind::kDefault:
      break;
    case RopeScalingKind::kLinear:
      scaled("linear", "");
      break;
    case RopeScalingKind::kLlama3:
      scaled("llama3", original + ", \"low_freq_factor\": " + real(rope.low_frequency_factor) +
                           ", \"high_freq_factor\": " + real(rope.high_frequency_factor));
      break;
    case RopeScalingKind::kYarn:
      scaled("yarn", original + ", \"attention_factor\": " + real(rope.attention_factor) +
                         ", \"beta_fast\": " + real(rope.beta_fast) + ", \"beta_slow\": " + real(rope.beta_slow) +
                         ", \"truncate\": " + flag(rope.truncate));
      break;
  }
  line("tie_word_embeddings", flag(c.tied_embedding));
  line("attention_bias", flag(false));
  if (c.bos) line("bos_token_id", std::to_string(*c.bos));
  std::string eos;
  for (const uint32_t token : c.eos) eos += (eos.empty() ? "" : ", ") + std::to_string(token);
  if (!c.eos.empty()) line("eos_token_id", c.eos.size() == 1 ? eos : "[" + eos + "]");
  if (c.weights != CheckpointWeights::kUndeclared) {
    line("quantization_config",
         std::string("{\"quant_method\": \"bitnet\", \"linear_class\": ") +
             (c.weights == CheckpointWeights::kPackedDividing ? "\"bitlinear\"" : "\"autobitlinear\"") +
             ", \"quantization_mode\": " + (c.weights == CheckpointWeights::kMasters ? "\"online\"" : "\"offline\"") +
             "}");
  }
  return json + "\n}\n";
}

}  // namespace bitnet

#endif  // BITNET_IO_HF_CONFIG_H_
