#include "bitnet/base/check_numbers.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace bitnet {
namespace {

TEST_CASE("FaultOfNumbers: names the first value out of range, and nothing where there is none") {
  const float largest = std::numeric_limits<float>::max();
  const std::vector<float> good = {0.0f, -0.0f, 1.5f, largest, std::numeric_limits<float>::denorm_min()};
  for (const NumberRange range : {NumberRange::kFinite, NumberRange::kFiniteNotNegative}) {
    CHECK(FaultOfNumbers({}, range) == "");
    CHECK(FaultOfNumbers(good, range) == "");
  }
  const std::vector<float> negative = {1.0f, -1e-30f, -largest};
  CHECK(FaultOfNumbers(negative, NumberRange::kFinite) == "");
  CHECK(FaultOfNumbers(negative, NumberRange::kFiniteNotNegative, "step") ==
        "step 1 is -1e-30; it must be finite and not negative");
  CHECK(FaultOfNumbers(std::vector{0.0f, 0.0f, NAN, INFINITY}, NumberRange::kFinite) ==
        "value 2 is nan; it must be finite");
  CHECK(FaultOfNumbers(std::vector{-INFINITY}, NumberRange::kFinite) == "value 0 is -inf; it must be finite");
}

}  // namespace
}  // namespace bitnet
