// TestMachine: GPU 0, which counts the memory that it gives and the graphs that it replays, and may be told to capture
// none. TestGpuBackend: the backend on it. (CudaBackend itself, with a constructor without arguments: gpu_backend.cuh.)
#ifndef BITNET_TESTS_CUDA_DEVICE_TEST_MACHINE_CUH_
#define BITNET_TESTS_CUDA_DEVICE_TEST_MACHINE_CUH_

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

#include "bitnet/cuda.h"

namespace bitnet::testing {

class TestMachine : public cuda::CudaMachine {
 public:
  // Of all copies of a machine.
  struct Counts {
    std::atomic<size_t> allocations = 0;  // that are alive
    std::atomic<size_t> allocated = 0;    // ever
    std::atomic<size_t> replays = 0;
    std::atomic<bool> has_graphs = true;
  };

  TestMachine() : CudaMachine(*CudaMachine::Find(0)) {}
  Counts& counts() const { return *counts_; }

  cuda::Fault Allocate(size_t bytes, void*& p) const { return Counted(CudaMachine::Allocate(bytes, p)); }
  void Free(void* p) const noexcept {
    --counts_->allocations;
    CudaMachine::Free(p);
  }
  cuda::Fault AllocateHost(size_t bytes, void*& p) const { return Counted(CudaMachine::AllocateHost(bytes, p)); }
  void FreeHost(void* p) const noexcept {
    --counts_->allocations;
    CudaMachine::FreeHost(p);
  }
  cuda::Fault BeginCapture(Queue& queue) const {
    if (!counts_->has_graphs) return {cuda::FaultKind::kOther, "BeginCapture", 0, "none", "it was told to"};
    return CudaMachine::BeginCapture(queue);
  }
  cuda::Fault Replay(Queue& queue, Graph& graph) const {
    ++counts_->replays;
    return CudaMachine::Replay(queue, graph);
  }

 private:
  cuda::Fault Counted(cuda::Fault fault) const {
    if (!fault) ++counts_->allocations, ++counts_->allocated;
    return fault;
  }

  std::shared_ptr<Counts> counts_ = std::make_shared<Counts>();
};

static_assert(cuda::Machine<TestMachine>);

struct TestGpuBackend : cuda::BasicCudaBackend<TestMachine> {
  TestGpuBackend() : BasicCudaBackend(TestMachine()) {}
};

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_CUDA_DEVICE_TEST_MACHINE_CUH_
