// Prints what nvcc's -arch takes for GPU 0: sm_90a. Where there is none it says so, in one sentence, and ends with 77.
#include <cstdio>

#include "bitnet/backend/cuda/cuda_machine.cuh"

int main() {
  const auto machine = bitnet::cuda::CudaMachine::Find(0);
  cudaDeviceProp gpu = {};
  if (!machine.ok() || cudaGetDeviceProperties(&gpu, 0) != cudaSuccess) {
    std::fprintf(stderr, "%s\n", machine.ok() ? "CUDA: the GPU does not say what it is" : machine.error().c_str());
    return 77;
  }
  // From 9.0 on a GPU's own instructions are those of its architecture alone.
  std::printf("sm_%d%d%s\n", gpu.major, gpu.minor, gpu.major >= 9 ? "a" : "");
}
