// A checkpoint's model on the emulated device: AnyModel, whose matrices and cache are erased.
#include "bitnet/io/any_model.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "bitnet/backend/reference.h"
#include "bitnet/model/transformer.h"
#include "testing/emulated_backend.h"
#include "testing/gguf_model.h"
#include "testing/temporary_file.h"
#include "testing/tiny_model.h"

namespace bitnet {
namespace {

using testing::EmulatedBackend;
using OfTwoCaches = WithChosenCache<B158, WithInt8Cache<B158>, WithSmallCache<B158, 3>>;

// Logits of a prompt and of three tokens after it, each the likeliest.
template <class Model>
std::vector<float> LogitsOf(const Model& model) {
  auto state = model.NewState();
  std::vector<Token> next = testing::RandomTokens(6, model.config().vocab);
  std::vector<float> all;
  for (int i = 0; i < 4; ++i) {
    const auto logits = model.Forward(next, state);
    REQUIRE_MESSAGE(logits.ok(), (logits.ok() ? "" : logits.error()));
    all.insert(all.end(), logits->begin(), logits->end());
    next = {static_cast<Token>(std::max_element(logits->begin(), logits->end()) - logits->begin())};
  }
  return all;
}

TEST_CASE("AnyModel on the emulated device: a file's model has the bits of the reference") {
  ModelConfig config = testing::GgufModelConfig();
  config.layers = 1;
  const testing::TemporaryFile path;
  testing::WriteGguf(path.path(), testing::TinyWeights<WithFloat16Head<B158>>(config), {});
  const Result<Checkpoint> checkpoint = Checkpoint::Open(path.path());
  REQUIRE_MESSAGE(checkpoint.ok(), (checkpoint.ok() ? "" : checkpoint.error()));
  const auto check = [&]<class S>(std::type_identity<S>, size_t bits) {
    const auto model = LoadAnyModel<OfTwoCaches>(*checkpoint, {.cache_bits = bits}, EmulatedBackend());
    REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error()));
    const Transformer<S, ReferenceBackend> expected(testing::TinyWeights<S>(config));
    CHECK(testing::SameBits(LogitsOf(*model), LogitsOf(expected)));
  };
  check(std::type_identity<WithInt8Cache<WithFloat16Head<B158>>>(), 8);
  check(std::type_identity<WithSmallCache<WithFloat16Head<B158>, 3>>(), 3);
}

}  // namespace
}  // namespace bitnet
