// Sums of values, the second phase of attention, for values that are levels: in each page exact integers, by the matrix
// unit. Its other operand are the weights, negated, in two signed digits: of what is negated 32767 fits, too.
#ifndef BITNET_BACKEND_CUDA_ATTENTION_VALUES_H_
#define BITNET_BACKEND_CUDA_ATTENTION_VALUES_H_

#include <cmath>
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
#include "bitnet/quant/scale_rule.h"

namespace bitnet::cuda {

// What sums of values within a page are kept in until they are merged: integers in units, which 32 bits hold for levels
// of up to 8 bits; or doubles.
template <Format V, Format V0>
struct ValueSums {
  using Type = double;
  static constexpr bool kFits32Bits = false;
};
template <LevelFormat V, LevelFormat V0>
struct ValueSums<V, V0> {
  static constexpr int kMaxMagnitude = FormatTraits<V>::kMaxMagnitude > FormatTraits<V0>::kMaxMagnitude
                                           ? FormatTraits<V>::kMaxMagnitude
                                           : FormatTraits<V0>::kMaxMagnitude;
  static constexpr bool kFits32Bits = int64_t{kMaxMagnitude} * kMaxWeight * int64_t{kPageTokens} <= 0x7fffffff;
  using Type = std::conditional_t<kFits32Bits, int32_t, double>;
};
template <class Quantizers>
using ValueSum =
    typename ValueSums<typename Quantizers::Formats::Value, typename Quantizers::Formats::FirstValue>::Type;

template <class Quantizers, unsigned kRows_>
struct SumCodes {
  using Layout = CacheLayout<Quantizers>;
  using Value = typename Layout::Value;
  using Codes = HeadCodes<Value>;
  using Sum = ValueSum<Quantizers>;
  static constexpr unsigned kThreads = 256;
  static constexpr unsigned kRows = kRows_;  // of a tile: 8 or 16
  static constexpr unsigned kSets = kRows / 8;
  static constexpr unsigned kWarps = kThreads / kWarp;
  static constexpr unsigned kWords = Codes::kWords;
  // The matrix unit takes, for eight rows, 64 tokens by 64 values: a bundle for each lane, four times.
  static constexpr unsigned kTokensOfItem = 64;
  static constexpr unsigned kItemsOfPage = static_cast<unsigned>(kPageTokens) / kTokensOfItem;
  static constexpr unsigned kDimsOfItem = 64;
  static constexpr unsigned kAtOnce = 4 / kSets;  // of the eight sums that a bundle adds to
  static constexpr unsigned kDimsOfPart = 128;    // whose sums are in shared memory at a time
  using Modular = std::conditional_t<std::is_same_v<Sum, int32_t>, uint32_t, uint64_t>;

  struct Shared {
    alignas(16) SharedProbabilities<kRows> p;
    // Of each row the high and the low digits of -weight, four tokens to a word. (16 words longer, for other banks.)
    alignas(16) uint32_t digits[kRows][2 * kPageTokens / 4 + 16];
    Modular sums[kRows][kDimsOfPart];
    double totals[kRows];
    double units[kRows];
    int32_t weight_sums[kRows];
    int32_t first_weights[kRows];  // of a first token that lies apart
    SharedRows<kRows> rows;
    uint32_t is_deep;  // whether a weight is beyond the digits
  };

  WhereView where;
  typename Layout::View cache;
  AttentionTiles tiles;
  AttentionScratch<Sum> scratch;
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
    // Of the rows of this warp.
    float max[kSets];
    double units[kSets];
    BITNET_UNROLL
    for (unsigned set = 0; set < kSets; ++set) {
      max[set] = kNoScore;
      units[set] = 0.0;
      const uint32_t row = d.warp() + set * kWarps;
      if (row >= rows.rows) continue;
      max[set] = BeginRow(d, shared.rows, row, tiles, rows, where.places, scratch);
    }
    const uint32_t parts = (cache.head_dim + kDimsOfPart - 1) / kDimsOfPart;
    for (uint32_t page = tile.first_page; page < end_page; ++page) {
      const uint32_t page_number = where.Page(rows.first_token, page * static_cast<uint32_t>(kPageTokens));
      const std::byte* head = cache.Head(page_number, tile.kv_head);
      if (d.thread() == 0) shared.is_deep = 0;
      d.Barrier();  // and all have done with the page before
      BITNET_UNROLL
      for (unsigned set = 0; set < kSets; ++set) {
        const uint32_t row = d.warp() + set * kWarps;
        if (row < rows.rows) units[set] = Weigh(d, shared, row, page, head, max[set]);
      }
      // Weights below -32639, which negative steps alone give, are beyond two digits: what is left of them is another
      // round.
      bool is_deep = false;
      for (uint32_t part = 0; part < parts; ++part) {
        ClearSums(d, shared);
        for (unsigned round = 0; round == 0 || (round == 1 && is_deep); ++round) {
          const bool is_first = part == 0 && round == 0;
          BITNET_UNROLL
          for (unsigned set = 0; set < kSets; ++set) {
            const uint32_t row = d.warp() + set * kWarps;
            if (row < rows.rows && (is_first || is_deep)) {
              ShareDigits(d, shared, row, page, head, units[set], round, is_first);
            }
          }
          d.Barrier();
          if (is_first) {
            is_deep = shared.is_deep != 0;
            SumProbabilities<kRows>(d, shared.p, rows.rows,
                                    [&](uint32_t row, double sum) { shared.totals[row] = sum; });
          }
          Multiply(d, shared, rows, page, head, part);
          d.Barrier();
        }
        StoreSums(d, shared, tile, rows, page, page_number, part);
      }
    }
  }

  // weights[i] = p[i] * step of the lane's tokens.
  template <class Device>
  BITNET_DEVICE void WeightsOfLane(Device& d, const float (&p)[8], uint32_t visible, const std::byte* head,
                                   float (&weights)[8]) const {
    float steps[8];
    const uint32_t first = d.lane() * kTokensOfLane;
    LoadEightFloats(d, head + cache.value_steps + first * sizeof(float), steps);
    BITNET_UNROLL
    for (unsigned i = 0; i < 8; ++i) weights[i] = first + i < visible ? p[i] * steps[i] : 0.0f;
  }

  // Probabilities of a row, by its warp. Returns the unit of its weights.
  template <class Device>
  BITNET_DEVICE double Weigh(Device& d, Shared& shared, uint32_t row, uint32_t page, const std::byte* head,
                             float max) const {
    const uint32_t visible = VisibleInPage(page, shared.rows.visible[row]);
    const float* scores = scratch.scores + (size_t{shared.rows.number[row]} * tiles.pages + page) * kPageTokens;
    float p[8], weights[8];
    ProbabilitiesOfLane(d, scores, max, visible, p);
    StoreEightFloats(p, &shared.p[row][d.lane() * kTokensOfLane]);
    WeightsOfLane(d, p, visible, head, weights);
    uint32_t largest = 0;
    BITNET_UNROLL
    for (unsigned i = 0; i < 8; ++i) {
      const uint32_t bits = MagnitudeBits(weights[i]);
      largest = bits > largest ? bits : largest;
    }
    const double unit = WeightUnit(BitCast<float>(WarpMax(d, largest)));
    if (d.lane() == 0) shared.units[row] = unit;
    return unit;
  }

  // The digits of a row's weights, by its warp: of what two digits hold, and then of what they do not. At first, what
  // else is wanted of the weights.
  template <class Device>
  BITNET_DEVICE void ShareDigits(Device& d, Shared& shared, uint32_t row, uint32_t page, const std::byte* head,
                                 double unit, unsigned round, bool is_first) const {
    constexpr int32_t kLowest = -32639;
    const uint32_t visible = VisibleInPage(page, shared.rows.visible[row]);
    const UnitsOf in_units = UnitsOf::Unit(unit);
    float p[8], weights[8];
    LoadEightFloats(d, &shared.p[row][d.lane() * kTokensOfLane], p);
    WeightsOfLane(d, p, visible, head, weights);
    uint32_t high[2] = {}, low[2] = {};
    int32_t sum = 0;
    bool is_deep = false;
    BITNET_UNROLL
    for (unsigned i = 0; i < 8; ++i) {
      int32_t weight = in_units(weights[i]);
      if (Layout::kFirstValueApart && page == 0 && i == 0 && d.lane() == 0) {
        if (is_first) shared.first_weights[row] = weight;
        weight = 0;
      }
      sum += weight;
      is_deep = is_deep || weight < kLowest;
      const int32_t held = weight < kLowest ? kLowest : weight;
      const int32_t minus = round == 0 ? -held : held - weight;
      const auto digit = static_cast<int8_t>(minus);
      low[i / 4] |= (static_cast<uint32_t>(minus) & 0xffu) << 8 * (i % 4);
      high[i / 4] |= (static_cast<uint32_t>((minus - digit) / 256) & 0xffu) << 8 * (i % 4);
    }
    uint32_t* to = shared.digits[row];
    BITNET_UNROLL
    for (unsigned k = 0; k < 2; ++k) {
      to[2 * d.lane() + k] = high[k];
      to[kPageTokens / 4 + 2 * d.lane() + k] = low[k];
    }
    if (!is_first) return;
    sum = WarpSum(d, sum);
    if (d.lane() == 0) shared.weight_sums[row] = sum;
    if (is_deep) d.AtomicMax(&shared.is_deep, 1u);
  }

  // (A thread clears no others than it has stored: only of the last part is less stored.)
  template <class Device>
  BITNET_DEVICE void ClearSums(Device& d, Shared& shared) const {
    for (uint32_t i = d.thread(); i < kRows * kDimsOfPart; i += kThreads) {
      shared.sums[i / kDimsOfPart][i % kDimsOfPart] = 0;
    }
  }

  // sums -= digits times values: a warp has 64 tokens by 64 values at a time.
  template <class Device>
  BITNET_DEVICE void Multiply(Device& d, Shared& shared, const AttentionRows& rows, uint32_t page,
                              const std::byte* head, uint32_t part) const {
    const uint32_t visible = VisibleInPage(page, rows.visible);
    for (uint32_t item = d.warp(); item < kItemsOfPage * (kDimsOfPart / kDimsOfItem); item += kWarps) {
      const uint32_t first = item % kItemsOfPage * kTokensOfItem;
      const uint32_t eight = (part * kDimsOfPart + item / kItemsOfPage * kDimsOfItem) / 8;
      if (first >= visible || eight >= cache.Eights()) continue;
      uint32_t words[kWords][4];
      LoadValues(d, head, eight + d.lane() / 4, first + d.lane() % 4 * 16, words);
      uint32_t a[kSets][2][4];
      BITNET_UNROLL
      for (unsigned set = 0; set < kSets; ++set) {
        const uint32_t* digits = shared.digits[set * 8 + d.lane() / 4] + first / 4 + d.lane() % 4 * 4;
        uint32_t high[4], low[4];
        d.Load16(high, digits);
        d.Load16(low, digits + kPageTokens / 4);
        BITNET_UNROLL
        for (unsigned k = 0; k < 2; ++k) {
          a[set][k][0] = high[2 * k];
          a[set][k][1] = low[2 * k];
          a[set][k][2] = high[2 * k + 1];
          a[set][k][3] = low[2 * k + 1];
        }
      }
      MultiplyPartsFrom<0, 0>(d, shared, rows, item / kItemsOfPage * kDimsOfItem, words, a);
    }
  }

  // words[w][k]: word w of the bundle of eight values of four tokens, 4 k after the first.
  template <class Device>
  BITNET_DEVICE void LoadValues(Device& d, const std::byte* head, uint32_t eight, uint32_t first,
                                uint32_t (&words)[kWords][4]) const {
    const std::byte* from = head + cache.values + ValueByteAt<kWords>(eight, first);
    const bool is_there = eight < cache.Eights();
    BITNET_UNROLL
    for (unsigned w = 0; w < kWords; ++w) {
      BITNET_UNROLL
      for (unsigned k = 0; k < 4; ++k) words[w][k] = 0;
      if (is_there) d.Load16(words[w], from + w * kPageTokens);
    }
  }

  // Of each eight of values, kAtOnce from kFirst on at a time.
  template <int kPart, unsigned kFirst, class Device>
  BITNET_DEVICE void MultiplyPartsFrom(Device& d, Shared& shared, const AttentionRows& rows, uint32_t dim,
                                       const uint32_t (&words)[kWords][4], const uint32_t (&a)[kSets][2][4]) const {
    int32_t sums[kSets][kAtOnce][4] = {};
    BITNET_UNROLL
    for (unsigned k = 0; k < 2; ++k) {
      uint32_t bytes[2][kAtOnce];
      BITNET_UNROLL
      for (unsigned four = 0; four < 2; ++four) {
        uint32_t of_bundle[kWords];
        BITNET_UNROLL
        for (unsigned w = 0; w < kWords; ++w) of_bundle[w] = words[w][2 * k + four];
        Codes::template Unpack<kPart, kFirst, 1>(d, of_bundle, bytes[four]);
      }
      BITNET_UNROLL
      for (unsigned i = 0; i < kAtOnce; ++i) {
        const uint32_t b[2] = {bytes[0][i], bytes[1][i]};
        BITNET_UNROLL
        for (unsigned set = 0; set < kSets; ++set) {
          if (set * 8 < rows.rows) d.Mma(sums[set][i], a[set][k], b);
        }
      }
    }
    // sums[set][i][c] is of the row lane / 4, of values 8 (2 (lane % 4) + c) + kFirst + i; with 2 + c, of low digits.
    BITNET_UNROLL
    for (unsigned set = 0; set < kSets; ++set) {
      const uint32_t row = set * 8 + d.lane() / 4;
      if (row >= rows.rows) continue;
      BITNET_UNROLL
      for (unsigned c = 0; c < 2; ++c) {
        Modular* to = &shared.sums[row][dim + 8 * (d.lane() % 4 * 2 + c) + kFirst];
        BITNET_UNROLL
        for (unsigned i = 0; i < kAtOnce; ++i) {
          const auto sum = static_cast<Modular>(-(256 * sums[set][i][c] + sums[set][i][2 + c]));
          d.AtomicAdd(to + i, static_cast<Modular>(sum * static_cast<Modular>(Codes::Scale(kPart))));
        }
      }
    }
    if constexpr (kFirst + kAtOnce < 8) {
      MultiplyPartsFrom<kPart, kFirst + kAtOnce>(d, shared, rows, dim, words, a);
    } else if constexpr (kPart + 1 < Codes::kParts) {
      MultiplyPartsFrom<kPart + 1, 0>(d, shared, rows, dim, words, a);
    }
  }

  template <class Device>
  BITNET_DEVICE void StoreSums(Device& d, Shared& shared, const AttentionTile& tile, const AttentionRows& rows,
                               uint32_t page, uint32_t page_number, uint32_t part) const {
    const uint32_t begin = part * kDimsOfPart;
    const uint32_t dims = cache.head_dim - begin < kDimsOfPart ? cache.head_dim - begin : kDimsOfPart;
    using FirstValue = KeptLevel<typename Layout::FirstValue>;
    const auto* first_values =
        reinterpret_cast<const FirstValue*>(cache.Head(page_number, tile.kv_head) + cache.first_value);
    for (uint32_t i = d.thread(); i < rows.rows * dims; i += kThreads) {
      const uint32_t row = i / dims;
      const uint32_t dim = i % dims;
      if (VisibleInPage(page, shared.rows.visible[row]) == 0) continue;
      Modular sum = shared.sums[row][dim];
      sum += static_cast<Modular>(Codes::kBase) * static_cast<Modular>(shared.weight_sums[row]);
      if (Layout::kFirstValueApart && page == 0) {
        sum += static_cast<Modular>(shared.first_weights[row]) * static_cast<Modular>(first_values[begin + dim]);
      }
      const auto exact = static_cast<std::make_signed_t<Modular>>(sum);
      if (tiles.pages == 1) {
        const double value = 0.0 + static_cast<double>(exact) * shared.units[row];
        y.Row(rows.Token(row))[rows.Head(row) * cache.head_dim + begin + dim] =
            static_cast<float>(value / (0.0 + shared.totals[row]));
      } else {
        const size_t row_page = size_t{shared.rows.number[row]} * tiles.pages + page;
        scratch.sums[row_page * cache.head_dim + begin + dim] = static_cast<Sum>(exact);
        if (dim == 0) {
          scratch.totals[row_page] = shared.totals[row];
          scratch.units[row_page] = shared.units[row];
        }
      }
    }
  }
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_ATTENTION_VALUES_H_
