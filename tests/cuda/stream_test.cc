#include "bitnet/backend/cuda/stream.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "bitnet/backend/cuda/probe.h"
#include "testing/emulated_machine.h"

namespace bitnet::cuda {
namespace {

using testing::EmulatedMachine;
using Stream = cuda::Stream<EmulatedMachine>;

// y[i] = a x[i] + b.
struct Affine {
  static constexpr unsigned kThreads = 64;
  using Shared = NoShared;
  const int* x;
  int* y;
  int a, b;
  unsigned n;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    for (unsigned i = d.block() * kThreads + d.thread(); i < n; i += d.blocks() * kThreads) y[i] = a * x[i] + b;
  }
};

std::vector<int> Iota(size_t n, int first = 0) {
  std::vector<int> x(n);
  std::iota(x.begin(), x.end(), first);
  return x;
}

// A pass: x comes in, 3 x + 1 goes out.
std::vector<int> Pass(Stream& stream, Memory<EmulatedMachine>& memory, std::vector<int> x) {
  const size_t bytes = x.size() * sizeof(int);
  stream.Grow(memory, 2 * bytes);
  int* from = memory.As<int>();
  int* to = from + x.size();
  std::vector<int> y(x.size(), -1);
  stream.CopyIn(from, x.data(), bytes);
  std::fill(x.begin(), x.end(), -7);  // what the host gives is read at once
  stream.Launch(Affine{from, to, 3, 1, static_cast<unsigned>(x.size())}, Grid{2});
  stream.CopyOut(y.data(), to, bytes);
  CHECK(y[0] == -1);  // what it asks for is there after Finish
  const Result<Done> finished = stream.Finish();
  if (!finished.ok()) FAIL_CHECK(finished.error());
  return y;
}

bool IsThreeTimesPlusOne(const std::vector<int>& y, int first) {
  for (size_t i = 0; i < y.size(); ++i) {
    if (y[i] != 3 * (first + static_cast<int>(i)) + 1) return false;
  }
  return true;
}

TEST_CASE("Stream: runs in order what it was told, on queues that do it at once or late") {
  const EmulatedMachine machine;
  for (int queue = 0; queue < 2; ++queue) {
    Stream stream(machine);
    Memory<EmulatedMachine> memory;
    CHECK(IsThreeTimesPlusOne(Pass(stream, memory, Iota(100)), 0));
    // A chain within one pass.
    std::vector<int> y(100, -1);
    int* p = memory.As<int>();
    for (int i = 0; i < 5; ++i) stream.Launch(Affine{p, p, 1, i, 100}, Grid{1});
    stream.Copy(p + 100, p, 100 * sizeof(int));
    stream.CopyOut(y.data(), p + 100, 100 * sizeof(int));
    REQUIRE(stream.Finish().ok());
    CHECK(y[0] == 10);
    CHECK(y[99] == 109);
  }
}

TEST_CASE("Stream: a pass like the one before goes out as a graph, with the numbers of this one") {
  const EmulatedMachine machine;
  for (int queue = 0; queue < 2; ++queue) {
    Stream stream(machine);
    Memory<EmulatedMachine> memory;
    for (int pass = 0; pass < 6; ++pass) {
      CHECK(IsThreeTimesPlusOne(Pass(stream, memory, Iota(100, 17 * pass)), 17 * pass));
      CHECK(stream.replays() == static_cast<size_t>(pass == 0 ? 0 : pass));
    }
    // Another pass is not that graph, and the graph is still there after it.
    CHECK(IsThreeTimesPlusOne(Pass(stream, memory, Iota(60, 5)), 5));
    CHECK(stream.replays() == 5);
    CHECK(IsThreeTimesPlusOne(Pass(stream, memory, Iota(100, 3)), 3));
    CHECK(stream.replays() == 6);
    // Two that take turns are two graphs.
    for (int pass = 0; pass < 3; ++pass) {
      CHECK(IsThreeTimesPlusOne(Pass(stream, memory, Iota(60, pass)), pass));
      CHECK(IsThreeTimesPlusOne(Pass(stream, memory, Iota(100, pass)), pass));
    }
    CHECK(stream.replays() == 12);
    // Of many that never come again none is one, and they push the others out.
    for (size_t n = 1; n < 9; ++n) CHECK(IsThreeTimesPlusOne(Pass(stream, memory, Iota(n)), 0));
    CHECK(IsThreeTimesPlusOne(Pass(stream, memory, Iota(100)), 0));
    CHECK(stream.replays() == 12);
  }
}

// y[0] = by * n; with gaps between its members.
struct Gappy {
  static constexpr unsigned kThreads = 32;
  using Shared = NoShared;
  uint8_t by;
  int* y;
  uint8_t n;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    if (d.thread() == 0) y[0] = by * n;
  }
};

TEST_CASE("Stream: what lies between the members of a kernel makes no other pass of it") {
  const EmulatedMachine machine;
  Stream stream(machine);
  int* y = stream.Scratch<int>(ScratchSlot::kProduct, 1);
  for (int pass = 0; pass < 4; ++pass) {
    alignas(Gappy) unsigned char memory[sizeof(Gappy)];
    std::memset(memory, 0x11 * (pass + 1), sizeof(memory));
    auto& kernel = *reinterpret_cast<Gappy*>(memory);
    kernel.by = 3;
    kernel.y = y;
    kernel.n = 7;
    int result = 0;
    stream.Launch(kernel, Grid{1});
    stream.CopyOut(&result, y, sizeof(result));
    REQUIRE(stream.Finish().ok());
    CHECK(result == 21);
    CHECK(stream.replays() == static_cast<size_t>(pass));
  }
}

TEST_CASE("Stream: memory that has become too small lives until what uses it is done") {
  const EmulatedMachine machine;
  for (int queue = 0; queue < 2; ++queue) {
    Stream stream(machine);
    std::vector<int> small(8, -1), large(4000, -1);
    const std::vector<int> x = Iota(4000);
    int* first = stream.Scratch<int>(ScratchSlot::kProduct, 8);
    stream.CopyIn(first, x.data(), 8 * sizeof(int));
    int* second = stream.Scratch<int>(ScratchSlot::kProduct, 4000);
    CHECK(first != second);
    stream.CopyIn(second, x.data(), 4000 * sizeof(int));
    stream.Launch(Affine{first, first, 2, 0, 8}, Grid{1});
    stream.CopyOut(small.data(), first, 8 * sizeof(int));
    stream.CopyOut(large.data(), second, 4000 * sizeof(int));
    const size_t before = machine.counts().allocations;
    REQUIRE(stream.Finish().ok());
    CHECK(machine.counts().allocations == before - 1);
    CHECK(small[7] == 14);
    CHECK(large[3999] == 3999);
    CHECK(stream.Scratch<int>(ScratchSlot::kProduct, 100) == second);
  }
  CHECK(machine.counts().allocations == 0);
}

TEST_CASE("Stream: a long pass goes out in parts") {
  const EmulatedMachine machine;
  Stream stream(machine);
  std::vector<int> y(8, -1);
  const std::vector<int> zeros(8, 0);
  int* p = stream.Scratch<int>(ScratchSlot::kProduct, 8);
  stream.CopyIn(p, zeros.data(), 8 * sizeof(int));
  for (int i = 0; i < 10000; ++i) stream.Launch(Affine{p, p, 1, 1, 8}, Grid{1});
  CHECK(stream.waiting() < 10000);
  stream.CopyOut(y.data(), p, 8 * sizeof(int));
  REQUIRE(stream.Finish().ok());
  CHECK(y == std::vector<int>(8, 10000));
}

TEST_CASE("Stream: calls the host in order, and says that its memory ended") {
  struct Add {
    int* x;
    int by;
    bool ends;
    void operator()() const {
      if (ends) throw std::bad_alloc();
      for (int i = 0; i < 8; ++i) x[i] += by;
    }
  };
  const EmulatedMachine machine;
  for (int queue = 0; queue < 2; ++queue) {
    Stream stream(machine);
    const std::vector<int> x = Iota(8);
    std::vector<int> y(8, -1);
    const auto pass = [&](bool ends) {
      int* p = stream.Scratch<int>(ScratchSlot::kProduct, 8);
      stream.CopyIn(p, x.data(), 8 * sizeof(int));
      auto* staged = reinterpret_cast<int*>(stream.Stage(8 * sizeof(int)));
      stream.Copy(staged, p, 8 * sizeof(int));
      stream.CallHost(Add{staged, 100, ends});
      stream.Copy(p, staged, 8 * sizeof(int));
      stream.Launch(Affine{p, p, 2, 0, 8}, Grid{1});
      stream.CopyOut(y.data(), p, 8 * sizeof(int));
      return stream.Finish();
    };
    for (int i = 0; i < 3; ++i) {
      REQUIRE(pass(false).ok());
      CHECK(y[7] == 214);
    }
    CHECK(stream.replays() == 2);
    CHECK_THROWS_AS((void)pass(true), std::bad_alloc);
    REQUIRE(pass(false).ok());
    CHECK(y[7] == 214);
  }
}

TEST_CASE("Stream: whatever call fails, Finish says which and why, once, and the next pass is well") {
  for (int queue = 0; queue < 2; ++queue) {
    size_t failures = 0;
    for (size_t call = 1; call < 100; ++call) {
      const EmulatedMachine machine;
      machine.counts().queues = static_cast<size_t>(queue);
      machine.counts().fails_at = call;
      Stream stream(machine);
      Memory<EmulatedMachine> memory;
      const std::vector<int> x = Iota(100);
      std::vector<int> y(100, -1);
      Result<Done> finished = Done{};
      for (int pass = 0; pass < 4 && finished.ok(); ++pass) {
        stream.Grow(memory, 800);
        int* p = memory.As<int>();
        stream.CopyIn(p, x.data(), 400);
        stream.Launch(Affine{p, p + 100, 3, 1, 100}, Grid{2});
        stream.CopyOut(y.data(), p + 100, 400);
        finished = stream.Finish();
      }
      if (finished.ok()) {
        // Of a graph that cannot be had nobody hears.
        CHECK((machine.counts().fails_at != 0 || stream.replays() < 3));
        if (machine.counts().fails_at != 0) break;
        continue;
      }
      ++failures;
      CHECK(finished.error().find("CUDA: ") == 0);
      CHECK(finished.error().find("failed with 999 (emulatedError: it was told to)") != std::string::npos);
      CHECK(stream.Finish().ok());
      CHECK(IsThreeTimesPlusOne(Pass(stream, memory, Iota(100, 9)), 9));
    }
    CHECK(failures > 8);
  }
}

TEST_CASE("Stream: the device's memory that ends is a bad_alloc, and all is as before") {
  const EmulatedMachine machine;
  Stream stream(machine);
  Memory<EmulatedMachine> memory;
  CHECK(IsThreeTimesPlusOne(Pass(stream, memory, Iota(100)), 0));
  const std::byte* before = memory.data();
  machine.counts().fails_with = FaultKind::kOutOfMemory;
  machine.counts().fails_at = 1;
  CHECK_THROWS_AS(stream.Grow(memory, 10000), DeviceMemoryEnded);
  CHECK(memory.data() == before);
  CHECK(IsThreeTimesPlusOne(Pass(stream, memory, Iota(100, 4)), 4));
  try {
    machine.counts().fails_at = 1;
    stream.Grow(memory, 12345);
  } catch (const std::bad_alloc& ended) {
    CHECK(std::string(ended.what()) == "the device has no memory for 12345 bytes more");
  }
}

TEST_CASE("Stream: a device that is lost says so to everybody, every time") {
  const EmulatedMachine machine;
  Stream stream(machine), other(machine);
  Memory<EmulatedMachine> memory, others;
  CHECK(IsThreeTimesPlusOne(Pass(stream, memory, Iota(100)), 0));
  machine.counts().fails_with = FaultKind::kLost;
  machine.counts().fails_at = 2;
  for (Stream* each : {&stream, &stream, &other}) {
    each->Launch(Affine{memory.As<int>(), memory.As<int>(), 1, 0, 10}, Grid{1});
    each->CopyIn(memory.data(), "abc", 3);
    const Result<Done> finished = each->Finish();
    REQUIRE(!finished.ok());
    CHECK(finished.error().find("the device is lost to this process: start another") != std::string::npos);
  }
  other.Grow(others, 100);  // says nothing
  CHECK(others.data() == nullptr);
}

TEST_CASE("Stream: what has not gone out when it ends never does, and its memory goes") {
  const EmulatedMachine machine;
  {
    Stream stream(machine);
    int* p = stream.Scratch<int>(ScratchSlot::kProduct, 8);
    stream.Launch(Affine{p, p, 1, 0, 8}, Grid{1});
    Stream moved = std::move(stream);
    moved = Stream(machine);
  }
  CHECK(machine.counts().launches == 0);
  CHECK(machine.counts().allocations == 0);
}

TEST_CASE("Probe: finds IEEE 754 on the emulated device, and its faults") {
  const EmulatedMachine machine;
  CHECK(Probe(machine).ok());
  machine.counts().fails_at = 3;
  const Result<Done> probed = Probe(machine);
  CHECK(!probed.ok());
}

}  // namespace
}  // namespace bitnet::cuda
