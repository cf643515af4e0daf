// Memory of a machine, which goes with its owner.
#ifndef BITNET_BACKEND_CUDA_MEMORY_H_
#define BITNET_BACKEND_CUDA_MEMORY_H_

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "bitnet/backend/cuda/machine.h"
#include "bitnet/base/size.h"

namespace bitnet::cuda {

enum class MemoryKind { kDevice, kHost };

// Where memory ends the constructor throws DeviceMemoryEnded; of a device that is lost there is none (data() is null),
// and every later call says so.
template <Machine M, MemoryKind kKind = MemoryKind::kDevice>
class Memory {
 public:
  Memory() = default;
  Memory(const M& machine, size_t bytes) {
    if (bytes == 0) return;
    const Fault fault =
        kKind == MemoryKind::kDevice ? machine.Allocate(bytes, data_) : machine.AllocateHost(bytes, data_);
    if (fault.kind == FaultKind::kOutOfMemory) ThrowDeviceMemoryEnded(bytes);
    if (fault) return;
    machine_.emplace(machine);
    bytes_ = bytes;
  }
  Memory(Memory&& other) noexcept { *this = std::move(other); }
  Memory& operator=(Memory&& other) noexcept {
    if (this == &other) return *this;
    Free();
    machine_.reset();
    if (other.machine_.has_value()) machine_.emplace(std::move(*other.machine_));
    other.machine_.reset();
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, size_t{0});
    return *this;
  }
  ~Memory() { Free(); }

  size_t bytes() const { return bytes_; }
  std::byte* data() const { return static_cast<std::byte*>(data_); }
  template <class T>
  T* As() const {
    return static_cast<T*>(data_);
  }

 private:
  void Free() noexcept {
    if (data_ == nullptr) return;
    if constexpr (kKind == MemoryKind::kDevice) {
      machine_->Free(data_);
    } else {
      machine_->FreeHost(data_);
    }
  }

  std::optional<M> machine_;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// Memory on the host that is given away piece by piece, and all of it taken back at once. The same requests in the same
// order get the same addresses, so that a graph can name them.
template <Machine M>
class Staging {
 public:
  std::byte* Take(const M& machine, size_t bytes) {
    const size_t rounded = RoundUp(bytes, kAlignment);
    while (block_ < blocks_.size() && rounded > blocks_[block_].bytes() - used_) {
      ++block_;
      used_ = 0;
    }
    if (block_ == blocks_.size()) {
      blocks_.reserve(blocks_.size() + 1);
      const size_t size = rounded > kBlock ? rounded : kBlock;
      Memory<M, MemoryKind::kHost> block(machine, size);
      if (block.data() == nullptr) return nullptr;
      blocks_.push_back(std::move(block));
      used_ = 0;
    }
    std::byte* taken = blocks_[block_].data() + used_;
    used_ += rounded;
    return taken;
  }
  void TakeBack() {
    block_ = 0;
    used_ = 0;
  }

 private:
  static constexpr size_t kBlock = size_t{1} << 20;
  static constexpr size_t kAlignment = 256;
  static size_t RoundUp(size_t n, size_t each) { return SizeSum(n, each - 1) / each * each; }

  std::vector<Memory<M, MemoryKind::kHost>> blocks_;
  size_t block_ = 0;
  size_t used_ = 0;
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_MEMORY_H_
