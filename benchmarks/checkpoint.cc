// What a public checkpoint costs: bitnet_checkpoint MODEL. Loading to the first token, the peak of anonymous memory
// beside what is prepared, prefill of 256 tokens and decode of one, with all threads and with one. For a file of the
// released 2B model's shape see synthetic_checkpoint.cc.
#include <bitnet/io.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "benchmarks/measure.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace bitnet {
namespace {

using Clock = std::chrono::steady_clock;
double Since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

size_t AnonymousBytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    size_t kib = 0;
    if (word == "RssAnon:" && status >> kib) return kib << 10;
  }
  return 0;
}

// The largest that AnonymousBytes() is while it lives, looked at every millisecond, above what it was.
class PeakOfMemory {
 public:
  PeakOfMemory() : before_(AnonymousBytes()), thread_([this] { Watch(); }) {}
  ~PeakOfMemory() { End(); }
  size_t End() {
    ended_ = true;
    if (thread_.joinable()) thread_.join();
    return peak_ - std::min<size_t>(peak_, before_);
  }

 private:
  void Watch() {
    while (!ended_) {
      peak_ = std::max(peak_, AnonymousBytes());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  size_t before_, peak_ = 0;
  std::atomic<bool> ended_ = false;
  std::thread thread_;
};

template <class T>
T Need(Result<T> result) {
  if (result.ok()) return *std::move(result);
  std::fprintf(stderr, "%s\n", result.error().c_str());
  std::exit(1);
}

void Measure(const char* path, size_t threads) {
  ThreadPool pool(threads);
  const SimdBackend backend(pool);
  // From the page cache, as whoever starts a program again has it: the second time counts.
  double load = std::numeric_limits<double>::infinity(), first_token = load;
  size_t peak = 0, prepared = 0;
  for (int i = 0; i < 3; ++i) {
#if defined(__GLIBC__)
    malloc_trim(0);  // what was freed is no memory of this time
#endif
    PeakOfMemory memory;
    const auto begin = Clock::now();
    const auto model = Need(LoadAnyModel(Need(Checkpoint::Open(path)), {}, backend));
    load = std::min(load, Since(begin));
    peak = std::max(peak, memory.End());
    auto state = model.NewState();
    const Token token = 0;
    Need(model.Feed({&token, 1}, state));
    first_token = std::min(first_token, Since(begin));
    const ModelBytes bytes = model.Bytes();
    prepared = bytes.projections + bytes.embedding + bytes.norms;
  }
  const auto model = Need(LoadAnyModel(Need(Checkpoint::Open(path)), {}, backend));
  auto state = model.NewState();
  std::vector<Token> prompt(256);
  for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<Token>(i * 7919 % model.config().vocab);
  const size_t length = std::min<size_t>(prompt.size(), model.config().max_positions / 2);
  std::vector<double> prefill, decode;
  for (int i = 0; i < 5; ++i) {
    state.Truncate(0);
    const auto begin = Clock::now();
    Need(model.Feed(std::span(prompt).first(length), state));
    prefill.push_back(Since(begin));
  }
  for (size_t i = 0; i < 40; ++i) {
    const auto begin = Clock::now();
    Need(model.Forward({&prompt[i % length], 1}, state));
    decode.push_back(Since(begin));
  }
  std::printf("| %zu | %.2f | %.2f | %.0f | %.2f | %.0f | %.1f |\n", threads, load, first_token,
              1e-6 * static_cast<double>(prepared), static_cast<double>(peak) / static_cast<double>(prepared),
              static_cast<double>(length) / Median(prefill), 1.0 / Median(decode));
}

}  // namespace
}  // namespace bitnet

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "bitnet_checkpoint MODEL\n");
    return 64;
  }
  std::printf(
      "| threads | loaded: s | first token: s | prepared: MB | peak of anonymous memory over prepared | prefill: "
      "tokens/s | decode: tokens/s |\n|---|---|---|---|---|---|---|\n");
  for (const size_t threads : bitnet::ThreadCounts()) bitnet::Measure(argv[1], threads);
}
