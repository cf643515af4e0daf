// DeviceMemory: allocations as a GPU's, of exact size, so that the address sanitizer sees an access behind the end. An
// allocation begins on 256 bytes, and nothing is known of what is in it.
#ifndef BITNET_TESTS_TESTING_DEVICE_MEMORY_H_
#define BITNET_TESTS_TESTING_DEVICE_MEMORY_H_

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "testing/launch_witness.h"

namespace bitnet::testing {

// Some bytes.
class DeviceBytes {
 public:
  static constexpr size_t kAlignment = 256;

  DeviceBytes() = default;
  DeviceBytes(size_t bytes, unsigned char poison)
      : data_(static_cast<unsigned char*>(::operator new (bytes, std::align_val_t{kAlignment}))), bytes_(bytes) {
    Fill(poison);
    if (LaunchWitness* witness = LaunchWitness::Current()) witness->Allocated(data(), bytes);
  }
  void Fill(unsigned char poison) {
    if (bytes_ > 0) std::memset(data_.get(), poison, bytes_);
  }
  unsigned char* data() const { return data_.get(); }

 private:
  struct Delete {
    void operator()(unsigned char* data) const {
      if (LaunchWitness* witness = LaunchWitness::Current()) witness->Freed(data);
      ::operator delete (data, std::align_val_t{kAlignment});
    }
  };
  std::unique_ptr<unsigned char, Delete> data_;
  size_t bytes_ = 0;
};

// Owns what it has allocated.
class DeviceMemory {
 public:
  explicit DeviceMemory(unsigned char poison = 0xa5) : poison_(poison) {}

  template <class T>
  T* Allocate(size_t count) {
    static_assert(std::is_trivially_copyable_v<T>);
    allocations_.emplace_back(count * sizeof(T), poison_);
    return reinterpret_cast<T*>(allocations_.back().data());
  }

  // An allocation with these values.
  template <class T, size_t kExtent>
  std::remove_const_t<T>* Upload(std::span<T, kExtent> values) {
    auto* to = Allocate<std::remove_const_t<T>>(values.size());
    if (!values.empty()) std::memcpy(to, values.data(), values.size_bytes());
    return to;
  }
  template <class T>
  T* Upload(const std::vector<T>& values) {
    return Upload(std::span<const T>(values));
  }

 private:
  unsigned char poison_;
  std::vector<DeviceBytes> allocations_;
};

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_DEVICE_MEMORY_H_
