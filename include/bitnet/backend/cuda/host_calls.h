// Operations of a user's own types whose functions a device cannot call: what they work on goes to the host and back,
// within the stream. Slow, and DescribeProduct's neighbours say so; a type that declares kRunsOnDevice, its functions
// marked BITNET_HOST_DEVICE, runs in kernels instead.
#ifndef BITNET_BACKEND_CUDA_HOST_CALLS_H_
#define BITNET_BACKEND_CUDA_HOST_CALLS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "bitnet/backend/cuda/objects.h"
#include "bitnet/backend/cuda/stream.h"
#include "bitnet/backend/definitions.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/quant/top_k.h"
#include "bitnet/quant/transform.h"
#include "bitnet/scheme/activation.h"
#include "bitnet/tensor/matrix_view.h"

namespace bitnet::cuda {

// x on the host, in rows that follow each other; null after a fault.
template <Machine M>
float* StageReals(Stream<M>& stream, MatrixView<const float> x) {
  auto* staged = reinterpret_cast<float*>(stream.Stage(ElementCount<float>(x.rows(), x.cols()) * sizeof(float)));
  if (staged == nullptr) return nullptr;
  if (x.IsContiguous()) {
    stream.Copy(staged, x.data(), x.rows() * x.cols() * sizeof(float));
  } else {
    for (size_t r = 0; r < x.rows(); ++r) stream.Copy(staged + r * x.cols(), x.Row(r), x.cols() * sizeof(float));
  }
  return staged;
}
template <Machine M>
void UnstageReals(Stream<M>& stream, const float* staged, MatrixView<float> y) {
  if (y.IsContiguous()) {
    stream.Copy(y.data(), staged, y.rows() * y.cols() * sizeof(float));
  } else {
    for (size_t r = 0; r < y.rows(); ++r) stream.Copy(y.Row(r), staged + r * y.cols(), y.cols() * sizeof(float));
  }
}

// out = Q(x); with k > 0 only the k largest magnitudes of each row keep their level.
template <AnyQuantizer Q>
struct QuantizeCall {
  using Level = LevelOf<typename Q::Format>;
  const float* x;
  Level* levels;
  float* steps;
  size_t rows, cols, stride, group, groups, k;

  void operator()() const {
    std::fill(levels, levels + rows * stride, Level{});
    for (size_t r = 0; r < rows; ++r) {
      const std::span<const float> row(x + r * cols, cols);
      Level* to = levels + r * stride;
      // (A row without columns has a step all the same.)
      for (size_t begin = 0, g = 0; g < groups && (begin < cols || g == 0); begin += group, ++g) {
        const size_t size = group == 0 ? cols : std::min(group, cols - begin);
        steps[r * groups + g] = Q::Quantize(row.subspan(begin, size), to + begin);
      }
      if (k == 0) continue;
      TopKThreshold threshold = FindTopK(row, k);
      for (size_t c = 0; c < cols; ++c) {
        if (!KeepNext(threshold, row[c])) to[c] = Level{};
      }
    }
  }
};

template <AnyQuantizer Q, Machine M>
void QuantizeOnHost(Stream<M>& stream, MatrixView<const float> x, size_t k, const RowsView<OperandOf<Q>>& out) {
  using Level = LevelOf<typename Q::Format>;
  if (x.rows() == 0) return;
  const size_t levels_bytes = out.rows * out.stride * sizeof(Level);
  const size_t steps_bytes = size_t{out.rows} * out.groups * sizeof(float);
  const float* staged = StageReals(stream, x);
  auto* levels = reinterpret_cast<Level*>(stream.Stage(levels_bytes));
  auto* steps = reinterpret_cast<float*>(stream.Stage(steps_bytes));
  if (staged == nullptr || levels == nullptr || steps == nullptr) return;
  stream.CallHost(QuantizeCall<Q>{staged, levels, steps, out.rows, out.cols, out.stride,
                                  kGroupSize<typename Q::Granularity>, out.groups, k});
  stream.Copy(out.levels, levels, levels_bytes);
  stream.Copy(out.steps, steps, steps_bytes);
}

// y = T x, row by row.
template <AnyTransform T, Machine M>
void TransformOnHost(Stream<M>& stream, MatrixView<const float> x, MatrixView<float> y) {
  struct Call {
    float* x;
    size_t rows, cols;
    void operator()() const {
      for (size_t r = 0; r < rows; ++r) T::Apply({x + r * cols, cols});
    }
  };
  if (x.rows() == 0 || x.cols() == 0) return;
  float* staged = StageReals(stream, x);
  if (staged == nullptr) return;
  stream.CallHost(Call{staged, x.rows(), x.cols()});
  UnstageReals(stream, staged, y);
}

// An activation's values instead of its gates: what is left of A on the device.
template <Activation A>
struct Activated {
  static constexpr bool kRunsOnDevice = true;
  static constexpr bool kMakesZeros = A::kMakesZeros;
  BITNET_HOST_DEVICE static float Value(float activated) { return activated; }
  static float Derivative(float) { return 1.0f; }
};

// A::Value of each gate, in memory of the stream; the empty view after a fault.
template <Activation A, Machine M>
MatrixView<const float> ActivateOnHost(Stream<M>& stream, MatrixView<const float> gate) {
  struct Call {
    float* x;
    size_t count;
    void operator()() const {
      for (size_t i = 0; i < count; ++i) x[i] = A::Value(x[i]);
    }
  };
  auto* values = stream.template Scratch<float>(ScratchSlot::kValues, gate.rows() * gate.cols());
  const MatrixView<float> activated(values, gate.rows(), gate.cols());
  if (gate.rows() == 0 || gate.cols() == 0) return activated;
  float* staged = StageReals(stream, gate);
  if (staged == nullptr) return activated;
  stream.CallHost(Call{staged, gate.rows() * gate.cols()});
  UnstageReals(stream, staged, activated);
  return activated;
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_HOST_CALLS_H_
