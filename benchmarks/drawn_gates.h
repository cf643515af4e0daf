// DrawnGates: the SIMD backend, whose gates and inputs of `down` have a sparsity that is given. Made-up weights open
// half of the gates; training opens a third, and leaves few of the products above zero.
#ifndef BITNET_BENCHMARKS_DRAWN_GATES_H_
#define BITNET_BENCHMARKS_DRAWN_GATES_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "bitnet/bitnet.h"

namespace bitnet {

// Gates [tokens, ffn] take the place of those that were computed: `closed` of them are below zero; more are so little
// above it that at least `down_zeros` of the inputs of down are quantized to zero.
class DrawnGates : public SimdBackend {
 public:
  DrawnGates(Executor& executor, size_t tokens, size_t ffn, double closed, double down_zeros)
      : SimdBackend(executor), values_(std::make_shared<std::vector<float>>(tokens * ffn)), ffn_(ffn) {
    Random random(4);
    for (float& gate : *values_) {
      const double drawn = UniformReal(random);
      gate = drawn < closed ? -1.0f : drawn < down_zeros ? 1e-6f : 1.0f;
    }
  }

  template <Activation A>
  void OpenGates(Stream& stream, MatrixView<const float> gate, Lists& open) const {
    SimdBackend::OpenGates<A>(stream, Drawn(gate), open);
  }
  template <Activation A>
  void Glu(Stream& stream, MatrixView<const float> gate, MatrixView<const float> up, const Lists& open,
           MatrixView<float> y) const {
    SimdBackend::Glu<A>(stream, Drawn(gate), up, open, y);
  }

 private:
  MatrixView<const float> Drawn(MatrixView<const float> gate) const {
    BITNET_ASSERT(gate.cols() == ffn_ && gate.rows() * ffn_ <= values_->size(), "DrawnGates: of another shape");
    return {values_->data(), gate.rows(), ffn_};
  }

  std::shared_ptr<std::vector<float>> values_;  // backends are copied
  size_t ffn_;
};

static_assert(Backend<DrawnGates>);

}  // namespace bitnet

#endif  // BITNET_BENCHMARKS_DRAWN_GATES_H_
