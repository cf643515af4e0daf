// expect: bitnet: the factor of AbsMeanTimes must be positive
#include "bitnet/quant/quantizer.h"

#ifdef BITNET_MUST_NOT_COMPILE
using Rule = bitnet::AbsMeanTimes<0>;
#else
using Rule = bitnet::AbsMeanTimes<2>;
#endif

float Step(std::span<const float> x) { return bitnet::Quantizer<bitnet::Int<4>, Rule>::Step(x); }
