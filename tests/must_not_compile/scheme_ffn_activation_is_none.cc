// expect only: bitnet: the scheme's FfnActivation must be an activation
#include "bitnet/model/weights.h"

#ifdef BITNET_MUST_NOT_COMPILE
struct Scheme : bitnet::A48 {
  using FfnActivation = bitnet::AbsMax;
};
#else
struct Scheme : bitnet::A48 {};
#endif

size_t Bytes(const bitnet::LatentWeights& latent) {
  return bitnet::ModelWeights<Scheme>::Quantize(latent).embedding.StoredBytes();
}
