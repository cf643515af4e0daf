// EmulatedBackend: the CUDA backend on a machine that is emulated on the host.
#ifndef BITNET_TESTS_TESTING_EMULATED_BACKEND_H_
#define BITNET_TESTS_TESTING_EMULATED_BACKEND_H_

#include <utility>

#include "bitnet/backend/cuda/cuda_backend.h"
#include "bitnet/base/executor.h"
#include "testing/emulated_machine.h"

namespace bitnet::testing {

struct EmulatedBackend : cuda::BasicCudaBackend<EmulatedMachine> {
  EmulatedBackend() : EmulatedBackend(EmulatedMachine()) {}
  // (A test of backends gives them threads.)
  explicit EmulatedBackend(Executor&) : EmulatedBackend() {}
  explicit EmulatedBackend(EmulatedMachine on) : BasicCudaBackend(std::move(on)) {}
};

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_EMULATED_BACKEND_H_
