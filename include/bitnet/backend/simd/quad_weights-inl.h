// QuadWeights<W>: weights in quads (quad_packing-inl.h), with steps for rows or for groups of columns. For matrices
// that are read whole and not by lookups (dot_quads-inl.h).
//
//   [block of N rows][group of columns]: [steps of the N rows][unit]
//
// A vector of 32-bit lanes is N / 4 rows, so that steps need no sums of lanes. A block is one stream of memory. Units
// begin anew with each group; padding is code 0, whose offset is 0: its inputs do not matter.
//
// Steps of groups that are all halves, as those of public files are, are stored in 16 bits; others in 32.
#if defined(BITNET_BACKEND_SIMD_QUAD_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_QUAD_WEIGHTS_INL_H_
#undef BITNET_BACKEND_SIMD_QUAD_WEIGHTS_INL_H_
#else
#define BITNET_BACKEND_SIMD_QUAD_WEIGHTS_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "bitnet/backend/simd/codes-inl.h"
#include "bitnet/backend/simd/quad_packing-inl.h"
#include "bitnet/backend/simd/quads-inl.h"
#include "bitnet/backend/simd/vectors-inl.h"
#include "bitnet/base/executor.h"
#include "bitnet/base/size.h"
#include "bitnet/format/real16.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/quantized_matrix.h"
#include "bitnet/tensor/step_groups.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

template <LevelFormat W>
class UnpackedQuads;

template <LevelFormat W>
requires(OffsetTraits<W>::kFitsByte) class QuadWeights {
 public:
  // Codes as they are, or offsets of a byte.
  using Packing = QuadPacking<OffsetTraits<W>::kIsCode ? static_cast<size_t>(FormatTraits<W>::kCodeBits) : 8>;
  using Quads = UnpackedQuads<W>;

  QuadWeights() = default;
  QuadWeights(const QuantizedMatrix<W>& weights, Executor& executor)
      : rows_(weights.rows()), step_groups_(weights.step_groups()), has_half_steps_(AreHalves(weights)) {
    const size_t last_cols = cols() - (step_groups_.Count() - 1) * step_groups_.group;
    block_bytes_ =
        SizeSum(SizeProduct(step_groups_.Count() - 1, GroupBytes(step_groups_.group)), GroupBytes(last_cols));
    bytes_.resize(ElementCount<uint8_t>(SizeProduct(blocks(), block_bytes_)));
    ParallelRanges(executor, blocks(), 1, 1, [&](size_t begin, size_t end) {
      for (size_t r = begin * kVectorBytes; r < std::min(rows_, end * kVectorBytes); ++r) Store(weights, r);
    });
  }

  size_t rows() const { return rows_; }
  size_t cols() const { return step_groups_.cols; }
  // Of codes and steps, padding included.
  size_t StoredBytes() const { return bytes_.size(); }
  StepGroups step_groups() const { return step_groups_; }
  float Step(size_t row, size_t step_group = 0) const {
    const uint8_t* steps = Block(row / kVectorBytes) + StepsOffset(step_group);
    const size_t i = row % kVectorBytes;
    return has_half_steps_ ? reinterpret_cast<const Float16*>(steps)[i] : reinterpret_cast<const float*>(steps)[i];
  }

  // Where a row has one step: those of rows from `row` on up to the end of its block, side by side.
  const float* StepsOfRows(size_t row) const {
    return reinterpret_cast<const float*>(Block(row / kVectorBytes)) + row % kVectorBytes;
  }
  // Those of a block's rows and of the rows that it lacks (0): where they lie, or in the buffer.
  const float* StepsOfBlock(size_t block, size_t step_group, float* buffer) const {
    return StepsAt(Block(block) + StepsOffset(step_group), buffer);
  }
  HWY_INLINE const float* StepsAt(const uint8_t* steps, float* HWY_RESTRICT buffer) const {
    if (!has_half_steps_) return reinterpret_cast<const float*>(steps);
    HWY_UNROLL(4) for (size_t i = 0; i < kVectorBytes; i += kVectorBytes / 4) {
      hn::Store(LoadReals(DF32(), reinterpret_cast<const Float16*>(steps) + i), DF32(), buffer + i);
    }
    return buffer;
  }
  Quads quads() const { return Quads(*this); }

  size_t blocks() const { return (rows_ + kVectorBytes - 1) / kVectorBytes; }
  size_t block_bytes() const { return block_bytes_; }
  const uint8_t* Block(size_t block) const { return bytes_.data() + block * block_bytes_; }
  size_t BytesFrom(const uint8_t* at) const { return static_cast<size_t>(bytes_.data() + bytes_.size() - at); }
  // Within a block: the steps of a group, and the unit that has a column.
  size_t StepsOffset(size_t step_group) const { return step_group * GroupBytes(step_groups_.group); }
  size_t UnitOffset(size_t col) const {
    const size_t step_group = step_groups_.Of(col);
    return StepsOffset(step_group) + StepBytes() +
           (col - step_group * step_groups_.group) / Packing::kUnitCols * Packing::kUnitBytes;
  }
  // The column, counted from its group's first, where units begin.
  size_t ColumnInGroup(size_t col) const { return col - step_groups_.Of(col) * step_groups_.group; }

  // to[0, n) = levels of a row from column `first` on.
  template <class T>
  void UnpackRow(size_t row, size_t first, size_t n, T* HWY_RESTRICT to) const {
    const uint8_t* block = Block(row / kVectorBytes);
    for (size_t c = first; c < first + n;) {
      const uint8_t* group = block + StepsOffset(step_groups_.Of(c)) + StepBytes();
      const size_t end = std::min(first + n, step_groups_.End(c));
      for (size_t i = ColumnInGroup(c); c < end; ++c, ++i) {
        const size_t in_unit = i % Packing::kUnitCols;
        const uint8_t* unit = group + i / Packing::kUnitCols * Packing::kUnitBytes;
        const size_t code = Packing::Load(unit + Packing::Offset(row % kVectorBytes, in_unit), in_unit / 4);
        const int offset = OffsetTraits<W>::kIsListed ? OffsetTraits<W>::Offset(code) : static_cast<int>(code);
        to[c - first] = LevelFromOffset<W, T>(offset);
      }
    }
  }

 private:
  static bool AreHalves(const QuantizedMatrix<W>& weights) {
    // (Without an instruction subnormal halves would be lost where subnormal floats are flushed to zero.)
    const auto is_half = [](float step) {
      return std::isfinite(step) && float{Float16::Nearest(step)} == step &&
             (kConvertsFloat16 || step == 0.0f || std::abs(step) >= 0x1p-14f);
    };
    const std::span<const float> steps = weights.steps();
    return weights.step_groups().Count() > 1 && std::all_of(steps.begin(), steps.end(), is_half);
  }
  // Of a group of a block.
  size_t StepBytes() const { return kVectorBytes * (has_half_steps_ ? sizeof(Float16) : sizeof(float)); }
  size_t GroupBytes(size_t cols) const {
    const size_t units = (cols + Packing::kUnitCols - 1) / Packing::kUnitCols;
    return SizeSum(StepBytes(), SizeProduct(Packing::kUnitBytes, units));
  }

  void Store(const QuantizedMatrix<W>& weights, size_t row) {
    std::vector<uint8_t> codes(cols());
    weights.UnpackCodes(row, codes);
    for (uint8_t& code : codes) code = static_cast<uint8_t>(OffsetTraits<W>::Stored(code));
    uint8_t* block = bytes_.data() + row / kVectorBytes * block_bytes_;
    const size_t r = row % kVectorBytes;
    for (size_t s = 0; s < step_groups_.Count(); ++s) {
      const float step = weights.Step(row, s);
      if (has_half_steps_) {
        reinterpret_cast<Float16*>(block + StepsOffset(s))[r] = Float16::Nearest(step);
      } else {
        reinterpret_cast<float*>(block + StepsOffset(s))[r] = step;
      }
      uint8_t* to = block + StepsOffset(s) + StepBytes() + Packing::Offset(r, 0);
      const size_t begin = s * step_groups_.group;
      const size_t end = step_groups_.End(begin);
      for (size_t c = begin; c < end; c += Packing::kUnitCols, to += Packing::kUnitBytes) {
        std::array<uint8_t, Packing::kUnitCols> unit{};
        std::copy_n(codes.data() + c, std::min(Packing::kUnitCols, end - c), unit.data());
        Packing::Store(unit.data(), to);
      }
    }
  }

  size_t rows_ = 0;
  StepGroups step_groups_;
  bool has_half_steps_ = false;
  size_t block_bytes_ = 0;
  AlignedVector<uint8_t> bytes_;
};

// The offsets of quad q, one a byte, of a vector of rows whose vectors begin at `at`.
template <LevelFormat W, size_t q>
HWY_INLINE hn::Vec<DU8> OffsetsOfQuad(const uint8_t* HWY_RESTRICT at) {
  const auto codes = QuadWeights<W>::Packing::template Codes<q>(at);
  if constexpr (OffsetTraits<W>::kIsListed) {
    return CodesOf<W>::OffsetsOf(codes);
  } else {
    return codes;
  }
}

// The quads of some units, in order, of a block. Prefetches as many bytes from `ahead` on: what is unpacked next comes
// from memory while these are multiplied.
template <LevelFormat W>
HWY_NOINLINE void UnpackUnits(const uint8_t* HWY_RESTRICT at, size_t units, const uint8_t* HWY_RESTRICT ahead,
                              uint8_t* HWY_RESTRICT quads) {
  using Packing = typename QuadWeights<W>::Packing;
  for (size_t unit = 0; unit < units; ++unit, at += Packing::kUnitBytes, ahead += Packing::kUnitBytes) {
    for (size_t line = 0; line < Packing::kUnitBytes; line += 64) __builtin_prefetch(ahead + line);
    [&]<size_t... q>(std::index_sequence<q...>) HWY_ATTR {
      const auto unpack = [&]<size_t kQuad>(std::integral_constant<size_t, kQuad>) HWY_ATTR {
        HWY_UNROLL(4) for (size_t v = 0; v < 4; ++v) {
          hn::Store(OffsetsOfQuad<W, kQuad>(at + v * Packing::kUnitVectors * kVectorBytes), DU8(),
                    quads + (kQuad * 4 + v) * kVectorBytes);
        }
      };
      (unpack(std::integral_constant<size_t, q>()), ...);
    }
    (std::make_index_sequence<Packing::kUnitQuads>());
    quads += Packing::kUnitCols * kVectorBytes;
  }
}

template <LevelFormat W>
class UnpackedQuads {
  using Packing = typename QuadWeights<W>::Packing;

 public:
  static constexpr bool kIsOrdered = true;
  static constexpr size_t kChunkCols = 256;
  static_assert(kChunkCols % Packing::kUnitCols == 0 && kAmxCols % Packing::kUnitCols == 0);

  explicit UnpackedQuads(const QuadWeights<W>& weights) : weights_(weights) {}
  size_t cols() const { return weights_.cols(); }
  size_t blocks() const { return weights_.blocks(); }
  RowRange Rows(size_t block) const { return RowBlocks{weights_.rows()}.Rows(block); }

  void Fill(size_t block, size_t first, size_t cols, uint8_t* HWY_RESTRICT quads) const {
    const size_t units = (cols + Packing::kUnitCols - 1) / Packing::kUnitCols;
    const uint8_t* const at = weights_.Block(block) + weights_.UnitOffset(first);
    const size_t bytes = units * Packing::kUnitBytes;
    UnpackUnits<W>(at, units, at + (2 * bytes <= weights_.BytesFrom(at) ? bytes : 0), quads);
    const size_t filled = units * Packing::kUnitCols;
    std::fill(quads + filled * kVectorBytes, quads + RoundUp(cols, kAmxCols) * kVectorBytes, uint8_t{0});
  }

 private:
  const QuadWeights<W>& weights_;
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_QUAD_WEIGHTS_INL_H_
