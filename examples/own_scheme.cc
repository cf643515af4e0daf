// Schemes that nobody has built: binary weights with 3-bit inputs, and five-level weights in a format of our own. The
// library derives packing, quantization and kernels from the list of levels.
#include <bitnet/bitnet.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <vector>

// A number format is its levels.
struct FiveLevel {
  static constexpr auto kLevels = std::array{-2, -1, 0, 1, 2};
};

// A scheme overrides what differs from the nearest one.
struct BinaryWeights : bitnet::A48 {
  static constexpr const char* kName = "binary weights, 3-bit inputs";
  using Weight = bitnet::Quantizer<bitnet::Binary, bitnet::AbsMean>;
  using Input = bitnet::Quantizer<bitnet::Int<3>, bitnet::AbsMean>;
};

struct FiveLevelWeights : bitnet::A48 {
  static constexpr const char* kName = "five-level weights, a step for each row";
  using Weight = bitnet::Quantizer<FiveLevel, bitnet::AbsMean, bitnet::PerRow>;
};

// The relative error that the scheme's quantizers make in a product of random weights and inputs.
template <bitnet::Scheme S>
void Report() {
  constexpr size_t kRows = 64, kCols = 512;
  bitnet::Random random(7);
  std::vector<float> weights(kRows * kCols), x(kCols), y(kRows), exact(kRows);
  for (float& w : weights) w = bitnet::Normal(random);
  for (float& v : x) v = bitnet::Normal(random);

  bitnet::BitLinear<typename S::Weight, typename S::Input> project(weights, kRows, kCols);
  project(x, y);
  bitnet::BitLinear<bitnet::Unquantized, bitnet::Unquantized>(weights, kRows, kCols)(x, exact);

  double error = 0.0, size = 0.0;
  for (size_t r = 0; r < kRows; ++r) {
    error += std::pow(static_cast<double>(y[r] - exact[r]), 2);
    size += std::pow(static_cast<double>(exact[r]), 2);
  }
  using WeightFormat = typename S::Weight::Format;
  std::printf("%-42s %zu levels, %.2f bits a weight, relative error %.2f\n", S::kName,
              bitnet::FormatTraits<WeightFormat>::kCount, bitnet::Packing<WeightFormat>::kBitsPerValue,
              std::sqrt(error / size));
}

int main() {
  Report<bitnet::A48>();
  Report<bitnet::B158>();
  Report<BinaryWeights>();
  Report<FiveLevelWeights>();
}
