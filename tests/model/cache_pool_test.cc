#include "bitnet/model/cache_pool.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "bitnet/backend/erased.h"
#include "bitnet/backend/reference.h"
#include "bitnet/backend/simd/simd_backend.h"
#include "bitnet/layer/attention.h"
#include "bitnet/scheme/scheme.h"

namespace bitnet {
namespace {

using Pool = CachePool<A48, ReferenceBackend>;
using List = PageList<Pool>;

std::shared_ptr<Pool> NewPool(size_t max_pages) {
  ModelConfig config;
  config.layers = 2;
  config.kv_heads = 1;
  config.head_dim = 8;
  return std::make_shared<Pool>(ReferenceBackend(), config, max_pages);
}

// A list of so many pages; false where the pool has not as many.
bool Extend(List& list, size_t pages) {
  std::vector<uint32_t> taken;
  if (!list.pool()->Take(pages, taken).ok()) return false;
  for (const uint32_t page : taken) list.Append(page);
  return true;
}

using Cache = ReferenceBackend::Cache<CacheQuantizersOf<A48>>;
Cache& CacheOfLayer(Pool& pool, size_t i) {
  std::vector<Cache*> caches;
  pool.ForEachLayer([&](Cache& cache) { caches.push_back(&cache); });
  return *caches[i];
}

std::vector<uint32_t> PagesOf(const List& list) { return {list.table().begin(), list.table().end()}; }

TEST_CASE("CachePool: grows as pages are taken, uses free ones again, and gives all memory back with the last") {
  const auto pool = NewPool(10);
  CHECK(CacheOfLayer(*pool, 0).pages() == 0);
  {
    List a(pool), b(pool);
    REQUIRE(Extend(a, 2));
    REQUIRE(Extend(b, 1));
    CHECK(PagesOf(a) == std::vector<uint32_t>{0, 1});
    CHECK(PagesOf(b) == std::vector<uint32_t>{2});
    a.Truncate(1);
    CHECK(pool->used_pages() == 2);
    REQUIRE(Extend(b, 2));
    CHECK(PagesOf(b) == std::vector<uint32_t>{2, 1, 3});
    for (size_t layer = 0; layer < 2; ++layer) CHECK(CacheOfLayer(*pool, layer).pages() == 4);
    CHECK(CacheOfLayer(*pool, 0).StoredBytes() + CacheOfLayer(*pool, 1).StoredBytes() == 4 * pool->PageBytes());
  }
  CHECK(pool->used_pages() == 0);
  CHECK(CacheOfLayer(*pool, 1).StoredBytes() == 0);
}

// Memory ends where the second layer's cache grows, while *ends is set.
class EndingMemory : public ReferenceBackend {
 public:
  explicit EndingMemory(const bool* ends) : ends_(ends) {}
  template <class C>
  void ResizeCache(C& cache, size_t pages) const {
    if (*ends_ && pages != 0 && ++*grown_ % 2 == 0) throw std::bad_alloc();
    ReferenceBackend::ResizeCache(cache, pages);
  }

 private:
  const bool* ends_;
  std::shared_ptr<size_t> grown_ = std::make_shared<size_t>(0);
};

TEST_CASE("CachePool: where memory ends no page is taken, and a pool without users keeps none") {
  bool ends = true;
  CachePool<A48, EndingMemory> pool(EndingMemory(&ends), NewPool(1)->config(), 10);
  const auto stored = [&] {
    size_t bytes = 0;
    pool.ForEachLayer([&](auto& cache) { bytes += cache.StoredBytes(); });
    return bytes;
  };
  std::vector<uint32_t> pages;
  CHECK_THROWS_AS((void)pool.Take(3, pages), std::bad_alloc);
  CHECK(pages.empty());
  CHECK(pool.used_pages() == 0);
  CHECK(stored() == 0);
  ends = false;
  REQUIRE(pool.Take(2, pages).ok());
  ends = true;
  CHECK_THROWS_AS((void)pool.Take(3, pages), std::bad_alloc);
  CHECK(pages.size() == 2);
  CHECK(pool.used_pages() == 2);
  ends = false;
  REQUIRE(pool.Take(8, pages).ok());
  CHECK(stored() == 10 * pool.PageBytes());
  pool.Release(pages);
  CHECK(stored() == 0);
}

// Layers that are large enough for that. heads(cache, page): the first of its keys and of its values.
template <class B>
void CheckOneBlock(const B& backend, auto&& heads) {
  ModelConfig config;
  config.layers = 3;
  config.kv_heads = 16;
  config.head_dim = 128;
  using Large = CachePool<A48, B>;
  const auto pool = std::make_shared<Large>(backend, config, 20);
  PageList<Large> list(pool);
  std::vector<uint32_t> taken;
  // Bytes between the first and the last head of these pages, all layers.
  const auto spread = [&](size_t begin, size_t end) {
    uintptr_t first = ~uintptr_t{0}, last = 0;
    pool->ForEachLayer([&](const auto& cache) {
      for (size_t page = begin; page < end; ++page) {
        for (const uint8_t* head : heads(cache, page)) {
          first = std::min(first, reinterpret_cast<uintptr_t>(head));
          last = std::max(last, reinterpret_cast<uintptr_t>(head));
        }
      }
    });
    return static_cast<size_t>(last - first);
  };
  REQUIRE(pool->PageBytes() * 2 > kHugePage);
  for (size_t i = 0; i < 3; ++i) {
    taken.clear();
    REQUIRE(pool->Take(2, taken).ok());
    for (const uint32_t page : taken) list.Append(page);
    CHECK(spread(2 * i, 2 * i + 2) < 2 * pool->PageBytes() + 3 * 2 * 4 * kAlignment);
  }
  size_t stored = 0;
  pool->ForEachLayer([&](const auto& cache) { stored += cache.StoredBytes(); });
  CHECK(stored == 6 * pool->PageBytes());
  list.Truncate(0);
  stored = 0;
  pool->ForEachLayer([&](const auto& cache) { stored += cache.StoredBytes(); });
  CHECK(stored == 0);
}

TEST_CASE("CachePool: pages that are taken together lie in one block of memory, layer after layer") {
  const auto heads = [](const auto& cache, size_t page) {
    return std::array<const uint8_t*, 2>{cache[page].keys.Group(0, 0), cache[page].values.Group(0, 0)};
  };
  CheckOneBlock(SimdBackend(), heads);
  CheckOneBlock(Erased<SimdBackend>(), [&](const auto& cache, size_t page) {
    return heads(cache.template As<CacheQuantizersOf<A48>>(), page);
  });
}

TEST_CASE("CachePool: no more pages than its limit; what is refused takes none") {
  const auto pool = NewPool(3);
  List a(pool), b(pool);
  REQUIRE(Extend(a, 2));
  CHECK(!Extend(b, 2));
  CHECK(pool->used_pages() == 2);
  CHECK(Extend(b, 1));
  CHECK(!Extend(a, 1));
  CHECK(Extend(a, 0));
  b.Truncate(0);
  CHECK(Extend(a, 1));
  const auto none = NewPool(0);
  List c(none);
  CHECK(!Extend(c, 1));
}

TEST_CASE("PageList: copies share pages, which are free when the last of them is gone") {
  const auto pool = NewPool(5);
  auto a = std::make_unique<List>(pool);
  REQUIRE(Extend(*a, 2));
  CHECK(pool->Users(0) == 1);
  List b = *a;
  CHECK(pool->Users(0) > 1);
  CHECK(pool->used_pages() == 2);
  b.Truncate(1);
  CHECK(pool->Users(0) > 1);
  CHECK(pool->Users(1) == 1);
  a.reset();
  CHECK(pool->Users(0) == 1);
  CHECK(pool->used_pages() == 1);
  // Assigned to, a list gives its own pages back.
  List c(pool);
  REQUIRE(Extend(c, 3));
  c = b;
  CHECK(pool->used_pages() == 1);
  CHECK(pool->Users(0) > 1);
  b = std::move(c);
  CHECK(pool->used_pages() == 1);
  CHECK(pool->Users(0) == 1);
}

TEST_CASE("CachePool: threads take, share and release pages of one pool, and never get the same") {
  const auto pool = NewPool(12);  // fewer than all ask for at once
  std::vector<std::thread> threads;
  std::vector<size_t> faults(4);
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const std::vector<int8_t> mine(8, static_cast<int8_t>(2 * t + 1));  // marks the pages that it has
      for (size_t i = 0; i < 300; ++i) {
        List list(pool);
        if (!Extend(list, 1 + i % 7)) continue;
        for (const uint32_t page : list.table()) {
          CacheOfLayer(*pool, 1)[page].keys.StoreFirst(0, mine.data(), 1.0f);
        }
        const List fork = list;
        list.Truncate(i % 3);
        for (const uint32_t page : fork.table()) {
          std::vector<int8_t> read(8);
          CacheOfLayer(*pool, 1)[page].keys.LoadFirst(0, read);
          if (read != mine) ++faults[t];
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const size_t count : faults) CHECK(count == 0);
  CHECK(pool->used_pages() == 0);
}

}  // namespace
}  // namespace bitnet
