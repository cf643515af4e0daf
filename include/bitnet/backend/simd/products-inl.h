// The products of SimdMatrix, and which kernel multiplies what: ChooseKernel.
#if defined(BITNET_BACKEND_SIMD_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_PRODUCTS_INL_H_
#undef BITNET_BACKEND_SIMD_PRODUCTS_INL_H_
#else
#define BITNET_BACKEND_SIMD_PRODUCTS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

#include "bitnet/backend/check_shapes.h"
#include "bitnet/backend/simd/block_products-inl.h"
#include "bitnet/backend/simd/block_runs-inl.h"
#include "bitnet/backend/simd/dot_any_runs-inl.h"
#include "bitnet/backend/simd/dot_quads-inl.h"
#include "bitnet/backend/simd/dot_row_runs-inl.h"
#include "bitnet/backend/simd/float_products-inl.h"
#include "bitnet/backend/simd/grain.h"
#include "bitnet/backend/simd/input_rows-inl.h"
#include "bitnet/backend/simd/product_scratch.h"
#include "bitnet/backend/simd/simd_matrix-inl.h"
#include "bitnet/backend/simd/simd_rows.h"
#include "bitnet/base/assert.h"
#include "bitnet/base/executor.h"
#include "bitnet/tensor/channel_lists.h"
#include "bitnet/tensor/matrix_view.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// ---- Which kernel.

enum class ProductKernel {
  kLookups,       // LookupWeights: tables of each token's inputs
  kRows,          // RowWeights: integer dots of packed rows
  kColumns,       // ColumnWeights: integer dots of columns, in the lanes of rows
  kReals,         // an operand is real: sums in double
  kQuads,         // QuadWeights: integer dots in the lanes of rows, of each group of columns that has a step
  kBlockRuns,     // many tokens, steps for groups: quads of each group, unpacked once for all
  kRowRuns,       // RowWeights: steps for groups of columns, integer dots of unpacked rows
  kAnyRuns,       // other steps for groups: a dot, or a sum, for each run of columns, row by row
  kBlocks,        // many tokens: quads, multiplied by the matrix unit or vectors
  kBlockLookups,  // many tokens: quads, looked up
};

// What is known of a product when it is compiled.
template <Operand W, Operand X, class U>
struct ProductFacts {
  using Matrix = SimdMatrix<W, X, U>;
  using Level = LevelOf<FormatOf<X>>;
  static constexpr WeightLayout kLayout = Matrix::kLayout;
  static constexpr bool kIsInteger = !kIsFloat<FormatOf<W>> && !kIsFloat<FormatOf<X>>;
  static constexpr bool kHasOneStep = !kIsGrouped<W> && !kIsGrouped<X>;
  // Whether many tokens are multiplied in blocks of rows.
  static constexpr bool kHasBlocks = [] {
    if constexpr (kIsInteger && kHasOneStep) {
      return std::is_same_v<Level, int8_t> && OffsetTraits<FormatOf<W>>::kFitsByte &&
             (kLayout != WeightLayout::kRows || kVectorBytes == 64);
    }
    return false;
  }();
  // The same, run by run.
  static constexpr bool kHasBlockRuns = !kHasOneStep && std::is_same_v<Level, int8_t> &&
                                        (kLayout == WeightLayout::kQuads || kLayout == WeightLayout::kColumns);
  static constexpr bool kHasRowRuns = [] {
    if constexpr (kIsInteger && !kHasOneStep && kLayout == WeightLayout::kRows) {
      return std::is_same_v<Level, int8_t> && OffsetTraits<FormatOf<W>>::kFitsByte;
    }
    return false;
  }();
  static constexpr LookupPlan kBlockPlan = PlanProduct<W, X>(kBlockTableEntries);
  static constexpr bool kHasBlockLookups = [] {
    if constexpr (kHasBlocks) return BlockLookup<FormatOf<W>, kBlockPlan>::kPays;
    return false;
  }();
};

// From so many tokens on, unpacking the weights for all costs less than what few tokens do. Where they look up in
// tables of their own that is late: each token after the first, with weights from a cache, takes a quarter of the
// first, or with two planes a half. (Ternary by INT4, 2560 x 2560, us of 1, 4, 8, 16, 47 tokens: Zen 5, lookups 43, 81,
// 136, 248, 675, unpacked 130, 246, 393, 799 from 4 on; the same CPU by AVX2, 47, 149, 273, 525, 1505 and 317, 542,
// 944, 2572. The matrix unit takes 0.7 ms for few tokens as for many, by what it does for prompts: not measured here.)
template <class Facts>
size_t ManyTokens() {
  if constexpr (Facts::kLayout == WeightLayout::kLookups) {
    constexpr size_t kPlanes = Facts::Matrix::kPlan.planes;
    return (HasMatrixUnit() ? 16 : 48) / (kPlanes * kPlanes);
  } else {
    return 4;
  }
}

// The choice for all rows and columns, by the layout, the steps, the formats and the tokens. (MatMulRows and
// MatMulColumns choose between this and skipping: IsWorthAll, and is_finite() of real weights.)
template <Operand W, Operand X, class U>
ProductKernel ChooseKernel(size_t tokens) {
  using Facts = ProductFacts<W, X, U>;
  if (Facts::kHasBlockRuns && tokens >= ManyTokens<Facts>()) return ProductKernel::kBlockRuns;
  if (Facts::kLayout == WeightLayout::kQuads && !Facts::kHasOneStep) return ProductKernel::kQuads;
  if (Facts::kLayout == WeightLayout::kColumns && !Facts::kHasOneStep) return ProductKernel::kColumns;
  if (Facts::kHasRowRuns) return ProductKernel::kRowRuns;
  if (!Facts::kHasOneStep) return ProductKernel::kAnyRuns;
  if (!Facts::kIsInteger) return ProductKernel::kReals;
  if (Facts::kHasBlocks && tokens >= ManyTokens<Facts>()) {
    if constexpr (Facts::kHasBlockLookups) {
      using Lookup = BlockLookup<FormatOf<W>, Facts::kBlockPlan>;
      if (tokens >= Lookup::kMinTokens && !HasMatrixUnit()) return ProductKernel::kBlockLookups;
    }
    // (The vectors' dot product does without quads of rows.)
    if (Facts::kLayout != WeightLayout::kRows || HasMatrixUnit()) return ProductKernel::kBlocks;
  }
  switch (Facts::kLayout) {
    case WeightLayout::kLookups:
      return ProductKernel::kLookups;
    case WeightLayout::kQuads:
      return ProductKernel::kQuads;
    case WeightLayout::kColumns:
      return ProductKernel::kColumns;
    default:
      return ProductKernel::kRows;
  }
}

// Whether so many of `width` channels are listed that multiplying all of them takes less time: many tokens share the
// weights that are read and unpacked. In units of one token's product with all channels, skipping costs what is
// listed, or less than half of it, since the weights come from a cache (Zen 5, 6912 x 2560, half of the rows: a token
// 80 us, 16 tokens 580; all rows 1310); all of them cost the unpacking and a share of each token. (Sapphire Rapids, one
// thread: skipping 0.29 ms, the matrix unit, at its slowest, 1.9 ms and 0.062 a token, vectors 0.1 a token, lookups 2
// ms and 0.066 a token. With steps for groups, 2560 x 6912: skipping 0.2 ms, the unit 0.5 ms and 0.045 a token, vectors
// 0.4 and 0.08.)
inline bool IsWorthAll(const ChannelLists& lists, size_t width, ProductKernel kernel) {
  if (lists.tokens() == 1) return false;
  size_t listed = 0;
  for (size_t t = 0; t < lists.tokens(); ++t) listed += lists.Count(t);
  const bool is_fast = kernel == ProductKernel::kBlockLookups || (kernel == ProductKernel::kBlocks && HasMatrixUnit());
  const double all = (is_fast ? 6.5 : 2.0) + (is_fast ? 0.21 : 0.35) * static_cast<double>(lists.tokens());
  return (is_fast ? 1.0 : 0.7) * static_cast<double>(listed) >= all * static_cast<double>(width);
}

// One line of what runs, of the kernel for each number of tokens: choose(tokens).
struct ProductNotes {
  LookupPlan plan;
  bool is_integer, has_one_step, has_block_runs;
};
inline std::string DescribeKernel(const ProductNotes& notes, ProductKernel kernel) {
  switch (kernel) {
    case ProductKernel::kLookups:
      return Describe(notes.plan);
    case ProductKernel::kRows:
      return "integer dot product of rows";
    case ProductKernel::kColumns:
      return std::string("integer dot product of columns") + (notes.has_one_step ? "" : ", group by group") +
             (notes.has_one_step || notes.has_block_runs ? "" : ", token by token");
    case ProductKernel::kReals:
      return "float: sums in double";
    case ProductKernel::kQuads:
      return notes.has_one_step ? "integer dot product" : "integer dot product of each group of columns";
    case ProductKernel::kBlockRuns:
      return HasMatrixUnit() ? "matrix unit, group by group" : "integer dot product of blocks, group by group";
    case ProductKernel::kRowRuns:
      return "integer dot product of rows, group by group";
    case ProductKernel::kAnyRuns:
      return notes.is_integer ? "integer dot product of each group of columns, row by row"
                              : "float: sums in double of each group of columns, row by row";
    case ProductKernel::kBlocks:
      return HasMatrixUnit() ? "matrix unit" : "integer dot product of blocks";
    case ProductKernel::kBlockLookups:
      return "lookup: four tables of 16 entries at once";
  }
  return {};
}
inline std::string DescribeKernels(const ProductNotes& notes, ProductKernel (*choose)(size_t tokens)) {
  ProductKernel last = choose(1);
  std::string text = DescribeKernel(notes, last);
  for (size_t tokens = 2; tokens <= 64; ++tokens) {
    const ProductKernel kernel = choose(tokens);
    if (kernel == last) continue;
    text += "; from " + std::to_string(tokens) + " tokens on " + DescribeKernel(notes, kernel);
    last = kernel;
  }
  return text;
}
template <Operand W, Operand X, class U>
std::string DescribeProduct() {
  using Facts = ProductFacts<W, X, U>;
  if (!U::kMultiplies) return "rows looked up";
  std::string text = DescribeKernels(
      {SimdMatrix<W, X, U>::kPlan, Facts::kIsInteger, Facts::kHasOneStep, Facts::kHasBlockRuns}, ChooseKernel<W, X, U>);
  if (Facts::kLayout == WeightLayout::kReals && U::template kHas<ChosenColumns>) {
    text += "; the listed columns alone if a weight is not finite";
  }
  return text;
}

// ---- What products make of their inputs, which the next ones with them find there.

// The tables that few tokens look up in, of one token after the other. Of one token two copies, where a product has
// parts: of two threads each mostly reads what it built, and lines that another core wrote take longer than building
// them. (More copies, for more threads: who reads which is chance, and a caller that gets no workers builds them all.)
template <class Tables, Operand X>
class LookupTablesOf {
 public:
  LookupTablesOf(Executor& executor, size_t parts, SimdRows<X>& x)
      : bytes_(Tables::Bytes(x.cols())), tokens_(x.rows()) {
    const PreparedInputs prepared = x.prepared();
    if (prepared.key == Tables::Key()) {
      tables_ = prepared.bytes.data();
      copies_ = prepared.bytes.size() / (tokens_ * bytes_);
      return;
    }
    copies_ = tokens_ == 1 ? std::clamp<size_t>(parts, 1, 2) : 1;
    uint8_t* tables = x.TablesFor(Tables::Key(), SizeProduct(copies_, tokens_, bytes_));
    const auto build = [&](size_t token, size_t to) {
      Tables::Build(std::as_const(x).Row(token), x.cols(), Tables::Groups(x.cols()), tables + to * bytes_);
    };
    if (tokens_ == 1) {
      executor.Run(copies_, [&](size_t copy) { build(0, copy); });
    } else {
      ParallelRanges(executor, tokens_, Grain(size_t{16}, x.cols()), 1, [&](size_t begin, size_t end) {
        for (size_t t = begin; t < end; ++t) build(t, t);
      });
    }
    tables_ = tables;
  }
  // Of a token, for a part of the product.
  const uint8_t* Of(size_t token, size_t part) const { return tables_ + (part % copies_ * tokens_ + token) * bytes_; }

 private:
  size_t bytes_;
  size_t tokens_;
  size_t copies_ = 1;
  const uint8_t* tables_ = nullptr;
};

// The tables that blocks of many tokens look up in.
template <class Lookup, Operand X>
const uint8_t* BlockTablesOf(Executor& executor, SimdRows<X>& x) {
  if (x.prepared().key == Lookup::Key()) return x.prepared().bytes.data();
  uint8_t* tables = x.TablesFor(Lookup::Key(), Lookup::TableBytes(x.rows(), x.cols()));
  ParallelRanges(executor, x.rows(), Grain(size_t{16}, x.cols()), 1, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) {
      Lookup::BuildTables(std::as_const(x).Row(t), x.cols(), tables + t * Lookup::TableBytes(x.cols()));
    }
  });
  return tables;
}

// ---- Products, in shares of threads.

// y of the listed rows of one token.
template <Operand W, Operand X, class U>
void MultiplyListed(const SimdMatrix<W, X, U>& matrix, const InputRows<LevelOf<FormatOf<X>>>& x, size_t token,
                    const IndexList& rows, MatrixView<float> y) {
  using Facts = ProductFacts<W, X, U>;
  if constexpr (!Facts::kHasOneStep) {
    for (size_t i = 0; i < rows.count; ++i) {
      DotRowByRuns(matrix.weights(), rows[i], x, token, 1, y.Row(token) + rows[i]);
    }
  } else if constexpr (Facts::kIsInteger) {
    matrix.weights().MultiplyListed(rows, x, token, y.Row(token));
  } else {
    MultiplyFloats(matrix.weights(), rows, x, token, 1, y);
  }
}

// y of rows [begin, end) of one token, in turns (InTurns).
template <Operand W, Operand X, class U>
void MultiplyOneToken(const SimdMatrix<W, X, U>& matrix, const InputRows<LevelOf<FormatOf<X>>>& x, size_t begin,
                      size_t end, MatrixView<float> y) {
  constexpr size_t kAtOnce = 1024;
  for (size_t row = begin; row < end; row += kAtOnce) {
    uint32_t order[kAtOnce];
    MultiplyListed(matrix, x, 0, InTurns({nullptr, row, std::min(kAtOnce, end - row)}, order), y);
  }
}

// Weights of which all tokens read what they list before those behind them are read: the first brings them into the
// second-level cache.
inline constexpr size_t kSharedBytes = size_t{512} << 10;

// Those of an ascending list in [begin, end).
inline IndexList ListedIn(const IndexList& list, size_t begin, size_t end) {
  if (list.indices == nullptr) {
    const size_t first = std::clamp(begin, list.first, list.first + list.count);
    return {nullptr, first, std::clamp(end, first, list.first + list.count) - first};
  }
  const uint32_t* const last = std::lower_bound(list.indices, list.indices + list.count, end);
  const uint32_t* const first = std::lower_bound(list.indices, last, begin);
  return {first, 0, static_cast<size_t>(last - first)};
}

// y of all tokens from the columns that list(token) gives, which ascend and hold all inputs that are not zero. One step
// a row: the columns are split among threads, so that each reads whole columns, which are long spans of memory (half
// columns by two threads are no faster than one thread: what the hardware fetches ahead belongs to the other). All of
// some tokens read what they list of kSharedBytes before the next columns are read. With
// steps for groups a thread takes kTileGroup tiles of rows after the other: fewer at once, spans that are shorter, take
// longer. (Sapphire Rapids, 2560 x 6912, 16 tokens, ternary: 16 tiles 3.4 ms, 4 3.9, 1 4.9; INT8: 12, 14 and 33.)
inline constexpr size_t kColumnTokens = 16;
template <Operand W, Operand X, class U, class List>
void MultiplyByColumns(Executor& executor, ProductScratch& scratch, const SimdMatrix<W, X, U>& matrix,
                       const InputRows<LevelOf<FormatOf<X>>>& x, MatrixView<float> y, List&& list) {
  const auto& weights = matrix.weights();
  using Weights = typename SimdMatrix<W, X, U>::Weights;
  constexpr size_t kRowsOfTile = Weights::kTileRows;
  if constexpr (ProductFacts<W, X, U>::kHasOneStep) {
    const size_t threads = executor.Threads();  // asked once: at exit there may be fewer
    const size_t count = SizeProduct(kRowsOfTile, weights.tiles());
    // (For all threads at once, so that decoding allocates nothing when a later token has more columns.)
    int32_t* sums = scratch.Sums(SizeProduct(std::min(x.tokens, kColumnTokens), threads, count));
    uint32_t* order = scratch.Order(weights.cols());
    const size_t columns_at_once = std::max<size_t>(1, kSharedBytes / weights.run().Bytes());
    for (size_t first = 0; first < x.tokens; first += kColumnTokens) {
      const size_t tokens = std::min(kColumnTokens, x.tokens - first);
      size_t listed = 0;
      for (size_t t = 0; t < tokens; ++t) listed += list(first + t).count;
      const size_t parts = std::clamp<size_t>(listed / Grain(weights.rows()), 1, threads);
      const auto sums_of = [&](size_t t, size_t part) { return sums + (t * parts + part) * count; };
      executor.Run(parts, [&](size_t part) {
        for (size_t t = 0; t < tokens; ++t) std::fill(sums_of(t, part), sums_of(t, part) + count, 0);
        if (tokens == 1) {
          const IndexList columns = list(first);
          const size_t begin = PartBegin(columns.count, part, parts);
          const IndexList mine = columns.Part(begin, PartBegin(columns.count, part + 1, parts) - begin);
          weights.AddColumns(InTurns(mine, order + begin), x.Row(first), sums_of(0, part));
          return;
        }
        const size_t end = PartBegin(weights.cols(), part + 1, parts);
        for (size_t col = PartBegin(weights.cols(), part, parts); col < end; col += columns_at_once) {
          for (size_t t = 0; t < tokens; ++t) {
            const IndexList mine = ListedIn(list(first + t), col, std::min(col + columns_at_once, end));
            if (mine.count != 0) weights.AddColumns(mine, x.Row(first + t), sums_of(t, part));
          }
        }
      });
      ParallelRanges(executor, tokens, Grain(weights.rows(), parts), 1, [&](size_t begin, size_t end) {
        for (size_t t = begin; t < end; ++t) {
          weights.StoreSums(parts, x, first + t, sums_of(t, 0), y.Row(first + t));
        }
      });
    }
  } else {
    ParallelRanges(executor, weights.tiles(), Grain(weights.cols(), kRowsOfTile, x.tokens), 1,
                   [&](size_t begin, size_t end) {
                     for (size_t tile = begin; tile < end; tile += Weights::kTileGroup) {
                       const size_t tiles = std::min(Weights::kTileGroup, end - tile);
                       for (size_t t = 0; t < x.tokens; ++t) {
                         weights.MultiplyTilesByRuns(tile, tiles, list(t), x, t, y.Row(t));
                       }
                     }
                   });
  }
}

// y of few tokens, one step a row or one for each group of columns on either side.
template <LevelFormat W>
void MultiplyQuads(Executor& executor, ProductScratch& scratch, const QuadWeights<W>& weights,
                   const InputRows<int8_t>& x, MatrixView<float> y) {
  scratch.runs().FindInUnits(weights, x.step_groups);
  const QuadProduct<W> product(weights, scratch.runs(), InputsOfRuns<W>(scratch, x), x, y);
  ParallelRanges(executor, weights.blocks(), Grain(weights.cols(), x.tokens, kVectorBytes), 1,
                 [&](size_t begin, size_t end) { product.Multiply(begin, end); });
}

// y of many tokens, steps for groups of columns on either side.
template <LevelFormat W, class Weights>
void MultiplyBlockRuns(Executor& executor, ProductScratch& scratch, const Weights& weights, const InputRows<int8_t>& x,
                       MatrixView<float> y) {
  if constexpr (std::is_same_v<Weights, QuadWeights<W>>) {
    scratch.runs().FindInUnits(weights, x.step_groups);
  } else {
    scratch.runs().FindAnywhere(weights.step_groups(), x.step_groups, kAmxCols);
  }
  const BlockRunsProduct<W, Weights> product(weights, scratch.runs(), InputsOfRuns<W>(scratch, x), x, y);
  EachShareOfBlocks(
      executor, scratch, product.blocks(), weights.cols(), x.tokens, [&](size_t) { return product.ScratchBytes(); },
      [&](size_t begin, size_t end, std::byte* memory) { product.Multiply(begin, end, memory); });
}

// Products of rows with steps for groups of columns on either side.
template <LevelFormat W>
RowRunsProduct<W> RowRunsOf(ProductScratch& scratch, const RowWeights<W>& weights, const InputRows<int8_t>& x,
                            MatrixView<float> y) {
  scratch.runs().FindAnywhere(weights.step_groups(), x.step_groups, kVectorBytes);
  return RowRunsProduct<W>(weights, scratch.runs(), InputsOfRuns<W>(scratch, x), x, y);
}
// f(begin, end, memory of the product) for shares of n rows.
template <class Product, class F>
void EachShareOfRows(Executor& executor, ProductScratch& scratch, const Product& product, size_t n, size_t grain,
                     F&& f) {
  const size_t bytes = RoundUp(product.ScratchBytes(), kVectorBytes);
  std::byte* const memory = scratch.Bytes(SizeProduct(executor.Threads(), bytes));
  ParallelRanges(executor, n, grain, kRowsAtOnce,
                 [&](size_t begin, size_t end, size_t part) { f(begin, end, memory + part * bytes); });
}

// y of all rows and tokens. (Kernels that the type never has are not compiled.)
template <Operand W, Operand X, class U>
void MultiplyByKernel(Executor& executor, ProductScratch& scratch, const SimdMatrix<W, X, U>& matrix, SimdRows<X>& x,
                      MatrixView<float> y, ProductKernel kernel) {
  using Facts = ProductFacts<W, X, U>;
  using F = FormatOf<W>;
  using Weights = typename SimdMatrix<W, X, U>::Weights;
  const Weights& weights = matrix.weights();
  const InputRows<typename Facts::Level> inputs(x);
  const size_t grain = Grain(matrix.cols(), x.rows());
  // Shares of the rows: of one token in turns, or many(begin, end).
  const auto each_range = [&](size_t multiple, auto&& many) {
    ParallelRanges(executor, matrix.rows(), grain, multiple, [&](size_t begin, size_t end) {
      if (x.rows() == 1) return MultiplyOneToken(matrix, inputs, begin, end, y);
      many(begin, end);
    });
  };
  switch (kernel) {
    case ProductKernel::kLookups:
      if constexpr (Facts::kLayout == WeightLayout::kLookups) {
        const size_t parts = RangeCount(executor, matrix.rows(), grain, Weights::kRowMultiple);
        const LookupTablesOf<typename Weights::Tables, X> tables(executor, parts, x);
        return ParallelRanges(
            executor, matrix.rows(), grain, Weights::kRowMultiple, [&](size_t begin, size_t end, size_t part) {
              weights.Multiply(
                  begin, end, [&](size_t t) { return tables.Of(t, part); }, [&](size_t t) { return inputs.Step(t); },
                  DotsAreFloats<F, typename Facts::Level>(matrix.cols()), y);
            });
      }
      break;
    case ProductKernel::kQuads:
      if constexpr (Facts::kLayout == WeightLayout::kQuads) {
        return MultiplyQuads(executor, scratch, weights, inputs, y);
      }
      break;
    case ProductKernel::kBlockRuns:
      if constexpr (Facts::kHasBlockRuns) return MultiplyBlockRuns<F>(executor, scratch, weights, inputs, y);
      break;
    case ProductKernel::kColumns:
      if constexpr (Facts::kLayout == WeightLayout::kColumns) {
        return MultiplyByColumns(executor, scratch, matrix, inputs, y, [&](size_t) {
          return IndexList{nullptr, 0, matrix.cols()};
        });
      }
      break;
    case ProductKernel::kRows:
      if constexpr (Facts::kLayout == WeightLayout::kRows && Facts::kIsInteger && Facts::kHasOneStep) {
        return each_range(Weights::kRowMultiple,
                          [&](size_t begin, size_t end) { weights.Multiply(begin, end, inputs, y); });
      }
      break;
    case ProductKernel::kReals:
      if constexpr (!Facts::kIsInteger && Facts::kHasOneStep) {
        return each_range(Weights::kRowMultiple, [&](size_t begin, size_t end) {
          for (size_t t = 0; t < x.rows(); t += kFloatTokenBlock) {
            MultiplyFloats(weights, {nullptr, begin, end - begin}, inputs, t, std::min(kFloatTokenBlock, x.rows() - t),
                           y);
          }
        });
      }
      break;
    case ProductKernel::kRowRuns:
      if constexpr (Facts::kHasRowRuns) {
        const auto product = RowRunsOf(scratch, weights, inputs, y);
        return EachShareOfRows(executor, scratch, product, matrix.rows(), grain,
                               [&](size_t begin, size_t end, std::byte* memory) {
                                 product.Multiply({nullptr, begin, end - begin}, 0, x.rows(), memory);
                               });
      }
      break;
    case ProductKernel::kAnyRuns:
      if constexpr (!Facts::kHasOneStep &&
                    (Facts::kLayout == WeightLayout::kRows || Facts::kLayout == WeightLayout::kReals)) {
        return each_range(Weights::kRowMultiple,
                          [&](size_t begin, size_t end) { MultiplyByRuns(weights, begin, end, inputs, y); });
      }
      break;
    case ProductKernel::kBlocks:
      if constexpr (Facts::kHasBlocks) return MultiplyBlocks<F>(executor, scratch, weights, inputs, y);
      break;
    case ProductKernel::kBlockLookups:
      if constexpr (Facts::kHasBlockLookups) {
        using Lookup = BlockLookup<F, Facts::kBlockPlan>;
        return LookUpBlocks<F, Lookup>(executor, scratch, weights, BlockTablesOf<Lookup>(executor, x), inputs, y);
      }
      break;
  }
  BITNET_ASSERT(false, "ChooseKernel names a kernel that the layout does not have");
}

// Asserts, and does what has no terms or no outputs.
template <Operand W, Operand X, class U>
bool IsNothingToMultiply(const SimdMatrix<W, X, U>& matrix, const SimdRows<X>& x, MatrixView<float> y) {
  CheckProduct(matrix, x, y);
  if (matrix.rows() != 0 && matrix.cols() != 0 && x.rows() != 0) return false;
  for (size_t t = 0; t < x.rows(); ++t) std::fill(y.Row(t), y.Row(t) + y.cols(), 0.0f);
  return true;
}

// ---- The products.

// y [tokens, rows] = x [tokens, cols] * matrix^T.
template <Operand W, Operand X, class U>
void Multiply(Executor& executor, ProductScratch& scratch, const SimdMatrix<W, X, U>& matrix, SimdRows<X>& x,
              MatrixView<float> y) {
  CheckMultiplies<U>();
  if constexpr (U::kMultiplies) {
    if (IsNothingToMultiply(matrix, x, y)) return;
    MultiplyByKernel(executor, scratch, matrix, x, y, ChooseKernel<W, X, U>(x.rows()));
  }
}

// Only the outputs that `rows` lists for each token.
template <Operand W, Operand X, class U>
void MultiplyRows(Executor& executor, ProductScratch& scratch, const SimdMatrix<W, X, U>& matrix, SimdRows<X>& x,
                  const ChannelLists& rows, MatrixView<float> y) {
  CheckChoosesRows<U>();
  if constexpr (U::template kHas<ChosenRows>) {
    if (IsNothingToMultiply(matrix, x, y)) return;
    BITNET_ASSERT(rows.tokens() == x.rows(), "MatMulRows: a list of rows for each token");
    const ProductKernel kernel = ChooseKernel<W, X, U>(x.rows());
    if (IsWorthAll(rows, matrix.rows(), kernel)) return MultiplyByKernel(executor, scratch, matrix, x, y, kernel);
    const InputRows<LevelOf<FormatOf<X>>> inputs(x);
    if constexpr (ProductFacts<W, X, U>::kHasRowRuns) {
      const auto product = RowRunsOf(scratch, matrix.weights(), inputs, y);
      uint32_t* order = scratch.Order(matrix.rows());
      for (size_t t = 0; t < x.rows(); ++t) {
        EachShareOfRows(executor, scratch, product, rows.Count(t), Grain(matrix.cols()),
                        [&](size_t begin, size_t end, std::byte* memory) {
                          const IndexList list = InTurns({rows[t].data() + begin, 0, end - begin}, order + begin);
                          product.Multiply(list, t, t + 1, memory);
                        });
      }
    } else if (x.rows() == 1) {
      uint32_t* order = scratch.Order(matrix.rows());
      ParallelRanges(executor, rows.Count(0), Grain(matrix.cols()), kRowsAtOnce, [&](size_t begin, size_t end) {
        MultiplyListed(matrix, inputs, 0, InTurns({rows[0].data() + begin, 0, end - begin}, order + begin), y);
      });
    } else {
      const size_t rows_at_once = std::max<size_t>(1, kSharedBytes / (matrix.StoredBytes() / matrix.rows()));
      ParallelRanges(executor, matrix.rows(), Grain(matrix.cols(), x.rows()), 1, [&](size_t begin, size_t end) {
        for (size_t row = begin; row < end; row += rows_at_once) {
          for (size_t t = 0; t < x.rows(); ++t) {
            const IndexList all = {rows[t].data(), 0, rows.Count(t)};
            MultiplyListed(matrix, inputs, t, ListedIn(all, row, std::min(row + rows_at_once, end)), y);
          }
        }
      });
    }
  }
}

// All outputs, reading only the columns that x.nonzero() lists.
template <Operand W, Operand X, class U>
void MultiplyColumns(Executor& executor, ProductScratch& scratch, const SimdMatrix<W, X, U>& matrix, SimdRows<X>& x,
                     MatrixView<float> y) {
  CheckChoosesColumns<U>();
  if constexpr (U::template kHas<ChosenColumns>) {
    if (IsNothingToMultiply(matrix, x, y)) return;
    BITNET_ASSERT(x.nonzero().tokens() == x.rows(), "MatMulColumns: FindNonzero must come first");
    using Facts = ProductFacts<W, X, U>;
    const ProductKernel kernel = ChooseKernel<W, X, U>(x.rows());
    const InputRows<typename Facts::Level> inputs(x);
    if constexpr (Facts::kLayout == WeightLayout::kColumns) {
      if (kernel == ProductKernel::kColumns || !IsWorthAll(x.nonzero(), matrix.cols(), kernel)) {
        return MultiplyByColumns(executor, scratch, matrix, inputs, y, [&](size_t t) {
          return IndexList{x.nonzero()[t].data(), 0, x.nonzero().Count(t)};
        });
      }
    }
    if constexpr (Facts::kLayout == WeightLayout::kReals) {
      if (!matrix.is_finite()) {
        return ParallelRanges(executor, matrix.rows(), Grain(matrix.cols(), x.rows()), 1,
                              [&](size_t begin, size_t end) {
                                for (size_t r = begin; r < end; ++r) {
                                  for (size_t t = 0; t < x.rows(); ++t) {
                                    y.Row(t)[r] = DotRowOfColumns(matrix.weights(), r, inputs, t, x.nonzero()[t]);
                                  }
                                }
                              });
      }
    }
    MultiplyByKernel(executor, scratch, matrix, x, y, kernel);
  }
}

// values[0, cols) = step * level of a row.
template <Operand W, Operand X, class U>
void LookUpRow(const SimdMatrix<W, X, U>& matrix, size_t row, std::span<float> values) {
  CheckLooksUpRows<U>();
  if constexpr (U::template kHas<RowLookup>) {
    BITNET_ASSERT(row < matrix.rows(), "Embed: there is no such row");
    BITNET_ASSERT(values.size() == matrix.cols(), "Embed: the destination must hold one value a column");
    const auto& weights = matrix.weights();
    constexpr size_t kWindow = 1024;
    HWY_ALIGN float window[kWindow];
    for (size_t first = 0; first < matrix.cols(); first += kWindow) {
      const size_t n = std::min(kWindow, matrix.cols() - first);
      weights.UnpackRow(row, first, n, window);
      for (size_t i = 0; i < n; ++i) {
        values[first + i] =
            kIsFloat<FormatOf<W>> ? window[i] : weights.Step(row, weights.step_groups().Of(first + i)) * window[i];
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_PRODUCTS_INL_H_
