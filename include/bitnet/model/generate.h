// Generate: prefill a prompt, then decode until a stop token, a sequence of stop tokens, a limit, a full cache or the
// caller's word.
//
//   auto reply = Generate(model, state, prompt, options, random, [](Token token) { return Show(token); });
//   // reply->tokens, reply->end, and for the next turn of the conversation:
//   prompt = reply->pending; prompt.insert(prompt.end(), next.begin(), next.end());
#ifndef BITNET_MODEL_GENERATE_H_
#define BITNET_MODEL_GENERATE_H_

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bitnet/backend/sampling.h"
#include "bitnet/base/random.h"
#include "bitnet/base/result.h"
#include "bitnet/model/transformer.h"

namespace bitnet {

struct LogitBias {
  Token token = 0;
  float bias = 0.0f;  // added to its logit; minus infinity forbids it
};

// What changes logits before a token is drawn, in this order.
struct LogitEdits {
  // The logit of each of the last `repetition_window` tokens of the prompt and the reply is divided by the penalty if
  // it is above zero, and multiplied by it if not. 1: off.
  float repetition_penalty = 1.0f;
  size_t repetition_window = 64;
  std::vector<LogitBias> biases = {};
  // Anything else: of the reply so far and the logits [vocab].
  std::function<void(std::span<const Token>, std::span<float>)> edit = {};

  bool IsEmpty() const { return repetition_penalty == 1.0f && biases.empty() && !edit; }
  Result<Done> Validate() const {
    if (!(repetition_penalty > 0.0f) || !std::isfinite(repetition_penalty)) {
      return Error{"generate: repetition_penalty is " + std::to_string(repetition_penalty) +
                   "; it must be finite and above 0"};
    }
    for (const LogitBias& bias : biases) {
      if (std::isnan(bias.bias) || bias.bias == std::numeric_limits<float>::infinity()) {
        return Error{"generate: the bias of token " + std::to_string(bias.token) + " is " + std::to_string(bias.bias) +
                     "; it must be a number, or minus infinity"};
      }
    }
    return Done{};
  }
};

struct GenerateOptions {
  size_t max_new_tokens = std::numeric_limits<size_t>::max();
  std::vector<Token> stop_tokens = {};                  // ends before such a token
  std::vector<std::vector<Token>> stop_sequences = {};  // ends before such tokens one after another
  SamplerOptions sampler = {};
  LogitEdits edits = {};

  Result<Done> Validate() const {
    for (const std::vector<Token>& sequence : stop_sequences) {
      if (sequence.empty()) return Error{"generate: a stop sequence is empty; it must have at least one token"};
    }
    if (Result<Done> valid = edits.Validate(); !valid.ok()) return valid;
    return sampler.Validate();
  }
};

enum class GenerateEnd {
  kStopToken,
  kStopSequence,
  kLimit,     // max_new_tokens
  kFull,      // the state, or its pool of pages, has no room
  kCallback,  // on_token returned false
};

// The state and `pending` together hold the prompt, `tokens`, and the stop token or sequence that ended the reply.
struct Generated {
  std::vector<Token> tokens;  // those that were reported
  GenerateEnd end = GenerateEnd::kLimit;
  // What no Forward has read yet, at most one token: the next turn's prompt begins with it (unless it is a stop token
  // that the next turn does without).
  std::vector<Token> pending;
};

namespace detail {

template <class State>
concept CanGoBack = requires(State& state, const State& then, const typename State::Mark& mark) {
  { then.Here() } -> std::convertible_to<typename State::Mark>;
  state.GoBack(mark);
  state.Truncate(size_t{1});
  { then.HasRoom(size_t{1}) } -> std::convertible_to<bool>;
};
template <class Model>
concept CanDraw = requires(const Model& model, typename Model::State& state, std::span<const Token> tokens,
                           const SamplerOptions& options, void (*edit)(std::span<float>)) {
  { model.Feed(tokens, state) } -> std::same_as<Result<Done>>;
  { model.EditLogits(state, edit) } -> std::same_as<Result<Done>>;
  { model.Sample(state, options, uint64_t{0}) } -> std::same_as<Result<Token>>;
};

// ... and in the pass that gives the logits.
template <class Model>
concept CanFeedAndSample = requires(const Model& model, typename Model::State& state, std::span<const Token> tokens,
                                    const SamplerOptions& options) {
  { model.FeedAndSample(tokens, state, options, uint64_t{0}) } -> std::same_as<Result<Token>>;
};

// Applies edits; keeps the prompt's last tokens.
class LogitEditor {
 public:
  LogitEditor(const LogitEdits& edits, std::span<const Token> prompt) : edits_(edits) {
    if (edits_.repetition_penalty == 1.0f) return;
    prompt_end_.assign(prompt.end() - static_cast<std::ptrdiff_t>(std::min(prompt.size(), edits_.repetition_window)),
                       prompt.end());
  }
  // The first token that is not in the vocabulary, said.
  Result<Done> operator()(std::span<const Token> reply, std::span<float> logits) {
    if (edits_.repetition_penalty != 1.0f) {
      const size_t of_reply = std::min(reply.size(), edits_.repetition_window);
      const size_t of_prompt = std::min(prompt_end_.size(), edits_.repetition_window - of_reply);
      punished_.assign(prompt_end_.end() - static_cast<std::ptrdiff_t>(of_prompt), prompt_end_.end());
      punished_.insert(punished_.end(), reply.end() - static_cast<std::ptrdiff_t>(of_reply), reply.end());
      std::sort(punished_.begin(), punished_.end());
      punished_.erase(std::unique(punished_.begin(), punished_.end()), punished_.end());
      for (const Token token : punished_) {
        float& logit = logits[token];
        logit = logit > 0.0f ? logit / edits_.repetition_penalty : logit * edits_.repetition_penalty;
      }
    }
    for (const LogitBias& bias : edits_.biases) {
      if (bias.token >= logits.size()) {
        return Error{"generate: a bias is given for token " + std::to_string(bias.token) + "; the vocabulary has " +
                     std::to_string(logits.size())};
      }
      logits[bias.token] += bias.bias;
    }
    if (edits_.edit) edits_.edit(reply, logits);
    return Done{};
  }

 private:
  const LogitEdits& edits_;
  std::vector<Token> prompt_end_, punished_;
};

// How many of the last tokens of `tokens` begin a sequence; all of a sequence, if they end with it.
inline size_t BegunLength(std::span<const Token> tokens, const std::vector<Token>& sequence) {
  for (size_t n = std::min(tokens.size(), sequence.size()); n > 0; --n) {
    if (std::equal(tokens.end() - static_cast<std::ptrdiff_t>(n), tokens.end(), sequence.begin())) return n;
  }
  return 0;
}

// A reply while its tokens are drawn: which are reported, which wait, what ends it. It knows no model; the options must
// outlive it. Where memory ends it is as it was, and after an exception of on_token it goes on with the next token.
class DrawnReply {
 public:
  DrawnReply(const GenerateOptions& options, std::span<const Token> prompt)
      : options_(options), editor_(options.edits, prompt) {
    EndAtLimit();
  }

  // All but a stop token.
  const std::vector<Token>& drawn() const { return drawn_; }
  bool has_ended() const { return end_.has_value(); }
  // What draws the next token.
  template <class Generator>
  uint64_t Number(Generator& generator) const {
    return options_.sampler.temperature == 0.0f ? 0 : RandomBits(generator);
  }
  // Changes the logits that it is drawn from.
  Result<Done> Edit(std::span<float> logits) { return editor_(drawn_, logits); }

  // Takes it. The reply must not have ended.
  void Take(Token token) {
    if (std::find(options_.stop_tokens.begin(), options_.stop_tokens.end(), token) != options_.stop_tokens.end()) {
      stop_token_ = token;
      return End(GenerateEnd::kStopToken);
    }
    drawn_.push_back(token);
    size_t held = 0;
    for (const std::vector<Token>& sequence : options_.stop_sequences) {
      const size_t begun = BegunLength(drawn_, sequence);
      if (begun == sequence.size()) {
        End(GenerateEnd::kStopSequence);
        due_ -= begun;
        return;
      }
      held = std::max(held, begun);
    }
    due_ = drawn_.size() - held;
    EndAtLimit();
  }
  // What was drawn belongs to the reply, and nothing more.
  void End(GenerateEnd end) {
    end_ = end;
    due_ = drawn_.size();
  }
  // The caller had enough: what is not reported is dropped.
  void Stop() {
    end_ = GenerateEnd::kCallback;
    due_ = reported_;
  }

  // Calls on_token(token) -> bool for what is due.
  template <class OnToken>
  void Report(OnToken& on_token) {
    while (reported_ < due_) {
      if (!on_token(drawn_[reported_++])) Stop();
    }
  }

  // When it has ended, and all is reported. (The state has read all of `drawn` but the last, and that one too before a
  // stop token was drawn.)
  Generated Finish() && {
    Generated reply;
    reply.end = *end_;
    if (*end_ == GenerateEnd::kCallback) {
      if (!stop_token_ && reported_ > 0 && reported_ == drawn_.size()) reply.pending = {drawn_.back()};
    } else if (stop_token_) {
      reply.pending = {*stop_token_};
    } else if (!drawn_.empty()) {
      reply.pending = {drawn_.back()};
    }
    drawn_.resize(reported_);
    reply.tokens = std::move(drawn_);
    return reply;
  }

 private:
  void EndAtLimit() {
    if (drawn_.size() >= options_.max_new_tokens) End(GenerateEnd::kLimit);
  }

  const GenerateOptions& options_;
  LogitEditor editor_;
  std::vector<Token> drawn_;
  std::optional<Token> stop_token_;
  std::optional<GenerateEnd> end_;
  size_t due_ = 0, reported_ = 0;
};

}  // namespace detail

// Calls on_token(token) -> bool for every token of the reply; false ends it. Tokens that may belong to a stop sequence
// are reported when it is sure that they do not. If Generate gives an error, or something throws (on_token, an edit,
// memory), the state is as it was before, but for the logits that Transformer::Sample draws from; only the generator
// has gone on (by one too where another thread takes the last page of a pool just before a token needs it). The same
// generator, options and model give the same tokens on every backend.
template <class Model, class Generator, class OnToken>
Result<Generated> Generate(const Model& model, typename Model::State& state, std::span<const Token> prompt,
                           const GenerateOptions& options, Generator& generator, OnToken&& on_token) {
  static_assert(
      detail::CanGoBack<typename Model::State>,
      "bitnet: Generate needs a State with Mark, Here(), GoBack(mark), Truncate(length) and HasRoom(tokens), as "
      "Transformer's has");
  static_assert(detail::CanDraw<Model>,
                "bitnet: Generate needs a model with Feed(tokens, state), EditLogits(state, f) and Sample(state, "
                "options, random), as Transformer is");
  if (Result<Done> valid = options.Validate(); !valid.ok()) return Error{valid.error()};
  struct Guard {
    typename Model::State& state;
    typename Model::State::Mark before = state.Here();
    bool done = false;
    ~Guard() {
      if (!done) state.GoBack(before);
    }
  } guard{state};
  if (Result<Done> fed = model.Feed(prompt, state); !fed.ok()) return Error{fed.error()};

  const size_t start = state.length();
  detail::DrawnReply reply(options, prompt);
  const std::vector<Token>& drawn = reply.drawn();
  // The next token: after the last one that was drawn, if there is one.
  const auto next = [&](uint64_t random) -> Result<Token> {
    if constexpr (detail::CanFeedAndSample<Model>) {
      if (!drawn.empty() && options.edits.IsEmpty()) {
        return model.FeedAndSample({&drawn.back(), 1}, state, options.sampler, random);
      }
    }
    if (!drawn.empty()) {
      if (const Result<Done> fed = model.Feed({&drawn.back(), 1}, state); !fed.ok()) return Error{fed.error()};
    }
    if (!options.edits.IsEmpty()) {
      std::string fault;
      const Result<Done> read = model.EditLogits(state, [&](std::span<float> logits) {
        if (const Result<Done> edited = reply.Edit(logits); !edited.ok()) fault = edited.error();
      });
      if (!read.ok()) return Error{read.error()};
      if (!fault.empty()) return Error{fault};
    }
    return model.Sample(state, options.sampler, random);
  };
  // The same; nothing where there is no room.
  const auto next_if_room = [&]() -> Result<std::optional<Token>> {
    const auto has_room = [&] { return drawn.empty() || state.HasRoom(1); };
    if (!has_room()) return std::optional<Token>();
    const size_t length = state.length();
    const uint64_t random = reply.Number(generator);
    Result<Token> token = next(random);
    if (!token.ok() && state.length() == length && !drawn.empty()) {  // it was not fed
      // (Another thread may have given pages back since it was refused.)
      if (has_room()) static_cast<void>(token = next(random));
      if (!token.ok() && state.length() == length && !has_room()) return std::optional<Token>();
    }
    if (!token.ok()) return Error{token.error()};
    return std::optional(*token);
  };
  while (!reply.has_ended()) {
    const Result<std::optional<Token>> token = next_if_room();
    if (!token.ok()) return Error{token.error()};
    if (token->has_value()) {
      reply.Take(**token);
    } else {
      reply.End(GenerateEnd::kFull);
    }
    reply.Report(on_token);
  }
  Generated generated = std::move(reply).Finish();
  // What was drawn after the last token that was reported is dropped.
  if (generated.end == GenerateEnd::kCallback) state.Truncate(start + generated.tokens.size());
  guard.done = true;
  return generated;
}

}  // namespace bitnet

#endif  // BITNET_MODEL_GENERATE_H_
