// What it costs to run two tasks on a pool of two threads:
//   BM_Dispatch/t2            empty tasks, one call after the other
//   BM_Rendezvous/t2          each task waits until the other has begun: both threads must be there
//   BM_RendezvousAfter/<N>us/t2   ... after N microseconds in which the caller did something else
// Counters: the median and the 90th percentile of a call, in microseconds; the clock's own cost (about 0.03) is in
// them.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <string>
#include <thread>
#include <vector>

#include "bitnet/base/executor.h"

namespace bitnet {
namespace {

using Clock = std::chrono::steady_clock;

double MicrosecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

template <class F>
void EachCall(benchmark::State& state, double gap_us, F&& call) {
  std::vector<double> times;
  times.reserve(1 << 20);
  for (auto _ : state) {
    if (gap_us > 0) {
      for (const auto start = Clock::now(); MicrosecondsSince(start) < gap_us;) {
      }
    }
    const auto start = Clock::now();
    call();
    const double us = MicrosecondsSince(start);
    state.SetIterationTime(us * 1e-6);
    times.push_back(us);
  }
  std::sort(times.begin(), times.end());
  state.counters["median_us"] = times[times.size() / 2];
  state.counters["p90_us"] = times[times.size() * 9 / 10];
}

void Rendezvous(ThreadPool& pool) {
  std::atomic<int> arrived{0};
  pool.Run(2, [&](size_t) {
    arrived.fetch_add(1);
    // Yields at last, for machines where the other thread has no core.
    for (int looks = 0; arrived.load() < 2; ++looks) {
      if (looks > 10000) std::this_thread::yield();
    }
  });
}

void BM_Dispatch(benchmark::State& state) {
  ThreadPool pool(2);
  EachCall(state, 0, [&] { pool.Run(2, [](size_t) {}); });
}
BENCHMARK(BM_Dispatch)->Name("BM_Dispatch/t2")->UseManualTime()->Iterations(100000)->Unit(benchmark::kMicrosecond);

const bool kRegistered = [] {
  for (const int gap_us : {0, 5, 50, 100, 1000}) {
    const std::string name =
        gap_us == 0 ? "BM_Rendezvous/t2" : "BM_RendezvousAfter/" + std::to_string(gap_us) + "us/t2";
    benchmark::RegisterBenchmark(name.c_str(),
                                 [gap_us](benchmark::State& state) {
                                   ThreadPool pool(2);
                                   EachCall(state, gap_us, [&] { Rendezvous(pool); });
                                 })
        ->UseManualTime()
        ->Iterations(gap_us == 0     ? 20000
                     : gap_us < 1000 ? 3000
                                     : 300)
        ->Unit(benchmark::kMicrosecond);
  }
  return true;
}();

}  // namespace
}  // namespace bitnet
