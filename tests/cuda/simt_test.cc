// The emulated device itself: what it computes, what it says of a wrong kernel, and that what is left out of a right
// one is found.
#include "testing/simt.h"

#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "bitnet/base/random.h"
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

struct WriteWhere {
  static constexpr unsigned kThreads = 96;
  using Shared = NoShared;
  struct Where {
    unsigned thread, lane, warp, block, block_y, blocks, blocks_y, times;
  };
  Where* where;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    Where& w = where[(size_t{d.block_y()} * d.blocks() + d.block()) * kThreads + d.thread()];
    w = {d.thread(), d.lane(), d.warp(), d.block(), d.block_y(), d.blocks(), d.blocks_y(), w.times + 1};
  }
};

TEST_CASE("Launch: each thread of each block runs once, and knows where it is") {
  for (const Schedule& schedule : kSchedules) {
    CAPTURE(schedule);
    DeviceMemory memory(0);
    const Grid grid{5, 3};
    auto* where = memory.Allocate<WriteWhere::Where>(15 * 96);
    Launch(WriteWhere{where}, grid, schedule);
    size_t wrong = 0;
    for (unsigned i = 0; i < 15 * 96; ++i) {
      const WriteWhere::Where& w = where[i];
      const unsigned thread = i % 96;
      const bool is_right = w.thread == thread && w.lane == thread % 32 && w.warp == thread / 32 &&
                            w.block == i / 96 % 5 && w.block_y == i / 96 / 5 && w.blocks == 5 && w.blocks_y == 3 &&
                            w.times == 1;
      wrong += is_right ? 0u : 1u;
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("Launch: a grid without blocks does nothing") {
  CHECK(Objection(WriteWhere{nullptr}, {0, 5}) == "");
  CHECK(Objection(WriteWhere{nullptr}, {5, 0}) == "");
}

struct Exchanges {
  static constexpr unsigned kThreads = 64;
  using Shared = NoShared;
  struct Found {
    float shuffled;
    double shuffled_by_mask;
    uint64_t shuffled_int;
    uint32_t ballot;
    uint64_t sum;
    int32_t max;
  };
  Found* found;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    const unsigned t = d.thread();
    Found f{};
    f.shuffled = d.Shuffle(static_cast<float>(t) + 0.5f, (d.lane() * 7 + 3) % kWarp);
    f.shuffled_by_mask = d.ShuffleXor(1.0 / (t + 1), 5);
    f.shuffled_int = d.Shuffle(uint64_t{t} << 33, 31u - d.lane());
    f.ballot = d.Ballot(t % 3 == 0);
    f.sum = cuda::WarpSum(d, uint64_t{t} << 32);
    f.max = cuda::WarpMax(d, static_cast<int32_t>(t * 5 % 32) - 40);
    found[t] = f;
  }
};

TEST_CASE("EmulatedDevice: the lanes of a warp exchange values of 4 and 8 bytes") {
  for (const Schedule& schedule : kSchedules) {
    CAPTURE(schedule);
    DeviceMemory memory;
    auto* found = memory.Allocate<Exchanges::Found>(64);
    Launch(Exchanges{found}, {}, schedule);
    for (unsigned t = 0; t < 64; ++t) {
      CAPTURE(t);
      const unsigned warp = t / 32 * 32;
      const unsigned lane = t % 32;
      CHECK(found[t].shuffled == static_cast<float>(warp + (lane * 7 + 3) % 32) + 0.5f);
      CHECK(found[t].shuffled_by_mask == 1.0 / (warp + (lane ^ 5u) + 1));
      CHECK(found[t].shuffled_int == uint64_t{warp + 31 - lane} << 33);
      CHECK(found[t].ballot == (warp == 0 ? 0x49249249u : 0x92492492u));
      CHECK(found[t].sum == uint64_t{warp * 32 + 496} << 32);
      CHECK(found[t].max == 31 - 40);
    }
  }
}

struct Arithmetic {
  static constexpr unsigned kThreads = 32;
  using Shared = NoShared;
  int32_t* ints;            // [4]
  uint32_t* unsigned_ints;  // [3]
  uint64_t* longs;          // [1]
  const uint32_t* words;    // [4]
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    if (d.thread() == 0 && d.block() == 0) {
      ints[0] = d.Dp4a(0x80ff017fu, 0x80030201u, -5);
      ints[1] = d.Dp4a(0x00000001u, 0x00000001u, 0x7fffffff);
      uint32_t four[4];
      d.Load16(four, words);
      unsigned_ints[0] = d.Select4(four, 0x0f080500u);
      unsigned_ints[1] = d.PopCount(0xf0000001u);
    }
    d.AtomicAdd(&ints[2], -2);
    d.AtomicMax(&ints[3], static_cast<int32_t>(d.thread()) - 40);
    d.AtomicMax(&unsigned_ints[2], d.thread() * 7 % 32);
    d.AtomicAdd(longs, 0x80000001u);
  }
};

TEST_CASE("EmulatedDevice: arithmetic is a GPU's") {
  for (const Schedule& schedule : kSchedules) {
    DeviceMemory memory;
    int32_t* ints = memory.Upload(std::vector<int32_t>{0, 0, 7, -1000});
    uint32_t* unsigned_ints = memory.Upload(std::vector<uint32_t>{0, 0, 5});
    uint64_t* longs = memory.Upload(std::vector<uint64_t>{1});
    const uint32_t* words = memory.Upload(std::vector<uint32_t>{0x03020100u, 0x07060504u, 0xfbfaf9f8u, 0xfffefdfcu});
    Launch(Arithmetic{ints, unsigned_ints, longs, words}, {2}, schedule);
    CHECK(ints[0] == -5 + 127 * 1 + 1 * 2 + -1 * 3 + -128 * -128);
    CHECK(ints[1] == std::numeric_limits<int32_t>::min());
    CHECK(ints[2] == 7 - 2 * 64);
    CHECK(ints[3] == 31 - 40);
    CHECK(unsigned_ints[0] == 0xfff80500u);
    CHECK(unsigned_ints[1] == 5);
    CHECK(unsigned_ints[2] == 31);
    CHECK(longs[0] == 1 + 64 * uint64_t{0x80000001u});
  }
}

// Each thread copies 16 bytes, of which it wants `bytes`.
struct CopyTail {
  static constexpr unsigned kThreads = 32;
  struct Shared {
    alignas(16) unsigned char bytes[32 * 16];
  };
  const unsigned char* from;
  unsigned char* to;
  unsigned wanted;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    const unsigned at = d.thread() * 16;
    const unsigned bytes = at >= wanted ? 0u : wanted - at < 16 ? wanted - at : 16u;
    d.CopyAsync(&shared.bytes[at], bytes > 0 ? from + at : from, bytes);
    d.CopyCommit();
    d.template CopyWait<0>();
    for (unsigned i = 0; i < 16; ++i) to[at + i] = shared.bytes[at + i];
  }
};

TEST_CASE("EmulatedDevice: an asynchronous copy reads what it is asked for and fills up with zeros") {
  for (const Schedule& schedule : kSchedules) {
    for (const unsigned wanted : {0u, 1u, 16u, 37u, 511u, 512u}) {
      DeviceMemory memory;
      std::vector<unsigned char> values(wanted);
      for (unsigned i = 0; i < wanted; ++i) values[i] = static_cast<unsigned char>(i % 255 + 1);
      unsigned char* to = memory.Allocate<unsigned char>(512);
      Launch(CopyTail{memory.Upload(values), to, wanted}, {}, schedule);
      size_t wrong = 0;
      for (unsigned i = 0; i < 512; ++i) wrong += to[i] == (i < wanted ? values[i] : 0) ? 0u : 1u;
      CHECK(wrong == 0);
    }
  }
}

// PTX ISA 9.0, 9.7.14.5.10 "Matrix Fragments for mma.m16n8k32", types .s8 and .s32; in each fragment the elements are
// the bytes of its registers, from the lowest. (groupID = %laneid >> 2, threadID_in_group = %laneid % 4.)
struct At {
  unsigned row, col;
};
At AtA(unsigned lane, unsigned i) {
  const unsigned group_id = lane >> 2;
  const unsigned thread_id_in_group = lane % 4;
  return {i < 4 || (8 <= i && i < 12) ? group_id : group_id + 8,
          i < 8 ? thread_id_in_group * 4 + (i & 0x3) : thread_id_in_group * 4 + (i & 0x3) + 16};
}
At AtB(unsigned lane, unsigned i) {
  const unsigned group_id = lane >> 2;
  const unsigned thread_id_in_group = lane % 4;
  return {i < 4 ? thread_id_in_group * 4 + (i & 0x3) : thread_id_in_group * 4 + (i & 0x3) + 16, group_id};
}
At AtC(unsigned lane, unsigned i) {
  const unsigned group_id = lane >> 2;
  const unsigned thread_id_in_group = lane % 4;
  return {i < 2 ? group_id : group_id + 8, thread_id_in_group * 2 + (i & 0x1)};
}

// Of each lane, where in a matrix stored by rows each element of its fragment is.
template <unsigned kElements>
std::vector<uint32_t> Table(At (*at)(unsigned, unsigned), unsigned cols) {
  std::vector<uint32_t> table;
  for (unsigned lane = 0; lane < 32; ++lane) {
    for (unsigned i = 0; i < kElements; ++i) table.push_back(at(lane, i).row * cols + at(lane, i).col);
  }
  return table;
}

// c += a b, of matrices [16, 32] and [32, 8], fragments by tables.
struct MmaByTable {
  static constexpr unsigned kThreads = 32;
  using Shared = NoShared;
  const int8_t* a;
  const int8_t* b;
  int32_t* c;
  const uint32_t* at_a;  // [32, 16]
  const uint32_t* at_b;  // [32, 8]
  const uint32_t* at_c;  // [32, 4]
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    uint32_t a_words[4] = {};
    uint32_t b_words[2] = {};
    int32_t sums[4];
    for (unsigned i = 0; i < 16; ++i) {
      a_words[i / 4] |= uint32_t{static_cast<uint8_t>(a[at_a[d.lane() * 16 + i]])} << i % 4 * 8;
    }
    for (unsigned i = 0; i < 8; ++i) {
      b_words[i / 4] |= uint32_t{static_cast<uint8_t>(b[at_b[d.lane() * 8 + i]])} << i % 4 * 8;
    }
    for (unsigned i = 0; i < 4; ++i) sums[i] = c[at_c[d.lane() * 4 + i]];
    d.Mma(sums, a_words, b_words);
    for (unsigned i = 0; i < 4; ++i) c[at_c[d.lane() * 4 + i]] = sums[i];
  }
};

TEST_CASE("EmulatedDevice: Mma is the product of tiles whose fragments lie as the PTX manual says") {
  Random random(5);
  for (int round = 0; round < 20; ++round) {
    for (const Schedule& schedule : kSchedules) {
      std::vector<int8_t> a(16 * 32);
      std::vector<int8_t> b(32 * 8);
      std::vector<int32_t> c(16 * 8);
      for (int8_t& v : a) v = round == 0 ? int8_t{-128} : static_cast<int8_t>(random());
      for (int8_t& v : b) v = round == 0 ? int8_t{-128} : static_cast<int8_t>(random());
      for (int32_t& v : c) v = static_cast<int32_t>(random() % 2000) - 1000;
      DeviceMemory memory;
      int32_t* sums = memory.Upload(c);
      Launch(MmaByTable{memory.Upload(a), memory.Upload(b), sums, memory.Upload(Table<16>(AtA, 32)),
                        memory.Upload(Table<8>(AtB, 8)), memory.Upload(Table<4>(AtC, 8))},
             {}, schedule);
      size_t wrong = 0;
      for (size_t row = 0; row < 16; ++row) {
        for (size_t col = 0; col < 8; ++col) {
          int32_t sum = c[row * 8 + col];
          for (size_t k = 0; k < 32; ++k) sum += a[row * 32 + k] * b[k * 8 + col];
          wrong += sums[row * 8 + col] == sum ? 0u : 1u;
        }
      }
      CHECK(wrong == 0);
    }
  }
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
// (0), the wait (1), or a barrier (2: after the copies, 3: before the next).
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
      if constexpr (kLeftOut != 1) d.template CopyWait<1>();
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
