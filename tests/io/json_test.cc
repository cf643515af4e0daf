#include "bitnet/io/json.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace bitnet::json_test {
namespace {

std::string Fault(std::string_view text, const JsonLimits& limits = {}) {
  const Result<JsonDocument> document = JsonDocument::Parse(text, "f.json", limits);
  return document.ok() ? "" : document.error();
}
bool Has(const std::string& sentence, std::string_view part) { return sentence.find(part) != std::string::npos; }

TEST_CASE("JsonDocument: values come back as they were written") {
  const auto document = JsonDocument::Parse(
      R"( {"a": [1, -2, 2.5, true, null, "x\u00e9\n\ud83d\ude00"], "b": {"c": {}, "d": []}, "": 18446744073709551615} )",
      "f.json");
  REQUIRE(document.ok());
  const JsonValue root = document->root();
  const JsonItems items = root.At("a")->items();
  std::vector<JsonValue> a(items.begin(), items.end());
  REQUIRE(a.size() == 6);
  CHECK(items.size() == 6);
  CHECK(*a[0].AsUnsigned() == 1);
  CHECK(*a[0].AsReal() == 1.0);
  CHECK(*a[1].AsReal() == -2.0);
  CHECK(*a[2].AsReal() == 2.5);
  CHECK(*a[3].AsFlag());
  CHECK(a[4].IsNull());
  CHECK(*a[5].AsText() == "x\xc3\xa9\n\xf0\x9f\x98\x80");
  CHECK(root.At("b")->At("c")->items().size() == 0);
  CHECK(root.At("b")->At("d")->items().size() == 0);
  CHECK(*root.At("")->AsUnsigned() == std::numeric_limits<uint64_t>::max());
  std::vector<std::string> keys;
  for (const JsonValue value : root.items()) keys.emplace_back(value.key());
  CHECK(keys == std::vector<std::string>{"a", "b", ""});
  CHECK(a[0].items().size() == 0);
  CHECK(a[5].items().size() == 0);
  CHECK(a[5].items().begin() == a[5].items().end());
  CHECK_FALSE(root.Find("z").has_value());
  CHECK_FALSE(a[0].Find("z").has_value());
}

TEST_CASE("JsonDocument: a moved document keeps its values") {
  auto document = JsonDocument::Parse(R"({"a": "text"})", "f");
  REQUIRE(document.ok());
  const JsonValue value = *document->root().At("a");
  const JsonDocument moved = *std::move(document);
  CHECK(*value.AsText() == "text");
  CHECK(*moved.root().At("a")->AsText() == "text");
}

TEST_CASE("JsonValue: a wrong kind is refused with the path, what it is, and what was expected") {
  const auto document =
      JsonDocument::Parse(R"({"rope": {"factor": "x", "a b": [0, [1.5, -3, false]]}, "n": 4294967296})", "dir/f.json");
  REQUIRE(document.ok());
  const JsonValue root = document->root();
  CHECK(root.At("rope")->At("factor")->AsReal().error() ==
        "dir/f.json: rope.factor: it is the text 'x'; a number was expected");
  const JsonValue list = *root.At("rope")->At("a b")->items().begin();
  CHECK(list.AsText().error() == "dir/f.json: rope.'a b'[0]: it is 0; a text was expected");
  const auto inner = *++root.At("rope")->At("a b")->items().begin();
  auto item = inner.items().begin();
  CHECK((*item).AsUnsigned().error() ==
        "dir/f.json: rope.'a b'[1][0]: it is 1.5; an integer from 0 to 18446744073709551615 was expected");
  CHECK((*++item).AsUnsigned(1, 7).error() ==
        "dir/f.json: rope.'a b'[1][1]: it is -3; an integer from 1 to 7 was expected");
  CHECK((*++item).ExpectList().error() == "dir/f.json: rope.'a b'[1][2]: it is false; a list was expected");
  CHECK(Has(root.At("n")->AsUnsigned32().error(), "it is 4294967296; an integer from 0 to 4294967295"));
  CHECK(root.At("n")->AsUnsigned(4294967296, 4294967296).ok());
  CHECK(list.AsUnsigned(1, 7).error() == "dir/f.json: rope.'a b'[0]: it is 0; an integer from 1 to 7 was expected");
  CHECK(list.key() == "");  // in a list
  CHECK(root.At("missing").error() == "dir/f.json: there is no key 'missing'");
  CHECK(root.At("rope")->At("m\x1b").error() == "dir/f.json: rope: there is no key 'm\\x1b'");
  CHECK(root.AsFlag().error() == "dir/f.json: it is an object; true or false was expected");
  CHECK(root.ExpectList().error() == "dir/f.json: it is an object; a list was expected");
  CHECK(root.At("n")->ExpectObject().error() == "dir/f.json: n: it is 4294967296; an object was expected");
  CHECK(root.At("n")->At("x").error() == "dir/f.json: n: it is 4294967296; an object was expected");
}

TEST_CASE("JsonDocument: what is no JSON is refused with the byte") {
  CHECK(Has(Fault(R"({"a": 1,})"), "f.json: at byte 8: "));
  CHECK(Has(Fault("{'a': 1}"), "at byte 1: "));
  CHECK(Has(Fault("nul"), "at byte 3: "));  // the end
  for (const std::string_view text :
       {"",          " ",        "{",         "[",      "[1",       "[1,",         "[1 2]",       "{\"a\"}",
        "{\"a\":}",  "{\"a\":1", "{1:2}",     "\"a",    "\"\\x\"",  "\"\\ud800\"", "\"\\udc00\"", "\"\\u12\"",
        "01",        "1.",       ".5",        "+1",     "--1",      "1e",          "0x10",        "NaN",
        "[NaN]",     "Infinity", "-Infinity", "nan",    "True",     "[1] 2",       "{} {}",       "// c\n1",
        "/* c */ 1", "1 // c",   "[1e999]",   "-1e999", "\"\x01\"", "\"\n\""}) {
    INFO(std::string(text));
    CHECK(Fault(text) != "");
  }
  CHECK(Has(Fault("[1e400]"), "at byte 5"));
}

TEST_CASE("JsonDocument: bytes that are no UTF-8 are refused") {
  for (const std::string_view bad :
       {"\x80", "\xc0\xaf", "\xc3", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff", "\xf0\x9f\x98"}) {
    CHECK(Fault("\"" + std::string(bad) + "\"") != "");
    CHECK(Fault("{\"" + std::string(bad) + "\": 1}") != "");
  }
  CHECK(Fault("\"\xf0\x9f\x98\x80\"") == "");
}

TEST_CASE("JsonDocument: a byte 0 does not end the text unseen") {
  CHECK(Fault(std::string("{}\0", 3)) == "f.json: at byte 2: a byte 0, which JSON does not have");
  CHECK(Fault(std::string("{}\0{", 4)) != "");
  CHECK(Fault(R"("\u0000")") == "");
}

TEST_CASE("JsonDocument: integers that 64 bits do not hold are refused, not rounded") {
  CHECK(Has(Fault("{\"a\": [0, 18446744073709551616]}"),
            "f.json: a[1]: the integer '18446744073709551616' does not fit"));
  CHECK(Has(Fault("{\"b\": -9223372036854775809}"), "f.json: b: the integer "));
  CHECK(Fault("99999999999999999999999") != "");
  CHECK(Fault("-9223372036854775808") == "");
  CHECK(Fault("1e30") == "");
}

TEST_CASE("JsonDocument: a key that is there twice is refused, at any depth") {
  CHECK(Fault(R"({"a": 1, "b": 2, "a": 3})") == "f.json: the key 'a' is there twice");
  CHECK(Fault(R"({"x": [0, {"a": {}, "\u0061": 3}]})") == "f.json: x[1]: the key 'a' is there twice");
  CHECK(Fault(R"({"a": {"a": {"a": 1}}, "b": {"a": 1}})") == "");
}

TEST_CASE("JsonDocument: limits") {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(Fault(nested(64)) == "");
  CHECK(Has(Fault(nested(65)), "more than 64 deep"));
  CHECK(Has(Fault(std::string(1000000, '[')), "more than 64 deep"));
  std::string objects;
  for (size_t i = 0; i < 100000; ++i) objects += "{\"a\":";
  CHECK(Has(Fault(objects), "more than 64 deep"));
  CHECK(Fault("[[]]", {.depth = 2}) == "");
  CHECK(Fault("[[]]", {.depth = 1}) != "");
  CHECK(Fault("[1]", {.bytes = 3}) == "");
  CHECK(Fault("[1] ", {.bytes = 3}) == "f.json: has 4 bytes of JSON; at most 3 are read");
  // Depth 0: a single value.
  CHECK(Fault("1", {.depth = 0}) == "");
}

TEST_CASE("JsonDocument: messages stay short and printable whatever the text") {
  const std::string hostile = "\"" + std::string(100000, 'x') + "\x1b\"";
  for (const std::string& text :
       {hostile, "{" + hostile + ": 1}", "[" + std::string(100000, '9') + "]",
        "{\"" + std::string(100000, 'k') + "\": " + std::string(100000, '9') + "}",
        "{\"" + std::string(100000, 'k') + "\": 1, \"" + std::string(100000, 'k') + "\": 2}"}) {
    const std::string fault = Fault(text);
    CHECK(fault != "");
    CHECK(fault.size() < 400);
    for (const char c : fault) CHECK((c >= 0x20 && c < 0x7f));
  }
}

TEST_CASE("JsonDocument: every cut and every changed byte of a text is read or refused, and nothing else") {
  const std::string text =
      R"({"__metadata__": {"k": "v\u00e9"}, "t": {"dtype": "F32", "shape": [2, 3], "f": [-1.5e3, null, true]}})";
  REQUIRE(Fault(text) == "");
  for (size_t n = 0; n < text.size(); ++n) CHECK(Fault(text.substr(0, n)) != "");
  for (size_t i = 0; i < text.size(); ++i) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string changed = text;
      changed[i] = static_cast<char>(byte);
      const auto document = JsonDocument::Parse(changed, "f");
      if (document.ok()) CHECK(document->root().kind() == JsonKind::kObject);
    }
  }
}

TEST_CASE("JsonText: what it writes reads back") {
  for (const std::string text : {"", "plain", "a\"b\\c/d", "\x01\x1f\n\t\x7f", "\xc3\xa9\xf0\x9f\x98\x80"}) {
    const auto document = JsonDocument::Parse(JsonText(text), "f");
    REQUIRE(document.ok());
    CHECK(*document->root().AsText() == text);
  }
  CHECK(*JsonDocument::Parse(JsonText(std::string("a\0b", 3)), "f")->root().AsText() == std::string("a\0b", 3));
}

}  // namespace
}  // namespace bitnet::json_test
