// expect: bitnet: a cache that is chosen when the program runs needs a backend Erased<B>
#include <bitnet/bitnet.h>

#include "bitnet/backend/erased.h"
#include "bitnet/scheme/cache.h"

#ifdef BITNET_MUST_NOT_COMPILE
using Backend = bitnet::SimdBackend;
#else
using Backend = bitnet::Erased<bitnet::SimdBackend>;
#endif
using Layer = bitnet::Attention<bitnet::WithChosenCache<bitnet::A48>, Backend>;

size_t Bytes(const Layer& layer) { return layer.WeightBytes(); }
