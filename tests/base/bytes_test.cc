#include "bitnet/base/bytes.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "testing/temporary_file.h"
#include "testing/write_plainly.h"

namespace bitnet {
namespace {

using testing::TemporaryFile;

constexpr FileKind kKind{"BNTEST\r\n", 3, "bitnet test file"};

template <class T>
std::vector<uint8_t> BytesOf(T value) {
  ByteWriter writer;
  writer.Number(value);
  return writer.bytes();
}

TEST_CASE("ByteWriter: numbers are little-endian") {
  using Bytes = std::vector<uint8_t>;
  CHECK(BytesOf(uint8_t{0xab}) == Bytes{0xab});
  CHECK(BytesOf(int16_t{-2}) == Bytes{0xfe, 0xff});
  CHECK(BytesOf(uint32_t{0x01020304}) == Bytes{4, 3, 2, 1});
  CHECK(BytesOf(uint64_t{0x0102030405060708}) == Bytes{8, 7, 6, 5, 4, 3, 2, 1});
  CHECK(BytesOf(1.0f) == Bytes{0, 0, 0x80, 0x3f});
  CHECK(BytesOf(-2.0) == Bytes{0, 0, 0, 0, 0, 0, 0, 0xc0});
  ByteWriter writer;
  writer.Text("hi");
  const uint16_t numbers[] = {1, 0x203};
  writer.Numbers(std::span<const uint16_t>(numbers));
  CHECK(writer.bytes() == Bytes{2, 0, 0, 0, 'h', 'i', 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 3, 2});
}

TEST_CASE("ByteReader: gives back what was written, and nothing is left") {
  ByteWriter writer;
  writer.Number(uint8_t{200});
  writer.Number(int8_t{-100});
  writer.Number(char{'x'});
  writer.Number(std::numeric_limits<int64_t>::min());
  writer.Number(std::numeric_limits<float>::infinity());
  writer.Number(-0.0);
  writer.Number(std::bit_cast<float>(0x7fc12345u));
  writer.Text("");
  writer.Text(std::string_view("zero\0inside", 11));
  writer.Numbers(std::span<const float>{});
  const double doubles[] = {1.5, -2.25};
  writer.Numbers(std::span<const double>(doubles));

  ByteReader reader(writer.bytes());
  CHECK(reader.Number<uint8_t>("a") == 200);
  CHECK(reader.Number<int8_t>("a") == -100);
  CHECK(reader.Number<char>("a") == 'x');
  CHECK(reader.Number<int64_t>("a") == std::numeric_limits<int64_t>::min());
  CHECK(reader.Number<float>("a") == std::numeric_limits<float>::infinity());
  CHECK(std::signbit(reader.Number<double>("a")));
  CHECK(std::bit_cast<uint32_t>(reader.Number<float>("a")) == 0x7fc12345u);
  CHECK(reader.Text("a").empty());
  CHECK(reader.Text("a") == std::string("zero\0inside", 11));
  reader.Numbers("a", std::span<float>{});
  double back[2] = {};
  reader.Numbers("a", std::span<double>(back));
  CHECK(back[0] == 1.5);
  CHECK(back[1] == -2.25);
  CHECK(reader.ok());
  CHECK(reader.error().empty());
  CHECK(reader.remaining() == 0);
}

// Reads one thing of each kind.
void ReadAll(ByteReader& reader) {
  reader.Number<uint32_t>("the count");
  reader.Text("the name");
  float values[3] = {};
  reader.Numbers("the weights", std::span<float>(values));
  reader.Number<double>("the end");
}

std::vector<uint8_t> OneOfEachKind() {
  ByteWriter writer;
  writer.Number(uint32_t{7});
  writer.Text("name");
  const float values[] = {1.0f, 2.0f, 3.0f};
  writer.Numbers(std::span<const float>(values));
  writer.Number(4.0);
  return writer.bytes();
}

TEST_CASE("ByteReader: whatever the length at which bytes end, it stops there and says where") {
  const std::vector<uint8_t> whole = OneOfEachKind();
  REQUIRE(whole.size() == 4 + 8 + 8 + 12 + 8);
  for (size_t length = 0; length < whole.size(); ++length) {
    CAPTURE(length);
    const std::vector<uint8_t> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
    ByteReader reader(cut, 100);
    ReadAll(reader);
    CHECK_FALSE(reader.ok());
    // The place is where the part that did not fit begins.
    const size_t starts[] = {0, 4, 8, 12, 20, 32};
    size_t place = 0;
    for (const size_t start : starts) place = start <= length ? start : place;
    const char* what = place == 0 ? "the count" : place < 12 ? "the name" : place < 32 ? "the weights" : "the end";
    CHECK(reader.error().find("at byte " + std::to_string(100 + place) + ", reading " + what) == 0);
    CHECK(reader.error().find(std::to_string(length - place) + " are left") != std::string::npos);
    CHECK(reader.Number<uint64_t>("more") == 0);
    CHECK(reader.Text("more").empty());
  }
  ByteReader reader(whole);
  ReadAll(reader);
  CHECK(reader.ok());
}

TEST_CASE("ByteReader: keeps the first error, and gives zeros after it") {
  const std::vector<uint8_t> bytes = {1, 2, 3};
  ByteReader reader(bytes);
  CHECK(reader.Number<uint16_t>("two") == 0x201);
  CHECK(reader.Number<uint32_t>("four") == 0);
  const std::string first = reader.error();
  CHECK(first == "at byte 2, reading four: 4 bytes were expected, 1 are left");
  CHECK(reader.Number<uint8_t>("one") == 0);
  reader.Fail("else", "no");
  CHECK(reader.error() == first);
  CHECK(reader.remaining() == 1);
}

TEST_CASE("ByteReader: lengths that lie are refused before anything is read or allocated") {
  for (const uint32_t lie : {3u, 100u, 0x7fffffffu, 0xffffffffu}) {
    ByteWriter writer;
    writer.Number(lie);
    writer.Number(uint16_t{0});
    ByteReader reader(writer.bytes());
    CHECK(reader.Text("name").empty());
    CHECK_FALSE(reader.ok());
  }
  float values[2] = {5.0f, 6.0f};
  for (const uint64_t lie : {uint64_t{0}, uint64_t{1}, uint64_t{3}, uint64_t{1} << 62, ~uint64_t{0}}) {
    ByteWriter writer;
    writer.Number(lie);
    writer.Number(uint64_t{0});
    ByteReader reader(writer.bytes());
    reader.Numbers("weights", std::span<float>(values));
    CHECK(reader.error() == "at byte 8, reading weights: 2 values were expected, the file has " + std::to_string(lie));
    CHECK(values[0] == 5.0f);
    CHECK(values[1] == 6.0f);
  }
}

TEST_CASE("ByteReader: a reader's own finding carries the place") {
  const std::vector<uint8_t> bytes = {9};
  ByteReader reader(bytes, 20);
  reader.Number<uint8_t>("kind");
  reader.Fail("kind", "9 is none");
  CHECK(reader.error() == "at byte 21, reading kind: 9 is none");
}

TEST_CASE("Checksum: differs for every flipped bit, and for every length") {
  std::vector<uint8_t> bytes(37);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 37);
  const uint64_t whole = Checksum(bytes);
  CHECK(whole == Checksum(bytes));
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
    CHECK(Checksum(bytes) != whole);
    bytes[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
  }
  const std::vector<uint8_t> zeros(20);
  for (size_t n = 0; n < 20; ++n) {
    for (size_t m = 0; m < n; ++m) CHECK(Checksum(std::span(zeros).first(n)) != Checksum(std::span(zeros).first(m)));
  }
}

TEST_CASE("Checksum: these very values, as files depend on them") {
  CHECK(Checksum({}) == 0xaf63bd49fd1c5dbbu);
  const std::vector<uint8_t> text = {'b', 'i', 't', 'n', 'e', 't', ' ', 'a', '4', '.', '8'};
  CHECK(Checksum(text) == 0x36f5b5e3b9e190a6u);
}

TEST_CASE("Sealed file: round trip, the header in its place") {
  TemporaryFile file;
  for (const size_t size : {0u, 1u, 7u, 8u, 100000u}) {
    std::vector<uint8_t> payload(size);
    for (size_t i = 0; i < size; ++i) payload[i] = static_cast<uint8_t>(i ^ (i >> 8));
    REQUIRE(SaveSealed(file.path(), kKind, payload).ok());
    const auto loaded = LoadSealed(file.path(), kKind);
    REQUIRE(loaded.ok());
    CHECK(*loaded == payload);
    const auto raw = ReadFile(file.path());
    REQUIRE(raw.ok());
    CHECK(raw->size() == kSealHeaderBytes + size + 8);
    CHECK(std::string(raw->begin(), raw->begin() + 8) == kKind.magic);
    CHECK((*raw)[8] == 3);
    if (size > 0) CHECK((*raw)[kSealHeaderBytes] == payload[0]);
  }
}

TEST_CASE("Sealed file: cut at any length, it is refused") {
  TemporaryFile file;
  const std::vector<uint8_t> payload = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
  REQUIRE(SaveSealed(file.path(), kKind, payload).ok());
  const std::vector<uint8_t> whole = *ReadFile(file.path());
  for (size_t length = 0; length < whole.size(); ++length) {
    CAPTURE(length);
    REQUIRE(testing::WritePlainly(file.path(), std::span(whole).first(length)));
    const auto loaded = LoadSealed(file.path(), kKind);
    REQUIRE_FALSE(loaded.ok());
    CHECK(loaded.error().find(file.path()) == 0);
  }
  std::vector<uint8_t> longer = whole;
  longer.push_back(0);
  REQUIRE(testing::WritePlainly(file.path(), longer));
  CHECK_FALSE(LoadSealed(file.path(), kKind).ok());
}

TEST_CASE("Sealed file: with any bit flipped, it is refused") {
  TemporaryFile file;
  const std::vector<uint8_t> payload = {0, 255, 3, 4, 5, 6, 7, 8, 9};
  REQUIRE(SaveSealed(file.path(), kKind, payload).ok());
  std::vector<uint8_t> bytes = *ReadFile(file.path());
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
    REQUIRE(testing::WritePlainly(file.path(), bytes));
    if (LoadSealed(file.path(), kKind).ok()) FAIL_CHECK("bit " << bit);
    bytes[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
  }
}

TEST_CASE("Sealed file: each refusal says what is wrong") {
  TemporaryFile file;
  const std::vector<uint8_t> payload = {1, 2, 3};
  const auto refusal = [&](const FileKind& kind) {
    const auto loaded = LoadSealed(file.path(), kind);
    return loaded.ok() ? std::string("read") : loaded.error();
  };
  CHECK(refusal(kKind) == file.path() + ": cannot be opened for reading: No such file or directory");
  REQUIRE(SaveSealed(file.path(), kKind, payload).ok());
  CHECK(refusal(kKind) == "read");
  CHECK(refusal({"BNOTHER\n", 3, "bitnet other file"}).find("this is not a bitnet other file") != std::string::npos);
  for (const uint32_t version : {0u, 2u, 4u, 0x03000000u}) {
    const std::string sentence = refusal({"BNTEST\r\n", version, "bitnet test file"});
    CHECK(sentence.find("version 3 of a bitnet test file; this library reads version " + std::to_string(version)) !=
          std::string::npos);
  }
  std::vector<uint8_t> bytes = *ReadFile(file.path());
  bytes[kSealHeaderBytes] ^= 1;
  REQUIRE(testing::WritePlainly(file.path(), bytes));
  CHECK(refusal(kKind).find("damaged or truncated") != std::string::npos);
  CHECK(refusal(kKind).find("at byte 15") != std::string::npos);
}

#if BITNET_HAS_POSIX_FILES
TEST_CASE("Sealed file: the magic is looked at before memory is taken for the rest") {
  TemporaryFile file;
  // 32 GiB that are nowhere on the disk: a read of all would be noticed. (Offsets of 32 bits end at 2 GiB.)
  REQUIRE(testing::WritePlainly(file.path(), std::vector<uint8_t>(100, 'x')));
  std::filesystem::resize_file(file.path(), uint64_t{1} << (sizeof(off_t) > 4 ? 35 : 29));
  const auto other = LoadSealed(file.path(), kKind);
  REQUIRE_FALSE(other.ok());
  CHECK(other.error().find("this is not a bitnet test file") != std::string::npos);
  const auto endless = LoadSealed("/dev/zero", kKind);
  REQUIRE_FALSE(endless.ok());
  CHECK(endless.error().find("/dev/zero: this is not a bitnet test file") == 0);
  // The right magic, and more than the caller allows.
  REQUIRE(SaveSealed(file.path(), kKind, std::vector<uint8_t>(100)).ok());
  const auto large = LoadSealed(file.path(), kKind, {.regular = 119});
  REQUIRE_FALSE(large.ok());
  CHECK(large.error() == file.path() + ": has 120 bytes; at most 119 are read (see ReadLimits)");
  CHECK(LoadSealed(file.path(), kKind, {.regular = 120}).ok());
}
#endif

TEST_CASE("ByteReader: a flag is 0 or 1") {
  const std::vector<uint8_t> bytes = {0, 1, 2};
  ByteReader reader(bytes);
  CHECK_FALSE(reader.Flag("a"));
  CHECK(reader.Flag("b"));
  CHECK(reader.ok());
  CHECK_FALSE(reader.Flag("c"));
  CHECK(reader.error() == "at byte 3, reading c: a flag is 2; it must be 0 or 1");
}

static_assert(!PlainNumber<bool>, "a byte from a file may be neither 0 nor 1");
static_assert(!PlainNumber<long double>, "its size differs between machines");
static_assert(!PlainNumber<std::string>);

}  // namespace
}  // namespace bitnet
