// expect only: bitnet: reals have no levels: QuantizedMatrix<Float>::Quantize<Unquantized> takes them
#include "bitnet/tensor/quantized_matrix.h"

#ifdef BITNET_MUST_NOT_COMPILE
using F = bitnet::Float;
#else
using F = bitnet::Ternary;
#endif

bool Fits(std::span<const bitnet::LevelOf<F>> levels, std::span<const float> steps) {
  return bitnet::QuantizedMatrix<F>::FromLevels(levels, 1, levels.size(), steps).ok();
}
