// expect: bitnet: a format's levels must be listed in ascending order, each once
#include <array>

#include "bitnet/quant/quantizer.h"

struct Mine {
#ifdef BITNET_MUST_NOT_COMPILE
  static constexpr auto kLevels = std::array{-1, 0, 0, 1};
#else
  static constexpr auto kLevels = std::array{-1, 0, 1};
#endif
};

float Step(std::span<const float> x) { return bitnet::Quantizer<Mine, bitnet::AbsMean>::Step(x); }
