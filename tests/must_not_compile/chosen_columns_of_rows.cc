// expect only: bitnet: MatMulColumns needs a matrix whose columns are chosen: Uses<ChosenColumns>
#include "bitnet/backend/simd/simd_backend.h"

#ifdef BITNET_MUST_NOT_COMPILE
using Use = bitnet::Uses<bitnet::ChosenRows>;
#else
using Use = bitnet::Uses<bitnet::ChosenColumns>;
#endif
using Backend = bitnet::SimdBackend;
using Matrix = Backend::Matrix<bitnet::Ternary, bitnet::Int<4>, Use>;

void Multiply(const Backend& backend, Backend::Stream& stream, const Matrix& matrix, Backend::Rows<bitnet::Int<4>>& x,
              bitnet::MatrixView<float> y) {
  backend.MatMulColumns(stream, matrix, x, y);
}
