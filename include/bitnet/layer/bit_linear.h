// BitLinear: a linear projection without bias on quantized weights and inputs, y = Q_x(x) Q_w(W)^T.
//
//   BitLinear<A48::Weight, A48::Input> project(weights, rows, cols);  // quantizes, and prepares for this CPU
//   project(x, y);                                                    // x [tokens, cols], y [tokens, rows]
//
// Several projections can share one quantized input: see Apply. (The layers of a model hold the matrices alone.) Where
// X is Transformed, the weights are those of T x: quant/transform.h.
#ifndef BITNET_LAYER_BIT_LINEAR_H_
#define BITNET_LAYER_BIT_LINEAR_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/default_backend.h"
#include "bitnet/backend/uses.h"
#include "bitnet/base/assert.h"
#include "bitnet/base/result.h"
#include "bitnet/base/size.h"
#include "bitnet/layer/transform_inputs.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/operand.h"
#include "bitnet/tensor/quantized_matrix.h"

namespace bitnet {

// U: what the matrix is read for (backend/uses.h).
template <class W, class X, class B = DefaultBackend<W>, class U = Uses<Dense>>
class BitLinear;

template <AnyQuantizer W, AnyQuantizer X, Backend B, class U>
class BitLinear<W, X, B, U> {
 public:
  using Weights = QuantizedMatrix<typename W::Format>;
  using Inputs = typename B::template Rows<OperandOf<X>>;
  using Matrix = typename B::template Matrix<OperandOf<W>, OperandOf<X>, U>;
  using Stream = typename B::Stream;

  BitLinear() = default;

  // Quantizes weights [rows, cols], row-major.
  BitLinear(std::span<const float> weights, size_t rows, size_t cols, B backend = B())
      : BitLinear(Weights::template Quantize<W>(Checked(weights, rows, cols)), std::move(backend)) {}

  // Prepares weights that are quantized already; they need not outlive the call.
  explicit BitLinear(const Weights& weights, B backend = B())
      : backend_(std::move(backend)),
        matrix_(backend_.template PrepareMatrix<OperandOf<W>, OperandOf<X>, U>(weights)),
        stream_(backend_.NewStream()) {}

  // Of a matrix of another format: says so.
  template <Format F>
  requires(!std::is_same_v<F, typename W::Format>) explicit BitLinear(const QuantizedMatrix<F>&, B = B()) {
    static_assert(!std::is_same_v<F, F>,
                  "bitnet: a BitLinear's matrix must have the format of its weights: BitLinear<W, X> is made of "
                  "QuantizedMatrix<W::Format>");
  }

  size_t rows() const { return matrix_.rows(); }
  size_t cols() const { return matrix_.cols(); }
  const Matrix& matrix() const { return matrix_; }

  // y [tokens, rows] = Q_x(x) Q_w(W)^T for x [tokens, cols], both in memory that the backend reads. Uses buffers of
  // this object: one call at a time. (On a device the product is done after Finish.)
  void operator()(MatrixView<const float> x, MatrixView<float> y) {
    backend_.template Quantize<Untransformed<X>>(stream_, TransformInputs<X>(backend_, stream_, x, transformed_),
                                                 inputs_);
    Apply(stream_, inputs_, y);
  }
  void operator()(std::span<const float> x, std::span<float> y) {
    const size_t tokens = cols() == 0 ? 0 : x.size() / cols();
    BITNET_ASSERT(x.size() == tokens * cols() && CheckedProduct(tokens, rows()) == y.size(),
                  "BitLinear: x must hold tokens * cols values and y tokens * rows");
    (*this)(MatrixView<const float>(x.data(), tokens, cols()), MatrixView<float>(y.data(), tokens, rows()));
  }
  // Waits for what is under way; then results may be read. Nothing to do on the host.
  Result<Done> Finish() { return backend_.Finish(stream_); }

  // The product alone, of inputs quantized by X (of T x, where X is Transformed). Several threads may call it, each
  // with its own stream and inputs.
  void Apply(Stream& stream, Inputs& x, MatrixView<float> y) const { backend_.MatMul(stream, matrix_, x, y); }
  // ... only the outputs listed for each token.
  void ApplyRows(Stream& stream, Inputs& x, const typename B::Lists& rows, MatrixView<float> y) const {
    backend_.MatMulRows(stream, matrix_, x, rows, y);
  }
  // ... reading only the columns whose input is not zero, as FindNonzero listed them.
  void ApplyColumns(Stream& stream, Inputs& x, MatrixView<float> y) const {
    backend_.MatMulColumns(stream, matrix_, x, y);
  }

 private:
  static MatrixView<const float> Checked(std::span<const float> weights, size_t rows, size_t cols) {
    BITNET_ASSERT(CheckedProduct(rows, cols) == weights.size(), "BitLinear: weights must hold rows * cols values");
    return {weights.data(), rows, cols};
  }

  B backend_;
  Matrix matrix_;
  Stream stream_;
  typename B::Reals transformed_;
  Inputs inputs_;
};

// Of what are no quantizers, or no backend: says so, and is a BitLinear all the same, so that no other error follows.
template <class W, class X, class B, class U>
class BitLinear : public BitLinear<Quantizer<Ternary, AbsMean>, Quantizer<Int<4>, AbsMean>,
                                   typename detail::BackendOrDefault<B>::type, U> {
  static_assert(detail::kIsQuantizer<W> && detail::kIsQuantizer<X>,
                "bitnet: BitLinear needs quantizers, of its weights and of its inputs: "
                "BitLinear<Quantizer<Ternary, AbsMean>, Quantizer<Int<4>, AbsMean>>");
  using BitLinear<Quantizer<Ternary, AbsMean>, Quantizer<Int<4>, AbsMean>, typename detail::BackendOrDefault<B>::type,
                  U>::BitLinear;
};

}  // namespace bitnet

#endif  // BITNET_LAYER_BIT_LINEAR_H_
