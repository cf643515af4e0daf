// GpuBackend: CudaBackend on GPU 0, made of nothing, as tests of backends make theirs.
#ifndef BITNET_TESTS_CUDA_DEVICE_GPU_BACKEND_CUH_
#define BITNET_TESTS_CUDA_DEVICE_GPU_BACKEND_CUH_

#include "bitnet/base/executor.h"
#include "bitnet/cuda.h"

namespace bitnet::testing {

struct GpuBackend : CudaBackend {
  GpuBackend() : CudaBackend(*CudaBackend::Create()) {}
  // (A test of backends gives them threads.)
  explicit GpuBackend(Executor&) : GpuBackend() {}
};

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_CUDA_DEVICE_GPU_BACKEND_CUH_
