#include "bitnet/io/mapped_file.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "testing/temporary_file.h"

namespace bitnet::mapped_file_test {
namespace {

using testing::TemporaryFile;

std::vector<uint8_t> SomeBytes(size_t n) {
  std::vector<uint8_t> bytes(n);
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<uint8_t>(i * 7 + i / 256);
  return bytes;
}

bool Same(std::span<const uint8_t> a, const std::vector<uint8_t>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

TEST_CASE("MappedFile: has the file's bytes, mapped or read, and after any release") {
  for (const size_t size : {1u, 4095u, 4096u, 4097u, 100000u}) {
    const TemporaryFile file;
    const std::vector<uint8_t> bytes = SomeBytes(size);
    REQUIRE(WriteFile(file.path(), bytes).ok());
    for (const FileAccess access : {FileAccess::kMap, FileAccess::kRead}) {
      Result<MappedFile> opened = MappedFile::Open(file.path(), access);
      REQUIRE(opened.ok());
      CHECK(opened->is_mapped() == (access == FileAccess::kMap && BITNET_HAS_POSIX_FILES == 1));
      CHECK(opened->path() == file.path());
      CHECK(Same(opened->bytes(), bytes));
      const uint64_t offsets[] = {0, 1, 4096, 5000, size - 1, size, size + 1, ~uint64_t{0}};
      const uint64_t sizes[] = {0, 1, 4096, 8192, size, ~uint64_t{0}};
      for (const uint64_t offset : offsets) {
        for (const uint64_t n : sizes) {
          opened->Prefetch(offset, n);
          opened->Release(offset, n);
        }
      }
      CHECK(Same(opened->bytes(), bytes));
    }
  }
}

TEST_CASE("MappedFile: views stay valid where it moves, and after the file is replaced") {
  const TemporaryFile file;
  const std::vector<uint8_t> bytes = SomeBytes(5000);
  REQUIRE(WriteFile(file.path(), bytes).ok());
  for (const FileAccess access : {FileAccess::kMap, FileAccess::kRead}) {
    REQUIRE(WriteFile(file.path(), bytes).ok());
    Result<MappedFile> opened = MappedFile::Open(file.path(), access);
    REQUIRE(opened.ok());
    const std::span<const uint8_t> view = opened->bytes();
    MappedFile moved = *std::move(opened);
    MappedFile other;
    other = std::move(moved);
    CHECK(other.bytes().data() == view.data());
    REQUIRE(WriteFile(file.path(), SomeBytes(10)).ok());
    CHECK(Same(view, bytes));
  }
}

TEST_CASE("MappedFile: an empty file has no bytes; what is missing or a folder is refused by its name") {
  const TemporaryFile file;
  REQUIRE(WriteFile(file.path(), {}).ok());
  const Result<MappedFile> empty = MappedFile::Open(file.path());
  REQUIRE(empty.ok());
  CHECK(empty->bytes().empty());
  empty->Release(0, 100);

  const Result<MappedFile> missing = MappedFile::Open(file.path() + ".missing");
  REQUIRE(!missing.ok());
  CHECK(missing.error().find(file.path() + ".missing: cannot be opened for reading") == 0);
  const Result<MappedFile> folder = MappedFile::Open(std::filesystem::temp_directory_path().string());
  CHECK(!folder.ok());
  CHECK(MappedFile().bytes().empty());
  CHECK(MappedFile::FromBytes({1, 2}, "two").bytes().size() == 2);
}

#if defined(__linux__)
// The process's pages of files in memory, in KiB.
size_t ResidentOfFiles() {
  const Result<std::vector<uint8_t>> status = ReadFile("/proc/self/status");
  REQUIRE(status.ok());
  const std::string text(status->begin(), status->end());
  const size_t at = text.find("RssFile:");
  REQUIRE(at != std::string::npos);
  return std::stoul(text.substr(at + 8));
}

TEST_CASE("MappedFile: a range that was released is no longer in the process's memory") {
  const TemporaryFile path;
  constexpr size_t kSize = size_t{32} << 20;
  REQUIRE(WriteFile(path.path(), SomeBytes(kSize)).ok());
  const Result<MappedFile> file = MappedFile::Open(path.path());
  REQUIRE(file.ok());
  const size_t before = ResidentOfFiles();
  unsigned sum = 0;
  for (const uint8_t byte : file->bytes()) sum += byte;
  CHECK(sum != 0);
  const size_t read = ResidentOfFiles();
  CHECK(read >= before + (28 << 10));
  file->Release(kSize / 4 + 1, kSize / 2);
  CHECK(ResidentOfFiles() <= read - (12 << 10));
  file->Release(0, kSize);
  CHECK(ResidentOfFiles() <= before + (4 << 10));
}

TEST_CASE("MappedFile: what has no size is read") {
  const Result<MappedFile> file = MappedFile::Open("/proc/self/status");
  REQUIRE(file.ok());
  CHECK(!file->is_mapped());
  CHECK(file->bytes().size() > 10);
}
#endif

}  // namespace
}  // namespace bitnet::mapped_file_test
