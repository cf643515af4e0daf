// expect: bitnet: a format needs at least two levels
#include <array>

#include "bitnet/format/format.h"

struct Mine {
#ifdef BITNET_MUST_NOT_COMPILE
  static constexpr auto kLevels = std::array{1};
#else
  static constexpr auto kLevels = std::array{0, 1};
#endif
};

static_assert(bitnet::FormatTraits<Mine>::kCount == 2);
