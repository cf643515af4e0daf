// Reals to test with: kinds of rows that kernels get wrong, repeatable from a seed.
#ifndef BITNET_TESTS_TESTING_AWKWARD_VALUES_H_
#define BITNET_TESTS_TESTING_AWKWARD_VALUES_H_

#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "bitnet/base/random.h"

namespace bitnet::testing {

enum class Kind { kNormal, kTies, kSparse, kZeros, kEqual, kTiny, kHuge, kNan, kInfinite, kCount };

// n values of a kind. kTies: multiples of 1/2 up to `top`, the first is `top`, so that a step of max/top is 1 and half
// of the values lie between two levels.
inline std::vector<float> AwkwardValues(Kind kind, size_t n, uint64_t seed, int top = 7) {
  Random random(seed);
  std::vector<float> x(n);
  for (float& v : x) {
    const float normal = Normal(random);
    const auto below = static_cast<int>(UniformBelow(random, static_cast<uint64_t>(4 * top + 1)));
    switch (kind) {
      case Kind::kTies:
        v = 0.5f * static_cast<float>(below - 2 * top);
        break;
      case Kind::kSparse:
        v = below % 5 == 0 ? normal : below % 2 == 0 ? 0.0f : -0.0f;
        break;
      case Kind::kZeros:
        v = below % 2 == 0 ? 0.0f : -0.0f;
        break;
      case Kind::kEqual:
        v = below % 2 == 0 ? 1.5f : -1.5f;
        break;
      case Kind::kTiny:
        v = normal * (below % 2 == 0 ? FLT_TRUE_MIN * 100.0f : FLT_MIN * 4.0f);
        break;
      case Kind::kHuge:
        v = normal * (below % 3 == 0 ? 1e38f : 1e30f);
        break;
      default:
        v = normal;
    }
    if (std::isinf(v)) v = FLT_MAX;
  }
  if (n != 0 && kind == Kind::kTies) x[0] = static_cast<float>(top);
  if (n != 0 && kind == Kind::kNan) x[n / 2] = std::numeric_limits<float>::quiet_NaN();
  if (n != 0 && kind == Kind::kInfinite) x[n - 1] = -std::numeric_limits<float>::infinity();
  return x;
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_AWKWARD_VALUES_H_
