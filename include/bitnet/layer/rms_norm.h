// RmsNorm: y = x / sqrt(mean(x^2) + eps) * gain, token by token. eps > 0, so that zeros stay zeros.
#ifndef BITNET_LAYER_RMS_NORM_H_
#define BITNET_LAYER_RMS_NORM_H_

#include <cmath>
#include <utility>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/tensor/matrix_view.h"

namespace bitnet {

class RmsNorm {
 public:
  RmsNorm() = default;
  RmsNorm(std::vector<float> gain, float eps) : gain_(std::move(gain)), eps_(eps) {
    BITNET_ASSERT(eps > 0.0f && std::isfinite(eps), "RmsNorm: eps must be finite and above 0");
  }

  // x, y [tokens, width]; y may be x.
  template <class B>
  void operator()(const B& backend, MatrixView<const float> x, MatrixView<float> y) const {
    backend.RmsNorm(x, gain_, eps_, y);
  }

  size_t width() const { return gain_.size(); }

 private:
  std::vector<float> gain_;
  float eps_ = 1e-5f;
};

}  // namespace bitnet

#endif  // BITNET_LAYER_RMS_NORM_H_
