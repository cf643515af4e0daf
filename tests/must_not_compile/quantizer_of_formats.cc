// expect only: bitnet: a Quantizer's second argument must be a scale rule: see quant/scale_rule.h
#include "bitnet/quant/quantizer.h"

#ifdef BITNET_MUST_NOT_COMPILE
using Q = bitnet::Quantizer<bitnet::Ternary, bitnet::Int<4>>;
#else
using Q = bitnet::Quantizer<bitnet::Ternary, bitnet::AbsMean>;
#endif

static_assert(sizeof(Q) > 0);
