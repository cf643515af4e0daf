// EmulatedDevice: what a kernel finds on the emulated device (bitnet/backend/cuda/device.h says what each member does).
#ifndef BITNET_TESTS_TESTING_EMULATED_DEVICE_H_
#define BITNET_TESTS_TESTING_EMULATED_DEVICE_H_

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "bitnet/backend/cuda/device.h"
#include "testing/sanitizers.h"
#include "testing/simt_block.h"

namespace bitnet::testing {

class EmulatedDevice {
 public:
  EmulatedDevice(EmulatedBlock& block, unsigned thread)
      : block_(block), thread_(thread), x_(block.x()), y_(block.y()), grid_(block.launched().grid) {}

  unsigned thread() const { return thread_; }
  unsigned lane() const { return thread_ % cuda::kWarp; }
  unsigned warp() const { return thread_ / cuda::kWarp; }
  unsigned block() const { return x_; }
  unsigned block_y() const { return y_; }
  unsigned blocks() const { return grid_.x; }
  unsigned blocks_y() const { return grid_.y; }

  void Barrier(CallSite site = CallSite::Here()) {
    if (!block_.PassesBy(site)) block_.MeetAtBarrier(site);
  }

  template <class T, std::integral Lane>
  T Shuffle(T v, Lane from, CallSite site = CallSite::Here()) {
    return Exchange(v, from, "a shuffle from lane ", site, [&] { return static_cast<unsigned>(from); });
  }
  template <class T, std::integral Mask>
  T ShuffleXor(T v, Mask mask, CallSite site = CallSite::Here()) {
    return Exchange(v, mask, "a shuffle by mask ", site, [&] { return lane() ^ static_cast<unsigned>(mask); });
  }

  uint32_t Ballot(bool b, CallSite site = CallSite::Here()) {
    const Unwatched unwatched;
    const EmulatedBlock::Slots& slots = Show({Collective::Kind::kBallot, 1, site}, &b);
    uint32_t ballot = 0;
    for (unsigned i = 0; i < cuda::kWarp; ++i) ballot |= uint32_t{slots[i].bytes[0]} << i;
    return ballot;
  }

  int32_t Dp4a(uint32_t a, uint32_t b, int32_t c) const {
    for (unsigned i = 0; i < 4; ++i) c = Add(c, Byte(a, i) * Byte(b, i));
    return c;
  }

  unsigned PopCount(uint32_t v) const { return static_cast<unsigned>(std::popcount(v)); }

  uint32_t Select4(const uint32_t (&table)[4], uint32_t four) const {
    if ((four & 0xf0f0f0f0u) != 0) block_.Fail(thread_, "Select4 by a byte above 15");
    uint32_t selected = 0;
    for (unsigned i = 0; i < 32; i += 8) {
      const uint32_t index = four >> i & 15u;
      selected |= (table[index / 4] >> index % 4 * 8 & 0xffu) << i;
    }
    return selected;
  }

  void Mma(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], CallSite site = CallSite::Here()) {
    const Unwatched unwatched;
    uint32_t words[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    const EmulatedBlock::Slots& slots = Show({Collective::Kind::kMma, sizeof words, site}, words);
    // Four columns of A, or rows of B, are the bytes of a word; words 0 to 3 of a lane are A's, 4 and 5 B's.
    const auto word = [&](unsigned lane, unsigned i) {
      uint32_t w = 0;
      std::memcpy(&w, &slots[lane].bytes[i * 4], 4);
      return w;
    };
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned row = lane() / 4 + i / 2 * 8;
      const unsigned column = lane() % 4 * 2 + i % 2;
      for (unsigned k = 0; k < 32; k += 4) {
        const unsigned quarter = k / 4 % 4;
        d[i] = Dp4a(word(row % 8 * 4 + quarter, k / 16 * 2 + row / 8), word(column * 4 + quarter, 4 + k / 16), d[i]);
      }
    }
  }

  void CopyAsync(void* shared, const void* global, unsigned bytes) {
    const EmulatedBlock::Copy copy = {shared, global, bytes, 0};
    Schedule schedule;
    {
      const Unwatched unwatched;
      CheckCopy(copy);
      schedule = block_.launched().schedule;
      EmulatedBlock::Copies& copies = block_.CopiesOf(thread_);
      copies.list.push_back(copy);
      copies.list.back().group = copies.groups;
    }
    if (schedule.copies == CopyTime::kEarly) {
      DoCopy(copy);
    } else {
      unsigned char poison[16];
      std::memset(poison, schedule.poison, 16);
      std::memcpy(copy.to, poison, 16);  // what was there may be gone from now on
    }
  }
  void CopyCommit() {
    const Unwatched unwatched;
    ++block_.CopiesOf(thread_).groups;
  }
  template <unsigned kUnderWay>
  void CopyWait(CallSite site = CallSite::Here()) {
    if (block_.PassesBy(site)) return;
    EmulatedBlock::Copies& copies = (Unwatched(), block_.CopiesOf(thread_));
    const bool now = (Unwatched(), block_.launched().schedule.copies == CopyTime::kLate);
    size_t done = 0;
    for (; done < copies.list.size() && copies.list[done].group + kUnderWay < copies.groups; ++done) {
      if (now) DoCopy(copies.list[done]);
    }
    const Unwatched unwatched;
    copies.list.erase(copies.list.begin(), copies.list.begin() + static_cast<std::ptrdiff_t>(done));
  }

  void Load16(uint32_t (&words)[4], const void* from) const {
    CheckAlignment("Load16", from, 16);
    std::memcpy(words, from, 16);
  }

  template <class T>
  T AtomicAdd(T* p, std::type_identity_t<T> v) {
    static_assert(std::is_same_v<T, uint32_t> || std::is_same_v<T, int32_t> || std::is_same_v<T, uint64_t>);
    return Change("AtomicAdd", p, [v](T old) { return Add(old, v); });
  }
  template <class T>
  T AtomicMax(T* p, std::type_identity_t<T> v) {
    static_assert(std::is_same_v<T, uint32_t> || std::is_same_v<T, int32_t>);
    return Change("AtomicMax", p, [v](T old) { return v > old ? v : old; });
  }

 private:
  static int32_t Byte(uint32_t word, unsigned i) { return static_cast<int8_t>(word >> 8 * i & 0xffu); }

  // As a GPU adds: modulo 2^32.
  template <class T>
  static T Add(T a, T b) {
    using Unsigned = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<Unsigned>(a) + static_cast<Unsigned>(b));
  }

  // All lanes' values, once they have come. (Read them before the next collective.)
  const EmulatedBlock::Slots& Show(const Collective& collective, const void* value) {
    EmulatedBlock::Slots& slots = block_.SlotsOf(warp());
    std::memcpy(slots[lane()].bytes.data(), value, collective.bytes);
    block_.Meet(collective);
    return slots;
  }

  template <class T, class I, class From>
  T Exchange(T v, I i, const char* what, CallSite site, From from) {
    static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
    const Unwatched unwatched;
    if (!(i >= 0 && i < static_cast<I>(cuda::kWarp))) block_.Fail(thread_, what + std::to_string(i));
    const EmulatedBlock::Slots& slots = Show({Collective::Kind::kShuffle, sizeof v, site}, &v);
    std::memcpy(&v, slots[from()].bytes.data(), sizeof v);
    return v;
  }

  void CheckAlignment(const char* what, const void* p, size_t alignment) const {
    if (reinterpret_cast<uintptr_t>(p) % alignment == 0) return;
    const Unwatched unwatched;
    block_.Fail(thread_, std::string(what) + " of an address that is not a multiple of " + std::to_string(alignment));
  }
  bool IsShared(const void* p) const {
    const auto begin = reinterpret_cast<uintptr_t>(block_.shared().begin);
    const auto address = reinterpret_cast<uintptr_t>(p);
    return address >= begin && address < begin + block_.shared().bytes;
  }
  void CheckCopy(const EmulatedBlock::Copy& copy) const {
    CheckAlignment("CopyAsync", copy.to, 16);
    CheckAlignment("CopyAsync", copy.from, 16);
    if (copy.bytes > 16) block_.Fail(thread_, "CopyAsync of " + std::to_string(copy.bytes) + " bytes");
    if (!IsShared(copy.to)) block_.Fail(thread_, "CopyAsync to memory that is not shared memory");
    if (IsShared(copy.from)) block_.Fail(thread_, "CopyAsync from shared memory");
  }
  static void DoCopy(const EmulatedBlock::Copy& copy) {
    unsigned char bytes[16] = {};
    if (copy.bytes > 0) std::memcpy(bytes, copy.from, copy.bytes);
    std::memcpy(copy.to, bytes, 16);
  }

  // There is one thread, whatever the sanitizer is told: between the two nobody comes.
  template <class T, class New>
  T Change(const char* what, T* p, New new_value) {
    CheckAlignment(what, p, sizeof(T));
    const T old = __atomic_load_n(p, __ATOMIC_RELAXED);
    __atomic_store_n(p, new_value(old), __ATOMIC_RELAXED);
    return old;
  }

  EmulatedBlock& block_;
  unsigned thread_;
  unsigned x_;
  unsigned y_;
  cuda::Grid grid_;
};

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_EMULATED_DEVICE_H_
