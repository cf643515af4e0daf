// What reading files takes of memory: of a GGUF file, right or wrong as it may be, a small multiple of its bytes; of a
// packed model that is mapped, little beside what is prepared.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <variant>
#include <vector>

#include "bitnet/backend/simd/default_backend.h"
#include "bitnet/io/blocks.h"
#include "bitnet/io/gguf.h"
#include "bitnet/io/map_model.h"
#include "io/gguf_seeds.h"
#include "testing/mutations.h"
#include "testing/replaced_new.h"
#include "testing/temporary_file.h"
#include "testing/tiny_model.h"

namespace bitnet::testing {
namespace {

// The most bytes that are held at once while `call` runs.
template <class Call>
size_t MostHeld(Call&& call) {
  const size_t before = held.load();
  most_held = before;
  call();
  return most_held.load() - before;
}

void CheckMemory(const std::vector<uint8_t>& bytes, size_t& accepted) {
  // An entry of 13 bytes takes 56 of memory, a tensor of 32 takes 96; vectors double as they grow. A tensor's bytes are
  // at most doubled: a column of I2_S in fours takes a byte a row. 8 KB are for messages.
  const size_t limit = 16 * bytes.size() + 8192;
  Result<GgufFile> file = Error{"not read"};
  const size_t parsed = MostHeld([&] { file = GgufFile::Parse(MappedFile::FromBytes(bytes)); });
  CHECK(parsed <= limit);
  if (!file.ok()) return;
  ++accepted;
  for (const GgufTensor& tensor : file->tensors()) {
    for (const I2sLayout i2s : {I2sLayout::kA, I2sLayout::kB, I2sLayout::kC}) {
      const size_t decoded = MostHeld([&] { (void)DecodeTensor(*file, tensor, {i2s}).ok(); });
      CHECK(decoded <= 8 * tensor.bytes.size() + 8192);
    }
  }
  for (const GgufEntry& entry : file->metadata()) {
    const size_t taken = MostHeld([&] {
      (void)entry.value.As<std::vector<uint64_t>>().ok();
      (void)entry.value.As<std::vector<std::string_view>>().ok();
    });
    CHECK(taken <= 8 * entry.value.bytes().size() + 4096);
  }
}

TEST_CASE("GgufFile: the memory that is taken is a small multiple of the file, whatever it says") {
  size_t accepted = 0;
  const std::vector<std::vector<uint8_t>> seeds = GgufSeeds();
  for (const auto& seed : seeds) CheckMemory(seed, accepted);
  CHECK(accepted == seeds.size());
  for (size_t n = 0; n < 20000; ++n) CheckMemory(Mutated(seeds[n % seeds.size()], n), accepted);
  CHECK(accepted > 1000);
}

TEST_CASE("GgufFile: a hundred thousand entries and tensors take a multiple of their bytes") {
  GgufBytes many;
  for (uint32_t i = 0; i < 100000; ++i) {
    many.Number(std::to_string(i), 0, uint8_t{1});
    many.tensors.push_back({std::to_string(i), {}, 24, 32 * uint64_t{i}});
  }
  many.data.resize(32 * 100000);
  const std::vector<uint8_t> bytes = many.Make();
  size_t accepted = 0;
  CheckMemory(bytes, accepted);
  CHECK(accepted == 1);
}

TEST_CASE("MapModel: beside what is prepared one layer, or the embedding, is held") {
  ModelConfig config = TinyConfig();
  config.layers = 24;
  const TemporaryFile file;
  size_t largest = 0;
  size_t prepared = 0;
  {
    const ModelWeights<A48> weights = TinyWeights<A48>(config);
    REQUIRE(SaveModel(weights, file.path()).ok());
    size_t of_layer = 0;
    ForEachTensorOfLayer(
        config, 0,
        [&](auto tensor, const auto& values) {
          if constexpr (tensor.kRole == TensorRole::kGain) {
            of_layer += values.size() * sizeof(float);
          } else {
            of_layer += values.StoredBytes();
          }
        },
        weights.layers[0]);
    largest = std::max(of_layer, weights.embedding.StoredBytes());
    const size_t before = held.load();
    const Transformer<A48> model(weights);
    prepared = held.load() - before;
  }
  const size_t most = MostHeld([&] { REQUIRE(MapModel<A48>(file.path()).ok()); });
  CHECK(most > prepared / 2);
  // (Codes of a row while it is packed, names, and vectors of layers that double as they grow.)
  CHECK(most <= prepared + prepared / 4 + 2 * largest);
  // All weights at once, as LoadModel has them, are more than that allows.
  const size_t loaded = MostHeld([&] {
    const auto weights = LoadModel<A48>(file.path());
    REQUIRE(weights.ok());
    const Transformer<A48> model(*weights);
  });
  CHECK(loaded > prepared + prepared / 4 + 2 * largest);
}

}  // namespace
}  // namespace bitnet::testing
