// Models small enough for tests of the layer and model floors, repeatable from a seed.
#ifndef BITNET_TESTS_TESTING_TINY_MODEL_H_
#define BITNET_TESTS_TESTING_TINY_MODEL_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "bitnet/backend/reference.h"
#include "bitnet/base/random.h"
#include "bitnet/model/weights.h"
#include "testing/golden.h"
#include "testing/same_bits.h"

// (nvcc rejects Highway's headers; programs for it name their backend.)
#ifndef __CUDACC__
#include "bitnet/backend/simd/default_backend.h"
#endif

namespace bitnet::testing {

struct FiveLevel {
  static constexpr auto kLevels = std::array{-2, -1, 0, 1, 2};
};

// Everything that no scheme of the library does: five-level weights and 3-bit inputs with a step for each group, a
// quantized output head, a third kept, 4-bit keys, real values, an activation without zeros. TinyConfigOf gives it
// sub-layer norms.
struct Mixed : A48 {
  static constexpr const char* kName = "Mixed";
  using Weight = Quantizer<FiveLevel, AbsMean, PerGroup<7>>;
  using Input = Quantizer<Int<3>, AbsMax, PerGroup<5>>;
  using OutputKeep = Keep<1, 3>;
  using Key = Quantizer<Int<4>, AbsMax>;
  using FirstKey = Quantizer<Int<8>, AbsMax>;
  using Value = Unquantized;
  using FirstValue = Unquantized;
  using HeadWeight = Quantizer<Int<8>, AbsMax, PerRow>;
  using HeadInput = Quantizer<Int<8>, AbsMax>;
  using FfnActivation = Silu;
};

// INT8 in the first and the last layer, weights and inputs; and reals of 16 bits as the embedding of an INT8 head.
struct Int8Edges : A48 {
  static constexpr const char* kName = "Int8Edges";
  struct Edge : B158 {
    using Weight = Quantizer<Int<8>, AbsMax, PerRow>;
    using FfnActivation = Silu;
  };
  using HeadWeight = Quantizer<Int<8>, AbsMax, PerRow>;
  using HeadInput = Quantizer<Int<8>, AbsMax>;
  using EmbeddingWeight = Rounded<BFloat16>;
};

// A transform at every place where one can stand, each another, of blocks that do not divide their widths. TinyConfigOf
// gives Rotated sub-layer norms.
template <class Base>
struct RotatedBy : Base {
  template <class T, class Q>
  using Before = Transformed<T, Q>;
  using Heads = Hadamard<4, RandomSigns<3>>;
  using Input = Before<Hadamard<16>, typename Base::Input>;
  using OutputInput = Before<Hadamard<8, RandomSigns<1>>, typename Base::OutputInput>;
  using DownInput = Before<Hadamard<32, RandomSigns<2>>, typename Base::DownInput>;
  using Query = Before<Heads, typename Base::Query>;
  using Key = Before<Heads, typename Base::Key>;
  using FirstKey = Before<Heads, typename Base::FirstKey>;
  using Value = Before<Hadamard<8, RandomSigns<4>>, typename Base::Value>;
  using FirstValue = Before<Hadamard<8, RandomSigns<4>>, typename Base::FirstValue>;
  using HeadInput = Before<Hadamard<16, RandomSigns<5>>, typename Base::HeadInput>;
};
struct Rotated : RotatedBy<WithInt4Head<A48>> {
  static constexpr const char* kName = "Rotated";
  using DownInput = Transformed<Hadamard<32, RandomSigns<2>>, Quantizer<Int<8>, AbsMax, PerGroup<10>>>;
};

// No two dimensions are equal, so that swapped ones are noticed.
inline ModelConfig TinyConfig() {
  ModelConfig config;
  config.vocab = 19;
  config.hidden = 20;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 6;
  config.ffn = 44;
  config.max_positions = 320;
  return config;
}

inline ModelConfig WithSubLayerNorms(ModelConfig config) {
  config.sub_layer_norms = true;
  return config;
}

// What a scheme's tests run.
template <Scheme S>
ModelConfig TinyConfigOf() {
  ModelConfig config = TinyConfig();
  config.sub_layer_norms = std::is_same_v<S, Mixed> || std::is_same_v<S, Rotated>;
  config.tied_embedding = kMayTieEmbedding<S>;
  if (kHasEdges<S>) config.layers = 4;
  return config;
}

// Embedding normal(0, 1), other matrices normal(0, 0.2), gains normal(1, 0.1).
inline LatentWeights TinyLatent(const ModelConfig& config, uint64_t seed) {
  Random random(seed);
  LatentWeights weights = LatentWeights::Zeros(config);
  weights.ForEach([&](const TensorInfo& tensor, std::span<float> values) {
    const bool gain = tensor.role == TensorRole::kGain;
    const float deviation = gain ? 0.1f : tensor.role == TensorRole::kEmbedding ? 1.0f : 0.2f;
    for (float& v : values) v = (gain ? 1.0f : 0.0f) + deviation * Normal(random);
  });
  return weights;
}

template <Scheme S>
ModelWeights<S> TinyWeights(const ModelConfig& config = TinyConfigOf<S>(), uint64_t seed = 1) {
  return ModelWeights<S>::Quantize(TinyLatent(config, seed));
}

inline std::vector<uint32_t> RandomTokens(size_t n, uint32_t vocab, uint64_t seed = 1) {
  Random random(seed);
  std::vector<uint32_t> tokens(n);
  for (uint32_t& token : tokens) token = static_cast<uint32_t>(UniformBelow(random, vocab));
  return tokens;
}

// The model of a golden file model_*.txt, whose weights are those of model_weights.txt.
inline LatentWeights GoldenModel(const Golden& model, const Golden& weights) {
  const std::vector<int> c = model.Ints("config");
  ModelConfig config;
  uint32_t* const members[] = {&config.vocab,    &config.hidden,   &config.layers, &config.heads,
                               &config.kv_heads, &config.head_dim, &config.ffn};
  for (size_t i = 0; i < 7; ++i) *members[i] = static_cast<uint32_t>(c[i]);
  config.max_positions = 64;
  config.tied_embedding = c[7] != 0;
  config.rope_base = model.Float("rope_base");
  config.rms_eps = model.Float("rms_eps");
  config.sub_layer_norms = c[8] != 0;
  LatentWeights latent = LatentWeights::Zeros(config);
  latent.ForEach([&](const TensorInfo& tensor, std::span<float> values) {
    const std::vector<float> read = weights.Floats(tensor.FullName());
    REQUIRE_MESSAGE(read.size() == values.size(), tensor.FullName());
    std::copy(read.begin(), read.end(), values.begin());
  });
  return latent;
}

// As for two numbers, for rows.
inline bool SameBits(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!SameBits(a[i], b[i])) return false;
  }
  return true;
}

inline std::vector<float> Copy(std::span<const float> x) { return {x.begin(), x.end()}; }

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_TINY_MODEL_H_
