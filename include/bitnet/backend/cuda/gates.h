// The gates of a gated FFN: which are open, and h = up * activation(gate) where they are (eq. 5), 0 elsewhere.
//
// Activations whose Value a kernel can call say so (`kRunsOnDevice`, scheme/activation.h). Glu asks them again which
// gates are open, so that all threads have a part of it: the list is for products, which OpenGates makes.
#ifndef BITNET_BACKEND_CUDA_GATES_H_
#define BITNET_BACKEND_CUDA_GATES_H_

#include <cstddef>
#include <cstdint>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/elementwise.h"
#include "bitnet/backend/cuda/held_row.h"
#include "bitnet/backend/cuda/lists.h"
#include "bitnet/backend/cuda/quantize.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/scheme/activation.h"
#include "bitnet/tensor/operand.h"

namespace bitnet::cuda {

// Whether kernels call A::Value.
template <class A>
inline constexpr bool kActivatesOnDevice = false;
template <class A>
requires requires { requires A::kRunsOnDevice; }
inline constexpr bool kActivatesOnDevice<A> = true;

// Whether a gate is open, whose activation is f.
template <Activation A>
BITNET_DEVICE bool IsOpen(float f) {
  return !A::kMakesZeros || f != 0.0f;
}

// up * activation(gate), +0 where the gate is closed, whatever `up` holds there.
template <Activation A>
BITNET_DEVICE float Gated(float gate, float up) {
  const float f = A::Value(gate);
  return IsOpen<A>(f) ? up * f : 0.0f;
}

template <Activation A, unsigned kThreadsOfBlock>
struct OpenGatesKernel {
  static constexpr unsigned kThreads = kThreadsOfBlock;
  using Held = HeldRow<kThreads>;
  using Shared = OrderShared<kThreads>;

  ConstReals gate;
  ListsView open;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    const size_t row = d.block();
    const PlainSource::OfRow at{gate.Row(row)};
    Held held(d.thread(), open.width);
    held.LoadWhole(at);
    uint32_t count = 0;
    held.EachPart(at, [&](uint32_t part) {
      uint32_t flags = 0;
      BITNET_UNROLL
      for (unsigned j = 0; j < Held::kHeld; ++j) {
        if (held.Column(part, j) < held.cols() && IsOpen<A>(A::Value(held.values[j]))) flags |= 1u << j;
      }
      count = EachInOrder<kThreads>(d, shared, part, flags, count,
                                    [&](unsigned j, uint32_t rank) { open.Row(row)[rank] = held.Column(part, j); });
    });
    if (d.thread() == 0) open.counts[row] = count;
  }
};

// Lists the channels where the activation of the gate is not zero, if it makes zeros. (If not: ListAll.)
template <Activation A, class Stream>
void OpenGates(Stream& stream, const ConstReals& gate, const ListsView& open) {
  static_assert(kActivatesOnDevice<A> && A::kMakesZeros);
  if (open.tokens == 0) return;
  WithThreadsFor(open.width, [&]<unsigned kThreads>() {
    stream.Launch(OpenGatesKernel<A, kThreads>{gate, open}, Grid{open.tokens, 1});
  });
}

template <Activation A>
struct GluOf {
  ConstReals gate;
  ConstReals up;
  Reals y;
  BITNET_DEVICE void operator()(size_t row, size_t column) const {
    y.Row(row)[column] = Gated<A>(gate.Row(row)[column], up.Row(row)[column]);
  }
};

// y = up * activation(gate) where a gate is open, 0 elsewhere; y may be up. `open` as OpenGates lists them.
template <Activation A, class Stream>
void Glu(Stream& stream, const ConstReals& gate, const ConstReals& up, const ListsView& /*open*/, const Reals& y) {
  static_assert(kActivatesOnDevice<A>);
  EachElement(stream, y.rows, y.cols, GluOf<A>{gate, up, y});
}

// The same as what a quantizer reads (held_row.h).
template <Activation A>
struct GluSource {
  template <unsigned kThreads>
  static constexpr unsigned kMinBlocks = PlainSource::kMinBlocks<kThreads>;
  template <unsigned kThreads>
  using Shared = NoShared;
  struct OfRow {
    const float* gate;
    const float* up;
    BITNET_DEVICE float operator()(uint32_t column) const { return Gated<A>(gate[column], up[column]); }
    template <class Device, class Held>
    BITNET_DEVICE void Begin(Device&, NoShared&, Held& held) {
      held.LoadWhole(*this);
    }
  };
  ConstReals gate;
  ConstReals up;

  BITNET_DEVICE OfRow Of(size_t row, uint32_t begin) const { return {gate.Row(row) + begin, up.Row(row) + begin}; }
};

// out = Q(Glu(gate, up)), in one launch, for quantizers with one step a row; with `is_listed` the columns of the levels
// that are not zero too.
template <Activation A, AnyQuantizer Q, class Stream>
void GluQuantize(Stream& stream, const ConstReals& gate, const ConstReals& up, const RowsView<OperandOf<Q>>& out,
                 bool is_listed = false) {
  static_assert(kActivatesOnDevice<A> && kQuantizesOnDevice<Q> && !kIsGrouped<OperandOf<Q>>);
  detail::QuantizeRows<Q, false>(stream, GluSource<A>{gate, up}, 0, out, is_listed);
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_GATES_H_
