#include "bitnet/base/exact_math.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "bitnet/base/random.h"
#include "testing/expect_assertion.h"
#include "testing/random_values.h"

namespace bitnet {
namespace {

// |result - exact| in units in the last place of the float nearest to `exact`, which must be normal.
double UlpError(float result, double exact) {
  int exponent;
  std::frexp(exact, &exponent);  // exact in [2^(exponent - 1), 2^exponent)
  return std::fabs(static_cast<double>(result) - exact) / std::ldexp(1.0, exponent - 24);
}

TEST_CASE("Exp: below 2 units in the last place over the whole range, and no looser than said") {
  double worst = 0.0;
  float worst_at = 0.0f;
  const auto last = std::bit_cast<uint32_t>(ExpConstants::kLowest);
  for (uint32_t bits = 0x80000000u; bits <= last; bits += 499) {
    const float x = std::bit_cast<float>(bits);
    const double error = UlpError(Exp(x), std::exp(static_cast<double>(x)));
    if (error > worst) {
      worst = error;
      worst_at = x;
    }
  }
  CAPTURE(worst_at);
  CHECK(worst < 2.0);
  CHECK(worst > 0.75);  // a bound of 2 says something
}

TEST_CASE("Exp: uniform arguments too") {
  double worst = 0.0;
  for (int i = 0; i <= 870000; ++i) {
    const float x = static_cast<float>(i) * -1e-4f;
    if (x >= ExpConstants::kLowest) worst = std::max(worst, UlpError(Exp(x), std::exp(static_cast<double>(x))));
  }
  CHECK(worst < 2.0);
}

TEST_CASE("Exp: grows with its argument up to its error") {
  float before = 0.0f;
  for (int i = 870000; i >= 0; --i) {
    const float y = Exp(static_cast<float>(i) * -1e-4f);
    // Each is within 2 ulp of a growing function, so none falls by more than 4 ulp of the larger.
    if (y < before * (1.0f - 4.0f * FLT_EPSILON)) FAIL_CHECK("falls at " << i);
    before = y;
  }
}

TEST_CASE("Exp: never above 1") {
  for (uint32_t bits = 0x80000000u; bits < 0xbf800000u; bits += 1009) {
    if (Exp(std::bit_cast<float>(bits)) > 1.0f) FAIL_CHECK("above 1 at " << std::bit_cast<float>(bits));
  }
}

TEST_CASE("Exp: ends and special values") {
  CHECK(Exp(0.0f) == 1.0f);
  CHECK(Exp(-0.0f) == 1.0f);
  CHECK(Exp(-std::numeric_limits<float>::denorm_min()) == 1.0f);
  CHECK(Exp(-87.0f) > FLT_MIN);
  CHECK(Exp(std::nextafter(-87.0f, -100.0f)) == 0.0f);
  CHECK(Exp(-FLT_MAX) == 0.0f);
  CHECK(Exp(-std::numeric_limits<float>::infinity()) == 0.0f);
  CHECK(std::isnan(Exp(std::numeric_limits<float>::quiet_NaN())));
  CHECK(std::isnan(Exp(-std::numeric_limits<float>::quiet_NaN())));
  CHECK(testing::Breaks("not above zero", [] { Exp(FLT_MIN); }));
}

TEST_CASE("Exp: these very bits on every machine") {
  // Values of the definition in docs/numerics.md, evaluated with exact rational arithmetic and rounded as it says.
  const std::pair<float, uint32_t> known[] = {
      {-0x1p-20f, 0x3f7ffff0u}, {-0.25f, 0x3f475f7du},   {-0.34657359f, 0x3f3504f4u}, {-0.5f, 0x3f1b4598u},
      {-1.0f, 0x3ebc5ab2u},     {-2.5f, 0x3da81c2eu},    {-3.1415927f, 0x3d310113u},  {-10.0f, 0x383e6bceu},
      {-20.75f, 0x3085d036u},   {-50.125f, 0x1b4dc5efu}, {-86.9f, 0x00c60f89u},       {-87.0f, 0x00b33687u},
  };
  for (const auto& value : known) {
    CAPTURE(value.first);
    CHECK(std::bit_cast<uint32_t>(Exp(value.first)) == value.second);
  }
  // ... and the sum of 2001 more, which any change of a coefficient changes.
  uint64_t sum = 0;
  for (int i = 0; i <= 2000; ++i) sum += std::bit_cast<uint32_t>(Exp(static_cast<float>(-11 * i) / 256.0f));
  CHECK(sum == 1090257144793u);
}

TEST_CASE("Exp: ln 2 times any exponent is exact in double") {
  for (int n = -126; n <= 0; ++n) {
    const double product = n * ExpConstants::kLn2;
    CHECK(std::fma(static_cast<double>(n), ExpConstants::kLn2, -product) == 0.0);
  }
  CHECK(std::fabs(ExpConstants::kLn2 - std::log(2.0)) < 1e-13);
}

TEST_CASE("SumLanes: folds ((0+4)+(2+6)) + ((1+5)+(3+7))") {
  // With big = 2^53, where adding 1 rounds to even, only this order gives this result.
  const double big = 0x1p53;
  SumLanes sum;
  sum.lane[0] = big;  // 0+4 = 2^53 + 1, a tie, to even: 2^53
  sum.lane[4] = 1.0;
  sum.lane[2] = 1.0;  // 2+6 = 2: 2^53 + 2
  sum.lane[6] = 1.0;
  sum.lane[1] = -big;  // 1+5 = -2^53 + 1
  sum.lane[5] = 1.0;
  sum.lane[3] = 0.5;  // 3+7 = 1: -2^53 + 2
  sum.lane[7] = 0.5;
  CHECK(sum.Fold() == 4.0);

  // Any other pairing of the lanes loses something: one big lane, its partner, and six small ones.
  for (size_t lane = 0; lane < kSumLanes; ++lane) {
    SumLanes one;
    for (double& l : one.lane) l = 0.5;
    one.lane[lane] = big;
    // Partner: 0.5 is lost. Neighbours: 1 ties to even and is lost. The other half: 2 stays.
    CHECK(one.Fold() == big + 2.0);
    one.lane[lane ^ 4] = 1.5;  // rounds to 2; the neighbours' 1 makes a tie, 3, to the even 4; then 2
    CHECK(one.Fold() == big + 6.0);
    one.lane[lane ^ 4] = 0.5;
    one.lane[lane ^ 2] = 1.0;  // the neighbours are 1.5: to 2
    CHECK(one.Fold() == big + 4.0);
    one.lane[lane ^ 2] = 0.5;
    one.lane[lane ^ 1] = 1.0;  // the other half is 2.5, to 2
    CHECK(one.Fold() == big + 2.0);
  }
}

TEST_CASE("OrderedSum: term i belongs to lane i mod 8") {
  for (size_t n = 0; n <= 40; ++n) {
    // Of all 53 bits, so that every other order rounds otherwise somewhere.
    std::vector<double> x(n);
    Random random(100 + n);
    for (double& v : x) v = std::exp2(8.0 * UniformReal(random)) * (UniformReal(random) - 0.5);
    SumLanes lanes;
    for (size_t lane = 0; lane < 8; ++lane) {
      for (size_t i = lane; i < n; i += 8) lanes.lane[lane] += x[i];
    }
    CHECK(OrderedSum(n, [&](size_t i) { return x[i]; }) == lanes.Fold());
  }
  // 3/4 and 3/4 four places from 2^53: in lane 4 they are 3/2 before they meet it. Apart both would be lost.
  std::vector<double> y(16, 0.0);
  y[0] = 0x1p53;
  y[4] = y[12] = 0.75;
  CHECK(OrderedSum(y.size(), [&](size_t i) { return y[i]; }) == 0x1p53 + 2.0);
  // 2^53, then 1 eight places later: same lane, lost. Seven places later: another lane; 0 and 7 meet last, lost too;
  // with 1 in both 7 and 3 it is 2, and kept.
  std::vector<double> x(16, 0.0);
  x[0] = 0x1p53;
  x[8] = 1.0;
  x[15] = 0.0;
  const auto sum = [&] { return OrderedSum(x.size(), [&](size_t i) { return x[i]; }); };
  CHECK(sum() == 0x1p53);
  x[15] = 1.0;
  CHECK(sum() == 0x1p53);
  x[11] = 1.0;
  CHECK(sum() == 0x1p53 + 2.0);
}

TEST_CASE("OrderedSum: sums products of floats that float could not hold") {
  const float a = 1.0f + FLT_EPSILON;
  CHECK(OrderedSum(3, [&](size_t) { return static_cast<double>(a) * a; }) == 3.0 * (1.0 + 2.0 * FLT_EPSILON + 0x1p-46));
  CHECK(OrderedSum(0, [](size_t) { return 1.0; }) == 0.0);
  CHECK(OrderedSum(9, [](size_t) { return 1; }) == 9.0);
}

TEST_CASE("Exp: docs/numerics.md states its constants") {
  std::ifstream file(std::string(BITNET_SOURCE_DIR) + "/docs/numerics.md");
  const std::string page{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const auto stated = [&](const std::string& name) {
    const size_t at = page.find(name + " = 0x");
    REQUIRE_MESSAGE(at != std::string::npos, name);
    return std::strtod(page.c_str() + at + name.size() + 3, nullptr);
  };
  CHECK(stated("L") == double(ExpConstants::kLog2E));
  CHECK(stated("C") == ExpConstants::kLn2);
  for (size_t i = 0; i < 5; ++i) CHECK(stated("c" + std::to_string(i)) == double(ExpConstants::kPolynomial[i]));
  CHECK(page.find("c5 = c6 = 1\n") != std::string::npos);
  CHECK(ExpConstants::kPolynomial[5] == 1.0f);
  CHECK(ExpConstants::kPolynomial[6] == 1.0f);
}

// The definition again, without a counter: the lanes of all blocks, then neighbours until one is left.
double ByLevels(const std::vector<double>& terms) {
  std::vector<std::array<double, 8>> level;
  for (size_t begin = 0; begin < terms.size(); begin += 256) {
    std::array<double, 8> lanes{};
    for (size_t i = begin; i < std::min(terms.size(), begin + 256); ++i) lanes[i % 8] += terms[i];
    level.push_back(lanes);
  }
  while (level.size() > 1) {
    std::vector<std::array<double, 8>> next;
    for (size_t i = 0; i < level.size(); i += 2) {
      next.push_back(level[i]);
      for (size_t k = 0; k < 8 && i + 1 < level.size(); ++k) next.back()[k] += level[i + 1][k];
    }
    level = next;
  }
  if (level.empty()) return 0.0;
  const std::array<double, 8>& l = level[0];
  return ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
}

TEST_CASE("OrderedSum: lanes of blocks of 256, added as a binary tree") {
  size_t differ = 0;  // from a sum in which one block follows the other
  for (size_t n = 0; n < 256 * 20; n = n * 5 / 4 + 1) {
    CAPTURE(n);
    // Magnitudes of all sizes, so that every other order has other bits.
    std::vector<double> terms;
    Random random(n);
    for (size_t i = 0; i < n; ++i) {
      terms.push_back(std::ldexp(static_cast<double>(Normal(random)), static_cast<int>(UniformBelow(random, 60))));
    }
    const double sum = OrderedSum(n, [&](size_t i) { return terms[i]; });
    CHECK(std::bit_cast<uint64_t>(sum) == std::bit_cast<uint64_t>(ByLevels(terms)));
    SumLanes serial;
    for (size_t i = 0; i < n; ++i) serial.lane[i % 8] += terms[i];
    if (n <= 256) CHECK(sum == serial.Fold());
    differ += sum != serial.Fold();
  }
  CHECK(differ > 4);
}

TEST_CASE("BlockTree: the totals of trees over a power of two are blocks of another") {
  for (const size_t blocks : {1u, 3u, 4u, 5u, 7u, 11u, 16u, 23u, 64u, 101u}) {
    CAPTURE(blocks);
    BlockTree<double> whole, of_fours;
    Random random(blocks);
    std::vector<double> sums;
    for (size_t i = 0; i < blocks; ++i) {
      sums.push_back(std::ldexp(static_cast<double>(Normal(random)), static_cast<int>(UniformBelow(random, 60))));
    }
    for (size_t i = 0; i < blocks; i += 4) {
      BlockTree<double, 3> four;
      for (size_t k = i; k < std::min(blocks, i + 4); ++k) four.Add(sums[k]), whole.Add(sums[k]);
      of_fours.Add(four.Total());
    }
    CHECK(whole.Total() == of_fours.Total());
  }
  CHECK(BlockTree<double>().Total() == 0.0);
  BlockTree<double, 2> small;
  for (size_t i = 0; i < 3; ++i) small.Add(1.0);
  CHECK(small.Total() == 3.0);
  CHECK(testing::Breaks("more blocks than", [&] { small.Add(1.0); }));
}

}  // namespace
}  // namespace bitnet
