// MatMulOfReals: products with reals on either side: ordered sums in double (base/exact_math.h), run by run of columns.
//
// A warp has the outputs of a few rows and tokens. Its 32 lanes are four blocks of 256 terms with eight chains each
// (long_sum.h): a lane adds up every eighth term of its block, for all outputs of the warp, so that an input is widened
// to double once for all rows, and a weight once for all tokens. Four blocks are a node of the tree over blocks; the
// nodes go to shared memory, where the tree keeps one sum of each power of two, and a quarter of the lanes has the
// tree of an output.
//
// Bytes: the weights once for each four tokens, 32 bytes of a row at once for four blocks (the rest of their lines
// come from the first-level cache). Weights of 16 bits are 2 conversions and 2 multiply-adds in double for a row of one
// token, each of which an H200 does 16 to 64 times a cycle and SM: of one token, the bytes and the conversions take
// about as long.
//
// A zero input reads no weight, where kSkipsZeros: a NaN behind it is not seen.
#ifndef BITNET_BACKEND_CUDA_PRODUCT_OF_REALS_H_
#define BITNET_BACKEND_CUDA_PRODUCT_OF_REALS_H_

#include <cstddef>
#include <cstdint>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/long_sum.h"
#include "bitnet/backend/cuda/plain_rows.h"
#include "bitnet/backend/cuda/product_of_rows.h"
#include "bitnet/backend/cuda/runs.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/tensor/operand.h"

namespace bitnet::cuda {

template <Operand W, Operand X, uint32_t kRows, uint32_t kTokens, bool kSkipsZeros, class Chosen, class To>
struct MatMulOfReals {
  using View = PlainRowsView<W>;
  static constexpr unsigned kThreads = 128;
  static constexpr uint32_t kWarps = kThreads / kWarp;
  static constexpr uint32_t kOutputs = kRows * kTokens;          // of a warp
  static constexpr uint32_t kOfLane = kOutputs / kBlocksOfWarp;  // whose tree a lane has
  static_assert(kOutputs % kBlocksOfWarp == 0);
  static constexpr uint32_t kNodeCols = kBlocksOfWarp * static_cast<uint32_t>(kSumBlock);
  static constexpr uint32_t kLevels = 22;  // 2^32 columns have 2^22 nodes, less than one of level 22
  struct Shared {
    double trees[kWarps][kLevels][kOfLane][kWarp];
  };

  View w;
  RowsView<X> x;
  Chosen chosen;
  To y;
  Runs runs;
  uint32_t token_tiles;

  template <class Stream>
  static void LaunchIn(Stream& stream, const View& w, const RowsView<X>& x, const Chosen& chosen, const To& y) {
    const uint32_t token_tiles = BlocksFor(x.rows, kTokens);
    stream.Launch(MatMulOfReals{w, x, chosen, y, Runs::Of(w.cols, w.group, x.group), token_tiles},
                  Grid{BlocksFor(w.rows, kWarps * kRows) * token_tiles, 1});
  }

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared& shared) const {
    const uint32_t first_token = d.block() % token_tiles * kTokens;
    const uint32_t first_row = (d.block() / token_tiles * kWarps + d.warp()) * kRows;
    const uint32_t count = chosen.Count(first_token, w.rows);
    if (first_row >= count) return;
    uint32_t rows[kRows];
    BITNET_UNROLL
    for (unsigned r = 0; r < kRows; ++r) {
      const uint32_t at = first_row + r;
      rows[r] = chosen.Row(first_token, at < count ? at : count - 1);
    }
    const uint32_t lane = d.lane();
    const uint32_t quarter = lane / kChainsOfBlock;

    double totals[kOfLane];
    BITNET_UNROLL
    for (unsigned i = 0; i < kOfLane; ++i) totals[i] = 0.0;
    for (uint32_t i = 0; i < runs.count; ++i) {
      const Runs::Run run = runs[i];
      if (run.begin == run.end) continue;
      uint32_t nodes = 0;
      for (uint32_t begin = run.begin; begin < run.end; begin += kNodeCols) {
        double node[kOfLane];
        AddNode(d, rows, first_token, begin, run.end, node);
        Push(shared.trees[d.warp()], nodes, lane, node);
        ++nodes;
      }
      BITNET_UNROLL
      for (unsigned k = 0; k < kOfLane; ++k) {
        const auto dot = static_cast<float>(FoldLanes(d, Tree(shared.trees[d.warp()], nodes, lane, k)));
        const unsigned output = k * kBlocksOfWarp + quarter;
        const float step = w.Steps(Of(rows, output / kTokens))[run.begin / runs.w_group] *
                           x.Steps(TokenAt(first_token, output % kTokens))[run.begin / runs.x_group];
        totals[k] += double(dot) * double(step);
      }
    }

    BITNET_UNROLL
    for (unsigned k = 0; k < kOfLane; ++k) {
      const unsigned output = k * kBlocksOfWarp + quarter;
      const uint32_t token = first_token + output % kTokens;
      if (lane % kChainsOfBlock != 0 || first_row + output / kTokens >= count || token >= x.rows) continue;
      y(token, Of(rows, output / kTokens), static_cast<float>(totals[k]));
    }
  }

 private:
  // Of tokens that are not there the last one: what comes of it is not used.
  BITNET_DEVICE uint32_t TokenAt(uint32_t first_token, unsigned i) const {
    return first_token + i < x.rows ? first_token + i : x.rows - 1;
  }

  // rows[i], which is a register.
  BITNET_DEVICE static uint32_t Of(const uint32_t (&rows)[kRows], unsigned i) {
    uint32_t row = rows[0];
    BITNET_UNROLL
    for (unsigned r = 1; r < kRows; ++r) row = r == i ? rows[r] : row;
    return row;
  }

  // The four blocks from `begin` on: of all outputs, and each lane gets those that are its own.
  template <class Device>
  BITNET_DEVICE void AddNode(Device& d, const uint32_t (&rows)[kRows], uint32_t first_token, uint32_t begin,
                             uint32_t end, double (&node)[kOfLane]) const {
    double chains[kOutputs];
    BITNET_UNROLL
    for (unsigned i = 0; i < kOutputs; ++i) chains[i] = 0.0;
    const uint32_t first = begin + FirstOfChain(d.lane());
    for (uint32_t j = 0; j < kTermsOfChain; ++j) {
      const uint32_t c = first + j * kChainsOfBlock;
      if (c >= end) break;
      double inputs[kTokens];
      BITNET_UNROLL
      for (unsigned t = 0; t < kTokens; ++t) inputs[t] = double(x.Row(TokenAt(first_token, t))[c]);
      BITNET_UNROLL
      for (unsigned r = 0; r < kRows; ++r) {
        const auto weight = double(w.Value(rows[r], c));
        BITNET_UNROLL
        for (unsigned t = 0; t < kTokens; ++t) {
          const double used = kSkipsZeros && inputs[t] == 0.0 ? 0.0 : weight;
          chains[r * kTokens + t] += used * inputs[t];
        }
      }
    }
    BITNET_UNROLL
    for (unsigned i = 0; i < kOutputs; ++i) {
      const double tree = TreeOfWarp(d, chains[i]);
      node[i / kBlocksOfWarp] =
          i % kBlocksOfWarp == 0 || i % kBlocksOfWarp == d.lane() / kChainsOfBlock ? tree : node[i / kBlocksOfWarp];
    }
  }

  // As BlockTree of base/exact_math.h.
  using Trees = double[kLevels][kOfLane][kWarp];
  BITNET_DEVICE static void Push(Trees& trees, uint32_t nodes, uint32_t lane, const double (&node)[kOfLane]) {
    BITNET_UNROLL
    for (unsigned k = 0; k < kOfLane; ++k) {
      double sum = node[k];
      unsigned level = 0;
      for (; ((nodes >> level) & 1u) != 0; ++level) sum += trees[level][k][lane];
      trees[level][k][lane] = sum;
    }
  }
  BITNET_DEVICE static double Tree(const Trees& trees, uint32_t nodes, uint32_t lane, unsigned k) {
    double total = 0.0;
    for (unsigned level = 0; nodes >> level != 0; ++level) {
      if (((nodes >> level) & 1u) != 0) total += trees[level][k][lane];
    }
    return total;
  }
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_PRODUCT_OF_REALS_H_
