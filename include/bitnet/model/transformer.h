// Transformer<Scheme>: a decoder-only model that reads packed weights.
//
//   Transformer<A48> model(weights);                 // ModelWeights<A48>, prepared for this CPU
//   auto state = model.NewState();                   // one conversation: it takes memory as it grows
//   auto logits = model.Forward(prompt, state);      // prefill: logits after the last token
//   logits = model.Forward({&token, 1}, state);      // decode
//
// Several conversations go faster together, since a pass reads the weights once:
//
//   auto workspace = model.NewWorkspace();
//   auto rows = model.Forward({{&first, tokens}, {&second, others}}, workspace);  // logits, a row for each turn
//
// A copy of a state is a fork: both go on from the tokens so far, which they share (cache_pool.h). States of one model
// take their memory from one pool, without a limit unless they are made with one that has it:
//
//   auto pool = model.NewPool(64);                   // pages of kPageTokens tokens
//   auto guest = model.NewState(2048, pool);         // Forward refuses what the pool has no pages for
//
// A prefill of n tokens gives the bits of n decodes, and a turn among others those of the turn alone. Decoding
// allocates nothing but pages, and buffers that grow with them. Several threads may use one model, each with its own
// states and workspace. Where memory ends std::bad_alloc leaves (base/result.h): all states are as they were, but for
// the logits that Sample draws from, and the call may be made again.
#ifndef BITNET_MODEL_TRANSFORMER_H_
#define BITNET_MODEL_TRANSFORMER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/default_backend.h"
#include "bitnet/backend/rope.h"
#include "bitnet/base/result.h"
#include "bitnet/base/size.h"
#include "bitnet/layer/decoder_layer.h"
#include "bitnet/model/cache_pool.h"
#include "bitnet/model/check_scheme.h"
#include "bitnet/model/config.h"
#include "bitnet/model/pages_of_pass.h"
#include "bitnet/model/prepared_model.h"
#include "bitnet/model/transformer_state.h"
#include "bitnet/model/weights.h"

namespace bitnet {

// Bytes that a prepared model takes.
struct ModelBytes {
  size_t projections = 0;  // Q, K, V, O, gate, up, down of all layers
  size_t embedding = 0;    // token embedding and output head; once if they are tied
  size_t norms = 0;
};

template <class S, class B = DefaultBackend<S>>
class Transformer;

template <Scheme S, Backend B>
class Transformer<S, B> {
 public:
  using Pool = CachePool<S, B>;
  using Workspace = TransformerWorkspace<S, B>;
  using State = TransformerState<S, B>;
  using Turn = TransformerTurn<S, B>;

  // The weights need not outlive the call. Their configuration must be valid.
  explicit Transformer(const ModelWeights<S>& weights, B backend = B())
      : Transformer(PreparedModel<S, B>::Prepare(weights, backend), backend) {}

  // Of matrices that the backend has prepared, which must have the configuration's shapes.
  explicit Transformer(PreparedModel<S, B>&& model, B backend = B())
      : backend_(std::move(backend)),
        config_(std::move(model.config)),
        rope_(config_.MakeRope()),
        final_norm_(model.final_norm, config_.rms_eps, backend_),
        head_(std::move(model.head)),
        embedding_(std::move(model.embedding)) {
    CheckConfig(model);
    const auto is_head = [&](const auto& matrix) {
      return matrix.rows() == config_.vocab && matrix.cols() == config_.hidden;
    };
    BITNET_ASSERT(
        is_head(head_) && (config_.tied_embedding || is_head(embedding_)) && final_norm_.width() == config_.hidden,
        "Transformer: embedding, head and final_norm must have the configuration's shape");
    for (auto& layer : model.layers) AddLayer<S>(std::move(layer), blocks_.layers);
    for (auto& layer : model.edges) AddLayer<EdgeOf<S>>(std::move(layer), blocks_.edges);
    pool_ = NewPool(std::numeric_limits<size_t>::max());
  }

  // Of other weights: says so.
  template <class W>
  requires(!std::is_convertible_v<const W&, const ModelWeights<S>&> && !std::is_base_of_v<Transformer, W> &&
           !std::is_same_v<PreparedModel<S, B>, W>) explicit Transformer(const W&, B = B()) {
    static_assert(
        !std::is_same_v<W, W>,
        "bitnet: Transformer<S> is made of ModelWeights<S> with the same S: of ModelWeights<S>::Quantize(latent), "
        "or of what LoadModel<S>(path) holds if it is ok()");
  }

  const ModelConfig& config() const { return config_; }

  // A state for up to max_tokens tokens, and for as many as the model allows. It takes memory as it grows, a page at a
  // time.
  State NewState(size_t max_tokens) const { return NewState(max_tokens, pool_); }
  State NewState() const { return NewState(config_.max_positions); }
  // One that takes its pages from a pool of NewPool.
  State NewState(size_t max_tokens, std::shared_ptr<Pool> pool) const {
    BITNET_ASSERT(pool != nullptr && IsOwn(*pool), "Transformer::NewState: the pool is another model's");
    return State(backend_, std::move(pool), std::min<size_t>(max_tokens, config_.max_positions));
  }

  // A pool of at most so many pages: max_pages * PageBytes() bytes.
  std::shared_ptr<Pool> NewPool(size_t max_pages) const { return std::make_shared<Pool>(backend_, config_, max_pages); }
  // Bytes of a page of kPageTokens tokens in all layers, if that fits size_t.
  std::optional<size_t> PageBytes() const { return CacheBytes(1); }

  // Whether it is a state of a model of this configuration and cache. (One that NewState did not make, or that was
  // moved from, has no room and no tokens: it is any model's.)
  bool IsOwn(const State& state) const {
    return state.max_tokens_ == 0 || (IsOwn(*state.pages_.pool()) && state.max_tokens_ <= config_.max_positions);
  }

  Workspace NewWorkspace() const { return Workspace(backend_, config_.layers); }

  // State::CacheBytes() of so many tokens, to ask before; nothing if that does not fit size_t.
  std::optional<size_t> CacheBytes(size_t tokens) const {
    return CheckedProduct(std::optional(PagesFor(tokens)), Pool::PageBytes(backend_, config_));
  }

  // Appends tokens and returns the logits [vocab] that follow the last of them; they live until the next call. Refuses,
  // leaving the state as it was, no tokens, a token outside the vocabulary, and more tokens than the state or its pool
  // has room for.
  Result<std::span<const float>> Forward(std::span<const Token> tokens, State& state) const {
    const Turn turns[] = {{&state, tokens}};
    const Result<MatrixView<const float>> logits = Run(turns, state.workspace_, Wanted::kLast, true);
    if (!logits.ok()) return Error{logits.error()};
    return logits.value()[0];
  }
  // The same for several states in one pass: logits [turns, vocab], a row for each turn, which live until the next call
  // with the workspace. The bits are those of each turn alone. No state may stand twice, and all must be of one pool;
  // if a turn is refused, all states are as they were. (Weights are not counted.)
  Result<MatrixView<const float>> Forward(std::span<const Turn> turns, Workspace& workspace) const {
    return Run(turns, workspace, Wanted::kLast, true);
  }
  Result<MatrixView<const float>> Forward(std::initializer_list<Turn> turns, Workspace& workspace) const {
    return Forward(std::span(turns.begin(), turns.size()), workspace);
  }

  // The same, with the logits left where the backend is, for Sample.
  Result<Done> Feed(std::span<const Token> tokens, State& state) const {
    const Turn turns[] = {{&state, tokens}};
    return Feed(turns, state.workspace_);
  }
  Result<Done> Feed(std::span<const Turn> turns, Workspace& workspace) const {
    const Result<MatrixView<const float>> logits = Run(turns, workspace, Wanted::kLast, false);
    if (!logits.ok()) return Error{logits.error()};
    return Done{};
  }

  // Lets f(std::span<float>) change the logits [vocab] that Sample draws from next. (They cross to the host and back.)
  template <class F>
  Result<Done> EditLogits(State& state, F&& f) const {
    return EditLogits(state.workspace_, 0, f);
  }
  template <class F>
  Result<Done> EditLogits(Workspace& workspace, size_t turn, F&& f) const {
    BITNET_ASSERT(turn < workspace.last_logits_.rows.rows(),
                  "Transformer::EditLogits: Forward or Feed must come first");
    const MatrixView<float> row = workspace.last_logits_.rows.Rows(turn, 1);
    const MatrixView<const float> read = backend_.Read(workspace.stream_, row, workspace.read_);
    if (Result<Done> finished = backend_.Finish(workspace.stream_); !finished.ok()) return finished;
    const MatrixView<float> edited = workspace.edited_.Shape(1, config_.vocab);
    std::copy(read.Row(0), read.Row(0) + config_.vocab, edited.Row(0));
    f(edited[0]);
    backend_.Write(workspace.stream_, edited, row);
    return Done{};
  }

  // Draws a token from the logits of the last token that Forward, ForwardAll or Feed gave this state alone (not one
  // that it was copied from, and none is truncated since, and no call failed since), by one random number of 64 bits:
  // backend/sampling.h. Options must be valid.
  Result<Token> Sample(State& state, const SamplerOptions& options, uint64_t random) const {
    return Sample(state.workspace_, 0, options, random);
  }
  // ... from those of a turn of the workspace's last pass.
  Result<Token> Sample(Workspace& workspace, size_t turn, const SamplerOptions& options, uint64_t random) const {
    BITNET_ASSERT(turn < workspace.last_logits_.rows.rows(), "Transformer::Sample: Forward or Feed must come first");
    return backend_.Sample(workspace.stream_, workspace.last_logits_.rows.Rows(turn, 1), options, random);
  }

  // Feed, then Sample: of a device one wait, where the two are two. (Where Feed succeeds and Sample refuses the tokens
  // are appended, as length() tells.)
  Result<Token> FeedAndSample(std::span<const Token> tokens, State& state, const SamplerOptions& options,
                              uint64_t random) const {
    const Turn turns[] = {{&state, tokens}};
    const TurnDraw draws[] = {{options, random}};
    const Result<std::span<const Token>> drawn = FeedAndSample(turns, draws, state.workspace_);
    if (!drawn.ok()) return Error{drawn.error()};
    return (*drawn)[0];
  }
  // ... of several turns, each by its own draw: their tokens, which live until the next call with the workspace. If one
  // draw is refused, the others may still be drawn by Sample.
  Result<std::span<const Token>> FeedAndSample(std::span<const Turn> turns, std::span<const TurnDraw> draws,
                                               Workspace& workspace) const {
    BITNET_ASSERT(turns.size() == draws.size(), "Transformer::FeedAndSample: a draw for each turn");
    workspace.sampled_.resize(turns.size());
    const auto keep = [&](size_t turn, const Result<Token>& token) -> Result<Done> {
      if (!token.ok()) return Error{(turns.size() > 1 ? "turn " + std::to_string(turn) + ": " : "") + token.error()};
      workspace.sampled_[turn] = *token;
      return Done{};
    };
    if constexpr (DrawsLater<B>) {
      workspace.drawn_.resize(turns.size());
      const auto fed = Run(turns, workspace, Wanted::kLast, false, [&](MatrixView<float> logits) {
        for (size_t i = 0; i < draws.size(); ++i) {
          backend_.Draw(workspace.stream_, logits.Rows(i, 1), draws[i].options, draws[i].random, workspace.drawn_[i]);
        }
      });
      if (!fed.ok()) return Error{fed.error()};
      for (size_t i = 0; i < draws.size(); ++i) {
        if (Result<Done> kept = keep(i, B::TokenOf(workspace.drawn_[i])); !kept.ok()) return Error{kept.error()};
      }
    } else {
      if (Result<Done> fed = Feed(turns, workspace); !fed.ok()) return Error{fed.error()};
      for (size_t i = 0; i < draws.size(); ++i) {
        if (Result<Done> kept = keep(i, Sample(workspace, i, draws[i].options, draws[i].random)); !kept.ok()) {
          return Error{kept.error()};
        }
      }
    }
    return std::span<const Token>(workspace.sampled_);
  }

  // The same, with the logits [tokens, vocab] after each token: what perplexity needs.
  Result<MatrixView<const float>> ForwardAll(std::span<const Token> tokens, State& state) const {
    const Turn turns[] = {{&state, tokens}};
    return Run(turns, state.workspace_, Wanted::kAll, true);
  }

  // Appends tokens and returns what the output head reads, after the final norm: [tokens, hidden].
  Result<MatrixView<const float>> Hidden(std::span<const Token> tokens, State& state) const {
    const Turn turns[] = {{&state, tokens}};
    Workspace& workspace = state.workspace_;
    if (Result<Done> checked = Check(turns); !checked.ok()) return Error{checked.error()};
    const MatrixView<float> normed =
        backend_.Shape(workspace.stream_, workspace.normed_, tokens.size(), config_.hidden);
    return RunChunks(turns, workspace, normed, true, [&](size_t first, MatrixView<float> x) {
      final_norm_(backend_, workspace.stream_, x, normed.Rows(first, x.rows()));
    });
  }

  ModelBytes Bytes() const {
    ModelBytes bytes;
    bytes.embedding = head_.StoredBytes() + (config_.tied_embedding ? 0 : embedding_.StoredBytes());
    bytes.norms = final_norm_.width() * sizeof(float);
    const auto add = [&](const auto& layers) {
      for (const auto& layer : layers) {
        bytes.projections += layer.WeightBytes();
        bytes.norms += layer.NormBytes();
      }
    };
    add(blocks_.layers);
    add(blocks_.edges);
    return bytes;
  }

 private:
  using Prepared = PreparedModel<S, B>;

  // Of ModelWeights or a PreparedModel.
  void CheckConfig(const auto& model) const {
    BITNET_ASSERT(config_.Validate().ok(), "Transformer: the configuration is not valid: see ModelConfig::Validate");
    BITNET_ASSERT(CheckScheme<S>(config_).ok(), "Transformer: sums of the scheme do not fit 32 bits: see CheckScheme");
    BITNET_ASSERT(model.layers.size() == InnerCount<S>(config_) && model.edges.size() == EdgeCount<S>(config_),
                  "Transformer: the weights must have as many layers as their configuration says");
  }

  // Prefill runs this many tokens at a time, which bounds the buffers.
  static constexpr size_t kChunk = 256;

  // L: the scheme of the layer.
  template <Scheme L>
  void AddLayer(PreparedLayer<L, B>&& w, std::deque<DecoderLayer<L, B>>& layers) {
    BITNET_ASSERT(w.q.rows() == config_.query_width() && w.q.cols() == config_.hidden && w.gate.rows() == config_.ffn &&
                      w.gate.cols() == config_.hidden,
                  "Transformer: the matrices of a layer must have the configuration's shapes");
    BITNET_ASSERT(
        w.attn_sub_norm.empty() != config_.sub_layer_norms && w.ffn_sub_norm.empty() != config_.sub_layer_norms &&
            w.q_norm.empty() != config_.head_norms && w.k_norm.empty() != config_.head_norms,
        "Transformer: weights and configuration must agree about sub-layer norms and norms of heads: see CheckModel");
    const auto norm = [&](const std::vector<float>& gain) { return RmsNorm<B>(gain, config_.rms_eps, backend_); };
    layers.emplace_back(
        norm(w.attn_norm),
        [&] {
          return Attention<L, B>(std::move(w.q), std::move(w.k), std::move(w.v), std::move(w.o), norm(w.attn_sub_norm),
                                 config_.heads, config_.kv_heads, HeadNorms<B>{norm(w.q_norm), norm(w.k_norm)});
        },
        norm(w.ffn_norm),
        [&] { return SparseFfn<L, B>(std::move(w.gate), std::move(w.up), std::move(w.down), norm(w.ffn_sub_norm)); });
  }

  enum class Wanted { kLast, kAll };  // logits after the last token of each turn, or after all tokens of the only one

  Result<Done> Check(std::span<const Turn> turns) const {
    if (turns.empty()) return Error{"no turns were given: at least one is needed"};
    for (size_t i = 0; i < turns.size(); ++i) {
      BITNET_ASSERT(turns[i].state != nullptr, "Transformer: a turn needs a state");
      for (size_t j = 0; j < i; ++j) {
        BITNET_ASSERT(turns[i].state != turns[j].state, "Transformer: a state may have one turn in a pass");
      }
      Result<Done> checked = Check(turns[i].tokens, *turns[i].state);
      if (!checked.ok() && turns.size() > 1) return Error{"turn " + std::to_string(i) + ": " + checked.error()};
      if (!checked.ok()) return checked;
    }
    return Done{};
  }
  Result<Done> Check(std::span<const Token> tokens, const State& state) const {
    CheckIsOwn(state);
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

  bool IsOwn(const Pool& pool) const { return pool.IsLike(*pool_); }

  void CheckIsOwn(const State& state) const {
    BITNET_ASSERT(IsOwn(state), "Transformer: the state is another model's; make it with NewState");
  }

  // Their logits; `read`: as the host reads them. then(logits), of all that are wanted, joins the pass.
  Result<MatrixView<const float>> Run(std::span<const Turn> turns, Workspace& workspace, Wanted wanted,
                                      bool read) const {
    return Run(turns, workspace, wanted, read, [](MatrixView<float>) {});
  }
  template <class Then>
  Result<MatrixView<const float>> Run(std::span<const Turn> turns, Workspace& workspace, Wanted wanted, bool read,
                                      Then&& then) const {
    if (Result<Done> checked = Check(turns); !checked.ok()) return Error{checked.error()};
    BITNET_ASSERT(workspace.use_.size() == config_.layers,
                  "Transformer: the workspace is another model's; make it with NewWorkspace");
    size_t tokens = 0;
    for (const Turn& turn : turns) tokens = SizeSum(tokens, turn.tokens.size());
    // The tokens whose logits are wanted run last: see SetPlaces.
    const size_t first_wanted = wanted == Wanted::kAll ? 0 : tokens - turns.size();
    const MatrixView<float> logits =
        backend_.Shape(workspace.stream_, workspace.logits_, tokens - first_wanted, config_.vocab);
    auto result = RunChunks(turns, workspace, logits, read, [&](size_t first, MatrixView<float> x) {
      const size_t skipped = first < first_wanted ? std::min(first_wanted - first, x.rows()) : 0;
      if (skipped == x.rows()) return;
      const MatrixView<float> rows = x.Rows(skipped, x.rows() - skipped);
      NormQuantize<typename S::HeadInput>(backend_, workspace.stream_, final_norm_, rows, workspace.normed_,
                                          workspace.head_inputs_);
      backend_.MatMul(workspace.stream_, head_, workspace.head_inputs_,
                      logits.Rows(first + skipped - first_wanted, rows.rows()));
      if (first + x.rows() == tokens) then(logits);
    });
    if (result.ok()) workspace.last_logits_.rows = logits.Rows(logits.rows() - turns.size(), turns.size());
    return result;
  }

  // Runs all layers, at most kChunk tokens at a time; f(the first token's index, x of the last layer) for each run.
  // Returns what f left in `results`; `read`: as the host reads it. The tokens, and what they counted, are the states'
  // when all is done: whatever fails or throws before leaves them as they were. (What the caches hold behind length()
  // is nobody's.)
  template <class F>
  Result<MatrixView<const float>> RunChunks(std::span<const Turn> turns, Workspace& workspace,
                                            MatrixView<const float> results, bool read, F&& f) const {
    for (const Turn& turn : turns) turn.state->workspace_.last_logits_.rows = {};
    workspace.last_logits_.rows = {};
    PagesOfPass<S, B> pages(backend_, turns, workspace);
    if (Result<Done> taken = pages.Take(); !taken.ok()) return Error{taken.error()};
    std::fill(workspace.use_.begin(), workspace.use_.end(), WeightUse());
    const bool counts = turns.size() == 1 && turns[0].state->counting_;
    SetPlaces(turns, workspace);
    for (size_t first = 0; first < workspace.tokens_.size(); first += kChunk) {
      const size_t count = std::min(kChunk, workspace.tokens_.size() - first);
      f(first, RunLayers(turns, first, count, counts, workspace));
    }
    if (read) results = backend_.Read(workspace.stream_, results, workspace.read_);
    if (Result<Done> finished = backend_.Finish(workspace.stream_); !finished.ok()) return Error{finished.error()};
    for (const Turn& turn : turns) turn.state->length_ += turn.tokens.size();
    pages.Keep();
    if (counts) {
      for (size_t i = 0; i < config_.layers; ++i) turns[0].state->use_[i] += workspace.use_[i];
    }
    return results;
  }

  // The order in which tokens run, and where they stand: the last token of each turn after all others, so that the
  // output head reads rows that lie together.
  void SetPlaces(std::span<const Turn> turns, Workspace& workspace) const {
    workspace.tokens_.clear();
    workspace.places_.clear();
    const auto add = [&](size_t sequence, size_t begin, size_t end) {
      for (size_t t = begin; t < end; ++t) {
        workspace.tokens_.push_back(turns[sequence].tokens[t]);
        workspace.places_.push_back(
            {static_cast<uint32_t>(sequence), static_cast<uint32_t>(turns[sequence].state->length_ + t)});
      }
    };
    for (size_t i = 0; i < turns.size(); ++i) add(i, 0, turns[i].tokens.size() - 1);
    for (size_t i = 0; i < turns.size(); ++i) add(i, turns[i].tokens.size() - 1, turns[i].tokens.size());
  }

  // Runs all layers on `count` tokens, at most kChunk.
  MatrixView<float> RunLayers(std::span<const Turn> turns, size_t first, size_t count, bool counts,
                              Workspace& workspace) const {
    typename B::Stream& stream = workspace.stream_;
    const std::span<const Token> tokens = std::span(workspace.tokens_).subspan(first, count);
    const MatrixView<float> x = backend_.Shape(stream, workspace.hidden_, count, config_.hidden);
    EmbedTokens(stream, tokens, x);
    backend_.SetWhere(stream, std::span(workspace.places_).subspan(first, count), workspace.tables_, rope_,
                      workspace.where_);
    auto& caches = turns[0].state->pages_.pool()->caches();
    for (size_t i = 0; i < config_.layers; ++i) {
      const auto run = [&](const auto& block, auto& cache) {
        block(backend_, stream, x, workspace.where_, cache, workspace.BuffersOf(block),
              counts ? &workspace.use_[i] : nullptr);
      };
      AtLayer<S>(config_, i, run, blocks_, caches);
    }
    return x;
  }

  void EmbedTokens(typename B::Stream& stream, std::span<const Token> tokens, MatrixView<float> x) const {
    if constexpr (kMayTieEmbedding<S>) {
      if (config_.tied_embedding) return backend_.Embed(stream, head_, tokens, x);
    }
    backend_.Embed(stream, embedding_, tokens, x);
  }

  B backend_;
  ModelConfig config_;
  std::shared_ptr<Pool> pool_;
  Rope rope_;
  RmsNorm<B> final_norm_;
  typename Prepared::Head head_;
  typename Prepared::Embedding embedding_;  // where not tied
  struct {
    std::deque<DecoderLayer<S, B>> layers;  // a deque never moves them
    std::deque<DecoderLayer<EdgeOf<S>, B>> edges;
  } blocks_;
};

// Of what is no scheme, or no backend.
template <class S, class B>
class Transformer : public Transformer<A48, typename detail::BackendOrDefault<B>::type> {
  static_assert(sizeof(detail::SchemeSentence<S>) > 0);
  using Transformer<A48, typename detail::BackendOrDefault<B>::type>::Transformer;
};

template <class S, class B = DefaultBackend<S>>
Transformer(const ModelWeights<S>&, B = B()) -> Transformer<S, B>;

}  // namespace bitnet

#endif  // BITNET_MODEL_TRANSFORMER_H_
