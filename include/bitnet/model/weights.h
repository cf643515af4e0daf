// The weights of a model: LatentWeights in float, as training keeps them, and ModelWeights<Scheme>, quantized in
// canonical form, as files and inference keep them. ModelWeights<S>::Quantize(latent) is the export.
#ifndef BITNET_MODEL_WEIGHTS_H_
#define BITNET_MODEL_WEIGHTS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "bitnet/base/random.h"
#include "bitnet/base/size.h"
#include "bitnet/model/config.h"
#include "bitnet/model/tensors.h"
#include "bitnet/scheme/scheme.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/quantized_matrix.h"

namespace bitnet {

// A float for each weight, of all tensors in one piece of memory: the weights that training keeps, and whatever it has
// of the same shape (gradients, moments). Tensors are spans of it, [outputs, inputs] row by row, in the order of
// ForEachTensor; those that a model has not are empty.
class LatentWeights {
 public:
  template <class T>
  using Layer = LayerTensors<std::span<T>, std::span<T>>;
  template <class T>
  using Outer = OuterTensors<std::span<T>, std::span<T>, std::span<T>>;

  LatentWeights() : LatentWeights(ModelConfig{}, 0) {}

  // The configuration must be valid.
  static LatentWeights Zeros(const ModelConfig& config) {
    BITNET_ASSERT(config.Validate().ok(), "LatentWeights: the configuration is not valid: see ModelConfig::Validate");
    const std::optional<size_t> count = Count(config);
    if (!count) detail::SizeDoesNotFit();
    return LatentWeights(config, ElementCount<float>(*count));
  }

  // Matrices normal(0, deviation), gains 1.
  template <class Generator>
  static LatentWeights Initial(const ModelConfig& config, Generator& generator, float deviation = 0.02f) {
    LatentWeights w = Zeros(config);
    w.ForEach([&](const TensorInfo& tensor, std::span<float> values) {
      for (float& v : values) v = tensor.role == TensorRole::kGain ? 1.0f : deviation * Normal(generator);
    });
    return w;
  }

  // How many values all tensors have, if that fits size_t. The configuration must be valid.
  static std::optional<size_t> Count(const ModelConfig& c) {
    std::optional<size_t> outer = 0, layer = 0;
    const auto add_to = [](std::optional<size_t>& sum) {
      return [&sum](const TensorInfo& tensor) { sum = CheckedSum(sum, CheckedProduct(tensor.rows, tensor.cols)); };
    };
    ForEachTensorBeforeLayers(c, add_to(outer));
    ForEachTensorAfterLayers(c, add_to(outer));
    ForEachTensorOfLayer(c, 0, add_to(layer));
    return CheckedSum(outer, CheckedProduct(std::optional(size_t{c.layers}), layer));
  }

  const ModelConfig& config() const { return config_; }

  // All of them, tensor after tensor.
  std::span<float> values() { return values_; }
  std::span<const float> values() const { return values_; }

  // f(tensor, values) for every tensor: see ForEachTensor.
  template <class F>
  void ForEach(F&& f) {
    ForEachTensor(config_, f, *this);
  }
  template <class F>
  void ForEach(F&& f) const {
    ForEachTensor(config_, f, *this);
  }

  static constexpr bool kHasEdges = false;
  Layer<float> edge(size_t i) { return layer(i); }
  Layer<const float> edge(size_t i) const { return layer(i); }
  Layer<float> layer(size_t i) { return LayerOf<float>(values_, i); }
  Layer<const float> layer(size_t i) const { return LayerOf<const float>(values_, i); }
  Outer<float> outer() { return OuterOf<float>(values_); }
  Outer<const float> outer() const { return OuterOf<const float>(values_); }

  std::span<float> embedding() { return outer().embedding; }
  std::span<const float> embedding() const { return outer().embedding; }
  std::span<float> final_norm() { return outer().final_norm; }
  std::span<const float> final_norm() const { return outer().final_norm; }
  std::span<float> head() { return outer().head; }
  std::span<const float> head() const { return outer().head; }

 private:
  LatentWeights(const ModelConfig& config, size_t count) : config_(config), values_(count) {}

  // Takes the tensors one by one from the front of `rest`.
  template <class T>
  static auto TakeFrom(std::span<T>& rest) {
    return [&rest](const TensorInfo& tensor, std::span<T>& member) {
      member = rest.first(tensor.rows * tensor.cols);
      rest = rest.subspan(member.size());
    };
  }
  size_t ValuesOfLayer() const {
    size_t count = 0;
    ForEachTensorOfLayer(config_, 0, [&](const TensorInfo& tensor) { count += tensor.rows * tensor.cols; });
    return count;
  }
  template <class T>
  Layer<T> LayerOf(std::span<T> values, size_t i) const {
    BITNET_ASSERT(i < config_.layers, "LatentWeights::layer: there are not so many layers");
    std::span<T> rest = values.subspan(outer().embedding.size() + i * ValuesOfLayer());
    Layer<T> layer;
    ForEachTensorOfLayer(config_, i, TakeFrom(rest), layer);
    return layer;
  }
  template <class T>
  Outer<T> OuterOf(std::span<T> values) const {
    Outer<T> outer;
    if (values.empty()) return outer;
    ForEachTensorBeforeLayers(config_, TakeFrom(values), outer);
    values = values.subspan(config_.layers * ValuesOfLayer());
    ForEachTensorAfterLayers(config_, TakeFrom(values), outer);
    return outer;
  }

  ModelConfig config_;
  AlignedVector<float> values_;
};

// What quantizes the matrices of a role; with kEdge, of the first and the last layer.
template <Scheme S, TensorRole kRole, bool kEdge = false>
using QuantizerAt = std::conditional_t<kRole == TensorRole::kEmbedding, EmbeddingWeightOf<S>,
                                       std::conditional_t<kRole == TensorRole::kHead, typename S::HeadWeight,
                                                          typename std::conditional_t<kEdge, EdgeOf<S>, S>::Weight>>;

template <Scheme S>
struct LayerWeights : LayerTensors<std::vector<float>, QuantizedMatrix<typename S::Weight::Format>> {
  using Projection = QuantizedMatrix<typename S::Weight::Format>;
};

// Layers of two kinds: `edges` are the first and the last where S has edges of its own, else there are none; `layers`
// are the others. How many there are of each:
template <Scheme S>
size_t EdgeCount(const ModelConfig& c) {
  return kHasEdges<S> ? std::min<size_t>(c.layers, 2) : 0;
}
template <Scheme S>
size_t InnerCount(const ModelConfig& c) {
  return c.layers - EdgeCount<S>(c);
}
// f(what stands for layer i in each of `parts`), which have one for each layer in their `layers` and `edges`.
template <Scheme S, class F, class... Parts>
decltype(auto) AtLayer(const ModelConfig& c, size_t i, F&& f, Parts&... parts) {
  if constexpr (kHasEdges<S>) {
    if (IsEdge(c, i)) return f(parts.edges[i == 0 ? 0 : 1]...);
    return f(parts.layers[i - 1]...);
  } else {
    return f(parts.layers[i]...);
  }
}

template <class S>
struct ModelWeights;

template <Scheme S>
struct ModelWeights<S> : OuterTensors<QuantizedMatrix<typename EmbeddingWeightOf<S>::Format>, std::vector<float>,
                                      QuantizedMatrix<typename S::HeadWeight::Format>> {
  using Embedding = QuantizedMatrix<typename EmbeddingWeightOf<S>::Format>;
  using Head = QuantizedMatrix<typename S::HeadWeight::Format>;

  ModelConfig config;
  std::vector<LayerWeights<S>> layers;
  std::vector<LayerWeights<EdgeOf<S>>> edges;  // where the scheme has an Edge: the first and the last layer

  // As ForEachTensor sees it.
  static constexpr bool kHasEdges = bitnet::kHasEdges<S>;
  ModelWeights& outer() { return *this; }
  const ModelWeights& outer() const { return *this; }
  LayerWeights<S>& layer(size_t i) { return layers[i - (kHasEdges ? 1 : 0)]; }
  const LayerWeights<S>& layer(size_t i) const { return layers[i - (kHasEdges ? 1 : 0)]; }
  LayerWeights<EdgeOf<S>>& edge(size_t i) { return edges[i == 0 ? 0 : 1]; }
  const LayerWeights<EdgeOf<S>>& edge(size_t i) const { return edges[i == 0 ? 0 : 1]; }

  // Quantizes latent weights by the scheme.
  static ModelWeights Quantize(const LatentWeights& latent) {
    ModelWeights model;
    const ModelConfig& c = model.config = latent.config();
    model.layers.resize(ElementCount<LayerWeights<S>>(InnerCount<S>(c)));
    model.edges.resize(EdgeCount<S>(c));
    const auto quantize = [](auto tensor, std::span<const float> from, auto& to) {
      if constexpr (tensor.kRole == TensorRole::kGain) {
        to.assign(from.begin(), from.end());
      } else {
        to = std::remove_reference_t<decltype(to)>::template Quantize<QuantizerAt<S, tensor.kRole, tensor.kEdge>>(
            MatrixView<const float>(from.data(), tensor.rows, tensor.cols));
      }
    };
    ForEachTensor(c, quantize, latent, model);
    return model;
  }
};

// Of what is no scheme.
template <class S>
struct ModelWeights : ModelWeights<A48> {
  static_assert(sizeof(detail::SchemeSentence<S>) > 0);
};

}  // namespace bitnet

#endif  // BITNET_MODEL_WEIGHTS_H_
