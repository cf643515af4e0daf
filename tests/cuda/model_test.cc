// Models on the emulated device. (Other schemes: model_slow_test.cc.)
#include <doctest/doctest.h>

#include <cstddef>
#include <new>
#include <string>
#include <vector>

#include "bitnet/backend/erased.h"
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

TEST_CASE("A model on a device: whatever call fails, the state is as before, and the next call is well") {
  Conversation on;
  auto state = on.model.NewState();
  REQUIRE(on.model.Forward(std::span(on.prompt).first(3), state).ok());
  EmulatedMachine::Counts& counts = on.machine.counts();
  size_t failures = 0;
  for (size_t call = 1;; ++call) {
    auto fork = state;
    counts.fails_with = cuda::FaultKind::kOther;
    counts.fails_at = call;
    const auto failed = on.model.Forward(std::span(on.prompt).subspan(3), fork);
    const bool happened = counts.fails_at == 0;
    counts.fails_at = 0;
    if (!failed.ok()) {
      ++failures;
      CHECK(failed.error().find("CUDA: ") == 0);
      CHECK(fork.length() == 3);
      const auto again = on.model.Forward(std::span(on.prompt).subspan(3), fork);
      REQUIRE(again.ok());
      CHECK(testing::SameBits(*again, on.expected));
    } else {
      CHECK(testing::SameBits(*failed, on.expected));
    }
    if (!happened) break;
  }
  CHECK(failures > 30);
}

TEST_CASE("A model on a device: where its memory ends bad_alloc leaves, and the next call is well") {
  Conversation on;
  EmulatedMachine::Counts& counts = on.machine.counts();
  size_t ended = 0;
  for (size_t call = 1;; ++call) {
    auto state = on.model.NewState();
    counts.fails_with = cuda::FaultKind::kOutOfMemory;
    counts.fails_at = call;
    try {
      static_cast<void>(on.model.Forward(on.prompt, state).ok());
    } catch (const std::bad_alloc&) {
      ++ended;
      CHECK(state.length() == 0);
    }
    const bool happened = counts.fails_at == 0;
    counts.fails_at = 0;
    state.Truncate(0);
    const auto again = on.model.Forward(on.prompt, state);
    REQUIRE(again.ok());
    CHECK(testing::SameBits(*again, on.expected));
    if (!happened) break;
  }
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

// Of a token that is decoded.
size_t LaunchesOf(const auto& model, EmulatedMachine::Counts& counts, std::span<const Token> prompt) {
  auto state = model.NewState();
  REQUIRE(model.Forward(prompt, state).ok());
  const auto launches_of = [&] {
    const size_t before = counts.launches;
    REQUIRE(model.Feed(prompt.first(1), state).ok());
    return counts.launches - before;
  };
  for (int i = 0; i < 3; ++i) static_cast<void>(launches_of());
  const size_t calls = counts.calls;
  const size_t launches = launches_of();
  CHECK(counts.calls - calls == 2);  // the graph, and waiting for it
  return launches;
}

TEST_CASE("A decoded token on a device is one graph, of so many launches a layer") {
  Conversation on;
  const size_t launches = LaunchesOf(on.model, on.machine.counts(), on.prompt);
  // Embedding, final norm and head; and of each layer.
  MESSAGE("launches of a layer: " << (launches - 3) / on.config.layers);
  CHECK((launches - 3) % on.config.layers == 0);
  CHECK((launches - 3) / on.config.layers <= 17);

  // Erased, it is of as many, with the same bits.
  const Transformer<A48, Erased<EmulatedBackend>> erased(testing::TinyWeights<A48>(on.config),
                                                         Erased(EmulatedBackend(on.machine)));
  CHECK(LaunchesOf(erased, on.machine.counts(), on.prompt) == launches);
  auto state = erased.NewState();
  const auto logits = erased.Forward(on.prompt, state);
  REQUIRE(logits.ok());
  CHECK(testing::SameBits(*logits, on.expected));
}

}  // namespace
}  // namespace bitnet
