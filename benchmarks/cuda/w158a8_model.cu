// W1.58A8: ternary weights, 8-bit inputs, all products dense, an 8-bit cache; embedding and head as a4.8's, so that the
// two differ by what a4.8 adds.
#include <memory>

#include "benchmarks/cuda/transformer_model.cuh"

namespace bitnet::cuda_bench {
namespace {

// relu(g)^2 by which no product is skipped: dense, as models before a4.8 are run.
struct DenseSquaredRelu : SquaredRelu {
  static constexpr bool kMakesZeros = false;
};

struct W158A8 : WithInt8Cache<WithInt4Head<B158>> {
  static constexpr const char* kName = "W158A8";
  using FfnActivation = DenseSquaredRelu;
};

}  // namespace

std::unique_ptr<MeasuredModel> MakeW158A8Model(const ModelShape& shape) {
  return std::make_unique<TransformerModel<W158A8, CudaBackend>>(shape.config, *CudaBackend::Create());
}

}  // namespace bitnet::cuda_bench
