// expect only: bitnet: the scheme's EmbeddingWeight must be a quantizer
#include <bitnet/bitnet.h>

struct Scheme : bitnet::A48 {
#ifdef BITNET_MUST_NOT_COMPILE
  using EmbeddingWeight = bitnet::BFloat16;
#else
  using EmbeddingWeight = bitnet::Rounded<bitnet::BFloat16>;
#endif
};

size_t Bytes(const bitnet::LatentWeights& latent) {
  return bitnet::ModelWeights<Scheme>::Quantize(latent).embedding.StoredBytes();
}
