// Perplexity: how well a model predicts a text, exp of the mean cross-entropy of its tokens.
//
//   Result<TextScore> score = ScoreText(model, tokens);
//   score->Perplexity();
#ifndef BITNET_MODEL_PERPLEXITY_H_
#define BITNET_MODEL_PERPLEXITY_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/model/transformer.h"

namespace bitnet {

struct TextScore {
  double nats = 0.0;  // the sum of -log p over the tokens that were predicted
  size_t tokens = 0;  // how many these are

  double Perplexity() const { return std::exp(nats / static_cast<double>(tokens)); }
};

struct ScoreOptions {
  size_t context = 512;               // tokens of a window; the windows of a text do not overlap
  std::optional<Token> begin;         // put before each window, as models that were trained with it want
  std::function<bool(size_t)> after;  // called after each window with the tokens read so far; false ends it early
};

// -log softmax(logits)[token], in double.
inline double CrossEntropy(std::span<const float> logits, Token token) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const float l : logits) sum += std::exp(double{l} - max);
  return std::log(sum) - (double{logits[token]} - max);
}

// Each token of a window but the first is predicted from those before it (with `begin` the first too). Refuses what
// Forward does, and a text in which nothing is predicted.
template <Scheme S, Backend B>
Result<TextScore> ScoreText(const Transformer<S, B>& model, std::span<const Token> tokens,
                            const ScoreOptions& options = {}) {
  const size_t first = options.begin ? 1 : 0;
  if (options.context < 2 || options.context > model.config().max_positions) {
    return Error{"perplexity: the context is " + std::to_string(options.context) + " tokens; it must be 2 to the " +
                 std::to_string(model.config().max_positions) + " of the model"};
  }
  if (tokens.size() < 2 - first) {
    return Error{"perplexity: the text has " + std::to_string(tokens.size()) + " tokens; none is predicted"};
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < model.config().vocab) continue;
    return Error{"perplexity: token " + std::to_string(i) + " of the text is " + std::to_string(tokens[i]) +
                 "; the vocabulary has " + std::to_string(model.config().vocab)};
  }
  // Few at a time, as each has the logits of the whole vocabulary.
  constexpr size_t kAtOnce = 64;
  auto state = model.NewState(options.context);
  TextScore score;
  std::vector<Token> window;
  for (size_t at = 0; at < tokens.size();) {
    const size_t n = std::min(options.context - first, tokens.size() - at);
    window.assign(1, options.begin.value_or(0));
    window.resize(first);
    window.insert(window.end(), tokens.begin() + static_cast<std::ptrdiff_t>(at),
                  tokens.begin() + static_cast<std::ptrdiff_t>(at + n));
    state.Truncate(0);
    for (size_t begin = 0; begin + 1 < window.size(); begin += kAtOnce) {
      const size_t count = std::min(kAtOnce, window.size() - 1 - begin);
      const auto logits = model.ForwardAll(std::span(window).subspan(begin, count), state);
      if (!logits.ok()) return Error{logits.error()};
      for (size_t t = 0; t < count; ++t) {
        score.nats += CrossEntropy((*logits)[t], window[begin + t + 1]);
        ++score.tokens;
      }
    }
    at += n;
    if (options.after && !options.after(at)) break;
  }
  return score;
}

}  // namespace bitnet

#endif  // BITNET_MODEL_PERPLEXITY_H_
