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

// Applies edits; keeps the prompt's and the reply's last tokens.
class LogitEditor {
 public:
  LogitEditor(const LogitEdits& edits, std::span<const Token> prompt) : edits_(edits) {
    if (edits_.repetition_penalty == 1.0f) return;
    recent_.assign(prompt.end() - static_cast<std::ptrdiff_t>(std::min(prompt.size(), edits_.repetition_window)),
                   prompt.end());
  }
  void Add(Token token) {
    if (edits_.repetition_penalty != 1.0f) recent_.push_back(token);
  }
  // The first token that is not in the vocabulary, said.
  Result<Done> operator()(std::span<const Token> reply, std::span<float> logits) {
    if (edits_.repetition_penalty != 1.0f) {
      const size_t window = std::min(recent_.size(), edits_.repetition_window);
      punished_.assign(recent_.end() - static_cast<std::ptrdiff_t>(window), recent_.end());
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
  std::vector<Token> recent_, punished_;
};

// How many of the last tokens of `tokens` begin a sequence; all of a sequence, if they end with it.
inline size_t BegunLength(std::span<const Token> tokens, const std::vector<Token>& sequence) {
  for (size_t n = std::min(tokens.size(), sequence.size()); n > 0; --n) {
    if (std::equal(tokens.end() - static_cast<std::ptrdiff_t>(n), tokens.end(), sequence.begin())) return n;
  }
  return 0;
}

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
  const bool is_greedy = options.sampler.temperature == 0.0f;
  detail::LogitEditor editor(options.edits, prompt);
  std::vector<Token> drawn;  // all but a stop token
  Generated reply;
  // Reports tokens until `count` of `drawn` are; false where the caller had enough.
  const auto report = [&](size_t count) {
    while (reply.tokens.size() < count) {
      reply.tokens.push_back(drawn[reply.tokens.size()]);
      if (on_token(reply.tokens.back())) continue;
      reply.end = GenerateEnd::kCallback;
      return false;
    }
    return true;
  };
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
        if (const Result<Done> edited = editor(drawn, logits); !edited.ok()) fault = edited.error();
      });
      if (!read.ok()) return Error{read.error()};
      if (!fault.empty()) return Error{fault};
    }
    return model.Sample(state, options.sampler, random);
  };
  // Draws until an end that is not the caller's: returns how many of the tokens that are drawn belong to the reply;
  // nothing, if the caller had enough before.
  const auto draw = [&]() -> Result<std::optional<size_t>> {
    while (drawn.size() < options.max_new_tokens) {
      const auto has_room = [&] { return drawn.empty() || state.HasRoom(1); };
      const auto full = [&] {
        reply.end = GenerateEnd::kFull;
        return std::optional(drawn.size());
      };
      if (!has_room()) return full();
      const size_t length = state.length();
      const uint64_t random = is_greedy ? 0 : RandomBits(generator);
      Result<Token> token = next(random);
      if (!token.ok() && state.length() == length && !drawn.empty()) {  // it was not fed
        // (Another thread may have given pages back since it was refused.)
        if (has_room()) static_cast<void>(token = next(random));
        if (!token.ok() && state.length() == length && !has_room()) return full();
      }
      if (!token.ok()) return Error{token.error()};
      if (std::find(options.stop_tokens.begin(), options.stop_tokens.end(), *token) != options.stop_tokens.end()) {
        reply.end = GenerateEnd::kStopToken;
        reply.pending = {*token};
        return std::optional(drawn.size());
      }
      drawn.push_back(*token);
      editor.Add(*token);
      size_t held = 0;
      for (const std::vector<Token>& sequence : options.stop_sequences) {
        const size_t begun = detail::BegunLength(drawn, sequence);
        if (begun == sequence.size()) {
          reply.end = GenerateEnd::kStopSequence;
          return std::optional(drawn.size() - begun);
        }
        held = std::max(held, begun);
      }
      if (!report(drawn.size() - held)) return std::optional<size_t>();
    }
    reply.end = GenerateEnd::kLimit;
    return std::optional(drawn.size());
  };
  const Result<std::optional<size_t>> count = draw();
  if (!count.ok()) return Error{count.error()};
  const bool is_callers = !count->has_value() || !report(**count);
  if (is_callers) {
    // What was drawn after the last token that was reported is dropped.
    reply.pending.clear();
    if (state.length() < start + reply.tokens.size()) reply.pending = {reply.tokens.back()};
    state.Truncate(start + reply.tokens.size());
  } else if (reply.end != GenerateEnd::kStopToken && !drawn.empty()) {
    reply.pending = {drawn.back()};
  }
  guard.done = true;
  return reply;
}

}  // namespace bitnet

#endif  // BITNET_MODEL_GENERATE_H_
