#include "bitnet/model/generate.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "bitnet/base/random.h"

namespace bitnet {
namespace {

// A model that counts: after token t comes t + 1 (modulo 10), surely. It logs what Feed was given.
struct CountingModel {
  struct State {
    size_t length() const { return tokens.size(); }
    size_t max_tokens() const { return room; }
    using Mark = size_t;
    Mark Here() const { return tokens.size(); }
    void GoBack(Mark length) noexcept { tokens.resize(length); }
    size_t room = 100;
    std::vector<Token> tokens;
    std::vector<size_t> calls;
    std::vector<float> logits;
  };

  Result<Done> Feed(std::span<const Token> tokens, State& state) const {
    if (tokens.empty()) return Error{"no tokens"};
    if (tokens.size() > state.room - state.tokens.size()) return Error{"overflow"};
    state.tokens.insert(state.tokens.end(), tokens.begin(), tokens.end());
    state.calls.push_back(tokens.size());
    state.logits.assign(10, 0.0f);
    state.logits[(tokens.back() + 1) % 10] = 50.0f;
    if (tokens.back() == nan_after) state.logits[3] = std::numeric_limits<float>::quiet_NaN();
    return Done{};
  }
  Result<Token> Sample(State& state, const SamplerOptions& options, uint64_t random) const {
    SampleScratch scratch;
    return SampleToken(state.logits, options, random, scratch);
  }
  Token nan_after = 99;
};

using Tokens = std::vector<Token>;

struct Outcome {
  Tokens tokens, reported;
  std::string error;
  CountingModel::State state;
};

Outcome Run(const Tokens& prompt, const GenerateOptions& options, size_t room = 100, size_t stop_after = 1000,
            const CountingModel& model = {}) {
  Outcome outcome;
  outcome.state.room = room;
  Random random(1);
  const Result<Tokens> tokens = Generate(model, outcome.state, prompt, options, random, [&](Token token) {
    outcome.reported.push_back(token);
    return outcome.reported.size() < stop_after;
  });
  if (tokens.ok()) {
    outcome.tokens = *tokens;
  } else {
    outcome.error = tokens.error();
  }
  return outcome;
}

TEST_CASE("Generate: reads the prompt at once, then each new token but the last, and reports each") {
  const Outcome o = Run({3, 7}, {.max_new_tokens = 4, .stop_tokens = {}, .sampler = {}});
  CHECK(o.tokens == Tokens{8, 9, 0, 1});
  CHECK(o.reported == o.tokens);
  CHECK(o.state.tokens == Tokens{3, 7, 8, 9, 0});
  CHECK(o.state.calls == std::vector<size_t>{2, 1, 1, 1});
}

TEST_CASE("Generate: goes on in a state that holds tokens already") {
  CountingModel::State state;
  Random random(1);
  const CountingModel model;
  const auto keep_on = [](Token) { return true; };
  const GenerateOptions two{.max_new_tokens = 2, .stop_tokens = {}, .sampler = {}};
  CHECK(*Generate(model, state, Tokens{1}, two, random, keep_on) == Tokens{2, 3});
  CHECK(*Generate(model, state, Tokens{3, 8}, two, random, keep_on) == Tokens{9, 0});
  CHECK(state.tokens == Tokens{1, 2, 3, 8, 9});
}

TEST_CASE("Generate: ends before a stop token, which nobody sees") {
  const Outcome o = Run({5}, {.stop_tokens = {9, 2}, .sampler = {}});
  CHECK(o.tokens == Tokens{6, 7, 8});
  CHECK(o.reported == o.tokens);
  CHECK(o.state.tokens == Tokens{5, 6, 7, 8});
  CHECK(Run({8}, {.stop_tokens = {9}, .sampler = {}}).tokens.empty());
}

TEST_CASE("Generate: ends where the state is full, where the caller says so, and at once for no tokens") {
  const Outcome full = Run({0, 1}, {}, 5);
  CHECK(full.tokens == Tokens{2, 3, 4, 5});  // the last is not read: there is no room
  CHECK(full.state.tokens == Tokens{0, 1, 2, 3, 4});
  CHECK(full.error == "");
  const Outcome exact = Run({0, 1}, {}, 2);
  CHECK(exact.tokens == Tokens{2});

  const Outcome told = Run({0}, {}, 100, 3);
  CHECK(told.tokens == Tokens{1, 2, 3});
  CHECK(told.state.tokens == Tokens{0, 1, 2});

  const Outcome none = Run({4}, {.max_new_tokens = 0, .stop_tokens = {}, .sampler = {}});
  CHECK(none.tokens.empty());
  CHECK(none.error == "");
  CHECK(none.state.tokens == Tokens{4});
}

TEST_CASE("Generate: where it fails the state is as it was before") {
  CountingModel::State state;
  state.tokens = {7, 7};
  Random random(1);
  const GenerateOptions options{.stop_tokens = {}, .sampler = {}};
  const auto keep_on = [](Token) { return true; };
  CHECK(!Generate(CountingModel{.nan_after = 4}, state, Tokens{1, 2}, options, random, keep_on).ok());
  CHECK(state.tokens == Tokens{7, 7});
  struct Enough {};
  CHECK_THROWS_AS(static_cast<void>(Generate(CountingModel(), state, Tokens{1, 2}, options, random,
                                             [](Token token) {
                                               if (token == 5) throw Enough();
                                               return true;
                                             })),
                  Enough);
  CHECK(state.tokens == Tokens{7, 7});
}

TEST_CASE("Generate: the model's and the sampler's sentences come through") {
  CHECK(Run({}, {}).error == "no tokens");
  CHECK(Run({}, {.max_new_tokens = 0, .stop_tokens = {}, .sampler = {}}).error == "no tokens");
  CHECK(Run({1, 2, 3}, {}, 2).error == "overflow");
  CHECK(Run({1}, {}, 100, 1000, {.nan_after = 4}).error.find("is NaN") != std::string::npos);
  const Outcome wrong = Run({1}, {.stop_tokens = {}, .sampler = {.temperature = -1.0f}});
  CHECK(wrong.error.find("temperature") != std::string::npos);
  CHECK(wrong.state.tokens.empty());
}

}  // namespace
}  // namespace bitnet
