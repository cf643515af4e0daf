// What the longer examples share: stopping with a sentence, reading options.
#ifndef BITNET_EXAMPLES_PROGRAM_H_
#define BITNET_EXAMPLES_PROGRAM_H_

#include <bitnet/base/file.h>
#include <bitnet/base/result.h>

#include <cerrno>
#include <cmath>
#include <cstdint>
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

inline double ParseNumber(const char* option, const std::string& text, double lowest, double highest) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(value >= lowest && value <= highest)) {
    char range[80];
    std::snprintf(range, sizeof(range), " from %g to %g, not '", lowest, highest);
    Stop(std::string(option) + " takes a number" + range + text + "'");
  }
  return value;
}

inline uint64_t ParseWhole(const char* option, const std::string& text, double lowest, double highest) {
  const double value = ParseNumber(option, text, lowest, highest);
  if (value != std::floor(value)) Stop(std::string(option) + " takes a whole number, not '" + text + "'");
  return static_cast<uint64_t>(value);
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
