// Training with a scheme whose first and last layer, and whose embedding, have quantizers of their own.
#include <bitnet/bitnet.h>
#include <bitnet/train.h>
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "testing/tiny_model.h"

namespace bitnet::testing {
namespace {

struct Stage1 : B158 {
  static constexpr const char* kName = "Stage1";
  using Edge = Int8Edges::Edge;
  using HeadWeight = Int8Edges::HeadWeight;
  using HeadInput = Int8Edges::HeadInput;
  using EmbeddingWeight = Int8Edges::EmbeddingWeight;
};

TEST_CASE("TrainingModel: with edges its forward pass has the bits of the exported model, to the last logit") {
  for (const uint32_t layers : {1u, 2u, 4u}) {
    CAPTURE(layers);
    ModelConfig config = TinyConfigOf<Int8Edges>();
    config.layers = layers;
    const LatentWeights latent = TinyLatent(config, 7);
    constexpr size_t kLength = 70;
    const TokenBatch batch = {2, kLength, RandomTokens(2 * kLength, config.vocab, 1),
                              RandomTokens(2 * kLength, config.vocab, 2)};
    TrainingModel<Int8Edges> training(config);
    training.Quantize(latent);
    training.Forward<false>(batch);
    const Transformer<Int8Edges> model(ModelWeights<Int8Edges>::Quantize(latent));
    for (size_t b = 0; b < 2; ++b) {
      auto state = model.NewState();
      const MatrixView<const float> logits =
          *model.ForwardAll(std::span(batch.inputs).subspan(b * kLength, kLength), state);
      for (size_t t = 0; t < kLength; ++t) CHECK(SameBits(training.logits()[b * kLength + t], logits[t]));
    }
  }
}

TEST_CASE("Trainer: with edges it learns, is exported as it was trained, and goes on from its checkpoint") {
  ModelConfig config = TinyConfigOf<Int8Edges>();
  config.vocab = 64;
  TrainOptions options;
  options.steps = 120;
  options.batch = 2;
  options.sequence = 8;
  options.stage2_share = 0.5;
  options.warmup = 10;
  options.learning_rate = options.second_learning_rate = 1e-2f;
  std::vector<uint32_t> tokens;
  for (uint32_t i = 0; i < 200; ++i) tokens.push_back(i % 11 * 5);
  const auto create = [&] { return Trainer<Stage1, Int8Edges>::Create(config, options, Corpus(tokens)); };
  auto trainer = create();
  REQUIRE(trainer.ok());
  const std::string path = (std::filesystem::temp_directory_path() / "bitnet_train_edges").string();
  REQUIRE(trainer
              ->Run([&](const StepReport& report) {
                if (report.step == 80) REQUIRE(trainer->Save(path).ok());
                return true;
              })
              .ok());
  CHECK(trainer->ValidationLoss() < 0.2);

  auto again = create();
  REQUIRE(again.ok());
  REQUIRE(again->Load(path).ok());
  CHECK(again->step() == 81);
  REQUIRE(again->Run([](const StepReport&) { return true; }).ok());
  CHECK(Copy(again->weights().values()) == Copy(trainer->weights().values()));
  // Edges are part of what a run is.
  struct OtherEdges : Int8Edges {
    struct Edge : Int8Edges::Edge {
      using Input = Quantizer<Int<6>, AbsMax>;
    };
  };
  auto other = Trainer<Stage1, OtherEdges>::Create(config, options, Corpus(tokens));
  REQUIRE(other.ok());
  const Result<Done> refused = other->Load(path);
  REQUIRE(!refused.ok());
  CHECK(refused.error().find("its scheme of stage 2 is Int8Edges") != std::string::npos);
  std::filesystem::remove(path);

  const Transformer<Int8Edges> model(ModelWeights<Int8Edges>::Quantize(trainer->weights()));
  auto state = model.NewState();
  const std::span<const float> logits = *model.Forward(std::span(tokens).first(6), state);
  CHECK(std::max_element(logits.begin(), logits.end()) - logits.begin() == tokens[6]);
}

}  // namespace
}  // namespace bitnet::testing
