// Bytes of files: little-endian, as are the machines that this library runs on; sealed with a checksum, read with every
// size checked.
//
// A sealed file is: 8 bytes of magic, a version (u32), the payload, a checksum (u64) of all before it. SaveSealed
// replaces the file as a whole: a crash leaves the old one or the new one. Readers never trust a length: ByteReader
// refuses to go past the end, and says where.
#ifndef BITNET_BASE_BYTES_H_
#define BITNET_BASE_BYTES_H_

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "bitnet/base/result.h"

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

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

inline Result<std::vector<uint8_t>> ReadFile(const std::string& path) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (!file) return Error{path + ": cannot be opened for reading"};
  std::vector<uint8_t> bytes;
  uint8_t chunk[1 << 16];
  for (size_t n; (n = std::fread(chunk, 1, sizeof(chunk), file.get())) > 0;)
    bytes.insert(bytes.end(), chunk, chunk + n);
  if (std::ferror(file.get())) return Error{path + ": reading failed after " + std::to_string(bytes.size()) + " bytes"};
  return bytes;
}

// Writes path.tmp, waits until it is on the disk where the system says so, and renames it over path.
inline Result<Done> WriteFile(const std::string& path, std::span<const uint8_t> bytes) {
  const std::string temporary = path + ".tmp";
  std::FILE* file = std::fopen(temporary.c_str(), "wb");
  if (file == nullptr) return Error{path + ": cannot be opened for writing"};
  const bool written = bytes.empty() || std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  bool on_disk = std::fflush(file) == 0;
#if defined(__unix__) || defined(__APPLE__)
  on_disk = on_disk && fsync(fileno(file)) == 0;
#endif
  const bool closed = std::fclose(file) == 0;
  if (!written || !on_disk || !closed || std::rename(temporary.c_str(), path.c_str()) != 0) {
    std::remove(temporary.c_str());
    return Error{path + ": " + std::to_string(bytes.size()) + " bytes could not be written (is the disk full?)"};
  }
  return Done{};
}

// Seals the payload and writes the file.
inline Result<Done> SaveSealed(const std::string& path, const FileKind& kind, std::span<const uint8_t> payload) {
  ByteWriter writer;
  for (size_t i = 0; i < 8; ++i) writer.Number(kind.magic[i]);
  writer.Number(kind.version);
  writer.bytes().insert(writer.bytes().end(), payload.begin(), payload.end());
  writer.Number(Checksum(writer.bytes()));
  return WriteFile(path, writer.bytes());
}

inline constexpr size_t kSealHeaderBytes = 12;

// The payload of a sealed file; its first byte is at kSealHeaderBytes of the file.
inline Result<std::vector<uint8_t>> LoadSealed(const std::string& path, const FileKind& kind) {
  Result<std::vector<uint8_t>> file = ReadFile(path);
  if (!file.ok()) return Error{file.error()};
  std::vector<uint8_t>& bytes = *file;
  const std::string name = kind.name;
  if (bytes.size() < kSealHeaderBytes + 8 || std::memcmp(bytes.data(), kind.magic, 8) != 0) {
    return Error{path + ": this is not a " + name + " (its first bytes must be " + kind.magic + ")"};
  }
  const std::span<const uint8_t> all = bytes;
  ByteReader ends(all.subspan(8, 4));
  const auto version = ends.Number<uint32_t>("version");
  if (version != kind.version) {
    return Error{path + ": version " + std::to_string(version) + " of a " + name + "; this library reads version " +
                 std::to_string(kind.version)};
  }
  ByteReader seal(all.last(8));
  if (seal.Number<uint64_t>("checksum") != Checksum(all.first(all.size() - 8))) {
    return Error{path + ": damaged or truncated: the checksum at byte " + std::to_string(bytes.size() - 8) +
                 " does not match the contents"};
  }
  bytes.resize(bytes.size() - 8);
  bytes.erase(bytes.begin(), bytes.begin() + kSealHeaderBytes);
  return std::move(bytes);
}

}  // namespace bitnet

#endif  // BITNET_BASE_BYTES_H_
