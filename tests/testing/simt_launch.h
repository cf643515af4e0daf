// Launch(kernel, grid, schedule): runs a kernel on this thread, block after block, and checks what a GPU does not.
#ifndef BITNET_TESTS_TESTING_SIMT_LAUNCH_H_
#define BITNET_TESTS_TESTING_SIMT_LAUNCH_H_

#include <cxxabi.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <numeric>
#include <string>
#include <typeinfo>
#include <vector>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/limits.h"
#include "bitnet/base/random.h"
#include "testing/emulated_device.h"
#include "testing/launch_witness.h"
#include "testing/sanitizers.h"
#include "testing/simt_block.h"
#include "testing/simt_schedule.h"

namespace bitnet::testing {
namespace detail {

template <class K>
std::string KernelName() {
  char* name = abi::__cxa_demangle(typeid(K).name(), nullptr, nullptr, nullptr);
  const std::string copy = name != nullptr ? name : typeid(K).name();
  std::free(name);
  return copy;
}

// A block's shared memory: new for each, of exact size.
template <class K>
class SharedMemoryOf {
 public:
  explicit SharedMemoryOf(unsigned char poison) : shared_(new (Allocate()) typename K::Shared) {
    std::memset(static_cast<void*>(shared_), poison, sizeof *shared_);
  }
  ~SharedMemoryOf() { ::operator delete (static_cast<void*>(shared_), std::align_val_t{cuda::kSharedAlignment}); }
  SharedMemoryOf(const SharedMemoryOf&) = delete;
  SharedMemoryOf& operator=(const SharedMemoryOf&) = delete;
  typename K::Shared& operator*() const { return *shared_; }

 private:
  static void* Allocate() {
    return ::operator new (sizeof(typename K::Shared), std::align_val_t{cuda::kSharedAlignment});
  }
  typename K::Shared* shared_;
};

template <cuda::Kernel K>
void CheckLimits(cuda::Grid grid) {
  static_assert(sizeof(K) <= cuda::kMaxKernelBytes && alignof(typename K::Shared) <= cuda::kSharedAlignment);
  const auto check = [](const char* what, size_t is, size_t most) {
    if (is <= most) return;
    throw SimtError("kernel " + KernelName<K>() + ": " + std::to_string(is) + " " + what + ", of at most " +
                    std::to_string(most));
  };
  check("bytes of shared memory", sizeof(typename K::Shared), cuda::kMaxSharedBytes<K>);
  check("blocks in x", grid.x, cuda::kMaxGridX);
  check("blocks in y", grid.y, cuda::kMaxGridY);
}

// A grid's blocks, in an order.
inline std::vector<uint64_t> BlocksInOrder(cuda::Grid grid, const Schedule& schedule) {
  std::vector<uint64_t> blocks(size_t{grid.x} * grid.y);
  std::iota(blocks.begin(), blocks.end(), uint64_t{0});
  if (schedule.order == Order::kDescending) std::reverse(blocks.begin(), blocks.end());
  if (schedule.order == Order::kRandom) std::shuffle(blocks.begin(), blocks.end(), Random(schedule.seed));
  return blocks;
}

template <cuda::Kernel K>
void RunLaunch(const K& kernel, cuda::Grid grid, const Schedule& schedule) {
  const Unwatched unwatched;
  CheckLimits<K>(grid);
  EmulatedBlock& block = EmulatedBlock::OfThisThread();
  block.BeginLaunch({KernelName<K>(), grid, schedule});
  const K copy = kernel;  // as a GPU's parameters
  for (const uint64_t i : BlocksInOrder(grid, schedule)) {
    const SharedMemoryOf<K> shared(schedule.poison);
    block.Run(K::kThreads, static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x),
              {&*shared, sizeof *shared}, [&](EmulatedBlock& b, unsigned thread) {
                EmulatedDevice device(b, thread);
                copy(device, *shared);
              });
  }
  block.EndLaunch();
}

}  // namespace detail

// All blocks have run when it returns; a grid without blocks does nothing. Throws SimtError, and nothing is known then
// of what the kernel should have written.
template <cuda::Kernel K>
void Launch(const K& kernel, cuda::Grid grid, const Schedule& schedule) {
  const auto run = [&](const Schedule& in) { detail::RunLaunch(kernel, grid, in); };
  if (LaunchWitness* witness = LaunchWitness::Current()) {
    witness->Launched(detail::KernelName<K>(), run, schedule);
  } else {
    run(schedule);
  }
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_SIMT_LAUNCH_H_
