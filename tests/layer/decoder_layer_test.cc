#include "bitnet/layer/decoder_layer.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <vector>

#include "bitnet/backend/default_backend.h"
#include "testing/random_values.h"
#include "testing/tiny_model.h"

namespace bitnet {
namespace {

using testing::NormalValues;
using testing::SameBits;

TEST_CASE("DecoderLayer: x += attention(norm(x)); x += ffn(norm(x))") {
  using S = WithSubLayerNorms<A48>;
  using B = DefaultBackend<S>;
  const B backend;
  const ModelConfig config = testing::TinyConfig();
  const ModelWeights<S> model = testing::TinyWeights<S>(config);
  const LayerWeights<S>& w = model.layers[0];
  constexpr float kEps = 0.01f;
  constexpr size_t kTokens = 5;
  const RmsNorm attention_norm(w.attn_norm, kEps), ffn_norm(w.ffn_norm, 2 * kEps);
  const RmsNorm attention_sub_norm(w.attn_sub_norm, kEps), ffn_sub_norm(w.ffn_sub_norm, kEps);
  const auto make_attention = [&] {
    return Attention<S, B>(w.q, w.k, w.v, w.o, attention_sub_norm, config.heads, config.kv_heads, backend);
  };
  const auto make_ffn = [&] { return SparseFfn<S, B>(w.gate, w.up, w.down, ffn_sub_norm, backend); };
  RopeAngles angles;
  angles.Compute(Rope(config.head_dim, 100.0f), 0, kTokens);

  const std::vector<float> x = NormalValues(kTokens * config.hidden, 1);
  std::vector<float> expected = x, normed(x.size()), added(x.size());
  WeightUse expected_use;
  const auto view = [&](std::vector<float>& v) { return MatrixView<float>(v.data(), kTokens, config.hidden); };
  {
    const Attention<S, B> attention = make_attention();
    const SparseFfn<S, B> ffn = make_ffn();
    KvCache<S> cache(config.kv_heads, config.head_dim, kTokens);
    AttentionBuffers<S> attention_buffers;
    FfnBuffers<S> ffn_buffers;
    attention_norm(backend, view(expected), view(normed));
    attention(backend, view(normed), angles, 0, cache, attention_buffers, view(added), &expected_use);
    for (size_t i = 0; i < x.size(); ++i) expected[i] += added[i];
    ffn_norm(backend, view(expected), view(normed));
    ffn(backend, view(normed), ffn_buffers, view(added), &expected_use);
    for (size_t i = 0; i < x.size(); ++i) expected[i] += added[i];
  }

  const DecoderLayer<S, B> layer(attention_norm, make_attention, ffn_norm, make_ffn);
  KvCache<S> cache(config.kv_heads, config.head_dim, kTokens);
  LayerBuffers<S> buffers;
  std::vector<float> y = x;
  WeightUse use;
  layer(backend, view(y), angles, 0, cache, buffers, &use);
  CHECK(SameBits(y, expected));
  CHECK(use.Overall().used == expected_use.Overall().used);
  CHECK(use.Overall().total == expected_use.Overall().total);
  CHECK(use.Overall().total == kTokens * config.ProjectionWeights() / config.layers);

  CHECK(layer.WeightBytes() == make_attention().WeightBytes() + make_ffn().WeightBytes());
  CHECK(layer.NormBytes() == sizeof(float) * (2 * config.hidden + config.query_width() + config.ffn));
}

}  // namespace
}  // namespace bitnet
