// expect only: bitnet: a scheme is needed here: A48 or another of scheme/scheme.h
#include <string>

#include "bitnet/model/model_file.h"

#ifdef BITNET_MUST_NOT_COMPILE
using Scheme = bitnet::Ternary;
#else
using Scheme = bitnet::A48;
#endif

size_t Layers(const std::string& path) {
  const auto weights = bitnet::LoadModel<Scheme>(path);
  return weights.ok() ? weights->layers.size() : 0;
}
