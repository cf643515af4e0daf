#include "bitnet/io/map_model.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bitnet/backend/simd/default_backend.h"
#include "testing/same_bits.h"
#include "testing/temporary_file.h"
#include "testing/tiny_model.h"

namespace bitnet {
namespace {

using testing::SameBits;
using testing::TemporaryFile;

struct WithEdges : A48 {
  static constexpr const char* kName = "WithEdges";
  using Edge = B158;
};

template <Scheme S>
void CheckLogits(const ModelConfig& config) {
  const TemporaryFile file;
  const ModelWeights<S> weights = testing::TinyWeights<S>(config);
  REQUIRE(SaveModel(weights, file.path()).ok());
  const Result<Transformer<S>> mapped = MapModel<S>(file.path());
  REQUIRE(mapped.ok());
  const Transformer<S> loaded(weights);
  CHECK(mapped->config() == config);
  const std::vector<Token> tokens = testing::RandomTokens(9, config.vocab);
  auto state = mapped->NewState(), expected = loaded.NewState();
  CHECK(SameBits(*mapped->Forward(tokens, state), *loaded.Forward(tokens, expected)));
}

TEST_CASE("MapModel: a model from a mapped file has the logits of its weights") {
  ModelConfig config = testing::TinyConfig();
  CheckLogits<A48>(config);
  CheckLogits<B158>(config);
  config.layers = 3;
  CheckLogits<WithEdges>(config);
  config.tied_embedding = !config.tied_embedding;
  CheckLogits<A48>(config);
  CheckLogits<A48>(testing::WithSubLayerNorms(config));
}

TEST_CASE("MapModel refuses what LoadModel refuses, in the same words") {
  const TemporaryFile file;
  const ModelWeights<A48> weights = testing::TinyWeights<A48>(testing::TinyConfig());
  const std::vector<uint8_t> payload = SerializeModel(weights);
  const auto compare = [&](const std::string& words) {
    const auto mapped = MapModel<A48>(file.path());
    const auto loaded = LoadModel<A48>(file.path());
    REQUIRE_FALSE(loaded.ok());
    REQUIRE_FALSE(mapped.ok());
    CHECK(mapped.error() == loaded.error());
    CHECK(mapped.error().find(words) != std::string::npos);
  };
  const auto write = [&](std::vector<uint8_t> bytes) { REQUIRE(WriteFile(file.path(), bytes).ok()); };

  // Whole files that are wrong: shorter, longer, of another scheme, of a layer too many, with a step below zero.
  for (const size_t size : {size_t{0}, size_t{3}, payload.size() / 3, payload.size() - 1}) {
    REQUIRE(SaveSealed(file.path(), kModelFile, {payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(size)})
                .ok());
    compare("");
  }
  std::vector<uint8_t> longer = payload;
  longer.push_back(0);
  REQUIRE(SaveSealed(file.path(), kModelFile, longer).ok());
  compare("1 bytes follow the last tensor");
  REQUIRE(SaveModel(testing::TinyWeights<Fp32>(testing::TinyConfig()), file.path()).ok());
  compare("the scheme A48 expects");
  ModelWeights<A48> wrong = weights;
  wrong.layers.back().q.steps()[0] = -1.0f;
  REQUIRE(SaveSealed(file.path(), kModelFile, SerializeModel(wrong)).ok());
  compare("step");
  wrong = weights;
  wrong.config.layers += 1;
  REQUIRE(SaveSealed(file.path(), kModelFile, SerializeModel(wrong)).ok());
  compare("");

  // Files that are none.
  REQUIRE(SaveModel(weights, file.path()).ok());
  const Result<std::vector<uint8_t>> whole = ReadFile(file.path());
  REQUIRE(whole.ok());
  for (const size_t at : {size_t{0}, size_t{8}, whole->size() / 2, whole->size() - 1}) {
    std::vector<uint8_t> damaged = *whole;
    damaged[at] = static_cast<uint8_t>(damaged[at] ^ 1);
    write(damaged);
    compare(file.path());
  }
  for (const size_t size : {size_t{0}, size_t{11}, size_t{15}, whole->size() - 1}) {
    write({whole->begin(), whole->begin() + static_cast<std::ptrdiff_t>(size)});
    compare(file.path());
  }
  CHECK_FALSE(MapModel<A48>(file.path() + ".missing").ok());
}

}  // namespace
}  // namespace bitnet
