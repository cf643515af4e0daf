// All of SimdBackend but its products and attention, on every target that this CPU has, in one program.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd_tokens_targets_test.cc"
#include "testing/targets.h"
// (targets.h chooses the targets, so it must come first.)
#include "hwy/foreach_target.h"

#include "bitnet/backend/simd/simd_backend-inl.h"
#include "testing/conformance_tokens.h"
#include "testing/same_bits.h"

namespace bitnet::HWY_NAMESPACE {

TEST_CASE("SimdBackend " BITNET_TARGET_NAME
          ": quantizers, lists and element-wise operations have the reference's bits") {
  if (!testing::CanRun(HWY_TARGET)) return;
  testing::TestSomeTokenOperations<SimdBackend>();
  if constexpr (testing::ExtentOf(HWY_TARGET) == testing::Extent::kAll)
    testing::TestOtherTokenOperations<SimdBackend>();
}

// Every score's probability: one in kStep of the 1.1e9 arguments from 0 to -87 and some beyond, and the special ones.
// exp_slow_test.cc takes all.
TEST_CASE("SimdBackend " BITNET_TARGET_NAME ": Exp has the bits of the reference") {
  if (!testing::CanRun(HWY_TARGET)) return;
  constexpr uint32_t kStep = 269;
  const auto check = [](const std::vector<float>& x) {
    std::vector<float> y(kAttentionBlock);
    WeighScores<false>(x.data(), 0.0f, nullptr, x.size(), y.data());
    for (size_t i = 0; i < x.size(); ++i) {
      if (!testing::SameBits(y[i], Exp(x[i]))) FAIL_CHECK("Exp(" << x[i] << ") is " << y[i] << ", not " << Exp(x[i]));
    }
  };
  std::vector<float> x(kAttentionBlock);
  for (uint64_t bits = 0x80000000u; bits < 0xc2b00000u;) {
    for (float& value : x) {
      value = std::bit_cast<float>(static_cast<uint32_t>(bits));
      bits += kStep;
    }
    check(x);
  }
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::bit_cast<float>(static_cast<uint32_t>(0xc2b00000u + i * 3984123u));
  x[0] = 0.0f;
  x[1] = -0.0f;
  x[2] = ExpConstants::kLowest;
  x[3] = std::nextafter(ExpConstants::kLowest, -100.0f);
  x[4] = -std::numeric_limits<float>::infinity();
  x[5] = std::numeric_limits<float>::quiet_NaN();
  check(x);
}

}  // namespace bitnet::HWY_NAMESPACE
