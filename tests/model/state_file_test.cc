#include "bitnet/model/state_file.h"

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bitnet/backend/reference.h"
#include "bitnet/backend/simd/default_backend.h"
#include "testing/expect_assertion.h"
#include "testing/same_bits.h"
#include "testing/temporary_file.h"
#include "testing/tiny_model.h"

namespace bitnet {
namespace {

using testing::RandomTokens;
using testing::SameBits;
using testing::TemporaryFile;
using testing::TinyConfig;
using testing::TinyWeights;
using Bytes = std::vector<uint8_t>;

// Codes that a format lacks can be written: five of eight.
struct FiveLevels {
  static constexpr auto kLevels = std::array{-2, -1, 0, 1, 2};
};
struct OddCache : A48 {
  using Key = Quantizer<FiveLevels, AbsMean>;
};

template <class Model>
std::vector<float> Next(const Model& model, std::span<const Token> tokens, typename Model::State& state) {
  const auto logits = model.Forward(tokens, state);
  REQUIRE(logits.ok());
  return {logits->begin(), logits->end()};
}

template <Scheme S>
void CheckRoundTrip() {
  const ModelWeights<S> weights = TinyWeights<S>();
  const Transformer<S> model(weights);
  const Transformer<S, ReferenceBackend> other(weights);
  const auto tokens = RandomTokens(300, TinyConfig().vocab);
  for (const size_t length : {size_t{0}, size_t{1}, size_t{256}, size_t{299}}) {
    CAPTURE(length);
    const TemporaryFile file;
    auto state = model.NewState();
    if (length != 0) REQUIRE(model.Feed(std::span(tokens).first(length), state).ok());
    REQUIRE(SaveState(model, state, file.path()).ok());
    const auto expected = Next(model, std::span(tokens).subspan(length, 1), state);
    // In a state that knew something else, and on another backend.
    auto restored = model.NewState();
    REQUIRE(model.Feed(std::span(tokens).subspan(3, 7), restored).ok());
    REQUIRE(LoadState(model, file.path(), restored).ok());
    CHECK(restored.length() == length);
    CHECK(SameBits(Next(model, std::span(tokens).subspan(length, 1), restored), expected));
    auto elsewhere = other.NewState();
    REQUIRE(LoadState(other, file.path(), elsewhere).ok());
    CHECK(SameBits(Next(other, std::span(tokens).subspan(length, 1), elsewhere), expected));
  }
}

TEST_CASE("conversation file: goes on with the same bits, on any backend") {
  SUBCASE("A48") { CheckRoundTrip<A48>(); }
  SUBCASE("A48Fp4") { CheckRoundTrip<A48Fp4>(); }
  SUBCASE("B158") { CheckRoundTrip<B158>(); }
  SUBCASE("five levels") { CheckRoundTrip<OddCache>(); }
  SUBCASE("edges of another scheme") { CheckRoundTrip<testing::Int8Edges>(); }
  SUBCASE("transformed heads") { CheckRoundTrip<testing::Rotated>(); }
}

// A state of 3 tokens, its file's payload, and what a payload is refused with.
struct Case {
  Transformer<OddCache> model{TinyWeights<OddCache>(TinyConfig())};
  Transformer<OddCache>::State state = model.NewState();
  Bytes payload;

  Case() {
    REQUIRE(model.Feed(RandomTokens(3, TinyConfig().vocab), state).ok());
    payload = SerializeState(model.config(), *state.Save());
  }
  std::string Refusal(const Bytes& bytes) const {
    const auto saved = DeserializeState<OddCache>(model.config(), bytes);
    return saved.ok() ? "" : saved.error();
  }
};

bool Says(const std::string& sentence, const std::string& part) { return sentence.find(part) != std::string::npos; }

TEST_CASE("conversation file: cut short anywhere, or longer, it is refused") {
  const Case c;
  REQUIRE(c.Refusal(c.payload).empty());
  for (size_t n = 0; n < c.payload.size(); ++n) {
    // A copy of its own size: reading beyond it is seen by the sanitizer.
    const Bytes cut(c.payload.begin(), c.payload.begin() + static_cast<std::ptrdiff_t>(n));
    CHECK(c.Refusal(cut).starts_with("at byte "));
  }
  Bytes longer = c.payload;
  longer.push_back(0);
  CHECK(Says(c.Refusal(longer), "1 bytes follow the last layer"));
}

TEST_CASE("conversation file: any byte changed is refused, or is a step's or a code's that has a level") {
  const Case c;
  auto state = c.model.NewState();
  size_t refused = 0, of_codes = 0;
  for (size_t at = 0; at < c.payload.size(); ++at) {
    for (const uint8_t flip : {uint8_t{0x01}, uint8_t{0x80}, uint8_t{0xff}}) {
      Bytes bytes = c.payload;
      bytes[at] = static_cast<uint8_t>(bytes[at] ^ flip);
      const auto saved = DeserializeState<OddCache>(c.model.config(), bytes);
      if (!saved.ok()) ++refused;
      if (!saved.ok() && Says(saved.error(), "it holds codes that its number format does not have")) ++of_codes;
      // What is read can be run.
      if (saved.ok() && state.Restore(*saved).ok()) CHECK(c.model.Feed(std::vector<Token>{1}, state).ok());
    }
  }
  CHECK(refused > c.payload.size() / 10);
  CHECK(of_codes > 10);
  CHECK(refused < 3 * c.payload.size());
}

TEST_CASE("conversation file: of another shape, other formats, or too many tokens, it is refused with both") {
  Case c;
  Bytes bytes = c.payload;
  bytes[0] = 77;
  CHECK(c.Refusal(bytes) == "at byte 16, reading layers: it is 77; the model's is 2");
  bytes = c.payload;
  bytes[19] = 1;
  CHECK(Says(c.Refusal(bytes), "reading tokens: 72057594037927939 tokens; the model allows"));

  const Transformer<A48> other(TinyWeights<A48>(TinyConfig()));
  const auto read = DeserializeState<A48>(other.config(), c.payload);
  REQUIRE(!read.ok());
  CHECK(Says(read.error(), "reading layer0.keys: the file has the levels -2, -1, 0, 1, 2; the scheme A48 expects"));

  // Of a state of another model.
  ModelConfig deeper = TinyConfig();
  ++deeper.layers;
  const Transformer<OddCache> deep(TinyWeights<OddCache>(deeper));
  CHECK(testing::Breaks("another model's", [&] { (void)SaveState(deep, c.state, "unused"); }));
  CHECK(testing::Breaks("another model's", [&] { (void)LoadState(deep, "unused", c.state); }));
  CHECK(testing::Breaks("other layers", [&] { (void)SerializeState(deeper, *c.state.Save()); }));

  // A file that is not one, and a state without room: by the file's name, and the state stays.
  const TemporaryFile file;
  auto small = c.model.NewState(2);
  REQUIRE(c.model.Feed(std::vector<Token>{1}, small).ok());
  CHECK(Says(LoadState(c.model, file.path(), small).error(), file.path()));
  REQUIRE(SaveState(c.model, c.state, file.path()).ok());
  CHECK(LoadState(c.model, file.path(), small).error() ==
        file.path() + ": restore: 3 tokens were saved; this state has room for 2");
  const auto pool = c.model.NewPool(1);
  auto first = c.model.NewState(8, pool), second = c.model.NewState(8, pool);
  REQUIRE(c.model.Feed(std::vector<Token>{1}, first).ok());
  CHECK(Says(LoadState(c.model, file.path(), second).error(), "the pool of pages is exhausted"));
  CHECK(small.length() == 1);
  CHECK(second.length() == 0);
}

}  // namespace
}  // namespace bitnet
