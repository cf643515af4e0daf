// Reals as matrices and caches store them: StoredReal<F>, one after the other, at any address.
#ifndef BITNET_TENSOR_STORED_REALS_H_
#define BITNET_TENSOR_STORED_REALS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "bitnet/format/format.h"

namespace bitnet {

// The nearest values of the format: those themselves that it holds.
template <RealFormat F>
void StoreReals(std::span<const float> from, uint8_t* to) {
  for (size_t i = 0; i < from.size(); ++i) {
    const StoredReal<F> real = NearestReal<F>(from[i]);
    std::memcpy(to + i * sizeof(real), &real, sizeof(real));
  }
}

template <RealFormat F>
void LoadReals(const uint8_t* from, std::span<float> to) {
  for (size_t i = 0; i < to.size(); ++i) {
    StoredReal<F> real;
    std::memcpy(&real, from + i * sizeof(real), sizeof(real));
    to[i] = real;
  }
}

}  // namespace bitnet

#endif  // BITNET_TENSOR_STORED_REALS_H_
