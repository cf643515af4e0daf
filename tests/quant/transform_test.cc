#include "bitnet/quant/transform.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "testing/golden.h"
#include "testing/random_values.h"
#include "testing/test_transform.h"

namespace bitnet {
namespace {

using testing::Golden;
using testing::NormalValues;
using testing::TestTransform;

// Every third value.
struct Thirds {
  static constexpr bool IsNegative(size_t i) { return i % 3 == 0; }
};
static_assert(AnyTransform<Identity> && AnyTransform<Hadamard<8>> && AnyTransform<Transposed<Hadamard<8, Thirds>>>);

TEST_CASE("Hadamard: is orthogonal, its transpose its inverse, at any width") {
  TestTransform<Hadamard<1>>();
  TestTransform<Hadamard<2>>();
  TestTransform<Hadamard<128>>();
  TestTransform<Hadamard<4096>>();
  TestTransform<Hadamard<1, RandomSigns<5>>>();
  TestTransform<Hadamard<64, RandomSigns<5>>>();
  TestTransform<Hadamard<32, Thirds>>();
  TestTransform<Transposed<Hadamard<64, RandomSigns<5>>>>();
  TestTransform<Identity>();
}

template <class T>
std::vector<float> Applied(std::vector<float> x) {
  T::Apply(x);
  return x;
}

TEST_CASE("Hadamard: by hand") {
  CHECK(Applied<Hadamard<4>>({1, 2, 3, 4}) == std::vector<float>{5, -1, -2, 0});
  CHECK(Applied<Hadamard<4, Thirds>>({1, 2, 3, 4}) == std::vector<float>{0, 2, 1, -5});
  CHECK(Applied<Transposed<Hadamard<4, Thirds>>>({1, 2, 3, 4}) == std::vector<float>{-5, -1, -2, -0.0f});
  // 4 values, then 2 and 1; the signs start anew in each block.
  const float half = static_cast<float>(1.0 / std::sqrt(2.0));
  CHECK(Applied<Hadamard<4, Thirds>>({1, 2, 3, 4, 1, 3, 7}) ==
        std::vector<float>{0, 2, 1, -5, 2 * half, -4 * half, -7});
  // One value far from the others is spread over all.
  std::vector<float> spike(64, 0.0f);
  spike[5] = 8.0f;
  for (const float v : Applied<Hadamard<64>>(spike)) CHECK(std::fabs(v) == 1.0f);
}

template <class T>
std::vector<size_t> BlocksOf(size_t width) {
  std::vector<size_t> sizes;
  size_t next = 0;
  T::EachBlock(width, [&](size_t begin, size_t n) {
    CHECK(begin == next);
    next = begin + n;
    sizes.push_back(n);
  });
  CHECK(next == width);
  return sizes;
}

TEST_CASE("Hadamard: the rest of a row is cut into the largest powers of two that fit") {
  CHECK(BlocksOf<Hadamard<128>>(0).empty());
  CHECK(BlocksOf<Hadamard<128>>(256) == std::vector<size_t>{128, 128});
  CHECK(BlocksOf<Hadamard<128>>(127) == std::vector<size_t>{64, 32, 16, 8, 4, 2, 1});
  CHECK(BlocksOf<Hadamard<4096>>(2560) == std::vector<size_t>{2048, 512});
  std::vector<size_t> sizes(42, 128);
  sizes.insert(sizes.end(), {64, 16, 4});
  CHECK(BlocksOf<Hadamard<128>>(5460) == sizes);
}

TEST_CASE("RandomSigns: are the highest bits of the numbers of Random") {
  Random random(77);
  size_t negative = 0;
  for (size_t i = 0; i < 1000; ++i) {
    const bool expected = RandomBits(random) >> 63 != 0;
    CHECK(RandomSigns<77>::IsNegative(i) == expected);
    negative += expected ? 1 : 0;
  }
  CHECK(negative > 450);
  CHECK(negative < 550);
}

// Each value passes log2(n) sums and a product, and each errs by half of a last place: 2^-24 of the length of the
// values that are in it, for which that of the block stands here.
template <class T>
void CompareWithGolden(const Golden& golden, const std::string& key, double& used) {
  const std::vector<float> x = golden.Floats(key + "/input");
  for (const bool transposed : {false, true}) {
    std::vector<float> y = x;
    if (transposed) {
      T::ApplyTranspose(y);
    } else {
      T::Apply(y);
    }
    const std::vector<double>& expected = golden.Doubles(key + (transposed ? "/transposed" : "/output"));
    REQUIRE(y.size() == expected.size());
    T::EachBlock(x.size(), [&](size_t begin, size_t n) {
      double squares = 0.0;
      for (size_t i = begin; i < begin + n; ++i) squares += double(x[i]) * double(x[i]);
      const double bound = (std::log2(double(n)) + 1.1) * 0x1p-24 * std::sqrt(squares);
      for (size_t i = begin; i < begin + n; ++i) {
        const double error = std::fabs(double(y[i]) - expected[i]);
        CHECK(error <= bound);
        used = std::max(used, error / bound);
      }
    });
  }
}

TEST_CASE("Hadamard: golden values of the matrix itself") {
  const Golden golden("hadamard");
  double used = 0.0;
  const auto check = [&]<class... T>(std::type_identity<std::tuple<T...>>) {
    REQUIRE(golden.Int("count") == static_cast<int>(sizeof...(T)));
    int i = 0;
    (CompareWithGolden<T>(golden, "hadamard/" + std::to_string(i++), used), ...);
  };
  check(std::type_identity<
        std::tuple<Hadamard<1>, Hadamard<1, RandomSigns<3>>, Hadamard<2>, Hadamard<8>, Hadamard<64, RandomSigns<3>>,
                   Hadamard<16>, Hadamard<64, RandomSigns<77>>, Hadamard<128>, Hadamard<128, RandomSigns<3>>>>());
  CHECK(used > 0.1);  // not loose
}

// ---- Transformed

using Int4 = Quantizer<Int<4>, AbsMean>;
using Int4OfHadamard = Transformed<Hadamard<16>, Int4>;
static_assert(AnyQuantizer<Int4OfHadamard> && kIsTransformed<Int4OfHadamard> && !kIsTransformed<Int4>);
static_assert(std::is_same_v<TransformOf<Int4OfHadamard>, Hadamard<16>> && std::is_same_v<TransformOf<Int4>, Identity>);
static_assert(std::is_same_v<Untransformed<Int4OfHadamard>, Int4> && std::is_same_v<Untransformed<Int4>, Int4>);
static_assert(kTransformsNothing<Int4> && kTransformsNothing<Transformed<Identity, Int4>>);
static_assert(!kTransformsNothing<Int4OfHadamard> && !kIsBuiltInQuantizer<Int4OfHadamard>);

TEST_CASE("Transformed: quantizes T x; FakeQuantize takes it back") {
  const std::vector<float> x = NormalValues(50, 3), tx = Applied<Hadamard<16>>(x);
  std::vector<int8_t> levels(50), expected(50);
  const float step = Int4OfHadamard::Quantize(x, levels.data());
  CHECK(step == Int4::Quantize(tx, expected.data()));
  CHECK(levels == expected);
  std::vector<float> y(50), ty(50);
  CHECK(Int4OfHadamard::FakeQuantize(x, y.data()) == step);
  Int4::FakeQuantize(tx, ty.data());
  Hadamard<16>::ApplyTranspose(ty);
  CHECK(y == ty);
  std::vector<float> in_place = x;
  Int4OfHadamard::FakeQuantize(in_place, in_place.data());
  CHECK(in_place == y);
  // As far from x as its levels are from T x.
  double squares = 0.0;
  for (size_t i = 0; i < 50; ++i) squares += std::pow(double(y[i]) - double(x[i]), 2.0);
  const QuantizationError error = Int4OfHadamard::Error(x);
  CHECK(squares / 50 == doctest::Approx(error.mean_squared).epsilon(1e-5));
  CHECK(error.mean_squared == Int4::Error(tx).mean_squared);
}

// Correlation of the scores of queries and keys with those of the quantized ones; mean over queries.
template <AnyQuantizer Q, AnyQuantizer K>
double CorrelationOfScores(size_t dim, float outlier) {
  constexpr size_t kKeys = 256, kQueries = 16;
  std::vector<std::vector<float>> keys, quantized;
  for (size_t s = 0; s < kKeys; ++s) {
    keys.push_back(NormalValues(dim, s));
    keys.back()[dim / 3] += outlier;
    quantized.emplace_back(dim);
    K::FakeQuantize(keys.back(), quantized.back().data());
  }
  double sum = 0.0;
  for (size_t t = 0; t < kQueries; ++t) {
    const std::vector<float> q = NormalValues(dim, 1000 + t);
    std::vector<float> quantized_q(dim);
    Q::FakeQuantize(q, quantized_q.data());
    double a = 0, b = 0, aa = 0, bb = 0, ab = 0;
    for (size_t s = 0; s < kKeys; ++s) {
      const double exact = testing::DotInDouble(q, keys[s]);
      const double ours = testing::DotInDouble(quantized_q, quantized[s]);
      a += exact, b += ours, aa += exact * exact, bb += ours * ours, ab += exact * ours;
    }
    const double n = kKeys;
    sum += (n * ab - a * b) / std::sqrt((n * aa - a * a) * (n * bb - b * b));
  }
  return sum / kQueries;
}

TEST_CASE("Hadamard: 3-bit keys with one channel of 30 beside normal ones keep more of the scores") {
  using Query = Quantizer<MidRise<4>, AbsMax>;
  using Key = Quantizer<MidRise<3>, AbsMax>;
  using T = Hadamard<128, RandomSigns<1>>;
  const double plain = CorrelationOfScores<Query, Key>(128, 30.0f);
  const double rotated = CorrelationOfScores<Transformed<T, Query>, Transformed<T, Key>>(128, 30.0f);
  CAPTURE(plain);    // 0.80
  CAPTURE(rotated);  // 0.92; without the channel 0.97
  CHECK(plain < 0.85);
  CHECK(rotated > plain + 0.08);
  CHECK(rotated > 0.88);
}

}  // namespace
}  // namespace bitnet
