// What the longer examples share: stopping with a sentence.
#ifndef BITNET_EXAMPLES_PROGRAM_H_
#define BITNET_EXAMPLES_PROGRAM_H_

#include <bitnet/base/file.h>
#include <bitnet/base/result.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

[[noreturn]] inline void Stop(const std::string& why) {
  std::fflush(stdout);
  std::fprintf(stderr, "%s\n", why.c_str());
  std::exit(1);
}

template <class T>
T Need(bitnet::Result<T> result) {
  if (!result.ok()) Stop(result.error());
  return std::move(result).value();
}

// Stops unless the file can be opened for writing; leaves it as it is, or absent. Called before hours of training.
inline void NeedWritable(const char* option, const std::string& path) {
  std::error_code error;
  const bool was_there = std::filesystem::exists(path, error);
  std::FILE* file = std::fopen(path.c_str(), "ab");
  if (file == nullptr) {
    Stop(std::string(option) + ": " + path + " cannot be opened for writing: " + bitnet::SystemReason(errno));
  }
  std::fclose(file);
  if (!was_there) std::filesystem::remove(path, error);
}

#endif  // BITNET_EXAMPLES_PROGRAM_H_
