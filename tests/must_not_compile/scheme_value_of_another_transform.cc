// expect only: bitnet: the scheme's Value and FirstValue must have the same transform
#include "bitnet/model/weights.h"

#ifdef BITNET_MUST_NOT_COMPILE
struct Scheme : bitnet::A48 {
  using Value = bitnet::Transformed<bitnet::Hadamard<64>, bitnet::A48::Value>;
};
#else
struct Scheme : bitnet::A48 {
  using Value = bitnet::Transformed<bitnet::Hadamard<64>, bitnet::A48::Value>;
  using FirstValue = bitnet::Transformed<bitnet::Hadamard<64>, bitnet::A48::FirstValue>;
};
#endif

size_t Bytes(const bitnet::LatentWeights& latent) {
  return bitnet::ModelWeights<Scheme>::Quantize(latent).embedding.StoredBytes();
}
