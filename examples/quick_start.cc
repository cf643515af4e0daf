// One BitLinear inside somebody else's program. README.md shows all of it.
#include <bitnet/bitnet.h>

#include <cmath>
#include <cstdio>
#include <vector>

int main() {
  const size_t rows = 64, cols = 256;
  bitnet::Random random(1);
  std::vector<float> weights(rows * cols), x(cols), y(rows);  // any weights and inputs; here, random ones
  for (float& w : weights) w = bitnet::Normal(random);
  for (float& v : x) v = bitnet::Normal(random);

  bitnet::BitLinear<bitnet::A48::Weight, bitnet::A48::Input> project(weights, rows, cols);  // ternary weights
  project(x, y);                                                                            // 4-bit inputs

  double error = 0.0, size = 0.0;
  for (size_t r = 0; r < rows; ++r) {
    double in_floats = 0.0;
    for (size_t c = 0; c < cols; ++c) in_floats += double(weights[r * cols + c]) * double(x[c]);
    if (r < 3) std::printf("y[%zu] = %6.2f, in floats %6.2f\n", r, double(y[r]), in_floats);
    error += std::pow(double(y[r]) - in_floats, 2.0), size += in_floats * in_floats;
  }
  std::printf("error of y: %.0f %%: nobody trained these weights to be ternary (docs/bring-your-own-weights.md)\n",
              100.0 * std::sqrt(error / size));
  std::printf("weights: %zu bytes; in 16-bit floats %zu\n", project.matrix().StoredBytes(), 2 * weights.size());
}
