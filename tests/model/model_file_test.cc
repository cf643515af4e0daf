#include "bitnet/model/model_file.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "testing/temporary_file.h"
#include "testing/tiny_model.h"
#include "testing/write_plainly.h"

namespace bitnet::model_file_test {
namespace {

using testing::Mixed;
using testing::TemporaryFile;
using testing::TinyWeights;

using Bytes = std::vector<uint8_t>;

// Smaller still: files of a few kilobytes.
template <Scheme S = A48>
ModelConfig Small() {
  ModelConfig config;
  config.sub_layer_norms = testing::TinyConfigOf<S>().sub_layer_norms;
  config.vocab = 3, config.hidden = 4, config.layers = 2, config.heads = 2, config.kv_heads = 1, config.head_dim = 2;
  config.ffn = 6, config.max_positions = 8;
  return config;
}

template <Format F>
bool Same(const QuantizedMatrix<F>& a, const QuantizedMatrix<F>& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() && a.granularity() == b.granularity() &&
         std::equal(a.bytes().begin(), a.bytes().end(), b.bytes().begin(), b.bytes().end()) &&
         testing::SameBits(a.steps(), b.steps());
}

template <Scheme S>
void CheckSame(const ModelWeights<S>& a, const ModelWeights<S>& b) {
  CHECK(a.config == b.config);
  CHECK(Same(a.embedding, b.embedding));
  CHECK(Same(a.head, b.head));
  CHECK(testing::SameBits(a.final_norm, b.final_norm));
  REQUIRE(a.layers.size() == b.layers.size());
  for (size_t i = 0; i < a.layers.size(); ++i) {
    const LayerWeights<S>&x = a.layers[i], &y = b.layers[i];
    CHECK(testing::SameBits(x.attn_norm, y.attn_norm));
    CHECK(testing::SameBits(x.ffn_norm, y.ffn_norm));
    CHECK(testing::SameBits(x.q_norm, y.q_norm));
    CHECK(testing::SameBits(x.k_norm, y.k_norm));
    CHECK(testing::SameBits(x.attn_sub_norm, y.attn_sub_norm));
    CHECK(testing::SameBits(x.ffn_sub_norm, y.ffn_sub_norm));
    for (const auto m : {&LayerWeights<S>::q, &LayerWeights<S>::k, &LayerWeights<S>::v, &LayerWeights<S>::o,
                         &LayerWeights<S>::gate, &LayerWeights<S>::up, &LayerWeights<S>::down}) {
      CHECK(Same(x.*m, y.*m));
    }
  }
}

template <Scheme S>
std::string Refusal(std::span<const uint8_t> payload) {
  const Result<ModelWeights<S>> model = DeserializeModel<S>(payload);
  return model.ok() ? std::string() : model.error();
}

template <Scheme S>
std::string SaveRefusal(const ModelWeights<S>& model, const std::string& path) {
  const Result<Done> saved = SaveModel(model, path);
  return saved.ok() ? std::string() : saved.error();
}

bool Holds(const std::string& sentence, const std::string& part) { return sentence.find(part) != std::string::npos; }

template <Scheme S>
void CheckRoundTrip(ModelConfig config = testing::TinyConfigOf<S>()) {
  for (const bool tied : {true, false}) {
    config.tied_embedding = tied;
    config.rope_base = 123.5f;
    const ModelWeights<S> model = TinyWeights<S>(config);
    const TemporaryFile file;
    REQUIRE(SaveModel(model, file.path()).ok());
    const Result<ModelWeights<S>> loaded = LoadModel<S>(file.path());
    REQUIRE(loaded.ok());
    CheckSame(model, *loaded);
    // No bytes are wasted, and none depend on the run.
    const Bytes payload = SerializeModel(model);
    CHECK(SerializeModel(*loaded) == payload);
    CHECK(std::filesystem::file_size(file.path()) == kSealHeaderBytes + payload.size() + 8);
  }
}

TEST_CASE("model file: those of when schemes decided about sub-layer norms are read, and written again as they were") {
  for (const std::string name : {"model_file_1_a48.bin", "model_file_1_a48_subnorm.bin"}) {
    CAPTURE(name);
    const std::string old = std::string(BITNET_SOURCE_DIR) + "/tests/golden/" + name;
    const Result<ModelWeights<A48>> model = LoadModel<A48>(old);
    REQUIRE(model.ok());
    CHECK(model->config.sub_layer_norms == Holds(name, "subnorm"));
    CHECK(model->config.tied_embedding != model->config.sub_layer_norms);
    CHECK(model->config.rope_base == 123.5f);
    const TemporaryFile again;
    REQUIRE(SaveModel(*model, again.path()).ok());
    CHECK(*ReadFile(again.path()) == *ReadFile(old));
  }
}

struct GroupedBinary : A48 {
  using Weight = Quantizer<Binary, AbsMean, PerGroup<16>>;
};

// A scheme whose embedding and output head have the format F.
template <Format F>
struct HeadOf : A48 {
  using HeadWeight = Rounded<F>;
};

TEST_CASE("model file: is read as it was written, bit for bit") {
  SUBCASE("A48") { CheckRoundTrip<A48>(); }
  SUBCASE("A48 with norms of heads and rotary frequencies of its own") {
    ModelConfig config = testing::TinyConfig();
    config.head_norms = true;
    config.rope_frequencies = {1.0, 0.25, 0.001};
    config.rope_magnitude = 1.5f;
    CheckRoundTrip<A48>(config);
  }
  SUBCASE("A48 with sub-layer norms") { CheckRoundTrip<A48>(testing::WithSubLayerNorms(testing::TinyConfig())); }
  SUBCASE("Mixed: five levels by groups, head by rows") { CheckRoundTrip<Mixed>(); }
  SUBCASE("binary by groups") { CheckRoundTrip<GroupedBinary>(); }
  SUBCASE("Fp32") { CheckRoundTrip<Fp32>(); }
  SUBCASE("bfloat16") { CheckRoundTrip<HeadOf<BFloat16>>(); }
  SUBCASE("float16") { CheckRoundTrip<HeadOf<Float16>>(); }
}

TEST_CASE("model file: truncated at any byte, it is refused with a sentence") {
  const auto check = []<Scheme S>(S) {
    ModelConfig config = Small<S>();
    config.tied_embedding = false;
    const ModelWeights<S> model = TinyWeights<S>(config);
    const Bytes payload = SerializeModel(model);
    REQUIRE(Refusal<S>(payload) == "");
    for (size_t n = 0; n < payload.size(); ++n) {
      CAPTURE(n);
      // A copy of its own size: reading beyond it is seen by the sanitizer.
      const Bytes cut(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(n));
      const std::string sentence = Refusal<S>(cut);
      REQUIRE(Holds(sentence, "at byte "));
      REQUIRE(Holds(sentence, "reading "));
    }
    Bytes longer = payload;
    longer.push_back(0);
    CHECK(Holds(Refusal<S>(longer), "1 bytes follow the last tensor"));
    CHECK(Holds(Refusal<S>(longer), "at byte " + std::to_string(kSealHeaderBytes + payload.size())));
  };
  SUBCASE("A48") { check(A48()); }
  SUBCASE("Mixed") { check(Mixed()); }
  SUBCASE("Fp32") { check(Fp32()); }
}

TEST_CASE("model file: cut short or with a flipped bit on disk, it is refused by name") {
  const TemporaryFile file;
  const ModelWeights<A48> model = TinyWeights<A48>(Small());
  REQUIRE(SaveModel(model, file.path()).ok());
  const Bytes good = *ReadFile(file.path());
  const auto refusal = [&](const Bytes& bytes) {
    REQUIRE(testing::WritePlainly(file.path(), bytes));
    const Result<ModelWeights<A48>> read = LoadModel<A48>(file.path());
    const std::string sentence = read.ok() ? "" : read.error();
    CHECK(sentence.starts_with(file.path()));
    return sentence;
  };
  for (size_t n = 0; n < good.size(); n += n < 30 || n + 30 > good.size() ? 1u : 37u) {
    CAPTURE(n);
    refusal(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(n)));
  }
  for (size_t at = 0; at < good.size(); at += at < 30 || at + 30 > good.size() ? 1u : 41u) {
    CAPTURE(at);
    Bytes bad = good;
    bad[at] ^= static_cast<uint8_t>(1u << at % 8);
    refusal(bad);
  }
  Bytes longer = good;
  longer.push_back(0);
  CHECK(Holds(refusal(longer), "checksum"));
  Bytes version = good;
  version[8] = 2;
  CHECK(Holds(refusal(version), "version 2 of a bitnet model file; this library reads version 1"));
  Bytes magic = good;
  magic[0] = 'X';
  CHECK(Holds(refusal(magic), "this is not a bitnet model file"));
  REQUIRE(testing::WritePlainly(file.path(), good));
  CHECK(LoadModel<A48>(file.path()).ok());
}

TEST_CASE("model file: whatever byte is changed under a right checksum, what is accepted is a whole model") {
  const auto check = []<Scheme S>(S) {
    ModelConfig config = Small<S>();
    config.tied_embedding = false;
    const Bytes payload = SerializeModel(TinyWeights<S>(config));
    size_t refused = 0;
    for (size_t at = 0; at < payload.size(); ++at) {
      for (const uint8_t flip : {uint8_t{0x01}, uint8_t{0x80}, uint8_t{0xff}}) {
        Bytes bytes = payload;
        bytes[at] ^= flip;
        const Result<ModelWeights<S>> model = DeserializeModel<S>(bytes);
        if (!model.ok()) {
          ++refused;
          continue;
        }
        const ModelConfig& c = model->config;
        REQUIRE(c.Validate().ok());
        REQUIRE(model->layers.size() == c.layers);
        REQUIRE(model->embedding.IsValid());
        for (const LayerWeights<S>& l : model->layers) {
          const struct {
            const typename LayerWeights<S>::Projection& matrix;
            size_t rows, cols;
          } all[] = {{l.q, c.query_width(), c.hidden}, {l.k, c.kv_width(), c.hidden}, {l.v, c.kv_width(), c.hidden},
                     {l.o, c.hidden, c.query_width()}, {l.gate, c.ffn, c.hidden},     {l.up, c.ffn, c.hidden},
                     {l.down, c.hidden, c.ffn}};
          for (const auto& m : all) {
            REQUIRE(m.matrix.IsValid());
            REQUIRE(m.matrix.rows() == m.rows);
            REQUIRE(m.matrix.cols() == m.cols);
          }
          REQUIRE(l.attn_norm.size() == c.hidden);
          REQUIRE(l.ffn_norm.size() == c.hidden);
          REQUIRE(l.ffn_sub_norm.size() == (c.sub_layer_norms ? c.ffn : 0));
        }
      }
    }
    CHECK(refused > payload.size() / 4);
  };
  SUBCASE("A48") { check(A48()); }
  SUBCASE("Mixed") { check(Mixed()); }
}

TEST_CASE("model file: lengths that lie are refused, with the tensor's name") {
  const ModelWeights<A48> model = TinyWeights<A48>(Small());
  const auto with_config = [&](auto&& change) {
    ModelWeights<A48> lying = model;
    change(lying.config);
    return Refusal<A48>(SerializeModel(lying));
  };
  CHECK(with_config([](ModelConfig&) {}) == "");
  constexpr uint32_t kHuge = (1u << 24) - 1;
  CHECK(Holds(with_config([](ModelConfig& c) { c.vocab = kHuge; }),
              "reading embedding: it is 3 x 4, expected 16777215 x 4"));
  CHECK(Holds(with_config([](ModelConfig& c) { c.hidden = kHuge; }), "reading embedding: it is 3 x 4, expected 3 x"));
  CHECK(Holds(with_config([](ModelConfig& c) { c.layers = kHuge; }), "reading layer2.q"));
  CHECK(Holds(with_config([](ModelConfig& c) { c.layers = 1; }), "bytes follow the last tensor"));
  CHECK(Holds(with_config([](ModelConfig& c) { c.heads = 1; }), "reading layer0.q: it is 4 x 4, expected 2 x 4"));
  CHECK(Holds(with_config([](ModelConfig& c) { c.kv_heads = 2; }), "reading layer0.k: it is 2 x 4, expected 4 x 4"));
  CHECK(Holds(with_config([](ModelConfig& c) { c.ffn = kHuge / 8; }), "reading layer0.gate: it is 6 x 4, expected"));
  CHECK(Holds(with_config([](ModelConfig& c) { c.head_dim = 3; }), "head_dim is 3"));
  CHECK(Holds(with_config([](ModelConfig& c) { c.vocab = 0; }), "vocab is 0"));
  CHECK(Holds(with_config([](ModelConfig& c) { c.vocab = 0xffffffffu; }), "vocab is 4294967295"));

  // The configuration and the matrix agree, and the file is too short for both.
  const auto with_embedding = [&](uint32_t vocab, uint32_t hidden) {
    ModelWeights<A48> lying = model;
    lying.config.vocab = vocab, lying.config.hidden = hidden;
    Bytes payload = SerializeModel(lying);
    // After the configuration (41 bytes), the kind of norms (1) and the levels of Float (none, their count 8): rows,
    // cols.
    ByteWriter sizes;
    sizes.Number(uint64_t{vocab});
    sizes.Number(uint64_t{hidden});
    std::copy(sizes.bytes().begin(), sizes.bytes().end(), payload.begin() + 41 + 1 + 8);
    return Refusal<A48>(payload);
  };
  CHECK(with_embedding(3, 4) == "");
  CHECK(Holds(with_embedding(kHuge, 4), "reading embedding: the file is too short for 16777215 x 4 values"));
  CHECK(Holds(with_embedding(3, kHuge), "reading embedding: the file is too short for 3 x 16777215 values"));
  CHECK(Holds(with_embedding(kHuge, kHuge), "reading embedding: the file is too short for 16777215 x 16777215 values"));
}

struct AlmostTernary {
  static constexpr auto kLevels = std::array{-1, 0, 2};
};
struct AlmostA48 : A48 {
  using Weight = Quantizer<AlmostTernary, AbsMean>;
};
struct RowsA48 : A48 {
  using Weight = Quantizer<Ternary, AbsMean, PerRow>;
};
struct GroupsA48 : A48 {
  using Weight = Quantizer<Ternary, AbsMean, PerGroup<64>>;
};
struct QuantizedHead : A48 {
  using HeadWeight = Quantizer<Int<8>, AbsMax>;
};
struct Fp4A48 : A48 {
  using Weight = Quantizer<Fp4E2M1, AbsMax>;
};
struct NearlyFp4 {
  static constexpr auto kLevels = std::array{-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 5, 6, 8, 12};
};
struct NearlyFp4A48 : A48 {
  using Weight = Quantizer<NearlyFp4, AbsMax>;
};

struct StepEachWeight : A48 {
  using HeadWeight = Quantizer<Int<8>, AbsMax, PerGroup<1>>;
};

TEST_CASE("model file: sizes and groups that 32 bits do not hold are refused as elsewhere") {
  const ModelWeights<StepEachWeight> model = TinyWeights<StepEachWeight>(Small());
  const Bytes good = SerializeModel(model);
  CHECK(Refusal<StepEachWeight>(good) == "");
  // After the configuration, the kind of norms and 256 levels (8 + 512): rows, cols, whether there are steps of rows,
  // the size of a group.
  constexpr size_t kRows = 41 + 1 + 8 + 2 * 256;
  constexpr size_t kGroup = kRows + 8 + 8 + 1;
  CHECK(good[kGroup] == 1);
  Bytes group = good;
  group[kGroup + 4] = 1;  // 1 + 2^32
  CHECK(Holds(Refusal<StepEachWeight>(group), "reading embedding: "));
  CHECK(Holds(Refusal<StepEachWeight>(group), "step"));
  ModelWeights<StepEachWeight> lying = model;
  lying.config.vocab = lying.config.hidden = 1u << 16;  // 2^32 steps
  Bytes huge = SerializeModel(lying);
  ByteWriter sizes;
  sizes.Number(uint64_t{1} << 16);
  sizes.Number(uint64_t{1} << 16);
  std::copy(sizes.bytes().begin(), sizes.bytes().end(), huge.begin() + kRows);
  CHECK(Holds(Refusal<StepEachWeight>(huge), "reading embedding: the file is too short for 65536 x 65536 values"));
}

TEST_CASE("model file: of another scheme it is refused with the reason, of one with the same weights it is read") {
  const Bytes a48 = SerializeModel(TinyWeights<A48>(Small()));
  CHECK(Refusal<A48>(a48) == "");
  CHECK(Refusal<B158>(a48) == "");
  CHECK(Refusal<A48Fp4>(a48) == "");
  CHECK(Holds(Refusal<Fp32>(a48), "reading layer0.q: the file has the levels -1, 0, 1; the scheme Fp32 expects reals"));
  CHECK(Holds(Refusal<AlmostA48>(a48),
              "reading layer0.q: the file has the levels -1, 0, 1; the scheme A48 expects the levels -1, 0, 2"));
  CHECK(Holds(Refusal<QuantizedHead>(a48),
              "reading embedding: the file has reals; the scheme A48 expects the levels -128 ... 127 (256 "
              "levels)"));
  CHECK(Refusal<HeadOf<Float>>(a48) == "");
  CHECK(Holds(Refusal<HeadOf<BFloat16>>(a48),
              "reading embedding: the file has reals; the scheme A48 expects reals of 16 bits (bfloat16)"));
  CHECK(Holds(Refusal<HeadOf<BFloat16>>(SerializeModel(TinyWeights<HeadOf<Float16>>(Small()))),
              "reading embedding: the file has reals of 16 bits (float16); the scheme A48 expects reals of "
              "16 bits (bfloat16)"));
  const Bytes nearly = SerializeModel(TinyWeights<NearlyFp4A48>(Small()));
  CHECK(Holds(Refusal<Fp4A48>(nearly),
              "reading layer0.q: the file has the levels -12 ... 12 (15 levels); the scheme A48 expects the "
              "levels -12 ... 12 (15 levels), of which level 11 is 4, not 5"));
  const Bytes rows = SerializeModel(TinyWeights<RowsA48>(Small()));
  const Bytes groups = SerializeModel(TinyWeights<GroupsA48>(Small()));
  CHECK(Holds(Refusal<RowsA48>(a48),
              "reading layer0.q: the file has one step a matrix; the scheme A48 expects one step a row"));
  CHECK(Holds(Refusal<GroupsA48>(rows),
              "reading layer0.q: the file has one step a row; the scheme A48 expects one step for each 64 columns"));
  CHECK(Holds(Refusal<A48>(groups),
              "reading layer0.q: the file has one step for each 64 columns; the scheme A48 expects one step a matrix"));
  // Sub-layer norms are the model's, not the scheme's.
  const Bytes sub_norms = SerializeModel(TinyWeights<A48>(testing::WithSubLayerNorms(Small())));
  CHECK(Refusal<A48>(sub_norms) == "");
  CHECK(Refusal<B158>(sub_norms) == "");
}

// Everything in a model that is a number; the scheme has a head of its own, quantized by rows.
struct Fault {
  const char* name;      // of the tensor, and
  const char* sentence;  // what is wrong
  void (*make)(ModelWeights<Mixed>&, float bad);
};
constexpr Fault kFaults[] = {
    {"embedding", "step 2 is ", [](auto& m, float bad) { m.embedding.steps()[2] = bad; }},
    {"layer0.attn_norm", "value 1 is ", [](auto& m, float bad) { m.layers[0].attn_norm[1] = bad; }},
    {"layer0.q", "step 0 is ", [](auto& m, float bad) { m.layers[0].q.steps()[0] = bad; }},
    {"layer1.attn_sub_norm", "value 3 is ", [](auto& m, float bad) { m.layers[1].attn_sub_norm[3] = bad; }},
    {"layer1.down", "step 3 is ", [](auto& m, float bad) { m.layers[1].down.steps()[3] = bad; }},
    {"final_norm", "value 0 is ", [](auto& m, float bad) { m.final_norm[0] = bad; }},
    {"head", "step 1 is ", [](auto& m, float bad) { m.head.steps()[1] = bad; }}};

TEST_CASE("model file: numbers that are not finite, and negative steps, are neither written nor read") {
  ModelConfig config = Small<Mixed>();
  config.tied_embedding = false;
  const ModelWeights<Mixed> good = TinyWeights<Mixed>(config);
  const TemporaryFile file;
  REQUIRE(SaveModel(good, file.path()).ok());
  const Bytes before = *ReadFile(file.path());
  for (const Fault& fault : kFaults) {
    const bool is_step = std::string(fault.sentence).starts_with("step");
    for (const float bad : {NAN, INFINITY, -INFINITY, -1.0f}) {
      const std::string in_words = bad == -1.0f ? "-1" : std::isnan(bad) ? "nan" : bad > 0.0f ? "inf" : "-inf";
      CAPTURE(fault.name);
      CAPTURE(bad);
      ModelWeights<Mixed> model = good;
      fault.make(model, bad);
      const bool allowed = bad == -1.0f && !is_step;  // a gain may be negative
      const std::string sentence =
          std::string(fault.sentence) + in_words + "; it must be finite" + (is_step ? " and not negative" : "");
      const std::string refusal = Refusal<Mixed>(SerializeModel(model));
      CHECK((allowed ? refusal.empty() : Holds(refusal, "reading " + std::string(fault.name) + ": " + sentence)));
      if (allowed) continue;
      CHECK(SaveRefusal(model, file.path()) == file.path() + ": not written: " + fault.name + ": " + sentence);
      CHECK(*ReadFile(file.path()) == before);
    }
  }
}

TEST_CASE("model file: real weights that are not finite are neither written nor read") {
  LatentWeights latent = testing::TinyLatent(Small(), 1);
  latent.layer(1).up[4 * 5 + 2] = NAN;
  ModelWeights<Fp32> model = ModelWeights<Fp32>::Quantize(latent);
  CHECK(Holds(Refusal<Fp32>(SerializeModel(model)), "reading layer1.up: row 5, value 2 is nan; it must be finite"));
  const TemporaryFile file;
  CHECK(SaveRefusal(model, file.path()) ==
        file.path() + ": not written: layer1.up: row 5, value 2 is nan; it must be finite");
  CHECK_FALSE(std::filesystem::exists(file.path()));
  model = TinyWeights<Fp32>(Small());
  model.layers[0].k.steps()[0] = 2.0f;
  CHECK(Holds(Refusal<Fp32>(SerializeModel(model)), "reading layer0.k: it holds reals, and a step that is not 1"));
  // Quantized, the matrix has no step.
  CHECK(SaveRefusal(ModelWeights<A48>::Quantize(latent), file.path()) ==
        file.path() + ": not written: layer1.up: step 0 is nan; it must be finite and not negative");
}

TEST_CASE("model file: a model that is not of its configuration's shape is not written") {
  const TemporaryFile file;
  const auto refusal = [&](auto&& change) {
    ModelWeights<A48> model = TinyWeights<A48>(Small());
    change(model);
    return SaveRefusal(model, file.path());
  };
  CHECK(refusal([](auto&) {}) == "");
  CHECK(Holds(refusal([](auto& m) { m.layers.pop_back(); }), "the model has 1 layers, its configuration 2"));
  CHECK(Holds(refusal([](auto& m) { m.layers[0].attn_norm.pop_back(); }), "layer0.attn_norm: its shape"));
  CHECK(Holds(refusal([](auto& m) { m.config.ffn = 7; }), "layer0.gate: its shape"));
  CHECK(Holds(refusal([](auto& m) { m.config.sub_layer_norms = true; }), "layer0.attn_sub_norm: its shape"));
  CHECK(Holds(refusal([](auto& m) { m.layers[1].ffn_sub_norm.assign(m.config.ffn, 1.0f); }),
              "layer1 has gains of sub-layer norms, which its configuration has not"));
  CHECK(Holds(refusal([](auto& m) { m.config.head_dim = 3; }), "head_dim is 3"));
  CHECK(Holds(refusal([](auto& m) { m.layers[1].q.bytes()[0] = 0xff; }), "layer1.q: it holds codes that"));
}

TEST_CASE("model file: flags are 0 or 1") {
  Bytes payload = SerializeModel(TinyWeights<A48>(Small()));
  payload[40] = 2;
  CHECK(Holds(Refusal<A48>(payload), "reading the configuration: a flag is 2; it must be 0 or 1"));
}

TEST_CASE("model file: one that is not there, and a folder that is not there") {
  const Result<ModelWeights<A48>> read = LoadModel<A48>("/nowhere/at/all.bitnet");
  REQUIRE(!read.ok());
  CHECK(read.error() == "/nowhere/at/all.bitnet: cannot be opened for reading: No such file or directory");
  CHECK(!SaveModel(TinyWeights<A48>(Small()), "/nowhere/at/all.bitnet").ok());
}

}  // namespace
}  // namespace bitnet::model_file_test
