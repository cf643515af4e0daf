// RMSNorm of rows, and RMSNorm with the quantizer that follows it in one launch.
#ifndef BITNET_BACKEND_CUDA_NORM_H_
#define BITNET_BACKEND_CUDA_NORM_H_

#include <cstddef>
#include <cstdint>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/held_row.h"
#include "bitnet/backend/cuda/long_sum.h"
#include "bitnet/backend/cuda/quantize.h"
#include "bitnet/backend/cuda/scratch.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/backend/definitions.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/operand.h"

namespace bitnet::cuda {

// norm(x) * gain (held_row.h).
struct NormSource {
  // (Where it may have 128 registers, ptxas for sm_80 loads so much ahead that it keeps 60 to 260 bytes in memory.)
  template <unsigned kThreads>
  static constexpr unsigned kMinBlocks = kThreads == 128 ? 5 : 0;
  template <unsigned kThreads>
  struct Shared {
    LongSumShared<kThreads> sum;
    float inverse_rms;
  };
  struct OfRow {
    const float* x;
    const float* gain;
    float eps;
    float inverse_rms;

    BITNET_DEVICE float Normed(float value, uint32_t column) const { return (value * inverse_rms) * gain[column]; }
    BITNET_DEVICE float operator()(uint32_t column) const { return Normed(x[column], column); }

    template <class Device, unsigned kThreads>
    BITNET_DEVICE void Begin(Device& d, Shared<kThreads>& shared, HeldRow<kThreads>& held) {
      const PlainSource::OfRow plain{x};
      held.LoadWhole(plain);
      LongSum<kThreads> squares;
      held.EachPart(plain, [&](uint32_t) {
        double chain = 0.0;
        BITNET_UNROLL
        for (const float value : held.values) chain += static_cast<double>(value) * static_cast<double>(value);
        squares.Add(d, shared.sum, chain);
      });
      const double sum = squares.Total(d, shared.sum);
      if (d.thread() == 0) shared.inverse_rms = InverseRms(sum, held.cols(), eps);
      d.Barrier();
      inverse_rms = shared.inverse_rms;
      if (held.cols() > HeldRow<kThreads>::kPart) return;
      BITNET_UNROLL
      for (unsigned j = 0; j < HeldRow<kThreads>::kHeld; ++j) {
        const uint32_t column = held.Column(0, j);
        if (column < held.cols()) held.values[j] = Normed(held.values[j], column);
      }
    }
  };
  ConstReals x;
  const float* gain;
  float eps;

  BITNET_DEVICE OfRow Of(size_t row, uint32_t begin) const { return {x.Row(row) + begin, gain + begin, eps, 0.0f}; }
};

template <unsigned kThreadsOfBlock>
struct RmsNormKernel {
  static constexpr unsigned kThreads = kThreadsOfBlock;
  using Held = HeldRow<kThreads>;
  using Shared = NormSource::Shared<kThreads>;

  NormSource source;
  Reals y;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    const size_t row = d.block();
    auto at = source.Of(row, 0);
    Held held(d.thread(), static_cast<uint32_t>(y.cols));
    at.Begin(d, shared, held);
    float* to = y.Row(row);
    held.EachPart(at, [&](uint32_t part) {
      BITNET_UNROLL
      for (unsigned j = 0; j < Held::kHeld; ++j) {
        if (held.Column(part, j) < held.cols()) to[held.Column(part, j)] = held.values[j];
      }
    });
  }
};

// y = norm(x) * gain, row by row; y may be x.
template <class Stream>
void RmsNorm(Stream& stream, const ConstReals& x, const float* gain, float eps, const Reals& y) {
  if (y.rows == 0 || y.cols == 0) return;
  WithThreadsFor(y.cols, [&]<unsigned kThreads>() {
    stream.Launch(RmsNormKernel<kThreads>{{x, gain, eps}, y}, Grid{static_cast<unsigned>(y.rows), 1});
  });
}

// out = Q(norm(x) * gain), row by row; with `is_listed` the columns of the levels that are not zero too. (Where groups
// have steps of their own, by two launches.)
template <AnyQuantizer Q, class Stream>
void RmsNormQuantize(Stream& stream, const ConstReals& x, const float* gain, float eps,
                     const RowsView<OperandOf<Q>>& out, bool is_listed = false) {
  static_assert(kQuantizesOnDevice<Q>);
  if constexpr (kIsGrouped<OperandOf<Q>>) {
    float* normed = stream.template Scratch<float>(ScratchSlot::kQuantize, x.rows * x.cols);
    const MatrixView<float> y(normed, x.rows, x.cols);
    RmsNorm(stream, x, gain, eps, y);
    Quantize<Q>(stream, MatrixView<const float>(y), out, is_listed);
  } else {
    detail::QuantizeRows<Q, false>(stream, NormSource{x, gain, eps}, 0, out, is_listed);
  }
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_NORM_H_
