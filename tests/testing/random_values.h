// Vectors of reals to test with: repeatable from a seed, and the awkward ones.
#ifndef BITNET_TESTS_TESTING_RANDOM_VALUES_H_
#define BITNET_TESTS_TESTING_RANDOM_VALUES_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bitnet/base/random.h"

namespace bitnet::testing {

// The sizes that every operation is tried with: 1, around vector lengths, and ones that divide nothing.
inline constexpr size_t kSizes[] = {1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 70, 100, 128, 130};

// n values normal(0, scale).
inline std::vector<float> NormalValues(size_t n, uint64_t seed, float scale = 1.0f) {
  Random random(seed);
  std::vector<float> x(n);
  for (float& v : x) v = scale * Normal(random);
  return x;
}

// n values of both signs whose magnitudes spread over some 20 powers of two, a tenth of them zero.
inline std::vector<float> SpreadValues(size_t n, uint64_t seed) {
  Random random(seed);
  std::vector<float> x(n);
  for (float& v : x) {
    const double magnitude = std::exp2(20.0 * UniformReal(random) - 10.0);
    const bool negative = UniformReal(random) < 0.5;
    v = UniformReal(random) < 0.1 ? 0.0f : static_cast<float>(negative ? -magnitude : magnitude);
  }
  return x;
}

// n values from a small set, so that there are many ties.
inline std::vector<float> FewValues(size_t n, uint64_t seed) {
  Random random(seed);
  std::vector<float> x(n);
  for (float& v : x) v = static_cast<float>(UniformBelow(random, 7)) * 0.5f - 1.5f;
  return x;
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_RANDOM_VALUES_H_
