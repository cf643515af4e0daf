// Integer products with weights by rows and one group (the whole row has one step on either side).
//
// One token: packed rows are unpacked in registers and multiplied at once, eight rows at a time so that each vector of
// inputs is loaded once for eight, while the same lines of the next eight are prefetched. More tokens: four rows are
// unpacked to a buffer, then multiplied with tiles of tokens, whose accumulators stay in registers.
#if defined(BITNET_BACKEND_SIMD_DOT_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_DOT_ROWS_INL_H_
#undef BITNET_BACKEND_SIMD_DOT_ROWS_INL_H_
#else
#define BITNET_BACKEND_SIMD_DOT_ROWS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "bitnet/backend/simd/codes-inl.h"
#include "bitnet/backend/simd/plane_run-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

inline constexpr size_t kRowTile = 4;
inline constexpr size_t kTokenTile = kManyRegisters ? 4 : 2;
// Of one token's rows. Memory has more lines under way for eight than for four: 5 to 8 %.
inline constexpr size_t kRowsAtOnce = 8;

// dots[r] = dot of offsets of the packed row rows[r] with x, modulo 2^32, r < kRowsAtOnce. x is readable up to whole
// blocks. Prefetches the rows `ahead`.
template <class Codes, class X>
HWY_NOINLINE void DotPackedRows(const uint8_t* const* HWY_RESTRICT rows, const uint8_t* const* HWY_RESTRICT ahead,
                                const PlaneRun<Codes>& run, const X* HWY_RESTRICT x, int32_t* HWY_RESTRICT dots) {
  using Sum = DotSum<Codes, X>;
  using Block = typename Codes::Block;
  // Codes that are offsets are multiplied in pairs of planes, without a shift between the two: the sums of odd planes
  // are 2^kBits times their dots. That fits 32 bits: DotFits keeps dots of levels below 2^29, offsets are at most twice
  // as large as levels, and half of the columns are in odd planes. (Pairs of bytes have no room for it.)
  constexpr bool kInPlace = [] {
    if constexpr (Codes::kIsByte) {
      return Sum::kMethod == DotMethod::kQuads && Codes::kIsOffset && Codes::kBits <= 2 && kManyRegisters;
    }
    return false;
  }();
  Sum sum[kRowsAtOnce];
  Sum odd[kInPlace ? kRowsAtOnce : 1];
  HWY_UNROLL(8) for (size_t r = 0; r < kRowsAtOnce; ++r) sum[r] = odd[kInPlace ? r : 0] = Sum::Zero();

  const auto add = [&](size_t r, Block block, size_t plane_codes) HWY_ATTR {
    if constexpr (kInPlace) {
      constexpr uint8_t kLow = (1u << Codes::kBits) - 1;
      auto packed = block.packed;
      HWY_UNROLL(4) for (size_t p = 0; p < Codes::kPlanes; p += 2) {
        sum[r].Add(hn::And(packed, hn::Set(DU8(), kLow)), Inputs<Codes, X>::Load(x + p * plane_codes));
        odd[r].Add(hn::And(packed, hn::Set(DU8(), static_cast<uint8_t>(kLow << Codes::kBits))),
                   Inputs<Codes, X>::Load(x + (p + 1) * plane_codes));
        packed = hn::BitCast(DU8(), hn::ShiftRight<2 * Codes::kBits>(hn::BitCast(DU16(), packed)));
      }
      odd[r].sum = KeepInRegister(odd[r].sum);
    } else {
      HWY_UNROLL(8) for (size_t p = 0; p < Codes::kPlanes; ++p) {
        sum[r].Add(block.Next(), Inputs<Codes, X>::Load(x + p * plane_codes));
      }
      sum[r].Flush();
    }
    sum[r].sum = KeepInRegister(sum[r].sum);
  };
  size_t at = 0;
  for (; at < run.whole_blocks * Codes::kBlockBytes; at += Codes::kBlockBytes, x += Codes::kBlockCodes) {
    HWY_UNROLL(8) for (size_t r = 0; r < kRowsAtOnce; ++r) {
      HWY_UNROLL(2) for (size_t line = 0; line < Codes::kBlockBytes; line += 64) {
        if ((at + line) % 64 == 0) __builtin_prefetch(ahead[r] + at + line);
      }
      add(r, Block::Load(rows[r] + at), kVectorBytes);
    }
  }
  if (run.tail_bytes != 0) {
    const size_t n = run.tail_bytes;
    HWY_UNROLL(8) for (size_t r = 0; r < kRowsAtOnce; ++r) {
      if (at % 64 == 0) __builtin_prefetch(ahead[r] + at);
      add(r, Block::LoadTail(rows[r] + at, n), n);
    }
  }
  if constexpr (kInPlace) {
    HWY_UNROLL(8) for (size_t r = 0; r < kRowsAtOnce; ++r) {
      sum[r].sum = hn::Add(sum[r].sum, hn::ShiftRight<Codes::kBits>(odd[r].sum));
    }
  }
  HWY_UNROLL(2) for (size_t r = 0; r < kRowsAtOnce; r += 4) {
    hn::StoreU(SumsOfLanes(sum[r].sum, sum[r + 1].sum, sum[r + 2].sum, sum[r + 3].sum), DI32x4(), dots + r);
  }
}

// dots[t][r] += dot of w + r * w_stride with x[t], over n columns (rounded up to whole vectors).
template <class Codes, class X, size_t kTokens>
HWY_NOINLINE void AddDotTile(const typename Codes::Unpacked* HWY_RESTRICT w, size_t w_stride, const X* const* x,
                             size_t n, int32_t* const* dots) {
  using Sum = DotSum<Codes, X>;
  Sum sum[kTokens][kRowTile];
  const X* HWY_RESTRICT input[kTokens];
  HWY_UNROLL(4) for (size_t t = 0; t < kTokens; ++t) {
    input[t] = x[t];
    HWY_UNROLL(4) for (size_t r = 0; r < kRowTile; ++r) sum[t][r] = Sum::Zero();
  }
  const auto step = [&](size_t i) HWY_ATTR {
    typename Inputs<Codes, X>::V inputs[kTokens];
    HWY_UNROLL(4) for (size_t t = 0; t < kTokens; ++t) inputs[t] = Inputs<Codes, X>::Load(input[t] + i);
    HWY_UNROLL(4) for (size_t r = 0; r < kRowTile; ++r) {
      const auto plane = Codes::LoadPlane(w + r * w_stride + i);
      HWY_UNROLL(4) for (size_t t = 0; t < kTokens; ++t) sum[t][r].Add(plane, inputs[t]);
    }
  };
  if constexpr (Sum::kMethod != DotMethod::kPairs) {
    for (size_t i = 0; i < n; i += kVectorBytes) {
      step(i);
      HWY_UNROLL(4) for (size_t t = 0; t < kTokens; ++t) {
        HWY_UNROLL(4) for (size_t r = 0; r < kRowTile; ++r) sum[t][r].sum = KeepInRegister(sum[t][r].sum);
      }
    }
  } else {
    constexpr size_t kSteps = HWY_MIN(Sum::kAddsToFlush, 8);  // vectors between two flushes
    for (size_t i = 0; i < n;) {
      const size_t end = std::min(n, i + kSteps * kVectorBytes);
      for (; i < end; i += kVectorBytes) step(i);
      HWY_UNROLL(4) for (size_t t = 0; t < kTokens; ++t) {
        HWY_UNROLL(4) for (size_t r = 0; r < kRowTile; ++r) sum[t][r].Flush();
      }
    }
  }
  HWY_UNROLL(4) for (size_t t = 0; t < kTokens; ++t) {
    const auto sums = SumsOfLanes(sum[t][0].sum, sum[t][1].sum, sum[t][2].sum, sum[t][3].sum);
    hn::StoreU(hn::Add(sums, hn::LoadU(DI32x4(), dots[t])), DI32x4(), dots[t]);
  }
}

// For up to kTokenBlock tokens: dots[t][r] of four packed rows. x[t] are the tokens' inputs.
inline constexpr size_t kTokenBlock = 64;

template <class Codes, class X>
HWY_NOINLINE void DotPackedRowsTokens(const uint8_t* const* HWY_RESTRICT rows, const PlaneRun<Codes>& run, size_t cols,
                                      const X* const* x, size_t tokens, int32_t (*HWY_RESTRICT dots)[kRowTile]) {
  // Four rows fit the first-level cache beside the inputs.
  constexpr size_t kChunk = 4096 / sizeof(typename Codes::Unpacked);
  static_assert(kChunk % Codes::kBlockCodes == 0);
  HWY_ALIGN typename Codes::Unpacked w[kRowTile * kChunk + Codes::kBlockCodes];
  for (size_t t = 0; t < tokens; ++t) std::fill(dots[t], dots[t] + kRowTile, 0);
  for (size_t first = 0; first < cols; first += kChunk) {
    const size_t n = std::min(kChunk, cols - first);
    for (size_t r = 0; r < kRowTile; ++r) UnpackOffsets<Codes>(rows[r], run, first, n, w + r * kChunk);
    for (size_t t = 0; t < tokens; t += kTokenTile) {
      // A tile that is not full does its last token's work again, into a spare row.
      int32_t spare[kRowTile] = {};
      const X* inputs[kTokenTile];
      int32_t* sums[kTokenTile];
      for (size_t k = 0; k < kTokenTile; ++k) {
        inputs[k] = x[std::min(t + k, tokens - 1)] + first;
        sums[k] = t + k < tokens ? dots[t + k] : spare;
      }
      if (t + 1 == tokens) {
        AddDotTile<Codes, X, 1>(w, kChunk, inputs, n, sums);
      } else {
        AddDotTile<Codes, X, kTokenTile>(w, kChunk, inputs, n, sums);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_DOT_ROWS_INL_H_
