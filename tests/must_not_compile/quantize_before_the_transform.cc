// expect only: bitnet: a backend quantizes values as they are
#include <bitnet/bitnet.h>

using Q = bitnet::Transformed<bitnet::Hadamard<64>, bitnet::A48::Input>;

void Quantize(bitnet::MatrixView<float> x, bitnet::SimdBackend::Rows<bitnet::Int<4>>& rows) {
  const bitnet::SimdBackend backend;
  bitnet::SimdBackend::Stream stream = backend.NewStream();
#ifdef BITNET_MUST_NOT_COMPILE
  backend.Quantize<Q>(stream, x, rows);
#else
  backend.Transform<bitnet::TransformOf<Q>>(stream, x, x);
  backend.Quantize<bitnet::Untransformed<Q>>(stream, x, rows);
#endif
}
