// Bytes of files: little-endian, as are the machines that this library runs on; sealed with a checksum, read with every
// size checked. How files are opened and replaced is in base/file.h.
//
// A sealed file is: 8 bytes of magic, a version (u32), the payload, a checksum (u64) of all before it. SaveSealed
// replaces the file as a whole (WriteFile). LoadSealed looks at magic and version before it takes memory for the rest.
// Readers never trust a length: ByteReader refuses to go past the end, and says where.
#ifndef BITNET_BASE_BYTES_H_
#define BITNET_BASE_BYTES_H_

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "bitnet/base/file.h"
#include "bitnet/base/result.h"

namespace bitnet {

// Files and packed codes are read and written as they lie in memory.
static_assert(std::endian::native == std::endian::little, "bitnet: big-endian machines are not supported");

// FNV-1a over 8-byte words, then over the rest and the length: finds damage, not malice.
inline uint64_t Checksum(std::span<const uint8_t> bytes) {
  uint64_t hash = 0xcbf29ce484222325u;
  const auto mix = [&](uint64_t word) {
    hash = (hash ^ word) * 0x100000001b3u;
    hash ^= hash >> 29;
  };
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word = 0;
    for (size_t b = 0; b < 8; ++b) word |= uint64_t{bytes[i + b]} << (8 * b);
    mix(word);
  }
  for (; i < bytes.size(); ++i) mix(bytes[i]);
  mix(bytes.size());
  return hash;
}

template <class T>
concept PlainNumber = std::is_arithmetic_v<T> &&(sizeof(T) <= 8) && !std::same_as<T, bool>;  // a byte may be 2

namespace detail {
template <size_t kBytes>
struct UnsignedOf;
template <>
struct UnsignedOf<1> {
  using type = uint8_t;
};
template <>
struct UnsignedOf<2> {
  using type = uint16_t;
};
template <>
struct UnsignedOf<4> {
  using type = uint32_t;
};
template <>
struct UnsignedOf<8> {
  using type = uint64_t;
};
}  // namespace detail

class ByteWriter {
 public:
  template <PlainNumber T>
  void Number(T value) {
    const auto bits = std::bit_cast<typename detail::UnsignedOf<sizeof(T)>::type>(value);
    for (size_t i = 0; i < sizeof(T); ++i) bytes_.push_back(static_cast<uint8_t>(uint64_t{bits} >> (8 * i)));
  }
  void Text(std::string_view text) {
    BITNET_ASSERT(text.size() <= 0xffffffffu, "ByteWriter: a text has at most 2^32 - 1 bytes");
    Number(static_cast<uint32_t>(text.size()));
    bytes_.insert(bytes_.end(), text.begin(), text.end());
  }
  // A length and the values.
  template <PlainNumber T>
  void Numbers(std::span<const T> values) {
    Number(static_cast<uint64_t>(values.size()));
    if (values.empty()) return;
    const auto* begin = reinterpret_cast<const uint8_t*>(values.data());
    bytes_.insert(bytes_.end(), begin, begin + values.size_bytes());
  }
  std::vector<uint8_t>& bytes() { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

// After the first failure every read gives zeros and ok() is false; error() names the first place.
class ByteReader {
 public:
  explicit ByteReader(std::span<const uint8_t> bytes, size_t offset_in_file = 0)
      : bytes_(bytes), base_(offset_in_file) {}

  template <PlainNumber T>
  T Number(std::string_view what) {
    typename detail::UnsignedOf<sizeof(T)>::type bits = 0;
    if (Take(sizeof(T), what)) {
      uint64_t word = 0;
      for (size_t i = 0; i < sizeof(T); ++i) word |= uint64_t{bytes_[at_ - sizeof(T) + i]} << (8 * i);
      bits = static_cast<decltype(bits)>(word);
    }
    return std::bit_cast<T>(bits);
  }
  // A byte that is 0 or 1.
  bool Flag(std::string_view what) {
    const auto byte = Number<uint8_t>(what);
    if (byte > 1) Fail(what, "a flag is " + std::to_string(byte) + "; it must be 0 or 1");
    return ok() && byte == 1;
  }
  std::string Text(std::string_view what) {
    const auto size = Number<uint32_t>(what);
    if (!Take(size, what)) return {};
    return {reinterpret_cast<const char*>(bytes_.data()) + at_ - size, size};
  }
  // Reads exactly values.size() numbers; a stored length that differs is an error.
  template <PlainNumber T>
  void Numbers(std::string_view what, std::span<T> values) {
    const auto stored = Number<uint64_t>(what);
    if (ok() && stored != values.size()) {
      Fail(what, std::to_string(values.size()) + " values were expected, the file has " + std::to_string(stored));
    }
    if (!ok() || !Take(values.size_bytes(), what)) return;
    if (!values.empty()) std::memcpy(values.data(), bytes_.data() + at_ - values.size_bytes(), values.size_bytes());
  }

  void Fail(std::string_view what, const std::string& why) {
    if (error_.empty()) {
      error_ = "at byte " + std::to_string(base_ + at_) + ", reading " + std::string(what) + ": " + why;
    }
  }
  bool ok() const { return error_.empty(); }
  const std::string& error() const { return error_; }
  size_t remaining() const { return bytes_.size() - at_; }

 private:
  bool Take(size_t n, std::string_view what) {
    if (!ok()) return false;
    if (n > remaining()) {
      Fail(what, std::to_string(n) + " bytes were expected, " + std::to_string(remaining()) + " are left");
      return false;
    }
    at_ += n;
    return true;
  }

  std::span<const uint8_t> bytes_;
  size_t base_ = 0;
  size_t at_ = 0;
  std::string error_;
};

// A file's magic and the one version this library reads.
struct FileKind {
  char magic[9];
  uint32_t version;
  const char* name;  // for messages: "bitnet model", "bitnet checkpoint"
};

// Seals the payload and writes the file.
inline Result<Done> SaveSealed(const std::string& path, const FileKind& kind, std::span<const uint8_t> payload) {
  ByteWriter writer;
  writer.bytes().reserve(payload.size() + 8 + sizeof(kind.version) + 8);  // magic, version, payload, checksum
  for (size_t i = 0; i < 8; ++i) writer.Number(kind.magic[i]);
  writer.Number(kind.version);
  writer.bytes().insert(writer.bytes().end(), payload.begin(), payload.end());
  writer.Number(Checksum(writer.bytes()));
  return WriteFile(path, writer.bytes());
}

inline constexpr size_t kSealHeaderBytes = 12;

// Whether the first bytes of a file are those of its kind and version.
inline Result<Done> CheckSealHeader(std::span<const uint8_t> bytes, const std::string& path, const FileKind& kind) {
  const std::string name = kind.name;
  if (bytes.size() < kSealHeaderBytes || std::memcmp(bytes.data(), kind.magic, 8) != 0) {
    return Error{path + ": this is not a " + name + " (its first bytes must be " + kind.magic + ")"};
  }
  const auto version = ByteReader(bytes.subspan(8)).Number<uint32_t>("version");
  if (version != kind.version) {
    return Error{path + ": version " + std::to_string(version) + " of a " + name + "; this library reads version " +
                 std::to_string(kind.version)};
  }
  return Done{};
}

// The payload within all bytes of a sealed file; its first byte is at kSealHeaderBytes of the file.
inline Result<std::span<const uint8_t>> OpenSeal(std::span<const uint8_t> bytes, const std::string& path,
                                                 const FileKind& kind) {
  if (Result<Done> header = CheckSealHeader(bytes, path, kind); !header.ok()) return Error{header.error()};
  if (bytes.size() < kSealHeaderBytes + 8) return Error{path + ": damaged or truncated: it has no checksum"};
  const size_t end = bytes.size() - 8;
  if (ByteReader(bytes.subspan(end)).Number<uint64_t>("checksum") != Checksum(bytes.first(end))) {
    return Error{path + ": damaged or truncated: the checksum at byte " + std::to_string(end) +
                 " does not match the contents"};
  }
  return bytes.subspan(kSealHeaderBytes, end - kSealHeaderBytes);
}

// The payload of a sealed file.
inline Result<std::vector<uint8_t>> LoadSealed(const std::string& path, const FileKind& kind,
                                               const ReadLimits& limits = {}) {
  Result<FileReader> file = FileReader::Open(path, limits);
  if (!file.ok()) return Error{file.error()};
  std::vector<uint8_t> bytes;
  if (Result<Done> read = file->Append(bytes, kSealHeaderBytes); !read.ok()) return Error{read.error()};
  if (Result<Done> header = CheckSealHeader(bytes, path, kind); !header.ok()) return Error{header.error()};
  if (Result<Done> read = file->AppendRest(bytes); !read.ok()) return Error{read.error()};
  if (Result<std::span<const uint8_t>> payload = OpenSeal(bytes, path, kind); !payload.ok()) {
    return Error{payload.error()};
  }
  bytes.resize(bytes.size() - 8);
  bytes.erase(bytes.begin(), bytes.begin() + kSealHeaderBytes);
  return bytes;
}

}  // namespace bitnet

#endif  // BITNET_BASE_BYTES_H_
