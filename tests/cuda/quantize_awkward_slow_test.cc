#include <doctest/doctest.h>

#include <vector>

#include "bitnet/backend/cuda/quantize.h"
#include "cuda/test_quantizer.h"
#include "testing/awkward_formats.h"

namespace bitnet {
namespace {

using testing::TestQuantizer;

// Another rule of one's own: it says that devices may call it.
struct HalfOfLargest {
  using Statistic = LargestMagnitude;
  static constexpr bool kRunsOnDevice = true;
  template <LevelFormat F>
  BITNET_HOST_DEVICE static double StepFrom(LargestMagnitude s, size_t) {
    return 0.5 * static_cast<double>(s.max) / FormatTraits<F>::kTop;
  }
};
struct OnTheHost : HalfOfLargest {
  static constexpr bool kRunsOnDevice = false;
};
struct SaysNothing {
  using Statistic = LargestMagnitude;
  template <LevelFormat F>
  static double StepFrom(LargestMagnitude s, size_t) {
    return static_cast<double>(s.max);
  }
};

static_assert(cuda::kQuantizesOnDevice<Quantizer<Int<4>, HalfOfLargest>>);
static_assert(!cuda::kQuantizesOnDevice<Quantizer<Int<4>, OnTheHost>>);
static_assert(!cuda::kQuantizesOnDevice<Quantizer<Int<4>, SaysNothing>>);
static_assert(!cuda::kQuantizesOnDevice<Quantizer<Ternary, testing::RootMeanSquare>>);
static_assert(!cuda::kQuantizesOnDevice<testing::Signs>);
static_assert(!cuda::kQuantizesOnDevice<Transformed<Hadamard<16>, Quantizer<Int<4>, AbsMean>>>);

TEST_CASE("Quantize on a device: awkward formats, as the reference") {
  TestQuantizer<Quantizer<testing::BigSteps, MinMax>>("BigSteps, MinMax");
  TestQuantizer<Quantizer<testing::Squares, AbsMax>>("Squares, AbsMax");
  TestQuantizer<Quantizer<testing::OneSided, AbsMean>>("OneSided, AbsMean");
  TestQuantizer<Quantizer<testing::OnOff, MinMax>>("OnOff, MinMax");
  TestQuantizer<Quantizer<testing::Threes, HalfOfLargest>>("Threes, HalfOfLargest");
  TestQuantizer<Quantizer<Binary, AbsMeanTimes<2>>>("Binary, AbsMeanTimes<2>");
}

TEST_CASE("Quantize on a device: steps of groups, as the reference") {
  TestQuantizer<Quantizer<MidRise<8>, AbsMax, PerGroup<5>>>("MidRise<8>, AbsMax, PerGroup<5>");
  TestQuantizer<Quantizer<UInt<8>, MinMax, PerGroup<32>>>("UInt<8>, MinMax, PerGroup<32>");
  TestQuantizer<Quantizer<Int<4>, AbsMean, PerGroup<1>>>("Int<4>, AbsMean, PerGroup<1>");
  TestQuantizer<Quantizer<Int<4>, AbsMean, PerGroup<256>>>("Int<4>, AbsMean, PerGroup<256>");
  TestQuantizer<Quantizer<Int<4>, AbsMean, PerGroup<300>>>("Int<4>, AbsMean, PerGroup<300>");
}

}  // namespace
}  // namespace bitnet
