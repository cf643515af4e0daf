// Models on the emulated device. (Other schemes: model_slow_test.cc.)
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bitnet/backend/erased.h"
#include "bitnet/base/random.h"
#include "bitnet/model/generate.h"
#include "cuda/model_laws.h"
#include "testing/emulated_backend.h"

namespace bitnet {
namespace {

using testing::EmulatedBackend;
using testing::EmulatedMachine;
using Model = Transformer<A48, EmulatedBackend>;

TEST_CASE("Transformer<A48> on the emulated device: the bits of the reference") {
  testing::CheckModel<A48>(EmulatedBackend());
}

// A model, and what it says of a prompt and a token.
struct Conversation {
  ModelConfig config = testing::TinyConfigOf<A48>();
  EmulatedMachine machine;
  Model model{testing::TinyWeights<A48>(config), EmulatedBackend(machine)};
  std::vector<Token> prompt = testing::RandomTokens(5, config.vocab);
  std::vector<float> expected = testing::Copy(*Forward(prompt));

  Result<std::vector<float>> Forward(std::span<const Token> tokens) {
    auto state = model.NewState();
    auto logits = model.Forward(tokens, state);
    if (!logits.ok()) return Error{logits.error()};
    return testing::Copy(*logits);
  }
};

// attempt(failing) for each call of the machine that may fail in turn, until none is left: failing(pass) is pass(), in
// which that call fails.
template <class Attempt>
void FailEachCall(const EmulatedMachine& machine, cuda::FaultKind kind, Attempt&& attempt) {
  EmulatedMachine::Counts& counts = machine.counts();
  bool has_failed = true;
  for (size_t call = 1; has_failed; ++call) {
    struct End {
      EmulatedMachine::Counts& counts;
      bool& has_failed;
      ~End() {
        has_failed = counts.fails_at == 0;
        counts.fails_at = 0;
      }
    };
    attempt([&](auto&& pass) {
      counts.fails_with = kind;
      counts.fails_at = call;
      const End end{counts, has_failed};
      return pass();
    });
  }
}

TEST_CASE("A model on a device: whatever call fails, the state is as before, and the next call is well") {
  Conversation on;
  auto state = on.model.NewState();
  REQUIRE(on.model.Forward(std::span(on.prompt).first(3), state).ok());
  size_t failures = 0;
  FailEachCall(on.machine, cuda::FaultKind::kOther, [&](auto&& failing) {
    auto fork = state;
    const auto pass = [&] { return on.model.Forward(std::span(on.prompt).subspan(3), fork); };
    const auto failed = failing(pass);
    if (failed.ok()) {
      CHECK(testing::SameBits(*failed, on.expected));
      return;
    }
    ++failures;
    CHECK(failed.error().find("CUDA: ") == 0);
    CHECK(fork.length() == 3);
    const auto again = pass();
    REQUIRE(again.ok());
    CHECK(testing::SameBits(*again, on.expected));
  });
  CHECK(failures > 30);
}

TEST_CASE("A draw in its pass on a device: whatever call fails, the token is not there, and the next call is well") {
  Conversation on;
  auto state = on.model.NewState();
  REQUIRE(on.model.Forward(std::span(on.prompt).first(3), state).ok());
  const SamplerOptions options = {.temperature = 2.0f};
  const std::span<const Token> rest = std::span(on.prompt).subspan(3);
  auto whole = state;
  const Token expected = *on.model.FeedAndSample(rest, whole, options, 77);
  CHECK(expected == *on.model.Sample(whole, options, 77));
  size_t failures = 0;
  FailEachCall(on.machine, cuda::FaultKind::kOther, [&](auto&& failing) {
    auto fork = state;
    const auto pass = [&] { return on.model.FeedAndSample(rest, fork, options, 77); };
    const Result<Token> failed = failing(pass);
    if (failed.ok()) {
      CHECK(*failed == expected);
      return;
    }
    ++failures;
    CHECK(failed.error().find("CUDA: ") == 0);
    CHECK(fork.length() == 3);
    CHECK(*pass() == expected);
  });
  CHECK(failures > 30);
}

TEST_CASE("A model on a device: where its memory ends bad_alloc leaves, and the next call is well") {
  Conversation on;
  size_t ended = 0;
  FailEachCall(on.machine, cuda::FaultKind::kOutOfMemory, [&](auto&& failing) {
    auto state = on.model.NewState();
    try {
      failing([&] { static_cast<void>(on.model.Forward(on.prompt, state).ok()); });
    } catch (const std::bad_alloc&) {
      ++ended;
      CHECK(state.length() == 0);
    }
    state.Truncate(0);
    const auto again = on.model.Forward(on.prompt, state);
    REQUIRE(again.ok());
    CHECK(testing::SameBits(*again, on.expected));
  });
  CHECK(ended > 10);
}

TEST_CASE("A model on a device that is lost says so, call after call") {
  Conversation on;
  on.machine.counts().fails_with = cuda::FaultKind::kLost;
  on.machine.counts().fails_at = 30;
  for (int i = 0; i < 3; ++i) {
    const auto lost = on.Forward(on.prompt);
    REQUIRE(!lost.ok());
    CHECK(lost.error().find("the device is lost to this process: start another") != std::string::npos);
  }
}

TEST_CASE("A model on a device: all of its memory goes with it") {
  EmulatedMachine machine;
  {
    const Model model(testing::TinyWeights<A48>(), EmulatedBackend(machine));
    auto state = model.NewState();
    REQUIRE(model.Forward(testing::RandomTokens(300, 19), state).ok());
    auto fork = state;
    REQUIRE(model.Forward(testing::RandomTokens(3, 19), fork).ok());
    CHECK(machine.counts().allocations > 20);
  }
  CHECK(machine.counts().allocations == 0);
}

// What the machine is asked for, and how many kernels run, when f does something for the third time.
struct Asked {
  size_t calls, launches, allocated;
};
template <class F>
Asked ThirdTime(const EmulatedMachine& machine, F&& f) {
  for (int i = 0; i < 2; ++i) f();
  const EmulatedMachine::Counts& counts = machine.counts();
  const Asked before = {counts.calls, counts.launches, counts.allocated};
  f();
  return {counts.calls - before.calls, counts.launches - before.launches, counts.allocated - before.allocated};
}

// (docs/cuda.md says these numbers.)
TEST_CASE("A decoded token on a device is one graph, of so many launches a layer") {
  Conversation on;
  auto state = on.model.NewState();
  REQUIRE(on.model.Forward(on.prompt, state).ok());
  const auto feed = [&] { REQUIRE(on.model.Feed({on.prompt.data(), 1}, state).ok()); };
  // Embedding, final norm and head; and of each layer.
  const size_t few = 3 + 13 * on.config.layers;
  const Asked fed = ThirdTime(on.machine, feed);
  CHECK(fed.calls == 2);  // the graph, and waiting for it
  CHECK(fed.launches == few);
  CHECK(fed.allocated == 0);

  // With the draw too, whatever its random number: greedy, of all tokens, by top-k and top-p.
  uint64_t random = 0;
  for (const auto& [options, launches] :
       {std::pair(SamplerOptions{.temperature = 0.0f}, 2), {{}, 3}, {{.top_k = 5, .top_p = 0.5f}, 9}}) {
    const Asked drawn = ThirdTime(on.machine, [&] {
      REQUIRE(on.model.FeedAndSample({on.prompt.data(), 1}, state, options, random += 0x9e3779b97f4a7c15u).ok());
    });
    CHECK(drawn.calls == 2);
    CHECK(drawn.launches == few + static_cast<size_t>(launches));
    CHECK(drawn.allocated == 0);
  }
  // A draw of its own is a graph, too.
  const Asked sampled =
      ThirdTime(on.machine, [&] { REQUIRE(on.model.Sample(state, {}, random += 0x9e3779b97f4a7c15u).ok()); });
  CHECK(sampled.calls == 2);
  CHECK(sampled.launches == 3);

  // Of several pages, attention merges them.
  REQUIRE(on.model.Feed(testing::RandomTokens(kPageTokens, on.config.vocab), state).ok());
  const Asked later = ThirdTime(on.machine, feed);
  CHECK(later.calls == 2);
  CHECK(later.launches == few + on.config.layers);
  CHECK(later.allocated == 0);
}

TEST_CASE("A decoded token on a device: sub-layer norms are fused with the quantizers that read them") {
  const ModelConfig config = testing::WithSubLayerNorms(testing::TinyConfigOf<A48>());
  const EmulatedMachine machine;
  const Model model(testing::TinyWeights<A48>(config), EmulatedBackend(machine));
  auto state = model.NewState();
  REQUIRE(model.Feed(testing::RandomTokens(5, config.vocab), state).ok());
  const Token token = 1;
  const Asked fed = ThirdTime(machine, [&] { REQUIRE(model.Feed({&token, 1}, state).ok()); });
  CHECK(fed.calls == 2);
  // Norm and top-k of attention's output are two; the gated product is one, norm and quantizer of it another.
  CHECK(fed.launches == 3 + 15 * config.layers);
}

TEST_CASE("A reply on a device: a graph and a wait for each token") {
  Conversation on;
  const auto calls_of = [&](size_t tokens, const GenerateOptions& options) {
    auto state = on.model.NewState();
    Random random(3);
    const size_t before = on.machine.counts().calls;
    GenerateOptions limited = options;
    limited.max_new_tokens = tokens;
    const auto reply = Generate(on.model, state, on.prompt, limited, random, [](Token) { return true; });
    REQUIRE(reply.ok());
    CHECK(reply->tokens.size() == tokens);
    return on.machine.counts().calls - before;
  };
  CHECK(calls_of(30, {}) - calls_of(20, {}) == 2 * 10);
  CHECK(calls_of(30, {.sampler = {.top_k = 5}}) - calls_of(20, {.sampler = {.top_k = 5}}) == 2 * 10);
}

TEST_CASE("Draws on a device in the pass of several conversations: each that of Sample, and one wait") {
  Conversation on;
  std::vector<Model::State> states;
  std::vector<Model::Turn> turns;
  for (size_t i = 0; i < 3; ++i) states.push_back(on.model.NewState());
  for (size_t i = 0; i < 3; ++i) turns.push_back({&states[i], std::span(on.prompt).subspan(i, 1)});
  const TurnDraw draws[] = {
      {{.temperature = 0.0f}, 0}, {{.temperature = 3.0f}, ~uint64_t{0}}, {{.top_k = 3}, 1u << 31}};
  auto workspace = on.model.NewWorkspace();
  const auto pass = [&] {
    const auto drawn = on.model.FeedAndSample(turns, draws, workspace);
    REQUIRE(drawn.ok());
    REQUIRE(drawn->size() == 3);
    for (size_t i = 0; i < 3; ++i) {
      CHECK((*drawn)[i] == *on.model.Sample(workspace, i, draws[i].options, draws[i].random));
    }
  };
  pass();
  CHECK(states[2].length() == 1);
  const Asked asked = ThirdTime(on.machine, [&] { REQUIRE(on.model.FeedAndSample(turns, draws, workspace).ok()); });
  CHECK(asked.calls == 2);
  CHECK(asked.allocated == 0);
}

TEST_CASE("A token of an erased model on a device is one graph, of as many launches, with the same bits") {
  Conversation on;
  const Transformer<A48, Erased<EmulatedBackend>> erased(testing::TinyWeights<A48>(on.config),
                                                         Erased(EmulatedBackend(on.machine)));
  const auto asked_of = [&](const auto& model) {
    auto state = model.NewState();
    REQUIRE(model.Feed(on.prompt, state).ok());
    return ThirdTime(on.machine, [&] { REQUIRE(model.FeedAndSample({on.prompt.data(), 1}, state, {}, 5).ok()); });
  };
  const Asked alone = asked_of(on.model), asked = asked_of(erased);
  CHECK(asked.calls == 2);
  CHECK(asked.launches == alone.launches);
  CHECK(asked.allocated == 0);

  auto state = erased.NewState();
  const auto logits = erased.Forward(on.prompt, state);
  REQUIRE(logits.ok());
  CHECK(testing::SameBits(*logits, on.expected));
}

}  // namespace
}  // namespace bitnet
