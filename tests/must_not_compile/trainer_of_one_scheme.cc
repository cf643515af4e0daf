// expect only: bitnet: Trainer needs the schemes of both stages: Trainer<B158, A48>, or Trainer<A48, A48>
#include <bitnet/train.h>

#ifdef BITNET_MUST_NOT_COMPILE
using Training = bitnet::Trainer<bitnet::A48>;
#else
using Training = bitnet::Trainer<bitnet::B158, bitnet::A48>;
#endif

bool Trains(const bitnet::ModelConfig& config, const bitnet::TrainOptions& options, const bitnet::Corpus& corpus) {
  auto trainer = Training::Create(config, options, corpus);
  return trainer.ok() && trainer->Run([](const bitnet::StepReport&) { return true; }).ok();
}
