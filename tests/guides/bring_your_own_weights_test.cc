// docs/bring-your-own-weights.md, followed to the letter: the blocks of that page are pieces of this file.
#include "guides/shown_in.h"

#include <bitnet/bitnet.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "testing/random_values.h"

using namespace bitnet;
using namespace bitnet::testing;  // of the folder tests/

namespace {

TEST_CASE("Levels and steps of one's own: a layer of them") {
  const size_t rows = 2, cols = 3;
  const std::vector<int8_t> levels = {1, 0, -1,  //
                                      0, 1, 1};
  const std::vector<float> steps = {0.5f, 2.0f};  // one a row
  const auto matrix = QuantizedMatrix<Ternary>::FromLevels(levels, rows, cols, steps, StepGranularity::Of<PerRow>());
  REQUIRE(matrix.ok());  // otherwise matrix.error() says what is wrong, and where

  using Weight = Quantizer<Ternary, AbsMean, PerRow>;  // the rule is not used
  BitLinear<Weight, Unquantized> project(*matrix);
  const std::vector<float> x = {10.0f, 20.0f, 40.0f};
  std::vector<float> y(rows);
  project(x, y);
  CHECK(y == std::vector<float>{0.5f * (10 - 40), 2.0f * (20 + 40)});
}

TEST_CASE("Levels of one's own: what is no matrix is refused with a sentence") {
  const std::vector<int8_t> levels = {1, 0, 3};
  const float step = 0.5f;
  const auto matrix = QuantizedMatrix<Ternary>::FromLevels(levels, 1, 3, {&step, 1});
  REQUIRE(!matrix.ok());
  CHECK(matrix.error() == "levels: the one at row 0, column 2 is 3, which the format does not have");
}

using Tensors = std::map<std::string, std::vector<float>>;  // by the names of the table

Result<LatentWeights> FromTensors(const ModelConfig& config, const Tensors& tensors) {
  if (const auto valid = config.Validate(); !valid.ok()) return Error{valid.error()};
  LatentWeights weights = LatentWeights::Zeros(config);
  std::string problem;
  size_t used = 0;
  weights.ForEach([&](const TensorInfo& tensor, std::span<float> values) {
    if (!problem.empty()) return;
    const std::string name = tensor.FullName();
    const auto found = tensors.find(name);
    ++used;
    if (found == tensors.end()) {
      problem = name + ": there is no such tensor";
    } else if (found->second.size() != values.size()) {
      problem = name + ": it must be " + std::to_string(tensor.rows) + " x " + std::to_string(tensor.cols);
    } else {
      std::copy(found->second.begin(), found->second.end(), values.begin());
    }
  });
  if (!problem.empty()) return Error{problem};
  if (used != tensors.size()) return Error{"there are tensors that a model of this configuration does not have"};
  return weights;
}

struct Others : B158 {
  static constexpr const char* kName = "Others";
  using Weight = Quantizer<Ternary, AbsMean, PerRow>;
  using FfnActivation = Silu;
};

struct OtherMatrix {
  std::vector<int8_t> levels;  // [outputs, inputs]
  std::vector<float> steps;    // one a row
};
using OtherMatrices = std::map<std::string, OtherMatrix>;

Result<ModelWeights<Others>> FromLevels(const ModelConfig& config, const Tensors& reals,
                                        const OtherMatrices& matrices) {
  if (const auto valid = config.Validate(); !valid.ok()) return Error{valid.error()};
  std::string problem;
  const auto matrix = [&](const std::string& name, size_t rows, size_t cols) {
    const OtherMatrix& from = matrices.at(name);
    auto made = LayerWeights<Others>::Projection::FromLevels(from.levels, rows, cols, from.steps,
                                                             StepGranularity::Of<PerRow>());
    if (!made.ok() && problem.empty()) problem = name + ": " + made.error();
    return made.ok() ? *std::move(made) : LayerWeights<Others>::Projection();
  };
  const ModelConfig& c = config;
  ModelWeights<Others> model;
  model.config = c;
  const auto head = [&](const std::string& name) {
    return ModelWeights<Others>::Head::Quantize<Others::HeadWeight>({reals.at(name).data(), c.vocab, c.hidden});
  };
  model.embedding = head("embedding");
  if (!c.tied_embedding) model.head = head("head");
  for (size_t i = 0; i < c.layers; ++i) {
    const std::string at = "layer" + std::to_string(i) + ".";
    LayerWeights<Others>& l = model.layers.emplace_back();
    l.attn_norm = reals.at(at + "attn_norm");
    l.q = matrix(at + "q", c.query_width(), c.hidden);
    l.k = matrix(at + "k", c.kv_width(), c.hidden);
    l.v = matrix(at + "v", c.kv_width(), c.hidden);
    l.o = matrix(at + "o", c.hidden, c.query_width());
    l.ffn_norm = reals.at(at + "ffn_norm");
    l.gate = matrix(at + "gate", c.ffn, c.hidden);
    l.up = matrix(at + "up", c.ffn, c.hidden);
    l.down = matrix(at + "down", c.hidden, c.ffn);
  }
  model.final_norm = reals.at("final_norm");
  if (!problem.empty()) return Error{problem};
  if (const auto good = CheckModel(model); !good.ok()) return Error{good.error()};  // shapes, and numbers
  return model;
}

ModelConfig TinyConfig() {
  ModelConfig config;
  config.vocab = 20;
  config.hidden = 32;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 8;
  config.ffn = 44;
  return config;
}

Tensors Drawn(const ModelConfig& config) {
  Random random(5);
  Tensors tensors;
  LatentWeights::Initial(config, random, 0.2f).ForEach([&](const TensorInfo& tensor, std::span<const float> values) {
    tensors[tensor.FullName()].assign(values.begin(), values.end());
  });
  return tensors;
}

std::vector<float> Logits(const ModelWeights<Others>& weights) {
  const Transformer<Others> model(weights);
  auto state = model.NewState();
  const std::vector<Token> tokens = {3, 1, 4, 1, 5};
  const std::span<const float> logits = *model.Forward(tokens, state);
  return {logits.begin(), logits.end()};
}

TEST_CASE("A model of one's own tensors: by floats, by levels, and from its file it is the same") {
  const ModelConfig config = TinyConfig();
  const Tensors tensors = Drawn(config);
  const auto latent = FromTensors(config, tensors);
  REQUIRE(latent.ok());
  const auto weights = ModelWeights<Others>::Quantize(*latent);

  OtherMatrices matrices;
  latent->ForEach([&](const TensorInfo& tensor, std::span<const float> values) {
    if (tensor.role != TensorRole::kProjection) return;
    OtherMatrix& to = matrices[tensor.FullName()];
    to.levels.resize(values.size());
    for (size_t r = 0; r < tensor.rows; ++r) {
      to.steps.push_back(
          Others::Weight::Quantize(values.subspan(r * tensor.cols, tensor.cols), to.levels.data() + r * tensor.cols));
    }
  });
  const auto by_levels = FromLevels(config, tensors, matrices);
  REQUIRE(by_levels.ok());
  CHECK(Logits(*by_levels) == Logits(weights));

  const std::string path = (std::filesystem::temp_directory_path() / "bitnet_bring_your_own.bitnet").string();
  REQUIRE(SaveModel(*by_levels, path).ok());
  const auto loaded = LoadModel<Others>(path);
  REQUIRE(loaded.ok());
  std::filesystem::remove(path);
  CHECK(Logits(*loaded) == Logits(weights));

  Tensors wrong = tensors;
  wrong["layer1.up"].pop_back();
  CHECK(FromTensors(config, wrong).error() == "layer1.up: it must be 44 x 32");
  matrices["layer0.k"].levels[33] = 2;
  CHECK(FromLevels(config, tensors, matrices).error() ==
        "layer0.k: levels: the one at row 1, column 1 is 2, which the format does not have");
}

// Rows of q or k, [heads * head_dim, hidden], whose pairs are (2i, 2i + 1), in the order of pairs
// (i, i + head_dim / 2).
std::vector<float> RotateHalfOrder(std::span<const float> w, size_t heads, size_t head_dim, size_t hidden) {
  std::vector<float> reordered;
  for (size_t h = 0; h < heads; ++h) {
    for (size_t i = 0; i < head_dim; ++i) {
      const size_t half = head_dim / 2;
      const size_t from = h * head_dim + (i < half ? 2 * i : 2 * (i - half) + 1);
      const auto row = w.subspan(from * hidden, hidden);
      reordered.insert(reordered.end(), row.begin(), row.end());
    }
  }
  return reordered;
}

TEST_CASE("RotateHalfOrder: scores are those of neighbouring pairs reordered") {
  const size_t heads = 2, head_dim = 6, position = 7;
  // Two heads of one column: a query and a key.
  const std::vector<float> neighbours = NormalValues(heads * head_dim, 1);
  std::vector<float> halves = RotateHalfOrder(neighbours, heads, head_dim, 1);
  const Rope rope(head_dim, 10000.0f);
  std::vector<float> cos(head_dim / 2), sin(head_dim / 2);
  rope.Angles(position, cos, sin);
  const auto score = [&](const std::vector<float>& x) {
    double sum = 0.0;
    for (size_t i = 0; i < head_dim; ++i) sum += double(x[i]) * double(x[head_dim + i]);
    return sum;
  };
  reference::RotateHead(cos, sin, std::span(halves).first(head_dim));
  std::vector<float> reordered = neighbours;
  for (size_t i = 0; i < head_dim / 2; ++i) {
    const float a = neighbours[2 * i], b = neighbours[2 * i + 1];
    reordered[2 * i] = a * cos[i] - b * sin[i];
    reordered[2 * i + 1] = b * cos[i] + a * sin[i];
  }
  CHECK(score(halves) == doctest::Approx(score(reordered)).epsilon(1e-6));
  CHECK(score(halves) != doctest::Approx(score(neighbours)).epsilon(1e-2));
}

struct TernaryRows : B158 {
  using Weight = Quantizer<Ternary, AbsMean, PerRow>;
};
struct Int4Rows : B158 {
  using Weight = Quantizer<Int<4>, AbsMax, PerRow>;
};
struct Int8Rows : B158 {
  using Weight = Quantizer<Int<8>, AbsMax, PerRow>;
};

constexpr size_t kTokens = 32, kHidden = 512, kFfn = 1408;

// The FFN of scheme S on weights and inputs drawn from normal(0, 1).
template <Scheme S>
std::vector<float> RandomFfn() {
  Random random(1);
  const auto draw = [&](size_t n) {
    std::vector<float> values(n);
    for (float& v : values) v = Normal(random);
    return values;
  };
  const auto matrix = [&](size_t rows, size_t cols) {
    const std::vector<float> w = draw(rows * cols);
    return SparseFfn<S>::Weights::template Quantize<typename S::Weight>({w.data(), rows, cols});
  };
  const auto gate = matrix(kFfn, kHidden);
  const auto up = matrix(kFfn, kHidden);
  const auto down = matrix(kHidden, kFfn);
  const std::vector<float> x = draw(kTokens * kHidden);

  const DefaultBackend<S> backend;
  const SparseFfn<S> ffn(gate, up, down, {}, backend);
  typename SparseFfn<S>::Buffers buffers;
  auto stream = backend.NewStream();
  std::vector<float> y(x.size());
  ffn(backend, stream, {x.data(), kTokens, kHidden}, buffers, {y.data(), kTokens, kHidden}, nullptr);
  return y;
}

// |y - y of floats| / |y of floats|
template <Scheme S>
double RelativeError() {
  const std::vector<float> y = RandomFfn<S>();
  const std::vector<float> exact = RandomFfn<Fp32>();
  double error = 0.0, size = 0.0;
  for (size_t i = 0; i < y.size(); ++i) {
    error += std::pow(double(y[i]) - double(exact[i]), 2);
    size += std::pow(double(exact[i]), 2);
  }
  return std::sqrt(error / size);
}

TEST_CASE("Untrained weights: what quantizing a random FFN costs") {
  CHECK(RelativeError<A48>() == doctest::Approx(0.89).epsilon(0.01));
  CHECK(RelativeError<TernaryRows>() == doctest::Approx(0.88).epsilon(0.01));
  CHECK(RelativeError<Int4Rows>() == doctest::Approx(0.255).epsilon(0.01));
  CHECK(RelativeError<Int8Rows>() == doctest::Approx(0.027).epsilon(0.02));
}

TEST_CASE("Guide to one's own weights: every block is code of this test") {
  CHECK(ShownIn("docs/bring-your-own-weights.md", "tests/guides/bring_your_own_weights_test.cc"));
}

}  // namespace
