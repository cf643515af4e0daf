// One program for many CPUs: a whole model compiled for every SIMD target, the best one chosen when it runs. Nothing is
// linked for it. Compile without -march (every CPU must be able to run what is not in a target's namespace); the folder
// of this file must be among the include folders (-I), because the file includes itself.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "many_targets.cc"
// clang-format off: targets.h configures Highway, then foreach_target.h includes this file once for each target
#include <bitnet/backend/simd/targets.h>
#include <hwy/foreach_target.h>
// clang-format on
#include <bitnet/backend/simd/simd_backend-inl.h>
#include <bitnet/model/transformer.h>

#include <memory>
#include <span>

#ifndef MANY_TARGETS_MODEL  // the first pass: what the rest of the program sees of a model, whatever its target
#define MANY_TARGETS_MODEL

namespace many_targets {

using Scheme = bitnet::A48;

class Model {
 public:
  virtual ~Model() = default;
  // Appends tokens; the logits after the last of them.
  virtual std::span<const float> Forward(std::span<const bitnet::Token> tokens) = 0;
};

}  // namespace many_targets

#endif  // MANY_TARGETS_MODEL

// What is compiled for each target: all that names SimdBackend lives in the target's namespace, so that no two targets
// share a function. (Own kernels would stand between HWY_BEFORE_NAMESPACE and HWY_AFTER_NAMESPACE.)
namespace many_targets::HWY_NAMESPACE {

class ModelOfTarget final : public Model {
 public:
  explicit ModelOfTarget(const bitnet::ModelWeights<Scheme>& weights) : model_(weights), state_(model_.NewState()) {}
  std::span<const float> Forward(std::span<const bitnet::Token> tokens) override {
    return model_.Forward(tokens, state_).value();
  }

 private:
  using Transformer = bitnet::Transformer<Scheme, bitnet::HWY_NAMESPACE::SimdBackend>;
  Transformer model_;
  Transformer::State state_;
};

inline std::unique_ptr<Model> MakeModel(const bitnet::ModelWeights<Scheme>& weights) {
  return std::make_unique<ModelOfTarget>(weights);
}

}  // namespace many_targets::HWY_NAMESPACE

#if HWY_ONCE  // the last pass: what exists once

#include <bitnet/backend/simd/cpu.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <vector>

namespace many_targets {

struct Target {
  int64_t bit;  // smaller is better
  const char* name;
  std::unique_ptr<Model> (*make_model)(const bitnet::ModelWeights<Scheme>&);
};

// A line for each target that this program was compiled for, from the best on.
constexpr Target kTargets[] = {
#if HWY_TARGETS & HWY_AVX3_DL
    {HWY_AVX3_DL, "AVX-512 with VNNI", &N_AVX3_DL::MakeModel},
#endif
#if HWY_TARGETS & HWY_AVX3
    {HWY_AVX3, "AVX-512", &N_AVX3::MakeModel},
#endif
#if HWY_TARGETS & HWY_AVX2
    {HWY_AVX2, "AVX2", &N_AVX2::MakeModel},
#endif
#if HWY_TARGETS & HWY_SSE4
    {HWY_SSE4, "SSE4", &N_SSE4::MakeModel},
#endif
#if HWY_TARGETS & HWY_SSSE3
    {HWY_SSSE3, "SSSE3", &N_SSSE3::MakeModel},
#endif
    {HWY_STATIC_TARGET, "the compiler's default", &HWY_NAMESPACE::MakeModel},
};

bitnet::ModelWeights<Scheme> MakeWeights() {
  bitnet::ModelConfig config;
  config.hidden = 192;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 48;
  config.ffn = 512;
  config.max_positions = 64;
  bitnet::Random random(1);
  return bitnet::ModelWeights<Scheme>::Quantize(bitnet::LatentWeights::Initial(config, random));
}

struct Run {
  uint64_t checksum = 0xcbf29ce484222325u;  // of all logits: FNV-1a of their bits
  double microseconds = 1e9;                // of the quickest token that was decoded
};

// Reads a prompt, then continues it with the likeliest tokens.
Run Decode(Model& model) {
  Run run;
  std::vector<bitnet::Token> tokens(24);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<bitnet::Token>(i * i % 251);
  for (int i = 0; i <= 32; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const std::span<const float> logits = model.Forward(tokens);
    const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - start;
    if (i != 0) run.microseconds = std::min(run.microseconds, time.count());
    for (const float v : logits) run.checksum = (run.checksum ^ std::bit_cast<uint32_t>(v)) * 0x100000001b3u;
    tokens = {static_cast<bitnet::Token>(std::max_element(logits.begin(), logits.end()) - logits.begin())};
  }
  return run;
}

}  // namespace many_targets

int main() {
  const auto weights = many_targets::MakeWeights();
  const int64_t supported = bitnet::SupportedTargets();
  const char* best = nullptr;
  uint64_t first_checksum = 0;
  for (const many_targets::Target& target : many_targets::kTargets) {
    if ((supported & target.bit) == 0) {
      std::printf("%-28s not on this CPU\n", target.name);
      continue;
    }
    const many_targets::Run run = many_targets::Decode(*target.make_model(weights));
    std::printf("%-28s checksum %016llx, %.0f us a token\n", target.name, static_cast<unsigned long long>(run.checksum),
                run.microseconds);
    if (best == nullptr) {
      best = target.name;
      first_checksum = run.checksum;
    }
    if (run.checksum != first_checksum) {
      std::printf("The results differ: a bug.\n");
      return 1;
    }
  }
  std::printf("The best target of this CPU is: %s\n", best);
  return 0;
}

#endif  // HWY_ONCE
