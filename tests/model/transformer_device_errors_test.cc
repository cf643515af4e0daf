// What a model does where its backend's device fails: operations say nothing, Finish does.
#include <doctest/doctest.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "bitnet/backend/reference.h"
#include "bitnet/model/continuous_batch.h"
#include "bitnet/model/generate.h"
#include "bitnet/model/transformer.h"
#include "testing/expect_assertion.h"
#include "testing/tiny_model.h"

namespace bitnet::testing {
namespace {

// Fails in Finish while *fails is set.
class FailingBackend : public ReferenceBackend {
 public:
  explicit FailingBackend(const bool* fails) : fails_(fails) {}
  Result<Done> Finish(Stream&) const {
    if (*fails_) return Error{"the device is out of memory"};
    return Done{};
  }

 private:
  const bool* fails_;
};

TEST_CASE("Transformer: an error of the device comes out of Forward, and the state is as it was") {
  bool fails = false;
  const ModelWeights<A48> weights = TinyWeights<A48>(TinyConfig());
  const Transformer<A48, FailingBackend> model(weights, FailingBackend(&fails));
  const std::vector<Token> tokens = RandomTokens(12, TinyConfig().vocab);
  auto state = model.NewState(20), undisturbed = model.NewState(20);
  state.CountWeights(true), undisturbed.CountWeights(true);
  REQUIRE(model.Forward(std::span(tokens).first(5), state).ok());
  REQUIRE(model.Forward(std::span(tokens).first(5), undisturbed).ok());

  fails = true;
  const auto failed = model.Forward(std::span(tokens).subspan(5), state);
  REQUIRE(!failed.ok());
  CHECK(failed.error() == "the device is out of memory");
  CHECK(!model.ForwardAll(std::span(tokens).subspan(5), state).ok());
  CHECK(!model.Hidden(std::span(tokens).subspan(5), state).ok());
  CHECK(state.length() == 5);
  CHECK(state.TotalWeightUse().Overall().total == undisturbed.TotalWeightUse().Overall().total);

  fails = false;
  const auto again = model.Forward(std::span(tokens).subspan(5), state);
  const auto expected = model.Forward(std::span(tokens).subspan(5), undisturbed);
  REQUIRE(again.ok());
  CHECK(SameBits(*again, *expected));
  CHECK(state.length() == 12);
}

TEST_CASE("Transformer: an error of the device comes out of Feed and Generate, once, and they may be called again") {
  bool fails = false;
  const ModelWeights<A48> weights = TinyWeights<A48>(TinyConfig());
  const Transformer<A48, FailingBackend> model(weights, FailingBackend(&fails));
  const std::vector<Token> tokens = RandomTokens(5, TinyConfig().vocab);
  auto state = model.NewState(20), undisturbed = model.NewState(20);
  REQUIRE(model.Feed(std::span(tokens).first(2), state).ok());
  REQUIRE(model.Feed(std::span(tokens).first(2), undisturbed).ok());
  fails = true;
  const Result<Done> fed = model.Feed(std::span(tokens).subspan(2), state);
  REQUIRE(!fed.ok());
  CHECK(fed.error() == "the device is out of memory");
  CHECK(state.length() == 2);
  // The logits before are gone.
  CHECK(Breaks("Forward or Feed must come first", [&] { (void)model.Sample(state, {}, 1); }));

  // In the middle of an answer.
  fails = false;
  GenerateOptions options;
  options.max_new_tokens = 8;
  Random random(1), same(1);
  size_t count = 0;
  const auto failed = Generate(model, state, std::span(tokens).subspan(2), options, random, [&](Token) {
    fails = ++count == 3;
    return true;
  });
  REQUIRE(!failed.ok());
  CHECK(failed.error() == "the device is out of memory");
  CHECK(count == 3);
  CHECK(state.length() == 2);

  fails = false;
  random = Random(1);
  const auto all = [](Token) { return true; };
  const auto again = Generate(model, state, std::span(tokens).subspan(2), options, random, all);
  const auto expected = Generate(model, undisturbed, std::span(tokens).subspan(2), options, same, all);
  REQUIRE(again.ok());
  CHECK(again->tokens == expected->tokens);
}

// A pass in which one conversation takes pages, one writes to a page that it shares, and one begins.
TEST_CASE("Transformer: an error of the device in a pass of several leaves all states and their pages as they were") {
  bool fails = false;
  const ModelWeights<A48> weights = TinyWeights<A48>(TinyConfig());
  const Transformer<A48, FailingBackend> model(weights, FailingBackend(&fails));
  using State = Transformer<A48, FailingBackend>::State;
  const std::vector<Token> tokens = RandomTokens(kPageTokens + 40, TinyConfig().vocab);
  const auto part = [&](size_t first, size_t count) { return std::span(tokens).subspan(first, count); };
  const auto pages = model.NewPool(6);
  State grows = model.NewState(tokens.size(), pages), begins = model.NewState(tokens.size(), pages);
  State first = model.NewState(tokens.size(), pages);
  REQUIRE(model.Feed(part(0, kPageTokens - 3), grows).ok());
  REQUIRE(model.Feed(part(10, 20), first).ok());
  State second = first;
  REQUIRE(pages->used_pages() == 2);
  auto workspace = model.NewWorkspace();
  const auto pass = [&] {
    return model.Forward({{&grows, part(kPageTokens - 3, 30)}, {&second, part(30, 4)}, {&begins, part(5, 9)}},
                         workspace);
  };

  for (int times = 0; times < 2; ++times) {
    fails = true;
    const auto failed = pass();
    fails = false;
    REQUIRE(!failed.ok());
    CHECK(failed.error() == "the device is out of memory");
    CHECK(pages->used_pages() == 2);
    CHECK(grows.length() == kPageTokens - 3);
    CHECK(second.length() == 20);
    CHECK(begins.length() == 0);
    CHECK(Breaks("Forward or Feed must come first", [&] { (void)model.Sample(workspace, 0, {}, 1); }));
  }

  // Each alone, in a pool of its own.
  const auto alone = [&](size_t begin, size_t count) {
    State state = model.NewState();
    const auto logits = model.Forward(part(begin, count), state);
    REQUIRE(logits.ok());
    return std::vector<float>((*logits).begin(), (*logits).end());
  };
  const auto logits = pass();
  REQUIRE(logits.ok());
  CHECK(pages->used_pages() == 5);
  CHECK(SameBits((*logits)[0], alone(0, kPageTokens + 27)));
  CHECK(SameBits((*logits)[1], alone(10, 24)));
  CHECK(SameBits((*logits)[2], alone(5, 9)));
  const auto of_first = model.Forward(part(30, 7), first);
  REQUIRE(of_first.ok());
  CHECK(SameBits(*of_first, alone(10, 27)));
}

// Forks of other lengths that all write to one page: the last of them in the pass may keep it, and may not write over
// what the others have again.
TEST_CASE("Transformer: a fork and its original in one pass need one page more, and both survive that it fails") {
  const ModelWeights<A48> weights = TinyWeights<A48>(TinyConfig());
  const std::vector<Token> tokens = RandomTokens(60, TinyConfig().vocab);
  const auto part = [&](size_t first, size_t count) { return std::span(tokens).subspan(first, count); };
  for (const size_t cut : {20u, 12u}) {
    for (const bool longer_first : {true, false}) {
      CAPTURE(cut);
      CAPTURE(longer_first);
      bool fails = false;
      const Transformer<A48, FailingBackend> model(weights, FailingBackend(&fails));
      // Two pages do unless the last would write over the other's tokens.
      const size_t pages_needed = cut < 20 && longer_first ? 3 : 2;
      const auto pages = model.NewPool(pages_needed);
      auto a = model.NewState(60, pages);
      REQUIRE(model.Feed(part(0, 20), a).ok());
      auto b = a;
      b.Truncate(cut);
      auto workspace = model.NewWorkspace();
      const auto pass = [&] {
        if (longer_first) return model.Forward({{&a, part(20, 5)}, {&b, part(40, 5)}}, workspace);
        return model.Forward({{&b, part(40, 5)}, {&a, part(20, 5)}}, workspace);
      };
      fails = true;
      CHECK(!pass().ok());
      fails = false;
      CHECK(pages->used_pages() == 1);
      auto alone_a = model.NewState(), alone_b = model.NewState();
      REQUIRE(model.Feed(part(0, 20), alone_a).ok());
      REQUIRE(model.Feed(part(0, cut), alone_b).ok());
      const std::vector<float> of_a = [&] {
        const auto logits = model.Forward(part(20, 5), alone_a);
        return std::vector<float>(logits->begin(), logits->end());
      }();
      const std::vector<float> of_b = [&] {
        const auto logits = model.Forward(part(40, 5), alone_b);
        return std::vector<float>(logits->begin(), logits->end());
      }();
      const auto logits = pass();
      REQUIRE(logits.ok());
      CHECK(pages->used_pages() == 2);
      CHECK(SameBits((*logits)[longer_first ? 0 : 1], of_a));
      CHECK(SameBits((*logits)[longer_first ? 1 : 0], of_b));
    }
  }
}

// Fails in one Finish, after *left others.
class FailingOnce : public ReferenceBackend {
 public:
  explicit FailingOnce(size_t* left) : left_(left) {}
  Result<Done> Finish(Stream&) const {
    if ((*left_)-- == 0) return Error{"the device is out of memory"};
    return Done{};
  }

 private:
  size_t* left_;
};

TEST_CASE("ContinuousBatch: wherever the device fails, Step says it and all replies go on as if it had not") {
  const ModelWeights<A48> weights = TinyWeights<A48>(TinyConfig());
  size_t left = 0;
  const Transformer<A48, FailingOnce> model(weights, FailingOnce(&left));
  const std::vector<Token> tokens = RandomTokens(6, TinyConfig().vocab);
  GenerateOptions options[2];
  options[0].edits.biases = {{1, -2.0f}};
  for (GenerateOptions& each : options) each.max_new_tokens = 4;
  std::vector<Token> expected[2];
  for (size_t i = 0; i < 2; ++i) {
    left = 1000;
    Random random(i);
    auto state = model.NewState(20);
    expected[i] = (*Generate(model, state, tokens, options[i], random, [](Token) { return true; })).tokens;
  }
  bool has_failed = true;
  size_t at = 0;
  for (; has_failed; ++at) {
    left = at;
    has_failed = false;
    ContinuousBatch batch(model);
    std::vector<Token> reported[2];
    size_t ended = 0;
    for (size_t i = 0; i < 2; ++i) {
      BatchRequest request = {.prompt = tokens, .options = options[i], .random = Random(i)};
      request.on_token = [&its = reported[i]](Token token) {
        its.push_back(token);
        return true;
      };
      request.on_end = [&ended](const Result<Generated>& reply) { ended += size_t{reply.ok()}; };
      REQUIRE(batch.Add(std::move(request)).ok());
    }
    while (!batch.IsEmpty()) {
      if (const Result<Done> stepped = batch.Step(); !stepped.ok()) {
        CHECK(stepped.error() == "the device is out of memory");
        CHECK(!has_failed);
        has_failed = true;
      }
    }
    CHECK(ended == 2);
    for (size_t i = 0; i < 2; ++i) CHECK(reported[i] == expected[i]);
  }
  CHECK(at > 8);  // four passes, and an edit in each
}

}  // namespace
}  // namespace bitnet::testing
