// SimdBackend for the target that Highway is compiling: docs/numerics.md in vectors. Its type names the target
// (bitnet::N_AVX2::SimdBackend), so that objects compiled with different flags do not mix.
//
// Programs include backend/simd/simd_backend.h; programs for several targets include this file after
// hwy/foreach_target.h (examples/many_targets.cc).
#if defined(BITNET_BACKEND_SIMD_SIMD_BACKEND_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_SIMD_BACKEND_INL_H_
#undef BITNET_BACKEND_SIMD_SIMD_BACKEND_INL_H_
#else
#define BITNET_BACKEND_SIMD_SIMD_BACKEND_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/reference.h"
#include "bitnet/backend/simd/products-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

class SimdBackend : public ReferenceBackend {
 public:
  template <Format W, Format X>
  using Matrix = SimdMatrix<W, X>;

  explicit SimdBackend(Executor& executor = DefaultExecutor()) : ReferenceBackend(executor) {}

  template <Format X, Format W>
  Matrix<W, X> Prepare(const QuantizedMatrix<W>& weights, Access access) const {
    BITNET_ASSERT((DotFits<W, X>(weights.cols())), "Prepare: a dot product of this many columns overflows 32 bits");
    return Matrix<W, X>(weights, access, executor());
  }

  template <Format W, Format X>
  void DequantizeRow(const Matrix<W, X>& matrix, size_t row, std::span<float> values) const {
    BITNET_ASSERT(row < matrix.rows() && values.size() == matrix.cols(),
                  "DequantizeRow: the destination must hold one value a column");
    constexpr size_t kWindow = 1024;
    HWY_ALIGN float window[kWindow];
    for (size_t first = 0; first < matrix.cols(); first += kWindow) {
      const size_t n = std::min(kWindow, matrix.cols() - first);
      matrix.UnpackRow(row, first, n, window);
      for (size_t i = 0; i < n; ++i) {
        values[first + i] =
            kIsFloat<W> ? window[i] : matrix.Step(row, matrix.segments().Of(first + i)) * window[i];
      }
    }
  }

  template <Format W, Format X>
  void MatMul(const Matrix<W, X>& matrix, const QuantizedTokens<X>& x, MatrixView<float> y) const {
    CheckShapes(matrix, x, y);
    const Product<W, X> product(matrix, x, y);
    if (matrix.by_columns()) {
      EachTile(matrix, x.tokens(), matrix.cols(), [&](size_t tile, size_t token) {
        product.Tile(tile, token, {nullptr, 0, matrix.cols()});
      });
    } else {
      ParallelRanges(executor(), matrix.rows(), Grain(matrix.cols() * x.tokens()), kRowTile,
                     [&](size_t begin, size_t end) { product.Rows(begin, end); });
    }
  }

  template <Format W, Format X>
  void MatMulRows(const Matrix<W, X>& matrix, const QuantizedTokens<X>& x, const ChannelLists& rows,
                  MatrixView<float> y) const {
    CheckShapes(matrix, x, y);
    BITNET_ASSERT(rows.tokens() == x.tokens(), "MatMulRows: a list of rows for each token");
    const Product<W, X> product(matrix, x, y);
    if (x.tokens() < executor().Threads()) {
      for (size_t t = 0; t < x.tokens(); ++t) {
        ParallelRanges(executor(), rows.Count(t), Grain(matrix.cols()), kRowTile, [&](size_t begin, size_t end) {
          product.OneToken(t, {rows[t].data() + begin, 0, end - begin});
        });
      }
    } else {
      ParallelRanges(executor(), x.tokens(), Grain(matrix.cols() * matrix.rows()), 1, [&](size_t begin, size_t end) {
        for (size_t t = begin; t < end; ++t) product.OneToken(t, {rows[t].data(), 0, rows.Count(t)});
      });
    }
  }

  template <Format W, Format X>
  void MatMulColumns(const Matrix<W, X>& matrix, const QuantizedTokens<X>& x, MatrixView<float> y) const {
    CheckShapes(matrix, x, y);
    BITNET_ASSERT(x.nonzero().tokens() == x.tokens(), "MatMulColumns: FindNonzero must come first");
    if (matrix.by_columns()) {
      const Product<W, X> product(matrix, x, y);
      EachTile(matrix, x.tokens(), x.nonzero().tokens() == 0 ? 0 : x.nonzero().Count(0),
               [&](size_t tile, size_t token) {
                 product.Tile(tile, token, {x.nonzero()[token].data(), 0, x.nonzero().Count(token)});
               });
      return;
    }
    if constexpr (kIsFloat<W>) {
      if (!matrix.is_finite()) {
        ParallelRanges(executor(), matrix.rows(), Grain(matrix.cols() * x.tokens()), 1, [&](size_t begin, size_t end) {
          for (size_t r = begin; r < end; ++r) {
            for (size_t t = 0; t < x.tokens(); ++t) {
              y.Row(t)[r] = DotRowOfColumns(matrix, r, x, t, x.nonzero()[t]);
            }
          }
        });
        return;
      }
    }
    MatMul(matrix, x, y);
  }

 private:
  // A part of an operation should be worth this many multiply-adds: waking a thread costs some microseconds.
  static constexpr size_t kWorthAThread = 64 * 1024;
  static constexpr size_t Grain(size_t work_each) { return std::max<size_t>(1, kWorthAThread / std::max<size_t>(1, work_each)); }

  // f(tile, token) for all; a tile's tokens follow each other, so that its columns stay in the cache.
  template <class M, class F>
  void EachTile(const M& matrix, size_t tokens, size_t columns, F&& f) const {
    const size_t work = columns * M::Codes::kBlockCodes;
    ParallelRanges(executor(), matrix.tiles() * tokens, Grain(work), 1, [&](size_t begin, size_t end) {
      for (size_t unit = begin; unit < end; ++unit) f(unit / tokens, unit % tokens);
    });
  }
};

static_assert(Backend<SimdBackend>);

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_SIMD_BACKEND_INL_H_
