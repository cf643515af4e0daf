#include "bitnet/base/machine_memory.h"

#include <doctest/doctest.h>

namespace bitnet {
namespace {

TEST_CASE("MachineMemory: at least what this program has, and the same at every call") {
  CHECK(MachineMemory() > (uint64_t{1} << 24));
  CHECK(MachineMemory() == MachineMemory());
#if defined(__linux__)
  // An address of x86-64 or AArch64 has at most 57 bits.
  CHECK(MachineMemory() < (uint64_t{1} << 57));
#endif
}

}  // namespace
}  // namespace bitnet
