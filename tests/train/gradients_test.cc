#include <bitnet/backend/reference.h>
#include <bitnet/train.h>
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "testing/tiny_model.h"

namespace bitnet::testing {
namespace {

// Reals everywhere, an activation with a smooth derivative.
struct SmoothFp32 : Fp32 {
  using FfnActivation = Silu;
};

struct RotatedFp32 : RotatedBy<Fp32> {};
struct RotatedSmoothFp32 : RotatedBy<SmoothFp32> {};

TokenBatch RandomBatch(size_t sequences, size_t length, uint32_t vocab, uint64_t seed) {
  return {sequences, length, RandomTokens(sequences * length, vocab, seed),
          RandomTokens(sequences * length, vocab, seed + 1)};
}

// Every `stride`-th derivative of each tensor by central differences at h and 2h, (4 D(h) - D(2h)) / 3, whose error is
// of order h^4. The loss is that of a float forward pass: about 1e-7 of rounding each, so about 1e-7 * 5/3 / h = 1e-5
// a derivative at h = 1/64. Gradients of this model are 1e-3 to 1e-1.
template <Scheme S>
void CheckGradients(const ModelConfig& config, size_t stride) {
  LatentWeights weights = TinyLatent(config, 3);
  const TokenBatch batch = RandomBatch(2, 5, config.vocab, 4);
  SequentialExecutor executor;
  TrainingModel<S, ReferenceBackend> model(config, ReferenceBackend(executor));
  const auto loss = [&] {
    model.Quantize(weights);
    return model.Forward(batch);
  };
  loss();
  LatentWeights gradients = LatentWeights::Zeros(config);
  model.Backward(batch, gradients);
  size_t number = 0;
  weights.ForEach([&](const TensorInfo& tensor, std::span<float> values) {
    const float* analytic = gradients.values().data() + (values.data() - weights.values().data());
    double error = 0.0, norm = 0.0;
    for (size_t i = number % stride; i < values.size(); i += stride) {
      const float kept = values[i];
      const auto difference = [&](float h) {
        values[i] = kept + h;
        const double above = loss();
        const float step_up = values[i];
        values[i] = kept - h;
        const double below = loss();
        const double width = double(step_up) - double(values[i]);
        values[i] = kept;
        return (above - below) / width;
      };
      const double numeric = (4.0 * difference(1.0f / 64) - difference(1.0f / 32)) / 3.0;
      error += std::pow(numeric - double(analytic[i]), 2);
      norm += numeric * numeric;
    }
    const double relative = std::sqrt(error / norm);
    INFO(std::string(S::kName) << " " << tensor.FullName() << ": relative error " << relative);
    // 1e-5 against 1e-2 and less; relu^2 and few samples add some. Not loose: a gain forgotten, a factor of 1.01 or a
    // term of a norm's gradient left out make it larger, and the mutants in this file's history did.
    CHECK(relative < 4e-3);
    CHECK(norm > 0.0);
    ++number;
  });
}

TEST_CASE("TrainingModel: gradients are central differences, tied") { CheckGradients<Fp32>(TinyConfig(), 7); }
TEST_CASE("TrainingModel: gradients are central differences, untied, sub-layer norms, SiLU") {
  ModelConfig config = WithSubLayerNorms(TinyConfig());
  config.tied_embedding = false;
  CheckGradients<SmoothFp32>(config, 7);
}

TEST_CASE("TrainingModel: gradients are central differences, with transforms everywhere, tied") {
  CheckGradients<RotatedFp32>(TinyConfig(), 7);
}
TEST_CASE("TrainingModel: gradients are central differences, with transforms, sub-layer norms, SiLU, untied") {
  ModelConfig config = WithSubLayerNorms(TinyConfig());
  config.tied_embedding = false;
  CheckGradients<RotatedSmoothFp32>(config, 7);
}

TEST_CASE("TrainingModel: a gradient does not depend on what a model did before, and is added to what is there") {
  ModelConfig config = WithSubLayerNorms(TinyConfig());
  for (const bool tied : {true, false}) {
    config.tied_embedding = tied;
    const LatentWeights weights = TinyLatent(config, 3);
    const TokenBatch small = RandomBatch(1, 3, config.vocab, 5);
    const TokenBatch large = RandomBatch(3, 70, config.vocab, 6);
    const auto gradient = [&](TrainingModel<A48>& model, const TokenBatch& batch, LatentWeights g) {
      model.Quantize(weights);
      model.Forward(batch);
      model.Backward(batch, g);
      return Copy(g.values());
    };
    const LatentWeights zeros = LatentWeights::Zeros(config);
    TrainingModel<A48> used(config);
    gradient(used, large, zeros);
    used.Forward<false>(large);
    TrainingModel<A48> fresh(config);
    const std::vector<float> first = gradient(fresh, small, zeros);
    CHECK(gradient(used, small, zeros) == first);

    const LatentWeights before = TinyLatent(config, 9);
    const std::vector<float> added = gradient(fresh, small, before);
    size_t changed = 0;
    for (size_t i = 0; i < first.size(); ++i) {
      const float old = before.values()[i];
      // At most four terms of a sum: roundings of what is there and of the gradient.
      REQUIRE(std::fabs(double(added[i]) - double(old) - double(first[i])) <
              4 * 0x1p-24 * (std::fabs(double(old)) + std::fabs(double(first[i])) + 1e-2));
      changed += added[i] != old;
    }
    CHECK(changed > first.size() / 4);
  }
}

}  // namespace
}  // namespace bitnet::testing
