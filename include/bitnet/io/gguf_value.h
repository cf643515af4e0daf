// GgufValue: one value of a GGUF file's metadata, as it lies in the file: a number, a truth value, a text, or an array
// of those or of arrays. A view: it copies nothing and is valid as long as the file's bytes.
//
//   value.As<T>()   the value as T, or a sentence that says what was expected and what is there. T is
//     an integer type                   any stored integer that fits it (writers differ in width and sign)
//     float, double                     stored 32-bit or 64-bit reals
//     bool, std::string_view            those
//     std::vector of one of the above   arrays of such elements; views of texts
//   value.ForEach(f)   f(element) of any array, without memory
#ifndef BITNET_IO_GGUF_VALUE_H_
#define BITNET_IO_GGUF_VALUE_H_

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/base/bytes.h"
#include "bitnet/base/result.h"

namespace bitnet {

// As files number them.
enum class GgufValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

namespace detail {

struct GgufValueTypeFacts {
  const char* words;
  const char* plural;
  uint32_t bytes;  // 0: it depends on the value
};
inline constexpr std::array<GgufValueTypeFacts, 13> kGgufValueTypes = {{
    {"an unsigned 8-bit integer", "unsigned 8-bit integers", 1},
    {"a signed 8-bit integer", "signed 8-bit integers", 1},
    {"an unsigned 16-bit integer", "unsigned 16-bit integers", 2},
    {"a signed 16-bit integer", "signed 16-bit integers", 2},
    {"an unsigned 32-bit integer", "unsigned 32-bit integers", 4},
    {"a signed 32-bit integer", "signed 32-bit integers", 4},
    {"a 32-bit real", "32-bit reals", 4},
    {"a truth value", "truth values", 1},
    {"a text", "texts", 0},
    {"an array", "arrays", 0},
    {"an unsigned 64-bit integer", "unsigned 64-bit integers", 8},
    {"a signed 64-bit integer", "signed 64-bit integers", 8},
    {"a 64-bit real", "64-bit reals", 8},
}};
constexpr const GgufValueTypeFacts& FactsOf(GgufValueType type) { return kGgufValueTypes[static_cast<size_t>(type)]; }

template <class T>
constexpr GgufValueType GgufValueTypeOf() {
  if constexpr (std::floating_point<T>) {
    return sizeof(T) == 4 ? GgufValueType::kFloat32 : GgufValueType::kFloat64;
  } else {
    constexpr std::array kUnsigned = {GgufValueType::kUint8, GgufValueType::kUint16, GgufValueType::kUint32,
                                      GgufValueType::kUint64};
    constexpr std::array kSigned = {GgufValueType::kInt8, GgufValueType::kInt16, GgufValueType::kInt32,
                                    GgufValueType::kInt64};
    constexpr size_t kWidth = sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3;
    return std::is_signed_v<T> ? kSigned[kWidth] : kUnsigned[kWidth];
  }
}

template <class T>
struct GgufElementOf {};
template <class T>
struct GgufElementOf<std::vector<T>> {
  using type = T;
};

template <class T>
concept GgufInteger = PlainNumber<T> && std::integral<T> && !std::same_as<T, char>;
template <class T>
concept GgufScalar = GgufInteger<T> || std::same_as<T, float> || std::same_as<T, double> || std::same_as<T, bool> ||
    std::same_as<T, std::string_view>;

}  // namespace detail

// What As<T> gives.
template <class T>
concept GgufReadable = detail::GgufScalar<T> || detail::GgufScalar<typename detail::GgufElementOf<T>::type>;

class GgufValue {
 public:
  GgufValue() = default;
  // What is at these bytes, which were checked: `count` elements of `element` in an array.
  static GgufValue Scalar(GgufValueType type, std::span<const uint8_t> bytes) { return {type, type, 1, bytes}; }
  static GgufValue Array(GgufValueType element, uint64_t count, std::span<const uint8_t> bytes) {
    return {GgufValueType::kArray, element, count, bytes};
  }

  GgufValueType type() const { return type_; }
  bool is_array() const { return type_ == GgufValueType::kArray; }
  // Of an array.
  GgufValueType element_type() const { return element_; }
  uint64_t size() const { return count_; }
  // The number's bytes, the text's characters, the elements as they lie in the file.
  std::span<const uint8_t> bytes() const { return bytes_; }

  // "a signed 32-bit integer", "an array of 3 texts".
  std::string Describe() const {
    if (!is_array()) return detail::FactsOf(type_).words;
    return "an array of " + std::to_string(count_) + " " + detail::FactsOf(element_).plural;
  }

  // What As<T> expects: "an integer", "an array of texts".
  template <GgufReadable T>
  static std::string Expected() {
    if constexpr (detail::GgufScalar<T>) {
      return std::string(Words<T>());
    } else {
      return "an array of " + std::string(Plural<typename detail::GgufElementOf<T>::type>());
    }
  }

  // f(element) of an array, in order.
  template <class F>
  void ForEach(F&& f) const {
    BITNET_ASSERT(is_array(), "GgufValue::ForEach: only arrays have elements");
    std::span<const uint8_t> rest = bytes_;
    for (uint64_t i = 0; i < count_; ++i) f(TakeElement(element_, rest));
  }

  template <GgufReadable T>
  Result<T> As() const {
    if constexpr (detail::GgufScalar<T>) {
      T to{};
      if (!Read(to)) return Error{Mismatch<T>(Expected<T>(), *this, {})};
      return to;
    } else {
      using Element = typename detail::GgufElementOf<T>::type;
      if (!is_array()) return Error{Expected<T>() + " was expected, and it is " + Describe()};
      T to;
      std::span<const uint8_t> rest = bytes_;
      to.reserve(static_cast<size_t>(count_));  // an element takes a byte of the file or more
      for (uint64_t i = 0; i < count_; ++i) {
        const GgufValue element = TakeElement(element_, rest);
        Element read{};
        if (!element.Read(read)) {
          return Error{Mismatch<Element>(Expected<T>(), element, "element " + std::to_string(i))};
        }
        to.push_back(read);
      }
      return to;
    }
  }

 private:
  GgufValue(GgufValueType type, GgufValueType element, uint64_t count, std::span<const uint8_t> bytes)
      : type_(type), element_(element), count_(count), bytes_(bytes) {}

  template <class T>
  static T Load(const uint8_t* from) {
    T value;
    std::memcpy(&value, from, sizeof(value));
    return value;
  }
  template <class T>
  static std::string_view Words() {
    if constexpr (std::same_as<T, bool>) return detail::FactsOf(GgufValueType::kBool).words;
    if constexpr (std::same_as<T, std::string_view>) return detail::FactsOf(GgufValueType::kString).words;
    if constexpr (std::floating_point<T>) return "a real";
    if constexpr (detail::GgufInteger<T>) return "an integer";
  }
  template <class T>
  static std::string_view Plural() {
    if constexpr (std::same_as<T, bool>) return detail::FactsOf(GgufValueType::kBool).plural;
    if constexpr (std::same_as<T, std::string_view>) return detail::FactsOf(GgufValueType::kString).plural;
    if constexpr (std::floating_point<T>) return "reals";
    if constexpr (detail::GgufInteger<T>) return "integers";
  }
  // `expected` was, and `found` is there, where `place` says.
  template <class T>
  static std::string Mismatch(std::string expected, const GgufValue& found, const std::string& place) {
    const std::string there = place.empty() ? "it" : place;
    if constexpr (detail::GgufInteger<T>) {
      if (const std::string number = found.IntegerInWords(); !number.empty()) {
        return expected + " from " + std::to_string(std::numeric_limits<T>::min()) + " to " +
               std::to_string(std::numeric_limits<T>::max()) + " was expected, and " + there + " is " + number;
      }
    }
    return expected + " was expected, and " + there + " is " + found.Describe();
  }
  std::string IntegerInWords() const {
    std::string words;
    if (int64_t number = 0; Read(number)) {
      words = std::to_string(number);
    } else if (uint64_t large = 0; Read(large)) {
      words = std::to_string(large);
    }
    return words;
  }

  // Calls f with the stored number, where it is one; else false.
  template <class F>
  bool WithNumber(F&& f) const {
    const uint8_t* at = bytes_.data();
    switch (type_) {
      case GgufValueType::kUint8:
        return f(Load<uint8_t>(at));
      case GgufValueType::kInt8:
        return f(Load<int8_t>(at));
      case GgufValueType::kUint16:
        return f(Load<uint16_t>(at));
      case GgufValueType::kInt16:
        return f(Load<int16_t>(at));
      case GgufValueType::kUint32:
        return f(Load<uint32_t>(at));
      case GgufValueType::kInt32:
        return f(Load<int32_t>(at));
      case GgufValueType::kUint64:
        return f(Load<uint64_t>(at));
      case GgufValueType::kInt64:
        return f(Load<int64_t>(at));
      case GgufValueType::kFloat32:
        return f(Load<float>(at));
      case GgufValueType::kFloat64:
        return f(Load<double>(at));
      case GgufValueType::kBool:
      case GgufValueType::kString:
      case GgufValueType::kArray:
        break;
    }
    return false;
  }
  template <detail::GgufScalar T>
  bool Read(T& to) const {
    if constexpr (std::same_as<T, bool>) {
      if (type_ == GgufValueType::kBool) to = bytes_[0] != 0;
      return type_ == GgufValueType::kBool;
    } else if constexpr (std::same_as<T, std::string_view>) {
      if (type_ == GgufValueType::kString) to = {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
      return type_ == GgufValueType::kString;
    } else {
      return WithNumber([&](auto number) {
        using Stored = decltype(number);
        if constexpr (std::floating_point<T> && std::floating_point<Stored>) {
          to = static_cast<T>(number);
          return true;
        } else if constexpr (detail::GgufInteger<T> && detail::GgufInteger<Stored>) {
          to = static_cast<T>(number);
          return std::in_range<T>(number);
        } else {
          return false;
        }
      });
    }
  }

  // The element at the beginning of `rest`, which then begins after it. Its bytes were checked when the file was read.
  static GgufValue TakeElement(GgufValueType type, std::span<const uint8_t>& rest) {
    const auto take = [&](uint64_t n) {
      const auto taken = rest.first(static_cast<size_t>(n));
      rest = rest.subspan(static_cast<size_t>(n));
      return taken;
    };
    if (type == GgufValueType::kString) {
      const auto length = Load<uint64_t>(take(8).data());
      return Scalar(type, take(length));
    }
    if (type != GgufValueType::kArray) return Scalar(type, take(detail::FactsOf(type).bytes));
    const auto element = static_cast<GgufValueType>(Load<uint32_t>(take(4).data()));
    const auto count = Load<uint64_t>(take(8).data());
    std::span<const uint8_t> after = rest;
    if (const uint64_t each = detail::FactsOf(element).bytes; each != 0) {
      return Array(element, count, take(count * each));
    }
    for (uint64_t i = 0; i < count; ++i) TakeElement(element, after);
    return Array(element, count, take(rest.size() - after.size()));
  }

  GgufValueType type_ = GgufValueType::kBool;
  GgufValueType element_ = GgufValueType::kBool;
  uint64_t count_ = 0;
  std::span<const uint8_t> bytes_;
};

}  // namespace bitnet

#endif  // BITNET_IO_GGUF_VALUE_H_
