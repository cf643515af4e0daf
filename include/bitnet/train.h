// All that training needs; the one header that wants Eigen. See train/trainer.h for where to begin.
#ifndef BITNET_TRAIN_H_
#define BITNET_TRAIN_H_

#include "bitnet/base/assert.h"  // first: it says what compiler is needed

#include "bitnet/backend/simd/default_backend.h"  // IWYU pragma: export
#include "bitnet/train/adamw.h"                   // IWYU pragma: export
#include "bitnet/train/batch.h"                   // IWYU pragma: export
#include "bitnet/train/checkpoint.h"              // IWYU pragma: export
#include "bitnet/train/corpus.h"                  // IWYU pragma: export
#include "bitnet/train/model.h"                   // IWYU pragma: export
#include "bitnet/train/options.h"                 // IWYU pragma: export
#include "bitnet/train/progress.h"                // IWYU pragma: export
#include "bitnet/train/trainer.h"                 // IWYU pragma: export

#endif  // BITNET_TRAIN_H_
