// The header of a safetensors file: which tensors it has, of which type and shape, and where.
//
//   8 bytes   N, little-endian
//   N bytes   JSON: {"__metadata__": {text: text}, NAME: {"dtype": T, "shape": [...], "data_offsets": [begin, end]},
//   ...} the rest  the tensors' values, row by row, without a gap
//
// Nothing of it is believed: N, the JSON, types, shapes and offsets are checked, and the tensors must cover the rest of
// the file exactly, each byte once. Values may lie at any address: readers copy them. A type that is not in the table
// below is refused by its name, and so is a key that the format does not have. To add a type, add its line. Of a file
// with a fault, ReadSafetensorsRemains gives the tensors that are there all the same.
#ifndef BITNET_IO_SAFETENSORS_HEADER_H_
#define BITNET_IO_SAFETENSORS_HEADER_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/base/bytes.h"
#include "bitnet/base/result.h"
#include "bitnet/io/json.h"
#include "bitnet/io/quoted.h"

namespace bitnet {

// In the order in which the format's own writer sorts them.
enum class SafetensorsType : uint8_t {
  kBool,
  kF4,
  kF6E2M3,
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,
  kF64,
  kI64,
  kU64,
};

namespace detail {

struct SafetensorsTypeLine {
  std::string_view name;
  uint32_t bits;  // of a value
};
inline constexpr auto kSafetensorsTypes = std::to_array<SafetensorsTypeLine>({
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},   {"I8", 8},    {"F8_E5M2", 8},
    {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16}, {"BF16", 16}, {"I32", 32},
    {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},    {"I64", 64}, {"U64", 64},
});
static_assert(kSafetensorsTypes.size() == static_cast<size_t>(SafetensorsType::kU64) + 1);

}  // namespace detail

constexpr std::string_view Name(SafetensorsType type) {
  return detail::kSafetensorsTypes[static_cast<size_t>(type)].name;
}
constexpr uint32_t Bits(SafetensorsType type) { return detail::kSafetensorsTypes[static_cast<size_t>(type)].bits; }

constexpr std::optional<SafetensorsType> FindSafetensorsType(std::string_view name) {
  for (size_t i = 0; i < detail::kSafetensorsTypes.size(); ++i) {
    if (detail::kSafetensorsTypes[i].name == name) return static_cast<SafetensorsType>(i);
  }
  return std::nullopt;
}

struct SafetensorsTensor {
  std::string name;
  SafetensorsType type = SafetensorsType::kF32;
  std::vector<uint64_t> shape;  // of a scalar empty
  uint64_t begin = 0;           // in the file, in bytes
  uint64_t bytes = 0;
  size_t file = 0;  // which of a checkpoint's files has it

  // "F32 [2, 3]"
  std::string TypeAndShape() const {
    std::string words(Name(type));
    words += " [";
    for (size_t i = 0; i < shape.size(); ++i) words += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
    return words + "]";
  }
};

// Bytes of a tensor; nothing where its bits do not fit 64 bits or fill no whole bytes.
inline std::optional<uint64_t> SafetensorsBytes(SafetensorsType type, std::span<const uint64_t> shape) {
  uint64_t bits = Bits(type);
  // A dimension of 0 makes it 0, whatever the others are.
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  for (const uint64_t dimension : shape) {
    if (dimension > std::numeric_limits<uint64_t>::max() / bits) return std::nullopt;
    bits *= dimension;
  }
  if (bits % 8 != 0) return std::nullopt;
  return bits / 8;
}

using SafetensorsMetadata = std::vector<std::pair<std::string, std::string>>;

struct SafetensorsHeader {
  SafetensorsMetadata metadata;
  std::vector<SafetensorsTensor> tensors;  // in the order of their bytes
};

// The most bytes that a header may have: the format's own limit.
inline constexpr uint64_t kMostSafetensorsHeaderBytes = 100'000'000;

namespace detail {

inline constexpr std::string_view kSafetensorsMetadataKey = "__metadata__";

// The tensor that a member of the header says; its offsets as they are in the header.
inline Result<SafetensorsTensor> ReadSafetensorsTensor(const JsonValue& entry) {
  if (Result<Done> object = entry.ExpectObject(); !object.ok()) return Error{object.error()};
  for (const JsonValue member : entry.items()) {
    if (member.key() != "dtype" && member.key() != "shape" && member.key() != "data_offsets") {
      return member.Refuse("the format has no such key; dtype, shape and data_offsets were expected");
    }
  }
  SafetensorsTensor tensor;
  tensor.name = entry.key();

  const Result<JsonValue> dtype = entry.At("dtype");
  if (!dtype.ok()) return Error{dtype.error()};
  const Result<std::string_view> type_name = dtype->AsText();
  if (!type_name.ok()) return Error{type_name.error()};
  const std::optional<SafetensorsType> type = FindSafetensorsType(*type_name);
  if (!type) return dtype->Refuse("the type " + Quoted(*type_name) + " is not known");
  tensor.type = *type;

  const Result<JsonValue> shape = entry.At("shape");
  if (!shape.ok()) return Error{shape.error()};
  if (Result<Done> list = shape->ExpectList(); !list.ok()) return Error{list.error()};
  tensor.shape.reserve(shape->items().size());
  for (const JsonValue item : shape->items()) {
    const Result<uint64_t> dimension = item.AsUnsigned();
    if (!dimension.ok()) return Error{dimension.error()};
    tensor.shape.push_back(*dimension);
  }
  const std::optional<uint64_t> bytes = SafetensorsBytes(tensor.type, tensor.shape);
  if (!bytes) return shape->Refuse(tensor.TypeAndShape().substr(0, 200) + " has no number of bytes that 64 bits hold");

  const Result<JsonValue> offsets = entry.At("data_offsets");
  if (!offsets.ok()) return Error{offsets.error()};
  if (!offsets->ExpectList().ok() || offsets->items().size() != 2) {
    return offsets->Refuse("a list of two offsets was expected");
  }
  auto item = offsets->items().begin();
  const Result<uint64_t> begin = (*item).AsUnsigned();
  if (!begin.ok()) return Error{begin.error()};
  const Result<uint64_t> end = (*++item).AsUnsigned();
  if (!end.ok()) return Error{end.error()};
  if (*end < *begin || *end - *begin != *bytes) {
    return offsets->Refuse("they are " + std::to_string(*begin) + " and " + std::to_string(*end) + "; " +
                           tensor.TypeAndShape().substr(0, 200) + " takes " + std::to_string(*bytes) + " bytes");
  }
  tensor.begin = *begin;
  tensor.bytes = *bytes;
  return tensor;
}

// That tensors cover `bytes` bytes exactly: sorts them, and makes their offsets those of the file; also where it
// refuses.
inline Result<Done> PlaceSafetensors(std::vector<SafetensorsTensor>& tensors, uint64_t data_begin, uint64_t data_bytes,
                                     const std::string& name) {
  std::sort(tensors.begin(), tensors.end(), [](const SafetensorsTensor& a, const SafetensorsTensor& b) {
    return std::pair(a.begin, a.bytes) < std::pair(b.begin, b.bytes);
  });
  uint64_t covered = 0;
  Result<Done> placed = Done{};
  for (SafetensorsTensor& tensor : tensors) {
    if (tensor.begin != covered && placed.ok()) {
      placed = Error{name + ": " + Quoted(tensor.name) + " begins at byte " + std::to_string(tensor.begin) +
                     " of the values; what is before it ends at byte " + std::to_string(covered) +
                     ": tensors may leave no gap and not overlap"};
    }
    covered = tensor.begin + tensor.bytes;  // its data_offsets' end
    tensor.begin += std::min(data_begin, std::numeric_limits<uint64_t>::max() - tensor.begin);
  }
  if (!placed.ok()) return placed;
  if (covered != data_bytes) {
    return Error{name + ": the tensors take " + std::to_string(covered) + " bytes from byte " +
                 std::to_string(data_begin) + " on; the file has " + std::to_string(data_bytes) +
                 " there: " + (covered > data_bytes ? "it is truncated" : "what follows is unknown")};
  }
  return Done{};
}

}  // namespace detail

// What can be read of a file with a fault: the tensors whose members of the header are right. They may overlap, and lie
// beyond the file's end.
struct SafetensorsRemains {
  SafetensorsHeader header;
  std::string fault;  // the error of ReadSafetensorsHeader; empty: there is none
};

inline SafetensorsRemains ReadSafetensorsRemains(std::span<const uint8_t> file, const std::string& name) {
  SafetensorsRemains remains;
  const auto fail = [&](std::string why) {
    if (remains.fault.empty()) remains.fault = std::move(why);
  };
  if (file.size() < 8) {
    fail(name + ": has " + std::to_string(file.size()) +
         " bytes; a safetensors file begins with the 8 bytes of its header's length");
    return remains;
  }
  const auto header_bytes = ByteReader(file.first(8)).Number<uint64_t>("the header's length");
  if (header_bytes > kMostSafetensorsHeaderBytes || header_bytes > file.size() - 8) {
    fail(name + ": at byte 0: the header's length is " + std::to_string(header_bytes) + "; " +
         (header_bytes > kMostSafetensorsHeaderBytes
              ? "at most " + std::to_string(kMostSafetensorsHeaderBytes) + " are read"
              : std::to_string(file.size() - 8) + " bytes follow") +
         " (is this no safetensors file, or truncated?)");
    return remains;
  }
  const std::span<const uint8_t> text = file.subspan(8, static_cast<size_t>(header_bytes));
  if (text.empty() || text[0] != '{') {
    fail(name + ": at byte 8: the header must begin with '{' (is this a safetensors file?)");
    return remains;
  }
  const Result<JsonDocument> json = JsonDocument::Parse(text, name + ": header");
  if (!json.ok()) {
    fail(json.error());
    return remains;
  }

  SafetensorsHeader& header = remains.header;
  header.tensors.reserve(json->root().items().size());
  for (const JsonValue entry : json->root().items()) {
    if (entry.key() == detail::kSafetensorsMetadataKey) {
      if (Result<Done> object = entry.ExpectObject(); !object.ok()) {
        fail(object.error());
        continue;
      }
      for (const JsonValue item : entry.items()) {
        const Result<std::string_view> value = item.AsText();
        if (value.ok()) {
          header.metadata.emplace_back(item.key(), *value);
        } else {
          fail(value.error());
        }
      }
      continue;
    }
    Result<SafetensorsTensor> tensor = detail::ReadSafetensorsTensor(entry);
    if (tensor.ok()) {
      header.tensors.push_back(*std::move(tensor));
    } else {
      fail(tensor.error());
    }
  }
  const uint64_t data_begin = 8 + header_bytes;
  if (Result<Done> placed = detail::PlaceSafetensors(header.tensors, data_begin, file.size() - data_begin, name);
      !placed.ok()) {
    fail(placed.error());
  }
  return remains;
}

// Reads the header of a whole file's bytes. `name` is the file's, for messages.
inline Result<SafetensorsHeader> ReadSafetensorsHeader(std::span<const uint8_t> file, const std::string& name) {
  SafetensorsRemains remains = ReadSafetensorsRemains(file, name);
  if (!remains.fault.empty()) return Error{std::move(remains.fault)};
  return std::move(remains.header);
}

// Where the format's own writer puts tensors: wider types first, then by name. Sets begin and bytes, and sorts.
// Precondition: every tensor has a number of bytes (SafetensorsBytes). Returns the header's bytes, padded with spaces
// so that values begin at a multiple of 8; an error where names are double or no UTF-8, or all is too large.
inline Result<std::vector<uint8_t>> LayOutSafetensors(std::vector<SafetensorsTensor>& tensors,
                                                      const SafetensorsMetadata& metadata, const std::string& name) {
  std::sort(tensors.begin(), tensors.end(), [](const SafetensorsTensor& a, const SafetensorsTensor& b) {
    return a.type != b.type ? a.type > b.type : a.name < b.name;
  });
  std::string json = "{";
  if (!metadata.empty()) {
    json += JsonText(detail::kSafetensorsMetadataKey) + ":{";
    for (const auto& [key, value] : metadata) {
      if (json.back() != '{') json += ",";
      json += JsonText(key) + ":" + JsonText(value);
    }
    json += "}";
  }
  uint64_t offset = 0;
  for (SafetensorsTensor& tensor : tensors) {
    const std::optional<uint64_t> bytes = SafetensorsBytes(tensor.type, tensor.shape);
    BITNET_ASSERT(bytes.has_value(), "LayOutSafetensors: a tensor has no number of bytes");
    if (*bytes > (uint64_t{1} << 62) - offset) return Error{name + ": the tensors take more than 2^62 bytes"};
    tensor.begin = offset;
    tensor.bytes = *bytes;
    offset += *bytes;
    if (json.size() > 1) json += ",";
    json += JsonText(tensor.name) + ":{\"dtype\":" + JsonText(Name(tensor.type)) + ",\"shape\":[";
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
      if (i != 0) json += ",";
      json += std::to_string(tensor.shape[i]);
    }
    json += "],\"data_offsets\":[" + std::to_string(tensor.begin) + "," + std::to_string(offset) + "]}";
  }
  json += "}";
  json.append((8 - json.size() % 8) % 8, ' ');
  // What is written must be read: names that are double, that stand for metadata or are no UTF-8 are found here.
  for (const SafetensorsTensor& tensor : tensors) {
    if (tensor.name == detail::kSafetensorsMetadataKey) return Error{name + ": no tensor may be called " + tensor.name};
  }
  if (Result<JsonDocument> read = JsonDocument::Parse(json, name + ": header", {.bytes = kMostSafetensorsHeaderBytes});
      !read.ok()) {
    return Error{read.error()};
  }
  ByteWriter writer;
  writer.Number(static_cast<uint64_t>(json.size()));
  writer.bytes().insert(writer.bytes().end(), json.begin(), json.end());
  for (SafetensorsTensor& tensor : tensors) tensor.begin += writer.bytes().size();
  return std::move(writer.bytes());
}

}  // namespace bitnet

#endif  // BITNET_IO_SAFETENSORS_HEADER_H_
