// expect only: bitnet: the scheme's Query, Key and FirstKey must have the same transform
#include "bitnet/model/weights.h"

#ifdef BITNET_MUST_NOT_COMPILE
struct Scheme : bitnet::A48 {
  using Query = bitnet::Transformed<bitnet::Hadamard<64>, bitnet::A48::Query>;
  using Key = bitnet::Transformed<bitnet::Hadamard<64>, bitnet::A48::Key>;
};
#else
struct Scheme : bitnet::A48 {
  using Query = bitnet::Transformed<bitnet::Hadamard<64>, bitnet::A48::Query>;
  using Key = bitnet::Transformed<bitnet::Hadamard<64>, bitnet::A48::Key>;
  using FirstKey = bitnet::Transformed<bitnet::Hadamard<64>, bitnet::A48::FirstKey>;
};
#endif

size_t Bytes(const bitnet::LatentWeights& latent) {
  return bitnet::ModelWeights<Scheme>::Quantize(latent).embedding.StoredBytes();
}
