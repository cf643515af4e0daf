// expect: bitnet: the signs of a Hadamard transform need a constexpr bool IsNegative(size_t)
#include "bitnet/quant/transform.h"

#ifdef BITNET_MUST_NOT_COMPILE
struct Signs {
  static bool IsNegative(size_t i) { return i % 2 == 0; }  // not constexpr
};
#else
struct Signs {
  static constexpr bool IsNegative(size_t i) { return i % 2 == 0; }
};
#endif

void Apply(std::span<float> x) { bitnet::Hadamard<64, Signs>::Apply(x); }
