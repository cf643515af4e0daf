// What softmax over a row needs beside its exponentials: the row's maximum.
#ifndef BITNET_TRAIN_SOFTMAX_H_
#define BITNET_TRAIN_SOFTMAX_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "bitnet/base/exp_row.h"

namespace bitnet {

// The largest of x[0, n), n > 0; a NaN may be left out. As integers with the sign's bits turned round floats have their
// order, and a maximum of integers is what compilers vectorize without -ffast-math.
inline float RowMax(const float* x, size_t n) {
  const auto turn = [](int32_t bits) { return bits ^ ((bits >> 31) & 0x7fffffff); };
  int32_t max = std::numeric_limits<int32_t>::min();
  for (size_t i = 0; i < n; ++i) max = std::max(max, turn(std::bit_cast<int32_t>(x[i])));
  return std::bit_cast<float>(turn(max));
}

}  // namespace bitnet

#endif  // BITNET_TRAIN_SOFTMAX_H_
