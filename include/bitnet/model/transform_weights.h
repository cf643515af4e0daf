// TransformWeights<S>(latent): weights that were trained for inputs as they are, made those of a scheme S whose inputs
// are Transformed. The model stays what it was, but for rounding; quantized, it may lose less.
#ifndef BITNET_MODEL_TRANSFORM_WEIGHTS_H_
#define BITNET_MODEL_TRANSFORM_WEIGHTS_H_

#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include "bitnet/model/weights.h"
#include "bitnet/quant/transform.h"
#include "bitnet/scheme/scheme.h"

namespace bitnet {

// W T^T of every matrix W whose input S transforms by T: each row w becomes T w. Heads need nothing: what their
// transforms do, layers undo. Where the output head's input is transformed and the head was the embedding, which
// nothing transforms, it becomes a matrix of its own. (Not for weights trained with S: those are S's already.)
template <Scheme S>
LatentWeights TransformWeights(LatentWeights w) {
  const auto transform = []<class Q>(std::type_identity<Q>, std::span<float> matrix, size_t cols) {
    if constexpr (!kTransformsNothing<Q>) {
      for (size_t begin = 0; begin < matrix.size(); begin += cols) TransformOf<Q>::Apply(matrix.subspan(begin, cols));
    }
  };
  for (LatentLayer& layer : w.layers) {
    for (const std::span<float> matrix :
         {std::span(layer.q), std::span(layer.k), std::span(layer.v), std::span(layer.gate), std::span(layer.up)}) {
      transform(std::type_identity<typename S::Input>(), matrix, w.config.hidden);
    }
    transform(std::type_identity<typename S::OutputInput>(), layer.o, w.config.query_width());
    transform(std::type_identity<typename S::DownInput>(), layer.down, w.config.ffn);
  }
  if constexpr (!kTransformsNothing<typename S::HeadInput>) {
    if (std::exchange(w.config.tied_embedding, false)) w.head = w.embedding;
    transform(std::type_identity<typename S::HeadInput>(), w.head, w.config.hidden);
  }
  return w;
}

}  // namespace bitnet

#endif  // BITNET_MODEL_TRANSFORM_WEIGHTS_H_
