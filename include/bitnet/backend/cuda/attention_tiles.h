// How attention is cut for the blocks of a launch. A block has a tile of rows (a row is a query head of a token), whose
// heads read one key/value head, and some pages that follow each other, its span. Rows of one tile that see the same
// pages share what is loaded of them: heads of a group, and neighbouring tokens of one sequence.
#ifndef BITNET_BACKEND_CUDA_ATTENTION_TILES_H_
#define BITNET_BACKEND_CUDA_ATTENTION_TILES_H_

#include <cstddef>
#include <cstdint>
#include <limits>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/backend/definitions.h"
#include "bitnet/backend/where.h"
#include "bitnet/tensor/pages.h"

namespace bitnet::cuda {

// Of `tokens` tokens of a pass from first_token on.
struct AttentionTiles {
  uint32_t first_token;
  uint32_t tokens;
  uint32_t heads;
  uint32_t group;       // query heads of a key/value head
  uint32_t tile_heads;  // of a tile, at most
  uint32_t head_tiles;  // of a group
  uint32_t tile_tokens;
  uint32_t token_tiles;
  uint32_t kv_heads;
  uint32_t span;   // pages
  uint32_t spans;  // of the longest sequence
  uint32_t pages;  // of the longest sequence

  // Tiles of at most so many rows. Only tokens that may be of one sequence share a tile: where there are as many
  // sequences as tokens each token is worth a block of its own.
  static AttentionTiles Of(const AttentionShape& shape, const WhereView& where, uint32_t rows, uint32_t span) {
    AttentionTiles t = {};
    t.heads = static_cast<uint32_t>(shape.heads);
    t.kv_heads = static_cast<uint32_t>(shape.kv_heads);
    t.group = t.heads / t.kv_heads;
    t.tile_heads = t.group < rows ? t.group : rows;
    t.head_tiles = BlocksFor(t.group, t.tile_heads);
    t.tile_tokens = where.tokens > where.sequences ? rows / t.tile_heads : 1;
    t.span = span;
    t.spans = BlocksFor(where.most_pages, span);
    t.pages = where.most_pages;
    return t;
  }
  void SetTokens(uint32_t first, uint32_t count) {
    first_token = first;
    tokens = count;
    token_tiles = BlocksFor(count, tile_tokens);
  }
  Grid grid() const { return {static_cast<unsigned>(size_t{token_tiles} * kv_heads * head_tiles * spans), 1}; }

  // Row numbers count the rows of these tokens.
  BITNET_HOST_DEVICE uint32_t RowOf(uint32_t token, uint32_t head) const {
    return (token - first_token) * heads + head;
  }
};

// What a block has of it. (Blocks that follow each other read the same pages.)
struct AttentionTile {
  uint32_t begin;  // tokens
  uint32_t end;
  uint32_t kv_head;
  uint32_t first_head;  // of its query heads
  uint32_t heads;
  uint32_t first_page;  // of a sequence
  uint32_t end_page;

  BITNET_DEVICE AttentionTile(const AttentionTiles& t, uint32_t block) {
    begin = t.first_token + block % t.token_tiles * t.tile_tokens;
    end = begin + t.tile_tokens;
    end = end < t.first_token + t.tokens ? end : t.first_token + t.tokens;
    block /= t.token_tiles;
    kv_head = block % t.kv_heads;
    block /= t.kv_heads;
    const uint32_t of_group = block % t.head_tiles * t.tile_heads;
    first_head = kv_head * t.group + of_group;
    heads = t.tile_heads < t.group - of_group ? t.tile_heads : t.group - of_group;
    first_page = block / t.head_tiles * t.span;
    end_page = first_page + t.span < t.pages ? first_page + t.span : t.pages;
  }

  // The first token after `token` of another sequence, or the end.
  BITNET_DEVICE uint32_t EndOfRun(const Place* places, uint32_t token) const {
    const uint32_t sequence = places[token].sequence;
    uint32_t last = token + 1;
    while (last < end && places[last].sequence == sequence) ++last;
    return last;
  }
};

// The rows of tokens [begin, end) of one sequence: tokens by heads.
struct AttentionRows {
  uint32_t first_token;
  uint32_t first_head;
  uint32_t heads;
  uint32_t rows;
  uint32_t visible;  // tokens that some row sees
  uint32_t pages;    // of these

  BITNET_DEVICE AttentionRows(const AttentionTile& tile, const Place* places, uint32_t begin, uint32_t end) {
    first_token = begin;
    first_head = tile.first_head;
    heads = tile.heads;
    rows = (end - begin) * heads;
    uint32_t last = 0;
    for (uint32_t token = begin; token < end; ++token) {
      last = places[token].position > last ? places[token].position : last;
    }
    visible = last + 1;
    pages = PagesOf(visible);
  }
  BITNET_DEVICE uint32_t Token(uint32_t row) const { return first_token + row / heads; }
  BITNET_DEVICE uint32_t Head(uint32_t row) const { return first_head + row % heads; }

  // PagesFor(visible); visible is not 0.
  static BITNET_HOST_DEVICE uint32_t PagesOf(uint32_t visible) {
    return (visible - 1) / static_cast<uint32_t>(kPageTokens) + 1;
  }
};

// use(tile, rows) for each sequence of the block's tile of which it has pages. Shared memory is free then.
template <class Device, class Use>
BITNET_DEVICE void EachRunOfTile(Device& d, const AttentionTiles& tiles, const Place* places, const Use& use) {
  const AttentionTile tile(tiles, d.block());
  for (uint32_t token = tile.begin; token < tile.end;) {
    const uint32_t end = tile.EndOfRun(places, token);
    const AttentionRows rows(tile, places, token, end);
    if (tile.first_page < rows.pages) {
      if (token != tile.begin) d.Barrier();
      use(tile, rows);
    }
    token = end;
  }
}

// Of the rows of a block's run, in shared memory.
template <unsigned kRows>
struct SharedRows {
  uint32_t number[kRows];   // AttentionTiles::RowOf
  uint32_t visible[kRows];  // tokens that it sees

  BITNET_DEVICE void Describe(uint32_t row, const AttentionTiles& tiles, const AttentionRows& rows,
                              const Place* places) {
    number[row] = tiles.RowOf(rows.Token(row), rows.Head(row));
    visible[row] = places[rows.Token(row)].position + 1;
  }
};

// The maximum of no scores.
inline constexpr float kNoScore = -std::numeric_limits<float>::infinity();

// What goes through memory 16 bytes at a time.
struct alignas(16) FourFloats {
  float v[4];
};

// What the kernels of attention leave for each other: of each row, numbered by AttentionTiles.
template <class Sum>
struct AttentionScratch {
  float* scores;   // [row, pages * kPageTokens]
  float* maxima;   // [row, spans]: the largest score of a span; -infinity for one without any that is no NaN
  double* totals;  // [row, pages]: sums of probabilities
  double* units;   // [row, pages]: of weights, where Sum counts them
  Sum* sums;       // [row, pages, head_dim]
};

// The largest score of each row in the block's pages, of which each warp has one.
template <unsigned kWarps, unsigned kRows, class Device, class Sum>
BITNET_DEVICE void StoreMaxima(Device& d, const float (&of_warps)[kWarps][kRows], const SharedRows<kRows>& shared,
                               const AttentionTiles& tiles, const AttentionTile& tile, const AttentionRows& rows,
                               const AttentionScratch<Sum>& scratch) {
  d.Barrier();
  const uint32_t row = d.thread();
  if (row >= rows.rows) return;
  float largest = of_warps[0][row];
  for (unsigned warp = 1; warp < kWarps; ++warp) {
    largest = of_warps[warp][row] > largest ? of_warps[warp][row] : largest;
  }
  scratch.maxima[size_t{shared.number[row]} * tiles.spans + tile.first_page / tiles.span] = largest;
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_ATTENTION_TILES_H_
