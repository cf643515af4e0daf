// A step of training: forward, backward and update of a batch, at the shape of ./dev demo.
//   BM_TrainStep/<scheme>/hidden256/t<threads>
// A line is the median time of a step. Counters: tokens a second.
#include <benchmark/benchmark.h>
#include <bitnet/train.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "benchmarks/measure.h"

namespace bitnet {
namespace {

constexpr double kSecondsALine = 3.0;

ModelConfig Config() {
  ModelConfig config;
  config.layers = 3;
  config.kv_heads = 2;
  config.ffn = 512;
  return config;
}

Corpus MadeUpText() {
  Random random(1);
  std::vector<uint32_t> tokens(50000);
  for (uint32_t& token : tokens) token = static_cast<uint32_t>(UniformBelow(random, Config().vocab));
  return Corpus(std::move(tokens));
}

template <Scheme S>
void RunLine(benchmark::State& state, size_t threads) {
  TrainOptions options;
  options.steps = 1u << 20;
  options.stage2_share = 0.0;
  auto trainer = Trainer<S, S>::Create(Config(), options, MadeUpText(), DefaultBackend<S>(PoolOf(threads)));
  if (!trainer.ok()) return state.SkipWithError(trainer.error().c_str());
  const auto step = [&] {
    if (!trainer->Step().ok()) state.SkipWithError("a step was refused");
  };
  for (auto _ : state) {
    step();
    const double seconds = Median(TimeCalls(kSecondsALine, 3, step));
    state.SetIterationTime(seconds);
    state.counters["tokens/s"] = static_cast<double>(options.TokensPerStep()) / seconds;
  }
}

template <Scheme S>
void Register() {
  for (const size_t threads : ThreadCounts()) {
    const std::string name = std::string("BM_TrainStep/") + S::kName + "/hidden256/t" + std::to_string(threads);
    benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { RunLine<S>(state, threads); })
        ->Unit(benchmark::kMillisecond)
        ->Iterations(1)
        ->UseManualTime();
  }
}

const bool kRegistered = [] {
  Register<B158>();
  Register<A48>();
  Register<Fp32>();
  return true;
}();

}  // namespace
}  // namespace bitnet
