#include <bitnet/train/adamw.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "testing/tiny_model.h"

namespace bitnet::testing {
namespace {

void Fill(LatentWeights& weights, float value) {
  weights.ForEach([&](const TensorInfo&, std::span<float> v) { std::fill(v.begin(), v.end(), value); });
}

TEST_CASE("AdamW: two steps by hand; gains do not decay") {
  LatentWeights w = LatentWeights::Zeros(TinyConfig());
  LatentWeights g = w;
  Fill(w, 1.0f);
  AdamW optimizer(w, {0.5f, 0.75f, 0.25f});
  Fill(g, 4.0f);
  // g' = 1; m = 0.5, v = 0.25; corrected both 1: update 1 / (1 + 0.25) = 0.8, decay 0.1 * 1.
  optimizer.Update(DefaultExecutor(), 0, 0.5f, 0.1f, 0.25f, g, w);
  CHECK(w.layer(1).down[7] == doctest::Approx(1.0 - 0.5 * 0.9));
  CHECK(w.embedding()[3] == doctest::Approx(0.55));
  CHECK(w.layer(0).ffn_norm[2] == doctest::Approx(1.0 - 0.5 * 0.8));
  CHECK(w.final_norm()[0] == doctest::Approx(0.6));
  // g' = -3; m = 0.25 - 1.5 = -1.25, v = 0.1875 + 2.25 = 2.4375; over 0.75 and 0.4375.
  Fill(g, -3.0f);
  optimizer.Update(DefaultExecutor(), 1, 0.5f, 0.1f, 1.0f, g, w);
  const double step = (-1.25 / 0.75) / (std::sqrt(2.4375 / 0.4375) + 0.25);
  CHECK(w.embedding()[3] == doctest::Approx(0.55 - 0.5 * (step + 0.055)));
  CHECK(w.final_norm()[0] == doctest::Approx(0.6 - 0.5 * step));
  CHECK(optimizer.first_moment().embedding()[3] == -1.25f);
  CHECK(optimizer.second_moment().layer(0).q[0] == 2.4375f);
}

TEST_CASE("GlobalNorm, ClipScale: over all tensors; norms below the limit stay") {
  ModelConfig config = TinyConfig();
  config.vocab = 3000;  // more than one chunk
  LatentWeights g = LatentWeights::Zeros(config);
  const auto count = static_cast<double>(g.values().size());
  Fill(g, -0.5f);
  CHECK(GlobalNorm(DefaultExecutor(), g) == doctest::Approx(0.5 * std::sqrt(count)).epsilon(1e-12));
  CHECK(AdamW::ClipScale(0.9, 1.0) == 1.0f);
  CHECK(AdamW::ClipScale(4.0, 1.0) == 0.25f);
  CHECK(AdamW::ClipScale(0.0, 1.0) == 1.0f);
}

}  // namespace
}  // namespace bitnet::testing
