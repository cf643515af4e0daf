// expect only: bitnet: the scheme's Edge must be a scheme
#include <bitnet/bitnet.h>

struct Scheme : bitnet::A48 {
#ifdef BITNET_MUST_NOT_COMPILE
  using Edge = bitnet::Quantizer<bitnet::Int<8>, bitnet::AbsMax>;
#else
  using Edge = bitnet::B158;
#endif
};

size_t Bytes(const bitnet::LatentWeights& latent) {
  return bitnet::ModelWeights<Scheme>::Quantize(latent).embedding.StoredBytes();
}
