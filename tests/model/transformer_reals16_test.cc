// A scheme whose reals take 16 bits: embedding and head, keys and values, and what the head reads.
#include "model/transformer_laws.h"

namespace bitnet {
namespace {

struct Reals16 : B158 {
  static constexpr const char* kName = "Reals16";
  using Key = Rounded<Float16>;
  using FirstKey = Rounded<Float16>;
  using Value = Rounded<BFloat16>;
  using FirstValue = Unquantized;
  using HeadWeight = Rounded<BFloat16>;
  using HeadInput = Rounded<BFloat16>;
};

TEST_CASE("Transformer of reals of 16 bits: obeys the laws of transformer_laws.h") {
  testing::CheckTransformer<Reals16>();
}

TEST_CASE("Transformer of reals of 16 bits: two bytes a value") {
  const ModelConfig config = testing::TinyConfig();
  const ModelWeights<Reals16> weights = testing::TinyWeights<Reals16>();
  CHECK(weights.embedding.StoredBytes() == 2 * config.vocab * config.hidden);
  const Transformer<Reals16, ReferenceBackend> model(weights);
  CHECK(model.NewState().CacheBytesPerToken() == 2 * 2 * config.layers * config.kv_width());
}

}  // namespace
}  // namespace bitnet
