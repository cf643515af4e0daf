// expect: bitnet: this is no backend: static_assert(bitnet::Backend<B>) says which member
#include <bitnet/bitnet.h>

#include "bitnet/backend/reference.h"

#ifdef BITNET_MUST_NOT_COMPILE
struct MyBackend {};
#else
using MyBackend = bitnet::ReferenceBackend;
#endif

size_t Layers(const bitnet::ModelWeights<bitnet::A48>& weights) {
  return bitnet::Transformer<bitnet::A48, MyBackend>(weights, MyBackend()).config().layers;
}
