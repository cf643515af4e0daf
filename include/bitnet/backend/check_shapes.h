// What each operation of a backend asserts of its operands: shared, so that a mistake gets the same sentence from every
// backend. (Errors of programming; outside data never comes here unchecked.)
#ifndef BITNET_BACKEND_CHECK_SHAPES_H_
#define BITNET_BACKEND_CHECK_SHAPES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bitnet/backend/definitions.h"
#include "bitnet/backend/where.h"
#include "bitnet/base/assert.h"
#include "bitnet/quant/transform.h"
#include "bitnet/tensor/channel_lists.h"
#include "bitnet/tensor/key_values.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/operand.h"

namespace bitnet {

template <Operand W, Operand X>
void CheckDotFits(size_t cols) {
  BITNET_ASSERT((DotFits<FormatOf<W>, FormatOf<X>>(cols)),
                "PrepareMatrix: a dot product of this many columns could reach 2^29");
}

void CheckProduct(const auto& matrix, const auto& x, MatrixView<float> y) {
  BITNET_ASSERT(x.cols() == matrix.cols(), "a product needs inputs as wide as the matrix has columns");
  BITNET_ASSERT(y.rows() == x.rows() && y.cols() == matrix.rows(), "a product's output must be [tokens, rows]");
}

void CheckEmbed(const auto& matrix, std::span<const uint32_t> rows, MatrixView<float> y) {
  BITNET_ASSERT(y.rows() == rows.size() && y.cols() == matrix.cols(), "Embed: the output must be [tokens, cols]");
  BITNET_ASSERT(std::all_of(rows.begin(), rows.end(), [&](uint32_t row) { return row < matrix.rows(); }),
                "Embed: there is no such row");
}

template <class Q>
void CheckQuantizes() {
  static_assert(!kIsTransformed<Q>,
                "bitnet: a backend quantizes values as they are: Transform<TransformOf<Q>> comes first, then "
                "Quantize<Untransformed<Q>>");
}

inline void CheckTransform(MatrixView<const float> x, MatrixView<float> y) {
  BITNET_ASSERT(x.rows() == y.rows() && x.cols() == y.cols(), "Transform: x and y must have the same shape");
}

inline void CheckRmsNorm(MatrixView<const float> x, std::span<const float> gain, MatrixView<float> y) {
  BITNET_ASSERT(gain.size() == x.cols() && y.cols() == x.cols() && y.rows() == x.rows(),
                "RmsNorm: x, y and gain must have the same width");
}

// Returns head_dim.
inline size_t CheckRotate(const HostWhere& where, MatrixView<float> y) {
  BITNET_ASSERT(where.pairs() != 0 && y.cols() % (2 * where.pairs()) == 0 && y.rows() == where.tokens(),
                "Rotate: y must be [tokens, heads * head_dim], with head_dim / 2 angles for each token");
  return 2 * where.pairs();
}

inline void CheckAdd(MatrixView<const float> x, MatrixView<float> y) {
  BITNET_ASSERT(x.rows() == y.rows() && x.cols() == y.cols(), "Add: x and y must have the same shape");
}

inline void CheckGlu(MatrixView<const float> gate, MatrixView<const float> up, const ChannelLists& open,
                     MatrixView<float> y) {
  BITNET_ASSERT(gate.rows() == y.rows() && gate.cols() == y.cols() && up.rows() == y.rows() && up.cols() == y.cols() &&
                    open.tokens() == y.rows() && open.width() == y.cols(),
                "Glu: gate, up, the list of open gates and y must have the same shape");
}

// Whether every token has a page of the cache.
template <class Cache>
bool PagesReach(const HostWhere& where, const Cache& cache) {
  return std::all_of(where.runs().begin(), where.runs().end(), [&](const HostWhere::Run& run) {
    if (run.sequence >= where.sequences()) return false;
    const PageTable table = where.Table(run.sequence);
    const size_t needed = PagesFor(run.first_position + run.tokens);
    return needed <= table.size() && std::all_of(table.begin(), table.begin() + static_cast<std::ptrdiff_t>(needed),
                                                 [&](uint32_t page) { return page < cache.pages(); });
  });
}

template <class Cache>
void CheckStore(MatrixView<const float> keys, MatrixView<const float> values, const HostWhere& where,
                const Cache& cache) {
  if (where.tokens() == 0) return;
  const size_t width = cache.kv_heads() * cache.head_dim();
  BITNET_ASSERT(keys.rows() == where.tokens() && values.rows() == where.tokens() && keys.cols() == width &&
                    values.cols() == width,
                "Store: keys and values must be [tokens, kv_heads * head_dim]");
  BITNET_ASSERT(PagesReach(where, cache), "Store: beyond the pages of the cache");
}

// Of a sequence that is read or written as a whole.
template <class Cache>
void CheckPages(PageTable table, size_t tokens, const Cache& cache) {
  BITNET_ASSERT(PagesFor(tokens) <= table.size() &&
                    std::all_of(table.begin(), table.end(), [&](uint32_t page) { return page < cache.pages(); }),
                "ReadCache, WriteCache: beyond the pages of the cache");
}

template <Operand Q, class Formats>
void CheckHeadDotsFit(size_t head_dim) {
  BITNET_ASSERT((DotFits<FormatOf<Q>, typename Formats::Key>(head_dim) &&
                 DotFits<FormatOf<Q>, typename Formats::FirstKey>(head_dim)),
                "Attend: a dot product of heads of this width could reach 2^29");
}

template <class Rows, class Cache>
void CheckAttend(const Rows& q, const HostWhere& where, const Cache& cache, const AttentionShape& shape,
                 MatrixView<float> y) {
  static_assert(kPageTokens == kAttentionBlock);
  BITNET_ASSERT(where.tokens() == y.rows() && q.rows() == y.rows() * shape.heads && q.cols() == shape.head_dim &&
                    y.cols() == shape.heads * shape.head_dim,
                "Attend: queries and output must agree in shape");
  BITNET_ASSERT(shape.kv_heads != 0 && shape.heads % shape.kv_heads == 0, "Attend: kv_heads must divide heads");
  BITNET_ASSERT(where.tokens() == 0 || (cache.kv_heads() == shape.kv_heads && cache.head_dim() == shape.head_dim),
                "Attend: the cache is one of other heads");
  BITNET_ASSERT(PagesReach(where, cache), "Attend: beyond the pages of the cache");
}

}  // namespace bitnet

#endif  // BITNET_BACKEND_CHECK_SHAPES_H_
