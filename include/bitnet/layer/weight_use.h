// WeightUse: how many weights a layer had to use, per projection, as in table 2 of the paper. A weight is used by a
// token if its input is not zero and its output is wanted.
#ifndef BITNET_LAYER_WEIGHT_USE_H_
#define BITNET_LAYER_WEIGHT_USE_H_

#include <cstddef>
#include <cstdint>

#include "bitnet/tensor/quantized_tokens.h"

namespace bitnet {

struct WeightCount {
  uint64_t used = 0;
  uint64_t total = 0;

  // Percent that need not be used.
  double Sparsity() const {
    return total == 0 ? 0.0 : 100.0 * (1.0 - static_cast<double>(used) / static_cast<double>(total));
  }
  WeightCount& operator+=(const WeightCount& other) {
    used += other.used;
    total += other.total;
    return *this;
  }

  // Adds a product of all tokens of x with `rows` outputs.
  template <Format X>
  void AddDense(const QuantizedTokens<X>& x, size_t rows) {
    used += uint64_t{x.CountNonzero()} * rows;
    total += uint64_t{x.tokens()} * x.cols() * rows;
  }
  // Adds one in which each token computes only its listed outputs, of `rows`.
  template <Format X>
  void AddRows(const QuantizedTokens<X>& x, const ChannelLists& computed, size_t rows) {
    for (size_t t = 0; t < x.tokens(); ++t) {
      size_t nonzero = 0;
      for (size_t c = 0; c < x.cols(); ++c) nonzero += x.Row(t)[c] != LevelOf<X>{};
      used += uint64_t{nonzero} * computed.Count(t);
    }
    total += uint64_t{x.tokens()} * x.cols() * rows;
  }
};

struct WeightUse {
  WeightCount qkv, out, gate, up, down;

  WeightCount Overall() const {
    WeightCount all;
    for (const WeightCount* part : {&qkv, &out, &gate, &up, &down}) all += *part;
    return all;
  }
  WeightUse& operator+=(const WeightUse& other) {
    qkv += other.qkv;
    out += other.out;
    gate += other.gate;
    up += other.up;
    down += other.down;
    return *this;
  }
};

}  // namespace bitnet

#endif  // BITNET_LAYER_WEIGHT_USE_H_
