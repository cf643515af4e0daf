// SparseFfn: the gated feed-forward network that computes only what the token needs.
//
//   g = W_gate x
//   u = W_up x               only on the channels whose gate is open, f(g) != 0
//   h = u * f(g)             eq. 5; with an RMSNorm of h after, if there is a sub-layer norm
//   y = W_down Q(h)          only on the channels where Q(h) is not zero
//
// f is the scheme's activation. With one that makes no zeros all products are dense. Inputs that are Transformed are
// T x before Q; T h has no zeros to speak of, so down is dense then.
#ifndef BITNET_LAYER_SPARSE_FFN_H_
#define BITNET_LAYER_SPARSE_FFN_H_

#include <cstddef>
#include <type_traits>
#include <utility>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/default_backend.h"
#include "bitnet/backend/fused_operations.h"
#include "bitnet/backend/uses.h"
#include "bitnet/base/assert.h"
#include "bitnet/layer/norm_quantize.h"
#include "bitnet/layer/rms_norm.h"
#include "bitnet/layer/transform_inputs.h"
#include "bitnet/layer/weight_use.h"
#include "bitnet/scheme/scheme.h"
#include "bitnet/tensor/operand.h"
#include "bitnet/tensor/quantized_matrix.h"

namespace bitnet {

template <Scheme S, Backend B>
struct FfnBuffers {
  typename B::template Rows<OperandOf<typename S::Input>> inputs;
  typename B::Reals gate, up, transformed;
  typename B::Lists open;
  typename B::template Rows<OperandOf<typename S::DownInput>> down_inputs;
};

template <Scheme S, Backend B = DefaultBackend<S>>
class SparseFfn {
  using Act = typename S::FfnActivation;
  static constexpr bool kDownSeesZeros = Act::kMakesZeros && kTransformsNothing<typename S::DownInput>;

 public:
  using UpUses = std::conditional_t<Act::kMakesZeros, Uses<ChosenRows>, Uses<Dense>>;
  using DownUses = std::conditional_t<kDownSeesZeros, Uses<ChosenColumns>, Uses<Dense>>;
  using GateMatrix =
      typename B::template Matrix<OperandOf<typename S::Weight>, OperandOf<typename S::Input>, Uses<Dense>>;
  using UpMatrix = typename B::template Matrix<OperandOf<typename S::Weight>, OperandOf<typename S::Input>, UpUses>;
  using DownMatrix =
      typename B::template Matrix<OperandOf<typename S::Weight>, OperandOf<typename S::DownInput>, DownUses>;
  using Weights = QuantizedMatrix<typename S::Weight::Format>;
  using Inputs = typename B::template Rows<OperandOf<typename S::Input>>;
  using Stream = typename B::Stream;
  using Buffers = FfnBuffers<S, B>;

  // Matrices gate and up [ffn, hidden], down [hidden, ffn]. Of a sub-layer norm without gains there is none.
  SparseFfn(GateMatrix gate, UpMatrix up, DownMatrix down, RmsNorm<B> sub_norm)
      : gate_(std::move(gate)), up_(std::move(up)), down_(std::move(down)), sub_norm_(std::move(sub_norm)) {
    BITNET_ASSERT(up_.rows() == gate_.rows() && up_.cols() == gate_.cols() && down_.cols() == gate_.rows() &&
                      down_.rows() == gate_.cols(),
                  "SparseFfn: the projections' shapes do not agree");
    BITNET_ASSERT(sub_norm_.width() == 0 || sub_norm_.width() == down_.cols(),
                  "SparseFfn: the sub-layer norm must have ffn gains, or none");
  }
  // Of weights in S's format, which need not outlive the call.
  SparseFfn(const Weights& gate, const Weights& up, const Weights& down, RmsNorm<B> sub_norm, const B& backend)
      : SparseFfn(PrepareGate(gate, backend), PrepareUp(up, backend), PrepareDown(down, backend), std::move(sub_norm)) {
  }

  static GateMatrix PrepareGate(const Weights& weights, const B& backend) {
    return backend.template PrepareMatrix<OperandOf<typename S::Weight>, OperandOf<typename S::Input>, Uses<Dense>>(
        weights);
  }
  static UpMatrix PrepareUp(const Weights& weights, const B& backend) {
    return backend.template PrepareMatrix<OperandOf<typename S::Weight>, OperandOf<typename S::Input>, UpUses>(weights);
  }
  static DownMatrix PrepareDown(const Weights& weights, const B& backend) {
    return backend.template PrepareMatrix<OperandOf<typename S::Weight>, OperandOf<typename S::DownInput>, DownUses>(
        weights);
  }

  // y [tokens, hidden] of x [tokens, hidden] (normed). Adds to *use, if given.
  void operator()(const B& backend, Stream& stream, MatrixView<const float> x, Buffers& buffers, MatrixView<float> y,
                  WeightUse* use) const {
    backend.template Quantize<Untransformed<typename S::Input>>(
        stream, TransformInputs<typename S::Input>(backend, stream, x, buffers.transformed), buffers.inputs);
    (*this)(backend, stream, buffers.inputs, buffers, y, use);
  }
  // The same of inputs that S::Input has quantized.
  void operator()(const B& backend, Stream& stream, Inputs& x, Buffers& buffers, MatrixView<float> y,
                  WeightUse* use) const {
    Run<false>(backend, stream, x, buffers, nullptr, y, use);
  }
  // y += that; `memory` for what is added.
  void AddTo(const B& backend, Stream& stream, Inputs& x, Buffers& buffers, typename B::Reals& memory,
             MatrixView<float> y, WeightUse* use) const {
    Run<true>(backend, stream, x, buffers, &memory, y, use);
  }

  size_t WeightBytes() const { return gate_.StoredBytes() + up_.StoredBytes() + down_.StoredBytes(); }
  size_t NormWidth() const { return sub_norm_.width(); }

 private:
  template <bool kAdds>
  void Run(const B& backend, Stream& stream, Inputs& x, Buffers& buffers, [[maybe_unused]] typename B::Reals* memory,
           MatrixView<float> y, WeightUse* use) const {
    const size_t tokens = y.rows();
    const MatrixView<float> gate = backend.Shape(stream, buffers.gate, tokens, gate_.rows());
    const MatrixView<float> up = backend.Shape(stream, buffers.up, tokens, up_.rows());
    backend.MatMul(stream, gate_, x, gate);
    backend.template OpenGates<Act>(stream, gate, buffers.open);
    if constexpr (Act::kMakesZeros) {
      backend.MatMulRows(stream, up_, x, buffers.open, up);
    } else {
      backend.MatMul(stream, up_, x, up);
    }
    using DownInput = typename S::DownInput;
    if (sub_norm_.width() != 0) {
      backend.template Glu<Act>(stream, gate, up, buffers.open, up);
      NormQuantize<DownInput>(backend, stream, sub_norm_, up, buffers.transformed, buffers.down_inputs);
    } else if constexpr (kTransformsNothing<DownInput>) {
      GluQuantize<Act, Untransformed<DownInput>>(backend, stream, gate, up, buffers.open, buffers.down_inputs);
    } else {
      backend.template Glu<Act>(stream, gate, up, buffers.open, up);
      backend.template Quantize<Untransformed<DownInput>>(
          stream, TransformInputs<DownInput>(backend, stream, up, buffers.transformed), buffers.down_inputs);
    }
    if constexpr (kDownSeesZeros) {
      backend.FindNonzero(stream, buffers.down_inputs);
      if constexpr (kAdds) {
        MatMulColumnsAdd(backend, stream, down_, buffers.down_inputs, *memory, y);
      } else {
        backend.MatMulColumns(stream, down_, buffers.down_inputs, y);
      }
    } else if constexpr (kAdds) {
      MatMulAdd(backend, stream, down_, buffers.down_inputs, *memory, y);
    } else {
      backend.MatMul(stream, down_, buffers.down_inputs, y);
    }
    if (use != nullptr) {
      use->gate.AddDense(backend.CountNonzero(stream, x), tokens, gate_.cols(), gate_.rows());
      use->up.AddRows(backend.CountNonzero(stream, x, buffers.open), tokens, up_.cols(), up_.rows());
      use->down.AddDense(backend.CountNonzero(stream, buffers.down_inputs), tokens, down_.cols(), down_.rows());
    }
  }

  GateMatrix gate_;
  UpMatrix up_;
  DownMatrix down_;
  RmsNorm<B> sub_norm_;
};

}  // namespace bitnet

#endif  // BITNET_LAYER_SPARSE_FFN_H_
