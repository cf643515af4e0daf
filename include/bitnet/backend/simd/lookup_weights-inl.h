// LookupWeights<W, plan>: weights as indices into tables of partial dot products (lookup_plan.h, lookup_layout-inl.h).
// For matrices that are read whole and have one step a row. Few tokens are looked up one after the other, a few blocks
// of rows at a time (dot_lookup-inl.h); for many the indices are unpacked to quads.
#if defined(BITNET_BACKEND_SIMD_LOOKUP_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_LOOKUP_WEIGHTS_INL_H_
#undef BITNET_BACKEND_SIMD_LOOKUP_WEIGHTS_INL_H_
#else
#define BITNET_BACKEND_SIMD_LOOKUP_WEIGHTS_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "bitnet/backend/simd/codes-inl.h"
#include "bitnet/backend/simd/dot_lookup-inl.h"
#include "bitnet/backend/simd/lookup_layout-inl.h"
#include "bitnet/backend/simd/quads-inl.h"
#include "bitnet/backend/simd/scale_dots-inl.h"
#include "bitnet/backend/simd/store_transposed.h"
#include "bitnet/backend/simd/streams.h"
#include "bitnet/backend/simd/weight_steps.h"
#include "bitnet/base/executor.h"
#include "bitnet/base/size.h"
#include "bitnet/format/packing.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/quantized_matrix.h"
#include "bitnet/tensor/step_groups.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

template <LevelFormat W, LookupPlan kPlan>
class LookupQuads;

template <LevelFormat W, LookupPlan kPlan>
class LookupWeights {
  using Layout = LookupLayout<W, kPlan>;
  using Packing = typename Layout::Packing;

 public:
  using Tables = LookupTables<W, kPlan>;
  using Quads = LookupQuads<W, kPlan>;
  // Threads share the rows at multiples of this many.
  static constexpr size_t kRowMultiple = kVectorBytes;

  LookupWeights() = default;
  LookupWeights(const QuantizedMatrix<W>& weights, Executor& executor)
      : rows_(weights.rows()),
        cols_(weights.cols()),
        bytes_(ElementCount<uint8_t>(Layout::Bytes(rows_, cols_))),
        steps_(weights) {
    // (Rows of different blocks share no byte.)
    ParallelRanges(executor, rows_, kRowsAtOnce, kVectorBytes,
                   [&](size_t begin, size_t end) { Store(weights, begin, end); });
  }

  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  size_t StoredBytes() const { return bytes_.size() + steps_.StoredBytes(); }
  StepGroups step_groups() const { return steps_.step_groups(); }
  float Step(size_t row, size_t step_group = 0) const { return steps_.Of(row, step_group); }
  // Those of rows from `row` on, side by side, where each has one, else nullptr: all have Step(0).
  const float* StepsOfRows(size_t row) const { return steps_.OfRows() != nullptr ? steps_.OfRows() + row : nullptr; }
  const uint8_t* Block(size_t block) const { return bytes_.data() + block * Layout::BlockBytes(cols_); }
  Quads quads() const { return Quads(*this); }

  // to[0, n) = levels of a row from column `first` on.
  template <class T>
  void UnpackRow(size_t row, size_t first, size_t n, T* HWY_RESTRICT to) const {
    uint8_t codes[kPlan.group];
    for (size_t c = first; c < first + n;) {
      const size_t group = c / kPlan.group;
      const uint8_t* unit = bytes_.data() + Layout::Offset(cols_, row, group / Packing::kUnitGroups);
      Layout::Load(unit, kVectorBytes, group % Packing::kUnitGroups, codes);
      for (; c < first + n && c / kPlan.group == group; ++c) {
        to[c - first] = static_cast<T>(FormatTraits<W>::Level(codes[c % kPlan.group]));
      }
    }
  }

  // y[begin, end) of each token, by tables(token) and step(token); `begin` is a multiple of kRowMultiple. All tokens
  // look up in some blocks, which are then in a cache, before the next are read.
  template <class TablesOf, class StepOf>
  HWY_NOINLINE void Multiply(size_t begin, size_t end, TablesOf&& tables, StepOf&& step, bool are_floats,
                             MatrixView<float> y) const {
    using Dot = LookupDot<W, kPlan>;
    const size_t block_bytes = Layout::BlockBytes(cols_);
    HWY_ALIGN int32_t dots[Layout::kBlocks * kVectorBytes];
    const size_t end_block = (end + kVectorBytes - 1) / kVectorBytes;
    // As many as there are share tables where those are read as much as weights, of two planes, or do not fit the
    // second-level cache, of many tokens; else few streams are four. (Zen 5, 6912 x 2560, us of 4, 8 and 16 tokens:
    // four blocks 191, 321 and 683, eight 215, 363 and 657.)
    const bool fit = SizeProduct(y.rows(), Tables::Bytes(cols_)) <= kCachedTableBytes;
    const bool are_few = kPlan.planes == 1 && fit && ReadsFewStreamsBest();
    const size_t most = are_few ? std::min<size_t>(Layout::kBlocks, 4) : Layout::kBlocks;
    for (size_t block = begin / kVectorBytes; block < end_block;) {
      const size_t left = end_block - block;
      const size_t blocks = left >= most ? most : left >= Layout::kBlocks / 2 ? Layout::kBlocks / 2 : 1;
      const size_t row = block * kVectorBytes;
      for (size_t t = 0; t < y.rows(); ++t) {
        const bool are_followed = left > blocks && t + 1 == y.rows();
        if (blocks == Layout::kBlocks) {
          Dot::template Run<Layout::kBlocks>(Block(block), block_bytes, are_followed, tables(t), dots);
        } else if (blocks == Layout::kBlocks / 2) {
          Dot::template Run<Layout::kBlocks / 2>(Block(block), block_bytes, are_followed, tables(t), dots);
        } else {
          Dot::template Run<1>(Block(block), block_bytes, are_followed, tables(t), dots);
        }
        StoreDots(dots, row, std::min(blocks * kVectorBytes, rows_ - row), *this, step(t), are_floats, false, y.Row(t));
      }
      block += blocks;
    }
  }

 private:
  static constexpr size_t kCachedTableBytes = size_t{512} << 10;
  // Rows whose bytes in a vector are written at once.
  static constexpr size_t kRowsAtOnce = 16;
  // Whether a byte of packed codes is a group, which is stored in a byte.
  static constexpr bool kBytesAreGroups =
      Packing::kIsByte && bitnet::Packing<W>::kUnitBytes == 1 && bitnet::Packing<W>::kUnitCodes == kPlan.group;

  // What is stored of such a byte.
  static std::array<uint8_t, 256> GroupsOfBytes() {
    std::array<uint8_t, 256> stored{};
    for (size_t byte = 0; byte < stored.size(); ++byte) {
      const auto packed = static_cast<uint8_t>(byte);
      uint8_t codes[kPlan.group];
      bitnet::Packing<W>::Unpack(&packed, 0, codes);
      Layout::Store(&stored[byte], 1, 0, codes);
    }
    return stored;
  }

  void Store(const QuantizedMatrix<W>& weights, size_t begin, size_t end) {
    const size_t units = Layout::Units(cols_);
    const size_t row_bytes = units * Packing::kUnitVectors;
    std::vector<uint8_t> codes(ElementCount<uint8_t>(Layout::kUnitCols, units));  // zeros at the end
    std::vector<uint8_t> packed(ElementCount<uint8_t>(kRowsAtOnce, row_bytes));
    [[maybe_unused]] std::array<uint8_t, 256> of_byte;
    if constexpr (kBytesAreGroups) of_byte = GroupsOfBytes();
    for (size_t first = begin; first < end; first += kRowsAtOnce) {
      const size_t count = std::min(kRowsAtOnce, end - first);
      std::fill(packed.begin(), packed.end(), uint8_t{0});
      for (size_t i = 0; i < count; ++i) {
        uint8_t* const to = packed.data() + i * row_bytes;
        const std::span<const uint8_t> row = weights.RowCodes(first + i);
        size_t unit = 0;
        if constexpr (kBytesAreGroups) {
          for (; (unit + 1) * kPlan.group <= cols_; ++unit) to[unit] = of_byte[row[unit]];
        }
        const size_t col = unit * Layout::kUnitCols;
        bitnet::Packing<W>::Unpack(row.data(), col, std::span(codes).subspan(col, cols_ - col));
        for (; unit < units; ++unit) {
          for (size_t j = 0; j < Packing::kUnitGroups; ++j) {
            Layout::Store(to + unit * Packing::kUnitVectors, 1, j,
                          codes.data() + (unit * Packing::kUnitGroups + j) * kPlan.group);
          }
        }
      }
      StoreTransposed(packed, row_bytes, count, kVectorBytes, bytes_.data() + Layout::Offset(cols_, first, 0));
    }
  }

  size_t rows_ = 0;
  size_t cols_ = 0;
  AlignedVector<uint8_t> bytes_;
  WeightSteps<StepOrder::kByGroup> steps_;
};

template <LevelFormat W, LookupPlan kPlan>
class LookupQuads {
  using Layout = LookupLayout<W, kPlan>;
  using Packing = typename Layout::Packing;
  using Tables = LookupTables<W, kPlan>;
  static constexpr int kMaxOffset = OffsetTraits<W>::kMaxOffset;
  static_assert(kMaxOffset <= 127, "an entry of a table bounds the levels");
  // Units that are whole quads.
  static constexpr size_t kQuadUnits = 4 / std::gcd(size_t{4}, Layout::kUnitCols);
  static constexpr size_t kQuadCols = kQuadUnits * Layout::kUnitCols;
  static constexpr size_t kAmxUnits = kAmxCols / std::gcd(kAmxCols, Layout::kUnitCols);

 public:
  static constexpr bool kIsOrdered = false;
  static constexpr size_t kChunkCols =
      std::max<size_t>(1, 256 / (kAmxUnits * Layout::kUnitCols)) * kAmxUnits * Layout::kUnitCols;

  explicit LookupQuads(const LookupWeights<W, kPlan>& weights) : weights_(weights) {}
  size_t cols() const { return Layout::Units(weights_.cols()) * Layout::kUnitCols; }
  size_t blocks() const { return RowBlocks{weights_.rows()}.Count(); }
  RowRange Rows(size_t block) const { return RowBlocks{weights_.rows()}.Rows(block); }

  HWY_NOINLINE void Fill(size_t block, size_t first, size_t cols, uint8_t* HWY_RESTRICT quads) const {
    HWY_ALIGN uint8_t columns[kQuadCols * kVectorBytes];
    const uint8_t* HWY_RESTRICT from = weights_.Block(block) + first / Layout::kUnitCols * Layout::kUnitBytes;
    const size_t units = cols / Layout::kUnitCols;
    for (size_t unit = 0; unit < units; unit += kQuadUnits) {
      const size_t count = std::min(kQuadUnits, units - unit);
      HWY_UNROLL(4) for (size_t u = 0; u < count; ++u) {
        Unpack(from + (unit + u) * Layout::kUnitBytes, columns + u * Layout::kUnitCols * kVectorBytes);
      }
      std::fill(columns + count * Layout::kUnitCols * kVectorBytes, std::end(columns), uint8_t{0});
      for (size_t c = 0; c < kQuadCols; c += 4) {
        const uint8_t* HWY_RESTRICT four = columns + c * kVectorBytes;
        StoreQuads(hn::LoadU(DU8(), four), hn::LoadU(DU8(), four + kVectorBytes),
                   hn::LoadU(DU8(), four + 2 * kVectorBytes), hn::LoadU(DU8(), four + 3 * kVectorBytes),
                   quads + (unit * Layout::kUnitCols + c) * kVectorBytes);
      }
    }
    // (Whole quads may end beyond the multiple of kAmxCols that follows the columns.)
    const size_t filled = RoundUp(units, kQuadUnits) * Layout::kUnitCols;
    const size_t end = std::max(filled, RoundUp(cols, kAmxCols));
    std::fill(quads + filled * kVectorBytes, quads + end * kVectorBytes, uint8_t{0});
  }

 private:
  // kOffsets[i][entry]: of weight i of the group with this index, its offset; where a sign may follow, its distance
  // from the middle, doubled, which the sign turns around.
  alignas(64) static constexpr auto kOffsets = [] {
    std::array<std::array<uint8_t, Tables::kTableBytes>, kPlan.group> offsets{};
    size_t combinations = 1;
    for (size_t i = 0; i < kPlan.group; ++i, combinations *= FormatTraits<W>::kCount) {
      for (size_t entry = 0; entry < kPlan.entries; ++entry) {
        const int offset = OffsetTraits<W>::Offset(entry / combinations % FormatTraits<W>::kCount);
        offsets[i][entry] = static_cast<uint8_t>(kPlan.mirrored ? 2 * offset - kMaxOffset : offset);
      }
    }
    return offsets;
  }();

  // The offsets of a unit, column by column.
  static HWY_INLINE void Unpack(const uint8_t* HWY_RESTRICT unit, uint8_t* HWY_RESTRICT columns) {
    [&]<size_t... kGroup>(std::index_sequence<kGroup...>) HWY_ATTR {
      (UnpackGroup<kGroup>(unit, columns + kGroup * kPlan.group * kVectorBytes), ...);
    }
    (std::make_index_sequence<Packing::kUnitGroups>());
  }
  template <size_t kGroup>
  static HWY_INLINE void UnpackGroup(const uint8_t* HWY_RESTRICT unit, uint8_t* HWY_RESTRICT columns) {
    const DU8 d;
    const auto index = Packing::template Index<kGroup>(unit);
    HWY_UNROLL(8) for (size_t i = 0; i < kPlan.group; ++i) {
      const auto found = ByteTable<Tables::kTableBytes>::Load(kOffsets[i].data()).Lookup(index);
      auto offset = hn::BitCast(d, Packing::template Signed<kGroup>(unit, found));
      if constexpr (kPlan.mirrored) {
        const auto doubled = hn::Add(offset, hn::Set(d, static_cast<uint8_t>(kMaxOffset)));
        offset = hn::AverageRound(doubled, hn::Zero(d));
      }
      hn::StoreU(offset, d, columns + i * kVectorBytes);
    }
  }

  const LookupWeights<W, kPlan>& weights_;
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_LOOKUP_WEIGHTS_INL_H_
