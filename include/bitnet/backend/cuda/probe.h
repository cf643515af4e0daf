// A device's arithmetic, asked once: code compiled with -use_fast_math flushes small numbers to zero and approximates
// quotients and roots, and no macro tells. Its results would differ from those of CPUs, so no backend is made of it.
#ifndef BITNET_BACKEND_CUDA_PROBE_H_
#define BITNET_BACKEND_CUDA_PROBE_H_

#include <cmath>
#include <cstddef>
#include <vector>

#include "bitnet/backend/cuda/stream.h"
#include "bitnet/base/host_device.h"
#include "bitnet/base/result.h"

namespace bitnet::cuda {

// Four results of each pair: a product, a quotient, a root, a sum.
BITNET_HOST_DEVICE inline void ProbePair(float a, float b, float* to) {
  to[0] = a * b;
  to[1] = a / b;
  to[2] = std::sqrt(b);
  to[3] = a * 0.5f + b * 0.0f;
}

struct ProbeKernel {
  static constexpr unsigned kThreads = 32;
  using Shared = NoShared;
  const float* pairs;  // [count][2]
  float* results;      // [count][4]
  unsigned count;
  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    for (unsigned i = d.thread(); i < count; i += kThreads) {
      ProbePair(pairs[2 * i], pairs[2 * i + 1], results + size_t{4} * i);
    }
  }
};

// Refuses a device whose floats are not those of IEEE 754.
template <Machine M>
Result<Done> Probe(const M& machine) {
  std::vector<float> pairs;
  for (int i = 1; i <= 64; ++i) {
    const auto x = static_cast<float>(i);
    pairs.insert(pairs.end(), {1e-20f * x, 1e-20f});  // a subnormal product
    pairs.insert(pairs.end(), {x * 1.1f, x + 0.3f});  // quotients and roots that are rounded
    pairs.insert(pairs.end(), {1.2e-38f, 3.0f * x});  // a subnormal half
  }
  const size_t count = pairs.size() / 2;
  Stream<M> stream(machine);
  auto* device_pairs = stream.template Scratch<float>(ScratchSlot::kProduct, pairs.size());
  auto* device_results = stream.template Scratch<float>(ScratchSlot::kValues, 4 * count);
  std::vector<float> results(4 * count);
  stream.CopyIn(device_pairs, pairs.data(), pairs.size() * sizeof(float));
  stream.Launch(ProbeKernel{device_pairs, device_results, static_cast<unsigned>(count)}, Grid{});
  stream.CopyOut(results.data(), device_results, results.size() * sizeof(float));
  if (Result<Done> finished = stream.Finish(); !finished.ok()) return finished;
  for (size_t i = 0; i < count; ++i) {
    float expected[4];
    ProbePair(pairs[2 * i], pairs[2 * i + 1], expected);
    for (size_t k = 0; k < 4; ++k) {
      if (results[4 * i + k] != expected[k]) {
        return Error{
            "CUDA: the device's arithmetic is not that of IEEE 754, so its results would not be those of CPUs: compile "
            "without -use_fast_math, -ftz=true, -prec-div=false and -prec-sqrt=false"};
      }
    }
  }
  return Done{};
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_PROBE_H_
