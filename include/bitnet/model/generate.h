// Generate: prefill a prompt, then decode until a stop token, a limit, a full cache or the caller's word.
#ifndef BITNET_MODEL_GENERATE_H_
#define BITNET_MODEL_GENERATE_H_

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/model/sampler.h"
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
}  // namespace detail

// Calls on_token(token) -> bool for every new token; false ends. Returns the new tokens (fewer than asked for if the
// state is full). After it, the state holds prompt and all new tokens but the last, which no Forward has read yet
// (where a stop token ended it: all of them). If it gives an error, or something throws (on_token, memory), the state
// is as it was before; only the generator has gone on.
template <class Model, class Generator, class OnToken>
Result<std::vector<Token>> Generate(const Model& model, typename Model::State& state, std::span<const Token> prompt,
                                    const GenerateOptions& options, Generator& generator, OnToken&& on_token) {
  static_assert(detail::CanGoBack<typename Model::State>,
                "bitnet: Generate needs a State with Mark, Here() and GoBack(mark), as Transformer's has");
  if (Result<Done> valid = options.sampler.Validate(); !valid.ok()) return Error{valid.error()};
  struct Guard {
    typename Model::State& state;
    typename Model::State::Mark before = state.Here();
    bool done = false;
    ~Guard() {
      if (!done) state.GoBack(before);
    }
  } guard{state};
  Sampler sampler(options.sampler);
  std::vector<Token> generated;
  Result<std::span<const float>> logits = model.Forward(prompt, state);
  while (generated.size() < options.max_new_tokens) {
    if (!logits.ok()) return Error{logits.error()};
    const Result<Token> token = sampler(*logits, generator);
    if (!token.ok()) return Error{token.error()};
    if (std::find(options.stop_tokens.begin(), options.stop_tokens.end(), *token) != options.stop_tokens.end()) break;
    generated.push_back(*token);
    if (!on_token(*token) || state.length() == state.max_tokens()) break;
    if (generated.size() < options.max_new_tokens) logits = model.Forward({&generated.back(), 1}, state);
  }
  if (!logits.ok()) return Error{logits.error()};
  guard.done = true;
  return generated;
}

}  // namespace bitnet

#endif  // BITNET_MODEL_GENERATE_H_
