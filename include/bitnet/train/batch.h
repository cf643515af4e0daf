// TokenBatch: sequences of equal length, and the tokens that follow each of theirs.
#ifndef BITNET_TRAIN_BATCH_H_
#define BITNET_TRAIN_BATCH_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bitnet/base/size.h"

namespace bitnet {

struct TokenBatch {
  size_t sequences = 0;
  size_t length = 0;              // tokens of a sequence
  std::vector<uint32_t> inputs;   // [sequences, length]
  std::vector<uint32_t> targets;  // the same, one token later

  size_t tokens() const { return SizeProduct(sequences, length); }
};

}  // namespace bitnet

#endif  // BITNET_TRAIN_BATCH_H_
