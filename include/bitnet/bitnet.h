// bitnet: BitNet a4.8 language models, and any other low-bit scheme, from headers alone. All that inference on this CPU
// needs. Training is in bitnet/train.h. Start at docs/tutorial.md; each floor includes only floors below it:
// model, layer, backend, scheme, tensor, quant, format, base.
#ifndef BITNET_BITNET_H_
#define BITNET_BITNET_H_

#include "bitnet/backend/reference.h"
#include "bitnet/backend/simd/default_backend.h"
#include "bitnet/base/assert.h"
#include "bitnet/base/executor.h"
#include "bitnet/base/random.h"
#include "bitnet/base/result.h"
#include "bitnet/base/version.h"
#include "bitnet/format/format.h"
#include "bitnet/layer/bit_linear.h"
#include "bitnet/model/continuous_batch.h"
#include "bitnet/model/generate.h"
#include "bitnet/model/model_file.h"
#include "bitnet/model/sampler.h"
#include "bitnet/model/state_file.h"
#include "bitnet/model/transform_weights.h"
#include "bitnet/model/transformer.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/quant/top_k.h"
#include "bitnet/quant/transform.h"
#include "bitnet/scheme/scheme.h"

#endif  // BITNET_BITNET_H_
