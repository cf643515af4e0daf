// CudaMachine: a GPU, by the CUDA runtime. For programs that nvcc compiles.
#ifndef BITNET_BACKEND_CUDA_CUDA_MACHINE_CUH_
#define BITNET_BACKEND_CUDA_CUDA_MACHINE_CUH_

#include <cuda_runtime.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "bitnet/backend/cuda/device.cuh"
#include "bitnet/backend/cuda/fault.h"
#include "bitnet/backend/cuda/machine.h"
#include "bitnet/base/result.h"

namespace bitnet::cuda {

class CudaMachine {
 public:
  using Device = CudaDevice;

  // A queue and a graph of the runtime, which go with their owner.
  class Queue {
   public:
    Queue() = default;
    Queue(Queue&& other) noexcept : stream_(std::exchange(other.stream_, nullptr)) {}
    Queue& operator=(Queue&& other) noexcept {
      std::swap(stream_, other.stream_);
      return *this;
    }
    ~Queue() {
      if (stream_ != nullptr) static_cast<void>(cudaStreamDestroy(stream_));
    }

   private:
    friend class CudaMachine;
    cudaStream_t stream_ = nullptr;
  };
  class Graph {
   public:
    Graph() = default;
    Graph(Graph&& other) noexcept : exec_(std::exchange(other.exec_, nullptr)) {}
    Graph& operator=(Graph&& other) noexcept {
      std::swap(exec_, other.exec_);
      return *this;
    }
    ~Graph() {
      if (exec_ != nullptr) static_cast<void>(cudaGraphExecDestroy(exec_));
    }

   private:
    friend class CudaMachine;
    cudaGraphExec_t exec_ = nullptr;
  };

  // Of the machine's GPUs the one with this number. Refuses, in a sentence, where there is no driver, no such GPU, or
  // one before compute capability 8.0.
  static Result<CudaMachine> Find(int device) {
    int devices = 0;
    const cudaError_t counted = cudaGetDeviceCount(&devices);
    if (counted == cudaErrorNoDevice || (counted == cudaSuccess && devices == 0)) {
      return Error{"CUDA: this machine has no GPU that its driver knows"};
    }
    if (counted == cudaErrorInsufficientDriver) {
      return Error{"CUDA: there is no NVIDIA driver, or it is older than this program's CUDA runtime"};
    }
    if (counted != cudaSuccess) return ErrorOf(FaultOf("cudaGetDeviceCount", counted));
    if (device < 0 || device >= devices) {
      return Error{"CUDA: there is no GPU " + std::to_string(device) + "; the machine has " + std::to_string(devices)};
    }
    int major = 0;
    const cudaError_t asked = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    if (asked != cudaSuccess) return ErrorOf(FaultOf("cudaDeviceGetAttribute", asked));
    if (major < 8) {
      return Error{"CUDA: GPU " + std::to_string(device) + " has compute capability " + std::to_string(major) +
                   ".x; 8.0 or newer is needed"};
    }
    return CudaMachine(device);
  }

  int device() const { return device_; }

  Fault Allocate(size_t bytes, void*& p) const {
    return CallOrLose("cudaMalloc", [&] { return cudaMalloc(&p, bytes); });
  }
  void Free(void* p) const noexcept {
    static_cast<void>(Call("cudaFree", [&] { return cudaFree(p); }));
  }
  Fault AllocateHost(size_t bytes, void*& p) const {
    return CallOrLose("cudaHostAlloc", [&] { return cudaHostAlloc(&p, bytes, cudaHostAllocPortable); });
  }
  void FreeHost(void* p) const noexcept {
    static_cast<void>(Call("cudaFreeHost", [&] { return cudaFreeHost(p); }));
  }
  Fault Upload(void* to, const void* from, size_t bytes) const {
    return CallOrLose("cudaMemcpy", [&] { return cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice); });
  }
  Fault Download(void* to, const void* from, size_t bytes) const {
    return CallOrLose("cudaMemcpy", [&] { return cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost); });
  }

  Fault Open(Queue& queue) const {
    return Call("cudaStreamCreateWithFlags",
                [&] { return cudaStreamCreateWithFlags(&queue.stream_, cudaStreamNonBlocking); });
  }
  template <Kernel K>
  Fault Launch(Queue& queue, const K& kernel, Grid grid) const {
    return Call("a kernel's launch", [&] { return cuda::Launch(kernel, grid, queue.stream_); });
  }
  Fault Copy(Queue& queue, void* to, const void* from, size_t bytes) const {
    return Call("cudaMemcpyAsync", [&] { return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, queue.stream_); });
  }
  Fault CallHost(Queue& queue, void (*function)(void*), void* p) const {
    return Call("cudaLaunchHostFunc", [&] { return cudaLaunchHostFunc(queue.stream_, function, p); });
  }
  Fault Wait(Queue& queue) const {
    return Call("cudaStreamSynchronize", [&] { return cudaStreamSynchronize(queue.stream_); });
  }
  Fault BeginCapture(Queue& queue) const {
    return Call("cudaStreamBeginCapture",
                [&] { return cudaStreamBeginCapture(queue.stream_, cudaStreamCaptureModeThreadLocal); });
  }
  Fault EndCapture(Queue& queue, Graph& graph) const {
    cudaGraph_t captured = nullptr;
    Fault fault = Call("cudaStreamEndCapture", [&] { return cudaStreamEndCapture(queue.stream_, &captured); });
    if (fault) return fault;
    Graph made;
    fault =
        Call("cudaGraphInstantiateWithFlags", [&] { return cudaGraphInstantiateWithFlags(&made.exec_, captured, 0); });
    static_cast<void>(cudaGraphDestroy(captured));
    if (!fault) graph = std::move(made);
    return fault;
  }
  Fault Replay(Queue& queue, Graph& graph) const {
    return Call("cudaGraphLaunch", [&] { return cudaGraphLaunch(graph.exec_, queue.stream_); });
  }

 private:
  explicit CudaMachine(int device) : device_(device), lost_(std::make_shared<std::atomic<int>>(0)) {}

  template <class F>
  Fault Call(const char* name, F&& f) const {
    // A thread has a current device of its own.
    cudaError_t error = static_cast<cudaError_t>(lost_->load(std::memory_order_relaxed));
    if (error == cudaSuccess) error = cudaSetDevice(device_);
    if (error == cudaSuccess) error = f();
    if (error == cudaSuccess) return {};
    static_cast<void>(cudaGetLastError());  // it is told once
    Fault fault = FaultOf(name, error);
    if (lost_->load(std::memory_order_relaxed) != 0) fault.kind = FaultKind::kLost;
    if (fault.kind == FaultKind::kLost) lost_->store(static_cast<int>(error), std::memory_order_relaxed);
    return fault;
  }
  // Of calls whose faults nobody waits for: all but the end of memory are remembered.
  template <class F>
  Fault CallOrLose(const char* name, F&& f) const {
    Fault fault = Call(name, f);
    if (fault.kind == FaultKind::kOther) {
      fault.kind = FaultKind::kLost;
      lost_->store(fault.code, std::memory_order_relaxed);
    }
    return fault;
  }
  static Fault FaultOf(const char* call, cudaError_t error) {
    return {KindOf(error), call, static_cast<int>(error), cudaGetErrorName(error), cudaGetErrorString(error)};
  }
  static FaultKind KindOf(cudaError_t error) {
    switch (static_cast<int>(error)) {
      case cudaErrorMemoryAllocation:
        return FaultKind::kOutOfMemory;
      // After these a process cannot use its context any more. (Numbers: names that not every toolkit has.)
      case 226:  // cudaErrorContained
      case 721:  // cudaErrorTensorMemoryLeak
      case 911:  // cudaErrorExternalDevice
      case cudaErrorMpsClientTerminated:
      case cudaErrorNvlinkUncorrectable:
      case cudaErrorIllegalAddress:
      case cudaErrorLaunchTimeout:
      case cudaErrorAssert:
      case cudaErrorHardwareStackError:
      case cudaErrorIllegalInstruction:
      case cudaErrorMisalignedAddress:
      case cudaErrorInvalidAddressSpace:
      case cudaErrorInvalidPc:
      case cudaErrorLaunchFailure:
      case cudaErrorECCUncorrectable:
      case cudaErrorContextIsDestroyed:
        return FaultKind::kLost;
      default:
        return FaultKind::kOther;
    }
  }

  int device_ = 0;
  std::shared_ptr<std::atomic<int>> lost_;  // the error after which nothing runs; 0: it is well
};

static_assert(Machine<CudaMachine>);

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_CUDA_MACHINE_CUH_
