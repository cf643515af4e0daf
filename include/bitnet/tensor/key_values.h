// KeyValues: the keys and values of one layer and one sequence, each in a form of the backend's. CacheQuantizers names
// what quantizes them, CacheFormats what they are quantized to.
#ifndef BITNET_TENSOR_KEY_VALUES_H_
#define BITNET_TENSOR_KEY_VALUES_H_

#include <cstddef>
#include <optional>
#include <utility>

#include "bitnet/base/size.h"
#include "bitnet/format/format.h"
#include "bitnet/quant/quantizer.h"

namespace bitnet {

// The formats of keys, of the first token's keys, of values, of the first token's values.
template <Format K, Format K0, Format V, Format V0>
struct CacheFormats {
  using Key = K;
  using FirstKey = K0;
  using Value = V;
  using FirstValue = V0;
};

// Of queries, keys, the first token's keys, values, the first token's values: a cache is for queries of one format, as
// a matrix is for inputs of one.
template <AnyQuantizer Q, AnyQuantizer K, AnyQuantizer K0, AnyQuantizer V, AnyQuantizer V0>
struct CacheQuantizers {
  using Query = Q;
  using Key = K;
  using FirstKey = K0;
  using Value = V;
  using FirstValue = V0;
  using Formats = CacheFormats<typename K::Format, typename K0::Format, typename V::Format, typename V0::Format>;
};

template <class Keys, class Values>
struct KeyValues {
  Keys keys;
  Values values;

  KeyValues() = default;
  KeyValues(const KeyValues&) = default;
  KeyValues(KeyValues&&) noexcept = default;
  // Where memory ends, what is assigned to stays as it was.
  KeyValues& operator=(const KeyValues& other) {
    KeyValues copy(other);
    return *this = std::move(copy);
  }
  KeyValues& operator=(KeyValues&&) noexcept = default;
  // Room for max_tokens tokens; all memory is taken here.
  KeyValues(size_t kv_heads, size_t head_dim, size_t max_tokens)
      : keys(kv_heads, head_dim, max_tokens), values(kv_heads, head_dim, max_tokens) {}

  size_t kv_heads() const { return keys.heads(); }
  size_t head_dim() const { return keys.head_dim(); }
  size_t max_tokens() const { return keys.max_tokens(); }
  // Bytes that a token (after the first) adds, steps included.
  size_t BytesPerToken() const { return keys.BytesPerToken() + values.BytesPerToken(); }
  size_t StoredBytes() const { return keys.StoredBytes() + values.StoredBytes(); }
  // What it would be for these sizes, if it fits size_t.
  static std::optional<size_t> StoredBytes(size_t kv_heads, size_t head_dim, size_t max_tokens) {
    return CheckedSum(Keys::StoredBytes(kv_heads, head_dim, max_tokens),
                      Values::StoredBytes(kv_heads, head_dim, max_tokens));
  }
};

// A cache that knows its quantizers: a type of its own, over one that depends on the formats alone.
template <class Quantizers_, class OfFormats>
struct CacheBy : OfFormats {
  using Quantizers = Quantizers_;
  using OfFormats::OfFormats;
};

}  // namespace bitnet

#endif  // BITNET_TENSOR_KEY_VALUES_H_
