// MapModel<S>: a packed model file of this library (SaveModel) as a Transformer, from a mapping of the file: a layer is
// read, prepared and dropped after the other, so that beside what is prepared the weights of one layer are held, or the
// embedding. (LoadModel holds the file and all weights in canonical form.) What is refused, and with what sentence, is
// what LoadModel refuses.
//
//   Result<Transformer<A48>> model = MapModel<A48>("model.bitnet");
#ifndef BITNET_IO_MAP_MODEL_H_
#define BITNET_IO_MAP_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/default_backend.h"
#include "bitnet/base/bytes.h"
#include "bitnet/base/file.h"
#include "bitnet/base/result.h"
#include "bitnet/io/mapped_file.h"
#include "bitnet/model/model_file.h"
#include "bitnet/model/prepared_model.h"
#include "bitnet/model/tensors.h"
#include "bitnet/model/transformer.h"
#include "bitnet/model/weights.h"
#include "bitnet/scheme/scheme.h"

namespace bitnet {

template <Scheme S, Backend B = DefaultBackend<S>>
Result<Transformer<S, B>> MapModel(const std::string& path, B backend = B(), const ReadLimits& limits = {}) {
  const Result<MappedFile> file = MappedFile::Open(path, FileAccess::kMap, limits);
  if (!file.ok()) return Error{file.error()};
  const Result<std::span<const uint8_t>> payload = OpenSeal(file->bytes(), path, kModelFile);
  if (!payload.ok()) return Error{payload.error()};

  ModelReader<S> reader(*payload);
  PreparedModel<S, B> model;
  model.config = reader.config();
  // Gives back what was read since the last time.
  auto release = [&, begin = size_t{0}]() mutable {
    file->Release(begin, kSealHeaderBytes + reader.position() - begin);
    begin = kSealHeaderBytes + reader.position();
  };
  {
    ModelWeights<S> weights;
    reader.BeforeLayers(weights);
    if (reader.ok()) model.TakeEmbedding(weights, backend);
    release();
  }
  const auto read_layer = [&]<class L>(auto& to, L layer, auto&& read) {
    read(layer);
    if (reader.ok()) to.push_back(std::remove_reference_t<decltype(to)>::value_type::Prepare(layer, backend));
    release();
  };
  for (size_t i = 0; i < model.config.layers && reader.ok(); ++i) {
    if constexpr (kHasEdges<S>) {
      if (IsEdge(model.config, i)) {
        read_layer(model.edges, LayerWeights<EdgeOf<S>>(), [&](auto& layer) { reader.Edge(i, layer); });
        continue;
      }
    }
    read_layer(model.layers, LayerWeights<S>(), [&](auto& layer) { reader.Layer(i, layer); });
  }
  ModelWeights<S> weights;
  reader.AfterLayers(weights);
  if (!reader.ok()) return Error{path + ": " + reader.error()};
  model.TakeHead(weights, backend);
  return Transformer<S, B>(std::move(model), std::move(backend));
}

}  // namespace bitnet

#endif  // BITNET_IO_MAP_MODEL_H_
