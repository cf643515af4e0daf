#include "bitnet/backend/cuda/quantize.h"

#include <doctest/doctest.h>

#include "cuda/test_quantizer.h"

namespace bitnet {
namespace {

using testing::TestQuantizer;

TEST_CASE("Quantize on a device: the inputs of the schemes, as the reference") {
  TestQuantizer<Quantizer<Int<4>, AbsMean>>("Int<4>, AbsMean");
  TestQuantizer<Quantizer<Int<8>, AbsMax>>("Int<8>, AbsMax");
  TestQuantizer<Quantizer<Fp4E2M1, MinMax>>("Fp4E2M1, MinMax");
}

TEST_CASE("Quantize on a device: heads, as the reference") {
  TestQuantizer<Quantizer<MidRise<4>, AbsMax>>("MidRise<4>, AbsMax");
  TestQuantizer<Quantizer<MidRise<3>, AbsMax>>("MidRise<3>, AbsMax");
}

TEST_CASE("Quantize on a device: what keeps reals, as the reference") {
  TestQuantizer<Unquantized>("Unquantized");
  TestQuantizer<Rounded<BFloat16>>("Rounded<BFloat16>");
  TestQuantizer<Rounded<Float16>>("Rounded<Float16>");
}

}  // namespace
}  // namespace bitnet
