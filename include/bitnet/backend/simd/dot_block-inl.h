// Integer products of many tokens: a block of N rows is unpacked, for a chunk of columns, to offsets (codes-inl.h) in
// quads, and multiplied with tiles of tokens, whose accumulators stay in registers.
//
// Quads (quads-inl.h) are multiplied by Intel's matrix unit where there is one, else by the dot product of vectors, or
// looked up (block_lookup-inl.h). Unpacking costs as much as multiplying with four tokens, or 60 with the unit.
#if defined(BITNET_BACKEND_SIMD_DOT_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_DOT_BLOCK_INL_H_
#undef BITNET_BACKEND_SIMD_DOT_BLOCK_INL_H_
#else
#define BITNET_BACKEND_SIMD_DOT_BLOCK_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "bitnet/backend/simd/codes-inl.h"
#include "bitnet/backend/simd/input_rows-inl.h"
#include "bitnet/backend/simd/quads-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// Tokens that one unpacking serves: their sums, and a chunk, fit the first-level cache, or, where multiplying costs
// little, the second.
inline constexpr size_t kMostBlockTokens = kVectorBytes == 64 ? 256 : 64;
HWY_INLINE size_t MaxBlockTokens() { return HasMatrixUnit() ? kMostBlockTokens : 64; }

template <LevelFormat W>
class BlockDot {
  static constexpr size_t kTokenTile = kManyRegisters ? 4 : 2;

 public:
  // Offsets in memory, one a byte.
  using Codes = ByteCodes<8, OffsetTraits<W>::kMaxOffset, Unlisted>;
  // sums[t * N + i] = dot of offsets of row i of the block with token first + t of x, for t < tokens; rows of a vector
  // are in the order of OrderSums. `sums` has room for whole tiles, kAmxTokens at most. Inputs are read beyond the last
  // column, whatever they are.
  template <class Quads>
  static HWY_NOINLINE void Run(const Quads& source, size_t block, const InputRows<int8_t>& x, size_t first,
                               size_t tokens, int32_t* HWY_RESTRICT sums) {
    HWY_ALIGN uint8_t quads[Quads::kChunkCols * kVectorBytes];
    std::fill(sums, sums + tokens * kVectorBytes, 0);
    bitnet::detail::AmxTiles unit;
    for (size_t col = 0; col < source.cols(); col += Quads::kChunkCols) {
      const size_t cols = std::min(Quads::kChunkCols, source.cols() - col);
      source.Fill(block, col, cols, quads);
      EachTile(unit, quads, cols, x.Row(first) + col, x.stride, tokens,
               [&](size_t t, size_t, auto&& multiply) HWY_ATTR { multiply(sums + t * kVectorBytes); });
    }
  }

  // For tiles of the tokens, one after the other: f(t, count, multiply), where multiply(sums) does sums[k * N + i] +=
  // dot of row i of the quads of `cols` columns with token t + k of x, k < count; those beyond `tokens` are spare.
  template <class F>
  static HWY_INLINE void EachTile(bitnet::detail::AmxTiles& unit, const uint8_t* HWY_RESTRICT quads, size_t cols,
                                  const int8_t* x, size_t stride, size_t tokens, F&& f) {
    if (HasMatrixUnit()) {
      for (size_t t = 0; t < tokens; t += kAmxTokens) {
        const size_t count = std::min(kAmxTokens, tokens - t);
        f(t, count,
          [&](int32_t* sums) { unit.Add(quads, RoundUp(cols, kAmxCols), x + t * stride, stride, count, sums); });
      }
      return;
    }
    for (size_t t = 0; t < tokens; t += kTokenTile) {
      f(t, kTokenTile, [&](int32_t* sums) {
        const int8_t* tile_inputs[kTokenTile];
        int32_t* tile_sums[kTokenTile];
        for (size_t k = 0; k < kTokenTile; ++k) {
          tile_inputs[k] = x + std::min(t + k, tokens - 1) * stride;
          tile_sums[k] = sums + k * kVectorBytes;
        }
        AddTile(quads, RoundUp(cols, 4), tile_inputs, tile_sums);
      });
    }
  }

 private:
  // sums[t] += dots of the quads of `cols` columns with x[t].
  static HWY_NOINLINE void AddTile(const uint8_t* HWY_RESTRICT quads, size_t cols, const int8_t* const* x,
                                   int32_t* const* sums) {
    using Sum = DotSum<Codes, int8_t>;
    const DI32 d32;
    constexpr size_t kLanes = hn::Lanes(DI32());
    Sum sum[kTokenTile][4];
    const int8_t* HWY_RESTRICT input[kTokenTile];
    HWY_UNROLL(4) for (size_t t = 0; t < kTokenTile; ++t) {
      input[t] = x[t];
      HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) sum[t][j] = {hn::LoadU(d32, sums[t] + j * kLanes), hn::Zero(DI16())};
    }
    const auto step = [&](size_t c) HWY_ATTR {
      hn::Vec<DU8> quad[4];
      HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) quad[j] = hn::LoadU(DU8(), quads + (c + j) * kVectorBytes);
      HWY_UNROLL(4) for (size_t t = 0; t < kTokenTile; ++t) {
        int32_t four;
        std::memcpy(&four, input[t] + c, sizeof(four));
        const auto inputs = hn::BitCast(DI8(), hn::Set(d32, four));
        HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) sum[t][j].Add(quad[j], inputs);
      }
    };
    if constexpr (Sum::kMethod != DotMethod::kPairs) {
      for (size_t c = 0; c < cols; c += 4) {
        step(c);
        HWY_UNROLL(4) for (size_t t = 0; t < kTokenTile; ++t) {
          HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) sum[t][j].sum = KeepInRegister(sum[t][j].sum);
        }
      }
    } else {
      constexpr size_t kSteps = HWY_MIN(Sum::kAddsToFlush, 8);
      for (size_t c = 0; c < cols;) {
        const size_t end = std::min(cols, c + 4 * kSteps);
        for (; c < end; c += 4) step(c);
        HWY_UNROLL(4) for (size_t t = 0; t < kTokenTile; ++t) {
          HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) sum[t][j].Flush();
        }
      }
    }
    HWY_UNROLL(4) for (size_t t = 0; t < kTokenTile; ++t) {
      HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) hn::StoreU(sum[t][j].sum, d32, sums[t] + j * kLanes);
    }
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_DOT_BLOCK_INL_H_
