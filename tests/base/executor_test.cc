#include "bitnet/base/executor.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "testing/child.h"
#include "testing/expect_assertion.h"
#include "testing/sanitizers.h"

#if defined(BITNET_HAS_FORK)
#include <sys/resource.h>
#endif

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

// What comes out of a call whose task number `thrower` throws its number; SIZE_MAX where nothing does.
size_t ThrownBy(Executor& executor, size_t tasks, size_t thrower) {
  try {
    executor.Run(tasks, [&](size_t i) {
      if (i == thrower) throw i;
    });
  } catch (const size_t thrown) {
    return thrown;
  }
  return SIZE_MAX;
}

TEST_CASE("Executor: what a task throws comes out of Run, whichever task it was, and the next call is as ever") {
  SequentialExecutor sequential;
  ThreadPool one(1);
  ThreadPool two(2);
  ThreadPool four(4);
  for (Executor* executor : {static_cast<Executor*>(&sequential), static_cast<Executor*>(&one),
                             static_cast<Executor*>(&two), static_cast<Executor*>(&four)}) {
    for (const size_t tasks : {1u, 2u, 3u, 64u}) {
      for (size_t thrower = 0; thrower < tasks; ++thrower) {
        if (ThrownBy(*executor, tasks, thrower) != thrower) FAIL_CHECK(thrower << " of " << tasks << " got lost");
        if (!RunsEachOnce(*executor, tasks)) FAIL_CHECK("after " << thrower << " of " << tasks);
      }
    }
    CHECK(executor->Threads() == (executor == &four ? 4 : executor == &two ? 2 : 1));
  }
}

TEST_CASE("ThreadPool: when all threads throw, one exception comes out and the rest of the tasks is left out") {
  ThreadPool pool(2);
  for (int repetition = 0; repetition < 200; ++repetition) {
    std::atomic<int> arrived{0};
    std::atomic<int> ran{0};
    bool thrown = false;
    try {
      pool.Run(1000, [&](size_t i) {
        ran.fetch_add(1);
        if (i > 1) return;
        // Both throw: each waits until the other has begun.
        arrived.fetch_add(1);
        while (arrived.load() < 2) std::this_thread::yield();
        throw i;
      });
    } catch (const size_t i) {
      thrown = i <= 1;
    }
    if (!thrown) FAIL_CHECK("nothing was thrown in repetition " << repetition);
    if (ran.load() != 2) FAIL_CHECK(ran.load() << " tasks ran");
    if (!RunsEachOnce(pool, 9)) FAIL_CHECK("a task was missing after repetition " << repetition);
  }
}

TEST_CASE("ThreadPool: an exception comes out only when no task is running, and the rest is left out") {
  ThreadPool pool(2);
  for (int repetition = 0; repetition < 50; ++repetition) {
    std::atomic<bool> has_begun{false};
    std::atomic<bool> has_thrown{false};
    std::atomic<int> running{0};
    std::atomic<int> ran{0};
    size_t written = 0;  // not atomic: the exception must order it
    CHECK_THROWS_AS(
        pool.Run(1000,
                 [&](size_t i) {
                   running.fetch_add(1);
                   ran.fetch_add(1);
                   if (i == 0) {
                     while (!has_begun.load()) std::this_thread::yield();
                     running.fetch_sub(1);
                     has_thrown = true;
                     throw 0;
                   }
                   has_begun = true;
                   while (!has_thrown.load()) std::this_thread::yield();
                   std::this_thread::sleep_for(std::chrono::milliseconds(1));  // mostly the rest is closed then
                   ++written;
                   running.fetch_sub(1);
                 }),
        int);
    CHECK(running.load() == 0);
    CHECK(written == static_cast<size_t>(ran.load()) - 1);
    CHECK(ran.load() < 1000);
  }
}

TEST_CASE("Executor: what a task of a nested call throws comes out of both calls") {
  ThreadPool pool(3);
  for (size_t thrower = 0; thrower < 5; ++thrower) {
    std::atomic<int> inner_calls{0};
    size_t thrown = SIZE_MAX;
    try {
      pool.Run(5, [&](size_t i) {
        inner_calls.fetch_add(1);
        if (i == thrower) pool.Run(4, [&](size_t j) { throw 10 * i + j; });
      });
    } catch (const size_t what) {
      thrown = what;
    }
    CHECK(thrown == 10 * thrower);
    CHECK(inner_calls.load() >= 1);
    CHECK(pool.Threads() == 3);
    CHECK(RunsEachOnce(pool, 9));
  }
  // What a task catches itself stays there.
  std::atomic<int> caught{0};
  pool.Run(5, [&](size_t i) {
    if (ThrownBy(pool, 4, 2) == 2 && i < 5) caught.fetch_add(1);
  });
  CHECK(caught.load() == 5);
}

TEST_CASE("Executor: several threads may call at once, each with exceptions of its own") {
  ThreadPool pool(3);
  std::atomic<bool> wrong{false};
  std::vector<std::thread> callers;
  for (size_t c = 0; c < 4; ++c) {
    callers.emplace_back([&, c] {
      for (size_t repetition = 0; repetition < 200; ++repetition) {
        if (ThrownBy(pool, 10, (c + repetition) % 10) != (c + repetition) % 10) wrong = true;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK_FALSE(wrong.load());
}

TEST_CASE("Executor: an assertion inside a task reaches a handler that throws") {
  ThreadPool pool(3);
  for (const size_t breaker : {0u, 1u, 49u}) {
    CHECK(testing::Breaks("every task is another one", [&] {
      pool.Run(50, [&](size_t i) { BITNET_ASSERT(i != breaker, "every task is another one"); });
    }));
  }
}

#if defined(BITNET_HAS_FORK)
using testing::EndOfChild;

// Whether a pool has `threads` threads that run at the same time.
bool HasThreads(ThreadPool& pool, size_t threads) {
  if (pool.Threads() != threads) return false;
  std::atomic<size_t> arrived{0};
  pool.Run(threads, [&](size_t) {
    arrived.fetch_add(1);
    while (arrived.load() < threads) std::this_thread::yield();
  });
  return arrived.load() == threads;
}

// Whether a pool has the calling thread only, and that does all.
bool WorksByCallerAlone(ThreadPool& pool) {
  const std::thread::id caller = std::this_thread::get_id();
  bool elsewhere = false;
  pool.Run(100, [&](size_t) { elsewhere = elsewhere || std::this_thread::get_id() != caller; });
  return pool.Threads() == 1 && !elsewhere && RunsEachOnce(pool, 100);
}

TEST_CASE("ThreadPool: in a forked child works by its caller alone and is destroyed; one made there has workers") {
  for (const size_t threads : {1u, 2u, 4u, 8u, 24u}) {
    for (const bool used : {false, true}) {
      for (const bool asleep : {false, true}) {
        CAPTURE(threads);
        CAPTURE(used);
        CAPTURE(asleep);
        auto pool = std::make_unique<ThreadPool>(threads);
        if (used) CHECK(RunsEachOnce(*pool, 100));
        // (Threads that begin while the process is forked may hold a lock of the address sanitizer, which nobody
        // releases in the child.)
        if (asleep || BITNET_ADDRESS_SANITIZER) std::this_thread::sleep_for(std::chrono::milliseconds(2));
        CHECK(EndOfChild([&] {
                if (!WorksByCallerAlone(*pool)) return 1;
                ThreadPool own(3);
                if (!HasThreads(own, 3) || !RunsEachOnce(own, 100)) return 2;
                // And once more.
                const int grandchild = EndOfChild([&] {
                  if (!WorksByCallerAlone(*pool) || !WorksByCallerAlone(own)) return 1;
                  pool.reset();
                  ThreadPool third(3);
                  return HasThreads(third, 3) ? 0 : 2;
                });
                if (grandchild != 0) return 10 + grandchild;
                pool.reset();
                return HasThreads(own, 3) ? 0 : 3;
              }) == 0);
        CHECK(HasThreads(*pool, threads));  // the parent has lost nothing
        CHECK(RunsEachOnce(*pool, 100));
      }
    }
  }
}

TEST_CASE("ThreadPool: a forked child ends by exit() although a static pool has workers in its parent") {
  static ThreadPool unused(8);
  static ThreadPool used(8);
  CHECK(RunsEachOnce(used, 100));
  CHECK(EndOfChild([]() -> int { std::exit(5); }) == 5);
  CHECK(EndOfChild([]() -> int {
          if (!WorksByCallerAlone(used) || !WorksByCallerAlone(unused)) return 6;
          std::exit(5);
        }) == 5);
}

TEST_CASE("ThreadPool: a child forked while another thread is in the middle of a call uses and destroys the pool") {
  for (int repetition = 0; repetition < 10; ++repetition) {
    auto pool = std::make_unique<ThreadPool>(4);
    std::atomic<bool> has_begun{false};
    std::atomic<bool> has_ended{false};
    std::thread caller([&] {
      pool->Run(8, [&](size_t) {
        has_begun = true;
        while (!has_ended.load()) std::this_thread::yield();
      });
    });
    while (!has_begun.load()) std::this_thread::yield();
    CHECK(EndOfChild([&] {
            if (!WorksByCallerAlone(*pool)) return 1;
            pool.reset();
            return 0;
          }) == 0);
    has_ended = true;
    caller.join();
    CHECK(RunsEachOnce(*pool, 100));
  }
}

TEST_CASE("ThreadPool: a child forked inside a task may do everything but return from the task") {
  ThreadPool pool(2);
  const std::thread::id caller = std::this_thread::get_id();
  for (const bool by_caller : {true, false}) {
    CAPTURE(by_caller);
    std::atomic<bool> forked{false};
    int end_inside = 0;
    int end_returned = 0;
    pool.Run(2, [&](size_t) {
      if ((std::this_thread::get_id() == caller) != by_caller) {
        while (!forked.load()) std::this_thread::yield();
        return;
      }
      end_inside = EndOfChild([&] { return WorksByCallerAlone(pool) ? 5 : 6; });
      // The one that returns.
      const pid_t child = fork();
      if (child == 0) {
        std::signal(SIGABRT, SIG_DFL);
        SetAssertHandler([](const char*, int, const char* sentence) {
          _exit(std::string(sentence).find("forked inside a task") != std::string::npos ? 5 : 6);
        });
        alarm(60);
        forked = true;
        return;
      }
      int status = 0;
      waitpid(child, &status, 0);
      end_returned = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
      forked = true;
    });
    CHECK(end_inside == 5);
    CHECK(end_returned == 5);
  }
}

TEST_CASE("ThreadPool: works with the threads that the system grants") {
  constexpr int kUnlimited = 99;
  const int end = EndOfChild([]() -> int {
    // The limit does not bind root; nobody else has this user's number.
    if (geteuid() == 0 && setuid(static_cast<uid_t>(1000000 + getpid())) != 0) return kUnlimited;
    const rlimit three{3, 3};
    if (setrlimit(RLIMIT_NPROC, &three) != 0) return kUnlimited;
    size_t granted = 1;
    {
      std::atomic<bool> stop{false};
      std::vector<std::thread> threads;
      try {
        for (; granted < 20; ++granted) {
          threads.emplace_back([&] {
            while (!stop.load()) std::this_thread::yield();
          });
        }
      } catch (const std::system_error&) {
      }
      stop = true;
      for (std::thread& thread : threads) thread.join();
    }
    if (granted == 20) return kUnlimited;
    // A thread that was joined may count for a moment.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ThreadPool pool(20);
    if (pool.Threads() < 1 || pool.Threads() > granted) return 1;
    if (!HasThreads(pool, pool.Threads()) || !RunsEachOnce(pool, 100)) return 2;
    return 0;
  });
  if (end == kUnlimited) {
    MESSAGE("nothing was tested: there is no limit on the number of threads");
  } else {
    CHECK(end == 0);
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
