// NormQuantize: the inputs of a block, Q(norm(x)), or Q(T norm(x)) of a Transformed quantizer. A backend may offer it
// as one operation (`RmsNormQuantize`); where it does not, it is composed of the two here. The bits are the same.
#ifndef BITNET_LAYER_NORM_QUANTIZE_H_
#define BITNET_LAYER_NORM_QUANTIZE_H_

#include "bitnet/backend/backend.h"
#include "bitnet/backend/fused_operations.h"
#include "bitnet/layer/rms_norm.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/quant/transform.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/operand.h"

namespace bitnet {

// out = Q(norm(x)) for x [tokens, width]; `normed` is memory for what lies between.
template <AnyQuantizer Q, Backend B>
void NormQuantize(const B& backend, typename B::Stream& stream, const RmsNorm<B>& norm, MatrixView<const float> x,
                  typename B::Reals& normed, typename B::template Rows<OperandOf<Q>>& out) {
  using Plain = Untransformed<Q>;
  if constexpr (kTransformsNothing<Q> && FusesNormWith<B, Plain>) {
    backend.template RmsNormQuantize<Plain>(stream, x, norm.gain(), norm.eps(), out);
  } else {
    const MatrixView<float> y = backend.Shape(stream, normed, x.rows(), x.cols());
    norm(backend, stream, x, y);
    if constexpr (!kTransformsNothing<Q>) backend.template Transform<TransformOf<Q>>(stream, y, y);
    backend.template Quantize<Plain>(stream, y, out);
  }
}

}  // namespace bitnet

#endif  // BITNET_LAYER_NORM_QUANTIZE_H_
