// TransformWeights<S>(latent): weights that were trained for inputs as they are, made those of a scheme S whose inputs
// are Transformed. The model stays what it was, but for rounding; quantized, it may lose less.
#ifndef BITNET_MODEL_TRANSFORM_WEIGHTS_H_
#define BITNET_MODEL_TRANSFORM_WEIGHTS_H_

#include <algorithm>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include "bitnet/model/tensors.h"
#include "bitnet/model/weights.h"
#include "bitnet/quant/transform.h"
#include "bitnet/scheme/scheme.h"

namespace bitnet {

// W T^T of every matrix W whose input S transforms by T: each row w becomes T w. Heads need nothing: what their
// transforms do, layers undo. Where the output head's input is transformed and the head was the embedding, which
// nothing transforms, it becomes a matrix of its own. (Not for weights trained with S: those are S's already.)
template <Scheme S>
LatentWeights TransformWeights(const LatentWeights& from) {
  constexpr bool kTransformsHead = !kTransformsNothing<typename S::HeadInput>;
  ModelConfig config = from.config();
  const bool unties = kTransformsHead && std::exchange(config.tied_embedding, false);
  LatentWeights w = LatentWeights::Zeros(config);
  const auto copy = [](std::span<const float> values, std::span<float> to) {
    std::copy(values.begin(), values.end(), to.begin());
  };
  ForEachTensor(
      from.config(), [&](const TensorInfo&, std::span<const float> values, std::span<float> to) { copy(values, to); },
      from, w);
  if (unties) copy(from.embedding(), w.head());

  const auto transform = []<class Q>(std::type_identity<Q>, std::span<float> matrix, size_t cols) {
    if constexpr (!kTransformsNothing<Q>) {
      for (size_t begin = 0; begin < matrix.size(); begin += cols) TransformOf<Q>::Apply(matrix.subspan(begin, cols));
    }
  };
  const auto transform_layer = [&]<class L>(std::type_identity<L>, LatentWeights::Layer<float> layer) {
    for (const std::span<float> matrix : {layer.q, layer.k, layer.v, layer.gate, layer.up}) {
      transform(std::type_identity<typename L::Input>(), matrix, config.hidden);
    }
    transform(std::type_identity<typename L::OutputInput>(), layer.o, config.query_width());
    transform(std::type_identity<typename L::DownInput>(), layer.down, config.ffn);
  };
  for (size_t i = 0; i < config.layers; ++i) {
    if (IsEdge(config, i)) {
      transform_layer(std::type_identity<EdgeOf<S>>(), w.layer(i));
    } else {
      transform_layer(std::type_identity<S>(), w.layer(i));
    }
  }
  transform(std::type_identity<typename S::HeadInput>(), w.head(), config.hidden);
  return w;
}

}  // namespace bitnet

#endif  // BITNET_MODEL_TRANSFORM_WEIGHTS_H_
