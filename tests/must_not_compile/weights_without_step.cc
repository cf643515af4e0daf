// expect: bitnet: a quantizer of weights needs Step(span) and LevelAt(value, inverse step) besides Quantize
#include "bitnet/tensor/quantized_matrix.h"

// Signs alone.
struct Mine {
  using Format = bitnet::Ternary;
  using Granularity = bitnet::Whole;
#ifndef BITNET_MUST_NOT_COMPILE
  static float Step(std::span<const float>) { return 1.0f; }
#endif
  static int LevelAt(float x, float) { return x > 0.0f ? 1 : -1; }
  static float Quantize(std::span<const float> x, int8_t* levels) {
    for (size_t i = 0; i < x.size(); ++i) levels[i] = static_cast<int8_t>(LevelAt(x[i], 1.0f));
    return 1.0f;
  }
};

bitnet::QuantizedMatrix<bitnet::Ternary> Weights(bitnet::MatrixView<const float> reals) {
  return bitnet::QuantizedMatrix<bitnet::Ternary>::From<Mine>(reals);
}
