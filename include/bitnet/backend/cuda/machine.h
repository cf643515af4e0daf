// The machine that a backend runs on: memory, queues, launches. CudaMachine (cuda_machine.cuh) is a GPU by the CUDA
// runtime; the tests have an emulated one (tests/testing/emulated_machine.h). A machine is a handle, which is copied.
//
// No member throws. Whoever is told of a fault decides what becomes of it; after one of FaultKind::kLost every call
// fails so.
#ifndef BITNET_BACKEND_CUDA_MACHINE_H_
#define BITNET_BACKEND_CUDA_MACHINE_H_

#include <concepts>
#include <cstddef>
#include <type_traits>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/fault.h"

namespace bitnet::cuda {

namespace detail {
struct KernelExample {
  static constexpr unsigned kThreads = 32;
  using Shared = NoShared;
  template <class Device>
  BITNET_DEVICE void operator()(Device&, Shared&) const {}
};
}  // namespace detail

// Queue: what is put into it happens in order, some time. Graph: what a queue captured, to be replayed as one.
template <class M>
concept Machine = std::copy_constructible<M> && std::default_initializable<typename M::Queue> &&
    std::is_nothrow_move_constructible_v<typename M::Queue> && std::is_nothrow_move_assignable_v<typename M::Queue> &&
    std::default_initializable<typename M::Graph> && std::is_nothrow_move_assignable_v<typename M::Graph> &&
    requires(const M machine, typename M::Queue& queue, typename M::Graph& graph, void* p, const void* from,
             size_t bytes, void (*function)(void*)) {
  // Memory of the device, at a multiple of 256 bytes; and of the host, which copies in a queue may read and write.
  // Where it has not ended, and where a copy at once fails, the device is lost: nobody waits there for a Result.
  { machine.Allocate(bytes, p) } -> std::same_as<Fault>;
  { machine.Free(p) }
  noexcept;
  { machine.AllocateHost(bytes, p) } -> std::same_as<Fault>;
  { machine.FreeHost(p) }
  noexcept;
  // Copies at once: (to, from, bytes).
  { machine.Upload(p, from, bytes) } -> std::same_as<Fault>;
  { machine.Download(p, from, bytes) } -> std::same_as<Fault>;

  { machine.Open(queue) } -> std::same_as<Fault>;
  { machine.Launch(queue, detail::KernelExample(), Grid()) } -> std::same_as<Fault>;
  // Between the host's memory of AllocateHost and the device's, or within the device's.
  { machine.Copy(queue, p, from, bytes) } -> std::same_as<Fault>;
  // Calls function(p) on the host, in the queue's order. It may not use the machine.
  { machine.CallHost(queue, function, p) } -> std::same_as<Fault>;
  { machine.Wait(queue) } -> std::same_as<Fault>;
  // What is put into the queue between the two does not happen, but becomes the graph.
  { machine.BeginCapture(queue) } -> std::same_as<Fault>;
  { machine.EndCapture(queue, graph) } -> std::same_as<Fault>;
  { machine.Replay(queue, graph) } -> std::same_as<Fault>;
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_MACHINE_H_
