// KvCache<Scheme>: the quantized keys and values of one layer. Which formats, and the wider ones of the first token,
// are the scheme's: 3 bits with the first token at 4 (A48), any other format, or reals (B158, Fp32).
#ifndef BITNET_LAYER_KV_CACHE_H_
#define BITNET_LAYER_KV_CACHE_H_

#include <cstddef>
#include <optional>

#include "bitnet/base/size.h"
#include "bitnet/scheme/scheme.h"
#include "bitnet/tensor/head_cache.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/quantized_tokens.h"

namespace bitnet {

template <Scheme S>
class KvCache {
 public:
  using Keys = HeadCache<typename S::Key::Format, typename S::FirstKey::Format>;
  using Values = HeadCache<typename S::Value::Format, typename S::FirstValue::Format>;

  KvCache() = default;
  // Room for max_tokens tokens; all memory is taken here.
  KvCache(size_t kv_heads, size_t head_dim, size_t max_tokens)
      : keys_(kv_heads, head_dim, max_tokens), values_(kv_heads, head_dim, max_tokens) {}

  // Quantizes and stores keys and values [tokens, kv_heads * head_dim], contiguous, keys already rotated, at positions
  // first_position, first_position + 1, ...
  template <class B>
  void Store(const B& backend, MatrixView<const float> keys, MatrixView<const float> values, size_t first_position) {
    StoreHeads<typename S::Key, typename S::FirstKey>(backend, keys, first_position, keys_);
    StoreHeads<typename S::Value, typename S::FirstValue>(backend, values, first_position, values_);
  }

  const Keys& keys() const { return keys_; }
  const Values& values() const { return values_; }
  size_t max_tokens() const { return keys_.max_tokens(); }
  // Bytes that a token (after the first) adds, steps included.
  size_t BytesPerToken() const { return keys_.BytesPerToken() + values_.BytesPerToken(); }
  size_t StoredBytes() const { return keys_.StoredBytes() + values_.StoredBytes(); }
  // What it would be for a cache of these sizes, if it fits size_t.
  static std::optional<size_t> StoredBytes(size_t kv_heads, size_t head_dim, size_t max_tokens) {
    return CheckedSum(Keys::StoredBytes(kv_heads, head_dim, max_tokens),
                      Values::StoredBytes(kv_heads, head_dim, max_tokens));
  }

 private:
  template <class Q>
  static constexpr bool kOneStepAHead = kGroupSize<typename Q::Granularity> == 0;
  static_assert(kOneStepAHead<typename S::Query> && kOneStepAHead<typename S::Key> &&
                    kOneStepAHead<typename S::Value> && kOneStepAHead<typename S::FirstKey> &&
                    kOneStepAHead<typename S::FirstValue>,
                "bitnet: quantizers of heads have one step a head: PerGroup has no meaning there");

  template <class Q, class First, class B, class Cache>
  static void StoreHeads(const B& backend, MatrixView<const float> x, size_t first_position, Cache& cache) {
    const size_t heads = cache.heads();
    const MatrixView<const float> rows(x.data(), x.rows() * heads, cache.head_dim());
    BITNET_ASSERT(x.IsContiguous() && x.cols() == heads * cache.head_dim(),
                  "KvCache: keys and values must be contiguous, [tokens, kv_heads * head_dim]");
    const size_t first_rows = first_position == 0 ? heads : 0;
    if (first_rows != 0) StoreRows<First>(backend, rows.Rows(0, heads), 0, cache);
    if (rows.rows() > first_rows) {
      StoreRows<Q>(backend, rows.Rows(first_rows, rows.rows() - first_rows), first_position + (first_rows != 0), cache);
    }
  }

  // Rows are (token, head) pairs.
  template <class Q, class B, class Cache>
  static void StoreRows(const B& backend, MatrixView<const float> rows, size_t first_position, Cache& cache) {
    // Kept between calls: this is the only scratch of a cache.
    thread_local QuantizedTokens<typename Q::Format> quantized;
    backend.template Quantize<Q>(rows, quantized);
    for (size_t r = 0; r < rows.rows(); ++r) {
      cache.template Store<typename Q::Format>(r % cache.heads(), first_position + r / cache.heads(), quantized.Row(r),
                                               quantized.Step(r, 0));
    }
  }

  Keys keys_;
  Values values_;
};

}  // namespace bitnet

#endif  // BITNET_LAYER_KV_CACHE_H_
