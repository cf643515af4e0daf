#include "bitnet/layer/rms_norm.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "bitnet/backend/reference.h"
#include "bitnet/backend/simd/default_backend.h"
#include "testing/expect_assertion.h"
#include "testing/random_values.h"
#include "testing/tiny_model.h"

namespace bitnet {
namespace {

using testing::NormalValues;
using testing::SameBits;

TEST_CASE("RmsNorm: y = x / sqrt(mean(x^2) + eps) * gain, also in place") {
  using B = DefaultBackend<void>;
  const B backend;
  B::Stream stream = backend.NewStream();
  for (const size_t width : {1u, 7u, 16u, 33u, 100u}) {
    CAPTURE(width);
    constexpr size_t kTokens = 3;
    constexpr float kEps = 0.01f;
    const std::vector<float> x = NormalValues(kTokens * width, width), gain = NormalValues(width, 99);
    const RmsNorm<B> norm(gain, kEps, backend);
    CHECK(norm.width() == width);
    std::vector<float> y(x.size()), in_place = x;
    norm(backend, stream, MatrixView<const float>(x.data(), kTokens, width),
         MatrixView<float>(y.data(), kTokens, width));
    for (size_t t = 0; t < kTokens; ++t) {
      double squares = 0.0;
      for (size_t i = 0; i < width; ++i) squares += std::pow(static_cast<double>(x[t * width + i]), 2);
      const double r = 1.0 / std::sqrt(squares / static_cast<double>(width) + static_cast<double>(kEps));
      for (size_t i = 0; i < width; ++i) {
        const double exact = static_cast<double>(x[t * width + i]) * r * static_cast<double>(gain[i]);
        // Three roundings to float: of r, of x r, and of the result.
        CHECK(std::fabs(static_cast<double>(y[t * width + i]) - exact) <= 3.01 * 0x1p-24 * std::fabs(exact));
      }
    }
    const MatrixView<float> same(in_place.data(), kTokens, width);
    norm(backend, stream, same, same);
    CHECK(SameBits(in_place, y));
  }
}

TEST_CASE("RmsNorm: a token of zeros stays zero") {
  const ReferenceBackend backend;
  ReferenceBackend::Stream stream;
  std::vector<float> x(4, 0.0f);
  const MatrixView<float> view(x.data(), 1, 4);
  for (const float eps : {1e-5f, std::numeric_limits<float>::denorm_min()}) {
    RmsNorm<ReferenceBackend>(std::vector<float>(4, 2.0f), eps, backend)(backend, stream, view, view);
    CHECK(SameBits(x, std::vector<float>(4, 0.0f)));
  }
}

TEST_CASE("RmsNorm: an eps with which zeros would become NaN is an assertion") {
  for (const float eps : {0.0f, -1e-5f, INFINITY, NAN}) {
    CHECK(testing::Breaks("eps must be finite and above 0",
                          [&] { RmsNorm<ReferenceBackend>(std::vector<float>(4, 2.0f), eps, ReferenceBackend()); }));
  }
}

}  // namespace
}  // namespace bitnet
