// GpuWithDrawnGates: CudaBackend, whose gates and inputs of `down` have a sparsity that is given, as benchmarks/
// drawn_gates.h does on a CPU.
#ifndef BITNET_BENCHMARKS_CUDA_DRAWN_GATES_CUH_
#define BITNET_BENCHMARKS_CUDA_DRAWN_GATES_CUH_

#include <cstddef>
#include <memory>
#include <vector>

#include "benchmarks/cuda/gpu.cuh"
#include "bitnet/cuda.h"

namespace bitnet::cuda_bench {

class GpuWithDrawnGates : public CudaBackend {
 public:
  // For up to so many tokens a pass: `closed` of the gates are below zero; more are so little above it that at least
  // `down_zeros` of the inputs of down are quantized to zero.
  GpuWithDrawnGates(const CudaBackend& backend, size_t tokens, size_t ffn, double closed, double down_zeros)
      : CudaBackend(backend), tokens_(tokens), ffn_(ffn) {
    Random random(4);
    std::vector<float> values(tokens * ffn);
    for (float& gate : values) {
      const double drawn = UniformReal(random);
      gate = drawn < closed ? -1.0f : drawn < down_zeros ? 1e-6f : 1.0f;
    }
    values_ = std::make_shared<DeviceArray<float>>(values);
  }

  template <Activation A>
  void OpenGates(Stream& stream, MatrixView<const float> gate, Lists& open) const {
    CudaBackend::OpenGates<A>(stream, DrawnGates(gate), open);
  }
  template <Activation A>
  void Glu(Stream& stream, MatrixView<const float> gate, MatrixView<const float> up, const Lists& open,
           MatrixView<float> y) const {
    CudaBackend::Glu<A>(stream, DrawnGates(gate), up, open, y);
  }
  template <Activation A, AnyQuantizer Q>
  void GluQuantize(Stream& stream, MatrixView<const float> gate, MatrixView<float> up, const Lists& open,
                   Rows<OperandOf<Q>>& out) const requires requires(const CudaBackend& backend) {
    backend.GluQuantize<A, Q>(stream, gate, up, open, out);
  }
  { CudaBackend::GluQuantize<A, Q>(stream, DrawnGates(gate), up, open, out); }

 private:
  MatrixView<const float> DrawnGates(MatrixView<const float> gate) const {
    BITNET_ASSERT(gate.cols() == ffn_ && gate.rows() <= tokens_, "GpuWithDrawnGates: of another shape");
    return {values_->data(), gate.rows(), ffn_};
  }

  size_t tokens_;
  size_t ffn_;
  std::shared_ptr<DeviceArray<float>> values_;  // backends are copied
};

static_assert(Backend<GpuWithDrawnGates>);

}  // namespace bitnet::cuda_bench

#endif  // BITNET_BENCHMARKS_CUDA_DRAWN_GATES_CUH_
