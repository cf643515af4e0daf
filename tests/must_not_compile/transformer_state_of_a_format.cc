// expect only: bitnet: a scheme is needed here: A48 or another of scheme/scheme.h
#include <bitnet/bitnet.h>

#ifdef BITNET_MUST_NOT_COMPILE
using Scheme = bitnet::Ternary;
#else
using Scheme = bitnet::A48;
#endif

size_t Tokens(const bitnet::ModelWeights<bitnet::A48>& weights) {
  const bitnet::Transformer<Scheme> model(weights);
  return model.NewState(16).max_tokens();
}
