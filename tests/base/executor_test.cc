#include "bitnet/base/executor.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#if defined(__unix__)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "testing/expect_assertion.h"

namespace bitnet {
namespace {

// Whether every index in [0, tasks) is run exactly once, by `executor`.
bool RunsEachOnce(Executor& executor, size_t tasks) {
  std::vector<std::atomic<int>> runs(tasks);
  executor.Run(tasks, [&](size_t i) { runs[i].fetch_add(1, std::memory_order_relaxed); });
  for (const auto& count : runs) {
    if (count.load() != 1) return false;
  }
  return true;
}

TEST_CASE("Executor: every index runs exactly once") {
  SequentialExecutor sequential;
  CHECK(sequential.Threads() == 1);
  for (const size_t tasks : {0u, 1u, 2u, 7u, 1000u}) CHECK(RunsEachOnce(sequential, tasks));
  for (const size_t threads : {1u, 2u, 3u, 8u}) {
    ThreadPool pool(threads);
    CHECK(pool.Threads() == threads);
    for (const size_t tasks : {0u, 1u, 2u, 3u, 7u, 8u, 9u, 1000u}) CHECK(RunsEachOnce(pool, tasks));
  }
}

TEST_CASE("Executor: zero tasks call nothing") {
  ThreadPool pool(2);
  bool called = false;
  pool.Run(0, [&](size_t) { called = true; });
  CHECK_FALSE(called);
}

TEST_CASE("Executor: Run returns only when all is done, and its writes are seen") {
  ThreadPool pool(4);
  for (int repetition = 0; repetition < 2000; ++repetition) {
    size_t written[6] = {};  // not atomic: Run must order them
    pool.Run(6, [&](size_t i) { written[i] = i + 1; });
    size_t sum = 0;
    for (const size_t w : written) sum += w;
    if (sum != 21) FAIL_CHECK("a task was missing in repetition " << repetition);
  }
}

TEST_CASE("Executor: workers that went to sleep wake up again") {
  ThreadPool pool(3);
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CHECK(RunsEachOnce(pool, 50));
  }
}

TEST_CASE("Executor: tasks run at the same time") {
  ThreadPool pool(2);
  std::atomic<int> arrived{0};
  // Each task waits for the other: one thread alone would never finish.
  pool.Run(2, [&](size_t) {
    arrived.fetch_add(1);
    while (arrived.load() < 2) std::this_thread::yield();
  });
  CHECK(arrived.load() == 2);
}

TEST_CASE("ThreadPool: workers come whether they look, yield or sleep") {
  ThreadPool pool(2);
  for (int i = 0; i < 60; ++i) {
    // Around the time after which they sleep, too.
    std::this_thread::sleep_for(std::chrono::microseconds(i % 20 * 25));
    std::atomic<int> arrived{0};
    pool.Run(2, [&](size_t) {
      arrived.fetch_add(1);
      while (arrived.load() < 2) std::this_thread::yield();
    });
    if (arrived.load() != 2) FAIL_CHECK("a task was missing in round " << i);
  }
}

TEST_CASE("ThreadPool: the caller does the first task, whoever does the others") {
  ThreadPool pool(3);
  std::atomic<int> elsewhere{0};
  for (int repetition = 0; repetition < 500; ++repetition) {
    const std::thread::id caller = std::this_thread::get_id();
    pool.Run(3, [&](size_t i) {
      if (i == 0 && std::this_thread::get_id() != caller) elsewhere.fetch_add(1);
    });
  }
  CHECK(elsewhere.load() == 0);
}

TEST_CASE("ThreadPool: has one thread for calls from inside a task") {
  ThreadPool pool(3);
  std::atomic<size_t> threads{0};
  pool.Run(4, [&](size_t) { threads.fetch_add(pool.Threads()); });
  CHECK(threads.load() == 4);
  CHECK(pool.Threads() == 3);
}

TEST_CASE("Executor: calls from inside a task run all their tasks, at any depth") {
  ThreadPool pool(3);
  std::atomic<int> leaves{0};
  pool.Run(5, [&](size_t) { pool.Run(4, [&](size_t) { pool.Run(3, [&](size_t) { leaves.fetch_add(1); }); }); });
  CHECK(leaves.load() == 60);
  // From inside a task of another pool too.
  ThreadPool other(2);
  leaves = 0;
  std::atomic<bool> elsewhere{false};
  pool.Run(5, [&](size_t) {
    const std::thread::id caller = std::this_thread::get_id();
    other.Run(4, [&](size_t) {
      leaves.fetch_add(1);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));  // time for another thread to take a task
      if (std::this_thread::get_id() != caller) elsewhere = true;
    });
  });
  CHECK(leaves.load() == 20);
  CHECK_FALSE(elsewhere.load());  // its caller did it alone: there are threads enough
}

TEST_CASE("Executor: a call from inside a task is done by the thread of that task") {
  ThreadPool pool(3);
  std::atomic<int> elsewhere{0};
  pool.Run(64, [&](size_t) {
    const std::thread::id mine = std::this_thread::get_id();
    pool.Run(8, [&](size_t) {
      if (std::this_thread::get_id() != mine) elsewhere.fetch_add(1);
    });
  });
  CHECK(elsewhere.load() == 0);
}

TEST_CASE("Executor: several threads may call at once") {
  ThreadPool pool(3);
  std::atomic<int> total{0};
  std::atomic<bool> wrong{false};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int repetition = 0; repetition < 200; ++repetition) {
        std::atomic<int> mine{0};
        pool.Run(10, [&](size_t i) { mine.fetch_add(static_cast<int>(i)); });
        if (mine.load() != 45) wrong = true;
        total.fetch_add(1);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK_FALSE(wrong.load());
  CHECK(total.load() == 800);
}

TEST_CASE("Executor: a pool that never ran, and one just used, end") {
  for (int i = 0; i < 20; ++i) {
    { ThreadPool never(4); }
    ThreadPool used(4);
    CHECK(RunsEachOnce(used, 9));
  }
}

TEST_CASE("Executor: a pool needs a thread") {
  CHECK(testing::Breaks("at least one thread", [] { ThreadPool none(0); }));
}

#if defined(__unix__)
TEST_CASE("ThreadPool: a task that throws ends the program, in whichever thread it ran") {
  for (const size_t tasks : {2u, 64u}) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      std::set_terminate([] { _exit(42); });
      try {
        ThreadPool pool(2);
        pool.Run(tasks, [](size_t) { throw 1; });
      } catch (...) {
      }
      _exit(1);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 42);
  }
}
#endif

TEST_CASE("TaskRef: copies nothing and calls the very object") {
  int calls = 0;
  auto count = [&calls, big = std::make_unique<int>(1)](size_t i) { calls += static_cast<int>(i) * *big; };
  const TaskRef reference = count;
  const TaskRef copy = reference;
  reference(2);
  copy(3);
  CHECK(calls == 5);
  const auto constant = [&](size_t) { ++calls; };
  TaskRef{constant}(0);
  CHECK(calls == 6);
}

TEST_CASE("DefaultExecutor: one pool for the program") {
  CHECK(&DefaultExecutor() == &DefaultExecutor());
  CHECK(DefaultExecutor().Threads() >= 1);
  CHECK(RunsEachOnce(DefaultExecutor(), 100));
}

// Claims any number of threads; runs in order, so that ranges are seen in order.
class Claims final : public Executor {
 public:
  explicit Claims(size_t threads) : threads_(threads) {}
  size_t Threads() const override { return threads_; }
  void Run(size_t tasks, TaskRef task) override {
    for (size_t i = 0; i < tasks; ++i) task(i);
  }

 private:
  size_t threads_;
};

TEST_CASE("ParallelRanges: disjoint ranges cover all, on bounds that are multiples, no more than threads") {
  for (const size_t threads : {1u, 2u, 3u, 16u}) {
    Claims executor(threads);
    for (const size_t multiple : {1u, 8u, 64u}) {
      for (const size_t grain : {0u, 1u, 10u, 1000u}) {
        for (size_t n = 0; n <= 200; n += n < 70 ? 1 : 13) {
          CAPTURE(threads);
          CAPTURE(multiple);
          CAPTURE(grain);
          CAPTURE(n);
          size_t at = 0;
          size_t ranges = 0;
          bool well = true;
          ParallelRanges(executor, n, grain, multiple, [&](size_t begin, size_t end) {
            well = well && begin == at && begin < end && begin % multiple == 0 && (end == n || end % multiple == 0);
            well = well && (multiple != 1 || end - begin >= std::min(grain, n));
            at = end;
            ++ranges;
          });
          well = well && ranges == RangeCount(executor, n, grain, multiple);
          if (!well || at != n || ranges > threads || (n >= 1000 * threads && ranges != threads)) {
            FAIL_CHECK("ranges are wrong");
          }
        }
      }
    }
  }
}

TEST_CASE("ParallelRanges: tells the number of a range") {
  Claims executor(4);
  std::vector<size_t> numbers;
  ParallelRanges(executor, 100, 10, 8, [&](size_t, size_t, size_t number) { numbers.push_back(number); });
  CHECK(numbers == std::vector<size_t>{0, 1, 2, 3});
}

TEST_CASE("ParallelRanges: uses all threads where there is work") {
  Claims executor(4);
  size_t ranges = 0;
  ParallelRanges(executor, 400, 100, 8, [&](size_t, size_t) { ++ranges; });
  CHECK(ranges == 4);
  ranges = 0;
  ParallelRanges(executor, 399, 100, 8, [&](size_t, size_t) { ++ranges; });
  CHECK(ranges == 3);
}

}  // namespace
}  // namespace bitnet
