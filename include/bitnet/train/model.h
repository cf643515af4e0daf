// TrainingModel<Scheme>: loss and gradients of a batch, for latent weights that the caller keeps.
//
//   TrainingModel<A48> model(config);
//   model.Quantize(weights);                 // once after every change of the weights
//   double loss = model.Forward(batch);
//   model.Backward(batch, gradients);       // adds to them
//
// Where weights and inputs are quantized the forward pass has the bits of inference; Eigen sums products with a float
// operand (the output head's, all of Fp32's) in its own order: docs/numerics.md. Results do not depend on the number of
// threads. Memory: about 5 hidden + 3 ffn + 6 heads * head_dim + heads * length floats a token and layer, and the
// logits of the batch.
#ifndef BITNET_TRAIN_MODEL_H_
#define BITNET_TRAIN_MODEL_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "bitnet/backend/default_backend.h"
#include "bitnet/model/check_scheme.h"
#include "bitnet/train/batch.h"
#include "bitnet/train/check_quantizers.h"
#include "bitnet/train/cross_entropy.h"
#include "bitnet/train/layer.h"

namespace bitnet {

template <class S, class B = DefaultBackend<S>>
class TrainingModel;

template <Scheme S, HostBackend B>
class TrainingModel<S, B> {
 public:
  using SchemeType = S;

  // The configuration must be valid, and the scheme's quantizers element by element: see CheckQuantizers.
  explicit TrainingModel(const ModelConfig& config, B backend = B()) : config_(config), backend_(std::move(backend)) {
    BITNET_ASSERT(config.Validate().ok(), "TrainingModel: the configuration is not valid: see ModelConfig::Validate");
    const Result<Done> fits = CheckScheme<S>(config);
    BITNET_ASSERT(fits.ok(), fits.error().c_str());
    const Result<Done> trainable = CheckQuantizers<S>(config);
    BITNET_ASSERT(trainable.ok(), trainable.error().c_str());
    blocks_.layers = std::vector<TrainingLayer<S, B>>(ElementCount<TrainingLayer<S, B>>(InnerCount<S>(config)));
    blocks_.edges = std::vector<TrainingLayer<EdgeOf<S>, B>>(EdgeCount<S>(config));
    for (auto& layer : blocks_.layers) layer.Resize(config);
    for (auto& layer : blocks_.edges) layer.Resize(config);
    embedding_.template Resize<EmbeddingWeightOf<S>>(config.vocab, config.hidden);
    if (!config.tied_embedding) head_.template Resize<typename S::HeadWeight>(config.vocab, config.hidden);
  }

  const ModelConfig& config() const { return config_; }

  // About what a model takes that has gone forward and back over batches of this shape, steps of weights and what
  // threads keep left out; nothing if it does not fit size_t. The configuration must be valid.
  static std::optional<size_t> Bytes(const ModelConfig& c, size_t sequences, size_t length) {
    const auto operands = CheckedProduct(LatentWeights::Count(c), std::optional(2 * sizeof(float)));
    const auto layer =
        CheckedSum(LayerActivations::Bytes(c, sequences, length), std::optional(sizeof(TrainingLayer<S, B>)));
    // normed_, head_input_, dx_ and a residual for each layer and one more; logits_; layer_gradients_.
    const auto of_token =
        CheckedSum(CheckedProduct(size_t{c.layers} + 5, c.hidden),
                   std::optional(size_t{c.vocab} + 2 * size_t{c.query_width()} + 2 * size_t{c.kv_width()}));
    return CheckedSum(operands, CheckedProduct(std::optional(size_t{c.layers}), layer),
                      CheckedProduct(of_token, CheckedProduct(sequences, length, sizeof(float))));
  }

  // Quantizes the weights for the passes that follow.
  void Quantize(const LatentWeights& w) {
    CheckWeights(w);
    size_t of_layer = 0;
    ForEachTensorOfLayer(config_, 0, [&](const TensorInfo&) { ++of_layer; });
    const size_t of_layers = config_.layers * of_layer;
    backend_.executor().Run(of_layers + 1, [&](size_t task) {
      if (task < of_layers) {
        const size_t i = task / of_layer;
        const auto quantize = [&](auto& layer) { layer.Quantize(backend_, config_, w.layer(i), task % of_layer); };
        AtLayer<S>(config_, i, quantize, blocks_);
        return;
      }
      const LatentWeights::Outer<const float> outer = w.outer();
      using H = typename S::HeadWeight;
      QuantizeWeights<EmbeddingWeightOf<S>>(backend_, outer.embedding, 0, config_.vocab, embedding_);
      if (!config_.tied_embedding) QuantizeWeights<H>(backend_, outer.head, 0, config_.vocab, head_);
      final_norm_ = backend_.PrepareVector(outer.final_norm);
    });
  }

  // The mean loss over the tokens of the batch, of the weights that Quantize has seen; of a share its part of the mean,
  // so that the shares of a batch add up to its loss. With kGradients, keeps what
  // Backward needs; without, logits() are valid after it.
  template <bool kGradients = true>
  double Forward(const TokenBatch& batch) {
    CheckBatch(batch);
    const size_t tokens = batch.tokens(), of = batch.tokens_of_whole();
    dims_ = {batch.sequences, batch.length, config_.heads, config_.kv_heads, config_.head_dim};
    can_go_back_ = false;
    if (angles_for_ != batch.length) {
      angles_.Compute(config_.MakeRope(), batch.length);
      angles_for_ = batch.length;
    }
    residuals_.resize(size_t{config_.layers} + 1);
    for (FloatMatrix& residual : residuals_) residual.Resize(tokens, config_.hidden);
    activations_.resize(kGradients ? size_t{config_.layers} : std::max<size_t>(activations_.size(), 1));

    ForTiles(backend_.executor(), tokens, kTile, [&](size_t, size_t begin, size_t end) {
      for (size_t t = begin; t < end; ++t) {
        const auto row = embedding_.values[batch.inputs[t]];
        std::copy(row.begin(), row.end(), residuals_[0].Row(t));
      }
    });
    for (size_t i = 0; i < config_.layers; ++i) {
      LayerActivations& a = activations_[kGradients ? i : 0];
      a.Resize(config_, batch.sequences, batch.length);
      const auto forward = [&](const auto& layer) {
        layer.Forward(backend_, config_, dims_, angles_, residuals_[i], a, residuals_[i + 1]);
      };
      AtLayer<S>(config_, i, forward, blocks_);
    }

    normed_.Resize(tokens, config_.hidden);
    head_input_.Resize(tokens, config_.hidden);
    logits_.Resize(tokens, config_.vocab);
    losses_.assign((tokens + kTile - 1) / kTile, 0.0);
    ForTiles(backend_.executor(), tokens, kTile, [&](size_t index, size_t begin, size_t end) {
      const auto tile = [&](const auto& m) { return m.Rows(begin, end - begin); };
      thread_local FloatLevels input;
      typename B::Stream stream = backend_.NewStream();
      backend_.RmsNorm(stream, tile(residuals_.back()), final_norm_, config_.rms_eps, tile(normed_));
      QuantizeInputs<typename S::HeadInput>(backend_, tile(normed_), input, tile(head_input_));
      LinearForward<typename S::HeadWeight::Format, typename S::HeadInput::Format>(input, Head().levels, tile(logits_));
      losses_[index] = CrossEntropy(tile(logits_), {batch.targets.data() + begin, end - begin},
                                    kGradients ? 1.0f / static_cast<float>(of) : 0.0f);
    });
    double loss = 0.0;
    for (const double part : losses_) loss += part;
    can_go_back_ = kGradients;
    return loss / static_cast<double>(of);
  }

  // Adds to `gradients` those of the loss that Forward has just returned; once for each Forward.
  void Backward(const TokenBatch& batch, LatentWeights& gradients) {
    BITNET_ASSERT(can_go_back_ && batch.tokens() == logits_.rows(),
                  "TrainingModel::Backward: Forward of this batch, with gradients, must come first");
    can_go_back_ = false;
    CheckWeights(gradients);
    const size_t tokens = batch.tokens();
    const LatentWeights::Outer<float> g = gradients.outer();
    dx_.Resize(tokens, config_.hidden);
    layer_gradients_.Resize(config_, tokens);
    {
      GainSums sums(layer_gradients_.gain_sums, losses_.size(), config_.hidden);
      ForTiles(backend_.executor(), tokens, kTile, [&](size_t index, size_t begin, size_t end) {
        const auto tile = [&](const auto& m) { return m.Rows(begin, end - begin); };
        const MatrixView<float> dx = tile(dx_);
        InputGradient<typename S::HeadInput>(backend_, tile(logits_), Head(), dx);
        RmsNormBackward<false>(tile(residuals_.back()), final_norm_, config_.rms_eps, dx, dx, sums.Of(index));
      });
      sums.AddTo(g.final_norm, 0);
    }
    const std::span<float> dhead = config_.tied_embedding ? g.embedding : g.head;
    const WeightGradient head_gradient = {logits_, head_input_, dhead.data()};
    WeightGradients(backend_.executor(), {&head_gradient, 1});

    for (size_t i = config_.layers; i-- > 0;) {
      const auto backward = [&](const auto& layer) {
        layer.Backward(backend_, config_, dims_, angles_, residuals_[i], activations_[i], dx_, layer_gradients_, dx_,
                       gradients.layer(i));
      };
      AtLayer<S>(config_, i, backward, blocks_);
    }
    // Each task owns some columns of the table, so each sum has the order of the tokens.
    ParallelRanges(backend_.executor(), config_.hidden, 16, 16, [&](size_t begin, size_t end) {
      for (size_t t = 0; t < tokens; ++t) {
        float* row = g.embedding.data() + size_t{batch.inputs[t]} * config_.hidden;
        const float* from = dx_.Row(t);
        for (size_t c = begin; c < end; ++c) row[c] += from[c];
      }
    });
  }

  // Of the last Forward: the residual stream after the last layer, [tokens, hidden] ...
  MatrixView<const float> hidden() const { return residuals_.back(); }
  // ... what the output head reads, before its quantizer (as Transformer::Hidden) ...
  MatrixView<const float> normed() const { return normed_; }
  // ... and the logits [tokens, vocab]; with gradients, those of the logits instead.
  MatrixView<const float> logits() const { return logits_; }

 private:
  const WeightOperand& Head() const { return config_.tied_embedding ? embedding_ : head_; }

  void CheckWeights(const LatentWeights& w) const {
    BITNET_ASSERT(w.config() == config_, "TrainingModel: the weights have another configuration");
  }
  void CheckBatch(const TokenBatch& batch) const {
    BITNET_ASSERT(batch.tokens() > 0 && batch.inputs.size() == batch.tokens() &&
                      batch.targets.size() == batch.tokens() && batch.length <= config_.max_positions,
                  "TrainingModel: a batch holds sequences * length inputs and targets, at most max_positions long");
    uint32_t largest = 0;
    for (const uint32_t token : batch.inputs) largest = std::max(largest, token);
    for (const uint32_t token : batch.targets) largest = std::max(largest, token);
    BITNET_ASSERT(largest < config_.vocab, "TrainingModel: a token of the batch is outside the vocabulary");
  }

  ModelConfig config_;
  B backend_;
  struct {
    std::vector<TrainingLayer<S, B>> layers;
    std::vector<TrainingLayer<EdgeOf<S>, B>> edges;
  } blocks_;
  WeightOperand embedding_, head_;
  typename B::Vector final_norm_;

  AttentionDims dims_;
  TrainingAngles angles_;
  size_t angles_for_ = 0;
  std::vector<FloatMatrix> residuals_;  // before each layer, and after the last
  std::vector<LayerActivations> activations_;
  LayerGradients layer_gradients_;
  FloatMatrix normed_, head_input_, logits_, dx_;
  std::vector<double> losses_;  // one a tile
  bool can_go_back_ = false;    // what Backward uses up is there
};

// Of what is no scheme.
template <class S, class B>
class TrainingModel : public TrainingModel<A48, typename detail::HostBackendOrDefault<B>::type> {
  static_assert(sizeof(detail::SchemeSentence<S>) > 0);
  using TrainingModel<A48, typename detail::HostBackendOrDefault<B>::type>::TrainingModel;
};

}  // namespace bitnet

#endif  // BITNET_TRAIN_MODEL_H_
