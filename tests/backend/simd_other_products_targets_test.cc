// Products of SimdBackend for the pairs of formats that the other two files leave out, on a few targets.
#define BITNET_FEW_TARGETS
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd_other_products_targets_test.cc"
#include "testing/targets.h"
// (targets.h chooses the targets, so it must come first.)
#include "hwy/foreach_target.h"

#include "bitnet/backend/simd/simd_backend-inl.h"
#include "testing/conformance_products.h"

namespace bitnet::HWY_NAMESPACE {

TEST_CASE("SimdBackend " BITNET_TARGET_NAME ": products of other formats have the bits of the reference") {
  if (!testing::CanRun(HWY_TARGET)) return;
  if constexpr (testing::ExtentOf(HWY_TARGET) == testing::Extent::kAll) testing::TestOtherProducts<SimdBackend>();
}

}  // namespace bitnet::HWY_NAMESPACE
