// The emulated device itself: what it computes, what it says of a wrong kernel, and that what is left out of a right
// one is found.
#include "testing/simt.h"

#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/device_laws.h"
#include "testing/child.h"
#include "testing/sanitizers.h"

#if BITNET_THREAD_SANITIZER
namespace bitnet::simt_test {
// Of the thread sanitizer, while they are expected.
static bool races_are_expected = false;
static size_t races = 0;
}  // namespace bitnet::simt_test

// Each race is told of, however often it was before.
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "suppress_equal_stacks=0:suppress_equal_addresses=0"; }

// The sanitizer asks this function whether to leave a report out. (In a lock: it must not find a race here.)
namespace __tsan {
class ReportDesc;
bool OnReport(const ReportDesc*, bool is_suppressed);
__attribute__((no_sanitize("thread"))) bool OnReport(const ReportDesc*, bool is_suppressed) {
  bitnet::simt_test::races += bitnet::simt_test::races_are_expected ? 1u : 0u;
  return is_suppressed || bitnet::simt_test::races_are_expected;
}
}  // namespace __tsan
#endif

namespace bitnet::simt_test {
namespace {

using namespace testing;

using cuda::Grid;
using cuda::kWarp;
using cuda::NoShared;

// What the emulated device says of a kernel; nothing if it has no objection.
template <class K>
std::string Objection(const K& kernel, Grid grid = {}, const Schedule& schedule = {}) {
  try {
    Launch(kernel, grid, schedule);
  } catch (const SimtError& error) {
    return error.what();
  }
  return "";
}

bool Holds(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// How a place in this file is written.
std::string Here(unsigned line) { return "simt_test.cc:" + std::to_string(line) + ")"; }

// ---- What it computes ---------------------------------------------------------------------------------------------

// A Device's laws, in every schedule.
struct OnEmulated {
  Schedule schedule;
  DeviceMemory memory = DeviceMemory();

  template <class T>
  T* Upload(const std::vector<T>& values) {
    return memory.Upload(values);
  }
  template <class K>
  void Launch(const K& kernel, Grid grid) {
    testing::Launch(kernel, grid, schedule);
  }
  template <class T>
  std::vector<T> Read(const T* from, size_t count) const {
    return {from, from + count};
  }
};
template <class Check>
void InEachSchedule(const Check& check) {
  for (const Schedule& schedule : kSchedules) {
    CAPTURE(schedule);
    OnEmulated on{schedule};
    check(on);
  }
}

TEST_CASE("Launch: each thread of each block runs once, and knows where it is") {
  InEachSchedule([](OnEmulated& on) { CheckThreads(on); });
}
TEST_CASE("Launch: shared memory, as much as a GPU has") {
  InEachSchedule([](OnEmulated& on) {
    CheckShared<false>(on);
    CheckShared<true>(on);
  });
}
TEST_CASE("Launch: a grid without blocks does nothing") {
  CHECK(Objection(WriteWhere{nullptr}, {0, 5}) == "");
  CHECK(Objection(WriteWhere{nullptr}, {5, 0}) == "");
}
TEST_CASE("EmulatedDevice: the lanes of a warp exchange values of 4 and 8 bytes") {
  InEachSchedule([](OnEmulated& on) { CheckExchanges(on); });
}
TEST_CASE("EmulatedDevice: arithmetic is a GPU's") {
  InEachSchedule([](OnEmulated& on) { CheckArithmetic(on); });
}
TEST_CASE("EmulatedDevice: an asynchronous copy reads what it is asked for and fills up with zeros") {
  InEachSchedule([](OnEmulated& on) { CheckCopyAsync(on); });
}
TEST_CASE("EmulatedDevice: Mma is the product of tiles whose fragments lie as the PTX manual says") {
  InEachSchedule([](OnEmulated& on) { CheckMma(on); });
}

// ---- What it objects to -------------------------------------------------------------------------------------------

struct MissesBarrier {
  static constexpr unsigned kThreads = 64;
  using Shared = NoShared;
  static constexpr unsigned kLine = __LINE__ + 4;
  unsigned missing;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    if (d.thread() != missing) d.Barrier();
  }
};

TEST_CASE("EmulatedDevice: a thread that never comes to a barrier") {
  const std::string said = Objection(MissesBarrier{37}, {3, 2});
  CAPTURE(said);
  CHECK(Holds(said, "MissesBarrier, block (0, 0), thread 37: has returned, and thread 32 waits for it at Barrier ("));
  CHECK(Holds(said, Here(MissesBarrier::kLine)));
  for (const Schedule& schedule : kSchedules)
    CHECK(Holds(Objection(MissesBarrier{37}, {3, 2}, schedule), "thread 37: has returned"));
  CHECK(Holds(Objection(MissesBarrier{0}), "thread 0: has returned, and thread 1 waits for it"));
  CHECK(Holds(Objection(MissesBarrier{63}), "thread 63: has returned, and thread 32 waits for it"));
  CHECK(Objection(MissesBarrier{64}) == "");
}

struct MissesShuffle {
  static constexpr unsigned kThreads = 64;
  using Shared = NoShared;
  unsigned missing;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    if (d.thread() == missing) return;
    d.ShuffleXor(1, 1);
  }
};

TEST_CASE("EmulatedDevice: a lane that never comes to a shuffle") {
  for (const Schedule& schedule : kSchedules) {
    for (const unsigned missing : {0u, 31u, 40u}) {
      const std::string said = Objection(MissesShuffle{missing}, {}, schedule);
      CAPTURE(said);
      CHECK(Holds(said, "thread " + std::to_string(missing) + ": has returned, and thread "));
      CHECK(Holds(said, "waits for it at Shuffle of 4 bytes"));
    }
  }
}

// The lanes of a warp part.
template <int kCase>
struct Parts {
  static constexpr unsigned kThreads = 64;
  using Shared = NoShared;
  static constexpr unsigned kLine = __LINE__ + 7;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    uint32_t words[4] = {};
    const uint32_t two[2] = {};
    int32_t sums[4] = {};
    if (d.thread() == 39) {
      if (kCase == 0) d.Ballot(true);  // on kLine
      if (kCase == 1) d.Shuffle(1.0f, 1);
      if (kCase == 2) d.Barrier();
      if (kCase == 3) d.Mma(sums, words, two);
      if (kCase == 4) d.Shuffle(1.0, 1);
      if (kCase == 5) d.Barrier();
    } else {
      if (kCase < 5) d.Shuffle(1.0f, 1);
      if (kCase == 5) d.Barrier();
    }
  }
};

TEST_CASE("EmulatedDevice: lanes of a warp in different collectives") {
  const auto check = [](const std::string& said, std::string_view is_at, unsigned line, std::string_view others) {
    CAPTURE(said);
    CHECK(Holds(said, "thread 39: is at " + std::string(is_at) + " ("));
    CHECK(Holds(said, Here(line)));
    CHECK(Holds(said, ", and thread 32 waits for it at " + std::string(others) + " ("));
    CHECK(Holds(said, Here(Parts<0>::kLine + 7)));
  };
  constexpr unsigned kLine = Parts<0>::kLine;
  check(Objection(Parts<0>()), "Ballot", kLine, "Shuffle of 4 bytes");
  check(Objection(Parts<1>()), "Shuffle of 4 bytes", kLine + 1, "Shuffle of 4 bytes");  // the lines differ
  check(Objection(Parts<2>()), "Barrier", kLine + 2, "Shuffle of 4 bytes");
  check(Objection(Parts<3>()), "Mma", kLine + 3, "Shuffle of 4 bytes");
  check(Objection(Parts<4>()), "Shuffle of 8 bytes", kLine + 4, "Shuffle of 4 bytes");
  for (const Schedule& schedule : kSchedules) {
    CHECK(Objection(Parts<0>(), {2, 2}, schedule) != "");
    CHECK(Objection(Parts<1>(), {2, 2}, schedule) != "");
    CHECK(Objection(Parts<2>(), {2, 2}, schedule) != "");
    CHECK(Objection(Parts<3>(), {2, 2}, schedule) != "");
    CHECK(Objection(Parts<4>(), {2, 2}, schedule) != "");
    CHECK(Objection(Parts<5>(), {2, 2}, schedule) != "");
  }
}

struct WarpsAtDifferentBarriers {
  static constexpr unsigned kThreads = 64;
  using Shared = NoShared;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    if (d.warp() == 0) {
      d.Barrier();
    } else {
      d.Barrier();
    }
  }
};

TEST_CASE("EmulatedDevice: warps of a block at different barriers") {
  CHECK(Holds(Objection(WarpsAtDifferentBarriers()), "thread 32: is at Barrier ("));
  CHECK(Holds(Objection(WarpsAtDifferentBarriers()), ", and thread 0 waits for it at Barrier ("));
}

// One warp goes on where the other has returned: no collective is the whole block's.
struct WarpReturns {
  static constexpr unsigned kThreads = 64;
  using Shared = NoShared;
  uint32_t* sum;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    if (d.warp() == 0) return;
    const uint32_t all = cuda::WarpSum(d, d.thread());
    if (d.lane() == 0) *sum = all;
  }
};

TEST_CASE("EmulatedDevice: the lanes of a warp meet although another warp has returned") {
  DeviceMemory memory;
  auto* sum = memory.Allocate<uint32_t>(1);
  for (const Schedule& schedule : kSchedules) {
    Launch(WarpReturns{sum}, {}, schedule);
    CHECK(*sum == 32 * 32 + 496);
  }
}

struct ShufflesFrom {
  static constexpr unsigned kThreads = 32;
  using Shared = NoShared;
  int from;
  bool by_mask;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    const int lane = d.lane() == 3 ? from : 0;
    if (by_mask) {
      d.ShuffleXor(1, lane);
    } else {
      d.Shuffle(1, lane);
    }
  }
};

TEST_CASE("EmulatedDevice: a shuffle from a lane that is not there") {
  CHECK(Objection(ShufflesFrom{31, false}) == "");
  CHECK(Objection(ShufflesFrom{31, true}) == "");
  CHECK(Holds(Objection(ShufflesFrom{32, false}), "ShufflesFrom, block (0, 0), thread 3: a shuffle from lane 32"));
  CHECK(Holds(Objection(ShufflesFrom{-1, false}), "thread 3: a shuffle from lane -1"));
  CHECK(Holds(Objection(ShufflesFrom{32, true}), "thread 3: a shuffle by mask 32"));
}

template <size_t kBytes, bool kLarge>
struct WithShared {
  static constexpr unsigned kThreads = 32;
  static constexpr bool kLargeShared = kLarge;
  struct Shared {
    unsigned char bytes[kBytes];
  };
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    if (d.thread() == 0) shared.bytes[kBytes - 1] = 1;
  }
};

TEST_CASE("Launch: a GPU's limits") {
  CHECK(Objection(WithShared<48 << 10, false>()) == "");
  CHECK(Holds(Objection(WithShared<(48 << 10) + 1, false>()), "49153 bytes of shared memory, of at most 49152"));
  CHECK(Objection(WithShared<99 << 10, true>()) == "");
  CHECK(Holds(Objection(WithShared<(99 << 10) + 1, true>()), "of shared memory, of at most 101376"));
  CHECK(Holds(Objection(WriteWhere{nullptr}, {1, 65536}), "WriteWhere: 65536 blocks in y, of at most 65535"));
  CHECK(Holds(Objection(WriteWhere{nullptr}, {0x80000000u, 1}), "2147483648 blocks in x, of at most 2147483647"));
}

template <unsigned kCount>
struct WithThreads {
  static constexpr unsigned kThreads = kCount;
  using Shared = NoShared;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    d.Barrier();
  }
};
static_assert(!cuda::Kernel<WithThreads<0>> && !cuda::Kernel<WithThreads<40>> && !cuda::Kernel<WithThreads<1056>>);

TEST_CASE("Launch: as many threads as a block may have") {
  for (const Schedule& schedule : kSchedules) CHECK(Objection(WithThreads<1024>(), {3}, schedule) == "");
}

// What is wrong with a copy.
enum class Wrong {
  kNothing,
  kTo,
  kFrom,
  kBytes,
  kNotToShared,
  kFromShared,
  kNotWaitedFor,
  kNotCommitted,
  kLoad,
  kAtomic
};
template <Wrong kWrong>
struct WrongAccess {
  static constexpr unsigned kThreads = 32;
  struct Shared {
    alignas(16) unsigned char bytes[64];
  };
  unsigned char* global;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    if (d.thread() != 5) return;
    if (kWrong == Wrong::kLoad) {
      uint32_t words[4];
      d.Load16(words, global + 8);
    } else if (kWrong == Wrong::kAtomic) {
      d.AtomicAdd(reinterpret_cast<uint32_t*>(global + 2), 1u);
    } else {
      d.CopyAsync(kWrong == Wrong::kNotToShared ? global + 16 : shared.bytes + (kWrong == Wrong::kTo ? 4 : 16),
                  kWrong == Wrong::kFromShared ? shared.bytes : global + (kWrong == Wrong::kFrom ? 8 : 0),
                  kWrong == Wrong::kBytes ? 17 : 16);
      if (kWrong != Wrong::kNotCommitted) d.CopyCommit();
      if (kWrong != Wrong::kNotWaitedFor) d.template CopyWait<0>();
    }
  }
};

TEST_CASE("EmulatedDevice: a copy, a load or an atomic operation that a GPU does not do") {
  for (const Schedule& schedule : kSchedules) {
    DeviceMemory memory;
    unsigned char* p = memory.Allocate<unsigned char>(64);
    const auto check = [](const std::string& said, std::string_view what) {
      CAPTURE(said);
      CHECK(Holds(said, "block (0, 0), thread 5: " + std::string(what)));
    };
    CHECK(Objection(WrongAccess<Wrong::kNothing>{p}, {}, schedule) == "");
    check(Objection(WrongAccess<Wrong::kTo>{p}, {}, schedule), "CopyAsync of an address that is not a multiple of 16");
    check(Objection(WrongAccess<Wrong::kFrom>{p}, {}, schedule),
          "CopyAsync of an address that is not a multiple of 16");
    check(Objection(WrongAccess<Wrong::kBytes>{p}, {}, schedule), "CopyAsync of 17 bytes");
    check(Objection(WrongAccess<Wrong::kNotToShared>{p}, {}, schedule), "CopyAsync to memory that is not shared");
    check(Objection(WrongAccess<Wrong::kFromShared>{p}, {}, schedule), "CopyAsync from shared memory");
    check(Objection(WrongAccess<Wrong::kNotWaitedFor>{p}, {}, schedule), "returns and has not waited");
    check(Objection(WrongAccess<Wrong::kNotCommitted>{p}, {}, schedule), "returns and has not waited");
    check(Objection(WrongAccess<Wrong::kLoad>{p}, {}, schedule), "Load16 of an address that is not a multiple of 16");
    check(Objection(WrongAccess<Wrong::kAtomic>{p}, {}, schedule),
          "AtomicAdd of an address that is not a multiple of 4");
  }
}

struct SelectsAbove {
  static constexpr unsigned kThreads = 32;
  using Shared = NoShared;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    const uint32_t table[4] = {};
    d.Select4(table, 0x00100000u);
  }
};

TEST_CASE("EmulatedDevice: a byte that no table of 16 has") {
  CHECK(Holds(Objection(SelectsAbove()), "thread 0: Select4 by a byte above 15"));
}

// ---- After an objection -------------------------------------------------------------------------------------------

struct Counted {
  int* count;
  explicit Counted(int* c) : count(c) { ++*count; }
  ~Counted() { --*count; }
};
struct FailsInside {
  static constexpr unsigned kThreads = 64;
  using Shared = NoShared;
  int* count;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    const Counted counted(&count[d.thread()]);
    d.Barrier();
    if (d.thread() == 40) d.Ballot(true);
    d.Barrier();
  }
};

TEST_CASE("Launch: threads in the midst of a kernel that failed end as by an exception, and the next launch is well") {
  for (const Schedule& schedule : kSchedules) {
    DeviceMemory memory(0);
    int* count = memory.Allocate<int>(64);
    CHECK(Objection(FailsInside{count}, {2, 2}, schedule) != "");
    size_t alive = 0;
    for (unsigned i = 0; i < 64; ++i) alive += count[i] != 0 ? 1u : 0u;
    CHECK(alive == 0);
    auto* found = memory.Allocate<Exchanges::Found>(64);
    Launch(Exchanges{found}, {}, schedule);
    CHECK(found[63].max == 31 - 40);
  }
}

// ---- Memory -------------------------------------------------------------------------------------------------------

struct ReadShared {
  static constexpr unsigned kThreads = 32;
  struct Shared {
    unsigned char bytes[33];
  };
  unsigned char* seen;  // [blocks, 33]
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    for (unsigned i = d.thread(); i < 33; i += kThreads) {
      seen[d.block() * 33 + i] = shared.bytes[i];
      shared.bytes[i] = 3;
    }
  }
};

TEST_CASE("Launch: the shared memory of every block is poisoned") {
  for (const Schedule& schedule : kSchedules) {
    DeviceMemory memory;
    unsigned char* seen = memory.Allocate<unsigned char>(4 * 33);
    Launch(ReadShared{seen}, {4}, schedule);
    size_t wrong = 0;
    for (unsigned i = 0; i < 4 * 33; ++i) wrong += seen[i] == schedule.poison ? 0u : 1u;
    CHECK(wrong == 0);
  }
}

TEST_CASE("EmulatedStream: scratch memory is poisoned, new at each call, and begins on 256 bytes") {
  for (const Schedule& schedule : kSchedules) {
    EmulatedStream stream(schedule);
    float* first = stream.Scratch<float>(cuda::ScratchSlot::kProduct, 33);
    float* other = stream.Scratch<float>(cuda::ScratchSlot::kQuantize, 33);
    CHECK(first != other);
    for (const float* p : {first, other}) {
      CHECK(reinterpret_cast<uintptr_t>(p) % 256 == 0);
      CHECK(std::bit_cast<uint32_t>(p[32]) == schedule.poison * 0x01010101u);
    }
    first[32] = 1.0f;
    first = stream.Scratch<float>(cuda::ScratchSlot::kProduct, 33);
    CHECK(std::bit_cast<uint32_t>(first[32]) == schedule.poison * 0x01010101u);
    stream.Launch(WithThreads<32>(), {});
    CHECK(stream.launches() == 1);
  }
}

#if BITNET_ADDRESS_SANITIZER && defined(BITNET_HAS_FORK)
enum class Reach { kNothing, kBehindGlobal, kBeforeGlobal, kBehindShared, kCopyBehind, kOldScratch };
template <Reach kReach>
struct ReachesOut {
  static constexpr unsigned kThreads = 64;
  struct Shared {
    alignas(16) unsigned char bytes[80];
  };
  unsigned char* global;
  unsigned size;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    d.Barrier();
    if (d.thread() == 33) {
      volatile unsigned char* behind_shared = shared.bytes + sizeof shared.bytes;
      volatile unsigned char* p = global;
      if (kReach == Reach::kNothing || kReach == Reach::kOldScratch) p[size - 1] = 1;
      if (kReach == Reach::kBehindGlobal) p[size] = 1;
      if (kReach == Reach::kBeforeGlobal) p[-1] = 1;
      if (kReach == Reach::kBehindShared) *behind_shared = 1;
      if (kReach == Reach::kCopyBehind) {
        d.CopyAsync(shared.bytes, global + 32, size - 32 + 1);
        d.CopyCommit();
        d.template CopyWait<0>();
      }
    }
    d.Barrier();
  }
};

template <Reach kReach>
int EndOfReach() {
  return EndOfChild([] {
    static_cast<void>(std::freopen("/dev/null", "w", stderr));  // the sanitizer's report
    DeviceMemory memory;
    EmulatedStream stream(kSchedules[0]);
    unsigned char* p = memory.Allocate<unsigned char>(37);
    if (kReach == Reach::kOldScratch) {
      p = stream.Scratch<unsigned char>(cuda::ScratchSlot::kProduct, 37);
      stream.Scratch<unsigned char>(cuda::ScratchSlot::kProduct, 37);
    }
    stream.Launch(ReachesOut<kReach>{p, 37}, {2});
    return 42;
  });
}

TEST_CASE("The address sanitizer sees an access outside of an allocation or of shared memory") {
  CHECK(EndOfReach<Reach::kNothing>() == 42);
  CHECK(EndOfReach<Reach::kBehindGlobal>() != 42);
  CHECK(EndOfReach<Reach::kBeforeGlobal>() != 42);
  CHECK(EndOfReach<Reach::kBehindShared>() != 42);
  CHECK(EndOfReach<Reach::kCopyBehind>() != 42);
  CHECK(EndOfReach<Reach::kOldScratch>() != 42);
}
#endif

// ---- What is left out of a right kernel ---------------------------------------------------------------------------

// Nothing, if kIsThere is false.
template <bool kIsThere, class Device>
BITNET_DEVICE void BarrierIf(Device& d) {
  if constexpr (kIsThere) d.Barrier();
}

// y[row, i] = the sum of x[row]; kLeftOut: none (0), or one of three barriers.
template <int kLeftOut>
struct SumRows {
  static constexpr unsigned kThreads = 64;
  struct Shared {
    uint32_t sums[kThreads];
  };
  const uint32_t* x;  // [rows, 64]
  uint32_t* y;        // [rows, 64]
  unsigned rows;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    for (unsigned row = d.block(); row < rows; row += d.blocks()) {
      shared.sums[d.thread()] = x[row * kThreads + d.thread()];
      for (unsigned half = kThreads / 2; half > 0; half /= 2) {
        BarrierIf<kLeftOut != 1>(d);
        if (d.thread() < half) shared.sums[d.thread()] += shared.sums[d.thread() + half];
      }
      BarrierIf<kLeftOut != 2>(d);
      y[row * kThreads + d.thread()] = shared.sums[0];
      BarrierIf<kLeftOut != 3>(d);
    }
  }

  static constexpr unsigned kRows = 5;
  static bool IsRight(const Schedule& schedule) {
    DeviceMemory memory;
    std::vector<uint32_t> values(kRows * kThreads);
    for (uint32_t i = 0; i < values.size(); ++i) values[i] = i * i + 1;
    auto* sums = memory.Allocate<uint32_t>(values.size());
    if (Objection(SumRows{memory.Upload(values), sums, kRows}, {2}, schedule) != "") return false;
    size_t wrong = 0;
    for (size_t row = 0; row < kRows; ++row) {
      uint32_t sum = 0;
      for (size_t i = 0; i < kThreads; ++i) sum += values[row * kThreads + i];
      for (size_t i = 0; i < kThreads; ++i) wrong += sums[row * kThreads + i] == sum ? 0u : 1u;
    }
    return wrong == 0;
  }
};

// y[tile] = x[tile] backwards, by pieces of 16 bytes; a tile is under way while the one before is used. kLeftOut: none
// (0), the wait (1), or a barrier (2: after the copies, 3: before the next); 4: the wait is for one tile less.
template <int kLeftOut>
struct TurnTiles {
  static constexpr unsigned kThreads = 64;
  struct Shared {
    alignas(16) uint32_t tile[2][kThreads][4];
  };
  const uint32_t* x;  // [tiles, 64, 4]
  uint32_t* y;        // [tiles, 64, 4]
  unsigned tiles;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    Begin(d, shared, 0);
    for (unsigned tile = 0; tile < tiles; ++tile) {
      Begin(d, shared, tile + 1);
      if constexpr (kLeftOut != 1) d.template CopyWait<kLeftOut == 4 ? 2 : 1>();
      BarrierIf<kLeftOut != 2>(d);
      for (unsigned i = 0; i < 4; ++i) {
        y[(tile * kThreads + d.thread()) * 4 + i] = shared.tile[tile % 2][kThreads - 1 - d.thread()][i];
      }
      BarrierIf<kLeftOut != 3>(d);
    }
  }
  template <class Device>
  BITNET_DEVICE void Begin(Device& d, Shared& shared, unsigned tile) const {
    if (tile < tiles) d.CopyAsync(shared.tile[tile % 2][d.thread()], x + (tile * kThreads + d.thread()) * 4, 16);
    d.CopyCommit();
  }

  static constexpr unsigned kTiles = 5;
  static bool IsRight(const Schedule& schedule) {
    DeviceMemory memory;
    std::vector<uint32_t> values(kTiles * kThreads * 4);
    for (uint32_t i = 0; i < values.size(); ++i) values[i] = i * i + 1;
    auto* turned = memory.Allocate<uint32_t>(values.size());
    if (Objection(TurnTiles{memory.Upload(values), turned, kTiles}, {}, schedule) != "") return false;
    size_t wrong = 0;
    for (size_t i = 0; i < kTiles * kThreads; ++i) {
      const size_t from = i / kThreads * kThreads + kThreads - 1 - i % kThreads;
      for (size_t k = 0; k < 4; ++k) wrong += turned[i * 4 + k] == values[from * 4 + k] ? 0u : 1u;
    }
    return wrong == 0;
  }
};

// Runs `call` and says how many races it has; 0 where nobody looks for them.
template <class Call>
size_t Races(Call&& call) {
#if BITNET_THREAD_SANITIZER
  races = 0;
  races_are_expected = true;
  call();
  races_are_expected = false;
  return races;
#else
  call();
  return 0;
#endif
}

// In how many of the schedules it is right.
template <class K>
size_t RightSchedules() {
  size_t right = 0;
  for (const Schedule& schedule : kSchedules) right += K::IsRight(schedule) ? 1u : 0u;
  return right;
}

// It is found by its results.
template <class K>
bool IsFound() {
  size_t right = 0;
  Races([&] { right = RightSchedules<K>(); });
  return right < kSchedules.size();
}

TEST_CASE("A barrier that is left out of a sum in shared memory is found in some schedule") {
  CHECK(RightSchedules<SumRows<0>>() == kSchedules.size());
  CHECK(IsFound<SumRows<1>>());
  CHECK(IsFound<SumRows<2>>());
  CHECK(IsFound<SumRows<3>>());
}

TEST_CASE("A wait or a barrier that is left out of asynchronous copies is found in some schedule") {
  CHECK(RightSchedules<TurnTiles<0>>() == kSchedules.size());
  CHECK(IsFound<TurnTiles<1>>());
  CHECK(IsFound<TurnTiles<2>>());
  CHECK(IsFound<TurnTiles<3>>());
  CHECK(IsFound<TurnTiles<4>>());
}

#if BITNET_THREAD_SANITIZER
TEST_CASE("The thread sanitizer sees a barrier that is left out, in any one schedule") {
  for (const Schedule& schedule : kSchedules) {
    CAPTURE(schedule);
    CHECK(Races([&] { SumRows<0>::IsRight(schedule); }) == 0);
    CHECK(Races([&] { SumRows<1>::IsRight(schedule); }) > 0);
    CHECK(Races([&] { SumRows<2>::IsRight(schedule); }) > 0);
    CHECK(Races([&] { SumRows<3>::IsRight(schedule); }) > 0);
    CHECK(Races([&] { TurnTiles<0>::IsRight(schedule); }) == 0);
    CHECK(Races([&] { TurnTiles<2>::IsRight(schedule); }) > 0);
    CHECK(Races([&] { TurnTiles<3>::IsRight(schedule); }) > 0);
  }
}

// Thread 0 of each block writes one number.
template <bool kAtomic>
struct BlocksMeet {
  static constexpr unsigned kThreads = 32;
  using Shared = NoShared;
  uint32_t* sum;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    if (d.thread() != 0) return;
    if (kAtomic) {
      d.AtomicAdd(sum, 1u);
    } else {
      *sum += 1;
    }
  }
};
// A value goes through shared memory within a warp; a shuffle orders no memory.
struct ShuffleIsNoBarrier {
  static constexpr unsigned kThreads = 32;
  struct Shared {
    uint32_t value;
  };
  uint32_t* y;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    if (d.thread() == 0) shared.value = 1;
    d.ShuffleXor(1, 1);
    y[d.thread()] = shared.value;
  }
};
// What the device reads and writes for a kernel is seen, too.
enum class Access { kLoad16, kCopyFrom, kCopyTo };
template <Access kAccess>
struct AccessUnordered {
  static constexpr unsigned kThreads = 32;
  struct Shared {
    alignas(16) unsigned char bytes[16];
  };
  unsigned char* global;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    if (d.thread() == 7) (kAccess == Access::kCopyTo ? shared.bytes : global)[15] = 1;
    if (d.thread() != 8) return;
    if (kAccess == Access::kLoad16) {
      uint32_t words[4];
      d.Load16(words, global);
      global[16] = static_cast<unsigned char>(words[3] >> 24);
    } else {
      d.CopyAsync(shared.bytes, kAccess == Access::kCopyTo ? global + 16 : global, 16);
      d.CopyCommit();
      d.template CopyWait<0>();
    }
  }
};

TEST_CASE("The thread sanitizer sees blocks that meet in global memory, and what a shuffle does not order") {
  DeviceMemory memory(0);
  uint32_t* y = memory.Allocate<uint32_t>(32);
  for (const Schedule& schedule : kSchedules) {
    CAPTURE(schedule);
    const uint32_t before = y[0];
    CHECK(Races([&] { Launch(BlocksMeet<true>{y}, {2}, schedule); }) == 0);
    CHECK(Races([&] { y[0] += 1; }) == 0);  // the launch has ended
    CHECK(Races([&] { Launch(BlocksMeet<true>{y}, {2}, schedule); }) == 0);
    CHECK(Races([&] { Launch(BlocksMeet<false>{y}, {2}, schedule); }) > 0);
    CHECK(y[0] == before + 7);
    CHECK(Races([&] { Launch(ShuffleIsNoBarrier{y}, {}, schedule); }) > 0);
    auto* bytes = memory.Allocate<unsigned char>(32);
    CHECK(Races([&] { Launch(AccessUnordered<Access::kLoad16>{bytes}, {}, schedule); }) > 0);
    CHECK(Races([&] { Launch(AccessUnordered<Access::kCopyFrom>{bytes}, {}, schedule); }) > 0);
    CHECK(Races([&] { Launch(AccessUnordered<Access::kCopyTo>{bytes}, {}, schedule); }) > 0);
  }
}
#endif

}  // namespace
}  // namespace bitnet::simt_test
