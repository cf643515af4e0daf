// expect only: bitnet: the scheme's Weight and HeadWeight may not be Transformed
#include "bitnet/model/weights.h"

#ifdef BITNET_MUST_NOT_COMPILE
struct Scheme : bitnet::A48 {
  using Weight = bitnet::Transformed<bitnet::Hadamard<64>, bitnet::A48::Weight>;
};
#else
struct Scheme : bitnet::A48 {};
#endif

size_t Bytes(const bitnet::LatentWeights& latent) {
  return bitnet::ModelWeights<Scheme>::Quantize(latent).embedding.StoredBytes();
}
