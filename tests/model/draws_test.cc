
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "bitnet/base/random.h"
#include "bitnet/bitnet.h"
#include "testing/tiny_model.h"

namespace bitnet {
namespace {

using Model = Transformer<A48>;

TEST_CASE("FeedAndSample: the tokens of Feed and Sample, of a state alone and of turns") {
  const Model model(testing::TinyWeights<A48>());
  const std::vector<Token> prompt = testing::RandomTokens(9, model.config().vocab);
  const TurnDraw draws[] = {
      {{.temperature = 0.0f}, 5}, {{.temperature = 2.0f, .top_k = 4}, 1u << 31}, {{}, ~uint64_t{0}}};
  std::vector<Model::State> states, expected;
  std::vector<Model::Turn> turns;
  for (size_t i = 0; i < 3; ++i) states.push_back(model.NewState()), expected.push_back(model.NewState());
  for (size_t i = 0; i < 3; ++i) turns.push_back({&states[i], std::span(prompt).first(3 * i + 1)});
  auto workspace = model.NewWorkspace();
  const auto drawn = model.FeedAndSample(turns, draws, workspace);
  REQUIRE(drawn.ok());
  REQUIRE(drawn->size() == 3);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(states[i].length() == 3 * i + 1);
    REQUIRE(model.Feed(turns[i].tokens, expected[i]).ok());
    const Token token = *model.Sample(expected[i], draws[i].options, draws[i].random);
    CHECK((*drawn)[i] == token);
    auto alone = model.NewState();
    CHECK(*model.FeedAndSample(turns[i].tokens, alone, draws[i].options, draws[i].random) == token);
  }
}

TEST_CASE("FeedAndSample: what Feed refuses leaves all as it was; of what Sample refuses the tokens are fed") {
  const Model model(testing::TinyWeights<A48>());
  const Token outside = model.config().vocab;
  auto state = model.NewState();
  const Result<Token> refused = model.FeedAndSample({&outside, 1}, state, {}, 1);
  REQUIRE(!refused.ok());
  CHECK(refused.error().find("the vocabulary has") != std::string::npos);
  CHECK(state.length() == 0);
  auto weights = testing::TinyWeights<A48>();
  weights.final_norm[0] = std::numeric_limits<float>::quiet_NaN();
  const Model broken(weights);
  auto fed = broken.NewState(), other = broken.NewState();
  const Token token = 1;
  const Result<Token> no_token = broken.FeedAndSample({&token, 1}, fed, {}, 1);
  REQUIRE(!no_token.ok());
  CHECK(no_token.error() == broken.Sample(fed, {}, 1).error());
  CHECK(fed.length() == 1);
  auto workspace = broken.NewWorkspace();
  const Model::Turn turns[] = {{&fed, {&token, 1}}, {&other, {&token, 1}}};
  const TurnDraw draws[2] = {};
  CHECK(broken.FeedAndSample(turns, draws, workspace).error() == "turn 0: " + no_token.error());
}

// A model of somebody else's: Feed and Sample in two.
struct InTwo {
  using State = Model::State;
  const Model& model;
  Result<Done> Feed(std::span<const Token> tokens, State& state) const { return model.Feed(tokens, state); }
  template <class F>
  Result<Done> EditLogits(State& state, F&& f) const {
    return model.EditLogits(state, f);
  }
  Result<Token> Sample(State& state, const SamplerOptions& options, uint64_t random) const {
    return model.Sample(state, options, random);
  }
};
static_assert(detail::CanFeedAndSample<Model> && !detail::CanFeedAndSample<InTwo>);

TEST_CASE("Generate: the same reply, and the same numbers taken, whether a model draws in its passes or not") {
  const Model model(testing::TinyWeights<A48>());
  const std::vector<Token> prompt = testing::RandomTokens(9, model.config().vocab);
  for (const size_t room : {100u, 20u, 9u}) {  // the last two are full before the limit
    auto state = model.NewState(room), state_in_two = model.NewState(room);
    Random random(7), random_in_two(7);
    const GenerateOptions options = {.max_new_tokens = 30};
    const auto goes = [](Token) { return true; };
    const auto reply = Generate(model, state, prompt, options, random, goes);
    const auto in_two = Generate(InTwo{model}, state_in_two, prompt, options, random_in_two, goes);
    REQUIRE(reply.ok());
    REQUIRE(in_two.ok());
    CHECK(reply->tokens == in_two->tokens);
    CHECK(reply->tokens.size() == (room == 100 ? 30 : room - 9 + 1));
    CHECK(reply->end == in_two->end);
    CHECK(reply->end == (room == 100 ? GenerateEnd::kLimit : GenerateEnd::kFull));
    CHECK(reply->pending == in_two->pending);
    CHECK(state.length() == state_in_two.length());
    // A number for each token, and none for what had no room.
    Random counted(7);
    for (size_t i = 0; i < reply->tokens.size(); ++i) static_cast<void>(RandomBits(counted));
    const uint64_t next = counted();
    CHECK(random() == next);
    CHECK(random_in_two() == next);
  }
}

}  // namespace
}  // namespace bitnet
