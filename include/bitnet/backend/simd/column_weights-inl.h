// ColumnWeights<W>: weights column by column, [column][planes of the column's codes] (planes: codes-inl.h,
// plane_run-inl.h). For matrices of which only the columns of inputs that are not zero are read (dot_columns-inl.h).
#if defined(BITNET_BACKEND_SIMD_COLUMN_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_COLUMN_WEIGHTS_INL_H_
#undef BITNET_BACKEND_SIMD_COLUMN_WEIGHTS_INL_H_
#else
#define BITNET_BACKEND_SIMD_COLUMN_WEIGHTS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bitnet/backend/simd/codes-inl.h"
#include "bitnet/backend/simd/dot_columns-inl.h"
#include "bitnet/backend/simd/input_rows-inl.h"
#include "bitnet/backend/simd/plane_run-inl.h"
#include "bitnet/backend/simd/quads-inl.h"
#include "bitnet/backend/simd/run_totals-inl.h"
#include "bitnet/backend/simd/scale_dots-inl.h"
#include "bitnet/backend/simd/store_transposed.h"
#include "bitnet/backend/simd/weight_steps.h"
#include "bitnet/base/executor.h"
#include "bitnet/base/size.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/quantized_matrix.h"
#include "bitnet/tensor/step_groups.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

template <LevelFormat W>
class ColumnQuads;

template <LevelFormat W>
requires(OffsetTraits<W>::kFitsByte) class ColumnWeights {
 public:
  using Codes = CodesOf<W>;
  using Quads = ColumnQuads<W>;
  // Rows whose codes share bytes.
  static constexpr size_t kTileRows = Codes::kBlockCodes;

  ColumnWeights() = default;
  ColumnWeights(const QuantizedMatrix<W>& weights, Executor& executor)
      : rows_(weights.rows()),
        cols_(weights.cols()),
        run_(rows_),
        bytes_(ElementCount<uint8_t>(SizeSum(SizeProduct(cols_, run_.Bytes()), kReadBeyondRuns))),
        steps_(weights) {
    // (Rows of different tiles share no byte.)
    ParallelRanges(executor, rows_, kRowsAtOnce, kTileRows,
                   [&](size_t begin, size_t end) { Store(weights, begin, end); });
  }

  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  // Of codes and steps, padding included.
  size_t StoredBytes() const { return bytes_.size() + steps_.StoredBytes(); }
  StepGroups step_groups() const { return steps_.step_groups(); }
  float Step(size_t row, size_t step_group = 0) const { return steps_.Of(row, step_group); }
  // Those of rows from `row` on, side by side, where each has one, else nullptr: all have Step(0).
  const float* StepsOfRows(size_t row) const { return steps_.OfRows() != nullptr ? steps_.OfRows() + row : nullptr; }
  // Those of the rows of a block of Quads; `buffer` has room for N.
  const float* StepsOfBlock(size_t block, size_t step_group, float* HWY_RESTRICT buffer) const {
    const RowRange range = quads().Rows(block);
    const float* of_rows = steps_.OfRows(step_group);
    if (of_rows != nullptr && range.count == kVectorBytes) return of_rows + range.begin;
    std::fill_n(buffer, kVectorBytes, 0.0f);
    for (size_t i = 0; i < range.count; ++i) buffer[i] = Step(range.begin + i, step_group);
    return buffer;
  }
  const PlaneRun<Codes>& run() const { return run_; }
  // The last tile may have fewer rows.
  size_t tiles() const { return (rows_ + kTileRows - 1) / kTileRows; }
  // Kernels may read kReadBeyondRuns bytes past the last.
  const uint8_t* Column(size_t column) const { return bytes_.data() + column * run_.Bytes(); }
  Quads quads() const { return Quads(*this); }

  // to[0, n) = levels of a row from column `first` on.
  template <class T>
  void UnpackRow(size_t row, size_t first, size_t n, T* HWY_RESTRICT to) const {
    for (size_t c = first; c < first + n; ++c) {
      const size_t packed = bytes_[c * run_.Bytes() + run_.Byte(row)];
      const size_t code = (packed >> (run_.Plane(row) * Codes::kBits)) & ((1u << Codes::kBits) - 1);
      const int offset = OffsetTraits<W>::kIsListed ? OffsetTraits<W>::Offset(code) : static_cast<int>(code);
      to[c - first] = LevelFromOffset<W, T>(offset);
    }
  }

  // One step a row: sums (kTileRows of each tile) += some of the columns, for all rows; then y from the sums of `parts`
  // such calls, which lie one after the other.
  template <class X>
  HWY_NOINLINE void AddColumns(const IndexList& columns, const X* HWY_RESTRICT x, int32_t* HWY_RESTRICT sums) const {
    for (size_t tile = 0; tile < tiles(); tile += kTileGroup) {
      AddColumnsOfTiles(tile, std::min(kTileGroup, tiles() - tile), columns, x, sums + tile * kTileRows);
    }
  }
  template <class X>
  HWY_NOINLINE void StoreSums(size_t parts, const InputRows<X>& x, size_t token, int32_t* HWY_RESTRICT sums,
                              float* HWY_RESTRICT y) const {
    const size_t count = tiles() * kTileRows;
    for (size_t part = 1; part < parts; ++part) AddSums(sums + part * count, count, sums);
    const int32_t sum_of_inputs = SumOfToken(x, token);
    for (size_t tile = 0; tile < tiles(); ++tile) {
      StoreTile(tile, x, token, sum_of_inputs, sums + tile * kTileRows, y);
    }
  }

  // y of the rows of tiles [begin, begin + count), at most kTileGroup, of one token, over the listed columns, with
  // steps for groups of columns on either side.
  template <class X>
  HWY_NOINLINE void MultiplyTilesByRuns(size_t begin, size_t count, const IndexList& columns, const InputRows<X>& x,
                                        size_t token, float* HWY_RESTRICT y) const {
    HWY_ALIGN double totals[kTileGroup * kTileRows];
    std::fill(totals, totals + count * kTileRows, 0.0);
    size_t next = 0;
    EachCommonRun(steps_.step_groups(), x.step_groups, [&](size_t, size_t end, size_t ws, size_t xs) HWY_ATTR {
      const size_t first = next;
      while (next < columns.count && columns[next] < end) ++next;
      const IndexList part = columns.Part(first, next - first);
      HWY_ALIGN int32_t sums[kTileGroup * kTileRows];
      std::fill(sums, sums + count * kTileRows, 0);
      AddColumnsOfTiles(begin, count, part, x.Row(token), sums);
      const int32_t sum_of_inputs = Correction<W>::kBottom == 0 ? 0 : SumOfListed(part, x.Row(token));
      for (size_t tile = 0; tile < count; ++tile) {
        HWY_ALIGN int32_t dots[kTileRows];
        HWY_ALIGN float steps[kTileRows] = {};
        const size_t rows = DotsOfTile(begin + tile, sum_of_inputs, sums + tile * kTileRows, dots);
        const float* of_rows = steps_.OfRows(ws);
        if (of_rows == nullptr) {
          std::fill(steps, steps + rows, steps_.Of(0, ws));
        } else if (rows != kTileRows) {
          std::copy_n(of_rows + (begin + tile) * kTileRows, rows, steps);
        } else {
          of_rows += (begin + tile) * kTileRows;
        }
        const bool is_whole = of_rows != nullptr && rows == kTileRows;
        for (size_t i = 0; i < rows; i += kVectorBytes) {
          AddScaled(dots + i, (is_whole ? of_rows : steps) + i, x.Step(token, xs), totals + tile * kTileRows + i);
        }
      }
    });
    const size_t first_row = begin * kTileRows;
    StoreTotals(totals, std::min(count * kTileRows, rows_ - first_row), y + first_row);
  }

  // Tiles whose accumulators are in the first-level cache together.
  static constexpr size_t kTileGroup = 16;

 private:
  // Rows whose bytes in a column are written at once.
  static constexpr size_t kRowsAtOnce = 16;

  template <class X>
  int32_t SumOfToken(const InputRows<X>& x, size_t token) const {
    return Correction<W>::kBottom == 0 ? 0 : SumOfInputs(x.Row(token), cols_);
  }

  // sums of tiles [begin, begin + tiles), at most kTileGroup: += the listed columns.
  template <class X>
  void AddColumnsOfTiles(size_t begin, size_t tiles, const IndexList& columns, const X* HWY_RESTRICT x,
                         int32_t* HWY_RESTRICT sums) const {
    using Dot = ColumnDot<Codes, X>;
    const size_t stride = run_.Bytes();
    const size_t at_once = ColumnsAtOnce(), groups = at_once / Dot::kInGroup;
    const uint8_t* first = Column(0) + begin * Codes::kBlockBytes;
    HWY_ALIGN int32_t dots[kTileGroup * kTileRows];
    for (size_t i = 0; i < columns.count;) {
      std::fill(dots, dots + tiles * kTileRows, 0);
      const size_t end = std::min(columns.count - i, Dot::kMaxColumns) + i;
      ColumnGroup ahead(first, stride, columns, i, at_once);
      for (; i < end; i += at_once) {
        const ColumnGroup group = ahead;
        ahead = ColumnGroup(first, stride, columns, i + at_once, at_once);
        int32_t inputs[Dot::kMostGroups];
        Dot::Gather(columns, i, x, groups, inputs);
        Dot::AddTiles(group, ahead, inputs, groups, tiles, dots);
      }
      Dot::AddDots(dots, tiles, sums);
    }
  }

  // dots (of levels) of a tile's rows in order, from its sums; returns how many. dots has room for kTileRows.
  size_t DotsOfTile(size_t tile, int32_t sum_of_inputs, const int32_t* HWY_RESTRICT sums,
                    int32_t* HWY_RESTRICT dots) const {
    OrderSums<Codes::kPlanes>(sums, dots);
    const size_t rows = std::min(kTileRows, rows_ - tile * kTileRows);
    if (tile >= run_.whole_blocks) {
      // Smaller planes.
      const size_t n = run_.tail_bytes;
      for (size_t p = 1; p < Codes::kPlanes; ++p) {
        std::copy(dots + p * kVectorBytes, dots + p * kVectorBytes + n, dots + p * n);
      }
    }
    for (size_t r = 0; r < kTileRows; ++r) dots[r] = Correction<W>::DotOfLevels(dots[r], sum_of_inputs);
    return rows;
  }

  template <class X>
  void StoreTile(size_t tile, const InputRows<X>& x, size_t token, int32_t sum_of_inputs,
                 const int32_t* HWY_RESTRICT sums, float* HWY_RESTRICT y) const {
    HWY_ALIGN int32_t dots[kTileRows];
    const size_t rows = DotsOfTile(tile, sum_of_inputs, sums, dots);
    StoreDots(dots, tile * kTileRows, rows, *this, x.Step(token), DotsAreFloats<W, X>(cols_), false, y);
  }

  void Store(const QuantizedMatrix<W>& weights, size_t begin, size_t end) {
    std::vector<uint8_t> codes(cols_);
    std::vector<uint8_t> packed(ElementCount<uint8_t>(kRowsAtOnce, cols_));
    for (size_t tile = begin / kTileRows; tile * kTileRows < end; ++tile) {
      const size_t plane_codes = tile < run_.whole_blocks ? kVectorBytes : run_.tail_bytes;
      for (size_t first = 0; first < plane_codes; first += kRowsAtOnce) {
        std::fill(packed.begin(), packed.end(), uint8_t{0});
        for (size_t plane = 0; plane < Codes::kPlanes; ++plane) {
          for (size_t i = 0; i < kRowsAtOnce; ++i) {
            const size_t row = tile * kTileRows + plane * plane_codes + first + i;
            if (row >= end) break;
            weights.UnpackCodes(row, codes);
            uint8_t* to = packed.data() + i * cols_;
            for (size_t c = 0; c < cols_; ++c) {
              to[c] = static_cast<uint8_t>(to[c] | OffsetTraits<W>::Stored(codes[c]) << (plane * Codes::kBits));
            }
          }
        }
        StoreTransposed(packed, cols_, kRowsAtOnce, run_.Bytes(), bytes_.data() + tile * Codes::kBlockBytes + first);
      }
    }
  }

  size_t rows_ = 0;
  size_t cols_ = 0;
  PlaneRun<Codes> run_;
  AlignedVector<uint8_t> bytes_;
  WeightSteps<StepOrder::kByGroup> steps_;
};

// A block is one plane of a tile of rows.
template <LevelFormat W>
class ColumnQuads {
  using Codes = typename ColumnWeights<W>::Codes;

 public:
  static constexpr bool kIsOrdered = false;
  static constexpr size_t kChunkCols = 256;

  explicit ColumnQuads(const ColumnWeights<W>& weights) : weights_(weights) {}
  size_t cols() const { return weights_.cols(); }
  size_t blocks() const { return weights_.tiles() * Codes::kPlanes; }
  RowRange Rows(size_t block) const {
    const size_t tile = block / Codes::kPlanes;
    const size_t plane_codes = tile < weights_.run().whole_blocks ? kVectorBytes : weights_.run().tail_bytes;
    const size_t begin = std::min(weights_.rows(), tile * Codes::kBlockCodes + block % Codes::kPlanes * plane_codes);
    return {begin, std::min(plane_codes, weights_.rows() - begin)};
  }

  HWY_NOINLINE void Fill(size_t block, size_t first, size_t cols, uint8_t* HWY_RESTRICT quads) const {
    const size_t stride = weights_.run().Bytes();
    const uint8_t* HWY_RESTRICT from = weights_.Column(first) + block / Codes::kPlanes * Codes::kBlockBytes;
    const int shift = static_cast<int>(block % Codes::kPlanes * Codes::kBits);
    const auto offsets = [&](size_t c) HWY_ATTR {
      if (c >= cols) return hn::Zero(DU8());
      const auto packed = hn::BitCast(DU16(), hn::LoadU(DU8(), from + c * stride));
      return Codes::OffsetsOf(Codes::LowCodes(hn::BitCast(DU8(), hn::ShiftRightSame(packed, shift))));
    };
    for (size_t c = 0; c < RoundUp(cols, kAmxCols); c += 4) {
      StoreQuads(offsets(c), offsets(c + 1), offsets(c + 2), offsets(c + 3), quads + c * kVectorBytes);
    }
  }

 private:
  const ColumnWeights<W>& weights_;
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_COLUMN_WEIGHTS_INL_H_
