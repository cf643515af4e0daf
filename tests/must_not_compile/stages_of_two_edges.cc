// expect only: bitnet: the schemes of both stages must have one Weight
#include <bitnet/train.h>

struct Second : bitnet::A48 {
#ifdef BITNET_MUST_NOT_COMPILE
  struct Edge : bitnet::A48 {
    using Weight = bitnet::Quantizer<bitnet::Int<8>, bitnet::AbsMax, bitnet::PerRow>;
  };
#endif
};

using Training = bitnet::Trainer<bitnet::B158, Second>;

bool Trains(const bitnet::ModelConfig& config, const bitnet::TrainOptions& options, const bitnet::Corpus& corpus) {
  auto trainer = Training::Create(config, options, corpus);
  return trainer.ok() && trainer->Run([](const bitnet::StepReport&) { return true; }).ok();
}
