// Files as wholes: ReadFile reads what has an end, WriteFile replaces a file at once or leaves it as it was. Where they
// fail, their sentence has the system's reason.
//
// How WriteFile replaces. The bytes go to a temporary beside the file, FILE.<16 hex digits>.bitnet-tmp, made anew and
// by nobody else (O_EXCL); it is flushed to the disk, given the old file's mode and renamed over it, and the folder is
// flushed. So the name stands for all of the old bytes or all of the new ones, whoever saves at the same time and
// whenever the machine stops. A writer holds a lock (flock) on its temporary until that is renamed or removed, and the
// system takes the lock away when the writer ends, however it ends. Hence one law tells leftovers: a temporary whose
// lock can be had has no writer, and the next WriteFile of that file removes it. Neither process numbers nor ages are
// asked, so containers that share a folder agree. A child forked in the midst shares the lock: the leftover then stays
// until both have ended. Where a network's file system keeps locks on each machine alone, a writer on another machine
// may lose its temporary: then its WriteFile fails, and no file is harmed. (32-bit Linux needs -D_FILE_OFFSET_BITS=64,
// for the whole program, for files above 2 GiB and on file systems with large numbers of files.)
#ifndef BITNET_BASE_FILE_H_
#define BITNET_BASE_FILE_H_

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "bitnet/base/result.h"

#if defined(__unix__) || defined(__APPLE__)
#define BITNET_HAS_POSIX_FILES 1
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#else
#define BITNET_HAS_POSIX_FILES 0
#include <filesystem>
#endif

namespace bitnet {

// The system's words for a value of errno. Safe in any thread.
inline std::string SystemReason(int error) {
  return error == 0 ? "the system gives no reason" : std::generic_category().message(error);
}

// The most bytes that are read of a file, lest one that is endless or forged take all memory.
struct ReadLimits {
  uint64_t regular = uint64_t{1} << 36;  // a file on a disk: its size is known before memory is taken for it
  uint64_t stream = uint64_t{1} << 28;   // a pipe, a terminal, a device: it says no size, and may have no end
};

namespace detail {

#if BITNET_HAS_POSIX_FILES

// An open file; closed at the end.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// What is no regular file, in words.
inline const char* KindOfFile(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "no regular file";
}

#endif  // BITNET_HAS_POSIX_FILES

}  // namespace detail

// A file that is read from its beginning to its end, in parts. Opening never waits; reading a pipe or a terminal waits
// for its writer. A pipe that nobody has open for writing is refused.
class FileReader {
 public:
  static Result<FileReader> Open(const std::string& path, const ReadLimits& limits = {}) {
    FileReader reader;
    reader.path_ = path;
    if (Result<Done> open = reader.OpenPath(limits); !open.ok()) return Error{open.error()};
    // Vectors of bytes hold at most this.
    reader.limit_ = std::min<uint64_t>(reader.limit_, std::numeric_limits<std::ptrdiff_t>::max() / 2);
    if (reader.size_ > reader.limit_) {
      return Error{path + ": has " + std::to_string(reader.size_) + " bytes; at most " + std::to_string(reader.limit_) +
                   " are read (see ReadLimits)"};
    }
    return Result<FileReader>(std::move(reader));
  }

  // Appends the next n bytes, or fewer where the file ends.
  Result<Done> Append(std::vector<uint8_t>& bytes, uint64_t n) {
    while (n > 0) {
      const size_t begin = bytes.size();
      // Within what is reserved, so that a file of known size is never copied.
      const size_t reserved = bytes.capacity() - begin;
      const size_t part = reserved == 0 ? kPart : std::min(kPart, reserved);
      bytes.resize(begin + static_cast<size_t>(std::min<uint64_t>(n, part)));
      const std::ptrdiff_t got = Read(bytes.data() + begin, bytes.size() - begin);
      const int reason = errno;
      bytes.resize(begin + static_cast<size_t>(std::max<std::ptrdiff_t>(got, 0)));
      if (got < 0) {
        return Error{path_ + ": reading failed after " + std::to_string(taken_) + " bytes: " + SystemReason(reason)};
      }
      if (got == 0 && taken_ == 0 && is_pipe_) {
        return Error{path_ + ": nothing can be read from this pipe: nobody writes to it"};
      }
      if (got == 0) break;
      taken_ += static_cast<uint64_t>(got);
      n -= static_cast<uint64_t>(got);
      if (taken_ > limit_) {
        return Error{path_ + ": has more than " + std::to_string(limit_) +
                     " bytes, the most that are read of such a file (see ReadLimits)"};
      }
    }
    return Done{};
  }
  // Appends what is left.
  Result<Done> AppendRest(std::vector<uint8_t>& bytes) {
    if (size_ > taken_) bytes.reserve(bytes.size() + static_cast<size_t>(size_ - taken_) + 1);  // 1: to see the end
    return Append(bytes, limit_ - taken_ + 1);
  }

 private:
  static constexpr size_t kPart = size_t{1} << 18;

#if BITNET_HAS_POSIX_FILES
  Result<Done> OpenPath(const ReadLimits& limits) {
    // Without O_NONBLOCK to open a pipe would wait for a writer.
    do {
      file_ = detail::Descriptor(open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
    } while (!file_ && errno == EINTR);
    struct stat status {};
    if (!file_ || fstat(file_.get(), &status) != 0) {
      const int reason = errno;
      return Error{path_ + ": cannot be opened for reading: " + SystemReason(reason)};
    }
    if (S_ISDIR(status.st_mode)) return Error{path_ + ": cannot be read: it is a folder"};
    const int flags = fcntl(file_.get(), F_GETFL);
    if (flags != -1) fcntl(file_.get(), F_SETFL, flags & ~O_NONBLOCK);
    // Files of /proc are regular of size 0, and have contents.
    size_ = S_ISREG(status.st_mode) && status.st_size > 0 ? static_cast<uint64_t>(status.st_size) : 0;
    limit_ = size_ > 0 ? limits.regular : limits.stream;
    is_pipe_ = S_ISFIFO(status.st_mode);
    return Done{};
  }
  std::ptrdiff_t Read(uint8_t* to, size_t n) {
    for (;;) {
      const ssize_t got = read(file_.get(), to, n);
      if (got >= 0 || errno != EINTR) return got;
    }
  }
  detail::Descriptor file_;
#else
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  Result<Done> OpenPath(const ReadLimits& limits) {
    errno = 0;
    file_.reset(std::fopen(path_.c_str(), "rb"));
    if (!file_) return Error{path_ + ": cannot be opened for reading: " + SystemReason(errno)};
    std::error_code error;
    const auto size = std::filesystem::file_size(path_, error);
    size_ = error ? 0 : static_cast<uint64_t>(size);
    limit_ = size_ > 0 ? limits.regular : limits.stream;
    return Done{};
  }
  std::ptrdiff_t Read(uint8_t* to, size_t n) {
    errno = 0;
    const size_t got = std::fread(to, 1, n, file_.get());
    return got == 0 && std::ferror(file_.get()) != 0 ? -1 : static_cast<std::ptrdiff_t>(got);
  }
  std::unique_ptr<std::FILE, Closer> file_;
#endif

  std::string path_;
  uint64_t size_ = 0;  // 0: not known
  uint64_t limit_ = 0;
  uint64_t taken_ = 0;
  bool is_pipe_ = false;
};

inline Result<std::vector<uint8_t>> ReadFile(const std::string& path, const ReadLimits& limits = {}) {
  Result<FileReader> file = FileReader::Open(path, limits);
  if (!file.ok()) return Error{file.error()};
  std::vector<uint8_t> bytes;
  if (Result<Done> read = file->AppendRest(bytes); !read.ok()) return Error{read.error()};
  return bytes;
}

namespace detail {

// Sixteen hexadecimal digits that no other call is likely to give; O_EXCL does not rely on it.
inline std::string FreshDigits() {
  static std::atomic<uint64_t> count{0};
  const auto now = static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  uint64_t x = now + (count.fetch_add(1) + 1) * 0x9e3779b97f4a7c15u;
#if BITNET_HAS_POSIX_FILES
  x ^= static_cast<uint64_t>(getpid()) << 40;
#endif
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  x ^= x >> 31;
  std::string digits(16, '0');
  for (size_t i = 0; i < 16; ++i) digits[i] = "0123456789abcdef"[(x >> (4 * i)) & 15];
  return digits;
}

inline constexpr std::string_view kTemporarySuffix = ".bitnet-tmp";

#if BITNET_HAS_POSIX_FILES

// New contents of a file until they take its place; gone at the end if they did not.
class Replacement {
 public:
  // Finds what `path` stands for, removes leftovers of writers that ended, makes the temporary and locks it.
  static Result<Replacement> Begin(const std::string& path) {
    Replacement r;
    r.path_ = path;
    if (Result<Done> found = r.FindTarget(); !found.ok()) return Error{found.error()};
    r.RemoveLeftovers();
    if (Result<Done> made = r.MakeTemporary(); !made.ok()) return Error{made.error()};
    return Result<Replacement>(std::move(r));
  }
  Replacement(Replacement&& other) noexcept { *this = std::move(other); }
  Replacement& operator=(Replacement&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(folder_, other.folder_);
    std::swap(name_, other.name_);
    std::swap(old_, other.old_);
    std::swap(temporary_, other.temporary_);
    std::swap(file_, other.file_);
    return *this;
  }
  ~Replacement() {
    if (!temporary_.empty()) unlink(temporary_.c_str());
  }

  const std::string& temporary() const { return temporary_; }

  Result<Done> Write(std::span<const uint8_t> bytes) {
    for (size_t at = 0; at < bytes.size();) {
      // Some systems refuse to write 2 GiB at once.
      const ssize_t n = write(file_.get(), bytes.data() + at, std::min(bytes.size() - at, size_t{1} << 30));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return Refuse("writing failed after " + std::to_string(at) + " bytes", n < 0 ? errno : 0);
      at += static_cast<size_t>(n);
    }
    return Done{};
  }

  Result<Done> Commit() {
    if (Result<Done> kept = KeepOwnerAndMode(); !kept.ok()) return kept;
    if (!Flush(file_)) return RefuseByErrno("cannot be flushed to the disk");
    // Opened before the replacement, while an error leaves the old file. A folder that one may write to but not read
    // cannot be flushed; nor can those of some file systems.
    const Descriptor folder(open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder && errno != EACCES && errno != EPERM) return RefuseByErrno("its folder cannot be opened");
    const std::string target = folder_ + name_;
    if (rename(temporary_.c_str(), target.c_str()) != 0) return RefuseByErrno("cannot be replaced");
    temporary_.clear();
    if (folder && !Flush(folder) && errno != EINVAL && errno != ENOTSUP) {
      return RefuseByErrno(
          "is written, but its folder could not be flushed: the old file may come back after a power failure");
    }
    return Done{};
  }

 private:
  Replacement() = default;

  Error Refuse(const std::string& what, int reason) const {
    return Error{path_ + ": " + what + ": " + SystemReason(reason)};
  }
  // (errno is read before any string is made, which may change it.)
  Error RefuseByErrno(const char* what) const {
    const int reason = errno;
    return Refuse(what, reason);
  }

  // Through symbolic links to the file that will be replaced, or to a name that is free. A link to nothing is refused:
  // more often the disk that it names is missing than a file is wanted there.
  Result<Done> FindTarget() {
    struct stat status {};
    std::string target = path_;
    if (stat(path_.c_str(), &status) == 0) {
      if (!S_ISREG(status.st_mode)) {
        return Error{path_ + ": cannot be written: it is " + KindOfFile(status.st_mode) +
                     "; only regular files are replaced"};
      }
      const std::unique_ptr<char, void (*)(void*)> resolved(realpath(path_.c_str(), nullptr), &std::free);
      if (!resolved) return RefuseByErrno("cannot be opened for writing");
      target = resolved.get();
      old_ = status;
    } else if (const int reason = errno; reason != ENOENT) {
      return Refuse("cannot be opened for writing", reason);
    } else if (lstat(path_.c_str(), &status) == 0) {
      return Error{path_ + ": cannot be written: it is a symbolic link to nothing"};
    }
    const size_t slash = target.rfind('/');
    folder_ = slash == std::string::npos ? "./" : target.substr(0, slash + 1);
    name_ = slash == std::string::npos ? target : target.substr(slash + 1);
    if (name_.empty()) return Refuse("cannot be opened for writing", ENOENT);
    return Done{};
  }

  // What temporaries of this file begin with. Cut, between characters of UTF-8, lest the name become too long: that two
  // files then share it does no harm.
  std::string Stem() const {
    size_t length = std::min<size_t>(name_.size(), 100);
    while (length > 0 && length < name_.size() && (static_cast<unsigned char>(name_[length]) & 0xc0) == 0x80) --length;
    return name_.substr(0, length) + ".";
  }
  static bool IsTemporary(std::string_view name, std::string_view stem) {
    return name.size() == stem.size() + 16 + kTemporarySuffix.size() && name.starts_with(stem) &&
           name.ends_with(kTemporarySuffix) &&
           name.substr(stem.size(), 16).find_first_not_of("0123456789abcdef") == std::string_view::npos;
  }

  void RemoveLeftovers() const {
    const std::string stem = Stem();
    struct Closer {
      void operator()(DIR* opened) const { closedir(opened); }
    };
    const std::unique_ptr<DIR, Closer> folder(opendir(folder_.c_str()));
    if (!folder) return;
    while (const dirent* entry = readdir(folder.get())) {
      if (!IsTemporary(entry->d_name, stem)) continue;
      const std::string path = folder_ + entry->d_name;
      constexpr int kFlags = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
      Descriptor file(open(path.c_str(), O_RDWR | kFlags));
      // One that has got a read-only file's mode already. (Some network file systems lock only what is open to write.)
      if (!file && errno == EACCES) file = Descriptor(open(path.c_str(), O_RDONLY | kFlags));
      struct stat opened {
      }, named{};
      // Its writer may have renamed it between the two: then the name is gone.
      if (file && fstat(file.get(), &opened) == 0 && S_ISREG(opened.st_mode) &&
          flock(file.get(), LOCK_EX | LOCK_NB) == 0 && lstat(path.c_str(), &named) == 0 &&
          named.st_dev == opened.st_dev && named.st_ino == opened.st_ino) {
        unlink(path.c_str());
      }
    }
  }

  Result<Done> MakeTemporary() {
    // Readable by its writer alone until it has the old file's mode; a new file has what the umask leaves.
    const mode_t mode = old_ ? 0600 : 0666;
    for (int attempt = 0; attempt < 100; ++attempt) {
      std::string path = folder_ + Stem() + FreshDigits() + std::string(kTemporarySuffix);
      Descriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
      if (!file && (errno == EEXIST || errno == EINTR)) continue;
      if (!file) return RefuseByErrno("cannot be opened for writing");
      // Another WriteFile may have found the file before it was locked, and remove it. Where there are no locks nobody
      // removes anything.
      struct stat opened {
      }, named{};
      const bool taken = flock(file.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
      if (taken || fstat(file.get(), &opened) != 0 || lstat(path.c_str(), &named) != 0 ||
          named.st_dev != opened.st_dev || named.st_ino != opened.st_ino) {
        unlink(path.c_str());
        continue;
      }
      file_ = std::move(file);
      temporary_ = std::move(path);
      return Done{};
    }
    return Error{path_ + ": no temporary file can be made beside it: others removed each that was made"};
  }

  // The old file's owner where the system allows it, and its permissions (without set-user-ID and the like).
  Result<Done> KeepOwnerAndMode() const {
    struct stat status {};
    if (!old_) return Done{};
    if (fstat(file_.get(), &status) != 0) return RefuseByErrno("cannot be written");
    mode_t mode = old_->st_mode & 0777;
    if (status.st_uid != old_->st_uid && fchown(file_.get(), old_->st_uid, old_->st_gid) == 0) {
      status.st_gid = old_->st_gid;
    }
    if (status.st_gid != old_->st_gid && fchown(file_.get(), static_cast<uid_t>(-1), old_->st_gid) != 0) {
      mode = (mode & 0707) | ((mode & 07) << 3);  // of another group: no more than everybody has
    }
    if ((status.st_mode & 0777) != mode && fchmod(file_.get(), mode) != 0) {
      return RefuseByErrno("its permissions cannot be kept");
    }
    return Done{};
  }

  static bool Flush(const Descriptor& file) {
#if defined(F_FULLFSYNC)
    if (fcntl(file.get(), F_FULLFSYNC) == 0) return true;  // macOS: fsync leaves the bytes in the drive's cache
#endif
    while (fsync(file.get()) != 0) {
      if (errno != EINTR) return false;
    }
    return true;
  }

  std::string path_;                // as the caller said it, for messages
  std::string folder_;              // of the target, with a slash
  std::string name_;                // of the target in it
  std::optional<struct stat> old_;  // none: a new file
  std::string temporary_;           // empty: renamed, or not yet made
  Descriptor file_;                 // holds the lock
};

#else

// Without POSIX: neither locks nor links are looked at, and leftovers stay.
class Replacement {
 public:
  static Result<Replacement> Begin(const std::string& path) {
    Replacement r;
    r.path_ = path;
    r.temporary_ = path + "." + FreshDigits() + std::string(kTemporarySuffix);
    errno = 0;
    r.file_ = std::fopen(r.temporary_.c_str(), "wbx");
    if (r.file_ == nullptr) {
      r.temporary_.clear();
      return r.Refuse("cannot be opened for writing", errno);
    }
    return Result<Replacement>(std::move(r));
  }
  Replacement(Replacement&& other) noexcept { *this = std::move(other); }
  Replacement& operator=(Replacement&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(temporary_, other.temporary_);
    std::swap(file_, other.file_);
    return *this;
  }
  ~Replacement() {
    if (file_ != nullptr) std::fclose(file_);
    if (!temporary_.empty()) std::remove(temporary_.c_str());
  }
  const std::string& temporary() const { return temporary_; }
  Result<Done> Write(std::span<const uint8_t> bytes) {
    errno = 0;
    if (!bytes.empty() && std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size()) {
      return Refuse("writing failed", errno);
    }
    return Done{};
  }
  Result<Done> Commit() {
    errno = 0;
    if (std::fclose(std::exchange(file_, nullptr)) != 0) return Refuse("writing failed", errno);
    std::error_code error;
    std::filesystem::rename(temporary_, path_, error);
    if (error) return Error{path_ + ": cannot be replaced: " + error.message()};
    temporary_.clear();
    return Done{};
  }

 private:
  Replacement() = default;
  Error Refuse(const std::string& what, int reason) const {
    return Error{path_ + ": " + what + ": " + SystemReason(reason)};
  }
  std::string path_, temporary_;
  std::FILE* file_ = nullptr;
};

#endif  // BITNET_HAS_POSIX_FILES

}  // namespace detail

// Replaces a regular file as a whole, or makes a new one; an error leaves the old one as it was (but for the one that
// says "is written, but", of a folder that could not be flushed). What the folder allows decides, not the old file's
// mode, which the new one gets. A symbolic link stays, and the file that it leads to is replaced. Folders, pipes,
// devices and links to nothing are refused. The system's other names (hard links) of the old file keep the old bytes.
inline Result<Done> WriteFile(const std::string& path, std::span<const uint8_t> bytes) {
  Result<detail::Replacement> file = detail::Replacement::Begin(path);
  if (!file.ok()) return Error{file.error()};
  if (Result<Done> written = file->Write(bytes); !written.ok()) return written;
  return file->Commit();
}

// Whether WriteFile could begin there now; the file stays as it is (leftovers of killed writers are removed). To ask
// before work whose results would be lost.
inline Result<Done> CheckWritable(const std::string& path) {
  const Result<detail::Replacement> file = detail::Replacement::Begin(path);
  if (!file.ok()) return Error{file.error()};
  return Done{};
}

}  // namespace bitnet

#endif  // BITNET_BASE_FILE_H_
