// expect: bitnet: PerGroup needs at least one value in a group
#include "bitnet/quant/quantizer.h"

#ifdef BITNET_MUST_NOT_COMPILE
constexpr size_t kSize = 0;
#else
constexpr size_t kSize = 32;
#endif

using Mine = bitnet::Quantizer<bitnet::Ternary, bitnet::AbsMean, bitnet::PerGroup<kSize>>;
float Step(std::span<const float> x) { return Mine::Step(x); }
