// A kernel calls what backends share: it compiles for a device without a flag (nvcc.sh).
#include "bitnet/backend/definitions.h"
#include "bitnet/base/result.h"

__global__ void CallDefinitions(float* reals, double* doubles, int* integers) {
  bitnet::TopKThreshold threshold{3u, 2u};
  integers[0] = bitnet::KeepNext(threshold, reals[0]);
  reals[1] = bitnet::InverseRms(doubles[0], 3, reals[0]);
  reals[2] = bitnet::ScoreFactor(reals[0], 64);
  reals[3] = bitnet::Probability(reals[0], reals[1]);
  doubles[1] = bitnet::WeightUnit(reals[4]);
  integers[1] = bitnet::WeightInUnits(reals[5], doubles[1]);
}

// An assignment of what may fail is no result that nobody looks at.
template <class T>
bool Assign(T value) {
  bitnet::Result<T> result = value;
  result = bitnet::Result<T>(value);
  return result.ok();
}
bool AssignInt() { return Assign(1); }
