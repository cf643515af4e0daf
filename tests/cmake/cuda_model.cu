// All that a model of a scheme instantiates, for nvcc.sh and docs/cuda_resources.py: -DBITNET_SCHEME=A48.
#include <cstdio>

#include "bitnet/cuda.h"

template class bitnet::Transformer<bitnet::BITNET_SCHEME, bitnet::CudaBackend>;

int main() {
  const bitnet::Result<bitnet::CudaBackend> backend = bitnet::CudaBackend::Create();
  std::printf("%s\n", backend.ok() ? "made" : backend.error().c_str());
}
