// Fiber: calls on a stack of their own, which stop and go on where the program says: a thread without a thread. The
// address sanitizer is told of each switch, and to the thread sanitizer every fiber is a thread of its own, which a
// switch does not order.
#ifndef BITNET_TESTS_TESTING_FIBER_H_
#define BITNET_TESTS_TESTING_FIBER_H_

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <new>

#include "testing/sanitizers.h"
#include "testing/saved_context.h"

#if BITNET_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace bitnet::testing {

class Fiber {
 public:
  static constexpr size_t kStackBytes = 128 << 10;

  // The calls of this thread as they are: what the first switch leaves.
  Fiber() = default;

  // The first switch to it calls `entry`, which must not return.
  explicit Fiber(void (*entry)()) : entry_(entry) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    mapped_bytes_ = page + kStackBytes;
    mapped_ = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped_ == MAP_FAILED) throw std::bad_alloc();
    mprotect(mapped_, page, PROT_NONE);  // what a stack that is too long runs into
    stack_ = static_cast<char*>(mapped_) + page;
    stack_bytes_ = kStackBytes;
#if BITNET_THREAD_SANITIZER
    thread_ = __tsan_create_fiber(0);
#endif
    context_.Prepare(stack_, stack_bytes_, &Begin);
  }

  // Calls that have not returned are forgotten: none of their destructors runs. (The thread sanitizer objects if one of
  // them is Unwatched.)
  ~Fiber() {
    if (mapped_ == nullptr) return;
#if BITNET_ADDRESS_SANITIZER
    __asan_unpoison_memory_region(stack_, stack_bytes_);
#endif
#if BITNET_THREAD_SANITIZER
    __tsan_destroy_fiber(thread_);
#endif
    munmap(mapped_, mapped_bytes_);
  }

  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // `from` is the fiber that calls. Returns when something switches to `from`.
  static void Switch(Fiber& from, Fiber& to) {
    {
      const Unwatched unwatched;
      left_ = &from;
      entered_ = &to;
    }
#if BITNET_ADDRESS_SANITIZER
    __sanitizer_start_switch_fiber(&from.fake_stack_, to.stack_, to.stack_bytes_);
#endif
#if BITNET_THREAD_SANITIZER
    if (from.thread_ == nullptr) from.thread_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(to.thread_, __tsan_switch_to_fiber_no_sync);
#endif
    SavedContext::Switch(from.context_, to.context_);
    FinishSwitch(from);
  }

 private:
  static void Begin() {
    void (*entry)() = nullptr;
    {
      const Unwatched unwatched;
      FinishSwitch(*entered_);
      entry = entered_->entry_;
    }
    entry();
  }

  // On the stack that was switched to. Here alone the bounds of a thread's own stack are to be had.
  static void FinishSwitch([[maybe_unused]] Fiber& here) {
#if BITNET_ADDRESS_SANITIZER
    const void* stack = nullptr;
    size_t bytes = 0;
    __sanitizer_finish_switch_fiber(here.fake_stack_, &stack, &bytes);
    left_->stack_ = const_cast<void*>(stack);
    left_->stack_bytes_ = bytes;
#endif
  }

  void (*entry_)() = nullptr;
  SavedContext context_;
  void* mapped_ = nullptr;
  size_t mapped_bytes_ = 0;
  void* stack_ = nullptr;
  size_t stack_bytes_ = 0;
#if BITNET_ADDRESS_SANITIZER
  void* fake_stack_ = nullptr;
#endif
#if BITNET_THREAD_SANITIZER
  void* thread_ = nullptr;
#endif
  static inline thread_local Fiber* left_ = nullptr;
  static inline thread_local Fiber* entered_ = nullptr;
};

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_FIBER_H_
