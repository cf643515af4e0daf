// Products with a float operand, where a row has one step: rows of weights of whatever layout, in tiles of rows and
// tokens (dot_floats-inl.h).
#if defined(BITNET_BACKEND_SIMD_FLOAT_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_FLOAT_PRODUCTS_INL_H_
#undef BITNET_BACKEND_SIMD_FLOAT_PRODUCTS_INL_H_
#else
#define BITNET_BACKEND_SIMD_FLOAT_PRODUCTS_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cstddef>
#include <type_traits>

#include "bitnet/backend/simd/dot_floats-inl.h"
#include "bitnet/backend/simd/input_rows-inl.h"
#include "bitnet/backend/simd/real_weights-inl.h"
#include "bitnet/tensor/matrix_view.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

inline constexpr size_t kFloatTokenBlock = 16;

// Sums over chunks for a tile of rows and a block of tokens: a BlockTree each. All have as many chunks, so that one
// count serves all.
class FloatSums {
 public:
  // Of the chunks of tokens [t, t + tokens); all tokens' come before Next().
  template <size_t kTokens>
  HWY_INLINE void Add(size_t t, size_t tokens, FloatTile<kTokens>& tile) {
    size_t level = 0;
    for (size_t complete = count_; complete % 2 != 0; complete /= 2, ++level) {
      for (size_t k = 0; k < tokens; ++k) {
        HWY_UNROLL(4) for (size_t r = 0; r < kFloatRowTile; ++r) tile[k][r] = sums_[level][t + k][r] + tile[k][r];
      }
    }
    for (size_t k = 0; k < tokens; ++k) {
      HWY_UNROLL(4) for (size_t r = 0; r < kFloatRowTile; ++r) sums_[level][t + k][r] = tile[k][r];
    }
  }
  void Next() { ++count_; }
  HWY_INLINE double Total(size_t t, size_t r) const {
    if (count_ == 0) return 0.0;
    auto level = static_cast<size_t>(std::countr_zero(count_));
    Doubles8 total = sums_[level][t][r];
    for (size_t complete = (count_ >> level) / 2; complete != 0; complete /= 2) {
      ++level;
      if (complete % 2 != 0) total = sums_[level][t][r] + total;
    }
    return LanesOf(total).Fold();
  }

 private:
  static constexpr size_t kLevels = 22;  // for 2^32 columns

  size_t count_ = 0;
  Doubles8 sums_[kLevels][kFloatTokenBlock][kFloatRowTile];
};

// What the kernel reads of a row: its reals where they lie, or levels unpacked to floats.
template <class Weights>
struct ReadWeight {
  using type = float;
};
template <RealFormat F>
struct ReadWeight<RealWeights<F>> {
  using type = StoredReal<F>;
};

// y of the listed rows of tokens [first, first + tokens), at most kFloatTokenBlock.
template <class Weights, class X>
HWY_NOINLINE void MultiplyFloats(const Weights& weights, const IndexList& rows, const InputRows<X>& x, size_t first,
                                 size_t tokens, MatrixView<float> y) {
  constexpr bool kIsReal = std::is_same_v<typename Weights::Level, float>;
  using W = typename ReadWeight<Weights>::type;
  constexpr size_t kChunk = kFloatChunk;  // of a row tile: they stay in the first-level cache
  static_assert(kChunk % Weights::kUnpackMultiple == 0);
  HWY_ALIGN float unpacked[kIsReal ? 1 : kFloatRowTile * kChunk];
  for (size_t i = 0; i < rows.count; i += kFloatRowTile) {
    const size_t n = std::min(kFloatRowTile, rows.count - i);
    FloatSums sums;
    for (size_t col = 0; col < weights.cols(); col += kChunk) {
      const size_t cols = std::min(kChunk, weights.cols() - col);
      const W* w[kFloatRowTile];
      for (size_t k = 0; k < kFloatRowTile; ++k) {
        const size_t row = rows[i + std::min(k, n - 1)];
        if constexpr (kIsReal) {
          w[k] = weights.Row(row) + col;
        } else {
          w[k] = unpacked + k * kChunk;
          if (k < n) weights.UnpackRow(row, col, cols, unpacked + k * kChunk);
          if (k >= n) w[k] = w[n - 1];
        }
      }
      const auto multiply = [&]<size_t kTokens>(size_t t) HWY_ATTR {
        // A tile that is not full does its last token's work again.
        const X* inputs[kTokens];
        for (size_t k = 0; k < kTokens; ++k) inputs[k] = x.Row(first + std::min(t + k, tokens - 1)) + col;
        FloatTile<kTokens> tile;
        MultiplyFloatChunk<W, X, kTokens>(w, inputs, cols, tile);
        sums.template Add<kTokens>(t, std::min(kTokens, tokens - t), tile);
      };
      for (size_t t = 0; t < tokens; t += kFloatTokenTile) {
        if (t + 1 == tokens) {
          multiply.template operator()<1>(t);
        } else {
          multiply.template operator()<kFloatTokenTile>(t);
        }
      }
      sums.Next();
    }
    for (size_t t = 0; t < tokens; ++t) {
      for (size_t k = 0; k < n; ++k) {
        const size_t row = rows[i + k];
        const float scale = weights.Step(row, 0) * x.Step(first + t);
        const auto dot = static_cast<float>(sums.Total(t, k));
        y.Row(first + t)[row] = static_cast<float>(0.0 + static_cast<double>(dot) * static_cast<double>(scale));
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_FLOAT_PRODUCTS_INL_H_
