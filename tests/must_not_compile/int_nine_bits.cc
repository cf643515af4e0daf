// expect: bitnet: Int<B> needs 2 to 8 bits
#include "bitnet/format/format.h"

#ifdef BITNET_MUST_NOT_COMPILE
constexpr int kBits = 9;
#else
constexpr int kBits = 8;
#endif

static_assert(bitnet::FormatTraits<bitnet::Int<kBits>>::kTop > 0);
