// expect: bitnet: a cache keeps its first token quantized if and only if the others are
#include "bitnet/tensor/quantized_heads.h"

#ifdef BITNET_MUST_NOT_COMPILE
using Cache = bitnet::QuantizedHeads<bitnet::MidRise<3>, bitnet::Float>;
#else
using Cache = bitnet::QuantizedHeads<bitnet::MidRise<3>, bitnet::MidRise<4>>;
#endif

size_t Bytes(const Cache& cache) { return cache.StoredBytes(); }
