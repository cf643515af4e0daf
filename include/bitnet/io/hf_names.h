// What transformers calls the tensors of model/tensors.h, and where it keeps them in a checkpoint.
//
// A tensor has one name, and some an older one. To add a name, add it to the table.
#ifndef BITNET_IO_HF_NAMES_H_
#define BITNET_IO_HF_NAMES_H_

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "bitnet/base/assert.h"
#include "bitnet/base/result.h"
#include "bitnet/io/safetensors.h"

namespace bitnet {

namespace detail {

struct HfNameLine {
  std::string_view name;   // of TensorInfo; and the norms of heads
  std::string_view now;    // behind "model.layers.N."; outside of the layers the whole name
  std::string_view older;  // none: empty
};
inline constexpr auto kHfNames = std::to_array<HfNameLine>({
    {"embedding", "model.embed_tokens.weight", ""},
    {"final_norm", "model.norm.weight", ""},
    {"head", "lm_head.weight", ""},
    {"attn_norm", "input_layernorm.weight", ""},
    {"q", "self_attn.q_proj.weight", ""},
    {"k", "self_attn.k_proj.weight", ""},
    {"v", "self_attn.v_proj.weight", ""},
    {"o", "self_attn.o_proj.weight", ""},
    {"q_norm", "self_attn.q_norm.weight", ""},
    {"k_norm", "self_attn.k_norm.weight", ""},
    {"attn_sub_norm", "self_attn.attn_sub_norm.weight", "self_attn.inner_attn_ln.weight"},
    {"ffn_norm", "post_attention_layernorm.weight", ""},
    {"gate", "mlp.gate_proj.weight", ""},
    {"up", "mlp.up_proj.weight", ""},
    {"down", "mlp.down_proj.weight", ""},
    {"ffn_sub_norm", "mlp.ffn_sub_norm.weight", "mlp.ffn_layernorm.weight"},
});

}  // namespace detail

struct HfTensorName {
  std::string now;
  std::string older;  // empty where there is none
};

// Of a tensor of layer `layer`, or of one outside: names as TensorInfo has them, and "q_norm" and "k_norm".
// Precondition: there is such a name.
inline HfTensorName HfNameOf(std::optional<size_t> layer, std::string_view name) {
  const std::string prefix = layer ? "model.layers." + std::to_string(*layer) + "." : "";
  for (const detail::HfNameLine& line : detail::kHfNames) {
    if (line.name == name) {
      return {prefix + std::string(line.now), line.older.empty() ? "" : prefix + std::string(line.older)};
    }
  }
  BITNET_ASSERT(false, "HfNameOf: transformers has no name for this tensor");
  return {};
}

// The name that the checkpoint has of the two; an error where it has neither, or both.
inline Result<std::string> FindHfName(const Safetensors& files, std::optional<size_t> layer, std::string_view name) {
  HfTensorName names = HfNameOf(layer, name);
  const bool has_now = files.Find(names.now) != nullptr;
  const SafetensorsTensor* const older = names.older.empty() ? nullptr : files.Find(names.older);
  if (has_now && older != nullptr) return files.Refuse(*older, "there is " + names.now + " too");
  if (older != nullptr) return names.older;
  if (!has_now) return Error{files.Where() + ": there is no tensor " + Quoted(names.now)};
  return names.now;
}

}  // namespace bitnet

#endif  // BITNET_IO_HF_NAMES_H_
