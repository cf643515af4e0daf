// Schemes with real heads, or real everything.
#include "model/transformer_laws.h"

namespace bitnet {
namespace {

TEST_CASE("Transformer<B158>: obeys the laws of transformer_laws.h") { testing::CheckTransformer<B158>(); }
TEST_CASE("Transformer<B158>: golden blocks and logits") { testing::CheckGolden<B158>("model_b158"); }
TEST_CASE("Transformer<B158>: these very bits, whatever compiled it") {
  testing::CheckBits<B158>("model_b158", 0x46867cc53c94cf5fu);
}

TEST_CASE("Transformer<Fp32>: obeys the laws of transformer_laws.h") { testing::CheckTransformer<Fp32>(); }
TEST_CASE("Transformer<Fp32>: golden blocks and logits") { testing::CheckGolden<Fp32>("model_fp32"); }
TEST_CASE("Transformer<Fp32>: these very bits, whatever compiled it") {
  testing::CheckBits<Fp32>("model_fp32", 0x23baccbb43d39341u);
}

}  // namespace
}  // namespace bitnet
