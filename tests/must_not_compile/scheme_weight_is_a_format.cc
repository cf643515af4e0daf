// expect only: bitnet: the scheme's Weight must be a quantizer
#include "bitnet/model/weights.h"

#ifdef BITNET_MUST_NOT_COMPILE
struct Scheme : bitnet::A48 {
  using Weight = bitnet::Ternary;
};
#else
struct Scheme : bitnet::A48 {};
#endif

size_t Bytes(const bitnet::LatentWeights& latent) {
  return bitnet::ModelWeights<Scheme>::Quantize(latent).embedding.StoredBytes();
}
