// CacheLayout<Quantizers>: how the keys and values of one layer lie in the memory of a device. A page has kPageTokens
// tokens; of each key/value head, one after the other:
//
//   keys          codes: [bundle][word][token] words, byte i of a word is of values 32 bundle + 8 i + 0 ... 7 of a
//   token
//                 reals: [dim][token]
//   key steps     [token], of codes
//   values        codes: [eight][word][token] bytes, of values 8 eight + 0 ... 7 of a token: four tokens are a bundle
//                 reals: [token][dim]
//   value steps   [token], of codes
//   first key, first value    [dim], of the first token of a sequence, where it has a format of its own: levels or
//   reals
//
// (A bundle: head_codes.h.) So 32 tokens of a word of keys are a line of memory, values of four tokens come together
// for sums over tokens, and no two tokens have a byte in common: they may be stored at the same time.
//
// Here are sizes and addresses, and the way from and to the host's form; nothing here runs on a device but addresses.
#ifndef BITNET_BACKEND_CUDA_CACHE_LAYOUT_H_
#define BITNET_BACKEND_CUDA_CACHE_LAYOUT_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "bitnet/backend/cuda/head_codes.h"
#include "bitnet/base/assert.h"
#include "bitnet/base/host_device.h"
#include "bitnet/base/size.h"
#include "bitnet/format/format.h"
#include "bitnet/tensor/key_values.h"

namespace bitnet::cuda {

// Where a page is. Pages lie in chunks that never move, as large as the pages before them ask for: 1, 1, 1, 1, 2, 2, 2,
// 2, 4, ... pages, at most a quarter of which is more than was asked for. So a page's number counts like a small
// floating-point number: four chunks an octave.
struct PageAddress {
  uint32_t chunk;
  uint32_t index;  // of the page in the chunk
};
inline constexpr uint32_t kPageChunks = 104;
inline constexpr uint32_t kMostPages = 0x10000000u - 4;

// The pages of a chunk.
BITNET_HOST_DEVICE constexpr uint32_t PagesOfChunk(uint32_t chunk) { return 1u << chunk / 4; }

// page < kMostPages.
BITNET_HOST_DEVICE inline PageAddress AddressOfPage(uint32_t page) {
  const uint32_t q = page + 4;
  const auto octave = static_cast<uint32_t>(BitCast<uint64_t>(static_cast<double>(q)) >> 52) - 1023 - 2;
  return {4 * octave + (q >> octave) - 4, q & ((1u << octave) - 1)};
}

namespace detail {

// What of a head at a token is kept, and as what on the host.
template <Format F>
struct Kept {
  using Level = LevelOf<F>;
  static constexpr size_t kBytes = sizeof(Level);  // of a level, where it is kept as it is
};
template <RealFormat F>
struct Kept<F> {
  using Level = StoredReal<F>;
  static constexpr size_t kBytes = sizeof(Level);
};

}  // namespace detail

// A level of a format, or a real, as it is kept by itself.
template <Format F>
using KeptLevel = typename detail::Kept<F>::Level;

template <class Quantizers_>
class CacheLayout {
 public:
  using Quantizers = Quantizers_;
  using Key = typename Quantizers::Formats::Key;
  using FirstKey = typename Quantizers::Formats::FirstKey;
  using Value = typename Quantizers::Formats::Value;
  using FirstValue = typename Quantizers::Formats::FirstValue;
  static_assert(kIsFloat<Key> == kIsFloat<FirstKey> && kIsFloat<Value> == kIsFloat<FirstValue>,
                "bitnet: a cache keeps its first token quantized if and only if the others are");

  // Whether the first token of a sequence lies apart.
  static constexpr bool kFirstKeyApart = !std::is_same_v<Key, FirstKey>;
  static constexpr bool kFirstValueApart = !std::is_same_v<Value, FirstValue>;

  // What kernels are given: the addresses of chunks, and where in a page the parts of a head begin.
  struct View {
    std::byte* chunks[kPageChunks];
    size_t page_bytes;
    size_t head_bytes;
    size_t key_steps;
    size_t values;
    size_t value_steps;
    size_t first_key;
    size_t first_value;
    uint32_t kv_heads;
    uint32_t head_dim;

    BITNET_HOST_DEVICE std::byte* Page(uint32_t page) const {
      const PageAddress at = AddressOfPage(page);
      return chunks[at.chunk] + at.index * page_bytes;
    }
    BITNET_HOST_DEVICE std::byte* Head(uint32_t page, uint32_t head) const { return Page(page) + head * head_bytes; }
    // Eights of values of a head, and bundles of a key.
    BITNET_HOST_DEVICE uint32_t Eights() const { return (head_dim + 7) / 8; }
    BITNET_HOST_DEVICE uint32_t Bundles() const { return (head_dim + 31) / 32; }
  };

  CacheLayout() : CacheLayout(0, 0) {}
  // Of sizes whose page fits size_t: see PageBytes.
  CacheLayout(size_t kv_heads, size_t head_dim) {
    const std::optional<Sizes> sizes = SizesOf(head_dim);
    view_ = {};
    if (!sizes) bitnet::detail::SizeDoesNotFit();
    view_.key_steps = sizes->keys;
    view_.values = SizeSum(view_.key_steps, sizes->key_steps);
    view_.value_steps = SizeSum(view_.values, sizes->values);
    view_.first_key = SizeSum(view_.value_steps, sizes->value_steps);
    view_.first_value = SizeSum(view_.first_key, sizes->first_key);
    view_.head_bytes = SizeSum(view_.first_value, sizes->first_value);
    view_.page_bytes = SizeProduct(kv_heads, view_.head_bytes);
    view_.kv_heads = static_cast<uint32_t>(kv_heads);
    view_.head_dim = static_cast<uint32_t>(head_dim);
  }

  size_t kv_heads() const { return view_.kv_heads; }
  size_t head_dim() const { return view_.head_dim; }
  // Of a page: a multiple of kAlign.
  size_t page_bytes() const { return view_.page_bytes; }
  // What a page of these sizes takes, if it fits size_t.
  static std::optional<size_t> PageBytes(size_t kv_heads, size_t head_dim) {
    const std::optional<Sizes> s = SizesOf(head_dim);
    if (!s) return std::nullopt;
    return CheckedProduct(std::optional(kv_heads),
                          CheckedSum(s->keys, s->key_steps, s->values, s->value_steps, s->first_key, s->first_value));
  }
  // Bytes that a token after the first takes, over all heads, its steps included.
  size_t BytesPerToken() const { return (view_.head_bytes - FirstBytes()) / kPageTokens * kv_heads(); }

  // Without pages: chunks are the caller's to fill in, each at a multiple of kAlign.
  const View& view() const { return view_; }

  static constexpr size_t kAlign = 128;

 private:
  struct Sizes {
    size_t keys, key_steps, values, value_steps, first_key, first_value;
  };

  size_t FirstBytes() const { return view_.head_bytes - view_.first_key; }

  static std::optional<Sizes> SizesOf(size_t dim) {
    if (dim > size_t{1} << 24) return std::nullopt;  // (no product of heads is that wide: DotFits)
    const size_t eights = (dim + 7) / 8;
    const size_t steps = kPageTokens * sizeof(float);
    const auto of_page = [&](auto size) { return CheckedProduct(size, kPageTokens); };
    const auto keys = [&] {
      if constexpr (kIsFloat<Key>) {
        return of_page(dim * detail::Kept<Key>::kBytes);
      } else {
        return of_page((eights + 3) / 4 * HeadCodes<Key>::kWords * sizeof(uint32_t));
      }
    }();
    const auto values = [&] {
      if constexpr (kIsFloat<Value>) {
        return of_page(dim * detail::Kept<Value>::kBytes);
      } else {
        return of_page(eights * HeadCodes<Value>::kWords);
      }
    }();
    const auto first = [&](bool is_apart, size_t bytes) {
      return is_apart ? (dim * bytes + kAlign - 1) / kAlign * kAlign : 0;
    };
    if (!keys || !values) return std::nullopt;
    return Sizes{*keys,
                 kIsFloat<Key> ? 0 : steps,
                 *values,
                 kIsFloat<Value> ? 0 : steps,
                 first(kFirstKeyApart, detail::Kept<FirstKey>::kBytes),
                 first(kFirstValueApart, detail::Kept<FirstValue>::kBytes)};
  }

  View view_;
};

// ---- Where in a head the parts of a token lie, for kernels and for the host.

// Of eights of a key that is codes: its kWords bytes lie kKeyWordBytes apart.
inline constexpr size_t kKeyWordBytes = kPageTokens * sizeof(uint32_t);
template <unsigned kWords>
BITNET_HOST_DEVICE inline size_t KeyByteAt(uint32_t eight, uint32_t token) {
  return size_t{eight / 4 * kWords} * kKeyWordBytes + token * sizeof(uint32_t) + eight % 4;
}
// Of a value: they lie kPageTokens apart.
template <unsigned kWords>
BITNET_HOST_DEVICE inline size_t ValueByteAt(uint32_t eight, uint32_t token) {
  return size_t{eight * kWords} * kPageTokens + token;
}

// ---- The host's side: pages that lie one after the other in memory of the host, as a device has them.

namespace detail {

// The keys or values of one page, as QuantizedHeads has them.
template <class Layout, bool kIsKeys>
class HeadsOfPage {
 public:
  using FormatOfRest = std::conditional_t<kIsKeys, typename Layout::Key, typename Layout::Value>;
  using FormatOfFirst = std::conditional_t<kIsKeys, typename Layout::FirstKey, typename Layout::FirstValue>;

  HeadsOfPage(const typename Layout::View& view, std::byte* page) : view_(&view), page_(page) {}

  size_t heads() const { return view_->kv_heads; }
  size_t head_dim() const { return view_->head_dim; }

  void Store(size_t head, size_t token, const LevelOf<FormatOfRest>* levels, float step) {
    Check(head, token);
    if constexpr (kIsFloat<FormatOfRest>) {
      for (size_t i = 0; i < head_dim(); ++i) Put(RealAt(head, token, i), NearestReal<FormatOfRest>(levels[i]));
    } else {
      using Codes = HeadCodes<FormatOfRest>;
      for (uint32_t eight = 0; eight < view_->Eights(); ++eight) {
        unsigned codes[8] = {};
        for (size_t i = 0; i < 8 && eight * 8 + i < head_dim(); ++i) {
          codes[i] = static_cast<unsigned>(CodeOfLevel<FormatOfRest>(levels[eight * 8 + i]));
        }
        uint8_t bytes[Codes::kWords];
        Codes::Pack(codes, bytes);
        for (unsigned w = 0; w < Codes::kWords; ++w) Put(ByteAt<Codes::kWords>(head, eight, w, token), bytes[w]);
      }
      Put(StepAt(head, token), step);
    }
  }
  void StoreFirst(size_t head, const LevelOf<FormatOfFirst>* levels, float step) {
    if constexpr (std::is_same_v<FormatOfFirst, FormatOfRest>) {
      Store(head, 0, levels, step);
    } else {
      Check(head, 0);
      for (size_t i = 0; i < head_dim(); ++i) {
        if constexpr (kIsFloat<FormatOfFirst>) {
          Put(FirstAt(head, i), NearestReal<FormatOfFirst>(levels[i]));
        } else {
          Put(FirstAt(head, i), levels[i]);
        }
      }
      if constexpr (!kIsFloat<FormatOfFirst>) Put(StepAt(head, 0), step);
    }
  }

  void Load(size_t head, size_t token, std::span<LevelOf<FormatOfRest>> levels) const {
    Check(head, token);
    if constexpr (kIsFloat<FormatOfRest>) {
      for (size_t i = 0; i < head_dim(); ++i) {
        levels[i] = Get<KeptLevel<FormatOfRest>>(RealAt(head, token, i));
      }
    } else {
      using Codes = HeadCodes<FormatOfRest>;
      for (uint32_t eight = 0; eight < view_->Eights(); ++eight) {
        uint8_t bytes[Codes::kWords];
        for (unsigned w = 0; w < Codes::kWords; ++w) {
          bytes[w] = Get<uint8_t>(ByteAt<Codes::kWords>(head, eight, w, token));
        }
        int eight_levels[8];
        Codes::LevelsOf(bytes, eight_levels);
        for (size_t i = 0; i < 8 && eight * 8 + i < head_dim(); ++i) {
          levels[eight * 8 + i] = static_cast<LevelOf<FormatOfRest>>(eight_levels[i]);
        }
      }
    }
  }
  void LoadFirst(size_t head, std::span<LevelOf<FormatOfFirst>> levels) const {
    if constexpr (std::is_same_v<FormatOfFirst, FormatOfRest>) {
      Load(head, 0, levels);
    } else {
      Check(head, 0);
      for (size_t i = 0; i < head_dim(); ++i) levels[i] = Get<KeptLevel<FormatOfFirst>>(FirstAt(head, i));
    }
  }
  float Step(size_t head, size_t token) const {
    if constexpr (kIsFloat<FormatOfRest>) {
      return 1.0f;
    } else {
      return Get<float>(StepAt(head, token));
    }
  }

 private:
  void Check(size_t head, size_t token) const {
    BITNET_ASSERT(head < heads() && token < kPageTokens, "a page of a device's cache: head or token out of range");
  }
  std::byte* Head(size_t head) const { return page_ + head * view_->head_bytes; }
  std::byte* StepAt(size_t head, size_t token) const {
    return Head(head) + (kIsKeys ? view_->key_steps : view_->value_steps) + token * sizeof(float);
  }
  std::byte* FirstAt(size_t head, size_t i) const {
    return Head(head) + (kIsKeys ? view_->first_key : view_->first_value) + i * sizeof(KeptLevel<FormatOfFirst>);
  }
  std::byte* RealAt(size_t head, size_t token, size_t i) const {
    const size_t at = kIsKeys ? i * kPageTokens + token : token * head_dim() + i;
    return Head(head) + (kIsKeys ? 0 : view_->values) + at * sizeof(KeptLevel<FormatOfRest>);
  }
  template <unsigned kWords>
  std::byte* ByteAt(size_t head, uint32_t eight, unsigned word, size_t token) const {
    const auto t = static_cast<uint32_t>(token);
    return kIsKeys ? Head(head) + KeyByteAt<kWords>(eight, t) + word * kKeyWordBytes
                   : Head(head) + view_->values + ValueByteAt<kWords>(eight, t) + word * kPageTokens;
  }
  template <class T>
  static void Put(std::byte* to, T value) {
    std::memcpy(to, &value, sizeof(value));
  }
  template <class T>
  static T Get(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof(value));
    return value;
  }

  const typename Layout::View* view_;
  std::byte* page_;
};

}  // namespace detail

// `pages` pages on the host that follow each other, as one sequence or a part of one: what reference::CopyTokens reads
// and writes. The layout and the memory are the caller's.
template <class Quantizers>
class PagesOnHost {
  using Layout = CacheLayout<Quantizers>;

 public:
  struct PageOnHost {
    detail::HeadsOfPage<Layout, true> keys;
    detail::HeadsOfPage<Layout, false> values;
  };

  PagesOnHost(const Layout& layout, std::byte* bytes, size_t pages) : layout_(&layout) {
    pages_.reserve(pages);
    for (size_t i = 0; i < pages; ++i) {
      std::byte* page = bytes + i * layout.page_bytes();
      pages_.push_back({{layout.view(), page}, {layout.view(), page}});
    }
  }
  size_t kv_heads() const { return layout_->kv_heads(); }
  size_t head_dim() const { return layout_->head_dim(); }
  size_t max_tokens() const { return pages_.size() * kPageTokens; }
  PageOnHost& Page(size_t position) { return pages_[position / kPageTokens]; }
  const PageOnHost& Page(size_t position) const { return pages_[position / kPageTokens]; }
  static size_t Slot(size_t position) { return position % kPageTokens; }

 private:
  const Layout* layout_;
  std::vector<PageOnHost> pages_;
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_CACHE_LAYOUT_H_
