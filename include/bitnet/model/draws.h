// Draws: tokens that are drawn in the pass that gives their logits, in one wait where the backend can (DrawsLater).
#ifndef BITNET_MODEL_DRAWS_H_
#define BITNET_MODEL_DRAWS_H_

#include <cstdint>

#include "bitnet/backend/sampling.h"

namespace bitnet {

// By what a turn's next token is drawn.
struct TurnDraw {
  SamplerOptions options = {};
  uint64_t random = 0;
};

}  // namespace bitnet

#endif  // BITNET_MODEL_DRAWS_H_
