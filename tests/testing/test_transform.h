// TestTransform<T>(): the laws of a transform (quant/transform.h), for one of your own too. Linear and orthogonal at
// any width, its transpose is its inverse; powers of two scale its results exactly; a NaN stays.
#ifndef BITNET_TESTS_TESTING_TEST_TRANSFORM_H_
#define BITNET_TESTS_TESTING_TEST_TRANSFORM_H_

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "bitnet/quant/transform.h"
#include "testing/random_values.h"

namespace bitnet::testing {

inline double DotInDouble(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += double(a[i]) * double(b[i]);
  return sum;
}
// |a - b| / |b|
inline double RelativeDistance(const std::vector<float>& a, const std::vector<float>& b) {
  double squares = 0.0;
  for (size_t i = 0; i < a.size(); ++i) squares += std::pow(double(a[i]) - double(b[i]), 2.0);
  return std::sqrt(squares / DotInDouble(b, b));
}

template <AnyTransform T>
void TestTransform() {
  const auto applied = [](std::vector<float> x) {
    T::Apply(x);
    return x;
  };
  const auto back = [](std::vector<float> x) {
    T::ApplyTranspose(x);
    return x;
  };
  // Roundings of at most 16 stages there and 16 back, each of 2^-24 of the length.
  constexpr double kBound = 32 * 0x1p-24;
  T::Apply({});
  for (const size_t n : {1u, 2u, 3u, 6u, 7u, 16u, 20u, 63u, 64u, 65u, 128u, 130u, 1000u, 5460u}) {
    CAPTURE(n);
    const std::vector<float> x = NormalValues(n, n), y = NormalValues(n, n + 1);
    const std::vector<float> tx = applied(x), ty = applied(y);
    CHECK(RelativeDistance(back(tx), x) < kBound);
    CHECK(RelativeDistance(applied(back(x)), x) < kBound);
    const double size = std::sqrt(DotInDouble(x, x) * DotInDouble(y, y));
    CHECK(std::fabs(DotInDouble(tx, ty) - DotInDouble(x, y)) < kBound * size);
    CHECK(std::fabs(DotInDouble(tx, y) - DotInDouble(x, back(y))) < kBound * size);
    std::vector<float> sum = x, sum_of_both = tx, smaller = x, smaller_tx = tx;
    for (size_t i = 0; i < n; ++i) sum[i] += y[i], sum_of_both[i] += ty[i];
    CHECK(RelativeDistance(applied(sum), sum_of_both) < 4 * kBound);
    for (float& v : smaller) v *= 0x1p-20f;
    for (float& v : smaller_tx) v *= 0x1p-20f;
    CHECK(applied(smaller) == smaller_tx);
    CHECK(applied(std::vector<float>(n)) == std::vector<float>(n));
    std::vector<float> with_nan = x;
    with_nan[n / 2] = std::numeric_limits<float>::quiet_NaN();
    CHECK(std::ranges::any_of(applied(with_nan), [](float v) { return std::isnan(v); }));
  }
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_TEST_TRANSFORM_H_
