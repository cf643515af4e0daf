// expect: bitnet: UInt<B> needs 2 to 8 bits
#include "bitnet/format/format.h"

#ifdef BITNET_MUST_NOT_COMPILE
constexpr int kBits = 1;
#else
constexpr int kBits = 2;
#endif

static_assert(bitnet::FormatTraits<bitnet::UInt<kBits>>::kTop > 0);
