#include "bitnet/model/perplexity.h"

#include <doctest/doctest.h>

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "bitnet/backend/simd/default_backend.h"
#include "testing/tiny_model.h"

namespace bitnet {
namespace {

TEST_CASE("CrossEntropy: -log softmax") {
  const std::vector<float> logits = {1.0f, 3.0f, -2.0f};
  const double sum = std::exp(1.0) + std::exp(3.0) + std::exp(-2.0);
  for (const Token token : {0u, 1u, 2u}) {
    CHECK(CrossEntropy(logits, token) ==
          doctest::Approx(-std::log(std::exp(double{logits[token]}) / sum)).epsilon(1e-12));
  }
  // Logits whose exponentials are no doubles.
  CHECK(CrossEntropy(std::vector<float>{2000.0f, 2000.0f}, 0) == doctest::Approx(std::log(2.0)));
}

TEST_CASE("ScoreText: each token from those before it in its window") {
  const Transformer<A48> model(testing::TinyWeights<A48>());
  const auto tokens = testing::RandomTokens(150, model.config().vocab);
  // Token by token.
  const auto expect = [&](size_t context, std::optional<Token> begin) {
    TextScore score;
    auto state = model.NewState();
    std::vector<float> logits;
    const auto feed = [&](Token token) {
      const auto next = model.Forward({&token, 1}, state);
      REQUIRE(next.ok());
      logits.assign(next->begin(), next->end());
    };
    for (const Token token : tokens) {
      if (state.length() == 0 && begin) feed(*begin);
      if (state.length() != 0) {
        score.nats += CrossEntropy(logits, token);
        ++score.tokens;
      }
      feed(token);
      if (state.length() == context) state.Truncate(0);
    }
    return score;
  };
  for (const size_t context : {size_t{2}, size_t{65}, size_t{66}, size_t{150}, size_t{300}}) {
    for (const std::optional<Token> begin : {std::optional<Token>(), std::optional<Token>(3)}) {
      CAPTURE(context);
      const TextScore expected = expect(context, begin);
      size_t scored = 0;
      const auto score = ScoreText(model, tokens, {.context = context, .begin = begin, .after = [&](size_t n) {
                                                     CHECK(n > scored);
                                                     scored = n;
                                                     return true;
                                                   }});
      REQUIRE_MESSAGE(score.ok(), (score.ok() ? "" : score.error()));
      CHECK(scored == tokens.size());
      CHECK(score->tokens == expected.tokens);
      CHECK(score->nats == doctest::Approx(expected.nats).epsilon(1e-12));
      CHECK(score->Perplexity() ==
            doctest::Approx(std::exp(expected.nats / static_cast<double>(expected.tokens))).epsilon(1e-12));
    }
  }
  // Ended early.
  const auto part = ScoreText(model, tokens, {.context = 50, .begin = {}, .after = [](size_t) { return false; }});
  REQUIRE(part.ok());
  CHECK(part->tokens == 49);
}

TEST_CASE("ScoreText: what cannot be scored is refused with a sentence") {
  const Transformer<A48> model(testing::TinyWeights<A48>());
  const auto refusal = [&](std::vector<Token> tokens,
                           const ScoreOptions& options = {.context = 8, .begin = {}, .after = {}}) {
    const auto score = ScoreText(model, tokens, options);
    REQUIRE(!score.ok());
    return score.error();
  };
  CHECK(refusal({1}) == "perplexity: the text has 1 tokens; none is predicted");
  CHECK(refusal({}, {.context = 8, .begin = 1, .after = {}}) == "perplexity: the text has 0 tokens; none is predicted");
  CHECK(refusal({1, 2, 19}) == "perplexity: token 2 of the text is 19; the vocabulary has 19");
  CHECK(refusal({1, 2}, {.context = 1, .begin = {}, .after = {}}) ==
        "perplexity: the context is 1 tokens; it must be 2 to the 320 of the model");
  CHECK(refusal({1, 2}, {.context = 321, .begin = {}, .after = {}}).find("2 to the 320") != std::string::npos);
}

}  // namespace
}  // namespace bitnet
