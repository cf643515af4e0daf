// AnyMatrix<B, X, U>: a matrix of a backend B that forgets the format of its weights (erased.h).
#ifndef BITNET_BACKEND_ERASED_MATRIX_H_
#define BITNET_BACKEND_ERASED_MATRIX_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/erased_rows.h"
#include "bitnet/backend/fused_operations.h"
#include "bitnet/backend/type_key.h"
#include "bitnet/base/assert.h"

namespace bitnet {

// Weights of any format for inputs X and the uses U. Copies share what was prepared, which never changes.
template <Backend B, Operand X, class U>
class AnyMatrix {
  using Stream = typename B::Stream;
  using Rows = InputsOfErased<B, X>;
  using Lists = typename B::Lists;
  using Reals = typename B::Reals;

 public:
  AnyMatrix() = default;
  template <Operand W>
  AnyMatrix(std::type_identity<W>, typename B::template Matrix<W, X, U> matrix)
      : AnyMatrix(Keep<W, X, U>(std::move(matrix))) {}

  size_t rows() const { return weights_ == nullptr ? 0 : weights_->rows(); }
  size_t cols() const { return weights_ == nullptr ? 0 : weights_->cols(); }
  size_t StoredBytes() const { return weights_ == nullptr ? 0 : weights_->StoredBytes(); }
  // What runs, in a line.
  std::string Describe() const { return Get().Describe(); }

 private:
  template <Backend>
  friend class Erased;

  class AnyWeights;
  struct Product {
    const AnyWeights* weights;
    MatrixView<float> y;
  };
  // Queries, keys and values: of more products several operations are made.
  static constexpr size_t kMostTogether = 3;

  // (What is here is compiled once for all formats of weights.)
  class AnyWeights {
   public:
    template <class Matrix>
    AnyWeights(const void* key, const Matrix& matrix)
        : key_(key), rows_(matrix.rows()), cols_(matrix.cols()), stored_bytes_(matrix.StoredBytes()) {}
    virtual ~AnyWeights() = default;

    const void* key() const { return key_; }  // of their kind
    size_t rows() const { return rows_; }
    size_t cols() const { return cols_; }
    size_t StoredBytes() const { return stored_bytes_; }
    virtual std::string Describe() const = 0;
    virtual void MatMul(const B&, Stream&, Rows&, MatrixView<float>) const = 0;
    virtual void MatMulRows(const B&, Stream&, Rows&, const Lists&, MatrixView<float>) const = 0;
    virtual void MatMulColumns(const B&, Stream&, Rows&, MatrixView<float>) const = 0;
    virtual void Embed(const B&, Stream&, std::span<const uint32_t>, MatrixView<float>) const = 0;
    // (Of at most kMostTogether, all with the key of this.)
    virtual void MatMulAll(const B&, Stream&, Rows&, std::span<const Product>) const = 0;
    virtual void MatMulAdd(const B&, Stream&, Rows&, Reals&, MatrixView<float>) const = 0;
    virtual void MatMulColumnsAdd(const B&, Stream&, Rows&, Reals&, MatrixView<float>) const = 0;

   protected:
    // What they are composed of, where B has not the fused operation.
    void ComposeAll(const B& backend, Stream& stream, Rows& x, std::span<const Product> to) const {
      for (const Product& product : to) product.weights->MatMul(backend, stream, x, product.y);
    }
    void ComposeAdd(const B& backend, Stream& stream, Rows& x, Reals& memory, MatrixView<float> y) const {
      detail::AddProduct(backend, stream, memory, y,
                         [&](MatrixView<float> product) { MatMul(backend, stream, x, product); });
    }
    void ComposeColumnsAdd(const B& backend, Stream& stream, Rows& x, Reals& memory, MatrixView<float> y) const {
      detail::AddProduct(backend, stream, memory, y,
                         [&](MatrixView<float> product) { MatMulColumns(backend, stream, x, product); });
    }

   private:
    const void* key_;
    size_t rows_, cols_, stored_bytes_;
  };

  // Weights W that B has prepared for inputs In, X or the codes of RealInputs, and for the uses Stored. (What the uses
  // U do not name is never called: Erased's members see to it. What Stored does not is multiplied whole.)
  template <Operand W, Operand In, class Stored>
  class Weights final : public AnyWeights {
    using Matrix = typename B::template Matrix<W, In, Stored>;
    using InputRows = typename B::template Rows<In>;
    static constexpr bool kMultiplies = Stored::kMultiplies;
    // (Nobody lists the codes of RealInputs that are not zero.)
    static constexpr bool kChoosesColumns = std::is_same_v<In, X> && Stored::template kHas<ChosenColumns>;

   public:
    explicit Weights(Matrix matrix) : AnyWeights(KeyOf<Weights>(), matrix), matrix_(std::move(matrix)) {}
    std::string Describe() const override { return B::template DescribeProduct<W, In, Stored>(); }
    void MatMul(const B& backend, Stream& stream, Rows& x, MatrixView<float> y) const override {
      if constexpr (kMultiplies) backend.MatMul(stream, matrix_, Inputs(backend, stream, x), y);
    }
    void MatMulRows(const B& backend, Stream& stream, Rows& x, const Lists& rows, MatrixView<float> y) const override {
      if constexpr (Stored::template kHas<ChosenRows>) {
        backend.MatMulRows(stream, matrix_, Inputs(backend, stream, x), rows, y);
      } else {
        MatMul(backend, stream, x, y);
      }
    }
    void MatMulColumns(const B& backend, Stream& stream, Rows& x, MatrixView<float> y) const override {
      if constexpr (kChoosesColumns) {
        backend.MatMulColumns(stream, matrix_, Inputs(backend, stream, x), y);
      } else {
        MatMul(backend, stream, x, y);
      }
    }
    void Embed(const B& backend, Stream& stream, std::span<const uint32_t> rows, MatrixView<float> y) const override {
      if constexpr (Stored::template kHas<RowLookup>) backend.Embed(stream, matrix_, rows, y);
    }
    void MatMulAll(const B& backend, Stream& stream, Rows& x, std::span<const Product> to) const override {
      if constexpr (kMultiplies) {
        if constexpr (HasMatMulAll<B, InputRows, Matrix>) {
          MatMulAll(backend, stream, Inputs(backend, stream, x), to, std::make_index_sequence<kMostTogether>());
        } else {
          this->ComposeAll(backend, stream, x, to);
        }
      }
    }
    void MatMulAdd(const B& backend, Stream& stream, Rows& x, Reals& memory, MatrixView<float> y) const override {
      if constexpr (kMultiplies) {
        if constexpr (HasMatMulAdd<B, InputRows, Matrix>) {
          backend.MatMulAdd(stream, matrix_, Inputs(backend, stream, x), memory, y);
        } else {
          this->ComposeAdd(backend, stream, x, memory, y);
        }
      }
    }
    void MatMulColumnsAdd(const B& backend, Stream& stream, Rows& x, Reals& memory,
                          MatrixView<float> y) const override {
      if constexpr (!kChoosesColumns) {
        MatMulAdd(backend, stream, x, memory, y);
      } else if constexpr (HasMatMulColumnsAdd<B, InputRows, Matrix>) {
        backend.MatMulColumnsAdd(stream, matrix_, Inputs(backend, stream, x), memory, y);
      } else {
        this->ComposeColumnsAdd(backend, stream, x, memory, y);
      }
    }

   private:
    static auto& Inputs(const B& backend, Stream& stream, Rows& x) {
      if constexpr (std::is_same_v<In, X>) {
        return static_cast<typename B::template Rows<X>&>(x);
      } else {
        return x.CodesOf(backend, stream);
      }
    }
    template <size_t... kI>
    static void MatMulAll(const B& backend, Stream& stream, InputRows& x, std::span<const Product> to,
                          std::index_sequence<kI...>) {
      if (to.size() == sizeof...(kI)) {
        backend.MatMulAll(stream, x, ProductTo{static_cast<const Weights*>(to[kI].weights)->matrix_, to[kI].y}...);
      } else if constexpr (sizeof...(kI) > 1) {
        MatMulAll(backend, stream, x, to, std::make_index_sequence<sizeof...(kI) - 1>());
      }
    }

    Matrix matrix_;
  };

  template <Operand W, Operand In, class Stored>
  static AnyMatrix Keep(typename B::template Matrix<W, In, Stored> matrix) {
    // (Not by make_shared, which is compiled for each format of weights.)
    std::unique_ptr<const AnyWeights> weights(new Weights<W, In, Stored>(std::move(matrix)));
    AnyMatrix any;
    any.weights_ = std::move(weights);
    return any;
  }

  // Neighbours of one kind are multiplied in one operation.
  template <size_t kCount>
  static void MatMulAll(const B& backend, Stream& stream, Rows& x, const std::array<Product, kCount>& to) {
    for (size_t begin = 0, end = 0; begin < kCount; begin = end) {
      const size_t most = std::min(kCount, begin + kMostTogether);
      while (end < most && to[end].weights->key() == to[begin].weights->key()) ++end;
      to[begin].weights->MatMulAll(backend, stream, x, std::span(to).subspan(begin, end - begin));
    }
  }

  const AnyWeights& Get() const {
    BITNET_ASSERT(weights_ != nullptr, "AnyMatrix: nothing was prepared");
    return *weights_;
  }

  std::shared_ptr<const AnyWeights> weights_;
};

}  // namespace bitnet

#endif  // BITNET_BACKEND_ERASED_MATRIX_H_
