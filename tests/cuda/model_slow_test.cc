// Models of all schemes on the emulated device: see model_test.cc.
#include <doctest/doctest.h>

#include "cuda/model_laws.h"
#include "model/transformer_laws.h"
#include "testing/emulated_backend.h"

namespace bitnet {
namespace {

using testing::CheckModel;
using testing::EmulatedBackend;

TEST_CASE("Transformer<A48> on the emulated device: sub-layer norms") {
  CheckModel<A48>(EmulatedBackend(), testing::WithSubLayerNorms(testing::TinyConfig()));
}
TEST_CASE("Transformer<A48Fp4> on the emulated device") { CheckModel<A48Fp4>(EmulatedBackend()); }
TEST_CASE("Transformer<B158> on the emulated device") { CheckModel<B158>(EmulatedBackend()); }
TEST_CASE("Transformer<Fp32> on the emulated device") { CheckModel<Fp32>(EmulatedBackend()); }
TEST_CASE("Transformer<Mixed> on the emulated device: groups, an INT8 head, real values, SiLU") {
  CheckModel<testing::Mixed>(EmulatedBackend());
}
TEST_CASE("Transformer<Int8Edges> on the emulated device: another scheme first and last") {
  CheckModel<testing::Int8Edges>(EmulatedBackend());
}
TEST_CASE("Transformer<Rotated> on the emulated device: a transform at every place") {
  CheckModel<testing::Rotated>(EmulatedBackend());
}
TEST_CASE("Transformer<A48> on the emulated device: turns of several states are those of each alone") {
  testing::CheckTurns<A48, EmulatedBackend>({1});
}

}  // namespace
}  // namespace bitnet
