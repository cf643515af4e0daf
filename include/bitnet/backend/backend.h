// The backend concept: a backend does arithmetic, and nothing else. Every layer and the model are templates over one.
//
// ReferenceBackend (backend/reference.h) defines every result; another backend may only be faster. To write one, supply
// the members that `Backend` lists below; deriving from ReferenceBackend and overriding some is a good start. Then run
// TestBackend<B> (tests/testing/backend_conformance.h), which compares it with the reference bit for bit.
#ifndef BITNET_BACKEND_BACKEND_H_
#define BITNET_BACKEND_BACKEND_H_

#include <concepts>
#include <cstddef>
#include <span>

#include "bitnet/base/executor.h"
#include "bitnet/base/size.h"
#include "bitnet/scheme/scheme.h"
#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/head_cache.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/quantized_matrix.h"
#include "bitnet/tensor/quantized_tokens.h"

namespace bitnet {

// How a layer will read a matrix; a backend picks its memory layout by it.
enum class Access {
  kDense,    // all of it, for every token
  kRows,     // MatMulRows: some outputs of each token (and MatMul)
  kColumns,  // MatMulColumns: some inputs of each token (and MatMul)
};

// Where a block of queries stands. Token t of the block is at position first_position + t and sees the cache's tokens
// 0 ... first_position + t.
struct AttentionShape {
  size_t heads = 0;     // query heads
  size_t kv_heads = 0;  // divides heads; query head h reads key/value head h / (heads / kv_heads)
  size_t head_dim = 0;
  size_t first_position = 0;
};

// Tokens of a block of Attend: tokens 0 ... 255, 256 ... 511, ... of the sequence. Sums over tokens are sums over
// blocks of sums within them, so that threads can share a head (docs/numerics.md, "Attention").
inline constexpr size_t kAttentionBlock = 256;

// Memory for Attend, kept by the caller so that decoding allocates nothing.
class AttentionScratch {
 public:
  // `bytes` of memory of any content, on a cache line; it grows only.
  std::byte* Reserve(size_t bytes) {
    if (memory_.size() < bytes) memory_.resize(ElementCount<std::byte>(bytes));
    return memory_.data();
  }

 private:
  AlignedVector<std::byte> memory_;
};

namespace detail {
using AnyW = Ternary;
using AnyX = Int<4>;
using AnyQ = Quantizer<AnyX, AbsMean>;
}  // namespace detail

// The members of a backend, by the example of ternary weights and INT4 inputs; all are templates over the formats.
// [a, b] are rows and columns. Outputs never alias inputs unless said.
template <class B>
concept Backend = requires(const B backend, const QuantizedMatrix<detail::AnyW>& weights,
                           const typename B::template Matrix<detail::AnyW, detail::AnyX>& matrix,
                           QuantizedTokens<detail::AnyX>& tokens, const QuantizedTokens<detail::AnyX>& x,
                           MatrixView<const float> reals, MatrixView<float> y, ChannelLists& lists,
                           const ChannelLists& rows, std::span<const float> span, std::span<float> row,
                           const HeadCache<MidRise<3>, MidRise<4>>& cache, const AttentionShape& shape,
                           AttentionScratch& scratch) {
  // Who runs the parts of each operation.
  { backend.executor() } -> std::same_as<Executor&>;

  // Weights in this backend's own layout, for inputs of the second format: the only form the products read.
  {
    backend.template Prepare<detail::AnyX>(weights, Access::kDense)
    } -> std::same_as<typename B::template Matrix<detail::AnyW, detail::AnyX>>;
  { matrix.rows() } -> std::convertible_to<size_t>;
  { matrix.cols() } -> std::convertible_to<size_t>;
  { matrix.StoredBytes() } -> std::convertible_to<size_t>;
  // row[0, cols) = step * level of a weight row: the token embedding, where it shares the output head's matrix.
  backend.DequantizeRow(matrix, size_t{0}, row);

  // Computes once what every product of x with a matrix of these formats and this access may use, until the next
  // Quantize: levels must not change after it.
  // Optional for the caller, and nothing to do for most backends.
  backend.PrepareInputs(matrix, tokens);

  // y [tokens, rows] = x [tokens, cols] * matrix^T, for all outputs ...
  backend.MatMul(matrix, x, y);
  // ... for the outputs that `rows` lists for each token; other elements of y may hold anything (Access::kRows) ...
  backend.MatMulRows(matrix, x, rows, y);
  // ... reading only the columns that x.nonzero() lists; the same result as MatMul (Access::kColumns).
  backend.MatMulColumns(matrix, x, y);

  // tokens = Q(reals), a row a token; with top-k: only the k largest of each row keep their level, the others get 0.
  backend.template Quantize<detail::AnyQ>(reals, tokens);
  backend.template QuantizeTopK<detail::AnyQ>(reals, size_t{1}, tokens);
  // Fills tokens.nonzero().
  backend.FindNonzero(tokens);

  // y = norm(reals) * gain; y may be reals.
  backend.RmsNorm(reals, span, 1e-5f, y);
  // Rotates each row of y (a head) in place; the two spans are cos and sin of head_dim / 2 angles.
  backend.Rotate(span, span, y);
  // y += reals.
  backend.Add(reals, y);

  // Lists the channels where the activation of the gate is not zero (all, if it makes no zeros) ...
  backend.template OpenGates<SquaredRelu>(reals, lists);
  // ... and y = up * activation(gate) there, 0 elsewhere: (gate, up, open, y), `open` as OpenGates lists them. y may be
  // up; `up` may hold anything elsewhere.
  backend.template Glu<SquaredRelu>(reals, reals, rows, y);

  // y [tokens, heads * head_dim] = attention of the queries x [tokens * heads, head_dim] over keys and values.
  backend.Attend(x, cache, cache, shape, scratch, y);
};

}  // namespace bitnet

#endif  // BITNET_BACKEND_BACKEND_H_
