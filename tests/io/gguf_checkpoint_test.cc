#include "bitnet/io/gguf_checkpoint.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bitnet/backend/simd/default_backend.h"
#include "bitnet/io/encode_tensor.h"
#include "bitnet/io/gguf_config.h"
#include "bitnet/io/gguf_writer.h"
#include "bitnet/model/transformer.h"
#include "testing/temporary_file.h"
#include "testing/tiny_model.h"

namespace bitnet {
namespace {

// A model whose rows are blocks of every ternary type.
ModelConfig Config() {
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

struct FileOptions {
  std::string architecture = "bitnet-b1.58";
  std::string weights = "I2_S";
  std::function<void(GgufWriter&)> more = {};  // metadata and tensors beside the model's
  std::string without = {};                    // a tensor that is left out
};

// The model as a file, as other programs write it: rows of q and k as neighbouring pairs where the architecture has
// them so (written out here, not by the reader's function).
template <Scheme S>
void WriteGguf(const std::string& path, const ModelWeights<S>& model, const FileOptions& options) {
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
        const std::string name = detail::GgufNameOf(tensor);
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

template <Scheme S>
std::vector<float> LogitsOf(const ModelWeights<S>& weights) {
  const Transformer<S> model(weights);
  auto state = model.NewState();
  const auto logits = model.Forward(testing::RandomTokens(9, weights.config.vocab), state);
  REQUIRE(logits.ok());
  return testing::Copy(*logits);
}

using Released = WithInt8Cache<WithFloat16Head<B158>>;

struct Binary16 : Released {
  static constexpr const char* kName = "Binary16";
  using Weight = Quantizer<Binary, AbsMean>;
};

template <Scheme S>
void CheckSame(const FileOptions& options, const ModelConfig& config) {
  // Steps of halves, which all types hold.
  ModelWeights<S> model = testing::TinyWeights<S>(config);
  ForEachTensor(
      config,
      [](auto tensor, auto& matrix) {
        if constexpr (tensor.kRole == TensorRole::kProjection) matrix.steps()[0] = 0.0625f;
      },
      model);
  const testing::TemporaryFile path;
  WriteGguf(path.path(), model, options);
  const Result<GgufFile> file = GgufFile::Open(path.path());
  REQUIRE(file.ok());
  size_t calls = 0;
  GgufLoadOptions load;
  load.progress = [&](size_t read, size_t) { CHECK(read == calls++); };
  const Result<ModelWeights<S>> loaded = LoadGguf<S>(*file, load);
  REQUIRE_MESSAGE(loaded.ok(), (loaded.ok() ? "" : loaded.error()));
  CHECK(loaded->config == config);
  CHECK(calls > 20);
  CHECK(testing::SameBits(LogitsOf(*loaded), LogitsOf(model)));
}

TEST_CASE("LoadGguf: a model of the released 2B model's layout has the bits of what was written") {
  for (const char* type : {"I2_S", "TQ2_0", "TQ1_0"}) {
    for (const char* architecture : {"bitnet-b1.58", "bitnet-25"}) {
      CAPTURE(type);
      CheckSame<Released>({.architecture = architecture, .weights = type}, Config());
    }
  }
}

TEST_CASE("LoadGguf: of llama's layout the rows of q and k are brought to rotate-half") {
  ModelConfig config = Config();
  config.sub_layer_norms = false;
  config.tied_embedding = false;
  CheckSame<WithSilu<Released>>({.architecture = "llama"}, config);
  CheckSame<WithSilu<Released>>({.architecture = "bitnet"}, config);
}

template <Scheme S = Released>
std::string ErrorOf(const FileOptions& options) {
  const testing::TemporaryFile path;
  WriteGguf(path.path(), testing::TinyWeights<Released>(Config()), options);
  const Result<GgufFile> file = GgufFile::Open(path.path());
  REQUIRE(file.ok());
  const auto loaded = LoadGguf<S>(*file);
  REQUIRE(!loaded.ok());
  return loaded.error().substr(path.path().size() + 2);
}

TEST_CASE("LoadGguf: what the model does not do is refused by its name") {
  const std::vector<uint8_t> one(4);
  const GgufType& f32 = *FindGgufType("F32");
  CHECK(ErrorOf({.architecture = "gpt-oss"}).starts_with("the architecture is 'gpt-oss'; known are bitnet-b1.58, "));
  CHECK(ErrorOf({.more = [](GgufWriter& w) { w.Set("bitnet-b1.58.expert_count", uint32_t{8}); }}) ==
        "metadata 'bitnet-b1.58.expert_count' declares what is not known here");
  CHECK(ErrorOf({.more = [](GgufWriter& w) { w.Set("prism.hadamard.version", uint32_t{1}); }}) ==
        "metadata 'prism.hadamard.version' declares what is not known here");
  CHECK(ErrorOf({.more = [](GgufWriter& w) { w.Set("bitnet-b1.58.rope.scaling.type", "longrope"); }}) ==
        "metadata 'bitnet-b1.58.rope.scaling.type' is 'longrope'; none, linear and yarn are known");
  CHECK(ErrorOf({.more = [](GgufWriter& w) {
          w.Set("bitnet-b1.58.rope.scaling.type", "linear");
          w.Set("bitnet-b1.58.rope.scaling.factor", 2.0f);
        }}) == "its rotary embedding is scaled, which models here do not do yet");
  CHECK(ErrorOf({.more = [&](GgufWriter& w) { w.AddTensor("blk.0.attn_q.bias", {1}, f32, one); }}) ==
        "tensor 'blk.0.attn_q.bias' is none that this model has");
  CHECK(ErrorOf({.more = [&](GgufWriter& w) { w.AddTensor("blk.0.attn_q_norm.weight", {1}, f32, one); }}) ==
        "it has norms of query and key heads, which models here have not yet");
  CHECK(ErrorOf({.without = "blk.1.ffn_up.weight"}) == "there is no tensor 'blk.1.ffn_up.weight'");
  CHECK(ErrorOf<WithSilu<Released>>({}) ==
        "architecture 'bitnet-b1.58' has the activation squared ReLU, and the scheme another");
  CHECK(ErrorOf<Binary16>({}) ==
        "tensor 'blk.0.attn_q.weight': its type is I2_S, and the scheme has other levels there");
  CHECK(ErrorOf({.more = [](GgufWriter& w) { w.Set("tokenizer.ggml.eot_token_id", uint32_t{50}); }}) ==
        "metadata 'tokenizer.ggml.eot_token_id' is 50; the vocabulary has 50");
}

TEST_CASE("ReadGgufConfig: what the file says") {
  const testing::TemporaryFile path;
  WriteGguf(path.path(), testing::TinyWeights<Released>(Config()), {});
  const Result<GgufFile> file = GgufFile::Open(path.path());
  REQUIRE(file.ok());
  const Result<CheckpointConfig> config = ReadGgufConfig(*file);
  REQUIRE(config.ok());
  CHECK(config->architecture == "bitnet-b1.58");
  CHECK(config->activation == CheckpointActivation::kSquaredRelu);
  CHECK(config->sub_layer_norms);
  CHECK(config->tied_embedding);
  CHECK(config->bos == 1);
  CHECK(config->eos == std::vector<uint32_t>{2});
  CHECK(*ModelConfigOf(*config) == Config());
}

}  // namespace
}  // namespace bitnet
