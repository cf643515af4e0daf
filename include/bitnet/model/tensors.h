// The tensors of a model, each of them once: its name, its role, its shape. Whoever needs them derives from this list:
// latent weights, gradients and moments, packed weights, files, checkpoints; a loader maps foreign names onto it.
//
//   ForEachTensor(config, [](const TensorInfo& tensor) { ... });                      // the list alone
//   ForEachTensor(config, [](auto tensor, auto& from, auto& to) { ... }, a, b);       // with the tensors of models
//
// A model, here, is what has outer(), its OuterTensors, and layer(i), the LayerTensors of layer i; by reference, or as
// a struct of views. Where its first and last layer are of another type it says so by kHasEdges, and has edge(i) for
// these. To add a tensor, add its member and its line below.
#ifndef BITNET_MODEL_TENSORS_H_
#define BITNET_MODEL_TENSORS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>

#include "bitnet/model/config.h"

namespace bitnet {

enum class TensorRole {
  kEmbedding,   // a row a token; the output head too, where tied
  kHead,        // an output head of its own
  kProjection,  // [outputs, inputs], of a layer
  kGain,        // a norm's: one row
};

struct TensorInfo {
  TensorRole role;
  std::optional<size_t> layer;  // nothing outside of the layers
  const char* name;
  size_t rows;
  size_t cols;

  // "layer0.q"
  std::string FullName() const { return layer ? "layer" + std::to_string(*layer) + "." + name : name; }
};

// The same with its role known to the compiler, and whether it is of a layer that edge(i) gave.
template <TensorRole kRole_, bool kEdge_ = false>
struct Tensor : TensorInfo {
  static constexpr TensorRole kRole = kRole_;
  static constexpr bool kEdge = kEdge_;
  Tensor(std::optional<size_t> layer_, const char* name_, size_t rows_, size_t cols_)
      : TensorInfo{kRole, layer_, name_, rows_, cols_} {}
};

// The tensors of a layer, in whatever holds them. Gains of norms that a model has not are empty.
template <class Gain, class Projection>
struct LayerTensors {
  Gain attn_norm;
  Projection q, k, v, o;
  Gain q_norm, k_norm;
  Gain attn_sub_norm;
  Gain ffn_norm;
  Projection gate, up, down;
  Gain ffn_sub_norm;
};

// Those outside of the layers. Where the embedding is tied `head` is empty.
template <class Embedding, class Gain, class Head>
struct OuterTensors {
  Embedding embedding;
  Gain final_norm;
  Head head;
};

// f(tensor, its counterpart in each of `layers`...) for every tensor of layer i, in the order of files. f takes a
// Tensor<role> by value, or its TensorInfo.
template <bool kEdge = false, class F, class... Layers>
void ForEachTensorOfLayer(const ModelConfig& c, size_t i, F&& f, Layers&&... layers) {
  using Gain = Tensor<TensorRole::kGain, kEdge>;
  using Projection = Tensor<TensorRole::kProjection, kEdge>;
  f(Gain(i, "attn_norm", 1, c.hidden), layers.attn_norm...);
  f(Projection(i, "q", c.query_width(), c.hidden), layers.q...);
  f(Projection(i, "k", c.kv_width(), c.hidden), layers.k...);
  f(Projection(i, "v", c.kv_width(), c.hidden), layers.v...);
  f(Projection(i, "o", c.hidden, c.query_width()), layers.o...);
  if (c.head_norms) {
    f(Gain(i, "q_norm", 1, c.head_dim), layers.q_norm...);
    f(Gain(i, "k_norm", 1, c.head_dim), layers.k_norm...);
  }
  if (c.sub_layer_norms) f(Gain(i, "attn_sub_norm", 1, c.query_width()), layers.attn_sub_norm...);
  f(Gain(i, "ffn_norm", 1, c.hidden), layers.ffn_norm...);
  f(Projection(i, "gate", c.ffn, c.hidden), layers.gate...);
  f(Projection(i, "up", c.ffn, c.hidden), layers.up...);
  f(Projection(i, "down", c.hidden, c.ffn), layers.down...);
  if (c.sub_layer_norms) f(Gain(i, "ffn_sub_norm", 1, c.ffn), layers.ffn_sub_norm...);
}

template <class F, class... Outer>
void ForEachTensorBeforeLayers(const ModelConfig& c, F&& f, Outer&&... outer) {
  f(Tensor<TensorRole::kEmbedding>({}, "embedding", c.vocab, c.hidden), outer.embedding...);
}

template <class F, class... Outer>
void ForEachTensorAfterLayers(const ModelConfig& c, F&& f, Outer&&... outer) {
  f(Tensor<TensorRole::kGain>({}, "final_norm", 1, c.hidden), outer.final_norm...);
  if (!c.tied_embedding) f(Tensor<TensorRole::kHead>({}, "head", c.vocab, c.hidden), outer.head...);
}

// Whether layer i is the first or the last.
inline bool IsEdge(const ModelConfig& c, size_t i) { return i == 0 || i + 1 == c.layers; }

// All tensors that a model of this configuration has, in the order of files.
template <class F, class... Models>
void ForEachTensor(const ModelConfig& c, F&& f, Models&&... models) {
  ForEachTensorBeforeLayers(c, f, models.outer()...);
  for (size_t i = 0; i < c.layers; ++i) {
    if constexpr ((std::remove_cvref_t<Models>::kHasEdges || ...)) {
      if (IsEdge(c, i)) {
        ForEachTensorOfLayer<true>(c, i, f, models.edge(i)...);
        continue;
      }
    }
    ForEachTensorOfLayer(c, i, f, models.layer(i)...);
  }
  ForEachTensorAfterLayers(c, f, models.outer()...);
}

// Weights of the projections of all layers.
inline uint64_t ProjectionWeights(const ModelConfig& c) {
  uint64_t of_layer = 0;
  ForEachTensorOfLayer(c, 0, [&](const TensorInfo& tensor) {
    if (tensor.role == TensorRole::kProjection) of_layer += uint64_t{tensor.rows} * tensor.cols;
  });
  return c.layers * of_layer;
}

}  // namespace bitnet

#endif  // BITNET_MODEL_TENSORS_H_
