// Attention on a device against the reference: reals, and reals with levels.
#include "bitnet/backend/cuda/attention_reals.h"

#include <doctest/doctest.h>

#include "cuda/device_cache.h"
#include "cuda/test_attention.h"
#include "testing/awkward_formats.h"

namespace bitnet::testing {
namespace {

TEST_CASE("Attend on a device: reals, as the reference") {
  TestAttend<Float, Float, Float, Float, Float>("Float", true);
  TestAttend<Int<8>, Float16, BFloat16, BFloat16, Float>("reals of all kinds", true);
}

TEST_CASE("Attend on a device: reals and levels, as the reference") {
  TestAttend<Float, MidRise<3>, MidRise<4>, MidRise<3>, MidRise<4>>("Float, MidRise<3>", true);
  TestAttend<Float, BigSteps, Int<8>, Float16, Float>("Float, BigSteps", true);
  TestAttend<BFloat16, ManyBigSteps, ManyBigSteps, Int<8>, Int<8>>("BFloat16, ManyBigSteps", false);
}

}  // namespace
}  // namespace bitnet::testing
