// Pages<P>: a sequence of objects that grows at its end and moves none, so that other threads may use those they know
// meanwhile.
#ifndef BITNET_TENSOR_PAGES_H_
#define BITNET_TENSOR_PAGES_H_

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "bitnet/base/assert.h"

namespace bitnet {

// Tokens of a page of a cache: a block of attention's sums.
inline constexpr size_t kPageTokens = 256;

// How many pages so many tokens take.
constexpr size_t PagesFor(size_t tokens) { return tokens / kPageTokens + (tokens % kPageTokens != 0); }

template <class P>
class Pages {
 public:
  Pages() = default;
  Pages(Pages&& other) noexcept : chunks_(std::move(other.chunks_)), size_(other.size_.exchange(0)) {}
  Pages& operator=(Pages&& other) noexcept {
    chunks_ = std::move(other.chunks_);
    size_ = other.size_.exchange(0);
    return *this;
  }

  size_t size() const { return size_.load(std::memory_order_relaxed); }
  P& operator[](size_t i) { return chunks_[ChunkOf(i)][OffsetOf(i)]; }
  const P& operator[](size_t i) const { return chunks_[ChunkOf(i)][OffsetOf(i)]; }

  // Appends page after page, made by make(), until there are `size`. Where memory ends, what was made stays.
  template <class Make>
  void Grow(size_t size, Make&& make) {
    BITNET_ASSERT(size <= kMost, "Pages: at most 2^32 - 1");
    for (size_t i = this->size(); i < size; ++i) {
      auto& chunk = chunks_[ChunkOf(i)];
      if (chunk == nullptr) chunk = std::make_unique<P[]>(size_t{1} << ChunkOf(i));
      chunk[OffsetOf(i)] = make();
      size_.store(i + 1, std::memory_order_relaxed);
    }
  }
  void Clear() {
    size_ = 0;
    for (auto& chunk : chunks_) chunk.reset();
  }

 private:
  // Chunk c holds the pages from 2^c - 1 on, as many as all before it and one.
  static constexpr size_t kMost = 0xffffffff;
  static size_t ChunkOf(size_t i) { return static_cast<size_t>(std::bit_width(uint64_t{i} + 1)) - 1; }
  static size_t OffsetOf(size_t i) { return i + 1 - (size_t{1} << ChunkOf(i)); }

  std::array<std::unique_ptr<P[]>, 32> chunks_;
  std::atomic<size_t> size_ = 0;
};

}  // namespace bitnet

#endif  // BITNET_TENSOR_PAGES_H_
