// Result<T>: a value, or the sentence that says why outside data gave none.
//
// Functions that read what strangers wrote (files, prompts, configurations) return one. The sentence names what was
// read, where, and what was expected.
//
// Memory that runs out is no Result: std::bad_alloc, the one exception that the library lets out, leaves the operation,
// and the object that was worked on is as it was before; with -fno-exceptions the program ends. What can be known
// beforehand is a Result: a size that outside data states is checked, against the bytes that are there or a limit,
// before memory is taken for it.
#ifndef BITNET_BASE_RESULT_H_
#define BITNET_BASE_RESULT_H_

#include <optional>
#include <string>
#include <utility>

#include "bitnet/base/assert.h"

// nvcc takes the Result& that an assignment gives for a result that nobody looks at. (A Result that is really dropped
// has another number, 3004, and the host's compiler says so too.)
#ifdef __NVCC__
#pragma nv_diag_suppress 2810
#endif

namespace bitnet {

struct Error {
  std::string message;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::in_place, std::move(value)) {}  // NOLINT: implicit on purpose
  Result(Error error) : error_(std::move(error)) {}             // NOLINT

  bool ok() const { return value_.has_value(); }
  explicit operator bool() const { return ok(); }

  // The value; only where ok().
  T& value() & {
    BITNET_ASSERT(ok(), error_or_empty());
    return *value_;
  }
  const T& value() const& {
    BITNET_ASSERT(ok(), error_or_empty());
    return *value_;
  }
  T&& value() && {
    BITNET_ASSERT(ok(), error_or_empty());
    return std::move(*value_);
  }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }

  // The sentence; only where not ok().
  const std::string& error() const {
    BITNET_ASSERT(!ok(), "Result::error() was asked of a result that holds a value");
    return error_.message;
  }

 private:
  const char* error_or_empty() const { return ok() ? "" : error_.message.c_str(); }

  // No std::variant, which is long to compile: every kind of Result is, in every program. (The value first: if copying
  // it ends the memory, the sentence is still that of before.)
  std::optional<T> value_;
  Error error_;
};

// What a function without a value returns: Result<Done>.
struct Done {};

}  // namespace bitnet

#endif  // BITNET_BASE_RESULT_H_
