// Which sanitizer watches this program, and what one says to the thread sanitizer: nothing where it is not there.
#ifndef BITNET_TESTS_TESTING_SANITIZERS_H_
#define BITNET_TESTS_TESTING_SANITIZERS_H_

#if defined(__SANITIZE_ADDRESS__)
#define BITNET_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BITNET_ADDRESS_SANITIZER 1
#endif
#endif
#ifndef BITNET_ADDRESS_SANITIZER
#define BITNET_ADDRESS_SANITIZER 0
#endif

#if defined(__SANITIZE_THREAD__)
#define BITNET_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BITNET_THREAD_SANITIZER 1
#endif
#endif
#ifndef BITNET_THREAD_SANITIZER
#define BITNET_THREAD_SANITIZER 0
#endif

#if BITNET_THREAD_SANITIZER
#include <sanitizer/tsan_interface.h>

extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace bitnet::testing {

// What happened before a Release of something happens before what follows an Acquire of it.
inline void Release([[maybe_unused]] void* what) {
#if BITNET_THREAD_SANITIZER
  __tsan_release(what);
#endif
}
inline void Acquire([[maybe_unused]] void* what) {
#if BITNET_THREAD_SANITIZER
  __tsan_acquire(what);
#endif
}

// As long as one lives, this thread's reads and writes race with nothing.
class Unwatched {
 public:
  Unwatched() {
#if BITNET_THREAD_SANITIZER
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
#endif
  }
  ~Unwatched() {
#if BITNET_THREAD_SANITIZER
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
#endif
  }
  Unwatched(const Unwatched&) = delete;
  Unwatched& operator=(const Unwatched&) = delete;
};

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_SANITIZERS_H_
