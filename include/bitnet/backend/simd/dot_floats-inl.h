// Products with a float operand: long sums in eight double lanes, in the order of docs/numerics.md.
#if defined(BITNET_BACKEND_SIMD_DOT_FLOATS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_DOT_FLOATS_INL_H_
#undef BITNET_BACKEND_SIMD_DOT_FLOATS_INL_H_
#else
#define BITNET_BACKEND_SIMD_DOT_FLOATS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "bitnet/backend/simd/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// A register tile: rows x tokens accumulators of Doubles8::kParts registers.
inline constexpr size_t kFloatRowTile = Doubles8::kParts == 4 && !kManyRegisters ? 2 : 4;
inline constexpr size_t kFloatTokenTile = Doubles8::kParts == 1 ? 4 : 1;

// The columns of a tile's call: whole blocks, so that calls are the nodes of one level of the tree.
inline constexpr size_t kFloatChunk = 4 * kSumBlock;

// Accumulators of some tokens with kFloatRowTile rows.
template <size_t kTokens>
using FloatTile = Doubles8[kTokens][kFloatRowTile];

// tile = (kAdd: tile +) the products w[r] x[t] over columns [begin, end), which lie in one block.
template <bool kAdd, class W, class X, size_t kTokens>
HWY_NOINLINE void MultiplyFloatBlock(const W* const* w, const X* const* x, size_t begin, size_t end,
                                     FloatTile<kTokens>& tile) {
  Doubles8 sum[kTokens][kFloatRowTile];
  const W* HWY_RESTRICT row[kFloatRowTile];
  const X* HWY_RESTRICT input[kTokens];
  HWY_UNROLL(4) for (size_t r = 0; r < kFloatRowTile; ++r) row[r] = w[r];
  HWY_UNROLL(4) for (size_t t = 0; t < kTokens; ++t) {
    input[t] = x[t];
    HWY_UNROLL(4) for (size_t r = 0; r < kFloatRowTile; ++r) sum[t][r] = Doubles8::Set(0.0);
  }
  // (All loops over the tile are unrolled, so that it stays in registers.)
  const auto add = [&](auto&& load_weights, auto&& load_inputs) HWY_ATTR {
    Doubles8 inputs[kTokens];
    HWY_UNROLL(4) for (size_t t = 0; t < kTokens; ++t) inputs[t] = load_inputs(input[t]);
    HWY_UNROLL(4) for (size_t r = 0; r < kFloatRowTile; ++r) {
      const Doubles8 weights = load_weights(row[r]);
      HWY_UNROLL(4) for (size_t t = 0; t < kTokens; ++t) sum[t][r] = Doubles8::MulAdd(weights, inputs[t], sum[t][r]);
    }
  };
  size_t i = begin;
  const auto load = [&](const auto* from) HWY_ATTR { return Doubles8::Load(from + i); };
  const auto load_tail = [&](const auto* from) HWY_ATTR { return LoadTail(from + i, end - i); };
  for (; i + kSumLanes <= end; i += kSumLanes) add(load, load);
  if (i < end) add(load_tail, load_tail);
  HWY_UNROLL(4) for (size_t t = 0; t < kTokens; ++t) {
    HWY_UNROLL(4) for (size_t r = 0; r < kFloatRowTile; ++r) tile[t][r] = kAdd ? tile[t][r] + sum[t][r] : sum[t][r];
  }
}

// tile = the products over columns [0, n), n <= kFloatChunk: (block 0 + block 1) + (block 2 + block 3).
template <class W, class X, size_t kTokens>
HWY_NOINLINE void MultiplyFloatChunk(const W* const* w, const X* const* x, size_t n, FloatTile<kTokens>& tile) {
  static_assert(kFloatChunk == 4 * kSumBlock);
  const auto pair = [&](size_t begin, FloatTile<kTokens>& to) HWY_ATTR {
    MultiplyFloatBlock<false, W, X, kTokens>(w, x, begin, HWY_MIN(n, begin + kSumBlock), to);
    begin += kSumBlock;
    if (begin < n) MultiplyFloatBlock<true, W, X, kTokens>(w, x, begin, HWY_MIN(n, begin + kSumBlock), to);
  };
  pair(0, tile);
  if (n <= 2 * kSumBlock) return;
  FloatTile<kTokens> second;
  pair(2 * kSumBlock, second);
  HWY_UNROLL(4) for (size_t t = 0; t < kTokens; ++t) {
    HWY_UNROLL(4) for (size_t r = 0; r < kFloatRowTile; ++r) tile[t][r] = tile[t][r] + second[t][r];
  }
}

// A long sum of products, which come in pieces of any length.
class FloatDot {
 public:
  template <class A, class B>
  void Add(const A* HWY_RESTRICT a, const B* HWY_RESTRICT b, size_t n) {
    for (size_t i = 0; i < n;) {
      const size_t count = HWY_MIN(n - i, kSumBlock - in_block_);
      AddToLanes(a + i, b + i, count);
      i += count;
    }
  }
  // One product, `skipped` zeros after the one before.
  void AddAfter(size_t skipped, double product) {
    for (; skipped >= kSumBlock - in_block_; in_block_ = 0) {
      skipped -= kSumBlock - in_block_;
      EndBlock();
    }
    in_block_ += skipped;
    lanes_.lane[in_block_ % kSumLanes] += product;
    if (++in_block_ == kSumBlock) EndBlock();
  }
  // Rounded to float, as products define it.
  float Total() {
    if (in_block_ != 0) EndBlock();
    return static_cast<float>(blocks_.Total().Fold());
  }

 private:
  void EndBlock() {
    blocks_.Add(lanes_);
    lanes_ = SumLanes();
    in_block_ = 0;
  }

  // `count` products of the block.
  template <class A, class B>
  HWY_NOINLINE void AddToLanes(const A* HWY_RESTRICT a, const B* HWY_RESTRICT b, size_t count) {
    const size_t phase = in_block_;
    const auto add_one = [&](size_t i) HWY_ATTR {
      lanes_.lane[(phase + i) % kSumLanes] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    };
    size_t i = 0;
    for (; i < count && (phase + i) % kSumLanes != 0; ++i) add_one(i);
    if (i + kSumLanes <= count) {
      Doubles8 sum = Doubles8::Load(lanes_.lane);
      for (; i + kSumLanes <= count; i += kSumLanes) {
        sum = Doubles8::MulAdd(Doubles8::Load(a + i), Doubles8::Load(b + i), sum);
      }
      sum.Store(lanes_.lane);
    }
    for (; i < count; ++i) add_one(i);
    in_block_ += count;
    if (in_block_ == kSumBlock) EndBlock();
  }

  SumLanes lanes_;
  size_t in_block_ = 0;
  BlockTree<SumLanes> blocks_;
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_DOT_FLOATS_INL_H_
