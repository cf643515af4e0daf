// Assertions: a program that breaks a function's precondition is stopped with a sentence.
//
// BITNET_ASSERT(condition, "what was expected") stays on in optimised builds; it stands at the entrance of
// operations, never in inner loops. The default handler writes one line to stderr and aborts; a program replaces
// it with SetAssertHandler (a handler may log or throw, also inside a task of a ThreadPool, which brings the exception
// to the caller; if it returns, the program aborts). Outside data (files, prompts, configurations) is no programming
// error: see base/result.h.
#ifndef BITNET_BASE_ASSERT_H_
#define BITNET_BASE_ASSERT_H_

// First of all, since under an older standard the headers below would be a thousand errors.
#if __cplusplus < 202002L
#error "bitnet: needs C++20: -std=c++20"
#include "bitnet: needs C++20: -std=c++20"  // No such file: unlike #error, it ends the compilation.
#endif

#include <atomic>
#include <cstdio>
#include <cstdlib>

#if (defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || \
     (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)) &&                                \
    !defined(BITNET_ALLOW_FAST_MATH)
#error \
    "bitnet: -ffast-math reorders sums and ignores NaN, so results would differ between CPUs; build without it, or define BITNET_ALLOW_FAST_MATH to accept that."
#endif

#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0 && __FLT_EVAL_METHOD__ != 16
#error "bitnet: floats are computed with excess precision here; on 32-bit x86 give -msse2 -mfpmath=sse"
#endif

namespace bitnet {

using AssertHandler = void (*)(const char* file, int line, const char* sentence);

namespace detail {

inline void PrintAssertion(const char* file, int line, const char* sentence) {
  std::fprintf(stderr, "%s:%d: bitnet assertion failed: %s\n", file, line, sentence);
}

inline std::atomic<AssertHandler>& CurrentAssertHandler() {
  static std::atomic<AssertHandler> handler{&PrintAssertion};
  return handler;
}

[[noreturn]] inline void AssertionFailed(const char* file, int line, const char* sentence) {
  CurrentAssertHandler().load()(file, line, sentence);
  std::abort();
}

}  // namespace detail

// Installs `handler` for the whole program and returns the one that was there.
inline AssertHandler SetAssertHandler(AssertHandler handler) {
  return detail::CurrentAssertHandler().exchange(handler);
}

}  // namespace bitnet

#define BITNET_ASSERT(condition, sentence)                               \
  do {                                                                   \
    if (!(condition)) [[unlikely]] {                                     \
      ::bitnet::detail::AssertionFailed(__FILE__, __LINE__, (sentence)); \
    }                                                                    \
  } while (false)

#endif  // BITNET_BASE_ASSERT_H_
