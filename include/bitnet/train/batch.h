// TokenBatch: sequences of equal length, and the tokens that follow each of theirs; or a share of them.
#ifndef BITNET_TRAIN_BATCH_H_
#define BITNET_TRAIN_BATCH_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bitnet/base/size.h"

namespace bitnet {

// Which part of a batch is meant: that of rank `rank`, of `ranks` that have a part each.
struct BatchShare {
  uint32_t rank = 0;
  uint32_t ranks = 1;

  // The part's sequences, of a batch of so many.
  size_t Begin(size_t sequences) const { return PartBegin(sequences, rank, ranks); }
  size_t End(size_t sequences) const { return PartBegin(sequences, size_t{rank} + 1, ranks); }
};

struct TokenBatch {
  size_t sequences = 0;
  size_t length = 0;              // tokens of a sequence
  std::vector<uint32_t> inputs;   // [sequences, length]
  std::vector<uint32_t> targets;  // the same, one token later
  size_t of_sequences = 0;        // where this is a share: sequences of the whole batch

  size_t tokens() const { return SizeProduct(sequences, length); }
  // Those that a mean over the batch is of.
  size_t tokens_of_whole() const { return SizeProduct(of_sequences == 0 ? sequences : of_sequences, length); }
};

}  // namespace bitnet

#endif  // BITNET_TRAIN_BATCH_H_
