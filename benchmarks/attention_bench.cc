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
#include "bitnet/layer/attention.h"

namespace bitnet {
namespace {

struct Shape {
  const char* name;
  size_t heads, kv_heads, head_dim;
};
constexpr Shape kShapes[] = {{"20x5x128", 20, 5, 128}, {"32x32x128", 32, 32, 128}};

constexpr double kSecondsALine = 0.25;

using Q = MidRise<4>;
using Quantizers = CacheQuantizersOf<A48>;

void DrawHeads(const Shape& shape, size_t tokens, uint64_t seed, QuantizedHeads<MidRise<3>, MidRise<4>>& heads) {
  Random random(seed);
  std::vector<int8_t> levels(4096 + shape.head_dim);
  for (int8_t& level : levels) level = static_cast<int8_t>(MidRise<3>::kLevels[UniformBelow(random, 8)]);
  for (size_t h = 0; h < shape.kv_heads; ++h) {
    for (size_t s = 0; s < tokens; ++s) {
      const int8_t* head = levels.data() + UniformBelow(random, 4096);
      const float step = 0.1f + 0.2f * static_cast<float>(UniformReal(random));
      if (s == 0) {
        heads.Store<MidRise<4>>(h, s, head, step);
      } else {
        heads.Store<MidRise<3>>(h, s, head, step);
      }
    }
  }
}

// The caches of layers; those of the last case are kept for the next.
template <class B>
struct Layers {
  std::vector<typename B::template Cache<Quantizers>> caches;
  const Shape* shape = nullptr;
  size_t tokens = 0;

  void Make(const Shape& s, size_t n) {
    if (shape == &s && tokens == n) return;
    shape = &s;
    tokens = n;
    caches.clear();
    HostCache<Quantizers> host(s.kv_heads, s.head_dim, n);
    DrawHeads(s, n, 1, host.keys);
    DrawHeads(s, n, 2, host.values);
    const B backend;
    auto stream = backend.NewStream();
    auto cache = backend.template NewCache<Quantizers>(s.kv_heads, s.head_dim, n);
    backend.template WriteCache<Quantizers>(stream, host, n, cache);
    do {
      caches.push_back(cache);
    } while (caches.size() * cache.StoredBytes() < RotatedBytes());
  }
};

template <class B>
void Attend(benchmark::State& state, const Shape& shape, size_t tokens, size_t threads) {
  static Layers<B> layers;
  layers.Make(shape, tokens);
  const B backend(PoolOf(threads));
  auto stream = backend.NewStream();
  Random random(3);
  QuantizedRows<Q> host_q;
  host_q.Resize(shape.heads, shape.head_dim);
  for (size_t h = 0; h < shape.heads; ++h) {
    for (int8_t& level : host_q[h]) level = static_cast<int8_t>(Q::kLevels[UniformBelow(random, 16)]);
    host_q.Steps(h)[0] = 0.05f;
  }
  typename B::template Rows<Q> q;
  backend.Write(stream, host_q, q);
  typename B::Where where;
  backend.SetWhere(stream, std::vector<Place>{{0, static_cast<uint32_t>(tokens - 1)}}, Rope(2, 10.0f), where);
  std::vector<float> y(shape.heads * shape.head_dim);
  const AttentionShape heads{shape.heads, shape.kv_heads, shape.head_dim};
  size_t next = 0;
  const auto run = [&] {
    const typename B::template Cache<Quantizers>* const caches[] = {&layers.caches[next++ % layers.caches.size()]};
    backend.Attend(stream, q, where, std::span<const typename B::template Cache<Quantizers>* const>(caches), heads,
                   MatrixView<float>(y.data(), 1, y.size()));
  };
  for (auto _ : state) {
    double bandwidth = ReadRateNow(threads);
    run();
    const double seconds = Median(TimeCalls(kSecondsALine, 3, run));
    bandwidth = (bandwidth + ReadRateNow(threads)) / 2;
    state.SetIterationTime(seconds);
    const auto bytes = static_cast<double>(tokens * layers.caches[0].BytesPerToken());
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
