// RmsNorm: y = x / sqrt(mean(x^2) + eps) * gain, token by token. eps > 0, so that zeros stay zeros.
// Without gains it stands for a norm that is not there: who has it asks width().
#ifndef BITNET_LAYER_RMS_NORM_H_
#define BITNET_LAYER_RMS_NORM_H_

#include <cmath>
#include <cstddef>
#include <span>

#include "bitnet/backend/backend.h"
#include "bitnet/base/assert.h"
#include "bitnet/tensor/matrix_view.h"

namespace bitnet {

template <Backend B>
class RmsNorm {
 public:
  RmsNorm() = default;
  RmsNorm(std::span<const float> gain, float eps, const B& backend)
      : gain_(backend.PrepareVector(gain)), width_(gain.size()), eps_(eps) {
    BITNET_ASSERT(eps > 0.0f && std::isfinite(eps), "RmsNorm: eps must be finite and above 0");
  }

  // x, y [tokens, width]; y may be x.
  void operator()(const B& backend, typename B::Stream& stream, MatrixView<const float> x, MatrixView<float> y) const {
    backend.RmsNorm(stream, x, gain_, eps_, y);
  }

  size_t width() const { return width_; }
  const typename B::Vector& gain() const { return gain_; }
  float eps() const { return eps_; }

 private:
  typename B::Vector gain_;
  size_t width_ = 0;
  float eps_ = 1e-5f;
};

}  // namespace bitnet

#endif  // BITNET_LAYER_RMS_NORM_H_
