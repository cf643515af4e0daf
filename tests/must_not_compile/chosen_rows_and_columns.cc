// expect only: bitnet: no layout serves chosen rows and chosen columns alike: prepare a matrix for each
#include "bitnet/backend/simd/simd_backend.h"

#ifdef BITNET_MUST_NOT_COMPILE
using Use = bitnet::Uses<bitnet::ChosenRows, bitnet::ChosenColumns>;
#else
using Use = bitnet::Uses<bitnet::ChosenRows>;
#endif
using Backend = bitnet::SimdBackend;
using Matrix = Backend::Matrix<bitnet::Ternary, bitnet::Int<4>, Use>;

void Multiply(const Backend& backend, Backend::Stream& stream, const Matrix& matrix, Backend::Rows<bitnet::Int<4>>& x,
              bitnet::MatrixView<float> y) {
  backend.MatMul(stream, matrix, x, y);
}
