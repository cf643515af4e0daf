// JSON from strangers: JsonDocument::Parse reads a text with limits, JsonValue's typed getters answer with a Result
// whose sentence has the key's path and what was expected.
//
// nlohmann-json takes the text apart, without exceptions; the values are kept here, 32 bytes each and the texts beside.
// Refused, with the byte: what is no JSON, comments, NaN and infinities, bytes that are no UTF-8, a byte 0, numbers
// that 64 bits do not hold, nesting beyond a limit; and with its path a key that an object has twice.
//
// The only header that includes nlohmann-json (CMake: bitnet::io). What else reads JSON goes through this one.
#ifndef BITNET_IO_JSON_H_
#define BITNET_IO_JSON_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/base/result.h"
#include "bitnet/io/quoted.h"

namespace bitnet {

struct JsonLimits {
  uint64_t bytes = uint64_t{1} << 28;  // of the text; memory is at most 20 times that
  size_t depth = 64;                   // objects and lists in one another
};

enum class JsonKind : uint8_t { kNull, kFlag, kUnsigned, kNegative, kReal, kText, kList, kObject };

inline const char* KindInWords(JsonKind kind) {
  switch (kind) {
    case JsonKind::kNull:
      return "null";
    case JsonKind::kFlag:
      return "true or false";
    case JsonKind::kUnsigned:
      return "an integer";
    case JsonKind::kNegative:
      return "a negative integer";
    case JsonKind::kReal:
      return "a number with a fraction";
    case JsonKind::kText:
      return "a text";
    case JsonKind::kList:
      return "a list";
    case JsonKind::kObject:
      return "an object";
  }
  return "";
}

namespace detail {

// All values of a text, each before what is in it, and after that the value beside it.
struct JsonContent {
  struct Node {
    uint64_t bits = 0;  // the number, the flag, or where the text begins in `texts`
    uint32_t key_begin = 0;
    uint32_t key_size = 0;
    uint32_t parent = 0;
    uint32_t end = 0;   // the node after all that is in this one
    uint32_t size = 0;  // of a text: bytes; of a list or an object: values
    JsonKind kind = JsonKind::kNull;
  };

  std::string name;  // of the file, for messages
  std::string texts;
  std::vector<Node> nodes;

  std::string_view Key(uint32_t node) const {
    return std::string_view(texts).substr(nodes[node].key_begin, nodes[node].key_size);
  }

  // "rope_scaling.factor", "shape[1]"; empty for the whole.
  std::string Path(uint32_t node) const {
    if (node == 0) return {};
    const uint32_t parent = nodes[node].parent;
    std::string path = Path(parent);
    if (nodes[parent].kind == JsonKind::kList) {
      size_t index = 0;
      for (uint32_t i = parent + 1; i != node; i = nodes[i].end) ++index;
      return path + "[" + std::to_string(index) + "]";
    }
    return Member(path, Key(node));
  }
  // A name as names mostly are stands as it is.
  static std::string Member(std::string path, std::string_view key) {
    const bool plain = !key.empty() && key.size() <= 80 && std::all_of(key.begin(), key.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    });
    if (!path.empty()) path += ".";
    return path + (plain ? std::string(key) : Quoted(key));
  }
};

// What nlohmann-json calls for each part of the text; false ends the parse.
class JsonReader {
 public:
  JsonReader(JsonContent& content, size_t depth) : content_(content), most_depth_(depth) {}

  const std::string& fault() const { return fault_; }

  bool null() { return Add(JsonKind::kNull, 0); }
  bool boolean(bool flag) { return Add(JsonKind::kFlag, flag ? 1 : 0); }
  bool number_integer(int64_t number) {
    return Add(number < 0 ? JsonKind::kNegative : JsonKind::kUnsigned, static_cast<uint64_t>(number));
  }
  bool number_unsigned(uint64_t number) { return Add(JsonKind::kUnsigned, number); }
  bool number_float(double number, const std::string& digits) {
    if (digits.find_first_of(".eE") == std::string::npos) {
      return Fail("the integer " + Quoted(digits) + " does not fit 64 bits", Here());
    }
    return Add(JsonKind::kReal, std::bit_cast<uint64_t>(number));
  }
  bool string(const std::string& text) {
    const size_t begin = content_.texts.size();
    content_.texts += text;
    if (!Add(JsonKind::kText, begin)) return false;
    content_.nodes.back().size = static_cast<uint32_t>(text.size());
    return true;
  }
  bool key(const std::string& key) {
    key_begin_ = static_cast<uint32_t>(content_.texts.size());
    key_size_ = static_cast<uint32_t>(key.size());
    content_.texts += key;
    return true;
  }
  bool start_object(size_t) { return Open(JsonKind::kObject); }
  bool start_array(size_t) { return Open(JsonKind::kList); }
  bool end_array() {
    Close();
    return true;
  }
  bool end_object() {
    const uint32_t object = open_.back();
    Close();
    return HasKeysOnce(object);
  }
  template <class Bytes>
  bool binary(Bytes&) {
    return false;  // no part of JSON
  }

  // Its sentence, after the place that it says itself ("... at line 1, column 2: "). It may hold a stranger's text.
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) {
    std::string_view why = error.what();
    const size_t column = why.find("column ");
    const size_t colon = column == std::string_view::npos ? why.find("] ") : why.find(": ", column);
    if (colon != std::string_view::npos) why.remove_prefix(colon + 2);
    std::string sentence;
    for (const char c : why.substr(0, 200)) sentence += c >= 0x20 && c < 0x7f ? c : '?';
    return Fail(sentence, "at byte " + std::to_string(position == 0 ? 0 : position - 1));
  }

 private:
  bool Fail(const std::string& why, const std::string& where) {
    if (fault_.empty()) fault_ = (where.empty() ? "" : where + ": ") + why;
    return false;
  }
  // The value that comes next.
  std::string Here() const {
    if (open_.empty()) return {};
    const JsonContent::Node& open = content_.nodes[open_.back()];
    std::string path = content_.Path(open_.back());
    if (open.kind == JsonKind::kList) return path + "[" + std::to_string(open.size) + "]";
    return JsonContent::Member(path, std::string_view(content_.texts).substr(key_begin_, key_size_));
  }

  bool Add(JsonKind kind, uint64_t bits) {
    JsonContent::Node node;
    node.bits = bits;
    node.kind = kind;
    node.end = static_cast<uint32_t>(content_.nodes.size() + 1);
    if (!open_.empty()) {
      node.parent = open_.back();
      JsonContent::Node& parent = content_.nodes[node.parent];
      ++parent.size;
      if (parent.kind == JsonKind::kObject) {
        node.key_begin = key_begin_;
        node.key_size = key_size_;
      }
    }
    content_.nodes.push_back(node);
    return true;
  }
  bool Open(JsonKind kind) {
    if (open_.size() >= most_depth_) {
      return Fail("lists and objects stand in one another more than " + std::to_string(most_depth_) + " deep",
                  content_.Path(open_.back()).substr(0, 200));
    }
    Add(kind, 0);
    open_.push_back(static_cast<uint32_t>(content_.nodes.size() - 1));
    return true;
  }
  void Close() {
    content_.nodes[open_.back()].end = static_cast<uint32_t>(content_.nodes.size());
    open_.pop_back();
  }
  bool HasKeysOnce(uint32_t object) {
    keys_.clear();
    const JsonContent::Node& node = content_.nodes[object];
    for (uint32_t i = object + 1; i != node.end; i = content_.nodes[i].end) keys_.push_back(content_.Key(i));
    std::sort(keys_.begin(), keys_.end());
    const auto twice = std::adjacent_find(keys_.begin(), keys_.end());
    return twice == keys_.end() || Fail("the key " + Quoted(*twice) + " is there twice", content_.Path(object));
  }

  JsonContent& content_;
  size_t most_depth_;
  std::vector<uint32_t> open_;
  uint32_t key_begin_ = 0;
  uint32_t key_size_ = 0;
  std::vector<std::string_view> keys_;
  std::string fault_;
};

}  // namespace detail

class JsonItems;

// A value of a document, and valid as long as it. Small: hand it over by value.
class JsonValue {
 public:
  JsonKind kind() const { return node().kind; }
  bool IsNull() const { return kind() == JsonKind::kNull; }
  // Its key in the object that it stands in; empty in a list.
  std::string_view key() const { return content_->Key(index_); }
  // From the whole to this value: "rope_scaling.factor", "shape[1]".
  std::string Path() const { return content_->Path(index_); }
  // An error about this value: "FILE: PATH: why".
  Error Refuse(const std::string& why) const {
    const std::string path = Path();
    return Error{content_->name + ": " + (path.empty() ? "" : path + ": ") + why};
  }

  Result<bool> AsFlag() const {
    if (kind() != JsonKind::kFlag) return Expected("true or false");
    return node().bits != 0;
  }
  // An integer in [least, most], written as one.
  Result<uint64_t> AsUnsigned(uint64_t least = 0, uint64_t most = std::numeric_limits<uint64_t>::max()) const {
    if (kind() == JsonKind::kUnsigned && node().bits >= least && node().bits <= most) return node().bits;
    return Expected("an integer from " + std::to_string(least) + " to " + std::to_string(most));
  }
  Result<uint32_t> AsUnsigned32(uint32_t least = 0, uint32_t most = std::numeric_limits<uint32_t>::max()) const {
    const Result<uint64_t> number = AsUnsigned(least, most);
    if (!number.ok()) return Error{number.error()};
    return static_cast<uint32_t>(*number);
  }
  // Any number; integers beyond 2^53 are rounded.
  Result<double> AsReal() const {
    switch (kind()) {
      case JsonKind::kUnsigned:
        return static_cast<double>(node().bits);
      case JsonKind::kNegative:
        return static_cast<double>(static_cast<int64_t>(node().bits));
      case JsonKind::kReal:
        return std::bit_cast<double>(node().bits);
      default:
        return Expected("a number");
    }
  }
  Result<std::string_view> AsText() const {
    if (kind() != JsonKind::kText) return Expected("a text");
    return std::string_view(content_->texts).substr(static_cast<size_t>(node().bits), node().size);
  }
  // What is in a list or an object, in the text's order; nothing in another value.
  JsonItems items() const;
  Result<Done> ExpectList() const {
    if (kind() != JsonKind::kList) return Expected("a list");
    return Done{};
  }
  Result<Done> ExpectObject() const {
    if (kind() != JsonKind::kObject) return Expected("an object");
    return Done{};
  }

  // The value of a key; nothing where this is no object, or has no such key. Looks at one key after the other.
  std::optional<JsonValue> Find(std::string_view key) const {
    if (kind() != JsonKind::kObject) return std::nullopt;
    for (uint32_t i = index_ + 1; i != node().end; i = content_->nodes[i].end) {
      if (content_->Key(i) == key) return JsonValue(content_, i);
    }
    return std::nullopt;
  }
  Result<JsonValue> At(std::string_view key) const {
    if (Result<Done> object = ExpectObject(); !object.ok()) return Error{object.error()};
    const std::optional<JsonValue> found = Find(key);
    if (!found) return Refuse("there is no key " + Quoted(key));
    return *found;
  }

 private:
  friend class JsonDocument;
  friend class JsonItems;
  JsonValue(const detail::JsonContent* content, uint32_t index) : content_(content), index_(index) {}
  const detail::JsonContent::Node& node() const { return content_->nodes[index_]; }

  Error Expected(const std::string& what) const {
    std::string is = KindInWords(kind());
    char number[32] = "";
    switch (kind()) {
      case JsonKind::kFlag:
        is = node().bits != 0 ? "true" : "false";
        break;
      case JsonKind::kUnsigned:
        is = std::to_string(node().bits);
        break;
      case JsonKind::kNegative:
        is = std::to_string(static_cast<int64_t>(node().bits));
        break;
      case JsonKind::kReal:
        std::snprintf(number, sizeof(number), "%.17g", std::bit_cast<double>(node().bits));
        is = number;
        break;
      case JsonKind::kText:
        is = "the text " +
             Quoted(std::string_view(content_->texts).substr(static_cast<size_t>(node().bits), node().size));
        break;
      default:
        break;
    }
    return Refuse("it is " + is + "; " + what + " was expected");
  }

  const detail::JsonContent* content_;
  uint32_t index_;
};

class JsonItems {
 public:
  class Iterator {
   public:
    using value_type = JsonValue;
    using difference_type = std::ptrdiff_t;
    using iterator_category = std::input_iterator_tag;
    using pointer = const JsonValue*;
    using reference = JsonValue;
    JsonValue operator*() const { return {content_, index_}; }
    Iterator& operator++() {
      index_ = content_->nodes[index_].end;
      return *this;
    }
    Iterator operator++(int) {
      const Iterator before = *this;
      ++*this;
      return before;
    }
    friend bool operator==(const Iterator&, const Iterator&) = default;

   private:
    friend class JsonItems;
    Iterator(const detail::JsonContent* content, uint32_t index) : content_(content), index_(index) {}
    const detail::JsonContent* content_;
    uint32_t index_;
  };

  Iterator begin() const { return {content_, index_ + 1}; }
  Iterator end() const { return {content_, content_->nodes[index_].end}; }
  size_t size() const {
    const detail::JsonContent::Node& node = content_->nodes[index_];
    return node.kind == JsonKind::kText ? 0 : node.size;
  }

 private:
  friend class JsonValue;
  JsonItems(const detail::JsonContent* content, uint32_t index) : content_(content), index_(index) {}
  const detail::JsonContent* content_;
  uint32_t index_;
};

inline JsonItems JsonValue::items() const { return {content_, index_}; }

class JsonDocument {
 public:
  // `name` stands for the text in messages: a file's path.
  static Result<JsonDocument> Parse(std::string_view text, std::string name, const JsonLimits& limits = {}) {
    const auto refuse = [&](const std::string& why) { return Error{name + ": " + why}; };
    // (Offsets and counts are kept in 32 bits.)
    const uint64_t most = std::min<uint64_t>(limits.bytes, std::numeric_limits<uint32_t>::max() - 1);
    if (text.size() > most) {
      return refuse("has " + std::to_string(text.size()) + " bytes of JSON; at most " + std::to_string(most) +
                    " are read");
    }
    // nlohmann-json takes a byte 0 for the end of the text.
    if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {
      return refuse("at byte " + std::to_string(zero) + ": a byte 0, which JSON does not have");
    }
    auto content = std::make_unique<detail::JsonContent>();
    // A value begins the text, or follows one of these: memory is taken once.
    const auto values =
        std::count_if(text.begin(), text.end(), [](char c) { return c == ',' || c == '[' || c == '{'; });
    content->nodes.reserve(static_cast<size_t>(values) + 1);
    detail::JsonReader reader(*content, limits.depth);
    if (!nlohmann::json::sax_parse(text.begin(), text.end(), &reader)) {
      return refuse(reader.fault().empty() ? "is no JSON" : reader.fault());
    }
    BITNET_ASSERT(!content->nodes.empty(), "a text of JSON has a value");
    content->name = std::move(name);
    return JsonDocument(std::move(content));
  }
  static Result<JsonDocument> Parse(std::span<const uint8_t> bytes, std::string name, const JsonLimits& limits = {}) {
    return Parse(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()), std::move(name), limits);
  }

  JsonValue root() const { return {content_.get(), 0}; }

 private:
  explicit JsonDocument(std::unique_ptr<const detail::JsonContent> content) : content_(std::move(content)) {}
  std::unique_ptr<const detail::JsonContent> content_;
};

// A text as JSON writes it, in quotation marks. Bytes that are no UTF-8 stay as they are, and make no JSON.
inline std::string JsonText(std::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      json += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escaped[8];
      std::snprintf(escaped, sizeof(escaped), "\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      json += escaped;
    } else {
      json += c;
    }
  }
  return json + "\"";
}

}  // namespace bitnet

#endif  // BITNET_IO_JSON_H_
