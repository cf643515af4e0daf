// MappedFile: the bytes of a file, read only, that the system brings into memory where they are looked at.
//
// Where a file cannot be mapped (a pipe; a system without mmap) its bytes are read, and the same calls answer. Pages of
// a mapping are the system's: they are no anonymous memory, and Release gives those of a range back after use.
//
// A mapping shows the file, not a copy. A program that shortens the file in place while it is mapped ends whoever looks
// at what is gone (SIGBUS); one that replaces it, as WriteFile does, harms nobody.
#ifndef BITNET_IO_MAPPED_FILE_H_
#define BITNET_IO_MAPPED_FILE_H_

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bitnet/base/file.h"
#include "bitnet/base/result.h"

#if BITNET_HAS_POSIX_FILES
#include <sys/mman.h>
#endif

namespace bitnet {

// How a file's bytes come into memory.
enum class FileAccess { kMap, kRead };

class MappedFile {
 public:
  // No bytes.
  MappedFile() = default;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  // The bytes stay where they are: views of them stay valid.
  MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(read_, other.read_);
    std::swap(mapping_, other.mapping_);
    return *this;
  }
  ~MappedFile() {
#if BITNET_HAS_POSIX_FILES
    if (!mapping_.empty()) munmap(const_cast<uint8_t*>(mapping_.data()), mapping_.size());
#endif
  }

  // Errors name the path and the system's reason. `limits` are those of what is read.
  static Result<MappedFile> Open(const std::string& path, FileAccess access = FileAccess::kMap,
                                 const ReadLimits& limits = {}) {
    MappedFile file;
    file.path_ = path;
    if (access == FileAccess::kMap) {
      Result<bool> mapped = file.Map();
      if (!mapped.ok()) return Error{mapped.error()};
      if (*mapped) return Result<MappedFile>(std::move(file));
    }
    Result<std::vector<uint8_t>> bytes = ReadFile(path, limits);
    if (!bytes.ok()) return Error{bytes.error()};
    file.read_ = *std::move(bytes);
    return Result<MappedFile>(std::move(file));
  }
  // Bytes that are in memory already, under a name for messages.
  static MappedFile FromBytes(std::vector<uint8_t> bytes, std::string name = "(memory)") {
    MappedFile file;
    file.path_ = std::move(name);
    file.read_ = std::move(bytes);
    return file;
  }

  std::span<const uint8_t> bytes() const { return mapping_.empty() ? std::span<const uint8_t>(read_) : mapping_; }
  const std::string& path() const { return path_; }
  bool is_mapped() const { return !mapping_.empty(); }

  // The memory of the pages that lie wholly within [offset, offset + size) may go to others; who looks at them again
  // gets the file's bytes again. Offsets in bytes; what is beyond the end is ignored. Any thread may call it. Of bytes
  // that were read it does nothing.
  void Release(uint64_t offset, uint64_t size) const { Advise(offset, size, /*needed=*/false); }
  // The range will be read soon: the system may fetch it meanwhile.
  void Prefetch(uint64_t offset, uint64_t size) const { Advise(offset, size, /*needed=*/true); }

 private:
#if BITNET_HAS_POSIX_FILES
  // False where the file is of a kind that cannot be mapped.
  Result<bool> Map() {
    detail::Descriptor file;
    // Without O_NONBLOCK to open a pipe would wait for a writer.
    do {
      file = detail::Descriptor(open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
    } while (!file && errno == EINTR);
    struct stat status {};
    if (!file || fstat(file.get(), &status) != 0) {
      const int reason = errno;
      return Error{path_ + ": cannot be opened for reading: " + SystemReason(reason)};
    }
    // Files of /proc are regular of size 0, and have contents: they are read.
    if (!S_ISREG(status.st_mode) || status.st_size <= 0) return false;
    const auto size = static_cast<uint64_t>(status.st_size);
    if (size > uint64_t{std::numeric_limits<std::ptrdiff_t>::max()}) {
      return Error{path_ + ": has " + std::to_string(size) + " bytes, more than this machine can address"};
    }
    void* const at = mmap(nullptr, static_cast<size_t>(size), PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (at == MAP_FAILED) {
      const int reason = errno;
      if (reason == ENODEV) return false;  // a file system that maps nothing
      return Error{path_ + ": its " + std::to_string(size) + " bytes cannot be mapped: " + SystemReason(reason)};
    }
    mapping_ = {static_cast<const uint8_t*>(at), static_cast<size_t>(size)};
    return true;
  }

  void Advise(uint64_t offset, uint64_t size, bool needed) const {
    if (mapping_.empty() || offset >= mapping_.size()) return;
    const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    uint64_t end = size < mapping_.size() - offset ? offset + size : mapping_.size();
    if (needed) {
      offset -= offset % page;
    } else {
      // Pages that others share with this range stay. The last page of the file has no others.
      offset += (page - offset % page) % page;
      if (end != mapping_.size()) end -= end % page;
    }
    if (offset >= end) return;
    madvise(const_cast<uint8_t*>(mapping_.data()) + offset, static_cast<size_t>(end - offset),
            needed ? MADV_WILLNEED : MADV_DONTNEED);  // what it says is advice, and so is a failure
  }
#else
  Result<bool> Map() { return false; }
  void Advise(uint64_t, uint64_t, bool) const {}
#endif

  std::string path_;
  std::vector<uint8_t> read_;
  std::span<const uint8_t> mapping_;  // empty: the bytes are in read_
};

}  // namespace bitnet

#endif  // BITNET_IO_MAPPED_FILE_H_
