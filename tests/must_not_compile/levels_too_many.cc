// expect: bitnet: a format has at most 256 levels, so that a code fits a byte
#include <array>

#include "bitnet/format/format.h"

#ifdef BITNET_MUST_NOT_COMPILE
constexpr int kCount = 257;
#else
constexpr int kCount = 256;
#endif

struct Mine {
  static constexpr auto kLevels = [] {
    std::array<int, kCount> levels{};
    for (int i = 0; i < kCount; ++i) levels[static_cast<size_t>(i)] = i;
    return levels;
  }();
};

static_assert(bitnet::FormatTraits<Mine>::kTop > 0);
