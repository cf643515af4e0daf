// A cache and where the tokens of a pass stand, in memory of the emulated device: what kernels of attention are given.
#ifndef BITNET_TESTS_CUDA_DEVICE_CACHE_H_
#define BITNET_TESTS_CUDA_DEVICE_CACHE_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "bitnet/backend/cuda/cache_layout.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/backend/reference_operations.h"
#include "bitnet/backend/where.h"
#include "bitnet/tensor/quantized_heads.h"
#include "bitnet/tensor/quantized_rows.h"
#include "testing/device_memory.h"

namespace bitnet::testing {

// More levels than are looked up, beyond 8 bits: kept as they are.
struct ManyBigSteps {
  static constexpr auto kLevels = std::array{-3000, -999, -512, -300, -256, -100, -9,  -4,  -2,   -1,   0,
                                             1,     2,    5,    17,   127,  128,  255, 256, 1000, 4095, 32767};
};

template <class Quantizers>
class DeviceCache {
 public:
  using Layout = cuda::CacheLayout<Quantizers>;

  DeviceCache(size_t kv_heads, size_t head_dim, uint32_t pages) : layout_(kv_heads, head_dim), view_(layout_.view()) {
    for (uint32_t chunk = 0; chunk <= cuda::AddressOfPage(pages - 1).chunk; ++chunk) {
      view_.chunks[chunk] = memory_.Allocate<std::byte>(cuda::PagesOfChunk(chunk) * layout_.page_bytes());
    }
  }
  const typename Layout::View& view() const { return view_; }
  const Layout& layout() const { return layout_; }

  // Pages of a table as a sequence, in place.
  class Sequence {
   public:
    Sequence(const DeviceCache& cache, PageTable table) : cache_(&cache) {
      for (const uint32_t page : table) pages_.emplace_back(cache.layout_, cache.view_.Page(page), 1);
    }
    size_t kv_heads() const { return cache_->layout_.kv_heads(); }
    size_t head_dim() const { return cache_->layout_.head_dim(); }
    size_t max_tokens() const { return pages_.size() * kPageTokens; }
    auto& Page(size_t position) { return pages_[position / kPageTokens].Page(0); }
    const auto& Page(size_t position) const { return pages_[position / kPageTokens].Page(0); }
    static size_t Slot(size_t position) { return position % kPageTokens; }

   private:
    const DeviceCache* cache_;
    std::vector<cuda::PagesOnHost<Quantizers>> pages_;
  };
  void Write(const HostCache<Quantizers>& from, PageTable table) {
    reference::CopyTokens(from, from.max_tokens(), Sequence(*this, table));
  }

 private:
  DeviceMemory memory_;
  Layout layout_;
  typename Layout::View view_;
};

class DeviceWhere {
 public:
  DeviceWhere(std::span<const Place> places, std::span<const PageTable> tables) {
    std::vector<uint32_t> pages, first = {0};
    size_t most = 0;
    for (const PageTable table : tables) {
      pages.insert(pages.end(), table.begin(), table.end());
      first.push_back(static_cast<uint32_t>(pages.size()));
      most = std::max(most, table.size());
    }
    view_ = {};
    view_.places = memory_.Upload(places);
    view_.pages = memory_.Upload(pages);
    view_.first_page = memory_.Upload(first);
    view_.tokens = static_cast<uint32_t>(places.size());
    view_.sequences = static_cast<uint32_t>(tables.size());
    view_.most_pages = static_cast<uint32_t>(most);
  }
  const cuda::WhereView& view() const { return view_; }

 private:
  DeviceMemory memory_;
  cuda::WhereView view_;
};

// Queries, padded as a device's rows are.
template <Operand Q>
class DeviceQueries {
 public:
  using Level = LevelOf<FormatOf<Q>>;

  explicit DeviceQueries(const QuantizedRows<Q>& from) {
    view_ = {};
    view_.stride = cuda::PaddedLevels<Level>(from.cols());
    view_.rows = static_cast<uint32_t>(from.rows());
    view_.cols = static_cast<uint32_t>(from.cols());
    view_.group = view_.cols;
    view_.groups = 1;
    view_.levels = memory_.Allocate<Level>(from.rows() * view_.stride);
    view_.steps = memory_.Allocate<float>(from.rows());
    for (size_t r = 0; r < from.rows(); ++r) {
      std::fill_n(view_.Row(r), view_.stride, Level{});
      std::copy(from[r].begin(), from[r].end(), view_.Row(r));
      view_.steps[r] = from.Steps(r)[0];
    }
  }
  const cuda::RowsView<Q>& view() const { return view_; }

 private:
  DeviceMemory memory_;
  cuda::RowsView<Q> view_;
};

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_CUDA_DEVICE_CACHE_H_
