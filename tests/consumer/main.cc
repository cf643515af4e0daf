// One layer, in two translation units that are compiled for different CPUs. Both must give the same result.
#include <bitnet/bitnet.h>

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <vector>

std::vector<float> ProjectElsewhere(const std::vector<float>& weights, std::size_t rows, std::size_t cols,
                                    const std::vector<float>& x);  // other.cc

namespace {

std::vector<float> ProjectHere(const std::vector<float>& weights, std::size_t rows, std::size_t cols,
                               const std::vector<float>& x) {
  bitnet::BitLinear<bitnet::A48::Weight, bitnet::A48::Input> project(weights, rows, cols);
  std::vector<float> y(rows);
  project(x, y);
  return y;
}

}  // namespace

int main() {
  const std::size_t rows = 37, cols = 211;
  std::vector<float> weights(rows * cols), x(cols);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = std::sin(0.7f * static_cast<float>(i));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::cos(1.3f * static_cast<float>(i));

  const std::vector<float> here = ProjectHere(weights, rows, cols, x);
  const std::vector<float> elsewhere = ProjectElsewhere(weights, rows, cols, x);
  float largest = 0, largest_difference = 0;
  for (std::size_t r = 0; r < rows; ++r) {
    largest = std::fmax(largest, std::fabs(here[r]));
    largest_difference = std::fmax(largest_difference, std::fabs(here[r] - elsewhere[r]));
  }
  std::printf("largest output %g, largest difference %g\n", static_cast<double>(largest),
              static_cast<double>(largest_difference));
  // The integer dot products are equal; the steps of the quantizers are sums of reals, in another order.
  return largest > 0 && largest_difference <= 1e-5f * largest ? 0 : 1;
}
