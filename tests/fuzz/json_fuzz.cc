#include <cmath>
#include <limits>
#include <string>

#include "bitnet/base/assert.h"
#include "bitnet/io/json.h"
#include "fuzz/fuzz.h"

namespace bitnet::testing::json_fuzz {

namespace {

// Visits every value, asks it for what it is not, and writes the document again.
std::string Written(const bitnet::JsonValue& value, size_t depth) {
  using bitnet::JsonKind;
  BITNET_ASSERT(depth <= 64, "nested too deep");
  const std::string path = value.Path();
  if (!value.AsFlag().ok()) BITNET_ASSERT(value.AsFlag().error().size() < 8000, "a message without end");
  std::string text;
  switch (value.kind()) {
    case JsonKind::kNull:
      return "null";
    case JsonKind::kFlag:
      return *value.AsFlag() ? "true" : "false";
    case JsonKind::kUnsigned:
      return std::to_string(*value.AsUnsigned());
    case JsonKind::kNegative:
      BITNET_ASSERT(*value.AsReal() < 0.0 && !value.AsUnsigned().ok(), "a negative integer is below zero");
      return std::to_string(static_cast<long long>(*value.AsReal()));
    case JsonKind::kReal: {
      BITNET_ASSERT(std::isfinite(*value.AsReal()), "JSON has finite numbers");
      char digits[40];
      std::snprintf(digits, sizeof(digits), "%.17e", *value.AsReal());
      return digits;
    }
    case JsonKind::kText:
      return bitnet::JsonText(*value.AsText());
    case JsonKind::kList:
      for (const bitnet::JsonValue item : value.items()) text += (text.empty() ? "" : ",") + Written(item, depth + 1);
      return "[" + text + "]";
    case JsonKind::kObject:
      for (const bitnet::JsonValue item : value.items()) {
        text += (text.empty() ? "" : ",") + bitnet::JsonText(item.key()) + ":" + Written(item, depth + 1);
      }
      return "{" + text + "}";
  }
  return {};
}

}  // namespace

std::vector<std::vector<uint8_t>> Seeds() {
  return {
      SeedOf(R"({"a": [1, -2, 2.5e-3, true, false, null, "x\u00e9\n\ud83d\ude00"], "b": {"c": {}, "d": []}})"),
      SeedOf(
          R"({"model": {"vocab": {"!": 0, "\u0120a": 1}, "merges": ["a b", ["c", "d"]]}, "z": 18446744073709551615})"),
      SeedOf("[[[[[[[[[[[[[[[[\"\xc3\xa9\xf0\x9f\x98\x80\"]]]]]]]]]]]]]]]]"), SeedOf("-9223372036854775808")};
}

int OneInput(const uint8_t* data, size_t size) {
  const auto document = bitnet::JsonDocument::Parse(std::span(data, size), "f");
  if (!document.ok()) {
    BITNET_ASSERT(!document.error().empty() && document.error().size() < 8000, "an error is a sentence");
    return 0;
  }
  // Once written it stays as it is. (At first texts may have been escaped and numbers written in other ways.)
  const std::string once = Written(document->root(), 0);
  const auto again = bitnet::JsonDocument::Parse(once, "f");
  BITNET_ASSERT(again.ok(), "what was read and written must be read");
  BITNET_ASSERT(Written(again->root(), 0) == once, "what was read and written must stay");
  return 0;
}

BITNET_FUZZ_TARGET(json);

}  // namespace bitnet::testing::json_fuzz
