// Executors at the end of a process. In a program of its own, which has no DefaultExecutor: each child makes its own.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "bitnet/base/executor.h"
#include "testing/child.h"

#if defined(BITNET_HAS_FORK)
namespace bitnet {
namespace {

using testing::EndOfChild;

bool RunsAll(Executor& executor, int tasks) {
  std::atomic<int> ran{0};
  executor.Run(static_cast<size_t>(tasks), [&](size_t) { ran.fetch_add(1); });
  return ran.load() == tasks;
}

TEST_CASE("DefaultExecutor: what is destroyed after it still uses it, by its thread alone") {
  CHECK(EndOfChild([]() -> int {
          // Called last, since it was there first.
          std::atexit([] { _exit(DefaultExecutor().Threads() == 1 && RunsAll(DefaultExecutor(), 100) ? 5 : 6); });
          if (!RunsAll(DefaultExecutor(), 100)) return 7;
          std::exit(8);
        }) == 5);
}

TEST_CASE("DefaultExecutor: a thread that is in the middle of calls at exit harms nobody") {
  for (int repetition = 0; repetition < 20; ++repetition) {
    const int end = EndOfChild([&]() -> int {
      std::thread([] {
        while (RunsAll(DefaultExecutor(), 100)) {
        }
        _exit(6);
      }).detach();
      if (!RunsAll(DefaultExecutor(), 100)) return 7;
      std::this_thread::sleep_for(std::chrono::microseconds(100 * repetition));
      std::exit(5);
    });
    CHECK(end == 5);
  }
}

// A call in which a thread of the pool (the caller, or the first of the workers) ends the program.
int ExitInside(Executor& executor, bool by_caller) {
  if (executor.Threads() == 1) by_caller = true;
  const std::thread::id caller = std::this_thread::get_id();
  executor.Run(64, [&](size_t) {
    const bool is_caller = std::this_thread::get_id() == caller;
    if (is_caller == by_caller) std::exit(5);
    while (is_caller) std::this_thread::yield();  // a worker will come
  });
  return 6;
}

TEST_CASE("Executor: a task may end the program, whoever runs it") {
  for (const bool by_caller : {false, true}) {
    CAPTURE(by_caller);
    CHECK(EndOfChild([&] { return ExitInside(DefaultExecutor(), by_caller); }) == 5);
    CHECK(EndOfChild([&] {
            static ThreadPool pool(4);
            return ExitInside(pool, by_caller);
          }) == 5);
  }
}

TEST_CASE("DefaultExecutor: a forked child whose parent has used it uses it, and ends") {
  CHECK(EndOfChild([]() -> int {
          if (!RunsAll(DefaultExecutor(), 100)) return 7;
          if (EndOfChild([]() -> int {
                if (DefaultExecutor().Threads() != 1 || !RunsAll(DefaultExecutor(), 100)) return 7;
                std::exit(5);
              }) != 5) {
            return 8;
          }
          if (DefaultExecutor().Threads() != UsableCpus() || !RunsAll(DefaultExecutor(), 100)) return 9;
          std::exit(5);
        }) == 5);
}

}  // namespace
}  // namespace bitnet
#endif
