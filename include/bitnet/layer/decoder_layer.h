// DecoderLayer: x += attention(norm(x)); x += ffn(norm(x)).
#ifndef BITNET_LAYER_DECODER_LAYER_H_
#define BITNET_LAYER_DECODER_LAYER_H_

#include <cstddef>
#include <span>
#include <utility>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/default_backend.h"
#include "bitnet/layer/attention.h"
#include "bitnet/layer/norm_quantize.h"
#include "bitnet/layer/sparse_ffn.h"

namespace bitnet {

template <Scheme S, Backend B>
struct LayerBuffers {
  typename B::Reals normed, added;
  AttentionBuffers<S, B> attention;
  FfnBuffers<S, B> ffn;
};

template <Scheme S, Backend B = DefaultBackend<S>>
class DecoderLayer {
 public:
  using Stream = typename B::Stream;
  using Cache = typename Attention<S, B>::Cache;
  using Buffers = LayerBuffers<S, B>;

  // make_attention() and make_ffn() return the two parts, which are built in place: they are large and never moved.
  template <class MakeAttention, class MakeFfn>
  DecoderLayer(RmsNorm<B> attention_norm, MakeAttention&& make_attention, RmsNorm<B> ffn_norm, MakeFfn&& make_ffn)
      : attention_norm_(std::move(attention_norm)),
        attention_(make_attention()),
        ffn_norm_(std::move(ffn_norm)),
        ffn_(make_ffn()) {}

  // x [tokens, hidden], in place; the tokens stand where `where` says.
  void operator()(const B& backend, Stream& stream, MatrixView<float> x, const typename B::Where& where, Cache& cache,
                  Buffers& buffers, WeightUse* use) const {
    using Input = typename S::Input;
    auto& attention = buffers.attention;
    NormQuantize<Input>(backend, stream, attention_norm_, x, buffers.normed, attention.inputs);
    attention_.AddTo(backend, stream, attention.inputs, where, cache, attention, buffers.added, x, use);
    NormQuantize<Input>(backend, stream, ffn_norm_, x, buffers.normed, buffers.ffn.inputs);
    ffn_.AddTo(backend, stream, buffers.ffn.inputs, buffers.ffn, buffers.added, x, use);
  }

  size_t WeightBytes() const { return attention_.WeightBytes() + ffn_.WeightBytes(); }
  size_t NormBytes() const {
    const size_t gains = attention_norm_.width() + ffn_norm_.width() + attention_.NormWidth() + ffn_.NormWidth();
    return gains * sizeof(float);
  }

 private:
  RmsNorm<B> attention_norm_;
  Attention<S, B> attention_;
  RmsNorm<B> ffn_norm_;
  SparseFfn<S, B> ffn_;
};

}  // namespace bitnet

#endif  // BITNET_LAYER_DECODER_LAYER_H_
