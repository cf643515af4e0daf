// expect: bitnet: top-k sets inputs to zero, so its quantizer needs a format with the level 0
#include "bitnet/backend/reference.h"

#ifdef BITNET_MUST_NOT_COMPILE
using Q = bitnet::Quantizer<bitnet::MidRise<4>, bitnet::AbsMax>;
#else
using Q = bitnet::Quantizer<bitnet::Int<4>, bitnet::AbsMax>;
#endif

void Quantize(const bitnet::ReferenceBackend& backend, bitnet::ReferenceBackend::Stream& stream,
              bitnet::MatrixView<const float> x, bitnet::QuantizedRows<Q::Format>& out) {
  backend.QuantizeTopK<Q>(stream, x, 1, out);
}
