// Stream: the operations of one state in order, on a machine. They are kept as commands until somebody waits for a
// result; the commands of a pass that is the same as one before, as those of decoding are, go out as one graph.
// What the host gives is copied when it is given, what the host asks for is there after Finish.
#ifndef BITNET_BACKEND_CUDA_STREAM_H_
#define BITNET_BACKEND_CUDA_STREAM_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "bitnet/backend/cuda/commands.h"
#include "bitnet/backend/cuda/machine.h"
#include "bitnet/backend/cuda/memory.h"
#include "bitnet/backend/cuda/scratch.h"
#include "bitnet/base/assert.h"
#include "bitnet/base/result.h"
#include "bitnet/base/size.h"

namespace bitnet::cuda {

template <Machine M>
class Stream {
 public:
  using Graph = typename M::Graph;
  using Queue = typename M::Queue;

  Stream() = default;
  explicit Stream(const M& machine) : state_(std::make_unique<State>(machine)) {
    state_->fault = machine.Open(state_->queue);
  }
  Stream(Stream&&) noexcept = default;
  Stream& operator=(Stream&& other) noexcept {
    Stream old(std::move(*this));
    state_ = std::move(other.state_);
    return *this;
  }
  // What is under way ends first: it may use memory that goes next. What has not gone out never does.
  ~Stream() {
    if (state_ != nullptr) static_cast<void>(machine().Wait(state_->queue));
  }

  const M& machine() const { return state_->machine; }

  template <Kernel K>
  void Launch(const K& kernel, Grid grid) {
    if (grid.x != 0 && grid.y != 0) Add(LaunchCommand<K>{kernel, grid});
  }

  // Memory of this stream, of unspecified contents: an operation's own until it ends.
  template <class T>
  T* Scratch(ScratchSlot slot, size_t count) {
    Memory<M>& memory = state_->scratch[static_cast<size_t>(slot)];
    Grow(memory, ElementCount<T>(count) * sizeof(T));
    return memory.template As<T>();
  }

  // Memory for so many bytes, whatever was in it.
  void Grow(Memory<M>& memory, size_t bytes) {
    if (memory.bytes() >= bytes) return;
    Memory<M> grown(machine(), bytes);
    Keep(std::move(memory));
    memory = std::move(grown);
  }
  // Memory that nobody wants any more, but commands may.
  void Keep(Memory<M> memory) {
    if (memory.data() != nullptr) state_->kept.push_back(std::move(memory));
  }

  // Within the device's memory, or between it and what Stage gave.
  void Copy(void* to, const void* from, size_t bytes) {
    if (bytes != 0) Add(CopyCommand{to, from, bytes});
  }
  // From the host, read now. (`to` on the device.)
  void CopyIn(void* to, const void* from, size_t bytes) {
    if (bytes == 0) return;
    if (std::byte* staged = Stage(bytes)) {
      std::memcpy(staged, from, bytes);
      Add(CopyCommand{to, staged, bytes});
    }
  }
  // To the host, there after Finish.
  void CopyOut(void* to, const void* from, size_t bytes) {
    if (bytes == 0) return;
    if (std::byte* staged = Stage(bytes)) {
      state_->deliveries.reserve(state_->deliveries.size() + 1);
      Add(CopyCommand{staged, from, bytes});
      state_->deliveries.push_back({to, staged, bytes});
    }
  }

  // Memory on the host that lives until Finish, for copies and what is called there; null after a fault.
  std::byte* Stage(size_t bytes) { return state_->staging.Take(machine(), bytes); }
  // call() on the host, in order; it is copied byte by byte. Where it runs out of memory Finish throws.
  template <class Call>
  void CallHost(const Call& call) {
    static_assert(std::is_trivially_copyable_v<Call>);
    struct Staged {
      Call call;
      std::atomic<bool>* memory_ended;
    };
    std::byte* staged = Stage(sizeof(Staged));
    if (staged == nullptr) return;
    new (staged) Staged{call, &state_->memory_ended};
    Add(CallCommand{[](void* p) {
                      const Staged& to_call = *std::launder(static_cast<Staged*>(p));
#if defined(__cpp_exceptions)
                      try {
                        to_call.call();
                      } catch (const std::bad_alloc&) {
                        *to_call.memory_ended = true;
                      }
#else
                      to_call.call();
#endif
                    },
                    staged});
  }

  // Waits for all of it. After an error the stream can be used again, unless the device is lost.
  Result<Done> Finish() {
    if (state_ == nullptr) return Done{};
    if (const Fault fault = WaitAndDeliver()) return ErrorOf(fault);
    return Done{};
  }
  // The same, where the caller has no Result to give: a fault comes out of the next Finish.
  void FinishQuietly() {
    if (state_ == nullptr) return;
    const Fault fault = WaitAndDeliver();
    if (fault) state_->fault = fault;
  }

  // How many passes went out as a graph (for tests and benchmarks).
  size_t replays() const { return state_ == nullptr ? 0 : state_->replays; }
  // How many commands wait.
  size_t waiting() const { return state_ == nullptr ? 0 : state_->commands.count(); }

 private:
  template <Kernel K>
  struct LaunchCommand {
    K kernel;
    Grid grid;
    Fault operator()(const M& machine, Queue& queue) const { return machine.Launch(queue, kernel, grid); }
  };
  struct CopyCommand {
    void* to;
    const void* from;
    size_t bytes;
    Fault operator()(const M& machine, Queue& queue) const { return machine.Copy(queue, to, from, bytes); }
  };
  struct CallCommand {
    void (*function)(void*);
    void* argument;
    Fault operator()(const M& machine, Queue& queue) const { return machine.CallHost(queue, function, argument); }
  };
  // Commands that went out, and from the second time on their graph.
  struct Known {
    Commands<M> commands;
    Graph graph;
    bool is_captured = false;
  };
  // As many as take turns: a pass, a sampler, what a caller's hook writes.
  static constexpr size_t kKnown = 4;
  struct Delivery {
    void* to;
    const void* from;
    size_t bytes;
  };
  struct State {
    explicit State(const M& m) : machine(m) {}
    M machine;
    Queue queue;
    Commands<M> commands;             // that wait
    std::array<Known, kKnown> known;  // that went out, the last first
    Fault fault;
    Staging<M> staging;
    std::array<Memory<M>, kScratchSlots> scratch;
    std::vector<Memory<M>> kept;
    std::vector<Delivery> deliveries;
    std::atomic<bool> memory_ended = false;
    size_t replays = 0;
  };

  // A long prompt goes out in parts: the device begins while the host still says what comes.
  static constexpr size_t kMostBytes = size_t{1} << 18;

  template <class Command>
  void Add(const Command& command) {
    state_->commands.Add(command);
    if (state_->commands.bytes() >= kMostBytes) Submit();
  }

  Fault WaitAndDeliver() {
    Submit();
    State& s = *state_;
    if (const Fault fault = machine().Wait(s.queue); fault && !s.fault) s.fault = fault;
    const Fault fault = std::exchange(s.fault, Fault());
    if (!fault) {
      for (const Delivery& delivery : s.deliveries) std::memcpy(delivery.to, delivery.from, delivery.bytes);
    }
    s.deliveries.clear();
    s.staging.TakeBack();
    s.kept.clear();
    if (s.memory_ended.exchange(false)) ThrowHostMemoryEnded();
    return fault;
  }
  void Submit() {
    State& s = *state_;
    if (s.commands.count() == 0) return;
    if (!s.fault) s.fault = Send();
    s.commands.Clear();
  }
  Fault Send() {
    State& s = *state_;
    Known* known = Find();
    if (known == nullptr) {
      // The one that was met longest ago makes room.
      std::rotate(s.known.begin(), s.known.end() - 1, s.known.end());
      s.known[0].is_captured = false;
      const Fault fault = s.commands.Run(s.machine, s.queue);
      std::swap(s.known[0].commands, s.commands);
      return fault;
    }
    // (A graph that cannot be had is no fault.)
    if (!known->is_captured) known->is_captured = Capture(known->graph);
    if (!known->is_captured) return s.commands.Run(s.machine, s.queue);
    ++s.replays;
    return s.machine.Replay(s.queue, known->graph);
  }
  // The same commands, if they were met lately; then they are the first.
  Known* Find() {
    State& s = *state_;
    const auto at =
        std::find_if(s.known.begin(), s.known.end(), [&](const Known& known) { return known.commands == s.commands; });
    if (at == s.known.end()) return nullptr;
    std::rotate(s.known.begin(), at, at + 1);
    return &s.known[0];
  }
  bool Capture(Graph& graph) {
    State& s = *state_;
    if (s.machine.BeginCapture(s.queue)) return false;
    const Fault ran = s.commands.Run(s.machine, s.queue);
    const Fault ended = s.machine.EndCapture(s.queue, graph);
    return !ran && !ended;
  }
  [[noreturn]] static void ThrowHostMemoryEnded() {
#if defined(__cpp_exceptions)
    throw std::bad_alloc();
#else
    bitnet::detail::AssertionFailed(__FILE__, __LINE__, "the host's memory has ended");
#endif
  }

  std::unique_ptr<State> state_;
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_STREAM_H_
