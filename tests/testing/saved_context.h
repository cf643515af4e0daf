// SavedContext: where a stack of calls was left, and the switch from one to another. By assembly on x86-64, ten times
// as fast as ucontext, which does it elsewhere (and everywhere with BITNET_SWITCH_BY_UCONTEXT).
#ifndef BITNET_TESTS_TESTING_SAVED_CONTEXT_H_
#define BITNET_TESTS_TESTING_SAVED_CONTEXT_H_

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__) && defined(__LP64__) && !defined(_WIN32) && !defined(BITNET_SWITCH_BY_UCONTEXT)

namespace bitnet::testing {

// Keeps the registers that a function must keep on the stack that it leaves, and the stack's pointer in *from. (The
// rounding mode and the like are the program's own: no one changes them here.)
__attribute__((naked, noinline, no_sanitize("address", "thread", "undefined"))) inline void SwitchStacks(
    [[maybe_unused]] void** from, [[maybe_unused]] void* to) {
  asm("pushq %rbp\n\t"
      "pushq %rbx\n\t"
      "pushq %r12\n\t"
      "pushq %r13\n\t"
      "pushq %r14\n\t"
      "pushq %r15\n\t"
      "movq %rsp, (%rdi)\n\t"
      "movq %rsi, %rsp\n\t"
      "popq %r15\n\t"
      "popq %r14\n\t"
      "popq %r13\n\t"
      "popq %r12\n\t"
      "popq %rbx\n\t"
      "popq %rbp\n\t"
      "ret");
}

class SavedContext {
 public:
  // The next switch to here calls `entry`, which must not return, on this stack.
  void Prepare(void* stack, size_t bytes, void (*entry)()) {
    const uintptr_t end = (reinterpret_cast<uintptr_t>(stack) + bytes) / 16 * 16;
    void** top = reinterpret_cast<void**>(end);
    *--top = nullptr;  // to whom `entry` would return: it finds the stack as after a call
    *--top = reinterpret_cast<void*>(entry);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    stack_ = top;
  }
  static void Switch(SavedContext& from, SavedContext& to) { SwitchStacks(&from.stack_, to.stack_); }

 private:
  void* stack_ = nullptr;
};

}  // namespace bitnet::testing

#else

#include <ucontext.h>

namespace bitnet::testing {

class SavedContext {
 public:
  void Prepare(void* stack, size_t bytes, void (*entry)()) {
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack;
    context_.uc_stack.ss_size = bytes;
    context_.uc_link = nullptr;
    makecontext(&context_, entry, 0);
  }
  static void Switch(SavedContext& from, SavedContext& to) { swapcontext(&from.context_, &to.context_); }

 private:
  ucontext_t context_{};
};

}  // namespace bitnet::testing

#endif

#endif  // BITNET_TESTS_TESTING_SAVED_CONTEXT_H_
