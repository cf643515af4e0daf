#include "bitnet/io/any_model.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "bitnet/backend/reference.h"
#include "bitnet/backend/simd/default_backend.h"
#include "bitnet/io/load_weights.h"
#include "bitnet/io/safetensors.h"
#include "bitnet/model/transformer.h"
#include "testing/gguf_model.h"
#include "testing/temporary_file.h"
#include "testing/tiny_model.h"

namespace bitnet::any_model_test {
namespace {

using testing::GgufModelConfig;
using testing::GgufModelOptions;
using testing::SameBits;
using testing::TemporaryFile;
using testing::WriteGguf;

using Released = WithInt8Cache<WithFloat16Head<B158>>;

// (Of the reference: less to compile.)
template <Scheme S>
using Expected = Transformer<S, ReferenceBackend>;

// Whose cache is chosen when a model is loaded; one model is compiled for most of the tests.
using OfAnyCache = WithChosenCache<B158, WithInt8Cache<B158>, B158, WithFloat16Cache<B158>, WithSmallCache<B158, 4>,
                                   WithSmallCache<B158, 3>>;
Result<AnyModel<OfAnyCache>> LoadWithAnyCache(const Checkpoint& checkpoint, const AnyModelOptions& options = {}) {
  return LoadAnyModel<OfAnyCache>(checkpoint, options);
}

// Logits of a prefill and of two tokens after it.
template <class Model>
std::vector<float> LogitsOf(const Model& model) {
  auto state = model.NewState();
  const auto tokens = testing::RandomTokens(12, model.config().vocab);
  std::vector<float> all;
  for (const auto part : {std::span(tokens).first(10), std::span(tokens).subspan(10, 1), std::span(tokens).last(1)}) {
    const auto logits = model.Forward(part, state);
    REQUIRE(logits.ok());
    all.insert(all.end(), logits->begin(), logits->end());
  }
  return all;
}

Checkpoint Opened(const std::string& path, const CheckpointOptions& options = {}) {
  Result<Checkpoint> checkpoint = Checkpoint::Open(path, options);
  REQUIRE_MESSAGE(checkpoint.ok(), (checkpoint.ok() ? "" : checkpoint.error()));
  return *std::move(checkpoint);
}

// A file of a model of scheme S has its bits.
template <Scheme S>
void CheckSame(const GgufModelOptions& options, const ModelConfig& config) {
  ModelWeights<S> weights = testing::TinyWeights<S>(config);
  // Steps of halves, which all types hold; different ones, where there are several.
  ForEachTensor(
      config,
      [](auto tensor, auto& matrix) {
        if constexpr (tensor.kRole == TensorRole::kProjection) {
          for (size_t i = 0; i < matrix.steps().size(); ++i) {
            matrix.steps()[i] = 0.0625f + 0.03125f * static_cast<float>(i % 5);
          }
        }
      },
      weights);
  const TemporaryFile path;
  WriteGguf(path.path(), weights, options);
  size_t calls = 0;
  const auto model =
      LoadWithAnyCache(Opened(path.path()), {.progress = [&](size_t read, size_t) { CHECK(read == calls++); }});
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error()));
  CHECK(calls >= 20);
  CHECK(model->config() == config);
  const Expected<S> expected(weights);
  CHECK(SameBits(LogitsOf(*model), LogitsOf(expected)));
  CHECK(model->Bytes().projections > 0);
}

struct GroupedTernary : Released {
  static constexpr const char* kName = "GroupedTernary";
  using Weight = Quantizer<Ternary, AbsMean, PerGroup<64>>;
};

TEST_CASE("AnyModel: has the bits of the scheme that a file has") {
  ModelConfig config = GgufModelConfig();
  SUBCASE("squared ReLU, sub-layer norms, tied") {
    for (const char* type : {"I2_S", "TQ2_0", "TQ1_0"}) {
      CAPTURE(std::string(type));
      CheckSame<Released>({.weights = type}, config);
    }
  }
  SUBCASE("SiLU, rows of q and k in pairs, a head of its own") {
    config.sub_layer_norms = config.tied_embedding = false;
    CheckSame<WithSilu<Released>>({.architecture = "llama"}, config);
  }
  SUBCASE("norms of heads, scaled rotary embedding") {
    config.sub_layer_norms = false;
    config.head_norms = true;
    config.rope_frequencies =
        RopeFrequencies(config.head_dim, double{config.rope_base}, {.kind = RopeScalingKind::kLinear, .factor = 2.0});
    CheckSame<WithSilu<Released>>({.architecture = "qwen3",
                                   .more =
                                       [](GgufWriter& w) {
                                         w.Set("qwen3.rope.scaling.type", "linear");
                                         w.Set("qwen3.rope.scaling.factor", 2.0f);
                                       }},
                                  config);
  }
  SUBCASE("llama 3's factors of frequencies") {
    config.sub_layer_norms = false;
    config.rope_frequencies = RopeFrequencies(config.head_dim, double{config.rope_base}, {});
    std::vector<float> factors(config.head_dim / 2, 1.0f);
    for (size_t i = 10; i < factors.size(); ++i) config.rope_frequencies[i] /= (factors[i] = 8.0f);
    std::vector<uint8_t> bytes(factors.size() * sizeof(float));
    std::memcpy(bytes.data(), factors.data(), bytes.size());
    CheckSame<WithSilu<Released>>(
        {.architecture = "llama",
         .more = [&](GgufWriter& w) { w.AddTensor("rope_freqs.weight", {32}, *FindGgufType("F32"), bytes); }},
        config);
  }
  SUBCASE("a step for each 64 weights") { CheckSame<GroupedTernary>({.weights = "Q2_0"}, config); }
}

TEST_CASE("AnyModel: other inputs and another cache, where they are asked for") {
  using Small = WithFloat16Head<A48>;
  const ModelWeights<Small> weights = testing::TinyWeights<Small>(GgufModelConfig());
  const TemporaryFile path;
  WriteGguf(path.path(), weights, {});
  const auto model = LoadAnyModel<A48>(Opened(path.path()));
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error()));
  CHECK(SameBits(LogitsOf(*model), LogitsOf(Expected<Small>(weights))));
}

TEST_CASE("AnyModel: a cache that is chosen when it is loaded has the bits of the scheme with that cache") {
  using Base = WithFloat16Head<B158>;
  const ModelWeights<Base> weights = testing::TinyWeights<Base>(GgufModelConfig());
  const TemporaryFile path;
  WriteGguf(path.path(), weights, {});
  const Checkpoint checkpoint = Opened(path.path());
  std::vector<std::vector<float>> all;
  const auto check = [&]<class S>(std::type_identity<S>, size_t bits) {
    CAPTURE(bits);
    const auto model = LoadWithAnyCache(checkpoint, {.cache_bits = bits});
    REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error()));
    const Expected<S> expected(testing::TinyWeights<S>(GgufModelConfig()));
    CHECK(SameBits(LogitsOf(*model), LogitsOf(expected)));
    auto state = model->NewState();
    const Token token = 1;
    REQUIRE(model->Forward({&token, 1}, state).ok());
    const auto cache = ReferenceBackend().NewCache<CacheQuantizersOf<S>>(2, 64);
    CHECK(state.CacheBytesPerToken() == 2 * cache.BytesPerToken());
    all.push_back(LogitsOf(*model));
  };
  check(std::type_identity<WithInt8Cache<Base>>(), 0);  // the first
  check(std::type_identity<Base>(), 32);
  check(std::type_identity<WithFloat16Cache<Base>>(), 16);
  check(std::type_identity<WithSmallCache<Base, 4>>(), 4);
  check(std::type_identity<WithSmallCache<Base, 3>>(), 3);
  for (size_t i = 1; i < all.size(); ++i) CHECK(!SameBits(all[i], all[i - 1]));
  const auto other = LoadWithAnyCache(checkpoint, {.cache_bits = 5});
  REQUIRE(!other.ok());
  CHECK(other.error() == "cache_bits is 5; the scheme B158 has caches of 8, 32, 16, 4, 3 bits here");
  const auto fixed = LoadAnyModel<A48>(checkpoint, {.cache_bits = 16});
  REQUIRE(!fixed.ok());
  CHECK(fixed.error() == "cache_bits is 16; the scheme A48 has caches of 3 bits here");
  CHECK(LoadAnyModel<A48>(checkpoint, {.cache_bits = 3}).ok());
}

// Relative to the largest of those expected.
float Difference(std::span<const float> logits, std::span<const float> expected) {
  REQUIRE(logits.size() == expected.size());
  float largest = 0.0f, difference = 0.0f;
  for (size_t i = 0; i < logits.size(); ++i) {
    largest = std::max(largest, std::fabs(expected[i]));
    difference = std::max(difference, std::fabs(logits[i] - expected[i]));
  }
  return difference / largest;
}

// Inputs of a head of codes are INT8, a step for each 256.
struct Int8HeadInput : WithInt8Cache<B158> {
  static constexpr const char* kName = "Int8HeadInput";
  using HeadInput = Quantizer<Int<8>, AbsMax, PerGroup<256>>;
};

// The types of heads whose codes have more bits. Products with the reals that they stand for differ by what those
// round.
TEST_CASE("AnyModel: a head of codes") {
  const ModelConfig config = GgufModelConfig();
  const ModelWeights<Released> weights = testing::TinyWeights<Released>(config);
  for (const char* name : {"Q8_0", "Q6_K", "Q4_0", "BF16"}) {
    CAPTURE(std::string(name));
    const GgufType& type = *FindGgufType(name);
    std::vector<uint8_t> bytes(static_cast<size_t>(*type.Bytes(config.vocab, config.hidden)));
    Random random(7);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(UniformBelow(random, 256));
    // The halves d that the blocks scale by, and reals, of moderate size.
    const auto set_half = [&](size_t at) { bytes[at] = 0x12, bytes[at + 1] = 0x1c; };
    if (type.name == "Q8_0")
      for (size_t i = 0; i < bytes.size(); i += 34) set_half(i);
    if (type.name == "Q4_0")
      for (size_t i = 0; i < bytes.size(); i += 18) set_half(i);
    if (type.name == "Q6_K")
      for (size_t i = 208; i < bytes.size(); i += 210) set_half(i);
    if (type.name == "BF16")
      for (size_t i = 1; i < bytes.size(); i += 2) bytes[i] = (bytes[i] & 0x80) | 0x3c;
    const TemporaryFile path;
    WriteGguf(path.path(), weights,
              {.more =
                   [&](GgufWriter& w) {
                     w.AddTensor("token_embd.weight", {config.hidden, config.vocab}, type, bytes);
                   },
               .without = "token_embd.weight"});
    const Checkpoint checkpoint = Opened(path.path());
    const auto model = LoadWithAnyCache(checkpoint);
    REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error()));
    const auto expect = [&]<class S>(std::type_identity<S>) {
      const auto reals = LoadWeights<S>(checkpoint);
      REQUIRE_MESSAGE(reals.ok(), (reals.ok() ? "" : reals.error()));
      return LogitsOf(Expected<S>(*reals));
    };
    const std::vector<float> logits = LogitsOf(*model);
    const std::vector<float> expected = type.name == "BF16" ? expect(std::type_identity<WithInt8Cache<B158>>())
                                                            : expect(std::type_identity<Int8HeadInput>());
    CHECK(Difference(logits, expected) <= 4 * 0x1p-24f);
  }
}

// Weights as the reals that they stand for.
struct RealWeights : WithInt8Cache<B158> {
  static constexpr const char* kName = "RealWeights";
  using Weight = Unquantized;
};

// A file may have each of its matrices in another type. The levels of inputs are the same, so products differ by what
// floats round.
TEST_CASE("AnyModel: projections of one and of two bits, with steps of groups and with one") {
  const ModelConfig config = GgufModelConfig();
  const ModelWeights<Released> weights = testing::TinyWeights<Released>(config);
  const std::vector<float> others = LogitsOf(Expected<Released>(weights));
  struct Case {
    const char* type;
    size_t bytes, half_at;  // of a block
    bool steps_differ;
  };
  for (const Case& c : {Case{"Q1_0", 18, 0, true}, Case{"Q1_0", 18, 0, false}, Case{"Q2_0", 18, 0, true},
                        Case{"Q2_0", 18, 0, false}, Case{"PQ2_0", 34, 0, true}}) {
    for (const char* name : {"blk.0.attn_q.weight", "blk.1.ffn_up.weight", "blk.1.ffn_down.weight"}) {
      CAPTURE(std::string(c.type));
      CAPTURE(std::string(name));
      const GgufType& type = *FindGgufType(c.type);
      const bool is_q = std::string_view(name).ends_with("q.weight"),
                 is_up = std::string_view(name).ends_with("up.weight");
      const size_t rows = is_q ? 256 : is_up ? 512 : 256, cols = is_q || is_up ? 256 : 512;
      std::vector<uint8_t> bytes(static_cast<size_t>(*type.Bytes(rows, cols)));
      Random random(7);
      for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(UniformBelow(random, 256));
      for (size_t i = c.half_at; i < bytes.size(); i += c.bytes) {
        bytes[i] = c.steps_differ ? static_cast<uint8_t>(i) : uint8_t{0};
        bytes[i + 1] = 0x2c;  // a half near 1 / 16
      }
      const TemporaryFile path;
      WriteGguf(path.path(), weights,
                {.more =
                     [&](GgufWriter& w) {
                       w.AddTensor(name, {cols, rows}, type, bytes);
                     },
                 .without = name});
      const Checkpoint checkpoint = Opened(path.path());
      const auto model = LoadWithAnyCache(checkpoint);
      REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error()));
      const auto reals = LoadWeights<RealWeights>(checkpoint);
      REQUIRE_MESSAGE(reals.ok(), (reals.ok() ? "" : reals.error()));
      const std::vector<float> logits = LogitsOf(*model), expected = LogitsOf(Expected<RealWeights>(*reals));
      // A level of an input may be its neighbour where they differ in the last bit; with other weights all is another.
      CHECK(Difference(logits, expected) <= 0.02f);
      CHECK(Difference(others, expected) > 0.2f);
    }
  }
}

std::string Refusal(const GgufModelOptions& options, const ModelConfig& config = GgufModelConfig()) {
  const TemporaryFile path;
  WriteGguf(path.path(), testing::TinyWeights<Released>(config), options);
  const auto model = LoadWithAnyCache(Opened(path.path()));
  REQUIRE(!model.ok());
  return model.error().substr(path.path().size() + 2);
}

TEST_CASE("AnyModel: what is not run is refused by its name") {
  ModelConfig plain = GgufModelConfig();
  plain.sub_layer_norms = false;
  CHECK(Refusal({.weights = "Q8_0"})
            .find("its type is Q8_0; projections of one or two bits a weight, or reals, are run") != std::string::npos);
  const GgufModelOptions reals = {.architecture = "llama",
                                  .more =
                                      [](GgufWriter& w) {
                                        w.AddTensor("blk.1.attn_k.weight", {256, 128}, *FindGgufType("F32"),
                                                    [] { return std::vector<uint8_t>(size_t{256} * 128 * 4); });
                                      },
                                  .without = "blk.1.attn_k.weight"};
  CHECK(Refusal(reals, plain)
            .starts_with("tensor 'blk.1.attn_k.weight': its type is F32, and nothing says that the "
                         "model was trained for quantized weights"));
  // ... unless the caller says so.
  const TemporaryFile path;
  WriteGguf(path.path(), testing::TinyWeights<Released>(plain), reals);
  CHECK(LoadWithAnyCache(Opened(path.path(), {.quantize_any_reals = true})).ok());

  // A head so wide that its sums of codes do not fit, though all others do.
  ModelConfig wide = GgufModelConfig();
  wide.vocab = 4, wide.hidden = 32768, wide.layers = 1, wide.heads = 2, wide.kv_heads = 1, wide.ffn = 128;
  const std::vector<uint8_t> codes(size_t{4} * 32768 / 32 * 34);
  const auto more = [&](GgufWriter& w) {
    w.Set("bitnet-b1.58.attention.key_length", wide.head_dim);
    w.Set("bitnet-b1.58.attention.value_length", wide.head_dim);
    w.AddTensor("token_embd.weight", {32768, 4}, *FindGgufType("Q8_0"), codes);
  };
  CHECK(Refusal({.more = more, .without = "token_embd.weight"}, wide)
            .ends_with("a dot product of 32768 such levels with those of the inputs could reach 2^29"));
}

// ---- The classes of PyPI's transformers: tests/golden/transformers/README.md --------------------------------------

std::vector<float> Reals(const Safetensors& files, const std::string& name, size_t count) {
  const SafetensorsTensor* tensor = files.Find(name);
  REQUIRE_MESSAGE(tensor != nullptr, name);
  const auto bytes = files.Bytes(*tensor);
  REQUIRE(bytes.size() == count * sizeof(float));
  std::vector<float> values(count);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}
std::vector<Token> Tokens(const Safetensors& files, const std::string& name, size_t count) {
  std::vector<Token> tokens;
  for (const float bits : Reals(files, name, count)) tokens.push_back(std::bit_cast<uint32_t>(bits));
  return tokens;
}

// The bound is that of the golden files: ten times what float and double differ by, a hundredth of what a level that
// is another one changes.
constexpr double kBound = 1e-4;

void CheckNear(std::span<const float> logits, std::span<const float> expected) {
  REQUIRE(logits.size() == expected.size());
  double worst = 0.0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double difference = std::fabs(double{logits[i]} - double{expected[i]});
    worst = std::isnan(difference) ? HUGE_VAL : std::max(worst, difference);
  }
  CHECK(worst <= kBound);
}

TEST_CASE("AnyModel: logits and greedy texts are those of transformers") {
  for (const char* name : {"bitnet_online", "bitnet_offline", "llama_bitlinear_llama3", "llama_online_linear",
                           "llama_online_yarn", "qwen3_offline"}) {
    CAPTURE(std::string(name));
    const std::string folder = std::string(BITNET_SOURCE_DIR) + "/tests/golden/transformers/" + name;
    const auto model = LoadWithAnyCache(Opened(folder), {.cache_bits = 32});
    REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error()));
    const auto expected = Safetensors::Open(folder + "/expected.safetensors");
    REQUIRE(expected.ok());
    const size_t vocab = model->config().vocab;
    for (const size_t n : {size_t{1}, size_t{2}, size_t{17}}) {
      CAPTURE(n);
      auto state = model->NewState();
      const auto logits = model->Forward(Tokens(*expected, "prompt." + std::to_string(n), n), state);
      REQUIRE(logits.ok());
      CheckNear(*logits, Reals(*expected, "logits." + std::to_string(n), vocab));
    }
    auto state = model->NewState();
    const auto prompt = Tokens(*expected, "prompt.200", 200);
    const auto all = model->ForwardAll(prompt, state);
    REQUIRE(all.ok());
    const auto after = Tokens(*expected, "positions.200", 5);
    const auto logits = Reals(*expected, "logits.200", 5 * vocab);
    for (size_t i = 0; i < after.size(); ++i) {
      CAPTURE(after[i]);
      const size_t row = after[i] - (after.back() == 200 ? 1 : 0);
      CheckNear((*all)[row], std::span(logits).subspan(i * vocab, vocab));
    }
    // The best two logits differ by far more than the bound at each step.
    state.Truncate(0);
    auto next = model->Forward(Tokens(*expected, "prompt.17", 17), state);
    for (const Token token : Tokens(*expected, "greedy.17", 32)) {
      REQUIRE(next.ok());
      CHECK(std::max_element(next->begin(), next->end()) - next->begin() == static_cast<std::ptrdiff_t>(token));
      next = model->Forward({&token, 1}, state);
    }
  }
}

}  // namespace
}  // namespace bitnet::any_model_test
