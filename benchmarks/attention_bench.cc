// Decoding's attention, one query token over a cache, and storing tokens into it.
//   BM_Attend/<formats>/<backend>/<query heads>x<key/value heads>x<head_dim>/<tokens in the cache>/t<threads>
//   BM_Store/<formats>/<backend>/<query heads>x<key/value heads>x<head_dim>/<tokens stored>/t<threads>
// <formats>: of queries, keys and values, in short. Layers' caches are taken in turn, as in a model, until they are
// more than the caches of the CPU hold (RotatedBytes() of measure.h). A line is the median of calls. Counters of
// BM_Attend: bytes of cache read per second, and their share of the read bandwidth that as many threads reach right
// before and after; of BM_Store: nanoseconds a value.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <any>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/measure.h"
#include "benchmarks/pages.h"
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

// Of queries and a cache.
template <AnyQuantizer Query, AnyQuantizer Cached, AnyQuantizer First>
using Case = CacheQuantizers<Query, Cached, First, Cached, First>;

struct FiveLevels {
  static constexpr auto kLevels = std::array{-2, -1, 0, 1, 2};
};
template <LevelFormat F>
using Max = Quantizer<F, AbsMax>;
using Bytes = Max<Int<8>>;
using A48Case = Case<Max<MidRise<4>>, Max<MidRise<3>>, Max<MidRise<4>>>;
using Int8Case = Case<Bytes, Bytes, Bytes>;
using FiveLevelsCase = Case<Bytes, Max<FiveLevels>, Bytes>;
using UInt4Case = Case<Bytes, Max<UInt<4>>, Bytes>;
using Fp4Case = Case<Bytes, Max<Fp4E2M1>, Bytes>;
using RealsCase = Case<Unquantized, Unquantized, Unquantized>;

MatrixView<const float> Rows(const std::vector<float>& x, size_t rows) { return {x.data(), rows, x.size() / rows}; }

std::vector<float> NormalValues(size_t n, uint64_t seed) {
  Random random(seed);
  std::vector<float> x(n);
  for (float& value : x) value = Normal(random);
  return x;
}

std::vector<Place> Places(size_t first, size_t tokens) {
  std::vector<Place> places;
  for (size_t t = 0; t < tokens; ++t) places.push_back({0, static_cast<uint32_t>(first + t)});
  return places;
}

template <class C, class B>
void StoreInto(const B& backend, typename B::Stream& stream, const std::vector<float>& keys,
               const std::vector<float>& values, const typename B::Where& where, size_t tokens,
               typename B::template Cache<C>& cache) {
  backend.Store(stream, Rows(keys, tokens), Rows(values, tokens), where, cache);
}

// The caches of layers; those of the last line are kept for the next.
template <class C, class B>
struct Layers {
  std::vector<typename B::template Cache<C>> caches;
  const Shape* shape = nullptr;
  size_t tokens = 0;

  void Make(const Shape& s, size_t n) {
    if (shape == &s && tokens == n) return;
    shape = &s;
    tokens = n;
    caches.clear();
    const B backend;
    auto stream = backend.NewStream();
    const size_t bytes = PagesFor(n) * backend.template PageBytes<C>(s.kv_heads, s.head_dim).value();
    caches = NewCaches<C>(backend, RotatedBytes() / bytes + 1, s.kv_heads, s.head_dim, PagesFor(n));
    auto& cache = caches[0];
    constexpr size_t kPass = 256;
    typename B::Where where;
    for (size_t t = 0; t < n; t += kPass) {
      backend.SetWhere(stream, Places(t, kPass), PagesInOrder(n).tables(), Rope(2, 10.0f), where);
      StoreInto<C>(backend, stream, NormalValues(kPass * s.kv_heads * s.head_dim, 2 * t),
                   NormalValues(kPass * s.kv_heads * s.head_dim, 2 * t + 1), where, kPass, cache);
    }
    for (auto& other : caches) {
      for (size_t page = 0; page < PagesFor(n) && &other != &cache; ++page) other[page].CopyFrom(cache[page]);
    }
  }
};

std::any kept;  // a pointer to the last line's layers: memory does not hold those of all formats

template <class C, class B>
void Attend(benchmark::State& state, const Shape& shape, size_t tokens, size_t threads) {
  using Kept = std::shared_ptr<Layers<C, B>>;
  if (std::any_cast<Kept>(&kept) == nullptr) kept = std::make_shared<Layers<C, B>>();
  auto& layers = **std::any_cast<Kept>(&kept);
  layers.Make(shape, tokens);
  const B backend(PoolOf(threads));
  auto stream = backend.NewStream();
  typename B::template Rows<OperandOf<typename C::Query>> q;
  backend.template Quantize<typename C::Query>(stream, Rows(NormalValues(shape.heads * shape.head_dim, 3), shape.heads),
                                               q);
  typename B::Where where;
  backend.SetWhere(stream, Places(tokens - 1, 1), PagesInOrder(tokens).tables(), Rope(2, 10.0f), where);
  std::vector<float> y(shape.heads * shape.head_dim);
  const AttentionShape heads{shape.heads, shape.kv_heads, shape.head_dim};
  size_t next = 0;
  const auto run = [&] {
    backend.Attend(stream, q, where, layers.caches[next++ % layers.caches.size()], heads,
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

template <class C, class B>
void Store(benchmark::State& state, const Shape& shape, size_t tokens, size_t threads) {
  const B backend(PoolOf(threads));
  auto stream = backend.NewStream();
  const size_t n = tokens * shape.kv_heads * shape.head_dim;
  const std::vector<float> keys = NormalValues(n, 1), values = NormalValues(n, 2);
  typename B::Where where;
  backend.SetWhere(stream, Places(1, tokens), PagesInOrder(tokens + 1).tables(), Rope(2, 10.0f), where);
  auto cache = backend.template NewCache<C>(shape.kv_heads, shape.head_dim);
  backend.ResizeCache(cache, PagesFor(tokens + 1));
  const auto run = [&] { StoreInto<C>(backend, stream, keys, values, where, tokens, cache); };
  for (auto _ : state) {
    run();
    const double seconds = Median(TimeCalls(kSecondsALine, 3, run));
    state.SetIterationTime(seconds);
    state.counters["ns/value"] = seconds * 1e9 / static_cast<double>(2 * n);
  }
}

template <class C, class B>
void Register(const char* formats, const char* backend, const Shape& shape, size_t tokens, size_t threads) {
  const std::string name = std::string("BM_Attend/") + formats + "/" + backend + "/" + shape.name + "/" +
                           std::to_string(tokens) + "/t" + std::to_string(threads);
  benchmark::RegisterBenchmark(name.c_str(),
                               [=, &shape](benchmark::State& s) { Attend<C, B>(s, shape, tokens, threads); })
      ->Unit(benchmark::kMicrosecond)
      ->Iterations(1)
      ->UseManualTime();
}
template <class C>
void RegisterStore(const char* formats, const Shape& shape, size_t tokens) {
  const std::string name =
      std::string("BM_Store/") + formats + "/Simd/" + shape.name + "/" + std::to_string(tokens) + "/t1";
  benchmark::RegisterBenchmark(name.c_str(),
                               [=, &shape](benchmark::State& s) { Store<C, SimdBackend>(s, shape, tokens, 1); })
      ->Unit(benchmark::kMicrosecond)
      ->Iterations(1)
      ->UseManualTime();
}

// What is not A48's: a line each, to compare.
template <class C>
void RegisterOther(const char* formats) {
  for (const Shape& shape : kShapes) {
    Register<C, SimdBackend>(formats, "Simd", shape, 2048, 1);
    for (const size_t tokens : {1u, 256u}) RegisterStore<C>(formats, shape, tokens);
  }
}

const bool kRegistered = [] {
  for (const Shape& shape : kShapes) {
    for (const size_t tokens : {512u, 2048u, 8192u, 32768u}) {
      for (const size_t threads : ThreadCounts()) {
        Register<A48Case, SimdBackend>("MidRise<3>", "Simd", shape, tokens, threads);
      }
      if (tokens == 512) Register<A48Case, ReferenceBackend>("MidRise<3>", "Reference", shape, tokens, 1);
    }
    for (const size_t tokens : {1u, 256u}) RegisterStore<A48Case>("MidRise<3>", shape, tokens);
  }
  RegisterOther<Int8Case>("Int<8>");
  RegisterOther<FiveLevelsCase>("FiveLevels");
  RegisterOther<UInt4Case>("UInt<4>");
  RegisterOther<Fp4Case>("Fp4E2M1");
  RegisterOther<RealsCase>("Float");
  return true;
}();

}  // namespace
}  // namespace bitnet
