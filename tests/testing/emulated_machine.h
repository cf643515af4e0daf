// EmulatedMachine: a Machine (backend/cuda/machine.h) on the host. Kernels run on the emulated device, in lane orders
// that take turns; memory is the host's, of exact sizes, so that the address sanitizer sees what lies beside it. What a
// queue is given happens at once or as late as it may, by turns of queues; and any call can be told to fail.
#ifndef BITNET_TESTS_TESTING_EMULATED_MACHINE_H_
#define BITNET_TESTS_TESTING_EMULATED_MACHINE_H_

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "bitnet/backend/cuda/machine.h"
#include "testing/launch_witness.h"
#include "testing/simt.h"

namespace bitnet::testing {

class EmulatedMachine {
 public:
  using Device = EmulatedDevice;
  using Fault = cuda::Fault;
  using FaultKind = cuda::FaultKind;
  using Work = std::function<Fault()>;

  struct Queue {
    bool is_open = false;
    bool is_late = false;       // what it is given happens when somebody waits
    bool is_capturing = false;  // it does not happen
    std::vector<Work> waiting, captured;
  };
  struct Graph {
    std::vector<Work> work;
  };

  // Of all copies of a machine.
  struct Counts {
    std::atomic<size_t> allocations = 0;  // that are alive
    std::atomic<size_t> allocated = 0;    // ever
    std::atomic<size_t> calls = 0;
    std::atomic<size_t> launches = 0;
    std::atomic<size_t> queues = 0;
    std::atomic<size_t> fails_at = 0;  // the call that fails, of those that can, from here on: 1 is the next; 0: none
    std::atomic<FaultKind> fails_with = FaultKind::kOther;
    std::atomic<bool> is_lost = false;
  };
  Counts& counts() const { return *counts_; }

  Fault Allocate(size_t bytes, void*& p) const {
    if (const Fault fault = CallOrLose("Allocate")) return fault;
    if (posix_memalign(&p, kAlignment, bytes) != 0) return Failed("Allocate", FaultKind::kOutOfMemory);
    std::memset(p, 0xA5, bytes);
    if (LaunchWitness* witness = LaunchWitness::Current()) witness->Allocated(p, bytes);
    ++counts_->allocations;
    ++counts_->allocated;
    return {};
  }
  void Free(void* p) const noexcept {
    if (LaunchWitness* witness = LaunchWitness::Current()) witness->Freed(p);
    std::free(p);
    --counts_->allocations;
  }
  Fault AllocateHost(size_t bytes, void*& p) const { return Allocate(bytes, p); }
  void FreeHost(void* p) const noexcept { Free(p); }
  Fault Upload(void* to, const void* from, size_t bytes) const {
    if (const Fault fault = CallOrLose("Upload")) return fault;
    std::memcpy(to, from, bytes);
    return {};
  }
  Fault Download(void* to, const void* from, size_t bytes) const { return Upload(to, from, bytes); }

  Fault Open(Queue& queue) const {
    if (const Fault fault = Call("Open")) return fault;
    queue.is_open = true;
    queue.is_late = counts_->queues++ % 2 == 0;
    return {};
  }
  template <cuda::Kernel K>
  Fault Launch(Queue& queue, const K& kernel, cuda::Grid grid) const {
    return Put(queue, "Launch", [kernel, grid, counts = counts_]() -> Fault {
      const Schedule& schedule = kSchedules[counts->launches++ % std::size(kSchedules)];
      testing::Launch(kernel, grid, schedule);
      return {};
    });
  }
  Fault Copy(Queue& queue, void* to, const void* from, size_t bytes) const {
    return Put(queue, "Copy", [=]() -> Fault {
      std::memcpy(to, from, bytes);
      return {};
    });
  }
  Fault CallHost(Queue& queue, void (*function)(void*), void* p) const {
    return Put(queue, "CallHost", [=]() -> Fault {
      function(p);
      return {};
    });
  }
  Fault Wait(Queue& queue) const {
    if (const Fault fault = Call("Wait")) {
      queue.waiting.clear();
      return fault;
    }
    for (const Work& work : std::exchange(queue.waiting, {})) {
      if (const Fault fault = work()) return fault;
    }
    return {};
  }
  Fault BeginCapture(Queue& queue) const {
    if (const Fault fault = Call("BeginCapture")) return fault;
    queue.is_capturing = true;
    return {};
  }
  Fault EndCapture(Queue& queue, Graph& graph) const {
    queue.is_capturing = false;
    std::vector<Work> captured = std::exchange(queue.captured, {});
    if (const Fault fault = Call("EndCapture")) return fault;
    graph.work = std::move(captured);
    return {};
  }
  Fault Replay(Queue& queue, Graph& graph) const {
    return Put(queue, "Replay", [work = graph.work]() -> Fault {
      for (const Work& each : work) {
        if (const Fault fault = each()) return fault;
      }
      return {};
    });
  }

 private:
  static constexpr size_t kAlignment = 256;

  static Fault Failed(const char* call, FaultKind kind) { return {kind, call, 999, "emulatedError", "it was told to"}; }
  Fault Call(const char* name) const {
    ++counts_->calls;
    if (counts_->is_lost) return Failed(name, FaultKind::kLost);
    if (counts_->fails_at != 0 && --counts_->fails_at == 0) {
      const FaultKind kind = counts_->fails_with;
      if (kind == FaultKind::kLost) counts_->is_lost = true;
      return Failed(name, kind);
    }
    return {};
  }
  // Of calls that fail by the end of memory or the loss of the device alone.
  Fault CallOrLose(const char* name) const {
    if (counts_->fails_at == 0 || counts_->fails_with != FaultKind::kOther) return Call(name);
    ++counts_->calls;
    return {};
  }
  Fault Put(Queue& queue, const char* name, Work work) const {
    if (const Fault fault = Call(name)) return fault;
    if (queue.is_capturing) {
      queue.captured.push_back(std::move(work));
    } else if (queue.is_late) {
      queue.waiting.push_back(std::move(work));
    } else {
      return work();
    }
    return {};
  }

  std::shared_ptr<Counts> counts_ = std::make_shared<Counts>();
};

static_assert(cuda::Machine<EmulatedMachine>);

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_EMULATED_MACHINE_H_
