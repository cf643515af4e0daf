// Executor: who runs the parts of an operation. Threads are the caller's: every backend takes an Executor.
//
// SequentialExecutor runs all in the calling thread; ThreadPool keeps workers that sleep between calls. To use the
// threads of a surrounding program, derive from Executor (two functions). DefaultExecutor() is one pool for the whole
// program with a thread for every CPU that it may use (base/cpus.h), made at first use.
#ifndef BITNET_BASE_EXECUTOR_H_
#define BITNET_BASE_EXECUTOR_H_

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#include "bitnet/base/assert.h"
#include "bitnet/base/cpus.h"
#include "bitnet/base/size.h"

namespace bitnet {

// A task of Executor::Run: a reference to a callable `void(size_t)` that outlives the call. Copies nothing.
class TaskRef {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, TaskRef>) TaskRef(F&& f)  // NOLINT: implicit on purpose
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_(Call<std::remove_reference_t<F>>) {}

  void operator()(size_t i) const { call_(object_, i); }

 private:
  template <class F>
  static void Call(void* object, size_t i) {
    (*static_cast<F*>(object))(i);
  }

  void* object_;
  void (*call_)(void*, size_t);
};

class Executor {
 public:
  virtual ~Executor() = default;
  // How many tasks can run at once, the caller's thread included; at least 1. (Inside a task it may be fewer, and at
  // the end of the program: two answers may differ.)
  virtual size_t Threads() const = 0;
  // Calls task(i) once for every i in [0, tasks), in any order and possibly at the same time; returns when all are
  // done. May be called from inside a task and by several threads. Must not allocate once warm. While it waits, the
  // calling thread may run tasks of this call only, never those of another (with TBB: isolate): tasks keep thread_local
  // buffers across nested calls.
  // A task that throws (memory is out, or an assertion's handler throws): the first exception comes out of Run once no
  // task of the call is running any more; tasks that had not begun may be left out. An Executor that cannot bring the
  // exception to the caller ends the program.
  virtual void Run(size_t tasks, TaskRef task) = 0;
};

class SequentialExecutor final : public Executor {
 public:
  size_t Threads() const override { return 1; }
  void Run(size_t tasks, TaskRef task) override {
    for (size_t i = 0; i < tasks; ++i) task(i);
  }
};

namespace detail {

// How many forks lie between the process that called CountForks first and this one. (To ask for the process's id costs
// a system call, a good part of a ThreadPool's call.)
inline std::atomic<uint32_t> forks{0};

// Counts from now on; false where that is impossible.
inline bool CountForks() {
#if defined(__unix__) || defined(__APPLE__)
  static const bool counts =
      pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); }) == 0;
  return counts;
#else
  return true;
#endif
}

}  // namespace detail

// The caller does task 0; workers and then the caller take the others one by one until none is left. So with two
// threads each mostly does the same task of every call, and finds in its cache what it left there. The caller waits
// only for tasks that a worker has taken: a worker that sleeps or has lost its core delays nobody. After an exception
// the rest of the tasks is not taken, and the pool is as good as new. A call from inside a task of any pool, or while
// another thread's call is running, is done by its caller alone: never a deadlock, never more threads than the pool
// has. A pool cannot see that its caller stands in a parallel region of somebody else (OpenMP, TBB): there, pass a
// SequentialExecutor, or an Executor over those threads. (If many threads of such a region call one pool, one of them
// gets the workers and the others none.)
// A forked child has no workers of its parent's pools: there a pool works by its caller alone, and a pool that the
// child makes has workers. (Forked by fork(): _Fork, vfork and clone tell nobody, and such a child must not touch a
// pool. A child that is forked inside a task must not return from the task: that ends it.)
class ThreadPool final : public Executor {
 public:
  // Where the system refuses threads, the pool works with those that it got: see Threads(). (Compiled without
  // exceptions, the program ends.)
  explicit ThreadPool(size_t threads = UsableCpus()) {
    BITNET_ASSERT(threads >= 1, "a ThreadPool needs at least one thread");
    if (!detail::CountForks()) return;
    workers_.reserve(threads - 1);
    for (size_t i = 1; i < threads; ++i) {
#if defined(__cpp_exceptions)
      try {
        workers_.emplace_back([this] { Work(); });
      } catch (...) {
        return;
      }
#else
      workers_.emplace_back([this] { Work(); });
#endif
    }
  }

  ~ThreadPool() override { EndWorkers(); }

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // 1 inside a task that a call shares with other threads (ask before Run), and where a pool works by its caller alone.
  size_t Threads() const override { return InsideTask() || !HasWorkers() ? 1 : workers_.size() + 1; }

  void Run(size_t tasks, TaskRef task) override {
    if (!HasWorkers() || tasks <= 1 || tasks > kTasksMask || InsideTask() ||
        is_used_.exchange(true, std::memory_order_acquire)) {
      for (size_t i = 0; i < tasks; ++i) task(i);
      return;
    }
    // Lives until all tasks are done: afterwards nobody reads it.
    const Job job{task, tasks};
    job_.store(&job, std::memory_order_relaxed);
    unfinished_.store(tasks - 1, std::memory_order_relaxed);
    // In one order with `sleepers_`: either a worker that is about to sleep sees the tasks, or we see the worker.
    open_.store((open_.load(std::memory_order_relaxed) | kTasksMask) + tasks);
    if (sleepers_.load() != 0) Wake();
    TakeFirst(task);
    TakeTasks();
    for (size_t looks = 0; unfinished_.load(std::memory_order_acquire) != 0; ++looks) {
      looks < kLooks ? Pause() : std::this_thread::yield();
    }
    if (has_thrown_.load(std::memory_order_relaxed)) [[unlikely]] {
      EndByThrowing();
    }
    is_used_.store(false, std::memory_order_release);
  }

 private:
  friend Executor& DefaultExecutor();

  // No larger than it must be: 16 bytes more, and it lies less often in one line with what the tasks use of the
  // caller's stack (BM_Rendezvous 0.46 us instead of 0.38).
  struct Job {
    TaskRef task;
    size_t tasks;
  };
  using Clock = std::chrono::steady_clock;

  // open_: the number of the call (upper half) and how many of its tasks nobody has taken (lower half).
  static constexpr uint64_t kTasksMask = 0xffffffff;

  // An idle worker looks for tasks; after kYieldAfter it lets other threads have its core between looks; after
  // kSleepAfter it sleeps. Measured (BM_Rendezvous*, Xeon Sapphire Rapids, 2 cores, VM): a call reaches the worker in
  // 0.9 us while it looks, in 1.1 us while it yields, in 10 to 16 us when it sleeps; yielding only after 100 us gains
  // nothing.
  static constexpr size_t kLooks = 64;  // between looks at the clock: 1 to 5 us, a pause being 40 to 140 cycles
  static constexpr std::chrono::microseconds kYieldAfter{20};
  static constexpr std::chrono::microseconds kSleepAfter{200};

  static bool& InsideTask() {
    thread_local bool inside = false;
    return inside;
  }

  static void Pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");  // `yield` does nothing on most cores
#endif
  }

  bool IsForked() const { return detail::forks.load(std::memory_order_relaxed) != forks_; }
  bool HasWorkers() const { return !workers_.empty() && !stop_.load(std::memory_order_relaxed) && !IsForked(); }
  bool HasTasks() const { return (open_.load() & kTasksMask) != 0; }

  void Do(TaskRef task, size_t i) noexcept {
#if defined(__cpp_exceptions)
    try {
      task(i);
    } catch (...) {
      if (!has_thrown_.exchange(true)) exception_ = std::current_exception();
      // Nobody takes the rest. (It is the rest of this job, since this task of it is not done.)
      const uint64_t rest = open_.fetch_and(~kTasksMask) & kTasksMask;
      unfinished_.fetch_sub(static_cast<size_t>(rest), std::memory_order_release);
    }
#else
    task(i);
#endif
    BITNET_ASSERT(!IsForked(),
                  "a process forked inside a task cannot go on with it: the call's other threads are missing");
  }

  // The end, of its own so that it takes no room on the stack, of a Run in which a task has thrown.
  [[noreturn]] void EndByThrowing() {
    std::exception_ptr exception = std::exchange(exception_, nullptr);
    has_thrown_.store(false, std::memory_order_relaxed);
    is_used_.store(false, std::memory_order_release);
    std::rethrow_exception(std::move(exception));
  }

  void TakeFirst(TaskRef task) {
    InsideTask() = true;
    Do(task, 0);
    InsideTask() = false;
  }
  void TakeTasks() {
    InsideTask() = true;
    uint64_t open = open_.load(std::memory_order_acquire);
    while ((open & kTasksMask) != 0) {
      // If the exchange succeeds, a task of this call was open until then, so the pointer read before was its job's.
      const Job* job = job_.load(std::memory_order_relaxed);
      if (!open_.compare_exchange_weak(open, open - 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      Do(job->task, job->tasks - (open & kTasksMask));
      unfinished_.fetch_sub(1, std::memory_order_release);  // the last of the job
      open = open_.load(std::memory_order_acquire);
    }
    InsideTask() = false;
  }

  void Work() {
    while (AwaitTasks()) TakeTasks();
  }

  // False when the pool ends.
  bool AwaitTasks() {
    Clock::time_point idle_since = Clock::now();
    for (size_t looks = 1;; ++looks) {
      if (HasTasks()) return true;
      if (stop_.load(std::memory_order_relaxed)) return false;
      Pause();
      if (looks % kLooks != 0) continue;
      const auto idle = Clock::now() - idle_since;
      if (idle >= kSleepAfter) {
        Sleep();
        idle_since = Clock::now();
      } else if (idle >= kYieldAfter) {
        std::this_thread::yield();
      }
    }
  }

  void Sleep() {
    const uint32_t wakes = wakes_.load();
    sleepers_.fetch_add(1);
    if (!HasTasks() && !stop_.load()) wakes_.wait(wakes);
    sleepers_.fetch_sub(1);
  }

  void Wake() {
    wakes_.fetch_add(1);
    wakes_.notify_all();
  }

  // The pool then works by its caller alone. A call of another thread meanwhile is none the worse.
  void EndWorkers() {
    if (IsForked()) {
      // A std::thread knows a thread by its stack, which may be gone: it must forget the thread without a look at it.
      for (std::thread& worker : workers_) std::construct_at(&worker);
      return;
    }
    stop_.store(true);
    Wake();
    for (std::thread& worker : workers_) {
      // exit() inside a task destroys a static pool by a thread of its own.
      worker.get_id() == std::this_thread::get_id() ? worker.detach() : worker.join();
    }
  }

  const uint32_t forks_ = detail::forks.load(std::memory_order_relaxed);  // of the process that has the workers
  std::vector<std::thread> workers_;
  // Lines of their own for what all threads look at, and for what each writes when it is done.
  alignas(64) std::atomic<uint64_t> open_{0};
  std::atomic<const Job*> job_{nullptr};
  std::atomic<bool> stop_{false};
  std::atomic<uint32_t> sleepers_{0};
  std::atomic<uint32_t> wakes_{0};  // what sleepers wait on
  alignas(64) std::atomic<size_t> unfinished_{0};
  std::atomic<bool> is_used_{false};     // by the one Run that has the workers
  std::atomic<bool> has_thrown_{false};  // a task of that Run
  std::exception_ptr exception_;         // what the first of them threw
};

// One pool for the program, made at first use. Its workers are joined at exit (they must not outlive a library that is
// unloaded), but the pool itself is never destroyed: objects that are destroyed later may use it, by their thread
// alone.
inline Executor& DefaultExecutor() {
  static ThreadPool& pool = *new ThreadPool;
  static const struct AtExit {
    ~AtExit() {
      // exit() inside a task: others of its call may do the same, and wait for this one.
      if (!ThreadPool::InsideTask()) pool.EndWorkers();
    }
  } at_exit;
  return pool;
}

// How many ranges ParallelRanges makes.
inline size_t RangeCount(const Executor& executor, size_t n, size_t grain, size_t multiple) {
  const size_t wanted = std::min(executor.Threads(), std::max<size_t>(1, n / std::max<size_t>(1, grain)));
  return std::min(wanted, (n + multiple - 1) / multiple);
}

namespace detail {

// What ParallelRanges does with a range. Its type does not depend on what is called, so that the rest of ParallelRanges
// is compiled once.
struct RangeRef {
  void* object;
  void (*call)(void* object, size_t begin, size_t end, size_t part);

  template <class F>
  static void Call(void* object, size_t begin, size_t end, [[maybe_unused]] size_t part) {
    F& f = *static_cast<F*>(object);
    if constexpr (std::is_invocable_v<F&, size_t, size_t, size_t>) {
      f(begin, end, part);
    } else {
      f(begin, end);
    }
  }
};

inline void RunRanges(Executor& executor, size_t n, size_t grain, size_t multiple, RangeRef f) {
  if (n == 0) return;
  const size_t units = (n + multiple - 1) / multiple;
  const size_t parts = RangeCount(executor, n, grain, multiple);
  if (parts <= 1) return f.call(f.object, 0, n, 0);
  executor.Run(parts, [&](size_t part) {
    const size_t begin = PartBegin(units, part, parts) * multiple;
    const size_t end = std::min(n, PartBegin(units, part + 1, parts) * multiple);
    if (begin < end) f.call(f.object, begin, end, part);
  });
}

}  // namespace detail

// Splits [0, n) into at most Threads() ranges of `grain` or more elements (about: their bounds are multiples of
// `multiple`) and calls f(begin, end), or f(begin, end, number of the range), for each.
template <class F>
void ParallelRanges(Executor& executor, size_t n, size_t grain, size_t multiple, F&& f) {
  using Function = std::remove_reference_t<F>;
  void* const object = const_cast<void*>(static_cast<const void*>(std::addressof(f)));
  detail::RunRanges(executor, n, grain, multiple, {object, detail::RangeRef::Call<Function>});
}

}  // namespace bitnet

#endif  // BITNET_BASE_EXECUTOR_H_
