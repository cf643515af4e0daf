// Formats and quantizers that nobody ships, to test with: what a user may write.
#ifndef BITNET_TESTS_TESTING_AWKWARD_FORMATS_H_
#define BITNET_TESTS_TESTING_AWKWARD_FORMATS_H_

#include <array>
#include <cmath>
#include <cstddef>
#include <span>

#include "bitnet/format/format.h"
#include "bitnet/quant/quantizer.h"

namespace bitnet::testing {

struct FiveLevels {
  static constexpr auto kLevels = std::array{-2, -1, 0, 1, 2};
};
// Levels beyond 8 bits, at no common distance.
struct BigSteps {
  static constexpr auto kLevels = std::array{-300, -7, 0, 5, 1000};
};
// More levels than a byte shuffle looks up, not uniform, and without zero.
struct Squares {
  static constexpr auto kLevels =
      std::array{-100, -81, -64, -49, -36, -25, -16, -9, -4, -1, 1, 4, 9, 16, 25, 36, 49, 64, 81, 100, 121};
};
// Uniform with a distance that is no power of two.
struct Threes {
  static constexpr auto kLevels = std::array{-9, -6, -3, 0, 3, 6};
};
// Powers of two: the most unequal distances.
struct PowersOfTwo {
  static constexpr auto kLevels = std::array{-32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 32};
};
// One level far from the others.
struct Lopsided {
  static constexpr auto kLevels = std::array{-1, 0, 64};
};
// Two levels that are no mirror image.
struct OnOff {
  static constexpr auto kLevels = std::array{0, 1};
};
// Two levels, so large that few fit a sum of bytes.
struct Sixteens {
  static constexpr auto kLevels = std::array{-32, 32};
};
// Neither zero nor symmetry: zero itself is nearer to the negative level.
struct OneSided {
  static constexpr auto kLevels = std::array{-1, 3, 7};
};

// A rule of one's own: the root mean square.
struct RootMeanSquare {
  template <LevelFormat F>
  static double Step(std::span<const float> x) {
    double sum = 0.0;
    for (const float v : x) sum += static_cast<double>(v) * static_cast<double>(v);
    return x.empty() ? 0.0 : std::sqrt(sum / static_cast<double>(x.size())) / FormatTraits<F>::kTop;
  }
};

// A quantizer of one's own: not an instance of Quantizer.
struct Signs {
  using Format = FiveLevels;
  using Granularity = Whole;
  static float Quantize(std::span<const float> x, LevelOf<FiveLevels>* levels) {
    for (size_t i = 0; i < x.size(); ++i) {
      levels[i] = static_cast<LevelOf<FiveLevels>>(x[i] > 0.0f ? 1 : x[i] < 0.0f ? -1 : 0);
    }
    return 0.5f;
  }
};

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_AWKWARD_FORMATS_H_
