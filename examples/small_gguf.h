// A small GGUF file, as other programs write it, for examples that read one: two layers of random ternary weights in
// the layout of the released 2B model, a token for each byte, one for " b", and one that ends a turn of a chat.
#ifndef BITNET_EXAMPLES_SMALL_GGUF_H_
#define BITNET_EXAMPLES_SMALL_GGUF_H_

#include <bitnet/base/random.h>
#include <bitnet/io/encode_tensor.h>
#include <bitnet/io/gguf_checkpoint.h>
#include <bitnet/io/gguf_writer.h>
#include <bitnet/io/tokenizer/byte_level.h>
#include <bitnet/model/tensors.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "program.h"

inline void MakeSmallGguf(const std::string& path, const std::string& type) {
  using namespace bitnet;
  ModelConfig config;
  config.vocab = 258;
  config.hidden = 256;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 64;
  config.ffn = 512;
  config.sub_layer_norms = true;
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
  tokens[257] = "<|eot_id|>";
  std::vector<int32_t> types(config.vocab, 1);  // normal
  types[257] = 3;                               // control
  writer.Set("tokenizer.ggml.model", "gpt2");
  writer.Set("tokenizer.ggml.pre", "llama-bpe");
  writer.Set("tokenizer.ggml.tokens", tokens);
  writer.Set("tokenizer.ggml.token_type", types);
  writer.Set("tokenizer.ggml.merges", std::vector<std::string>{LettersOfBytes(" ") + " b"});
  writer.Set("tokenizer.ggml.eos_token_id", uint32_t{257});
  writer.Set("tokenizer.chat_template", "{{ 'Human: ' ... 'BITNETAssistant: ' }}");  // as the released file's begins
  Random random(5);
  ForEachTensor(config, [&](const TensorInfo& tensor) {
    EncodedTensor encoded;
    std::vector<uint64_t> dims = {tensor.cols, tensor.rows};
    if (tensor.role == TensorRole::kProjection) {
      std::vector<int8_t> levels(tensor.rows * tensor.cols);
      for (int8_t& level : levels) level = static_cast<int8_t>(static_cast<int>(random() % 3) - 1);
      const float step = 0.9f + 0.2f * static_cast<float>(UniformReal(random));
      encoded = Need(EncodeTensor(
          Need(QuantizedMatrix<Ternary>::FromLevels(levels, tensor.rows, tensor.cols, std::vector<float>{step})),
          *FindGgufType(type)));
    } else {
      std::vector<float> values(tensor.rows * tensor.cols);
      for (float& x : values) x = 1.0f + 0.1f * Normal(random);
      encoded.bytes.resize(4 * values.size());
      std::memcpy(encoded.bytes.data(), values.data(), encoded.bytes.size());
      if (tensor.role == TensorRole::kGain) dims.pop_back();
    }
    writer.AddTensor(detail::GgufNameOf(tensor), dims,
                     *FindGgufType(tensor.role == TensorRole::kProjection ? type : "F32"),
                     [bytes = encoded.bytes] { return bytes; });
  });
  Need(writer.Write(path));
}

#endif  // BITNET_EXAMPLES_SMALL_GGUF_H_
