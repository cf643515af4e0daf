#include <bitnet/backend/reference.h>
#include <bitnet/bitnet.h>
#include <bitnet/train.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "testing/expect_assertion.h"
#include "testing/tiny_model.h"

namespace bitnet::testing::model_test {
namespace {

struct BinaryWeights : A48 {
  static constexpr const char* kName = "binary weights, 3-bit inputs";
  using Weight = Quantizer<Binary, AbsMean, PerRow>;
  using Input = Quantizer<Int<3>, AbsMean>;
};

// The heads' products overflow a float's 24 bits at this format, so scores are summed in double.
struct WideHeads : A48 {
  static constexpr const char* kName = "wide heads";
  struct Wide {
    static constexpr auto kLevels = std::array{-5000, -1000, -1, 0, 1, 1000, 5000};
  };
  using Query = Quantizer<Wide, AbsMax>;
  using Key = Quantizer<Wide, AbsMax>;
  using FirstKey = Quantizer<Wide, AbsMax>;
};

// Of each four values in a row the two largest are kept: a quantizer of one's own, which hides Quantize.
template <class Base>
struct TwoOfFour : Base {
  static float Quantize(std::span<const float> x, typename Base::Level* levels) {
    const float step = Base::Quantize(x, levels);
    for (size_t i = 0; i < x.size(); ++i) {
      const auto four = x.subspan(i / 4 * 4, std::min<size_t>(4, x.size() - i / 4 * 4));
      size_t larger = 0;
      for (const float other : four) larger += std::fabs(other) > std::fabs(x[i]) ? 1u : 0u;
      if (larger >= 2) levels[i] = 0;
    }
    return step;
  }
};
// Groups of four that end with a row (every matrix is 20 or 44 wide; W_o 24) ...
struct SparseWeights : A48 {
  static constexpr const char* kName = "2:4 weights";
  using Weight = TwoOfFour<Quantizer<Ternary, AbsMean>>;
};
// ... in one step a row, and everywhere else a quantizer can stand.
struct SparseEverywhere : A48 {
  static constexpr const char* kName = "2:4 everywhere";
  using Weight = TwoOfFour<Quantizer<Int<4>, AbsMax, PerRow>>;
  using Input = TwoOfFour<Quantizer<Int<8>, AbsMax>>;
  using DownInput = TwoOfFour<Quantizer<Int<8>, AbsMax, PerGroup<6>>>;
  using Query = TwoOfFour<Quantizer<Int<8>, AbsMax>>;
  using HeadWeight = TwoOfFour<Quantizer<Int<8>, AbsMax, PerRow>>;
  using HeadInput = TwoOfFour<Quantizer<Int<8>, AbsMax>>;
};

TokenBatch RandomBatch(size_t sequences, size_t length, uint32_t vocab, uint64_t seed) {
  return {sequences, length, RandomTokens(sequences * length, vocab, seed),
          RandomTokens(sequences * length, vocab, seed + 1)};
}

bool Near(std::span<const float> a, std::span<const float> b, double tolerance) {
  double largest = 0.0, error = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::fabs(double(b[i])));
    error = std::max(error, std::fabs(double(a[i]) - double(b[i])));
  }
  return error <= tolerance * largest;
}

// The training forward pass of a batch against the exported model, sequence by sequence.
template <Scheme S, class B, class TrainB>
void CheckForwardOf(const LatentWeights& latent, size_t sequences, size_t length, bool exact_hidden,
                    bool exact_logits) {
  INFO(std::string(S::kName) << ", " << sequences << " x " << length);
  const ModelConfig& config = latent.config();
  const TokenBatch batch = RandomBatch(sequences, length, config.vocab, length);
  TrainingModel<S, TrainB> training(config);
  training.Quantize(latent);
  training.template Forward<false>(batch);

  const Transformer<S, B> model(ModelWeights<S>::Quantize(latent));
  for (size_t b = 0; b < sequences; ++b) {
    const std::span<const uint32_t> tokens(batch.inputs.data() + b * length, length);
    auto state = model.NewState();
    const MatrixView<const float> hidden = *model.Hidden(tokens, state);
    auto again = model.NewState();
    const MatrixView<const float> logits = *model.ForwardAll(tokens, again);
    for (size_t t = 0; t < length; ++t) {
      INFO("sequence " << b << ", token " << t);
      const auto ours = training.normed()[b * length + t];
      // Where nothing is quantized Eigen's sums differ from the ordered ones: 44 terms, two layers.
      CHECK((exact_hidden ? SameBits(ours, hidden[t]) : Near(ours, hidden[t], 2e-5)));
      // 20 products: each partial sum rounds by 6e-8 of its size, which is a few times the largest logit.
      const auto our_logits = training.logits()[b * length + t];
      CHECK((exact_logits ? SameBits(our_logits, logits[t]) : Near(our_logits, logits[t], exact_hidden ? 2e-6 : 2e-5)));
    }
  }
}

template <Scheme S, class B, class TrainB>
void CheckForward(ModelConfig config, size_t sequences, size_t length, bool tied, bool exact_hidden,
                  bool exact_logits) {
  config.tied_embedding = tied;
  CheckForwardOf<S, B, TrainB>(TinyLatent(config, 7), sequences, length, exact_hidden, exact_logits);
}

template <Scheme S>
void CheckForwards(bool exact_hidden, bool exact_logits, const ModelConfig& config = TinyConfigOf<S>()) {
  // Around the tile of tokens and the block of queries.
  for (const size_t length : {1u, 2u, 7u, 63u, 65u, 150u}) {
    CheckForward<S, ReferenceBackend, DefaultBackend<S>>(config, 2, length, true, exact_hidden, exact_logits);
  }
  CheckForward<S, DefaultBackend<S>, ReferenceBackend>(config, 3, 9, false, exact_hidden, exact_logits);
}

TEST_CASE("TrainingModel: A48's forward pass has the bits of the exported model") { CheckForwards<A48>(true, false); }
TEST_CASE("TrainingModel: A48Fp4's, too") { CheckForwards<A48Fp4>(true, false); }
TEST_CASE("TrainingModel: B158's, too, with real heads") { CheckForwards<B158>(true, false); }
TEST_CASE("TrainingModel: with sub-layer norms, too") {
  CheckForwards<A48>(true, false, WithSubLayerNorms(TinyConfig()));
}
TEST_CASE("TrainingModel: with binary weights, too") { CheckForwards<BinaryWeights>(true, false); }
TEST_CASE("TrainingModel: with heads beyond float's exact sums, too") { CheckForwards<WideHeads>(true, false); }
TEST_CASE("TrainingModel: with groups and a quantized head, to the last logit") { CheckForwards<Mixed>(true, true); }
TEST_CASE("TrainingModel: with weights quantized by one's own function, too") {
  CheckForwards<SparseWeights>(true, false);
}
TEST_CASE("TrainingModel: with transforms everywhere, to the last logit") { CheckForwards<Rotated>(true, true); }
TEST_CASE("TrainingModel: with transforms of A48 without norms, too") { CheckForwards<RotatedBy<A48>>(true, false); }
TEST_CASE("TrainingModel: with transforms of B158's real heads, too") { CheckForwards<RotatedBy<B158>>(true, false); }
TEST_CASE("TrainingModel: with one's own function at every place, to the last logit") {
  CheckForwards<SparseEverywhere>(true, true);
}

TEST_CASE("Trainer: what a step has trained with one's own function is what is exported") {
  TrainOptions options;
  options.steps = 1;
  options.warmup = 0;
  options.batch = 2;
  options.sequence = 9;
  ModelConfig config = TinyConfig();
  auto trainer = Trainer<SparseWeights, SparseWeights>::Create(config, options, Corpus(RandomTokens(300, 19)));
  REQUIRE(trainer.ok());
  REQUIRE(trainer->Step().ok());
  CheckForwardOf<SparseWeights, DefaultBackend<A48>, DefaultBackend<A48>>(trainer->weights(), 2, 9, true, false);
}

TEST_CASE("TrainingModel: Fp32's forward pass is near the exported model") { CheckForwards<Fp32>(false, false); }

TEST_CASE("TrainingModel: forward values at the default's larger shapes") {
  ModelConfig config = TinyConfig();
  config.hidden = 192;
  config.head_dim = 48;
  config.kv_heads = 4;
  config.ffn = 528;
  const LatentWeights latent = TinyLatent(config, 8);
  const TokenBatch batch = RandomBatch(1, 140, config.vocab, 9);
  TrainingModel<A48> training(config);
  training.Quantize(latent);
  training.Forward(batch);
  const Transformer<A48> model(ModelWeights<A48>::Quantize(latent));
  auto state = model.NewState();
  const MatrixView<const float> hidden = *model.Hidden(batch.inputs, state);
  for (size_t t = 0; t < 140; ++t) CHECK(SameBits(training.normed()[t], hidden[t]));
}

TEST_CASE("TrainingModel: the loss is the mean cross-entropy of its logits") {
  const ModelConfig config = TinyConfig();
  const LatentWeights latent = TinyLatent(config, 2);
  const TokenBatch batch = RandomBatch(3, 50, config.vocab, 3);
  TrainingModel<A48> model(config);
  model.Quantize(latent);
  const double loss = model.Forward<false>(batch);
  double expected = 0.0;
  for (size_t t = 0; t < batch.tokens(); ++t) {
    double total = 0.0;
    for (const float logit : model.logits()[t]) total += std::exp(double(logit));
    expected += std::log(total) - double(model.logits()[t][batch.targets[t]]);
  }
  CHECK(loss == doctest::Approx(expected / 150).epsilon(1e-6));
  CHECK(model.Forward(batch) == loss);
}

template <Scheme S>
void CheckThreads() {
  const ModelConfig config = TinyConfigOf<S>();
  const LatentWeights latent = TinyLatent(config, 4);
  const TokenBatch batch = RandomBatch(5, 61, config.vocab, 5);
  const auto run = [&](size_t threads) {
    ThreadPool pool(threads);
    TrainingModel<S> model(config, DefaultBackend<S>(pool));
    model.Quantize(latent);
    LatentWeights gradients = LatentWeights::Zeros(config);
    const double loss = model.Forward(batch);
    model.Backward(batch, gradients);
    std::vector<double> all = {loss, GlobalNorm(pool, gradients)};
    gradients.ForEach(
        [&](const TensorInfo&, std::span<const float> values) { all.insert(all.end(), values.begin(), values.end()); });
    return all;
  };
  const std::vector<double> alone = run(1);
  for (const size_t threads : {2u, 3u, 8u}) CHECK(run(threads) == alone);
}

TEST_CASE("TrainingModel: loss and gradients do not depend on the number of threads") {
  CheckThreads<A48>();
  CheckThreads<Mixed>();
  CheckThreads<Fp32>();
}

TEST_CASE("TrainingModel: wrong uses are stopped by a sentence") {
  const ModelConfig config = TinyConfig();
  const LatentWeights latent = TinyLatent(config, 2);
  LatentWeights gradients = latent;
  TrainingModel<A48> model(config);
  model.Quantize(latent);
  TokenBatch batch = RandomBatch(2, 4, config.vocab, 3);
  CHECK(Breaks("must come first", [&] { model.Backward(batch, gradients); }));
  model.Forward(batch);
  model.Forward<false>(batch);
  CHECK(Breaks("must come first", [&] { model.Backward(batch, gradients); }));
  model.Forward(batch);
  model.Backward(batch, gradients);
  CHECK(Breaks("must come first", [&] { model.Backward(batch, gradients); }));
  batch.targets[5] = config.vocab;
  CHECK(Breaks("outside the vocabulary", [&] { model.Forward(batch); }));
  batch.targets.pop_back();
  CHECK(Breaks("sequences * length", [&] { model.Forward(batch); }));
  CHECK(Breaks("sequences * length", [&] { model.Forward(RandomBatch(1, 321, config.vocab, 3)); }));
  TokenBatch wrapped = RandomBatch(1, 4, config.vocab, 3);
  wrapped.sequences = ~size_t{0} / 4 + 2;  // times 4 would wrap around to 4
  CHECK_THROWS_AS(model.Forward(wrapped), std::bad_array_new_length);
  ModelConfig other = config;
  other.ffn += 1;
  CHECK(Breaks("another configuration", [&] { model.Quantize(LatentWeights::Zeros(other)); }));
  CHECK(Breaks("another configuration", [&] { model.Quantize(LatentWeights::Zeros(WithSubLayerNorms(config))); }));
}

}  // namespace
}  // namespace bitnet::testing::model_test
