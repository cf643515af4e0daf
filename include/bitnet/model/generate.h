// Generate: prefill a prompt, then decode until a stop token, a limit, a full cache or the caller's word.
#ifndef BITNET_MODEL_GENERATE_H_
#define BITNET_MODEL_GENERATE_H_

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "bitnet/backend/sampling.h"
#include "bitnet/base/random.h"
#include "bitnet/base/result.h"
#include "bitnet/model/transformer.h"

namespace bitnet {

struct GenerateOptions {
  size_t max_new_tokens = std::numeric_limits<size_t>::max();
  std::vector<Token> stop_tokens;  // ends before such a token is reported
  SamplerOptions sampler;
};

namespace detail {
template <class State>
concept CanGoBack = requires(State& state, const State& then, const typename State::Mark& mark) {
  { then.Here() } -> std::convertible_to<typename State::Mark>;
  state.GoBack(mark);
};
template <class Model>
concept CanDraw = requires(const Model& model, typename Model::State& state, std::span<const Token> tokens,
                           const SamplerOptions& options) {
  { model.Feed(tokens, state) } -> std::same_as<Result<Done>>;
  { model.Sample(state, options, uint64_t{0}) } -> std::same_as<Result<Token>>;
};
}  // namespace detail

// Calls on_token(token) -> bool for every new token; false ends. Returns the new tokens (fewer than asked for if the
// state is full). After it, the state holds prompt and all new tokens but the last, which no Forward has read yet
// (where a stop token ended it: all of them). If it gives an error, or something throws (on_token, memory), the state
// is as it was before, but for the logits that Transformer::Sample draws from; only the generator has gone on.
template <class Model, class Generator, class OnToken>
Result<std::vector<Token>> Generate(const Model& model, typename Model::State& state, std::span<const Token> prompt,
                                    const GenerateOptions& options, Generator& generator, OnToken&& on_token) {
  static_assert(detail::CanGoBack<typename Model::State>,
                "bitnet: Generate needs a State with Mark, Here() and GoBack(mark), as Transformer's has");
  static_assert(detail::CanDraw<Model>,
                "bitnet: Generate needs a model with Feed(tokens, state) and Sample(state, options, random), as "
                "Transformer is");
  if (Result<Done> valid = options.sampler.Validate(); !valid.ok()) return Error{valid.error()};
  struct Guard {
    typename Model::State& state;
    typename Model::State::Mark before = state.Here();
    bool done = false;
    ~Guard() {
      if (!done) state.GoBack(before);
    }
  } guard{state};
  const bool is_greedy = options.sampler.temperature == 0.0f;
  std::vector<Token> generated;
  Result<Done> fed = model.Feed(prompt, state);
  while (generated.size() < options.max_new_tokens) {
    if (!fed.ok()) return Error{fed.error()};
    const Result<Token> token = model.Sample(state, options.sampler, is_greedy ? 0 : RandomBits(generator));
    if (!token.ok()) return Error{token.error()};
    if (std::find(options.stop_tokens.begin(), options.stop_tokens.end(), *token) != options.stop_tokens.end()) break;
    generated.push_back(*token);
    if (!on_token(*token) || state.length() == state.max_tokens()) break;
    if (generated.size() < options.max_new_tokens) fed = model.Feed({&generated.back(), 1}, state);
  }
  if (!fed.ok()) return Error{fed.error()};
  guard.done = true;
  return generated;
}

}  // namespace bitnet

#endif  // BITNET_MODEL_GENERATE_H_
