// Text from a GGUF file: a ternary model, its tokenizer, a prompt, a reply as it comes.
//
//   run MODEL.gguf -p PROMPT [-n TOKENS] [--temperature T] [--seed N]
//   run --quick    makes a small file of untrained weights and runs that
//
// Reads what io/gguf_checkpoint.h loads: b1.58 models of the layouts bitnet and llama. Their cache has 8 bits.
#include <bitnet/bitnet.h>
#include <bitnet/io/encode_tensor.h>
#include <bitnet/io/gguf_checkpoint.h>
#include <bitnet/io/gguf_writer.h>
#include <bitnet/io/load_tokenizer.h>
#include <bitnet/io/text_decoder.h>
#include <bitnet/io/tokenizer/byte_level.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "program.h"

using namespace bitnet;

namespace {

using Released = WithInt8Cache<WithFloat16Head<B158>>;  // the scheme of the released 2B model

struct Arguments {
  std::string model, prompt;
  size_t tokens = 128;
  float temperature = 0.0f;
  uint64_t seed = 1;
};

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

template <Scheme S>
void Run(const GgufFile& file, const LoadedTokenizer& loaded, const Arguments& arguments) {
  const double start = Seconds();
  GgufLoadOptions options;
  options.progress = [](size_t read, size_t all) {
    if (read % 16 == 0) std::fprintf(stderr, "\rloading: %zu of %zu tensors", read, all);
  };
  const Transformer<S> model(Need(LoadGguf<S>(file, options)));
  const ModelBytes bytes = model.Bytes();
  std::fprintf(stderr, "\rloaded in %.1f s: projections of %.1f MB, embedding and head of %.1f MB\n", Seconds() - start,
               1e-6 * static_cast<double>(bytes.projections), 1e-6 * static_cast<double>(bytes.embedding));

  const Tokenizer& tokenizer = loaded.tokenizer;
  const std::vector<Token> prompt = Need(tokenizer.Encode(arguments.prompt));
  GenerateOptions generate;
  generate.max_new_tokens = arguments.tokens;
  generate.stop_tokens.assign(tokenizer.ends().begin(), tokenizer.ends().end());
  generate.sampler.temperature = arguments.temperature;
  auto state = model.NewState();
  Random random(arguments.seed);
  TextDecoder text(tokenizer, {.at_start = false});
  std::printf("%s", arguments.prompt.c_str());
  const double begin = Seconds();
  double first = begin;
  const Generated reply = Need(Generate(model, state, prompt, generate, random, [&](Token token) {
    if (first == begin) first = Seconds();
    std::printf("%s", Need(text.Append(token)).c_str());
    std::fflush(stdout);
    return true;
  }));
  std::printf("%s\n", text.Finish().c_str());
  std::fprintf(stderr, "%zu tokens of the prompt in %.2f s, %zu of the reply at %.1f a second\n", prompt.size(),
               first - begin, reply.tokens.size(),
               static_cast<double>(reply.tokens.size()) / (Seconds() - first + 1e-9));
}

// A file as other programs write it: two layers, a byte a token, and one for " b".
void MakeSmallFile(const std::string& path) {
  ModelConfig config;
  config.vocab = 257;
  config.hidden = 128;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 32;
  config.ffn = 384;
  config.sub_layer_norms = true;
  Random random(3);
  const auto model = ModelWeights<Released>::Quantize(LatentWeights::Initial(config, random));
  GgufWriter writer;
  writer.Set("general.architecture", "bitnet-b1.58");
  const auto set = [&](const char* key, auto value) { writer.Set(std::string("bitnet-b1.58.") + key, value); };
  set("context_length", config.max_positions);
  set("embedding_length", config.hidden);
  set("block_count", config.layers);
  set("feed_forward_length", config.ffn);
  set("attention.head_count", config.heads);
  set("attention.head_count_kv", config.kv_heads);
  set("attention.layer_norm_rms_epsilon", config.rms_eps);
  std::vector<std::string> tokens(config.vocab);
  for (size_t byte = 0; byte < 256; ++byte) tokens[byte] = LettersOfBytes(std::string(1, static_cast<char>(byte)));
  tokens[256] = LettersOfBytes(" b");
  writer.Set("tokenizer.ggml.model", "gpt2");
  writer.Set("tokenizer.ggml.pre", "llama-bpe");
  writer.Set("tokenizer.ggml.tokens", tokens);
  writer.Set("tokenizer.ggml.token_type", std::vector<int32_t>(config.vocab, 1));  // all are normal
  writer.Set("tokenizer.ggml.merges", std::vector<std::string>{LettersOfBytes(" ") + " b"});
  const auto add = [&](auto tensor, const auto& from) {
    const std::string name = detail::GgufNameOf(tensor);
    if constexpr (tensor.kRole == TensorRole::kGain) {
      const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(from.data()), 4 * from.size());
      writer.AddTensor(name, {tensor.cols}, *FindGgufType("F32"), bytes);
    } else {
      const GgufType& type = *FindGgufType(tensor.kRole == TensorRole::kProjection ? "I2_S" : "F16");
      const EncodedTensor encoded = Need(EncodeTensor(from, type));
      writer.AddTensor(name, {tensor.cols, tensor.rows}, type, [bytes = encoded.bytes] { return bytes; });
    }
  };
  ForEachTensor(config, add, model);
  Need(writer.Write(path));
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  bool quick = false;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    const auto value = [&]() -> std::string {
      if (i + 1 == argc) Stop(option + " needs a value");
      return argv[++i];
    };
    if (option == "--quick") {
      quick = true;
    } else if (option == "-p") {
      arguments.prompt = value();
    } else if (option == "-n") {
      arguments.tokens = static_cast<size_t>(ParseWhole("-n", value(), 1, 1e6));
    } else if (option == "--temperature") {
      arguments.temperature = static_cast<float>(ParseNumber("--temperature", value(), 0, 100));
    } else if (option == "--seed") {
      arguments.seed = ParseWhole("--seed", value(), 0, 9e15);
    } else if (option.starts_with("-") || !arguments.model.empty()) {
      Stop("run MODEL.gguf -p PROMPT [-n TOKENS] [--temperature T] [--seed N]; not '" + option + "'");
    } else {
      arguments.model = option;
    }
  }
  if (quick) {
    arguments.model = (std::filesystem::temp_directory_path() / "bitnet_run_quick.gguf").string();
    arguments.prompt = "Two bits ";
    arguments.tokens = 24;
    MakeSmallFile(arguments.model);
  }
  if (arguments.model.empty()) Stop("run MODEL.gguf -p PROMPT [-n TOKENS] [--temperature T] [--seed N]");
  const GgufFile file = Need(GgufFile::Open(arguments.model));
  const LoadedTokenizer tokenizer = Need(LoadTokenizer(arguments.model));
  for (const std::string& note : tokenizer.notes) std::fprintf(stderr, "%s\n", note.c_str());
  if (Need(ReadGgufConfig(file)).activation == ActivationKind::kSilu) {
    Run<WithSilu<Released>>(file, tokenizer, arguments);
  } else {
    Run<Released>(file, tokenizer, arguments);
  }
  if (quick) std::filesystem::remove(arguments.model);
}
