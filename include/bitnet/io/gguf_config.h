// The metadata of a GGUF file, read into a CheckpointConfig: architecture by the file's own word, never by its name.
//
// Norms below the layers, norms of heads and a head of its own are there if their tensors are. A key under the
// architecture's name that is neither read nor listed as harmless is refused by its name: so is what rotates weights,
// slides windows or adds experts.
#ifndef BITNET_IO_GGUF_CONFIG_H_
#define BITNET_IO_GGUF_CONFIG_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string>
#include <string_view>

#include "bitnet/base/result.h"
#include "bitnet/io/checkpoint_config.h"
#include "bitnet/io/gguf.h"
#include "bitnet/io/quoted.h"
#include "bitnet/io/rope_scaling.h"

namespace bitnet {

namespace detail {

struct GgufArchitecture {
  std::string_view name;
  ActivationKind activation;
  bool adjacent_pairs;  // rows of q and k lie as the rotary embedding of neighbours wants them, not rotate-half
};
inline constexpr auto kGgufArchitectures = std::to_array<GgufArchitecture>({
    {"bitnet-b1.58", ActivationKind::kSquaredRelu, false},
    {"bitnet-25", ActivationKind::kSquaredRelu, false},
    {"bitnet", ActivationKind::kSilu, false},  // the community's models of 2024
    {"llama", ActivationKind::kSilu, true},
    {"qwen3", ActivationKind::kSilu, false},
});

// Keys behind "ARCHITECTURE.". Those that are read, and those that change no arithmetic here.
inline constexpr auto kGgufKeys = std::to_array<std::string_view>({
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "rope.scaling.finetuned",  // a note
    "rope.scale_linear",
});

// Whoever changes the weights says so under a name of his own: keys of other programs' than these are refused.
inline bool IsHarmlessGgufKey(std::string_view key) {
  constexpr std::string_view kHarmless[] = {"general.", "tokenizer.", "quantize.", "imatrix.", "GGUF."};
  return std::any_of(std::begin(kHarmless), std::end(kHarmless),
                     [&](std::string_view p) { return key.starts_with(p); });
}

}  // namespace detail

// Of a known architecture: how its rows of q and k lie.
inline bool HasAdjacentPairs(std::string_view architecture) {
  return std::any_of(detail::kGgufArchitectures.begin(), detail::kGgufArchitectures.end(),
                     [&](const auto& a) { return a.name == architecture && a.adjacent_pairs; });
}

inline Result<CheckpointConfig> ReadGgufConfig(const GgufFile& file) {
  const Result<std::string_view> architecture = file.Get<std::string_view>("general.architecture");
  if (!architecture.ok()) return Error{architecture.error()};
  const auto known = std::find_if(detail::kGgufArchitectures.begin(), detail::kGgufArchitectures.end(),
                                  [&](const auto& a) { return a.name == *architecture; });
  if (known == detail::kGgufArchitectures.end()) {
    std::string names;
    for (const auto& a : detail::kGgufArchitectures) names += (names.empty() ? "" : ", ") + std::string(a.name);
    return Error{file.path() + ": the architecture is " + Quoted(*architecture) + "; known are " + names};
  }
  const std::string prefix = std::string(*architecture) + ".";
  for (const GgufEntry& entry : file.metadata()) {
    const std::string_view key = entry.key;
    if (key.starts_with("split.")) {
      return Error{file.path() + ": metadata " + Quoted(key) +
                   ": the file is one of several that a model was split into; merge them first"};
    }
    const bool is_known = key.starts_with(prefix) ? std::find(detail::kGgufKeys.begin(), detail::kGgufKeys.end(),
                                                              key.substr(prefix.size())) != detail::kGgufKeys.end()
                                                  : detail::IsHarmlessGgufKey(key);
    if (!is_known) return Error{file.path() + ": metadata " + Quoted(key) + " declares what is not known here"};
  }

  CheckpointConfig config;
  config.architecture = *architecture;
  config.activation = known->activation;
  std::string problem;
  const auto read = [&]<class T>(T& to, const char* key, std::span<const T> otherwise = {}) {
    if (!problem.empty()) return;
    const Result<T> value =
        otherwise.empty() ? file.Get<T>(prefix + key) : file.GetOr<T>(prefix + key, otherwise.front());
    if (value.ok()) {
      to = *value;
    } else {
      problem = value.error();
    }
  };
  const auto or_else = []<class T>(const T& value) { return std::span<const T>(&value, 1); };
  read(config.hidden, "embedding_length");
  read(config.layers, "block_count");
  read(config.ffn, "feed_forward_length");
  read(config.heads, "attention.head_count");
  read(config.kv_heads, "attention.head_count_kv", or_else(config.heads));
  read(config.max_positions, "context_length");
  read(config.rms_eps, "attention.layer_norm_rms_epsilon");
  const float usual_base = 10000.0f;
  read(config.rope_base, "rope.freq_base", or_else(usual_base));
  const uint32_t even_share = config.heads == 0 ? 0 : config.hidden / config.heads;
  read(config.head_dim, "attention.key_length", or_else(even_share));
  uint32_t value_length = 0, rotated = 0;
  read(value_length, "attention.value_length", or_else(config.head_dim));
  read(rotated, "rope.dimension_count", or_else(config.head_dim));
  if (!problem.empty()) return Error{problem};
  const auto refuse = [&](const std::string& what) { return Error{file.path() + ": metadata " + what}; };
  if (value_length != config.head_dim) {
    return refuse("states values of " + std::to_string(value_length) + " and keys of " +
                  std::to_string(config.head_dim) + " dimensions; heads of one width are known");
  }
  if (rotated != config.head_dim) {
    return refuse("states that " + std::to_string(rotated) + " of the " + std::to_string(config.head_dim) +
                  " dimensions of a head are rotated; all of them were expected");
  }

  // Without a type a factor is linear.
  const char* const factor_key = file.Find(prefix + "rope.scaling.factor") != nullptr ? "rope.scaling.factor"
                                 : file.Find(prefix + "rope.scale_linear") != nullptr ? "rope.scale_linear"
                                                                                      : nullptr;
  const Result<std::string_view> scaling =
      file.GetOr<std::string_view>(prefix + "rope.scaling.type", factor_key != nullptr ? "linear" : "none");
  if (!scaling.ok()) return Error{scaling.error()};
  if (*scaling == "linear" || *scaling == "yarn") {
    config.rope_scaling.kind = *scaling == "linear" ? RopeScalingKind::kLinear : RopeScalingKind::kYarn;
    read(config.rope_scaling.factor, factor_key != nullptr ? factor_key : "rope.scaling.factor");
    if (*scaling == "yarn") {
      read(config.rope_scaling.original_positions, "rope.scaling.original_context_length");
      // What the usual factor is multiplied by.
      const double one = 1.0;
      read(config.rope_scaling.attention_factor, "rope.scaling.attn_factor", or_else(one));
      config.rope_scaling.attention_factor *= YarnAttentionFactor(config.rope_scaling.factor, {}, {});
    }
  } else if (*scaling != "none" && !scaling->empty()) {
    return refuse(Quoted(prefix + "rope.scaling.type") + " is " + Quoted(*scaling) +
                  "; none, linear and yarn are known");
  }
  if (!problem.empty()) return Error{problem};
  const RopeScaling& rope = config.rope_scaling;
  if (rope.kind != RopeScalingKind::kYarn && file.Find(prefix + "rope.scaling.attn_factor") != nullptr) {
    return refuse(Quoted(prefix + "rope.scaling.attn_factor") + " belongs to a scaling of type yarn");
  }
  if (!(rope.factor >= 1.0) || !std::isfinite(rope.factor)) {
    return refuse("states a factor of " + std::to_string(rope.factor) +
                  " for the scaling of the rotary embedding; it must be finite, and 1 or more");
  }
  if (rope.kind == RopeScalingKind::kYarn &&
      (rope.original_positions == 0 || !(rope.attention_factor > 0.0) || !std::isfinite(rope.attention_factor))) {
    return refuse("states a yarn scaling of " + std::to_string(rope.original_positions) +
                  " positions and an attention factor of " + std::to_string(rope.attention_factor) +
                  "; both must be above 0, and finite");
  }

  // What is known by its tensors.
  const GgufTensor* embedding = file.FindTensor("token_embd.weight");
  if (embedding == nullptr) return Error{file.path() + ": there is no tensor " + Quoted("token_embd.weight")};
  if (embedding->rows() > 0xffffffffu) return Error{file.path() + ": the embedding has more than 2^32 rows"};
  config.vocab = static_cast<uint32_t>(embedding->rows());
  config.tied_embedding = file.FindTensor("output.weight") == nullptr;
  config.sub_layer_norms = file.FindTensor("blk.0.attn_sub_norm.weight") != nullptr;
  config.head_norms = file.FindTensor("blk.0.attn_q_norm.weight") != nullptr;

  if (config.head_norms && known->adjacent_pairs) {
    return Error{file.path() + ": tensor 'blk.0.attn_q_norm.weight': norms of heads are not known of architecture " +
                 Quoted(*architecture)};
  }

  const auto token = [&](const char* key, auto&& use) -> Result<Done> {
    const GgufValue* const value = file.Find(key);
    if (value == nullptr) return Done{};
    if (const Result<int64_t> none = value->As<int64_t>(); none.ok() && (*none == -1 || *none == 0xffffffff)) {
      return Done{};  // as io/tokenizer_gguf.h has it
    }
    const Result<uint32_t> id = file.Get<uint32_t>(key);
    if (!id.ok()) return Error{id.error()};
    if (*id >= config.vocab) {
      return Error{file.path() + ": metadata " + Quoted(key) + " is " + std::to_string(*id) + "; the vocabulary has " +
                   std::to_string(config.vocab)};
    }
    use(*id);
    return Done{};
  };
  const Result<Done> bos = token("tokenizer.ggml.bos_token_id", [&](uint32_t id) { config.bos = id; });
  if (!bos.ok()) return Error{bos.error()};
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    const Result<Done> end = token(key, [&](uint32_t id) {
      if (std::find(config.eos.begin(), config.eos.end(), id) == config.eos.end()) config.eos.push_back(id);
    });
    if (!end.ok()) return Error{end.error()};
  }
  return config;
}

}  // namespace bitnet

#endif  // BITNET_IO_GGUF_CONFIG_H_
