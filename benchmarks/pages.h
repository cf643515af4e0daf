// The pages of one sequence in a cache of its own.
#ifndef BITNET_BENCHMARKS_PAGES_H_
#define BITNET_BENCHMARKS_PAGES_H_

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

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

// A cache of the same pages.
template <class Cache>
Cache CopyOfCache(const Cache& cache) {
  Cache copy(cache.kv_heads(), cache.head_dim());
  copy.Resize(cache.pages());
  for (size_t page = 0; page < cache.pages(); ++page) copy[page] = cache[page];
  return copy;
}

}  // namespace bitnet

#endif  // BITNET_BENCHMARKS_PAGES_H_
