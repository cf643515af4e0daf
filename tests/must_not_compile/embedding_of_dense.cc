// expect only: bitnet: Embed needs a matrix whose rows are looked up: Uses<RowLookup>
#include "bitnet/backend/simd/simd_backend.h"

#ifdef BITNET_MUST_NOT_COMPILE
using Use = bitnet::Uses<bitnet::Dense>;
#else
using Use = bitnet::Uses<bitnet::Dense, bitnet::RowLookup>;
#endif
using Backend = bitnet::SimdBackend;
using Matrix = Backend::Matrix<bitnet::Ternary, bitnet::Int<4>, Use>;

void Embed(const Backend& backend, Backend::Stream& stream, const Matrix& matrix, std::span<const uint32_t> rows,
           bitnet::MatrixView<float> y) {
  backend.Embed(stream, matrix, rows, y);
}
