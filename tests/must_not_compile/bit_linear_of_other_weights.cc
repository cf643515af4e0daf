// expect only: bitnet: a BitLinear's matrix must have the format of its weights
#include <bitnet/bitnet.h>

#ifdef BITNET_MUST_NOT_COMPILE
using Format = bitnet::Int<4>;
#else
using Format = bitnet::Ternary;
#endif

bitnet::BitLinear<bitnet::A48::Weight, bitnet::A48::Input> Linear(const bitnet::QuantizedMatrix<Format>& weights) {
  return bitnet::BitLinear<bitnet::A48::Weight, bitnet::A48::Input>(weights);
}
