// The backend concept: a backend does arithmetic, and owns every object that its operations read or write. Layers and
// models are templates over one; they pass its objects on and never look at an element.
//
// ReferenceBackend (backend/reference.h) defines every result; another backend may only be faster. To write one, supply
// the members that `Backend` lists below: docs/add-a-backend.md has one of a page. Then run TestBackend<B>
// (tests/testing/backend_conformance.h), which compares it with the reference bit for bit.
#ifndef BITNET_BACKEND_BACKEND_H_
#define BITNET_BACKEND_BACKEND_H_

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "bitnet/backend/default_backend.h"
#include "bitnet/backend/definitions.h"
#include "bitnet/backend/rope.h"
#include "bitnet/backend/sampling.h"
#include "bitnet/backend/uses.h"
#include "bitnet/backend/where.h"
#include "bitnet/base/executor.h"
#include "bitnet/base/result.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/quant/transform.h"
#include "bitnet/scheme/activation.h"
#include "bitnet/tensor/channel_lists.h"
#include "bitnet/tensor/growing_matrix.h"
#include "bitnet/tensor/key_values.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/operand.h"
#include "bitnet/tensor/pages.h"
#include "bitnet/tensor/quantized_heads.h"
#include "bitnet/tensor/quantized_matrix.h"
#include "bitnet/tensor/quantized_rows.h"

namespace bitnet {

namespace detail {

// The example by which the concepts below are checked: ternary weights, INT4 inputs, the cache of A48.
struct BackendExample {
  using W = Ternary;
  using X = Int<4>;
  using Q = Quantizer<X, AbsMean>;
  using T = Hadamard<16>;
  using Head = Quantizer<MidRise<4>, AbsMax>;
  using Cached = Quantizer<MidRise<3>, AbsMax>;
  using Caching = CacheQuantizers<Head, Cached, Head, Cached, Head>;
  using Formats = Caching::Formats;
};

// What a backend owns. All but matrices, rows and caches of other formats are the same for all formats.
//   Matrix<W, X, U>  weights W in its own layout, for inputs X and the uses U
//   Rows<X>          quantized rows: the inputs of products, queries
//   Cache<Quantizers>  keys and values of one layer, for queries of one format: pages of kPageTokens tokens
//   Lists            for each token a list of channels
//   Reals            memory of real activations (Shape gives a view of it)
//   Vector           reals that do not change: a norm's gain
//   Where            where the tokens of a pass stand, and which pages are whose
//   Stream           operations of one stream happen one after the other, those of several streams may overlap; it has
//                    the scratch of its operations and, on a device, its queue and its errors; a state has one
// Views (MatrixView) are of memory that the backend can read; the host looks into none of them. What the host passes
// (spans, objects of the host's, `from` of Write) is read before the call returns; what the backend owns must live
// until the stream has finished what it was passed to. A member is kept between calls by its owner, so that steady
// decoding allocates nothing.
//
// A backend is a handle, which layers and states copy. All that it owns can be default-constructed (empty) and moved,
// without throwing.
template <class T>
concept BackendObject =
    std::default_initializable<T> && std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T>;

template <class B>
concept BackendTypes = std::copy_constructible<B> && requires {
  requires BackendObject<typename B::template Matrix<BackendExample::W, BackendExample::X, Uses<Dense>>>;
  requires BackendObject<typename B::template Rows<BackendExample::X>>;
  requires BackendObject<typename B::template Cache<BackendExample::Caching>>;
  requires BackendObject<typename B::Lists>;
  requires BackendObject<typename B::Reals>;
  requires BackendObject<typename B::Vector>;
  requires BackendObject<typename B::Where>;
  requires BackendObject<typename B::Stream>;
};

template <class B>
struct BackendExampleOf : BackendExample {
  using AnyMatrix = typename B::template Matrix<W, X, Uses<Dense>>;
  using RowsMatrix = typename B::template Matrix<W, X, Uses<ChosenRows>>;
  using ColumnsMatrix = typename B::template Matrix<W, X, Uses<ChosenColumns>>;
  using Embedding = typename B::template Matrix<W, X, Uses<Dense, RowLookup>>;
  using Rows = typename B::template Rows<X>;
  using Queries = typename B::template Rows<typename Head::Format>;
  using Cache = typename B::template Cache<Caching>;
};

// ---- Objects.
template <class B, class E = BackendExampleOf<B>>
concept BackendObjects = requires(const B backend, const QuantizedMatrix<typename E::W>& weights,
                                  const typename E::AnyMatrix& matrix, typename E::Cache& cache,
                                  std::span<const float> values, std::span<const Place> places,
                                  std::span<const PageTable> tables, const Rope& rope, typename B::Stream& stream,
                                  typename B::Reals& reals, typename B::Where& where) {
  // Weights in this backend's layout for these uses: the only form that products read.
  {
    backend.template PrepareMatrix<typename E::W, typename E::X, Uses<Dense>>(weights)
    } -> std::same_as<typename E::AnyMatrix>;
  { matrix.rows() } -> std::convertible_to<size_t>;
  { matrix.cols() } -> std::convertible_to<size_t>;
  { matrix.StoredBytes() } -> std::convertible_to<size_t>;

  { backend.PrepareVector(values) } -> std::same_as<typename B::Vector>;

  // A cache without pages; (kv_heads, head_dim). It grows to so many pages, and moves none: passes in other threads may
  // use theirs meanwhile. Or it gives all of its memory back (0 pages). What a page takes, if that fits size_t.
  { backend.template NewCache<typename E::Caching>(size_t{1}, size_t{2}) } -> std::same_as<typename E::Cache>;
  backend.ResizeCache(cache, size_t{1});
  { backend.template PageBytes<typename E::Caching>(size_t{1}, size_t{2}) } -> std::same_as<std::optional<size_t>>;
  { cache.pages() } -> std::convertible_to<size_t>;
  { cache.BytesPerToken() } -> std::convertible_to<size_t>;  // of a token after the first
  { cache.StoredBytes() } -> std::convertible_to<size_t>;

  { backend.NewStream() } -> std::same_as<typename B::Stream>;
  // A view [rows, cols], contiguous, of unspecified contents. Ends the life of earlier views.
  { backend.Shape(stream, reals, size_t{1}, size_t{2}) } -> std::same_as<MatrixView<float>>;
  // Of each token its sequence and its position, of each sequence its pages.
  backend.SetWhere(stream, places, tables, rope, where);
};

// ---- Operations. [a, b] are rows and columns. Outputs never alias inputs unless said.
template <class B, class E = BackendExampleOf<B>>
concept BackendOperations = requires(const B backend, typename B::Stream& stream, const typename E::AnyMatrix& matrix,
                                     const typename E::RowsMatrix& rows_matrix,
                                     const typename E::ColumnsMatrix& columns_matrix,
                                     const typename E::Embedding& embedding, std::span<const uint32_t> numbers,
                                     typename E::Rows& x, typename E::Queries& queries, typename B::Lists& lists,
                                     const typename B::Lists& listed, MatrixView<const float> reals,
                                     MatrixView<float> y, const typename B::Vector& gain,
                                     const typename B::Where& where, typename E::Cache& cache,
                                     const typename E::Cache& filled, const AttentionShape& shape,
                                     const SamplerOptions& sampling) {
  // y [tokens, cols] = step * level of the rows with these numbers (RowLookup).
  backend.Embed(stream, embedding, numbers, y);

  // y [tokens, rows] = x [tokens, cols] * matrix^T, for all outputs. x is not changed, but may keep what later products
  // with it can use, until it is quantized anew.
  backend.MatMul(stream, matrix, x, y);
  // For the outputs that the lists name for each token (ChosenRows); other elements of y may hold anything.
  backend.MatMulRows(stream, rows_matrix, x, listed, y);
  // Reading only the columns that FindNonzero listed (ChosenColumns); the same result as MatMul.
  backend.MatMulColumns(stream, columns_matrix, x, y);

  // y = T reals, row by row; y may be reals. (Transposed<T> is the way back.)
  backend.template Transform<typename E::T>(stream, reals, y);
  // x = Q(reals), row by row, Q not Transformed; with top-k: only the k largest of each row keep their level, the
  // others get 0.
  backend.template Quantize<typename E::Q>(stream, reals, x);
  backend.template QuantizeTopK<typename E::Q>(stream, reals, size_t{1}, x);
  // Lists the columns of each row whose level is not zero, within x.
  backend.FindNonzero(stream, x);

  // y = norm(reals) * gain; y may be reals.
  backend.RmsNorm(stream, reals, gain, 1e-5f, y);
  // Rotates all heads of all tokens by their angles, in place; y [tokens, heads * head_dim].
  backend.Rotate(stream, where, y);
  // y += reals.
  backend.Add(stream, reals, y);

  // Lists the channels where the activation of the gate is not zero (all, if it makes no zeros) ...
  backend.template OpenGates<SquaredRelu>(stream, reals, lists);
  // ... and y = up * activation(gate) there, 0 elsewhere: (gate, up, open, y), `open` as OpenGates lists them. y may be
  // up; `up` may hold anything elsewhere.
  backend.template Glu<SquaredRelu>(stream, reals, reals, listed, y);

  // Quantizes keys and values [tokens, kv_heads * head_dim], keys already rotated, and stores them, each at its token's
  // position, in the pages of its sequence ...
  backend.Store(stream, reals, reals, where, cache);
  // ... and y [tokens, heads * head_dim] = attention of queries [tokens * heads, head_dim], each over the tokens of its
  // sequence up to its own.
  backend.Attend(stream, queries, where, filled, shape, y);
  // A page becomes a copy of another: (from, to).
  backend.CopyPage(stream, cache, uint32_t{0}, uint32_t{1});

  // Draws a token by one random number of 64 bits from logits [1, vocab] (backend/sampling.h). Finishes the stream.
  { backend.Sample(stream, reals, sampling, uint64_t{0}) } -> std::same_as<Result<uint32_t>>;
};

// ---- The host's border: nothing else crosses it. What is read is there after Finish; errors of a device come out of
// Finish, once. (On the host it is always well.)
template <class B, class E = BackendExampleOf<B>>
concept BackendBorder = requires(const B backend, typename B::Stream& stream, MatrixView<const float> from,
                                 MatrixView<float> to, GrowingMatrix& host_reals, typename E::Rows& rows,
                                 const typename E::Rows& const_rows, QuantizedRows<typename E::X>& host_rows,
                                 typename B::Lists& lists, ChannelLists& host_lists, typename E::Cache& cache,
                                 PageTable table, HostCache<typename E::Caching>& host_cache) {
  // Reals: logits and hidden states out, edited logits in. Read may give a view of host_reals, or of `from` itself.
  { backend.Read(stream, from, host_reals) } -> std::same_as<MatrixView<const float>>;
  backend.Write(stream, from, to);
  // How many levels are not zero; and, where each row meets as many outputs as the lists have for it, how many pairs of
  // the two: the weights that a product used. Finishes the stream.
  { backend.CountNonzero(stream, const_rows) } -> std::same_as<uint64_t>;
  { backend.CountNonzero(stream, const_rows, lists) } -> std::same_as<uint64_t>;
  // The first so many tokens of a sequence, to save and to restore it: host_cache becomes one of just these.
  backend.ReadCache(stream, cache, table, size_t{1}, host_cache);
  backend.WriteCache(stream, host_cache, size_t{1}, table, cache);
  // Rows and lists (for tests).
  backend.Read(stream, const_rows, host_rows);
  backend.Write(stream, host_rows, rows);
  backend.Read(stream, lists, host_lists);
  backend.Write(stream, host_lists, lists);
  { backend.Finish(stream) } -> std::same_as<Result<Done>>;

  // What runs, in a line.
  { B::template DescribeProduct<typename E::W, typename E::X, Uses<Dense>>() } -> std::same_as<std::string>;
  { B::template DescribeAttention<typename E::Caching>() } -> std::same_as<std::string>;
};

}  // namespace detail

template <class B>
concept Backend =
    detail::BackendTypes<B> && detail::BackendObjects<B> && detail::BackendOperations<B> && detail::BackendBorder<B>;

// A backend whose objects are the host's memory, as training needs it: its threads do the parts of an operation each
// with a stream of its own, and look at levels and steps.
template <class B>
concept HostBackend = Backend<B> && std::same_as<typename B::Vector, std::vector<float>> &&
    std::same_as<typename B::Where, HostWhere> &&
    requires(const B backend, const typename B::template Rows<detail::BackendExample::X>& rows,
             std::span<const float> angles, std::span<float> head) {
  { backend.executor() } -> std::same_as<Executor&>;
  { rows[size_t{0}] } -> std::convertible_to<std::span<const int8_t>>;
  { rows.Steps(size_t{0}) } -> std::convertible_to<std::span<const float>>;
  backend.RotateHead(angles, angles, head);
};

namespace detail {

// Itself, or where it is none: the default backend, after a sentence.
template <class B>
struct BackendOrDefault {
  static_assert(Backend<B>,
                "bitnet: this is no backend: static_assert(bitnet::Backend<B>) says which member of those that "
                "backend/backend.h lists it lacks");
  using type = DefaultBackend<B>;
};
template <Backend B>
struct BackendOrDefault<B> {
  using type = B;
};
template <class B>
struct HostBackendOrDefault {
  static_assert(HostBackend<B>,
                "bitnet: training needs a HostBackend, whose objects are the host's: static_assert("
                "bitnet::HostBackend<B>) says which member of those that backend/backend.h lists it lacks");
  using type = DefaultBackend<B>;
};
template <HostBackend B>
struct HostBackendOrDefault<B> {
  using type = B;
};

}  // namespace detail

}  // namespace bitnet

#endif  // BITNET_BACKEND_BACKEND_H_
