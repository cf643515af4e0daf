// expect only: bitnet: the scheme's HeadWeight and HeadInput must be quantizers
#include "bitnet/model/weights.h"

#ifdef BITNET_MUST_NOT_COMPILE
struct Scheme : bitnet::A48 {
  using HeadWeight = bitnet::Float;
};
#else
struct Scheme : bitnet::A48 {};
#endif

size_t Bytes(const bitnet::LatentWeights& latent) {
  return bitnet::ModelWeights<Scheme>::Quantize(latent).embedding.StoredBytes();
}
