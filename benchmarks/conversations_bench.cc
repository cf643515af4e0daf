// Decoding several conversations in one pass, at the shape of the released b1.58 2B.
//   BM_Decode/<scheme>/2B-4T/conversations:<number>/t<threads>
// A whole model whose weights are made up; each conversation has some 128 tokens in its cache. A line is the median
// time of a pass. Gates are open, and inputs of `down` zero, as random weights make them (about half), not as training
// does. Counters: tokens a second of all conversations together, and that as a multiple of one's in the same run.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/made_up.h"
#include "benchmarks/measure.h"
#include "benchmarks/shapes.h"
#include "bitnet/bitnet.h"

namespace bitnet {
namespace {

using S = WithInt4Head<A48>;
constexpr size_t kContext = 128;
constexpr double kSecondsALine = 2.0;

const ModelWeights<S>& Weights() {
  static const ModelWeights<S>* weights = [] {
    auto* made = new ModelWeights<S>;
    for (const ModelShape& shape : ModelShapes()) {
      if (std::string(shape.name) == "2B-4T") made->config = shape.config;
    }
    const ModelConfig& c = made->config;
    const auto ternary = [](size_t rows, size_t cols) { return MadeUp<S::Weight>(rows, cols); };
    made->embedding = MadeUp<S::HeadWeight>(c.vocab, c.hidden);
    made->final_norm.assign(c.hidden, 1.0f);
    LayerWeights<S> layer;
    layer.q = ternary(c.query_width(), c.hidden);
    layer.k = layer.v = ternary(c.kv_width(), c.hidden);
    layer.o = ternary(c.hidden, c.query_width());
    layer.gate = layer.up = ternary(c.ffn, c.hidden);
    layer.down = ternary(c.hidden, c.ffn);
    layer.attn_norm = layer.ffn_norm = std::vector<float>(c.hidden, 1.0f);
    made->layers.assign(c.layers, layer);
    return made;
  }();
  return *weights;
}

const Transformer<S>& ModelOn(size_t threads) {
  static auto* models = new std::map<size_t, std::unique_ptr<Transformer<S>>>;
  auto& model = (*models)[threads];
  if (model == nullptr) {
    model = std::make_unique<Transformer<S>>(Weights(), SimdBackend(PoolOf(threads)));
  }
  return *model;
}

void RunLine(benchmark::State& state, size_t conversations, size_t threads) {
  const Transformer<S>& model = ModelOn(threads);
  Random random(1);
  const auto draw = [&] { return static_cast<Token>(UniformBelow(random, model.config().vocab)); };
  std::vector<Transformer<S>::State> states(conversations);
  for (auto& each : states) {
    each = model.NewState(2 * kContext);
    std::vector<Token> prompt(kContext - 1);
    for (Token& token : prompt) token = draw();
    if (!model.Feed(prompt, each).ok()) state.SkipWithError("the prompt was refused");
  }
  auto workspace = model.NewWorkspace();
  std::vector<Token> tokens(conversations);
  const auto pass = [&](size_t count) {
    std::vector<Transformer<S>::Turn> turns;
    for (size_t i = 0; i < count; ++i) {
      tokens[i] = draw();
      states[i].Truncate(kContext - 1);
      turns.push_back({&states[i], {&tokens[i], 1}});
    }
    if (!model.Feed(turns, workspace).ok()) state.SkipWithError("a pass was refused");
  };
  for (auto _ : state) {
    pass(conversations);
    // One's time before and after, so that the ratio is of the same minute.
    pass(1);
    double one = Median(TimeCalls(kSecondsALine / 4, 3, [&] { pass(1); }));
    const double seconds = Median(TimeCalls(kSecondsALine, 3, [&] { pass(conversations); }));
    one = (one + Median(TimeCalls(kSecondsALine / 4, 3, [&] { pass(1); }))) / 2;
    state.SetIterationTime(seconds);
    state.counters["tokens/s"] = static_cast<double>(conversations) / seconds;
    state.counters["of_one"] = static_cast<double>(conversations) * one / seconds;
  }
}

const bool kRegistered = [] {
  for (const size_t threads : ThreadCounts()) {
    for (const size_t conversations : {1u, 2u, 4u, 8u, 16u}) {
      const std::string name = "BM_Decode/A48_Int4Head/2B-4T/conversations:" + std::to_string(conversations) + "/t" +
                               std::to_string(threads);
      benchmark::RegisterBenchmark(name.c_str(),
                                   [=](benchmark::State& state) { RunLine(state, conversations, threads); })
          ->Unit(benchmark::kMillisecond)
          ->Iterations(1)
          ->UseManualTime();
    }
  }
  return true;
}();

}  // namespace
}  // namespace bitnet
