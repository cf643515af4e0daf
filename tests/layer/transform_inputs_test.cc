// The layers with Transformed quantizers, against the reference's operations one after the other.
#include "bitnet/layer/transform_inputs.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

#include "bitnet/backend/reference.h"
#include "bitnet/backend/simd/default_backend.h"
#include "bitnet/layer/attention.h"
#include "bitnet/layer/bit_linear.h"
#include "bitnet/layer/norm_quantize.h"
#include "bitnet/layer/sparse_ffn.h"
#include "testing/one_page.h"
#include "testing/random_values.h"
#include "testing/tiny_model.h"

namespace bitnet {
namespace {

using testing::NormalValues;
using testing::Rotated;
using testing::RotatedBy;
using testing::SameBits;

constexpr size_t kTokens = 5, kHidden = 20, kHeads = 4, kKvHeads = 2, kDim = 6, kFfn = 44;
constexpr float kEps = 1e-3f;

template <Scheme S>
QuantizedMatrix<typename S::Weight::Format> Weights(size_t rows, size_t cols, uint64_t seed) {
  const std::vector<float> w = NormalValues(rows * cols, seed, 0.3f);
  return QuantizedMatrix<typename S::Weight::Format>::template Quantize<typename S::Weight>(
      MatrixView<const float>(w.data(), rows, cols));
}
MatrixView<float> View(std::vector<float>& x, size_t rows) { return {x.data(), rows, x.size() / rows}; }

template <class T>
void TransformEach(std::vector<float>& x, size_t width) {
  for (size_t i = 0; i < x.size(); i += width) T::Apply(std::span(x).subspan(i, width));
}

// Q(T x), Q w^T.
template <class Q, Format W>
std::vector<float> Product(std::vector<float> x, const QuantizedMatrix<W>& w, size_t keep = 0) {
  TransformEach<TransformOf<Q>>(x, w.cols());
  QuantizedRows<OperandOf<Q>> rows;
  if (keep == 0) {
    reference::Quantize<Untransformed<Q>>(View(x, kTokens), rows);
  } else {
    reference::QuantizeTopK<Untransformed<Q>>(View(x, kTokens), keep, rows);
  }
  std::vector<float> y(kTokens * w.rows());
  reference::MatMul(w, rows, View(y, kTokens));
  return y;
}

// Sub-layer norms for one of the schemes.
template <Scheme S>
constexpr bool kHasNorms = std::is_same_v<S, Rotated>;

template <Scheme S, class B>
void CheckAttention() {
  const auto q = Weights<S>(kHeads * kDim, kHidden, 1), k = Weights<S>(kKvHeads * kDim, kHidden, 2),
             v = Weights<S>(kKvHeads * kDim, kHidden, 3), o = Weights<S>(kHidden, kHeads * kDim, 4);
  const std::vector<float> gain = NormalValues(kHeads * kDim, 5), x = NormalValues(kTokens * kHidden, 6);
  std::vector<Place> places;
  for (uint32_t t = 0; t < kTokens; ++t) places.push_back({0, t});
  const Rope rope(kDim, 100.0f);

  HostWhere where;
  where.Set(places, testing::kOnePage, rope);
  using Input = typename S::Input;
  std::vector<float> qs = Product<Input>(x, q), ks = Product<Input>(x, k), vs = Product<Input>(x, v);
  reference::Rotate(where, View(qs, kTokens));
  reference::Rotate(where, View(ks, kTokens));
  TransformEach<TransformOf<typename S::Query>>(qs, kDim);
  TransformEach<TransformOf<typename S::Key>>(ks, kDim);
  TransformEach<TransformOf<typename S::Value>>(vs, kDim);
  HostPages<CacheQuantizersOf<S>> cache(kKvHeads, kDim);
  cache.Resize(1);
  reference::Store(View(ks, kTokens), View(vs, kTokens), where, cache);
  QuantizedRows<OperandOf<typename S::Query>> queries;
  reference::Quantize<Untransformed<typename S::Query>>(View(qs, kTokens * kHeads), queries);
  std::vector<float> attended(kTokens * kHeads * kDim);
  reference::Attend(queries, where, cache, {kHeads, kKvHeads, kDim}, View(attended, kTokens));
  TransformEach<Transposed<TransformOf<typename S::Value>>>(attended, kDim);
  if (kHasNorms<S>) reference::RmsNorm(View(attended, kTokens), gain, kEps, View(attended, kTokens));
  const std::vector<float> expected =
      Product<typename S::OutputInput>(attended, o, S::OutputKeep::kAll ? 0 : S::OutputKeep::Count(kHeads * kDim));

  const B backend;
  const Attention<S, B> attention(q, k, v, o, kHasNorms<S> ? RmsNorm<B>(gain, kEps, backend) : RmsNorm<B>(), kHeads,
                                  kKvHeads, backend);
  typename Attention<S, B>::Buffers buffers;
  typename B::Stream stream = backend.NewStream();
  typename B::Where at;
  backend.SetWhere(stream, places, testing::kOnePage, rope, at);
  auto own = backend.template NewCache<CacheQuantizersOf<S>>(kKvHeads, kDim);
  backend.ResizeCache(own, 1);
  std::vector<float> y(kTokens * kHidden);
  attention(backend, stream, MatrixView<const float>(x.data(), kTokens, kHidden), at, own, buffers, View(y, kTokens),
            nullptr);
  CHECK(SameBits(y, expected));
}

TEST_CASE("Attention: heads are transformed after the rotary embedding, and back; inputs before Q and top-k") {
  CheckAttention<Rotated, ReferenceBackend>();
  CheckAttention<Rotated, DefaultBackend<A48>>();
  CheckAttention<RotatedBy<A48>, DefaultBackend<A48>>();
  CheckAttention<RotatedBy<B158>, DefaultBackend<A48>>();
}

template <Scheme S, class B>
void CheckFfn() {
  const auto gate = Weights<S>(kFfn, kHidden, 1), up = Weights<S>(kFfn, kHidden, 2),
             down = Weights<S>(kHidden, kFfn, 3);
  const std::vector<float> gain = NormalValues(kFfn, 4), x = NormalValues(kTokens * kHidden, 5);
  using A = typename S::FfnActivation;
  std::vector<float> g = Product<typename S::Input>(x, gate), u = Product<typename S::Input>(x, up);
  ChannelLists open;
  reference::OpenGates<A>(View(g, kTokens), open);
  reference::Glu<A>(View(g, kTokens), View(u, kTokens), open, View(u, kTokens));
  if (kHasNorms<S>) reference::RmsNorm(View(u, kTokens), gain, kEps, View(u, kTokens));
  const std::vector<float> expected = Product<typename S::DownInput>(u, down);

  const B backend;
  const SparseFfn<S, B> ffn(gate, up, down, kHasNorms<S> ? RmsNorm<B>(gain, kEps, backend) : RmsNorm<B>(), backend);
  typename SparseFfn<S, B>::Buffers buffers;
  typename B::Stream stream = backend.NewStream();
  std::vector<float> y(kTokens * kHidden);
  WeightUse use;
  ffn(backend, stream, MatrixView<const float>(x.data(), kTokens, kHidden), buffers, View(y, kTokens), &use);
  CHECK(SameBits(y, expected));
  CHECK(use.up.Sparsity() > 20.0);  // gates skip as ever
}

TEST_CASE("SparseFfn: inputs are transformed before Q, and down is dense") {
  CheckFfn<Rotated, ReferenceBackend>();
  CheckFfn<Rotated, DefaultBackend<A48>>();
  CheckFfn<RotatedBy<B158>, DefaultBackend<A48>>();
  static_assert(std::is_same_v<SparseFfn<RotatedBy<A48>>::DownUses, Uses<Dense>>);
  static_assert(std::is_same_v<SparseFfn<A48>::DownUses, Uses<ChosenColumns>>);
  static_assert(std::is_same_v<SparseFfn<RotatedBy<A48>>::UpUses, Uses<ChosenRows>>);
  static_assert(std::is_same_v<Attention<RotatedBy<A48>>::OutputUses, Uses<ChosenColumns>>);  // top-k makes zeros
}

TEST_CASE("BitLinear: is Q_w(W) Q(T x)") {
  using X = Transformed<Hadamard<8, RandomSigns<7>>, A48::Input>;
  const std::vector<float> w = NormalValues(11 * kHidden, 1);
  std::vector<float> x = NormalValues(3 * kHidden, 2), y(3 * 11), expected(3 * 11);
  BitLinear<A48::Weight, X> project(w, 11, kHidden);
  project(x, y);
  TransformEach<TransformOf<X>>(x, kHidden);
  BitLinear<A48::Weight, A48::Input>(w, 11, kHidden)(x, expected);
  CHECK(SameBits(y, expected));
}

// Where a backend has norm and quantizer in one, a transform keeps them apart.
TEST_CASE("NormQuantize: is Q(T norm(x))") {
  using X = Rotated::Input;
  const ReferenceBackend backend;
  ReferenceBackend::Stream stream;
  std::vector<float> gain = NormalValues(kHidden, 1), x = NormalValues(kTokens * kHidden, 2);
  ReferenceBackend::Reals memory;
  ReferenceBackend::Rows<OperandOf<X>> rows, expected;
  NormQuantize<X>(backend, stream, RmsNorm<ReferenceBackend>(gain, kEps, backend), View(x, kTokens), memory, rows);
  reference::RmsNorm(View(x, kTokens), gain, kEps, View(x, kTokens));
  TransformEach<TransformOf<X>>(x, kHidden);
  reference::Quantize<Untransformed<X>>(View(x, kTokens), expected);
  for (size_t t = 0; t < kTokens; ++t) {
    CHECK(std::vector<int>(rows[t].begin(), rows[t].end()) == std::vector<int>(expected[t].begin(), expected[t].end()));
    CHECK(rows.Steps(t)[0] == expected.Steps(t)[0]);
  }
}

}  // namespace
}  // namespace bitnet
