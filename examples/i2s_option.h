// The layout of I2_S, which files do not say, as an option of programs that read checkpoints.
#ifndef BITNET_EXAMPLES_I2S_OPTION_H_
#define BITNET_EXAMPLES_I2S_OPTION_H_

#include <bitnet/io/blocks.h>

#include "options.h"

inline bitnet::I2sLayout I2sLayoutOf(Options& options) {
  const char letter = options.OneOf({"A", "B", "C"})[0];
  return letter == 'A' ? bitnet::I2sLayout::kA : letter == 'B' ? bitnet::I2sLayout::kB : bitnet::I2sLayout::kC;
}

#endif  // BITNET_EXAMPLES_I2S_OPTION_H_
