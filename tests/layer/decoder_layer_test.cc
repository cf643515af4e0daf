#include "bitnet/layer/decoder_layer.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <vector>

#include "bitnet/backend/simd/default_backend.h"
#include "testing/one_page.h"
#include "testing/random_values.h"
#include "testing/tiny_model.h"

namespace bitnet {
namespace {

using testing::NormalValues;
using testing::SameBits;

TEST_CASE("DecoderLayer: x += attention(norm(x)); x += ffn(norm(x))") {
  using S = A48;
  using B = DefaultBackend<S>;
  const B backend;
  const ModelConfig config = testing::WithSubLayerNorms(testing::TinyConfig());
  const ModelWeights<S> model = testing::TinyWeights<S>(config);
  const LayerWeights<S>& w = model.layers[0];
  constexpr float kEps = 0.01f;
  constexpr size_t kTokens = 5;
  const RmsNorm<B> attention_norm(w.attn_norm, kEps, backend), ffn_norm(w.ffn_norm, 2 * kEps, backend);
  const RmsNorm<B> attention_sub_norm(w.attn_sub_norm, kEps, backend), ffn_sub_norm(w.ffn_sub_norm, kEps, backend);
  const auto make_attention = [&] {
    return Attention<S, B>(w.q, w.k, w.v, w.o, attention_sub_norm, config.heads, config.kv_heads, backend);
  };
  const auto make_ffn = [&] { return SparseFfn<S, B>(w.gate, w.up, w.down, ffn_sub_norm, backend); };
  B::Stream stream = backend.NewStream();
  std::vector<Place> places(kTokens);
  for (uint32_t t = 0; t < kTokens; ++t) places[t].position = t;
  B::Where where;
  backend.SetWhere(stream, places, testing::kOnePage, Rope(config.head_dim, 100.0f), where);
  const auto new_cache = [&] {
    auto cache = backend.NewCache<CacheQuantizersOf<S>>(config.kv_heads, config.head_dim);
    backend.ResizeCache(cache, 1);
    return cache;
  };

  const std::vector<float> x = NormalValues(kTokens * config.hidden, 1);
  std::vector<float> expected = x, normed(x.size()), added(x.size());
  WeightUse expected_use;
  const auto view = [&](std::vector<float>& v) { return MatrixView<float>(v.data(), kTokens, config.hidden); };
  {
    const Attention<S, B> attention = make_attention();
    const SparseFfn<S, B> ffn = make_ffn();
    auto cache = new_cache();
    Attention<S, B>::Buffers attention_buffers;
    SparseFfn<S, B>::Buffers ffn_buffers;
    attention_norm(backend, stream, view(expected), view(normed));
    attention(backend, stream, view(normed), where, cache, attention_buffers, view(added), &expected_use);
    for (size_t i = 0; i < x.size(); ++i) expected[i] += added[i];
    ffn_norm(backend, stream, view(expected), view(normed));
    ffn(backend, stream, view(normed), ffn_buffers, view(added), &expected_use);
    for (size_t i = 0; i < x.size(); ++i) expected[i] += added[i];
  }

  const DecoderLayer<S, B> layer(attention_norm, make_attention, ffn_norm, make_ffn);
  auto cache = new_cache();
  DecoderLayer<S, B>::Buffers buffers;
  std::vector<float> y = x;
  WeightUse use;
  layer(backend, stream, view(y), where, cache, buffers, &use);
  CHECK(SameBits(y, expected));
  CHECK(use.Overall().used == expected_use.Overall().used);
  CHECK(use.Overall().total == expected_use.Overall().total);
  CHECK(use.Overall().total == kTokens * ProjectionWeights(config) / config.layers);

  CHECK(layer.WeightBytes() == make_attention().WeightBytes() + make_ffn().WeightBytes());
  CHECK(layer.NormBytes() == sizeof(float) * (2 * config.hidden + config.query_width() + config.ffn));
}

}  // namespace
}  // namespace bitnet
