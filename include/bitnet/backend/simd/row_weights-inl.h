// RowWeights<W>: weights row by row, [row][planes of the row's codes] (planes: codes-inl.h, plane_run-inl.h). For
// matrices of which rows are chosen or looked up, and for what no other layout holds: levels or inputs that do not fit
// a (signed) byte.
#if defined(BITNET_BACKEND_SIMD_ROW_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_ROW_WEIGHTS_INL_H_
#undef BITNET_BACKEND_SIMD_ROW_WEIGHTS_INL_H_
#else
#define BITNET_BACKEND_SIMD_ROW_WEIGHTS_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "bitnet/backend/simd/codes-inl.h"
#include "bitnet/backend/simd/dot_rows-inl.h"
#include "bitnet/backend/simd/input_rows-inl.h"
#include "bitnet/backend/simd/plane_run-inl.h"
#include "bitnet/backend/simd/quads-inl.h"
#include "bitnet/backend/simd/scale_dots-inl.h"
#include "bitnet/backend/simd/weight_steps.h"
#include "bitnet/base/executor.h"
#include "bitnet/base/size.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/quantized_matrix.h"
#include "bitnet/tensor/step_groups.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

template <LevelFormat W>
class RowQuads;

template <LevelFormat W>
class RowWeights {
 public:
  using Level = LevelOf<W>;
  using Codes = CodesOf<W>;
  using Quads = RowQuads<W>;
  // UnpackRow begins at multiples of this many columns.
  static constexpr size_t kUnpackMultiple = Codes::kBlockCodes;
  // Threads share the rows at multiples of this many.
  static constexpr size_t kRowMultiple = kRowTile;

  RowWeights() = default;
  RowWeights(const QuantizedMatrix<W>& weights, Executor& executor)
      : rows_(weights.rows()),
        cols_(weights.cols()),
        run_(cols_),
        bytes_(ElementCount<uint8_t>(SizeSum(SizeProduct(rows_, run_.Bytes()), kReadBeyondRuns))),
        steps_(weights) {
    ParallelRanges(executor, rows_, 16, 1, [&](size_t begin, size_t end) { Store(weights, begin, end); });
  }

  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  // Of codes and steps, padding included.
  size_t StoredBytes() const { return bytes_.size() + steps_.StoredBytes(); }
  StepGroups step_groups() const { return steps_.step_groups(); }
  float Step(size_t row, size_t step_group = 0) const { return steps_.Of(row, step_group); }
  // Those of rows from `row` on, side by side, where each has one, else nullptr: all have Step(0).
  const float* StepsOfRows(size_t row) const { return steps_.OfRows() != nullptr ? steps_.OfRows() + row : nullptr; }
  const auto& steps() const { return steps_; }
  const PlaneRun<Codes>& run() const { return run_; }
  // Kernels may read kReadBeyondRuns bytes past the last.
  const uint8_t* Row(size_t row) const { return bytes_.data() + row * run_.Bytes(); }
  Quads quads() const { return Quads(*this); }

  // to[0, n) = levels of a row from column `first` on, a multiple of kUnpackMultiple, converted to T, which must hold
  // them; `to` has room for n rounded up to whole blocks.
  template <class T>
  HWY_NOINLINE void UnpackRow(size_t row, size_t first, size_t n, T* HWY_RESTRICT to) const {
    size_t i = 0;
    HWY_ALIGN typename Codes::Unpacked offsets[kVectorBytes];
    for (; i < n && (first + i) / Codes::kBlockCodes < run_.whole_blocks;) {
      auto planes = Codes::Block::Load(Row(row) + (first + i) / Codes::kBlockCodes * Codes::kBlockBytes);
      for (size_t p = 0; p < Codes::kPlanes && i < n; ++p, i += kVectorBytes) {
        Codes::StorePlane(planes.Next(), offsets);
        for (size_t j = 0; j < kVectorBytes; ++j) to[i + j] = LevelFromOffset<W, T>(offsets[j]);
      }
    }
    if (i < n) {
      auto planes = Codes::Block::Load(Row(row) + run_.whole_blocks * Codes::kBlockBytes);
      for (size_t p = 0; p < Codes::kPlanes && i < n; ++p, i += run_.tail_bytes) {
        Codes::StorePlane(planes.Next(), offsets);
        for (size_t j = 0; j < run_.tail_bytes; ++j) to[i + j] = LevelFromOffset<W, T>(offsets[j]);
      }
    }
  }

  // y of the listed rows of one token: exact dots of levels, one step a row.
  template <class X>
  HWY_NOINLINE void MultiplyListed(const IndexList& rows, const InputRows<X>& x, size_t token,
                                   float* HWY_RESTRICT y) const {
    if (rows.count == 0) return;
    const int32_t sum = SumOfToken(x, token);
    const float x_step = x.Step(token);
    const auto pack = [&](size_t i) {
      std::array<const uint8_t*, kRowsAtOnce> packed;
      for (size_t k = 0; k < kRowsAtOnce; ++k) packed[k] = Row(rows[std::min(i + k, rows.count - 1)]);
      return packed;
    };
    auto packed = pack(0);
    for (size_t i = 0; i < rows.count; i += kRowsAtOnce) {
      const auto ahead = pack(i + kRowsAtOnce);
      int32_t dots[kRowsAtOnce];
      DotPackedRows<Codes>(packed.data(), ahead.data(), run_, x.Row(token), dots);
      for (size_t k = 0; k < std::min(kRowsAtOnce, rows.count - i); ++k) {
        const size_t row = rows[i + k];
        y[row] = Scaled(Correction<W>::DotOfLevels(dots[k], sum), steps_.Of(row) * x_step);
      }
      packed = ahead;
    }
  }

  // y of rows [begin, end) of all tokens: exact dots of levels, one step a row.
  template <class X>
  HWY_NOINLINE void Multiply(size_t begin, size_t end, const InputRows<X>& x, MatrixView<float> y) const {
    for (size_t first = 0; first < x.tokens; first += kTokenBlock) {
      const size_t tokens = std::min(kTokenBlock, x.tokens - first);
      const X* inputs[kTokenBlock];
      int32_t sums[kTokenBlock];
      for (size_t t = 0; t < tokens; ++t) {
        inputs[t] = x.Row(first + t);
        sums[t] = SumOfToken(x, first + t);
      }
      for (size_t r = begin; r < end; r += kRowTile) {
        const size_t n = std::min(kRowTile, end - r);
        const uint8_t* packed[kRowTile];
        for (size_t k = 0; k < kRowTile; ++k) packed[k] = Row(r + std::min(k, n - 1));
        int32_t dots[kTokenBlock][kRowTile];
        DotPackedRowsTokens<Codes>(packed, run_, cols_, inputs, tokens, dots);
        for (size_t t = 0; t < tokens; ++t) {
          float* to = y.Row(first + t) + r;
          for (size_t k = 0; k < n; ++k) {
            to[k] = Scaled(Correction<W>::DotOfLevels(dots[t][k], sums[t]), steps_.Of(r + k) * x.Step(first + t));
          }
        }
      }
    }
  }

 private:
  template <class X>
  int32_t SumOfToken(const InputRows<X>& x, size_t token) const {
    return Correction<W>::kBottom == 0 ? 0 : SumOfInputs(x.Row(token), cols_);
  }

  void Store(const QuantizedMatrix<W>& weights, size_t begin, size_t end) {
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
            row[byte + i] = static_cast<uint8_t>(row[byte + i] | OffsetTraits<W>::Stored(codes[first + i])
                                                                     << (plane * Codes::kBits));
          }
        });
      }
    }
  }

  size_t rows_ = 0;
  size_t cols_ = 0;
  PlaneRun<Codes> run_;
  AlignedVector<uint8_t> bytes_;
  WeightSteps<StepOrder::kByRow> steps_;
};

// For vectors of 64 bytes (others' dot product needs no quads of rows).
template <LevelFormat W>
class RowQuads {
  using Codes = typename RowWeights<W>::Codes;

 public:
  static constexpr bool kIsOrdered = true;
  static constexpr size_t kChunkCols = HWY_MAX(256, Codes::kBlockCodes);

  explicit RowQuads(const RowWeights<W>& weights) : weights_(weights) {}
  size_t cols() const { return weights_.cols(); }
  size_t blocks() const { return RowBlocks{weights_.rows()}.Count(); }
  RowRange Rows(size_t block) const { return RowBlocks{weights_.rows()}.Rows(block); }

  HWY_NOINLINE void Fill(size_t block, size_t first, size_t cols, uint8_t* HWY_RESTRICT quads) const {
    // Sixteen rows at a time; past the last row, that row again.
    HWY_ALIGN uint8_t rows[16 * (kChunkCols + kVectorBytes)];
    constexpr size_t kStride = kChunkCols + kVectorBytes;
    const size_t whole = RoundUp(cols, kAmxCols);
    for (size_t group = 0; group < 4; ++group) {
      for (size_t r = 0; r < 16; ++r) {
        const size_t row = std::min(block * kVectorBytes + group * 16 + r, weights_.rows() - 1);
        UnpackOffsets<Codes>(weights_.Row(row), weights_.run(), first, cols, rows + r * kStride);
        std::fill(rows + r * kStride + cols, rows + r * kStride + whole, uint8_t{0});
      }
      for (size_t c = 0; c < whole; c += 16) {
        // Transposes 16 x 4 lanes of 32 bits: rows 4b + m of a block b of 16 bytes.
        const auto load = [&](size_t m) HWY_ATTR {
          const hn::Half<DU8> d32;
          const hn::Half<decltype(d32)> d16;
          const uint8_t* HWY_RESTRICT at = rows + m * kStride + c;
          const auto low = hn::Combine(d32, hn::LoadU(d16, at + 4 * kStride), hn::LoadU(d16, at));
          const auto high = hn::Combine(d32, hn::LoadU(d16, at + 12 * kStride), hn::LoadU(d16, at + 8 * kStride));
          return hn::BitCast(DU32(), hn::Combine(DU8(), high, low));
        };
        const DU32 d32;
        const hn::Repartition<uint64_t, DU32> d64;
        const auto a = load(0), b = load(1), e = load(2), f = load(3);
        const auto ab0 = hn::BitCast(d64, hn::InterleaveLower(d32, a, b));
        const auto ab1 = hn::BitCast(d64, hn::InterleaveUpper(d32, a, b));
        const auto ef0 = hn::BitCast(d64, hn::InterleaveLower(d32, e, f));
        const auto ef1 = hn::BitCast(d64, hn::InterleaveUpper(d32, e, f));
        uint8_t* HWY_RESTRICT to = quads + c * kVectorBytes + group * kVectorBytes;
        hn::StoreU(hn::BitCast(DU8(), hn::InterleaveLower(d64, ab0, ef0)), DU8(), to);
        hn::StoreU(hn::BitCast(DU8(), hn::InterleaveUpper(d64, ab0, ef0)), DU8(), to + 4 * kVectorBytes);
        hn::StoreU(hn::BitCast(DU8(), hn::InterleaveLower(d64, ab1, ef1)), DU8(), to + 8 * kVectorBytes);
        hn::StoreU(hn::BitCast(DU8(), hn::InterleaveUpper(d64, ab1, ef1)), DU8(), to + 12 * kVectorBytes);
      }
    }
  }

 private:
  const RowWeights<W>& weights_;
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_ROW_WEIGHTS_INL_H_
