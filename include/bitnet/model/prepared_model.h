// PreparedModel<S, B>: a model whose matrices a backend has prepared, tensor by tensor, before there is a Transformer:
// what a loader fills that never has all weights in canonical form at once. With Erased<B> each matrix is of whatever
// format it was prepared from (io/any_model.h).
#ifndef BITNET_MODEL_PREPARED_MODEL_H_
#define BITNET_MODEL_PREPARED_MODEL_H_

#include <type_traits>
#include <vector>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/uses.h"
#include "bitnet/layer/attention.h"
#include "bitnet/layer/sparse_ffn.h"
#include "bitnet/model/config.h"
#include "bitnet/model/tensors.h"
#include "bitnet/model/weights.h"
#include "bitnet/scheme/scheme.h"
#include "bitnet/tensor/operand.h"

namespace bitnet {

// The members are those of LayerTensors, as ForEachTensorOfLayer visits them. Gains of norms that the model has not
// are empty.
template <Scheme S, Backend B>
struct PreparedLayer {
  std::vector<float> attn_norm;
  typename Attention<S, B>::Matrix q, k, v;
  typename Attention<S, B>::OutputMatrix o;
  std::vector<float> q_norm, k_norm;
  std::vector<float> attn_sub_norm;
  std::vector<float> ffn_norm;
  typename SparseFfn<S, B>::GateMatrix gate;
  typename SparseFfn<S, B>::UpMatrix up;
  typename SparseFfn<S, B>::DownMatrix down;
  std::vector<float> ffn_sub_norm;

  static PreparedLayer Prepare(const LayerWeights<S>& w, const B& backend) {
    using Attend = Attention<S, B>;
    using Ffn = SparseFfn<S, B>;
    return {w.attn_norm,
            Attend::Prepare(w.q, backend),
            Attend::Prepare(w.k, backend),
            Attend::Prepare(w.v, backend),
            Attend::PrepareOutput(w.o, backend),
            w.q_norm,
            w.k_norm,
            w.attn_sub_norm,
            w.ffn_norm,
            Ffn::PrepareGate(w.gate, backend),
            Ffn::PrepareUp(w.up, backend),
            Ffn::PrepareDown(w.down, backend),
            w.ffn_sub_norm};
  }
};

template <Scheme S, Backend B>
struct PreparedModel {
  // The head's rows are the token embeddings too, where tied.
  using HeadUses = std::conditional_t<kMayTieEmbedding<S>, Uses<Dense, RowLookup>, Uses<Dense>>;
  using Head =
      typename B::template Matrix<OperandOf<typename S::HeadWeight>, OperandOf<typename S::HeadInput>, HeadUses>;
  using Embedding =
      typename B::template Matrix<OperandOf<EmbeddingWeightOf<S>>, OperandOf<typename S::HeadInput>, Uses<RowLookup>>;

  ModelConfig config;
  Embedding embedding;  // empty where tied
  std::vector<float> final_norm;
  Head head;
  std::vector<PreparedLayer<S, B>> layers;
  std::vector<PreparedLayer<EdgeOf<S>, B>> edges;  // where the scheme has an Edge: the first and the last layer

  // A model of so many layers, without their tensors. The configuration must be valid.
  static PreparedModel Empty(const ModelConfig& config) {
    PreparedModel model;
    model.config = config;
    model.layers.resize(InnerCount<S>(config));
    model.edges.resize(EdgeCount<S>(config));
    return model;
  }
  static PreparedModel Prepare(const ModelWeights<S>& weights, const B& backend) {
    PreparedModel model;
    model.config = weights.config;
    model.TakeEmbedding(weights, backend);
    for (const auto& w : weights.layers) model.layers.push_back(PreparedLayer<S, B>::Prepare(w, backend));
    for (const auto& w : weights.edges) model.edges.push_back(PreparedLayer<EdgeOf<S>, B>::Prepare(w, backend));
    model.TakeHead(weights, backend);
    return model;
  }

  // What stands before the layers of the weights, and after them; `config` comes first.
  void TakeEmbedding(const ModelWeights<S>& weights, const B& backend) {
    // (Where they may not be tied CheckScheme has refused that.)
    if constexpr (kMayTieEmbedding<S>) {
      if (config.tied_embedding) {
        head = PrepareHead(weights.embedding, backend);
        return;
      }
    }
    embedding = backend.template PrepareMatrix<OperandOf<EmbeddingWeightOf<S>>, OperandOf<typename S::HeadInput>,
                                               Uses<RowLookup>>(weights.embedding);
  }
  void TakeHead(const ModelWeights<S>& weights, const B& backend) {
    final_norm = weights.final_norm;
    if (!config.tied_embedding) head = PrepareHead(weights.head, backend);
  }

 private:
  static Head PrepareHead(const typename ModelWeights<S>::Head& weights, const B& backend) {
    return backend
        .template PrepareMatrix<OperandOf<typename S::HeadWeight>, OperandOf<typename S::HeadInput>, HeadUses>(weights);
  }
};

}  // namespace bitnet

#endif  // BITNET_MODEL_PREPARED_MODEL_H_
