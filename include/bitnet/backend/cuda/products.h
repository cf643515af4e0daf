// The products of the CUDA backend, as launches: which kernel takes which product.
//
//   weights            inputs         kernel
//   rows of codes      up to 16       MatMulByRows: 16 rows a block, the codes streamed from memory
//                      more           MatMulTiles, where its tiles fill the device; else MatMulByRows again and again
//   columns of codes   1 or 2         MatMulByListed: the listed columns
//                      more           MatMulByColumns: all columns
//   rows of values     reals          MatMulOfReals: ordered sums in double
//                      levels         MatMulByValues
//
// Codes whose step groups do not begin at multiples of 16 columns (32 of columns of codes), and lists of rows of a
// matrix that lies by columns, are MatMulByValues too.
//
// Of few tokens the rows or columns that they need are read token by token; of more, all are read once for all of them,
// since together they need most.
#ifndef BITNET_BACKEND_CUDA_PRODUCTS_H_
#define BITNET_BACKEND_CUDA_PRODUCTS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "bitnet/backend/cuda/embed.h"
#include "bitnet/backend/cuda/matrix_layout.h"
#include "bitnet/backend/cuda/product_by_values.h"
#include "bitnet/backend/cuda/product_of_columns.h"
#include "bitnet/backend/cuda/product_of_listed.h"
#include "bitnet/backend/cuda/product_of_reals.h"
#include "bitnet/backend/cuda/product_of_rows.h"
#include "bitnet/backend/cuda/product_tiles.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/backend/uses.h"
#include "bitnet/tensor/operand.h"

namespace bitnet::cuda {

// Tokens whose lists are followed. (In a third of the rows each, three tokens need 70 % of all.)
inline constexpr uint32_t kListedTokens = 2;

// Blocks of MatMulByListed that run at once, one on each multiprocessor of an H100 or H200: of more rows
// MatMulByColumns follows the list.
inline constexpr uint32_t kListedBlocks = 132;

// Fewer tiles than this leave most multiprocessors of an H100 or H200 without one.
inline constexpr size_t kLeastTiles = 100;

enum class RowsKernel { kFew, kTiles, kValues };

// Of rows of codes, where all rows are wanted.
template <Operand W, Operand X>
RowsKernel ChooseRowsKernel(const PackedRowsView<W>& w, const RowsView<X>& x) {
  using Tiles = MatMulTiles<W, X, StoreTo>;
  if (w.cols == 0 || Runs::Of(w.cols, w.group, x.group).Granule() < kSpanCols) return RowsKernel::kValues;
  if (x.rows <= 2 * kUnitTokens || w.cols > Tiles::Words::kSumCols) return RowsKernel::kFew;
  const size_t tiles = size_t{BlocksFor(w.rows, Tiles::kRows)} * BlocksFor(x.rows, Tiles::kTokens);
  return tiles < kLeastTiles ? RowsKernel::kFew : RowsKernel::kTiles;
}

// Whether columns of codes are read as such.
template <Operand W, Operand X>
bool TakesColumns(const PackedColumnsView<W>& w, const RowsView<X>& x) {
  return w.cols != 0 && Runs::Of(w.cols, w.group, x.group).Granule() >= 32;
}

namespace detail {

// So many of the tokens, and where their outputs go.
template <Operand X>
RowsView<X> TokensOf(const RowsView<X>& x, size_t first, size_t count) {
  RowsView<X> part = x;
  part.levels = x.Row(first);
  part.steps = x.Steps(first);
  part.rows = static_cast<uint32_t>(count);
  return part;
}
template <class To>
To TokensOf(const To& to, size_t first) {
  To part = to;
  part.y.data = to.y.Row(first);
  return part;
}

// ---- All outputs.

template <RowsKernel kKernel, class Stream, Operand W, Operand X, class To>
void LaunchRows(Stream& stream, const PackedRowsView<W>& w, const RowsView<X>& x, const To& to) {
  if constexpr (kKernel == RowsKernel::kValues) {
    MatMulByValues<PackedRowsView<W>, X, AllRows, To>::LaunchIn(stream, w, x, AllRows(), to);
  } else if constexpr (kKernel == RowsKernel::kTiles) {
    MatMulTiles<W, X, To>::LaunchIn(stream, w, x, to);
  } else if constexpr (kIsGrouped<W> || kIsGrouped<X>) {
    MatMulByRows<W, X, 1, AllRows, To>::LaunchIn(stream, w, x, AllRows(), to);
  } else if (x.rows <= kUnitTokens) {
    MatMulByRows<W, X, 1, AllRows, To>::LaunchIn(stream, w, x, AllRows(), to);
  } else {
    MatMulByRows<W, X, 2, AllRows, To>::LaunchIn(stream, w, x, AllRows(), to);
  }
}

template <class Stream, Operand W, Operand X, class To>
void MatMulTo(Stream& stream, const PackedRowsView<W>& w, const RowsView<X>& x, const To& to) {
  switch (ChooseRowsKernel(w, x)) {
    case RowsKernel::kFew:
      return LaunchRows<RowsKernel::kFew>(stream, w, x, to);
    case RowsKernel::kTiles:
      return LaunchRows<RowsKernel::kTiles>(stream, w, x, to);
    case RowsKernel::kValues:
      return LaunchRows<RowsKernel::kValues>(stream, w, x, to);
  }
}

template <class Stream, Operand W, Operand X, class To>
void MatMulTo(Stream& stream, const PackedColumnsView<W>& w, const RowsView<X>& x, const To& to) {
  if (!TakesColumns(w, x)) {
    return MatMulByValues<PackedColumnsView<W>, X, AllRows, To>::LaunchIn(stream, w, x, AllRows(), to);
  }
  // Sums of runs lie in scratch memory: so many tokens at a time that they take at most 64 MiB, or one tile.
  constexpr size_t kMostSums = size_t{1} << 24;
  const size_t of_token = size_t{Runs::Of(w.cols, w.group, x.group).count} * w.rows;
  const size_t tiles = kMostSums / of_token / (2 * kUnitTokens);
  const size_t at_once = tiles == 0 ? kUnitTokens : tiles * 2 * kUnitTokens;
  for (size_t first = 0; first < x.rows; first += at_once) {
    const size_t count = x.rows - first < at_once ? x.rows - first : at_once;
    const RowsView<X> part = TokensOf(x, first, count);
    if (count <= kUnitTokens) {
      ColumnsProduct<W, X, 1, false, To>::LaunchIn(stream, w, part, TokensOf(to, first));
    } else {
      ColumnsProduct<W, X, 2, false, To>::LaunchIn(stream, w, part, TokensOf(to, first));
    }
  }
}

// Zeros as kSkipsZeros says, of reals.
template <bool kSkipsZeros, class Stream, Operand W, Operand X, class To>
void MatMulPlain(Stream& stream, const PlainRowsView<W>& w, const RowsView<X>& x, const To& to) {
  if constexpr (!kIsFloat<FormatOf<W>> && !kIsFloat<FormatOf<X>>) {
    MatMulByValues<PlainRowsView<W>, X, AllRows, To>::LaunchIn(stream, w, x, AllRows(), to);
  } else if (x.rows == 1) {
    MatMulOfReals<W, X, 4, 1, kSkipsZeros, AllRows, To>::LaunchIn(stream, w, x, AllRows(), to);
  } else {
    MatMulOfReals<W, X, 2, 4, kSkipsZeros, AllRows, To>::LaunchIn(stream, w, x, AllRows(), to);
  }
}
template <class Stream, Operand W, Operand X, class To>
void MatMulTo(Stream& stream, const PlainRowsView<W>& w, const RowsView<X>& x, const To& to) {
  MatMulPlain<false>(stream, w, x, to);
}

// ---- The columns whose input is not zero.

template <class Stream, Operand W, Operand X, class To>
void MatMulColumnsTo(Stream& stream, const PackedColumnsView<W>& w, const RowsView<X>& x, const To& to) {
  if (x.rows > kListedTokens || !TakesColumns(w, x)) return MatMulTo(stream, w, x, to);
  if constexpr (!kIsGrouped<W> && !kIsGrouped<X>) {
    using Listed = MatMulByListed<W, X, To>;
    if (w.rows <= kListedBlocks * Listed::kRows) return Listed::LaunchIn(stream, w, x, to);
  }
  ColumnsProduct<W, X, 1, true, To>::LaunchIn(stream, w, x, to);
}
template <class Stream, Operand W, Operand X, class To>
void MatMulColumnsTo(Stream& stream, const PlainRowsView<W>& w, const RowsView<X>& x, const To& to) {
  MatMulPlain<true>(stream, w, x, to);
}

}  // namespace detail

// ---- The operations of backend/backend.h, and those of backend/fused_operations.h. Views are of matching shapes;
// `view` is that of MatrixLayout<W, X, U>, with its base set.

// y [tokens, rows] = x [tokens, cols] * matrix^T.
template <class Stream, class View, Operand X>
void MatMul(Stream& stream, const View& view, const RowsView<X>& x, Reals y) {
  if (x.rows != 0 && view.rows != 0) detail::MatMulTo(stream, view, x, StoreTo{y});
}
// y += that.
template <class Stream, class View, Operand X>
void MatMulAdd(Stream& stream, const View& view, const RowsView<X>& x, Reals y) {
  if (x.rows != 0 && view.rows != 0) detail::MatMulTo(stream, view, x, AddTo{y});
}

// Of each token the outputs that its list names; others may be written too.
template <class Stream, class View, Operand X>
void MatMulRows(Stream& stream, const View& view, const RowsView<X>& x, const ListsView&, Reals y) {
  MatMul(stream, view, x, y);
}
template <class Stream, Operand W, Operand X>
void MatMulRows(Stream& stream, const PackedRowsView<W>& view, const RowsView<X>& x, const ListsView& lists, Reals y) {
  if (x.rows == 0 || view.rows == 0) return;
  if (x.rows > kListedTokens) return MatMul(stream, view, x, y);
  const StoreTo to = {y};
  if (ChooseRowsKernel(view, x) == RowsKernel::kValues) {
    MatMulByValues<PackedRowsView<W>, X, ListedRows, StoreTo>::LaunchIn(stream, view, x, ListedRows{lists}, to);
  } else {
    MatMulByRows<W, X, 1, ListedRows, StoreTo>::LaunchIn(stream, view, x, ListedRows{lists}, to);
  }
}
template <class Stream, Operand W, Operand X>
void MatMulRows(Stream& stream, const PlainRowsView<W>& view, const RowsView<X>& x, const ListsView& lists, Reals y) {
  if (x.rows == 0 || view.rows == 0) return;
  const StoreTo to = {y};
  if constexpr (!kIsFloat<FormatOf<W>> && !kIsFloat<FormatOf<X>>) {
    MatMulByValues<PlainRowsView<W>, X, ListedRows, StoreTo>::LaunchIn(stream, view, x, ListedRows{lists}, to);
  } else if (x.rows > kListedTokens) {
    MatMul(stream, view, x, y);
  } else {
    MatMulOfReals<W, X, 4, 1, false, ListedRows, StoreTo>::LaunchIn(stream, view, x, ListedRows{lists}, to);
  }
}

// The same result as MatMul, of the inputs that x.channels and x.counts list: those that are not zero.
template <class Stream, class View, Operand X>
void MatMulColumns(Stream& stream, const View& view, const RowsView<X>& x, Reals y) {
  if (x.rows != 0 && view.rows != 0) detail::MatMulColumnsTo(stream, view, x, StoreTo{y});
}
template <class Stream, class View, Operand X>
void MatMulColumnsAdd(Stream& stream, const View& view, const RowsView<X>& x, Reals y) {
  if (x.rows != 0 && view.rows != 0) detail::MatMulColumnsTo(stream, view, x, AddTo{y});
}

// y [tokens, cols] = step * level of the rows with these numbers, which lie on the device.
template <class Stream, class View>
void Embed(Stream& stream, const View& view, const uint32_t* numbers, size_t tokens, Reals y) {
  if (tokens == 0 || view.cols == 0) return;
  stream.Launch(EmbedRows<View>{view, numbers, y, tokens}, Grid{BlocksFor(view.cols, 128), GridHeight(tokens)});
}

// One line of what runs.
template <Operand W, Operand X, class U>
std::string DescribeProduct() {
  using Layout = MatrixLayout<W, X, U>;
  constexpr bool kIsReal = kIsFloat<FormatOf<W>> || kIsFloat<FormatOf<X>>;
  constexpr bool kHasRuns = kIsGrouped<W> || kIsGrouped<X>;
  if constexpr (!U::kMultiplies) {
    return "rows looked up";
  } else if constexpr (std::is_same_v<Layout, PlainRows<W>>) {
    return std::string(kIsReal ? "float: sums in double" : "integers, value by value") +
           (kHasRuns ? ", run by run of columns" : "");
  } else {
    const std::string at = kHasRuns ? ", group by group (value by value, where groups are no multiples of " : "";
    if constexpr (std::is_same_v<Layout, PackedColumns<W>>) {
      return "matrix unit: columns" + (kHasRuns ? at + "32 columns)" : at) + ", those listed of up to " +
             std::to_string(kListedTokens) + " tokens";
    } else {
      return "matrix unit: rows" + (kHasRuns ? at + "16 columns)" : at) +
             (U::template kHas<ChosenRows> ? ", those listed of up to " + std::to_string(kListedTokens) + " tokens"
                                           : "") +
             "; from " + std::to_string(2 * kUnitTokens + 1) + " tokens on tiles, where they fill the device";
    }
  }
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_PRODUCTS_H_
