// expect: bitnet: a Quantizer's second argument must be a scale rule: see quant/scale_rule.h
#include "bitnet/quant/quantizer.h"

struct Mine {
#ifndef BITNET_MUST_NOT_COMPILE
  template <bitnet::LevelFormat F>
#else
  template <class F, class Unneeded>
#endif
  static double Step(std::span<const float>) {
    return 1.0;
  }
};

using Q = bitnet::Quantizer<bitnet::Int<4>, Mine>;
static_assert(sizeof(Q) > 0);
