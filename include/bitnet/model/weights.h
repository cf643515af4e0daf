// The weights of a model: LatentWeights in float, as training keeps them, and ModelWeights<Scheme>, quantized in
// canonical form, as files and inference keep them. ModelWeights<S>::Quantize(latent) is the export.
#ifndef BITNET_MODEL_WEIGHTS_H_
#define BITNET_MODEL_WEIGHTS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "bitnet/base/random.h"
#include "bitnet/base/size.h"
#include "bitnet/model/config.h"
#include "bitnet/scheme/scheme.h"
#include "bitnet/tensor/quantized_matrix.h"

namespace bitnet {

// Matrices are [outputs, inputs], row by row. Gains of the sub-layer norms are empty where the model has none.
struct LatentLayer {
  std::vector<float> attn_norm, q, k, v, o, attn_sub_norm;
  std::vector<float> ffn_norm, gate, up, down, ffn_sub_norm;
};

struct LatentWeights {
  ModelConfig config;
  bool sub_layer_norms = false;
  std::vector<float> embedding;  // [vocab, hidden]
  std::vector<LatentLayer> layers;
  std::vector<float> final_norm;
  std::vector<float> head;  // [vocab, hidden]; empty where tied

  // All tensors of their right sizes, zero. The configuration must be valid.
  static LatentWeights Zeros(const ModelConfig& config, bool sub_layer_norms = false) {
    BITNET_ASSERT(config.Validate().ok(), "LatentWeights: the configuration is not valid: see ModelConfig::Validate");
    LatentWeights w;
    w.config = config;
    w.sub_layer_norms = sub_layer_norms;
    w.layers.resize(ElementCount<LatentLayer>(config.layers));
    w.ForEach([](const std::string&, std::vector<float>& values, size_t rows, size_t cols) {
      values.assign(ElementCount<float>(rows, cols), 0.0f);
    });
    return w;
  }

  // Matrices normal(0, deviation), gains 1.
  template <class Generator>
  static LatentWeights Initial(const ModelConfig& config, bool sub_layer_norms, Generator& generator,
                               float deviation = 0.02f) {
    LatentWeights w = Zeros(config, sub_layer_norms);
    w.ForEach([&](const std::string& name, std::vector<float>& values, size_t, size_t) {
      for (float& v : values) v = IsGain(name) ? 1.0f : deviation * Normal(generator);
    });
    return w;
  }

  // How many values all tensors have, if that fits size_t. The configuration must be valid; takes no memory to speak
  // of.
  static std::optional<size_t> Count(const ModelConfig& config, bool sub_layer_norms) {
    LatentWeights w;
    w.config = config;
    w.sub_layer_norms = sub_layer_norms;
    const auto count = [&](size_t layer_count) {
      w.layers.resize(layer_count);
      std::optional<size_t> sum = 0;
      w.ForEach([&](const std::string&, const std::vector<float>&, size_t rows, size_t cols) {
        sum = CheckedSum(sum, CheckedProduct(rows, cols));
      });
      return sum;
    };
    const std::optional<size_t> outside = count(0), with_one = count(1);
    if (!outside || !with_one) return std::nullopt;
    return CheckedSum(outside, CheckedProduct(size_t{config.layers}, *with_one - *outside));
  }

  // Whether ForEach's name is that of a norm's gain: a row of values, initially 1.
  static bool IsGain(const std::string& name) { return name.ends_with("norm"); }

  // f(name, values, rows, cols) for every tensor that the model has, always in the same order.
  template <class F>
  void ForEach(F&& f) {
    Visit(*this, f);
  }
  template <class F>
  void ForEach(F&& f) const {
    Visit(*this, f);
  }

 private:
  template <class Self, class F>
  static void Visit(Self& w, F& f) {
    const ModelConfig& c = w.config;
    const auto visit = [&](const std::string& name, auto& values, size_t rows, size_t cols) {
      f(name, values, rows, cols);
    };
    visit("embedding", w.embedding, c.vocab, c.hidden);
    for (size_t i = 0; i < w.layers.size(); ++i) {
      auto& l = w.layers[i];
      const std::string at = "layer" + std::to_string(i) + ".";
      visit(at + "attn_norm", l.attn_norm, 1, c.hidden);
      visit(at + "q", l.q, c.query_width(), c.hidden);
      visit(at + "k", l.k, c.kv_width(), c.hidden);
      visit(at + "v", l.v, c.kv_width(), c.hidden);
      visit(at + "o", l.o, c.hidden, c.query_width());
      if (w.sub_layer_norms) visit(at + "attn_sub_norm", l.attn_sub_norm, 1, c.query_width());
      visit(at + "ffn_norm", l.ffn_norm, 1, c.hidden);
      visit(at + "gate", l.gate, c.ffn, c.hidden);
      visit(at + "up", l.up, c.ffn, c.hidden);
      visit(at + "down", l.down, c.hidden, c.ffn);
      if (w.sub_layer_norms) visit(at + "ffn_sub_norm", l.ffn_sub_norm, 1, c.ffn);
    }
    visit("final_norm", w.final_norm, 1, c.hidden);
    if (!c.tied_embedding) visit("head", w.head, c.vocab, c.hidden);
  }
};

template <Scheme S>
struct LayerWeights {
  using Projection = QuantizedMatrix<typename S::Weight::Format>;
  std::vector<float> attn_norm, attn_sub_norm, ffn_norm, ffn_sub_norm;
  Projection q, k, v, o, gate, up, down;
};

template <class S>
struct ModelWeights;

template <Scheme S>
struct ModelWeights<S> {
  using Head = QuantizedMatrix<typename S::HeadWeight::Format>;

  ModelConfig config;
  Head embedding;
  std::vector<LayerWeights<S>> layers;
  std::vector<float> final_norm;
  Head head;  // no rows where tied

  // Quantizes latent weights by the scheme. The latent weights must have sub-layer norms if and only if S has.
  static ModelWeights Quantize(const LatentWeights& latent) {
    BITNET_ASSERT(latent.sub_layer_norms == S::kSubLayerNorms,
                  "ModelWeights: weights and scheme must agree about sub-layer norms");
    const ModelConfig& c = latent.config;
    const auto projection = [](const std::vector<float>& w, size_t rows, size_t cols) {
      return LayerWeights<S>::Projection::template Quantize<typename S::Weight>(
          MatrixView<const float>(w.data(), rows, cols));
    };
    const auto head = [](const std::vector<float>& w, size_t rows, size_t cols) {
      return Head::template Quantize<typename S::HeadWeight>(MatrixView<const float>(w.data(), rows, cols));
    };
    ModelWeights model;
    model.config = c;
    model.embedding = head(latent.embedding, c.vocab, c.hidden);
    if (!c.tied_embedding) model.head = head(latent.head, c.vocab, c.hidden);
    model.final_norm = latent.final_norm;
    for (const LatentLayer& from : latent.layers) {
      LayerWeights<S>& to = model.layers.emplace_back();
      to.attn_norm = from.attn_norm;
      to.q = projection(from.q, c.query_width(), c.hidden);
      to.k = projection(from.k, c.kv_width(), c.hidden);
      to.v = projection(from.v, c.kv_width(), c.hidden);
      to.o = projection(from.o, c.hidden, c.query_width());
      to.attn_sub_norm = from.attn_sub_norm;
      to.ffn_norm = from.ffn_norm;
      to.gate = projection(from.gate, c.ffn, c.hidden);
      to.up = projection(from.up, c.ffn, c.hidden);
      to.down = projection(from.down, c.hidden, c.ffn);
      to.ffn_sub_norm = from.ffn_sub_norm;
    }
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
