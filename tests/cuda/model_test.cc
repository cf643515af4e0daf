// Models on the emulated device.
#include <doctest/doctest.h>

#include "cuda/model_laws.h"

namespace bitnet {
namespace {

TEST_CASE("Transformer<A48> on the emulated device: the bits of the reference") { testing::CheckOnDevice<A48>(); }

}  // namespace
}  // namespace bitnet
