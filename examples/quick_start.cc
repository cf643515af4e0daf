// One BitLinear in thirty lines: a ternary projection of 4-bit inputs inside somebody else's program.
#include <bitnet/bitnet.h>

#include <cstdio>
#include <vector>

int main() {
  constexpr size_t kRows = 4, kCols = 256;

  // Any weights and inputs; here, made up.
  bitnet::Random random(1);
  std::vector<float> weights(kRows * kCols), x(kCols), y(kRows);
  for (float& w : weights) w = bitnet::Normal(random);
  for (float& v : x) v = bitnet::Normal(random);

  // Quantizes the weights to {-1, 0, 1} (eq. 2 of the paper) and lays them out for this CPU.
  bitnet::BitLinear<bitnet::A48::Weight, bitnet::A48::Input> project(weights, kRows, kCols);

  // Quantizes x to INT4 (eq. 7) and multiplies.
  project(x, y);

  // The same by hand: the product of what the two quantizers make of weights and input.
  bitnet::A48::Weight::FakeQuantize(weights, weights.data());
  bitnet::A48::Input::FakeQuantize(x, x.data());
  for (size_t r = 0; r < kRows; ++r) {
    double by_hand = 0.0;
    for (size_t c = 0; c < kCols; ++c) by_hand += double(weights[r * kCols + c]) * double(x[c]);
    std::printf("y[%zu] = %10.6f   by hand %10.6f\n", r, double(y[r]), by_hand);
  }
  std::printf("weights: %zu bytes, in 16-bit floats %zu\n", project.matrix().StoredBytes(), weights.size() * 2);
}
