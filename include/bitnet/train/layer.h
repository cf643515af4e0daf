// TrainingLayer<Scheme, Backend>: a decoder layer on whole sequences, forward with the bits of layer/, and backward.
//
//   x += o(attention(norm(x)));  x += down(glu(norm(x)))
//
// Everything but attention works on tiles of tokens, each from its norm to its last product in one task, so that the
// values in between stay in the cache.
#ifndef BITNET_TRAIN_LAYER_H_
#define BITNET_TRAIN_LAYER_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "bitnet/base/size.h"
#include "bitnet/model/weights.h"
#include "bitnet/train/attention.h"
#include "bitnet/train/elementwise.h"
#include "bitnet/train/linear.h"

namespace bitnet {

// What the forward pass leaves for the backward pass. [tokens, width] each.
struct LayerActivations {
  FloatMatrix qkv_input;      // Q(norm(x))
  FloatMatrix heads;          // queries, keys, values; transformed, quantized
  FloatMatrix probabilities;  // [sequences * heads * length, length]
  FloatMatrix attended;       // before the sub-layer norm
  FloatMatrix out_input;      // Q(top-k(attended))
  FloatMatrix middle;         // x between the halves
  FloatMatrix ffn_input;      // Q(norm(middle))
  FloatMatrix gate_up;        // gate, then up
  FloatMatrix product;        // up * f(gate), before the sub-layer norm; only if there is one
  FloatMatrix down_input;     // Q(product)

  void Resize(const ModelConfig& c, size_t sequences, size_t length) {
    ForEach(c, sequences, length, [](FloatMatrix& values, size_t rows, size_t cols) { values.Resize(rows, cols); });
  }

  // Bytes that Resize takes, if they fit size_t.
  static std::optional<size_t> Bytes(const ModelConfig& c, size_t sequences, size_t length) {
    if (!CheckedProduct(sequences, length, c.heads)) return std::nullopt;
    std::optional<size_t> bytes = sizeof(LayerActivations);
    LayerActivations().ForEach(c, sequences, length, [&](FloatMatrix&, size_t rows, size_t cols) {
      bytes = CheckedSum(bytes, CheckedProduct(rows, cols, sizeof(float)));
    });
    return bytes;
  }

 private:
  // f(matrix, rows, cols); sequences * length * heads must fit size_t.
  template <class F>
  void ForEach(const ModelConfig& c, size_t sequences, size_t length, F&& f) {
    const size_t tokens = SizeProduct(sequences, length);
    f(qkv_input, tokens, c.hidden);
    f(heads, tokens, c.query_width() + 2 * size_t{c.kv_width()});
    f(probabilities, SizeProduct(tokens, c.heads), length);
    f(attended, tokens, c.query_width());
    f(out_input, tokens, c.query_width());
    f(middle, tokens, c.hidden);
    f(ffn_input, tokens, c.hidden);
    f(gate_up, tokens, 2 * size_t{c.ffn});
    if (c.sub_layer_norms) f(product, tokens, c.ffn);
    f(down_input, tokens, c.ffn);
  }
};

// Gradients inside a layer, shared by all layers.
struct LayerGradients {
  FloatMatrix dmiddle, dattended, dheads;
  std::vector<float> gain_sums;  // one row of gains a tile

  void Resize(const ModelConfig& c, size_t tokens) {
    dmiddle.Resize(tokens, c.hidden);
    dattended.Resize(tokens, c.query_width());
    dheads.Resize(tokens, c.query_width() + 2 * size_t{c.kv_width()});
  }
};

// Adds up the gain gradients that tiles have made apart, in their order, which does not depend on threads.
class GainSums {
 public:
  GainSums(std::vector<float>& memory, size_t tiles, size_t width) : memory_(memory), tiles_(tiles), width_(width) {
    memory_.assign(ElementCount<float>(tiles, width), 0.0f);
  }
  std::span<float> Of(size_t tile) { return {memory_.data() + tile * width_, width_}; }
  void AddTo(std::span<float> gain, size_t first) const {
    for (size_t i = 0; i < gain.size(); ++i) {
      float sum = 0.0f;
      for (size_t tile = 0; tile < tiles_; ++tile) sum += memory_[tile * width_ + first + i];
      gain[i] += sum;
    }
  }

 private:
  std::vector<float>& memory_;
  size_t tiles_;
  size_t width_;
};

template <Scheme S, HostBackend B>
class TrainingLayer {
  using W = typename S::Weight;
  using WF = typename W::Format;
  using KeyTransform = TransformOf<typename S::Key>;  // and of queries
  using ValueTransform = TransformOf<typename S::Value>;

 public:
  // Quantizes projections, and prepares gains, for the passes that follow: number `which` of ForEachTensorOfLayer, so
  // that tasks can share them.
  void Quantize(const B& backend, const ModelConfig& c, const LatentWeights::Layer<const float>& w, size_t which) {
    size_t number = 0;
    const auto quantize = [&](auto tensor, std::span<const float> values, auto& gain, const OperandRows& rows) {
      if (number++ != which) return;
      if constexpr (tensor.kRole == TensorRole::kGain) {
        gain = backend.PrepareVector(values);
      } else {
        QuantizeWeights<W>(backend, values, rows.first, tensor.rows, *rows.operand);
      }
    };
    ForEachTensorOfLayer(c, 0, quantize, w, gains_, Operands(c));
  }

  void Resize(const ModelConfig& c) {
    qkv_.template Resize<W>(c.query_width() + 2 * size_t{c.kv_width()}, c.hidden);
    o_.template Resize<W>(c.hidden, c.query_width());
    gate_up_.template Resize<W>(2 * size_t{c.ffn}, c.hidden);
    down_.template Resize<W>(c.hidden, c.ffn);
  }

  // y [tokens, hidden] = the layer's output for x [tokens, hidden].
  void Forward(const B& backend, const ModelConfig& c, const AttentionDims& dims, const TrainingAngles& angles,
               MatrixView<const float> x, LayerActivations& a, MatrixView<float> y) const {
    ForTiles(backend.executor(), x.rows(), kTile, [&](size_t, size_t begin, size_t end) {
      const auto tile = [&](const auto& m) { return m.Rows(begin, end - begin); };
      thread_local FloatLevels input;
      typename B::Stream stream = backend.NewStream();
      backend.RmsNorm(stream, tile(x), gains_.attn_norm, c.rms_eps, tile(a.qkv_input));
      QuantizeInputs<typename S::Input>(backend, tile(a.qkv_input), input, tile(a.qkv_input));
      LinearForward<WF, typename S::Input::Format>(input, qkv_.levels, tile(a.heads));
      for (size_t t = begin; t < end; ++t) {
        angles.Rotate(backend, t % dims.length, RotatedHeads(c, a.heads.Row(t)));
        TransformHeads<KeyTransform>(backend, RotatedHeads(c, a.heads.Row(t)));
        TransformHeads<ValueTransform>(backend, ValueHeads(c, a.heads.Row(t)));
      }
    });
    AttentionForward<S>(backend, dims, a.heads, a.probabilities, a.attended);
    ForTiles(backend.executor(), x.rows(), kTile, [&](size_t, size_t begin, size_t end) {
      const auto tile = [&](const auto& m) { return m.Rows(begin, end - begin); };
      thread_local FloatLevels input;
      typename B::Stream stream = backend.NewStream();
      for (size_t t = begin; t < end; ++t) {
        TransformHeads<Transposed<ValueTransform>>(backend, Heads(c, a.attended.Row(t), c.heads));
      }
      MatrixView<const float> attended = tile(a.attended);
      if (c.sub_layer_norms) {
        backend.RmsNorm(stream, attended, gains_.attn_sub_norm, c.rms_eps, tile(a.out_input));
        attended = tile(a.out_input);
      }
      QuantizeInputs<typename S::OutputInput, typename S::OutputKeep>(backend, attended, input, tile(a.out_input));
      const MatrixView<float> middle = tile(a.middle);
      LinearForward<WF, typename S::OutputInput::Format>(input, o_.levels, middle);
      backend.Add(stream, tile(x), middle);

      backend.RmsNorm(stream, middle, gains_.ffn_norm, c.rms_eps, tile(a.ffn_input));
      QuantizeInputs<typename S::Input>(backend, tile(a.ffn_input), input, tile(a.ffn_input));
      const MatrixView<float> gate_up = tile(a.gate_up);
      LinearForward<WF, typename S::Input::Format>(input, gate_up_.levels, gate_up);
      MatrixView<float> h = c.sub_layer_norms ? tile(a.product) : tile(a.down_input);
      GluForward<typename S::FfnActivation>(gate_up.Cols(0, c.ffn), gate_up.Cols(c.ffn, c.ffn), h);
      if (c.sub_layer_norms) {
        backend.RmsNorm(stream, h, gains_.ffn_sub_norm, c.rms_eps, tile(a.down_input));
      }
      QuantizeInputs<typename S::DownInput>(backend, tile(a.down_input), input, tile(a.down_input));
      LinearForward<WF, typename S::DownInput::Format>(input, down_.levels, tile(y));
      backend.Add(stream, middle, tile(y));
    });
  }

  // dx [tokens, hidden] of dy, which may be dx; adds the gradients of the layer's tensors to `dw`. Uses up `a`.
  void Backward(const B& backend, const ModelConfig& c, const AttentionDims& dims, const TrainingAngles& angles,
                MatrixView<const float> x, LayerActivations& a, MatrixView<const float> dy, LayerGradients& g,
                MatrixView<float> dx, const LatentWeights::Layer<float>& dw) const {
    const size_t tokens = x.rows();
    const size_t tiles = (tokens + kTile - 1) / kTile;
    {
      GainSums sums(g.gain_sums, tiles, size_t{c.hidden} + c.ffn + c.query_width());
      ForTiles(backend.executor(), tokens, kTile, [&](size_t index, size_t begin, size_t end) {
        const auto tile = [&](const auto& m) { return m.Rows(begin, end - begin); };
        thread_local FloatMatrix dh, dnormed;
        dh.Resize(end - begin, c.ffn);
        InputGradient<typename S::DownInput>(backend, tile(dy), down_, dh);
        if (c.sub_layer_norms) {
          RmsNormBackward<false>(tile(a.product), gains_.ffn_sub_norm, c.rms_eps, dh, dh,
                                 sums.Of(index).subspan(c.hidden, c.ffn));
        }
        const MatrixView<float> gate_up = tile(a.gate_up);
        GluBackward<typename S::FfnActivation>(dh, gate_up.Cols(0, c.ffn), gate_up.Cols(c.ffn, c.ffn));
        dnormed.Resize(end - begin, c.hidden);
        InputGradient<typename S::Input>(backend, gate_up, gate_up_, dnormed);
        const MatrixView<float> dmiddle = tile(g.dmiddle);
        detail::AsEigen(dmiddle) = detail::AsEigen(tile(dy));
        RmsNormBackward<true>(tile(a.middle), gains_.ffn_norm, c.rms_eps, dnormed, dmiddle,
                              sums.Of(index).subspan(0, c.hidden));
        InputGradient<typename S::OutputInput>(backend, dmiddle, o_, tile(g.dattended));
        if (c.sub_layer_norms) {
          RmsNormBackward<false>(tile(a.attended), gains_.attn_sub_norm, c.rms_eps, tile(g.dattended),
                                 tile(g.dattended), sums.Of(index).subspan(size_t{c.hidden} + c.ffn));
        }
        for (size_t t = begin; t < end; ++t) {
          TransformHeads<ValueTransform>(backend, Heads(c, g.dattended.Row(t), c.heads));
        }
      });
      sums.AddTo(dw.ffn_norm, 0);
      sums.AddTo(dw.ffn_sub_norm, c.hidden);
      sums.AddTo(dw.attn_sub_norm, size_t{c.hidden} + c.ffn);
    }
    AttentionBackward(backend.executor(), dims, a.heads, a.probabilities, g.dattended, g.dheads);
    // The gradients of down need dy, which dx may overwrite below.
    const MatrixView<const float> dgate_up = a.gate_up;
    WeightGradients(backend.executor(), std::array<WeightGradient, 4>{{
                                            {dy, a.down_input, dw.down.data()},
                                            {dgate_up.Cols(0, c.ffn), a.ffn_input, dw.gate.data()},
                                            {dgate_up.Cols(c.ffn, c.ffn), a.ffn_input, dw.up.data()},
                                            {g.dmiddle, a.out_input, dw.o.data()},
                                        }});
    GainSums sums(g.gain_sums, tiles, c.hidden);
    ForTiles(backend.executor(), tokens, kTile, [&](size_t index, size_t begin, size_t end) {
      const auto tile = [&](const auto& m) { return m.Rows(begin, end - begin); };
      thread_local FloatMatrix dnormed;
      for (size_t t = begin; t < end; ++t) {
        TransformHeads<Transposed<KeyTransform>>(backend, RotatedHeads(c, g.dheads.Row(t)));
        TransformHeads<Transposed<ValueTransform>>(backend, ValueHeads(c, g.dheads.Row(t)));
        angles.RotateBack(backend, t % dims.length, RotatedHeads(c, g.dheads.Row(t)));
      }
      dnormed.Resize(end - begin, c.hidden);
      InputGradient<typename S::Input>(backend, tile(g.dheads), qkv_, dnormed);
      detail::AsEigen(tile(dx)) = detail::AsEigen(tile(g.dmiddle));
      RmsNormBackward<true>(tile(x), gains_.attn_norm, c.rms_eps, dnormed, tile(dx), sums.Of(index));
    });
    sums.AddTo(dw.attn_norm, 0);
    const MatrixView<const float> dheads = g.dheads;
    const size_t k = c.query_width();
    const size_t v = k + c.kv_width();
    WeightGradients(backend.executor(), std::array<WeightGradient, 3>{{
                                            {dheads.Cols(0, k), a.qkv_input, dw.q.data()},
                                            {dheads.Cols(k, c.kv_width()), a.qkv_input, dw.k.data()},
                                            {dheads.Cols(v, c.kv_width()), a.qkv_input, dw.v.data()},
                                        }});
  }

 private:
  static MatrixView<float> Heads(const ModelConfig& c, float* first, size_t count) {
    return {first, count, c.head_dim};
  }
  // Where a projection's rows stand among those that have the same inputs.
  struct OperandRows {
    WeightOperand* operand = nullptr;
    size_t first = 0;
  };
  LayerTensors<OperandRows, OperandRows> Operands(const ModelConfig& c) {
    LayerTensors<OperandRows, OperandRows> operands;
    operands.q = {&qkv_, 0};
    operands.k = {&qkv_, c.query_width()};
    operands.v = {&qkv_, size_t{c.query_width()} + c.kv_width()};
    operands.o = {&o_, 0};
    operands.gate = {&gate_up_, 0};
    operands.up = {&gate_up_, c.ffn};
    operands.down = {&down_, 0};
    return operands;
  }

  // The heads of a token that have a position: queries and keys.
  static MatrixView<float> RotatedHeads(const ModelConfig& c, float* token) {
    return Heads(c, token, size_t{c.heads} + c.kv_heads);
  }
  static MatrixView<float> ValueHeads(const ModelConfig& c, float* token) {
    return Heads(c, token + c.query_width() + c.kv_width(), c.kv_heads);
  }
  template <AnyTransform T>
  static void TransformHeads(const B& backend, MatrixView<float> heads) {
    if constexpr (!kIsIdentity<T>) {
      typename B::Stream stream = backend.NewStream();
      backend.template Transform<T>(stream, heads, heads);
    }
  }

  struct Nothing {};

  LayerTensors<typename B::Vector, Nothing> gains_;
  WeightOperand qkv_, o_, gate_up_, down_;
};

}  // namespace bitnet

#endif  // BITNET_TRAIN_LAYER_H_
