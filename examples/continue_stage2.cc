// Stage 2 from a public b1.58 model: its masters (a folder of transformers, in 16 or 32 bits) are trained on with
// a4.8's inputs and cache, and packed. There is no other way to an a4.8 model of size.
//
//   continue_stage2 FOLDER --text FILE --out MODEL [--steps N] [--batch N] [--sequence N] [--rate R]
//   continue_stage2 --quick         makes a small folder of untrained weights and goes on from that
//
// Of the layout of the released 2B model (squared ReLU, sub-layer norms); of Llama's layout both schemes would be
// WithSilu's. Four floats a weight: weights, gradients, two moments. The 2B model takes 38 GB, and a CPU is slow at it.
#include <bitnet/io.h>
#include <bitnet/train.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "options.h"
#include "program.h"

using namespace bitnet;

namespace {

struct Arguments {
  std::string folder, text, out = "continued.bitnet";
  TrainOptions options;
  bool quick = false;
};

constexpr const char* kHelp =
    "continue_stage2 FOLDER --text FILE: trains the masters of a public b1.58 model on with a4.8's inputs, and packs\n"
    "  --text FILE   what it is trained on\n"
    "  --out MODEL   where the packed model goes (default continued.bitnet)\n"
    "  --steps N     (default 100)\n"
    "  --batch N     sequences of a step (default 4)\n"
    "  --sequence N  tokens of a sequence (default 256)\n"
    "  --rate R      the learning rate (default 5e-5)\n"
    "  --quick       makes a small folder of untrained weights and goes on from that\n";

Arguments Parse(int argc, char** argv) {
  Arguments arguments;
  TrainOptions& options = arguments.options;
  options.steps = 100, options.batch = 4, options.sequence = 256, options.warmup = 10;
  options.learning_rate = options.second_learning_rate = 5e-5f;
  options.stage2_share = 1.0;
  Options read(argc, argv, kHelp);
  while (read.Next()) {
    if (read.Is("--quick")) {
      arguments.quick = true;
    } else if (read.Is("--text")) {
      arguments.text = read.Value();
    } else if (read.Is("--out")) {
      arguments.out = read.Value();
    } else if (read.Is("--steps")) {
      options.steps = read.Whole(1, 1e9);
    } else if (read.Is("--batch")) {
      options.batch = static_cast<uint32_t>(read.Whole(1, 1e6));
    } else if (read.Is("--sequence")) {
      options.sequence = static_cast<uint32_t>(read.Whole(1, 1e6));
    } else if (read.Is("--rate")) {
      options.learning_rate = options.second_learning_rate = static_cast<float>(read.Number(0, 1));
    } else if (read.IsPath() && arguments.folder.empty()) {
      arguments.folder = read.Path();
    } else {
      read.RefuseUnknown();
    }
  }
  if (!arguments.quick && arguments.folder.empty()) read.Misused("which folder?");
  if (!arguments.quick && arguments.text.empty()) read.Misused("--text: which text is it to be trained on?");
  return arguments;
}

// config.json and model.safetensors of a model as transformers' class for the 2B model has them; a token a byte.
void MakeSmallFolder(const std::string& folder) {
  CheckpointConfig c;
  c.architecture = "bitnet";
  c.vocab = 256, c.hidden = 64, c.layers = 2, c.heads = 4, c.kv_heads = 2, c.head_dim = 16, c.ffn = 160;
  c.max_positions = 256, c.rms_eps = 1e-5f, c.rope_base = 500000.0f;
  c.activation = ActivationKind::kSquaredRelu;
  c.sub_layer_norms = c.tied_embedding = true;
  c.weights = CheckpointWeights::kMasters;
  std::filesystem::create_directories(folder);
  const std::string json = HfConfigText(c);
  Need(WriteFile(folder + "/config.json", {reinterpret_cast<const uint8_t*>(json.data()), json.size()}));
  Random random(1);
  const LatentWeights weights = LatentWeights::Initial(Need(ModelConfigOf(c)), random);
  std::vector<std::pair<std::string, std::span<const float>>> named;
  std::vector<SafetensorsTensor> tensors;
  weights.ForEach([&](const TensorInfo& tensor, std::span<const float> values) {
    SafetensorsTensor to;
    to.name = HfNameOf(tensor.layer, tensor.name).now;
    to.type = SafetensorsType::kF32;
    to.shape = {tensor.rows, tensor.cols};
    if (tensor.role == TensorRole::kGain) to.shape.erase(to.shape.begin());
    named.emplace_back(to.name, values);
    tensors.push_back(std::move(to));
  });
  auto writer = Need(SafetensorsWriter::Begin(folder + "/model.safetensors", std::move(tensors)));
  for (const SafetensorsTensor& tensor : writer.tensors()) {
    for (const auto& [name, values] : named) {
      if (name == tensor.name) Need(writer.Write(values));
    }
  }
  Need(writer.Commit());
}

Corpus TextOf(const Arguments& arguments) {
  if (arguments.quick) return Need(Corpus::FromFile(std::string(BITNET_SOURCE_DIR) + "/README.md"));
  const std::vector<uint8_t> bytes = Need(ReadFile(arguments.text));
  const LoadedTokenizer loaded = Need(LoadTokenizer(arguments.folder));
  return Corpus(Need(
      loaded.tokenizer.Encode({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, {.add_special = false})));
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments = Parse(argc, argv);
  const auto quick_folder = std::filesystem::temp_directory_path() / "bitnet_continue_quick";
  if (arguments.quick) {
    arguments.folder = quick_folder.string();
    arguments.out = (quick_folder / "continued.bitnet").string();
    arguments.options.steps = 20, arguments.options.sequence = 64;
    arguments.options.learning_rate = arguments.options.second_learning_rate = 3e-3f;
    MakeSmallFolder(arguments.folder);
  }
  NeedWritable("--out", arguments.out);
  const CheckpointConfig config = Need(LoadHfConfig(arguments.folder));
  if (config.activation != ActivationKind::kSquaredRelu) {
    Stop(arguments.folder +
         ": the activation is SiLU; this program's schemes have squared ReLU (WithSilu<B158> and WithSilu<A48> have "
         "it)");
  }
  const Safetensors files = Need(Safetensors::Open(arguments.folder));
  auto trainer = Need(
      Trainer<B158, A48>::CreateFrom(Need(LoadHfLatentWeights(files, config)), arguments.options, TextOf(arguments)));
  std::printf("held-out loss, nats a token: %.3f as W1.58A8, %.3f as a4.8\n", trainer.ValidationLoss(1),
              trainer.ValidationLoss(2));
  Need(trainer.Run([&](const StepReport& report) {
    if (report.step % 10 == 0) {
      std::printf("step %llu: loss %.3f\n", static_cast<unsigned long long>(report.step), report.loss);
      std::fflush(stdout);
    }
    return true;
  }));
  std::printf("held-out loss after %llu steps of stage 2: %.3f as a4.8\n",
              static_cast<unsigned long long>(trainer.step()), trainer.ValidationLoss(2));
  Need(SaveModel(ModelWeights<A48>::Quantize(trainer.weights()), arguments.out));
  std::printf("packed: %s\n", arguments.out.c_str());
  if (arguments.quick) std::filesystem::remove_all(quick_folder);
}
