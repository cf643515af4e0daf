// CudaBackend: models on an NVIDIA GPU. For programs that nvcc compiles (as C++20); nothing else of the library sees a
// CUDA header.
//
//   Result<CudaBackend> backend = CudaBackend::Create();       // the first GPU; or why there is none
//   Transformer<A48, CudaBackend> model(weights, *backend);    // weights go to the GPU
//   auto state = model.NewState();                             // so does the cache
//   auto logits = model.Forward(prompt, state);                // come back to the host
//
// A model is used as on a CPU, with the same bits. Views that a BitLinear of a program's own is given are of device
// memory. (docs/cuda.md)
#ifndef BITNET_CUDA_H_
#define BITNET_CUDA_H_

#ifndef __CUDACC__
#error "bitnet: bitnet/cuda.h is for programs that nvcc compiles; on the host a model needs bitnet/bitnet.h alone"
#endif

#include <utility>

#include "bitnet/backend/cuda/cuda_backend.h"
#include "bitnet/backend/cuda/cuda_machine.cuh"
#include "bitnet/backend/cuda/probe.h"
#include "bitnet/base/result.h"
#include "bitnet/layer/bit_linear.h"
#include "bitnet/model/generate.h"
#include "bitnet/model/model_file.h"
#include "bitnet/model/state_file.h"
#include "bitnet/model/transformer.h"
#include "bitnet/model/weights.h"
#include "bitnet/scheme/scheme.h"

namespace bitnet {

class CudaBackend : public cuda::BasicCudaBackend<cuda::CudaMachine> {
 public:
  // On the GPU with this number. Refuses, in a sentence, where there is no driver or no such GPU, one before compute
  // capability 8.0, or code that was compiled for other arithmetic than IEEE 754's.
  static Result<CudaBackend> Create(int device = 0) {
    Result<cuda::CudaMachine> machine = cuda::CudaMachine::Find(device);
    if (!machine.ok()) return Error{machine.error()};
    if (Result<Done> probed = cuda::Probe(*machine); !probed.ok()) return Error{probed.error()};
    return CudaBackend(std::move(*machine));
  }

 private:
  explicit CudaBackend(cuda::CudaMachine machine) : BasicCudaBackend(std::move(machine)) {}
};

static_assert(Backend<CudaBackend>);

}  // namespace bitnet

#endif  // BITNET_CUDA_H_
