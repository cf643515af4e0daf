// expect: bitnet: a format's levels must be listed in ascending order, each once
#include <array>

#include "bitnet/format/format.h"

struct Mine {
#ifdef BITNET_MUST_NOT_COMPILE
  static constexpr auto kLevels = std::array{0, 2, 1};
#else
  static constexpr auto kLevels = std::array{0, 1, 2};
#endif
};

static_assert(bitnet::FormatTraits<Mine>::kTop > 0);
