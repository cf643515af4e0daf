// The CUDA backend on the emulated device, compared with the reference bit for bit: the formats of the library's own
// schemes. (All others: backend_slow_test.cc.)
#include <doctest/doctest.h>

#include "testing/backend_conformance.h"
#include "testing/emulated_backend.h"

namespace bitnet {
namespace {

using testing::EmulatedBackend;

TEST_CASE("CUDA backend: products have the bits of the reference") { testing::TestFewProducts<EmulatedBackend>(); }
TEST_CASE("CUDA backend: operations on rows have the bits of the reference") {
  testing::TestSomeTokenOperations<EmulatedBackend>();
}
TEST_CASE("CUDA backend: attention has the bits of the reference") { testing::TestSomeAttention<EmulatedBackend>(); }

}  // namespace
}  // namespace bitnet
