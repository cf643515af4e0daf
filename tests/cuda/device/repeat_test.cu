// The same conversation again and again on a GPU: each time the same bits, by graphs and without.
#include <doctest/doctest.h>

#include <cstddef>
#include <span>
#include <vector>

#include "cuda/device/test_machine.cuh"
#include "testing/tiny_model.h"

namespace bitnet {
namespace {

using testing::TestGpuBackend;
using Model = Transformer<A48, TestGpuBackend>;

// Logits after a prompt and after each of some tokens that are drawn from them.
std::vector<float> Converse(const Model& model) {
  const std::vector<Token> prompt = testing::RandomTokens(300, model.config().vocab);
  auto state = model.NewState();
  std::vector<float> said;
  const auto keep = [&](const Result<std::span<const float>>& logits) {
    REQUIRE_MESSAGE(logits.ok(), logits.error());
    said.insert(said.end(), logits->begin(), logits->end());
  };
  keep(model.Forward(prompt, state));
  for (uint64_t i = 1; i < 20; ++i) {
    const Result<Token> token = model.Sample(state, SamplerOptions(), i * 0x9e3779b97f4a7c15u);
    REQUIRE_MESSAGE(token.ok(), token.error());
    keep(model.Forward({&*token, 1}, state));
  }
  // In passes that draw.
  state.Truncate(280);
  Token token = prompt[0];
  for (uint64_t i = 1; i < 20; ++i) {
    const Result<Token> drawn = model.FeedAndSample({&token, 1}, state, SamplerOptions(), i * 0xbf58476d1ce4e5b9u);
    REQUIRE_MESSAGE(drawn.ok(), drawn.error());
    token = *drawn;
    said.push_back(static_cast<float>(token));
  }
  return said;
}

TEST_CASE("A model on a GPU: every run has the same bits, by graphs and without") {
  const ModelWeights<A48> weights = testing::TinyWeights<A48>();
  const TestGpuBackend backend;
  const Model model(weights, backend);
  const std::vector<float> expected = Converse(model);
  const auto& counts = backend.machine().counts();
  CHECK(counts.replays >= 30);
  for (int i = 0; i < 20; ++i) CHECK(testing::SameBits(Converse(model), expected));
  CHECK(testing::SameBits(Converse(Model(weights, TestGpuBackend())), expected));
  backend.machine().counts().has_graphs = false;
  const size_t replays = counts.replays;
  CHECK(testing::SameBits(Converse(model), expected));
  CHECK(counts.replays == replays);
}

TEST_CASE("A model on a GPU: all of its memory goes with it") {
  const TestGpuBackend backend;
  {
    const Model model(testing::TinyWeights<A48>(), backend);
    auto state = model.NewState();
    REQUIRE(model.Forward(testing::RandomTokens(300, 19), state).ok());
    CHECK(backend.machine().counts().allocations > 20);
  }
  CHECK(backend.machine().counts().allocations == 0);
}

}  // namespace
}  // namespace bitnet
