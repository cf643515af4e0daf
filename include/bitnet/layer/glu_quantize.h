// GluQuantize: the inputs of a second projection, Q(up * A(gate)). A backend may offer it as one operation; where it
// does not, it is composed of the two here. The bits are the same.
#ifndef BITNET_LAYER_GLU_QUANTIZE_H_
#define BITNET_LAYER_GLU_QUANTIZE_H_

#include "bitnet/backend/backend.h"
#include "bitnet/quant/transform.h"
#include "bitnet/scheme/activation.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/operand.h"

namespace bitnet {

// out = Q(up * A(gate)), 0 where A(gate) is: `open` lists the channels elsewhere, as OpenGates does; `up` may hold
// anything where it is closed, and may be changed. Q is not Transformed.
template <Activation A, AnyQuantizer Q, Backend B>
void GluQuantize(const B& backend, typename B::Stream& stream, MatrixView<const float> gate, MatrixView<float> up,
                 const typename B::Lists& open, typename B::template Rows<OperandOf<Q>>& out) {
  if constexpr (requires { backend.template GluQuantize<A, Q>(stream, gate, up, open, out); }) {
    backend.template GluQuantize<A, Q>(stream, gate, up, open, out);
  } else {
    backend.template Glu<A>(stream, gate, up, open, up);
    backend.template Quantize<Q>(stream, up, out);
  }
}

}  // namespace bitnet

#endif  // BITNET_LAYER_GLU_QUANTIZE_H_
