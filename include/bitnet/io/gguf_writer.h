// GgufWriter: writes a GGUF file (version 3), as a whole or not at all.
//
//   GgufWriter writer;
//   writer.Set("general.architecture", "bitnet-b1.58");
//   writer.Set("bitnet-b1.58.block_count", uint32_t{30});
//   writer.AddTensor("blk.0.attn_q.weight", {cols, rows}, *FindGgufType("TQ2_0"), [&] { return Encode(...); });
//   Result<Done> written = writer.Write("model.gguf");
//
// Tensors' bytes are asked for one after the other while the file is written, so that no more than one is in memory.
// The file takes its place when all of it is on the disk (base/file.h): whatever ends the writing, the old one stays.
// It may be the file that is read: what is mapped of that stays as it is.
#ifndef BITNET_IO_GGUF_WRITER_H_
#define BITNET_IO_GGUF_WRITER_H_

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/base/bytes.h"
#include "bitnet/base/file.h"
#include "bitnet/base/result.h"
#include "bitnet/io/gguf_types.h"
#include "bitnet/io/gguf_value.h"
#include "bitnet/io/quoted.h"

namespace bitnet {

namespace detail {

template <class T>
struct GgufTypeOf;
template <class T>
requires(std::convertible_to<const T&, std::string_view>) struct GgufTypeOf<T> {
  static constexpr GgufValueType kType = GgufValueType::kString;
};
template <>
struct GgufTypeOf<bool> {
  static constexpr GgufValueType kType = GgufValueType::kBool;
};
template <class T>
requires(GgufInteger<T> || std::floating_point<T>) struct GgufTypeOf<T> {
  static constexpr GgufValueType kType = GgufValueTypeOf<T>();
};
template <class T>
struct GgufTypeOf<std::vector<T>> {
  static constexpr GgufValueType kType = GgufValueType::kArray;
};
template <class T>
constexpr GgufValueType GgufTypeOfValue() {
  return GgufTypeOf<T>::kType;
}

}  // namespace detail

class GgufWriter {
 public:
  using Bytes = std::vector<uint8_t>;

  // Of tensors, in bytes; a power of two, of 8 or more.
  explicit GgufWriter(uint32_t alignment = 32) : alignment_(alignment) {
    BITNET_ASSERT(std::has_single_bit(alignment) && alignment >= 8,
                  "GgufWriter: the alignment must be a power of two, and 8 or more");
    if (alignment != 32) Set("general.alignment", alignment);
  }

  // An integer or a real of the width it has, a truth value, a text; a std::vector of those, or of such vectors.
  template <class T>
  requires(!std::convertible_to<const T&, std::string_view>) void Set(std::string key, const T& value) {
    ByteWriter to;
    to.Number(static_cast<uint32_t>(detail::GgufTypeOfValue<T>()));
    Put(to, value);
    entries_.push_back({std::move(key), std::move(to.bytes())});
  }
  void Set(std::string key, std::string_view value) {
    ByteWriter to;
    to.Number(static_cast<uint32_t>(GgufValueType::kString));
    Put(to, value);
    entries_.push_back({std::move(key), std::move(to.bytes())});
  }
  // A value of another file, as it is.
  void Set(std::string key, const GgufValue& value) {
    ByteWriter to;
    to.Number(static_cast<uint32_t>(value.type()));
    if (value.is_array()) {
      to.Number(static_cast<uint32_t>(value.element_type()));
      to.Number(uint64_t{value.size()});
    } else if (value.type() == GgufValueType::kString) {
      to.Number(uint64_t{value.bytes().size()});
    }
    to.bytes().insert(to.bytes().end(), value.bytes().begin(), value.bytes().end());
    entries_.push_back({std::move(key), std::move(to.bytes())});
  }

  // `dims` as GGUF has them: columns first. `bytes` is called once by Write, and gives as many as type and shape take.
  void AddTensor(std::string name, std::vector<uint64_t> dims, const GgufType& type,
                 std::function<Result<Bytes>()> bytes) {
    tensors_.push_back({std::move(name), std::move(dims), &type, {}, std::move(bytes), {}});
  }
  // Bytes that stay where they are until Write has returned, or has called `after`, which it does when they are
  // written.
  void AddTensor(std::string name, std::vector<uint64_t> dims, const GgufType& type, std::span<const uint8_t> bytes,
                 std::function<void()> after = {}) {
    tensors_.push_back({std::move(name), std::move(dims), &type, bytes, {}, std::move(after)});
  }
  void AddTensor(std::string name, std::vector<uint64_t> dims, const GgufType& type, Bytes&& bytes) = delete;

  // Refuses keys and names that are there twice, shapes that the types do not have, bytes of another number.
  Result<Done> Write(const std::string& path) const {
    const auto refuse = [&](const std::string& why) { return Error{path + ": not written: " + why}; };
    ByteWriter header;
    for (const char c : {'G', 'G', 'U', 'F'}) header.Number(c);
    header.Number(uint32_t{3});
    header.Number(uint64_t{tensors_.size()});
    header.Number(uint64_t{entries_.size()});
    std::set<std::string_view> names;
    for (const Entry& entry : entries_) {
      if (!names.insert(entry.key).second) return refuse("metadata " + Quoted(entry.key) + " is there twice");
      Put(header, std::string_view(entry.key));
      header.bytes().insert(header.bytes().end(), entry.value.begin(), entry.value.end());
    }
    names.clear();
    std::vector<uint64_t> sizes;
    uint64_t offset = 0;
    for (const Tensor& tensor : tensors_) {
      if (!names.insert(tensor.name).second) return refuse("tensor " + Quoted(tensor.name) + " is there twice");
      const std::optional<uint64_t> size = tensor.Size();
      if (!size)
        return refuse("tensor " + Quoted(tensor.name) + " has a shape that " + std::string(tensor.type->name) +
                      " does not have");
      Put(header, std::string_view(tensor.name));
      header.Number(static_cast<uint32_t>(tensor.dims.size()));
      for (const uint64_t dim : tensor.dims) header.Number(dim);
      header.Number(tensor.type->id);
      header.Number(offset);
      sizes.push_back(*size);
      offset += *size + Padding(*size);
    }
    header.bytes().resize(header.bytes().size() + static_cast<size_t>(Padding(header.bytes().size())));

    Result<detail::Replacement> file = detail::Replacement::Begin(path);
    if (!file.ok()) return Error{file.error()};
    if (Result<Done> written = file->Write(header.bytes()); !written.ok()) return written;
    const Bytes zeros(static_cast<size_t>(alignment_));
    for (size_t i = 0; i < tensors_.size(); ++i) {
      const Tensor& tensor = tensors_[i];
      Bytes made;
      std::span<const uint8_t> bytes = tensor.bytes;
      if (tensor.make) {
        Result<Bytes> result = tensor.make();
        if (!result.ok()) return refuse("tensor " + Quoted(tensor.name) + ": " + result.error());
        made = *std::move(result);
        bytes = made;
      }
      if (bytes.size() != sizes[i]) {
        return refuse("tensor " + Quoted(tensor.name) + " has " + std::to_string(bytes.size()) +
                      " bytes; its shape in " + std::string(tensor.type->name) + " takes " + std::to_string(sizes[i]));
      }
      if (Result<Done> written = file->Write(bytes); !written.ok()) return written;
      if (tensor.after) tensor.after();
      const auto padding = std::span(zeros).first(static_cast<size_t>(Padding(sizes[i])));
      if (Result<Done> written = file->Write(padding); !written.ok()) return written;
    }
    return file->Commit();
  }

 private:
  struct Entry {
    std::string key;
    Bytes value;  // its type and what follows it in the file
  };
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dims;
    const GgufType* type;
    std::span<const uint8_t> bytes;
    std::function<Result<Bytes>()> make;
    std::function<void()> after;

    std::optional<uint64_t> Size() const {
      if (dims.empty() || dims.size() > 4) return std::nullopt;
      uint64_t rows = 1;
      for (size_t d = 1; d < dims.size(); ++d) {
        if (dims[d] == 0 || rows > (uint64_t{1} << 62) / dims[d]) return std::nullopt;
        rows *= dims[d];
      }
      return type->Bytes(rows, dims[0]);
    }
  };

  static void Put(ByteWriter& to, std::string_view text) {
    to.Number(uint64_t{text.size()});
    to.bytes().insert(to.bytes().end(), text.begin(), text.end());
  }
  static void Put(ByteWriter& to, bool value) { to.Number(static_cast<uint8_t>(value)); }
  template <detail::GgufScalar T>
  static void Put(ByteWriter& to, const T& value) {
    to.Number(value);
  }
  template <class T>
  static void Put(ByteWriter& to, const std::vector<T>& values) {
    to.Number(static_cast<uint32_t>(detail::GgufTypeOfValue<T>()));
    to.Number(uint64_t{values.size()});
    for (const auto& value : values) Put(to, static_cast<const T&>(value));
  }

  uint64_t Padding(uint64_t size) const { return (alignment_ - size % alignment_) % alignment_; }

  uint64_t alignment_;
  std::vector<Entry> entries_;
  std::vector<Tensor> tensors_;
};

}  // namespace bitnet

#endif  // BITNET_IO_GGUF_WRITER_H_
