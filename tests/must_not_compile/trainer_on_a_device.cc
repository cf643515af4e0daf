// expect only: bitnet: training needs a HostBackend, whose objects are the host's
#include <bitnet/train.h>

#include "bitnet/backend/erased.h"

#ifdef BITNET_MUST_NOT_COMPILE
using MyBackend = bitnet::Erased<bitnet::SimdBackend>;
#else
using MyBackend = bitnet::SimdBackend;
#endif
using Training = bitnet::Trainer<bitnet::B158, bitnet::A48, MyBackend>;

bool Trains(const bitnet::ModelConfig& config, const bitnet::TrainOptions& options, const bitnet::Corpus& corpus) {
  return Training::Create(config, options, corpus).ok();
}
