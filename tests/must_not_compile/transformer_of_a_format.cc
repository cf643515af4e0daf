// expect only: bitnet: a scheme is needed here: A48 or another of scheme/scheme.h
#include <bitnet/bitnet.h>

#include <vector>

#ifdef BITNET_MUST_NOT_COMPILE
using Scheme = bitnet::Ternary;
#else
using Scheme = bitnet::A48;
#endif

std::vector<float> Logits(const bitnet::LatentWeights& latent, bitnet::Token token) {
  const bitnet::Transformer<Scheme> model(bitnet::ModelWeights<Scheme>::Quantize(latent));
  auto state = model.NewState(16);
  const auto logits = *model.Forward({&token, 1}, state);
  return {logits.begin(), logits.end()};
}
