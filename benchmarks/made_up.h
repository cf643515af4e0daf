// Operands that are made up: random numbers, and matrices too large to be random throughout.
#ifndef BITNET_BENCHMARKS_MADE_UP_H_
#define BITNET_BENCHMARKS_MADE_UP_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bitnet/base/random.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/tensor/quantized_matrix.h"

namespace bitnet {

inline std::vector<float> Normals(size_t n, uint64_t seed) {
  Random random(seed);
  std::vector<float> x(n);
  for (float& v : x) v = Normal(random);
  return x;
}

// A matrix whose rows repeat some random ones: kernels do not see the difference, and it takes no time to make.
template <class W>
QuantizedMatrix<typename W::Format> MadeUp(size_t rows, size_t cols) {
  using M = QuantizedMatrix<typename W::Format>;
  constexpr size_t kRandomRows = 32;
  const std::vector<float> w = Normals(kRandomRows * cols, 1);
  const M few = M::template Quantize<W>({w.data(), kRandomRows, cols});
  M all(rows, cols, few.granularity());
  for (size_t r = 0; r < rows; ++r) {
    const auto codes = few.RowCodes(r % kRandomRows);
    std::copy(codes.begin(), codes.end(), all.bytes().begin() + static_cast<std::ptrdiff_t>(r * codes.size()));
  }
  for (size_t i = 0; i < all.steps().size(); ++i) all.steps()[i] = few.steps()[i % few.steps().size()];
  return all;
}

}  // namespace bitnet

#endif  // BITNET_BENCHMARKS_MADE_UP_H_
