// How the vectors of every target widen reals of 16 bits.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd_reals_targets_test.cc"
#include "testing/targets.h"
// (targets.h chooses the targets, so it must come first.)
#include "hwy/foreach_target.h"

#include "bitnet/backend/simd/vectors-inl.h"
#include "testing/same_bits.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet::HWY_NAMESPACE {

template <class R>
void WidenAll(const R* from, size_t n, float* to) {
  const DF32 d;
  for (size_t i = 0; i < n; i += hn::Lanes(d)) hn::StoreU(LoadReals(d, from + i), d, to + i);
}

template <class R>
void WidenAllToDouble(const R* from, size_t n, double* to) {
  for (size_t i = 0; i < n; i += kSumLanes) Doubles8::Load(from + i).Store(to + i);
}

}  // namespace bitnet::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

namespace bitnet::HWY_NAMESPACE {

template <class R>
void CheckAllValues() {
  constexpr size_t kCount = 0x10000;
  std::vector<R> all(kCount);
  for (size_t bits = 0; bits < kCount; ++bits) all[bits].bits = static_cast<uint16_t>(bits);
  std::vector<float> floats(kCount);
  std::vector<double> doubles(kCount);
  WidenAll(all.data(), kCount, floats.data());
  WidenAllToDouble(all.data(), kCount, doubles.data());
  size_t wrong = 0;
  for (size_t i = 0; i < kCount; ++i) {
    wrong += !testing::SameBits(floats[i], all[i]) || !testing::SameBits(static_cast<float>(doubles[i]), all[i]);
  }
  CHECK(wrong == 0);
}

TEST_CASE("Vectors " BITNET_TARGET_NAME ": reals of 16 bits become the floats that they are") {
  if (!testing::CanRun(HWY_TARGET)) return;
  CheckAllValues<BFloat16>();
  CheckAllValues<Float16>();
}

}  // namespace bitnet::HWY_NAMESPACE
