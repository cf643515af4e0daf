// The name of a file that is nobody else's, and gone after the test.
#ifndef BITNET_TESTS_TESTING_TEMPORARY_FILE_H_
#define BITNET_TESTS_TESTING_TEMPORARY_FILE_H_

#include <bit>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>

namespace bitnet::testing {

class TemporaryFile {
 public:
  TemporaryFile() {
    static int count = 0;
    const auto unique = std::to_string(std::bit_cast<uintptr_t>(this)) + "." + std::to_string(count++);
    path_ = (std::filesystem::temp_directory_path() / ("bitnet_test." + unique)).string();
  }
  ~TemporaryFile() { std::remove(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_TEMPORARY_FILE_H_
