// ReferenceBackend: docs/numerics.md as plain loops. It defines every result and is the oracle of every other backend.
// Its operations are in reference_operations.h, its objects are the plain types of tensor/.
#ifndef BITNET_BACKEND_REFERENCE_H_
#define BITNET_BACKEND_REFERENCE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/reference_operations.h"
#include "bitnet/base/executor.h"
#include "bitnet/tensor/growing_matrix.h"

namespace bitnet {

// The canonical form itself, whatever it is read for.
template <Operand W, class U>
class ReferenceMatrix {
 public:
  ReferenceMatrix() = default;
  explicit ReferenceMatrix(QuantizedMatrix<FormatOf<W>> weights) : weights_(std::move(weights)) {
    BITNET_ASSERT((weights_.granularity().group != 0) == kIsGrouped<W>,
                  "PrepareMatrix: steps for groups of columns belong to Grouped<> operands");
  }
  size_t rows() const { return weights_.rows(); }
  size_t cols() const { return weights_.cols(); }
  size_t StoredBytes() const { return weights_.StoredBytes(); }
  const QuantizedMatrix<FormatOf<W>>& weights() const { return weights_; }

 private:
  QuantizedMatrix<FormatOf<W>> weights_;
};

class ReferenceBackend {
 public:
  template <Operand W, Operand X, class U>
  using Matrix = ReferenceMatrix<W, U>;
  template <Operand X>
  using Rows = QuantizedRows<X>;
  template <class Quantizers>
  using Cache = HostPages<Quantizers>;
  using Lists = ChannelLists;
  using Reals = GrowingMatrix;
  using Vector = std::vector<float>;
  using Where = HostWhere;
  struct Stream {};

  explicit ReferenceBackend(Executor& executor = DefaultExecutor()) : executor_(&executor) {}
  // For training; the operations here run in the caller's thread.
  Executor& executor() const { return *executor_; }

  template <Operand W, Operand X, class U>
  Matrix<W, X, U> PrepareMatrix(const QuantizedMatrix<FormatOf<W>>& weights) const {
    CheckDotFits<W, X>(weights.cols());
    return Matrix<W, X, U>(weights);
  }
  Vector PrepareVector(std::span<const float> values) const { return {values.begin(), values.end()}; }
  template <class Quantizers>
  Cache<Quantizers> NewCache(size_t kv_heads, size_t head_dim) const {
    return Cache<Quantizers>(kv_heads, head_dim);
  }
  template <class Quantizers>
  void ResizeCache(HostPages<Quantizers>& cache, size_t pages) const {
    cache.Resize(pages);
  }
  template <class Quantizers>
  std::optional<size_t> PageBytes(size_t kv_heads, size_t head_dim) const {
    return HostCache<Quantizers>::StoredBytes(kv_heads, head_dim, kPageTokens);
  }
  Stream NewStream() const { return {}; }
  MatrixView<float> Shape(Stream&, Reals& reals, size_t rows, size_t cols) const { return reals.Shape(rows, cols); }
  void SetWhere(Stream&, std::span<const Place> places, std::span<const PageTable> tables, const Rope& rope,
                Where& where) const {
    where.Set(places, tables, rope);
  }

  template <Operand W, class U>
  void Embed(Stream&, const ReferenceMatrix<W, U>& matrix, std::span<const uint32_t> rows, MatrixView<float> y) const {
    CheckLooksUpRows<U>();
    reference::Embed(matrix.weights(), rows, y);
  }
  template <Operand W, Operand X, class U>
  void MatMul(Stream&, const ReferenceMatrix<W, U>& matrix, Rows<X>& x, MatrixView<float> y) const {
    CheckMultiplies<U>();
    reference::MatMul(matrix.weights(), x, y);
  }
  template <Operand W, Operand X, class U>
  void MatMulRows(Stream&, const ReferenceMatrix<W, U>& matrix, Rows<X>& x, const Lists& rows,
                  MatrixView<float> y) const {
    CheckChoosesRows<U>();
    reference::MatMulRows(matrix.weights(), x, rows, y);
  }
  template <Operand W, Operand X, class U>
  void MatMulColumns(Stream&, const ReferenceMatrix<W, U>& matrix, Rows<X>& x, MatrixView<float> y) const {
    CheckChoosesColumns<U>();
    reference::MatMulColumns(matrix.weights(), x, y);
  }

  template <AnyTransform T>
  void Transform(Stream&, MatrixView<const float> x, MatrixView<float> y) const {
    reference::Transform<T>(x, y);
  }
  template <AnyQuantizer Q>
  void Quantize(Stream&, MatrixView<const float> x, Rows<OperandOf<Q>>& out) const {
    reference::Quantize<Q>(x, out);
  }
  template <AnyQuantizer Q>
  void QuantizeTopK(Stream&, MatrixView<const float> x, size_t k, Rows<OperandOf<Q>>& out) const {
    reference::QuantizeTopK<Q>(x, k, out);
  }
  template <Operand X>
  void FindNonzero(Stream&, Rows<X>& x) const {
    reference::FindNonzero(x);
  }
  template <Operand X>
  uint64_t CountNonzero(Stream&, const Rows<X>& x) const {
    return reference::CountNonzero(x);
  }
  template <Operand X>
  uint64_t CountNonzero(Stream&, const Rows<X>& x, const Lists& lists) const {
    return reference::CountNonzero(x, lists);
  }

  void RmsNorm(Stream&, MatrixView<const float> x, const Vector& gain, float eps, MatrixView<float> y) const {
    reference::RmsNorm(x, gain, eps, y);
  }
  void Rotate(Stream&, const Where& where, MatrixView<float> y) const { reference::Rotate(where, y); }
  void RotateHead(std::span<const float> cos, std::span<const float> sin, std::span<float> head) const {
    reference::RotateHead(cos, sin, head);
  }
  void Add(Stream&, MatrixView<const float> x, MatrixView<float> y) const { reference::Add(x, y); }
  template <Activation A>
  void OpenGates(Stream&, MatrixView<const float> gate, Lists& open) const {
    reference::OpenGates<A>(gate, open);
  }
  template <Activation A>
  void Glu(Stream&, MatrixView<const float> gate, MatrixView<const float> up, const Lists& open,
           MatrixView<float> y) const {
    reference::Glu<A>(gate, up, open, y);
  }

  template <class Quantizers>
  void Store(Stream&, MatrixView<const float> keys, MatrixView<const float> values, const Where& where,
             HostPages<Quantizers>& cache) const {
    reference::Store(keys, values, where, cache);
  }
  template <Operand Q, class Quantizers>
  void Attend(Stream&, Rows<Q>& q, const Where& where, const HostPages<Quantizers>& cache, const AttentionShape& shape,
              MatrixView<float> y) const {
    reference::Attend(q, where, cache, shape, y);
  }
  template <class Quantizers>
  void CopyPage(Stream&, HostPages<Quantizers>& cache, uint32_t from, uint32_t to) const {
    cache.CopyPage(from, to);
  }
  Result<uint32_t> Sample(Stream&, MatrixView<const float> logits, const SamplerOptions& options,
                          uint64_t random) const {
    SampleScratch scratch;
    return SampleToken(logits[0], options, random, scratch);
  }

  // All memory is the host's.
  MatrixView<const float> Read(Stream&, MatrixView<const float> from, GrowingMatrix&) const { return from; }
  template <Operand X>
  void Read(Stream&, const Rows<X>& from, QuantizedRows<X>& to) const {
    to = from;
  }
  void Read(Stream&, const Lists& from, ChannelLists& to) const { to = from; }
  template <class Quantizers>
  void ReadCache(Stream&, const HostPages<Quantizers>& from, PageTable table, size_t tokens,
                 HostCache<Quantizers>& to) const {
    reference::ReadCache(from, table, tokens, to);
  }
  void Write(Stream&, MatrixView<const float> from, MatrixView<float> to) const { reference::Copy(from, to); }
  template <Operand X>
  void Write(Stream&, const QuantizedRows<X>& from, Rows<X>& to) const {
    to = from;
  }
  void Write(Stream&, const ChannelLists& from, Lists& to) const { to = from; }
  template <class Quantizers>
  void WriteCache(Stream&, const HostCache<Quantizers>& from, size_t tokens, PageTable table,
                  HostPages<Quantizers>& to) const {
    reference::WriteCache(from, tokens, table, to);
  }
  Result<Done> Finish(Stream&) const { return Done{}; }

  template <Operand W, Operand X, class U>
  static std::string DescribeProduct() {
    return "reference: plain loops";
  }
  template <class Quantizers>
  static std::string DescribeAttention() {
    return "reference: plain loops";
  }

 private:
  Executor* executor_;
};

static_assert(HostBackend<ReferenceBackend>);

}  // namespace bitnet

#endif  // BITNET_BACKEND_REFERENCE_H_
