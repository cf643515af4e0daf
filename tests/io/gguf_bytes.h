// GgufBytes: a GGUF file put together field by field, right or wrong, for tests of who reads it.
#ifndef BITNET_TESTS_IO_GGUF_BYTES_H_
#define BITNET_TESTS_IO_GGUF_BYTES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/base/bytes.h"
#include "bitnet/io/gguf.h"

namespace bitnet::testing {

inline void PutText(ByteWriter& to, std::string_view text) {
  to.Number(uint64_t{text.size()});
  to.bytes().insert(to.bytes().end(), text.begin(), text.end());
}

struct GgufBytes {
  struct Entry {
    std::string key;
    uint32_t type;
    std::vector<uint8_t> value;
  };
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dims;
    uint32_t type;
    uint64_t offset;
  };

  std::string magic = "GGUF";
  uint32_t version = 3;
  std::optional<uint64_t> tensor_count;  // none: as many as there are
  std::optional<uint64_t> entry_count;
  std::vector<Entry> entries;
  std::vector<Tensor> tensors;
  uint64_t alignment = 32;  // between the tensors' infos and the data
  std::vector<uint8_t> data;

  template <class T>
  GgufBytes& Number(std::string key, uint32_t type, T value) {
    ByteWriter to;
    to.Number(value);
    entries.push_back({std::move(key), type, to.bytes()});
    return *this;
  }
  GgufBytes& Text(std::string key, std::string_view value) {
    ByteWriter to;
    PutText(to, value);
    entries.push_back({std::move(key), 8, to.bytes()});
    return *this;
  }

  std::vector<uint8_t> Make() const {
    ByteWriter to;
    to.bytes().insert(to.bytes().end(), magic.begin(), magic.end());
    to.Number(version);
    to.Number(tensor_count.value_or(tensors.size()));
    to.Number(entry_count.value_or(entries.size()));
    for (const Entry& entry : entries) {
      PutText(to, entry.key);
      to.Number(entry.type);
      to.bytes().insert(to.bytes().end(), entry.value.begin(), entry.value.end());
    }
    for (const Tensor& tensor : tensors) {
      PutText(to, tensor.name);
      to.Number(static_cast<uint32_t>(tensor.dims.size()));
      for (const uint64_t dim : tensor.dims) to.Number(dim);
      to.Number(tensor.type);
      to.Number(tensor.offset);
    }
    if (!data.empty()) {
      while (to.bytes().size() % alignment != 0) to.bytes().push_back(0);
      to.bytes().insert(to.bytes().end(), data.begin(), data.end());
    }
    return to.bytes();
  }
  Result<GgufFile> Parse() const { return GgufFile::Parse(MappedFile::FromBytes(Make(), "f")); }
};

// The error of reading it, or nothing.
inline std::string ErrorOf(const Result<GgufFile>& file) { return file.ok() ? std::string() : file.error(); }
inline std::string ErrorOf(const GgufBytes& bytes) { return ErrorOf(bytes.Parse()); }

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_IO_GGUF_BYTES_H_
