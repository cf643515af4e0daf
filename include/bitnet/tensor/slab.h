// SlabVector<T>: an AlignedVector whose memory may come from a Slab, one block for several vectors. Small vectors that
// are read one after the other lie on huge pages so: of caches, the pages of all layers.
#ifndef BITNET_TENSOR_SLAB_H_
#define BITNET_TENSOR_SLAB_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "bitnet/base/size.h"
#include "bitnet/tensor/aligned_vector.h"

namespace bitnet {

// Gives its bytes away, each once; they live as long as somebody has a part of them.
class Slab {
 public:
  // What n bytes take of a slab.
  static constexpr size_t Rounded(size_t n) { return RoundUp(n, kAlignment); }

  explicit Slab(size_t bytes) : bytes_(bytes), memory_(AlignedAllocator<std::byte>().allocate(bytes)) {}
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  ~Slab() { AlignedAllocator<std::byte>().deallocate(memory_, bytes_); }

  // nullptr: there are not as many left. (Not for several threads at once.)
  void* Take(size_t n) {
    if (n == 0 || n > bytes_ - used_) return nullptr;
    return memory_ + std::exchange(used_, used_ + std::min(Rounded(n), bytes_ - used_));
  }
  bool Has(const void* p) const {
    const auto at = reinterpret_cast<uintptr_t>(p), begin = reinterpret_cast<uintptr_t>(memory_);
    return at >= begin && at < begin + bytes_;
  }

 private:
  size_t bytes_;
  size_t used_ = 0;
  std::byte* memory_;
};

// Of a slab, or where it has nothing left, and without one, as AlignedAllocator. A copied vector has memory of its own.
template <class T>
struct SlabAllocator {
  static_assert(alignof(T) <= kAlignment);
  using value_type = T;
  using propagate_on_container_move_assignment = std::true_type;
  using propagate_on_container_swap = std::true_type;

  SlabAllocator() = default;
  // Moving copies: what an allocator was moved from must stay equal.
  SlabAllocator(const SlabAllocator&) = default;
  SlabAllocator& operator=(const SlabAllocator&) = default;
  explicit SlabAllocator(std::shared_ptr<Slab> from) : slab(std::move(from)) {}
  template <class U>
  SlabAllocator(const SlabAllocator<U>& other) : slab(other.slab) {}  // NOLINT: implicit by the standard
  SlabAllocator select_on_container_copy_construction() const { return {}; }

  T* allocate(size_t n) {
    void* p = slab == nullptr ? nullptr : slab->Take(SizeProduct(n, sizeof(T)));
    return p != nullptr ? static_cast<T*>(p) : AlignedAllocator<T>().allocate(n);
  }
  void deallocate(T* p, size_t n) {
    if (slab == nullptr || !slab->Has(p)) AlignedAllocator<T>().deallocate(p, n);
  }
  friend bool operator==(const SlabAllocator& a, const SlabAllocator& b) { return a.slab == b.slab; }

  std::shared_ptr<Slab> slab;
};

template <class T>
using SlabVector = std::vector<T, SlabAllocator<T>>;

}  // namespace bitnet

#endif  // BITNET_TENSOR_SLAB_H_
