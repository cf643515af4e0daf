#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "bitnet/io/gguf.h"
#include "io/gguf_bytes.h"
#include "io/gguf_seeds.h"
#include "testing/mutations.h"

namespace bitnet::gguf_remains_test {
namespace {

using testing::GgufBytes;

GgufRemains RemainsOf(std::vector<uint8_t> bytes) {
  return ReadGgufRemains(MappedFile::FromBytes(std::move(bytes), "f"));
}

// Two entries; an F32 tensor of 4 values, one of 42, which is Q2_0 (36 bytes) or PQ2_0 (34), and another F32.
GgufBytes Whole() {
  GgufBytes file;
  file.Text("general.architecture", "llama").Number("n", 4, uint32_t{7});
  file.tensors = {{"a", {4}, 0, 0}, {"b", {128}, 42, 32}, {"c", {2, 3}, 0, 96}};
  file.data.resize(96 + 24);
  for (size_t i = 0; i < file.data.size(); ++i) file.data[i] = static_cast<uint8_t>(i);
  return file;
}

TEST_CASE("ReadGgufRemains: of a file without a fault it gives what GgufFile gives") {
  GgufBytes whole = Whole();
  whole.tensors[1].type = 41;  // one type alone has this number
  const GgufRemains remains = RemainsOf(whole.Make());
  const Result<GgufFile> file = whole.Parse();
  REQUIRE(file.ok());
  CHECK(remains.fault.empty());
  REQUIRE(remains.file.tensors().size() == 3);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(remains.file.tensors()[i].type == file->tensors()[i].type);
    CHECK(remains.file.tensors()[i].offset == file->tensors()[i].offset);
    CHECK(remains.file.tensors()[i].bytes.size() == file->tensors()[i].bytes.size());
  }
}

TEST_CASE("ReadGgufRemains: a truncated file keeps its metadata, its tensors, and their bytes as far as they go") {
  std::vector<uint8_t> bytes = Whole().Make();
  const size_t data = bytes.size() - 120;
  for (size_t kept = 0; kept < 120; kept += 8) {
    std::vector<uint8_t> cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(data + kept));
    const GgufRemains remains = RemainsOf(cut);
    const Result<GgufFile> file = GgufFile::Parse(MappedFile::FromBytes(cut, "f"));
    REQUIRE_FALSE(file.ok());
    CHECK(remains.fault == file.error());
    CHECK(*remains.file.Get<uint32_t>("n") == 7);
    REQUIRE(remains.file.tensors().size() == 3);
    const GgufTensor* const a = remains.file.FindTensor("a");
    const GgufTensor* const c = remains.file.FindTensor("c");
    REQUIRE(a != nullptr);
    REQUIRE(c != nullptr);
    CHECK(a->bytes.size() == std::min<size_t>(kept, 16));
    CHECK(c->bytes.size() == (kept > 96 ? kept - 96 : 0));
    for (size_t i = 0; i < a->bytes.size(); ++i) CHECK(a->bytes[i] == i);
    for (size_t i = 0; i < c->bytes.size(); ++i) CHECK(c->bytes[i] == 96 + i);
    CHECK(a->type == FindGgufType("F32"));
  }
  // Where the list of tensors ends early, those before its end have names and no bytes.
  bytes.resize(data - 40);
  const GgufRemains remains = RemainsOf(bytes);
  CHECK(remains.fault.find("reading") != std::string::npos);
  REQUIRE(remains.file.tensors().size() == 2);
  CHECK(remains.file.tensors()[0].bytes.empty());
  CHECK(remains.file.tensors()[0].type == FindGgufType("F32"));
  CHECK(*remains.file.Get<std::string_view>("general.architecture") == "llama");
}

TEST_CASE("ReadGgufRemains: names that stand twice, offsets that are wrong, types without such a shape") {
  GgufBytes file = Whole();
  file.tensors[2].name = "a";
  file.Number("n", 4, uint32_t{8});
  GgufRemains remains = RemainsOf(file.Make());
  CHECK(remains.fault == "f: metadata 'n' is there twice");
  REQUIRE(remains.file.tensors().size() == 3);
  CHECK(remains.file.tensors()[2].bytes.size() == 24);

  file = Whole();
  file.tensors[0].offset = 8;
  file.tensors[2].offset = ~uint64_t{0} - 7;
  remains = RemainsOf(file.Make());
  CHECK(remains.fault.find("offsets must be multiples of 32") != std::string::npos);
  CHECK(remains.file.tensors()[0].bytes[0] == 8);
  CHECK(remains.file.tensors()[0].bytes.size() == 16);
  CHECK(remains.file.tensors()[2].bytes.empty());

  file = Whole();
  file.tensors[1] = {"b", {100}, 35, 32};  // TQ2_0 has rows of 256 values
  remains = RemainsOf(file.Make());
  CHECK(remains.fault.find("TQ2_0 has rows of multiples of 256 values") != std::string::npos);
  CHECK(remains.file.FindTensor("b")->bytes.size() == 64);
  CHECK(remains.file.FindTensor("c")->bytes.size() == 24);
  CHECK(remains.file.FindTensor("c")->bytes[0] == 96);
}

TEST_CASE("ReadGgufRemains: whatever a file says, its remains lie in it") {
  const std::vector<std::vector<uint8_t>> seeds = testing::GgufSeeds();
  size_t with_fault = 0;
  for (size_t n = 0; n < 5000; ++n) {
    const std::vector<uint8_t> bytes = testing::Mutated(seeds[n % seeds.size()], n);
    const GgufRemains remains = RemainsOf(bytes);
    CHECK(remains.fault.empty() == GgufFile::Parse(MappedFile::FromBytes(bytes, "f")).ok());
    with_fault += remains.fault.empty() ? 0u : 1u;
    const auto all = remains.file.file().bytes();
    for (const GgufTensor& tensor : remains.file.tensors()) {
      if (tensor.bytes.empty()) continue;
      CHECK(tensor.bytes.data() >= all.data());
      CHECK(tensor.bytes.data() + tensor.bytes.size() <= all.data() + all.size());
    }
  }
  CHECK(with_fault > 1000);
}

}  // namespace
}  // namespace bitnet::gguf_remains_test
