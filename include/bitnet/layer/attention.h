// Attention: grouped-query attention with quantized inputs, heads and cache.
//
//   q, k, v = W x            one quantization of x for the three
//   q, k    = rotate(q, k)
//   cache  += Q(k), Q(v)     post-RoPE
//   a       = softmax(Q(q) K^T / sqrt(head_dim)) V
//   y       = W_o Q(top-k(a))     eq. 1; with an RMSNorm of a before, if the scheme has sub-layer norms
#ifndef BITNET_LAYER_ATTENTION_H_
#define BITNET_LAYER_ATTENTION_H_

#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/default_backend.h"
#include "bitnet/layer/bit_linear.h"
#include "bitnet/layer/rms_norm.h"
#include "bitnet/layer/weight_use.h"
#include "bitnet/scheme/scheme.h"

namespace bitnet {

// What quantizes a scheme's cache.
template <Scheme S>
using CacheQuantizersOf = CacheQuantizers<typename S::Query, typename S::Key, typename S::FirstKey, typename S::Value,
                                          typename S::FirstValue>;

// Buffers of one forward pass, shared by all layers of a model.
template <Scheme S, Backend B>
struct AttentionBuffers {
  typename B::template Rows<OperandOf<typename S::Input>> inputs;
  typename B::Reals q, k, v, attended;
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

 public:
  using Projection = BitLinear<typename S::Weight, typename S::Input, B>;
  using OutputProjection = BitLinear<typename S::Weight, typename S::OutputInput, B,
                                     std::conditional_t<S::OutputKeep::kAll, Uses<Dense>, Uses<ChosenColumns>>>;

  using Weights = typename Projection::Weights;
  using Inputs = typename Projection::Inputs;
  using Stream = typename B::Stream;
  using Cache = typename B::template Cache<CacheQuantizersOf<S>>;
  using Buffers = AttentionBuffers<S, B>;

  // Weights q [heads * head_dim, hidden], k and v [kv_heads * head_dim, hidden], o [hidden, heads * head_dim]; they
  // need not outlive the call. The gain of the sub-layer norm is empty unless S has one.
  Attention(const Weights& q, const Weights& k, const Weights& v, const Weights& o, RmsNorm<B> sub_norm, size_t heads,
            size_t kv_heads, const B& backend)
      : q_(q, backend),
        k_(k, backend),
        v_(v, backend),
        o_(o, backend),
        sub_norm_(std::move(sub_norm)),
        shape_{heads, kv_heads, heads == 0 ? 0 : q.rows() / heads} {
    BITNET_ASSERT(heads != 0 && kv_heads != 0 && heads % kv_heads == 0 && q.rows() % heads == 0,
                  "Attention: kv_heads must divide heads, and heads the rows of q");
    BITNET_ASSERT(k.rows() == kv_heads * shape_.head_dim && v.rows() == k.rows() && o.cols() == q.rows() &&
                      k.cols() == q.cols() && v.cols() == q.cols() && o.rows() == q.cols(),
                  "Attention: the projections' shapes do not agree");
  }

  // y [tokens, hidden] = attention of x [tokens, hidden] (normed), whose tokens stand where `where` says. Adds their
  // keys and values to the caches, one for each sequence. Adds to *use, if given.
  void operator()(const B& backend, Stream& stream, MatrixView<const float> x, const typename B::Where& where,
                  std::span<Cache* const> caches, Buffers& buffers, MatrixView<float> y, WeightUse* use) const {
    backend.template Quantize<typename S::Input>(stream, x, buffers.inputs);
    (*this)(backend, stream, buffers.inputs, where, caches, buffers, y, use);
  }
  // The same of inputs that S::Input has quantized.
  void operator()(const B& backend, Stream& stream, Inputs& x, const typename B::Where& where,
                  std::span<Cache* const> caches, Buffers& buffers, MatrixView<float> y, WeightUse* use) const {
    const size_t tokens = y.rows();
    const MatrixView<float> q = backend.Shape(stream, buffers.q, tokens, q_.rows());
    const MatrixView<float> k = backend.Shape(stream, buffers.k, tokens, k_.rows());
    const MatrixView<float> v = backend.Shape(stream, buffers.v, tokens, v_.rows());
    q_.Apply(stream, x, q);
    k_.Apply(stream, x, k);
    v_.Apply(stream, x, v);
    backend.Rotate(stream, where, q);
    backend.Rotate(stream, where, k);
    backend.Store(stream, k, v, where, caches);
    backend.template Quantize<typename S::Query>(
        stream, MatrixView<const float>(q.data(), tokens * shape_.heads, shape_.head_dim), buffers.queries);

    const MatrixView<float> attended = backend.Shape(stream, buffers.attended, tokens, q_.rows());
    backend.Attend(stream, buffers.queries, where, std::span<const Cache* const>(caches), shape_, attended);
    if constexpr (S::kSubLayerNorms) sub_norm_(backend, stream, attended, attended);

    if constexpr (S::OutputKeep::kAll) {
      backend.template Quantize<typename S::OutputInput>(stream, attended, buffers.output_inputs);
      o_.Apply(stream, buffers.output_inputs, y);
    } else {
      backend.template QuantizeTopK<typename S::OutputInput>(stream, attended, S::OutputKeep::Count(attended.cols()),
                                                             buffers.output_inputs);
      backend.FindNonzero(stream, buffers.output_inputs);
      o_.ApplyColumns(stream, buffers.output_inputs, y);
    }
    if (use != nullptr) {
      use->qkv.AddDense(backend.CountNonzero(stream, x), tokens, q_.cols(), q_.rows() + k_.rows() + v_.rows());
      use->out.AddDense(backend.CountNonzero(stream, buffers.output_inputs), tokens, o_.cols(), o_.rows());
    }
  }

  size_t WeightBytes() const {
    return q_.matrix().StoredBytes() + k_.matrix().StoredBytes() + v_.matrix().StoredBytes() +
           o_.matrix().StoredBytes();
  }
  size_t sub_norm_width() const { return sub_norm_.width(); }

 private:
  Projection q_, k_, v_;
  OutputProjection o_;
  RmsNorm<B> sub_norm_;
  AttentionShape shape_;
};

}  // namespace bitnet

#endif  // BITNET_LAYER_ATTENTION_H_
