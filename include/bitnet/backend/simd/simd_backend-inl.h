// SimdBackend for the target that Highway is compiling: docs/numerics.md in vectors. Its type names the target
// (bitnet::N_AVX2::SimdBackend), so that vector code of two targets does not mix.
//
// All other functions (StepOf, QuantizedMatrix::Quantize, Normal, ThreadPool, ...) carry no target, as any inline
// function: of two files that were compiled with different -march the linker keeps either's, and the program may die on
// the CPU that lacks its instructions. So all files of a program that include bitnet have the same -march; for several
// CPUs one file is compiled with baseline flags and hwy/foreach_target.h.
//
// Programs include backend/simd/simd_backend.h; programs for several targets include this file after
// hwy/foreach_target.h (examples/many_targets.cc).
#if defined(BITNET_BACKEND_SIMD_SIMD_BACKEND_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_SIMD_BACKEND_INL_H_
#undef BITNET_BACKEND_SIMD_SIMD_BACKEND_INL_H_
#else
#define BITNET_BACKEND_SIMD_SIMD_BACKEND_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/reference_operations.h"
#include "bitnet/backend/simd/attention-inl.h"
#include "bitnet/backend/simd/products-inl.h"
#include "bitnet/backend/simd/simd_heads.h"
#include "bitnet/backend/simd/simd_rows.h"
#include "bitnet/backend/simd/store-inl.h"
#include "bitnet/backend/simd/tokens-inl.h"
#include "bitnet/tensor/slab.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

class SimdBackend {
 public:
  template <Operand W, Operand X, class U>
  using Matrix = SimdMatrix<W, X, U>;
  template <Operand X>
  using Rows = SimdRows<X>;
  template <class Quantizers>
  using Cache = SimdCache<Quantizers>;
  using Lists = ChannelLists;
  using Reals = GrowingMatrix;
  using Vector = std::vector<float>;
  using Where = HostWhere;
  struct Stream {
    ProductScratch products;
    AttentionScratch attention;
    StoreScratch store;
    SampleScratch sample;
  };

  explicit SimdBackend(Executor& executor = DefaultExecutor()) : executor_(&executor) {}
  // Who runs the parts of each operation.
  Executor& executor() const { return *executor_; }

  template <Operand W, Operand X, class U>
  Matrix<W, X, U> PrepareMatrix(const QuantizedMatrix<FormatOf<W>>& weights) const {
    CheckDotFits<W, X>(weights.cols());
    return Matrix<W, X, U>(weights, executor());
  }
  Vector PrepareVector(std::span<const float> values) const { return {values.begin(), values.end()}; }
  template <class Quantizers>
  Cache<Quantizers> NewCache(size_t kv_heads, size_t head_dim) const {
    return Cache<Quantizers>(kv_heads, head_dim);
  }
  template <class Quantizers>
  void ResizeCache(SimdCache<Quantizers>& cache, size_t pages) const {
    cache.Resize(pages);
  }
  // Several layers' caches at once, whose new pages lie in one block where it is large enough for huge pages of memory.
  // (Of a page attention reads 12 KB for each head of 128 and goes on to the next: 5 to 15 % faster so.)
  template <GrowsInSlabs... Caches>
  void ResizeCaches(size_t pages, Caches&... caches) const {
    size_t bytes = 0;
    const auto each = [&](auto&& f) {
      const auto of = [&](auto& some) {
        for (auto& cache : some) f(cache);
      };
      (of(caches), ...);
    };
    each([&](const auto& cache) { bytes = SizeSum(bytes, cache.SlabBytes(pages)); });
    const auto slab = bytes >= kHugePage ? std::make_shared<Slab>(bytes) : nullptr;
    each([&](auto& cache) {
      if (pages == 0 || pages > cache.pages()) cache.Resize(pages, slab);
    });
  }
  template <class Quantizers>
  std::optional<size_t> PageBytes(size_t kv_heads, size_t head_dim) const {
    return SimdKeyValues<typename Quantizers::Formats>::StoredBytes(kv_heads, head_dim, kPageTokens);
  }
  Stream NewStream() const { return {}; }
  MatrixView<float> Shape(Stream&, Reals& reals, size_t rows, size_t cols) const { return reals.Shape(rows, cols); }
  void SetWhere(Stream&, std::span<const Place> places, std::span<const PageTable> tables, const Rope& rope,
                Where& where) const {
    where.Set(places, tables, rope);
  }

  template <Operand W, Operand X, class U>
  void Embed(Stream&, const SimdMatrix<W, X, U>& matrix, std::span<const uint32_t> rows, MatrixView<float> y) const {
    CheckEmbed(matrix, rows, y);
    for (size_t i = 0; i < rows.size(); ++i) LookUpRow(matrix, rows[i], y[i]);
  }
  template <Operand W, Operand X, class U>
  void MatMul(Stream& stream, const SimdMatrix<W, X, U>& matrix, Rows<X>& x, MatrixView<float> y) const {
    Multiply(executor(), stream.products, matrix, x, y);
  }
  template <Operand W, Operand X, class U>
  void MatMulRows(Stream& stream, const SimdMatrix<W, X, U>& matrix, Rows<X>& x, const Lists& rows,
                  MatrixView<float> y) const {
    MultiplyRows(executor(), stream.products, matrix, x, rows, y);
  }
  template <Operand W, Operand X, class U>
  void MatMulColumns(Stream& stream, const SimdMatrix<W, X, U>& matrix, Rows<X>& x, MatrixView<float> y) const {
    MultiplyColumns(executor(), stream.products, matrix, x, y);
  }

  template <AnyTransform T>
  void Transform(Stream&, MatrixView<const float> x, MatrixView<float> y) const {
    TransformRows<T>(executor(), x, y);
  }
  template <AnyQuantizer Q>
  void Quantize(Stream&, MatrixView<const float> x, Rows<OperandOf<Q>>& out) const {
    QuantizeRows<Q>(executor(), x, out);
  }
  template <AnyQuantizer Q>
  void QuantizeTopK(Stream&, MatrixView<const float> x, size_t k, Rows<OperandOf<Q>>& out) const {
    QuantizeTopKOfRows<Q>(executor(), x, k, out);
  }
  template <Operand X>
  void FindNonzero(Stream&, Rows<X>& x) const {
    ListNonzeroOfRows(executor(), x);
  }
  template <Operand X>
  uint64_t CountNonzero(Stream&, const Rows<X>& x) const {
    return CountNonzeroOfRows(x, [](size_t) { return size_t{1}; });
  }
  template <Operand X>
  uint64_t CountNonzero(Stream&, const Rows<X>& x, const Lists& lists) const {
    return CountNonzeroOfRows(x, [&](size_t row) { return lists.Count(row); });
  }

  void RmsNorm(Stream&, MatrixView<const float> x, const Vector& gain, float eps, MatrixView<float> y) const {
    NormRows(executor(), x, gain, eps, y);
  }
  void Rotate(Stream&, const Where& where, MatrixView<float> y) const { RotateRows(executor(), where, y); }
  void RotateHead(std::span<const float> cos, std::span<const float> sin, std::span<float> head) const {
    RotateHalves(cos.data(), sin.data(), head.size() / 2, head.data());
  }
  void Add(Stream&, MatrixView<const float> x, MatrixView<float> y) const { AddRows(executor(), x, y); }
  template <Activation A>
  void OpenGates(Stream&, MatrixView<const float> gate, Lists& open) const {
    ListOpenGatesOfRows<A>(executor(), gate, open);
  }
  template <Activation A>
  void Glu(Stream&, MatrixView<const float> gate, MatrixView<const float> up, const Lists& open,
           MatrixView<float> y) const {
    GluOfRows<A>(executor(), gate, up, open, y);
  }

  template <class Quantizers>
  void Store(Stream& stream, MatrixView<const float> keys, MatrixView<const float> values, const Where& where,
             SimdCache<Quantizers>& cache) const {
    StoreTokens(executor(), stream.store, keys, values, where, cache);
  }
  template <Operand Q, class Quantizers>
  void Attend(Stream& stream, const SimdRows<Q>& q, const Where& where, const SimdCache<Quantizers>& cache,
              const AttentionShape& shape, MatrixView<float> y) const {
    AttendTokens(executor(), stream.attention, q, where, cache, shape, y);
  }
  template <class Quantizers>
  void CopyPage(Stream&, SimdCache<Quantizers>& cache, uint32_t from, uint32_t to) const {
    cache.CopyPage(from, to);
  }
  Result<uint32_t> Sample(Stream& stream, MatrixView<const float> logits, const SamplerOptions& options,
                          uint64_t random) const {
    return SampleToken(logits[0], options, random, stream.sample);
  }

  // All memory is the host's.
  MatrixView<const float> Read(Stream&, MatrixView<const float> from, GrowingMatrix&) const { return from; }
  void Write(Stream&, MatrixView<const float> from, MatrixView<float> to) const { CopyRows(from, to); }
  template <Operand X>
  void Read(Stream&, const Rows<X>& from, QuantizedRows<X>& to) const {
    CopyRows(from, to);
  }
  template <Operand X>
  void Write(Stream&, const QuantizedRows<X>& from, Rows<X>& to) const {
    CopyRows(from, to);
  }
  void Read(Stream&, const Lists& from, ChannelLists& to) const { to = from; }
  void Write(Stream&, const ChannelLists& from, Lists& to) const { to = from; }
  template <class Quantizers>
  void ReadCache(Stream&, const SimdCache<Quantizers>& from, PageTable table, size_t tokens,
                 HostCache<Quantizers>& to) const {
    reference::ReadCache(from, table, tokens, to);
  }
  template <class Quantizers>
  void WriteCache(Stream&, const HostCache<Quantizers>& from, size_t tokens, PageTable table,
                  SimdCache<Quantizers>& to) const {
    reference::WriteCache(from, tokens, table, to);
  }
  Result<Done> Finish(Stream&) const { return Done{}; }

  template <Operand W, Operand X, class U>
  static std::string DescribeProduct() {
    return HWY_NAMESPACE::DescribeProduct<W, X, U>();
  }
  template <class Quantizers>
  static std::string DescribeAttention() {
    return HWY_NAMESPACE::DescribeAttention<Quantizers>();
  }

 private:
  Executor* executor_;
};

static_assert(HostBackend<SimdBackend>);

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_SIMD_BACKEND_INL_H_
