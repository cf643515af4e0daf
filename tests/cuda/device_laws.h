// The laws of a Device (backend/cuda/device.h), the emulated one's and a GPU's: CheckDevice(on). `on` is where kernels
// run:
//
//   T* Upload(const std::vector<T>&)        memory of the device with these values
//   void Launch(const K& kernel, Grid)      waits, or not
//   std::vector<T> Read(const T*, count)    what is there when all launches are done
#ifndef BITNET_TESTS_CUDA_DEVICE_LAWS_H_
#define BITNET_TESTS_CUDA_DEVICE_LAWS_H_

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/base/random.h"
#include "cuda/mma_fragments.h"

namespace bitnet::testing {

// ---- Threads.

struct WriteWhere {
  static constexpr unsigned kThreads = 96;
  using Shared = cuda::NoShared;
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

// Each thread of each block runs once, and knows where it is.
template <class On>
void CheckThreads(On& on) {
  auto* where = on.Upload(std::vector<WriteWhere::Where>(15 * 96));
  on.Launch(WriteWhere{where}, cuda::Grid{5, 3});
  const std::vector<WriteWhere::Where> written = on.Read(where, 15 * 96);
  size_t wrong = 0;
  for (unsigned i = 0; i < 15 * 96; ++i) {
    const WriteWhere::Where& w = written[i];
    const unsigned thread = i % 96;
    const bool is_right = w.thread == thread && w.lane == thread % 32 && w.warp == thread / 32 &&
                          w.block == i / 96 % 5 && w.block_y == i / 96 / 5 && w.blocks == 5 && w.blocks_y == 3 &&
                          w.times == 1;
    wrong += is_right ? 0u : 1u;
  }
  CHECK(wrong == 0);
}

// Threads of a block pass values on through shared memory: as much as a block has, and as may be asked for.
template <bool kIsLarge>
struct Reverse {
  static constexpr unsigned kThreads = 1024;
  static constexpr bool kLargeShared = kIsLarge;
  static constexpr unsigned kCount = (kIsLarge ? 99u : 48u) * 1024 / sizeof(uint32_t);
  struct Shared {
    uint32_t values[kCount];
  };
  const uint32_t* from;
  uint32_t* to;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    for (unsigned i = d.thread(); i < kCount; i += kThreads) shared.values[i] = from[i];
    d.Barrier();
    for (unsigned i = d.thread(); i < kCount; i += kThreads) to[i] = shared.values[kCount - 1 - i];
  }
};

template <bool kIsLarge, class On>
void CheckShared(On& on) {
  std::vector<uint32_t> values(Reverse<kIsLarge>::kCount);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<uint32_t>(i * 2654435761u);
  uint32_t* to = on.Upload(std::vector<uint32_t>(values.size()));
  on.Launch(Reverse<kIsLarge>{on.Upload(values), to}, cuda::Grid{});
  CHECK(on.Read(to, values.size()) == std::vector<uint32_t>(values.rbegin(), values.rend()));
}

// ---- Lanes.

struct Exchanges {
  static constexpr unsigned kThreads = 64;
  using Shared = cuda::NoShared;
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
    f.shuffled = d.Shuffle(static_cast<float>(t) + 0.5f, (d.lane() * 7 + 3) % cuda::kWarp);
    f.shuffled_by_mask = d.ShuffleXor(1.0 / (t + 1), 5);
    f.shuffled_int = d.Shuffle(uint64_t{t} << 33, 31u - d.lane());
    f.ballot = d.Ballot(t % 3 == 0);
    f.sum = cuda::WarpSum(d, uint64_t{t} << 32);
    f.max = cuda::WarpMax(d, static_cast<int32_t>(t * 5 % 32) - 40);
    found[t] = f;
  }
};

// The lanes of a warp exchange values of 4 and 8 bytes.
template <class On>
void CheckExchanges(On& on) {
  auto* to = on.Upload(std::vector<Exchanges::Found>(64));
  on.Launch(Exchanges{to}, cuda::Grid{});
  const std::vector<Exchanges::Found> found = on.Read(to, 64);
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

// ---- Arithmetic and memory.

struct Arithmetic {
  static constexpr unsigned kThreads = 32;
  using Shared = cuda::NoShared;
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

template <class On>
void CheckArithmetic(On& on) {
  int32_t* to_ints = on.Upload(std::vector<int32_t>{0, 0, 7, -1000});
  uint32_t* to_unsigned_ints = on.Upload(std::vector<uint32_t>{0, 0, 5});
  uint64_t* to_longs = on.Upload(std::vector<uint64_t>{1});
  const uint32_t* words = on.Upload(std::vector<uint32_t>{0x03020100u, 0x07060504u, 0xfbfaf9f8u, 0xfffefdfcu});
  on.Launch(Arithmetic{to_ints, to_unsigned_ints, to_longs, words}, cuda::Grid{2});
  const std::vector<int32_t> ints = on.Read(to_ints, 4);
  const std::vector<uint32_t> unsigned_ints = on.Read(to_unsigned_ints, 3);
  CHECK(ints[0] == -5 + 127 * 1 + 1 * 2 + -1 * 3 + -128 * -128);
  CHECK(ints[1] == std::numeric_limits<int32_t>::min());
  CHECK(ints[2] == 7 - 2 * 64);
  CHECK(ints[3] == 31 - 40);
  CHECK(unsigned_ints[0] == 0xfff80500u);
  CHECK(unsigned_ints[1] == 5);
  CHECK(unsigned_ints[2] == 31);
  CHECK(on.Read(to_longs, 1)[0] == 1 + 64 * uint64_t{0x80000001u});
}

// Each thread copies 16 bytes, of which it wants those before `wanted`.
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

// An asynchronous copy reads what it is asked for and fills up with zeros.
template <class On>
void CheckCopyAsync(On& on) {
  for (const unsigned wanted : {0u, 1u, 16u, 37u, 511u, 512u}) {
    std::vector<unsigned char> values(wanted);
    for (unsigned i = 0; i < wanted; ++i) values[i] = static_cast<unsigned char>(i % 255 + 1);
    unsigned char* to = on.Upload(std::vector<unsigned char>(512, 0xff));
    on.Launch(CopyTail{on.Upload(values), to, wanted}, cuda::Grid{});
    values.resize(512);
    CHECK(on.Read(to, 512) == values);
  }
}

// ---- The matrix unit.

// c += a b, of matrices [16, 32] and [32, 8], fragments by tables.
struct MmaByTable {
  static constexpr unsigned kThreads = 32;
  using Shared = cuda::NoShared;
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

// Mma is the product of tiles whose fragments lie as the PTX manual says.
template <class On>
void CheckMma(On& on) {
  Random random(5);
  for (int round = 0; round < 20; ++round) {
    std::vector<int8_t> a(16 * 32);
    std::vector<int8_t> b(32 * 8);
    std::vector<int32_t> c(16 * 8);
    for (int8_t& v : a) v = round == 0 ? int8_t{-128} : static_cast<int8_t>(random());
    for (int8_t& v : b) v = round == 0 ? int8_t{-128} : static_cast<int8_t>(random());
    for (int32_t& v : c) v = static_cast<int32_t>(random() % 2000) - 1000;
    int32_t* to = on.Upload(c);
    on.Launch(MmaByTable{on.Upload(a), on.Upload(b), to, on.Upload(FragmentTable<16>(ElementOfA, 32)),
                         on.Upload(FragmentTable<8>(ElementOfB, 8)), on.Upload(FragmentTable<4>(ElementOfC, 8))},
              cuda::Grid{});
    const std::vector<int32_t> sums = on.Read(to, 16 * 8);
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

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_CUDA_DEVICE_LAWS_H_
