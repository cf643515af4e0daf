#include "bitnet/io/gguf_checkpoint.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "bitnet/backend/simd/default_backend.h"
#include "bitnet/io/checkpoint.h"
#include "bitnet/io/gguf_config.h"
#include "bitnet/io/gguf_writer.h"
#include "bitnet/io/load_weights.h"
#include "bitnet/model/transformer.h"
#include "testing/gguf_model.h"
#include "testing/temporary_file.h"
#include "testing/tiny_model.h"

namespace bitnet {
namespace {

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
void CheckSame(const testing::GgufModelOptions& options, const ModelConfig& config) {
  // Steps of halves, which all types hold.
  ModelWeights<S> model = testing::TinyWeights<S>(config);
  ForEachTensor(
      config,
      [](auto tensor, auto& matrix) {
        if constexpr (tensor.kRole == TensorRole::kProjection) matrix.steps()[0] = 0.0625f;
      },
      model);
  const testing::TemporaryFile path;
  testing::WriteGguf(path.path(), model, options);
  const Result<Checkpoint> file = Checkpoint::Open(path.path());
  REQUIRE_MESSAGE(file.ok(), (file.ok() ? "" : file.error()));
  size_t calls = 0;
  const LoadProgress progress = [&](size_t read, size_t) { CHECK(read == calls++); };
  const Result<ModelWeights<S>> loaded = LoadWeights<S>(*file, progress);
  REQUIRE_MESSAGE(loaded.ok(), (loaded.ok() ? "" : loaded.error()));
  CHECK(loaded->config == config);
  CHECK(calls > 20);
  CHECK(testing::SameBits(LogitsOf(*loaded), LogitsOf(model)));
}

TEST_CASE("LoadWeights: a model of the released 2B model's layout has the bits of what was written") {
  for (const char* type : {"I2_S", "TQ2_0", "TQ1_0"}) {
    for (const char* architecture : {"bitnet-b1.58", "bitnet-25"}) {
      CAPTURE(type);
      CheckSame<Released>({.architecture = architecture, .weights = type}, testing::GgufModelConfig());
    }
  }
}

TEST_CASE("LoadWeights: of llama's layout the rows of q and k are brought to rotate-half") {
  ModelConfig config = testing::GgufModelConfig();
  config.sub_layer_norms = false;
  config.tied_embedding = false;
  CheckSame<WithSilu<Released>>({.architecture = "llama"}, config);
  CheckSame<WithSilu<Released>>({.architecture = "bitnet"}, config);
}

template <Scheme S = Released>
std::string ErrorOf(const testing::GgufModelOptions& options) {
  const testing::TemporaryFile path;
  testing::WriteGguf(path.path(), testing::TinyWeights<Released>(testing::GgufModelConfig()), options);
  const Result<Checkpoint> file = Checkpoint::Open(path.path());
  if (!file.ok()) return file.error().substr(path.path().size() + 2);
  const auto loaded = LoadWeights<S>(*file);
  REQUIRE(!loaded.ok());
  return loaded.error().substr(path.path().size() + 2);
}

TEST_CASE("LoadWeights: what the model does not do is refused by its name") {
  const std::vector<uint8_t> one(4), zeros(128);
  const GgufType& f32 = *FindGgufType("F32");
  CHECK(ErrorOf({.architecture = "gpt-oss"}).starts_with("the architecture is 'gpt-oss'; known are bitnet-b1.58, "));
  CHECK(ErrorOf({.more = [](GgufWriter& w) { w.Set("bitnet-b1.58.expert_count", uint32_t{8}); }}) ==
        "metadata 'bitnet-b1.58.expert_count' declares what is not known here");
  CHECK(ErrorOf({.more = [](GgufWriter& w) { w.Set("prism.hadamard.version", uint32_t{1}); }}) ==
        "metadata 'prism.hadamard.version' declares what is not known here");
  CHECK(ErrorOf({.more = [](GgufWriter& w) { w.Set("bitnet-b1.58.rope.scaling.type", "longrope"); }}) ==
        "metadata 'bitnet-b1.58.rope.scaling.type' is 'longrope'; none, linear and yarn are known");
  const auto rope = [](const char* type, float factor, uint32_t original) {
    return ErrorOf({.more = [=](GgufWriter& w) {
      w.Set("bitnet-b1.58.rope.scaling.type", type);
      w.Set("bitnet-b1.58.rope.scaling.factor", factor);
      w.Set("bitnet-b1.58.rope.scaling.original_context_length", original);
    }});
  };
  CHECK(
      rope("linear", 0.5f, 1) ==
      "metadata states a factor of 0.500000 for the scaling of the rotary embedding; it must be finite, and 1 or more");
  CHECK(rope("yarn", 2.0f, 0).starts_with("metadata states a yarn scaling of 0 positions"));
  CHECK(ErrorOf({.more = [](GgufWriter& w) { w.Set("split.count", uint16_t{2}); }}) ==
        "metadata 'split.count': the file is one of several that a model was split into; merge them first");
  CHECK(ErrorOf({.more = [&](GgufWriter& w) {
          w.AddTensor("rope_freqs.weight", {3}, f32, std::span(zeros).first(12));
        }}) == "tensor 'rope_freqs.weight': it has 1 x 3 values; one for each of the 32 pairs of a head was expected");
  CHECK(ErrorOf({.more = [&](GgufWriter& w) {
          w.AddTensor("rope_freqs.weight", {32}, f32, std::span(zeros).first(128));
        }}) == "tensor 'rope_freqs.weight': factor 0 is not above 0");
  CHECK(ErrorOf({.more = [&](GgufWriter& w) { w.AddTensor("blk.0.attn_q.bias", {1}, f32, one); }}) ==
        "tensor 'blk.0.attn_q.bias' is none that this model has");
  CHECK(ErrorOf({.more = [&](GgufWriter& w) { w.AddTensor("blk.0.attn_q_norm.weight", {1}, f32, one); }}) ==
        "tensor 'blk.0.attn_q_norm.weight' is 1 x 1; 1 x 64 was expected");
  CHECK(ErrorOf({.without = "blk.1.ffn_up.weight"}) == "there is no tensor 'blk.1.ffn_up.weight'");
  CHECK(ErrorOf<WithSilu<Released>>({}) ==
        "architecture 'bitnet-b1.58' has the activation squared ReLU, and the scheme another");
  CHECK(ErrorOf<Binary16>({}) ==
        "tensor 'blk.0.attn_q.weight': its type is I2_S, and the scheme has other levels there");
  CHECK(ErrorOf({.more = [](GgufWriter& w) { w.Set("tokenizer.ggml.eot_token_id", uint32_t{50}); }}) ==
        "metadata 'tokenizer.ggml.eot_token_id' is 50; the vocabulary has 50");
}

// Of a file with these metadata beside the model's.
Result<CheckpointConfig> ConfigWith(const std::function<void(GgufWriter&)>& more,
                                    const std::string& architecture = "bitnet-b1.58") {
  const testing::TemporaryFile path;
  testing::WriteGguf(path.path(), testing::TinyWeights<Released>(testing::GgufModelConfig()),
                     {.architecture = architecture, .more = more});
  return ReadGgufConfig(*GgufFile::Open(path.path()));
}

TEST_CASE("ReadGgufConfig: scaled rotary embeddings, as other programs mean the keys") {
  const std::string at = "bitnet-b1.58.rope.";
  // What yarn multiplies by is the usual factor times what is said.
  for (const float times : {1.0f, 1.5f}) {
    const auto yarn = ConfigWith([&](GgufWriter& w) {
      w.Set(at + "scaling.type", "yarn");
      w.Set(at + "scaling.factor", 4.0f);
      w.Set(at + "scaling.original_context_length", uint32_t{64});
      w.Set(at + "scaling.attn_factor", times);
    });
    REQUIRE(yarn.ok());
    CHECK(yarn->rope_scaling.attention_factor == doctest::Approx(double{times} * (1.0 + 0.1 * std::log(4.0))));
  }
  // A factor without a type is linear.
  for (const char* key : {"scaling.factor", "scale_linear"}) {
    const auto linear = ConfigWith([&](GgufWriter& w) { w.Set(at + key, 4.0f); });
    REQUIRE(linear.ok());
    CHECK(linear->rope_scaling.kind == RopeScalingKind::kLinear);
    CHECK(linear->rope_scaling.factor == 4.0);
  }
  const auto none = ConfigWith([&](GgufWriter& w) {
    w.Set(at + "scaling.type", "none");
    w.Set(at + "scaling.factor", 4.0f);
  });
  REQUIRE(none.ok());
  CHECK(none->rope_scaling.kind == RopeScalingKind::kDefault);
  const auto stray = ConfigWith([&](GgufWriter& w) { w.Set(at + "scaling.attn_factor", 2.0f); });
  REQUIRE(!stray.ok());
  CHECK(stray.error().ends_with("'bitnet-b1.58.rope.scaling.attn_factor' belongs to a scaling of type yarn"));
}

TEST_CASE("ReadGgufConfig: no token, and norms whose rows would be moved") {
  for (const int64_t id : {int64_t{-1}, int64_t{0xffffffff}}) {
    const auto config = ConfigWith([&](GgufWriter& w) {
      id < 0 ? w.Set("tokenizer.ggml.eot_token_id", int32_t{-1})
             : w.Set("tokenizer.ggml.eot_token_id", uint32_t{0xffffffff});
    });
    REQUIRE_MESSAGE(config.ok(), (config.ok() ? "" : config.error()));
    CHECK(config->eos == std::vector<uint32_t>{2});
  }
  const std::vector<uint8_t> gain(256);
  const auto norms = ConfigWith(
      [&](GgufWriter& w) { w.AddTensor("blk.0.attn_q_norm.weight", {64}, *FindGgufType("F32"), gain); }, "llama");
  REQUIRE(!norms.ok());
  CHECK(norms.error().ends_with("norms of heads are not known of architecture 'llama'"));
}

TEST_CASE("LoadWeights: reals that are too large for the scheme's are refused") {
  const ModelConfig config = testing::GgufModelConfig();
  std::vector<uint8_t> bytes(size_t{4} * config.vocab * config.hidden);
  const float large = 1e5f;
  std::memcpy(bytes.data() + 4 * (3 * size_t{config.hidden} + 7), &large, 4);
  const auto add = [&](GgufWriter& w) {
    w.AddTensor("token_embd.weight", {config.hidden, config.vocab}, *FindGgufType("F32"), bytes);
  };
  CHECK(ErrorOf({.more = add, .without = "token_embd.weight"})
            .starts_with("tensor 'token_embd.weight': in the scheme's reals: row 3, value 7 is"));
}

TEST_CASE("ReadGgufConfig: what the file says") {
  const testing::TemporaryFile path;
  testing::WriteGguf(path.path(), testing::TinyWeights<Released>(testing::GgufModelConfig()), {});
  const Result<GgufFile> file = GgufFile::Open(path.path());
  REQUIRE(file.ok());
  const Result<CheckpointConfig> config = ReadGgufConfig(*file);
  REQUIRE(config.ok());
  CHECK(config->architecture == "bitnet-b1.58");
  CHECK(config->activation == ActivationKind::kSquaredRelu);
  CHECK(config->sub_layer_norms);
  CHECK(config->tied_embedding);
  CHECK(config->bos == 1);
  CHECK(config->eos == std::vector<uint32_t>{2});
  CHECK(*ModelConfigOf(*config) == testing::GgufModelConfig());
}

}  // namespace
}  // namespace bitnet
