// expect: bitnet: a Quantizer's third argument must be Whole, PerRow or PerGroup<N>
#include "bitnet/quant/quantizer.h"

#ifdef BITNET_MUST_NOT_COMPILE
using Granularity = bitnet::AbsMean;
#else
using Granularity = bitnet::PerRow;
#endif

float Step(std::span<const float> x) {
  return bitnet::Quantizer<bitnet::Ternary, bitnet::AbsMean, Granularity>::Step(x);
}
