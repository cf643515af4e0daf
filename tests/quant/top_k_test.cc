#include "bitnet/quant/top_k.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "testing/expect_assertion.h"
#include "testing/golden.h"
#include "testing/random_values.h"

namespace bitnet {
namespace {

std::vector<uint8_t> Mask(const std::vector<float>& x, size_t k) {
  std::vector<uint8_t> mask(x.size(), 7);
  TopKMask(x, k, mask);
  return mask;
}

// By sorting the indices: larger magnitudes first, NaN before all, then lower indices.
std::vector<uint8_t> MaskBySorting(const std::vector<float>& x, size_t k) {
  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const float left = std::isnan(x[a]) ? HUGE_VALF : std::fabs(x[a]);
    const float right = std::isnan(x[b]) ? HUGE_VALF : std::fabs(x[b]);
    if (left != right) return left > right;
    if (std::isnan(x[a]) != std::isnan(x[b])) return std::isnan(x[a]);
    return a < b;
  });
  std::vector<uint8_t> mask(x.size(), 0);
  for (size_t i = 0; i < k; ++i) mask[order[i]] = 1;
  return mask;
}

TEST_CASE("Top-k: golden masks") {
  const testing::Golden golden("topk");
  const int count = golden.Int("count");
  CHECK(count > 10);
  for (int i = 0; i < count; ++i) {
    const std::string key = "topk/" + std::to_string(i);
    CAPTURE(key);
    const std::vector<int> mask = golden.Ints(key + "/mask");
    CHECK(Mask(golden.Floats(key + "/input"), static_cast<size_t>(golden.Int(key + "/k"))) ==
          std::vector<uint8_t>(mask.begin(), mask.end()));
  }
}

TEST_CASE("Top-k: by hand; ties go to the lowest index") {
  using M = std::vector<uint8_t>;
  CHECK(Mask({0.5f, -2.0f, 1.0f, 2.0f}, 1) == M{0, 1, 0, 0});
  CHECK(Mask({0.5f, -2.0f, 1.0f, 2.0f}, 2) == M{0, 1, 0, 1});
  CHECK(Mask({0.5f, -2.0f, 1.0f, 2.0f}, 3) == M{0, 1, 1, 1});
  CHECK(Mask({1.0f, -1.0f, 1.0f, -1.0f}, 2) == M{1, 1, 0, 0});
  CHECK(Mask({0.0f, -0.0f, 0.0f}, 1) == M{1, 0, 0});
  CHECK(Mask({0.0f, 3.0f, 0.0f}, 2) == M{1, 1, 0});
  CHECK(Mask({-7.0f}, 1) == M{1});
}

TEST_CASE("Top-k: exactly k are kept, the same as by sorting") {
  for (const size_t n : testing::kSizes) {
    for (const uint64_t seed : {1u, 2u, 3u}) {
      const std::vector<float> x = seed == 1   ? testing::NormalValues(n, n)
                                   : seed == 2 ? testing::FewValues(n, n)
                                               : testing::SpreadValues(n, n);
      for (size_t k = 1; k <= n; ++k) {
        const std::vector<uint8_t> mask = Mask(x, k);
        if (mask != MaskBySorting(x, k) || static_cast<size_t>(std::accumulate(mask.begin(), mask.end(), 0)) != k) {
          FAIL_CHECK("n = " << n << ", k = " << k << ", seed = " << seed);
        }
      }
    }
  }
}

TEST_CASE("Top-k: NaN is kept before infinity, infinity before all else") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> x = {FLT_MAX, -infinity, 1.0f, nan, -FLT_MAX, -nan, infinity, 1e-45f, 0.0f};
  using M = std::vector<uint8_t>;
  CHECK(Mask(x, 1) == M{0, 0, 0, 1, 0, 0, 0, 0, 0});
  CHECK(Mask(x, 2) == M{0, 0, 0, 1, 0, 1, 0, 0, 0});
  CHECK(Mask(x, 3) == M{0, 1, 0, 1, 0, 1, 0, 0, 0});
  CHECK(Mask(x, 5) == M{1, 1, 0, 1, 0, 1, 1, 0, 0});
  for (size_t k = 1; k <= x.size(); ++k) CHECK(Mask(x, k) == MaskBySorting(x, k));
}

TEST_CASE("Top-k: the threshold is the k-th largest magnitude, with the number of its equals that are kept") {
  const std::vector<float> x = {3.0f, -1.0f, 1.0f, 2.0f, 1.0f};
  const TopKThreshold third = FindTopK(x, 3);
  CHECK(third.bits == MagnitudeBits(1.0f));
  CHECK(third.equal_kept == 1);
  CHECK(FindTopK(x, 5).equal_kept == 3);
  CHECK(FindTopK(x, 1).bits == MagnitudeBits(3.0f));
  CHECK(FindTopK(x, 1).equal_kept == 1);
}

TEST_CASE("Top-k: k of 0 or above n, and a mask of another length, are assertions") {
  const std::vector<float> x(4, 1.0f);
  std::vector<uint8_t> mask(4);
  CHECK(testing::Breaks("1 <= k <= n", [&] { TopKMask(x, 0, mask); }));
  CHECK(testing::Breaks("1 <= k <= n", [&] { TopKMask(x, 5, mask); }));
  mask.resize(3);
  CHECK(testing::Breaks("differ in length", [&] { TopKMask(x, 1, mask); }));
}

// ceil(n N / D)
static_assert(KeepHalf::Count(0) == 0 && KeepHalf::Count(1) == 1 && KeepHalf::Count(2) == 1);
static_assert(KeepHalf::Count(3) == 2 && KeepHalf::Count(4096) == 2048 && KeepHalf::Count(5461) == 2731);
static_assert(Keep<1, 3>::Count(9) == 3 && Keep<1, 3>::Count(10) == 4 && Keep<2, 3>::Count(10) == 7);
static_assert(Keep<55, 100>::Count(20) == 11 && Keep<55, 100>::Count(1) == 1);
static_assert(KeepAll::Count(17) == 17 && KeepAll::kAll && !KeepHalf::kAll && Keep<2, 2>::kAll);
static_assert(Keep<1, 2>::Count(~size_t{0}) == ~size_t{0} / 2 + 1);  // no overflow
static_assert(Keep<70000, 140001>::Count(140000) == 70000);          // nor where 32 bits do not hold the product

TEST_CASE("Keep: at least one of one or more, at most all, growing") {
  const auto check = [](auto keep, double share) {
    for (size_t n = 1; n < 500; ++n) {
      const size_t k = decltype(keep)::Count(n);
      CHECK(k >= 1);
      CHECK(k <= n);
      CHECK(static_cast<double>(k) == std::ceil(static_cast<double>(n) * share - 1e-9));
    }
  };
  check(KeepHalf{}, 0.5);
  check(Keep<1, 3>{}, 1.0 / 3.0);
  check(Keep<7, 8>{}, 0.875);
}

}  // namespace
}  // namespace bitnet
