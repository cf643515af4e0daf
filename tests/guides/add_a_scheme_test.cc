// docs/add-a-scheme.md, followed to the letter: the blocks of that page are pieces of this file.
#include "guides/shown_in.h"

#include <bitnet/bitnet.h>
#include <bitnet/train.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "testing/random_values.h"
#include "testing/test_format.h"
#include "testing/test_transform.h"

using namespace bitnet;
using namespace bitnet::testing;  // of the folder tests/

namespace {

struct Mine : A48 {
  static constexpr const char* kName = "Mine";
  using Weight = Quantizer<Binary, AbsMean, PerRow>;  // one bit, a step for each output
  using Input = Quantizer<Int<3>, AbsMean>;           // what Q, K, V, gate and up read
  using DownInput = Quantizer<Int<8>, AbsMax, PerGroup<64>>;
  using OutputKeep = Keep<1, 4>;  // top-k keeps a quarter
};
static_assert(Scheme<Mine>);

// As Mine, but the first and the last layer have INT8 weights and inputs.
struct MineWithEdges : Mine {
  static constexpr const char* kName = "MineWithEdges";
  struct Edge : B158 {
    using Weight = Quantizer<Int<8>, AbsMax, PerRow>;
  };
};
static_assert(Scheme<MineWithEdges>);

// step = sqrt(mean(x^2)) / sqrt(largest level)
struct RootMeanSquare {
  template <LevelFormat F>
  static double Step(std::span<const float> x) {
    if (x.empty()) return 0.0;
    const double squares = OrderedSum(x.size(), [&](size_t i) { return double(x[i]) * double(x[i]); });
    return std::sqrt(squares / static_cast<double>(x.size())) / std::sqrt(FormatTraits<F>::kTop);
  }
};
static_assert(ScaleRule<RootMeanSquare, Int<4>>);

// step = 3/4 max|x| / largest level: clips the largest values.
struct ClippedMax {
  using Statistic = LargestMagnitude;
  template <LevelFormat F>
  static double StepFrom(LargestMagnitude largest, size_t) {
    return 0.75 * static_cast<double>(largest.max) / FormatTraits<F>::kTop;
  }
};

TEST_CASE("RootMeanSquare, ClippedMax: are scale rules") {
  TestQuantizer<Int<4>, RootMeanSquare>();
  TestQuantizer<Ternary, RootMeanSquare>();
  TestQuantizer<Int<4>, ClippedMax>();
}

// Of each four weights the two largest stay: 2:4 sparsity.
struct TwoOfFour : Quantizer<Ternary, AbsMean> {
  static float Quantize(std::span<const float> x, int8_t* levels) {
    const float step = Quantizer<Ternary, AbsMean>::Quantize(x, levels);
    for (size_t begin = 0; begin < x.size(); begin += 4) {
      const auto four = x.subspan(begin, std::min<size_t>(4, x.size() - begin));
      for (size_t i = 0; i < four.size(); ++i) {
        size_t larger = 0;
        for (const float other : four) larger += std::fabs(other) > std::fabs(four[i]) ? 1u : 0u;
        if (larger >= 2) levels[begin + i] = 0;
      }
    }
    return step;
  }
};

struct SparseWeights : A48 {
  static constexpr const char* kName = "SparseWeights";
  using Weight = TwoOfFour;
};
static_assert(Scheme<SparseWeights>);

TEST_CASE("TwoOfFour: is what quantizes the weights of a matrix") {
  const std::vector<float> w = {3,  -1,   2, 4,  //
                                -2, 2.5f, 1, 0};
  const auto matrix = QuantizedMatrix<Ternary>::Quantize<TwoOfFour>({w.data(), 2, 4});
  std::vector<int8_t> levels(4);
  matrix.UnpackRow(0, levels);
  CHECK(levels == std::vector<int8_t>{1, 0, 0, 1});
  matrix.UnpackRow(1, levels);
  CHECK(levels == std::vector<int8_t>{-1, 1, 0, 0});
}

// relu(g): one power less than the paper's.
struct Relu {
  static constexpr bool kMakesZeros = true;
  static float Value(float g) { return g <= 0.0f ? 0.0f : g; }
  static float Derivative(float g) { return g <= 0.0f ? 0.0f : 1.0f; }
};
static_assert(Activation<Relu>);

// g^2 + 0.3 g
struct Parabola {
  static constexpr bool kMakesZeros = false;
  static float Value(float g) { return static_cast<float>(double(g) * g + double(0.3f) * g); }
  static float Derivative(float g) { return 2.0f * g + 0.3f; }
};
static_assert(Activation<Parabola>);

TEST_CASE("Relu: its derivative is the slope of its value, and NaN stays") {
  for (const float g : {-3.0f, -0.5f, 0.25f, 1.0f, 7.0f}) {
    const float h = 0.125f;
    CHECK(Relu::Derivative(g) == (Relu::Value(g + h) - Relu::Value(g - h)) / (2 * h));
  }
  CHECK(Relu::Value(0.0f) == 0.0f);
  CHECK(std::isnan(Relu::Value(NAN)));
}

struct MineWithRelu : Mine {
  static constexpr const char* kName = "MineWithRelu";
  using Input = Quantizer<Int<3>, RootMeanSquare>;
  using FfnActivation = Relu;
};

using Int4OfHadamard = Transformed<Hadamard<128>, Quantizer<Int<4>, AbsMean>>;

struct FourBitsEverywhere : A48 {
  static constexpr const char* kName = "FourBitsEverywhere";
  using OutputInput = Int4OfHadamard;
  using OutputKeep = KeepAll;
  using DownInput = Int4OfHadamard;
};
static_assert(Scheme<FourBitsEverywhere>);

template <class Q>
using Turned = Transformed<Hadamard<64, RandomSigns<1>>, Q>;

struct RotatedCache : A48 {
  static constexpr const char* kName = "RotatedCache";
  using Query = Turned<A48::Query>;
  using Key = Turned<A48::Key>;
  using FirstKey = Turned<A48::FirstKey>;
  using Value = Turned<A48::Value>;
  using FirstValue = Turned<A48::FirstValue>;
};
static_assert(Scheme<RotatedCache>);

// Reverses each head, or token.
struct Reversed {
  static void Apply(std::span<float> x) { std::reverse(x.begin(), x.end()); }
  static void ApplyTranspose(std::span<float> x) { Apply(x); }
};

TEST_CASE("Reversed: is a transform") { TestTransform<Reversed>(); }

// Stage 1 of training: as B158 is to A48, wide activations with the final weights and activation
// function.
struct MineStage1 : B158 {
  static constexpr const char* kName = "MineStage1";
  using Weight = MineWithRelu::Weight;
  using FfnActivation = MineWithRelu::FfnActivation;
};

template <class Backend>
std::vector<float> Logits(const ModelWeights<MineWithRelu>& weights, std::span<const Token> tokens) {
  const Transformer<MineWithRelu, Backend> model(weights);
  auto state = model.NewState();
  const std::span<const float> logits = *model.Forward(tokens, state);
  return {logits.begin(), logits.end()};
}

TEST_CASE("MineWithRelu: is trained, exported, and run with the same bits on both backends") {
  ModelConfig config;
  config.hidden = 32;
  config.heads = 2;
  config.kv_heads = 1;
  config.head_dim = 16;
  config.ffn = 100;  // divides into no groups of 64: the last one is short
  config.layers = 2;

  TrainOptions options;
  options.steps = 20;
  options.warmup = 5;
  options.batch = 4;
  options.sequence = 16;
  options.stage2_share = 0.5;

  std::string text;
  for (int i = 0; i < 100; ++i) text += "a scheme says which quantizer stands where. ";
  auto trainer = Trainer<MineStage1, MineWithRelu>::Create(config, options, Corpus::FromBytes(text));
  REQUIRE(trainer.ok());
  double first = 0.0, last = 0.0;
  const auto done = trainer->Run([&](const StepReport& report) {
    (report.step == 0 ? first : last) = report.loss;
    return true;
  });
  REQUIRE(done.ok());
  CHECK(last < first);

  const auto weights = ModelWeights<MineWithRelu>::Quantize(trainer->weights());
  const std::vector<Token> tokens = {'a', ' ', 's', 'c'};
  const std::vector<float> logits = Logits<SimdBackend>(weights, tokens);
  CHECK(logits == Logits<ReferenceBackend>(weights, tokens));
}

TEST_CASE("Guide to schemes: every block is code of this test") {
  CHECK(ShownWhole("docs/add-a-scheme.md", "tests/guides/add_a_scheme_test.cc"));
}

TEST_CASE("Parabola: its bits do not depend on whether the CPU fuses; those of floats would") {
  size_t floats_differ = 0;
  for (const float g : NormalValues(10000, 1)) {
    const volatile double square = double(g) * g;  // volatile: a product of its own, whatever the CPU
    CHECK(Parabola::Value(g) == static_cast<float>(square + double(0.3f) * g));
    CHECK(Parabola::Value(g) == static_cast<float>(std::fma(double(g), double(g), double(0.3f) * g)));
    const volatile float rounded = g * g, linear = 0.3f * g;
    floats_differ += rounded + linear != std::fma(g, g, linear);
  }
  CHECK(floats_differ > 0);
}

}  // namespace
