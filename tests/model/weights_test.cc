#include "bitnet/model/weights.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "testing/expect_assertion.h"
#include "testing/tiny_model.h"

namespace bitnet {
namespace {

using testing::Breaks;
using testing::Copy;
using testing::Mixed;
using testing::TinyConfig;
using testing::TinyLatent;

TEST_CASE("LatentWeights: ForEach visits every tensor once, with its shape, always in the same order") {
  for (const bool sub_norms : {false, true}) {
    for (const bool tied : {false, true}) {
      ModelConfig config = TinyConfig();
      config.tied_embedding = tied;
      config.sub_layer_norms = config.head_norms = sub_norms;
      const LatentWeights weights = LatentWeights::Zeros(config);
      std::vector<std::string> names;
      size_t values_of_matrices = 0, all = 0;
      weights.ForEach([&](const TensorInfo& tensor, std::span<const float> values) {
        names.push_back(tensor.FullName());
        CAPTURE(names.back());
        CHECK(values.size() == tensor.rows * tensor.cols);
        CHECK((tensor.role == TensorRole::kGain) == (tensor.rows == 1));
        CHECK((tensor.role == TensorRole::kGain) == names.back().ends_with("norm"));
        // One after the other, without gaps.
        CHECK(values.data() == weights.values().data() + all);
        all += values.size();
        if (tensor.role == TensorRole::kProjection) values_of_matrices += values.size();
      });
      std::vector<std::string> expected = {"embedding"};
      for (const std::string at : {"layer0.", "layer1."}) {
        for (const char* name : {"attn_norm", "q", "k", "v", "o"}) expected.push_back(at + name);
        if (sub_norms) expected.insert(expected.end(), {at + "q_norm", at + "k_norm", at + "attn_sub_norm"});
        for (const char* name : {"ffn_norm", "gate", "up", "down"}) expected.push_back(at + name);
        if (sub_norms) expected.push_back(at + "ffn_sub_norm");
      }
      expected.push_back("final_norm");
      if (!tied) expected.push_back("head");
      CHECK(names == expected);
      CHECK(all == weights.values().size());
      CHECK(values_of_matrices == ProjectionWeights(config));
    }
  }
}

TEST_CASE("LatentWeights: Count is the number of all values, where it fits") {
  for (const bool sub_norms : {false, true}) {
    for (const bool tied : {false, true}) {
      ModelConfig config = TinyConfig();
      config.tied_embedding = tied;
      config.sub_layer_norms = sub_norms;
      const size_t count = LatentWeights::Zeros(config).values().size();
      CHECK(LatentWeights::Count(config) == count);
      // Far more than there is memory for is counted all the same, where there are numbers for it.
      config.layers = (1u << 24) - 1;
      if constexpr (sizeof(size_t) > sizeof(uint32_t)) {
        REQUIRE(LatentWeights::Count(config));
        CHECK(*LatentWeights::Count(config) > (config.layers / 2) * (count / 3));
      } else {
        CHECK(!LatentWeights::Count(config));
      }
      config.hidden = config.ffn = (1u << 24) - 1;
      CHECK(!LatentWeights::Count(config));
    }
  }
}

TEST_CASE("LatentWeights: begin normal, gains 1, repeatable from the generator") {
  ModelConfig config = testing::WithSubLayerNorms(TinyConfig());
  config.tied_embedding = false;
  Random a(5), b(5), c(6);
  const LatentWeights weights = LatentWeights::Initial(config, a, 0.5f);
  const LatentWeights same = LatentWeights::Initial(config, b, 0.5f);
  const LatentWeights other = LatentWeights::Initial(config, c, 0.5f);
  double squares = 0.0, sum = 0.0;
  size_t count = 0;
  weights.ForEach([&](const TensorInfo& tensor, std::span<const float> values) {
    for (const float v : values) {
      if (tensor.role == TensorRole::kGain) {
        CHECK(v == 1.0f);
      } else {
        sum += static_cast<double>(v), squares += static_cast<double>(v) * static_cast<double>(v), ++count;
      }
    }
  });
  // Some 8600 values: mean and mean square within four standard errors.
  const double n = static_cast<double>(count);
  CHECK(std::fabs(sum / n) < 4 * 0.5 / std::sqrt(n));
  CHECK(std::fabs(squares / n - 0.25) < 4 * 0.25 * std::sqrt(2.0 / n));
  CHECK(Copy(weights.values()) == Copy(same.values()));
  CHECK(Copy(weights.layer(1).down) != Copy(other.layer(1).down));
}

TEST_CASE("LatentWeights: on 32 bits a tensor that does not fit throws, and is not empty") {
  if constexpr (sizeof(size_t) == 4) {
    ModelConfig config = TinyConfig();
    config.vocab = config.hidden = 1u << 16;
    CHECK_THROWS_AS(LatentWeights::Zeros(config), std::bad_array_new_length);
    config = TinyConfig();
    config.ffn = (1u << 24) - 1, config.hidden = 1u << 8;
    CHECK_THROWS_AS(LatentWeights::Zeros(config), std::bad_array_new_length);
    config = TinyConfig();
    config.layers = (1u << 24) - 1;
    CHECK_THROWS_AS(LatentWeights::Zeros(config), std::bad_array_new_length);
  }
}

TEST_CASE("ModelWeights: every tensor is its latent one, quantized by the scheme") {
  const auto check = []<Scheme S>(S) {
    ModelConfig config = testing::TinyConfigOf<S>();
    config.tied_embedding = false;
    const LatentWeights latent = TinyLatent(config, 3);
    const ModelWeights<S> model = ModelWeights<S>::Quantize(latent);
    CHECK(model.config == config);
    const auto same = [](const auto& matrix, std::span<const float> values, size_t rows, size_t cols, auto quantizer) {
      using Q = decltype(quantizer);
      const auto expected =
          QuantizedMatrix<typename Q::Format>::template Quantize<Q>(MatrixView<const float>(values.data(), rows, cols));
      CHECK(matrix.rows() == rows);
      CHECK(matrix.cols() == cols);
      CHECK(matrix.granularity() == expected.granularity());
      CHECK(std::equal(matrix.bytes().begin(), matrix.bytes().end(), expected.bytes().begin(), expected.bytes().end()));
      CHECK(std::equal(matrix.steps().begin(), matrix.steps().end(), expected.steps().begin(), expected.steps().end()));
    };
    same(model.embedding, latent.embedding(), config.vocab, config.hidden, typename S::HeadWeight());
    same(model.head, latent.head(), config.vocab, config.hidden, typename S::HeadWeight());
    CHECK(model.final_norm == Copy(latent.final_norm()));
    REQUIRE(model.layers.size() == config.layers);
    for (size_t i = 0; i < config.layers; ++i) {
      const LatentWeights::Layer<const float> from = latent.layer(i);
      const LayerWeights<S>& to = model.layers[i];
      using W = typename S::Weight;
      same(to.q, from.q, config.query_width(), config.hidden, W());
      same(to.k, from.k, config.kv_width(), config.hidden, W());
      same(to.v, from.v, config.kv_width(), config.hidden, W());
      same(to.o, from.o, config.hidden, config.query_width(), W());
      same(to.gate, from.gate, config.ffn, config.hidden, W());
      same(to.up, from.up, config.ffn, config.hidden, W());
      same(to.down, from.down, config.hidden, config.ffn, W());
      CHECK(to.attn_norm == Copy(from.attn_norm));
      CHECK(to.ffn_norm == Copy(from.ffn_norm));
      CHECK(to.attn_sub_norm == Copy(from.attn_sub_norm));
      CHECK(to.ffn_sub_norm == Copy(from.ffn_sub_norm));
    }
  };
  SUBCASE("A48") { check(A48()); }
  SUBCASE("Mixed") { check(Mixed()); }
  SUBCASE("Fp32") { check(Fp32()); }
}

TEST_CASE("LatentWeights: what does not fit is stopped with a sentence") {
  ModelConfig config = TinyConfig();
  CHECK(Breaks("there are not so many layers", [&] { LatentWeights::Zeros(config).layer(config.layers); }));
  config.heads = 0;
  CHECK(Breaks("configuration is not valid", [&] { LatentWeights::Zeros(config); }));
}

TEST_CASE("LatentWeights: none of a default-made object are there, and a copy has its own") {
  const LatentWeights none;
  CHECK(none.values().empty());
  CHECK(none.embedding().empty());
  LatentWeights one = LatentWeights::Zeros(TinyConfig()), two = one;
  two.layer(1).q[3] = 5.0f;
  CHECK(two.values().data() != one.values().data());
  CHECK(one.layer(1).q[3] == 0.0f);
  CHECK(Copy(std::as_const(two).layer(1).q)[3] == 5.0f);
}

TEST_CASE("ProjectionWeights: are those of all layers") {
  ModelConfig config;
  config.hidden = 10, config.layers = 3, config.heads = 4, config.kv_heads = 2, config.head_dim = 6, config.ffn = 50;
  CHECK(ProjectionWeights(config) == 3u * (10 * 24 + 2 * 10 * 12 + 24 * 10 + 3 * 10 * 50));
}

}  // namespace
}  // namespace bitnet
