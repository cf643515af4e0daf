// Transformer<Scheme>: a decoder-only model that reads packed weights.
//
//   Transformer<A48> model(weights);                 // ModelWeights<A48>, prepared for this CPU
//   auto state = model.NewState(2048);               // cache and buffers of one conversation
//   auto logits = model.Forward(prompt, state);      // prefill: logits after the last token
//   logits = model.Forward({&token, 1}, state);      // decode
//
// A prefill of n tokens gives the bits of n decodes. Decoding allocates nothing after the first token of a state in a
// thread (each thread keeps a small buffer of its own). Several threads may use one model, each with its own state.
// Where memory ends std::bad_alloc leaves (base/result.h): the state is as it was, and the call may be made again.
#ifndef BITNET_MODEL_TRANSFORMER_H_
#define BITNET_MODEL_TRANSFORMER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/base/size.h"
#include "bitnet/layer/decoder_layer.h"
#include "bitnet/model/check_scheme.h"
#include "bitnet/model/config.h"
#include "bitnet/model/weights.h"

namespace bitnet {

// A token's number in the vocabulary.
using Token = uint32_t;

// Bytes that a prepared model takes.
struct ModelBytes {
  size_t projections = 0;  // Q, K, V, O, gate, up, down of all layers
  size_t embedding = 0;    // token embedding and output head; once if they are tied
  size_t norms = 0;
};

template <class S, class B = DefaultBackend<S>>
class Transformer;

template <Scheme S, class B>
class Transformer<S, B> {
 public:
  // What one conversation needs: cache, buffers, its length so far.
  class State {
   public:
    State() = default;
    State(const State&) = default;
    State(State&&) noexcept = default;
    // Where memory ends, what is assigned to stays as it was.
    State& operator=(const State& other) {
      State copy(other);
      return *this = std::move(copy);
    }
    State& operator=(State&&) noexcept = default;

    // Tokens seen: the position of the next one.
    size_t length() const { return length_; }
    size_t max_tokens() const { return max_tokens_; }
    // Forgets all tokens, or those from `length` on. The memory stays.
    void Truncate(size_t length) { length_ = std::min(length, length_); }

    // The length and the counts at some moment, to go back to from a longer state of the same conversation.
    struct Mark {
      size_t length = 0;
      std::vector<WeightUse> use;
    };
    Mark Here() const { return {length_, use_}; }
    void GoBack(const Mark& mark) {
      BITNET_ASSERT(mark.use.size() == use_.size(), "State::GoBack: the mark is of another model's state");
      Truncate(mark.length);
      std::copy(mark.use.begin(), mark.use.end(), use_.begin());
    }

    // Bytes of cache that a token (after the first) takes in all layers.
    size_t CacheBytesPerToken() const {
      size_t bytes = 0;
      for (const KvCache<S>& cache : caches_) bytes += cache.BytesPerToken();
      return bytes;
    }
    size_t CacheBytes() const {
      size_t bytes = 0;
      for (const KvCache<S>& cache : caches_) bytes += cache.StoredBytes();
      return bytes;
    }

    // Counting which weights each token uses costs a little; off unless asked for.
    void CountWeights(bool on) { counting_ = on; }
    // Counts so far, for each layer.
    std::span<const WeightUse> weight_use() const { return use_; }
    WeightUse TotalWeightUse() const {
      WeightUse total;
      for (const WeightUse& layer : use_) total += layer;
      return total;
    }

   private:
    friend class Transformer;
    std::vector<KvCache<S>> caches_;
    std::vector<WeightUse> use_, use_of_call_;
    LayerBuffers<S> buffers_;
    RopeAngles angles_;
    GrowingMatrix hidden_, normed_, logits_;
    QuantizedTokens<typename S::HeadInput::Format> head_input_;
    size_t length_ = 0;
    size_t max_tokens_ = 0;
    bool counting_ = false;
  };

  // The weights need not outlive the call. Their configuration must be valid.
  explicit Transformer(const ModelWeights<S>& weights, B backend = B())
      : backend_(std::move(backend)),
        config_(weights.config),
        rope_(config_.head_dim, config_.rope_base),
        final_norm_(weights.final_norm, config_.rms_eps),
        embedding_(weights.embedding, backend_) {
    BITNET_ASSERT(config_.Validate().ok(), "Transformer: the configuration is not valid: see ModelConfig::Validate");
    BITNET_ASSERT(CheckScheme<S>(config_).ok(), "Transformer: sums of the scheme do not fit 32 bits: see CheckScheme");
    BITNET_ASSERT(weights.layers.size() == config_.layers,
                  "Transformer: the weights must have as many layers as their configuration says");
    const auto is_head = [&](const auto& matrix) {
      return matrix.rows() == config_.vocab && matrix.cols() == config_.hidden;
    };
    BITNET_ASSERT(is_head(weights.embedding) && (config_.tied_embedding || is_head(weights.head)) &&
                      weights.final_norm.size() == config_.hidden,
                  "Transformer: embedding, head and final_norm must have the configuration's shape: see CheckModel");
    if (!config_.tied_embedding) head_ = Head(weights.head, backend_);
    for (const LayerWeights<S>& w : weights.layers) AddLayer(w);
  }

  // Of other weights: says so.
  template <class W>
  requires(!std::is_convertible_v<const W&, const ModelWeights<S>&> &&
           !std::is_base_of_v<Transformer, W>) explicit Transformer(const W&, B = B()) {
    static_assert(
        !std::is_same_v<W, W>,
        "bitnet: Transformer<S> is made of ModelWeights<S> with the same S: of ModelWeights<S>::From(latent), "
        "or of what LoadModel<S>(path) holds if it is ok()");
  }

  const ModelConfig& config() const { return config_; }

  // A state for up to max_tokens tokens; at most config().max_positions. Takes the memory of its cache, CacheBytes().
  State NewState(size_t max_tokens) const {
    State state;
    state.max_tokens_ = std::min<size_t>(max_tokens, config_.max_positions);
    for (size_t i = 0; i < layers_.size(); ++i) {
      state.caches_.emplace_back(config_.kv_heads, config_.head_dim, state.max_tokens_);
    }
    state.use_.resize(layers_.size());
    state.use_of_call_.resize(layers_.size());
    return state;
  }
  // For as many as the model allows, but no more than kDefaultMaxTokens: max_positions may be a stranger's number, and
  // a small file can state one whose cache no machine has memory for.
  State NewState() const { return NewState(kDefaultMaxTokens); }
  static constexpr size_t kDefaultMaxTokens = 4096;

  // State::CacheBytes() of NewState(max_tokens), to ask before; nothing if that does not fit size_t.
  std::optional<size_t> CacheBytes(size_t max_tokens) const {
    const size_t tokens = std::min<size_t>(max_tokens, config_.max_positions);
    return CheckedProduct(std::optional(layers_.size()),
                          KvCache<S>::StoredBytes(config_.kv_heads, config_.head_dim, tokens));
  }

  // Appends tokens and returns the logits [vocab] that follow the last of them; they live until the next call. Refuses,
  // leaving the state as it was, no tokens, a token outside the vocabulary, and more tokens than the state has room
  // for.
  Result<std::span<const float>> Forward(std::span<const Token> tokens, State& state) const {
    const Result<MatrixView<const float>> logits = Run(tokens, state, false);
    if (!logits.ok()) return Error{logits.error()};
    return logits.value()[0];
  }

  // The same, with the logits [tokens, vocab] after each token: what perplexity needs.
  Result<MatrixView<const float>> ForwardAll(std::span<const Token> tokens, State& state) const {
    return Run(tokens, state, true);
  }

  // Appends tokens and returns what the output head reads, after the final norm: [tokens, hidden].
  Result<MatrixView<const float>> Hidden(std::span<const Token> tokens, State& state) const {
    if (Result<Done> checked = Check(tokens, state); !checked.ok()) return Error{checked.error()};
    const MatrixView<float> normed = state.normed_.Shape(tokens.size(), config_.hidden);
    RunChunks(tokens, state,
              [&](size_t first, MatrixView<float> x) { final_norm_(backend_, x, normed.Rows(first, x.rows())); });
    return MatrixView<const float>(normed);
  }

  ModelBytes Bytes() const {
    ModelBytes bytes;
    bytes.embedding = embedding_.matrix().StoredBytes();
    if (!config_.tied_embedding) bytes.embedding += head_.matrix().StoredBytes();
    bytes.norms = final_norm_.width() * sizeof(float);
    for (const DecoderLayer<S, B>& layer : layers_) {
      bytes.projections += layer.WeightBytes();
      bytes.norms += layer.NormBytes();
    }
    return bytes;
  }

 private:
  using Head = BitLinear<typename S::HeadWeight, typename S::HeadInput, B>;

  // Prefill runs this many tokens at a time, which bounds the buffers.
  static constexpr size_t kChunk = 256;

  void AddLayer(const LayerWeights<S>& w) {
    const float eps = config_.rms_eps;
    layers_.emplace_back(
        RmsNorm(w.attn_norm, eps),
        [&] {
          return Attention<S, B>(w.q, w.k, w.v, w.o, RmsNorm(w.attn_sub_norm, eps), config_.heads, config_.kv_heads,
                                 backend_);
        },
        RmsNorm(w.ffn_norm, eps),
        [&] { return SparseFfn<S, B>(w.gate, w.up, w.down, RmsNorm(w.ffn_sub_norm, eps), backend_); });
  }

  Result<Done> Check(std::span<const Token> tokens, const State& state) const {
    // (A state that NewState did not make has no room: it is refused below.)
    BITNET_ASSERT(state.max_tokens_ == 0 ||
                      (state.caches_.size() == layers_.size() && state.max_tokens_ <= config_.max_positions),
                  "Transformer: the state is another model's; make it with NewState");
    if (tokens.empty()) return Error{"no tokens were given: at least one is needed"};
    if (tokens.size() > state.max_tokens_ - state.length_) {
      return Error{"position overflow: " + std::to_string(state.length_) + " tokens are in the cache and " +
                   std::to_string(tokens.size()) + " were given; this state has room for " +
                   std::to_string(state.max_tokens_) + " (the model allows " + std::to_string(config_.max_positions) +
                   ")"};
    }
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] >= config_.vocab) {
        return Error{"token " + std::to_string(i) + " of the input is " + std::to_string(tokens[i]) +
                     "; the vocabulary has " + std::to_string(config_.vocab)};
      }
    }
    return Done{};
  }

  Result<MatrixView<const float>> Run(std::span<const Token> tokens, State& state, bool all) const {
    if (Result<Done> checked = Check(tokens, state); !checked.ok()) return Error{checked.error()};
    const MatrixView<float> logits = state.logits_.Shape(all ? tokens.size() : 1, config_.vocab);
    const Head& head = config_.tied_embedding ? embedding_ : head_;
    RunChunks(tokens, state, [&](size_t first, MatrixView<float> x) {
      if (!all && first + x.rows() < tokens.size()) return;
      const MatrixView<float> last = all ? x : x.Rows(x.rows() - 1, 1);
      const MatrixView<float> normed = state.normed_.Shape(last.rows(), config_.hidden);
      final_norm_(backend_, last, normed);
      backend_.template Quantize<typename S::HeadInput>(normed, state.head_input_);
      head.PrepareInputs(state.head_input_);
      head.Apply(state.head_input_, all ? logits.Rows(first, x.rows()) : logits);
    });
    return MatrixView<const float>(logits);
  }

  // Runs all layers, at most kChunk tokens at a time; f(the first token's index, x of the last layer) for each run. The
  // tokens, and what they counted, are the state's when all is done: whatever throws before leaves it as it was. (What
  // the caches hold behind length() is nobody's.)
  template <class F>
  void RunChunks(std::span<const Token> tokens, State& state, F&& f) const {
    std::fill(state.use_of_call_.begin(), state.use_of_call_.end(), WeightUse());
    for (size_t first = 0; first < tokens.size(); first += kChunk) {
      const size_t count = std::min(kChunk, tokens.size() - first);
      f(first, RunLayers(tokens.subspan(first, count), state.length_ + first, state));
    }
    state.length_ += tokens.size();
    for (size_t i = 0; i < layers_.size(); ++i) state.use_[i] += state.use_of_call_[i];
  }

  // Runs all layers on at most kChunk tokens, which stand at `position` and after.
  MatrixView<float> RunLayers(std::span<const Token> tokens, size_t position, State& state) const {
    const MatrixView<float> x = state.hidden_.Shape(tokens.size(), config_.hidden);
    for (size_t t = 0; t < tokens.size(); ++t) backend_.DequantizeRow(embedding_.matrix(), tokens[t], x[t]);
    state.angles_.Compute(rope_, position, tokens.size());
    for (size_t i = 0; i < layers_.size(); ++i) {
      layers_[i](backend_, x, state.angles_, position, state.caches_[i], state.buffers_,
                 state.counting_ ? &state.use_of_call_[i] : nullptr);
    }
    return x;
  }

  B backend_;
  ModelConfig config_;
  Rope rope_;
  RmsNorm final_norm_;
  Head embedding_;  // its rows are the token embeddings; the output head too, where tied
  Head head_;
  std::deque<DecoderLayer<S, B>> layers_;  // a deque never moves them
};

// Of what is no scheme.
template <class S, class B>
class Transformer : public Transformer<A48, B> {
  static_assert(sizeof(detail::SchemeSentence<S>) > 0);
  using Transformer<A48, B>::Transformer;
};

template <class S, class B = DefaultBackend<S>>
Transformer(const ModelWeights<S>&, B = B()) -> Transformer<S, B>;

}  // namespace bitnet

#endif  // BITNET_MODEL_TRANSFORMER_H_
