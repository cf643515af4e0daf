// CachePool: the memory of conversations. Every layer has a cache of pages of kPageTokens tokens; a conversation is a
// list of page numbers, the same in all layers. Pages that several conversations have in common (forks) are counted,
// and only who has a page alone writes to it.
//
// A pool grows as it is used, up to its limit; pages that are free are used again, and when none is in use all memory
// is given back. Several threads may use one pool.
#ifndef BITNET_MODEL_CACHE_POOL_H_
#define BITNET_MODEL_CACHE_POOL_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/fused_operations.h"
#include "bitnet/base/result.h"
#include "bitnet/base/size.h"
#include "bitnet/layer/attention.h"
#include "bitnet/model/config.h"
#include "bitnet/model/weights.h"
#include "bitnet/scheme/scheme.h"
#include "bitnet/tensor/key_values.h"

namespace bitnet {

// Numbers of pages, with how many use each. (Not safe for several threads.)
class PageNumbers {
 public:
  // Numbers of pages that exist and have no user.
  size_t free() const { return free_.size(); }
  size_t used() const { return users_.size() - free_.size(); }
  size_t all() const { return users_.size(); }

  // Pages [all(), all) exist now.
  void Add(size_t all) {
    const size_t room = all <= users_.capacity() ? all : std::max(all, 2 * users_.capacity());
    free_.reserve(room);
    users_.reserve(room);
    // (Taken from the end: those that were used before come first, then the lowest.)
    std::vector<uint32_t>::iterator at = free_.begin();
    for (size_t page = all; page > users_.size(); --page) at = free_.insert(at, static_cast<uint32_t>(page - 1)) + 1;
    users_.resize(all);
  }
  void Clear() {
    free_.clear();
    users_.clear();
  }

  uint32_t Take() {
    const uint32_t page = free_.back();
    free_.pop_back();
    users_[page] = 1;
    return page;
  }
  void Share(uint32_t page) { ++users_[page]; }
  void Release(uint32_t page) {
    if (--users_[page] == 0) free_.push_back(page);
  }
  size_t Users(uint32_t page) const { return users_[page]; }

 private:
  std::vector<uint32_t> free_, users_;
};

template <Scheme S, Backend B>
class CachePool {
  template <class L>
  using CacheOf = typename B::template Cache<CacheQuantizersOf<L>>;

 public:
  CachePool(B backend, const ModelConfig& config, size_t max_pages)
      : backend_(std::move(backend)), config_(config), max_pages_(max_pages) {
    Make<S>(InnerCount<S>(config), caches_.layers);
    Make<EdgeOf<S>>(EdgeCount<S>(config), caches_.edges);
  }
  // Of a page in all layers; of a pool that is not made yet, if that fits size_t.
  size_t PageBytes() const { return PageBytes(backend_, config_).value_or(0); }
  static std::optional<size_t> PageBytes(const B& backend, const ModelConfig& config) {
    const auto of_layers = [&]<class L>(std::type_identity<L>, size_t layers) {
      return CheckedProduct(std::optional(layers),
                            backend.template PageBytes<CacheQuantizersOf<L>>(config.kv_heads, config.head_dim));
    };
    return CheckedSum(of_layers(std::type_identity<S>(), InnerCount<S>(config)),
                      of_layers(std::type_identity<EdgeOf<S>>(), EdgeCount<S>(config)));
  }
  // Of a token (after the first) in all layers.
  size_t BytesPerToken() const {
    size_t bytes = 0;
    for (const auto& cache : caches_.layers) bytes += cache.BytesPerToken();
    for (const auto& cache : caches_.edges) bytes += cache.BytesPerToken();
    return bytes;
  }

  size_t max_pages() const { return max_pages_; }
  size_t used_pages() const {
    const std::lock_guard lock(mutex_);
    return numbers_.used();
  }

  // Pages that could be taken.
  size_t free_pages() const {
    const std::lock_guard lock(mutex_);
    return max_pages_ - numbers_.used();
  }

  const ModelConfig& config() const { return config_; }
  // Whether its caches are those of another's configuration, and, where they are chosen when the program runs, of the
  // same choice.
  bool IsLike(const CachePool& other) const {
    const auto alike = [](const auto& some, const auto& others) {
      if constexpr (requires { some[0].IsLike(others[0]); }) {
        return some.empty() || some[0].IsLike(others[0]);
      } else {
        return true;
      }
    };
    return config_ == other.config_ && alike(caches_.layers, other.caches_.layers) &&
           alike(caches_.edges, other.caches_.edges);
  }
  // Of each layer: see AtLayer.
  struct Caches {
    std::vector<CacheOf<S>> layers;
    std::vector<CacheOf<EdgeOf<S>>> edges;
  };
  Caches& caches() { return caches_; }
  // f(the cache) for each layer.
  template <class F>
  void ForEachLayer(F&& f) {
    for (auto& cache : caches_.layers) f(cache);
    for (auto& cache : caches_.edges) f(cache);
  }

  // Appends so many pages that nobody uses. Refuses where there are not as many below the limit; then, and where memory
  // ends, none is taken.
  Result<Done> Take(size_t count, std::vector<uint32_t>& pages) {
    pages.reserve(pages.size() + count);
    const std::lock_guard lock(mutex_);
    if (count > max_pages_ - numbers_.used()) {
      return Error{"the pool of pages is exhausted: " + std::to_string(count) + " pages of " +
                   std::to_string(kPageTokens) + " tokens are needed, " + std::to_string(numbers_.used()) + " of its " +
                   std::to_string(max_pages_) + " are in use"};
    }
    if (count > numbers_.free()) {
      const size_t all = numbers_.used() + count;
      // Where memory ends, a pool of which no page is used keeps none.
      struct GivesBack {
        CachePool& pool;
        ~GivesBack() {
          if (pool.numbers_.all() == 0) pool.Resize(0);
        }
      } const gives_back{*this};
      Resize(all);
      numbers_.Add(all);
    }
    for (size_t i = 0; i < count; ++i) pages.push_back(numbers_.Take());
    return Done{};
  }
  void Share(PageTable pages) {
    const std::lock_guard lock(mutex_);
    for (const uint32_t page : pages) numbers_.Share(page);
  }
  void Release(PageTable pages) {
    if (pages.empty()) return;
    const std::lock_guard lock(mutex_);
    for (const uint32_t page : pages) numbers_.Release(page);
    if (numbers_.used() != 0) return;
    numbers_.Clear();
    Resize(0);
  }
  // How many conversations have a page.
  size_t Users(uint32_t page) const {
    const std::lock_guard lock(mutex_);
    return numbers_.Users(page);
  }

 private:
  // Of all layers, to at least so many pages, or to none.
  void Resize(size_t pages) { ResizeCaches(backend_, pages, caches_.layers, caches_.edges); }
  template <class L>
  void Make(size_t layers, std::vector<CacheOf<L>>& caches) {
    for (size_t i = 0; i < layers; ++i) {
      caches.push_back(backend_.template NewCache<CacheQuantizersOf<L>>(config_.kv_heads, config_.head_dim));
    }
  }

  B backend_;
  ModelConfig config_;
  Caches caches_;
  size_t max_pages_;
  mutable std::mutex mutex_;
  PageNumbers numbers_;
};

// The pages of a conversation: a copy shares them.
template <class Pool>
class PageList {
 public:
  PageList() = default;
  explicit PageList(std::shared_ptr<Pool> pool) : pool_(std::move(pool)) {}
  PageList(const PageList& other) : pool_(other.pool_), pages_(other.pages_) {
    if (pool_ != nullptr) pool_->Share(pages_);
  }
  PageList(PageList&& other) noexcept { *this = std::move(other); }
  PageList& operator=(const PageList& other) {
    PageList copy(other);
    return *this = std::move(copy);
  }
  PageList& operator=(PageList&& other) noexcept {
    if (this == &other) return *this;
    Truncate(0);
    pool_ = std::move(other.pool_);
    pages_ = std::exchange(other.pages_, {});
    return *this;
  }
  ~PageList() { Truncate(0); }

  Pool* pool() const { return pool_.get(); }
  const std::shared_ptr<Pool>& shared_pool() const { return pool_; }
  size_t size() const { return pages_.size(); }
  PageTable table() const { return pages_; }

  // Keeps the first so many.
  void Truncate(size_t size) {
    if (size >= pages_.size()) return;
    pool_->Release(table().subspan(size));
    pages_.resize(size);
  }
  // Room for so many, so that Append takes no memory.
  void Reserve(size_t size) { pages_.reserve(size); }
  // A page that was taken for this list.
  void Append(uint32_t page) { pages_.push_back(page); }
  // Puts it into the place of another, which the caller has now.
  uint32_t Exchange(size_t i, uint32_t page) { return std::exchange(pages_[i], page); }

 private:
  std::shared_ptr<Pool> pool_;
  std::vector<uint32_t> pages_;
};

}  // namespace bitnet

#endif  // BITNET_MODEL_CACHE_POOL_H_
