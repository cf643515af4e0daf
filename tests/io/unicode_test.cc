#include "bitnet/io/unicode.h"

#include <doctest/doctest.h>

#include <string>

#include "bitnet/base/random.h"

namespace bitnet::unicode_test {
namespace {

TEST_CASE("UTF-8: every code point is read as it was written, and nothing else is one") {
  for (char32_t code = 0; code <= 0x10ffff; ++code) {
    if (code >= 0xd800 && code < 0xe000) continue;
    std::string text;
    AppendUtf8(text, code);
    const Utf8Char c = DecodeUtf8(text, 0);
    const bool same = c.valid && c.code == code && c.bytes == text.size();
    if (!same) FAIL_CHECK("code point ", static_cast<uint32_t>(code));
    // Each beginning of it is unfinished, and no character.
    for (size_t bytes = 1; bytes < text.size(); ++bytes) {
      const std::string cut = text.substr(0, bytes);
      if (DecodeUtf8(cut, 0).valid || UnfinishedUtf8(cut, 0) != bytes) FAIL_CHECK("cut ", static_cast<uint32_t>(code));
    }
    if (UnfinishedUtf8(text, 0) != 0) FAIL_CHECK("whole ", static_cast<uint32_t>(code));
  }
  // Overlong, surrogates, too large, bytes that begin nothing.
  for (const std::string bad :
       {"\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80", "\x80", "\xff", "\xc3(", "\xe2\x82("}) {
    CAPTURE(bad);
    CHECK(!DecodeUtf8(bad, 0).valid);
    CHECK(DecodeUtf8(bad, 0).bytes == 1);
    CHECK(UnfinishedUtf8(bad, 0) == 0);
  }
  std::string replaced;
  AppendUtf8(replaced, 0xd800);
  AppendUtf8(replaced, 0x110000);
  CHECK(replaced == "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST_CASE("ReplaceInvalidUtf8: one U+FFFD for each longest part that begins a character") {
  const std::string r = "\xef\xbf\xbd";
  CHECK(ReplaceInvalidUtf8("a\xc3\xa9") == "a\xc3\xa9");
  CHECK(ReplaceInvalidUtf8("\xe2\x82") == r);
  CHECK(ReplaceInvalidUtf8("\xe2\x82"
                           "a") == r + "a");
  // The examples of the Unicode Standard (3.9, tables 3-8 to 3-11).
  CHECK(ReplaceInvalidUtf8("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82"
                           "A") == r + r + r + r + r + r + r + r + "A");
  CHECK(ReplaceInvalidUtf8("\xed\xa0\x80\xed\xbf\xbf\xed\xaf"
                           "A") == r + r + r + r + r + r + r + r + "A");
  CHECK(ReplaceInvalidUtf8("\xf4\x91\x92\x93\xff"
                           "A\x80\xbf"
                           "B") == r + r + r + r + r + "A" + r + r + "B");
  CHECK(ReplaceInvalidUtf8("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf"
                           "A") == r + r + r + r + "A");
}

TEST_CASE("ReplaceInvalidUtf8: gives UTF-8 whatever the bytes, and leaves UTF-8 alone") {
  Random random(1);
  for (int i = 0; i < 3000; ++i) {
    std::string bytes;
    for (uint64_t n = UniformBelow(random, 20); n > 0; --n) {
      const uint8_t leads[] = {'a', 0x80, 0xbf, 0xc3, 0xe2, 0xed, 0xf0, 0xf4, 0x90, 0xa0u};
      bytes.push_back(static_cast<char>(leads[UniformBelow(random, 10)]));
    }
    const std::string valid = ReplaceInvalidUtf8(bytes);
    for (size_t at = 0; at < valid.size();) {
      const Utf8Char c = DecodeUtf8(valid, at);
      REQUIRE(c.valid);
      at += c.bytes;
    }
    CHECK(ReplaceInvalidUtf8(valid) == valid);
  }
}

TEST_CASE("Classes: code points of each class, at the ends of runs, and beyond") {
  CHECK(ClassOf('a') == CharClass::kLetter);
  CHECK(ClassOf('Z') == CharClass::kLetter);
  CHECK(ClassOf('@') == CharClass::kPunctuation);
  CHECK(ClassOf('7') == CharClass::kNumber);
  CHECK(ClassOf(' ') == CharClass::kSeparator);
  CHECK(ClassOf('+') == CharClass::kSymbol);
  CHECK(ClassOf(0) == CharClass::kOther);
  CHECK(ClassOf(0x300) == CharClass::kMark);
  CHECK(ClassOf(0x2ff) == CharClass::kSymbol);
  CHECK(ClassOf(0x370) == CharClass::kLetter);
  CHECK(ClassOf(0x216b) == CharClass::kNumber);
  CHECK(ClassOf(0x4e00) == CharClass::kLetter);
  CHECK(ClassOf(0x9fff) == CharClass::kLetter);
  CHECK(ClassOf(0x10ffff) == CharClass::kOther);
  CHECK(ClassOf(0x110000) == CharClass::kOther);
  CHECK(ClassOf(0x1f600) == CharClass::kSymbol);
  // Every code point of Unicode 15.0, counted by class: as DerivedGeneralCategory.txt counts them.
  size_t counts[7] = {};
  for (char32_t code = 0; code < 0x110000; ++code) ++counts[static_cast<size_t>(ClassOf(code))];
  const size_t expected[7] = {965096, 136104, 2450, 1831, 842, 7770, 19};
  for (size_t i = 0; i < 7; ++i) CHECK(counts[i] == expected[i]);
}

TEST_CASE("White space: the 25 code points of the property") {
  size_t count = 0;
  for (char32_t code = 0; code < 0x110000; ++code) count += IsWhitespace(code) ? 1u : 0u;
  CHECK(count == 25);
  for (const uint32_t code :
       {0x9u, 0xdu, 0x20u, 0x85u, 0xa0u, 0x1680u, 0x2000u, 0x200au, 0x2028u, 0x2029u, 0x202fu, 0x205fu, 0x3000u}) {
    CHECK(IsWhitespace(code));
  }
  for (const uint32_t code : {0x8u, 0xeu, 0x1cu, 0x1fu, 0x180eu, 0x200bu, 0xfeffu}) CHECK(!IsWhitespace(code));
}

}  // namespace
}  // namespace bitnet::unicode_test
