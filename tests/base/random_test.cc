#include "bitnet/base/random.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace bitnet {
namespace {

TEST_CASE("Random: the published values of SplitMix64") {
  Random zero;
  for (const uint64_t expected : {0xe220a8397b1dcdafu, 0x6e789e6aa1b965f4u, 0x06c45d188009454fu, 0xf88bb8a8724c81ecu}) {
    CHECK(zero() == expected);
  }
  Random random(1234567);
  for (const uint64_t expected : {6457827717110365317u, 3203168211198807973u, 9817491932198370423u,
                                  4593380528125082431u, 16408922859458223821u}) {
    CHECK(random() == expected);
  }
}

TEST_CASE("Random: goes on from its state") {
  Random random(5);
  for (int i = 0; i < 10; ++i) random();
  Random resumed(random.state());
  for (int i = 0; i < 10; ++i) CHECK(resumed() == random());
}

// A generator that gives what it is told.
struct Constant {
  using result_type = uint64_t;
  uint64_t value;
  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return ~uint64_t{0}; }
  uint64_t operator()() const { return value; }
};

TEST_CASE("UniformReal: from 0 to just below 1") {
  Constant lowest{0};
  Constant highest{~uint64_t{0}};
  CHECK(UniformReal(lowest) == 0.0);
  CHECK(UniformReal(highest) == 1.0 - 0x1p-53);
  std::mt19937_64 other(1);
  double mean = 0.0;
  for (int i = 0; i < 10000; ++i) mean += UniformReal(other) / 10000;
  CHECK(mean == doctest::Approx(0.5).epsilon(0.02));  // standard deviation 0.003
}

TEST_CASE("UniformBelow: every number below n, never n") {
  Constant highest{~uint64_t{0}};
  for (uint64_t n = 1; n < 3000; ++n) {
    if (UniformBelow(highest, n) != n - 1) FAIL_CHECK("n = " << n);
  }
  for (int shift = 12; shift < 53; ++shift) {
    for (const uint64_t n : {(uint64_t{1} << shift) - 1, uint64_t{1} << shift, (uint64_t{1} << shift) + 1}) {
      if (UniformBelow(highest, n) != n - 1) FAIL_CHECK("n = " << n);
    }
  }
  Random random(3);
  std::vector<int> seen(6);
  for (int i = 0; i < 6000; ++i) ++seen[static_cast<size_t>(UniformBelow(random, 6))];
  for (const int count : seen) CHECK(std::abs(count - 1000) < 150);  // five standard deviations
}

TEST_CASE("Normal: mean 0, variance 1, tails, always finite") {
  Random random(4);
  const int n = 100000;
  double mean = 0.0;
  double square = 0.0;
  int beyond_two = 0;
  for (int i = 0; i < n; ++i) {
    const double x = Normal(random);
    mean += x / n;
    square += x * x / n;
    beyond_two += std::fabs(x) > 2.0;
  }
  CHECK(std::fabs(mean) < 0.02);
  CHECK(std::fabs(square - 1.0) < 0.03);
  CHECK(std::fabs(beyond_two / double{n} - 0.0455) < 0.004);
  Constant lowest{0};
  Constant highest{~uint64_t{0}};
  CHECK(std::isfinite(Normal(lowest)));
  CHECK(std::isfinite(Normal(highest)));
}

}  // namespace
}  // namespace bitnet
