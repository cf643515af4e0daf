// TransformInputs: what a quantizer of a scheme quantizes, T x; x itself where it transforms nothing.
#ifndef BITNET_LAYER_TRANSFORM_INPUTS_H_
#define BITNET_LAYER_TRANSFORM_INPUTS_H_

#include "bitnet/backend/backend.h"
#include "bitnet/quant/transform.h"
#include "bitnet/tensor/matrix_view.h"

namespace bitnet {

// T x of x [rows, width], in `memory`, or x; Backend::Quantize<Untransformed<Q>> comes next.
template <AnyQuantizer Q, Backend B>
MatrixView<const float> TransformInputs(const B& backend, typename B::Stream& stream, MatrixView<const float> x,
                                        typename B::Reals& memory) {
  if constexpr (kTransformsNothing<Q>) {
    return x;
  } else {
    const MatrixView<float> y = backend.Shape(stream, memory, x.rows(), x.cols());
    backend.template Transform<TransformOf<Q>>(stream, x, y);
    return y;
  }
}

}  // namespace bitnet

#endif  // BITNET_LAYER_TRANSFORM_INPUTS_H_
