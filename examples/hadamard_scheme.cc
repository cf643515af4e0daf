// Four bits at every input, with a Hadamard transform before the two that need it, as in BitNet v2: what the attention
// output projection and down read has values far beyond the others, which a transform spreads over a block. The scheme
// says so in two lines; training takes the gradient through the transform, and the exported model has its bits.
//
//   hadamard_scheme [--quick]
#include <bitnet/bitnet.h>
#include <bitnet/train.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "program.h"
#include "text_to_learn.h"

using namespace bitnet;

using Int4 = Quantizer<Int<4>, AbsMean>;
using Int8 = Quantizer<Int<8>, AbsMax>;

struct FourBits : B158 {
  static constexpr const char* kName = "INT4 inputs";
  using Input = Int4;
  using OutputInput = Int4;
  using DownInput = Int4;
};

struct FourBitsOfHadamard : FourBits {
  static constexpr const char* kName = "INT4 inputs, Hadamard before o and down";
  using OutputInput = Transformed<Hadamard<256>, Int4>;
  using DownInput = Transformed<Hadamard<256>, Int4>;
};

// Stage 1 of either: the same transforms, since the weights are those of transformed inputs; 8 bits.
struct EightBitsOfHadamard : B158 {
  static constexpr const char* kName = "INT8 inputs, Hadamard before o and down";
  using OutputInput = Transformed<Hadamard<256>, Int8>;
  using DownInput = Transformed<Hadamard<256>, Int8>;
};

template <Scheme Stage1, Scheme S>
void TrainAndExport(const Corpus& corpus, const TrainOptions& options) {
  ModelConfig config;
  config.hidden = 128;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 32;
  config.ffn = 344;  // a block of 256, then 64, 16 and 8
  config.layers = 2;
  auto trainer = Need(Trainer<Stage1, S>::Create(config, options, corpus));
  Need(trainer.Run([](const StepReport&) { return true; }));
  std::printf("%-40s loss of text not seen %.3f with 8 bits, %.3f with 4\n", S::kName, trainer.ValidationLoss(1),
              trainer.ValidationLoss(2));

  const Transformer<S> model(ModelWeights<S>::Quantize(trainer.weights()));
  auto state = model.NewState();
  const std::string prompt = "// The ";
  std::vector<Token> tokens;
  for (const char byte : prompt) tokens.push_back(static_cast<unsigned char>(byte));
  std::string text;
  for (int i = 0; i < 24; ++i) {
    const std::span<const float> logits = Need(model.Forward(tokens, state));
    tokens = {static_cast<Token>(std::max_element(logits.begin(), logits.end()) - logits.begin())};
    text += tokens[0] >= ' ' && tokens[0] < 127 ? static_cast<char>(tokens[0]) : '.';
  }
  std::printf("  the exported model goes on from '%s': '%s'\n", prompt.c_str(), text.c_str());
}

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::string(argv[1]) == "--quick";
  if (argc > 2 || (argc == 2 && !quick)) Stop("usage: hadamard_scheme [--quick]");
  TrainOptions options;
  options.steps = quick ? 40 : 400;
  options.warmup = quick ? 5 : 20;
  options.batch = 8;
  options.sequence = 64;
  options.stage2_share = 0.5;
  const auto [corpus, name] = LoadText("");
  std::printf("%llu steps on %s\n", static_cast<unsigned long long>(options.steps), name.c_str());
  TrainAndExport<B158, FourBits>(corpus, options);
  TrainAndExport<EightBitsOfHadamard, FourBitsOfHadamard>(corpus, options);
}
