// AlignedVector<T>: a std::vector whose storage starts on a cache line, for vector loads; large ones start on a huge
// page and ask for huge pages (Linux; elsewhere that does nothing).
#ifndef BITNET_TENSOR_ALIGNED_VECTOR_H_
#define BITNET_TENSOR_ALIGNED_VECTOR_H_

#include <cstddef>
#include <new>
#include <vector>

#include "bitnet/base/size.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace bitnet {

inline constexpr size_t kAlignment = 128;  // two lines: hardware fetches them in pairs; the largest vector of Highway

// Blocks of this many bytes or more start at a multiple of it. A rest shorter than a huge page stays on small pages, so
// that nothing is wasted.
// Measured, small against huge pages, 900 MiB, GB/s with one and two threads: Xeon (Sapphire Rapids, VM): streams 9.5,
// 16.0 against 10.0, 17.2; 32 % of rows of 640 bytes 6.4, 10.1 against 7.1, 11.3. EPYC (Zen 4, VM): streams 24, 31
// against 30, 33. Rounding sizes up to whole huge pages would waste up to a third of a 4 MiB matrix and gains nothing.
inline constexpr size_t kHugePage = size_t{2} << 20;

template <class T>
struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>&) {}  // NOLINT: implicit by the standard
  T* allocate(size_t n) {
    void* p = ::operator new(SizeProduct(n, sizeof(T)), Alignment(n));
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    // A wish: that it is not granted changes nothing.
    if (n * sizeof(T) >= kHugePage) static_cast<void>(madvise(p, n * sizeof(T), MADV_HUGEPAGE));
#endif
    return static_cast<T*>(p);
  }
  void deallocate(T* p, size_t n) { ::operator delete(p, Alignment(n)); }
  static constexpr std::align_val_t Alignment(size_t n) {
    return std::align_val_t{n * sizeof(T) >= kHugePage ? kHugePage : kAlignment};
  }
  friend bool operator==(AlignedAllocator, AlignedAllocator) { return true; }
};

template <class T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

// Throws as SizeSum does where the multiple does not fit.
constexpr size_t RoundUp(size_t n, size_t multiple) { return SizeSum(n, multiple - 1) / multiple * multiple; }

}  // namespace bitnet

#endif  // BITNET_TENSOR_ALIGNED_VECTOR_H_
