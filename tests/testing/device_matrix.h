// A matrix in memory that a backend reads, with what lies around it: the host writes and reads it by the backend's
// operations alone.
#ifndef BITNET_TESTS_TESTING_DEVICE_MATRIX_H_
#define BITNET_TESTS_TESTING_DEVICE_MATRIX_H_

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <type_traits>
#include <vector>

#include "bitnet/backend/backend.h"
#include "bitnet/base/executor.h"
#include "bitnet/tensor/growing_matrix.h"
#include "testing/same_bits.h"

namespace bitnet::testing {

// A backend to test: on the default executor, where it takes one.
template <class B>
B MakeBackend(Executor& executor = DefaultExecutor()) {
  if constexpr (std::is_constructible_v<B, Executor&>) {
    return B(executor);
  } else {
    return B();
  }
}

template <class B>
void ExpectFinished(const B& backend, typename B::Stream& stream, const std::string& place) {
  if (const Result<Done> done = backend.Finish(stream); !done.ok()) FAIL_CHECK(place << ": " << done.error());
}

// A GuardedMatrix of the backend's memory: starts on no vector's boundary, with canaries after each row and at both
// ends.
template <class B>
class DeviceMatrix {
 public:
  DeviceMatrix(const B& backend, typename B::Stream& stream, size_t rows, size_t cols)
      : DeviceMatrix(backend, stream, GuardedMatrix(rows, cols)) {}
  DeviceMatrix(const B& backend, typename B::Stream& stream, size_t rows, size_t cols, const std::vector<float>& values)
      : DeviceMatrix(backend, stream, GuardedMatrix(rows, cols, values)) {}
  DeviceMatrix(const B& backend, typename B::Stream& stream, GuardedMatrix guarded)
      : backend_(backend), stream_(stream), rows_(guarded.rows()), cols_(guarded.cols()), size_(guarded.all().size()) {
    all_ = backend_.Shape(stream_, memory_, 1, size_);
    backend_.Write(stream_, AsRow(std::span<const float>(guarded.all())), all_);
  }
  DeviceMatrix(const DeviceMatrix&) = delete;
  DeviceMatrix& operator=(const DeviceMatrix&) = delete;

  MatrixView<float> view() { return {all_.data() + 1, rows_, cols_, cols_ + 3}; }

  // What it holds now.
  GuardedMatrix Host() {
    GrowingMatrix host;
    const MatrixView<const float> read = backend_.Read(stream_, all_, host);
    ExpectFinished(backend_, stream_, "DeviceMatrix");
    GuardedMatrix guarded(rows_, cols_);
    std::copy(read.data(), read.data() + size_, guarded.all().begin());
    return guarded;
  }
  void ExpectSame(const GuardedMatrix& expected, const char* operation, const std::string& place) {
    Host().ExpectSame(expected, operation, place);
  }

 private:
  const B& backend_;
  typename B::Stream& stream_;
  typename B::Reals memory_;
  MatrixView<float> all_;
  size_t rows_, cols_, size_;
};

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_DEVICE_MATRIX_H_
