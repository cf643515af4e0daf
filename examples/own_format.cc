// A number format of one's own on the vector kernels. README.md shows the lines between the two rules.
#include <bitnet/bitnet.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <span>
#include <vector>

// ---------------------------------------------------------------------------------------------------------------------
struct FiveLevel {
  static constexpr auto kLevels = std::array{-2, -1, 0, 1, 2};
};
using Weight = bitnet::Quantizer<FiveLevel, bitnet::AbsMean>;

void Multiply(std::span<const float> weights, std::span<const float> x, std::span<float> y) {
  bitnet::BitLinear<Weight, bitnet::A48::Input> project(weights, y.size(), x.size());
  project(x, y);
}
// ---------------------------------------------------------------------------------------------------------------------

// Seconds of the fastest of a few calls.
template <class F>
double Fastest(F&& f) {
  using Clock = std::chrono::steady_clock;
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const Clock::time_point start = Clock::now();
    f();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

int main() {
  constexpr size_t kRows = 1000, kCols = 1000;
  bitnet::Random random(1);
  std::vector<float> weights(kRows * kCols), x(kCols), y(kRows), expected(kRows);
  for (float& w : weights) w = bitnet::Normal(random);
  for (float& v : x) v = bitnet::Normal(random);
  Multiply(weights, x, y);

  // The same product by plain loops, which define the result.
  bitnet::BitLinear<Weight, bitnet::A48::Input> vectors(weights, kRows, kCols);
  bitnet::BitLinear<Weight, bitnet::A48::Input, bitnet::ReferenceBackend> loops(weights, kRows, kCols);
  const double by_vectors = Fastest([&] { vectors(x, y); });
  const double by_loops = Fastest([&] { loops(x, expected); });
  std::printf("five levels: %.2f bits a weight\n", bitnet::Packing<FiveLevel>::kBitsPerValue);
  std::printf("vector kernels: %.0f us; plain loops: %.0f us\n", 1e6 * by_vectors, 1e6 * by_loops);
  std::printf("the same bits: %s\n", y == expected ? "yes" : "no");
  return y == expected ? 0 : 1;
}
