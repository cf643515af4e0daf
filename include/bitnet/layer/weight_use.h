// WeightUse: how many weights a layer had to use, per projection, as in table 2 of the paper. A weight is used by a
// token if its input is not zero and its output is wanted.
#ifndef BITNET_LAYER_WEIGHT_USE_H_
#define BITNET_LAYER_WEIGHT_USE_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>

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

  // Adds a product of x [tokens, cols], of which `nonzero` are not zero, with `rows` outputs for each token ...
  void AddDense(uint64_t nonzero, size_t tokens, size_t cols, size_t rows) {
    used += nonzero * rows;
    total += uint64_t{tokens} * cols * rows;
  }
  // ... and one in which each token computes only some of its outputs: `pairs` of an input that is not zero and an
  // output that is computed.
  void AddRows(uint64_t pairs, size_t tokens, size_t cols, size_t rows) {
    used += pairs;
    total += uint64_t{tokens} * cols * rows;
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
