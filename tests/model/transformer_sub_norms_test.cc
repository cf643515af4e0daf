// Models with sub-layer norms.
#include <array>

#include "model/transformer_laws.h"

namespace bitnet {
namespace {

TEST_CASE("Transformer<A48>: golden blocks and logits, with sub-layer norms") {
  testing::CheckGolden<A48>("model_a48_subnorm");
}

TEST_CASE("Transformer: sub-layer norms that are not the configuration's are stopped with a sentence") {
  ModelWeights<A48> weights = testing::TinyWeights<A48>();
  weights.layers[1].ffn_sub_norm.assign(weights.config.ffn, 1.0f);
  CHECK(testing::Breaks("must agree about sub-layer norms", [&] { const Transformer<A48> model(weights); }));
}

// That they do what they should: tests/layer/attention_test.cc, tests/backend/rope_test.cc.
TEST_CASE("Transformer: with norms of heads and rotary frequencies of its own") {
  ModelConfig config = testing::TinyConfigOf<A48>();
  config.head_norms = true;
  config.rope_frequencies = {1.0, 0.5, 0.001};
  config.rope_magnitude = 1.25f;
  testing::CheckPrefillIsDecodes<A48>(config);

  // Each of them counts.
  const auto tokens = testing::RandomTokens(9, config.vocab);
  const auto logits = [&](const ModelWeights<A48>& weights) {
    const Transformer<A48> model(weights);
    auto state = model.NewState();
    return testing::All(model, tokens, state);
  };
  const ModelWeights<A48> weights = testing::TinyWeights<A48>(config);
  const testing::Logits with = logits(weights);
  const auto changes = std::to_array<void (*)(ModelWeights<A48>&)>({
      [](auto& w) { w.config.rope_frequencies[1] = 0.4; },
      [](auto& w) { w.config.rope_magnitude = 1.0f; },
      [](auto& w) { w.layers[1].q_norm[2] *= 2.0f; },
      [](auto& w) { w.layers[1].k_norm[2] *= 2.0f; },
  });
  for (const auto change : changes) {
    ModelWeights<A48> other = weights;
    change(other);
    CHECK(!testing::SameBits(logits(other), with));
  }
  ModelWeights<A48> lacking = weights;
  lacking.layers[0].k_norm.clear();
  CHECK(testing::Breaks("norms of heads", [&] { const Transformer<A48> model(lacking); }));
}

TEST_CASE("Transformer<Mixed>: obeys the laws of transformer_laws.h") { testing::CheckTransformer<testing::Mixed>(); }

}  // namespace
}  // namespace bitnet
