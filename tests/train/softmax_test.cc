#include <bitnet/train/cross_entropy.h>
#include <bitnet/train/softmax.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "testing/random_values.h"
#include "testing/same_bits.h"

namespace bitnet::testing {
namespace {

TEST_CASE("ExpRow: has the bits of Exp") {
  // Every 1009th float from -0 to -infinity, NaNs too.
  std::vector<float> x;
  for (uint64_t bits = 0x80000000u; bits <= 0xffffffffu; bits += 1009) {
    x.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits)));
  }
  std::vector<float> y = x;
  ExpRow(y.data(), y.size(), 0.0f);
  size_t different = 0;
  for (size_t i = 0; i < x.size(); ++i) different += !SameBits(y[i], Exp(x[i]));
  CHECK(different == 0);
}

TEST_CASE("RowMax: is the maximum, whatever the signs") {
  for (const size_t n : kSizes) {
    std::vector<float> x = SpreadValues(n, n);
    CHECK(RowMax(x.data(), n) == *std::max_element(x.begin(), x.end()));
    for (float& v : x) v = -std::fabs(v) - 1.0f;
    CHECK(RowMax(x.data(), n) == *std::max_element(x.begin(), x.end()));
    x[n / 2] = -std::numeric_limits<float>::infinity();
    CHECK(RowMax(x.data(), n) == *std::max_element(x.begin(), x.end()));
    x[n / 2] = std::numeric_limits<float>::infinity();
    CHECK(std::isinf(RowMax(x.data(), n)));
  }
}

TEST_CASE("ExpRow: a NaN or an infinite maximum makes a NaN") {
  const float inf = std::numeric_limits<float>::infinity();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(), inf}) {
    std::vector<float> x = {1.0f, bad, 2.0f};
    ExpRow(x.data(), 3, RowMax(x.data(), 3));
    CHECK(std::isnan(x[1]));
  }
}

TEST_CASE("CrossEntropy: loss by hand, gradient is softmax minus one hot") {
  std::vector<float> logits = {std::log(2.0f), 0.0f, 0.0f, 5.0f, 5.0f, 5.0f};
  const std::vector<uint32_t> targets = {0, 2};
  MatrixView<float> rows(logits.data(), 2, 3);
  const double loss = CrossEntropy(rows, targets, 0.0f);
  CHECK(loss == doctest::Approx(std::log(2.0) + std::log(3.0)));
  CHECK(logits[3] == 5.0f);
  CHECK(CrossEntropy(rows, targets, 0.5f) == loss);
  const float expected[] = {-0.25f, 0.125f, 0.125f, 1.0f / 6, 1.0f / 6, -1.0f / 3};
  for (size_t i = 0; i < 6; ++i) CHECK(logits[i] == doctest::Approx(expected[i]).epsilon(1e-6));
}

}  // namespace
}  // namespace bitnet::testing
