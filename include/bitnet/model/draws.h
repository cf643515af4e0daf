// Draws: tokens that are drawn in the pass that gives their logits. A backend may offer to draw later (`Draw`, `Drawn`
// and `TokenOf`: what Sample does, but for finishing the stream), so that a pass and its draws are one wait; where it
// does not, they are composed of the pass and Sample. The tokens are the same.
#ifndef BITNET_MODEL_DRAWS_H_
#define BITNET_MODEL_DRAWS_H_

#include <concepts>
#include <cstdint>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/sampling.h"
#include "bitnet/base/result.h"
#include "bitnet/tensor/matrix_view.h"

namespace bitnet {

// By what a turn's next token is drawn.
struct TurnDraw {
  SamplerOptions options = {};
  uint64_t random = 0;
};

namespace detail {

template <class B>
concept DrawsLater = requires(const B backend, typename B::Stream& stream, MatrixView<const float> logits,
                              const SamplerOptions& options, typename B::Drawn& drawn) {
  backend.Draw(stream, logits, options, uint64_t{0}, drawn);
  { B::TokenOf(drawn) } -> std::same_as<Result<uint32_t>>;
};

// What such a backend leaves of a draw.
template <class B>
struct DrawnOf {
  using type = uint32_t;
};
template <DrawsLater B>
struct DrawnOf<B> {
  using type = typename B::Drawn;
};

}  // namespace detail

}  // namespace bitnet

#endif  // BITNET_MODEL_DRAWS_H_
