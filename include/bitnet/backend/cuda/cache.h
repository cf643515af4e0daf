// CacheMemory: keys and values of one layer in pages of a device's memory, which moves none when it grows, so that
// passes in other threads may use theirs meanwhile.
#ifndef BITNET_BACKEND_CUDA_CACHE_H_
#define BITNET_BACKEND_CUDA_CACHE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "bitnet/backend/cuda/cache_layout.h"
#include "bitnet/backend/cuda/memory.h"
#include "bitnet/backend/cuda/stream.h"
#include "bitnet/backend/reference_operations.h"
#include "bitnet/base/assert.h"
#include "bitnet/tensor/quantized_heads.h"

namespace bitnet::cuda {

template <Machine M, class Quantizers_>
class CacheMemory {
 public:
  using Quantizers = Quantizers_;
  using Layout = CacheLayout<Quantizers>;

  CacheMemory() = default;
  CacheMemory(size_t kv_heads, size_t head_dim) : layout_(kv_heads, head_dim), chunks_(std::make_unique<Chunks>()) {}

  static std::optional<size_t> PageBytes(size_t kv_heads, size_t head_dim) {
    return Layout::PageBytes(kv_heads, head_dim);
  }
  size_t kv_heads() const { return layout_.kv_heads(); }
  size_t head_dim() const { return layout_.head_dim(); }
  size_t page_bytes() const { return layout_.page_bytes(); }
  size_t BytesPerToken() const { return layout_.BytesPerToken(); }
  size_t pages() const { return chunks_ == nullptr ? 0 : chunks_->pages.load(std::memory_order_relaxed); }
  size_t StoredBytes() const { return pages() * page_bytes(); }

  // Grows to so many pages, or gives all memory back (0). Where memory ends, what was made stays.
  void Resize(const M& machine, size_t pages) {
    BITNET_ASSERT(pages == 0 || (chunks_ != nullptr && pages >= this->pages()),
                  "ResizeCache: a cache grows, or loses all pages");
    if (chunks_ == nullptr) return;
    if (pages == 0) {
      chunks_ = std::make_unique<Chunks>();
      return;
    }
    BITNET_ASSERT(pages <= kMostPages, "ResizeCache: more pages than a cache can have");
    const uint32_t last = AddressOfPage(static_cast<uint32_t>(pages - 1)).chunk;
    for (uint32_t chunk = 0; chunk <= last; ++chunk) {
      if (chunks_->memory[chunk].bytes() != 0 || page_bytes() == 0) continue;
      chunks_->memory[chunk] = Memory<M>(machine, SizeProduct(PagesOfChunk(chunk), page_bytes()));
      chunks_->at[chunk].store(chunks_->memory[chunk].data(), std::memory_order_relaxed);
    }
    chunks_->pages.store(pages, std::memory_order_relaxed);
  }

  // What kernels are given of the pages that there are now.
  typename Layout::View view() const {
    typename Layout::View view = layout_.view();
    if (chunks_ == nullptr) return view;
    for (uint32_t chunk = 0; chunk < kPageChunks; ++chunk) {
      view.chunks[chunk] = chunks_->at[chunk].load(std::memory_order_relaxed);
    }
    return view;
  }
  std::byte* Page(uint32_t page) const { return view().Page(page); }

  // The first so many tokens of a sequence. Waits for the stream.
  void Read(Stream<M>& stream, PageTable table, size_t tokens, HostCache<Quantizers>& to) const {
    to = HostCache<Quantizers>(kv_heads(), head_dim(), tokens);
    std::vector<std::byte> bytes(SizeProduct(PagesFor(tokens), page_bytes()));
    const typename Layout::View from = view();
    for (size_t i = 0; i < PagesFor(tokens); ++i) {
      stream.CopyOut(bytes.data() + i * page_bytes(), from.Page(table[i]), page_bytes());
    }
    stream.FinishQuietly();
    reference::CopyTokens(PagesOnHost<Quantizers>(layout_, bytes.data(), PagesFor(tokens)), tokens, to);
  }
  void Write(Stream<M>& stream, const HostCache<Quantizers>& from, size_t tokens, PageTable table) {
    std::vector<std::byte> bytes(SizeProduct(PagesFor(tokens), page_bytes()));
    reference::CopyTokens(from, tokens, PagesOnHost<Quantizers>(layout_, bytes.data(), PagesFor(tokens)));
    const typename Layout::View to = view();
    for (size_t i = 0; i < PagesFor(tokens); ++i) {
      stream.CopyIn(to.Page(table[i]), bytes.data() + i * page_bytes(), page_bytes());
    }
  }

 private:
  struct Chunks {
    std::array<Memory<M>, kPageChunks> memory;
    std::array<std::atomic<std::byte*>, kPageChunks> at = {};
    std::atomic<size_t> pages = 0;
  };

  Layout layout_;
  std::unique_ptr<Chunks> chunks_;
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_CACHE_H_
