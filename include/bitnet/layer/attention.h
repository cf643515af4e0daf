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

#include "bitnet/layer/bit_linear.h"
#include "bitnet/layer/kv_cache.h"
#include "bitnet/layer/rms_norm.h"
#include "bitnet/layer/rope.h"
#include "bitnet/layer/weight_use.h"
#include "bitnet/scheme/scheme.h"
#include "bitnet/tensor/growing_matrix.h"

namespace bitnet {

// Buffers of one forward pass, shared by all layers of a model.
template <Scheme S>
struct AttentionBuffers {
  QuantizedTokens<typename S::Input::Format> input;
  GrowingMatrix q, k, v, attended;
  QuantizedTokens<typename S::Query::Format> queries;
  AttentionScratch scratch;
  QuantizedTokens<typename S::OutputInput::Format> output_input;
};

template <Scheme S, class B = DefaultBackend<S>>
class Attention {
 public:
  using Projection = BitLinear<typename S::Weight, typename S::Input, B>;
  using OutputProjection = BitLinear<typename S::Weight, typename S::OutputInput, B>;

  using Weights = typename Projection::Weights;

  // Weights q [heads * head_dim, hidden], k and v [kv_heads * head_dim, hidden], o [hidden, heads * head_dim]; they
  // need not outlive the call. The gain of the sub-layer norm is empty unless S has one.
  Attention(const Weights& q, const Weights& k, const Weights& v, const Weights& o, RmsNorm sub_norm, size_t heads,
            size_t kv_heads, const B& backend)
      : q_(q, backend),
        k_(k, backend),
        v_(v, backend),
        o_(o, backend, S::OutputKeep::kAll ? Access::kDense : Access::kColumns),
        sub_norm_(std::move(sub_norm)),
        shape_{heads, kv_heads, heads == 0 ? 0 : q.rows() / heads, 0} {
    BITNET_ASSERT(heads != 0 && kv_heads != 0 && heads % kv_heads == 0 && q.rows() % heads == 0,
                  "Attention: kv_heads must divide heads, and heads the rows of q");
    BITNET_ASSERT(k.rows() == kv_heads * shape_.head_dim && v.rows() == k.rows() && o.cols() == q.rows() &&
                      k.cols() == q.cols() && v.cols() == q.cols() && o.rows() == q.cols(),
                  "Attention: the projections' shapes do not agree");
  }

  // y [tokens, hidden] = attention of x [tokens, hidden] (normed), whose tokens stand at first_position and after;
  // `angles` are theirs. Adds their keys and values to the cache. Adds to *use, if given.
  void operator()(const B& backend, MatrixView<const float> x, const RopeAngles& angles, size_t first_position,
                  KvCache<S>& cache, AttentionBuffers<S>& buffers, MatrixView<float> y, WeightUse* use) const {
    const size_t tokens = x.rows();
    backend.template Quantize<typename S::Input>(x, buffers.input);
    q_.PrepareInputs(buffers.input);
    const MatrixView<float> q = buffers.q.Shape(tokens, q_.rows());
    const MatrixView<float> k = buffers.k.Shape(tokens, k_.rows());
    const MatrixView<float> v = buffers.v.Shape(tokens, v_.rows());
    q_.Apply(buffers.input, q);
    k_.Apply(buffers.input, k);
    v_.Apply(buffers.input, v);
    for (size_t t = 0; t < tokens; ++t) {
      backend.Rotate(angles.Cos(t), angles.Sin(t), MatrixView<float>(q.Row(t), shape_.heads, shape_.head_dim));
      backend.Rotate(angles.Cos(t), angles.Sin(t), MatrixView<float>(k.Row(t), shape_.kv_heads, shape_.head_dim));
    }
    cache.Store(backend, k, v, first_position);
    backend.template Quantize<typename S::Query>(
        MatrixView<const float>(q.data(), tokens * shape_.heads, shape_.head_dim), buffers.queries);

    const MatrixView<float> attended = buffers.attended.Shape(tokens, q_.rows());
    AttentionShape shape = shape_;
    shape.first_position = first_position;
    backend.Attend(buffers.queries, cache.keys(), cache.values(), shape, buffers.scratch, attended);
    if constexpr (S::kSubLayerNorms) sub_norm_(backend, attended, attended);

    if constexpr (S::OutputKeep::kAll) {
      backend.template Quantize<typename S::OutputInput>(attended, buffers.output_input);
      o_.PrepareInputs(buffers.output_input);
      o_.Apply(buffers.output_input, y);
    } else {
      backend.template QuantizeTopK<typename S::OutputInput>(attended, S::OutputKeep::Count(attended.cols()),
                                                             buffers.output_input);
      backend.FindNonzero(buffers.output_input);
      o_.ApplyColumns(buffers.output_input, y);
    }
    if (use != nullptr) {
      use->qkv.AddDense(buffers.input, q_.rows() + k_.rows() + v_.rows());
      use->out.AddDense(buffers.output_input, o_.rows());
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
  RmsNorm sub_norm_;
  AttentionShape shape_;
};

}  // namespace bitnet

#endif  // BITNET_LAYER_ATTENTION_H_
