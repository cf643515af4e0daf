// The laws of a model on a device, for every scheme and machine: CheckModel<S>(backend), where `backend` is
// BasicCudaBackend of a machine that counts the memory that it gives (machine().counts().allocated): the emulated one
// (testing/emulated_machine.h), or a GPU (device/test_machine.cuh). Each scheme is compiled in one test file only,
// because compiling a model takes long.
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
#include "testing/tiny_model.h"

namespace bitnet::testing {

// Runs both: a prompt, tokens one by one with what is drawn from their logits, a second conversation beside the first,
// across the end of a page. The bits are the reference's.
template <Scheme S, class B>
void CheckModel(const B& backend, ModelConfig config = TinyConfigOf<S>(), size_t prompt_tokens = 37) {
  const ModelWeights<S> weights = TinyWeights<S>(config);
  const Transformer<S, ReferenceBackend> expected_model(weights, ReferenceBackend());
  const auto& counts = backend.machine().counts();
  const Transformer<S, B> model(weights, backend);
  const std::vector<Token> prompt = RandomTokens(prompt_tokens, config.vocab), other = RandomTokens(9, config.vocab, 2);

  const auto check_forward = [&](std::span<const Token> tokens, auto& state, auto& expected_state) {
    const auto logits = model.Forward(tokens, state);
    const auto expected_logits = expected_model.Forward(tokens, expected_state);
    REQUIRE_MESSAGE(logits.ok(), logits.error());
    CHECK(SameBits(*logits, *expected_logits));
  };

  auto expected_state = expected_model.NewState();
  auto state = model.NewState();
  check_forward(prompt, state, expected_state);

  SamplerOptions sampling;
  sampling.temperature = 0.7f;
  sampling.top_p = 0.9f;
  Token token = prompt[0];
  const auto expect_next = [&](uint64_t random) {
    REQUIRE(expected_model.Feed({&token, 1}, expected_state).ok());
    return *expected_model.Sample(expected_state, sampling, random);
  };
  for (size_t i = 0; i < 6; ++i) {
    const uint64_t random = 0x9e3779b97f4a7c15u * (i + 1);
    REQUIRE(model.Feed({&token, 1}, state).ok());
    const Result<Token> drawn = model.Sample(state, sampling, random);
    REQUIRE(drawn.ok());
    CHECK(*drawn == expect_next(random));
    token = *drawn;
  }

  // In one pass with the draw; and once a token has been decoded so, the next takes no memory, not even in place of
  // other.
  size_t allocated = 0;
  for (size_t i = 0; i < 6; ++i) {
    if (i == 1) allocated = counts.allocated;
    const uint64_t random = 0xbf58476d1ce4e5b9u * (i + 1);
    const Result<Token> drawn = model.FeedAndSample({&token, 1}, state, sampling, random);
    REQUIRE(drawn.ok());
    CHECK(*drawn == expect_next(random));
    token = *drawn;
  }
  CHECK(counts.allocated == allocated);
  check_forward({&prompt[0], 1}, state, expected_state);
  allocated = counts.allocated;
  for (size_t i = 0; i < 3; ++i) check_forward({&prompt[i], 1}, state, expected_state);
  CHECK(counts.allocated == allocated);

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
  check_forward({&token, 1}, restored, expected_fork);
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_CUDA_MODEL_LAWS_H_
