#include "bitnet/io/safetensors.h"

#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "bitnet/base/file.h"
#include "bitnet/io/safetensors_writer.h"
#include "testing/temporary_file.h"

namespace bitnet::safetensors_test {
namespace {

using Type = SafetensorsType;
using Bytes = std::vector<uint8_t>;

const std::string kGolden = std::string(BITNET_SOURCE_DIR) + "/tests/golden/io/";

bool Has(const std::string& sentence, std::string_view part) { return sentence.find(part) != std::string::npos; }

// A file of this header and so many bytes of values.
Bytes FileOf(const std::string& header, size_t values, uint64_t stated = UINT64_MAX) {
  if (stated == UINT64_MAX) stated = header.size();
  Bytes file;
  for (size_t i = 0; i < 8; ++i) file.push_back(static_cast<uint8_t>(stated >> (8 * i)));
  file.insert(file.end(), header.begin(), header.end());
  for (size_t i = 0; i < values; ++i) file.push_back(static_cast<uint8_t>(i));
  return file;
}
std::string Fault(const Bytes& file) {
  const auto header = ReadSafetensorsHeader(file, "f");
  return header.ok() ? "" : header.error();
}
std::string Fault(const std::string& header, size_t values) { return Fault(FileOf(header, values)); }

Bytes SmallFile() {
  return FileOf(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
      R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"s":{"dtype":"F32","shape":[],"data_offsets":[16,20]}})",
      20);
}

// A folder of this test alone, removed at the end.
class Folder {
 public:
  Folder() { std::filesystem::create_directories(name_.path()); }
  ~Folder() { std::filesystem::remove_all(name_.path()); }
  std::string operator/(const std::string& name) const { return name_.path() + "/" + name; }
  const std::string& path() const { return name_.path(); }
  void Put(const std::string& name, const Bytes& bytes) const { REQUIRE(WriteFile(*this / name, bytes).ok()); }
  void Put(const std::string& name, const std::string& text) const { Put(name, Bytes(text.begin(), text.end())); }

 private:
  testing::TemporaryFile name_;
};

std::string OpenFault(const std::string& path) {
  const Result<Safetensors> files = Safetensors::Open(path);
  return files.ok() ? "" : files.error();
}

TEST_CASE("ReadSafetensorsHeader: tensors in the order of their bytes, with offsets of the file") {
  const Bytes file = SmallFile();
  const auto header = ReadSafetensorsHeader(file, "f");
  REQUIRE(header.ok());
  CHECK(header->metadata == SafetensorsMetadata{{"format", "pt"}});
  REQUIRE(header->tensors.size() == 3);
  const SafetensorsTensor& b = header->tensors[1];
  CHECK(header->tensors[0].name == "a");
  CHECK(b.name == "b");
  CHECK(b.type == Type::kBF16);
  CHECK(b.shape == std::vector<uint64_t>{2, 3});
  CHECK(b.begin == file.size() - 16);
  CHECK(b.bytes == 12);
  CHECK(b.TypeAndShape() == "BF16 [2, 3]");
  CHECK(header->tensors[2].TypeAndShape() == "F32 []");
}

TEST_CASE("ReadSafetensorsHeader: a file that is cut anywhere is refused") {
  const Bytes file = SmallFile();
  REQUIRE(Fault(file) == "");
  for (size_t n = 0; n < file.size(); ++n) CHECK(Fault(Bytes(file.begin(), file.begin() + static_cast<int>(n))) != "");
  CHECK(Has(Fault(Bytes(file.begin(), file.end() - 1)), "it is truncated"));
  Bytes longer = file;
  longer.push_back(0);
  CHECK(Has(Fault(longer), "what follows is unknown"));
}

TEST_CASE("ReadSafetensorsHeader: the header's length is checked before anything is taken for it") {
  CHECK(Has(Fault(Bytes{1, 2, 3}), "has 3 bytes; a safetensors file begins with the 8 bytes"));
  CHECK(Has(Fault(FileOf("{}", 0, 3)), "the header's length is 3; 2 bytes follow"));
  CHECK(Has(Fault(FileOf("{}", 0, 100'000'001)), "at most 100000000 are read"));
  CHECK(Has(Fault(FileOf("{}", 0, UINT64_MAX - 7)), "at most 100000000 are read"));
  CHECK(Has(Fault(FileOf("{}", 0, UINT64_MAX - 1)), "at most"));
  CHECK(Has(Fault(FileOf("{}", 0, 0)), "must begin with '{'"));
  CHECK(Has(Fault(" {}", 0), "must begin with '{'"));
  CHECK(Has(Fault("[]", 0), "must begin with '{'"));
  CHECK(Fault("{}", 0) == "");
  CHECK(Fault("{}      ", 0) == "");
  CHECK(Has(Fault("{}", 1), "the tensors take 0 bytes from byte 10 on; the file has 1 there"));
}

TEST_CASE("ReadSafetensorsHeader: hostile members are refused by name") {
  const auto one = [](const std::string& member) { return "{\"t\":" + member + "}"; };
  CHECK(Fault(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})"), 4) == "");
  CHECK(Fault(one("3"), 0) == "f: header: t: it is 3; an object was expected");
  CHECK(Fault(one("{}"), 0) == "f: header: t: there is no key 'dtype'");
  CHECK(Fault(one(R"({"dtype":"F32"})"), 0) == "f: header: t: there is no key 'shape'");
  CHECK(Fault(one(R"({"dtype":"F32","shape":[]})"), 4) == "f: header: t: there is no key 'data_offsets'");
  CHECK(Has(Fault(one(R"({"dtype":"F128","shape":[1],"data_offsets":[0,16]})"), 16),
            "t.dtype: the type 'F128' is not known"));
  CHECK(Has(Fault(one(R"({"dtype":"f32","shape":[1],"data_offsets":[0,4]})"), 4), "'f32' is not known"));
  CHECK(Has(Fault(one(R"({"dtype":7,"shape":[1],"data_offsets":[0,4]})"), 4), "t.dtype: it is 7"));
  CHECK(Has(Fault(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4],"layout":"C"})"), 4),
            "t.layout: the format has no such key"));
  for (const char* shape : {"1", "[-1]", "[1.0]", "[\"1\"]", "[null]", "[18446744073709551616]", "{}"}) {
    CHECK(Has(Fault(one(std::string(R"({"dtype":"F32","data_offsets":[0,4],"shape":)") + shape + "}"), 4), "t.shape"));
  }
  for (const char* offsets : {"0", "[]", "[0]", "[0,4,4]", "[4,0]", "[0,3]", "[0,5]", "[0,4.0]", "[-4,0]", "[\"0\",4]",
                              "[18446744073709551615,3]", "[18446744073709551612,18446744073709551615]"}) {
    INFO(std::string(offsets));
    CHECK(Has(Fault(one(std::string(R"({"dtype":"F32","shape":[1],"data_offsets":)") + offsets + "}"), 4),
              "t.data_offsets"));
  }
  CHECK(Has(Fault(R"({"__metadata__":{"a":1}})", 0), "__metadata__.a: it is 1; a text was expected"));
  CHECK(Has(Fault(R"({"__metadata__":[]})", 0), "__metadata__: it is a list; an object was expected"));
  CHECK(Has(
      Fault(
          R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
          8),
      "the key 't' is there twice"));
}

TEST_CASE("ReadSafetensorsHeader: sizes that overflow are refused") {
  const auto shape = [](const char* type, const std::string& dimensions, uint64_t end) {
    return std::string("{\"t\":{\"dtype\":\"") + type + "\",\"shape\":[" + dimensions + "],\"data_offsets\":[0," +
           std::to_string(end) + "]}}";
  };
  CHECK(Has(Fault(shape("F32", "4294967296,4294967296", 0), 0), "no number of bytes that 64 bits hold"));
  CHECK(Has(Fault(shape("U8", "2305843009213693952", 0), 0), "no number of bytes that 64 bits hold"));  // 2^64 bits
  CHECK(Has(Fault(shape("U8", "2305843009213693951", 8), 8), "takes 2305843009213693951 bytes"));
  CHECK(Has(Fault(shape("F32", "9223372036854775809,2", 8), 8), "no number of bytes"));
  // Of nothing there is nothing, however long the rest.
  CHECK(Fault(shape("F32", "18446744073709551615,0,18446744073709551615", 0), 0) == "");
  // Types of less than a byte fill whole bytes.
  CHECK(Fault(shape("F4", "6", 3), 3) == "");
  CHECK(Has(Fault(shape("F4", "3", 1), 1), "no number of bytes"));
  CHECK(Fault(shape("F6_E2M3", "4", 3), 3) == "");
  std::string many = "1";
  for (int i = 0; i < 1000; ++i) many += ",1";
  CHECK(Fault(shape("F32", many, 4), 4) == "");
  CHECK(Fault(shape("F32", many, 3), 3).size() < 500);
}

TEST_CASE("ReadSafetensorsHeader: tensors leave no gap and do not overlap") {
  const auto two = [](const char* a, const char* b) {
    return std::string(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)") + a +
           R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}";
  };
  CHECK(Fault(two("[0,4]", "[4,8]"), 8) == "");
  CHECK(Fault(two("[4,8]", "[0,4]"), 8) == "");
  CHECK(Has(Fault(two("[0,4]", "[5,9]"), 9), "'b' begins at byte 5 of the values; what is before it ends at byte 4"));
  CHECK(Has(Fault(two("[0,4]", "[3,7]"), 7), "'b' begins at byte 3"));
  CHECK(Has(Fault(two("[0,4]", "[0,4]"), 4), "begins at byte 0 of the values; what is before it ends at byte 4"));
  CHECK(Has(Fault(two("[1,5]", "[5,9]"), 9), "'a' begins at byte 1"));
  CHECK(Has(Fault(two("[0,4]", "[18446744073709551611,18446744073709551615]"), 8),
            "'b' begins at byte 18446744073709551611"));
}

TEST_CASE("ReadSafetensorsRemains: of a file with a fault, the tensors that are right") {
  const Bytes whole = SmallFile();
  SafetensorsRemains remains = ReadSafetensorsRemains(whole, "f");
  CHECK(remains.fault.empty());
  CHECK(remains.header.tensors.size() == 3);
  // Cut within the values: all tensors, where they were.
  for (size_t cut = 1; cut <= 20; ++cut) {
    const Bytes part(whole.begin(), whole.end() - static_cast<std::ptrdiff_t>(cut));
    remains = ReadSafetensorsRemains(part, "f");
    CHECK(remains.fault == Fault(part));
    CHECK(Has(remains.fault, "it is truncated"));
    REQUIRE(remains.header.tensors.size() == 3);
    for (size_t i = 0; i < 3; ++i) {
      CHECK(remains.header.tensors[i].begin == whole.size() - 20 + std::array<uint64_t, 3>{0, 4, 16}[i]);
    }
  }
  // Members that are wrong, a gap, an overlap: the first fault, and all that is right.
  const Bytes wrong = FileOf(R"({"__metadata__":{"a":1,"b":"c"},"x":{"dtype":"F99","shape":[1],"data_offsets":[0,4]},)"
                             R"("y":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},"w":7,)"
                             R"("z":{"dtype":"U8","shape":[2],"data_offsets":[9,11]}})",
                             20);
  remains = ReadSafetensorsRemains(wrong, "f");
  CHECK(remains.fault == Fault(wrong));
  CHECK(Has(remains.fault, "a text was expected"));
  CHECK(remains.header.metadata == SafetensorsMetadata{{"b", "c"}});
  REQUIRE(remains.header.tensors.size() == 2);
  CHECK(remains.header.tensors[0].begin == wrong.size() - 20 + 8);
  CHECK(remains.header.tensors[1].begin == wrong.size() - 20 + 9);
  CHECK(ReadSafetensorsRemains({}, "f").fault == Fault(Bytes()));
}

TEST_CASE("ReadSafetensorsHeader: every changed byte is read or refused, and what is read lies in the file") {
  const Bytes file = SmallFile();
  for (size_t i = 0; i < file.size() - 20; ++i) {
    for (int byte = 0; byte < 256; ++byte) {
      Bytes changed = file;
      changed[i] = static_cast<uint8_t>(byte);
      const auto header = ReadSafetensorsHeader(changed, "f");
      if (!header.ok()) continue;
      uint64_t bytes = 0;
      for (const SafetensorsTensor& tensor : header->tensors) {
        CHECK(tensor.begin + tensor.bytes <= changed.size());
        bytes += tensor.bytes;
      }
      CHECK(bytes == 20);
    }
  }
}

TEST_CASE("Safetensors: a file of PyPI's safetensors, of every type") {
  const auto files = Safetensors::Open(kGolden + "hf_types.safetensors");
  REQUIRE(files.ok());
  CHECK(files->metadata() == SafetensorsMetadata{{"format", "np"}});
  const auto bytes_of = [&](const char* name, Type type, std::vector<uint64_t> shape) {
    const auto tensor = files->Get(name, shape);
    REQUIRE(tensor.ok());
    CHECK((*tensor)->type == type);
    const auto bytes = files->Bytes(**tensor);
    return Bytes(bytes.begin(), bytes.end());
  };
  CHECK(bytes_of("bool", Type::kBool, {3}) == Bytes{1, 0, 1});
  CHECK(bytes_of("u8", Type::kU8, {5}) == Bytes{0, 1, 2, 3, 4});
  CHECK(bytes_of("i8", Type::kI8, {4}) == Bytes{0xfe, 0xff, 0, 1});
  CHECK(bytes_of("i16", Type::kI16, {2, 3}) == Bytes{0xfd, 0xff, 0xfe, 0xff, 0xff, 0xff, 0, 0, 1, 0, 2, 0});
  CHECK(bytes_of("u16", Type::kU16, {1}) == Bytes{0xff, 0xff});
  CHECK(bytes_of("f16", Type::kF16, {3}) == Bytes{0x00, 0x38, 0x00, 0xc0, 0xff, 0x7b});
  CHECK(bytes_of("bf16", Type::kBF16, {2}) == Bytes{0xc0, 0x3f, 0x40, 0xc0});
  CHECK(bytes_of("i32", Type::kI32, {}) == Bytes{7, 0, 0, 0});
  CHECK(bytes_of("u32", Type::kU32, {1, 1}) == Bytes{0xff, 0xff, 0xff, 0xff});
  CHECK(bytes_of("f32", Type::kF32, {1, 3}) == Bytes{0, 0, 0x80, 0x3e, 0, 0, 0x80, 0xbf, 0, 0, 0x60, 0x40});
  CHECK(bytes_of("f64", Type::kF64, {1}) == Bytes{0x18, 0x2d, 0x44, 0x54, 0xfb, 0x21, 0x09, 0x40});
  CHECK(bytes_of("i64", Type::kI64, {1}) == Bytes(8, 0xff));
  CHECK(bytes_of("u64", Type::kU64, {1}) == Bytes(8, 0xff));
  CHECK(bytes_of("c64", Type::kC64, {1}) == Bytes{0, 0, 0x80, 0x3f, 0, 0, 0, 0x40});
  CHECK(bytes_of("f8", Type::kF8E4M3, {2}) == Bytes{0x38, 0xb0});
  CHECK(bytes_of("empty", Type::kF32, {0, 4}).empty());
  CHECK(bytes_of("name \"\\ \xc3\xa9", Type::kU8, {1}) == Bytes{0});
  CHECK(files->tensors().size() == 17);
}

TEST_CASE("Safetensors: what is not there, or of another shape, is refused with the place") {
  const auto files = Safetensors::FromFile(MappedFile::FromBytes(SmallFile(), "f"));
  REQUIRE(files.ok());
  CHECK(files->Find("c") == nullptr);
  CHECK(files->Find("") == nullptr);
  CHECK(files->Find("z") == nullptr);
  const uint64_t shape[] = {3, 2};
  CHECK(files->Get("c", shape).error() == "f: there is no tensor 'c'");
  const uint64_t begin = files->Find("b")->begin;
  CHECK(files->Get("b", shape).error() ==
        "f: 'b' (BF16 [2, 3], at byte " + std::to_string(begin) + "): BF16 [3, 2] was expected");
  CHECK_FALSE(files->Get("b", std::span(shape).first(1)).ok());
  files->Release(*files->Find("b"));
}

TEST_CASE("SafetensorsWriter: the bytes are those of PyPI's safetensors") {
  const std::string golden = kGolden + "hf_types.safetensors";
  const auto files = Safetensors::Open(golden);
  REQUIRE(files.ok());
  std::vector<SafetensorsTensor> tensors(files->tensors().rbegin(), files->tensors().rend());
  const testing::TemporaryFile copy;
  auto writer = SafetensorsWriter::Begin(copy.path(), tensors, files->metadata());
  REQUIRE(writer.ok());
  for (const SafetensorsTensor& tensor : writer->tensors()) {
    const auto bytes = files->Bytes(*files->Find(tensor.name));
    // In pieces.
    REQUIRE(writer->Write(bytes.first(bytes.size() / 2)).ok());
    REQUIRE(writer->Write(bytes.subspan(bytes.size() / 2)).ok());
  }
  CHECK_FALSE(std::filesystem::exists(copy.path()));
  REQUIRE(writer->Commit().ok());
  CHECK(*ReadFile(copy.path()) == *ReadFile(golden));
}

TEST_CASE("SafetensorsWriter: what could not be read is not written, and what is not committed leaves the old file") {
  const testing::TemporaryFile file;
  REQUIRE(WriteFile(file.path(), Bytes{1, 2, 3}).ok());
  const auto refused = [&](std::vector<SafetensorsTensor> tensors, const SafetensorsMetadata& metadata = {}) {
    const auto writer = SafetensorsWriter::Begin(file.path(), std::move(tensors), metadata);
    return writer.ok() ? "" : writer.error();
  };
  CHECK(Has(refused({{"a", Type::kU8, {1}}, {"a", Type::kU8, {1}}}), "the key 'a' is there twice"));
  CHECK(Has(refused({{"\xff", Type::kU8, {1}}}), "at byte"));
  CHECK(Has(refused({{"__metadata__", Type::kU8, {1}}}), "no tensor may be called __metadata__"));
  CHECK(Has(refused({{"a", Type::kU8, {uint64_t{1} << 60}},
                     {"b", Type::kU8, {uint64_t{1} << 60}},
                     {"c", Type::kU8, {uint64_t{1} << 60}},
                     {"d", Type::kU8, {uint64_t{1} << 60}},
                     {"e", Type::kU8, {uint64_t{1} << 60}}}),
            "more than 2^62 bytes"));
  CHECK(Has(refused({}, {{"a", "1"}, {"a", "2"}}), "the key 'a' is there twice"));
  {
    auto writer = SafetensorsWriter::Begin(file.path(), {{"a", Type::kF32, {2}}});
    REQUIRE(writer.ok());
    REQUIRE(writer->Write(std::vector<float>{1.0f, 2.0f}).ok());
  }
  CHECK(*ReadFile(file.path()) == Bytes{1, 2, 3});
}

TEST_CASE("SafetensorsWriter: no tensors and no metadata make a file that is read") {
  const testing::TemporaryFile file;
  auto writer = SafetensorsWriter::Begin(file.path(), {});
  REQUIRE(writer.ok());
  REQUIRE(writer->Commit().ok());
  const auto files = Safetensors::Open(file.path());
  REQUIRE(files.ok());
  CHECK(files->tensors().empty());
}

// Two shards, of tensors a, c and b.
class Shards {
 public:
  Shards() {
    folder.Put(
        "one.safetensors",
        FileOf(
            R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"c":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
            3));
    folder.Put("two.safetensors", FileOf(R"({"b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", 3));
  }
  std::string Index(const std::string& map, const std::string& more = "") const {
    folder.Put("model.safetensors.index.json",
               "{\"metadata\":{\"total_size\":6}," + more + "\"weight_map\":{" + map + "}}");
    return OpenFault(folder.path());
  }
  static constexpr const char* kRight = R"("b":"two.safetensors","a":"one.safetensors","c":"one.safetensors")";
  Folder folder;
};

TEST_CASE("Safetensors: several files by their index, opened by folder or by the index's name") {
  const Shards shards;
  REQUIRE(shards.Index(Shards::kRight) == "");
  for (const std::string& path : {shards.folder.path(), shards.folder / "model.safetensors.index.json"}) {
    for (const FileAccess access : {FileAccess::kMap, FileAccess::kRead}) {
      const auto files = Safetensors::Open(path, access);
      REQUIRE(files.ok());
      CHECK(files->files().size() == 2);
      REQUIRE(files->tensors().size() == 3);
      CHECK(files->tensors()[1].name == "b");
      CHECK(files->Bytes(*files->Find("c"))[0] == 2);
      CHECK(files->Bytes(*files->Find("b")).size() == 3);
      CHECK(Has(files->Refuse(*files->Find("b"), "x").message, "two.safetensors: 'b'"));
    }
  }
  // One file comes before an index, as in transformers.
  shards.folder.Put("model.safetensors", FileOf(R"({"z":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1));
  CHECK(Safetensors::Open(shards.folder.path())->Find("z") != nullptr);
}

TEST_CASE("Safetensors: an index that does not say what the files have is refused") {
  const Shards shards;
  CHECK(Has(shards.Index(R"("b":"two.safetensors","a":"one.safetensors")"), "'c' (U8 [1], at byte "));
  CHECK(Has(shards.Index(R"("b":"two.safetensors","a":"one.safetensors")"), "does not have it"));
  CHECK(Has(shards.Index(std::string(Shards::kRight) + R"(,"d":"one.safetensors")"),
            "weight_map.d: that file has no such"));
  CHECK(Has(shards.Index(std::string(Shards::kRight) + R"(,"bb":"one.safetensors")"),
            "weight_map.bb: that file has no such"));
  CHECK(Has(shards.Index(R"("b":"two.safetensors","a":"one.safetensors","c":"two.safetensors")"),
            "weight_map.c: that file has no such tensor: 'two.safetensors'"));
  CHECK(Has(shards.Index(R"("b":"two.safetensors","a":"three.safetensors","c":"one.safetensors")"),
            "three.safetensors: cannot be opened"));
  CHECK(Has(shards.Index(""), "weight_map: it is empty"));
  CHECK(Has(shards.Index(R"("a":1)"), "weight_map.a: it is 1; a text was expected"));
  CHECK(Has(shards.Index(Shards::kRight, "\"more\":1,"), "more: an index has no such key"));
  // A stranger's index opens nothing outside of its folder.
  for (const char* name :
       {"../two.safetensors", "/etc/passwd", "", ".", "..", "a\\\\b", "x/two.safetensors", "a\\u0000b"}) {
    CHECK(Has(shards.Index(std::string("\"a\":\"") + name + "\""), "is no name of a file in the index's own folder"));
  }
  // The same tensor in both.
  shards.folder.Put(
      "two.safetensors",
      FileOf(
          R"({"b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"a":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}})",
          4));
  CHECK(Has(shards.Index(Shards::kRight), "'a' (U8 [2], at byte "));
  CHECK(Has(shards.Index(Shards::kRight), "the tensor is there twice, in "));
}

TEST_CASE("Safetensors: what cannot be opened") {
  const Folder folder;
  CHECK(OpenFault(folder.path()) == folder.path() + ": has neither model.safetensors nor model.safetensors.index.json");
  CHECK(Has(OpenFault(folder / "none.safetensors"), "cannot be opened"));
  CHECK(Has(OpenFault(folder / "none.json"), "cannot be opened"));
  folder.Put("empty.safetensors", "");
  CHECK(Has(OpenFault(folder / "empty.safetensors"), "has 0 bytes"));
  for (const char* index : {"[]", "{}", "{\"weight_map\":[]}", "{\"weight_map\":null}", "x"}) {
    folder.Put("i.json", index);
    CHECK(OpenFault(folder / "i.json") != "");
  }
}

}  // namespace
}  // namespace bitnet::safetensors_test
