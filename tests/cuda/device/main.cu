// The main function of the tests on a GPU. Where there is none they end with one sentence, and with 77: neither success
// nor failure.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "bitnet/backend/cuda/cuda_machine.cuh"

int main(int argc, char** argv) {
  const auto machine = bitnet::cuda::CudaMachine::Find(0);
  if (!machine.ok()) {
    std::fprintf(stderr, "%s\n", machine.error().c_str());
    return 77;
  }
  return doctest::Context(argc, argv).run();
}
