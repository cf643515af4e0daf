// Schemes whose first and last layer have a scheme of their own, and whose embedding has another format than the head.
#include <doctest/doctest.h>

#include <bit>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <type_traits>
#include <vector>

#include "bitnet/model/model_file.h"
#include "model/transformer_laws.h"
#include "testing/tiny_model.h"

namespace bitnet::testing {
namespace {

using S = Int8Edges;
using Edge = S::Edge;

static_assert(std::is_same_v<EdgeOf<S>, Edge> && kHasEdges<S> && !kHasEdges<A48> && !kHasEdges<Edge>);
static_assert(std::is_same_v<EmbeddingWeightOf<S>, Rounded<BFloat16>> && !kMayTieEmbedding<S> && kMayTieEmbedding<A48>);
struct Derived : S {};  // edges are inherited, as all else
static_assert(std::is_same_v<EdgeOf<Derived>, Edge> && Scheme<Derived>);

ModelConfig ConfigOf(uint32_t layers) {
  ModelConfig config = TinyConfigOf<S>();
  config.layers = layers;
  return config;
}

TEST_CASE("Transformer: the first and the last layer are those of the scheme's Edge, the others its own") {
  for (const uint32_t layers : {1u, 2u, 3u, 5u}) {
    CAPTURE(layers);
    const ModelConfig config = ConfigOf(layers);
    const LatentWeights latent = TinyLatent(config, 3);
    const ModelWeights<S> weights = ModelWeights<S>::Quantize(latent);
    // Layers by hand, of quantizations of their own.
    const ModelWeights<A48> as_inner = ModelWeights<A48>::Quantize(latent);
    const ModelWeights<Edge> as_edge = ModelWeights<Edge>::Quantize(latent);
    const Tokens tokens = RandomTokens(9, config.vocab);
    std::vector<float> x;
    for (const Token token : tokens) {
      for (size_t c = 0; c < config.hidden; ++c) {
        x.push_back(BFloat16::Nearest(latent.embedding()[token * config.hidden + c]));
      }
    }
    const MatrixView<float> view(x.data(), tokens.size(), config.hidden);
    for (size_t i = 0; i < layers; ++i) {
      if (i == 0 || i == layers - 1) {
        RunLayer<Edge, ReferenceBackend>(as_edge.layers[i], config, view);
      } else {
        RunLayer<A48, ReferenceBackend>(as_inner.layers[i], config, view);
      }
    }
    std::vector<float> normed(x.size()), expected(tokens.size() * config.vocab);
    const MatrixView<float> normed_view(normed.data(), tokens.size(), config.hidden);
    reference::RmsNorm(view, latent.final_norm(), config.rms_eps, normed_view);
    BitLinear<S::HeadWeight, S::HeadInput, ReferenceBackend> head(latent.head(), config.vocab, config.hidden);
    head(std::span<const float>(normed), expected);

    const Transformer<S> model(weights);
    auto state = model.NewState();
    const Logits logits = All(model, tokens, state);
    CHECK(SameBits(logits, Rows(MatrixView<const float>(expected.data(), tokens.size(), config.vocab))));
    CHECK(state.CacheBytes() == model.CacheBytes(state.length()));
    CHECK(state.weight_use().size() == layers);
  }
}

TEST_CASE("Transformer<Int8Edges>: prefill is decodes, copies, cuts and turns go on as their originals") {
  SUBCASE("prefill") { CheckPrefillIsDecodes<S>(); }
  SUBCASE("cuts") { CheckTruncate<S>(); }
  SUBCASE("copies") { CheckCopy<S>(); }
  SUBCASE("turns") { CheckTurns<S>(); }
  SUBCASE("counts") { CheckCounts<S>(); }
}

TEST_CASE("model file: the edges' weights and the embedding are read as they were written, and told from others") {
  const ModelConfig config = ConfigOf(4);
  const ModelWeights<S> model = TinyWeights<S>(config);
  CHECK(model.edges.size() == 2);
  CHECK(model.layers.size() == 2);
  const std::vector<uint8_t> payload = SerializeModel(model);
  const Result<ModelWeights<S>> read = DeserializeModel<S>(payload);
  REQUIRE(read.ok());
  CHECK(CheckModel(*read).ok());
  CHECK(SerializeModel(*read) == payload);
  const Tokens tokens = RandomTokens(9, config.vocab);
  const Transformer<S> written(model), again(*read);
  auto a = written.NewState(), b = again.NewState();
  CHECK(SameBits(All(written, tokens, a), All(again, tokens, b)));

  const auto refusal = [&]<Scheme Other>(Other) {
    const Result<ModelWeights<Other>> other = DeserializeModel<Other>(payload);
    return other.ok() ? std::string() : other.error();
  };
  struct NoEdges : S {
    using Edge = NoEdges;
  };
  struct OtherEmbedding : S {
    using EmbeddingWeight = HeadWeight;
  };
  CHECK(refusal(NoEdges()).find("reading layer0.q: the file has the levels -128 ... 127 (256 levels); the "
                                "scheme Int8Edges expects the levels -1, 0, 1") != std::string::npos);
  CHECK(refusal(OtherEmbedding()).find("reading embedding: the file has reals of 16 bits (bfloat16)") !=
        std::string::npos);
  ModelWeights<S> wrong = model;
  wrong.layers.push_back(wrong.layers[0]);
  CHECK(CheckModel(wrong).error() == "the model has 5 layers, its configuration 4");
  wrong.edges.pop_back();
  CHECK(CheckModel(wrong).error() == "the model has 1 layers in `edges`, the scheme Int8Edges 2");
  CHECK(Breaks("as many layers", [&] { const Transformer<S> broken(wrong); }));
}

TEST_CASE(
    "CheckScheme: an embedding that is not quantized as the head is cannot be tied; edges have sums of their own") {
  ModelConfig config = ConfigOf(3);
  config.tied_embedding = true;
  CHECK(CheckScheme<S>(config).error() ==
        "config: tied_embedding is true; the scheme Int8Edges quantizes the embedding otherwise than the output head");
  config.tied_embedding = false;
  CHECK(CheckScheme<S>(config).ok());
  config.ffn = 1u << 15;  // 128 * 128 * 2^15 = 2^29
  CHECK(CheckScheme<A48>(config).ok());
  CHECK(CheckScheme<S>(config).error().find("ffn is 32768; with the scheme Int8Edges") != std::string::npos);
}

}  // namespace
}  // namespace bitnet::testing
