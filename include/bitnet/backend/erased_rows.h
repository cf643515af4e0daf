// The inputs of a backend Erased<B> that are not B's own: RealInputs<B>, AnyRows<B> (erased.h).
#ifndef BITNET_BACKEND_ERASED_ROWS_H_
#define BITNET_BACKEND_ERASED_ROWS_H_

#include <memory>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/fused_operations.h"
#include "bitnet/backend/type_key.h"
#include "bitnet/base/assert.h"
#include "bitnet/format/format.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/scheme/cache.h"
#include "bitnet/tensor/matrix_view.h"
#include "bitnet/tensor/operand.h"

namespace bitnet {

template <Backend B>
class Erased;
template <Backend B, Operand X, class U>
class AnyMatrix;

// Real inputs; and the same in eight bits, for matrices that want them so (Erased::PrepareForCodes), made when the
// first of them is multiplied with.
template <Backend B>
class RealInputs : public B::template Rows<Float> {
  using CodesQuantizer = Quantizer<Int<8>, AbsMax, PerGroup<256>>;

 public:
  using Codes = OperandOf<CodesQuantizer>;
  // Norms and quantizers of reals that are one operation of B.
  static constexpr bool kFusesNorm = FusesNormWith<B, Unquantized> && FusesNormWith<B, CodesQuantizer>;

 private:
  template <Backend, Operand, class>
  friend class AnyMatrix;
  template <Backend>
  friend class Erased;

  // What was quantized last: it must stay until it is multiplied with. Of a norm, what was normed; so must the gain.
  void Are(MatrixView<const float> x, const typename B::Vector* gain = nullptr, float eps = 0.0f) {
    reals_ = x, gain_ = gain, eps_ = eps;
    has_codes_ = false;
  }
  auto& CodesOf(const B& backend, typename B::Stream& stream) {
    if (has_codes_) return codes_;
    BITNET_ASSERT(reals_.rows() != 0, "AnyMatrix: real inputs must have been quantized by this backend");
    if constexpr (kFusesNorm) {
      if (gain_ != nullptr) backend.template RmsNormQuantize<CodesQuantizer>(stream, reals_, *gain_, eps_, codes_);
    }
    if (gain_ == nullptr) backend.template Quantize<CodesQuantizer>(stream, reals_, codes_);
    has_codes_ = true;
    return codes_;
  }

  MatrixView<const float> reals_;
  const typename B::Vector* gain_ = nullptr;
  float eps_ = 0.0f;
  bool has_codes_ = false;
  typename B::template Rows<Codes> codes_;
};
// Queries of whatever format the cache wants that they are for.
template <Backend B>
class AnyRows {
 public:
  // Those of one format. (They are made when they are asked for first, or after others.)
  template <Operand X>
  typename B::template Rows<X>& As() {
    if (rows_ == nullptr || rows_->key != KeyOf<X>()) rows_ = std::make_unique<Of<X>>();
    return static_cast<Of<X>&>(*rows_).rows;
  }

 private:
  struct Any {
    explicit Any(const void* k) : key(k) {}
    virtual ~Any() = default;
    const void* key;
  };
  template <Operand X>
  struct Of final : Any {
    Of() : Any(KeyOf<X>()) {}
    typename B::template Rows<X> rows;
  };

  std::unique_ptr<Any> rows_;
};

namespace detail {
template <class B, class X>
struct InputsOfErased {
  using type = typename B::template Rows<X>;
};
template <class B>
struct InputsOfErased<B, Float> {
  using type = RealInputs<B>;
};
template <class B>
struct InputsOfErased<B, ChosenFormat> {
  using type = AnyRows<B>;
};
}  // namespace detail

template <Backend B, Operand X>
using InputsOfErased = typename detail::InputsOfErased<B, X>::type;

}  // namespace bitnet

#endif  // BITNET_BACKEND_ERASED_ROWS_H_
