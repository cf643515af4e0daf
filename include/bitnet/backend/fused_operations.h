// Operations that a backend may offer as one; where it does not, they are composed. The bits are the same. Layers
// call these functions, and a backend's own, a member of the same name, has the same arguments but itself: also those
// that only the composition needs, because a backend may be one that does not know what it will find (erased.h).
//
//   MatMulAll            products of several matrices with the same inputs
//   MatMulAdd            a product that is added to its output
//   MatMulColumnsAdd     ... of the columns that FindNonzero listed
//   GluQuantize          Q(up * A(gate))
//   RotateAndStore       what comes between the projections and attention
//   ResizeCaches         pages for the caches of all layers
//
// Two are composed elsewhere: RmsNormQuantize in layer/norm_quantize.h, Draw in Transformer::FeedAndSample.
#ifndef BITNET_BACKEND_FUSED_OPERATIONS_H_
#define BITNET_BACKEND_FUSED_OPERATIONS_H_

#include <concepts>
#include <cstddef>
#include <cstdint>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/sampling.h"
#include "bitnet/base/result.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/scheme/activation.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/operand.h"

namespace bitnet {

// Whether B has RmsNormQuantize: a norm, and the quantizer of its results.
template <class B, class Q>
concept FusesNormWith = requires(const B& backend, typename B::Stream& stream, MatrixView<const float> x,
                                 const typename B::Vector& gain, typename B::template Rows<OperandOf<Q>>& out) {
  backend.template RmsNormQuantize<Q>(stream, x, gain, 1.0f, out);
};

// A matrix, and where its product goes: y [tokens, rows].
template <class Matrix>
struct ProductTo {
  const Matrix& matrix;
  MatrixView<float> y;
};
template <class Matrix>
ProductTo(const Matrix&, MatrixView<float>) -> ProductTo<Matrix>;

// Whether B has what the functions below call where it is there.
template <class B, class X, class... Matrix>
concept HasMatMulAll = requires(const B& backend, typename B::Stream& stream, X& x, const ProductTo<Matrix>&... to) {
  backend.MatMulAll(stream, x, to...);
};
template <class B, class X, class Matrix>
concept HasMatMulAdd = requires(const B& backend, typename B::Stream& stream, const Matrix& matrix, X& x,
                                typename B::Reals& memory, MatrixView<float> y) {
  backend.MatMulAdd(stream, matrix, x, memory, y);
};
template <class B, class X, class Matrix>
concept HasMatMulColumnsAdd = requires(const B& backend, typename B::Stream& stream, const Matrix& matrix, X& x,
                                       typename B::Reals& memory, MatrixView<float> y) {
  backend.MatMulColumnsAdd(stream, matrix, x, memory, y);
};

// y = x * matrix^T for each of several matrices.
template <Backend B, class X, class... Matrix>
void MatMulAll(const B& backend, typename B::Stream& stream, X& x, const ProductTo<Matrix>&... to) {
  if constexpr (HasMatMulAll<B, X, Matrix...>) {
    backend.MatMulAll(stream, x, to...);
  } else {
    (backend.MatMul(stream, to.matrix, x, to.y), ...);
  }
}

namespace detail {

// y += what multiply(product) gives; `memory` for the product.
template <Backend B, class Multiply>
void AddProduct(const B& backend, typename B::Stream& stream, typename B::Reals& memory, MatrixView<float> y,
                Multiply&& multiply) {
  const MatrixView<float> product = backend.Shape(stream, memory, y.rows(), y.cols());
  multiply(product);
  backend.Add(stream, product, y);
}

}  // namespace detail

// y += x * matrix^T, of a matrix for all columns; `memory` for what is added ...
template <Backend B, class Matrix, class X>
void MatMulAdd(const B& backend, typename B::Stream& stream, const Matrix& matrix, X& x, typename B::Reals& memory,
               MatrixView<float> y) {
  if constexpr (HasMatMulAdd<B, X, Matrix>) {
    backend.MatMulAdd(stream, matrix, x, memory, y);
  } else {
    detail::AddProduct(backend, stream, memory, y,
                       [&](MatrixView<float> product) { backend.MatMul(stream, matrix, x, product); });
  }
}
// ... and of those that FindNonzero listed.
template <Backend B, class Matrix, class X>
void MatMulColumnsAdd(const B& backend, typename B::Stream& stream, const Matrix& matrix, X& x,
                      typename B::Reals& memory, MatrixView<float> y) {
  if constexpr (HasMatMulColumnsAdd<B, X, Matrix>) {
    backend.MatMulColumnsAdd(stream, matrix, x, memory, y);
  } else {
    detail::AddProduct(backend, stream, memory, y,
                       [&](MatrixView<float> product) { backend.MatMulColumns(stream, matrix, x, product); });
  }
}

// out = Q(up * A(gate)), 0 where A(gate) is: `open` lists the channels elsewhere, as OpenGates does; `up` may hold
// anything where it is closed, and may be changed. Q is not Transformed.
template <Activation A, AnyQuantizer Q, Backend B>
void GluQuantize(const B& backend, typename B::Stream& stream, MatrixView<const float> gate, MatrixView<float> up,
                 const typename B::Lists& open, typename B::template Rows<OperandOf<Q>>& out) {
  if constexpr (requires { backend.template GluQuantize<A, Q>(stream, gate, up, open, out); }) {
    backend.template GluQuantize<A, Q>(stream, gate, up, open, out);
  } else {
    backend.template Glu<A>(stream, gate, up, open, up);
    backend.template Quantize<Q>(stream, up, out);
  }
}

// The heads of x [tokens, n * head_dim], contiguous: [tokens * n, head_dim].
inline MatrixView<float> HeadsOf(MatrixView<float> x, size_t head_dim) {
  return {x.data(), x.rows() * (x.cols() / head_dim), head_dim};
}

// Rotates q and k in place, stores k and v, queries = Q(q), head by head. q, k and v [tokens, heads * head_dim],
// contiguous, may be changed. Q is not Transformed.
template <AnyQuantizer Q, Backend B, class Cache, class Queries>
void RotateAndStore(const B& backend, typename B::Stream& stream, MatrixView<float> q, MatrixView<float> k,
                    MatrixView<float> v, size_t head_dim, const typename B::Where& where, Cache& cache,
                    Queries& queries) {
  if constexpr (requires { backend.template RotateAndStore<Q>(stream, q, k, v, head_dim, where, cache, queries); }) {
    backend.template RotateAndStore<Q>(stream, q, k, v, head_dim, where, cache, queries);
  } else {
    backend.Rotate(stream, where, q);
    backend.Rotate(stream, where, k);
    backend.Store(stream, k, v, where, cache);
    backend.template Quantize<Q>(stream, HeadsOf(q, head_dim), queries);
  }
}

// Caches, of each argument some, grow to at least so many pages, or lose all (0).
template <Backend B, class... Caches>
void ResizeCaches(const B& backend, size_t pages, Caches&&... caches) {
  if constexpr (requires { backend.ResizeCaches(pages, caches...); }) {
    backend.ResizeCaches(pages, caches...);
  } else {
    const auto resize = [&](auto& some) {
      for (auto& cache : some) {
        if (pages == 0 || pages > cache.pages()) backend.ResizeCache(cache, pages);
      }
    };
    (resize(caches), ...);
  }
}

// Whether Sample can be had in two: Draw becomes a part of what the stream has waiting, and after Finish TokenOf gives
// what Sample would. So a pass and its draws are one wait (Transformer::FeedAndSample).
template <class B>
concept DrawsLater = requires(const B backend, typename B::Stream& stream, MatrixView<const float> logits,
                              const SamplerOptions& options, typename B::Drawn& drawn) {
  backend.Draw(stream, logits, options, uint64_t{0}, drawn);
  { B::TokenOf(drawn) } -> std::same_as<Result<uint32_t>>;
};

namespace detail {

template <class B>
struct DrawnOf {
  using type = uint32_t;
};
template <DrawsLater B>
struct DrawnOf<B> {
  using type = typename B::Drawn;
};

}  // namespace detail

// What Draw leaves, where there is one.
template <class B>
using DrawnOf = typename detail::DrawnOf<B>::type;

}  // namespace bitnet

#endif  // BITNET_BACKEND_FUSED_OPERATIONS_H_
