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

#include <string>
#include <utility>
#include <variant>

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
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit on purpose
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // The value; only where ok().
  T& value() & {
    BITNET_ASSERT(ok(), error_or_empty());
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    BITNET_ASSERT(ok(), error_or_empty());
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    BITNET_ASSERT(ok(), error_or_empty());
    return std::move(*std::get_if<0>(&state_));
  }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }

  // The sentence; only where not ok().
  const std::string& error() const {
    BITNET_ASSERT(!ok(), "Result::error() was asked of a result that holds a value");
    return std::get_if<1>(&state_)->message;
  }

 private:
  const char* error_or_empty() const { return ok() ? "" : std::get_if<1>(&state_)->message.c_str(); }

  std::variant<T, Error> state_;
};

// What a function without a value returns: Result<Done>.
struct Done {};

}  // namespace bitnet

#endif  // BITNET_BASE_RESULT_H_
