// The laws of a model on the emulated device, for every scheme: CheckOnDevice<S>(). Each scheme is compiled in one test
// file only, because compiling a model takes long.
#ifndef BITNET_TESTS_CUDA_MODEL_LAWS_H_
#define BITNET_TESTS_CUDA_MODEL_LAWS_H_

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bitnet/backend/reference.h"
#include "bitnet/model/transformer.h"
#include "testing/emulated_backend.h"
#include "testing/tiny_model.h"

namespace bitnet::testing {

// Runs both: a prompt, tokens one by one with what is drawn from their logits, a second conversation beside the first,
// across the end of a page. The bits are the reference's.
template <Scheme S>
void CheckOnDevice(ModelConfig config = TinyConfigOf<S>()) {
  const ModelWeights<S> weights = TinyWeights<S>(config);
  const Transformer<S, ReferenceBackend> expected_model(weights, ReferenceBackend());
  const EmulatedBackend backend;
  const EmulatedMachine::Counts& counts = backend.machine().counts();
  const Transformer<S, EmulatedBackend> model(weights, backend);
  const std::vector<Token> prompt = RandomTokens(37, config.vocab), other = RandomTokens(9, config.vocab, 2);

  auto expected_state = expected_model.NewState();
  auto state = model.NewState();
  auto expected_logits = expected_model.Forward(prompt, expected_state);
  auto logits = model.Forward(prompt, state);
  REQUIRE(logits.ok());
  CHECK(SameBits(*logits, *expected_logits));

  SamplerOptions sampling;
  sampling.temperature = 0.7f;
  sampling.top_p = 0.9f;
  Token token = prompt[0];
  for (size_t i = 0; i < 6; ++i) {
    REQUIRE(model.Feed({&token, 1}, state).ok());
    REQUIRE(expected_model.Feed({&token, 1}, expected_state).ok());
    const Result<Token> drawn = model.Sample(state, sampling, 0x9e3779b97f4a7c15u * (i + 1));
    REQUIRE(drawn.ok());
    CHECK(*drawn == *expected_model.Sample(expected_state, sampling, 0x9e3779b97f4a7c15u * (i + 1)));
    token = *drawn;
  }

  // Once a token has been decoded, the next takes no memory.
  const size_t allocations = counts.allocations;
  for (size_t i = 0; i < 3; ++i) {
    logits = model.Forward({&prompt[i], 1}, state);
    expected_logits = expected_model.Forward({&prompt[i], 1}, expected_state);
    REQUIRE(logits.ok());
    CHECK(SameBits(*logits, *expected_logits));
  }
  CHECK(counts.allocations == allocations);

  // Two conversations, a fork of which one goes on.
  auto second = model.NewState(), fork = state;
  auto expected_second = expected_model.NewState(), expected_fork = expected_state;
  auto workspace = model.NewWorkspace();
  auto expected_workspace = expected_model.NewWorkspace();
  for (const size_t n : {size_t{9}, size_t{1}}) {
    const auto rows = model.Forward({{&second, std::span(other).first(n)},
                                     {&fork, std::span(prompt).first(2)},
                                     {&state, std::span(other).first(1)}},
                                    workspace);
    const auto expected = expected_model.Forward({{&expected_second, std::span(other).first(n)},
                                                  {&expected_fork, std::span(prompt).first(2)},
                                                  {&expected_state, std::span(other).first(1)}},
                                                 expected_workspace);
    REQUIRE(rows.ok());
    for (size_t t = 0; t < 3; ++t) CHECK(SameBits((*rows)[t], (*expected)[t]));
  }

  // Saved and restored.
  auto saved = fork.Save();
  REQUIRE(saved.ok());
  auto restored = model.NewState();
  REQUIRE(restored.Restore(*saved).ok());
  logits = model.Forward({&token, 1}, restored);
  expected_logits = expected_model.Forward({&token, 1}, expected_fork);
  REQUIRE(logits.ok());
  CHECK(SameBits(*logits, *expected_logits));
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_CUDA_MODEL_LAWS_H_
