// docs/add-a-format.md, followed to the letter: the blocks of that page are pieces of this file.
#include "guides/shown_in.h"

#include <bitnet/bitnet.h>
#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "testing/random_values.h"
#include "testing/test_format.h"

using namespace bitnet;
using namespace bitnet::testing;  // of the folder tests/

namespace {

struct FiveLevel {
  static constexpr auto kLevels = std::array{-2, -1, 0, 1, 2};
};

struct PowersOfTwo {
  static constexpr auto kLevels = std::array{-4, -2, -1, 0, 1, 2, 4};
};

static_assert(FormatTraits<FiveLevel>::kCodeBits == 3);
static_assert(FormatTraits<FiveLevel>::kIsSymmetric && FormatTraits<FiveLevel>::kIsUniform);
static_assert(Packing<FiveLevel>::kUnitCodes == 3 && Packing<FiveLevel>::kUnitBytes == 1);

static_assert(!FormatTraits<PowersOfTwo>::kIsUniform && FormatTraits<PowersOfTwo>::kTop == 4);
static_assert(Packing<PowersOfTwo>::kUnitCodes == 8 && Packing<PowersOfTwo>::kUnitBytes == 3);

TEST_CASE("FiveLevel: is a format") { TestFormat<FiveLevel>(); }
TEST_CASE("PowersOfTwo: is a format") { TestFormat<PowersOfTwo>(); }

TEST_CASE("FiveLevel: real numbers go to the nearest level") {
  using Q = Quantizer<FiveLevel, AbsMax>;
  const std::vector<float> x = {0.9f, -0.2f, 4.0f, -3.1f};
  std::vector<int8_t> levels(x.size());
  const float step = Q::Quantize(x, levels.data());  // max|x| / 2
  CHECK(step == 2.0f);
  CHECK(levels == std::vector<int8_t>{0, 0, 2, -2});
}

TEST_CASE("FiveLevel: what is packed is what is unpacked") {
  const std::vector<uint8_t> codes = {0, 4, 2, 1, 3};  // a code is the index of a level
  std::vector<uint8_t> packed(Packing<FiveLevel>::Bytes(codes.size()));
  CHECK(packed.size() == 2);  // three to a byte
  Packing<FiveLevel>::Pack(codes, packed);
  std::vector<uint8_t> unpacked(codes.size());
  Packing<FiveLevel>::Unpack(packed.data(), 0, unpacked);
  CHECK(unpacked == codes);
  CHECK(Packing<FiveLevel>::At(packed.data(), 4) == 3);
}

template <class Backend>
std::vector<float> Project(std::span<const float> weights, size_t rows, size_t cols, std::span<const float> x) {
  using Weight = Quantizer<FiveLevel, AbsMean>;
  using Input = Quantizer<PowersOfTwo, AbsMax>;
  BitLinear<Weight, Input, Backend> project(weights, rows, cols);
  std::vector<float> y(x.size() / cols * rows);
  project(x, y);
  return y;
}

TEST_CASE("FiveLevel and PowersOfTwo: the vector backend has the bits of the reference") {
  const size_t rows = 70, cols = 130, tokens = 3;
  const std::vector<float> weights = NormalValues(rows * cols, 1);
  const std::vector<float> x = NormalValues(tokens * cols, 2);
  CHECK(Project<SimdBackend>(weights, rows, cols, x) == Project<ReferenceBackend>(weights, rows, cols, x));
}

struct OfFiveLevels : A48 {
  static constexpr const char* kName = "OfFiveLevels";
  using Weight = Quantizer<FiveLevel, AbsMean>;
  using Input = Quantizer<PowersOfTwo, AbsMax>;
  using Key = Quantizer<FiveLevel, AbsMax>;
  using Value = Quantizer<FiveLevel, AbsMax>;
};

template <class Backend>
std::vector<float> Logits(const ModelWeights<OfFiveLevels>& weights) {
  const Transformer<OfFiveLevels, Backend> model(weights);
  auto state = model.NewState();
  const std::vector<Token> tokens = {'l', 'e', 'v', 'e', 'l'};
  const std::span<const float> logits = *model.Forward(tokens, state);
  return {logits.begin(), logits.end()};
}

TEST_CASE("FiveLevel and PowersOfTwo: a model of them runs, the same on both backends") {
  ModelConfig config;
  config.hidden = 48;
  config.heads = 3;
  config.kv_heads = 1;
  config.head_dim = 16;
  config.ffn = 90;
  config.layers = 2;
  Random random(7);
  const auto weights = ModelWeights<OfFiveLevels>::Quantize(LatentWeights::Initial(config, random));
  CHECK(Logits<SimdBackend>(weights) == Logits<ReferenceBackend>(weights));
}

TEST_CASE("Guide to formats: every block is code of this test") {
  CHECK(ShownWhole("docs/add-a-format.md", "tests/guides/add_a_format_test.cc"));
}

}  // namespace
