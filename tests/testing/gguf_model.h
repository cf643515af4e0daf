// WriteGguf: a model as other programs write it into a GGUF file.
#ifndef BITNET_TESTS_TESTING_GGUF_MODEL_H_
#define BITNET_TESTS_TESTING_GGUF_MODEL_H_

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "bitnet/io/encode_tensor.h"
#include "bitnet/io/gguf_checkpoint.h"
#include "bitnet/io/gguf_writer.h"
#include "bitnet/model/weights.h"

namespace bitnet::testing {

// A model whose rows are blocks of every ternary type.
inline ModelConfig GgufModelConfig() {
  ModelConfig config;
  config.vocab = 50;
  config.hidden = 256;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 64;
  config.ffn = 512;
  config.max_positions = 64;
  config.rope_base = 500000.0f;
  config.sub_layer_norms = true;
  return config;
}

struct GgufModelOptions {
  std::string architecture = "bitnet-b1.58";
  std::string weights = "I2_S";
  std::function<void(GgufWriter&)> more = {};  // metadata and tensors beside the model's
  std::string without = {};                    // a tensor that is left out
};

// The model as a file, as other programs write it: rows of q and k as neighbouring pairs where the architecture has
// them so (written out here, not by the reader's function).
template <Scheme S>
void WriteGguf(const std::string& path, const ModelWeights<S>& model, const GgufModelOptions& options) {
  const ModelConfig& c = model.config;
  GgufWriter writer;
  const std::string prefix = options.architecture + ".";
  writer.Set("general.architecture", options.architecture);
  writer.Set(prefix + "context_length", c.max_positions);
  writer.Set(prefix + "embedding_length", c.hidden);
  writer.Set(prefix + "block_count", c.layers);
  writer.Set(prefix + "feed_forward_length", c.ffn);
  writer.Set(prefix + "rope.dimension_count", c.head_dim);
  writer.Set(prefix + "rope.freq_base", c.rope_base);
  writer.Set(prefix + "attention.head_count", c.heads);
  writer.Set(prefix + "attention.head_count_kv", c.kv_heads);
  writer.Set(prefix + "attention.layer_norm_rms_epsilon", c.rms_eps);
  writer.Set("tokenizer.ggml.bos_token_id", uint32_t{1});
  writer.Set("tokenizer.ggml.eos_token_id", uint32_t{2});
  if (options.more) options.more(writer);
  ForEachTensor(
      c,
      [&](auto tensor, const auto& from) {
        const std::string name = bitnet::detail::GgufNameOf(tensor);
        if (name == options.without) return;
        if constexpr (tensor.kRole == TensorRole::kGain) {
          const auto* bytes = reinterpret_cast<const uint8_t*>(from.data());
          writer.AddTensor(name, {tensor.cols}, *FindGgufType("F32"),
                           [copy = std::vector<uint8_t>(bytes, bytes + 4 * from.size())] { return copy; });
        } else {
          auto matrix = from;
          const std::string_view which = tensor.name;
          if (options.architecture == "llama" && (which == "q" || which == "k")) {
            const size_t row = matrix.RowBytes(matrix.cols()), half = c.head_dim / 2;
            for (size_t r = 0; r < matrix.rows(); ++r) {
              const size_t head = r / c.head_dim, i = r % c.head_dim / 2, j = r % 2;
              const auto codes = from.RowCodes(head * c.head_dim + j * half + i);
              std::copy(codes.begin(), codes.end(), matrix.bytes().begin() + static_cast<std::ptrdiff_t>(r * row));
            }
          }
          const GgufType& type = *FindGgufType(tensor.kRole == TensorRole::kProjection ? options.weights : "F16");
          const auto encoded = EncodeTensor(matrix, type);
          REQUIRE_MESSAGE(encoded.ok(), (encoded.ok() ? "" : encoded.error()));
          writer.AddTensor(name, {tensor.cols, tensor.rows}, type, [bytes = encoded->bytes] { return bytes; });
        }
      },
      model);
  const Result<Done> written = writer.Write(path);
  REQUIRE_MESSAGE(written.ok(), (written.ok() ? "" : written.error()));
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_GGUF_MODEL_H_
