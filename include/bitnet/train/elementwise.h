// The backward passes of what stands between the products: RMSNorm, rotary embedding, gated activation; and the
// forward pass of the latter. Each works on the rows of one tile, in the calling thread.
#ifndef BITNET_TRAIN_ELEMENTWISE_H_
#define BITNET_TRAIN_ELEMENTWISE_H_

#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/rope.h"
#include "bitnet/base/size.h"
#include "bitnet/scheme/activation.h"
#include "bitnet/train/matrix.h"

namespace bitnet {

// Of y = (x * r) * gain, r = 1 / sqrt(mean(x^2) + eps):
//   dx_i += r * (gain_i dy_i - x_i r^2 mean_j(gain_j dy_j x_j)),   dgain_i += sum over rows of dy_i x_i r.
// With kAdd dx is added to, as at a residual connection, else written; dx may then be dy.
template <bool kAdd>
void RmsNormBackward(MatrixView<const float> x, std::span<const float> gain, float eps, MatrixView<const float> dy,
                     MatrixView<float> dx, std::span<float> dgain) {
  const size_t n = x.cols();
  for (size_t t = 0; t < x.rows(); ++t) {
    const float* xs = x.Row(t);
    const float* dys = dy.Row(t);
    float* dxs = dx.Row(t);
    double squares[kSumLanes] = {};
    double products[kSumLanes] = {};
    const auto add = [&](size_t i, size_t lane) {
      squares[lane] += double(xs[i]) * double(xs[i]);
      products[lane] += double(gain[i] * dys[i]) * double(xs[i]);
    };
    size_t i = 0;
    for (; i + kSumLanes <= n; i += kSumLanes) {
      for (size_t lane = 0; lane < kSumLanes; ++lane) add(i + lane, lane);
    }
    for (; i < n; ++i) add(i, i % kSumLanes);
    double square = 0.0;
    double product = 0.0;
    for (size_t lane = 0; lane < kSumLanes; ++lane) square += squares[lane], product += products[lane];
    const auto width = static_cast<double>(n);
    const double r = 1.0 / std::sqrt(square / width + double(eps));
    const auto rf = static_cast<float>(r);
    const auto common = static_cast<float>(r * r * r * product / width);
    for (size_t c = 0; c < n; ++c) {
      const float through = dys[c];
      dgain[c] += through * (xs[c] * rf);
      const float d = through * gain[c] * rf - xs[c] * common;
      dxs[c] = kAdd ? dxs[c] + d : d;
    }
  }
}

// The angles of positions 0 ... tokens - 1: as inference has them, and rotated back for gradients.
class TrainingAngles {
 public:
  void Compute(const Rope& rope, size_t tokens) {
    pairs_ = rope.pairs();
    for (std::vector<float>* values : {&cos_, &sin_, &minus_sin_}) values->resize(ElementCount<float>(tokens, pairs_));
    for (size_t t = 0; t < tokens; ++t) {
      rope.Angles(t, {cos_.data() + t * pairs_, pairs_}, {sin_.data() + t * pairs_, pairs_});
    }
    std::transform(sin_.begin(), sin_.end(), minus_sin_.begin(), [](float sine) { return -sine; });
  }
  // Rotates heads (rows) that stand at a position; the transpose is that of the angle back.
  template <HostBackend B>
  void Rotate(const B& backend, size_t position, MatrixView<float> heads) const {
    RotateBy(backend, sin_, position, heads);
  }
  template <HostBackend B>
  void RotateBack(const B& backend, size_t position, MatrixView<float> heads) const {
    RotateBy(backend, minus_sin_, position, heads);
  }

 private:
  template <HostBackend B>
  void RotateBy(const B& backend, const std::vector<float>& sin, size_t position, MatrixView<float> heads) const {
    const std::span<const float> cosines(cos_.data() + position * pairs_, pairs_);
    const std::span<const float> sines(sin.data() + position * pairs_, pairs_);
    for (size_t h = 0; h < heads.rows(); ++h) backend.RotateHead(cosines, sines, heads[h]);
  }

  size_t pairs_ = 0;
  std::vector<float> cos_, sin_, minus_sin_;
};

// h = up * f(gate), exactly 0 where a zero-making f is 0: the bits of Backend::Glu. All [tokens, ffn].
template <Activation A>
void GluForward(MatrixView<const float> gate, MatrixView<const float> up, MatrixView<float> h) {
  for (size_t t = 0; t < h.rows(); ++t) {
    const float* g = gate.Row(t);
    const float* u = up.Row(t);
    float* y = h.Row(t);
    for (size_t c = 0; c < h.cols(); ++c) {
      const float f = A::Value(g[c]);
      y[c] = A::kMakesZeros && f == 0.0f ? 0.0f : u[c] * f;
    }
  }
}

// gate and up become their gradients: dgate = dh * up * f'(gate), dup = dh * f(gate).
template <Activation A>
void GluBackward(MatrixView<const float> dh, MatrixView<float> gate, MatrixView<float> up) {
  for (size_t t = 0; t < dh.rows(); ++t) {
    const float* d = dh.Row(t);
    float* g = gate.Row(t);
    float* u = up.Row(t);
    for (size_t c = 0; c < dh.cols(); ++c) {
      const float dgate = d[c] * u[c] * A::Derivative(g[c]);
      u[c] = d[c] * A::Value(g[c]);
      g[c] = dgate;
    }
  }
}

}  // namespace bitnet

#endif  // BITNET_TRAIN_ELEMENTWISE_H_
