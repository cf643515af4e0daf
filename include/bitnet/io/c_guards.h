// What stands between the C interface (bitnet/c.h) and its callers: error texts, statuses of exceptions, handles, and
// structs of other versions.
#ifndef BITNET_IO_C_GUARDS_H_
#define BITNET_IO_C_GUARDS_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "bitnet/c.h"

namespace bitnet::detail {

// ---- Errors ------------------------------------------------------------------------------------------------------

// Of the thread. Takes no memory, so that it can say that there is none.
using CErrorText = char[2048];
inline CErrorText& LastCError() {
  thread_local CErrorText text = "";
  return text;
}

inline bitnet_status CFail(bitnet_status status, const char* function, std::string_view sentence) {
  CErrorText& text = LastCError();
  size_t bytes = 0;
  const auto append = [&](std::string_view part) {
    size_t most = std::min(part.size(), sizeof(text) - 1 - bytes);
    if (most < part.size()) {  // no half of a character
      while (most > 0 && (static_cast<uint8_t>(part[most]) & 0xc0) == 0x80) --most;
    }
    std::memcpy(text + bytes, part.data(), most);
    bytes += most;
  };
  append(function);
  append(": ");
  append(sentence);
  text[bytes] = '\0';
  return status;
}
inline bitnet_status CInvalid(const char* function, std::string_view sentence) {
  return CFail(BITNET_INVALID_ARGUMENT, function, sentence);
}

// Thrown through a load whose callback had enough.
struct CCancelled {};

// Calls f(the function's name, for sentences) -> bitnet_status.
template <class F>
bitnet_status CGuarded(const char* function, F&& f) noexcept {
#if defined(__cpp_exceptions)
  try {
    return f(function);
  } catch (const CCancelled&) {
    return CFail(BITNET_CANCELLED, function, "the progress callback ended it");
  } catch (const std::bad_alloc&) {
    return CFail(BITNET_NO_MEMORY, function, "there is not enough memory");
  } catch (const std::length_error&) {
    return CFail(BITNET_NO_MEMORY, function, "there is not enough memory: a size is beyond what can be addressed");
  } catch (const std::exception& e) {
    return CFail(BITNET_FAILED, function, e.what());
  } catch (...) {
    return CFail(BITNET_FAILED, function, "something that is no std::exception was thrown");
  }
#else
  return f(function);
#endif
}

// ---- Handles -----------------------------------------------------------------------------------------------------

enum class CKind : uint32_t { kModel = 0xb1750001u, kState, kBatch, kDecoder };

// What all handles begin with. `busy`: a thread uses it (a model's is never set).
struct CHandle {
  explicit CHandle(CKind k) : kind(k) {}
  CKind kind;
  mutable std::atomic<bool> busy{false};
};

// Whether it is a handle of the kind Handle::kKind; if not, says so.
template <class Handle>
bool IsC(const Handle* handle, const char* function) {
  const std::string what = Handle::kName;
  if (handle == nullptr) {
    CInvalid(function, "the " + what + " is NULL");
    return false;
  }
  CKind found;
  std::memcpy(&found, static_cast<const void*>(handle), sizeof(found));
  if (found == Handle::kKind) return true;
  CInvalid(function, "the " + what + " is a handle of another kind, or was freed");
  return false;
}

// The use of a handle by one thread, if no other has it.
class CUse {
 public:
  explicit CUse(const CHandle& handle) : handle_(handle), has_(!handle.busy.exchange(true)) {}
  ~CUse() {
    if (has_) handle_.busy.store(false);
  }
  CUse(const CUse&) = delete;
  CUse& operator=(const CUse&) = delete;
  explicit operator bool() const { return has_; }

 private:
  const CHandle& handle_;
  const bool has_;
};
inline bitnet_status CBusy(const char* function, const char* what) {
  return CFail(BITNET_BUSY, function, "another thread is using the " + std::string(what));
}

template <class Handle>
bitnet_status FreeC(Handle* handle, const char* name) {
  return CGuarded(name, [&](const char* at) -> bitnet_status {
    if (handle == nullptr) return BITNET_OK;
    if (!IsC(handle, at)) return BITNET_INVALID_ARGUMENT;
    if (handle->busy.exchange(true)) return CBusy(at, Handle::kName);
    delete handle;
    return BITNET_OK;
  });
}

// ---- Arguments ---------------------------------------------------------------------------------------------------

inline bool IsCArray(const void* data, size_t count) { return data != nullptr || count == 0; }

inline bool IsCSize(size_t bytes, size_t expected, const char* function) {
  constexpr size_t kMost = 4096;  // no struct will be larger: it is what lay in memory
  if (bytes >= sizeof(size_t) && bytes <= kMost) return true;
  CInvalid(function, "struct_bytes is " + std::to_string(bytes) + "; it must be the size of the struct, " +
                         std::to_string(expected));
  return false;
}

// Options as the caller's version has them; members that it has not are 0. Refuses members that this version has not,
// if they are set.
template <class T>
bool ReadCStruct(const T* given, const char* function, T& to) {
  to = {};
  if (given == nullptr) return true;
  const auto* from = reinterpret_cast<const unsigned char*>(given);
  size_t bytes;
  std::memcpy(&bytes, from, sizeof(bytes));
  if (!IsCSize(bytes, sizeof(T), function)) return false;
  std::memcpy(&to, from, std::min(bytes, sizeof(T)));
  for (size_t i = sizeof(T); i < bytes; ++i) {
    if (from[i] == 0) continue;
    CInvalid(function, "an option is set that this version of the library does not know");
    return false;
  }
  if constexpr (requires { to.reserved; }) {
    if (to.reserved == 0) return true;
    CInvalid(function, "the member `reserved` of the options must be 0");
    return false;
  }
  return true;
}
// The other way: what the caller's version has of it.
template <class T>
bitnet_status WriteCStruct(T from, const char* function, T* info) {
  if (info == nullptr) return CInvalid(function, "info is NULL");
  auto* to = reinterpret_cast<unsigned char*>(info);
  size_t bytes;
  std::memcpy(&bytes, to, sizeof(bytes));
  if (!IsCSize(bytes, sizeof(T), function)) return BITNET_INVALID_ARGUMENT;
  from.struct_bytes = bytes;
  std::memcpy(to, &from, std::min(bytes, sizeof(T)));
  if (bytes > sizeof(T)) std::memset(to + sizeof(T), 0, bytes - sizeof(T));
  return BITNET_OK;
}

inline bool HasOnlyCFlags(uint32_t flags, uint32_t known, const char* function) {
  if ((flags & ~known) == 0) return true;
  CInvalid(function,
           "flags are " + std::to_string(flags) + ", of which " + std::to_string(flags & ~known) + " is not known");
  return false;
}

// Whether the caller's memory for a list, and the place for its length, are there.
inline bool HasCPlace(const void* data, size_t capacity, const size_t* count, const char* function) {
  if (count == nullptr) {
    CInvalid(function, "there is no place for the number of elements: it is NULL");
    return false;
  }
  if (IsCArray(data, capacity)) return true;
  CInvalid(function, "the memory for the result is NULL, and its capacity is not 0");
  return false;
}
template <class T>
bitnet_status GiveCList(std::span<const T> from, T* to, size_t capacity, size_t* count, const char* function) {
  *count = from.size();
  if (from.size() > capacity) {
    return CFail(
        BITNET_TOO_SMALL, function,
        "the result has " + std::to_string(from.size()) + " elements; there is room for " + std::to_string(capacity));
  }
  std::copy(from.begin(), from.end(), to);
  return BITNET_OK;
}

}  // namespace bitnet::detail

#endif  // BITNET_IO_C_GUARDS_H_
