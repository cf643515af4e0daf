#include "bitnet/io/gguf.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/base/file.h"
#include "io/gguf_bytes.h"

namespace bitnet::gguf_test {
namespace {

using testing::ErrorOf;
using testing::GgufBytes;

constexpr const char* kGolden = "tests/golden/io/gguf_types.gguf";

bool Has(const std::string& sentence, std::string_view part) { return sentence.find(part) != std::string::npos; }

template <class T>
T Value(const GgufFile& file, std::string_view key) {
  const Result<T> value = file.Get<T>(key);
  if (!value.ok()) FAIL(value.error());
  return *value;
}

void CheckGoldenMetadata(const GgufFile& file) {
  CHECK(Value<std::string_view>(file, "general.architecture") == "bitnet-b1.58");
  CHECK(Value<uint8_t>(file, "t.uint8") == 200);
  CHECK(Value<int8_t>(file, "t.int8") == -100);
  CHECK(Value<uint16_t>(file, "t.uint16") == 60000);
  CHECK(Value<int16_t>(file, "t.int16") == -30000);
  CHECK(Value<uint32_t>(file, "t.uint32") == 4000000000u);
  CHECK(Value<int32_t>(file, "t.int32") == -2000000000);
  CHECK(Value<uint64_t>(file, "t.uint64") == (uint64_t{1} << 63) + 5);
  CHECK(Value<int64_t>(file, "t.int64") == -(int64_t{1} << 62) - 7);
  CHECK(Value<float>(file, "t.float32") == 0.1f);
  CHECK(Value<double>(file, "t.float64") == 0.1);
  CHECK(Value<bool>(file, "t.true"));
  CHECK(!Value<bool>(file, "t.false"));
  CHECK(Value<std::string_view>(file, "t.string") == "zw\xc3\xb6lf \xe6\xbc\xa2\xe5\xad\x97");
  CHECK(Value<std::vector<int32_t>>(file, "t.ints") == std::vector<int32_t>{1, -2, 300000});
  CHECK(Value<std::vector<float>>(file, "t.reals") == std::vector<float>{0.5f, -1.25f});
  CHECK(Value<std::vector<std::string_view>>(file, "t.strings") == std::vector<std::string_view>{"a", "bc", "d e f"});
  CHECK(Value<std::vector<bool>>(file, "t.bools") == std::vector<bool>{true, false, true});
  const GgufValue* nested = file.Find("t.nested");
  REQUIRE(nested != nullptr);
  CHECK(nested->Describe() == "an array of 2 arrays");
  std::vector<std::vector<int>> inner;
  nested->ForEach([&](const GgufValue& value) {
    const auto numbers = value.As<std::vector<int>>();
    REQUIRE(numbers.ok());
    inner.push_back(*numbers);
  });
  CHECK(inner == std::vector<std::vector<int>>{{1, 2}, {3}});
}

TEST_CASE("GgufFile: what PyPI's gguf wrote is read, in version 3 and 2, mapped, read and from memory") {
  const Result<std::vector<uint8_t>> bytes = ReadFile(kGolden);
  REQUIRE(bytes.ok());
  for (const FileAccess access : {FileAccess::kMap, FileAccess::kRead}) {
    const Result<GgufFile> file = GgufFile::Open(kGolden, access);
    REQUIRE_MESSAGE(file.ok(), ErrorOf(file));
    CHECK(file->version() == 3);
    CHECK(file->alignment() == 32);
    CheckGoldenMetadata(*file);
    const GgufTensor* f32 = file->FindTensor("F32");
    REQUIRE(f32 != nullptr);
    CHECK(f32->TypeName() == "F32");
    CHECK(f32->rank == 1);
    CHECK(f32->rows() == 1);
    CHECK(f32->cols() == 4);
    REQUIRE(f32->bytes.size() == 16);
    float values[4];
    std::memcpy(values, f32->bytes.data(), 16);
    CHECK(values[1] == -2.25f);
    CHECK(f32->bytes.data() == file->file().bytes().data() + f32->offset);
    const GgufTensor* three = file->FindTensor("F32.three");
    REQUIRE(three != nullptr);
    CHECK(three->rank == 3);
    CHECK(three->dims == std::array<uint64_t, 4>{4, 3, 2, 1});
    CHECK(three->rows() == 6);
    CHECK(file->FindTensor("F33") == nullptr);
    CHECK(*file->GetTensor("F32") == f32);
    file->Release(*three);
    CHECK(three->bytes[4] == 0);
  }
  std::vector<uint8_t> older = *bytes;
  older[4] = 2;
  const Result<GgufFile> file = GgufFile::Parse(MappedFile::FromBytes(older));
  REQUIRE(file.ok());
  CHECK(file->version() == 2);
  CheckGoldenMetadata(*file);
}

TEST_CASE("GgufFile: numbers are given where the asked type holds them; else the sentence has key and type") {
  GgufBytes bytes;
  bytes.Number("big", 10, ~uint64_t{0}).Number("minus", 5, int32_t{-1}).Number("small", 0, uint8_t{7});
  bytes.Number("real", 12, 1.5).Number("flag", 7, uint8_t{1}).Text("text", "x");
  const Result<GgufFile> file = bytes.Parse();
  REQUIRE(file.ok());
  CHECK(*file->Get<uint64_t>("big") == ~uint64_t{0});
  CHECK(file->Get<int64_t>("big").error() ==
        "f: metadata 'big': an integer from -9223372036854775808 to 9223372036854775807 was expected, and it is "
        "18446744073709551615");
  CHECK(file->Get<uint32_t>("minus").error() ==
        "f: metadata 'minus': an integer from 0 to 4294967295 was expected, and it is -1");
  CHECK(*file->Get<int64_t>("minus") == -1);
  CHECK(*file->Get<uint64_t>("small") == 7);
  CHECK(*file->Get<int8_t>("small") == 7);
  CHECK(*file->Get<float>("real") == 1.5f);
  CHECK(file->Get<int>("real").error() == "f: metadata 'real': an integer was expected, and it is a 64-bit real");
  CHECK(file->Get<float>("small").error() ==
        "f: metadata 'small': a real was expected, and it is an unsigned 8-bit integer");
  CHECK(file->Get<bool>("small").error() ==
        "f: metadata 'small': a truth value was expected, and it is an unsigned 8-bit integer");
  CHECK(file->Get<std::string_view>("flag").error() ==
        "f: metadata 'flag': a text was expected, and it is a truth value");
  CHECK(file->Get<std::vector<int>>("small").error() ==
        "f: metadata 'small': an array of integers was expected, and it is an unsigned 8-bit integer");
  CHECK(file->Get<int>("none").error() == "f: there is no metadata 'none'; an integer was expected");
  CHECK(file->Get<std::vector<std::string_view>>("none").error() ==
        "f: there is no metadata 'none'; an array of texts was expected");
  CHECK(file->GetTensor("w").error() == "f: there is no tensor 'w'");
  CHECK(*file->GetOr<int>("none", 9) == 9);
  CHECK(*file->GetOr<int>("small", 9) == 7);
  CHECK(!file->GetOr<int>("text", 9).ok());
  CHECK(file->Find("none") == nullptr);
}

TEST_CASE("GgufFile: an array with one element that does not fit says which") {
  GgufBytes bytes;
  ByteWriter array;
  array.Number(uint32_t{4});
  array.Number(uint64_t{3});
  for (const uint32_t n : {1u, 70000u, 2u}) array.Number(n);
  bytes.entries.push_back({"a", 9, array.bytes()});
  const Result<GgufFile> file = bytes.Parse();
  REQUIRE(file.ok());
  CHECK(*file->Get<std::vector<int>>("a") == std::vector<int>{1, 70000, 2});
  CHECK(file->Get<std::vector<uint16_t>>("a").error() ==
        "f: metadata 'a': an array of integers from 0 to 65535 was expected, and element 1 is 70000");
  CHECK(file->Get<std::vector<float>>("a").error() ==
        "f: metadata 'a': an array of reals was expected, and element 0 is an unsigned 32-bit integer");
  CHECK(file->Get<int>("a").error() ==
        "f: metadata 'a': an integer was expected, and it is an array of 3 unsigned 32-bit integers");
}

TEST_CASE("GgufFile: other magics, versions and byte orders are refused by name") {
  GgufBytes bytes;
  CHECK(ErrorOf(bytes).empty());
  bytes.version = 1;
  CHECK(ErrorOf(bytes) == "f: version 1 of a GGUF file; versions 2 and 3 are read");
  bytes.version = 4;
  CHECK(Has(ErrorOf(bytes), "version 4"));
  bytes.version = 0x03000000;
  CHECK(Has(ErrorOf(bytes), "big-endian"));
  bytes.magic = "GGML";
  CHECK(Has(ErrorOf(bytes), "this is not a GGUF file"));
  CHECK(Has(ErrorOf(GgufFile::Parse(MappedFile())), "at byte 0"));
}

// A tensor of each kind of place, and an array of texts.
GgufBytes Small() {
  GgufBytes bytes;
  bytes.Number("n", 4, uint32_t{5}).Text("t", "abc");
  ByteWriter array;
  array.Number(uint32_t{8});
  array.Number(uint64_t{2});
  testing::PutText(array, "one");
  testing::PutText(array, "");
  bytes.entries.push_back({"a", 9, array.bytes()});
  bytes.tensors = {{"x", {4, 2}, 0, 0}, {"y", {256}, 35, 32}};
  bytes.data.resize(32 + 66);
  return bytes;
}

TEST_CASE("GgufFile: a file that is cut at any byte is refused") {
  const std::vector<uint8_t> whole = Small().Make();
  REQUIRE(GgufFile::Parse(MappedFile::FromBytes(whole)).ok());
  for (size_t size = 0; size < whole.size(); ++size) {
    const Result<GgufFile> file =
        GgufFile::Parse(MappedFile::FromBytes({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)}));
    CHECK_MESSAGE(!file.ok(), size);
  }
}

TEST_CASE("GgufFile: counts, lengths and dimensions beyond the file are refused, with the byte") {
  const uint64_t huge[] = {1000, uint64_t{1} << 32, uint64_t{1} << 61, uint64_t{1} << 63, ~uint64_t{0}};
  for (const uint64_t n : huge) {
    GgufBytes bytes = Small();
    bytes.tensor_count = n;
    CHECK(Has(ErrorOf(bytes), "at byte 16, reading the number of tensors: " + std::to_string(n) + " are stated"));
    bytes = Small();
    bytes.entry_count = n;
    CHECK(Has(ErrorOf(bytes), "at byte 24, reading the number of metadata entries: "));
    for (uint32_t type = 0; type < 13; ++type) {
      GgufBytes array;
      ByteWriter value;
      value.Number(type);
      value.Number(n);
      array.entries.push_back({"k", 9, value.bytes()});
      CHECK(Has(ErrorOf(array), "reading metadata 'k': "));
    }
    GgufBytes text;
    ByteWriter length;
    length.Number(n);
    text.entries.push_back({"k", 8, length.bytes()});
    CHECK(Has(ErrorOf(text), std::to_string(n) + " bytes were expected, 0 are left"));
    for (size_t d = 0; d < 4; ++d) {
      bytes = Small();
      bytes.tensors[0].dims = {4, 2, 1, 1};
      bytes.tensors[0].dims[d] = n;
      CHECK(!ErrorOf(bytes).empty());
    }
    bytes = Small();
    bytes.tensors[0].dims = {n, n, n, n};
    CHECK(!ErrorOf(bytes).empty());
    bytes = Small();
    bytes.tensors[1].offset = n / 32 * 32;
    CHECK(!ErrorOf(bytes).empty());
  }
  GgufBytes bytes = Small();
  bytes.tensors[0].dims = {4, 0};
  CHECK(Has(ErrorOf(bytes), "reading the dimensions of tensor 'x': dimension 1 is 0"));
  bytes.tensors[0].dims = {4, 2, 1, 1, 1};
  CHECK(Has(ErrorOf(bytes), "reading the number of dimensions of tensor 'x': it is 5"));
  bytes.tensors[0].dims = {4, 3, 0xaaaaaaaaaaaaaaabu};  // 3 times that is 1, in 64 bits
  CHECK(Has(ErrorOf(bytes), "dimension 2 is 12297829382473034411; a tensor has at least one value and at most 2^60"));
  bytes.tensors[0].dims = {};
  CHECK(ErrorOf(bytes).empty());
}

TEST_CASE("GgufFile: types of metadata beyond the table, and truth values beyond 1, are refused") {
  GgufBytes bytes;
  bytes.Number("k", 13, uint64_t{0});
  CHECK(Has(ErrorOf(bytes), "reading metadata 'k': the type is 13; types are from 0 to 12"));
  bytes.entries[0].type = ~0u;
  CHECK(!ErrorOf(bytes).empty());
  bytes.entries[0] = {"k", 7, {2}};
  CHECK(Has(ErrorOf(bytes), "a truth value is 2"));
  bytes.entries[0] = {"k", 9, {7, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 3}};
  CHECK(Has(ErrorOf(bytes), "a truth value is 3"));
}

TEST_CASE("GgufFile: arrays in arrays are read four deep, and no deeper") {
  for (size_t depth = 1; depth <= 2000; depth = depth < 8 ? depth + 1 : depth * 5) {
    GgufBytes bytes;
    ByteWriter value;
    for (size_t i = 0; i < depth; ++i) {
      value.Number(uint32_t{i + 1 == depth ? 4u : 9u});
      value.Number(uint64_t{1});
    }
    value.Number(uint32_t{42});
    bytes.entries.push_back({"k", 9, value.bytes()});
    const Result<GgufFile> file = bytes.Parse();
    CHECK(file.ok() == (depth <= 4));
    if (!file.ok()) {
      CHECK(Has(file.error(), "arrays in arrays are read 4 deep"));
      continue;
    }
    GgufValue at = *file->Find("k");
    for (size_t i = 1; i < depth; ++i) at.ForEach([&](const GgufValue& inner) { at = inner; });
    CHECK(*at.As<std::vector<int>>() == std::vector<int>{42});
  }
}

TEST_CASE("GgufFile: the alignment is a power of two, and offsets are multiples of it") {
  for (const uint32_t alignment : {1u, 8u, 32u, 64u, 4096u}) {
    GgufBytes bytes = Small();
    bytes.Number("general.alignment", 4, alignment);
    bytes.alignment = alignment;
    bytes.tensors[1].offset = std::max(32u, alignment);
    bytes.data.resize(static_cast<size_t>(bytes.tensors[1].offset) + 66);
    const Result<GgufFile> file = bytes.Parse();
    REQUIRE_MESSAGE(file.ok(), ErrorOf(file));
    CHECK(file->alignment() == alignment);
    CHECK(file->data_offset() % alignment == 0);
    CHECK(file->tensors()[1].offset == file->data_offset() + bytes.tensors[1].offset);
  }
  for (const uint32_t alignment : {0u, 3u, 33u, 0xffffffffu}) {
    GgufBytes bytes = Small();
    bytes.Number("general.alignment", 4, alignment);
    CHECK(Has(ErrorOf(bytes), "it must be a power of two"));
  }
  GgufBytes bytes = Small();
  bytes.Number("general.alignment", 4, 1u << 20);  // the data would begin far beyond the end
  CHECK(Has(ErrorOf(bytes), "truncated"));
  bytes = Small();
  bytes.Number("general.alignment", 4, 1u << 21);
  CHECK(Has(ErrorOf(bytes), "at most 2^20 is believed"));
  bytes = Small();
  bytes.Text("general.alignment", "32");
  CHECK(Has(ErrorOf(bytes), "metadata 'general.alignment': an integer was expected, and it is a text"));
  bytes = Small();
  bytes.tensors[1].offset = 33;
  CHECK(Has(ErrorOf(bytes), "tensor 'y' is at offset 33 of the data; offsets must be multiples of 32"));
}

TEST_CASE("GgufFile: names that are there twice are refused by name") {
  GgufBytes bytes = Small();
  bytes.Number("t", 4, 1u);
  CHECK(ErrorOf(bytes) == "f: metadata 't' is there twice");
  bytes = Small();
  bytes.tensors[1].name = "x";
  CHECK(ErrorOf(bytes) == "f: tensor 'x' is there twice");
  bytes.tensors[1].name = bytes.tensors[0].name = std::string(300, '\x1b');
  const std::string error = ErrorOf(bytes);
  CHECK(Has(error, "\\x1b"));
  CHECK(error.find('\x1b') == std::string::npos);
  CHECK(error.size() < 400);
}

TEST_CASE("GgufFile: tensors must not share bytes, nor leave the file") {
  GgufBytes bytes = Small();
  bytes.tensors[1].offset = 0;
  CHECK(Has(ErrorOf(bytes), "are both at byte"));
  bytes = Small();
  bytes.tensors[0].dims = {9};  // 36 bytes, where the next begins after 32
  CHECK(Has(ErrorOf(bytes), "tensor 'x' of type 0, 9, at byte "));
  CHECK(Has(ErrorOf(bytes), "there are 32 bytes; F32 takes 36"));
  bytes = Small();
  bytes.data.resize(32 + 65);
  CHECK(Has(ErrorOf(bytes), "there are 65 bytes; TQ2_0 takes 66"));
  bytes = Small();
  bytes.tensors[1].dims = {128};
  CHECK(Has(ErrorOf(bytes), "TQ2_0 has rows of multiples of 256 values"));
  // More than it takes is no harm, where a number has one meaning.
  bytes = Small();
  bytes.tensors[0].dims = {1};
  const Result<GgufFile> file = bytes.Parse();
  REQUIRE(file.ok());
  CHECK(file->tensors()[0].bytes.size() == 4);
}

TEST_CASE("GgufFile: of types with one number the length decides") {
  struct Case {
    uint32_t id;
    std::vector<uint64_t> dims;
    size_t bytes;
    const char* name;
  };
  const Case cases[] = {
      {42, {1024, 16}, 1024 * 16 / 64 * 18, "Q2_0"},
      {42, {1024, 16}, 1024 * 16 / 128 * 34, "PQ2_0"},
      {42, {64, 3}, 3 * 18, "Q2_0"},  // no block of 128
      {39, {1024, 16}, 1024 * 16 / 32 * 17, "MXFP4"},
      {39, {1024, 16}, 1024 * 16 / 32 * 17 + 64, "TL2"},
      {39, {1024, 16}, 4000, "TL2"},
      {36, {1024, 16}, 1024 * 16 / 4 + 32, "I2_S"},
      {143, {1024, 16}, 1024 * 16 / 128 * 28, "PTQ1_0"},
      {335, {64, 8}, 8 * 20, "IQ2_BN_R4"},
  };
  for (const Case& c : cases) {
    GgufBytes bytes;
    // The second tensor says where the first one ends.
    bytes.tensors = {{"x", c.dims, c.id, 0}, {"y", {1}, 0, (c.bytes + 31) / 32 * 32}};
    bytes.data.resize((c.bytes + 31) / 32 * 32 + 4);
    const Result<GgufFile> file = bytes.Parse();
    REQUIRE_MESSAGE(file.ok(), ErrorOf(file));
    CHECK(file->FindTensor("x")->TypeName() == c.name);
    if (std::string_view(c.name) != "TL2") CHECK(file->FindTensor("x")->bytes.size() == c.bytes);
    // As the last one, padded or not.
    for (const bool padded : {false, true}) {
      bytes.tensors.resize(1);
      bytes.data.resize(padded ? (c.bytes + 31) / 32 * 32 : c.bytes);
      const Result<GgufFile> last = bytes.Parse();
      REQUIRE(last.ok());
      CHECK(last->FindTensor("x")->TypeName() == c.name);
    }
  }
  GgufBytes bytes;
  bytes.tensors = {{"x", {1024, 16}, 143, 0}};
  bytes.data.resize(1024 * 16);
  CHECK(ErrorOf(bytes).empty());
  bytes.data.resize(3000);
  CHECK(Has(ErrorOf(bytes), "there are 3000 bytes; PTQ1_0 takes 3584"));
  bytes.tensors[0].dims = {64, 6};
  bytes.tensors[0].type = 335;
  CHECK(Has(ErrorOf(bytes), "IQ2_BN_R4 has rows of multiples of 64 values, in 4s"));
}

TEST_CASE("GgufFile: what alignment leaves undecided is as the rest of the file, or refused") {
  GgufBytes bytes;
  bytes.tensors = {{"small", {128, 1}, 42, 0}};  // 36 bytes or 34, in 64
  bytes.data.resize(64);
  CHECK(Has(ErrorOf(bytes), "Q2_0 takes 36; PQ2_0 takes 34; which of them it is cannot be told"));
  for (const bool is_large_pq : {false, true}) {
    bytes.tensors = {{"small", {128, 1}, 42, 0}, {"large", {1024, 16}, 42, 64}};
    bytes.data.resize(64 + (is_large_pq ? 1024 * 16 / 128 * 34 : 1024 * 16 / 64 * 18));
    const Result<GgufFile> file = bytes.Parse();
    REQUIRE_MESSAGE(file.ok(), ErrorOf(file));
    CHECK(file->FindTensor("small")->TypeName() == (is_large_pq ? "PQ2_0" : "Q2_0"));
  }
  // One of each: nothing decides.
  bytes.tensors.push_back({"other", {1024, 16}, 42, 64 + 4352});
  bytes.data.resize(64 + 4352 + 4608);
  CHECK(Has(ErrorOf(bytes), "cannot be told"));
}

TEST_CASE("GgufFile: a tensor of an unknown type is kept with the bytes up to the next") {
  GgufBytes bytes = Small();
  bytes.tensors[0].type = 77;
  const Result<GgufFile> file = bytes.Parse();
  REQUIRE(file.ok());
  CHECK(file->tensors()[0].type == nullptr);
  CHECK(file->tensors()[0].TypeName() == "type 77");
  CHECK(file->tensors()[0].bytes.size() == 32);
}

TEST_CASE("GgufFile: a file without tensors may end before the data, and a file may have nothing") {
  GgufBytes bytes;
  bytes.Number("n", 4, 1u);
  const Result<GgufFile> file = bytes.Parse();
  REQUIRE(file.ok());
  CHECK(file->tensors().empty());
  CHECK(GgufBytes().Parse().ok());
}

TEST_CASE("GgufTypes: numbers stand together, sizes are those of whole blocks, and nothing overflows") {
  const auto types = GgufTypes();
  for (size_t i = 1; i < types.size(); ++i) CHECK(types[i - 1].id <= types[i].id);
  for (const GgufType& type : types) {
    CHECK(FindGgufType(type.name) != nullptr);
    CHECK(!FindGgufTypes(type.id).empty());
    for (const uint64_t huge : {uint64_t{1} << 40, uint64_t{1} << 62, ~uint64_t{0} - 255}) {
      const auto bytes = type.Bytes(huge, huge);
      CHECK(!bytes);
    }
    CHECK(!type.Bytes(0, 256));
    CHECK(!type.Bytes(4, 0));
    if (type.block_values > 1) CHECK(!type.Bytes(1, type.block_values + 1));
  }
  CHECK(FindGgufTypes(4).empty());
  CHECK(FindGgufType("Q9") == nullptr);
  CHECK(FindGgufType("IQ1_BN")->Bytes(3, 128) == 3 * (2 + 26));
  CHECK(FindGgufType("I2_S")->Bytes(3, 128) == 96 + 32);
}

}  // namespace
}  // namespace bitnet::gguf_test
