// AlignedVector<T>: a std::vector whose storage starts on a cache line, for vector loads.
#ifndef BITNET_TENSOR_ALIGNED_VECTOR_H_
#define BITNET_TENSOR_ALIGNED_VECTOR_H_

#include <cstddef>
#include <limits>
#include <new>
#include <vector>

namespace bitnet {

inline constexpr size_t kAlignment = 128;  // two lines: hardware fetches them in pairs; the largest vector of Highway

template <class T>
struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>&) {}  // NOLINT: implicit by the standard
  T* allocate(size_t n) {
    if (n > std::numeric_limits<size_t>::max() / sizeof(T)) throw std::bad_array_new_length();
    return static_cast<T*>(::operator new (n * sizeof(T), std::align_val_t{kAlignment}));
  }
  void deallocate(T* p, size_t) { ::operator delete (p, std::align_val_t{kAlignment}); }
  friend bool operator==(AlignedAllocator, AlignedAllocator) { return true; }
};

template <class T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

constexpr size_t RoundUp(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace bitnet

#endif  // BITNET_TENSOR_ALIGNED_VECTOR_H_
