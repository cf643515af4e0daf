// An activation function of one's own in the gated FFN: a shifted squared ReLU, which opens fewer gates. Because it
// makes exact zeros and says so, `up` and `down` skip them without another line.
#include <bitnet/bitnet.h>

#include <cstdio>
#include <vector>

struct ShiftedSquaredRelu {
  static constexpr float kShift = 0.5f;
  static constexpr bool kMakesZeros = true;
  static float Value(float g) { return g <= kShift ? 0.0f : (g - kShift) * (g - kShift); }
  static float Derivative(float g) { return g <= kShift ? 0.0f : 2.0f * (g - kShift); }
};

struct Shifted : bitnet::A48 {
  static constexpr const char* kName = "shifted";
  using FfnActivation = ShiftedSquaredRelu;
};

struct Smooth : bitnet::A48 {
  static constexpr const char* kName = "SiLU";
  using FfnActivation = bitnet::Silu;  // makes no zeros: everything is computed
};

template <bitnet::Scheme S>
void Report(const char* name) {
  constexpr size_t kHidden = 256, kFfn = 704;
  bitnet::Random random(3);
  using Weights = bitnet::QuantizedMatrix<typename S::Weight::Format>;
  const auto weights = [&](size_t rows, size_t cols) {
    std::vector<float> values(rows * cols);
    for (float& v : values) v = 0.1f * bitnet::Normal(random);
    return Weights::template Quantize<typename S::Weight>(bitnet::MatrixView<const float>(values.data(), rows, cols));
  };
  const Weights gate = weights(kFfn, kHidden), up = weights(kFfn, kHidden), down = weights(kHidden, kFfn);

  bitnet::SimdBackend backend;
  const bitnet::SparseFfn<S> ffn(gate, up, down, {}, backend);
  typename bitnet::SparseFfn<S>::Buffers buffers;
  bitnet::SimdBackend::Stream stream = backend.NewStream();
  bitnet::WeightUse use;
  std::vector<float> x(kHidden), y(kHidden);
  for (float& v : x) v = bitnet::Normal(random);
  ffn(backend, stream, bitnet::MatrixView<const float>(x.data(), 1, kHidden), buffers,
      bitnet::MatrixView<float>(y.data(), 1, kHidden), &use);
  std::printf("%-20s weights not needed: gate %4.1f %%, up %4.1f %%, down %4.1f %%\n", name, use.gate.Sparsity(),
              use.up.Sparsity(), use.down.Sparsity());
}

int main() {
  Report<bitnet::A48>("squared ReLU");
  Report<Shifted>("shifted by 0.5");
  Report<Smooth>("SiLU");
}
