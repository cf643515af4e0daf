// Products of SimdBackend for one pair of formats of each kind, on every target but the emulated one.
#define BITNET_NO_EMULATED_TARGET
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd_some_products_targets_test.cc"
#include "testing/targets.h"
// (targets.h chooses the targets, so it must come first.)
#include "hwy/foreach_target.h"

#include "bitnet/backend/simd/simd_backend-inl.h"
#include "testing/conformance_products.h"

namespace bitnet::HWY_NAMESPACE {

TEST_CASE("SimdBackend " BITNET_TARGET_NAME ": products of some formats have the bits of the reference") {
  if (!testing::CanRun(HWY_TARGET)) return;
  testing::TestSomeProducts<SimdBackend>();
}

}  // namespace bitnet::HWY_NAMESPACE
