// expect: bitnet: this is no backend: static_assert(bitnet::Backend<B>) says which member
#include <bitnet/bitnet.h>

#include "bitnet/backend/reference.h"

#ifdef BITNET_MUST_NOT_COMPILE
struct MyBackend {};
#else
using MyBackend = bitnet::ReferenceBackend;
#endif

size_t Rows(std::span<const float> weights) {
  return bitnet::BitLinear<bitnet::A48::Weight, bitnet::A48::Input, MyBackend>(weights, 4, 4, MyBackend()).rows();
}
