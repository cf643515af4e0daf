// Every form of operator new, replaced: what takes memory is counted, and the N-th time can fail. For the one source of
// a program of its own (tests/<name>_test.cc): the replacements are no inline functions.
#ifndef BITNET_TESTS_TESTING_REPLACED_NEW_H_
#define BITNET_TESTS_TESTING_REPLACED_NEW_H_

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace bitnet::testing {

inline std::atomic<size_t> allocations{0};
inline std::atomic<size_t> largest{0};
// Bytes that are taken and not yet given back, and the most of them.
inline std::atomic<size_t> held{0};
inline std::atomic<size_t> most_held{0};

// Memory ends once, or from then on.
enum class Ends { kOnce, kForGood };

// While one lives the n-th taking of memory from now on, from 0, fails, in whichever thread it is. One at a time.
class FailingAllocation {
 public:
  FailingAllocation(size_t n, Ends ends) {
    for_good = ends == Ends::kForGood;
    failures = 0;
    left = static_cast<int64_t>(n);
  }
  ~FailingAllocation() { left = kNever; }
  FailingAllocation(const FailingAllocation&) = delete;
  FailingAllocation& operator=(const FailingAllocation&) = delete;

  // Whether it has failed.
  bool happened() const { return failures != 0; }

  // Called wherever memory is taken.
  static bool IsNow() {
    if (left.load() == kNever) return false;
    const int64_t before = left.fetch_sub(1);
    const bool now = before == 0 || (before < 0 && for_good);
    if (now) failures.fetch_add(1);
    return now;
  }

 private:
  // Counting down ends far above it.
  static constexpr int64_t kNever = INT64_MIN;
  static inline std::atomic<int64_t> left{kNever};
  static inline std::atomic<bool> for_good{false};
  static inline std::atomic<size_t> failures{0};
};

inline void Raise(std::atomic<size_t>& most, size_t value) {
  for (size_t seen = most.load(); value > seen && !most.compare_exchange_weak(seen, value);) {
  }
}

// What stands before each block: where malloc's begins, and how many bytes were asked for. (malloc_usable_size() says
// megabytes more where blocks start on a huge page.)
struct Before {
  void* begin;
  size_t bytes;
};

inline void* Take(size_t bytes, size_t alignment) {
  if (FailingAllocation::IsNow()) return nullptr;
  allocations.fetch_add(1);
  Raise(largest, bytes);
  const size_t distance = std::max(alignment, std::bit_ceil(sizeof(Before)));
  void* begin = nullptr;
  if (bytes > PTRDIFF_MAX - distance || posix_memalign(&begin, distance, distance + bytes) != 0) return nullptr;
  std::byte* const p = static_cast<std::byte*>(begin) + distance;
  const Before before = {begin, bytes};
  std::memcpy(p - sizeof(Before), &before, sizeof(Before));
  Raise(most_held, held.fetch_add(bytes) + bytes);
  return p;
}

// Not inline: the compiler would see free() of what operator new gave, and warn.
[[gnu::noinline]] inline void Release(void* p) {
  if (p == nullptr) return;
  Before before;
  std::memcpy(&before, static_cast<std::byte*>(p) - sizeof(Before), sizeof(Before));
  held.fetch_sub(before.bytes);
  std::free(before.begin);
}

inline void* TakeOrThrow(size_t bytes, size_t alignment) {
  void* p = Take(bytes, alignment);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

inline constexpr size_t kPlain = __STDCPP_DEFAULT_NEW_ALIGNMENT__;

}  // namespace bitnet::testing

void* operator new(size_t n) { return bitnet::testing::TakeOrThrow(n, bitnet::testing::kPlain); }
void* operator new[](size_t n) { return bitnet::testing::TakeOrThrow(n, bitnet::testing::kPlain); }
void* operator new(size_t n, std::align_val_t a) { return bitnet::testing::TakeOrThrow(n, static_cast<size_t>(a)); }
void* operator new[](size_t n, std::align_val_t a) { return bitnet::testing::TakeOrThrow(n, static_cast<size_t>(a)); }
void* operator new(size_t n, const std::nothrow_t&) noexcept {
  return bitnet::testing::Take(n, bitnet::testing::kPlain);
}
void* operator new[](size_t n, const std::nothrow_t&) noexcept {
  return bitnet::testing::Take(n, bitnet::testing::kPlain);
}
void* operator new(size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return bitnet::testing::Take(n, static_cast<size_t>(a));
}
void* operator new[](size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return bitnet::testing::Take(n, static_cast<size_t>(a));
}
void operator delete(void* p) noexcept { bitnet::testing::Release(p); }
void operator delete[](void* p) noexcept { bitnet::testing::Release(p); }
void operator delete(void* p, size_t) noexcept { bitnet::testing::Release(p); }
void operator delete[](void* p, size_t) noexcept { bitnet::testing::Release(p); }
void operator delete(void* p, std::align_val_t) noexcept { bitnet::testing::Release(p); }
void operator delete[](void* p, std::align_val_t) noexcept { bitnet::testing::Release(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { bitnet::testing::Release(p); }
void operator delete[](void* p, size_t, std::align_val_t) noexcept { bitnet::testing::Release(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { bitnet::testing::Release(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { bitnet::testing::Release(p); }
void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept { bitnet::testing::Release(p); }
void operator delete[](void* p, std::align_val_t, const std::nothrow_t&) noexcept { bitnet::testing::Release(p); }

#endif  // BITNET_TESTS_TESTING_REPLACED_NEW_H_
