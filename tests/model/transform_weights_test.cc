#include "bitnet/model/transform_weights.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

#include "model/transformer_laws.h"

namespace bitnet {
namespace {

using namespace testing;

TEST_CASE("Transformer<Rotated>: obeys the laws of transformer_laws.h") { CheckTransformer<Rotated>(); }

// As in the transformer of reals: eight double lanes of products, their sums rounded.
template <Scheme S>
Logits LogitsOf(const LatentWeights& latent) {
  const Transformer<S> model(ModelWeights<S>::Quantize(latent));
  auto state = model.NewState();
  return All(model, RandomTokens(40, latent.config().vocab), state);
}

// The largest difference, over the largest logit.
double Distance(const Logits& a, const Logits& b) {
  double difference = 0.0, largest = 0.0;
  for (size_t t = 0; t < a.size(); ++t) {
    for (size_t i = 0; i < a[t].size(); ++i) {
      difference = std::max(difference, std::fabs(double(a[t][i]) - double(b[t][i])));
      largest = std::max(largest, std::fabs(double(b[t][i])));
    }
  }
  return difference / largest;
}

struct Smooth : Fp32 {
  using FfnActivation = Silu;
};

template <Scheme S>
void CheckUnchanged(bool tied) {
  ModelConfig config = TinyConfig();
  config.tied_embedding = tied;
  config.sub_layer_norms = std::is_same_v<S, Smooth>;
  const LatentWeights latent = TinyLatent(config, 3);
  const LatentWeights transformed = TransformWeights<RotatedBy<S>>(latent);
  CHECK(!transformed.config().tied_embedding);
  CHECK(SameBits(transformed.embedding(), latent.embedding()));
  const Logits expected = LogitsOf<S>(latent);
  // Two layers, each of some forty roundings to float, of which the transforms' add up at random.
  CHECK(Distance(LogitsOf<RotatedBy<S>>(transformed), expected) < 1e-5);
  // The weights are others, and for others.
  CHECK(Distance(LogitsOf<RotatedBy<S>>(latent), expected) > 0.1);
  CHECK(Distance(LogitsOf<S>(transformed), expected) > 0.1);
}

TEST_CASE("TransformWeights: a model of reals is unchanged by it") {
  CheckUnchanged<Fp32>(true);
  CheckUnchanged<Fp32>(false);
  CheckUnchanged<Smooth>(false);
}

// Heads alone: the weights stay as they are.
struct RotatedHeads : Fp32 {
  using Query = RotatedBy<Fp32>::Query;
  using Key = RotatedBy<Fp32>::Key;
  using FirstKey = RotatedBy<Fp32>::FirstKey;
  using Value = RotatedBy<Fp32>::Value;
  using FirstValue = RotatedBy<Fp32>::FirstValue;
};

TEST_CASE("Transformed heads: a model of reals is unchanged by them, with the same weights") {
  const LatentWeights latent = TinyLatent(TinyConfig(), 3);
  CHECK(SameBits(TransformWeights<RotatedHeads>(latent).values(), latent.values()));
  CHECK(TransformWeights<RotatedHeads>(latent).config() == latent.config());
  CHECK(Distance(LogitsOf<RotatedHeads>(latent), LogitsOf<Fp32>(latent)) < 1e-5);
}

TEST_CASE("TransformWeights: each row of a matrix is transformed as its input is") {
  const LatentWeights latent = TinyLatent(TinyConfig(), 3);
  const LatentWeights transformed = TransformWeights<Rotated>(latent);
  const auto check = [&](std::span<const float> from, std::span<const float> expected, auto transform, size_t cols) {
    std::vector<float> w(from.begin(), from.end());
    for (size_t r = 0; r < w.size() / cols; ++r) decltype(transform)::Apply(std::span(w).subspan(r * cols, cols));
    CHECK(SameBits(w, expected));
  };
  const auto from = latent.layer(1);
  const auto to = transformed.layer(1);
  using Layer = LatentWeights::Layer<const float>;
  for (const auto matrix : {&Layer::q, &Layer::k, &Layer::v, &Layer::gate, &Layer::up}) {
    check(from.*matrix, to.*matrix, TransformOf<Rotated::Input>(), 20);
  }
  check(from.o, to.o, TransformOf<Rotated::OutputInput>(), 24);
  check(from.down, to.down, TransformOf<Rotated::DownInput>(), 44);
  check(latent.embedding(), transformed.head(), TransformOf<Rotated::HeadInput>(), 20);
  CHECK(SameBits(to.attn_norm, from.attn_norm));
}

}  // namespace
}  // namespace bitnet
