// Safetensors: the tensors of a checkpoint in safetensors files, mapped: one file, or several with an index.
//
//   Result<Safetensors> files = Safetensors::Open("folder");    // or model.safetensors, or
//   model.safetensors.index.json const SafetensorsTensor* gain = files->Find("model.norm.weight"); std::span<const
//   uint8_t> bytes = files->Bytes(*gain);
//
// Headers are checked when files are opened (io/safetensors_header.h); of the values nothing is read. The index must
// say of every tensor of every file where it is, and nothing else. Const members may be called by several threads.
#ifndef BITNET_IO_SAFETENSORS_H_
#define BITNET_IO_SAFETENSORS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/base/file.h"
#include "bitnet/base/result.h"
#include "bitnet/io/json.h"
#include "bitnet/io/mapped_file.h"
#include "bitnet/io/quoted.h"
#include "bitnet/io/safetensors_header.h"

namespace bitnet {

class Safetensors {
 public:
  // A file, an index (a path that ends in ".json"), or a folder with model.safetensors or model.safetensors.index.json.
  static Result<Safetensors> Open(const std::string& path, FileAccess access = FileAccess::kMap) {
    std::error_code unknown;
    if (std::filesystem::is_directory(path, unknown)) {
      for (const std::string& file : {path + "/model.safetensors", path + "/model.safetensors.index.json"}) {
        if (std::filesystem::exists(file, unknown)) return Open(file, access);
      }
      return Error{path + ": has neither model.safetensors nor model.safetensors.index.json"};
    }
    if (path.ends_with(".json")) return OpenIndex(path, access);
    Result<MappedFile> file = MappedFile::Open(path, access);
    if (!file.ok()) return Error{file.error()};
    return FromFile(*std::move(file));
  }

  static Result<Safetensors> FromFile(MappedFile file) {
    Safetensors all;
    if (Result<Done> added = all.Add(std::move(file)); !added.ok()) return Error{added.error()};
    if (Result<Done> sorted = all.SortByName(); !sorted.ok()) return Error{sorted.error()};
    return Result<Safetensors>(std::move(all));
  }

  // By name.
  std::span<const SafetensorsTensor> tensors() const { return tensors_; }
  const SafetensorsTensor* Find(std::string_view name) const {
    const auto found = std::lower_bound(tensors_.begin(), tensors_.end(), name,
                                        [](const SafetensorsTensor& a, std::string_view b) { return a.name < b; });
    return found != tensors_.end() && found->name == name ? &*found : nullptr;
  }
  // The metadata of all files, one after the other.
  const SafetensorsMetadata& metadata() const { return metadata_; }
  std::span<const MappedFile> files() const { return files_; }

  std::span<const uint8_t> Bytes(const SafetensorsTensor& tensor) const {
    return files_[tensor.file].bytes().subspan(static_cast<size_t>(tensor.begin), static_cast<size_t>(tensor.bytes));
  }
  // The tensor's pages may go to others (MappedFile::Release).
  void Release(const SafetensorsTensor& tensor) const { files_[tensor.file].Release(tensor.begin, tensor.bytes); }

  // An error about a tensor: "FILE: 'NAME' (F32 [2, 3], at byte 80): why".
  Error Refuse(const SafetensorsTensor& tensor, const std::string& why) const {
    return Error{files_[tensor.file].path() + ": " + Quoted(tensor.name) + " (" + tensor.TypeAndShape().substr(0, 200) +
                 ", at byte " + std::to_string(tensor.begin) + "): " + why};
  }
  // The tensor of a name and a shape; an error where there is none.
  Result<const SafetensorsTensor*> Get(std::string_view name, std::span<const uint64_t> shape) const {
    const SafetensorsTensor* const tensor = Find(name);
    if (tensor == nullptr) return Error{Where() + ": there is no tensor " + Quoted(name)};
    if (!std::equal(tensor->shape.begin(), tensor->shape.end(), shape.begin(), shape.end())) {
      SafetensorsTensor expected = *tensor;
      expected.shape.assign(shape.begin(), shape.end());
      return Refuse(*tensor, expected.TypeAndShape() + " was expected");
    }
    return tensor;
  }

  // What was opened, for messages.
  const std::string& Where() const { return where_.empty() ? files_[0].path() : where_; }

 private:
  Safetensors() = default;

  Result<Done> Add(MappedFile file) {
    Result<SafetensorsHeader> header = ReadSafetensorsHeader(file.bytes(), file.path());
    if (!header.ok()) return Error{header.error()};
    for (SafetensorsTensor& tensor : header->tensors) {
      tensor.file = files_.size();
      tensors_.push_back(std::move(tensor));
    }
    for (auto& item : header->metadata) metadata_.push_back(std::move(item));
    files_.push_back(std::move(file));
    return Done{};
  }

  Result<Done> SortByName() {
    std::sort(tensors_.begin(), tensors_.end(),
              [](const SafetensorsTensor& a, const SafetensorsTensor& b) { return a.name < b.name; });
    const auto twice =
        std::adjacent_find(tensors_.begin(), tensors_.end(),
                           [](const SafetensorsTensor& a, const SafetensorsTensor& b) { return a.name == b.name; });
    if (twice == tensors_.end()) return Done{};
    return Refuse(*twice, "the tensor is there twice, in " + files_[twice[1].file].path() + " too");
  }

  static bool IsPlainFileName(std::string_view name) {
    return !name.empty() && name != "." && name != ".." &&
           name.find_first_of(std::string_view("/\\:\0", 4)) == name.npos;
  }

  static Result<Safetensors> OpenIndex(const std::string& path, FileAccess access) {
    Result<std::vector<uint8_t>> text = ReadFile(path, {.regular = kMostSafetensorsHeaderBytes});
    if (!text.ok()) return Error{text.error()};
    const Result<JsonDocument> json = JsonDocument::Parse(*text, path);
    if (!json.ok()) return Error{json.error()};
    if (Result<Done> object = json->root().ExpectObject(); !object.ok()) return Error{object.error()};
    for (const JsonValue member : json->root().items()) {
      if (member.key() != "metadata" && member.key() != "weight_map") {
        return member.Refuse("an index has no such key; metadata and weight_map were expected");
      }
    }
    const Result<JsonValue> map = json->root().At("weight_map");
    if (!map.ok()) return Error{map.error()};
    if (Result<Done> object = map->ExpectObject(); !object.ok()) return Error{object.error()};

    // Its tensors by name, and its files by name, each once.
    struct Line {
      std::string_view tensor;
      std::string_view file;
      JsonValue value;
    };
    std::vector<Line> lines;
    lines.reserve(map->items().size());
    std::vector<std::string_view> names;
    for (const JsonValue value : map->items()) {
      const Result<std::string_view> file = value.AsText();
      if (!file.ok()) return Error{file.error()};
      if (!IsPlainFileName(*file)) {
        return value.Refuse(Quoted(*file) + " is no name of a file in the index's own folder");
      }
      lines.push_back({value.key(), *file, value});
      names.push_back(*file);
    }
    if (lines.empty()) return map->Refuse("it is empty");
    std::sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) { return a.tensor < b.tensor; });
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());

    Safetensors all;
    all.where_ = path;
    const size_t slash = path.find_last_of('/');
    const std::string folder = slash == std::string::npos ? "" : path.substr(0, slash + 1);
    for (const std::string_view name : names) {
      Result<MappedFile> file = MappedFile::Open(folder + std::string(name), access);
      if (!file.ok()) return Error{path + ": " + file.error()};
      if (Result<Done> added = all.Add(*std::move(file)); !added.ok()) return Error{added.error()};
    }
    if (Result<Done> sorted = all.SortByName(); !sorted.ok()) return Error{sorted.error()};

    // Both lists are sorted by name: they must be one.
    for (size_t i = 0; i < std::max(lines.size(), all.tensors_.size()); ++i) {
      if (i == lines.size() || (i < all.tensors_.size() && all.tensors_[i].name < lines[i].tensor)) {
        return all.Refuse(all.tensors_[i], "the index " + path + " does not have it");
      }
      if (i == all.tensors_.size() || lines[i].tensor < all.tensors_[i].name ||
          lines[i].file != names[all.tensors_[i].file]) {
        return lines[i].value.Refuse("that file has no such tensor: " + Quoted(lines[i].file));
      }
    }
    return Result<Safetensors>(std::move(all));
  }

  std::string where_;  // the index; empty: the only file
  std::vector<MappedFile> files_;
  std::vector<SafetensorsTensor> tensors_;
  SafetensorsMetadata metadata_;
};

}  // namespace bitnet

#endif  // BITNET_IO_SAFETENSORS_H_
