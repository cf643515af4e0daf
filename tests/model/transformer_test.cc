#include "bitnet/model/transformer.h"

#include "model/transformer_laws.h"

namespace bitnet {
namespace {

TEST_CASE("Transformer<A48>: obeys the laws of transformer_laws.h") { testing::CheckTransformer<A48>(); }
TEST_CASE("Transformer<A48>: golden blocks and logits") { testing::CheckGolden<A48>("model_a48"); }
TEST_CASE("Transformer<A48>: these very bits, whatever compiled it") {
  testing::CheckBits<A48>("model_a48", 0x3ece5c1b220b3b18u);
}

TEST_CASE("Transformer<A48>: turns of several states are those of each alone on the reference, too") {
  testing::CheckTurns<A48, ReferenceBackend>({1});
}

TEST_CASE(
    "Transformer: a state has no room where it would write to a page that it shares, and there is none for a copy") {
  const Transformer<A48> model(testing::TinyWeights<A48>(testing::TinyConfig()));
  const auto pages = model.NewPool(1);
  auto state = model.NewState(20, pages);
  REQUIRE(model.Feed({{1, 2, 3}}, state).ok());
  CHECK(state.HasRoom(17));
  {
    auto fork = state;
    CHECK(!fork.HasRoom(1));
    CHECK(fork.HasRoom(0));
    CHECK(!model.Feed({{4}}, fork).ok());
    fork.Truncate(0);
    CHECK(state.HasRoom(17));
    CHECK(!fork.HasRoom(1));
  }
  CHECK(model.Feed({{4}}, state).ok());
  CHECK(!state.HasRoom(17));
  CHECK(state.HasRoom(16));
}

TEST_CASE("Transformer<A48Fp4>: obeys the laws of transformer_laws.h") { testing::CheckTransformer<A48Fp4>(); }
TEST_CASE("Transformer<A48Fp4>: golden blocks and logits") { testing::CheckGolden<A48Fp4>("model_a48fp4"); }
TEST_CASE("Transformer<A48Fp4>: these very bits, whatever compiled it") {
  testing::CheckBits<A48Fp4>("model_a48fp4", 0x4e74045f8e9ee39fu);
}

TEST_CASE("Transformer: a configuration that is not valid is stopped with a sentence") {
  ModelWeights<A48> weights;
  weights.config.layers = 0;
  CHECK(testing::Breaks("configuration is not valid", [&] { const Transformer<A48> model(weights); }));
}

TEST_CASE("Transformer: its scheme is deduced from its weights") {
  const Transformer model(testing::TinyWeights<A48>());
  static_assert(std::is_same_v<decltype(model), const Transformer<A48>>);
}

TEST_CASE(
    "Transformer: embedding and head of another shape, and a mark of another state, are stopped with a sentence") {
  ModelWeights<A48> weights = testing::TinyWeights<A48>();
  weights.final_norm.pop_back();
  CHECK(testing::Breaks("must have the configuration's shape", [&] { const Transformer<A48> model(weights); }));

  const Transformer<A48> model(testing::TinyWeights<A48>());
  auto state = model.NewState();
  REQUIRE(model.Forward(std::vector<Token>{1, 2, 3}, state).ok());
  CHECK(testing::Breaks("GoBack: the mark is of another", [&] { state.GoBack({}); }));
}

}  // namespace
}  // namespace bitnet
