// SimdMatrix<W, X>: weights as the vector kernels read them. Nothing outside backend/simd knows the layout. It follows
// from the plan of the product (lookup_plan.h) and from how the layer reads the matrix; PackedWeights holds it, a type
// that depends on X only by the plan, so that kernels are compiled once for all X of one plan.
//
//   by lookups   see lookup_layout-inl.h (Access::kDense, where lookups pay and a row has one step)
//   by columns   [column][planes of the column's codes]; byte codes and integer inputs only (Access::kColumns)
//   by rows      [row][planes of the row's codes]; Float: [row][value], a row padded to a cache line
// Planes: see codes-inl.h. A row or column that does not fill its last block ends with a smaller one, of a multiple of
// 16 bytes, so that 3200 codes of 2 bits take 800 bytes with any vector.
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

#include "bitnet/backend/definitions.h"
#include "bitnet/backend/simd/codes-inl.h"
#include "bitnet/backend/simd/lookup_layout-inl.h"
#include "bitnet/backend/uses.h"
#include "bitnet/base/executor.h"
#include "bitnet/base/size.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/operand.h"
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
// (LookupLayout of a plan without lookups, or of Float, has no meaning.)
template <Format W, LookupPlan kPlan>
struct SelectLookups {
  using type = void;
};
template <LevelFormat W, LookupPlan kPlan>
requires(kPlan.method == ProductMethod::kLookup) struct SelectLookups<W, kPlan> {
  using type = LookupLayout<W, kPlan>;
};
}  // namespace detail

// How `count` byte codes lie in planes: whole blocks, then a smaller one.
template <class Codes>
struct PlaneRun {
  explicit PlaneRun(size_t count = 0) : whole_blocks(count / Codes::kBlockCodes) {
    SizeProduct(Codes::kBlockBytes, whole_blocks + 1);  // Bytes() fits
    const size_t rest = count % Codes::kBlockCodes;
    // Only byte codes have smaller blocks.
    tail_bytes = !Codes::kIsByte && rest != 0 ? Codes::kBlockBytes
                                              : RoundUp((rest + Codes::kPlanes - 1) / Codes::kPlanes, kTailBytes);
    if (tail_bytes == Codes::kBlockBytes) ++whole_blocks, tail_bytes = 0;
  }
  size_t Bytes() const { return whole_blocks * Codes::kBlockBytes + tail_bytes; }
  // The byte and the plane of code i.
  size_t Byte(size_t i) const {
    const size_t block = i / Codes::kBlockCodes;
    const size_t within = i % Codes::kBlockCodes;
    return block * Codes::kBlockBytes + within % (block < whole_blocks ? kVectorBytes : tail_bytes);
  }
  size_t Plane(size_t i) const {
    return i % Codes::kBlockCodes / (i / Codes::kBlockCodes < whole_blocks ? kVectorBytes : tail_bytes);
  }

  // f(byte, plane, i, n): codes i ... i + n - 1 are in this plane of the bytes from `byte` on; for all `count` codes.
  template <class F>
  void EachPlane(size_t count, F&& f) const {
    for (size_t i = 0; i < count;) {
      const size_t n = i / Codes::kBlockCodes < whole_blocks ? kVectorBytes : tail_bytes;
      f(Byte(i), Plane(i), i, std::min(n, count - i));
      i += n;
    }
  }

  static constexpr size_t kTailBytes = 16;
  size_t whole_blocks;
  size_t tail_bytes = 0;  // 0: none
};
template <>
struct PlaneRun<FloatCodes> {
  explicit PlaneRun(size_t count = 0) : values(ElementCount<float>(RoundUp(count, FloatCodes::kBlockCodes))) {}
  size_t Bytes() const { return values * sizeof(float); }
  size_t values;
};

enum class Access { kDense, kRows, kColumns };
enum class WeightLayout { kRows, kColumns, kLookups };

template <Format W, LookupPlan kPlan>
class PackedWeights {
 public:
  using Codes = typename detail::SelectCodes<W>::type;
  // Whether products are integer dots; otherwise they are sums in double.
  static constexpr bool kIsInteger = kPlan.method != ProductMethod::kFloat;
  static constexpr bool kCanBeByColumns = kIsInteger && Codes::kIsByte;
  static constexpr bool kCanBeByLookups = kPlan.method == ProductMethod::kLookup;
  using Lookups = typename detail::SelectLookups<W, kPlan>::type;

  PackedWeights() = default;

  PackedWeights(const QuantizedMatrix<W>& weights, Access access, Executor& executor)
      : rows_(weights.rows()),
        cols_(weights.cols()),
        steps_layout_(weights.layout()),
        layout_(kCanBeByColumns && access == Access::kColumns ? WeightLayout::kColumns
                : kCanBeByLookups && access == Access::kDense && steps_layout_.group == 0 && cols_ != 0
                    ? WeightLayout::kLookups
                    : WeightLayout::kRows),
        run_(by_columns() ? rows_ : cols_),
        steps_(weights.steps().begin(), weights.steps().end()) {
    // Threads must write different bytes: rows, or rows that share no byte.
    const size_t multiple = by_columns() ? Codes::kBlockCodes : by_lookups() ? kVectorBytes : 1;
    size_t bytes = SizeProduct(by_columns() ? cols_ : rows_, run_.Bytes());
    if constexpr (kCanBeByLookups) {
      if (by_lookups()) bytes = Lookups::Bytes(rows_, cols_);
    }
    bytes_.resize(ElementCount<uint8_t>(SizeSum(bytes, kReadBeyond)));
    ParallelRanges(executor, rows_, 16, multiple, [&](size_t begin, size_t end) { StoreRows(weights, begin, end); });
    if constexpr (kIsFloat<W>) {
      is_finite_ = access == Access::kColumns;
      for (size_t r = 0; r < rows_ && is_finite_; ++r) {
        is_finite_ = std::all_of(FloatRow(r), FloatRow(r) + cols_, [](float w) { return std::isfinite(w); });
      }
    }
  }

  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  // Of codes and steps, padding included.
  size_t StoredBytes() const { return bytes_.size() + (kIsFloat<W> ? 0 : steps_.size() * sizeof(float)); }

  bool by_columns() const { return layout_ == WeightLayout::kColumns; }
  bool by_lookups() const { return layout_ == WeightLayout::kLookups; }
  // Whether all weights are known to be finite, so that multiplying one with a zero input adds nothing. Found out for
  // Access::kColumns only.
  bool is_finite() const { return is_finite_; }
  Segments segments() const { return {cols_, steps_layout_.group}; }
  float Step(size_t row, size_t segment) const {
    return steps_[(steps_layout_.per_row ? row * segments().Count() : 0) + segment];
  }
  // The rows' steps where each has one, else nullptr: all have Step(0, 0).
  const float* RowSteps() const { return steps_layout_.per_row ? steps_.data() : nullptr; }

  // The codes of a row, or of a column; Float: a row's values. Kernels may read kReadBeyond bytes past the last.
  const PlaneRun<Codes>& run() const { return run_; }
  const uint8_t* Row(size_t row) const { return bytes_.data() + row * run_.Bytes(); }
  // By columns: tiles of kBlockCodes rows; the last may have fewer.
  size_t tiles() const { return (rows_ + Codes::kBlockCodes - 1) / Codes::kBlockCodes; }
  const uint8_t* Column(size_t column) const { return bytes_.data() + column * run_.Bytes(); }
  const float* FloatRow(size_t row) const { return reinterpret_cast<const float*>(Row(row)); }

  // By lookups.
  const uint8_t* LookupBlock(size_t block) const {
    if constexpr (kCanBeByLookups) return bytes_.data() + block * Lookups::BlockBytes(cols_);
    return nullptr;
  }

  // to[0, n) = levels of row `row` from column `first` on, converted to T, which must hold them. `first` is a multiple
  // of Codes::kBlockCodes; `to` has room for n rounded up to whole blocks.
  template <class T>
  HWY_NOINLINE void UnpackRow(size_t row, size_t first, size_t n, T* HWY_RESTRICT to) const {
    if constexpr (kIsFloat<W>) {
      std::memcpy(to, FloatRow(row) + first, n * sizeof(float));
    } else {
      if constexpr (kCanBeByLookups) {
        if (by_lookups()) return UnpackFromLookups(row, first, n, to);
      }
      if (by_columns()) return UnpackFromColumns(row, first, n, to);
      size_t i = 0;
      HWY_ALIGN typename Codes::Unpacked offsets[kVectorBytes];
      for (; i < n && (first + i) / Codes::kBlockCodes < run_.whole_blocks;) {
        auto planes = Codes::Block::Load(Row(row) + (first + i) / Codes::kBlockCodes * Codes::kBlockBytes);
        for (size_t p = 0; p < Codes::kPlanes && i < n; ++p, i += kVectorBytes) {
          Codes::StorePlane(planes.Next(), offsets);
          for (size_t j = 0; j < kVectorBytes; ++j) to[i + j] = LevelFromOffset<T>(offsets[j]);
        }
      }
      if (i < n) {
        auto planes = Codes::Block::Load(Row(row) + run_.whole_blocks * Codes::kBlockBytes);
        for (size_t p = 0; p < Codes::kPlanes && i < n; ++p, i += run_.tail_bytes) {
          Codes::StorePlane(planes.Next(), offsets);
          for (size_t j = 0; j < run_.tail_bytes; ++j) to[i + j] = LevelFromOffset<T>(offsets[j]);
        }
      }
    }
  }

 private:
  template <class T>
  static T LevelFromOffset(int offset) {
    return static_cast<T>(Correction<W>::kFactor * offset + Correction<W>::kBottom);
  }

  // What vectors may read past the last row or column: a block, and the planes of a smaller one.
  static constexpr size_t kReadBeyond = kIsFloat<W> ? 0 : 128;

  // What is stored for a code, in OffsetTraits' words.
  static uint8_t Stored(uint8_t code) {
    if constexpr (FormatTraits<W>::kIsUniform || OffsetTraits<W>::kIsListed) {
      return code;
    } else {
      return static_cast<uint8_t>(OffsetTraits<W>::Stored(code));
    }
  }

  void StoreRows(const QuantizedMatrix<W>& weights, size_t begin, size_t end) {
    if constexpr (kIsFloat<W>) {
      for (size_t r = begin; r < end; ++r) {
        std::memcpy(bytes_.data() + r * run_.Bytes(), weights.RowCodes(r).data(), cols_ * sizeof(float));
      }
    } else {
      if constexpr (kCanBeByLookups) {
        if (by_lookups()) return StoreLookups(weights, begin, end);
      }
      if constexpr (kCanBeByColumns) {
        if (by_columns()) return StoreColumns(weights, begin, end);
      }
      std::vector<uint8_t> codes(cols_);
      for (size_t r = begin; r < end; ++r) {
        weights.UnpackCodes(r, codes);
        uint8_t* row = bytes_.data() + r * run_.Bytes();
        if constexpr (Codes::kBits == 16) {
          for (size_t c = 0; c < cols_; ++c) {
            const auto wide = static_cast<int16_t>(OffsetTraits<W>::Stored(codes[c]));
            std::memcpy(row + c * sizeof(wide), &wide, sizeof(wide));
          }
        } else {
          run_.EachPlane(cols_, [&](size_t byte, size_t plane, size_t first, size_t count) {
            for (size_t i = 0; i < count; ++i) {
              row[byte + i] = static_cast<uint8_t>(row[byte + i] | Stored(codes[first + i]) << (plane * Codes::kBits));
            }
          });
        }
      }
    }
  }

  // Rows whose bytes in a column, or a vector, are written at once.
  static constexpr size_t kRowsAtOnce = 16;

  // to[v * stride + i] = rows[i][v], for v < n and the first `count` rows of kRowsAtOnce.
  static void StoreTransposed(const std::vector<uint8_t>& rows, size_t n, size_t count, size_t stride, uint8_t* to) {
    for (size_t v = 0; v < n; ++v) {
      for (size_t i = 0; i < count; ++i) to[v * stride + i] = rows[i * n + v];
    }
  }

  void StoreColumns(const QuantizedMatrix<W>& weights, size_t begin, size_t end) {
    std::vector<uint8_t> codes(cols_);
    std::vector<uint8_t> packed(ElementCount<uint8_t>(kRowsAtOnce, cols_));
    for (size_t tile = begin / Codes::kBlockCodes; tile * Codes::kBlockCodes < end; ++tile) {
      const size_t plane_codes = tile < run_.whole_blocks ? kVectorBytes : run_.tail_bytes;
      for (size_t first = 0; first < plane_codes; first += kRowsAtOnce) {
        std::fill(packed.begin(), packed.end(), uint8_t{0});
        for (size_t plane = 0; plane < Codes::kPlanes; ++plane) {
          for (size_t i = 0; i < kRowsAtOnce; ++i) {
            const size_t row = tile * Codes::kBlockCodes + plane * plane_codes + first + i;
            if (row >= end) break;
            weights.UnpackCodes(row, codes);
            uint8_t* to = packed.data() + i * cols_;
            for (size_t c = 0; c < cols_; ++c) {
              to[c] = static_cast<uint8_t>(to[c] | Stored(codes[c]) << (plane * Codes::kBits));
            }
          }
        }
        StoreTransposed(packed, cols_, kRowsAtOnce, run_.Bytes(), bytes_.data() + tile * Codes::kBlockBytes + first);
      }
    }
  }

  template <class T>
  void UnpackFromColumns(size_t row, size_t first, size_t n, T* to) const {
    if constexpr (kCanBeByColumns) {
      for (size_t c = first; c < first + n; ++c) {
        const size_t packed = bytes_[c * run_.Bytes() + run_.Byte(row)];
        const size_t code = (packed >> (run_.Plane(row) * Codes::kBits)) & ((1u << Codes::kBits) - 1);
        const int offset = OffsetTraits<W>::kIsListed ? OffsetTraits<W>::Offset(code) : static_cast<int>(code);
        to[c - first] = LevelFromOffset<T>(offset);
      }
    }
  }

  void StoreLookups(const QuantizedMatrix<W>& weights, size_t begin, size_t end) {
    using Packing = typename Lookups::Packing;
    const size_t units = Lookups::Units(cols_);
    const size_t row_bytes = units * Packing::kUnitVectors;
    std::vector<uint8_t> codes(ElementCount<uint8_t>(Lookups::kUnitCols, units));  // zeros at the end
    std::vector<uint8_t> packed(ElementCount<uint8_t>(kRowsAtOnce, row_bytes));
    for (size_t first = begin; first < end; first += kRowsAtOnce) {
      const size_t count = std::min(kRowsAtOnce, end - first);
      std::fill(packed.begin(), packed.end(), uint8_t{0});
      for (size_t i = 0; i < count; ++i) {
        weights.UnpackCodes(first + i, std::span(codes).first(cols_));
        for (size_t unit = 0; unit < units; ++unit) {
          for (size_t j = 0; j < Packing::kUnitGroups; ++j) {
            Lookups::Store(packed.data() + i * row_bytes + unit * Packing::kUnitVectors, 1, j,
                           codes.data() + (unit * Packing::kUnitGroups + j) * kPlan.group);
          }
        }
      }
      StoreTransposed(packed, row_bytes, count, kVectorBytes, bytes_.data() + Lookups::Offset(cols_, first, 0));
    }
  }
  template <class T>
  void UnpackFromLookups(size_t row, size_t first, size_t n, T* to) const {
    uint8_t codes[kPlan.group];
    for (size_t c = first; c < first + n;) {
      const size_t group = c / kPlan.group;
      const uint8_t* unit = bytes_.data() + Lookups::Offset(cols_, row, group / Lookups::Packing::kUnitGroups);
      Lookups::Load(unit, kVectorBytes, group % Lookups::Packing::kUnitGroups, codes);
      for (; c < first + n && c / kPlan.group == group; ++c) {
        to[c - first] = static_cast<T>(FormatTraits<W>::Level(codes[c % kPlan.group]));
      }
    }
  }

  size_t rows_ = 0;
  size_t cols_ = 0;
  StepLayout steps_layout_;
  WeightLayout layout_ = WeightLayout::kRows;
  PlaneRun<Codes> run_;  // of a row, or of a column
  bool is_finite_ = true;
  AlignedVector<uint8_t> bytes_;
  AlignedVector<float> steps_;
};

// Weights for inputs of the format X: a type of its own, so that no matrix is multiplied with inputs that it was not
// prepared (and checked) for.
template <Operand W, Operand X, class U>
class SimdMatrix : public PackedWeights<FormatOf<W>, PlanProduct<FormatOf<W>, FormatOf<X>>(kTableEntries)> {
 public:
  static constexpr LookupPlan kPlan = PlanProduct<FormatOf<W>, FormatOf<X>>(kTableEntries);
  SimdMatrix() = default;
  SimdMatrix(const QuantizedMatrix<FormatOf<W>>& weights, Executor& executor)
      : PackedWeights<FormatOf<W>, kPlan>(weights,
                                          U::template kHas<ChosenColumns> ? Access::kColumns
                                          : U::template kHas<ChosenRows>  ? Access::kRows
                                                                          : Access::kDense,
                                          executor) {}
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_SIMD_MATRIX_INL_H_
