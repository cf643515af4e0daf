// expect: bitnet: a format needs a level above zero: steps are derived from the largest level
#include <array>

#include "bitnet/format/format.h"

struct Mine {
#ifdef BITNET_MUST_NOT_COMPILE
  static constexpr auto kLevels = std::array{-2, -1, 0};
#else
  static constexpr auto kLevels = std::array{-2, -1, 0, 1};
#endif
};

static_assert(bitnet::FormatTraits<Mine>::kTop > 0);
