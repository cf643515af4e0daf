// expect: bitnet: a format's levels must fit 16 bits
#include <array>

#include "bitnet/format/format.h"

struct Mine {
#ifdef BITNET_MUST_NOT_COMPILE
  static constexpr auto kLevels = std::array{0, 32768};
#else
  static constexpr auto kLevels = std::array{0, 32767};
#endif
};

static_assert(bitnet::FormatTraits<Mine>::kTop > 0);
