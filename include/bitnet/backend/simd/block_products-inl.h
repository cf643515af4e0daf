// Integer products of many tokens, one step a row: a block of rows of whatever layout is unpacked to quads, once for
// many tokens, and multiplied (dot_block-inl.h) or looked up (block_lookup-inl.h).
#if defined(BITNET_BACKEND_SIMD_BLOCK_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_BLOCK_PRODUCTS_INL_H_
#undef BITNET_BACKEND_SIMD_BLOCK_PRODUCTS_INL_H_
#else
#define BITNET_BACKEND_SIMD_BLOCK_PRODUCTS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "bitnet/backend/simd/block_lookup-inl.h"
#include "bitnet/backend/simd/codes-inl.h"
#include "bitnet/backend/simd/dot_block-inl.h"
#include "bitnet/backend/simd/grain.h"
#include "bitnet/backend/simd/input_rows-inl.h"
#include "bitnet/backend/simd/product_scratch.h"
#include "bitnet/backend/simd/quads-inl.h"
#include "bitnet/backend/simd/scale_dots-inl.h"
#include "bitnet/base/executor.h"
#include "bitnet/base/size.h"
#include "bitnet/tensor/matrix_view.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// Products of weights with some tokens.
template <LevelFormat W, class Weights>
class BlockProduct {
  using Quads = typename Weights::Quads;

 public:
  BlockProduct(const Weights& weights, const InputRows<int8_t>& x, MatrixView<float> y)
      : weights_(weights), quads_(weights.quads()), x_(x), y_(y) {}
  size_t blocks() const { return quads_.blocks(); }

  // Memory of one thread.
  size_t ScratchBytes() const {
    return RoundUp(std::min(MaxBlockTokens(), x_.tokens), kAmxTokens) * kVectorBytes * sizeof(int32_t);
  }
  // y of blocks [begin, end).
  HWY_NOINLINE void Multiply(size_t begin, size_t end, int32_t* HWY_RESTRICT sums) const {
    const size_t most = std::min(MaxBlockTokens(), x_.tokens);
    for (size_t first = 0; first < x_.tokens; first += most) {
      const size_t tokens = std::min(most, x_.tokens - first);
      int32_t input_sums[kMostBlockTokens];
      for (size_t t = 0; t < tokens; ++t) {
        input_sums[t] = Correction<W>::kBottom == 0 ? 0 : SumOfInputs(x_.Row(first + t), weights_.cols());
      }
      for (size_t block = begin; block < end; ++block) {
        if (quads_.Rows(block).count == 0) continue;
        BlockDot<W>::Run(quads_, block, x_, first, tokens, sums);
        StoreBlock(block, first, tokens, sums, [&](size_t t, int32_t* dots) HWY_ATTR {
          for (size_t r = 0; r < kVectorBytes; ++r) dots[r] = Correction<W>::DotOfLevels(dots[r], input_sums[t]);
        });
      }
    }
    hwy::FlushStream();
  }

  // The same by lookups in the tables of all tokens.
  template <class Lookup>
  HWY_NOINLINE void LookUp(size_t begin, size_t end, const uint8_t* tables, std::byte* memory) const {
    const typename Lookup::Scratch scratch(memory, end - begin, weights_.cols());
    for (size_t block = begin; block < end;) {
      size_t unpacked[Lookup::kMostBlocks];
      size_t blocks = 0;
      for (; block < end && blocks < Lookup::kMostBlocks; ++block) {
        if (quads_.Rows(block).count == 0) continue;
        Lookup::Unpack(quads_, block, weights_.cols(), blocks, scratch);
        unpacked[blocks++] = block;
      }
      for (size_t first = 0; first < x_.tokens; first += Lookup::kMostTokens) {
        const size_t tokens = std::min(Lookup::kMostTokens, x_.tokens - first);
        Lookup::Run(blocks, weights_.cols(), tables, first, tokens, scratch, [&](size_t b, int32_t* sums) HWY_ATTR {
          StoreBlock(unpacked[b], first, tokens, sums, [](size_t, int32_t*) {});
        });
      }
    }
    hwy::FlushStream();
  }

 private:
  // Bytes of results from which on they are written past the caches, where they would push the inputs out and not stay.
  // (6912 x 256: 0.8 ms instead of 1.4 - 1.9, of a product's 8 - 16; the second-level cache has 2 MiB.)
  static constexpr size_t kCachedResults = size_t{1} << 20;

  // y of a block's rows for tokens [first, first + tokens) from their sums; correct(t, dots) makes them dots of levels.
  template <class F>
  HWY_INLINE void StoreBlock(size_t block, size_t first, size_t tokens, int32_t* HWY_RESTRICT sums, F&& correct) const {
    const RowRange rows = quads_.Rows(block);
    const bool past_caches = y_.rows() * y_.cols() * sizeof(float) > kCachedResults;
    for (size_t t = 0; t < tokens; ++t) {
      HWY_ALIGN int32_t ordered[kVectorBytes];
      int32_t* dots = sums + t * kVectorBytes;
      if constexpr (!Quads::kIsOrdered) {
        OrderSums<1>(dots, ordered);
        dots = ordered;
      }
      correct(t, dots);
      StoreDots(dots, rows.begin, rows.count, weights_, x_.Step(first + t), DotsAreFloats<W, int8_t>(weights_.cols()),
                past_caches, y_.Row(first + t));
    }
  }

  const Weights& weights_;
  Quads quads_;
  InputRows<int8_t> x_;
  MatrixView<float> y_;
};

// run(begin, end, memory) for shares of the blocks, each with `bytes(blocks)` bytes for so many blocks.
template <class Bytes, class Run>
void EachShareOfBlocks(Executor& executor, ProductScratch& scratch, size_t blocks, size_t cols, size_t tokens,
                       Bytes&& bytes, Run&& run) {
  const size_t most = std::min(blocks, executor.Threads());
  const size_t parts = std::clamp<size_t>(blocks / Grain(cols, tokens, kVectorBytes), 1, most);
  const size_t of_part = RoundUp(bytes((blocks + parts - 1) / parts), kVectorBytes);
  executor.Run(parts, [&, memory = scratch.Bytes(SizeProduct(parts, of_part))](size_t part) {
    run(PartBegin(blocks, part, parts), PartBegin(blocks, part + 1, parts), memory + part * of_part);
  });
}

// y of all rows and tokens by the dot product, of vectors or of the matrix unit.
template <LevelFormat W, class Weights>
void MultiplyBlocks(Executor& executor, ProductScratch& scratch, const Weights& weights, const InputRows<int8_t>& x,
                    MatrixView<float> y) {
  const BlockProduct<W, Weights> product(weights, x, y);
  EachShareOfBlocks(
      executor, scratch, product.blocks(), weights.cols(), x.tokens, [&](size_t) { return product.ScratchBytes(); },
      [&](size_t begin, size_t end, std::byte* memory) {
        product.Multiply(begin, end, reinterpret_cast<int32_t*>(memory));
      });
}

// The same by lookups in `tables`, of all tokens.
template <LevelFormat W, class Lookup, class Weights>
void LookUpBlocks(Executor& executor, ProductScratch& scratch, const Weights& weights, const uint8_t* tables,
                  const InputRows<int8_t>& x, MatrixView<float> y) {
  const BlockProduct<W, Weights> product(weights, x, y);
  EachShareOfBlocks(
      executor, scratch, product.blocks(), weights.cols(), x.tokens,
      [&](size_t blocks) { return Lookup::Scratch::template Bytes<typename Weights::Quads>(blocks, weights.cols()); },
      [&](size_t begin, size_t end, std::byte* memory) {
        product.template LookUp<Lookup>(begin, end, tables, memory);
      });
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_BLOCK_PRODUCTS_INL_H_
