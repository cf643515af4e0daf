// What measurements need: the machine in words, its read bandwidth and the peak of its int8 dot product (both to be
// quoted beside every kernel, from the same run), the time of a call, and copies of a matrix that no cache holds.
//
// Environment: BITNET_BENCH_CACHE_MIB, how many MiB of copies a measurement reads in turn (0: one copy, in cache).
#ifndef BITNET_BENCHMARKS_MEASURE_H_
#define BITNET_BENCHMARKS_MEASURE_H_

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bitnet/backend/simd/targets.h"
#include "bitnet/base/cpus.h"
#include "bitnet/base/executor.h"
#include "bitnet/tensor/aligned_vector.h"
#include "hwy/highway.h"

#if defined(__unix__)
#include <unistd.h>
#endif

namespace bitnet {

// ---- The machine.

// Bytes of the CPU's data cache of a level; 0 if unknown.
inline size_t CacheBytes(int level) {
  for (int index = 0; index < 8; ++index) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    int its_level = 0;
    std::string type;
    size_t kib = 0;
    std::ifstream(folder + "level") >> its_level;
    std::ifstream(folder + "type") >> type;
    std::ifstream(folder + "size") >> kib;
    if (its_level == level && type != "Instruction") return kib << 10;
  }
  return 0;
}

inline size_t MemoryBytes() {
#if defined(_SC_PHYS_PAGES)
  return static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGE_SIZE));
#else
  return size_t{8} << 30;
#endif
}

inline size_t AllThreads() { return UsableCpus(); }
inline std::vector<size_t> ThreadCounts() {
  return AllThreads() == 1 ? std::vector<size_t>{1} : std::vector<size_t>{1, AllThreads()};
}

// One pool for each number of threads, kept.
inline Executor& PoolOf(size_t threads) {
  static std::map<size_t, std::unique_ptr<ThreadPool>> pools;
  std::unique_ptr<ThreadPool>& pool = pools[threads];
  if (pool == nullptr) pool = std::make_unique<ThreadPool>(threads);
  return *pool;
}

inline std::string CpuModel() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown CPU";
}

inline std::string CompilerName() {
#if defined(__clang__)
  return "clang " + std::to_string(__clang_major__) + "." + std::to_string(__clang_minor__);
#elif defined(__GNUC__)
  return "g++ " + std::to_string(__GNUC__) + "." + std::to_string(__GNUC_MINOR__);
#else
  return "unknown compiler";
#endif
}

inline std::string MachineDescription() {
  const auto mib = [](size_t bytes) { return std::to_string(bytes >> 20) + " MiB"; };
  return CpuModel() + ", " + std::to_string(AllThreads()) + " threads, target " + hwy::TargetName(HWY_TARGET) +
         ", L2 " + mib(CacheBytes(2)) + ", L3 " + mib(CacheBytes(3)) + ", memory " + mib(MemoryBytes()) + ", " +
         CompilerName();
}

// ---- Time.

// Seconds of each of at least `min_calls` calls of f, for about `seconds` in all.
template <class F>
std::vector<double> TimeCalls(double seconds, size_t min_calls, F&& f) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> times;
  times.reserve(1024);
  const auto begin = Clock::now();
  for (auto end = begin; times.size() < min_calls || end - begin < std::chrono::duration<double>(seconds);) {
    const auto start = Clock::now();
    f();
    end = Clock::now();
    times.push_back(std::chrono::duration<double>(end - start).count());
  }
  return times;
}

inline double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// ---- Memory that no cache holds.

// Bytes that a measurement reads before it reads the same again: 8 times the last cache, at most an eighth of the
// memory.
inline size_t RotatedBytes() {
  static const size_t bytes = [] {
    const char* mib = std::getenv("BITNET_BENCH_CACHE_MIB");
    if (mib != nullptr) return static_cast<size_t>(std::atoll(mib)) << 20;
    const size_t last = std::max({CacheBytes(2), CacheBytes(3), CacheBytes(4), size_t{8} << 20});
    return std::min(8 * last, MemoryBytes() / 8);
  }();
  return bytes;
}

// As many copies of a matrix as exceed RotatedBytes; Next() is the one that was read longest ago.
template <class M>
class RotatedCopies {
 public:
  explicit RotatedCopies(M matrix, size_t bytes = RotatedBytes()) {
    const size_t count = bytes / std::max<size_t>(1, matrix.StoredBytes()) + 1;
    copies_.reserve(count);
    copies_.push_back(std::move(matrix));
    while (copies_.size() < count) copies_.push_back(copies_.front());
  }
  const M& Next() { return copies_[next_++ % copies_.size()]; }
  const M& First() const { return copies_.front(); }

 private:
  std::vector<M> copies_;
  size_t next_ = 0;
};

}  // namespace bitnet

// ---- Limits of the machine.

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// How to read memory: one thread reads some places in turn, so that more lines are under way at once, and asks for
// lines in advance. Which of it is best depends on the CPU, so the measurement tries it.
struct ReadMethod {
  size_t streams = 1;
  size_t prefetch = 0;  // bytes in advance
  size_t step = 256;    // bytes from one place before the next
};

// Reads memory[0, bytes), but for some KiB at most, and returns some function of it.
template <size_t kStreams, size_t kStep>
HWY_NOINLINE uint64_t ReadStreams(const uint8_t* memory, size_t bytes, size_t prefetch) {
  const hn::ScalableTag<uint64_t> d;
  constexpr size_t kVector = hn::MaxLanes(d) * sizeof(uint64_t);
  auto sum = hn::Zero(d);
  // Not a multiple of a page: else all places would fall into the same sets of the caches.
  const size_t length = bytes / kStreams / 4096 * 4096 - 11 * 256;
  for (size_t at = 0; at < length; at += kStep) {
    for (size_t s = 0; s < kStreams; ++s) {
      const uint8_t* from = memory + s * length + at;
      if (prefetch != 0) {
        for (size_t i = 0; i < kStep; i += 64) __builtin_prefetch(from + prefetch + i, 0, 3);
      }
      for (size_t i = 0; i < kStep; i += kVector) {
        sum = hn::Xor(sum, hn::LoadU(d, reinterpret_cast<const uint64_t*>(from + i)));
      }
    }
  }
  return hn::ReduceSum(d, sum);
}

inline uint64_t ReadBy(const ReadMethod& method, const uint8_t* memory, size_t bytes) {
  const auto read = [&](auto by_lines, auto by_blocks) {
    return (method.step == 64 ? by_lines : by_blocks)(memory, bytes, method.prefetch);
  };
  if (method.streams == 1) return read(&ReadStreams<1, 64>, &ReadStreams<1, 256>);
  if (method.streams == 4) return read(&ReadStreams<4, 64>, &ReadStreams<4, 256>);
  if (method.streams == 8) return read(&ReadStreams<8, 64>, &ReadStreams<8, 256>);
  return read(&ReadStreams<16, 64>, &ReadStreams<16, 256>);
}

struct Bandwidth {
  double bytes_per_second = 0.0;
  ReadMethod method;
};

// Bytes per second of some threads that read memory beyond the caches; median of passes.
inline double ReadRate(size_t threads, const ReadMethod& method, size_t passes) {
  static const AlignedVector<uint8_t> memory(std::max(RotatedBytes(), size_t{64} << 20), 1);
  std::vector<uint64_t> sums(threads * 16);
  const auto times = TimeCalls(0.0, passes, [&] {
    ParallelRanges(PoolOf(threads), memory.size(), 1, 4096, [&](size_t begin, size_t end) {
      sums[begin * threads / memory.size() * 16] += ReadBy(method, memory.data() + begin, end - begin);
    });
  });
  return static_cast<double>(memory.size()) / Median(times);
}

// The best that some threads read, over all methods. Found once.
inline const Bandwidth& ReadBandwidth(size_t threads) {
  static std::map<size_t, Bandwidth> found;
  if (const auto it = found.find(threads); it != found.end()) return it->second;
  Bandwidth best;
  for (const size_t streams : {1u, 4u, 8u, 16u}) {
    for (const size_t prefetch : {0u, 1024u, 4096u}) {
      for (const size_t step : {64u, 256u}) {
        const ReadMethod method{streams, prefetch, step};
        const double rate = ReadRate(threads, method, 3);
        if (rate > best.bytes_per_second) best = {rate, method};
      }
    }
  }
  best.bytes_per_second = std::max(best.bytes_per_second, ReadRate(threads, best.method, 7));
  return found[threads] = best;
}

// The same now, by the best method: on a machine that is shared with others it changes from second to second.
inline double ReadRateNow(size_t threads) { return ReadRate(threads, ReadBandwidth(threads).method, 3); }

// Multiply-adds of `rounds` rounds of independent unsigned times signed int8 dot products that stay in registers.
HWY_NOINLINE inline double DotRounds(size_t rounds, int32_t* out) {
  const hn::ScalableTag<int32_t> d32;
  const hn::Repartition<uint8_t, decltype(d32)> du8;
  const hn::Repartition<int8_t, decltype(d32)> d8;
  auto u = hn::Set(du8, static_cast<uint8_t>(out[0] & 1));
  auto s = hn::Set(d8, static_cast<int8_t>(out[0] & 1));
  // Latency times throughput is about 10 on CPUs with VNNI; targets with 16 registers have room for fewer.
#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM
#define BITNET_EACH_SUM(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15)
  constexpr size_t kSums = 16;
#else
#define BITNET_EACH_SUM(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7)
  constexpr size_t kSums = 8;
#endif
// Equal sums would be computed once.
#define BITNET_DECLARE(i) auto sum##i = hn::Set(d32, out[0] + i);
#if HWY_ARCH_X86 && HWY_TARGET != HWY_EMU128
// A product of operands that do not change would be moved out of the loop; and g++ would copy every sum in each round.
#define BITNET_KEEP(v) __asm__ volatile("" : "+v"(v.raw));
#else
#define BITNET_KEEP(v)
#endif
#define BITNET_DOT(i)                                     \
  sum##i = hn::SumOfMulQuadAccumulate(d32, u, s, sum##i); \
  BITNET_KEEP(sum##i)
#define BITNET_FOLD(i) total = hn::Add(total, sum##i);
  BITNET_EACH_SUM(BITNET_DECLARE)
  for (size_t round = 0; round < rounds; ++round) {
    BITNET_KEEP(u)
    BITNET_KEEP(s)
    BITNET_EACH_SUM(BITNET_DOT)
  }
  auto total = hn::Zero(d32);
  BITNET_EACH_SUM(BITNET_FOLD)
#undef BITNET_FOLD
#undef BITNET_DOT
#undef BITNET_KEEP
#undef BITNET_DECLARE
#undef BITNET_EACH_SUM
  out[0] = hn::ReduceSum(d32, total);
  return static_cast<double>(rounds * kSums * hn::Lanes(d8));
}

// Multiply-adds per second of the int8 dot product in registers, best of some tries: no kernel that multiplies int8 by
// vectors does more.
inline double DotPeakNow(size_t threads, double seconds = 0.03) {
  std::vector<int32_t> out(threads * 32);
  double products = 0.0;
  const auto times = TimeCalls(seconds, 3, [&] {
    PoolOf(threads).Run(threads, [&](size_t i) {
      const double mine = DotRounds(100000, &out[i * 32]);
      if (i == 0) products = mine;
    });
  });
  return products * static_cast<double>(threads) / *std::min_element(times.begin(), times.end());
}
// The same, found once.
inline double DotPeak(size_t threads) {
  static std::map<size_t, double> found;
  double& peak = found[threads];
  if (peak == 0.0) peak = DotPeakNow(threads, 0.2);
  return peak;
}

}  // namespace HWY_NAMESPACE

using HWY_NAMESPACE::Bandwidth;
using HWY_NAMESPACE::DotPeak;
using HWY_NAMESPACE::DotPeakNow;
using HWY_NAMESPACE::ReadBandwidth;
using HWY_NAMESPACE::ReadRateNow;

}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BENCHMARKS_MEASURE_H_
