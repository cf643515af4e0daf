// AnyCache<B, Q>: a cache of a backend B that forgets the quantizers of its keys and values (erased.h).
#ifndef BITNET_BACKEND_ERASED_CACHE_H_
#define BITNET_BACKEND_ERASED_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/erased_rows.h"
#include "bitnet/backend/fused_operations.h"
#include "bitnet/backend/type_key.h"
#include "bitnet/base/assert.h"
#include "bitnet/scheme/cache.h"

namespace bitnet {

template <Backend B>
class Erased;

// A cache of any quantizers of keys and values, for queries Q; or, of ChosenFormat, for those that it is made for.
template <Backend B, Operand Q>
class AnyCache {
  using Stream = typename B::Stream;
  using Rows = InputsOfErased<B, Q>;
  using Where = typename B::Where;
  using Reals = MatrixView<const float>;

 public:
  AnyCache() = default;
  template <class Quantizers>
  AnyCache(std::type_identity<Quantizers>, typename B::template Cache<Quantizers> cache)
      : pages_(std::make_unique<PagesBy<Quantizers>>(std::move(cache))) {}

  size_t pages() const { return pages_ == nullptr ? 0 : pages_->pages(); }
  size_t BytesPerToken() const { return pages_ == nullptr ? 0 : pages_->BytesPerToken(); }
  size_t StoredBytes() const { return pages_ == nullptr ? 0 : pages_->StoredBytes(); }

  // Whether it has these quantizers.
  template <class Quantizers>
  bool Is() const {
    return pages_ != nullptr && pages_->key() == KeyOf<Quantizers>();
  }
  // ... and those of what was read of one.
  template <class Quantizers>
  bool Keeps(const HostCache<Quantizers>& host) const {
    if constexpr (kIsChosenCache<Quantizers>) {
      return std::visit([this](const auto& one) { return this->Keeps(one); }, host.one);
    } else {
      return Is<Quantizers>();
    }
  }
  // Whether it has the quantizers of another.
  bool IsLike(const AnyCache& other) const {
    if (pages_ == nullptr || other.pages_ == nullptr) return pages_ == other.pages_;
    return pages_->key() == other.pages_->key();
  }
  // B's cache, which must have these quantizers.
  template <class Quantizers>
  typename B::template Cache<Quantizers>& As() const {
    BITNET_ASSERT(Is<Quantizers>(), "AnyCache: it has other quantizers");
    return static_cast<PagesBy<Quantizers>*>(pages_.get())->cache;
  }

 private:
  template <Backend>
  friend class Erased;

  class AnyPages {
   public:
    virtual ~AnyPages() = default;
    virtual const void* key() const = 0;
    virtual const void* key_of_query() const = 0;
    virtual size_t pages() const = 0;
    virtual size_t BytesPerToken() const = 0;
    virtual size_t StoredBytes() const = 0;
    virtual void Resize(const B&, size_t) = 0;
    // (All have the key of this.)
    virtual void ResizeAll(const B&, size_t, std::span<AnyCache>) = 0;
    virtual void CopyPage(const B&, Stream&, uint32_t, uint32_t) = 0;
    virtual void Store(const B&, Stream&, Reals, Reals, const Where&) = 0;
    // By the quantizer of queries that the cache is made for.
    virtual void RotateAndStore(const B&, Stream&, MatrixView<float>, MatrixView<float>, MatrixView<float>, size_t,
                                const Where&, Rows&) = 0;
    virtual void Attend(const B&, Stream&, Rows&, const Where&, const AttentionShape&, MatrixView<float>) const = 0;
  };

  template <class Quantizers>
  class PagesBy final : public AnyPages {
    using Cache = typename B::template Cache<Quantizers>;
    using Query = typename Quantizers::Query;
    using Queries = typename B::template Rows<OperandOf<Query>>;

   public:
    explicit PagesBy(Cache c) : cache(std::move(c)) {}
    const void* key() const override { return KeyOf<Quantizers>(); }
    const void* key_of_query() const override { return KeyOf<Query>(); }
    size_t pages() const override { return cache.pages(); }
    size_t BytesPerToken() const override { return cache.BytesPerToken(); }
    size_t StoredBytes() const override { return cache.StoredBytes(); }
    void Resize(const B& backend, size_t pages) override { backend.ResizeCache(cache, pages); }
    void ResizeAll(const B& backend, size_t pages, std::span<AnyCache> caches) override {
      ResizeCaches(backend, pages, CachesBy{caches});
    }
    void CopyPage(const B& backend, Stream& stream, uint32_t from, uint32_t to) override {
      backend.CopyPage(stream, cache, from, to);
    }
    void Store(const B& backend, Stream& stream, Reals k, Reals v, const Where& where) override {
      backend.Store(stream, k, v, where, cache);
    }
    void RotateAndStore(const B& backend, Stream& stream, MatrixView<float> q, MatrixView<float> k, MatrixView<float> v,
                        size_t head_dim, const Where& where, Rows& queries) override {
      bitnet::RotateAndStore<Query>(backend, stream, q, k, v, head_dim, where, cache, QueriesOf(queries));
    }
    void Attend(const B& backend, Stream& stream, Rows& q, const Where& where, const AttentionShape& shape,
                MatrixView<float> y) const override {
      backend.Attend(stream, QueriesOf(q), where, cache, shape, y);
    }

    Cache cache;

   private:
    static Queries& QueriesOf(Rows& rows) {
      if constexpr (std::is_same_v<Q, ChosenFormat>) {
        return rows.template As<OperandOf<Query>>();
      } else {
        return rows;
      }
    }
    // B's caches, as a container of such would have them.
    struct CachesBy {
      using value_type = Cache;
      struct Iterator {
        AnyCache* at;
        Cache& operator*() const { return at->As<Quantizers>(); }
        Iterator& operator++() {
          ++at;
          return *this;
        }
        bool operator==(const Iterator&) const = default;
      };
      std::span<AnyCache> caches;
      Iterator begin() const { return {caches.data()}; }
      Iterator end() const { return {caches.data() + caches.size()}; }
    };
  };

  // Neighbours of one kind grow in one operation.
  static void ResizeAll(const B& backend, size_t pages, std::span<AnyCache> caches) {
    for (size_t begin = 0, end = 0; begin < caches.size(); begin = end) {
      while (end < caches.size() && caches[end].Get().key() == caches[begin].Get().key()) ++end;
      caches[begin].Get().ResizeAll(backend, pages, caches.subspan(begin, end - begin));
    }
  }

  AnyPages& Get() const {
    BITNET_ASSERT(pages_ != nullptr, "AnyCache: there is no cache");
    return *pages_;
  }

  std::unique_ptr<AnyPages> pages_;
};

}  // namespace bitnet

#endif  // BITNET_BACKEND_ERASED_CACHE_H_
