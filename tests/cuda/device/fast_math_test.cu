// A program that is compiled with -use_fast_math, as this one is, is refused when it makes its backend. (A program of
// its own: kernels of one name would be one in a program, however they were compiled.)
#include <cstdio>
#include <string>

#include "bitnet/cuda.h"

int main() {
  const auto machine = bitnet::cuda::CudaMachine::Find(0);
  if (!machine.ok()) {
    std::fprintf(stderr, "%s\n", machine.error().c_str());
    return 77;
  }
  const bitnet::Result<bitnet::CudaBackend> backend = bitnet::CudaBackend::Create();
  const std::string said = backend.ok() ? "nothing" : backend.error();
  const bool is_refused = said.find("the device's arithmetic is not that of IEEE 754") != std::string::npos;
  if (!is_refused)
    std::printf("FAILED: compiled with -use_fast_math, and CudaBackend::Create says: %s\n", said.c_str());
  return is_refused ? 0 : 1;
}
