// StoreHeads: what a pass does with queries, keys and values before it attends. Where the scheme transforms nothing
// that is one operation, RotateAndStore (backend/fused_operations.h).
#ifndef BITNET_LAYER_STORE_HEADS_H_
#define BITNET_LAYER_STORE_HEADS_H_

#include <cstddef>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/fused_operations.h"
#include "bitnet/quant/transform.h"
#include "bitnet/scheme/scheme.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/operand.h"

namespace bitnet {

// x = T x, head by head.
template <AnyTransform T, Backend B>
void TransformHeads(const B& backend, typename B::Stream& stream, MatrixView<float> heads) {
  if constexpr (!kIsIdentity<T>) backend.template Transform<T>(stream, heads, heads);
}

// Rotates queries q and keys k, transforms the three where the scheme does, stores keys and values in the cache,
// quantizes the queries. q, k and v [tokens, heads * head_dim], contiguous, may be changed.
template <Scheme S, Backend B, class Cache>
void StoreHeads(const B& backend, typename B::Stream& stream, MatrixView<float> q, MatrixView<float> k,
                MatrixView<float> v, size_t head_dim, const typename B::Where& where, Cache& cache,
                typename B::template Rows<OperandOf<typename S::Query>>& queries) {
  using Query = Untransformed<typename S::Query>;
  constexpr bool kTransforms = !(kTransformsNothing<typename S::Query> && kTransformsNothing<typename S::Key> &&
                                 kTransformsNothing<typename S::Value>);
  if constexpr (!kTransforms) {
    RotateAndStore<Query>(backend, stream, q, k, v, head_dim, where, cache, queries);
  } else {
    backend.Rotate(stream, where, q);
    backend.Rotate(stream, where, k);
    TransformHeads<TransformOf<typename S::Key>>(backend, stream, HeadsOf(q, head_dim));
    TransformHeads<TransformOf<typename S::Key>>(backend, stream, HeadsOf(k, head_dim));
    TransformHeads<TransformOf<typename S::Value>>(backend, stream, HeadsOf(v, head_dim));
    backend.Store(stream, k, v, where, cache);
    backend.template Quantize<Query>(stream, HeadsOf(q, head_dim), queries);
  }
}

}  // namespace bitnet

#endif  // BITNET_LAYER_STORE_HEADS_H_
