// SimdMatrix<W, X>: weights as the vector kernels read them. Nothing outside backend/simd knows the layout, which
// depends on X only by whether inputs are integers: PackedWeights holds it, so that kernels are compiled once for all
// X.
//
//   by rows      [row][block][bytes of a block]; a row is padded with code 0 to whole blocks. Float: [row][value].
//   by columns   [tile of rows][column][bytes of a block]: a block holds one column's codes of the tile's rows
//                (Access::kColumns, byte codes and integer inputs only; other products read by rows)
// Blocks: see codes-inl.h.
#if defined(BITNET_BACKEND_SIMD_SIMD_MATRIX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_SIMD_MATRIX_INL_H_
#undef BITNET_BACKEND_SIMD_SIMD_MATRIX_INL_H_
#else
#define BITNET_BACKEND_SIMD_SIMD_MATRIX_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/simd/codes-inl.h"
#include "bitnet/base/executor.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/quantized_matrix.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// Real weights, where Codes stands for integer ones.
struct FloatCodes {
  static constexpr bool kIsByte = false;
  static constexpr size_t kBits = 32;
  static constexpr size_t kBlockCodes = 16;  // rows start on a cache line
  static constexpr size_t kBlockBytes = 64;
};

namespace detail {
template <Format F>
struct SelectCodes {
  using type = CodesOf<F>;
};
template <>
struct SelectCodes<Float> {
  using type = FloatCodes;
};
}  // namespace detail

template <Format W, bool kIntegerInputs>
class PackedWeights {
 public:
  using Codes = typename detail::SelectCodes<W>::type;
  // Whether products are integer dots; otherwise they are sums in double.
  static constexpr bool kIsInteger = !kIsFloat<W> && kIntegerInputs;
  static constexpr bool kCanBeByColumns = kIsInteger && Codes::kIsByte;

  PackedWeights() = default;

  PackedWeights(const QuantizedMatrix<W>& weights, Access access, Executor& executor)
      : rows_(weights.rows()),
        cols_(weights.cols()),
        layout_(weights.layout()),
        by_columns_(kCanBeByColumns && access == Access::kColumns),
        steps_(weights.steps().begin(), weights.steps().end()) {
    const size_t unit = by_columns_ ? rows_ : cols_;
    blocks_ = (unit + Codes::kBlockCodes - 1) / Codes::kBlockCodes;
    bytes_.resize((by_columns_ ? cols_ : rows_) * blocks_ * Codes::kBlockBytes);
    // Units of work write different bytes: a row, or a tile of rows.
    const size_t multiple = by_columns_ ? Codes::kBlockCodes : 1;
    ParallelRanges(executor, rows_, 16, multiple, [&](size_t begin, size_t end) {
      std::vector<LevelOf<W>> levels(cols_);
      for (size_t r = begin; r < end; ++r) {
        weights.UnpackRow(r, levels);
        StoreRow(r, levels.data());
      }
    });
    if constexpr (kIsFloat<W>) {
      is_finite_ = access == Access::kColumns;
      for (size_t r = 0; r < rows_ && is_finite_; ++r) {
        is_finite_ = std::all_of(FloatRow(r), FloatRow(r) + cols_, [](float w) { return std::isfinite(w); });
      }
    }
  }

  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  size_t StoredBytes() const { return bytes_.size() + (kIsFloat<W> ? 0 : steps_.size() * sizeof(float)); }

  bool by_columns() const { return by_columns_; }
  // Whether all weights are known to be finite, so that multiplying one with a zero input adds nothing. Found out for
  // Access::kColumns only.
  bool is_finite() const { return is_finite_; }
  Segments segments() const { return {cols_, layout_.group}; }
  float Step(size_t row, size_t segment) const {
    return steps_[(layout_.per_row ? row * segments().Count() : 0) + segment];
  }

  // By rows: a row's blocks; Float: its values.
  const uint8_t* Row(size_t row) const { return bytes_.data() + row * blocks_ * Codes::kBlockBytes; }
  size_t RowBytes() const { return blocks_ * Codes::kBlockBytes; }
  const float* FloatRow(size_t row) const { return reinterpret_cast<const float*>(Row(row)); }

  // By columns: the blocks of a tile's columns.
  size_t tiles() const { return blocks_; }
  const uint8_t* Tile(size_t tile) const { return bytes_.data() + tile * cols_ * Codes::kBlockBytes; }

  // to[0, n) = levels of row `row` from column `first` on, converted to T, which must hold them. `first` is a multiple
  // of Codes::kBlockCodes; `to` has room for n rounded up to whole blocks.
  template <class T>
  HWY_NOINLINE void UnpackRow(size_t row, size_t first, size_t n, T* HWY_RESTRICT to) const {
    if constexpr (kIsFloat<W>) {
      std::memcpy(to, FloatRow(row) + first, n * sizeof(float));
    } else {
      if (by_columns_) return UnpackFromColumns(row, first, n, to);
      const uint8_t* block = Row(row) + first / Codes::kBlockCodes * Codes::kBlockBytes;
      for (size_t i = 0; i < n; block += Codes::kBlockBytes) {
        auto planes = Codes::Block::Load(block);
        for (size_t p = 0; p < Codes::kPlanes && i < n; ++p, i += kVectorBytes) {
          HWY_ALIGN typename Codes::Unpacked offsets[kVectorBytes];
          Codes::StorePlane(planes.Next(), offsets);
          for (size_t j = 0; j < kVectorBytes; ++j) to[i + j] = LevelFromOffset<T>(offsets[j]);
        }
      }
    }
  }

 private:
  template <class T>
  static T LevelFromOffset(int offset) {
    return static_cast<T>(Correction<W>::kFactor * offset + Correction<W>::kBottom);
  }

  void StoreRow(size_t row, const LevelOf<W>* levels) {
    if constexpr (kIsFloat<W>) {
      std::memcpy(bytes_.data() + row * RowBytes(), levels, cols_ * sizeof(float));
    } else {
      for (size_t c = 0; c < cols_; ++c) {
        const int stored = OffsetTraits<W>::Stored(CodeOfLevel<W>(levels[c]));
        const size_t at = by_columns_ ? row : c;
        const size_t within = at % Codes::kBlockCodes;
        uint8_t* block = bytes_.data() + BlockIndex(row, c) * Codes::kBlockBytes;
        if constexpr (Codes::kBits == 16) {
          const auto wide = static_cast<int16_t>(stored);
          std::memcpy(block + within * sizeof(wide), &wide, sizeof(wide));
        } else {
          uint8_t& byte = block[within % kVectorBytes];
          byte = static_cast<uint8_t>(byte | stored << (within / kVectorBytes * Codes::kBits));
        }
      }
    }
  }

  size_t BlockIndex(size_t row, size_t col) const {
    return by_columns_ ? row / Codes::kBlockCodes * cols_ + col : row * blocks_ + col / Codes::kBlockCodes;
  }

  template <class T>
  void UnpackFromColumns(size_t row, size_t first, size_t n, T* to) const {
    if constexpr (kCanBeByColumns) {
      const size_t within = row % Codes::kBlockCodes;
      for (size_t c = first; c < first + n; ++c) {
        const uint8_t byte = bytes_[BlockIndex(row, c) * Codes::kBlockBytes + within % kVectorBytes];
        const size_t code = (byte >> (within / kVectorBytes * Codes::kBits)) & ((1u << Codes::kBits) - 1);
        const int offset = OffsetTraits<W>::kIsListed ? OffsetTraits<W>::Offset(code) : static_cast<int>(code);
        to[c - first] = LevelFromOffset<T>(offset);
      }
    }
  }

  size_t rows_ = 0;
  size_t cols_ = 0;
  StepLayout layout_;
  bool by_columns_ = false;
  bool is_finite_ = true;
  size_t blocks_ = 0;  // of a row, or of a column
  AlignedVector<uint8_t> bytes_;
  AlignedVector<float> steps_;
};

// Weights for inputs of the format X: a type of its own, so that no matrix is multiplied with inputs that it was not
// prepared (and checked) for.
template <Format W, Format X>
class SimdMatrix : public PackedWeights<W, !kIsFloat<X>> {
 public:
  using PackedWeights<W, !kIsFloat<X>>::PackedWeights;
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_SIMD_MATRIX_INL_H_
