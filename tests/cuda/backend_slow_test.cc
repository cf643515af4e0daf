// The rest of TestBackend<EmulatedBackend>: see backend_test.cc.
#include <doctest/doctest.h>

#include "testing/backend_conformance.h"
#include "testing/emulated_backend.h"

namespace bitnet {
namespace {

using testing::EmulatedBackend;

TEST_CASE("CUDA backend: products of all formats have the bits of the reference") {
  testing::TestSomeProducts<EmulatedBackend>();
  testing::TestOtherProducts<EmulatedBackend>();
}
TEST_CASE("CUDA backend: operations on rows of all formats have the bits of the reference") {
  testing::TestOtherTokenOperations<EmulatedBackend>();
}
TEST_CASE("CUDA backend: attention over caches of all formats has the bits of the reference") {
  testing::TestOtherAttention<EmulatedBackend>();
}

}  // namespace
}  // namespace bitnet
