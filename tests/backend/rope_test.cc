#include "bitnet/backend/rope.h"

#include <doctest/doctest.h>

#include <cmath>
#include <complex>
#include <cstddef>
#include <span>
#include <vector>

#include "bitnet/backend/simd/simd_backend.h"
#include "bitnet/backend/where.h"
#include "testing/expect_assertion.h"
#include "testing/random_values.h"
#include "testing/tiny_model.h"

namespace bitnet {
namespace {

using testing::Breaks;
using testing::NormalValues;
using testing::SameBits;

TEST_CASE("Rope: pair i of a head turns by position * base^(-2i / head_dim)") {
  const SimdBackend backend;
  for (const size_t dim : {2u, 6u, 16u, 64u}) {
    constexpr float kBase = 500.0f;
    const Rope rope(dim, kBase);
    CHECK(rope.pairs() == dim / 2);
    std::vector<float> cos(dim / 2), sin(dim / 2);
    for (const size_t position : {0u, 1u, 2u, 77u, 4095u, 1000000u}) {
      CAPTURE(dim);
      CAPTURE(position);
      rope.Angles(position, cos, sin);
      const std::vector<float> x = NormalValues(2 * dim, dim);
      std::vector<float> y = x;
      for (size_t h = 0; h < 2; ++h) backend.RotateHead(cos, sin, std::span(y).subspan(h * dim, dim));
      for (size_t h = 0; h < 2; ++h) {
        for (size_t i = 0; i < dim / 2; ++i) {
          const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(dim);
          const double angle = static_cast<double>(position) * std::pow(static_cast<double>(kBase), exponent);
          const size_t a = h * dim + i, b = a + dim / 2;
          const std::complex<double> turned = std::complex<double>(x[a], x[b]) * std::polar(1.0, angle);
          // cos and sin are rounded to float, then the result: each at most 2^-24 of the pair's length (rounding to
          // float of a value below 1 errs by at most 2^-25).
          const double bound = 2.0 * 0x1p-24 * std::abs(turned);
          CHECK(std::fabs(static_cast<double>(y[a]) - turned.real()) <= bound);
          CHECK(std::fabs(static_cast<double>(y[b]) - turned.imag()) <= bound);
        }
      }
    }
  }
}

TEST_CASE("Rope: position 0 turns nothing") {
  const Rope rope(8, 10000.0f);
  std::vector<float> cos(4), sin(4);
  rope.Angles(0, cos, sin);
  CHECK(cos == std::vector<float>(4, 1.0f));
  CHECK(sin == std::vector<float>(4, 0.0f));
}

TEST_CASE("Rope: the dot product of two heads depends on their distance alone") {
  const Rope rope(16, 10000.0f);
  const SimdBackend backend;
  const std::vector<float> q = NormalValues(16, 1), k = NormalValues(16, 2);
  const auto dot = [&](size_t q_position, size_t k_position) {
    std::vector<float> cos(8), sin(8), a = q, b = k;
    rope.Angles(q_position, cos, sin);
    backend.RotateHead(cos, sin, a);
    rope.Angles(k_position, cos, sin);
    backend.RotateHead(cos, sin, b);
    double sum = 0.0;
    for (size_t i = 0; i < 16; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    return sum;
  };
  const double at_start = dot(5, 2);
  // |q| and |k| are about 4; each of them errs by 2 * 2^-24 of its length, see above.
  CHECK(std::fabs(dot(105, 102) - at_start) < 16 * 8 * 0x1p-24);
  CHECK(std::fabs(dot(106, 102) - at_start) > 1e-3);
}

TEST_CASE("Rope: of frequencies of one's own, times a magnitude") {
  const Rope usual(6, 10.0f);
  std::vector<double> frequencies;
  for (int i = 0; i < 3; ++i) frequencies.push_back(std::pow(10.0, -2.0 * i / 6));
  std::vector<float> cos(3), sin(3), expected_cos(3), expected_sin(3);
  for (const size_t position : {size_t{0}, size_t{1}, size_t{77}}) {
    usual.Angles(position, expected_cos, expected_sin);
    Rope(frequencies).Angles(position, cos, sin);
    CHECK(cos == expected_cos);
    CHECK(sin == expected_sin);
  }
  const Rope twice({0.25, 0.0}, 2.0f);
  CHECK(twice.pairs() == 2);
  twice.Angles(4, std::span(cos).first(2), std::span(sin).first(2));
  CHECK(cos[0] == static_cast<float>(2.0 * std::cos(1.0)));
  CHECK(sin[0] == static_cast<float>(2.0 * std::sin(1.0)));
  CHECK(cos[1] == 2.0f);
  CHECK(sin[1] == 0.0f);
}

TEST_CASE("Rope: an odd head_dim is stopped with a sentence") {
  CHECK(Breaks("must be even", [] { Rope(7, 10000.0f); }));
}

}  // namespace
}  // namespace bitnet
