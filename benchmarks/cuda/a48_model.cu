// a4.8 with INT4 inputs and the paper's sparsities.
#include <memory>

#include "benchmarks/cuda/drawn_gates.cuh"
#include "benchmarks/cuda/transformer_model.cuh"

namespace bitnet::cuda_bench {

std::unique_ptr<MeasuredModel> MakeA48Model(const ModelShape& shape) {
  const GpuWithDrawnGates backend(*CudaBackend::Create(), kTokensOfPass, shape.config.ffn, shape.closed_gates,
                                  shape.down_zeros);
  return std::make_unique<TransformerModel<WithInt4Head<A48>, GpuWithDrawnGates>>(shape.config, backend);
}

}  // namespace bitnet::cuda_bench
