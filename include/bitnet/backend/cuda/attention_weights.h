// Weights of attention, the second of its phases: the probabilities of a page's tokens for the rows of a tile, and what
// quantized values are multiplied with. A warp has a row, a lane of it eight tokens that follow each other.
#ifndef BITNET_BACKEND_CUDA_ATTENTION_WEIGHTS_H_
#define BITNET_BACKEND_CUDA_ATTENTION_WEIGHTS_H_

#include <cstddef>
#include <cstdint>

#include "bitnet/backend/cuda/attention_math.h"
#include "bitnet/backend/cuda/attention_tiles.h"
#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/long_sum.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/tensor/pages.h"

namespace bitnet::cuda {

inline constexpr unsigned kTokensOfLane = static_cast<unsigned>(kPageTokens) / kWarp;
static_assert(kTokensOfLane == 8);

// How many tokens of a page a row sees, of `visible` of its sequence.
BITNET_DEVICE uint32_t VisibleInPage(uint32_t page, uint32_t visible) {
  const uint32_t before = page * static_cast<uint32_t>(kPageTokens);
  const uint32_t in_page = visible > before ? visible - before : 0;
  return in_page < kPageTokens ? in_page : static_cast<uint32_t>(kPageTokens);
}

// Eight floats at a multiple of 16 bytes.
template <class Device>
BITNET_DEVICE void LoadEightFloats(Device& d, const void* from, float (&to)[8]) {
  uint32_t four[2][4];
  d.Load16(four[0], from);
  d.Load16(four[1], static_cast<const std::byte*>(from) + 16);
  BITNET_UNROLL
  for (unsigned i = 0; i < 8; ++i) to[i] = BitCast<float>(four[i / 4][i % 4]);
}

// The largest score of a row, which sees so many spans; all threads of a warp have it.
template <class Device>
BITNET_DEVICE float LargestScore(Device& d, const float* maxima, uint32_t spans) {
  float max = kNoScore;
  for (uint32_t i = d.lane(); i < spans; i += kWarp) max = maxima[i] > max ? maxima[i] : max;
  return WarpMax(d, max);
}

// The largest score of a row of the block's run, by its warp, which describes the row in shared memory.
template <unsigned kRows, class Device, class Sum>
BITNET_DEVICE float BeginRow(Device& d, SharedRows<kRows>& shared, uint32_t row, const AttentionTiles& tiles,
                             const AttentionRows& rows, const Place* places, const AttentionScratch<Sum>& scratch) {
  const uint32_t spans = (AttentionRows::PagesOf(places[rows.Token(row)].position + 1) - 1) / tiles.span + 1;
  if (d.lane() == 0) shared.Describe(row, tiles, rows, places);
  return LargestScore(d, scratch.maxima + size_t{tiles.RowOf(rows.Token(row), rows.Head(row))} * tiles.spans, spans);
}

// p[i] of the lane's eight tokens, of which the page has `visible`; 0 for others.
template <class Device>
BITNET_DEVICE void ProbabilitiesOfLane(Device& d, const float* scores, float max, uint32_t visible, float (&p)[8]) {
  float of_lane[8];
  const uint32_t first = d.lane() * kTokensOfLane;
  if (first < visible) LoadEightFloats(d, scores + first, of_lane);
  BITNET_UNROLL
  for (unsigned i = 0; i < 8; ++i) p[i] = first + i < visible ? ProbabilityByFloats(of_lane[i], max) : 0.0f;
}

// Probabilities of a tile's rows in shared memory. (A row is 8 longer than a page, for other banks.)
template <unsigned kRows>
using SharedProbabilities = float[kRows][kPageTokens + 8];

BITNET_DEVICE void StoreEightFloats(const float (&from)[8], float* to) {
  reinterpret_cast<FourFloats*>(to)[0] = {from[0], from[1], from[2], from[3]};
  reinterpret_cast<FourFloats*>(to)[1] = {from[4], from[5], from[6], from[7]};
}

// use(row, the sum of its probabilities), by some thread for each row. Sums are OrderedSum's: eight chains a row. (What
// is not visible is +0 here, which changes no sum.)
template <unsigned kRows, class Device, class Use>
BITNET_DEVICE void SumProbabilities(Device& d, const SharedProbabilities<kRows>& p, uint32_t rows, const Use& use) {
  const uint32_t row = d.thread() / kChainsOfBlock;
  if (d.warp() * kBlocksOfWarp >= rows) return;
  double chain = 0.0;
  for (unsigned i = d.thread() % kChainsOfBlock; i < kPageTokens; i += kChainsOfBlock) {
    chain += static_cast<double>(p[row][i]);
  }
  const double sum = FoldLanes(d, chain);
  if (row < rows && d.lane() % kChainsOfBlock == 0) use(row, sum);
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_ATTENTION_WEIGHTS_H_
