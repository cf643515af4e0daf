// What the passes of a Transformer run in: TransformerState, one conversation; TransformerWorkspace, the buffers of a
// pass; TransformerTurn, what a conversation appends in one. Programs call them Transformer<S>::State, Workspace, Turn.
#ifndef BITNET_MODEL_TRANSFORMER_STATE_H_
#define BITNET_MODEL_TRANSFORMER_STATE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/fused_operations.h"
#include "bitnet/backend/sampling.h"
#include "bitnet/base/assert.h"
#include "bitnet/base/result.h"
#include "bitnet/layer/decoder_layer.h"
#include "bitnet/layer/weight_use.h"
#include "bitnet/model/cache_pool.h"
#include "bitnet/model/config.h"
#include "bitnet/model/weights.h"
#include "bitnet/scheme/cache.h"
#include "bitnet/scheme/scheme.h"
#include "bitnet/tensor/growing_matrix.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/operand.h"
#include "bitnet/tensor/quantized_heads.h"

namespace bitnet {

// A token's number in the vocabulary.
using Token = uint32_t;

template <class S, class B>
class Transformer;
template <Scheme S, Backend B>
class TransformerState;
template <Scheme S, Backend B>
class PagesOfPass;

// Waits, when it goes, for what a stream still reads or writes: pages must not go back to a pool before.
template <Backend B>
struct WaitsForStream {
  const B& backend;
  typename B::Stream& stream;
  ~WaitsForStream() { static_cast<void>(backend.Finish(stream)); }
};

// A conversation's tokens on the host: of each layer its keys and values.
template <Scheme S>
struct SavedState {
  size_t length = 0;
  std::vector<HostCache<CacheQuantizersOf<S>>> layers;         // but the edges
  std::vector<HostCache<CacheQuantizersOf<EdgeOf<S>>>> edges;  // where S has edges
};

// What passes run in: a stream, and buffers that are kept between them. A state has one for passes of its own; passes
// of several states have one beside them.
template <Scheme S, Backend B>
class TransformerWorkspace {
  using Layer = DecoderLayer<S, B>;
  using EdgeLayer = DecoderLayer<EdgeOf<S>, B>;

 public:
  TransformerWorkspace() = default;

 private:
  template <class, class>
  friend class Transformer;
  friend class TransformerState<S, B>;
  friend class PagesOfPass<S, B>;
  TransformerWorkspace(const B& backend, size_t layers) : stream_(backend.NewStream()), use_(layers) {}
  // A shared page whose copy a turn writes to.
  struct Replaced {
    size_t turn, index;
    uint32_t page;
  };
  typename B::Stream stream_;
  typename Layer::Buffers buffers_;
  typename EdgeLayer::Buffers edge_buffers_;
  auto& BuffersOf(const Layer&) { return buffers_; }
  auto& BuffersOf(const EdgeLayer&) requires(kHasEdges<S>) { return edge_buffers_; }
  std::vector<Token> tokens_;  // in the order in which they run
  std::vector<Place> places_;
  std::vector<PageTable> tables_;  // of each turn
  std::vector<uint32_t> taken_;    // pages for a pass
  std::vector<size_t> copying_;    // turns that write to a copy of a shared page
  std::vector<Replaced> replaced_;
  typename B::Where where_;
  typename B::Reals hidden_, normed_, logits_;
  typename B::template Rows<OperandOf<typename S::HeadInput>> head_inputs_;
  std::vector<WeightUse> use_;   // of a pass, for each layer
  GrowingMatrix read_, edited_;  // what the host reads, and changes
  std::vector<DrawnOf<B>> drawn_;
  std::vector<Token> sampled_;
  // [turns, vocab], which Sample draws from: rows of logits_, or nothing. Another workspace has none of them, so that
  // one is moved, not copied.
  struct LastLogits {
    MatrixView<float> rows;
    LastLogits() = default;
    LastLogits(LastLogits&& other) noexcept : rows(std::exchange(other.rows, {})) {}
    LastLogits& operator=(LastLogits&& other) noexcept {
      rows = std::exchange(other.rows, {});
      return *this;
    }
  } last_logits_;
};

// What one conversation needs: its pages of the caches, its length so far, a workspace.
template <Scheme S, Backend B>
class TransformerState {
  using Pool = CachePool<S, B>;

 public:
  TransformerState() = default;
  // A copy has the tokens and their counts, and a stream and buffers of its own. It shares the pages: the first of
  // the two to write to the last, not yet full one takes a copy of it.
  TransformerState(const TransformerState& other)
      : backend_(other.backend_),
        pages_(other.pages_),
        use_(other.use_),
        length_(other.length_),
        max_tokens_(other.max_tokens_),
        counting_(other.counting_) {
    if (backend_.has_value()) workspace_ = {*backend_, use_.size()};
  }
  // What is moved from has no tokens and no room.
  TransformerState(TransformerState&& other) noexcept { *this = std::move(other); }
  // Where memory ends, what is assigned to stays as it was.
  TransformerState& operator=(const TransformerState& other) {
    TransformerState copy(other);
    return *this = std::move(copy);
  }
  TransformerState& operator=(TransformerState&& other) noexcept {
    if (this == &other) return *this;
    backend_.reset();
    if (other.backend_.has_value()) backend_.emplace(std::move(*other.backend_));
    other.backend_.reset();
    pages_ = std::move(other.pages_);
    use_ = std::exchange(other.use_, {});
    workspace_ = std::move(other.workspace_);
    length_ = std::exchange(other.length_, 0);
    max_tokens_ = std::exchange(other.max_tokens_, 0);
    counting_ = std::exchange(other.counting_, false);
    return *this;
  }

  // Tokens seen: the position of the next one.
  size_t length() const { return length_; }
  size_t max_tokens() const { return max_tokens_; }
  // Whether the state, and its pool at this moment, have room for so many more.
  bool HasRoom(size_t tokens) const {
    if (tokens > max_tokens_ - length_) return false;
    const Pool* pool = pages_.pool();
    if (pool == nullptr || tokens == 0) return true;
    const bool copies = length_ % kPageTokens != 0 && pool->Users(pages_.table().back()) > 1;
    return PagesFor(length_ + tokens) - pages_.size() + (copies ? 1 : 0) <= pool->free_pages();
  }
  // Forgets all tokens, or those from `length` on, and gives their pages back to the pool.
  void Truncate(size_t length) {
    if (length >= length_) return;
    workspace_.last_logits_.rows = {};
    length_ = length;
    pages_.Truncate(PagesFor(length));
  }

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
  size_t CacheBytesPerToken() const { return pages_.pool() == nullptr ? 0 : pages_.pool()->BytesPerToken(); }
  // Of its pages; those that it shares are counted in full.
  size_t CacheBytes() const { return pages_.size() * (pages_.pool() == nullptr ? 0 : pages_.pool()->PageBytes()); }

  // Counting which weights each token uses costs a little; off unless asked for.
  void CountWeights(bool on) { counting_ = on; }
  // Counts so far, for each layer.
  std::span<const WeightUse> weight_use() const { return use_; }
  WeightUse TotalWeightUse() const {
    WeightUse total;
    for (const WeightUse& layer : use_) total += layer;
    return total;
  }

  // Its tokens on the host, to keep them somewhere else than in the pool. (state_file.h makes files of them.)
  Result<SavedState<S>> Save() {
    SavedState<S> saved;
    saved.length = length_;
    if (length_ == 0) return saved;
    const ModelConfig& config = pages_.pool()->config();
    saved.layers.resize(InnerCount<S>(config));
    saved.edges.resize(EdgeCount<S>(config));
    const WaitsForStream<B> waits{*backend_, workspace_.stream_};
    const auto read = [&](auto& to, const auto& cache) {
      backend_->ReadCache(workspace_.stream_, cache, pages_.table(), length_, to);
    };
    for (size_t i = 0; i < config.layers; ++i) AtLayer<S>(config, i, read, saved, pages_.pool()->caches());
    if (Result<Done> finished = backend_->Finish(workspace_.stream_); !finished.ok()) return Error{finished.error()};
    return saved;
  }
  // Its tokens become those that were saved; what it counted is not changed. Refuses, leaving the state as it was, what
  // it or its pool has no room for, and what another model's state has left. (It takes its pages before it gives back
  // those that it has: where a pool is small, Truncate(0) comes first.)
  Result<Done> Restore(const SavedState<S>& saved) {
    if (saved.length > max_tokens_) {
      return Error{"restore: " + std::to_string(saved.length) + " tokens were saved; this state has room for " +
                   std::to_string(max_tokens_)};
    }
    if (saved.length == 0) {
      Truncate(0);
      return Done{};
    }
    const ModelConfig& config = pages_.pool()->config();
    const auto fit = [&](const auto& layers) {
      return std::all_of(layers.begin(), layers.end(), [&](const auto& layer) {
        return layer.kv_heads() == config.kv_heads && layer.head_dim() == config.head_dim &&
               layer.max_tokens() >= saved.length;
      });
    };
    if (saved.layers.size() != InnerCount<S>(config) || saved.edges.size() != EdgeCount<S>(config) ||
        !fit(saved.layers) || !fit(saved.edges)) {
      return Error{"restore: what was saved is another model's: it must have " + std::to_string(config.layers) +
                   " layers of " + std::to_string(config.kv_heads) + " heads of " + std::to_string(config.head_dim)};
    }
    bool is_kept_so = true;
    const auto compare = [&](const auto& layer, const auto& cache) {
      if constexpr (requires { cache.Keeps(layer); }) is_kept_so = is_kept_so && cache.Keeps(layer);
    };
    for (size_t i = 0; i < config.layers; ++i) AtLayer<S>(config, i, compare, saved, pages_.pool()->caches());
    if (!is_kept_so) return Error{"restore: what was saved is of a cache of other formats than this model has"};
    PageList<Pool> pages(pages_.shared_pool());
    std::vector<uint32_t> taken;
    pages.Reserve(PagesFor(saved.length));
    if (Result<Done> took = pages.pool()->Take(PagesFor(saved.length), taken); !took.ok()) return took;
    for (const uint32_t page : taken) pages.Append(page);
    const WaitsForStream<B> waits{*backend_, workspace_.stream_};
    const auto write = [&](const auto& from, auto& cache) {
      backend_->WriteCache(workspace_.stream_, from, saved.length, pages.table(), cache);
    };
    for (size_t i = 0; i < config.layers; ++i) AtLayer<S>(config, i, write, saved, pages.pool()->caches());
    if (Result<Done> finished = backend_->Finish(workspace_.stream_); !finished.ok()) return finished;
    workspace_.last_logits_.rows = {};
    std::swap(pages_, pages);
    length_ = saved.length;
    return Done{};
  }

 private:
  template <class, class>
  friend class Transformer;
  friend class PagesOfPass<S, B>;
  TransformerState(const B& backend, std::shared_ptr<Pool> pool, size_t max_tokens)
      : backend_(backend),
        pages_(std::move(pool)),
        use_(pages_.pool()->config().layers),
        workspace_(backend, use_.size()),
        max_tokens_(max_tokens) {}

  std::optional<B> backend_;  // of the model whose state it is
  PageList<Pool> pages_;      // PagesFor(length_)
  std::vector<WeightUse> use_;
  TransformerWorkspace<S, B> workspace_;
  size_t length_ = 0;
  size_t max_tokens_ = 0;
  bool counting_ = false;
};

// Tokens that a state appends in a pass of several.
template <Scheme S, Backend B>
struct TransformerTurn {
  TransformerState<S, B>* state = nullptr;
  std::span<const Token> tokens;
};

// By what the next token of a turn is drawn (Transformer::FeedAndSample).
struct TurnDraw {
  SamplerOptions options = {};
  uint64_t random = 0;
};

}  // namespace bitnet

#endif  // BITNET_MODEL_TRANSFORMER_STATE_H_
