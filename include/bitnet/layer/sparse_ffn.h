// SparseFfn: the gated feed-forward network that computes only what the token needs.
//
//   g = W_gate x
//   u = W_up x               only on the channels whose gate is open, f(g) != 0
//   h = u * f(g)             eq. 5; with an RMSNorm of h after, if the scheme has sub-layer norms
//   y = W_down Q(h)          only on the channels where Q(h) is not zero
//
// f is the scheme's activation. With one that makes no zeros all products are dense.
#ifndef BITNET_LAYER_SPARSE_FFN_H_
#define BITNET_LAYER_SPARSE_FFN_H_

#include <cstddef>

#include "bitnet/layer/bit_linear.h"
#include "bitnet/layer/rms_norm.h"
#include "bitnet/layer/weight_use.h"
#include "bitnet/scheme/scheme.h"
#include "bitnet/tensor/growing_matrix.h"

namespace bitnet {

template <Scheme S>
struct FfnBuffers {
  QuantizedTokens<typename S::Input::Format> input;
  GrowingMatrix gate, up;
  ChannelLists open;
  QuantizedTokens<typename S::DownInput::Format> down_input;
};

template <Scheme S, class B = DefaultBackend<S>>
class SparseFfn {
 public:
  using Projection = BitLinear<typename S::Weight, typename S::Input, B>;
  using DownProjection = BitLinear<typename S::Weight, typename S::DownInput, B>;

  using Weights = typename Projection::Weights;

  // Weights gate and up [ffn, hidden], down [hidden, ffn]; they need not outlive the call. The gain of the sub-layer
  // norm is empty unless S has one.
  SparseFfn(const Weights& gate, const Weights& up, const Weights& down, RmsNorm sub_norm, const B& backend)
      : gate_(gate, backend),
        up_(up, backend, S::FfnActivation::kMakesZeros ? Access::kRows : Access::kDense),
        down_(down, backend, S::FfnActivation::kMakesZeros ? Access::kColumns : Access::kDense),
        sub_norm_(std::move(sub_norm)) {
    BITNET_ASSERT(up.rows() == gate.rows() && up.cols() == gate.cols() && down.cols() == gate.rows() &&
                      down.rows() == gate.cols(),
                  "SparseFfn: the projections' shapes do not agree");
  }

  // y [tokens, hidden] of x [tokens, hidden] (normed). Adds to *use, if given.
  void operator()(const B& backend, MatrixView<const float> x, FfnBuffers<S>& buffers, MatrixView<float> y,
                  WeightUse* use) const {
    using Act = typename S::FfnActivation;
    const size_t tokens = x.rows();
    backend.template Quantize<typename S::Input>(x, buffers.input);
    gate_.PrepareInputs(buffers.input);
    const MatrixView<float> gate = buffers.gate.Shape(tokens, gate_.rows());
    const MatrixView<float> up = buffers.up.Shape(tokens, up_.rows());
    gate_.Apply(buffers.input, gate);
    backend.template OpenGates<Act>(gate, buffers.open);
    if constexpr (Act::kMakesZeros) {
      up_.ApplyRows(buffers.input, buffers.open, up);
    } else {
      up_.Apply(buffers.input, up);
    }
    backend.template Glu<Act>(gate, up, buffers.open, up);
    if constexpr (S::kSubLayerNorms) sub_norm_(backend, up, up);

    backend.template Quantize<typename S::DownInput>(up, buffers.down_input);
    if constexpr (Act::kMakesZeros) {
      backend.FindNonzero(buffers.down_input);
      down_.ApplyColumns(buffers.down_input, y);
    } else {
      down_.PrepareInputs(buffers.down_input);
      down_.Apply(buffers.down_input, y);
    }
    if (use != nullptr) {
      use->gate.AddDense(buffers.input, gate_.rows());
      use->up.AddRows(buffers.input, buffers.open, up_.rows());
      use->down.AddDense(buffers.down_input, down_.rows());
    }
  }

  size_t WeightBytes() const {
    return gate_.matrix().StoredBytes() + up_.matrix().StoredBytes() + down_.matrix().StoredBytes();
  }
  size_t sub_norm_width() const { return sub_norm_.width(); }

 private:
  Projection gate_, up_;
  DownProjection down_;
  RmsNorm sub_norm_;
};

}  // namespace bitnet

#endif  // BITNET_LAYER_SPARSE_FFN_H_
