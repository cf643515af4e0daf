// Products of SimdBackend on every target that this CPU has, in one program.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd_products_targets_test.cc"
#include "testing/targets.h"
// (targets.h chooses the targets, so it must come first.)
#include "hwy/foreach_target.h"

#include "bitnet/backend/simd/simd_backend-inl.h"
#include "testing/conformance_products.h"

namespace bitnet::HWY_NAMESPACE {

TEST_CASE("SimdBackend " BITNET_TARGET_NAME ": products have the bits of the reference") {
  if (!testing::CanRun(HWY_TARGET)) return;
  testing::TestFewProducts<SimdBackend>();
}

}  // namespace bitnet::HWY_NAMESPACE
