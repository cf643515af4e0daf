// Comparison of rows of reals bit for bit, and outputs that notice a write beyond their end.
#ifndef BITNET_TESTS_TESTING_SAME_BITS_H_
#define BITNET_TESTS_TESTING_SAME_BITS_H_

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bitnet/tensor/matrix_view.h"

namespace bitnet::testing {

// NaNs are the same whatever their payload.
inline bool SameBits(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
}

// A matrix that starts on no vector's boundary, with canaries after each row and at both ends.
class GuardedMatrix {
 public:
  static constexpr float kCanary = -12345.678f;

  GuardedMatrix(size_t rows, size_t cols) : rows_(rows), cols_(cols), values_(1 + rows * (cols + 3) + 64, kCanary) {}
  GuardedMatrix(size_t rows, size_t cols, const std::vector<float>& values) : GuardedMatrix(rows, cols) {
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < cols; ++c) view().Row(r)[c] = values[r * cols + c];
    }
  }
  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  std::vector<float>& all() { return values_; }
  MatrixView<float> view() { return {values_.data() + 1, rows_, cols_, cols_ + 3}; }

  // Fails the test if anything differs from `expected`, canaries included. Not inlined: a test of a backend calls it
  // for every operation and format.
  [[gnu::noinline]] void ExpectSame(const GuardedMatrix& expected, const char* operation,
                                    const std::string& place) const {
    for (size_t i = 0; i < values_.size(); ++i) {
      if (SameBits(values_[i], expected.values_[i])) continue;
      const size_t at = i == 0 ? 0 : i - 1;
      FAIL_CHECK(std::string(operation) << ", " << place << ": row " << at / (cols_ + 3) << ", column "
                                        << at % (cols_ + 3) << " of " << cols_ << " is " << values_[i] << ", not "
                                        << expected.values_[i]);
      return;
    }
  }

 private:
  size_t rows_;
  size_t cols_;
  std::vector<float> values_;
};

[[gnu::noinline]] inline void Expect(bool holds, const char* what, const std::string& place) {
  if (!holds) FAIL_CHECK(std::string(what) << ", " << place);
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_SAME_BITS_H_
