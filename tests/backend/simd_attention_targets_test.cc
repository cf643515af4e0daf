// Attention of SimdBackend on every target that this CPU has, in one program.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd_attention_targets_test.cc"
#include "testing/targets.h"
// (targets.h chooses the targets, so it must come first.)
#include "hwy/foreach_target.h"

#include "bitnet/backend/simd/simd_backend-inl.h"
#include "testing/conformance_attention.h"

namespace bitnet::HWY_NAMESPACE {

TEST_CASE("SimdBackend " BITNET_TARGET_NAME ": attention has the bits of the reference") {
  if (!testing::CanRun(HWY_TARGET)) return;
  testing::TestSomeAttention<SimdBackend>();
  if constexpr (testing::ExtentOf(HWY_TARGET) == testing::Extent::kAll) testing::TestOtherAttention<SimdBackend>();
}

}  // namespace bitnet::HWY_NAMESPACE
