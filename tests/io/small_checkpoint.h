// SmallCheckpoint: a whole GGUF file of a small ternary model, right as it is made, to be changed before it is written.
#ifndef BITNET_TESTS_IO_SMALL_CHECKPOINT_H_
#define BITNET_TESTS_IO_SMALL_CHECKPOINT_H_

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "bitnet/base/random.h"
#include "bitnet/io/encode_tensor.h"
#include "bitnet/io/gguf_checkpoint.h"
#include "bitnet/io/gguf_writer.h"
#include "bitnet/io/tokenizer/byte_level.h"
#include "bitnet/model/tensors.h"

namespace bitnet::testing {

struct SmallCheckpoint {
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dims;  // as GGUF has them: columns first
    std::string type;
    std::vector<uint8_t> bytes;
  };
  using Setter = std::function<void(GgufWriter&)>;

  std::vector<std::pair<std::string, Setter>> entries;
  std::vector<Tensor> tensors;
  uint32_t alignment = 32;

  // 257 tokens: bytes and " b". Steps are halves, near 0.5, one for each matrix.
  static ModelConfig Config() {
    ModelConfig c;
    c.vocab = 257;
    c.hidden = 256;
    c.layers = 4;
    c.heads = 4;
    c.kv_heads = 2;
    c.head_dim = 64;
    c.ffn = 512;
    c.max_positions = 64;
    c.sub_layer_norms = true;
    return c;
  }

  explicit SmallCheckpoint(const std::string& type = "I2_S", const std::string& architecture = "bitnet-b1.58",
                           ModelConfig c = Config()) {
    Set("general.architecture", architecture);
    const std::string prefix = architecture + ".";
    Set(prefix + "context_length", c.max_positions);
    Set(prefix + "embedding_length", c.hidden);
    Set(prefix + "block_count", c.layers);
    Set(prefix + "feed_forward_length", c.ffn);
    Set(prefix + "attention.head_count", c.heads);
    Set(prefix + "attention.head_count_kv", c.kv_heads);
    Set(prefix + "attention.layer_norm_rms_epsilon", c.rms_eps);
    Set("general.file_type", uint32_t{40});
    std::vector<std::string> tokens(257);
    for (size_t byte = 0; byte < 256; ++byte) tokens[byte] = LettersOfBytes(std::string(1, static_cast<char>(byte)));
    tokens[256] = LettersOfBytes(" b");
    Set("tokenizer.ggml.model", std::string("gpt2"));
    Set("tokenizer.ggml.pre", std::string("llama-bpe"));
    Set("tokenizer.ggml.tokens", tokens);
    Set("tokenizer.ggml.token_type", std::vector<int32_t>(257, 1));
    Set("tokenizer.ggml.merges", std::vector<std::string>{LettersOfBytes(" ") + " b"});
    Set("tokenizer.ggml.bos_token_id", uint32_t{1});
    Set("tokenizer.ggml.eos_token_id", uint32_t{2});
    Set("tokenizer.chat_template", std::string("{{ messages }}"));
    Random random(11);
    ForEachTensor(c, [&](const TensorInfo& tensor) {
      const std::string name = detail::GgufNameOf(tensor);
      if (tensor.role == TensorRole::kProjection) {
        std::vector<LevelOf<Ternary>> levels(tensor.rows * tensor.cols);
        for (auto& level : levels) level = static_cast<LevelOf<Ternary>>(static_cast<int>(random() % 3) - 1);
        const float step = Float16::Nearest(static_cast<float>(0.5 + 0.25 * UniformReal(random)));
        const auto matrix =
            *QuantizedMatrix<Ternary>::FromLevels(levels, tensor.rows, tensor.cols, std::vector<float>{step});
        const auto encoded = EncodeTensor(matrix, *FindGgufType(type));
        REQUIRE_MESSAGE(encoded.ok(), (encoded.ok() ? "" : encoded.error()));
        tensors.push_back({name, {tensor.cols, tensor.rows}, type, encoded->bytes});
      } else {
        std::vector<float> values(tensor.rows * tensor.cols);
        for (float& x : values) x = 1.0f + 0.1f * Normal(random);
        std::vector<uint8_t> bytes(4 * values.size());
        std::memcpy(bytes.data(), values.data(), bytes.size());
        std::vector<uint64_t> dims = {tensor.cols, tensor.rows};
        if (tensor.role == TensorRole::kGain) dims.pop_back();
        tensors.push_back({name, dims, "F32", bytes});
      }
    });
  }

  template <class T>
  void Set(const std::string& key, const T& value) {
    Setter setter = [key, value](GgufWriter& to) { to.Set(key, value); };
    for (auto& entry : entries) {
      if (entry.first == key) {
        entry.second = std::move(setter);
        return;
      }
    }
    entries.emplace_back(key, std::move(setter));
  }
  void Erase(const std::string& key) {
    REQUIRE(std::erase_if(entries, [&](const auto& entry) { return entry.first == key; }) == 1);
  }
  Tensor& Find(const std::string& name) {
    const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& t) { return t.name == name; });
    REQUIRE(found != tensors.end());
    return *found;
  }
  // The scale of a tensor in I2_S.
  void SetScale(const std::string& name, float scale) {
    Tensor& tensor = Find(name);
    REQUIRE(tensor.type == "I2_S");
    std::memcpy(tensor.bytes.data() + tensor.bytes.size() - 32, &scale, sizeof(scale));
  }

  void Write(const std::string& path) const {
    GgufWriter writer(alignment);
    for (const auto& entry : entries) entry.second(writer);
    for (const Tensor& tensor : tensors) {
      writer.AddTensor(tensor.name, tensor.dims, *FindGgufType(tensor.type), std::span(tensor.bytes));
    }
    const Result<Done> written = writer.Write(path);
    REQUIRE_MESSAGE(written.ok(), (written.ok() ? "" : written.error()));
  }
};

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_IO_SMALL_CHECKPOINT_H_
