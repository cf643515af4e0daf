// Decoding's attention: one query token over a cache of 3-bit keys and values.
//   BM_Attend/<formats>/<backend>/<query heads>x<key/value heads>x<head_dim>/<tokens in the cache>/t<threads>
// Layers' caches are taken in turn, as in a model, until they are more than the caches of the CPU hold (RotatedBytes()
// of measure.h). A line is the median of calls. Counters: bytes of cache read per second, and their share of the read
// bandwidth that as many threads reach right before and after.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "benchmarks/measure.h"
#include "bitnet/backend/reference.h"
#include "bitnet/backend/simd/simd_backend.h"
#include "bitnet/base/random.h"

namespace bitnet {
namespace {

struct Shape {
  const char* name;
  size_t heads, kv_heads, head_dim;
};
constexpr Shape kShapes[] = {{"20x5x128", 20, 5, 128}, {"32x32x128", 32, 32, 128}};

constexpr double kSecondsALine = 0.25;

using Q = MidRise<4>;
using Keys = HeadCache<MidRise<3>, MidRise<4>>;

Keys DrawCache(const Shape& shape, size_t tokens, uint64_t seed) {
  Random random(seed);
  Keys cache(shape.kv_heads, shape.head_dim, tokens);
  std::vector<int8_t> levels(4096 + shape.head_dim);
  for (int8_t& level : levels) level = static_cast<int8_t>(MidRise<3>::kLevels[UniformBelow(random, 8)]);
  for (size_t h = 0; h < shape.kv_heads; ++h) {
    for (size_t s = 0; s < tokens; ++s) {
      const int8_t* head = levels.data() + UniformBelow(random, 4096);
      const float step = 0.1f + 0.2f * static_cast<float>(UniformReal(random));
      if (s == 0) {
        cache.Store<MidRise<4>>(h, s, head, step);
      } else {
        cache.Store<MidRise<3>>(h, s, head, step);
      }
    }
  }
  return cache;
}

// The caches of layers; those of the last case are kept for the next.
struct Layers {
  std::vector<Keys> keys, values;
  const Shape* shape = nullptr;
  size_t tokens = 0;

  void Make(const Shape& s, size_t n) {
    if (shape == &s && tokens == n) return;
    shape = &s;
    tokens = n;
    keys.clear();
    values.clear();
    const Keys key = DrawCache(s, n, 1);
    const Keys value = DrawCache(s, n, 2);
    do {
      keys.push_back(key);
      values.push_back(value);
    } while (keys.size() * 2 * key.StoredBytes() < RotatedBytes());
  }
};

template <class B>
void Attend(benchmark::State& state, const Shape& shape, size_t tokens, size_t threads) {
  static Layers layers;
  layers.Make(shape, tokens);
  const B backend(PoolOf(threads));
  Random random(3);
  QuantizedTokens<Q> q;
  q.Resize(shape.heads, shape.head_dim);
  for (size_t h = 0; h < shape.heads; ++h) {
    for (size_t i = 0; i < shape.head_dim; ++i) q.Row(h)[i] = static_cast<int8_t>(Q::kLevels[UniformBelow(random, 16)]);
    q.Step(h, 0) = 0.05f;
  }
  std::vector<float> y(shape.heads * shape.head_dim);
  AttentionScratch scratch;
  const AttentionShape position{shape.heads, shape.kv_heads, shape.head_dim, tokens - 1};
  size_t next = 0;
  const auto run = [&] {
    const size_t layer = next++ % layers.keys.size();
    backend.Attend(q, layers.keys[layer], layers.values[layer], position, scratch,
                   MatrixView<float>(y.data(), 1, y.size()));
  };
  for (auto _ : state) {
    double bandwidth = ReadRateNow(threads);
    run();
    const double seconds = Median(TimeCalls(kSecondsALine, 3, run));
    bandwidth = (bandwidth + ReadRateNow(threads)) / 2;
    state.SetIterationTime(seconds);
    const auto bytes = static_cast<double>(2 * tokens * layers.keys[0].BytesPerToken());
    state.counters["bytes/s"] = bytes / seconds;
    state.counters["of_bandwidth"] = bytes / seconds / bandwidth;
  }
}

template <class B>
void Register(const char* backend, const Shape& shape, size_t tokens, size_t threads) {
  const std::string name = std::string("BM_Attend/MidRise<3>/") + backend + "/" + shape.name + "/" +
                           std::to_string(tokens) + "/t" + std::to_string(threads);
  benchmark::RegisterBenchmark(name.c_str(), [=, &shape](benchmark::State& s) { Attend<B>(s, shape, tokens, threads); })
      ->Unit(benchmark::kMicrosecond)
      ->Iterations(1)
      ->UseManualTime();
}

const bool kRegistered = [] {
  for (const Shape& shape : kShapes) {
    for (const size_t tokens : {512u, 2048u, 8192u, 32768u}) {
      for (const size_t threads : ThreadCounts()) Register<SimdBackend>("Simd", shape, tokens, threads);
      if (tokens == 512) Register<ReferenceBackend>("Reference", shape, tokens, 1);
    }
  }
  return true;
}();

}  // namespace
}  // namespace bitnet
