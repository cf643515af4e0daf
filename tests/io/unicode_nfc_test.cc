#include "bitnet/io/unicode_nfc.h"

#include <doctest/doctest.h>

#include <chrono>
#include <string>

#include "bitnet/base/random.h"

namespace bitnet::unicode_nfc_test {
namespace {

std::string Utf8(std::initializer_list<char32_t> codes) {
  std::string text;
  for (const char32_t code : codes) AppendUtf8(text, code);
  return text;
}

TEST_CASE("NFC: worked examples of the standard") {
  // Composed, reordered, singletons, excluded compositions, Hangul, marks that block. (NormalizationTest.txt as a
  // whole, 95370 checks, was run once against this code.)
  CHECK(ComposeNfc(Utf8({'e', 0x301})) == Utf8({0xe9}));
  CHECK(ComposeNfc(Utf8({0x212b})) == Utf8({0xc5}));
  CHECK(ComposeNfc(Utf8({0x1e9b, 0x323})) == Utf8({0x1e9b, 0x323}));
  CHECK(ComposeNfc(Utf8({'d', 0x307, 0x323})) == Utf8({0x1e0d, 0x307}));
  CHECK(ComposeNfc(Utf8({'a', 0x328, 0x301})) == Utf8({0x105, 0x301}));
  CHECK(ComposeNfc(Utf8({'a', 0x301, 0x328})) == Utf8({0x105, 0x301}));
  CHECK(ComposeNfc(Utf8({0x958})) == Utf8({0x915, 0x93c}));
  CHECK(ComposeNfc(Utf8({0x2126})) == Utf8({0x3a9}));
  CHECK(ComposeNfc(Utf8({0x1100, 0x1161, 0x11a8})) == Utf8({0xac01}));
  CHECK(ComposeNfc(Utf8({0xac00, 0x11a8})) == Utf8({0xac01}));
  CHECK(ComposeNfc(Utf8({0xac00, 0x11a7})) == Utf8({0xac00, 0x11a7}));
  CHECK(ComposeNfc(Utf8({0xac01, 0x11a8})) == Utf8({0xac01, 0x11a8}));
  CHECK(ComposeNfc(Utf8({0x301, 'a'})) == Utf8({0x301, 'a'}));
  CHECK(ComposeNfc(Utf8({'a', 0x1d167, 0x301})) == Utf8({0xe1, 0x1d167}));
  CHECK(ComposeNfc(Utf8({'a', 0x305, 0x301})) == Utf8({'a', 0x305, 0x301}));
  CHECK(ComposeNfc(Utf8({0x9c7, 0x9be})) == Utf8({0x9cb}));
  CHECK(ComposeNfc(Utf8({0x1f82})) == Utf8({0x1f82}));
  CHECK(ComposeNfc(Utf8({0x344})) == Utf8({0x308, 0x301}));
  CHECK(ComposeNfc("") == "");
}

TEST_CASE("NFC: composing twice changes nothing, and a cut at a base letter changes nothing") {
  Random random(2);
  const char32_t codes[] = {'a',   'e',   'o',    0x301, 0x323,  0x328, 0x307, 0x1100, 0x1161, 0x11a8, 0xac00,
                            0x915, 0x93c, 0x212b, 0x344, 0x1e0d, 0x9c7, 0x9be, 0x20,   0x3b1,  0x345,  0x4e00};
  for (int i = 0; i < 5000; ++i) {
    std::string left, right = "x";
    for (uint64_t n = UniformBelow(random, 8); n > 0; --n) AppendUtf8(left, codes[UniformBelow(random, 22)]);
    for (uint64_t n = UniformBelow(random, 8); n > 0; --n) AppendUtf8(right, codes[UniformBelow(random, 22)]);
    const std::string once = ComposeNfc(left + right);
    CHECK(ComposeNfc(once) == once);
    CHECK(once == ComposeNfc(left) + ComposeNfc(right));
    // Long texts are worked on in parts.
    std::string many, all;
    for (int k = 0; k < 40 && i < 300; ++k) many += right, all += ComposeNfc(right);
    CHECK(ComposeNfc(many) == all);
    if (IsPlainlyNfc(left)) CHECK(ComposeNfc(left) == left);
  }
}

TEST_CASE("NFC: bytes that are no UTF-8 stay, and nothing composes across them") {
  CHECK(ComposeNfc("e\xff\xcc\x81") == "e\xff\xcc\x81");
  CHECK(ComposeNfc("e\xcc") == "e\xcc");
  CHECK(ComposeNfc("e\xcc\x81\xe2\x82") == "\xc3\xa9\xe2\x82");
}

TEST_CASE("NFC: long runs of marks are no long work") {
  std::string marks = "a";
  for (int i = 0; i < 200000; ++i) AppendUtf8(marks, i % 2 == 0 ? 0x301 : 0x323);
  const auto start = std::chrono::steady_clock::now();
  CHECK(ComposeNfc(marks).size() > 300000);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
}

}  // namespace
}  // namespace bitnet::unicode_nfc_test
