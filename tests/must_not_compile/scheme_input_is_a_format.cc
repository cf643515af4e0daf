// expect only: bitnet: the scheme's Input must be a quantizer
#include "bitnet/model/weights.h"

#ifdef BITNET_MUST_NOT_COMPILE
struct Scheme : bitnet::A48 {
  using Input = bitnet::Int<3>;
};
#else
struct Scheme : bitnet::A48 {};
#endif

size_t Bytes(const bitnet::LatentWeights& latent) {
  return bitnet::ModelWeights<Scheme>::Quantize(latent).embedding.StoredBytes();
}
