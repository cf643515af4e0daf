// Which kernel multiplies what: by the layout of the weights, the kinds of the operands, the segments and the tokens.
#if defined(BITNET_BACKEND_SIMD_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_PRODUCTS_INL_H_
#undef BITNET_BACKEND_SIMD_PRODUCTS_INL_H_
#else
#define BITNET_BACKEND_SIMD_PRODUCTS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bitnet/backend/simd/dot_columns-inl.h"
#include "bitnet/backend/simd/dot_floats-inl.h"
#include "bitnet/backend/simd/dot_rows-inl.h"
#include "bitnet/backend/simd/dot_segments-inl.h"
#include "bitnet/backend/simd/simd_matrix-inl.h"
#include "bitnet/tensor/matrix_view.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// Products of one matrix with some tokens, whose levels are of type X. Each function does a range of the work;
// SimdBackend splits it.
template <Format W, class X>
class Product {
  using Matrix = PackedWeights<W, !std::is_same_v<X, float>>;
  using Codes = typename Matrix::Codes;
  static constexpr bool kIsInteger = Matrix::kIsInteger;

 public:
  Product(const Matrix& matrix, const InputRows<X>& x, MatrixView<float> y)
      : matrix_(matrix),
        x_(x),
        y_(y),
        has_one_segment_(matrix.segments().Count() == 1 && x.segments.Count() == 1 && matrix.cols() != 0) {}

  // Rows [begin, end) of all tokens.
  HWY_NOINLINE void Rows(size_t begin, size_t end) const {
    if (x_.tokens == 1) return OneToken(0, {nullptr, begin, end - begin});
    if (!has_one_segment_) return RowsBySegments(begin, end);
    if constexpr (kIsInteger) {
      IntegerRows(begin, end);
    } else {
      for (size_t t = 0; t < x_.tokens; t += kFloatTokenBlock) {
        FloatRows({nullptr, begin, end - begin}, t, std::min(kFloatTokenBlock, x_.tokens - t));
      }
    }
  }

  // The listed rows of one token.
  HWY_NOINLINE void OneToken(size_t token, const IndexList& rows) const {
    if (!has_one_segment_ || matrix_.by_columns()) {
      for (size_t i = 0; i < rows.count; ++i) {
        DotRowBySegments(matrix_, rows[i], x_, token, 1, y_.Row(token) + rows[i]);
      }
    } else if constexpr (kIsInteger) {
      IntegerRowsOfToken(token, rows);
    } else {
      FloatRows(rows, token, 1);
    }
  }

  // One tile of rows for one token, over the listed columns, which hold all inputs that are not zero.
  HWY_NOINLINE void Tile(size_t tile, size_t token, const IndexList& columns) const {
    if constexpr (Matrix::kCanBeByColumns) {
      const size_t begin = tile * Codes::kBlockCodes;
      const size_t rows = std::min(Codes::kBlockCodes, matrix_.rows() - begin);
      float* y = y_.Row(token) + begin;
      int32_t dots[Codes::kBlockCodes];
      if (has_one_segment_) {
        const int32_t sum = DotColumns<Codes>(matrix_.Tile(tile), columns, x_.Row(token), dots);
        for (size_t r = 0; r < rows; ++r) {
          y[r] = Scaled(Correction<W>::DotOfLevels(dots[r], sum), Scale(begin + r, token));
        }
        return;
      }
      double totals[Codes::kBlockCodes] = {};
      size_t next = 0;
      EachCommonSegment(matrix_.segments(), x_.segments, [&](size_t, size_t end, size_t ws, size_t xs) HWY_ATTR {
        IndexList part = columns;
        part.first = columns.first + next;
        if (columns.indices != nullptr) part.indices += next;
        part.count = 0;
        for (; next < columns.count && columns[next] < end; ++next) ++part.count;
        const int32_t sum = DotColumns<Codes>(matrix_.Tile(tile), part, x_.Row(token), dots);
        for (size_t r = 0; r < rows; ++r) {
          const float scale = matrix_.Step(begin + r, ws) * x_.Step(token, xs);
          totals[r] += static_cast<double>(Correction<W>::DotOfLevels(dots[r], sum)) * static_cast<double>(scale);
        }
      });
      for (size_t r = 0; r < rows; ++r) y[r] = static_cast<float>(totals[r]);
    }
  }

 private:
  static constexpr size_t kFloatTokenBlock = 16;

  float Scale(size_t row, size_t token) const { return matrix_.Step(row, 0) * x_.Step(token, 0); }

  int32_t SumOfToken(size_t token) const {
    return Correction<W>::kBottom == 0 ? 0 : SumOfInputs(x_.Row(token), matrix_.cols());
  }

  void RowsBySegments(size_t begin, size_t end) const {
    for (size_t r = begin; r < end; ++r) {
      for (size_t t = 0; t < x_.tokens; t += kSegmentTokens) {
        const size_t tokens = std::min(kSegmentTokens, x_.tokens - t);
        float y[kSegmentTokens];
        DotRowBySegments(matrix_, r, x_, t, tokens, y);
        for (size_t k = 0; k < tokens; ++k) y_.Row(t + k)[r] = y[k];
      }
    }
  }

  void IntegerRowsOfToken(size_t token, const IndexList& rows) const {
    // Listed rows are scattered: their lines are asked for this many rows in advance, into the second-level cache.
    constexpr size_t kAhead = 8;
    const int32_t sum = SumOfToken(token);
    float* y = y_.Row(token);
    for (size_t i = 0; i < rows.count; i += kRowTile) {
      const size_t n = std::min(kRowTile, rows.count - i);
      const uint8_t* packed[kRowTile];
      for (size_t k = 0; k < kRowTile; ++k) packed[k] = matrix_.Row(rows[i + std::min(k, n - 1)]);
      if (rows.indices != nullptr) {
        for (size_t k = i + kAhead; k < std::min(i + kAhead + kRowTile, rows.count); ++k) {
          const uint8_t* row = matrix_.Row(rows[k]);
          for (size_t byte = 0; byte < matrix_.RowBytes(); byte += 64) __builtin_prefetch(row + byte, 0, 2);
        }
      }
      int32_t dots[kRowTile];
      DotPackedRows<Codes>(packed, matrix_.cols(), x_.Row(token), dots);
      for (size_t k = 0; k < n; ++k) {
        const size_t row = rows[i + k];
        y[row] = Scaled(Correction<W>::DotOfLevels(dots[k], sum), Scale(row, token));
      }
    }
  }

  void IntegerRows(size_t begin, size_t end) const {
    for (size_t first = 0; first < x_.tokens; first += kTokenBlock) {
      const size_t tokens = std::min(kTokenBlock, x_.tokens - first);
      const X* inputs[kTokenBlock];
      int32_t sums[kTokenBlock];
      for (size_t t = 0; t < tokens; ++t) {
        inputs[t] = x_.Row(first + t);
        sums[t] = SumOfToken(first + t);
      }
      for (size_t r = begin; r < end; r += kRowTile) {
        const size_t n = std::min(kRowTile, end - r);
        const uint8_t* packed[kRowTile];
        for (size_t k = 0; k < kRowTile; ++k) packed[k] = matrix_.Row(r + std::min(k, n - 1));
        int32_t dots[kTokenBlock][kRowTile];
        DotPackedRowsTokens<Codes>(packed, matrix_.cols(), inputs, tokens, dots);
        for (size_t t = 0; t < tokens; ++t) {
          float* y = y_.Row(first + t) + r;
          for (size_t k = 0; k < n; ++k) {
            y[k] = Scaled(Correction<W>::DotOfLevels(dots[t][k], sums[t]), Scale(r + k, first + t));
          }
        }
      }
    }
  }

  // Tokens [first, first + tokens), at most kFloatTokenBlock.
  void FloatRows(const IndexList& rows, size_t first, size_t tokens) const {
    constexpr size_t kChunk = 1024;  // columns of a row tile that stay in the first-level cache
    HWY_ALIGN float unpacked[kIsFloat<W> ? 1 : kFloatRowTile * kChunk];
    Doubles8 sums[kFloatTokenBlock * kFloatRowTile];
    for (size_t i = 0; i < rows.count; i += kFloatRowTile) {
      const size_t n = std::min(kFloatRowTile, rows.count - i);
      for (size_t k = 0; k < RoundUp(tokens, kFloatTokenTile) * kFloatRowTile; ++k) sums[k] = Doubles8::Set(0.0);
      for (size_t col = 0; col < matrix_.cols(); col += kChunk) {
        const size_t cols = std::min(kChunk, matrix_.cols() - col);
        const float* w[kFloatRowTile];
        for (size_t k = 0; k < kFloatRowTile; ++k) {
          const size_t row = rows[i + std::min(k, n - 1)];
          if constexpr (kIsFloat<W>) {
            w[k] = matrix_.FloatRow(row) + col;
          } else {
            w[k] = unpacked + k * kChunk;
            if (k < n) matrix_.UnpackRow(row, col, cols, unpacked + k * kChunk);
            if (k >= n) w[k] = w[n - 1];
          }
        }
        for (size_t t = 0; t < tokens; t += kFloatTokenTile) {
          // A tile that is not full does its last token's work again.
          const X* inputs[kFloatTokenTile];
          for (size_t k = 0; k < kFloatTokenTile; ++k) {
            inputs[k] = x_.Row(first + std::min(t + k, tokens - 1)) + col;
          }
          Doubles8* tile = sums + t * kFloatRowTile;
          if (t + 1 == tokens) {
            AddFloatTile<X, 1>(w, inputs, cols, tile);
          } else {
            AddFloatTile<X, kFloatTokenTile>(w, inputs, cols, tile);
          }
        }
      }
      for (size_t t = 0; t < tokens; ++t) {
        for (size_t k = 0; k < n; ++k) {
          const size_t row = rows[i + k];
          const auto dot = static_cast<float>(Fold(sums[t * kFloatRowTile + k]));
          y_.Row(first + t)[row] =
              static_cast<float>(0.0 + static_cast<double>(dot) * static_cast<double>(Scale(row, first + t)));
        }
      }
    }
  }

  const Matrix& matrix_;
  InputRows<X> x_;
  MatrixView<float> y_;
  bool has_one_segment_;
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_PRODUCTS_INL_H_
