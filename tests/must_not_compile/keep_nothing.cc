// expect: bitnet: Keep<N, D> needs 0 < N <= D
#include "bitnet/quant/top_k.h"

#ifdef BITNET_MUST_NOT_COMPILE
using Some = bitnet::Keep<0, 1>;
#else
using Some = bitnet::Keep<1, 1>;
#endif

size_t Count(size_t n) { return Some::Count(n); }
