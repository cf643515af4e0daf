// The first and the last layer in INT8, weights and inputs, and an embedding of bfloat16 beside an INT8 output head: a
// scheme names the scheme of its edges. Trained beside a4.8 throughout, on the same batches; then packed, and decoded.
//
//   int8_edges [--quick]
#include <bitnet/bitnet.h>
#include <bitnet/train.h>

#include <cstdio>
#include <string>
#include <vector>

#include "program.h"
#include "text_to_learn.h"

namespace {

using namespace bitnet;

// What is of layers says Edge, what is of the model the scheme itself.
template <class Base>
struct Int8Edges : Base {
  static constexpr const char* kName = "INT8 edges";
  struct Edge : Base {
    using Weight = Quantizer<Int<8>, AbsMax, PerRow>;
    using Input = Quantizer<Int<8>, AbsMax>;
  };
};
template <class Base>
struct Int8Head : Base {
  using HeadWeight = Quantizer<Int<8>, AbsMax, PerRow>;
  using HeadInput = Quantizer<Int<8>, AbsMax>;
  using EmbeddingWeight = Rounded<BFloat16>;
};

template <Scheme Stage1, Scheme Stage2>
void Compare(const char* name, const ModelConfig& config, const TrainOptions& options, const Corpus& corpus) {
  auto trainer = Need(Trainer<Stage1, Stage2>::Create(config, options, corpus));
  Need(trainer.Run([](const StepReport&) { return true; }));
  const Transformer<Stage2> model(ModelWeights<Stage2>::Quantize(trainer.weights()));
  auto state = model.NewState();
  const std::string prompt = "// The ";
  std::vector<Token> tokens;
  for (const char byte : prompt) tokens.push_back(static_cast<unsigned char>(byte));
  Need(model.Feed(tokens, state));
  const ModelBytes bytes = model.Bytes();
  std::printf("%-12s loss %.3f nats a byte; projections %zu KB, embedding and head %zu KB; cache %zu bytes a token\n",
              name, trainer.ValidationLoss(), bytes.projections >> 10, bytes.embedding >> 10,
              state.CacheBytesPerToken());
}

}  // namespace

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::string(argv[1]) == "--quick";
  ModelConfig config;
  config.hidden = quick ? 64 : 128;
  config.head_dim = config.hidden / config.heads;
  config.ffn = quick ? 160 : 352;
  config.max_positions = 256;
  config.tied_embedding = false;
  TrainOptions options;
  options.steps = quick ? 20 : 200;
  options.warmup = options.steps / 10;
  options.batch = 8;
  options.sequence = quick ? 32 : 96;
  options.learning_rate = 3e-3f;
  options.second_learning_rate = 2e-3f;
  options.validation_windows = 16;
  const Corpus corpus = LoadText("").first;
  Compare<Int8Head<B158>, Int8Head<A48>>("a4.8", config, options, corpus);
  Compare<Int8Edges<Int8Head<B158>>, Int8Edges<Int8Head<A48>>>("INT8 edges", config, options, corpus);
}
