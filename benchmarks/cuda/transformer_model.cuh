// TransformerModel<S, B>: a Transformer of made-up weights on a GPU, as MeasuredModel.
#ifndef BITNET_BENCHMARKS_CUDA_TRANSFORMER_MODEL_CUH_
#define BITNET_BENCHMARKS_CUDA_TRANSFORMER_MODEL_CUH_

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "benchmarks/cuda/gpu.cuh"
#include "benchmarks/cuda/measure.h"
#include "benchmarks/made_up.h"
#include "bitnet/cuda.h"

namespace bitnet::cuda_bench {

// Tokens that a pass of Transformer takes at once.
inline constexpr size_t kTokensOfPass = 256;

// The median of run(), by the host's clock, of runs for about so many seconds.
template <class Run>
double WallSecondsOf(double seconds, Run&& run) {
  using Clock = std::chrono::steady_clock;
  for (int i = 0; i < 3; ++i) run();  // memory is taken, a graph is made
  std::vector<double> times;
  double all = 0.0;
  while (times.size() < 5 || all < seconds) {
    const auto begin = Clock::now();
    run();
    times.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    all += times.back();
  }
  return Median(times);
}

template <class S>
ModelWeights<S> MadeUpWeights(const ModelConfig& config) {
  ModelWeights<S> made;
  made.config = config;
  const auto projection = [](size_t rows, size_t cols) { return MadeUp<typename S::Weight>(rows, cols); };
  made.embedding = MadeUp<typename S::HeadWeight>(config.vocab, config.hidden);
  if (!config.tied_embedding) made.head = made.embedding;
  made.final_norm.assign(config.hidden, 1.0f);
  LayerWeights<S> layer;
  layer.q = projection(config.query_width(), config.hidden);
  layer.k = layer.v = projection(config.kv_width(), config.hidden);
  layer.o = projection(config.hidden, config.query_width());
  layer.gate = layer.up = projection(config.ffn, config.hidden);
  layer.down = projection(config.hidden, config.ffn);
  layer.attn_norm = layer.ffn_norm = std::vector<float>(config.hidden, 1.0f);
  made.layers.assign(config.layers, layer);
  return made;
}

template <Scheme S, Backend B>
class TransformerModel : public MeasuredModel {
 public:
  TransformerModel(const ModelConfig& config, const B& backend) : model_(MadeUpWeights<S>(config), backend) {}

  Decode MeasureDecode(size_t conversations, size_t context) override {
    std::vector<typename Model::State> states(conversations);
    for (auto& state : states) {
      state = model_.NewState(context + kPageTokens);
      Expect(model_.Feed(Draw(context - 1), state));
    }
    auto workspace = model_.NewWorkspace();
    const std::vector<Token> tokens = Draw(conversations);
    std::vector<typename Model::Turn> turns;
    for (size_t i = 0; i < conversations; ++i) turns.push_back({&states[i], {&tokens[i], 1}});
    const auto pass = [&] {
      for (auto& state : states) state.Truncate(context - 1);
      Expect(model_.Feed(turns, workspace));
    };
    std::vector<TurnDraw> greedy(conversations);
    for (TurnDraw& draw : greedy) draw.options.temperature = 0.0f;
    Decode decode;
    decode.pass = WallSecondsOf(kSeconds, pass);
    decode.pass_and_draw = WallSecondsOf(kSeconds, [&] {
      for (auto& state : states) state.Truncate(context - 1);
      Expect(model_.FeedAndSample(turns, greedy, workspace));
    });
    return decode;
  }
  Prefill MeasurePrefill(size_t tokens) override {
    auto state = model_.NewState(tokens);
    const std::vector<Token> prompt = Draw(tokens);
    return {WallSecondsOf(kSeconds,
                          [&] {
                            state.Truncate(0);
                            Expect(model_.Feed(prompt, state));
                          }),
            0.0};
  }
  double WeightBytes() const override { return static_cast<double>(model_.Bytes().projections); }
  double EmbeddingBytes() const override { return static_cast<double>(model_.Bytes().embedding); }
  double CacheBytes(size_t tokens) const override { return static_cast<double>(model_.CacheBytes(tokens).value()); }
  double Disagreement() override {
    // (Gates are drawn for the places in a pass: both have a pass of the last token alone.)
    const std::vector<Token> prompt = Draw(kTokensOfPass + 1);
    auto at_once = model_.NewState(), in_steps = model_.NewState();
    const auto expected = Logits(prompt, at_once);
    Expect(model_.Feed(std::span(prompt).first(kTokensOfPass), in_steps));
    return Difference(Logits(std::span(prompt).subspan(kTokensOfPass), in_steps), expected);
  }

  static double Difference(const std::vector<float>& a, const std::vector<float>& b) {
    double largest = 0.0, difference = 0.0;
    for (size_t i = 0; i < a.size(); ++i) {
      largest = std::max(largest, std::fabs(static_cast<double>(b[i])));
      difference = std::max(difference, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
    }
    return difference / largest;
  }

 private:
  using Model = Transformer<S, B>;
  static constexpr double kSeconds = 0.15;  // of a measurement

  static void Expect(const auto& result) {
    if (!result.ok()) Give("a pass of the model", result.error());
  }
  std::vector<Token> Draw(size_t count) {
    std::vector<Token> tokens(count);
    for (Token& token : tokens) token = static_cast<Token>(UniformBelow(random_, model_.config().vocab));
    return tokens;
  }
  std::vector<float> Logits(std::span<const Token> tokens, typename Model::State& state) {
    const auto logits = model_.Forward(tokens, state);
    Expect(logits);
    return {logits->begin(), logits->end()};
  }

  Model model_;
  Random random_{1};
};

}  // namespace bitnet::cuda_bench

#endif  // BITNET_BENCHMARKS_CUDA_TRANSFORMER_MODEL_CUH_
