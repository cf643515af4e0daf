// BasicCudaBackend<Machine>: the backend whose objects lie on a device and whose operations are launches, queued in the
// stream until somebody waits for a result. On a GPU it is CudaBackend (bitnet/cuda.h); the tests run it on a machine
// that emulates one. All integer parts, and all sums of reals, are those of docs/numerics.md: the bits of the
// reference.
//
// Errors of the device come out of Finish; where its memory ends DeviceMemoryEnded leaves, a std::bad_alloc.
#ifndef BITNET_BACKEND_CUDA_CUDA_BACKEND_H_
#define BITNET_BACKEND_CUDA_CUDA_BACKEND_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/check_shapes.h"
#include "bitnet/backend/cuda/attention.h"
#include "bitnet/backend/cuda/cache.h"
#include "bitnet/backend/cuda/elementwise.h"
#include "bitnet/backend/cuda/gates.h"
#include "bitnet/backend/cuda/gather.h"
#include "bitnet/backend/cuda/host_calls.h"
#include "bitnet/backend/cuda/lists.h"
#include "bitnet/backend/cuda/matrices.h"
#include "bitnet/backend/cuda/norm.h"
#include "bitnet/backend/cuda/objects.h"
#include "bitnet/backend/cuda/products.h"
#include "bitnet/backend/cuda/quantize.h"
#include "bitnet/backend/cuda/rotate_and_store.h"
#include "bitnet/backend/cuda/sample.h"
#include "bitnet/backend/cuda/store.h"
#include "bitnet/backend/cuda/stream.h"
#include "bitnet/backend/cuda/transform.h"
#include "bitnet/backend/fused_operations.h"

namespace bitnet::cuda {

template <Machine M>
class BasicCudaBackend {
 public:
  template <Operand W, Operand X, class U>
  using Matrix = MatrixMemory<M, W, X, U>;
  template <Operand X>
  using Rows = RowsMemory<M, X>;
  template <class Quantizers>
  using Cache = CacheMemory<M, Quantizers>;
  using Lists = ListsMemory<M>;
  using Reals = RealsMemory<M>;
  using Vector = VectorMemory<M>;
  using Where = WhereMemory<M>;
  using Stream = cuda::Stream<M>;

  explicit BasicCudaBackend(M machine) : machine_(std::move(machine)) {}
  const M& machine() const { return machine_; }

  // ---- Objects.
  template <Operand W, Operand X, class U>
  Matrix<W, X, U> PrepareMatrix(const QuantizedMatrix<FormatOf<W>>& weights) const {
    CheckDotFits<W, X>(weights.cols());
    return Matrix<W, X, U>(machine_, weights);
  }
  Vector PrepareVector(std::span<const float> values) const { return Vector(machine_, values); }
  template <class Quantizers>
  Cache<Quantizers> NewCache(size_t kv_heads, size_t head_dim) const {
    return Cache<Quantizers>(kv_heads, head_dim);
  }
  template <class Quantizers>
  void ResizeCache(CacheMemory<M, Quantizers>& cache, size_t pages) const {
    cache.Resize(machine_, pages);
  }
  template <class Quantizers>
  std::optional<size_t> PageBytes(size_t kv_heads, size_t head_dim) const {
    return CacheMemory<M, Quantizers>::PageBytes(kv_heads, head_dim);
  }
  Stream NewStream() const { return Stream(machine_); }
  MatrixView<float> Shape(Stream& stream, Reals& reals, size_t rows, size_t cols) const {
    return reals.Shape(stream, rows, cols);
  }
  void SetWhere(Stream& stream, std::span<const Place> places, std::span<const PageTable> tables, const Rope& rope,
                Where& where) const {
    where.Set(stream, places, tables, rope);
  }

  // ---- Products.
  template <Operand W, Operand X, class U>
  void Embed(Stream& stream, const MatrixMemory<M, W, X, U>& matrix, std::span<const uint32_t> rows,
             MatrixView<float> y) const {
    CheckLooksUpRows<U>();
    CheckEmbed(matrix, rows, y);
    auto* numbers = stream.template Scratch<uint32_t>(ScratchSlot::kProduct, rows.size());
    stream.CopyIn(numbers, rows.data(), rows.size_bytes());
    cuda::Embed(stream, matrix.view(), numbers, rows.size(), y);
  }
  template <Operand W, Operand X, class U>
  void MatMul(Stream& stream, const MatrixMemory<M, W, X, U>& matrix, RowsMemory<M, X>& x, MatrixView<float> y) const {
    CheckMultiplies<U>();
    CheckProduct(matrix, x, y);
    cuda::MatMul(stream, matrix.view(), x.view(), y);
  }
  template <Operand W, Operand X, class U>
  void MatMulRows(Stream& stream, const MatrixMemory<M, W, X, U>& matrix, RowsMemory<M, X>& x, const Lists& rows,
                  MatrixView<float> y) const {
    CheckChoosesRows<U>();
    CheckProduct(matrix, x, y);
    BITNET_ASSERT(rows.tokens() == x.rows(), "MatMulRows: a list of rows for each token");
    cuda::MatMulRows(stream, matrix.view(), x.view(), rows.Listed(stream), y);
  }
  template <Operand W, Operand X, class U>
  void MatMulColumns(Stream& stream, const MatrixMemory<M, W, X, U>& matrix, RowsMemory<M, X>& x,
                     MatrixView<float> y) const {
    CheckChoosesColumns<U>();
    CheckProduct(matrix, x, y);
    BITNET_ASSERT(x.HasNonzero(), "MatMulColumns: FindNonzero must come first");
    cuda::MatMulColumns(stream, matrix.view(), x.view(), y);
  }

  // ---- Products with what stands beside them (backend/fused_operations.h).
  template <Operand X, class... Matrix>
  void MatMulAll(Stream& stream, RowsMemory<M, X>& x, const ProductTo<Matrix>&... to) const {
    Gather<Stream> gather(stream);
    const auto each = [&]<Operand W, class U>(const MatrixMemory<M, W, X, U>& matrix, MatrixView<float> y) {
      CheckMultiplies<U>();
      CheckProduct(matrix, x, y);
      cuda::MatMul(gather, matrix.view(), x.view(), y);
    };
    (each(to.matrix, to.y), ...);
  }
  template <Operand W, Operand X, class U>
  void MatMulAdd(Stream& stream, const MatrixMemory<M, W, X, U>& matrix, RowsMemory<M, X>& x, Reals&,
                 MatrixView<float> y) const {
    CheckMultiplies<U>();
    CheckProduct(matrix, x, y);
    cuda::MatMulAdd(stream, matrix.view(), x.view(), y);
  }
  template <Operand W, Operand X, class U>
  void MatMulColumnsAdd(Stream& stream, const MatrixMemory<M, W, X, U>& matrix, RowsMemory<M, X>& x, Reals&,
                        MatrixView<float> y) const {
    CheckChoosesColumns<U>();
    CheckProduct(matrix, x, y);
    BITNET_ASSERT(x.HasNonzero(), "MatMulColumns: FindNonzero must come first");
    cuda::MatMulColumnsAdd(stream, matrix.view(), x.view(), y);
  }

  // ---- Quantized rows.
  template <AnyTransform T>
  void Transform(Stream& stream, MatrixView<const float> x, MatrixView<float> y) const {
    CheckTransform(x, y);
    if constexpr (kTransformsOnDevice<T>) {
      cuda::Transform<T>(stream, x, y);
    } else {
      TransformOnHost<T>(stream, x, y);
    }
  }
  template <AnyQuantizer Q>
  void Quantize(Stream& stream, MatrixView<const float> x, Rows<OperandOf<Q>>& out) const {
    CheckQuantizes<Q>();
    Resize<Q>(stream, x, out);
    if constexpr (kQuantizesOnDevice<Q>) {
      cuda::Quantize<Q>(stream, x, out.view(), out.WantsNonzero());
    } else {
      QuantizeOnHost<Q>(stream, x, 0, out.view());
      if (out.WantsNonzero()) cuda::FindNonzero(stream, out.view());
    }
  }
  template <AnyQuantizer Q>
  void QuantizeTopK(Stream& stream, MatrixView<const float> x, size_t k, Rows<OperandOf<Q>>& out) const {
    CheckQuantizes<Q>();
    static_assert(HasZero<typename Q::Format>(),
                  "bitnet: top-k sets inputs to zero, so its quantizer needs a format with the level 0");
    BITNET_ASSERT(x.rows() == 0 || (k >= 1 && k <= x.cols()), "top-k needs 1 <= k <= n");
    Resize<Q>(stream, x, out);
    if constexpr (kQuantizesOnDevice<Q>) {
      cuda::QuantizeTopK<Q>(stream, x, k, out.view(), out.WantsNonzero());
    } else {
      QuantizeOnHost<Q>(stream, x, k, out.view());
      if (out.WantsNonzero()) cuda::FindNonzero(stream, out.view());
    }
  }
  template <Operand X>
  void FindNonzero(Stream& stream, RowsMemory<M, X>& x) const {
    if (x.HasNonzero()) return;
    x.ResizeNonzero(stream);
    cuda::FindNonzero(stream, x.view());
  }
  template <Operand X>
  uint64_t CountNonzero(Stream& stream, const RowsMemory<M, X>& x) const {
    return Counted(stream, [&](uint64_t* out) { cuda::CountNonzero(stream, x.view(), out); });
  }
  template <Operand X>
  uint64_t CountNonzero(Stream& stream, const RowsMemory<M, X>& x, const Lists& lists) const {
    return Counted(stream, [&](uint64_t* out) { cuda::CountNonzero(stream, x.view(), lists.Listed(stream), out); });
  }

  // ---- Reals.
  void RmsNorm(Stream& stream, MatrixView<const float> x, const Vector& gain, float eps, MatrixView<float> y) const {
    CheckRmsNorm(x, {gain.data(), gain.size()}, y);
    cuda::RmsNorm(stream, x, gain.data(), eps, y);
  }
  template <AnyQuantizer Q>
  void RmsNormQuantize(Stream& stream, MatrixView<const float> x, const Vector& gain, float eps,
                       Rows<OperandOf<Q>>& out) const requires kQuantizesOnDevice<Q> {
    BITNET_ASSERT(gain.size() == x.cols(), "RmsNorm: x, y and gain must have the same width");
    Resize<Q>(stream, x, out);
    cuda::RmsNormQuantize<Q>(stream, x, gain.data(), eps, out.view(), out.WantsNonzero());
  }
  void Rotate(Stream& stream, const Where& where, MatrixView<float> y) const {
    const size_t head_dim = CheckRotate(where.host(), y);
    cuda::Rotate(stream, where.view(), head_dim, y);
  }
  void Add(Stream& stream, MatrixView<const float> x, MatrixView<float> y) const {
    CheckAdd(x, y);
    cuda::Add(stream, x, y);
  }
  template <Activation A>
  void OpenGates(Stream& stream, MatrixView<const float> gate, Lists& open) const {
    open.Resize(stream, gate.rows(), gate.cols());
    if constexpr (!A::kMakesZeros) {
      open.ListAll();
    } else if constexpr (kActivatesOnDevice<A>) {
      cuda::OpenGates<A>(stream, gate, open.view());
    } else {
      cuda::OpenGates<Activated<A>>(stream, ActivateOnHost<A>(stream, gate), open.view());
    }
  }
  template <Activation A>
  void Glu(Stream& stream, MatrixView<const float> gate, MatrixView<const float> up, const Lists& open,
           MatrixView<float> y) const {
    CheckOfGlu(gate, up, open, y);
    if constexpr (kActivatesOnDevice<A>) {
      cuda::Glu<A>(stream, gate, up, open.view(), y);
    } else {
      cuda::Glu<Activated<A>>(stream, ActivateOnHost<A>(stream, gate), up, open.view(), y);
    }
  }

  // out = Q(up * A(gate)).
  template <Activation A, AnyQuantizer Q>
  void GluQuantize(Stream& stream, MatrixView<const float> gate, MatrixView<float> up, const Lists& open,
                   Rows<OperandOf<Q>>& out) const
      requires(kActivatesOnDevice<A>&& kQuantizesOnDevice<Q> && !kIsGrouped<OperandOf<Q>>) {
    CheckOfGlu(gate, up, open, up);
    Resize<Q>(stream, up, out);
    cuda::GluQuantize<A, Q>(stream, gate, MatrixView<const float>(up), out.view(), out.WantsNonzero());
  }

  // ---- The cache.
  template <class Quantizers>
  void Store(Stream& stream, MatrixView<const float> keys, MatrixView<const float> values, const Where& where,
             CacheMemory<M, Quantizers>& cache) const {
    CheckStore(keys, values, where.host(), cache);
    cuda::Store<Quantizers>(stream, keys, values, where.view(), cache.view());
  }
  // What comes before attention, in one launch.
  template <AnyQuantizer Q, class Quantizers>
  void RotateAndStore(Stream& stream, MatrixView<float> q, MatrixView<float> k, MatrixView<float> v, size_t head_dim,
                      const Where& where, CacheMemory<M, Quantizers>& cache, Rows<OperandOf<Q>>& queries) const
      requires(kStoresOnDevice<Q, Quantizers>) {
    CheckStore(k, v, where.host(), cache);
    BITNET_ASSERT(head_dim == CheckRotate(where.host(), q) && head_dim == cache.head_dim() && q.IsContiguous(),
                  "RotateAndStore: the cache is one of other heads");
    queries.Resize(stream, q.rows() * (q.cols() / head_dim), head_dim, 0);
    cuda::RotateAndStore<Q, Quantizers>(stream, q, k, v, where.view(), cache.view(), queries.view());
  }
  template <Operand Q, class Quantizers>
  void Attend(Stream& stream, RowsMemory<M, Q>& q, const Where& where, const CacheMemory<M, Quantizers>& cache,
              const AttentionShape& shape, MatrixView<float> y) const {
    CheckHeadDotsFit<Q, typename Quantizers::Formats>(shape.head_dim);
    CheckAttend(q, where.host(), cache, shape, y);
    cuda::Attend<Quantizers>(stream, q.view(), where.view(), cache.view(), shape, y);
  }
  template <class Quantizers>
  void CopyPage(Stream& stream, CacheMemory<M, Quantizers>& cache, uint32_t from, uint32_t to) const {
    BITNET_ASSERT(from < cache.pages() && to < cache.pages(), "CopyPage: beyond the pages of the cache");
    if (from != to) stream.Copy(cache.Page(to), cache.Page(from), cache.page_bytes());
  }
  Result<uint32_t> Sample(Stream& stream, MatrixView<const float> logits, const SamplerOptions& options,
                          uint64_t random) const {
    Drawn drawn = {};
    Draw(stream, logits, options, random, drawn);
    if (Result<Done> finished = stream.Finish(); !finished.ok()) return Error{finished.error()};
    return TokenOf(drawn);
  }
  // Sample in two: it becomes a part of what the stream has waiting, and is there after Finish
  // (Transformer::FeedAndSample).
  using Drawn = SampleResult;
  void Draw(Stream& stream, MatrixView<const float> logits, const SamplerOptions& options, uint64_t random,
            Drawn& drawn) const {
    CheckSample(logits.cols(), options);
    auto* number = stream.template Scratch<uint64_t>(ScratchSlot::kRandom, 1);
    auto* result = stream.template Scratch<SampleResult>(ScratchSlot::kCounts, 1);
    stream.CopyIn(number, &random, sizeof(random));
    cuda::Sample(stream, logits.data(), logits.cols(), options, number, result);
    stream.CopyOut(&drawn, result, sizeof(drawn));
  }
  static Result<uint32_t> TokenOf(const Drawn& drawn) { return ResultOf(drawn); }

  // ---- The host's border.
  MatrixView<const float> Read(Stream& stream, MatrixView<const float> from, GrowingMatrix& host) const {
    const MatrixView<float> to = host.Shape(from.rows(), from.cols());
    EachRun(from, [&](size_t first, size_t values, const float* at) {
      stream.CopyOut(to.data() + first, at, values * sizeof(float));
    });
    return to;
  }
  void Write(Stream& stream, MatrixView<const float> from, MatrixView<float> to) const {
    BITNET_ASSERT(from.rows() == to.rows() && from.cols() == to.cols(), "Copy: both must have the same shape");
    if (from.IsContiguous() && to.IsContiguous()) {
      stream.CopyIn(to.data(), from.data(), from.rows() * from.cols() * sizeof(float));
      return;
    }
    for (size_t r = 0; r < from.rows(); ++r) stream.CopyIn(to.Row(r), from.Row(r), from.cols() * sizeof(float));
  }
  template <Operand X>
  void Read(Stream& stream, const RowsMemory<M, X>& from, QuantizedRows<X>& to) const {
    to.Resize(from.rows(), from.cols(), from.step_groups().group);
    const RowsView<X>& view = from.view();
    for (size_t r = 0; r < from.rows(); ++r) {
      stream.CopyOut(to[r].data(), view.Row(r), to[r].size_bytes());
      stream.CopyOut(to.Steps(r).data(), view.Steps(r), to.Steps(r).size_bytes());
    }
    // (The host's form has lists where somebody has made them.)
    if (view.counts != nullptr) Read(stream, ListsView{view.channels, view.counts, view.rows, view.cols}, to.nonzero());
  }
  template <Operand X>
  void Write(Stream& stream, const QuantizedRows<X>& from, RowsMemory<M, X>& to) const {
    to.Resize(stream, from.rows(), from.cols(), from.step_groups().group);
    const RowsView<X>& view = to.view();
    std::vector<LevelOf<FormatOf<X>>> levels(view.stride);
    for (size_t r = 0; r < from.rows(); ++r) {
      std::copy(from[r].begin(), from[r].end(), levels.begin());
      stream.CopyIn(view.Row(r), levels.data(), levels.size() * sizeof(levels[0]));
      stream.CopyIn(view.Steps(r), from.Steps(r).data(), from.Steps(r).size_bytes());
    }
    if (from.rows() != 0 && from.nonzero().tokens() == from.rows()) {
      to.ResizeNonzero(stream);
      Write(stream, from.nonzero(), ListsView{view.channels, view.counts, view.rows, view.cols});
    }
  }
  void Read(Stream& stream, const Lists& from, ChannelLists& to) const { Read(stream, from.Listed(stream), to); }
  void Write(Stream& stream, const ChannelLists& from, Lists& to) const {
    to.Resize(stream, from.tokens(), from.width());
    Write(stream, from, to.view());
  }
  template <class Quantizers>
  void ReadCache(Stream& stream, const CacheMemory<M, Quantizers>& from, PageTable table, size_t tokens,
                 HostCache<Quantizers>& to) const {
    CheckPages(table, tokens, from);
    from.Read(stream, table, tokens, to);
  }
  template <class Quantizers>
  void WriteCache(Stream& stream, const HostCache<Quantizers>& from, size_t tokens, PageTable table,
                  CacheMemory<M, Quantizers>& to) const {
    CheckPages(table, tokens, to);
    to.Write(stream, from, tokens, table);
  }
  Result<Done> Finish(Stream& stream) const { return stream.Finish(); }

  template <Operand W, Operand X, class U>
  static std::string DescribeProduct() {
    return cuda::DescribeProduct<W, X, U>();
  }
  template <class Quantizers>
  static std::string DescribeAttention() {
    return cuda::DescribeAttention<Quantizers>();
  }

 private:
  static void CheckOfGlu(MatrixView<const float> gate, MatrixView<const float> up, const Lists& open,
                         MatrixView<float> y) {
    BITNET_ASSERT(gate.rows() == y.rows() && gate.cols() == y.cols() && up.rows() == y.rows() &&
                      up.cols() == y.cols() && open.tokens() == y.rows() && open.width() == y.cols(),
                  "Glu: gate, up, the list of open gates and y must have the same shape");
  }
  template <AnyQuantizer Q>
  static void Resize(Stream& stream, MatrixView<const float> x, Rows<OperandOf<Q>>& out) {
    out.Resize(stream, x.rows(), x.cols(), kGroupSize<typename Q::Granularity>);
    if (out.WantsNonzero()) out.ResizeNonzero(stream);
  }
  // f(the first value, how many, where they are) for rows that lie together, or each row.
  static void EachRun(MatrixView<const float> x, auto&& f) {
    if (x.IsContiguous()) return f(size_t{0}, x.rows() * x.cols(), x.data());
    for (size_t r = 0; r < x.rows(); ++r) f(r * x.cols(), x.cols(), x.Row(r));
  }
  static uint64_t Counted(Stream& stream, auto&& count) {
    auto* counted = stream.template Scratch<uint64_t>(ScratchSlot::kCounts, 1);
    uint64_t result = 0;
    count(counted);
    stream.CopyOut(&result, counted, sizeof(result));
    stream.FinishQuietly();
    return result;
  }
  // How long the lists are is known when the stream is finished: so it is, here.
  static void Read(Stream& stream, const ListsView& from, ChannelLists& to) {
    to.Resize(from.tokens, from.width);
    std::vector<uint32_t> counts(from.tokens);
    stream.CopyOut(counts.data(), from.counts, counts.size() * sizeof(uint32_t));
    if (from.tokens != 0) stream.CopyOut(to.Row(0), from.channels, size_t{from.tokens} * from.width * sizeof(uint32_t));
    stream.FinishQuietly();
    for (size_t t = 0; t < counts.size(); ++t) to.SetCount(t, counts[t]);
  }
  static void Write(Stream& stream, const ChannelLists& from, const ListsView& to) {
    for (size_t t = 0; t < from.tokens(); ++t) {
      const auto count = static_cast<uint32_t>(from.Count(t));
      stream.CopyIn(to.counts + t, &count, sizeof(count));
      stream.CopyIn(to.Row(t), from[t].data(), from[t].size_bytes());
    }
  }

  M machine_;
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_CUDA_BACKEND_H_
