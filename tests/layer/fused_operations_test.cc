// A backend that offers the operations of layer/fused_products.h, layer/glu_quantize.h and layer/store_heads.h: layers
// use them, and the bits are those of what they are composed of.
#include <doctest/doctest.h>

#include <cstddef>
#include <vector>

#include "bitnet/backend/reference.h"
#include "bitnet/layer/fused_products.h"
#include "bitnet/layer/store_heads.h"
#include "bitnet/model/transformer.h"
#include "testing/tiny_model.h"

namespace bitnet {
namespace {

struct Calls {
  size_t all = 0, add = 0, columns_add = 0, glu = 0, heads = 0;
};
Calls calls;

class ManyFusions : public ReferenceBackend {
 public:
  template <class X, class... Matrix>
  void MatMulAll(Stream& stream, X& x, const ProductTo<Matrix>&... to) const {
    ++calls.all;
    (MatMul(stream, to.matrix, x, to.y), ...);
  }
  void MatMulAdd(Stream& stream, const auto& matrix, auto& x, MatrixView<float> y) const {
    ++calls.add;
    std::vector<float> product(y.rows() * y.cols());
    MatMul(stream, matrix, x, {product.data(), y.rows(), y.cols()});
    Add(stream, {product.data(), y.rows(), y.cols()}, y);
  }
  void MatMulColumnsAdd(Stream& stream, const auto& matrix, auto& x, MatrixView<float> y) const {
    ++calls.columns_add;
    std::vector<float> product(y.rows() * y.cols());
    MatMulColumns(stream, matrix, x, {product.data(), y.rows(), y.cols()});
    Add(stream, {product.data(), y.rows(), y.cols()}, y);
  }
  template <Activation A, AnyQuantizer Q>
  void GluQuantize(Stream& stream, MatrixView<const float> gate, MatrixView<float> up, const Lists& open,
                   Rows<OperandOf<Q>>& out) const {
    ++calls.glu;
    Glu<A>(stream, gate, up, open, up);
    Quantize<Q>(stream, up, out);
  }
  template <AnyQuantizer Q>
  void RotateAndStore(Stream& stream, MatrixView<float> q, MatrixView<float> k, MatrixView<float> v, const Where& where,
                      auto& cache, Rows<OperandOf<Q>>& queries) const {
    ++calls.heads;
    Rotate(stream, where, q);
    Rotate(stream, where, k);
    Store(stream, k, v, where, cache);
    Quantize<Q>(stream, HeadsOf(q, cache.head_dim()), queries);
  }
};

template <class B, Scheme S>
std::vector<float> LogitsOf(WeightUse& use) {
  const Transformer<S, B> model(testing::TinyWeights<S>(), B());
  auto state = model.NewState();
  state.CountWeights(true);
  const auto logits = model.Forward(testing::RandomTokens(7, model.config().vocab), state);
  REQUIRE(logits.ok());
  use = state.TotalWeightUse();
  return testing::Copy(*logits);
}

template <Scheme S>
Calls CallsOf() {
  calls = {};
  WeightUse composed_use, fused_use;
  const std::vector<float> composed = LogitsOf<ReferenceBackend, S>(composed_use);
  CHECK(testing::SameBits(LogitsOf<ManyFusions, S>(fused_use), composed));
  CHECK(fused_use.Overall().used == composed_use.Overall().used);
  CHECK(fused_use.Overall().total == composed_use.Overall().total);
  return calls;
}

TEST_CASE("Fused operations: the layers use those that a backend has, with the same bits and counts") {
  const size_t layers = testing::TinyConfig().layers;
  Calls a48 = CallsOf<A48>();
  CHECK(a48.all == layers);
  CHECK(a48.columns_add == 2 * layers);
  CHECK(a48.add == 0);
  CHECK(a48.glu == layers);
  CHECK(a48.heads == layers);
  Calls b158 = CallsOf<B158>();
  CHECK(b158.add == layers);  // of the attention, whose inputs are all kept
  CHECK(b158.columns_add == layers);
}

TEST_CASE("Fused operations: not where something is transformed between their parts") {
  const size_t layers = testing::TinyConfig().layers;
  const Calls rotated = CallsOf<testing::Rotated>();
  CHECK(rotated.heads == 0);
  CHECK(rotated.glu == 0);
  CHECK(rotated.all == layers);
  CHECK(rotated.add == layers);  // of T h, which has no zeros to speak of
}

}  // namespace
}  // namespace bitnet
