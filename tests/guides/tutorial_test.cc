// docs/tutorial.md, followed to the letter: the blocks of that page, one after another, are the
// program between the two lines of dashes.
#include <doctest/doctest.h>

#include <filesystem>

#include "guides/shown_in.h"

// Doctest has the main function of this executable.
#define main Tutorial

// ----------------------------------------------------------------------------------------------------------------

#include <bitnet/bitnet.h>
#include <bitnet/train.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

using namespace bitnet;

void QuantizeFourNumbers() {
  using Q = Quantizer<Ternary, AbsMean>;
  const std::vector<float> x = {0.9f, -0.2f, 0.1f, -1.4f};
  std::vector<int8_t> levels(x.size());
  const float step = Q::Quantize(x, levels.data());  // mean|x| = 0.65
  for (size_t i = 0; i < x.size(); ++i) {
    std::printf("%5.2f -> %2d * %.2f\n", double(x[i]), int{levels[i]}, double(step));
  }
}

void MultiplyByOneLayer() {
  const size_t rows = 8, cols = 100, tokens = 2;
  Random random(1);
  std::vector<float> weights(rows * cols), x(tokens * cols), y(tokens * rows);
  for (float& w : weights) w = Normal(random);
  for (float& v : x) v = Normal(random);

  BitLinear<A48::Weight, A48::Input> project(weights, rows, cols);
  project(x, y);

  std::vector<float> expected(y.size());
  BitLinear<A48::Weight, A48::Input, ReferenceBackend> reference(weights, rows, cols);
  reference(x, expected);
  std::printf("the same bits as the reference: %s\n", y == expected ? "yes" : "no");
}

ModelConfig SmallModel() {
  ModelConfig config;
  config.vocab = 256;  // a token is a byte
  config.hidden = 64;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;  // two query heads share a key/value head
  config.head_dim = 16;
  config.ffn = 172;
  config.max_positions = 256;
  return config;
}

Result<LatentWeights> Train(const ModelConfig& config, const std::string& text_file) {
  TrainOptions options;
  options.steps = 60;  // a real run takes thousands
  options.warmup = 10;
  options.batch = 8;
  options.sequence = 64;
  options.stage2_share = 0.25;  // the paper: 0.05

  Result<Corpus> corpus = Corpus::FromFile(text_file);
  if (!corpus.ok()) return Error{corpus.error()};
  auto trainer = Trainer<B158, A48>::Create(config, options, *std::move(corpus));
  if (!trainer.ok()) return Error{trainer.error()};

  Progress progress(stderr, options);
  const auto done = trainer->Run([&](const StepReport& report) {
    progress.Step(report);
    return true;  // false would pause the run
  });
  if (!done.ok()) return Error{done.error()};
  std::printf("validation loss: %.3f nats a byte\n", trainer->ValidationLoss());
  return trainer->weights();
}

Result<ModelWeights<A48>> Export(const LatentWeights& latent, const std::string& path) {
  const auto packed = ModelWeights<A48>::Quantize(latent);
  if (const auto saved = SaveModel(packed, path); !saved.ok()) return Error{saved.error()};
  return LoadModel<A48>(path);
}

std::vector<Token> TokensOf(const std::string& text) {
  std::vector<Token> tokens;
  for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
  return tokens;
}

Result<std::string> MostProbable(const Transformer<A48>& model, const std::string& prompt) {
  auto state = model.NewState();
  auto logits = model.Forward(TokensOf(prompt), state);  // prefill: all tokens at once
  std::string text;
  while (logits.ok() && text.size() < 20) {
    const auto best = std::max_element(logits->begin(), logits->end());
    const auto token = static_cast<Token>(best - logits->begin());
    text += static_cast<char>(token);
    logits = model.Forward({&token, 1}, state);  // decode: one more
  }
  if (!logits.ok()) return Error{logits.error()};
  return text;
}

Result<std::string> Sampled(const Transformer<A48>& model, const std::string& prompt) {
  auto state = model.NewState();
  state.CountWeights(true);

  GenerateOptions options;
  options.max_new_tokens = 40;
  options.sampler.temperature = 0.8f;
  Random random(1);
  const auto reply =
      Generate(model, state, TokensOf(prompt), options, random, [](Token) { return true; });  // false would end it
  if (!reply.ok()) return Error{reply.error()};

  const WeightUse use = state.TotalWeightUse();
  std::printf("cache: %zu bytes a token\n", state.CacheBytesPerToken());
  std::printf("weights not needed: up %.0f %%, down %.0f %%, overall %.0f %%\n", use.up.Sparsity(), use.down.Sparsity(),
              use.Overall().Sparsity());
  return std::string(reply->tokens.begin(), reply->tokens.end());
}

int Fail(const std::string& sentence) {
  std::fprintf(stderr, "%s\n", sentence.c_str());
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 3) return Fail("usage: tutorial TEXT MODEL");
  QuantizeFourNumbers();
  MultiplyByOneLayer();

  const auto latent = Train(SmallModel(), argv[1]);
  if (!latent.ok()) return Fail(latent.error());
  const auto packed = Export(*latent, argv[2]);
  if (!packed.ok()) return Fail(packed.error());

  const Transformer<A48> model(*packed);
  for (const auto& text : {MostProbable(model, "The "), Sampled(model, "The ")}) {
    if (!text.ok()) return Fail(text.error());
    std::printf("The %s\n", text->c_str());
  }
  return 0;
}

// ----------------------------------------------------------------------------------------------------------------

#undef main

TEST_CASE("Tutorial: the program of the document runs") {
  std::string text = std::string(BITNET_SOURCE_DIR) + "/LICENSE";
  std::string model = (std::filesystem::temp_directory_path() / "bitnet_tutorial_test.bitnet").string();
  std::string name = "tutorial";
  char* arguments[] = {name.data(), text.data(), model.data(), nullptr};
  CHECK(Tutorial(3, arguments) == 0);
  std::filesystem::remove(model);

  std::string missing = "no such file";
  arguments[1] = missing.data();
  CHECK(Tutorial(3, arguments) == 1);
  CHECK(Tutorial(1, arguments) == 1);
}

TEST_CASE("Tutorial: every block is code of this test") {
  CHECK(bitnet::testing::ShownIn("docs/tutorial.md", "tests/guides/tutorial_test.cc"));
}
