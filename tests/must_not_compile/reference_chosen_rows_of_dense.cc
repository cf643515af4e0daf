// expect only: bitnet: MatMulRows needs a matrix whose rows are chosen: Uses<ChosenRows>
#include "bitnet/backend/reference.h"

#ifdef BITNET_MUST_NOT_COMPILE
using Use = bitnet::Uses<bitnet::Dense>;
#else
using Use = bitnet::Uses<bitnet::ChosenRows>;
#endif
using Backend = bitnet::ReferenceBackend;
using Matrix = Backend::Matrix<bitnet::Ternary, bitnet::Int<4>, Use>;

void Multiply(const Backend& backend, Backend::Stream& stream, const Matrix& matrix, Backend::Rows<bitnet::Int<4>>& x,
              const bitnet::ChannelLists& lists, bitnet::MatrixView<float> y) {
  backend.MatMulRows(stream, matrix, x, lists, y);
}
