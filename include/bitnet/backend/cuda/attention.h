// Attention over the cache, in two phases without rescaling and one to merge:
//
//   ScoreCodes or ScoreReals    all scores of a page for a tile of rows, and the largest
//   SumCodes or SumReals        probabilities by the largest of all, and sums of values within each page
//   MergePages                  the sums of pages, in order, and the quotient
//
// (Where no sequence has more than a page, the second is the last.) Scores and sums go through memory, of which the
// stream has a bounded part: long passes are cut into slices of tokens.
#ifndef BITNET_BACKEND_CUDA_ATTENTION_H_
#define BITNET_BACKEND_CUDA_ATTENTION_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "bitnet/backend/cuda/attention_reals.h"
#include "bitnet/backend/cuda/attention_scores.h"
#include "bitnet/backend/cuda/attention_tiles.h"
#include "bitnet/backend/cuda/attention_values.h"
#include "bitnet/backend/cuda/cache_layout.h"
#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/objects.h"
#include "bitnet/backend/cuda/scratch.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/backend/definitions.h"
#include "bitnet/base/size.h"
#include "bitnet/format/format.h"
#include "bitnet/tensor/operand.h"

namespace bitnet::cuda {

// y = the sums of pages, added in order, by the sum of probabilities: a block a row.
template <class Quantizers>
struct MergePages {
  using Layout = CacheLayout<Quantizers>;
  using Sum = ValueSum<Quantizers>;
  static constexpr bool kHasUnits = !kIsFloat<typename Layout::Value>;
  static constexpr unsigned kThreads = 128;
  using Shared = NoShared;

  const Place* places;
  uint32_t first_token;
  uint32_t heads;
  uint32_t head_dim;
  uint32_t pages;
  AttentionScratch<Sum> scratch;
  Reals y;

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    const size_t row = d.block();
    const uint32_t token = first_token + d.block() / heads;
    const uint32_t seen = AttentionRows::PagesOf(places[token].position + 1);
    const double* totals = scratch.totals + row * pages;
    const double* units = scratch.units + row * pages;
    const Sum* sums = scratch.sums + row * pages * head_dim;
    for (uint32_t dim = d.thread(); dim < head_dim; dim += kThreads) {
      double total = 0.0;
      double sum = 0.0;
      for (uint32_t page = 0; page < seen; ++page) {
        total += totals[page];
        const auto of_page = static_cast<double>(sums[size_t{page} * head_dim + dim]);
        // (A product with a power of two: exact.)
        sum += kHasUnits ? of_page * units[page] : of_page;
      }
      y.Row(token)[d.block() % heads * head_dim + dim] = static_cast<float>(sum / total);
    }
  }
};

namespace detail {

// Memory for so many rows, of the stream.
template <class Sum, class Stream>
AttentionScratch<Sum> AttentionScratchOf(Stream& stream, size_t rows, const AttentionTiles& tiles, size_t head_dim) {
  const size_t row_pages = SizeProduct(rows, size_t{tiles.pages});
  const size_t merged_pages = tiles.pages == 1 ? 0 : row_pages;
  Parts parts;
  const size_t scores = parts.Add<float>(SizeProduct(row_pages, kPageTokens));
  const size_t maxima = parts.Add<float>(SizeProduct(rows, size_t{tiles.spans}));
  const size_t totals = parts.Add<double>(merged_pages);
  const size_t units = parts.Add<double>(merged_pages);
  const size_t sums = parts.Add<Sum>(SizeProduct(merged_pages, head_dim));
  std::byte* base = stream.template Scratch<std::byte>(ScratchSlot::kAttention, parts.bytes());
  return {reinterpret_cast<float*>(base + scores), reinterpret_cast<float*>(base + maxima),
          reinterpret_cast<double*>(base + totals), reinterpret_cast<double*>(base + units),
          reinterpret_cast<Sum*>(base + sums)};
}

}  // namespace detail

// Scratch memory of a pass: as many tokens at a time as fit (one at least).
inline constexpr size_t kAttentionScratchBytes = size_t{64} << 20;

// y [tokens, heads * head_dim] = attention of the queries q [tokens * heads, head_dim]; each token sees the tokens of
// its sequence up to its own position. Shapes are checked before: CheckAttend, CheckHeadDotsFit.
template <class Quantizers, Operand Q, class Stream>
void Attend(Stream& stream, const RowsView<Q>& q, const WhereView& where,
            const typename CacheLayout<Quantizers>::View& cache, const AttentionShape& shape, Reals y,
            size_t scratch_bytes = kAttentionScratchBytes) {
  static_assert(!kIsGrouped<Q>, "bitnet: queries have one step a head");
  using Formats = typename Quantizers::Formats;
  using Sum = ValueSum<Quantizers>;
  if (where.tokens == 0 || where.most_pages == 0) return;
  constexpr bool kScoresReals = kIsFloat<FormatOf<Q>> || kIsFloat<typename Formats::Key>;
  constexpr bool kSumsReals = kIsFloat<typename Formats::Value>;

  // Each block reads the maxima of all spans.
  constexpr uint32_t kMostSpans = 64;
  const uint32_t span = BlocksFor(where.most_pages, kMostSpans);
  const auto tiles_of = [&](uint32_t rows) { return AttentionTiles::Of(shape, where, rows, span); };
  AttentionTiles score_tiles = tiles_of(kScoresReals ? 4 : 16);
  // (Values of few rows take half of the registers.)
  AttentionTiles sum_tiles = tiles_of(8);
  bool takes_16_rows = false;
  if constexpr (!kSumsReals) {
    takes_16_rows = sum_tiles.group > 8 || where.tokens > where.sequences;
    if (takes_16_rows) sum_tiles = tiles_of(16);
  }

  const size_t token_bytes =
      shape.heads *
      (where.most_pages * (kPageTokens * sizeof(float) + 2 * sizeof(double) + shape.head_dim * sizeof(Sum)));
  size_t slice = scratch_bytes / token_bytes / score_tiles.tile_tokens * score_tiles.tile_tokens;
  if (slice == 0) slice = 1;
  if (slice > where.tokens) slice = where.tokens;
  const AttentionScratch<Sum> scratch =
      detail::AttentionScratchOf<Sum>(stream, slice * shape.heads, score_tiles, shape.head_dim);
  for (size_t first = 0; first < where.tokens; first += slice) {
    const auto count = static_cast<uint32_t>(slice < where.tokens - first ? slice : where.tokens - first);
    score_tiles.SetTokens(static_cast<uint32_t>(first), count);
    sum_tiles.SetTokens(static_cast<uint32_t>(first), count);
    if constexpr (!kScoresReals) {
      stream.Launch(ScoreCodes<FormatOf<Q>, Quantizers, Sum>{q, where, cache, score_tiles, scratch},
                    score_tiles.grid());
    } else if (shape.head_dim > kSumBlock) {
      stream.Launch(ScoreReals<FormatOf<Q>, Quantizers, Sum, true>{q, where, cache, score_tiles, scratch},
                    score_tiles.grid());
    } else {
      stream.Launch(ScoreReals<FormatOf<Q>, Quantizers, Sum, false>{q, where, cache, score_tiles, scratch},
                    score_tiles.grid());
    }
    if constexpr (kSumsReals) {
      stream.Launch(SumReals<Quantizers>{where, cache, sum_tiles, scratch, y}, sum_tiles.grid());
    } else if (takes_16_rows) {
      stream.Launch(SumCodes<Quantizers, 16>{where, cache, sum_tiles, scratch, y}, sum_tiles.grid());
    } else {
      stream.Launch(SumCodes<Quantizers, 8>{where, cache, sum_tiles, scratch, y}, sum_tiles.grid());
    }
    if (where.most_pages > 1) {
      stream.Launch(
          MergePages<Quantizers>{where.places, static_cast<uint32_t>(first), static_cast<uint32_t>(shape.heads),
                                 static_cast<uint32_t>(shape.head_dim), where.most_pages, scratch, y},
          {static_cast<unsigned>(count * shape.heads), 1});
    }
  }
}

// What runs, in a line.
template <class Quantizers>
std::string DescribeAttention() {
  using Formats = typename Quantizers::Formats;
  const auto bits = []<Format F>() {
    if constexpr (kIsFloat<F>) {
      return std::to_string(8 * sizeof(StoredReal<F>)) + "-bit reals";
    } else {
      return std::to_string(HeadCodes<F>::kWords) + "-bit codes";
    }
  };
  const std::string keys = bits.template operator()<typename Formats::Key>();
  const std::string values = bits.template operator()<typename Formats::Value>();
  constexpr bool kScoresReals = kIsFloat<typename Quantizers::Query::Format> || kIsFloat<typename Formats::Key>;
  return "CUDA: keys of " + keys + (kScoresReals ? " by sums in double" : " by the matrix unit") + ", values of " +
         values +
         (kIsFloat<typename Formats::Value> ? " by sums in double" : " by the matrix unit, weights of 16 bits") +
         ", split along pages";
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_ATTENTION_H_
