// SafetensorsWriter: a safetensors file, tensor by tensor, whose bytes are those of the format's own writer.
//
//   Result<SafetensorsWriter> writer = SafetensorsWriter::Begin(path, {{"a", SafetensorsType::kF32, {2, 3}}, ...});
//   for (const SafetensorsTensor& tensor : writer->tensors()) writer->Write(...);    // in this order, in any pieces
//   writer->Commit();
//
// The bytes go to a temporary beside the file (base/file.h): until Commit, and where anything fails, the old file is
// what it was.
#ifndef BITNET_IO_SAFETENSORS_WRITER_H_
#define BITNET_IO_SAFETENSORS_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/base/file.h"
#include "bitnet/base/result.h"
#include "bitnet/io/safetensors_header.h"

namespace bitnet {

class SafetensorsWriter {
 public:
  // Of `tensors` name, type and shape count. Each must have a number of bytes (SafetensorsBytes).
  static Result<SafetensorsWriter> Begin(const std::string& path, std::vector<SafetensorsTensor> tensors,
                                         const SafetensorsMetadata& metadata = {}) {
    Result<std::vector<uint8_t>> header = LayOutSafetensors(tensors, metadata, path);
    if (!header.ok()) return Error{header.error()};
    Result<detail::Replacement> file = detail::Replacement::Begin(path);
    if (!file.ok()) return Error{file.error()};
    SafetensorsWriter writer(*std::move(file), std::move(tensors));
    if (Result<Done> written = writer.file_.Write(*header); !written.ok()) return Error{written.error()};
    return Result<SafetensorsWriter>(std::move(writer));
  }

  // In the order of the file.
  const std::vector<SafetensorsTensor>& tensors() const { return tensors_; }

  // The next bytes of the values. Precondition: the tensors have as many left.
  Result<Done> Write(std::span<const uint8_t> bytes) {
    BITNET_ASSERT(bytes.size() <= left_, "SafetensorsWriter: more bytes are written than the tensors have");
    left_ -= bytes.size();
    return file_.Write(bytes);
  }
  Result<Done> Write(std::span<const float> values) {
    return Write(std::span(reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()));
  }
  // Precondition: all bytes are written.
  Result<Done> Commit() {
    BITNET_ASSERT(left_ == 0, "SafetensorsWriter: Commit before all bytes of the tensors are written");
    return file_.Commit();
  }

 private:
  SafetensorsWriter(detail::Replacement file, std::vector<SafetensorsTensor> tensors)
      : file_(std::move(file)), tensors_(std::move(tensors)) {
    for (const SafetensorsTensor& tensor : tensors_) left_ += tensor.bytes;
  }

  detail::Replacement file_;
  std::vector<SafetensorsTensor> tensors_;
  uint64_t left_ = 0;  // bytes that are not written
};

}  // namespace bitnet

#endif  // BITNET_IO_SAFETENSORS_WRITER_H_
