// A backend that offers the operations of backend/fused_operations.h: layers use them, and the bits are those of what
// they are composed of; also where the backend is erased.
#include <doctest/doctest.h>

#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

#include "bitnet/backend/erased.h"
#include "bitnet/backend/fused_operations.h"
#include "bitnet/backend/reference.h"
#include "bitnet/model/transformer.h"
#include "testing/conformance_products.h"
#include "testing/expect_assertion.h"
#include "testing/tiny_model.h"

namespace bitnet {
namespace {

struct Calls {
  size_t all = 0, add = 0, columns_add = 0, glu = 0, heads = 0;
  size_t products = 0;  // of MatMulAll
  size_t resized = 0, caches = 0;
  bool operator==(const Calls&) const = default;
};
Calls calls;

class ManyFusions : public ReferenceBackend {
 public:
  template <class X, class... Matrix>
  void MatMulAll(Stream& stream, X& x, const ProductTo<Matrix>&... to) const {
    ++calls.all;
    calls.products += sizeof...(to);
    (MatMul(stream, to.matrix, x, to.y), ...);
  }
  void MatMulAdd(Stream& stream, const auto& matrix, auto& x, Reals&, MatrixView<float> y) const {
    ++calls.add;
    std::vector<float> product(y.rows() * y.cols());
    MatMul(stream, matrix, x, {product.data(), y.rows(), y.cols()});
    Add(stream, {product.data(), y.rows(), y.cols()}, y);
  }
  void MatMulColumnsAdd(Stream& stream, const auto& matrix, auto& x, Reals&, MatrixView<float> y) const {
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
  void RotateAndStore(Stream& stream, MatrixView<float> q, MatrixView<float> k, MatrixView<float> v, size_t head_dim,
                      const Where& where, auto& cache, Rows<OperandOf<Q>>& queries) const {
    ++calls.heads;
    Rotate(stream, where, q);
    Rotate(stream, where, k);
    Store(stream, k, v, where, cache);
    Quantize<Q>(stream, HeadsOf(q, head_dim), queries);
  }
  void ResizeCaches(size_t pages, auto&... caches) const {
    ++calls.resized;
    const auto resize = [&](auto& some) {
      for (auto& cache : some) {
        ++calls.caches;
        ResizeCache(cache, pages);
      }
    };
    (resize(caches), ...);
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

// Of the backend alone. (Erased, it is called as often, with the same bits.)
template <Scheme S>
Calls CallsOf() {
  WeightUse composed_use;
  const std::vector<float> composed = LogitsOf<ReferenceBackend, S>(composed_use);
  const auto run = [&]<class B>(std::type_identity<B>) {
    calls = {};
    WeightUse fused_use;
    CHECK(testing::SameBits(LogitsOf<B, S>(fused_use), composed));
    CHECK(fused_use.Overall().used == composed_use.Overall().used);
    CHECK(fused_use.Overall().total == composed_use.Overall().total);
    return calls;
  };
  const Calls alone = run(std::type_identity<ManyFusions>());
  CHECK(run(std::type_identity<Erased<ManyFusions>>()) == alone);
  return alone;
}

TEST_CASE("Fused operations: the layers use those that a backend has, with the same bits and counts") {
  const size_t layers = testing::TinyConfig().layers;
  Calls a48 = CallsOf<A48>();
  CHECK(a48.all == layers);
  CHECK(a48.columns_add == 2 * layers);
  CHECK(a48.add == 0);
  CHECK(a48.glu == layers);
  CHECK(a48.heads == layers);
  CHECK(a48.products == 3 * layers);
  CHECK(a48.resized == 2);  // at first, and in the end to none
  CHECK(a48.caches == 2 * layers);
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

TEST_CASE("Fused operations: of an erased backend, neighbours of one kind go together") {
  using B = Erased<ManyFusions>;
  using U = Uses<Dense>;
  constexpr size_t kCols = 30;
  const B backend;
  B::Stream stream = backend.NewStream();
  const testing::ProductCase c = {5, 2, {true, 0}, 0, testing::Fill::kRandom};
  const auto x = testing::DrawInputs<Int<4>>(c, kCols, 1);
  B::Rows<Int<4>> rows;
  backend.Write(stream, x, rows);
  const auto ternary = testing::DrawWeights<Ternary>(c, kCols, 2);
  const auto wide = testing::DrawWeights<Int<8>>(c, kCols, 3);
  const auto a = backend.PrepareMatrix<Ternary, Int<4>, U>(ternary);
  const auto b = backend.PrepareMatrix<Int<8>, Int<4>, U>(wide);
  std::vector<float> of_a(c.tokens * c.rows), of_b(of_a);
  reference::MatMul(ternary, x, {of_a.data(), c.tokens, c.rows});
  reference::MatMul(wide, x, {of_b.data(), c.tokens, c.rows});
  // How many operations, of how many products, the matrices become.
  const auto check = [&](size_t operations, const auto&... matrices) {
    calls = {};
    std::vector<std::vector<float>> y(sizeof...(matrices), std::vector<float>(c.tokens * c.rows));
    const auto multiply = [&]<size_t... kI>(std::index_sequence<kI...>) {
      MatMulAll(backend, stream, rows, ProductTo{matrices, MatrixView<float>(y[kI].data(), c.tokens, c.rows)}...);
    };
    multiply(std::index_sequence_for<decltype(matrices)...>());
    CHECK(calls.all == operations);
    CHECK(calls.products == sizeof...(matrices));
    size_t i = 0;
    for (const auto* matrix : {&matrices...}) CHECK(testing::SameBits(y[i++], matrix == &a ? of_a : of_b));
  };
  check(1, a, a, a);
  check(2, a, a, b);
  check(2, b, a, a);
  check(3, a, b, a);
  check(1, b);
  check(2, a, a, a, a);

  // Caches of two kinds, one after the other.
  using Narrow = CacheQuantizersOf<A48>;
  using Query = A48::Query;
  using Wide = CacheQuantizers<Query, Quantizer<Int<8>, AbsMax>, Query, Quantizer<Int<8>, AbsMax>, Query>;
  std::vector<B::Cache<Narrow>> caches;
  for (int i = 0; i < 2; ++i) caches.push_back(backend.NewCache<Narrow>(1, 8));
  for (int i = 0; i < 3; ++i) caches.push_back(backend.NewCache<Wide>(1, 8));
  calls = {};
  ResizeCaches(backend, 3, caches);
  CHECK(calls.resized == 2);
  CHECK(calls.caches == 5);
  for (const auto& cache : caches) CHECK(cache.pages() == 3);
}

TEST_CASE("Fused operations: an erased cache has its own quantizer of queries") {
  using B = Erased<ReferenceBackend>;
  const B backend;
  B::Stream stream = backend.NewStream();
  auto cache = backend.NewCache<CacheQuantizersOf<A48>>(1, 8);
  B::Rows<MidRise<4>> queries;
  B::Where where;
  const auto store = [&] {
    RotateAndStore<Quantizer<MidRise<4>, AbsMean>>(backend, stream, {}, {}, {}, 8, where, cache, queries);
  };
  CHECK(testing::Breaks("another quantizer of queries", store));
}

}  // namespace
}  // namespace bitnet
