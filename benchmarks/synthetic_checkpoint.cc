// synthetic_checkpoint FILE [--head F16|Q6_K]: a GGUF file of the released 2B model's exact shape and types, with
// random weights: what loading and decoding are measured on (docs/checkpoints.md). Its text is noise.
#include <bitnet/io/encode_tensor.h>
#include <bitnet/io/gguf_checkpoint.h>
#include <bitnet/io/gguf_writer.h>
#include <bitnet/io/tokenizer/byte_level.h>
#include <bitnet/model/tensors.h>

#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

using namespace bitnet;

namespace {

// Many at once: 2 billion weights are to be drawn.
uint64_t Next(uint64_t& state) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}

// Codes 0, 1, 2 of I2_S, four a byte, as likely as each other, and the step.
std::vector<uint8_t> TernaryBytes(size_t values, uint64_t seed) {
  uint8_t byte_of[81];
  for (unsigned i = 0; i < 81; ++i) {
    byte_of[i] = static_cast<uint8_t>(i % 3 | i / 3 % 3 << 2 | i / 9 % 3 << 4 | i / 27 << 6);
  }
  std::vector<uint8_t> bytes(values / 4 + 32);
  for (size_t i = 0; i < values / 4; ++i) bytes[i] = byte_of[(Next(seed) >> 32) * 81 >> 32];
  const float step = 0.02f;
  std::memcpy(bytes.data() + values / 4, &step, sizeof(step));
  return bytes;
}

// Blocks of random bytes whose scale is a half at `scale_at`.
std::vector<uint8_t> Blocks(size_t bytes, size_t block, size_t scale_at, uint64_t seed) {
  std::vector<uint8_t> all(bytes);
  for (size_t i = 0; i + 8 <= bytes; i += 8) {
    const uint64_t word = Next(seed);
    std::memcpy(all.data() + i, &word, 8);
  }
  for (size_t b = 0; b < bytes; b += block) all[b + scale_at] = 0x12, all[b + scale_at + 1] = 0x00;
  return all;
}

std::vector<uint8_t> Halves(size_t values, uint64_t seed) {
  std::vector<uint8_t> bytes(2 * values);
  for (size_t i = 0; i < values; ++i) {
    const auto half = Float16::Nearest(static_cast<float>(static_cast<int64_t>(Next(seed)) >> 32) * 0x1p-36f);
    std::memcpy(bytes.data() + 2 * i, &half, 2);
  }
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string head = argc == 4 && std::string(argv[2]) == "--head" ? argv[3] : "F16";
  if ((argc != 2 && argc != 4) || (head != "F16" && head != "Q6_K")) {
    std::fprintf(stderr, "synthetic_checkpoint FILE [--head F16|Q6_K]\n");
    return 64;
  }
  ModelConfig c;
  c.vocab = 128256, c.hidden = 2560, c.layers = 30, c.heads = 20, c.kv_heads = 5, c.head_dim = 128, c.ffn = 6912;
  c.max_positions = 4096, c.rope_base = 500000.0f, c.rms_eps = 1e-5f, c.sub_layer_norms = true;
  GgufWriter writer;
  writer.Set("general.architecture", "bitnet-b1.58");
  const auto set = [&](const char* key, auto value) { writer.Set(std::string("bitnet-b1.58.") + key, value); };
  set("context_length", c.max_positions);
  set("embedding_length", c.hidden);
  set("block_count", c.layers);
  set("feed_forward_length", c.ffn);
  set("rope.dimension_count", c.head_dim);
  set("rope.freq_base", c.rope_base);
  set("attention.head_count", c.heads);
  set("attention.head_count_kv", c.kv_heads);
  set("attention.layer_norm_rms_epsilon", c.rms_eps);
  // A token a byte, one for " b", and many that no text has.
  std::vector<std::string> tokens(c.vocab);
  for (size_t i = 0; i < c.vocab; ++i) {
    tokens[i] = i < 256 ? LettersOfBytes(std::string(1, static_cast<char>(i))) : std::to_string(i) + ">";
  }
  tokens[256] = LettersOfBytes(" b");
  writer.Set("tokenizer.ggml.model", "gpt2");
  writer.Set("tokenizer.ggml.pre", "llama-bpe");
  writer.Set("tokenizer.ggml.tokens", tokens);
  writer.Set("tokenizer.ggml.token_type", std::vector<int32_t>(c.vocab, 1));
  writer.Set("tokenizer.ggml.merges", std::vector<std::string>{LettersOfBytes(" ") + " b"});
  uint64_t seed = 1;
  ForEachTensor(c, [&](const TensorInfo& tensor) {
    const size_t values = tensor.rows * tensor.cols;
    ++seed;
    const std::string name = detail::GgufNameOf(tensor);
    if (tensor.role == TensorRole::kGain) {
      writer.AddTensor(name, {tensor.cols}, *FindGgufType("F32"), [values] {
        std::vector<uint8_t> bytes(4 * values);
        for (size_t i = 0; i < values; ++i) bytes[4 * i + 2] = 0x80, bytes[4 * i + 3] = 0x3f;  // 1
        return bytes;
      });
      return;
    }
    const bool projection = tensor.role == TensorRole::kProjection;
    const GgufType& type = *FindGgufType(projection ? "I2_S" : head);
    writer.AddTensor(name, {tensor.cols, tensor.rows}, type, [=, s = seed * 0x9e3779b97f4a7c15u] {
      return projection      ? TernaryBytes(values, s)
             : head == "F16" ? Halves(values, s)
                             : Blocks(values / 256 * 210, 210, 208, s);
    });
  });
  const Result<Done> written = writer.Write(argv[1]);
  if (!written.ok()) std::fprintf(stderr, "%s\n", written.error().c_str());
  return written.ok() ? 0 : 1;
}
