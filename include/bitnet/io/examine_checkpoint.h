// ExamineCheckpoint: what a checkpoint is, and what is wrong with it, whatever kind of file it is: told by what the
// file begins with.
//
//   GGUF                       io/examine_gguf.h
//   a folder, safetensors      io/examine_hf.h; the name of an index or of a config.json stands for its folder
//
// The result is always a report: what cannot be opened is a finding. So is what loaders refuse (io/checkpoint.h) though
// nothing else was found: a checkpoint without errors is one that loads. io/report_text.h writes it.
#ifndef BITNET_IO_EXAMINE_CHECKPOINT_H_
#define BITNET_IO_EXAMINE_CHECKPOINT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "bitnet/base/result.h"
#include "bitnet/io/checkpoint.h"
#include "bitnet/io/checkpoint_report.h"
#include "bitnet/io/examine_gguf.h"
#include "bitnet/io/examine_hf.h"
#include "bitnet/io/gguf.h"
#include "bitnet/io/mapped_file.h"

namespace bitnet {

namespace detail {

inline CheckpointReport ExamineAnyCheckpoint(const std::string& path, const ExamineOptions& options = {}) {
  std::error_code unknown;
  if (std::filesystem::is_directory(path, unknown)) return ExamineHf(path, options);
  const std::filesystem::path as_path(path);
  if ((as_path.filename() == "config.json" || path.ends_with(".index.json")) &&
      std::filesystem::exists(path, unknown)) {
    const std::string folder = as_path.parent_path().string();
    return ExamineHf(folder.empty() ? "." : folder, options);
  }
  Result<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) {
    CheckpointReport report;
    report.path = path;
    report.Add(Severity::kError, "reader", path, file.error());
    return report;
  }
  const std::string_view begin(reinterpret_cast<const char*>(file->bytes().data()),
                               std::min<size_t>(file->bytes().size(), 4));
  // A safetensors file begins with its header's length, which is far below the number that these letters are.
  if (begin == "GGUF") return ExamineGguf(ReadGgufRemains(*std::move(file)), options);
  return ExamineHf(path, options);
}

}  // namespace detail

inline CheckpointReport ExamineCheckpoint(const std::string& path, const ExamineOptions& options = {}) {
  CheckpointReport report = detail::ExamineAnyCheckpoint(path, options);
  // Without a configuration it is a vocabulary, or a file of a folder.
  const bool is_model = report.config || (report.kind.starts_with("GGUF") && !report.tensors.empty());
  if (!is_model || report.Count(Severity::kError) > 0) return report;
  if (const Result<Checkpoint> loaded = Checkpoint::Open(report.path); !loaded.ok()) {
    report.Add(Severity::kError, "loader", report.path, loaded.error());
  }
  return report;
}

}  // namespace bitnet

#endif  // BITNET_IO_EXAMINE_CHECKPOINT_H_
