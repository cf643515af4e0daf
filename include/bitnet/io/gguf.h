// GgufFile: a GGUF file (versions 2 and 3), mapped: metadata by key, tensors by name, nothing copied.
//
//   Result<GgufFile> file = GgufFile::Open("model.gguf");
//   Result<uint32_t> layers = file->Get<uint32_t>("llama.block_count");        // the sentence names key and type
//   Result<float> base = file->GetOr<float>("llama.rope.freq_base", 10000.0f);  // only where there is no such key
//   const GgufTensor* head = file->FindTensor("output.weight");
//
// Open checks all that the file says of itself: counts, lengths, types, names (none twice), alignment, and that each
// tensor lies in the file and none in another. Its memory is a small multiple of the metadata's bytes. It does not look
// at the tensors' bytes: io/blocks.h decodes them. Views (keys, texts, bytes) live as long as the GgufFile, moved or
// not.
//
// Of a file with a fault, ReadGgufRemains gives what can be read all the same: for whoever says what is wrong with it.
//
// A tensor whose type is not known is kept, with `type` null, for whoever lists what a file holds; to decode it is an
// error. Of several types with one number the one is taken whose length fits the place up to the next tensor; of small
// tensors, which alignment leaves undecided, the one that the number has in the rest of the file.
#ifndef BITNET_IO_GGUF_H_
#define BITNET_IO_GGUF_H_

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/io/gguf_types.h"
#include "bitnet/io/gguf_value.h"
#include "bitnet/io/mapped_file.h"
#include "bitnet/io/quoted.h"

namespace bitnet {

struct GgufEntry {
  std::string_view key;
  GgufValue value;
};

struct GgufTensor {
  std::string_view name;
  uint32_t rank = 0;                            // dimensions that the file states
  std::array<uint64_t, 4> dims = {1, 1, 1, 1};  // values; dims[0] is along a row
  uint32_t type_id = 0;                         // as the file states it
  const GgufType* type = nullptr;               // null: no such number is known
  uint64_t offset = 0;                          // of the first byte in the file
  std::span<const uint8_t> bytes;               // those of the type; of an unknown type all up to the next tensor

  uint64_t cols() const { return dims[0]; }
  uint64_t rows() const { return dims[1] * dims[2] * dims[3]; }
  // "I2_S"; of what is not known "type 77".
  std::string TypeName() const { return type == nullptr ? "type " + std::to_string(type_id) : std::string(type->name); }
};

struct GgufRemains;

class GgufFile {
 public:
  static Result<GgufFile> Open(const std::string& path, FileAccess access = FileAccess::kMap) {
    Result<MappedFile> file = MappedFile::Open(path, access);
    if (!file.ok()) return Error{file.error()};
    return Parse(*std::move(file));
  }
  static Result<GgufFile> Parse(MappedFile file);

  uint32_t version() const { return version_; }
  uint64_t alignment() const { return alignment_; }  // of tensors, bytes
  uint64_t data_offset() const { return data_; }     // of the first tensor's bytes in the file
  const MappedFile& file() const { return file_; }
  const std::string& path() const { return file_.path(); }

  // All, in the file's order.
  std::span<const GgufEntry> metadata() const { return entries_; }
  std::span<const GgufTensor> tensors() const { return tensors_; }

  // Null where there is none.
  const GgufValue* Find(std::string_view key) const {
    const GgufEntry* found = Find(entries_, entries_by_key_, key, &GgufEntry::key);
    return found == nullptr ? nullptr : &found->value;
  }
  const GgufTensor* FindTensor(std::string_view name) const {
    return Find(tensors_, tensors_by_name_, name, &GgufTensor::name);
  }

  Result<const GgufTensor*> GetTensor(std::string_view name) const {
    const GgufTensor* tensor = FindTensor(name);
    if (tensor == nullptr) return Error{path() + ": there is no tensor " + Quoted(name)};
    return tensor;
  }

  // The value of a key as T (io/gguf_value.h). Errors name file, key and what was expected.
  template <GgufReadable T>
  Result<T> Get(std::string_view key) const {
    const GgufValue* value = Find(key);
    if (value == nullptr) {
      return Error{path() + ": there is no metadata " + Quoted(key) + "; " + GgufValue::Expected<T>() +
                   " was expected"};
    }
    Result<T> read = value->As<T>();
    if (!read.ok()) return Error{path() + ": metadata " + Quoted(key) + ": " + read.error()};
    return read;
  }
  // `otherwise` where there is no such key; a value of another type is an error all the same.
  template <GgufReadable T>
  Result<T> GetOr(std::string_view key, T otherwise) const {
    if (Find(key) == nullptr) return otherwise;
    return Get<T>(key);
  }

  // The pages of a tensor's bytes may go (io/mapped_file.h): to be called after use.
  void Release(const GgufTensor& tensor) const { file_.Release(tensor.offset, tensor.bytes.size()); }

 private:
  class Reader;
  friend GgufRemains ReadGgufRemains(MappedFile file);

  template <class Item>
  static const Item* Find(const std::vector<Item>& items, const std::vector<uint32_t>& sorted, std::string_view name,
                          std::string_view Item::*member) {
    const auto at = std::lower_bound(sorted.begin(), sorted.end(), name,
                                     [&](uint32_t i, std::string_view n) { return items[i].*member < n; });
    return at == sorted.end() || items[*at].*member != name ? nullptr : &items[*at];
  }
  // Positions in the order of names; the position of a name that stands twice, or items.size().
  template <class Item>
  static size_t Sort(const std::vector<Item>& items, std::vector<uint32_t>& sorted, std::string_view Item::*member) {
    sorted.resize(items.size());
    for (size_t i = 0; i < items.size(); ++i) sorted[i] = static_cast<uint32_t>(i);
    std::sort(sorted.begin(), sorted.end(),
              [&](uint32_t a, uint32_t b) { return items[a].*member < items[b].*member; });
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end(),
                                          [&](uint32_t a, uint32_t b) { return items[a].*member == items[b].*member; });
    return twice == sorted.end() ? items.size() : *twice;
  }

  Result<Done> Read();
  Result<Done> ReadAlignment();
  Result<Done> CheckOffsets() const;
  Result<Done> PlaceTensors();
  void PlaceRemains();
  std::vector<const GgufType*> FittingTypes(const GgufTensor& tensor, bool is_last) const;
  static std::string WhyNotPlaced(const GgufTensor& tensor, bool several_fit);

  MappedFile file_;
  uint32_t version_ = 0;
  uint64_t alignment_ = 32;
  uint64_t data_ = 0;
  bool placed_ = false;  // the tensors' offsets count from the beginning of the file
  std::vector<GgufEntry> entries_;
  std::vector<GgufTensor> tensors_;
  std::vector<uint32_t> entries_by_key_;
  std::vector<uint32_t> tensors_by_name_;
};

// Reads numbers and texts in turn. After the first failure all reads give nothing, and error() says what it was.
class GgufFile::Reader {
 public:
  explicit Reader(const MappedFile& file) : bytes_(file.bytes()), path_(file.path()) {}

  template <class T>
  T Number(const char* what) {
    T value{};
    if (const auto at = Bytes(sizeof(T), what); !at.empty()) std::memcpy(&value, at.data(), sizeof(T));
    return value;
  }
  std::string_view Text(const char* what) {
    const auto at = Bytes(Number<uint64_t>(what), what);
    return {reinterpret_cast<const char*>(at.data()), at.size()};
  }
  std::span<const uint8_t> Bytes(uint64_t n, const char* what) {
    if (!ok()) return {};
    if (n > remaining()) {
      Fail(what, std::to_string(n) + " bytes were expected, " + std::to_string(remaining()) + " are left");
      return {};
    }
    at_ += static_cast<size_t>(n);
    return bytes_.subspan(at_ - static_cast<size_t>(n), static_cast<size_t>(n));
  }
  // A number of things of which each takes at least `least` bytes of what is left.
  uint64_t Count(const char* what, uint64_t least) {
    const auto count = Number<uint64_t>(what);
    if (ok() && count > std::min<uint64_t>(remaining() / least, kMost)) {
      Fail(what, std::to_string(count) + " are stated, for which the " + std::to_string(remaining()) +
                     " bytes that are left are too few");
    }
    return ok() ? count : 0;
  }
  GgufValueType ValueType(const char* what) {
    const auto type = Number<uint32_t>(what);
    if (type < detail::kGgufValueTypes.size()) return GgufValueType{type};
    Fail(what, "the type is " + std::to_string(type) + "; types are from 0 to " +
                   std::to_string(detail::kGgufValueTypes.size() - 1));
    return GgufValueType::kBool;
  }
  GgufValue Value(GgufValueType type, size_t depth, const char* what) {
    const size_t begin = at_;
    if (type == GgufValueType::kArray) {
      const GgufValueType element = ValueType(what);
      const uint64_t each = detail::FactsOf(element).bytes;
      // A text begins with its length, an array with its type and its number of elements.
      const uint64_t count = Count(what, each != 0 ? each : element == GgufValueType::kString ? 8 : 12);
      const size_t elements = at_;
      if (depth >= kDeepest) Fail(what, "arrays in arrays are read " + std::to_string(kDeepest) + " deep");
      if (element == GgufValueType::kBool || each == 0) {
        for (uint64_t i = 0; i < count && ok(); ++i) Value(element, depth + 1, what);
      } else {
        Bytes(count * each, what);
      }
      return ok() ? GgufValue::Array(element, count, bytes_.subspan(elements, at_ - elements)) : GgufValue();
    }
    if (type == GgufValueType::kString) {
      const std::string_view text = Text(what);
      return GgufValue::Scalar(type, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
    }
    const auto at = Bytes(detail::FactsOf(type).bytes, what);
    if (type == GgufValueType::kBool && ok() && at[0] > 1) {
      at_ = begin;
      Fail(what, "a truth value is " + std::to_string(at[0]) + "; it must be 0 or 1");
    }
    return GgufValue::Scalar(type, at);
  }

  // `what` is followed by the name that was read last.
  void Within(std::string_view name) { within_ = name; }
  void Fail(const char* what, const std::string& why) {
    if (!ok()) return;
    error_ = path_ + ": at byte " + std::to_string(at_) + ", reading " + what +
             (within_.empty() ? std::string() : " " + Quoted(within_)) + ": " + why;
  }
  bool ok() const { return error_.empty(); }
  const std::string& error() const { return error_; }
  uint64_t remaining() const { return bytes_.size() - at_; }
  uint64_t at() const { return at_; }

 private:
  static constexpr size_t kDeepest = 4;
  static constexpr uint64_t kMost = 0xffffffffu;  // things in a list

  std::span<const uint8_t> bytes_;
  const std::string& path_;
  size_t at_ = 0;
  std::string_view within_;
  std::string error_;
};

inline Result<GgufFile> GgufFile::Parse(MappedFile file) {
  GgufFile gguf;
  gguf.file_ = std::move(file);
  if (Result<Done> read = gguf.Read(); !read.ok()) return Error{read.error()};
  return Result<GgufFile>(std::move(gguf));
}

inline Result<Done> GgufFile::Read() {
  Reader from(file_);
  const auto magic = from.Bytes(4, "the first bytes of a GGUF file");
  if (from.ok() && std::memcmp(magic.data(), "GGUF", 4) != 0) {
    return Error{path() + ": this is not a GGUF file (its first bytes must be GGUF)"};
  }
  version_ = from.Number<uint32_t>("the version");
  if (from.ok() && version_ != 2 && version_ != 3) {
    const bool is_big_endian = (version_ & 0xffffu) == 0 && version_ != 0;
    return Error{path() + (is_big_endian ? ": a GGUF file for big-endian machines; only little-endian ones are read"
                                         : ": version " + std::to_string(version_) +
                                               " of a GGUF file; versions 2 and 3 are read")};
  }
  // A tensor: a name, a number of dimensions, one of them, a type, an offset. An entry: a key, a type, a value.
  const uint64_t tensors = from.Count("the number of tensors", 8 + 4 + 4 + 8);
  const uint64_t entries = from.Count("the number of metadata entries", 8 + 4 + 1);
  for (uint64_t i = 0; i < entries && from.ok(); ++i) {
    from.Within({});
    const std::string_view key = from.Text("a metadata key");
    from.Within(key);
    const GgufValueType type = from.ValueType("metadata");
    const GgufValue value = from.Value(type, 0, "metadata");
    if (from.ok()) entries_.push_back({key, value});
  }
  for (uint64_t i = 0; i < tensors && from.ok(); ++i) {
    GgufTensor tensor;
    from.Within({});
    tensor.name = from.Text("a tensor's name");
    from.Within(tensor.name);
    tensor.rank = from.Number<uint32_t>("the number of dimensions of tensor");
    if (tensor.rank > tensor.dims.size()) {
      from.Fail("the number of dimensions of tensor", "it is " + std::to_string(tensor.rank) + "; there are at most 4");
    }
    uint64_t room = uint64_t{1} << 60;  // for values
    for (uint32_t d = 0; d < tensor.rank && from.ok(); ++d) {
      tensor.dims[d] = from.Number<uint64_t>("the dimensions of tensor");
      if (from.ok() && (tensor.dims[d] == 0 || tensor.dims[d] > room)) {
        from.Fail("the dimensions of tensor", "dimension " + std::to_string(d) + " is " +
                                                  std::to_string(tensor.dims[d]) +
                                                  "; a tensor has at least one value and at most 2^60");
      }
      if (from.ok()) room /= tensor.dims[d];
    }
    tensor.type_id = from.Number<uint32_t>("the type of tensor");
    tensor.offset = from.Number<uint64_t>("the offset of tensor");
    if (from.ok()) tensors_.push_back(tensor);
  }
  const size_t entry_twice = Sort(entries_, entries_by_key_, &GgufEntry::key);
  const size_t tensor_twice = Sort(tensors_, tensors_by_name_, &GgufTensor::name);
  if (!from.ok()) return Error{from.error()};
  const Result<Done> alignment = ReadAlignment();
  data_ = from.at() + (alignment_ - from.at() % alignment_) % alignment_;
  if (entry_twice < entries_.size()) {
    return Error{path() + ": metadata " + Quoted(entries_[entry_twice].key) + " is there twice"};
  }
  if (tensor_twice < tensors_.size()) {
    return Error{path() + ": tensor " + Quoted(tensors_[tensor_twice].name) + " is there twice"};
  }
  if (!alignment.ok()) return Error{alignment.error()};
  if (Result<Done> checked = CheckOffsets(); !checked.ok()) return checked;
  return PlaceTensors();
}

inline Result<Done> GgufFile::ReadAlignment() {
  const Result<uint32_t> alignment = GetOr<uint32_t>("general.alignment", 32);
  if (!alignment.ok()) return Error{alignment.error()};
  if (!std::has_single_bit(*alignment)) {
    return Error{path() + ": metadata 'general.alignment' is " + std::to_string(*alignment) +
                 "; it must be a power of two"};
  }
  // Files are padded to it.
  if (*alignment > (uint32_t{1} << 20)) {
    return Error{path() + ": metadata 'general.alignment' is " + std::to_string(*alignment) +
                 "; at most 2^20 is believed"};
  }
  alignment_ = *alignment;
  return Done{};
}

// Offsets as the file states them, counted from data_.
inline Result<Done> GgufFile::CheckOffsets() const {
  const uint64_t size = file_.bytes().size();
  for (const GgufTensor& tensor : tensors_) {
    if (tensor.offset % alignment_ != 0) {
      return Error{path() + ": tensor " + Quoted(tensor.name) + " is at offset " + std::to_string(tensor.offset) +
                   " of the data; offsets must be multiples of " + std::to_string(alignment_)};
    }
    if (data_ > size || tensor.offset >= size - data_) {
      return Error{path() + ": tensor " + Quoted(tensor.name) + " is at offset " + std::to_string(tensor.offset) +
                   " of the data, which has " + std::to_string(data_ > size ? 0 : size - data_) +
                   " bytes: the file is truncated, or it is damaged"};
    }
  }
  return Done{};
}

// Each tensor has the bytes up to the next one, the last those up to the end of the file. Offsets in GgufTensor are
// counted from the beginning of the file.
inline Result<Done> GgufFile::PlaceTensors() {
  const uint64_t size = file_.bytes().size();
  for (GgufTensor& tensor : tensors_) tensor.offset += data_;
  placed_ = true;
  std::vector<uint32_t> order(tensors_.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<uint32_t>(i);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return tensors_[a].offset < tensors_[b].offset; });
  // Which type a number is in this file, as those tensors say whose length only one fits.
  std::map<uint32_t, std::set<const GgufType*>> meanings;
  for (size_t i = 0; i < order.size(); ++i) {
    GgufTensor& tensor = tensors_[order[i]];
    const bool is_last = i + 1 == order.size();
    const uint64_t end = is_last ? size : tensors_[order[i + 1]].offset;
    if (end == tensor.offset) {
      return Error{path() + ": tensors " + Quoted(tensor.name) + " and " + Quoted(tensors_[order[i + 1]].name) +
                   " are both at byte " + std::to_string(tensor.offset)};
    }
    // All up to the next one, for now.
    tensor.bytes = file_.bytes().subspan(static_cast<size_t>(tensor.offset), static_cast<size_t>(end - tensor.offset));
    if (const auto fitting = FittingTypes(tensor, is_last); fitting.size() == 1) {
      meanings[tensor.type_id].insert(fitting[0]);
    }
  }
  for (size_t i = 0; i < order.size(); ++i) {
    GgufTensor& tensor = tensors_[order[i]];
    std::vector<const GgufType*> fitting = FittingTypes(tensor, i + 1 == order.size());
    if (const auto& meaning = meanings[tensor.type_id]; fitting.size() > 1 && meaning.size() == 1) {
      std::erase_if(fitting, [&](const GgufType* type) { return type != *meaning.begin(); });
    }
    if (FindGgufTypes(tensor.type_id).empty()) continue;
    if (fitting.size() != 1) return Error{path() + ": " + WhyNotPlaced(tensor, fitting.size() > 1)};
    tensor.type = fitting[0];
    if (tensor.type->block_values != 0) {
      tensor.bytes = tensor.bytes.first(static_cast<size_t>(*tensor.type->Bytes(tensor.rows(), tensor.cols())));
    }
  }
  return Done{};
}

// As well as it goes, whatever is wrong: a tensor has the bytes that its type takes, or those up to the next one where
// its type cannot be told, as far as the file has them.
inline void GgufFile::PlaceRemains() {
  const uint64_t size = file_.bytes().size();
  std::vector<uint64_t> begins;
  for (const GgufTensor& tensor : tensors_) begins.push_back(tensor.offset);
  std::sort(begins.begin(), begins.end());
  std::map<uint32_t, const GgufType*> meanings;  // as far as tensors were placed
  for (const GgufTensor& tensor : tensors_) {
    if (tensor.type != nullptr) meanings.emplace(tensor.type_id, tensor.type);
  }
  for (GgufTensor& tensor : tensors_) {
    const auto next = std::upper_bound(begins.begin(), begins.end(), tensor.offset);
    const uint64_t begin = std::min(tensor.offset, size);
    uint64_t end = next == begins.end() ? size : std::min(*next, size);
    tensor.bytes = file_.bytes().subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    const std::span<const GgufType> known = FindGgufTypes(tensor.type_id);
    if (tensor.type == nullptr && known.size() == 1) tensor.type = &known[0];
    if (tensor.type == nullptr) {
      const auto fitting = FittingTypes(tensor, next == begins.end());
      const auto meaning = meanings.find(tensor.type_id);
      if (fitting.size() == 1) {
        tensor.type = fitting[0];
      } else if (meaning != meanings.end()) {
        tensor.type = meaning->second;
      }
    }
    if (tensor.type == nullptr) continue;
    if (const std::optional<uint64_t> bytes = tensor.type->Bytes(tensor.rows(), tensor.cols())) {
      end = begin + std::min<uint64_t>(*bytes, size - begin);
      tensor.bytes = file_.bytes().subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    }
  }
}

// The types of its number that a tensor may have, which has all bytes up to the next tensor: those that fill them up to
// the alignment; or if none does, those that are shorter. A type whose length no table says fits where no other does.
inline std::vector<const GgufType*> GgufFile::FittingTypes(const GgufTensor& tensor, bool is_last) const {
  const uint64_t place = tensor.bytes.size();
  std::vector<const GgufType*> exact, shorter, without_size;
  for (const GgufType& type : FindGgufTypes(tensor.type_id)) {
    const std::optional<uint64_t> bytes = type.Bytes(tensor.rows(), tensor.cols());
    if (type.block_values == 0) without_size.push_back(&type);
    if (!bytes || *bytes > place) continue;
    const uint64_t padded = *bytes + (alignment_ - *bytes % alignment_) % alignment_;
    if (padded < place) {
      shorter.push_back(&type);
    } else if (padded == place || is_last) {
      exact.push_back(&type);
    }
  }
  return !exact.empty() ? exact : !without_size.empty() ? without_size : shorter;
}

inline std::string GgufFile::WhyNotPlaced(const GgufTensor& tensor, bool several_fit) {
  std::string why = "tensor " + Quoted(tensor.name) + " of type " + std::to_string(tensor.type_id) + ", " +
                    std::to_string(tensor.dims[0]);
  for (uint32_t d = 1; d < tensor.rank; ++d) why += " x " + std::to_string(tensor.dims[d]);
  why += ", at byte " + std::to_string(tensor.offset) + ": there are " + std::to_string(tensor.bytes.size()) + " bytes";
  for (const GgufType& type : FindGgufTypes(tensor.type_id)) {
    const std::optional<uint64_t> bytes = type.Bytes(tensor.rows(), tensor.cols());
    why += "; " + std::string(type.name) +
           (bytes ? " takes " + std::to_string(*bytes)
                  : " has rows of multiples of " + std::to_string(type.block_values) + " values" +
                        (type.rows_together > 1 ? ", in " + std::to_string(type.rows_together) + "s" : ""));
  }
  return why + (several_fit ? "; which of them it is cannot be told" : "");
}

// What can be read of a file: all that is before its fault, and tensors as far as their bytes are there.
struct GgufRemains {
  // Of a file with a fault, names may stand twice; tensors may have fewer bytes than their shape takes, or none, and
  // share them; `type` is set where the number and the shape leave no doubt. Where the list of tensors does not end,
  // no tensor has bytes.
  GgufFile file;
  std::string fault;  // the error of GgufFile::Parse; empty: there is none
};

inline GgufRemains ReadGgufRemains(MappedFile file) {
  GgufRemains remains;
  GgufFile& gguf = remains.file;
  gguf.file_ = std::move(file);
  const Result<Done> read = gguf.Read();
  if (read.ok()) return remains;
  remains.fault = read.error();
  // Where the list of tensors does not end, data_ is not known. Else offsets count from it, unless they were placed.
  if (gguf.data_ == 0) {
    for (GgufTensor& tensor : gguf.tensors_) {
      const std::span<const GgufType> known = FindGgufTypes(tensor.type_id);
      if (known.size() == 1) tensor.type = &known[0];
    }
    return remains;
  }
  if (!gguf.placed_) {
    for (GgufTensor& tensor : gguf.tensors_) {
      tensor.offset += std::min(gguf.data_, std::numeric_limits<uint64_t>::max() - tensor.offset);
    }
  }
  gguf.PlaceRemains();
  return remains;
}

}  // namespace bitnet

#endif  // BITNET_IO_GGUF_H_
