// Gather: a stream for operations that do not need each other. Launches of one kernel become one, whose blocks are
// those of all of them: the projections of queries, keys and values take the time of the largest, not of three.
#ifndef BITNET_BACKEND_CUDA_GATHER_H_
#define BITNET_BACKEND_CUDA_GATHER_H_

#include <cstddef>
#include <cstring>
#include <new>
#include <type_traits>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/limits.h"
#include "bitnet/backend/cuda/scratch.h"

namespace bitnet::cuda {

inline constexpr unsigned kMostGathered = 3;

// Kernels side by side in a grid's x.
template <class K>
struct SideBySide {
  static constexpr unsigned kThreads = K::kThreads;
  static constexpr unsigned kMinBlocks = kMinBlocksOf<K>;
  static constexpr bool kLargeShared = kHasLargeShared<K>;
  using Shared = typename K::Shared;

  K kernels[kMostGathered];
  Grid grids[kMostGathered];
  unsigned count;
  unsigned nothing = 0;  // (g++ 12 does not always clear what would lie here between two values: see Commands.)

  // A device whose grid is that of one of them.
  template <class Device>
  struct Part : Device {
    unsigned first;
    Grid grid;
    BITNET_DEVICE Part(const Device& whole, unsigned first_block, Grid of_kernel)
        : Device(whole), first(first_block), grid(of_kernel) {}
    BITNET_DEVICE unsigned block() const { return Device::block() - first; }
    BITNET_DEVICE unsigned blocks() const { return grid.x; }
  };

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    unsigned first = 0;
    for (unsigned i = 0; i < count; ++i) {
      const unsigned next = first + grids[i].x;
      if (d.block() < next) {
        Part<Device> part(d, first, grids[i]);
        kernels[i](part, shared);
        return;
      }
      first = next;
    }
  }
};

template <class Stream>
class Gather {
 public:
  explicit Gather(Stream& stream) : stream_(stream) {}
  Gather(const Gather&) = delete;
  Gather& operator=(const Gather&) = delete;
  ~Gather() { Flush(); }

  template <Kernel K>
  void Launch(const K& kernel, Grid grid) {
    static_assert(alignof(K) <= kAlignment);
    if (grid.x == 0 || grid.y == 0) return;
    // (What is too large to be a parameter of a kernel three times over goes by itself.)
    if (sizeof(SideBySide<K>) > sizeof(memory_) || grid.y != 1) {
      Flush();
      stream_.Launch(kernel, grid);
      return;
    }
    if (flush_ != &FlushAs<K> || count_ == kMostGathered) Flush();
    flush_ = &FlushAs<K>;
    std::memcpy(memory_ + count_ * sizeof(K), &kernel, sizeof(K));
    grids_[count_++] = grid;
  }
  // Scratch memory is an operation's own, so that what needs it does not stand beside another.
  template <class T>
  T* Scratch(ScratchSlot slot, size_t count) {
    Flush();
    return stream_.template Scratch<T>(slot, count);
  }

  void Flush() {
    if (count_ != 0) flush_(*this);
    count_ = 0;
    flush_ = nullptr;
  }

 private:
  static constexpr size_t kAlignment = 16;

  template <class K>
  static void FlushAs(Gather& gather) {
    SideBySide<K> all;
    all.count = gather.count_;
    unsigned blocks = 0;
    for (unsigned i = 0; i < kMostGathered; ++i) {
      // (Where there are fewer, copies of the first, so that all of it has values.)
      const unsigned from = i < gather.count_ ? i : 0;
      std::memcpy(static_cast<void*>(&all.kernels[i]), gather.memory_ + from * sizeof(K), sizeof(K));
      all.grids[i] = gather.grids_[from];
      if (i < gather.count_) blocks += gather.grids_[i].x;
    }
    if (gather.count_ == 1) {
      gather.stream_.Launch(all.kernels[0], all.grids[0]);
    } else {
      gather.stream_.Launch(all, Grid{blocks, 1});
    }
  }

  Stream& stream_;
  void (*flush_)(Gather&) = nullptr;
  unsigned count_ = 0;
  Grid grids_[kMostGathered];
  alignas(kAlignment) std::byte memory_[2048];
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_GATHER_H_
