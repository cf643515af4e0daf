// Models of all schemes on the emulated device: see model_test.cc.
#include <doctest/doctest.h>

#include "cuda/model_laws.h"
#include "model/transformer_laws.h"

namespace bitnet {
namespace {

using testing::CheckOnDevice;
using testing::EmulatedBackend;

TEST_CASE("Transformer<A48> on the emulated device: sub-layer norms") {
  CheckOnDevice<A48>(testing::WithSubLayerNorms(testing::TinyConfig()));
}
TEST_CASE("Transformer<A48Fp4> on the emulated device") { CheckOnDevice<A48Fp4>(); }
TEST_CASE("Transformer<B158> on the emulated device") { CheckOnDevice<B158>(); }
TEST_CASE("Transformer<Fp32> on the emulated device") { CheckOnDevice<Fp32>(); }
TEST_CASE("Transformer<Mixed> on the emulated device: groups, an INT8 head, real values, SiLU") {
  CheckOnDevice<testing::Mixed>();
}
TEST_CASE("Transformer<Int8Edges> on the emulated device: another scheme first and last") {
  CheckOnDevice<testing::Int8Edges>();
}
TEST_CASE("Transformer<Rotated> on the emulated device: a transform at every place") {
  CheckOnDevice<testing::Rotated>();
}
TEST_CASE("Transformer<A48> on the emulated device: turns of several states are those of each alone") {
  testing::CheckTurns<A48, EmulatedBackend>({1});
}

}  // namespace
}  // namespace bitnet
