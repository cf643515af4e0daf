// EmulatedStream: a stream for tests of functions that launch kernels. A launch has ended when Launch returns.
#ifndef BITNET_TESTS_TESTING_EMULATED_STREAM_H_
#define BITNET_TESTS_TESTING_EMULATED_STREAM_H_

#include <array>
#include <cstddef>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/scratch.h"
#include "testing/device_memory.h"
#include "testing/simt_launch.h"
#include "testing/simt_schedule.h"

namespace bitnet::testing {

class EmulatedStream {
 public:
  explicit EmulatedStream(const Schedule& schedule) : schedule_(schedule) {}

  // Each launch has a seed of its own.
  template <cuda::Kernel K>
  void Launch(const K& kernel, cuda::Grid grid) {
    ++launches_;
    testing::Launch(kernel, grid, schedule_);
    ++schedule_.seed;
  }

  // New memory at each call. What the slot had before is gone, and the address sanitizer sees a kernel that uses it.
  template <class T>
  T* Scratch(cuda::ScratchSlot slot, size_t count) {
    DeviceBytes& bytes = scratch_[static_cast<size_t>(slot)];
    bytes.Fill(schedule_.poison);
    bytes = DeviceBytes(count * sizeof(T), schedule_.poison);
    return reinterpret_cast<T*>(bytes.data());
  }

  size_t launches() const { return launches_; }

 private:
  Schedule schedule_;
  size_t launches_ = 0;
  std::array<DeviceBytes, cuda::kScratchSlots> scratch_;
};

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_EMULATED_STREAM_H_
