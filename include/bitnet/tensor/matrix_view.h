// MatrixView<T>: rows x cols values somewhere in memory; row r starts at data + r * stride (stride in values).
// Owns nothing. MatrixView<const float> is what operations read, MatrixView<float> what they write. Offsets are not
// checked: they fit because the memory does (base/size.h).
#ifndef BITNET_TENSOR_MATRIX_VIEW_H_
#define BITNET_TENSOR_MATRIX_VIEW_H_

#include <cstddef>
#include <span>
#include <type_traits>

#include "bitnet/base/assert.h"

namespace bitnet {

template <class T>
class MatrixView {
 public:
  MatrixView() = default;
  MatrixView(T* data, size_t rows, size_t cols) : MatrixView(data, rows, cols, cols) {}
  MatrixView(T* data, size_t rows, size_t cols, size_t stride)
      : data_(data), rows_(rows), cols_(cols), stride_(stride) {
    BITNET_ASSERT(stride >= cols, "MatrixView: the stride must be at least the number of columns");
  }
  // A view of mutable values is one of const values too.
  template <class U>
  requires(std::is_same_v<const U, T>) MatrixView(MatrixView<U> other)  // NOLINT: implicit on purpose
      : MatrixView(other.data(), other.rows(), other.cols(), other.stride()) {}

  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  size_t stride() const { return stride_; }
  T* data() const { return data_; }
  T* Row(size_t r) const { return data_ + r * stride_; }
  std::span<T> operator[](size_t r) const { return {Row(r), cols_}; }
  bool IsContiguous() const { return stride_ == cols_ || rows_ <= 1; }

  MatrixView Rows(size_t first, size_t count) const { return {Row(first), count, cols_, stride_}; }
  MatrixView Cols(size_t first, size_t count) const { return {data_ + first, rows_, count, stride_}; }

 private:
  T* data_ = nullptr;
  size_t rows_ = 0;
  size_t cols_ = 0;
  size_t stride_ = 0;
};

// A span as a matrix of one row.
template <class T>
MatrixView<T> AsRow(std::span<T> x) {
  return {x.data(), 1, x.size()};
}

}  // namespace bitnet

#endif  // BITNET_TENSOR_MATRIX_VIEW_H_
