// Attention: grouped-query attention with quantized inputs, heads and cache.
//
//   q, k, v = W x            one quantization of x for the three
//   q, k    = rotate(q, k)
//   q, k, v = T q, T k, T' v       head by head, where the scheme's heads are Transformed: T q T k = q k
//   cache  += Q(k), Q(v)     post-RoPE
//   a       = softmax(Q(q) K^T / sqrt(head_dim)) V
//   a       = T'^T a
//   y       = W_o Q(top-k(a))     eq. 1; with an RMSNorm of a before, if there is a sub-layer norm
//
// Inputs that are Transformed are T x before Q, and top-k.
#ifndef BITNET_LAYER_ATTENTION_H_
#define BITNET_LAYER_ATTENTION_H_

#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/default_backend.h"
#include "bitnet/backend/fused_operations.h"
#include "bitnet/backend/uses.h"
#include "bitnet/base/assert.h"
#include "bitnet/layer/norm_quantize.h"
#include "bitnet/layer/rms_norm.h"
#include "bitnet/layer/store_heads.h"
#include "bitnet/layer/transform_inputs.h"
#include "bitnet/layer/weight_use.h"
#include "bitnet/scheme/cache.h"
#include "bitnet/scheme/scheme.h"
#include "bitnet/tensor/operand.h"
#include "bitnet/tensor/quantized_matrix.h"

namespace bitnet {

// Norms of each query and each key head, before the rotary embedding: gains of head_dim, or none.
template <Backend B>
struct HeadNorms {
  RmsNorm<B> q, k;
};

// Buffers of one forward pass, shared by all layers of a model.
template <Scheme S, Backend B>
struct AttentionBuffers {
  typename B::template Rows<OperandOf<typename S::Input>> inputs;
  typename B::Reals q, k, v, attended, transformed;
  typename B::template Rows<OperandOf<typename S::Query>> queries;
  typename B::template Rows<OperandOf<typename S::OutputInput>> output_inputs;
};

template <Scheme S, Backend B = DefaultBackend<S>>
class Attention {
  template <class Q>
  static constexpr bool kOneStepAHead = kGroupSize<typename Q::Granularity> == 0;
  static_assert(kOneStepAHead<typename S::Query> && kOneStepAHead<typename S::Key> &&
                    kOneStepAHead<typename S::Value> && kOneStepAHead<typename S::FirstKey> &&
                    kOneStepAHead<typename S::FirstValue>,
                "bitnet: quantizers of heads have one step a head: PerGroup has no meaning there");
  static_assert(kIsFloat<typename S::Key::Format> == kIsFloat<typename S::FirstKey::Format> &&
                    kIsFloat<typename S::Value::Format> == kIsFloat<typename S::FirstValue::Format>,
                "bitnet: a cache keeps its first token quantized if and only if the others are");
  static_assert(
      !kIsChosenCache<CacheQuantizersOf<S>> || requires { B::kChoosesCaches; },
      "bitnet: a cache that is chosen when the program runs needs a backend Erased<B>");

 public:
  using OutputUses = std::conditional_t<S::OutputKeep::kAll, Uses<Dense>, Uses<ChosenColumns>>;
  using Matrix = typename B::template Matrix<OperandOf<typename S::Weight>, OperandOf<typename S::Input>, Uses<Dense>>;
  using OutputMatrix =
      typename B::template Matrix<OperandOf<typename S::Weight>, OperandOf<typename S::OutputInput>, OutputUses>;
  using Weights = QuantizedMatrix<typename S::Weight::Format>;
  using Inputs = typename B::template Rows<OperandOf<typename S::Input>>;
  using Stream = typename B::Stream;
  using Cache = typename B::template Cache<CacheQuantizersOf<S>>;
  using Buffers = AttentionBuffers<S, B>;

  // Matrices q [heads * head_dim, hidden], k and v [kv_heads * head_dim, hidden], o [hidden, heads * head_dim]. Of
  // norms without gains there are none.
  Attention(Matrix q, Matrix k, Matrix v, OutputMatrix o, RmsNorm<B> sub_norm, size_t heads, size_t kv_heads,
            HeadNorms<B> head_norms = {})
      : q_(std::move(q)),
        k_(std::move(k)),
        v_(std::move(v)),
        o_(std::move(o)),
        sub_norm_(std::move(sub_norm)),
        head_norms_(std::move(head_norms)),
        shape_{heads, kv_heads, heads == 0 ? 0 : q_.rows() / heads} {
    BITNET_ASSERT(heads != 0 && kv_heads != 0 && heads % kv_heads == 0 && q_.rows() % heads == 0,
                  "Attention: kv_heads must divide heads, and heads the rows of q");
    BITNET_ASSERT(k_.rows() == kv_heads * shape_.head_dim && v_.rows() == k_.rows() && o_.cols() == q_.rows() &&
                      k_.cols() == q_.cols() && v_.cols() == q_.cols() && o_.rows() == q_.cols(),
                  "Attention: the projections' shapes do not agree");
    BITNET_ASSERT(sub_norm_.width() == 0 || sub_norm_.width() == o_.cols(),
                  "Attention: the sub-layer norm must have heads * head_dim gains, or none");
    BITNET_ASSERT((head_norms_.q.width() == 0 || head_norms_.q.width() == shape_.head_dim) &&
                      head_norms_.k.width() == head_norms_.q.width(),
                  "Attention: norms of heads must have head_dim gains, those of queries and of keys, or none");
  }
  // Of weights in S's format, which need not outlive the call.
  Attention(const Weights& q, const Weights& k, const Weights& v, const Weights& o, RmsNorm<B> sub_norm, size_t heads,
            size_t kv_heads, const B& backend, HeadNorms<B> head_norms = {})
      : Attention(Prepare(q, backend), Prepare(k, backend), Prepare(v, backend), PrepareOutput(o, backend),
                  std::move(sub_norm), heads, kv_heads, std::move(head_norms)) {}

  // Of q, k or v; of o.
  static Matrix Prepare(const Weights& weights, const B& backend) {
    return backend.template PrepareMatrix<OperandOf<typename S::Weight>, OperandOf<typename S::Input>, Uses<Dense>>(
        weights);
  }
  static OutputMatrix PrepareOutput(const Weights& weights, const B& backend) {
    return backend
        .template PrepareMatrix<OperandOf<typename S::Weight>, OperandOf<typename S::OutputInput>, OutputUses>(weights);
  }

  // y [tokens, hidden] = attention of x [tokens, hidden] (normed), whose tokens stand where `where` says. Adds their
  // keys and values to the cache. Adds to *use, if given.
  void operator()(const B& backend, Stream& stream, MatrixView<const float> x, const typename B::Where& where,
                  Cache& cache, Buffers& buffers, MatrixView<float> y, WeightUse* use) const {
    backend.template Quantize<Untransformed<typename S::Input>>(
        stream, TransformInputs<typename S::Input>(backend, stream, x, buffers.transformed), buffers.inputs);
    (*this)(backend, stream, buffers.inputs, where, cache, buffers, y, use);
  }
  // The same of inputs that S::Input has quantized.
  void operator()(const B& backend, Stream& stream, Inputs& x, const typename B::Where& where, Cache& cache,
                  Buffers& buffers, MatrixView<float> y, WeightUse* use) const {
    Run<false>(backend, stream, x, where, cache, buffers, nullptr, y, use);
  }
  // y += that; `memory` for what is added.
  void AddTo(const B& backend, Stream& stream, Inputs& x, const typename B::Where& where, Cache& cache,
             Buffers& buffers, typename B::Reals& memory, MatrixView<float> y, WeightUse* use) const {
    Run<true>(backend, stream, x, where, cache, buffers, &memory, y, use);
  }

  size_t WeightBytes() const { return q_.StoredBytes() + k_.StoredBytes() + v_.StoredBytes() + o_.StoredBytes(); }
  size_t NormWidth() const { return sub_norm_.width() + head_norms_.q.width() + head_norms_.k.width(); }

 private:
  template <bool kAdds>
  void Run(const B& backend, Stream& stream, Inputs& x, const typename B::Where& where, Cache& cache, Buffers& buffers,
           [[maybe_unused]] typename B::Reals* memory, MatrixView<float> y, WeightUse* use) const {
    const size_t tokens = y.rows();
    const MatrixView<float> q = backend.Shape(stream, buffers.q, tokens, q_.rows());
    const MatrixView<float> k = backend.Shape(stream, buffers.k, tokens, k_.rows());
    const MatrixView<float> v = backend.Shape(stream, buffers.v, tokens, v_.rows());
    MatMulAll(backend, stream, x, ProductTo{q_, q}, ProductTo{k_, k}, ProductTo{v_, v});
    if (head_norms_.q.width() != 0) {
      const MatrixView<float> q_heads = HeadsOf(q, shape_.head_dim), k_heads = HeadsOf(k, shape_.head_dim);
      head_norms_.q(backend, stream, q_heads, q_heads);
      head_norms_.k(backend, stream, k_heads, k_heads);
    }
    StoreHeads<S>(backend, stream, q, k, v, shape_.head_dim, where, cache, buffers.queries);

    const MatrixView<float> attended = backend.Shape(stream, buffers.attended, tokens, q_.rows());
    backend.Attend(stream, buffers.queries, where, cache, shape_, attended);
    TransformHeads<Transposed<TransformOf<typename S::Value>>>(backend, stream, HeadsOf(attended, shape_.head_dim));

    using OutputInput = typename S::OutputInput;
    if constexpr (S::OutputKeep::kAll) {
      if (sub_norm_.width() != 0) {
        NormQuantize<OutputInput>(backend, stream, sub_norm_, attended, buffers.transformed, buffers.output_inputs);
      } else {
        backend.template Quantize<Untransformed<OutputInput>>(
            stream, TransformInputs<OutputInput>(backend, stream, attended, buffers.transformed),
            buffers.output_inputs);
      }
      if constexpr (kAdds) {
        MatMulAdd(backend, stream, o_, buffers.output_inputs, *memory, y);
      } else {
        backend.MatMul(stream, o_, buffers.output_inputs, y);
      }
    } else {
      if (sub_norm_.width() != 0) sub_norm_(backend, stream, attended, attended);
      const auto inputs = TransformInputs<OutputInput>(backend, stream, attended, buffers.transformed);
      backend.template QuantizeTopK<Untransformed<OutputInput>>(stream, inputs, S::OutputKeep::Count(inputs.cols()),
                                                                buffers.output_inputs);
      backend.FindNonzero(stream, buffers.output_inputs);
      if constexpr (kAdds) {
        MatMulColumnsAdd(backend, stream, o_, buffers.output_inputs, *memory, y);
      } else {
        backend.MatMulColumns(stream, o_, buffers.output_inputs, y);
      }
    }
    if (use != nullptr) {
      use->qkv.AddDense(backend.CountNonzero(stream, x), tokens, q_.cols(), q_.rows() + k_.rows() + v_.rows());
      use->out.AddDense(backend.CountNonzero(stream, buffers.output_inputs), tokens, o_.cols(), o_.rows());
    }
  }

  Matrix q_, k_, v_;
  OutputMatrix o_;
  RmsNorm<B> sub_norm_;
  HeadNorms<B> head_norms_;
  AttentionShape shape_;
};

}  // namespace bitnet

#endif  // BITNET_LAYER_ATTENTION_H_
