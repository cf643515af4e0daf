// SimdBackend for the target that Highway is compiling: docs/numerics.md in vectors. Its type names the target
// (bitnet::N_AVX2::SimdBackend), so that vector code of two targets does not mix.
//
// All other functions (StepOf, QuantizedMatrix::From, Normal, ThreadPool, ...) carry no target, as any inline function:
// of two files that were compiled with different -march the linker keeps either's, and the program may die on the CPU
// that lacks its instructions. So all files of a program that include bitnet have the same -march; for several CPUs one
// file is compiled with baseline flags and hwy/foreach_target.h.
//
// Programs include backend/simd/simd_backend.h; programs for several targets include this file after
// hwy/foreach_target.h (examples/many_targets.cc).
#if defined(BITNET_BACKEND_SIMD_SIMD_BACKEND_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_SIMD_BACKEND_INL_H_
#undef BITNET_BACKEND_SIMD_SIMD_BACKEND_INL_H_
#else
#define BITNET_BACKEND_SIMD_SIMD_BACKEND_INL_H_
#endif

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/reference.h"
#include "bitnet/backend/simd/attention-inl.h"
#include "bitnet/backend/simd/elementwise-inl.h"
#include "bitnet/backend/simd/lists-inl.h"
#include "bitnet/backend/simd/products-inl.h"
#include "bitnet/backend/simd/quantize-inl.h"
#include "bitnet/base/size.h"
#include "bitnet/tensor/aligned_vector.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

class SimdBackend : public ReferenceBackend {
 public:
  template <Format W, Format X>
  using Matrix = SimdMatrix<W, X>;

  explicit SimdBackend(Executor& executor = DefaultExecutor()) : ReferenceBackend(executor) {}

  template <Format X, Format W>
  Matrix<W, X> Prepare(const QuantizedMatrix<W>& weights, Access access) const {
    BITNET_ASSERT((DotFits<W, X>(weights.cols())), "Prepare: a dot product of this many columns could reach 2^29");
    return Matrix<W, X>(weights, access, executor());
  }

  // The tables of the inputs, if their products are lookups. Of one token two copies, where a product has parts: of two
  // threads each mostly reads what it built, and lines that another core wrote take longer than building them. (More
  // copies, for more threads: who reads which is chance, and a caller that gets no workers builds them all.)
  template <Format W, Format X>
  void PrepareInputs(const Matrix<W, X>& matrix, QuantizedTokens<X>& x) const {
    using Blocks = typename Product<W, X>::Lookup;
    if constexpr (Matrix<W, X>::kCanBeByLookups) {
      if (matrix.by_lookups() && x.tokens() == 1) {
        using Tables = LookupTables<W, Matrix<W, X>::kPlan>;
        const size_t cols = x.cols();
        const LevelOf<X>* inputs = std::as_const(x).Row(0);
        const size_t copies =
            std::clamp<size_t>(RangeCount(executor(), matrix.rows(), Grain(matrix.cols()), RowMultiple(matrix)), 1, 2);
        const size_t bytes = Tables::Bytes(cols);
        uint8_t* tables = x.Prepare(Tables::Key(), SizeProduct(copies, bytes));
        executor().Run(copies,
                       [&](size_t part) { Tables::Build(inputs, cols, Tables::Groups(cols), tables + part * bytes); });
      }
    }
    if constexpr (Blocks::kPays) {
      if (Product<W, X>::UsesTables(x.tokens()) && x.segments().Count() == 1 && matrix.segments().Count() == 1) {
        BuildBlockTables<Blocks>(std::as_const(x), x.Prepare(Blocks::Key(), Blocks::TableBytes(x.tokens(), x.cols())));
      }
    }
  }

  template <Format W, Format X>
  void DequantizeRow(const Matrix<W, X>& matrix, size_t row, std::span<float> values) const {
    BITNET_ASSERT(row < matrix.rows(), "DequantizeRow: there is no such row");
    BITNET_ASSERT(values.size() == matrix.cols(), "DequantizeRow: the destination must hold one value a column");
    constexpr size_t kWindow = 1024;
    HWY_ALIGN float window[kWindow];
    for (size_t first = 0; first < matrix.cols(); first += kWindow) {
      const size_t n = std::min(kWindow, matrix.cols() - first);
      matrix.UnpackRow(row, first, n, window);
      for (size_t i = 0; i < n; ++i) {
        values[first + i] = kIsFloat<W> ? window[i] : matrix.Step(row, matrix.segments().Of(first + i)) * window[i];
      }
    }
  }

  template <Format W, Format X>
  void MatMul(const Matrix<W, X>& matrix, const QuantizedTokens<X>& x, MatrixView<float> y) const {
    CheckShapes(matrix, x, y);
    const auto product = ProductOf(matrix, x, y);
    if (MultiplyBlocks(matrix, x, product)) return;
    if (matrix.by_columns()) {
      MultiplyColumns(matrix, x.tokens(), product, [&](size_t) { return IndexList{nullptr, 0, matrix.cols()}; });
    } else {
      ParallelRanges(executor(), matrix.rows(), Grain(matrix.cols(), x.tokens()), RowMultiple(matrix),
                     [&](size_t begin, size_t end, size_t part) { product.Rows(begin, end, part); });
    }
  }

  template <Format W, Format X>
  void MatMulRows(const Matrix<W, X>& matrix, const QuantizedTokens<X>& x, const ChannelLists& rows,
                  MatrixView<float> y) const {
    CheckShapes(matrix, x, y);
    BITNET_ASSERT(rows.tokens() == x.tokens(), "MatMulRows: a list of rows for each token");
    const auto product = ProductOf(matrix, x, y);
    if (IsWorthAll(rows, matrix.rows(), product)) return MatMul(matrix, x, y);
    if (x.tokens() == 1 || x.tokens() < executor().Threads()) {
      for (size_t t = 0; t < x.tokens(); ++t) {
        thread_local AlignedVector<uint32_t> order_buffer;
        if (order_buffer.size() < matrix.rows()) order_buffer.resize(matrix.rows());
        uint32_t* order = order_buffer.data();
        ParallelRanges(executor(), rows.Count(t), Grain(matrix.cols()), kRowsAtOnce, [&](size_t begin, size_t end) {
          product.OneToken(t, InTurns({rows[t].data() + begin, 0, end - begin}, order + begin));
        });
      }
    } else {
      ParallelRanges(executor(), x.tokens(), Grain(matrix.cols(), matrix.rows()), 1, [&](size_t begin, size_t end) {
        for (size_t t = begin; t < end; ++t) product.OneToken(t, {rows[t].data(), 0, rows.Count(t)});
      });
    }
  }

  template <Format W, Format X>
  void MatMulColumns(const Matrix<W, X>& matrix, const QuantizedTokens<X>& x, MatrixView<float> y) const {
    CheckShapes(matrix, x, y);
    BITNET_ASSERT(x.nonzero().tokens() == x.tokens(), "MatMulColumns: FindNonzero must come first");
    if (matrix.by_columns()) {
      const auto product = ProductOf(matrix, x, y);
      if (IsWorthAll(x.nonzero(), matrix.cols(), product) && MultiplyBlocks(matrix, x, product)) return;
      MultiplyColumns(matrix, x.tokens(), product, [&](size_t token) {
        return IndexList{x.nonzero()[token].data(), 0, x.nonzero().Count(token)};
      });
      return;
    }
    if constexpr (kIsFloat<W>) {
      if (!matrix.is_finite()) {
        const InputRows<LevelOf<X>> inputs(x);
        ParallelRanges(executor(), matrix.rows(), Grain(matrix.cols(), x.tokens()), 1, [&](size_t begin, size_t end) {
          for (size_t r = begin; r < end; ++r) {
            for (size_t t = 0; t < x.tokens(); ++t) {
              y.Row(t)[r] = DotRowOfColumns(matrix, r, inputs, t, x.nonzero()[t]);
            }
          }
        });
        return;
      }
    }
    MatMul(matrix, x, y);
  }

  template <AnyQuantizer Q>
  void Quantize(MatrixView<const float> x, QuantizedTokens<typename Q::Format>& out) const {
    out.Resize(x.rows(), x.cols(), kGroupSize<typename Q::Granularity>);
    EachToken(x, [&](size_t t) { QuantizeToken<Q>(x[t], t, 0, out); });
  }

  template <AnyQuantizer Q>
  void QuantizeTopK(MatrixView<const float> x, size_t k, QuantizedTokens<typename Q::Format>& out) const {
    static_assert(HasZero<typename Q::Format>(),
                  "bitnet: top-k sets inputs to zero, so its quantizer needs a format with the level 0");
    out.Resize(x.rows(), x.cols(), kGroupSize<typename Q::Granularity>);
    EachToken(x, [&](size_t t) {
      TopK top = FindTopKOfSpan(x[t], k);
      auto* levels = out.Row(t);
      if constexpr (kIsBuiltInQuantizer<Q>) {
        QuantizeToken<Q>(x[t], t, static_cast<int32_t>(top.threshold.bits), out);
        if (!top.leaves_equals) return;
      } else {
        QuantizeToken<Q>(x[t], t, 0, out);
      }
      for (size_t c = 0; c < x.cols(); ++c) {
        if (!KeepNext(top.threshold, x[t][c])) levels[c] = 0;
      }
    });
  }

  template <Format X>
  void FindNonzero(QuantizedTokens<X>& x) const {
    ChannelLists& lists = x.nonzero();
    lists.Resize(x.tokens(), x.cols());
    ParallelRanges(executor(), x.tokens(), Grain(x.cols()), 1, [&](size_t begin, size_t end) {
      for (size_t t = begin; t < end; ++t) lists.SetCount(t, ListNonzero(x.Row(t), x.cols(), lists.Row(t)));
    });
  }

  void RmsNorm(MatrixView<const float> x, std::span<const float> gain, float eps, MatrixView<float> y) const {
    BITNET_ASSERT(gain.size() == x.cols() && y.cols() == x.cols() && y.rows() == x.rows(),
                  "RmsNorm: x, y and gain must have the same width");
    EachToken(x, [&](size_t t) {
      const float r = InverseRms(SumOfSquares(x.Row(t), x.cols()), x.cols(), eps);
      ScaleByGain(x.Row(t), r, gain.data(), x.cols(), y.Row(t));
    });
  }

  void Rotate(std::span<const float> cos, std::span<const float> sin, MatrixView<float> heads) const {
    const size_t half = heads.cols() / 2;
    BITNET_ASSERT(heads.cols() % 2 == 0 && cos.size() == half && sin.size() == half,
                  "Rotate: head_dim must be even, with an angle for each pair");
    for (size_t h = 0; h < heads.rows(); ++h) RotateHalves(cos.data(), sin.data(), half, heads.Row(h));
  }

  void Add(MatrixView<const float> x, MatrixView<float> y) const {
    BITNET_ASSERT(x.rows() == y.rows() && x.cols() == y.cols(), "Add: x and y must have the same shape");
    EachToken(x, [&](size_t t) { AddTo(x.Row(t), x.cols(), y.Row(t)); });
  }

  template <Activation A>
  void OpenGates(MatrixView<const float> gate, ChannelLists& open) const {
    open.Resize(gate.rows(), gate.cols());
    EachToken(gate, [&](size_t t) { open.SetCount(t, ListOpenGates(A(), gate.Row(t), gate.cols(), open.Row(t))); });
  }

  template <Activation A>
  void Glu(MatrixView<const float> gate, MatrixView<const float> up, const ChannelLists& open,
           MatrixView<float> y) const {
    CheckGlu(gate, up, open, y);
    EachToken(gate, [&](size_t t) {
      if (open.Count(t) == gate.cols()) {
        GluOfOpen(A(), gate.Row(t), up.Row(t), gate.cols(), y.Row(t));
      } else {
        GluOfListed(A(), gate.Row(t), up.Row(t), open[t], gate.cols(), y.Row(t));
      }
    });
  }

  template <Format Q, Format K, Format K0, Format V, Format V0>
  void Attend(const QuantizedTokens<Q>& q, const HeadCache<K, K0>& keys, const HeadCache<V, V0>& values,
              const AttentionShape& shape, AttentionScratch& scratch, MatrixView<float> out) const {
    CheckAttend(q, keys, values, shape, out);
    using Call = AttentionCall<Q, K, K0, V, V0>;
    const Call call(q, keys, values, shape, out);
    const size_t tiles = call.tiles();
    if (tiles == 0) return;
    // Memory for the longest context: decoding asks for the same at each token.
    const size_t threads = executor().Threads();
    const size_t whole_bytes = SizeSum(call.WorkerBytes(), call.TileBytes(1));
    const size_t split_bytes = call.TileBytes(call.max_blocks());
    std::byte* const memory =
        scratch.Reserve(SizeSum(SizeProduct(threads, whole_bytes), SizeProduct(threads - 1, split_bytes)));
    const auto split_tile = [&](size_t i) {
      return call.TileAt(memory + threads * whole_bytes + i * split_bytes, call.max_blocks());
    };

    const uint64_t work = uint64_t{2} * shape.head_dim * (shape.first_position + out.rows()) * out.rows() * shape.heads;
    const auto parts = static_cast<size_t>(std::clamp<uint64_t>(work / kWorthAThread, 1, threads));
    // Each part takes as many whole tiles as the others. The tiles left are split: all parts score some of their
    // blocks, then sum up some, then merge some rows.
    const size_t split = tiles % parts;
    const size_t blocks = call.blocks();
    const auto split_begin = [&](size_t part) { return PartBegin(split * blocks, part, parts); };
    const auto each_split_block = [&](size_t part, auto& worker, auto&& taken, auto&& f) {
      for (size_t i = split_begin(part); i < split_begin(part + 1);) {
        const size_t tile = i / blocks;
        const size_t end = std::min(split_begin(part + 1), (tile + 1) * blocks);
        worker.Take(tiles - split + tile, i % blocks, end - tile * blocks, nullptr);
        taken(split_tile(tile));
        for (; i < end; ++i) {
          if (i % blocks < worker.tile_blocks()) f(i % blocks, split_tile(tile));
        }
      }
    };
    executor().Run(parts, [&](size_t part) {
      std::byte* const own = memory + part * whole_bytes;
      typename Call::Worker worker(call, own);
      const auto tile = call.TileAt(own + call.WorkerBytes(), 1);
      const uint8_t* const split_keys =
          split == 0 ? nullptr : call.Keys(tiles - split + split_begin(part) / blocks, split_begin(part) % blocks);
      for (size_t i = part; i < tiles - split; i += parts) {
        worker.Run(i, tile, i + parts < tiles - split ? call.Keys(i + parts, 0) : split_keys);
      }
      each_split_block(
          part, worker, [](const auto&) {}, [&](size_t b, const auto& of) { worker.Score(b, of); });
    });
    if (split == 0) return;
    executor().Run(parts, [&](size_t part) {
      typename Call::Worker worker(call, memory + part * whole_bytes);
      each_split_block(
          part, worker, [&](const auto& of) { worker.FindMaxima(of); },
          [&](size_t b, const auto& of) { worker.SumValues(b, of); });
    });
    executor().Run(parts, [&](size_t part) {
      typename Call::Worker worker(call, memory + part * whole_bytes);
      for (size_t i = part; i < split * kTileRows; i += parts) {
        worker.Take(tiles - split + i / kTileRows, 0, 0, nullptr);
        if (i % kTileRows < worker.count()) worker.Merge(i % kTileRows, split_tile(i / kTileRows));
      }
    });
  }

 private:
  // A part of an operation should be worth this many multiply-adds: waking a thread costs some microseconds.
  static constexpr size_t kWorthAThread = 64 * 1024;
  // How many elements that is, of which each is worth the product of the factors.
  static constexpr size_t Grain(std::unsigned_integral auto... factors) {
    return static_cast<size_t>(std::max<uint64_t>(1, kWorthAThread / std::max<uint64_t>(1, (uint64_t{factors} * ...))));
  }

  // f(t) for the rows of x, split among threads. An element counts as four multiply-adds.
  template <class T, class F>
  void EachToken(MatrixView<T> x, F&& f) const {
    ParallelRanges(executor(), x.rows(), Grain(size_t{4}, x.cols()), 1, [&](size_t begin, size_t end) {
      for (size_t t = begin; t < end; ++t) f(t);
    });
  }

  // One token's levels and steps; levels of magnitudes below min_bits are 0 (built-in quantizers only).
  template <class Q>
  static void QuantizeToken(std::span<const float> x, size_t t, int32_t min_bits,
                            QuantizedTokens<typename Q::Format>& out) {
    const Segments segments = out.segments();
    for (size_t begin = 0; begin < x.size(); begin = segments.End(begin)) {
      const auto span = x.subspan(begin, segments.End(begin) - begin);
      float& step = out.Step(t, segments.Of(begin));
      auto* levels = out.Row(t) + begin;
      if constexpr (kIsBuiltInQuantizer<Q>) {
        step = StepOfSpan<typename Q::Format, typename Q::Rule>(span);
        LevelsOfSpan<typename Q::Format>(span.data(), span.size(), InverseStep(step), min_bits, levels);
      } else {
        step = Q::Quantize(span, levels);
      }
    }
  }

  template <Format W, Format X>
  static auto ProductOf(const Matrix<W, X>& matrix, const QuantizedTokens<X>& x, MatrixView<float> y) {
    return Product<W, X>(matrix, InputRows<LevelOf<X>>(x), y);
  }

  // Rows are split among threads at multiples of this many.
  template <Format W, Format X>
  static size_t RowMultiple(const Matrix<W, X>& matrix) {
    return matrix.by_lookups() ? kVectorBytes : kRowTile;
  }

  // All outputs of many tokens, in blocks of rows; false if it is not done (Product::Blocks).
  template <Format W, Format X>
  bool MultiplyBlocks(const Matrix<W, X>& matrix, const QuantizedTokens<X>& x, const Product<W, X>& product) const {
    const size_t blocks = product.Blocks();
    if (blocks == 0) return false;
    const uint8_t* tables = nullptr;
    if constexpr (Product<W, X>::Lookup::kPays) {
      if (Product<W, X>::UsesTables(x.tokens())) tables = BlockTablesOf<typename Product<W, X>::Lookup>(x);
    }
    const size_t most = std::min(blocks, executor().Threads());
    const size_t parts = std::clamp<size_t>(blocks / Grain(matrix.cols(), x.tokens(), kVectorBytes), 1, most);
    // (The caller's: a thread that comes late to its first task would allocate.)
    thread_local AlignedVector<std::byte> scratch;
    const size_t bytes = RoundUp(product.ScratchBytes((blocks + parts - 1) / parts), kVectorBytes);
    const size_t all_bytes = ElementCount<std::byte>(parts, bytes);
    if (scratch.size() < all_bytes) scratch.resize(all_bytes);
    executor().Run(parts, [&, memory = scratch.data()](size_t part) {
      product.MultiplyBlocks(PartBegin(blocks, part, parts), PartBegin(blocks, part + 1, parts), tables,
                             memory + part * bytes);
    });
    return true;
  }

  template <class Blocks, Format X>
  void BuildBlockTables(const QuantizedTokens<X>& x, uint8_t* tables) const {
    ParallelRanges(executor(), x.tokens(), Grain(size_t{16}, x.cols()), 1, [&](size_t begin, size_t end) {
      for (size_t t = begin; t < end; ++t) {
        Blocks::BuildTables(x.Row(t), x.cols(), tables + t * Blocks::TableBytes(x.cols()));
      }
    });
  }
  // The tables of all tokens: those that PrepareInputs left, or built here.
  template <class Blocks, Format X>
  const uint8_t* BlockTablesOf(const QuantizedTokens<X>& x) const {
    if (x.prepared().key == Blocks::Key()) return x.prepared().bytes.data();
    thread_local AlignedVector<uint8_t> tables;
    const size_t bytes = ElementCount<uint8_t>(Blocks::TableBytes(x.tokens(), x.cols()));
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
      const size_t threads = executor().Threads();  // asked once: at exit there may be fewer
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
      executor().Run(parts, [&](size_t part) {
        const size_t begin = PartBegin(columns.count, part, parts);
        const IndexList mine = columns.Part(begin, PartBegin(columns.count, part + 1, parts) - begin);
        std::fill(sums + part * count, sums + (part + 1) * count, 0);
        product.AddColumnsOfPart(0, InTurns(mine, order + begin), sums + part * count);
      });
      product.StoreParts(0, parts, sums);
      return;
    }
    ParallelRanges(executor(), matrix.tiles(), Grain(matrix.cols(), kBlockRows, tokens), 1,
                   [&](size_t begin, size_t end) {
                     for (size_t tile = begin; tile < end; ++tile) {
                       for (size_t token = 0; token < tokens; ++token) {
                         product.Columns(tile, tile + 1, token, list(token));
                       }
                     }
                   });
  }
};

static_assert(Backend<SimdBackend>);

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_SIMD_BACKEND_INL_H_
