// ContinuousBatch: many replies on one model. Each step is one pass for all that run: a token of each reply, and beside
// them a piece of a prompt. A reply that ends makes room for the next one that waits, whenever that is.
//
//   ContinuousBatch batch(model, {.max_running = 8, .max_pages = 64});
//   auto id = batch.Add({.prompt = prompt, .on_token = [&](Token token) { return Show(token); }});
//   while (!batch.IsEmpty()) {
//     if (const auto stepped = batch.Step(); !stepped.ok()) return stepped;
//   }
//
// Each reply is the one of Generate with the same prompt, options and random numbers, alone, in a state of as many
// tokens and a pool of as many pages: whatever runs beside it, and however often it waits. It begins when there are
// pages for what it has read, in the order of Add. Where a pass has too few, the one that was added last gives its
// pages back and waits; it reads its tokens again before it goes on. So the first always goes on, and none is lost.
//
// One thread at a time. The HTTP server of examples/serve.cc is over this.
#ifndef BITNET_MODEL_CONTINUOUS_BATCH_H_
#define BITNET_MODEL_CONTINUOUS_BATCH_H_

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <limits>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/base/random.h"
#include "bitnet/base/result.h"
#include "bitnet/model/generate.h"
#include "bitnet/model/transformer.h"
#include "bitnet/tensor/pages.h"

namespace bitnet {

struct BatchOptions {
  size_t max_running = 8;                                 // replies in a pass
  size_t max_pages = std::numeric_limits<size_t>::max();  // of kPageTokens tokens, of all that run
  size_t max_tokens =
      std::numeric_limits<size_t>::max();  // of a prompt and its reply; the model allows so many at most
  size_t prompt_tokens = 256;              // of prompts in a pass: how long the others wait for them
};

// The functions are called by Step, and may call Add and Cancel.
struct BatchRequest {
  std::vector<Token> prompt;
  GenerateOptions options = {};
  Random random = Random(1);
  std::function<bool(Token)> on_token = {};  // of each token of the reply; false ends it
  // When it has ended: what Generate returns. (`pending` is what no pass has read.)
  std::function<void(Result<Generated>)> on_end = {};
};

namespace detail {

template <class Model>
concept RunsTurns = requires(const Model& model, std::span<const typename Model::Turn> turns,
                             std::span<const TurnDraw> draws, typename Model::Workspace& workspace,
                             const SamplerOptions& options, void (*edit)(std::span<float>)) {
  { model.NewState(size_t{1}, model.NewPool(size_t{1})) } -> std::same_as<typename Model::State>;
  { model.NewWorkspace() } -> std::same_as<typename Model::Workspace>;
  { model.Feed(turns, workspace) } -> std::same_as<Result<Done>>;
  { model.FeedAndSample(turns, draws, workspace) } -> std::same_as<Result<std::span<const Token>>>;
  { model.EditLogits(workspace, size_t{0}, edit) } -> std::same_as<Result<Done>>;
  { model.Sample(workspace, size_t{0}, options, uint64_t{0}) } -> std::same_as<Result<Token>>;
};

}  // namespace detail

// The model must outlive it. Replies that have not ended when it goes are dropped: their on_end is not called.
template <class Model>
class ContinuousBatch {
  static_assert(
      detail::RunsTurns<Model>,
      "bitnet: ContinuousBatch needs a model with NewPool, NewState(max_tokens, pool), NewWorkspace, and Feed, "
      "FeedAndSample, EditLogits and Sample of turns, as Transformer is");

 public:
  explicit ContinuousBatch(const Model& model, const BatchOptions& options = {})
      : model_(model), options_(options), pool_(model.NewPool(options.max_pages)), workspace_(model.NewWorkspace()) {
    BITNET_ASSERT(options.max_running > 0 && options.prompt_tokens > 0,
                  "ContinuousBatch: max_running and prompt_tokens must be above 0");
    options_.max_tokens = std::min<size_t>(options.max_tokens, model.config().max_positions);
  }

  // Whether Add takes it. Any thread may ask.
  Result<Done> Check(const BatchRequest& request) const {
    if (Result<Done> valid = request.options.Validate(); !valid.ok()) return valid;
    const size_t tokens = request.prompt.size(), vocab = model_.config().vocab;
    if (tokens == 0) return Error{"the prompt has no tokens: at least one is needed"};
    if (tokens > options_.max_tokens) {
      return Error{"the prompt has " + std::to_string(tokens) + " tokens; there is room for " +
                   std::to_string(options_.max_tokens)};
    }
    if (PagesFor(tokens) > options_.max_pages) {
      return Error{"the prompt has " + std::to_string(tokens) + " tokens, which take " +
                   std::to_string(PagesFor(tokens)) + " pages; the pool has " + std::to_string(options_.max_pages)};
    }
    for (size_t i = 0; i < tokens; ++i) {
      if (request.prompt[i] < vocab) continue;
      return Error{"token " + std::to_string(i) + " of the prompt is " + std::to_string(request.prompt[i]) +
                   "; the vocabulary has " + std::to_string(vocab)};
    }
    for (const LogitBias& bias : request.options.edits.biases) {
      if (bias.token < vocab) continue;
      return Error{"a bias is given for token " + std::to_string(bias.token) + "; the vocabulary has " +
                   std::to_string(vocab)};
    }
    return Done{};
  }

  // The number of a reply, to cancel it by.
  Result<uint64_t> Add(BatchRequest request) {
    if (Result<Done> checked = Check(request); !checked.ok()) return Error{checked.error()};
    waiting_.emplace_back(last_id_ + 1, std::move(request));
    return ++last_id_;
  }

  // Ends a reply at the next step, by GenerateEnd::kCallback. Whether there is one of that number.
  bool Cancel(uint64_t id) {
    for (auto* replies : {&running_, &waiting_}) {
      for (Reply& r : *replies) {
        if (r.id != id) continue;
        r.cancelled = true;
        return true;
      }
    }
    return false;
  }

  bool IsEmpty() const { return running_.empty() && waiting_.empty() && ended_.empty(); }
  size_t running() const { return running_.size(); }
  size_t waiting() const { return waiting_.size(); }
  size_t used_pages() const { return pool_->used_pages(); }

  // A pass, and what follows from it: tokens are drawn and reported, replies end. Where the pass gives an error (a
  // device's), or something throws (memory, one of the functions), all replies stay, and the next step goes on with
  // them: what was reported is not reported again. A draw that gives one (its logits are no numbers) ends its reply.
  Result<Done> Step() {
    ReportAndEnd();
    Admit();
    Plan();
    if (!turns_.empty()) {
      if (Result<Done> ran = Run(); !ran.ok()) return ran;
    }
    ReportAndEnd();
    return Done{};
  }

 private:
  using Pool = typename decltype(std::declval<const Model&>().NewPool(size_t{1}))::element_type;

  struct Reply {
    Reply(uint64_t its_id, BatchRequest&& what)
        : id(its_id), request(std::move(what)), drawn(request.options, request.prompt) {
      tokens.swap(request.prompt);
    }
    uint64_t id;
    BatchRequest request;
    detail::DrawnReply drawn;
    std::vector<Token> tokens;       // the prompt and what was drawn: what the state is to read
    typename Model::State state;     // while it runs
    std::optional<uint64_t> number;  // draws the next token
    std::string fault;
    bool cancelled = false;
  };
  struct Planned {
    Reply* reply;
    bool draws;  // its turn ends with the last of its tokens
  };

  static size_t NewPages(const typename Model::Turn& turn) {
    const size_t length = turn.state->length();
    return PagesFor(length + turn.tokens.size()) - PagesFor(length);
  }

  // Reports what is due, and takes out what has ended.
  void ReportAndEnd() {
    for (auto* replies : {&running_, &waiting_}) {
      for (auto i = replies->begin(); i != replies->end();) {
        const auto r = i++;
        if (r->cancelled) r->drawn.Stop();
        const auto on_token = [&r](Token token) {
          return (!r->request.on_token || r->request.on_token(token)) && !r->cancelled;
        };
        r->drawn.Report(on_token);
        if (!r->drawn.has_ended() && r->fault.empty()) continue;
        ended_.splice(ended_.end(), *replies, r);
      }
    }
    while (!ended_.empty()) {
      Reply& r = ended_.front();
      Result<Generated> end = r.fault.empty() ? Result(std::move(r.drawn).Finish()) : Error{r.fault};
      std::list<Reply> last;
      last.splice(last.end(), ended_, ended_.begin());
      if (r.request.on_end) r.request.on_end(std::move(end));
    }
  }

  // Those that there are pages for, if each reads all its tokens.
  void Admit() {
    size_t pages = 0;
    for (const Reply& r : running_) pages += PagesFor(r.tokens.size());
    while (!waiting_.empty() && running_.size() < options_.max_running) {
      Reply& r = waiting_.front();
      pages += PagesFor(r.tokens.size());
      if (pages > options_.max_pages) return;
      r.state = model_.NewState(options_.max_tokens, pool_);
      running_.splice(running_.end(), waiting_, waiting_.begin());
    }
  }

  // The turns of a pass that there are pages for.
  void Plan() {
    turns_.clear();
    planned_.clear();
    size_t of_prompts = options_.prompt_tokens, pages = 0;
    for (Reply& r : running_) {
      if (r.tokens.size() == r.tokens.capacity()) r.tokens.reserve(2 * r.tokens.size());  // Take has room
      r.state.Truncate(r.tokens.size() - 1);  // read, but something threw before a token was drawn
      const size_t unread = r.tokens.size() - r.state.length();
      const size_t count = unread == 1 ? 1 : std::min(unread, of_prompts);
      if (count == 0) continue;
      if (unread > 1) of_prompts -= count;
      planned_.push_back({&r, count == unread});
      turns_.push_back({&r.state, std::span(r.tokens).subspan(r.state.length(), count)});
      pages += NewPages(turns_.back());
    }
    while (pages > pool_->free_pages()) {
      BITNET_ASSERT(running_.size() > 1, "ContinuousBatch: the pool has pages for one reply");
      Reply& last = running_.back();
      if (planned_.back().reply == &last) {
        pages -= NewPages(turns_.back());
        planned_.pop_back();
        turns_.pop_back();
      }
      last.state = {};
      waiting_.splice(waiting_.begin(), running_, std::prev(running_.end()));
    }
  }

  Result<Done> Run() {
    draws_.clear();
    bool edits = false;
    for (const auto& [r, draws] : planned_) {
      draws_.push_back({{.temperature = 0.0f}, 0});  // of a prompt that goes on: dropped
      if (!draws) continue;
      if (!r->number) r->number = r->drawn.Number(r->request.random);
      draws_.back() = {r->request.options.sampler, *r->number};
      edits = edits || !r->request.options.edits.IsEmpty();
    }
    const size_t length = turns_[0].state->length();
    if (edits) {
      if (Result<Done> fed = model_.Feed(turns_, workspace_); !fed.ok()) return fed;
    } else {
      const Result<std::span<const Token>> tokens = model_.FeedAndSample(turns_, draws_, workspace_);
      if (tokens.ok()) {
        for (size_t i = 0; i < planned_.size(); ++i) {
          if (planned_[i].draws) Take(*planned_[i].reply, (*tokens)[i]);
        }
        return Done{};
      }
      if (turns_[0].state->length() == length) return Error{tokens.error()};
      // One draw was refused: each by itself.
    }
    for (size_t i = 0; i < planned_.size(); ++i) {
      if (!planned_[i].draws) continue;
      Reply& r = *planned_[i].reply;
      if (!r.request.options.edits.IsEmpty()) {
        Result<Done> edited = Done{};
        const Result<Done> read =
            model_.EditLogits(workspace_, i, [&](std::span<float> logits) { edited = r.drawn.Edit(logits); });
        if (!read.ok()) return read;
        if (!edited.ok()) {
          r.fault = edited.error();
          continue;
        }
      }
      if (const auto token = model_.Sample(workspace_, i, r.request.options.sampler, *r.number); token.ok()) {
        Take(r, *token);
      } else {
        r.fault = token.error();
      }
    }
    return Done{};
  }

  void Take(Reply& r, Token token) {
    r.drawn.Take(token);
    r.number.reset();
    if (r.drawn.has_ended()) return;
    r.tokens.push_back(token);
    if (r.tokens.size() > options_.max_tokens || PagesFor(r.tokens.size()) > options_.max_pages) {
      r.drawn.End(GenerateEnd::kFull);
    }
  }

  const Model& model_;
  BatchOptions options_;
  std::shared_ptr<Pool> pool_;
  typename Model::Workspace workspace_;
  std::list<Reply> running_, waiting_, ended_;  // in the order of Add
  uint64_t last_id_ = 0;
  std::vector<Planned> planned_;
  std::vector<typename Model::Turn> turns_;  // of the replies that are planned
  std::vector<TurnDraw> draws_;
};

}  // namespace bitnet

#endif  // BITNET_MODEL_CONTINUOUS_BATCH_H_
