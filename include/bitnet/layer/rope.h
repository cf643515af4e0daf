// Rope: rotary position embedding, rotate-half: dimension i of a head is paired with i + head_dim / 2, and the pair
// turned by position * base^(-2i / head_dim).
#ifndef BITNET_LAYER_ROPE_H_
#define BITNET_LAYER_ROPE_H_

#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/base/size.h"

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

  // cos and sin of the head_dim / 2 angles at a position: what Backend::Rotate takes.
  void Angles(size_t position, std::span<float> cos, std::span<float> sin) const {
    for (size_t i = 0; i < frequencies_.size(); ++i) {
      const double angle = static_cast<double>(position) * frequencies_[i];
      cos[i] = static_cast<float>(std::cos(angle));
      sin[i] = static_cast<float>(std::sin(angle));
    }
  }

  size_t pairs() const { return frequencies_.size(); }

 private:
  std::vector<double> frequencies_;
};

// The angles of a run of positions, computed once for all layers.
class RopeAngles {
 public:
  void Compute(const Rope& rope, size_t first_position, size_t tokens) {
    const size_t count = ElementCount<float>(tokens, rope.pairs());
    // Each by its own size: after a bad_alloc only one of them may have grown.
    for (std::vector<float>* values : {&cos_, &sin_}) {
      if (values->size() < count) values->resize(count);
    }
    pairs_ = rope.pairs();
    for (size_t t = 0; t < tokens; ++t) {
      rope.Angles(first_position + t, {cos_.data() + t * pairs_, pairs_}, {sin_.data() + t * pairs_, pairs_});
    }
  }
  std::span<const float> Cos(size_t token) const { return {cos_.data() + token * pairs_, pairs_}; }
  std::span<const float> Sin(size_t token) const { return {sin_.data() + token * pairs_, pairs_}; }

 private:
  size_t pairs_ = 0;
  std::vector<float> cos_, sin_;
};

}  // namespace bitnet

#endif  // BITNET_LAYER_ROPE_H_
