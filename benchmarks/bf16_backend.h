// Bf16Backend: the SIMD backend, but with the products and the attention of bf16.h where a scheme has weights or a
// cache in BFloat16. (The library's own sum such reals in double, to have the same bits everywhere.) What DecoderLayer
// is on it, is the baseline of claims. For one sequence, on pages in order.
#ifndef BITNET_BENCHMARKS_BF16_BACKEND_H_
#define BITNET_BENCHMARKS_BF16_BACKEND_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "benchmarks/bf16.h"
#include "bitnet/bitnet.h"

namespace bitnet {

// Keys and values of some pages.
class Bf16Pages {
 public:
  Bf16Pages() = default;
  Bf16Pages(size_t kv_heads, size_t head_dim) : kv_heads_(kv_heads), head_dim_(head_dim) {}
  void Resize(size_t pages) {
    pages_ = pages;
    cache_ = Bf16Cache(kv_heads_, head_dim_, pages * kPageTokens);
  }
  size_t pages() const { return pages_; }
  size_t BytesPerToken() const { return 2 * kv_heads_ * head_dim_ * sizeof(uint16_t); }
  size_t StoredBytes() const { return cache_.StoredBytes(); }
  const Bf16Cache& cache() const { return cache_; }
  Bf16Cache& cache() { return cache_; }

 private:
  size_t kv_heads_ = 0;
  size_t head_dim_ = 0;
  size_t pages_ = 0;
  Bf16Cache cache_;
};

class Bf16Backend : public SimdBackend {
  template <class W>
  static constexpr bool kIsBf16 = std::is_same_v<FormatOf<W>, BFloat16>;
  template <class Quantizers>
  static constexpr bool kCachesBf16 = kIsBf16<typename Quantizers::Formats::Key>;

 public:
  using SimdBackend::SimdBackend;

  template <Operand W, Operand X, class U>
  using Matrix = std::conditional_t<kIsBf16<W>, Bf16Matrix, SimdBackend::Matrix<W, X, U>>;
  template <class Quantizers>
  using Cache = std::conditional_t<kCachesBf16<Quantizers>, Bf16Pages, SimdBackend::Cache<Quantizers>>;
  struct Stream : SimdBackend::Stream {
    std::vector<Bf16Scratch> bf16{1};
  };
  Stream NewStream() const { return {}; }

  template <Operand W, Operand X, class U>
  Matrix<W, X, U> PrepareMatrix(const QuantizedMatrix<FormatOf<W>>& weights) const {
    if constexpr (kIsBf16<W>) {
      Bf16Matrix matrix(weights.rows(), weights.cols());
      for (size_t r = 0; r < weights.rows(); ++r) {
        std::memcpy(matrix.Row(r), weights.RowCodes(r).data(), weights.cols() * sizeof(uint16_t));
      }
      return matrix;
    } else {
      return SimdBackend::PrepareMatrix<W, X, U>(weights);
    }
  }
  template <class Quantizers>
  Cache<Quantizers> NewCache(size_t kv_heads, size_t head_dim) const {
    return Cache<Quantizers>(kv_heads, head_dim);
  }
  using SimdBackend::ResizeCache;
  void ResizeCache(Bf16Pages& cache, size_t pages) const { cache.Resize(pages); }

  using SimdBackend::MatMul;
  void MatMul(Stream& stream, const Bf16Matrix& matrix, Rows<Float>& x, MatrixView<float> y) const {
    bf16::MatMul(executor(), matrix, View(x, 0, x.rows()), stream.bf16[0], y);
  }

  using SimdBackend::Store;
  void Store(Stream&, MatrixView<const float> keys, MatrixView<const float> values, const Where& where,
             Bf16Pages& to) const {
    Bf16Cache& cache = to.cache();
    const size_t dim = cache.keys.cols();
    for (size_t t = 0; t < keys.rows(); ++t) {
      for (size_t h = 0; h < cache.kv_heads; ++h) {
        const size_t row = h * cache.max_tokens + where[t].position;
        std::transform(keys.Row(t) + h * dim, keys.Row(t) + (h + 1) * dim, cache.keys.Row(row), Bf16FromFloat);
        std::transform(values.Row(t) + h * dim, values.Row(t) + (h + 1) * dim, cache.values.Row(row), Bf16FromFloat);
      }
    }
  }

  using SimdBackend::Attend;
  void Attend(Stream& stream, const Rows<Float>& q, const Where& where, const Bf16Pages& pages,
              const AttentionShape& shape, MatrixView<float> y) const {
    const auto attend = [&](Executor& threads, size_t t, Bf16Scratch& scratch) {
      bf16::Attend(threads, pages.cache(), View(q, t * shape.heads, shape.heads), where[t].position + 1, scratch, y[t]);
    };
    if (y.rows() == 1) return attend(executor(), 0, stream.bf16[0]);
    const size_t parts = executor().Threads() * 4;
    stream.bf16.resize(std::max(stream.bf16.size(), parts));
    executor().Run(parts, [&](size_t part) {
      SequentialExecutor alone;
      for (size_t t = part; t < y.rows(); t += parts) attend(alone, t, stream.bf16[part]);
    });
  }

 private:
  static MatrixView<const float> View(const Rows<Float>& x, size_t first, size_t count) {
    return {x.Row(first), count, x.cols(), x.stride()};
  }
};

static_assert(Backend<Bf16Backend>);

}  // namespace bitnet

#endif  // BITNET_BENCHMARKS_BF16_BACKEND_H_
