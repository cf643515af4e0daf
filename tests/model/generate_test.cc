#include "bitnet/model/generate.h"

#include <doctest/doctest.h>

#include <algorithm>
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
    bool HasRoom(size_t n) const { return n <= room - tokens.size(); }
    using Mark = size_t;
    Mark Here() const { return tokens.size(); }
    void GoBack(Mark length) noexcept { tokens.resize(length); }
    void Truncate(size_t length) { tokens.resize(std::min(length, tokens.size())); }
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
  template <class F>
  Result<Done> EditLogits(State& state, F&& f) const {
    f(std::span(state.logits));
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
  Tokens tokens, reported, pending;
  GenerateEnd end = GenerateEnd::kLimit;
  std::string error;
  CountingModel::State state;
};

Outcome Run(const Tokens& prompt, const GenerateOptions& options, size_t room = 100, size_t stop_after = 1000,
            const CountingModel& model = {}) {
  Outcome outcome;
  outcome.state.room = room;
  Random random(1);
  const Result<Generated> reply = Generate(model, outcome.state, prompt, options, random, [&](Token token) {
    outcome.reported.push_back(token);
    return outcome.reported.size() < stop_after;
  });
  if (reply.ok()) {
    outcome.tokens = reply->tokens;
    outcome.pending = reply->pending;
    outcome.end = reply->end;
  } else {
    outcome.error = reply.error();
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
  const auto first = Generate(model, state, Tokens{1}, two, random, keep_on);
  CHECK(first->tokens == Tokens{2, 3});
  CHECK(first->pending == Tokens{3});
  CHECK(Generate(model, state, Tokens{3, 8}, two, random, keep_on)->tokens == Tokens{9, 0});
  CHECK(state.tokens == Tokens{1, 2, 3, 8, 9});
}

TEST_CASE("Generate: ends before a stop token, which nobody sees") {
  const Outcome o = Run({5}, {.stop_tokens = {9, 2}, .sampler = {}});
  CHECK(o.tokens == Tokens{6, 7, 8});
  CHECK(o.reported == o.tokens);
  CHECK(o.state.tokens == Tokens{5, 6, 7, 8});
  CHECK(o.end == GenerateEnd::kStopToken);
  CHECK(o.pending == Tokens{9});
  CHECK(Run({8}, {.stop_tokens = {9}, .sampler = {}}).tokens.empty());
}

TEST_CASE("Generate: ends where the state is full, where the caller says so, and at once for no tokens") {
  const Outcome full = Run({0, 1}, {}, 5);
  CHECK(full.tokens == Tokens{2, 3, 4, 5});  // the last is not read: there is no room
  CHECK(full.state.tokens == Tokens{0, 1, 2, 3, 4});
  CHECK(full.error == "");
  CHECK(full.end == GenerateEnd::kFull);
  CHECK(full.pending == Tokens{5});
  const Outcome exact = Run({0, 1}, {}, 2);
  CHECK(exact.tokens == Tokens{2});

  const Outcome told = Run({0}, {}, 100, 3);
  CHECK(told.tokens == Tokens{1, 2, 3});
  CHECK(told.state.tokens == Tokens{0, 1, 2});
  CHECK(told.end == GenerateEnd::kCallback);
  CHECK(told.pending == Tokens{3});

  const Outcome none = Run({4}, {.max_new_tokens = 0, .stop_tokens = {}, .sampler = {}});
  CHECK(none.tokens.empty());
  CHECK(none.error == "");
  CHECK(none.state.tokens == Tokens{4});
  CHECK(none.end == GenerateEnd::kLimit);
  CHECK(none.pending.empty());
}

// Whatever the end: state and pending hold the prompt, the reply, and what ended it.
void CheckHolds(const Outcome& o, Tokens expected) {
  Tokens held = o.state.tokens;
  held.insert(held.end(), o.pending.begin(), o.pending.end());
  CHECK(held == expected);
  CHECK(o.pending.size() <= 1);
  CHECK(o.reported == o.tokens);
  CHECK(o.error == "");
}

TEST_CASE("Generate: ends before a stop sequence, whose tokens nobody sees") {
  GenerateOptions options;
  options.stop_sequences = {{7, 8, 9}, {9, 1}, {8, 0}};
  const Outcome o = Run({4}, options);
  CHECK(o.end == GenerateEnd::kStopSequence);
  CHECK(o.tokens == Tokens{5, 6});
  CheckHolds(o, {4, 5, 6, 7, 8, 9});
  // From its first token on; and a sequence of one token.
  const Outcome whole = Run({6}, options);
  CHECK(whole.tokens.empty());
  CheckHolds(whole, {6, 7, 8, 9});
  options.stop_sequences = {{3}};
  CHECK(Run({1}, options).tokens == Tokens{2});
  // It is the reply's: the prompt's tokens do not begin it.
  options.stop_sequences = {{4, 5}, {8, 9}};
  const Outcome later = Run({4}, options);
  CHECK(later.tokens == Tokens{5, 6, 7});
}

TEST_CASE("Generate: tokens that may begin a stop sequence wait, and come when they do not") {
  GenerateOptions options;
  options.stop_sequences = {{6, 7, 1}};
  options.max_new_tokens = 3;  // 5, 6, 7: the last two are held back until the end
  const Outcome o = Run({4}, options);
  CHECK(o.end == GenerateEnd::kLimit);
  CHECK(o.tokens == Tokens{5, 6, 7});
  CheckHolds(o, {4, 5, 6, 7});
  options.max_new_tokens = 6;
  CHECK(Run({4}, options).tokens == Tokens{5, 6, 7, 8, 9, 0});
  options.stop_tokens = {8};
  const Outcome token = Run({4}, options);
  CHECK(token.end == GenerateEnd::kStopToken);
  CHECK(token.tokens == Tokens{5, 6, 7});
  CheckHolds(token, {4, 5, 6, 7, 8});
  // Enough while others are held: they are dropped.
  options.stop_tokens = {};
  for (const size_t enough : {1u, 2u, 3u, 4u}) {
    const Outcome told = Run({4}, options, 100, enough);
    CHECK(told.end == GenerateEnd::kCallback);
    const Tokens all = {4, 5, 6, 7, 8};
    CheckHolds(told, Tokens(all.begin(), all.begin() + 1 + static_cast<std::ptrdiff_t>(enough)));
  }
  options.stop_tokens = {8};
  const Outcome told = Run({4}, options, 100, 3);
  CHECK(told.end == GenerateEnd::kCallback);
  CheckHolds(told, {4, 5, 6, 7});
}

TEST_CASE("Generate: biases, the repetition penalty and edits change what is drawn") {
  GenerateOptions options;
  options.max_new_tokens = 3;
  options.sampler.temperature = 0.0f;
  // Forbidden tokens: the others are equal, the lowest is drawn.
  options.edits.biases = {{5, -std::numeric_limits<float>::infinity()}, {0, -1.0f}, {2, 0.5f}};
  CHECK(Run({4}, options).tokens == Tokens{2, 3, 4});
  // Divided where it is above zero (50 / 100 < 1), within the window only.
  options.edits.biases = {{8, 1.0f}};
  options.edits.repetition_penalty = 100.0f;
  CHECK(Run({5, 6, 4}, options).tokens == Tokens{8, 9, 0});
  options.edits.repetition_window = 2;
  CHECK(Run({5, 6, 4}, options).tokens == Tokens{5, 6, 7});
  // The reply's own tokens count too.
  options.edits.repetition_window = 64;
  options.max_new_tokens = 11;
  CHECK(Run({8}, options).tokens == Tokens{9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8});
  options.edits = {};
  options.max_new_tokens = 3;
  Tokens seen;
  options.edits.edit = [&](std::span<const Token> reply, std::span<float> logits) {
    seen.push_back(static_cast<Token>(reply.size()));
    logits[7] = 100.0f;
  };
  CHECK(Run({4}, options).tokens == Tokens{7, 7, 7});
  CHECK(seen == Tokens{0, 1, 2});
}

TEST_CASE("Generate: options that cannot be are refused with a sentence") {
  GenerateOptions options;
  options.edits.biases = {{10, 1.0f}};
  const Outcome outside = Run({1}, options);
  CHECK(outside.error == "generate: a bias is given for token 10; the vocabulary has 10");
  CHECK(outside.state.tokens.empty());
  options.edits.biases = {{1, std::numeric_limits<float>::quiet_NaN()}};
  CHECK(Run({1}, options).error.starts_with("generate: the bias of token 1 is"));
  options.edits.biases = {};
  for (const float penalty : {0.0f, -1.0f, std::numeric_limits<float>::infinity()}) {
    options.edits.repetition_penalty = penalty;
    CHECK(Run({1}, options).error.starts_with("generate: repetition_penalty is"));
  }
  options.edits = {};
  options.stop_sequences = {{1}, {}};
  CHECK(Run({1}, options).error.starts_with("generate: a stop sequence is empty"));
  options.stop_sequences = {};
  options.sampler.min_p = 1.5f;
  CHECK(Run({1}, options).error.starts_with("sampling: min_p is"));
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
