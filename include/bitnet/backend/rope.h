// Rope: rotary position embedding, rotate-half: dimension i of a head is paired with i + head_dim / 2, and the pair
// rotated by position * base^(-2i / head_dim), or by frequencies of the model's own.
#ifndef BITNET_BACKEND_ROPE_H_
#define BITNET_BACKEND_ROPE_H_

#include <cmath>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "bitnet/base/assert.h"

namespace bitnet {

class Rope {
 public:
  Rope() = default;
  Rope(size_t head_dim, float base) : frequencies_(head_dim / 2) {
    BITNET_ASSERT(head_dim % 2 == 0, "Rope: head_dim must be even");
    for (size_t i = 0; i < frequencies_.size(); ++i) {
      frequencies_[i] = std::pow(double(base), -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    }
  }

  // Of frequencies of one's own: radians a position, of each pair. Pairs are also multiplied by `magnitude` (yarn).
  explicit Rope(std::vector<double> frequencies, float magnitude = 1.0f)
      : frequencies_(std::move(frequencies)), magnitude_(double{magnitude}) {}

  // cos and sin of the head_dim / 2 angles at a position, times the magnitude. Every backend takes them from here:
  // another machine's cos has other bits.
  void Angles(size_t position, std::span<float> cos, std::span<float> sin) const {
    for (size_t i = 0; i < frequencies_.size(); ++i) {
      const double angle = static_cast<double>(position) * frequencies_[i];
      cos[i] = static_cast<float>(magnitude_ * std::cos(angle));
      sin[i] = static_cast<float>(magnitude_ * std::sin(angle));
    }
  }

  size_t pairs() const { return frequencies_.size(); }

 private:
  std::vector<double> frequencies_;
  double magnitude_ = 1.0;
};

}  // namespace bitnet

#endif  // BITNET_BACKEND_ROPE_H_
