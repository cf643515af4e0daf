// RotateAndStore: what comes between the projections and attention, in one launch (backend/fused_operations.h). A warp
// has a head of a token, of queries, keys or values: it turns the pairs of a query or a key by their angles, in place;
// when all of its block have, it quantizes the query, or stores the key or the value (store.h).
#ifndef BITNET_BACKEND_CUDA_ROTATE_AND_STORE_H_
#define BITNET_BACKEND_CUDA_ROTATE_AND_STORE_H_

#include <cstddef>
#include <cstdint>

#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/elementwise.h"
#include "bitnet/backend/cuda/format_tables.h"
#include "bitnet/backend/cuda/quantize.h"
#include "bitnet/backend/cuda/store.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/operand.h"

namespace bitnet::cuda {

// Whether all of a cache's quantizers, and that of its queries, run in kernels.
template <AnyQuantizer Query, class Quantizers>
inline constexpr bool kStoresOnDevice = kQuantizesOnDevice<Query>&& kQuantizesOnDevice<typename Quantizers::Key>&&
    kQuantizesOnDevice<typename Quantizers::FirstKey>&& kQuantizesOnDevice<typename Quantizers::Value>&&
        kQuantizesOnDevice<typename Quantizers::FirstValue>;

template <AnyQuantizer Query, class Quantizers>
struct RotateAndStoreKernel {
  using Store = StoreHeadsOfTokens<Quantizers>;
  using Format = typename Query::Format;
  static constexpr unsigned kThreads = Store::kThreads;
  static constexpr unsigned kHeadsOfBlock = Store::kHeadsOfBlock;
  using Shared = NoShared;

  RotateOf q;
  RotateOf k;
  Store store;
  RowsView<OperandOf<Query>> queries;  // [tokens * heads, head_dim]
  uint32_t heads;                      // of queries

  template <class Device>
  BITNET_DEVICE void operator()(Device& d, Shared&) const {
    const size_t item = size_t{d.block()} * kHeadsOfBlock + d.warp();
    const uint32_t of_token = heads + 2 * store.cache.kv_heads;
    const bool is_there = item < size_t{of_token} * store.where.tokens;
    const auto token = static_cast<uint32_t>(item / of_token);
    const auto head = static_cast<uint32_t>(item % of_token);
    const bool is_key = head >= heads && (head - heads) % 2 == 0;
    if (is_there && (head < heads || is_key)) {
      const uint32_t first = (head < heads ? head : (head - heads) / 2) * q.pairs;
      const RotateOf& of = head < heads ? q : k;
      for (uint32_t i = d.lane(); i < q.pairs; i += kWarp) of(token, first + i);
    }
    d.Barrier();
    if (!is_there) return;
    if (head < heads) {
      QuantizeQuery(d, token, head);
    } else {
      store.StoreHeadOf(d, token, head - heads);
    }
  }

 private:
  template <class Device>
  BITNET_DEVICE void QuantizeQuery(Device& d, uint32_t token, uint32_t head) const {
    using Level = LevelOf<Format>;
    const size_t row = size_t{token} * heads + head;
    float step = 0.0f;
    const auto x = HeadsByKernel<Query>{q.y}.Begin(d, token, head, queries.cols, step);
    if (d.lane() == 0) queries.Steps(row)[0] = step;
    Level* to = queries.Row(row);
    for (auto i = static_cast<uint32_t>(d.lane()); i < queries.stride; i += kWarp) {
      if (i >= queries.cols) {
        to[i] = Level{};
      } else if constexpr (kIsFloat<Format>) {
        to[i] = x.Value(i);
      } else {
        to[i] = static_cast<Level>(cuda::Level<Format>(x.Value(i)));
      }
    }
  }
};

// Rotates q [tokens, heads * head_dim] and k in place, stores k and v, queries = Query(q), head by head. Shapes are
// checked before: CheckRotate, CheckStore.
template <AnyQuantizer Query, class Quantizers, class Stream>
void RotateAndStore(Stream& stream, MatrixView<float> q, MatrixView<float> k, MatrixView<const float> v,
                    const WhereView& where, const typename CacheLayout<Quantizers>::View& cache,
                    const RowsView<OperandOf<Query>>& queries) {
  using Kernel = RotateAndStoreKernel<Query, Quantizers>;
  static_assert(kStoresOnDevice<Query, Quantizers>);
  if (where.tokens == 0) return;
  Kernel kernel;
  kernel.q = {where.cos, where.sin, where.pairs, q};
  kernel.k = {where.cos, where.sin, where.pairs, k};
  kernel.store.keys = {MatrixView<const float>(k)};
  kernel.store.first_keys = {MatrixView<const float>(k)};
  kernel.store.values = {v};
  kernel.store.first_values = {v};
  kernel.store.where = where;
  kernel.store.cache = cache;
  kernel.queries = queries;
  kernel.heads = queries.rows / where.tokens;
  const size_t of_token = size_t{kernel.heads} + size_t{2} * cache.kv_heads;
  stream.Launch(kernel, {BlocksFor(SizeProduct(of_token, size_t{where.tokens}), Kernel::kHeadsOfBlock), 1});
}

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_ROTATE_AND_STORE_H_
