// expect only: bitnet: Transformer<S> is made of ModelWeights<S> with the same S
#include <bitnet/bitnet.h>

#ifdef BITNET_MUST_NOT_COMPILE
using Weights = bitnet::ModelWeights<bitnet::B158>;
#else
using Weights = bitnet::ModelWeights<bitnet::A48>;
#endif

bitnet::Transformer<bitnet::A48> Model(const Weights& weights) { return bitnet::Transformer<bitnet::A48>(weights); }
