// Executor: who runs the parts of an operation. Threads are the caller's: every backend takes an Executor.
//
// SequentialExecutor runs all in the calling thread; ThreadPool keeps workers that sleep between calls. To use the
// threads of a surrounding program, derive from Executor (two functions). DefaultExecutor() is one pool for the whole
// program with a thread for every core, made at first use.
#ifndef BITNET_BASE_EXECUTOR_H_
#define BITNET_BASE_EXECUTOR_H_

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

#include "bitnet/base/assert.h"

namespace bitnet {

// A task of Executor::Run: a reference to a callable `void(size_t)` that outlives the call. Copies nothing.
class TaskRef {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, TaskRef>) TaskRef(F&& f)  // NOLINT: implicit on purpose
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* object, size_t i) { (*static_cast<std::remove_reference_t<F>*>(object))(i); }) {}

  void operator()(size_t i) const { call_(object_, i); }

 private:
  void* object_;
  void (*call_)(void*, size_t);
};

class Executor {
 public:
  virtual ~Executor() = default;
  // How many tasks can run at once, the caller's thread included; at least 1.
  virtual size_t Threads() const = 0;
  // Calls task(i) once for every i in [0, tasks), in any order and possibly at the same time; returns when all are
  // done. May be called from inside a task and by several threads. Must not allocate once warm. Tasks do not throw: on
  // several threads an exception ends the program (std::terminate). While it waits, the calling thread may run tasks of
  // this call only, never those of another (with TBB: isolate): tasks keep thread_local buffers across nested calls.
  virtual void Run(size_t tasks, TaskRef task) = 0;
};

class SequentialExecutor final : public Executor {
 public:
  size_t Threads() const override { return 1; }
  void Run(size_t tasks, TaskRef task) override {
    for (size_t i = 0; i < tasks; ++i) task(i);
  }
};

// Workers take the next task number from a counter. A call from inside a task, or while another thread's call is
// running, is done by its caller alone: never a deadlock, never more threads than the pool has.
class ThreadPool final : public Executor {
 public:
  explicit ThreadPool(size_t threads = std::max<size_t>(1, std::thread::hardware_concurrency())) {
    BITNET_ASSERT(threads >= 1, "a ThreadPool needs at least one thread");
    workers_.reserve(threads - 1);
    for (size_t i = 1; i < threads; ++i) workers_.emplace_back([this] { Work(); });
  }

  ~ThreadPool() override {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  size_t Threads() const override { return workers_.size() + 1; }

  void Run(size_t tasks, TaskRef task) override {
    std::unique_lock alone(callers_, std::defer_lock);
    if (workers_.empty() || tasks <= 1 || InsideTask() || !alone.try_lock()) {
      for (size_t i = 0; i < tasks; ++i) task(i);
      return;
    }
    // Every worker reports back, so the job may live on this stack.
    const Job job{task, tasks};
    next_.store(0, std::memory_order_relaxed);
    busy_.store(workers_.size(), std::memory_order_relaxed);
    {
      std::lock_guard lock(mutex_);
      job_ = &job;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    TakeTasks(job);
    for (int spin = 0; busy_.load(std::memory_order_acquire) != 0; ++spin) {
      if (spin >= kSpins) std::this_thread::yield();
    }
  }

 private:
  struct Job {
    TaskRef task;
    size_t tasks;
  };

  // Decoding dispatches every few microseconds: a worker that looks this often before it sleeps saves a wake-up,
  // which costs 20 us and more under a hypervisor. About 20 us of looking.
  static constexpr int kSpins = 4000;

  static bool& InsideTask() {
    thread_local bool inside = false;
    return inside;
  }

  // Nobody can be told of an exception while other threads still work on the job: noexcept ends the program.
  void TakeTasks(const Job& job) noexcept {
    InsideTask() = true;
    for (size_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < job.tasks;) job.task(i);
    InsideTask() = false;
  }

  void Work() {
    for (uint64_t seen = 0;;) {
      for (int spin = 0; spin < kSpins && generation_.load(std::memory_order_acquire) == seen; ++spin) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
      }
      const Job* job;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return generation_.load(std::memory_order_relaxed) != seen; });
        seen = generation_.load(std::memory_order_relaxed);
        if (stop_) return;
        job = job_;
      }
      TakeTasks(*job);
      busy_.fetch_sub(1, std::memory_order_release);
    }
  }

  std::vector<std::thread> workers_;
  std::mutex callers_;  // held by the one Run that uses the workers
  std::mutex mutex_;    // guards job_, stop_ and the sleep
  std::condition_variable wake_;
  const Job* job_ = nullptr;
  bool stop_ = false;
  std::atomic<uint64_t> generation_{0};
  std::atomic<size_t> next_{0};
  std::atomic<size_t> busy_{0};
};

// One pool for the program, a thread for every core, made at first use and joined at exit.
inline Executor& DefaultExecutor() {
  static ThreadPool pool;
  return pool;
}

// Splits [0, n) into at most Threads() ranges of `grain` or more elements (about: their bounds are multiples of
// `multiple`) and calls f(begin, end) for each.
template <class F>
void ParallelRanges(Executor& executor, size_t n, size_t grain, size_t multiple, F&& f) {
  if (n == 0) return;
  const size_t wanted = std::min(executor.Threads(), std::max<size_t>(1, n / std::max<size_t>(1, grain)));
  const size_t units = (n + multiple - 1) / multiple;
  const size_t parts = std::min(wanted, units);
  if (parts <= 1) {
    f(size_t{0}, n);
    return;
  }
  executor.Run(parts, [&](size_t part) {
    const size_t begin = units * part / parts * multiple;
    const size_t end = std::min(n, units * (part + 1) / parts * multiple);
    if (begin < end) f(begin, end);
  });
}

}  // namespace bitnet

#endif  // BITNET_BASE_EXECUTOR_H_
