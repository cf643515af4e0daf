// WritePlainly: a file of these bytes, without WriteFile's care: tests write damaged files by the thousand, and need
// not wait for the disk.
#ifndef BITNET_TESTS_TESTING_WRITE_PLAINLY_H_
#define BITNET_TESTS_TESTING_WRITE_PLAINLY_H_

#include <cstdint>
#include <cstdio>
#include <span>
#include <string>

namespace bitnet::testing {

inline bool WritePlainly(const std::string& path, std::span<const uint8_t> bytes) {
  std::FILE* const file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return false;
  const bool written = bytes.empty() || std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  return std::fclose(file) == 0 && written;
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_WRITE_PLAINLY_H_
