// expect only: bitnet: the schemes of both stages must have the same transforms
#include <bitnet/train.h>

#ifdef BITNET_MUST_NOT_COMPILE
struct Second : bitnet::A48 {
  using DownInput = bitnet::Transformed<bitnet::Hadamard<64>, bitnet::A48::DownInput>;
};
#else
struct Second : bitnet::A48 {};
#endif

using Training = bitnet::Trainer<bitnet::B158, Second>;

bool Trains(const bitnet::ModelConfig& config, const bitnet::TrainOptions& options, const bitnet::Corpus& corpus) {
  auto trainer = Training::Create(config, options, corpus);
  return trainer.ok() && trainer->Run([](const bitnet::StepReport&) { return true; }).ok();
}
