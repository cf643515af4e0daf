// KeyValues: the keys and values of one layer at some tokens, each in a form of the backend's. PagedKeyValues: those of
// many sequences, in pages. CacheQuantizers names what quantizes them, CacheFormats what they are quantized to.
#ifndef BITNET_TENSOR_KEY_VALUES_H_
#define BITNET_TENSOR_KEY_VALUES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include "bitnet/base/assert.h"
#include "bitnet/base/size.h"
#include "bitnet/format/format.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/tensor/pages.h"
#include "bitnet/tensor/slab.h"

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

// Of max_tokens tokens that follow each other: a page, or all of a sequence.
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
  // Room for max_tokens tokens; all memory is taken here, of a slab where there is one and both can be in one.
  template <class... FromSlab>
  KeyValues(size_t kv_heads, size_t head_dim, size_t max_tokens, const FromSlab&... slab)
      : keys(kv_heads, head_dim, max_tokens, slab...), values(kv_heads, head_dim, max_tokens, slab...) {}

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

  // Of one with the same sizes; takes no memory.
  void CopyFrom(const KeyValues& other) {
    keys.CopyFrom(other.keys);
    values.CopyFrom(other.values);
  }

  // As a sequence that lies in one piece; PagedSequence is one in pages.
  KeyValues& Page(size_t) { return *this; }
  const KeyValues& Page(size_t) const { return *this; }
  static size_t Slot(size_t position) { return position; }
};

// The keys and values of one layer, in pages of kPageTokens tokens. Which pages are whose is known elsewhere: a table
// of a sequence has the number of the page for positions [0, kPageTokens), of the next, ...
using PageTable = std::span<const uint32_t>;

template <class KeyValues_>
class PagedKeyValues {
 public:
  PagedKeyValues() = default;
  PagedKeyValues(size_t kv_heads, size_t head_dim) : no_tokens_(kv_heads, head_dim, 0) {}

  size_t kv_heads() const { return no_tokens_.kv_heads(); }
  size_t head_dim() const { return no_tokens_.head_dim(); }
  size_t BytesPerToken() const { return no_tokens_.BytesPerToken(); }

  // Grows to so many pages, in memory of `slab` where one is given, or gives all memory back (0). Growing moves no
  // page.
  template <class... FromSlab>
  void Resize(size_t pages, const FromSlab&... slab) {
    BITNET_ASSERT(pages == 0 || pages >= pages_.size(), "ResizeCache: a cache grows, or loses all pages");
    if (pages == 0) return pages_.Clear();
    pages_.Grow(pages, [&] { return KeyValues_(kv_heads(), head_dim(), kPageTokens, slab...); });
  }
  // Whether pages can be in one: of the host's own form they cannot.
  static constexpr bool kTakesSlab =
      std::is_constructible_v<decltype(KeyValues_::keys), size_t, size_t, size_t, const std::shared_ptr<Slab>&>;
  // What growing to so many pages takes of a slab, at most.
  size_t SlabBytes(size_t pages) const {
    constexpr size_t kParts = 4;  // codes and steps of keys and of values
    const size_t of_page =
        SizeSum(no_tokens_.StoredBytes(kv_heads(), head_dim(), kPageTokens).value_or(0), kParts * kAlignment);
    return pages <= this->pages() ? 0 : SizeProduct(pages - this->pages(), of_page);
  }
  size_t pages() const { return pages_.size(); }
  // Takes no memory.
  void CopyPage(uint32_t from, uint32_t to) {
    BITNET_ASSERT(from < pages() && to < pages(), "CopyPage: beyond the pages of the cache");
    if (from != to) pages_[to].CopyFrom(pages_[from]);
  }
  size_t StoredBytes() const {
    return pages_.size() * KeyValues_::StoredBytes(kv_heads(), head_dim(), kPageTokens).value_or(0);
  }
  KeyValues_& operator[](size_t page) { return pages_[page]; }
  const KeyValues_& operator[](size_t page) const { return pages_[page]; }

 private:
  KeyValues_ no_tokens_;
  Pages<KeyValues_> pages_;
};

// Layers of caches that can take their pages of a slab.
template <class Layers>
concept GrowsInSlabs = requires {
  requires Layers::value_type::kTakesSlab;
};

// A sequence of a cache: the page and the slot of each position.
template <class Cache>
class PagedSequence {
 public:
  PagedSequence(Cache& cache, PageTable table) : cache_(cache), table_(table) {}
  size_t kv_heads() const { return cache_.kv_heads(); }
  size_t head_dim() const { return cache_.head_dim(); }
  size_t max_tokens() const { return table_.size() * kPageTokens; }
  auto& Page(size_t position) const { return cache_[table_[position / kPageTokens]]; }
  static size_t Slot(size_t position) { return position % kPageTokens; }

 private:
  Cache& cache_;
  PageTable table_;
};

// A cache that knows its quantizers: a type of its own, over one that depends on the formats alone.
template <class Quantizers_, class OfFormats>
struct CacheBy : OfFormats {
  using Quantizers = Quantizers_;
  using OfFormats::OfFormats;
};

}  // namespace bitnet

#endif  // BITNET_TENSOR_KEY_VALUES_H_
