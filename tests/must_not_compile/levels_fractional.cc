// expect: bitnet: a format's levels are integers; list fractions in units of the smallest (halves, quarters)
#include <array>

#include "bitnet/format/format.h"

struct Mine {
#ifdef BITNET_MUST_NOT_COMPILE
  static constexpr auto kLevels = std::array{-1.5, -0.5, 0.5, 1.5};
#else
  static constexpr auto kLevels = std::array{-3, -1, 1, 3};
#endif
};

static_assert(bitnet::FormatTraits<Mine>::kTop > 0);
