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
// Inputs keep their types: a scheme chooses them, not a file. The activation of a scheme that has ChosenActivation, and
// the cache of one that has several (scheme/cache.h), are those that the backend was made with. What B has of fused
// operations (fused_operations.h) is passed on to it; of several matrices, or caches, neighbours of one kind go
// together. A virtual call is nothing beside a product; programs that name one scheme need none of this.
#ifndef BITNET_BACKEND_ERASED_H_
#define BITNET_BACKEND_ERASED_H_

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/erased_cache.h"
#include "bitnet/backend/erased_matrix.h"
#include "bitnet/backend/fused_operations.h"
#include "bitnet/backend/type_key.h"
#include "bitnet/base/assert.h"
#include "bitnet/scheme/cache.h"

namespace bitnet {

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

  // `cache`: an index of the caches that the scheme has.
  explicit Erased(B backend = B(), ActivationKind activation = ActivationKind::kSquaredRelu, size_t cache = 0)
      : backend_(std::move(backend)), activation_(activation), cache_(cache) {}
  const B& backend() const { return backend_; }
  ActivationKind activation() const { return activation_; }
  // It knows what is chosen when the program runs.
  static constexpr bool kChoosesCaches = true;

  template <Operand W, Operand X, class U>
  AnyMatrix<B, X, U> PrepareMatrix(const QuantizedMatrix<FormatOf<W>>& weights) const {
    return {std::type_identity<W>(), backend_.template PrepareMatrix<W, X, U>(weights)};
  }
  // The same, read whole, where choosing gains nothing: rows and columns beyond those that are asked for are multiplied
  // too. The bits are the same.
  template <Operand W, Operand X, class U>
  AnyMatrix<B, X, U> PrepareWhole(const QuantizedMatrix<FormatOf<W>>& weights) const {
    return AnyMatrix<B, X, U>::template Keep<W, X, Uses<Dense>>(
        backend_.template PrepareMatrix<W, X, Uses<Dense>>(weights));
  }
  // For real inputs, but with codes of them: INT8, a step for each 256, as the programs compute for which files with
  // heads of 4 to 8 bits are made.
  template <Operand W, class U>
  AnyMatrix<B, Float, U> PrepareForCodes(const QuantizedMatrix<FormatOf<W>>& weights) const {
    using Codes = typename RealInputs<B>::Codes;
    return AnyMatrix<B, Float, U>::template Keep<W, Codes, U>(backend_.template PrepareMatrix<W, Codes, U>(weights));
  }
  Vector PrepareVector(std::span<const float> values) const { return backend_.PrepareVector(values); }
  template <class Quantizers>
  Cache<Quantizers> NewCache(size_t kv_heads, size_t head_dim) const {
    Cache<Quantizers> cache;
    WithCache<Quantizers>([&]<class Chosen>(std::type_identity<Chosen> chosen) {
      cache = {chosen, backend_.template NewCache<Chosen>(kv_heads, head_dim)};
    });
    return cache;
  }
  template <Operand Q>
  void ResizeCache(AnyCache<B, Q>& cache, size_t pages) const {
    cache.Get().Resize(backend_, pages);
  }
  // Of vectors of caches.
  void ResizeCaches(size_t pages, auto&... caches) const {
    const auto resize = [&]<Operand Q>(std::span<AnyCache<B, Q>> some) {
      AnyCache<B, Q>::ResizeAll(backend_, pages, some);
    };
    (resize(std::span(caches)), ...);
  }
  template <class Quantizers>
  std::optional<size_t> PageBytes(size_t kv_heads, size_t head_dim) const {
    std::optional<size_t> bytes;
    WithCache<Quantizers>([&]<class Chosen>(std::type_identity<Chosen>) {
      bytes = backend_.template PageBytes<Chosen>(kv_heads, head_dim);
    });
    return bytes;
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
    matrix.Get().Embed(backend_, stream, rows, y);
  }
  template <Operand X, class U>
  void MatMul(Stream& stream, const AnyMatrix<B, X, U>& matrix, Rows<X>& x, MatrixView<float> y) const {
    CheckMultiplies<U>();
    matrix.Get().MatMul(backend_, stream, x, y);
  }
  template <Operand X, class U>
  void MatMulRows(Stream& stream, const AnyMatrix<B, X, U>& matrix, Rows<X>& x, const Lists& rows,
                  MatrixView<float> y) const {
    CheckChoosesRows<U>();
    matrix.Get().MatMulRows(backend_, stream, x, rows, y);
  }
  template <Operand X, class U>
  void MatMulColumns(Stream& stream, const AnyMatrix<B, X, U>& matrix, Rows<X>& x, MatrixView<float> y) const {
    CheckChoosesColumns<U>();
    matrix.Get().MatMulColumns(backend_, stream, x, y);
  }
  template <Operand X, class U, std::same_as<AnyMatrix<B, X, U>>... More>
  void MatMulAll(Stream& stream, Rows<X>& x, const ProductTo<AnyMatrix<B, X, U>>& first,
                 const ProductTo<More>&... more) const {
    CheckMultiplies<U>();
    using Product = typename AnyMatrix<B, X, U>::Product;
    const std::array<Product, 1 + sizeof...(More)> all = {Product{&first.matrix.Get(), first.y},
                                                          Product{&more.matrix.Get(), more.y}...};
    AnyMatrix<B, X, U>::MatMulAll(backend_, stream, x, all);
  }
  template <Operand X, class U>
  void MatMulAdd(Stream& stream, const AnyMatrix<B, X, U>& matrix, Rows<X>& x, Reals& memory,
                 MatrixView<float> y) const {
    CheckMultiplies<U>();
    matrix.Get().MatMulAdd(backend_, stream, x, memory, y);
  }
  template <Operand X, class U>
  void MatMulColumnsAdd(Stream& stream, const AnyMatrix<B, X, U>& matrix, Rows<X>& x, Reals& memory,
                        MatrixView<float> y) const {
    CheckChoosesColumns<U>();
    matrix.Get().MatMulColumnsAdd(backend_, stream, x, memory, y);
  }

  template <AnyTransform T>
  void Transform(Stream& stream, MatrixView<const float> x, MatrixView<float> y) const {
    backend_.template Transform<T>(stream, x, y);
  }
  template <AnyQuantizer Q>
  void Quantize(Stream& stream, MatrixView<const float> x, Rows<OperandOf<Q>>& out) const {
    backend_.template Quantize<Q>(stream, x, out);
    if constexpr (std::is_same_v<OperandOf<Q>, Float>) out.Are(x);
  }
  template <AnyQuantizer Q>
  void QuantizeTopK(Stream& stream, MatrixView<const float> x, size_t k, Rows<OperandOf<Q>>& out) const {
    backend_.template QuantizeTopK<Q>(stream, x, k, out);
    ForgetReals(out);
  }
  void FindNonzero(Stream& stream, auto& rows) const { backend_.FindNonzero(stream, rows); }
  void RmsNorm(Stream& stream, MatrixView<const float> x, const Vector& gain, float eps, MatrixView<float> y) const {
    backend_.RmsNorm(stream, x, gain, eps, y);
  }
  template <AnyQuantizer Q>
  void RmsNormQuantize(Stream& stream, MatrixView<const float> x, const Vector& gain, float eps,
                       Rows<OperandOf<Q>>& out) const
      requires(FusesNormWith<B, Q> && (!std::is_same_v<OperandOf<Q>, Float> || RealInputs<B>::kFusesNorm)) {
    backend_.template RmsNormQuantize<Q>(stream, x, gain, eps, out);
    if constexpr (std::is_same_v<OperandOf<Q>, Float>) out.Are(x, &gain, eps);
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
  template <Activation A, AnyQuantizer Q>
  void GluQuantize(Stream& stream, MatrixView<const float> gate, MatrixView<float> up, const Lists& open,
                   Rows<OperandOf<Q>>& out) const requires(!std::is_same_v<OperandOf<Q>, Float>) {
    WithActivation<A>([&]<class Chosen>() { bitnet::GluQuantize<Chosen, Q>(backend_, stream, gate, up, open, out); });
  }

  template <Operand Q>
  void Store(Stream& stream, MatrixView<const float> keys, MatrixView<const float> values, const Where& where,
             AnyCache<B, Q>& cache) const {
    cache.Get().Store(backend_, stream, keys, values, where);
  }
  template <AnyQuantizer Q>
  void RotateAndStore(Stream& stream, MatrixView<float> q, MatrixView<float> k, MatrixView<float> v, size_t head_dim,
                      const Where& where, AnyCache<B, OperandOf<Q>>& cache, Rows<OperandOf<Q>>& queries) const {
    BITNET_ASSERT((std::is_same_v<OperandOf<Q>, ChosenFormat>) || cache.Get().key_of_query() == KeyOf<Q>(),
                  "RotateAndStore: the cache is made for another quantizer of queries");
    cache.Get().RotateAndStore(backend_, stream, q, k, v, head_dim, where, queries);
    ForgetReals(queries);
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
  using Drawn = DrawnOf<B>;
  void Draw(Stream& stream, MatrixView<const float> logits, const SamplerOptions& options, uint64_t random,
            Drawn& drawn) const requires DrawsLater<B> {
    backend_.Draw(stream, logits, options, random, drawn);
  }
  static Result<uint32_t> TokenOf(const Drawn& drawn) requires DrawsLater<B> { return B::TokenOf(drawn); }

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
    ForgetReals(to);
  }
  // The host's form says which quantizers.
  template <Operand Q, class Quantizers>
  void ReadCache(Stream& stream, const AnyCache<B, Q>& from, PageTable table, size_t tokens,
                 HostCache<Quantizers>& to) const {
    if constexpr (kIsChosenCache<Quantizers>) {
      ForEachCache<Quantizers>([&]<class Each>(size_t, std::type_identity<Each>) {
        if (from.template Is<Each>())
          ReadCache(stream, from, table, tokens, to.one.template emplace<HostCache<Each>>());
      });
    } else {
      backend_.ReadCache(stream, from.template As<Quantizers>(), table, tokens, to);
    }
  }
  template <class Quantizers, Operand Q>
  void WriteCache(Stream& stream, const HostCache<Quantizers>& from, size_t tokens, PageTable table,
                  AnyCache<B, Q>& to) const {
    if constexpr (kIsChosenCache<Quantizers>) {
      std::visit([&](const auto& one) { WriteCache(stream, one, tokens, table, to); }, from.one);
    } else {
      backend_.WriteCache(stream, from, tokens, table, to.template As<Quantizers>());
    }
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
    std::string all;
    ForEachCache<Quantizers>([&]<class Each>(size_t i, std::type_identity<Each>) {
      all += (i == 0 ? "" : ", or ") + B::template DescribeAttention<Each>();
    });
    return all;
  }

 private:
  // f(std::type_identity<the quantizers of a cache>()).
  template <class Quantizers, class F>
  void WithCache(F&& f) const {
    [[maybe_unused]] bool is_there = !kIsChosenCache<Quantizers>;
    ForEachCache<Quantizers>([&](size_t i, auto quantizers) {
      if (kIsChosenCache<Quantizers> && i != cache_) return;
      is_there = true;
      f(quantizers);
    });
    BITNET_ASSERT(is_there, "Erased: the scheme has not as many caches");
  }
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

  // Of rows whose reals are not what they were quantized from, or no longer lie where they did.
  template <class Out>
  static void ForgetReals(Out& out) {
    if constexpr (std::is_same_v<Out, RealInputs<B>>) out.Are({});
  }

  B backend_;
  ActivationKind activation_;
  size_t cache_;
};

}  // namespace bitnet

#endif  // BITNET_BACKEND_ERASED_H_
