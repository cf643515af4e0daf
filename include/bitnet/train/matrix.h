// Matrices of a training step, and their dense products by Eigen.
//
// A product here is one Eigen call in the calling thread. Eigen without OpenMP uses one core, and the way it cuts a
// product depends on its shape; so callers cut the work into tiles of a fixed size (ForTiles) and an Executor runs
// them. The cut depends on the shapes alone, hence every result is the same for every number of threads.
#ifndef BITNET_TRAIN_MATRIX_H_
#define BITNET_TRAIN_MATRIX_H_

#if defined(_OPENMP) && !defined(EIGEN_DONT_PARALLELIZE)
#error "bitnet: define EIGEN_DONT_PARALLELIZE: the Executor runs Eigen's products on its threads"
#endif

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <utility>

#include "bitnet/base/executor.h"
#include "bitnet/base/size.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/matrix_view.h"

namespace bitnet {

// A contiguous matrix that owns its values; a MatrixView where one is asked for. Memory is kept when it shrinks.
class FloatMatrix : public MatrixView<float> {
 public:
  FloatMatrix() = default;
  FloatMatrix(const FloatMatrix&) = delete;
  FloatMatrix& operator=(const FloatMatrix&) = delete;
  FloatMatrix(FloatMatrix&& other) noexcept
      : MatrixView(std::exchange(static_cast<MatrixView&>(other), {})), values_(std::move(other.values_)) {}
  FloatMatrix& operator=(FloatMatrix&& other) noexcept {
    static_cast<MatrixView&>(*this) = std::exchange(static_cast<MatrixView&>(other), {});
    values_ = std::move(other.values_);
    return *this;
  }

  // [rows, cols] of unspecified contents.
  void Resize(size_t rows, size_t cols) {
    const size_t count = ElementCount<float>(rows, cols);
    if (values_.size() < count) values_ = AlignedVector<float>(count);
    static_cast<MatrixView&>(*this) = MatrixView(values_.data(), rows, cols);
  }

 private:
  AlignedVector<float> values_;
};

// Tokens (or outputs of a weight gradient) that one task handles. Large enough that Eigen reaches its speed (measured
// on Sapphire Rapids: 64 rows within 10 % of 2048), small enough that the working set of a tile stays in the L2 cache
// and that many cores find work.
inline constexpr size_t kTile = 128;

// f(tile, begin, end) for each run of at most `tile_size` elements of [0, n), in any order, in parallel.
template <class F>
void ForTiles(Executor& executor, size_t n, size_t tile_size, F&& f) {
  executor.Run((n + tile_size - 1) / tile_size,
               [&](size_t tile) { f(tile, tile * tile_size, std::min(n, (tile + 1) * tile_size)); });
}

namespace detail {

template <class T>
using EigenMatrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// m [rows, cols] of unspecified contents; not m.resize(), which gives the old memory back before it takes the new: if
// that throws, `m` (kept by a thread for its next task) would still point to the old.
template <class T>
void Reshape(EigenMatrix<T>& m, size_t rows, size_t cols) {
  const auto r = static_cast<Eigen::Index>(rows), c = static_cast<Eigen::Index>(cols);
  if (m.size() != r * c) m = EigenMatrix<T>(r, c);
  m.resize(r, c);
}

inline auto AsEigen(MatrixView<const float> m) {
  return Eigen::Map<const EigenMatrix<float>, Eigen::Unaligned, Eigen::OuterStride<>>(
      m.data(), static_cast<Eigen::Index>(m.rows()), static_cast<Eigen::Index>(m.cols()),
      Eigen::OuterStride<>(static_cast<Eigen::Index>(m.stride())));
}

inline auto AsEigen(MatrixView<float> m) {
  return Eigen::Map<EigenMatrix<float>, Eigen::Unaligned, Eigen::OuterStride<>>(
      m.data(), static_cast<Eigen::Index>(m.rows()), static_cast<Eigen::Index>(m.cols()),
      Eigen::OuterStride<>(static_cast<Eigen::Index>(m.stride())));
}

}  // namespace detail

// y [m, n] = a [m, k] b^T, b [n, k]. The usual rounding of a float sum; exact where all partial sums are integers
// below 2^24. So are the next two.
inline void MultiplyTransposed(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> y) {
  BITNET_ASSERT(a.cols() == b.cols() && y.rows() == a.rows() && y.cols() == b.rows(),
                "MultiplyTransposed: a [m, k], b [n, k] and y [m, n] must agree in shape");
  detail::AsEigen(y).noalias() = detail::AsEigen(a) * detail::AsEigen(b).transpose();
}

// y [m, n] = a [m, k] b [k, n].
inline void Multiply(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> y) {
  BITNET_ASSERT(a.cols() == b.rows() && y.rows() == a.rows() && y.cols() == b.cols(),
                "Multiply: a [m, k], b [k, n] and y [m, n] must agree in shape");
  detail::AsEigen(y).noalias() = detail::AsEigen(a) * detail::AsEigen(b);
}

// y [m, n] += a^T b, a [k, m], b [k, n].
inline void AddTransposedProduct(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> y) {
  BITNET_ASSERT(a.rows() == b.rows() && y.rows() == a.cols() && y.cols() == b.cols(),
                "AddTransposedProduct: a [k, m], b [k, n] and y [m, n] must agree in shape");
  detail::AsEigen(y).noalias() += detail::AsEigen(a).transpose() * detail::AsEigen(b);
}

// As MultiplyTransposed, in double: exact where all partial sums are integers below 2^53. Allocates; slow.
inline void MultiplyTransposedInDouble(MatrixView<const float> a, MatrixView<const float> b,
                                       detail::EigenMatrix<double>& y) {
  detail::Reshape(y, a.rows(), b.rows());
  y.noalias() = detail::AsEigen(a).cast<double>() * detail::AsEigen(b).cast<double>().transpose();
}

}  // namespace bitnet

#endif  // BITNET_TRAIN_MATRIX_H_
