// Schedule: what a GPU leaves open, decided. A kernel's results must be the same under all of them.
#ifndef BITNET_TESTS_TESTING_SIMT_SCHEDULE_H_
#define BITNET_TESTS_TESTING_SIMT_SCHEDULE_H_

#include <array>
#include <cstdint>
#include <ostream>

namespace bitnet::testing {

// Which of the threads that can go on goes on, and which of the blocks comes next.
enum class Order { kAscending, kDescending, kRandom };

// When an asynchronous copy happens: where it begins, or where it is waited for (until then there is poison).
enum class CopyTime { kEarly, kLate };

struct Schedule {
  Order order = Order::kAscending;
  uint64_t seed = 0;            // of kRandom
  unsigned char poison = 0xff;  // each byte of shared and scratch memory at first
  CopyTime copies = CopyTime::kLate;
};

// Those worth running: in each order a thread runs as far ahead of others as it can. Bytes of 0xff make a NaN, and -1;
// 0x7b a large number; 0x01 and 0x80 numbers next to zero.
inline constexpr std::array<Schedule, 4> kSchedules = {{
    {Order::kAscending, 0, 0xff, CopyTime::kLate},
    {Order::kDescending, 0, 0x7b, CopyTime::kEarly},
    {Order::kRandom, 1, 0x01, CopyTime::kLate},
    {Order::kRandom, 2, 0x80, CopyTime::kEarly},
}};

inline std::ostream& operator<<(std::ostream& out, const Schedule& schedule) {
  switch (schedule.order) {
    case Order::kAscending:
      out << "ascending";
      break;
    case Order::kDescending:
      out << "descending";
      break;
    case Order::kRandom:
      out << "random (seed " << schedule.seed << ")";
      break;
  }
  return out << ", poison " << unsigned{schedule.poison} << ", copies "
             << (schedule.copies == CopyTime::kEarly ? "early" : "late");
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_SIMT_SCHEDULE_H_
