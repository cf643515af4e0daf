// expect: bitnet: the block of a Hadamard transform must be a power of two
#include "bitnet/quant/transform.h"

#ifdef BITNET_MUST_NOT_COMPILE
using T = bitnet::Hadamard<96>;
#else
using T = bitnet::Hadamard<128>;
#endif

void Apply(std::span<float> x) { T::Apply(x); }
