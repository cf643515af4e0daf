// Models with sub-layer norms.
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

TEST_CASE("Transformer<Mixed>: obeys the laws of transformer_laws.h") { testing::CheckTransformer<testing::Mixed>(); }

}  // namespace
}  // namespace bitnet
