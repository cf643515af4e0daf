// The pages of one sequence in a cache of its own.
#ifndef BITNET_BENCHMARKS_PAGES_H_
#define BITNET_BENCHMARKS_PAGES_H_

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "bitnet/backend/fused_operations.h"
#include "bitnet/tensor/key_values.h"

namespace bitnet {

// Of so many tokens, on pages 0, 1, ...
class PagesInOrder {
 public:
  explicit PagesInOrder(size_t tokens) : pages_(PagesFor(tokens)), table_(pages_) {
    std::iota(pages_.begin(), pages_.end(), 0u);
  }
  PagesInOrder(const PagesInOrder&) = delete;
  PagesInOrder& operator=(const PagesInOrder&) = delete;
  std::span<const PageTable> tables() const { return {&table_, 1}; }

 private:
  std::vector<uint32_t> pages_;
  PageTable table_;
};

// So many caches that have so many pages, as a pool takes them for a long prompt: all at once.
template <class Quantizers, class B>
auto NewCaches(const B& backend, size_t count, size_t kv_heads, size_t head_dim, size_t pages) {
  std::vector<typename B::template Cache<Quantizers>> caches;
  while (caches.size() < count) caches.push_back(backend.template NewCache<Quantizers>(kv_heads, head_dim));
  ResizeCaches(backend, pages, caches);
  return caches;
}

}  // namespace bitnet

#endif  // BITNET_BENCHMARKS_PAGES_H_
