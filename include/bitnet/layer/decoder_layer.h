// DecoderLayer: x += attention(norm(x)); x += ffn(norm(x)).
#ifndef BITNET_LAYER_DECODER_LAYER_H_
#define BITNET_LAYER_DECODER_LAYER_H_

#include <cstddef>

#include "bitnet/layer/attention.h"
#include "bitnet/layer/sparse_ffn.h"

namespace bitnet {

template <Scheme S>
struct LayerBuffers {
  GrowingMatrix normed, added;
  AttentionBuffers<S> attention;
  FfnBuffers<S> ffn;
};

template <Scheme S, class B = DefaultBackend<S>>
class DecoderLayer {
 public:
  // make_attention() and make_ffn() return the two parts, which are built in place: they are large and never moved.
  template <class MakeAttention, class MakeFfn>
  DecoderLayer(RmsNorm attention_norm, MakeAttention&& make_attention, RmsNorm ffn_norm, MakeFfn&& make_ffn)
      : attention_norm_(std::move(attention_norm)),
        attention_(make_attention()),
        ffn_norm_(std::move(ffn_norm)),
        ffn_(make_ffn()) {}

  // x [tokens, hidden], in place; the tokens stand at first_position and after.
  void operator()(const B& backend, MatrixView<float> x, const RopeAngles& angles, size_t first_position,
                  KvCache<S>& cache, LayerBuffers<S>& buffers, WeightUse* use) const {
    const MatrixView<float> normed = buffers.normed.Shape(x.rows(), x.cols());
    const MatrixView<float> added = buffers.added.Shape(x.rows(), x.cols());
    attention_norm_(backend, x, normed);
    attention_(backend, normed, angles, first_position, cache, buffers.attention, added, use);
    backend.Add(added, x);
    ffn_norm_(backend, x, normed);
    ffn_(backend, normed, buffers.ffn, added, use);
    backend.Add(added, x);
  }

  size_t WeightBytes() const { return attention_.WeightBytes() + ffn_.WeightBytes(); }
  size_t NormBytes() const {
    const size_t gains =
        attention_norm_.width() + ffn_norm_.width() + attention_.sub_norm_width() + ffn_.sub_norm_width();
    return gains * sizeof(float);
  }

 private:
  RmsNorm attention_norm_;
  Attention<S, B> attention_;
  RmsNorm ffn_norm_;
  SparseFfn<S, B> ffn_;
};

}  // namespace bitnet

#endif  // BITNET_LAYER_DECODER_LAYER_H_
