// expect only: bitnet: a scheme is needed here: A48 or another of scheme/scheme.h
#include <bitnet/train.h>

#ifdef BITNET_MUST_NOT_COMPILE
using Training = bitnet::Trainer<bitnet::B158, bitnet::Ternary>;
#else
using Training = bitnet::Trainer<bitnet::B158, bitnet::A48>;
#endif

bool Trains(const bitnet::ModelConfig& config, const bitnet::TrainOptions& options, const bitnet::Corpus& corpus) {
  auto trainer = Training::Create(config, options, corpus);
  return trainer.ok() && trainer->Run([](const bitnet::StepReport&) { return true; }).ok();
}
