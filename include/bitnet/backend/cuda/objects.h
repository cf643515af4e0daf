// What the CUDA backend owns for its users: rows, lists, reals, vectors, and where tokens stand. Each has memory of the
// device, kept between calls, and a view of it for kernels. (Matrices: matrices.h. Caches: cache.h.)
#ifndef BITNET_BACKEND_CUDA_OBJECTS_H_
#define BITNET_BACKEND_CUDA_OBJECTS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "bitnet/backend/cuda/lists.h"
#include "bitnet/backend/cuda/memory.h"
#include "bitnet/backend/cuda/stream.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/backend/rope.h"
#include "bitnet/backend/where.h"
#include "bitnet/base/size.h"
#include "bitnet/tensor/channel_lists.h"
#include "bitnet/tensor/key_values.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/operand.h"
#include "bitnet/tensor/quantized_rows.h"
#include "bitnet/tensor/step_groups.h"

namespace bitnet::cuda {

// Parts of one block of memory, each at a multiple of 256 bytes.
class Parts {
 public:
  template <class T>
  size_t Add(size_t count) {
    const size_t at = bytes_;
    bytes_ = SizeSum(bytes_, SizeSum(ElementCount<T>(count) * sizeof(T), size_t{255}) / 256 * 256);
    return at;
  }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_ = 0;
};

template <Machine M>
class RealsMemory {
 public:
  MatrixView<float> Shape(Stream<M>& stream, size_t rows, size_t cols) {
    stream.Grow(memory_, ElementCount<float>(rows, cols) * sizeof(float));
    return {memory_.template As<float>(), rows, cols};
  }

 private:
  Memory<M> memory_;
};

template <Machine M>
class VectorMemory {
 public:
  VectorMemory() = default;
  VectorMemory(const M& machine, std::span<const float> values)
      : memory_(machine, values.size_bytes()), size_(values.size()) {
    if (memory_.data() != nullptr)
      static_cast<void>(machine.Upload(memory_.data(), values.data(), values.size_bytes()));
  }
  size_t size() const { return size_; }
  const float* data() const { return memory_.template As<const float>(); }

 private:
  Memory<M> memory_;
  size_t size_ = 0;
};

template <Machine M>
class ListsMemory {
 public:
  void Resize(Stream<M>& stream, size_t tokens, size_t width) {
    Parts parts;
    const size_t channels = parts.Add<uint32_t>(ElementCount<uint32_t>(tokens, width));
    const size_t counts = parts.Add<uint32_t>(tokens);
    stream.Grow(memory_, parts.bytes());
    view_ = {reinterpret_cast<uint32_t*>(memory_.data() + channels),
             reinterpret_cast<uint32_t*>(memory_.data() + counts), static_cast<uint32_t>(tokens),
             static_cast<uint32_t>(width)};
    is_of_all_ = false;
  }
  // All channels of each token: written when somebody reads them, which products of all rows never do.
  void ListAll() { is_of_all_ = true; }
  // For who reads them.
  const ListsView& Listed(Stream<M>& stream) const {
    if (std::exchange(is_of_all_, false)) cuda::ListAll(stream, view_);
    return view_;
  }
  size_t tokens() const { return view_.tokens; }
  size_t width() const { return view_.width; }
  const ListsView& view() const { return view_; }

 private:
  Memory<M> memory_;
  ListsView view_ = {};
  mutable bool is_of_all_ = false;
};

template <Machine M, Operand X>
class RowsMemory {
 public:
  using Level = LevelOf<FormatOf<X>>;

  // A step for each row; or, of a Grouped<> operand, for each `group` columns.
  void Resize(Stream<M>& stream, size_t rows, size_t cols, size_t group) {
    BITNET_ASSERT((group != 0) == kIsGrouped<X>, "Rows: groups of columns belong to Grouped<> operands");
    const StepGroups step_groups = {cols, group};
    const size_t stride = PaddedLevels<Level>(cols);
    Parts parts;
    const size_t levels = parts.Add<Level>(ElementCount<Level>(rows, stride));
    const size_t steps = parts.Add<float>(ElementCount<float>(rows, step_groups.Count()));
    stream.Grow(memory_, parts.bytes());
    step_groups_ = step_groups;
    view_ = {reinterpret_cast<Level*>(memory_.data() + levels),
             reinterpret_cast<float*>(memory_.data() + steps),
             nullptr,
             nullptr,
             stride,
             static_cast<uint32_t>(rows),
             static_cast<uint32_t>(cols),
             static_cast<uint32_t>(group == 0 ? cols : group),
             static_cast<uint32_t>(step_groups.Count())};
  }
  // Room for the columns of each row whose level is not zero. Rows of which somebody has asked for them once get them
  // from then on with their levels (WantsNonzero).
  void ResizeNonzero(Stream<M>& stream) {
    wants_nonzero_ = true;
    nonzero_.Resize(stream, rows(), cols());
    view_.channels = nonzero_.view().channels;
    view_.counts = nonzero_.view().counts;
  }
  bool HasNonzero() const { return rows() == 0 || view_.counts != nullptr; }
  bool WantsNonzero() const { return wants_nonzero_; }

  size_t rows() const { return view_.rows; }
  size_t cols() const { return view_.cols; }
  StepGroups step_groups() const { return step_groups_; }
  const RowsView<X>& view() const { return view_; }

 private:
  Memory<M> memory_;
  ListsMemory<M> nonzero_;
  StepGroups step_groups_;
  RowsView<X> view_ = {};
  bool wants_nonzero_ = false;
};

// One block of memory, which a pass fills by one copy: only its contents change from token to token.
template <Machine M>
class WhereMemory {
 public:
  void Set(Stream<M>& stream, std::span<const Place> places, std::span<const PageTable> tables, const Rope& rope) {
    host_.Set(places, tables, rope);
    size_t pages = 0;
    size_t most_pages = 0;
    for (const PageTable table : tables) {
      pages += table.size();
      most_pages = std::max(most_pages, table.size());
    }
    const size_t angles = places.size() * rope.pairs();
    Parts parts;
    const size_t places_at = parts.Add<Place>(places.size());
    const size_t pages_at = parts.Add<uint32_t>(pages);
    const size_t first_at = parts.Add<uint32_t>(tables.size() + 1);
    const size_t cos_at = parts.Add<float>(angles);
    const size_t sin_at = parts.Add<float>(angles);
    block_.assign(parts.bytes(), std::byte{0});
    const auto put = [&](size_t at, const void* from, size_t bytes) {
      if (bytes != 0) std::memcpy(block_.data() + at, from, bytes);
    };
    put(places_at, places.data(), places.size_bytes());
    uint32_t first = 0;
    for (size_t i = 0; i < tables.size(); ++i) {
      put(first_at + i * sizeof(first), &first, sizeof(first));
      put(pages_at + first * sizeof(uint32_t), tables[i].data(), tables[i].size_bytes());
      first += static_cast<uint32_t>(tables[i].size());
    }
    put(first_at + tables.size() * sizeof(first), &first, sizeof(first));
    for (size_t t = 0; t < places.size(); ++t) {
      put(cos_at + t * rope.pairs() * sizeof(float), host_.Cos(t).data(), rope.pairs() * sizeof(float));
      put(sin_at + t * rope.pairs() * sizeof(float), host_.Sin(t).data(), rope.pairs() * sizeof(float));
    }
    stream.Grow(memory_, parts.bytes());
    stream.CopyIn(memory_.data(), block_.data(), block_.size());
    const std::byte* base = memory_.data();
    view_ = {reinterpret_cast<const Place*>(base + places_at),
             reinterpret_cast<const uint32_t*>(base + pages_at),
             reinterpret_cast<const uint32_t*>(base + first_at),
             reinterpret_cast<const float*>(base + cos_at),
             reinterpret_cast<const float*>(base + sin_at),
             static_cast<uint32_t>(places.size()),
             static_cast<uint32_t>(tables.size()),
             static_cast<uint32_t>(rope.pairs()),
             static_cast<uint32_t>(most_pages)};
  }
  const WhereView& view() const { return view_; }
  // The same on the host, for checks.
  const HostWhere& host() const { return host_; }

 private:
  HostWhere host_;
  std::vector<std::byte> block_;
  Memory<M> memory_;
  WhereView view_ = {};
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_OBJECTS_H_
