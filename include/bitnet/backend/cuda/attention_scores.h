// Scores of attention, the first of its phases: of all rows over all tokens they see, and the largest of each span.
// Queries and keys that are levels are multiplied by the matrix unit; where one is reals, in doubles in the
// definition's order (attention_reals.h).
#ifndef BITNET_BACKEND_CUDA_ATTENTION_SCORES_H_
#define BITNET_BACKEND_CUDA_ATTENTION_SCORES_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bitnet/backend/cuda/attention_math.h"
#include "bitnet/backend/cuda/attention_tiles.h"
#include "bitnet/backend/cuda/cache_layout.h"
#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/head_codes.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/format/format.h"

namespace bitnet::cuda {

// A level of a query as signed bytes: the sum over digits of Scale(digit) * Byte(level, digit).
template <LevelFormat Q>
struct QueryDigits {
  using Level = LevelOf<Q>;
  static constexpr int kCount = std::is_same_v<Level, int8_t> ? 1 : std::is_same_v<Level, uint8_t> ? 2 : 3;
  BITNET_HOST_DEVICE static constexpr int Scale(int digit) { return digit == 0 ? 1 : digit == 1 ? 128 : 256; }
  BITNET_HOST_DEVICE static int8_t Byte(int level, int digit) {
    if (kCount == 1) return static_cast<int8_t>(level);
    return static_cast<int8_t>(digit == 0 ? (level & 255) - 128 : digit == 1 ? 1 : level >> 8);
  }
};

template <LevelFormat Q, class Quantizers, class Sum>
struct ScoreCodes {
  using Layout = CacheLayout<Quantizers>;
  using Key = typename Layout::Key;
  using Codes = HeadCodes<Key>;
  using Digits = QueryDigits<Q>;
  static constexpr unsigned kThreads = 256;
  static constexpr unsigned kRows = 16;          // of a tile
  static constexpr unsigned kBundlesOfPart = 4;  // of a key, that the matrix unit takes at a time: one for each lane
  static constexpr unsigned kDimsOfPart = 32 * kBundlesOfPart;
  static constexpr unsigned kTokensOfWarp = 32;
  static constexpr unsigned kWords = Codes::kWords;
  static_assert(kThreads / kWarp * kTokensOfWarp == kPageTokens);

  struct Shared {
    // [digit][row][bundle][i]: byte b is of value 32 bundle + 8 b + i. (A row is 4 words longer, for other banks.)
    alignas(16) uint32_t q[Digits::kCount][kRows][kDimsOfPart / 4 + 4];
    float factor[kRows];
    int32_t q_sum[kRows];
    int32_t first[kRows];  // dots with a first key that lies apart
    SharedRows<kRows> rows;
    float max[kThreads / kWarp][kRows];
  };

  RowsView<Q> q;
  WhereView where;
  typename Layout::View cache;
  AttentionTiles tiles;
  AttentionScratch<Sum> scratch;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    EachRunOfTile(d, tiles, where.places,
                  [&](const AttentionTile& tile, const AttentionRows& rows) { ScoreRows(d, shared, tile, rows); });
  }

 private:
  // What a thread has of the tile's scores: of rows lane / 4 and 8 more, of eight tokens that follow each other.
  static constexpr unsigned kTiles = 4;  // of 8 tokens: those of a warp

  template <class Device>
  BITNET_DEVICE void ScoreRows(Device& d, Shared& shared, const AttentionTile& tile, const AttentionRows& rows) const {
    const uint32_t lane = d.lane();
    const uint32_t quarter = lane % 4;
    const uint32_t first_page = where.Page(rows.first_token, 0);
    DescribeRows(d, shared, tile, rows, first_page);

    float max[2] = {kNoScore, kNoScore};
    for (uint32_t page = tile.first_page; page < tile.end_page && page < rows.pages; ++page) {
      const auto page_begin = page * static_cast<uint32_t>(kPageTokens);
      const std::byte* head = cache.Head(where.Page(rows.first_token, page_begin), tile.kv_head);
      const uint32_t first = d.warp() * kTokensOfWarp;  // token in the page
      const bool is_seen = page_begin + first < rows.visible;

      int32_t dots[kTiles][4] = {};
      for (uint32_t part = 0; part * kDimsOfPart < cache.head_dim; ++part) {
        // The loads of keys come first, to be under way meanwhile.
        const uint32_t bundle = part * kBundlesOfPart + quarter;
        uint32_t words[kWords][kTiles];
        if (is_seen) LoadKeys(d, head, bundle, first, words);
        const bool is_first = part == 0 && page == tile.first_page;
        const bool has_parts = cache.head_dim > kDimsOfPart;
        if (!is_first && has_parts) d.Barrier();
        if (is_first || has_parts) {
          ShareQueries(d, shared, rows, part);
          d.Barrier();
        }
        if (is_seen) MultiplyPart(d, shared, words, dots);
      }
      if (is_seen) StoreScores(d, shared, rows, page, head, first, dots, max);
    }

    BITNET_UNROLL
    for (unsigned half = 0; half < 2; ++half) {
      for (unsigned mask = 1; mask <= 2; mask *= 2) {
        const float other = d.ShuffleXor(max[half], mask);
        max[half] = other > max[half] ? other : max[half];
      }
      if (quarter == 0) shared.max[d.warp()][half * 8 + lane / 4] = max[half];
    }
    StoreMaxima(d, shared.max, shared.rows, tiles, tile, rows, scratch);
  }

  // Factors, sums of levels, dots with the first key: a warp a row.
  template <class Device>
  BITNET_DEVICE void DescribeRows(Device& d, Shared& shared, const AttentionTile& tile, const AttentionRows& rows,
                                  uint32_t first_page) const {
    const bool has_first = Layout::kFirstKeyApart && tile.first_page == 0;
    using FirstKey = KeptLevel<typename Layout::FirstKey>;
    const auto* first = reinterpret_cast<const FirstKey*>(cache.Head(first_page, tile.kv_head) + cache.first_key);
    for (uint32_t row = d.warp(); row < rows.rows; row += kThreads / kWarp) {
      const uint32_t token = rows.Token(row);
      const size_t q_row = size_t{token} * tiles.heads + rows.Head(row);
      const LevelOf<Q>* levels = q.Row(q_row);
      int32_t sum = 0;
      int32_t dot = 0;
      for (uint32_t i = d.lane(); i < cache.head_dim; i += kWarp) {
        sum += levels[i];
        if (has_first) dot += int32_t{levels[i]} * int32_t{first[i]};
      }
      sum = WarpSum(d, sum);
      if (has_first) dot = WarpSum(d, dot);
      if (d.lane() == 0) {
        shared.factor[row] = ScoreFactor(q.Steps(q_row)[0], cache.head_dim);
        shared.rows.Describe(row, tiles, rows, where.places);
        shared.q_sum[row] = sum;
        shared.first[row] = dot;
      }
    }
  }

  // Eight values a thread at a time, to where the matrix unit wants them. Beyond the head they are zero.
  template <class Device>
  BITNET_DEVICE void ShareQueries(Device& d, Shared& shared, const AttentionRows& rows, uint32_t part) const {
    constexpr uint32_t kEights = kDimsOfPart / 8;
    for (uint32_t item = d.thread(); item < rows.rows * kEights; item += kThreads) {
      const uint32_t row = item / kEights;
      const uint32_t eight = item % kEights;
      const LevelOf<Q>* levels = q.Row(size_t{rows.Token(row)} * tiles.heads + rows.Head(row));
      const uint32_t dim = part * kDimsOfPart + eight * 8;
      BITNET_UNROLL
      for (int digit = 0; digit < Digits::kCount; ++digit) {
        auto* to = reinterpret_cast<int8_t*>(&shared.q[digit][row][eight / 4 * 8]) + eight % 4;
        BITNET_UNROLL
        for (uint32_t i = 0; i < 8; ++i) {
          to[4 * i] = dim + i < cache.head_dim ? Digits::Byte(levels[dim + i], digit) : int8_t{0};
        }
      }
    }
  }

  // words[w][j]: word w of a bundle of the token 4 (lane / 4) + j of a warp's. Zero beyond the head.
  template <class Device>
  BITNET_DEVICE void LoadKeys(Device& d, const std::byte* head, uint32_t bundle, uint32_t first,
                              uint32_t (&words)[kWords][kTiles]) const {
    const std::byte* from = head + KeyByteAt<kWords>(4 * bundle, first + d.lane() / 4 * kTiles);
    const bool is_there = bundle < cache.Bundles();
    BITNET_UNROLL
    for (unsigned w = 0; w < kWords; ++w) {
      BITNET_UNROLL
      for (unsigned j = 0; j < kTiles; ++j) words[w][j] = 0;
      if (is_there) d.Load16(words[w], from + w * kKeyWordBytes);
    }
  }

  template <class Device>
  BITNET_DEVICE void MultiplyPart(Device& d, const Shared& shared, const uint32_t (&words)[kWords][kTiles],
                                  int32_t (&dots)[kTiles][4]) const {
    constexpr bool kIsOne = Digits::kCount == 1 && Codes::kParts == 1;
    const uint32_t row = d.lane() / 4;
    const uint32_t word = d.lane() % 4 * 8;
    BITNET_UNROLL
    for (int digit = 0; digit < Digits::kCount; ++digit) {
      uint32_t low[8], high[8];  // of rows `row` and row + 8
      LoadEight(d, &shared.q[digit][row][word], low);
      LoadEight(d, &shared.q[digit][row + 8][word], high);
      BITNET_UNROLL
      for (unsigned j = 0; j < kTiles; ++j) {
        uint32_t of_token[kWords];
        BITNET_UNROLL
        for (unsigned w = 0; w < kWords; ++w) of_token[w] = words[w][j];
        if constexpr (kIsOne) {
          MultiplyToken<0>(d, low, high, of_token, dots[j]);
        } else {
          AddPartsFrom<0>(d, digit, low, high, of_token, dots[j]);
        }
      }
    }
  }
  template <int kPart, class Device>
  static BITNET_DEVICE void AddPartsFrom(Device& d, int digit, const uint32_t (&low)[8], const uint32_t (&high)[8],
                                         const uint32_t (&words)[kWords], int32_t (&dots)[4]) {
    int32_t sums[4] = {};
    MultiplyToken<kPart>(d, low, high, words, sums);
    const int scale = Digits::Scale(digit) * Codes::Scale(kPart);
    BITNET_UNROLL
    for (unsigned i = 0; i < 4; ++i) {
      dots[i] = static_cast<int32_t>(static_cast<uint32_t>(dots[i]) +
                                     static_cast<uint32_t>(scale) * static_cast<uint32_t>(sums[i]));
    }
    if constexpr (kPart + 1 < Codes::kParts) AddPartsFrom<kPart + 1>(d, digit, low, high, words, dots);
  }
  template <int kPart, class Device>
  static BITNET_DEVICE void MultiplyToken(Device& d, const uint32_t (&low)[8], const uint32_t (&high)[8],
                                          const uint32_t (&words)[kWords], int32_t (&sums)[4]) {
    MultiplyValues<kPart, 0>(d, low, high, words, sums);
    MultiplyValues<kPart, 4>(d, low, high, words, sums);
  }
  template <int kPart, unsigned kFirst, class Device>
  static BITNET_DEVICE void MultiplyValues(Device& d, const uint32_t (&low)[8], const uint32_t (&high)[8],
                                           const uint32_t (&words)[kWords], int32_t (&sums)[4]) {
    uint32_t bytes[4];
    Codes::template Unpack<kPart, kFirst, 1>(d, words, bytes);
    BITNET_UNROLL
    for (unsigned i = 0; i < 4; i += 2) {
      const uint32_t a[4] = {low[kFirst + i], high[kFirst + i], low[kFirst + i + 1], high[kFirst + i + 1]};
      const uint32_t b[2] = {bytes[i], bytes[i + 1]};
      d.Mma(sums, a, b);
    }
  }
  template <class Device>
  static BITNET_DEVICE void LoadEight(Device& d, const uint32_t* from, uint32_t (&to)[8]) {
    uint32_t four[2][4];
    d.Load16(four[0], from);
    d.Load16(four[1], from + 4);
    BITNET_UNROLL
    for (unsigned i = 0; i < 8; ++i) to[i] = four[i / 4][i % 4];
  }

  // dots[j][2 half + c] is of row lane / 4 + 8 half and the token 8 (lane % 4) + 4 c + j of the warp's.
  template <class Device>
  BITNET_DEVICE void StoreScores(Device& d, const Shared& shared, const AttentionRows& rows, uint32_t page,
                                 const std::byte* head, uint32_t first, const int32_t (&dots)[kTiles][4],
                                 float (&max)[2]) const {
    constexpr bool kIsOne = Digits::kCount == 1 && Codes::kParts == 1;
    constexpr int kScale = kIsOne ? Codes::Scale(0) : 1;
    const uint32_t at = first + d.lane() % 4 * 8;
    const uint32_t begin = page * static_cast<uint32_t>(kPageTokens) + at;
    float steps[8];
    uint32_t four[2][4];
    d.Load16(four[0], head + cache.key_steps + at * sizeof(float));
    d.Load16(four[1], head + cache.key_steps + (at + 4) * sizeof(float));
    BITNET_UNROLL
    for (unsigned i = 0; i < 8; ++i) steps[i] = BitCast<float>(four[i / 4][i % 4]);
    BITNET_UNROLL
    for (unsigned half = 0; half < 2; ++half) {
      const uint32_t row = d.lane() / 4 + half * 8;
      if (row >= rows.rows || begin >= shared.rows.visible[row]) continue;
      const float factor = shared.factor[row];
      const auto base = static_cast<uint32_t>(Codes::kBase) * static_cast<uint32_t>(shared.q_sum[row]);
      FourFloats scores[2];
      BITNET_UNROLL
      for (unsigned i = 0; i < 8; ++i) {
        auto dot = static_cast<int32_t>(base + static_cast<uint32_t>(kScale) *
                                                   static_cast<uint32_t>(dots[i % 4][2 * half + i / 4]));
        if (Layout::kFirstKeyApart && i == 0 && begin == 0) dot = shared.first[row];
        const float score = ScoreOf(dot, factor * steps[i]);
        scores[i / 4].v[i % 4] = score;
        if (begin + i < shared.rows.visible[row] && score > max[half]) max[half] = score;
      }
      float* to = scratch.scores + size_t{shared.rows.number[row]} * tiles.pages * kPageTokens + begin;
      reinterpret_cast<FourFloats*>(to)[0] = scores[0];
      reinterpret_cast<FourFloats*>(to)[1] = scores[1];
    }
  }
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_ATTENTION_SCORES_H_
