// Erased<B>: a backend whose matrices and caches forget their formats. All weights for inputs X and uses U are of one
// type, all caches of one more, and each call goes by one virtual function to B's object of the right type. So one
// compiled layer, made of prepared matrices, runs whatever they are: files decide formats, tensor by tensor, and a
// thousand combinations of them are not a thousand models.
//
//   const Erased<SimdBackend> backend;
//   Erased<SimdBackend>::Matrix<Ternary, Int<8>, Uses<Dense>> matrix;             // of any weights
//   matrix = backend.PrepareMatrix<Ternary, Int<8>, Uses<Dense>>(ternary);
//   matrix = backend.PrepareMatrix<Grouped<Int<4>>, Int<8>, Uses<Dense>>(others);
//
// Inputs keep their types: a scheme chooses them, not a file. The activation of a scheme that has ChosenActivation is
// the one that the backend was made with. A virtual call is nothing beside a product; programs that name one scheme
// need none of this.
#ifndef BITNET_BACKEND_ERASED_H_
#define BITNET_BACKEND_ERASED_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "bitnet/backend/backend.h"
#include "bitnet/base/assert.h"

namespace bitnet {

template <Backend B>
class Erased;

// Stands for the activation that an Erased<B> was made with, which may make zeros or not. (Its functions are never
// called.)
struct ChosenActivation {
  static constexpr bool kMakesZeros = true;
  static float Value(float) { return NotHere(); }
  static float Derivative(float) { return NotHere(); }

 private:
  static float NotHere() {
    BITNET_ASSERT(false, "ChosenActivation: only a backend Erased<B> knows which it is");
    return 0.0f;
  }
};

// Real inputs; and the same in eight bits, for matrices that want them so (Erased::PrepareForCodes), made when the
// first of them is multiplied with.
template <Backend B>
struct RealInputs : B::template Rows<Float> {
  using CodesQuantizer = Quantizer<Int<8>, AbsMax, PerGroup<256>>;
  using Codes = OperandOf<CodesQuantizer>;

  MatrixView<const float> reals;  // that were quantized last; they must stay until they are multiplied with
  bool has_codes = false;
  typename B::template Rows<Codes> codes;
};
template <Backend B, Operand X>
using InputsOfErased = std::conditional_t<std::is_same_v<X, Float>, RealInputs<B>, typename B::template Rows<X>>;

// Weights of any format for inputs X and the uses U. Copies share what was prepared, which never changes.
template <Backend B, Operand X, class U>
class AnyMatrix {
  using Stream = typename B::Stream;
  using Rows = InputsOfErased<B, X>;
  using Lists = typename B::Lists;

 public:
  AnyMatrix() = default;
  template <Operand W>
  AnyMatrix(std::type_identity<W>, typename B::template Matrix<W, X, U> matrix)
      : weights_(std::make_shared<Weights<W, U>>(std::move(matrix))) {}

  size_t rows() const { return weights_ == nullptr ? 0 : weights_->rows(); }
  size_t cols() const { return weights_ == nullptr ? 0 : weights_->cols(); }
  size_t StoredBytes() const { return weights_ == nullptr ? 0 : weights_->StoredBytes(); }
  // What runs, in a line.
  std::string Describe() const { return Get().Describe(); }

 private:
  template <Backend>
  friend class Erased;

  // Weights, or WeightsForCodes: see Erased.
  template <class Kept, class Matrix>
  static AnyMatrix Keep(Matrix matrix) {
    AnyMatrix any;
    any.weights_ = std::make_shared<Kept>(std::move(matrix));
    return any;
  }

  void MatMul(const B& backend, Stream& stream, Rows& x, MatrixView<float> y) const {
    Get().MatMul(backend, stream, x, y);
  }
  void MatMulRows(const B& backend, Stream& stream, Rows& x, const Lists& rows, MatrixView<float> y) const {
    Get().MatMulRows(backend, stream, x, rows, y);
  }
  void MatMulColumns(const B& backend, Stream& stream, Rows& x, MatrixView<float> y) const {
    Get().MatMulColumns(backend, stream, x, y);
  }
  void Embed(const B& backend, Stream& stream, std::span<const uint32_t> rows, MatrixView<float> y) const {
    Get().Embed(backend, stream, rows, y);
  }

  class AnyWeights {
   public:
    virtual ~AnyWeights() = default;
    virtual size_t rows() const = 0;
    virtual size_t cols() const = 0;
    virtual size_t StoredBytes() const = 0;
    virtual std::string Describe() const = 0;
    virtual void MatMul(const B&, Stream&, Rows&, MatrixView<float>) const = 0;
    virtual void MatMulRows(const B&, Stream&, Rows&, const Lists&, MatrixView<float>) const = 0;
    virtual void MatMulColumns(const B&, Stream&, Rows&, MatrixView<float>) const = 0;
    virtual void Embed(const B&, Stream&, std::span<const uint32_t>, MatrixView<float>) const = 0;
  };

  // (What the uses U do not name is never called: Erased's members see to it.)
  template <Operand W, class Stored>
  class Weights final : public AnyWeights {
   public:
    explicit Weights(typename B::template Matrix<W, X, Stored> matrix) : matrix_(std::move(matrix)) {}
    size_t rows() const override { return matrix_.rows(); }
    size_t cols() const override { return matrix_.cols(); }
    size_t StoredBytes() const override { return matrix_.StoredBytes(); }
    std::string Describe() const override { return B::template DescribeProduct<W, X, Stored>(); }
    void MatMul(const B& backend, Stream& stream, Rows& x, MatrixView<float> y) const override {
      if constexpr (Stored::kMultiplies) backend.MatMul(stream, matrix_, x, y);
    }
    void MatMulRows(const B& backend, Stream& stream, Rows& x, const Lists& rows, MatrixView<float> y) const override {
      if constexpr (Stored::template kHas<ChosenRows>) {
        backend.MatMulRows(stream, matrix_, x, rows, y);
      } else {
        MatMul(backend, stream, x, y);
      }
    }
    void MatMulColumns(const B& backend, Stream& stream, Rows& x, MatrixView<float> y) const override {
      if constexpr (Stored::template kHas<ChosenColumns>) {
        backend.MatMulColumns(stream, matrix_, x, y);
      } else {
        MatMul(backend, stream, x, y);
      }
    }
    void Embed(const B& backend, Stream& stream, std::span<const uint32_t> rows, MatrixView<float> y) const override {
      if constexpr (Stored::template kHas<RowLookup>) backend.Embed(stream, matrix_, rows, y);
    }

   private:
    typename B::template Matrix<W, X, Stored> matrix_;
  };

  template <Operand W>
  class WeightsForCodes final : public AnyWeights {
    using Inputs = RealInputs<B>;

   public:
    explicit WeightsForCodes(typename B::template Matrix<W, typename Inputs::Codes, U> matrix)
        : matrix_(std::move(matrix)) {}
    size_t rows() const override { return matrix_.rows(); }
    size_t cols() const override { return matrix_.cols(); }
    size_t StoredBytes() const override { return matrix_.StoredBytes(); }
    std::string Describe() const override { return B::template DescribeProduct<W, typename Inputs::Codes, U>(); }
    void MatMul(const B& backend, Stream& stream, Rows& x, MatrixView<float> y) const override {
      if constexpr (U::kMultiplies) backend.MatMul(stream, matrix_, Codes(backend, stream, x), y);
    }
    void MatMulRows(const B& backend, Stream& stream, Rows& x, const Lists& rows, MatrixView<float> y) const override {
      if constexpr (U::template kHas<ChosenRows>) {
        backend.MatMulRows(stream, matrix_, Codes(backend, stream, x), rows, y);
      }
    }
    void MatMulColumns(const B& backend, Stream& stream, Rows& x, MatrixView<float> y) const override {
      MatMul(backend, stream, x, y);
    }
    void Embed(const B& backend, Stream& stream, std::span<const uint32_t> rows, MatrixView<float> y) const override {
      if constexpr (U::template kHas<RowLookup>) backend.Embed(stream, matrix_, rows, y);
    }

   private:
    static auto& Codes(const B& backend, Stream& stream, Inputs& x) {
      if (!x.has_codes) {
        BITNET_ASSERT(x.reals.rows() != 0, "AnyMatrix: real inputs must have been quantized by this backend");
        backend.template Quantize<typename Inputs::CodesQuantizer>(stream, x.reals, x.codes);
        x.has_codes = true;
      }
      return x.codes;
    }

    typename B::template Matrix<W, typename Inputs::Codes, U> matrix_;
  };

  const AnyWeights& Get() const {
    BITNET_ASSERT(weights_ != nullptr, "AnyMatrix: nothing was prepared");
    return *weights_;
  }

  std::shared_ptr<const AnyWeights> weights_;
};

// A cache of any quantizers of keys and values, for queries Q.
template <Backend B, Operand Q>
class AnyCache {
  using Stream = typename B::Stream;
  using Rows = InputsOfErased<B, Q>;
  using Where = typename B::Where;
  using Reals = MatrixView<const float>;

 public:
  AnyCache() = default;
  template <class Quantizers>
  AnyCache(std::type_identity<Quantizers>, typename B::template Cache<Quantizers> cache)
      : pages_(std::make_unique<PagesBy<Quantizers>>(std::move(cache))) {}

  size_t pages() const { return pages_ == nullptr ? 0 : pages_->pages(); }
  size_t BytesPerToken() const { return pages_ == nullptr ? 0 : pages_->BytesPerToken(); }
  size_t StoredBytes() const { return pages_ == nullptr ? 0 : pages_->StoredBytes(); }

  // B's cache, which must have these quantizers.
  template <class Quantizers>
  typename B::template Cache<Quantizers>& As() const {
    BITNET_ASSERT(pages_ != nullptr && pages_->key() == KeyOf<Quantizers>(), "AnyCache: it has other quantizers");
    return static_cast<PagesBy<Quantizers>*>(pages_.get())->cache;
  }

 private:
  template <Backend>
  friend class Erased;

  class AnyPages {
   public:
    virtual ~AnyPages() = default;
    virtual const void* key() const = 0;
    virtual size_t pages() const = 0;
    virtual size_t BytesPerToken() const = 0;
    virtual size_t StoredBytes() const = 0;
    virtual void Resize(const B&, size_t) = 0;
    virtual void CopyPage(const B&, Stream&, uint32_t, uint32_t) = 0;
    virtual void Store(const B&, Stream&, Reals, Reals, const Where&) = 0;
    virtual void Attend(const B&, Stream&, Rows&, const Where&, const AttentionShape&, MatrixView<float>) const = 0;
  };

  template <class Quantizers>
  class PagesBy final : public AnyPages {
    using Cache = typename B::template Cache<Quantizers>;

   public:
    explicit PagesBy(Cache c) : cache(std::move(c)) {}
    const void* key() const override { return KeyOf<Quantizers>(); }
    size_t pages() const override { return cache.pages(); }
    size_t BytesPerToken() const override { return cache.BytesPerToken(); }
    size_t StoredBytes() const override { return cache.StoredBytes(); }
    void Resize(const B& backend, size_t pages) override { backend.ResizeCache(cache, pages); }
    void CopyPage(const B& backend, Stream& stream, uint32_t from, uint32_t to) override {
      backend.CopyPage(stream, cache, from, to);
    }
    void Store(const B& backend, Stream& stream, Reals k, Reals v, const Where& where) override {
      backend.Store(stream, k, v, where, cache);
    }
    void Attend(const B& backend, Stream& stream, Rows& q, const Where& where, const AttentionShape& shape,
                MatrixView<float> y) const override {
      backend.Attend(stream, q, where, cache, shape, y);
    }

    Cache cache;
  };

  // Tells the quantizers apart, without run-time types.
  template <class Quantizers>
  static const void* KeyOf() {
    static constexpr char kKey = 0;
    return &kKey;
  }
  AnyPages& Get() const {
    BITNET_ASSERT(pages_ != nullptr, "AnyCache: there is no cache");
    return *pages_;
  }

  std::unique_ptr<AnyPages> pages_;
};

template <Backend B>
class Erased {
 public:
  template <Operand W, Operand X, class U>
  using Matrix = AnyMatrix<B, X, U>;
  template <Operand X>
  using Rows = InputsOfErased<B, X>;
  template <class Quantizers>
  using Cache = AnyCache<B, OperandOf<typename Quantizers::Query>>;
  using Lists = typename B::Lists;
  using Reals = typename B::Reals;
  using Vector = typename B::Vector;
  using Where = typename B::Where;
  using Stream = typename B::Stream;

  explicit Erased(B backend = B(), ActivationKind activation = ActivationKind::kSquaredRelu)
      : backend_(std::move(backend)), activation_(activation) {}
  const B& backend() const { return backend_; }
  ActivationKind activation() const { return activation_; }

  template <Operand W, Operand X, class U>
  AnyMatrix<B, X, U> PrepareMatrix(const QuantizedMatrix<FormatOf<W>>& weights) const {
    return {std::type_identity<W>(), backend_.template PrepareMatrix<W, X, U>(weights)};
  }
  // The same, read whole, where choosing gains nothing: rows and columns beyond those that are asked for are multiplied
  // too. The bits are the same.
  template <Operand W, Operand X, class U>
  AnyMatrix<B, X, U> PrepareWhole(const QuantizedMatrix<FormatOf<W>>& weights) const {
    using Any = AnyMatrix<B, X, U>;
    return Any::template Keep<typename Any::template Weights<W, Uses<Dense>>>(
        backend_.template PrepareMatrix<W, X, Uses<Dense>>(weights));
  }
  // For real inputs, but with codes of them: INT8, a step for each 256, as the programs compute for which files with
  // heads of 4 to 8 bits are made.
  template <Operand W, class U>
  AnyMatrix<B, Float, U> PrepareForCodes(const QuantizedMatrix<FormatOf<W>>& weights) const {
    using Any = AnyMatrix<B, Float, U>;
    return Any::template Keep<typename Any::template WeightsForCodes<W>>(
        backend_.template PrepareMatrix<W, typename RealInputs<B>::Codes, U>(weights));
  }
  Vector PrepareVector(std::span<const float> values) const { return backend_.PrepareVector(values); }
  template <class Quantizers>
  Cache<Quantizers> NewCache(size_t kv_heads, size_t head_dim) const {
    return {std::type_identity<Quantizers>(), backend_.template NewCache<Quantizers>(kv_heads, head_dim)};
  }
  template <Operand Q>
  void ResizeCache(AnyCache<B, Q>& cache, size_t pages) const {
    cache.Get().Resize(backend_, pages);
  }
  template <class Quantizers>
  std::optional<size_t> PageBytes(size_t kv_heads, size_t head_dim) const {
    return backend_.template PageBytes<Quantizers>(kv_heads, head_dim);
  }
  Stream NewStream() const { return backend_.NewStream(); }
  MatrixView<float> Shape(Stream& stream, Reals& reals, size_t rows, size_t cols) const {
    return backend_.Shape(stream, reals, rows, cols);
  }
  void SetWhere(Stream& stream, std::span<const Place> places, std::span<const PageTable> tables, const Rope& rope,
                Where& where) const {
    backend_.SetWhere(stream, places, tables, rope, where);
  }

  template <Operand X, class U>
  void Embed(Stream& stream, const AnyMatrix<B, X, U>& matrix, std::span<const uint32_t> rows,
             MatrixView<float> y) const {
    CheckLooksUpRows<U>();
    matrix.Embed(backend_, stream, rows, y);
  }
  template <Operand X, class U>
  void MatMul(Stream& stream, const AnyMatrix<B, X, U>& matrix, Rows<X>& x, MatrixView<float> y) const {
    CheckMultiplies<U>();
    matrix.MatMul(backend_, stream, x, y);
  }
  template <Operand X, class U>
  void MatMulRows(Stream& stream, const AnyMatrix<B, X, U>& matrix, Rows<X>& x, const Lists& rows,
                  MatrixView<float> y) const {
    CheckChoosesRows<U>();
    matrix.MatMulRows(backend_, stream, x, rows, y);
  }
  template <Operand X, class U>
  void MatMulColumns(Stream& stream, const AnyMatrix<B, X, U>& matrix, Rows<X>& x, MatrixView<float> y) const {
    CheckChoosesColumns<U>();
    matrix.MatMulColumns(backend_, stream, x, y);
  }

  template <AnyTransform T>
  void Transform(Stream& stream, MatrixView<const float> x, MatrixView<float> y) const {
    backend_.template Transform<T>(stream, x, y);
  }
  template <AnyQuantizer Q>
  void Quantize(Stream& stream, MatrixView<const float> x, Rows<OperandOf<Q>>& out) const {
    backend_.template Quantize<Q>(stream, x, out);
    if constexpr (std::is_same_v<OperandOf<Q>, Float>) {
      out.reals = x;
      out.has_codes = false;
    }
  }
  template <AnyQuantizer Q>
  void QuantizeTopK(Stream& stream, MatrixView<const float> x, size_t k, Rows<OperandOf<Q>>& out) const {
    backend_.template QuantizeTopK<Q>(stream, x, k, out);
    if constexpr (std::is_same_v<OperandOf<Q>, Float>) {
      out.reals = {};  // they are no longer x
      out.has_codes = false;
    }
  }
  void FindNonzero(Stream& stream, auto& rows) const { backend_.FindNonzero(stream, rows); }
  void RmsNorm(Stream& stream, MatrixView<const float> x, const Vector& gain, float eps, MatrixView<float> y) const {
    backend_.RmsNorm(stream, x, gain, eps, y);
  }
  // Fused, where B has it. (Of reals it is not: see RealInputs.)
  template <AnyQuantizer Q>
  void RmsNormQuantize(Stream& stream, MatrixView<const float> x, const Vector& gain, float eps,
                       Rows<OperandOf<Q>>& out) const
      requires(!std::is_same_v<OperandOf<Q>, Float> &&
               requires(const B& backend) { backend.template RmsNormQuantize<Q>(stream, x, gain, eps, out); }) {
    backend_.template RmsNormQuantize<Q>(stream, x, gain, eps, out);
  }
  void Rotate(Stream& stream, const Where& where, MatrixView<float> y) const { backend_.Rotate(stream, where, y); }
  void Add(Stream& stream, MatrixView<const float> x, MatrixView<float> y) const { backend_.Add(stream, x, y); }
  template <Activation A>
  void OpenGates(Stream& stream, MatrixView<const float> gate, Lists& open) const {
    WithActivation<A>([&]<class Chosen>() { backend_.template OpenGates<Chosen>(stream, gate, open); });
  }
  template <Activation A>
  void Glu(Stream& stream, MatrixView<const float> gate, MatrixView<const float> up, const Lists& open,
           MatrixView<float> y) const {
    WithActivation<A>([&]<class Chosen>() { backend_.template Glu<Chosen>(stream, gate, up, open, y); });
  }

  template <Operand Q>
  void Store(Stream& stream, MatrixView<const float> keys, MatrixView<const float> values, const Where& where,
             AnyCache<B, Q>& cache) const {
    cache.Get().Store(backend_, stream, keys, values, where);
  }
  template <Operand Q>
  void Attend(Stream& stream, Rows<Q>& q, const Where& where, const AnyCache<B, Q>& cache, const AttentionShape& shape,
              MatrixView<float> y) const {
    cache.Get().Attend(backend_, stream, q, where, shape, y);
  }
  template <Operand Q>
  void CopyPage(Stream& stream, AnyCache<B, Q>& cache, uint32_t from, uint32_t to) const {
    cache.Get().CopyPage(backend_, stream, from, to);
  }
  Result<uint32_t> Sample(Stream& stream, MatrixView<const float> logits, const SamplerOptions& options,
                          uint64_t random) const {
    return backend_.Sample(stream, logits, options, random);
  }

  MatrixView<const float> Read(Stream& stream, MatrixView<const float> from, GrowingMatrix& to) const {
    return backend_.Read(stream, from, to);
  }
  template <class From>
  requires(!std::is_convertible_v<const From&, MatrixView<const float>>) void Read(Stream& stream, const From& from,
                                                                                   auto& to) const {
    backend_.Read(stream, from, to);
  }
  void Write(Stream& stream, MatrixView<const float> from, MatrixView<float> to) const {
    backend_.Write(stream, from, to);
  }
  template <class From>
  requires(!std::is_convertible_v<const From&, MatrixView<const float>>) void Write(Stream& stream, const From& from,
                                                                                    auto& to) const {
    backend_.Write(stream, from, to);
  }
  // The host's form says which quantizers.
  template <Operand Q, class Quantizers>
  void ReadCache(Stream& stream, const AnyCache<B, Q>& from, PageTable table, size_t tokens,
                 HostCache<Quantizers>& to) const {
    backend_.ReadCache(stream, from.template As<Quantizers>(), table, tokens, to);
  }
  template <class Quantizers, Operand Q>
  void WriteCache(Stream& stream, const HostCache<Quantizers>& from, size_t tokens, PageTable table,
                  AnyCache<B, Q>& to) const {
    backend_.WriteCache(stream, from, tokens, table, to.template As<Quantizers>());
  }
  uint64_t CountNonzero(Stream& stream, const auto& rows) const { return backend_.CountNonzero(stream, rows); }
  uint64_t CountNonzero(Stream& stream, const auto& rows, const Lists& lists) const {
    return backend_.CountNonzero(stream, rows, lists);
  }
  Result<Done> Finish(Stream& stream) const { return backend_.Finish(stream); }

  template <Operand W, Operand X, class U>
  static std::string DescribeProduct() {
    return B::template DescribeProduct<W, X, U>();
  }
  template <class Quantizers>
  static std::string DescribeAttention() {
    return B::template DescribeAttention<Quantizers>();
  }

 private:
  template <Activation A, class F>
  void WithActivation(F&& f) const {
    if constexpr (!std::is_same_v<A, ChosenActivation>) {
      f.template operator()<A>();
    } else if (activation_ == ActivationKind::kSilu) {
      f.template operator()<Silu>();
    } else {
      f.template operator()<SquaredRelu>();
    }
  }

  B backend_;
  ActivationKind activation_;
};

}  // namespace bitnet

#endif  // BITNET_BACKEND_ERASED_H_
