// expect only: bitnet: a scheme is needed here: A48 or another of scheme/scheme.h
#include <bitnet/train.h>

#ifdef BITNET_MUST_NOT_COMPILE
using Scheme = bitnet::Ternary;
#else
using Scheme = bitnet::A48;
#endif

double Loss(const bitnet::ModelConfig& config, const bitnet::LatentWeights& weights, const bitnet::TokenBatch& batch) {
  bitnet::TrainingModel<Scheme> model(config);
  model.Quantize(weights);
  return model.Forward(batch);
}
