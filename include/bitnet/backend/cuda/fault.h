// Fault: what a call of the machine says when it fails. And how the backend says it on: memory that ends is
// std::bad_alloc, as on the host; all else comes out of Finish, once, as an Error.
#ifndef BITNET_BACKEND_CUDA_FAULT_H_
#define BITNET_BACKEND_CUDA_FAULT_H_

#include <cstddef>
#include <cstdio>
#include <new>
#include <string>

#include "bitnet/base/assert.h"
#include "bitnet/base/result.h"

namespace bitnet::cuda {

enum class FaultKind {
  kNone,
  kOutOfMemory,
  kOther,
  kLost,  // nothing runs on this device any more, in this process
};

struct Fault {
  FaultKind kind = FaultKind::kNone;
  const char* call = "";  // the function that failed
  int code = 0;           // and what it returned
  const char* name = "";  // of the code
  const char* text = "";

  explicit operator bool() const { return kind != FaultKind::kNone; }
};

inline Error ErrorOf(const Fault& fault) {
  std::string sentence = std::string("CUDA: ") + fault.call + " failed with " + std::to_string(fault.code) + " (" +
                         fault.name + ": " + fault.text + ")";
  if (fault.kind == FaultKind::kLost) sentence += "; the device is lost to this process: start another";
  return Error{std::move(sentence)};
}

// The device's memory has ended.
class DeviceMemoryEnded : public std::bad_alloc {
 public:
  explicit DeviceMemoryEnded(size_t bytes) {
    std::snprintf(sentence_, sizeof(sentence_), "the device has no memory for %zu bytes more", bytes);
  }
  const char* what() const noexcept override { return sentence_; }

 private:
  char sentence_[80];
};

[[noreturn]] inline void ThrowDeviceMemoryEnded(size_t bytes) {
#if defined(__cpp_exceptions)
  throw DeviceMemoryEnded(bytes);
#else
  static_cast<void>(bytes);
  bitnet::detail::AssertionFailed(__FILE__, __LINE__, "the device's memory has ended");
#endif
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_FAULT_H_
