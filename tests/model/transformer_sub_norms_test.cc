// Schemes with sub-layer norms.
#include "model/transformer_laws.h"

namespace bitnet {
namespace {

TEST_CASE("Transformer<WithSubLayerNorms<A48>>: golden blocks and logits") {
  testing::CheckGolden<WithSubLayerNorms<A48>>("model_a48_subnorm");
}

TEST_CASE("Transformer<Mixed>: obeys the laws of transformer_laws.h") { testing::CheckTransformer<testing::Mixed>(); }

}  // namespace
}  // namespace bitnet
