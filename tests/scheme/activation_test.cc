#include "bitnet/scheme/activation.h"

#include <doctest/doctest.h>

#include <cfloat>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace bitnet {
namespace {

TEST_CASE("SquaredRelu: g^2 above zero, else exactly zero") {
  CHECK(SquaredRelu::Value(3.0f) == 9.0f);
  CHECK(SquaredRelu::Value(0.1f) == 0.1f * 0.1f);
  CHECK(SquaredRelu::Value(0.0f) == 0.0f);
  CHECK_FALSE(std::signbit(SquaredRelu::Value(-0.0f)));
  CHECK(SquaredRelu::Value(-5.0f) == 0.0f);
  CHECK(SquaredRelu::Value(-INFINITY) == 0.0f);
  CHECK(SquaredRelu::Value(INFINITY) == INFINITY);
  CHECK(SquaredRelu::Derivative(3.0f) == 6.0f);
  CHECK(SquaredRelu::Derivative(0.0f) == 0.0f);
  CHECK(SquaredRelu::Derivative(-3.0f) == 0.0f);
}

TEST_CASE("Activations: the value of NaN is not zero") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(std::isnan(SquaredRelu::Value(nan)));
  CHECK(std::isnan(Silu::Value(nan)));
}

TEST_CASE("Silu: g / (1 + exp(-g))") {
  for (int i = -2000; i <= 2000; ++i) {
    const float g = static_cast<float>(i) / 50.0f;
    const double exact = g / (1.0 + std::exp(-static_cast<double>(g)));
    // Exp: 2^-22; the sum, the quotient and the product round: 3 * 2^-24.
    if (std::fabs(Silu::Value(g) - exact) > std::fabs(exact) * 7.0 * 0x1p-24) FAIL_CHECK("g = " << g);
  }
  CHECK(Silu::Value(0.0f) == 0.0f);
  CHECK(Silu::Value(1000.0f) == 1000.0f);
  CHECK(std::fabs(Silu::Value(-1000.0f)) == 0.0f);
  CHECK(Silu::Sigmoid(0.0f) == 0.5f);
}

template <class A>
void CompareWithDifferences() {
  for (int i = -80; i <= 80; ++i) {
    if (i == 0) continue;
    const float g = static_cast<float>(i) / 10.0f;
    // Central difference: an error of h^2 and of the rounding of values, 2^-21 |value| / h.
    const float h = 0x1p-7f;
    const double slope = (static_cast<double>(A::Value(g + h)) - static_cast<double>(A::Value(g - h))) / (2.0 * h);
    const double bound = h * h + 0x1p-21 * std::fabs(A::Value(g)) / h + 1e-6;
    if (std::fabs(slope - A::Derivative(g)) > bound)
      FAIL_CHECK("g = " << g << ": " << slope << ", " << A::Derivative(g));
  }
}

TEST_CASE("Activations: the derivative is that of the value") {
  CompareWithDifferences<SquaredRelu>();
  CompareWithDifferences<Silu>();
  CHECK(Silu::Derivative(0.0f) == 0.5f);
}

static_assert(Activation<SquaredRelu> && Activation<Silu> && !Activation<int>);
static_assert(SquaredRelu::kMakesZeros && !Silu::kMakesZeros);

}  // namespace
}  // namespace bitnet
