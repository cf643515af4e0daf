// EmulatedBlock: the threads of one block at a time, as fibers of this thread. A collective suspends a thread until all
// that must take part have come; one that some thread will never come to is an error at once.
#ifndef BITNET_TESTS_TESTING_SIMT_BLOCK_H_
#define BITNET_TESTS_TESTING_SIMT_BLOCK_H_

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/base/random.h"
#include "testing/fiber.h"
#include "testing/sanitizers.h"
#include "testing/simt_schedule.h"

namespace bitnet::testing {

// What a GPU would not say: a kernel that may hang, or whose results are not defined, or that cannot be launched.
class SimtError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Where a kernel calls the device. (As std::source_location, which clang 14 does not have.)
struct CallSite {
  const char* file = nullptr;
  unsigned line = 0;
  static constexpr CallSite Here(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
    return {file, line};
  }
  friend bool operator==(const CallSite& a, const CallSite& b) {
    return a.line == b.line && (a.file == b.file || std::string_view(a.file) == b.file);
  }
};

// What threads meet at.
struct Collective {
  enum class Kind { kBarrier, kShuffle, kBallot, kMma };
  Kind kind = Kind::kBarrier;
  size_t bytes = 0;  // that each thread gives
  CallSite site;

  friend bool operator==(const Collective&, const Collective&) = default;

  std::string Name() const {
    constexpr std::array<const char*, 4> kNames = {"Barrier", "Shuffle", "Ballot", "Mma"};
    std::string name = kNames[static_cast<size_t>(kind)];
    if (kind == Kind::kShuffle) name += " of " + std::to_string(bytes) + " bytes";
    return name + " (" + site.file + ":" + std::to_string(site.line) + ")";
  }
};

// Barriers and waits for asynchronous copies: those that threads came to, and one that they pass by as if it were not
// there.
struct Waits {
  std::vector<CallSite> met;
  CallSite left_out = {};
};

class EmulatedBlock {
 public:
  // What the threads of a warp show each other in a collective.
  static constexpr size_t kSlotBytes = 24;
  struct alignas(8) Slot {
    std::array<unsigned char, kSlotBytes> bytes;
  };
  using Slots = std::array<Slot, cuda::kWarp>;

  struct Copy {
    void* to;
    const void* from;
    unsigned bytes;
    unsigned group;
  };
  // A thread's asynchronous copies that it has not waited for.
  struct Copies {
    std::vector<Copy> list;
    unsigned groups = 0;  // ended
  };

  struct Launched {
    std::string kernel;
    cuda::Grid grid;
    Schedule schedule;
  };
  struct SharedMemory {
    const void* begin;
    size_t bytes;
  };
  using Body = std::function<void(EmulatedBlock&, unsigned thread)>;

  EmulatedBlock() = default;
  ~EmulatedBlock() {
    const Unwatched unwatched;
    fibers_.clear();
  }
  EmulatedBlock(const EmulatedBlock&) = delete;
  EmulatedBlock& operator=(const EmulatedBlock&) = delete;

  static EmulatedBlock& OfThisThread() {
    static thread_local EmulatedBlock block;
    return block;
  }

  // ---- For a launch --------------------------------------------------------------------------------------------

  void BeginLaunch(Launched launched) {
    launched_ = std::move(launched);
    random_ = Random(launched_.schedule.seed);
    Release(&launch_begins_);
  }

  // Calls body(*this, thread) in `threads` threads. All that the host did before BeginLaunch happens before it; blocks
  // are not ordered.
  void Run(unsigned threads, unsigned x, unsigned y, SharedMemory shared, Body body) {
    threads_ = threads;
    x_ = x;
    y_ = y;
    shared_ = shared;
    body_ = std::move(body);
    while (fibers_.size() < threads) fibers_.push_back(std::make_unique<Fiber>(&RunThreads));
    // To the thread sanitizer the same thread of two blocks is one; so another fiber each time.
    rotation_ = (rotation_ + 1) % threads;
    const unsigned warps = threads / cuda::kWarp;
    warps_.resize(warps);
    for (Warp& warp : warps_) warp.ready = ~0u, warp.arrived = 0, warp.returned = 0;
    warps_with_ready_ = warps == 32 ? ~0u : (1u << warps) - 1;
    copies_.resize(threads);
    for (Copies& copies : copies_) copies.list.clear(), copies.groups = 0;
    at_barrier_ = 0;
    returned_ = 0;
    error_ = nullptr;
    running_ = FirstReady();
    Fiber::Switch(host_, FiberOf(running_));
    if (error_ != nullptr) {
      EndLaunch();
      std::rethrow_exception(std::exchange(error_, nullptr));
    }
  }

  void EndLaunch() {
    body_ = nullptr;
    Acquire(&launch_ends_);
  }

  // Of launches from now on; null: nobody wants to know.
  void SetWaits(Waits* waits) { waits_ = waits; }

  // ---- For a thread --------------------------------------------------------------------------------------------

  const Launched& launched() const { return launched_; }
  unsigned x() const { return x_; }
  unsigned y() const { return y_; }
  const SharedMemory& shared() const { return shared_; }
  Copies& CopiesOf(unsigned thread) { return copies_[thread]; }

  // Where this collective's values are shown: not those of the one before, which others may yet have to read.
  Slots& SlotsOf(unsigned warp) { return warps_[warp].slots[warps_[warp].met % 2]; }

  // The thread that runs waits for the others of its warp, or of the block.
  void Meet(const Collective& collective) {
    const unsigned thread = running_;
    Warp& warp = warps_[thread / cuda::kWarp];
    const bool is_barrier = collective.kind == Collective::Kind::kBarrier;
    CheckMeeting(thread, collective);
    warp.collective = collective;
    warp.arrived |= 1u << thread % cuda::kWarp;
    SetWaiting(thread);
    if (is_barrier) {
      barrier_ = collective;
      if (++at_barrier_ == threads_) {
        at_barrier_ = 0;
        ++barriers_;
        for (unsigned i = 0; i < warps_.size(); ++i) LetGo(i);
      }
    } else if (warp.arrived == ~0u) {
      LetGo(thread / cuda::kWarp);
    }
    if (Fiber* next = Next()) Fiber::Switch(FiberOf(thread), *next);
    if (error_ != nullptr) throw Abandoned();
  }

  // Whether a thread that comes to this wait passes by.
  bool PassesBy(const CallSite& site) {
    const Unwatched unwatched;
    if (waits_ == nullptr) return false;
    if (std::find(waits_->met.begin(), waits_->met.end(), site) == waits_->met.end()) waits_->met.push_back(site);
    return site == waits_->left_out;
  }

  // Meet of all threads, at which memory is seen. (Every other one, since a thread may come to the next barrier before
  // another has gone on from this one.)
  void MeetAtBarrier(const CallSite& site) {
    void* order = (Unwatched(), &barrier_orders_[barriers_ % 2]);
    Release(order);
    {
      const Unwatched unwatched;
      Meet({Collective::Kind::kBarrier, 0, site});
    }
    Acquire(order);
  }

  [[noreturn]] void Fail(unsigned thread, const std::string& what) const {
    throw SimtError("kernel " + launched_.kernel + ", block (" + std::to_string(x_) + ", " + std::to_string(y_) +
                    "), thread " + std::to_string(thread) + ": " + what);
  }

 private:
  struct Warp {
    // Of each thread one bit: can run, waits at `collective`, has returned.
    uint32_t ready;
    uint32_t arrived;
    uint32_t returned;
    Collective collective;
    unsigned met = 0;  // collectives that all have come to
    std::array<Slots, 2> slots;
  };

  // Thrown in a thread that waits when another has failed.
  struct Abandoned {};

  // What a fiber does: in each block one thread.
  static void RunThreads() {
    EmulatedBlock& block = (Unwatched(), OfThisThread());
    for (;;) {
      const unsigned thread = (Unwatched(), block.running_);
      block.RunThread(thread);
      Fiber& here = (Unwatched(), block.FiberOf(thread));
      Fiber* next = (Unwatched(), block.Next());
      Fiber::Switch(here, *next);
    }
  }

  void RunThread(unsigned thread) {
    try {
      if ((Unwatched(), error_ == nullptr)) {
        Acquire(&launch_begins_);
        body_(*this, thread);
        const Unwatched unwatched;
        CheckReturn(thread);
      }
    } catch (const Abandoned&) {
    } catch (...) {
      const Unwatched unwatched;
      error_ = std::current_exception();
      for (unsigned i = 0; i < warps_.size(); ++i) LetGo(i);
    }
    Release(&launch_ends_);
    const Unwatched unwatched;
    warps_[thread / cuda::kWarp].returned |= 1u << thread % cuda::kWarp;
    ++returned_;
    SetWaiting(thread);
  }

  void CheckReturn(unsigned thread) const {
    const Warp& warp = warps_[thread / cuda::kWarp];
    if (warp.arrived != 0)
      FailToReach(thread, warp.collective, thread / cuda::kWarp * cuda::kWarp + First(warp.arrived));
    if (at_barrier_ != 0) FailToReach(thread, barrier_, FirstAtBarrier());
    if (!copies_[thread].list.empty()) Fail(thread, "returns and has not waited for its asynchronous copies");
  }

  void CheckMeeting(unsigned thread, const Collective& collective) const {
    const Warp& warp = warps_[thread / cuda::kWarp];
    const unsigned first_of_warp = thread / cuda::kWarp * cuda::kWarp;
    if (warp.returned != 0) FailToReach(first_of_warp + First(warp.returned), collective, thread);
    if (warp.arrived != 0 && collective != warp.collective) {
      FailToAgree(thread, collective, first_of_warp + First(warp.arrived), warp.collective);
    }
    if (collective.kind != Collective::Kind::kBarrier) return;
    if (returned_ != 0) FailToReach(FirstReturned(), collective, thread);
    if (at_barrier_ != 0 && collective != barrier_) FailToAgree(thread, collective, FirstAtBarrier(), barrier_);
  }

  [[noreturn]] void FailToReach(unsigned thread, const Collective& collective, unsigned other) const {
    Fail(thread, "has returned, and thread " + std::to_string(other) + " waits for it at " + collective.Name());
  }
  [[noreturn]] void FailToAgree(unsigned thread, const Collective& collective, unsigned other,
                                const Collective& others) const {
    Fail(thread,
         "is at " + collective.Name() + ", and thread " + std::to_string(other) + " waits for it at " + others.Name());
  }

  static unsigned First(uint32_t lanes) { return static_cast<unsigned>(std::countr_zero(lanes)); }
  unsigned FirstReturned() const {
    unsigned warp = 0;
    while (warps_[warp].returned == 0) ++warp;
    return warp * cuda::kWarp + First(warps_[warp].returned);
  }
  unsigned FirstAtBarrier() const {
    unsigned warp = 0;
    while (warps_[warp].arrived == 0 || warps_[warp].collective.kind != Collective::Kind::kBarrier) ++warp;
    return warp * cuda::kWarp + First(warps_[warp].arrived);
  }

  void SetWaiting(unsigned thread) {
    Warp& warp = warps_[thread / cuda::kWarp];
    warp.ready &= ~(1u << thread % cuda::kWarp);
    if (warp.ready == 0) warps_with_ready_ &= ~(1u << thread / cuda::kWarp);
  }
  void LetGo(unsigned index) {
    Warp& warp = warps_[index];
    warp.ready |= std::exchange(warp.arrived, 0u);
    if (warp.ready != 0) warps_with_ready_ |= 1u << index;
    ++warp.met;
  }

  // There is one.
  unsigned FirstReady() {
    switch (launched_.schedule.order) {
      case Order::kAscending:
        return FirstReadyFrom(0);
      case Order::kDescending: {
        const unsigned warp = 31 - static_cast<unsigned>(std::countl_zero(warps_with_ready_));
        return warp * cuda::kWarp + 31 - static_cast<unsigned>(std::countl_zero(warps_[warp].ready));
      }
      case Order::kRandom:
        break;
    }
    return FirstReadyFrom(static_cast<unsigned>((random_() >> 32) * threads_ >> 32));
  }
  unsigned FirstReadyFrom(unsigned thread) const {
    const unsigned warp = thread / cuda::kWarp;
    const uint32_t here = warps_[warp].ready & (~0u << thread % cuda::kWarp);
    if (here != 0) return warp * cuda::kWarp + First(here);
    const uint32_t after = warps_with_ready_ & ~((2u << warp) - 1);
    const unsigned next = First(after != 0 ? after : warps_with_ready_);
    return next * cuda::kWarp + First(warps_[next].ready);
  }

  Fiber& FiberOf(unsigned thread) { return *fibers_[(thread + rotation_) % threads_]; }

  // The fiber that goes on now; null if it is that of the thread that runs.
  Fiber* Next() {
    if (returned_ == threads_) return &host_;
    const unsigned next = FirstReady();
    return std::exchange(running_, next) == next ? nullptr : &FiberOf(next);
  }

  Fiber host_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  unsigned rotation_ = 0;

  Launched launched_;
  Random random_;
  unsigned threads_ = 0;
  unsigned x_ = 0;
  unsigned y_ = 0;
  SharedMemory shared_{};
  Body body_;

  std::vector<Warp> warps_;
  uint32_t warps_with_ready_ = 0;
  std::vector<Copies> copies_;
  Collective barrier_;
  unsigned at_barrier_ = 0;
  unsigned barriers_ = 0;
  unsigned returned_ = 0;
  unsigned running_ = 0;
  std::exception_ptr error_;
  Waits* waits_ = nullptr;

  // Addresses for the thread sanitizer.
  uint64_t launch_begins_ = 0;
  uint64_t launch_ends_ = 0;
  std::array<uint64_t, 2> barrier_orders_{};
};

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_SIMT_BLOCK_H_
