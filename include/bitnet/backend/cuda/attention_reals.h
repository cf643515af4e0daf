// Attention where something is reals. Scores are sums in doubles, in the definition's order, if the query or the keys
// are; sums of values, if the values are. A thread has a token of a page, then a dimension of a head.
#ifndef BITNET_BACKEND_CUDA_ATTENTION_REALS_H_
#define BITNET_BACKEND_CUDA_ATTENTION_REALS_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bitnet/backend/cuda/attention_math.h"
#include "bitnet/backend/cuda/attention_tiles.h"
#include "bitnet/backend/cuda/attention_weights.h"
#include "bitnet/backend/cuda/cache_layout.h"
#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/head_codes.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/format/format.h"

namespace bitnet::cuda {

// What is kept of a real or a level, as a double.
template <class Kept>
BITNET_DEVICE double AsDouble(Kept kept) {
  if constexpr (std::is_integral_v<Kept>) {
    return static_cast<double>(static_cast<int>(kept));
  } else {
    return static_cast<double>(static_cast<float>(kept));
  }
}

// Keys of one page and head, for the threads of which each has a token.
template <class Quantizers>
struct KeysOfTokens {
  using Layout = CacheLayout<Quantizers>;
  using Key = typename Layout::Key;

  const std::byte* head;
  uint32_t token;
  uint32_t head_dim;

  // use(eight, k) for the eights of values of this thread's token, one after the other: k[i] is value 2 i + kOdd of the
  // eight, 0 beyond the head.
  template <unsigned kOdd, class Device, class Use>
  BITNET_DEVICE void EachEight(Device& d, const Use& use) const {
    double k[4];
    if constexpr (kIsFloat<Key>) {
      const auto* reals = reinterpret_cast<const KeptLevel<Key>*>(head);
      for (uint32_t eight = 0; 8 * eight < head_dim; ++eight) {
        BITNET_UNROLL
        for (uint32_t i = 0; i < 4; ++i) {
          const uint32_t dim = 8 * eight + 2 * i + kOdd;
          k[i] = dim < head_dim ? AsDouble(reals[size_t{dim} * kPageTokens + token]) : 0.0;
        }
        use(eight, k);
      }
    } else {
      using Codes = HeadCodes<Key>;
      for (uint32_t bundle = 0; 32 * bundle < head_dim; ++bundle) {
        const auto* from = reinterpret_cast<const uint32_t*>(head + KeyByteAt<Codes::kWords>(4 * bundle, token));
        uint32_t words[Codes::kWords];
        BITNET_UNROLL
        for (unsigned w = 0; w < Codes::kWords; ++w) words[w] = from[w * (kKeyWordBytes / sizeof(uint32_t))];
        uint32_t bytes[Codes::kParts][4];
        Codes::template Unpack<0, kOdd, 2>(d, words, bytes[0]);
        if constexpr (Codes::kParts == 2) Codes::template Unpack<1, kOdd, 2>(d, words, bytes[1]);
        for (uint32_t of_bundle = 0; of_bundle < 4 && 32 * bundle + 8 * of_bundle < head_dim; ++of_bundle) {
          BITNET_UNROLL
          for (uint32_t i = 0; i < 4; ++i) {
            int level = Codes::kBase;
            BITNET_UNROLL
            for (int part = 0; part < Codes::kParts; ++part) {
              level += Codes::Scale(part) * static_cast<int8_t>(bytes[part][i] >> 8 * of_bundle & 0xffu);
            }
            k[i] = 32 * bundle + 8 * of_bundle + 2 * i + kOdd < head_dim ? AsDouble(level) : 0.0;
          }
          use(4 * bundle + of_bundle, k);
        }
      }
    }
  }

  // One value, wherever it is.
  BITNET_DEVICE double At(uint32_t dim) const {
    if constexpr (kIsFloat<Key>) {
      return AsDouble(reinterpret_cast<const KeptLevel<Key>*>(head)[size_t{dim} * kPageTokens + token]);
    } else {
      using Codes = HeadCodes<Key>;
      uint8_t bytes[Codes::kWords];
      const auto* from = reinterpret_cast<const uint8_t*>(head + KeyByteAt<Codes::kWords>(dim / 8, token));
      BITNET_UNROLL
      for (unsigned w = 0; w < Codes::kWords; ++w) bytes[w] = from[w * kKeyWordBytes];
      int levels[8];
      Codes::LevelsOf(bytes, levels);
      int level = 0;
      BITNET_UNROLL
      for (uint32_t i = 0; i < 8; ++i) level = dim % 8 == i ? levels[i] : level;
      return AsDouble(level);
    }
  }
};

// kIsWide: heads of more than kSumBlock values, whose sums have several blocks.
template <Format Q, class Quantizers, class Sum, bool kIsWide>
struct ScoreReals {
  using Layout = CacheLayout<Quantizers>;
  using Keys = KeysOfTokens<Quantizers>;
  static constexpr unsigned kThreads = static_cast<unsigned>(kPageTokens);
  static constexpr unsigned kMinBlocks = 2;
  static constexpr unsigned kRows = 4;  // of a tile
  static constexpr unsigned kWarps = kThreads / kWarp;

  struct NoQueries {};
  struct Queries {
    double values[kRows][kSumBlock];  // 0 beyond the head
  };
  struct Shared {
    std::conditional_t<kIsWide, NoQueries, Queries> q;
    float factor[kRows];
    float first[kRows];  // dots with a first key that lies apart
    SharedRows<kRows> rows;
    float max[kWarps][kRows];
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
  template <class Device>
  BITNET_DEVICE void ScoreRows(Device& d, Shared& shared, const AttentionTile& tile, const AttentionRows& rows) const {
    ShareRows(d, shared, tile, rows);
    d.Barrier();
    const uint32_t end_page = tile.end_page < rows.pages ? tile.end_page : rows.pages;
    float max[kRows];
    BITNET_UNROLL
    for (unsigned row = 0; row < kRows; ++row) max[row] = kNoScore;
    for (uint32_t page = tile.first_page; page < end_page; ++page) {
      const auto page_begin = page * static_cast<uint32_t>(kPageTokens);
      const std::byte* head = cache.Head(where.Page(rows.first_token, page_begin), tile.kv_head);
      float dots[kRows] = {};
      if constexpr (kIsWide) {
        DotsByWarps(d, rows, page_begin, head, dots);
      } else if (page_begin + d.thread() < rows.visible) {
        DotsOfBlock(d, shared, {head, d.thread(), cache.head_dim}, rows.rows, dots);
      }
      const uint32_t position = page_begin + d.thread();
      BITNET_UNROLL
      for (unsigned row = 0; row < kRows; ++row) {
        if (row >= rows.rows || position >= shared.rows.visible[row]) continue;
        const float dot = Layout::kFirstKeyApart && position == 0 ? shared.first[row] : dots[row];
        const float score = dot * (shared.factor[row] * KeyStep(head, d.thread()));
        scratch.scores[size_t{shared.rows.number[row]} * tiles.pages * kPageTokens + position] = score;
        if (score > max[row]) max[row] = score;
      }
    }
    BITNET_UNROLL
    for (unsigned row = 0; row < kRows; ++row) {
      if (row >= rows.rows) continue;
      const float of_warp = WarpMax(d, max[row]);
      if (d.lane() == 0) shared.max[d.warp()][row] = of_warp;
    }
    StoreMaxima(d, shared.max, shared.rows, tiles, tile, rows, scratch);
  }

  BITNET_DEVICE float KeyStep(const std::byte* head, uint32_t token) const {
    if constexpr (kIsFloat<typename Layout::Key>) {
      return 1.0f;
    } else {
      return reinterpret_cast<const float*>(head + cache.key_steps)[token];
    }
  }

  // Queries, factors and dots with the first key: a warp a row.
  template <class Device>
  BITNET_DEVICE void ShareRows(Device& d, Shared& shared, const AttentionTile& tile, const AttentionRows& rows) const {
    const bool has_first = Layout::kFirstKeyApart && tile.first_page == 0;
    const uint32_t row = d.warp();
    if (row >= rows.rows) return;
    const uint32_t token = rows.Token(row);
    const size_t q_row = size_t{token} * tiles.heads + rows.Head(row);
    const LevelOf<Q>* values = q.Row(q_row);
    if constexpr (!kIsWide) {
      for (uint32_t i = d.lane(); i < cache.Bundles() * 32; i += kWarp) {
        shared.q.values[row][i] = i < cache.head_dim ? AsDouble(values[i]) : 0.0;
      }
    }
    float dot = 0.0f;
    if (has_first) {
      using FirstKey = KeptLevel<typename Layout::FirstKey>;
      const auto* first = reinterpret_cast<const FirstKey*>(cache.Head(where.Page(rows.first_token, 0), tile.kv_head) +
                                                            cache.first_key);
      const auto term = [&](uint32_t i) { return AsDouble(values[i]) * AsDouble(first[i]); };
      if constexpr (kIsWide) {
        dot = static_cast<float>(OrderedSumOfWarp(d, cache.head_dim, term));
      } else {
        dot = static_cast<float>(OrderedSumOfBlock(d, cache.head_dim, term));
      }
    }
    if (d.lane() == 0) {
      shared.factor[row] = ScoreFactor(q.Steps(q_row)[0], cache.head_dim);
      shared.rows.Describe(row, tiles, rows, where.places);
      shared.first[row] = dot;
    }
  }

  // Of this thread's token and some rows. Of the eight lanes of each sum first the even ones, then the odd ones.
  template <class Device>
  static BITNET_DEVICE void DotsOfBlock(Device& d, const Shared& shared, const Keys& keys, uint32_t rows,
                                        float (&dots)[kRows]) {
    double even[kRows], odd[kRows];
    SumLanes<0>(d, shared, keys, rows, even);
    SumLanes<1>(d, shared, keys, rows, odd);
    BITNET_UNROLL
    for (unsigned i = 0; i < kRows; ++i) dots[i] = static_cast<float>(even[i] + odd[i]);
  }
  template <unsigned kOdd, class Device>
  static BITNET_DEVICE void SumLanes(Device& d, const Shared& shared, const Keys& keys, uint32_t rows,
                                     double (&sums)[kRows]) {
    double lanes[kRows][4] = {};
    keys.template EachEight<kOdd>(d, [&](uint32_t eight, const double(&k)[4]) {
      BITNET_UNROLL
      for (unsigned i = 0; i < kRows; ++i) {
        if (i >= rows) continue;
        const double* values = &shared.q.values[i][8 * eight + kOdd];
        BITNET_UNROLL
        for (unsigned j = 0; j < 4; ++j) lanes[i][j] += values[2 * j] * k[j];
      }
    });
    BITNET_UNROLL
    for (unsigned i = 0; i < kRows; ++i) sums[i] = (lanes[i][0] + lanes[i][2]) + (lanes[i][1] + lanes[i][3]);
  }

  // The same of wide heads, whose sums have several blocks: a warp for each of its tokens in turn.
  template <class Device>
  BITNET_DEVICE void DotsByWarps(Device& d, const AttentionRows& rows, uint32_t page_begin, const std::byte* head,
                                 float (&dots)[kRows]) const {
    for (uint32_t lane = 0; lane < kWarp; ++lane) {
      const Keys keys = {head, d.warp() * kWarp + lane, cache.head_dim};
      if (page_begin + keys.token >= rows.visible) break;
      BITNET_UNROLL
      for (unsigned i = 0; i < kRows; ++i) {
        if (i >= rows.rows) continue;
        const LevelOf<Q>* values = q.Row(size_t{rows.Token(i)} * tiles.heads + rows.Head(i));
        const double sum =
            OrderedSumOfWarp(d, cache.head_dim, [&](uint32_t dim) { return AsDouble(values[dim]) * keys.At(dim); });
        dots[i] = d.lane() == lane ? static_cast<float>(sum) : dots[i];
      }
    }
  }
};

template <class Quantizers>
struct SumReals {
  using Layout = CacheLayout<Quantizers>;
  static constexpr unsigned kThreads = 256;
  static constexpr unsigned kRows = 8;        // of a tile: one for each warp
  static constexpr unsigned kRowsAtOnce = 4;  // for which a value is read once
  static_assert(kRows == kThreads / kWarp);

  struct Shared {
    alignas(16) SharedProbabilities<kRows> p;
    double totals[kRows];
    SharedRows<kRows> rows;
  };

  WhereView where;
  typename Layout::View cache;
  AttentionTiles tiles;
  AttentionScratch<double> scratch;
  Reals y;  // written where all sequences have one page

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    EachRunOfTile(d, tiles, where.places,
                  [&](const AttentionTile& tile, const AttentionRows& rows) { SumRows(d, shared, tile, rows); });
  }

 private:
  template <class Device>
  BITNET_DEVICE void SumRows(Device& d, Shared& shared, const AttentionTile& tile, const AttentionRows& rows) const {
    const uint32_t end_page = tile.end_page < rows.pages ? tile.end_page : rows.pages;
    const uint32_t row = d.warp();
    float max = kNoScore;
    uint32_t visible = 0;
    const float* scores = nullptr;
    if (row < rows.rows) {
      max = BeginRow(d, shared.rows, row, tiles, rows, where.places, scratch);
      visible = where.places[rows.Token(row)].position + 1;
      scores = scratch.scores + size_t{tiles.RowOf(rows.Token(row), rows.Head(row))} * tiles.pages * kPageTokens;
    }
    for (uint32_t page = tile.first_page; page < end_page; ++page) {
      if (page != tile.first_page) d.Barrier();
      if (row < rows.rows) {
        float p[8];
        ProbabilitiesOfLane(d, scores + page * kPageTokens, max, VisibleInPage(page, visible), p);
        StoreEightFloats(p, &shared.p[row][d.lane() * kTokensOfLane]);
      }
      d.Barrier();
      SumProbabilities<kRows>(d, shared.p, rows.rows, [&](uint32_t r, double sum) {
        shared.totals[r] = sum;
        if (tiles.pages != 1) scratch.totals[size_t{shared.rows.number[r]} * tiles.pages + page] = sum;
      });
      if (tiles.pages == 1) d.Barrier();
      SumPage(d, shared, tile, rows, page);
    }
  }

  // A thread has a dimension, and some of the rows, at most kRowsAtOnce at a time.
  template <class Device>
  BITNET_DEVICE void SumPage(Device& d, const Shared& shared, const AttentionTile& tile, const AttentionRows& rows,
                             uint32_t page) const {
    const std::byte* head =
        cache.Head(where.Page(rows.first_token, page * static_cast<uint32_t>(kPageTokens)), tile.kv_head);
    const auto* values = reinterpret_cast<const KeptLevel<typename Layout::Value>*>(head + cache.values);
    const auto* first_values =
        reinterpret_cast<const KeptLevel<typename Layout::FirstValue>*>(head + cache.first_value);
    const uint32_t padded = (cache.head_dim + kWarp - 1) / kWarp * kWarp;
    const uint32_t width = padded < kThreads ? padded : kThreads;
    const uint32_t teams = kThreads / width;  // of threads that have all dimensions
    const uint32_t team = d.thread() / width;
    if (team >= teams) return;
    const uint32_t of_team = (rows.rows + teams - 1) / teams;
    const uint32_t end_row = (team + 1) * of_team < rows.rows ? (team + 1) * of_team : rows.rows;
    const uint32_t tokens = VisibleInPage(page, rows.visible);
    for (uint32_t dim = d.thread() % width; dim < cache.head_dim; dim += width) {
      for (uint32_t first = team * of_team; first < end_row; first += kRowsAtOnce) {
        double sums[kRowsAtOnce] = {};
        uint32_t visible[kRowsAtOnce];
        BITNET_UNROLL
        for (unsigned i = 0; i < kRowsAtOnce; ++i) {
          visible[i] = first + i < end_row ? VisibleInPage(page, shared.rows.visible[first + i]) : 0;
        }
        for (uint32_t s = 0; s < tokens; ++s) {
          double v = 0.0;
          if (Layout::kFirstValueApart && page == 0 && s == 0) {
            v = AsDouble(first_values[dim]);
          } else {
            v = AsDouble(values[size_t{s} * cache.head_dim + dim]);
          }
          BITNET_UNROLL
          for (unsigned i = 0; i < kRowsAtOnce; ++i) {
            if (s < visible[i]) sums[i] += static_cast<double>(shared.p[first + i][s]) * v;
          }
        }
        BITNET_UNROLL
        for (unsigned i = 0; i < kRowsAtOnce; ++i) {
          const uint32_t row = first + i;
          if (visible[i] == 0) continue;
          if (tiles.pages == 1) {
            y.Row(rows.Token(row))[rows.Head(row) * cache.head_dim + dim] =
                static_cast<float>((0.0 + sums[i]) / (0.0 + shared.totals[row]));
          } else {
            scratch.sums[(size_t{shared.rows.number[row]} * tiles.pages + page) * cache.head_dim + dim] = sums[i];
          }
        }
      }
    }
  }
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_ATTENTION_REALS_H_
