// The threads' shares of a product.
#if defined(BITNET_BACKEND_SIMD_PRODUCT_CALLS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_PRODUCT_CALLS_INL_H_
#undef BITNET_BACKEND_SIMD_PRODUCT_CALLS_INL_H_
#else
#define BITNET_BACKEND_SIMD_PRODUCT_CALLS_INL_H_
#endif

#include "bitnet/backend/check_shapes.h"
#include "bitnet/backend/simd/grain.h"
#include "bitnet/backend/simd/products-inl.h"
#include "bitnet/base/executor.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

class ProductCalls {
 public:
  explicit ProductCalls(Executor& executor) : executor_(executor) {}

  // The tables of the inputs, if their products are lookups. Of one token two copies, where a product has parts: of two
  // threads each mostly reads what it built, and lines that another core wrote take longer than building them. (More
  // copies, for more threads: who reads which is chance, and a caller that gets no workers builds them all.)
  template <Operand W, Operand X, class U>
  void PrepareInputs(const SimdMatrix<W, X, U>& matrix, SimdRows<X>& x) const {
    using Blocks = typename Product<FormatOf<W>, FormatOf<X>>::Lookup;
    if constexpr (SimdMatrix<W, X, U>::kCanBeByLookups) {
      if (matrix.by_lookups() && x.rows() == 1) {
        using Tables = LookupTables<FormatOf<W>, SimdMatrix<W, X, U>::kPlan>;
        const size_t cols = x.cols();
        const LevelOf<FormatOf<X>>* inputs = std::as_const(x).Row(0);
        const size_t copies =
            std::clamp<size_t>(RangeCount(executor_, matrix.rows(), Grain(matrix.cols()), RowMultiple(matrix)), 1, 2);
        const size_t bytes = Tables::Bytes(cols);
        uint8_t* tables = x.Prepare(Tables::Key(), SizeProduct(copies, bytes));
        executor_.Run(copies,
                      [&](size_t part) { Tables::Build(inputs, cols, Tables::Groups(cols), tables + part * bytes); });
      }
    }
    if constexpr (Blocks::kPays) {
      if (Product<FormatOf<W>, FormatOf<X>>::UsesTables(x.rows()) && x.segments().Count() == 1 &&
          matrix.segments().Count() == 1) {
        BuildBlockTables<Blocks>(std::as_const(x), x.Prepare(Blocks::Key(), Blocks::TableBytes(x.rows(), x.cols())));
      }
    }
  }

  template <Operand W, Operand X, class U>
  void Embed(const SimdMatrix<W, X, U>& matrix, std::span<const uint32_t> rows, MatrixView<float> y) const {
    CheckEmbed(matrix, rows, y);
    for (size_t i = 0; i < rows.size(); ++i) {
      const size_t row = rows[i];
      constexpr size_t kWindow = 1024;
      HWY_ALIGN float window[kWindow];
      for (size_t first = 0; first < matrix.cols(); first += kWindow) {
        const size_t n = std::min(kWindow, matrix.cols() - first);
        matrix.UnpackRow(row, first, n, window);
        for (size_t c = 0; c < n; ++c) {
          y.Row(i)[first + c] =
              kIsFloat<FormatOf<W>> ? window[c] : matrix.Step(row, matrix.segments().Of(first + c)) * window[c];
        }
      }
    }
  }
  template <Operand W, Operand X, class U>
  void MatMul(const SimdMatrix<W, X, U>& matrix, const SimdRows<X>& x, MatrixView<float> y) const {
    CheckProduct(matrix, x, y);
    const auto product = ProductOf(matrix, x, y);
    if (MultiplyBlocks(matrix, x, product)) return;
    if (matrix.by_columns()) {
      MultiplyColumns(matrix, x.rows(), product, [&](size_t) { return IndexList{nullptr, 0, matrix.cols()}; });
    } else {
      ParallelRanges(executor_, matrix.rows(), Grain(matrix.cols(), x.rows()), RowMultiple(matrix),
                     [&](size_t begin, size_t end, size_t part) { product.Rows(begin, end, part); });
    }
  }

  template <Operand W, Operand X, class U>
  void MatMulRows(const SimdMatrix<W, X, U>& matrix, const SimdRows<X>& x, const ChannelLists& rows,
                  MatrixView<float> y) const {
    CheckProduct(matrix, x, y);
    BITNET_ASSERT(rows.tokens() == x.rows(), "MatMulRows: a list of rows for each token");
    const auto product = ProductOf(matrix, x, y);
    if (IsWorthAll(rows, matrix.rows(), product)) return MatMul(matrix, x, y);
    if (x.rows() == 1 || x.rows() < executor_.Threads()) {
      for (size_t t = 0; t < x.rows(); ++t) {
        thread_local AlignedVector<uint32_t> order_buffer;
        if (order_buffer.size() < matrix.rows()) order_buffer.resize(matrix.rows());
        uint32_t* order = order_buffer.data();
        ParallelRanges(executor_, rows.Count(t), Grain(matrix.cols()), kRowsAtOnce, [&](size_t begin, size_t end) {
          product.OneToken(t, InTurns({rows[t].data() + begin, 0, end - begin}, order + begin));
        });
      }
    } else {
      ParallelRanges(executor_, x.rows(), Grain(matrix.cols(), matrix.rows()), 1, [&](size_t begin, size_t end) {
        for (size_t t = begin; t < end; ++t) product.OneToken(t, {rows[t].data(), 0, rows.Count(t)});
      });
    }
  }

  template <Operand W, Operand X, class U>
  void MatMulColumns(const SimdMatrix<W, X, U>& matrix, const SimdRows<X>& x, MatrixView<float> y) const {
    CheckProduct(matrix, x, y);
    BITNET_ASSERT(x.nonzero().tokens() == x.rows(), "MatMulColumns: FindNonzero must come first");
    if (matrix.by_columns()) {
      const auto product = ProductOf(matrix, x, y);
      if (IsWorthAll(x.nonzero(), matrix.cols(), product) && MultiplyBlocks(matrix, x, product)) return;
      MultiplyColumns(matrix, x.rows(), product, [&](size_t token) {
        return IndexList{x.nonzero()[token].data(), 0, x.nonzero().Count(token)};
      });
      return;
    }
    if constexpr (kIsFloat<FormatOf<W>>) {
      if (!matrix.is_finite()) {
        const InputRows<LevelOf<FormatOf<X>>> inputs(x);
        ParallelRanges(executor_, matrix.rows(), Grain(matrix.cols(), x.rows()), 1, [&](size_t begin, size_t end) {
          for (size_t r = begin; r < end; ++r) {
            for (size_t t = 0; t < x.rows(); ++t) {
              y.Row(t)[r] = DotRowOfColumns(matrix, r, inputs, t, x.nonzero()[t]);
            }
          }
        });
        return;
      }
    }
    MatMul(matrix, x, y);
  }

 private:
  template <Operand W, Operand X, class U>
  static auto ProductOf(const SimdMatrix<W, X, U>& matrix, const SimdRows<X>& x, MatrixView<float> y) {
    return Product<FormatOf<W>, FormatOf<X>>(matrix, InputRows<LevelOf<FormatOf<X>>>(x), y);
  }

  // Rows are split among threads at multiples of this many.
  template <Operand W, Operand X, class U>
  static size_t RowMultiple(const SimdMatrix<W, X, U>& matrix) {
    return matrix.by_lookups() ? kVectorBytes : kRowTile;
  }

  // All outputs of many tokens, in blocks of rows; false if it is not done (Product::Blocks).
  template <Operand W, Operand X, class U>
  bool MultiplyBlocks(const SimdMatrix<W, X, U>& matrix, const SimdRows<X>& x,
                      const Product<FormatOf<W>, FormatOf<X>>& product) const {
    const size_t blocks = product.Blocks();
    if (blocks == 0) return false;
    const uint8_t* tables = nullptr;
    if constexpr (Product<FormatOf<W>, FormatOf<X>>::Lookup::kPays) {
      if (Product<FormatOf<W>, FormatOf<X>>::UsesTables(x.rows()))
        tables = BlockTablesOf<typename Product<FormatOf<W>, FormatOf<X>>::Lookup>(x);
    }
    const size_t most = std::min(blocks, executor_.Threads());
    const size_t parts = std::clamp<size_t>(blocks / Grain(matrix.cols(), x.rows(), kVectorBytes), 1, most);
    // (The caller's: a thread that comes late to its first task would allocate.)
    thread_local AlignedVector<std::byte> scratch;
    const size_t bytes = RoundUp(product.ScratchBytes((blocks + parts - 1) / parts), kVectorBytes);
    const size_t all_bytes = ElementCount<std::byte>(parts, bytes);
    if (scratch.size() < all_bytes) scratch.resize(all_bytes);
    executor_.Run(parts, [&, memory = scratch.data()](size_t part) {
      product.MultiplyBlocks(PartBegin(blocks, part, parts), PartBegin(blocks, part + 1, parts), tables,
                             memory + part * bytes);
    });
    return true;
  }

  template <class Blocks, Operand X>
  void BuildBlockTables(const SimdRows<X>& x, uint8_t* tables) const {
    ParallelRanges(executor_, x.rows(), Grain(size_t{16}, x.cols()), 1, [&](size_t begin, size_t end) {
      for (size_t t = begin; t < end; ++t) {
        Blocks::BuildTables(x.Row(t), x.cols(), tables + t * Blocks::TableBytes(x.cols()));
      }
    });
  }
  // The tables of all tokens: those that PrepareInputs left, or built here.
  template <class Blocks, Operand X>
  const uint8_t* BlockTablesOf(const SimdRows<X>& x) const {
    if (x.prepared().key == Blocks::Key()) return x.prepared().bytes.data();
    thread_local AlignedVector<uint8_t> tables;
    const size_t bytes = ElementCount<uint8_t>(Blocks::TableBytes(x.rows(), x.cols()));
    if (tables.size() < bytes) tables.resize(bytes);
    BuildBlockTables<Blocks>(x, tables.data());
    return tables.data();
  }

  // Whether so many of `width` channels are listed that multiplying all of them takes less time: many tokens share the
  // weights that are read and unpacked. In units of one token's product with all channels, skipping costs what is
  // listed; all of them cost the unpacking and a share of each token. (Sapphire Rapids, 6912 x 2560, one thread:
  // skipping 0.29 ms, the matrix unit, at its slowest, 1.9 ms and 0.062 a token, vectors 0.1 a token, lookups 2 ms and
  // 0.066 a token.)
  template <class P>
  static bool IsWorthAll(const ChannelLists& lists, size_t width, const P& product) {
    if (lists.tokens() == 1) return false;
    size_t listed = 0;
    for (size_t t = 0; t < lists.tokens(); ++t) listed += lists.Count(t);
    const bool is_fast = product.Blocks() != 0 && (HasMatrixUnit() || P::UsesTables(lists.tokens()));
    const double all = (is_fast ? 6.5 : 2.0) + (is_fast ? 0.21 : 0.35) * static_cast<double>(lists.tokens());
    return static_cast<double>(listed) >= all * static_cast<double>(width);
  }

  // y of all tokens from the columns that list(token) gives. For one token the columns are split among threads, so that
  // each reads whole columns, which are long spans of memory (half columns by two threads are no faster than one
  // thread: what the hardware fetches ahead belongs to the other). Of many tokens a thread takes tiles of rows, one
  // after the other, that stay in its cache while all tokens go by.
  template <class M, class P, class List>
  void MultiplyColumns(const M& matrix, size_t tokens, const P& product, List&& list) const {
    constexpr size_t kBlockRows = M::Codes::kBlockCodes;
    if (tokens == 1 && product.has_one_segment()) {
      const IndexList columns = list(0);
      const size_t threads = executor_.Threads();  // asked once: at exit there may be fewer
      const size_t parts = std::clamp<size_t>(columns.count / Grain(matrix.rows()), 1, threads);
      const size_t count = SizeProduct(kBlockRows, matrix.tiles());
      thread_local AlignedVector<int32_t> buffer;
      // (For all threads at once, so that decoding allocates nothing when a later token has more columns.)
      const size_t all_counts = ElementCount<int32_t>(threads, count);
      if (buffer.size() < all_counts) buffer.resize(all_counts);
      int32_t* sums = buffer.data();
      thread_local AlignedVector<uint32_t> order_buffer;
      if (order_buffer.size() < matrix.cols()) order_buffer.resize(matrix.cols());
      uint32_t* order = order_buffer.data();
      executor_.Run(parts, [&](size_t part) {
        const size_t begin = PartBegin(columns.count, part, parts);
        const IndexList mine = columns.Part(begin, PartBegin(columns.count, part + 1, parts) - begin);
        std::fill(sums + part * count, sums + (part + 1) * count, 0);
        product.AddColumnsOfPart(0, InTurns(mine, order + begin), sums + part * count);
      });
      product.StoreParts(0, parts, sums);
      return;
    }
    ParallelRanges(executor_, matrix.tiles(), Grain(matrix.cols(), kBlockRows, tokens), 1,
                   [&](size_t begin, size_t end) {
                     for (size_t tile = begin; tile < end; ++tile) {
                       for (size_t token = 0; token < tokens; ++token) {
                         product.Columns(tile, tile + 1, token, list(token));
                       }
                     }
                   });
  }

  Executor& executor_;
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_PRODUCT_CALLS_INL_H_
