#include "bitnet/backend/erased.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "bitnet/backend/reference.h"
#include "bitnet/backend/simd/simd_backend.h"
#include "bitnet/model/state_file.h"
#include "bitnet/model/transformer.h"
#include "testing/backend_conformance.h"
#include "testing/expect_assertion.h"
#include "testing/one_page.h"
#include "testing/random_values.h"
#include "testing/temporary_file.h"
#include "testing/tiny_model.h"

namespace bitnet::testing {
namespace {

TEST_CASE("Erased: has the bits of the reference") {
  using B = Erased<ReferenceBackend>;
  static_assert(Backend<B>);
  TestFewProducts<B>();
  TestSomeTokenOperations<B>();
  TestSomeAttention<B>();
}

TEST_CASE("Erased: matrices of several formats are of one type, and multiply, and add, as they do alone") {
  using B = Erased<SimdBackend>;
  const B backend;
  B::Stream stream = backend.NewStream();
  const ProductCase c = {9, 3, {true, 0}, 0, Fill::kRandom}, grouped = {9, 3, {true, 16}, 0, Fill::kRandom};
  constexpr size_t kCols = 70;
  const auto x = DrawInputs<Int<8>>(c, kCols, 1);
  B::Rows<Int<8>> rows;
  backend.Write(stream, x, rows);
  std::vector<B::Matrix<Ternary, Int<8>, Uses<Dense>>> matrices;
  std::vector<std::vector<float>> expected;
  const auto add = [&]<Operand W>(std::type_identity<W>, const ProductCase& which) {
    const auto weights = DrawWeights<FormatOf<W>>(which, kCols, 2);
    matrices.push_back(backend.PrepareMatrix<W, Int<8>, Uses<Dense>>(weights));
    expected.emplace_back(c.tokens * c.rows);
    reference::MatMul(weights, x, {expected.back().data(), c.tokens, c.rows});
  };
  add(std::type_identity<Ternary>(), c);
  add(std::type_identity<Int<4>>(), c);
  add(std::type_identity<Grouped<Int<8>>>(), grouped);
  add(std::type_identity<Float>(), c);
  // What a product is added to, and what must be there afterwards.
  std::vector<float> sums;
  B::Reals memory;
  const auto added = [&](size_t i) {
    sums = NormalValues(c.tokens * c.rows, 3);
    std::vector<float> sum = sums;
    for (size_t j = 0; j < sum.size(); ++j) sum[j] += expected[i][j];
    return std::pair(sum, MatrixView<float>(sums.data(), c.tokens, c.rows));
  };
  for (size_t i = 0; i < matrices.size(); ++i) {
    std::vector<float> y(c.tokens * c.rows);
    backend.MatMul(stream, matrices[i], rows, {y.data(), c.tokens, c.rows});
    CHECK(SameBits(y, expected[i]));
    CHECK(!matrices[i].Describe().empty());
    const auto [sum, to] = added(i);
    backend.MatMulAdd(stream, matrices[i], rows, memory, to);
    CHECK(SameBits(sums, sum));
  }
  backend.FindNonzero(stream, rows);
  const auto weights = DrawWeights<Ternary>(c, kCols, 2);  // those of matrices[0]
  const auto [sum, to] = added(0);
  backend.MatMulColumnsAdd(stream, backend.PrepareMatrix<Ternary, Int<8>, Uses<ChosenColumns>>(weights), rows, memory,
                           to);
  CHECK(SameBits(sums, sum));
  CHECK(matrices[0].Describe() != matrices[3].Describe());
}

TEST_CASE("Erased: a cache keeps its quantizers") {
  using B = Erased<ReferenceBackend>;
  const B backend;
  B::Stream stream = backend.NewStream();
  using Narrow = CacheQuantizersOf<A48>;
  using Query = A48::Query;
  using Wide = CacheQuantizers<Query, Quantizer<Int<8>, AbsMax>, Query, Quantizer<Int<8>, AbsMax>, Query>;
  using Cache = B::Cache<Narrow>;
  static_assert(std::is_same_v<Cache, B::Cache<Wide>>);
  Cache narrow = backend.NewCache<Narrow>(1, 8), wide = backend.NewCache<Wide>(1, 8), none;
  backend.ResizeCache(narrow, 2);
  CHECK(narrow.BytesPerToken() == 2 * (3 + 4));
  CHECK(wide.BytesPerToken() == 2 * (8 + 4));
  CHECK(narrow.pages() == 2);
  CHECK(narrow.StoredBytes() == 2 * *backend.PageBytes<Narrow>(1, 8));
  CHECK(wide.StoredBytes() == 0);
  const std::vector<float> x = NormalValues(8, 1);
  const MatrixView<const float> row(x.data(), 1, 8);
  HostWhere where;
  where.Set(std::vector<Place>{{0, 1}}, kOnePage, Rope(8, 10.0f));
  backend.Store(stream, row, row, where, narrow);
  CHECK(narrow.As<Narrow>()[0].keys.Step(0, 1) != 0.0f);
  CHECK(narrow.As<Narrow>()[1].keys.Step(0, 1) == 0.0f);
  backend.CopyPage(stream, narrow, 0, 1);
  CHECK(narrow.As<Narrow>()[1].keys.Step(0, 1) != 0.0f);
  CHECK(Breaks("other quantizers", [&] { narrow.As<Wide>(); }));
  CHECK(Breaks("no cache", [&] { backend.Store(stream, row, row, where, none); }));
  CHECK(Breaks("beyond the pages", [&] { backend.Store(stream, row, row, where, wide); }));
}

TEST_CASE("Erased: one layer multiplies matrices of any formats") {
  using B = Erased<SimdBackend>;
  using S = A48;
  constexpr size_t kHidden = 24, kFfn = 70, kTokens = 3;
  const B backend;
  const ReferenceBackend reference;
  const auto matrix = []<Operand W>(std::type_identity<W>, size_t rows, size_t cols, uint64_t seed) {
    return DrawWeights<FormatOf<W>>({rows, 0, {true, kIsGrouped<W> ? size_t{16} : size_t{0}}, 0, Fill::kRandom}, cols,
                                    seed);
  };
  const auto gate = matrix(std::type_identity<Int<4>>(), kFfn, kHidden, 1);
  const auto up = matrix(std::type_identity<Ternary>(), kFfn, kHidden, 2);
  const auto down = matrix(std::type_identity<Grouped<Int<8>>>(), kHidden, kFfn, 3);
  using X = Int<4>;
  using D = Int<8>;
  using Ffn = SparseFfn<S, B>;
  const Ffn ffn(backend.PrepareMatrix<Int<4>, X, Uses<Dense>>(gate), backend.PrepareMatrix<Ternary, X, Ffn::UpUses>(up),
                backend.PrepareMatrix<Grouped<Int<8>>, D, Ffn::DownUses>(down), {});
  const std::vector<float> x = NormalValues(kTokens * kHidden, 4);
  const MatrixView<const float> view(x.data(), kTokens, kHidden);
  std::vector<float> y(kTokens * kHidden), expected(kTokens * kHidden);
  Ffn::Buffers buffers;
  B::Stream stream = backend.NewStream();
  ffn(backend, stream, view, buffers, {y.data(), kTokens, kHidden}, nullptr);

  // The same by hand.
  QuantizedRows<X> in;
  QuantizedRows<D> middle;
  ChannelLists open;
  std::vector<float> g(kTokens * kFfn), u(kTokens * kFfn);
  const MatrixView<float> gates(g.data(), kTokens, kFfn), ups(u.data(), kTokens, kFfn);
  reference::Quantize<S::Input>(view, in);
  reference::MatMul(gate, in, gates);
  reference::OpenGates<SquaredRelu>(gates, open);
  reference::MatMulRows(up, in, open, ups);
  reference::Glu<SquaredRelu>(gates, ups, open, ups);
  reference::Quantize<S::DownInput>(ups, middle);
  reference::MatMul(down, middle, {expected.data(), kTokens, kHidden});
  CHECK(SameBits(y, expected));
}

// A scheme whose activation the backend chooses.
struct OfAnyActivation : A48 {
  using FfnActivation = ChosenActivation;
};
struct OfSilu : A48 {
  using FfnActivation = Silu;
};

TEST_CASE("Erased: an activation that is chosen at run time has the bits of the same at compile time") {
  using B = Erased<SimdBackend>;
  constexpr size_t kHidden = 24, kFfn = 70, kTokens = 3;
  const auto ternary = [](size_t rows, size_t cols, uint64_t seed) {
    return DrawWeights<Ternary>({rows, 0, {false, 0}, 0, Fill::kRandom}, cols, seed);
  };
  const auto gate = ternary(kFfn, kHidden, 1), up = ternary(kFfn, kHidden, 2), down = ternary(kHidden, kFfn, 3);
  const std::vector<float> x = NormalValues(kTokens * kHidden, 4);
  const auto run = [&]<class S, class Of>(std::type_identity<S>, const Of& backend, const SparseFfn<S, Of>& ffn) {
    typename SparseFfn<S, Of>::Buffers buffers;
    typename Of::Stream stream = backend.NewStream();
    std::vector<float> y(kTokens * kHidden);
    ffn(backend, stream, {x.data(), kTokens, kHidden}, buffers, {y.data(), kTokens, kHidden}, nullptr);
    return y;
  };
  const auto known = [&]<class S>(std::type_identity<S> s) {
    const ReferenceBackend backend;
    return run(s, backend, SparseFfn<S, ReferenceBackend>(gate, up, down, {}, backend));
  };
  using Any = SparseFfn<OfAnyActivation, B>;
  using X = Int<4>;
  using D = Int<8>;
  for (const ActivationKind kind : {ActivationKind::kSilu, ActivationKind::kSquaredRelu}) {
    const auto expected =
        kind == ActivationKind::kSilu ? known(std::type_identity<OfSilu>()) : known(std::type_identity<A48>());
    const B backend(SimdBackend(), kind);
    const std::type_identity<OfAnyActivation> s;
    CHECK(SameBits(run(s, backend, Any(gate, up, down, {}, backend)), expected));
    // Matrices that are read whole, whatever is open.
    const auto up_whole = backend.PrepareWhole<Ternary, X, Any::UpUses>(up);
    const auto down_whole = backend.PrepareWhole<Ternary, D, Any::DownUses>(down);
    CHECK(up_whole.Describe() != backend.PrepareMatrix<Ternary, X, Any::UpUses>(up).Describe());
    CHECK(SameBits(run(s, backend, Any(backend.PrepareMatrix<Ternary, X, Uses<Dense>>(gate), up_whole, down_whole, {})),
                   expected));
  }
  CHECK(Breaks("only a backend Erased<B> knows", [] { ChosenActivation::Value(1.0f); }));
}

TEST_CASE("Erased: real inputs, and codes of them where a matrix wants codes") {
  using B = Erased<SimdBackend>;
  using U = Uses<Dense, RowLookup>;
  constexpr size_t kRows = 9, kCols = 520, kTokens = 3;
  const B backend;
  const auto weights = DrawWeights<Int<6>>({kRows, 0, {true, 16}, 0, Fill::kRandom}, kCols, 1);
  const std::vector<float> x = NormalValues(kTokens * kCols, 2), other = NormalValues(kTokens * kCols, 3);
  B::Stream stream = backend.NewStream();
  const auto by_codes = backend.PrepareForCodes<Grouped<Int<6>>, U>(weights);
  const auto by_reals = backend.PrepareMatrix<Grouped<Int<6>>, Float, U>(weights);
  const auto product = [&](const B::Matrix<Float, Float, U>& matrix, B::Rows<Float>& inputs) {
    std::vector<float> y(kTokens * kRows);
    backend.MatMul(stream, matrix, inputs, {y.data(), kTokens, kRows});
    return y;
  };
  B::Rows<Float> inputs;
  for (const auto* values : {&x, &other}) {
    const MatrixView<const float> view(values->data(), kTokens, kCols);
    backend.Quantize<Unquantized>(stream, view, inputs);
    QuantizedRows<Grouped<Int<8>>> codes;
    reference::Quantize<Quantizer<Int<8>, AbsMax, PerGroup<256>>>(view, codes);
    std::vector<float> expected(kTokens * kRows);
    reference::MatMul(weights, codes, {expected.data(), kTokens, kRows});
    CHECK(SameBits(product(by_codes, inputs), expected));
    CHECK(!SameBits(product(by_reals, inputs), expected));
    CHECK(SameBits(product(by_codes, inputs), expected));
  }
  std::vector<float> row(kCols), expected_row(kCols);
  const std::vector<uint32_t> number = {4};
  backend.Embed(stream, by_codes, number, {row.data(), 1, kCols});
  weights.DequantizeRow(4, expected_row);
  CHECK(SameBits(row, expected_row));
  B::Rows<Float> fresh;
  CHECK(Breaks("must have been quantized", [&] { product(by_codes, fresh); }));
  // What is written over them has no codes.
  QuantizedRows<Float> written;
  reference::Quantize<Unquantized>(MatrixView<const float>(x.data(), kTokens, kCols), written);
  backend.Write(stream, written, inputs);
  CHECK(Breaks("must have been quantized", [&] { product(by_codes, inputs); }));

  // Where columns are chosen, those of the reals are listed, and the codes are multiplied whole.
  using Chosen = Uses<ChosenColumns>;
  const auto columns = backend.PrepareForCodes<Grouped<Int<6>>, Chosen>(weights);
  backend.Quantize<Unquantized>(stream, MatrixView<const float>(x.data(), kTokens, kCols), inputs);
  const std::vector<float> whole = product(by_codes, inputs);
  backend.FindNonzero(stream, inputs);
  std::vector<float> y(kTokens * kRows);
  backend.MatMulColumns(stream, columns, inputs, {y.data(), kTokens, kRows});
  CHECK(SameBits(y, whole));
}

// Of a cache of its own, and of reals.
using OfTwoCaches = WithChosenCache<A48, A48, WithFloat16Cache<A48>>;
using OfTwo = Transformer<OfTwoCaches, Erased<SimdBackend>>;

OfTwo ModelOfTwo(size_t cache) {
  return OfTwo(TinyWeights<OfTwoCaches>(TinyConfig()),
               Erased<SimdBackend>(SimdBackend(), ActivationKind::kSquaredRelu, cache));
}

TEST_CASE("Erased: a model runs on it, with a cache that is chosen at run time") {
  const std::vector<Token> tokens = RandomTokens(20, TinyConfig().vocab);
  const TemporaryFile path;
  const auto check = [&]<class S>(std::type_identity<S>, size_t cache) {
    const OfTwo model = ModelOfTwo(cache);
    const Transformer<S, ReferenceBackend> reference(TinyWeights<S>(TinyConfig()));
    CHECK(model.PageBytes() == CachePool<S, SimdBackend>::PageBytes(SimdBackend(), TinyConfig()));
    auto state = model.NewState(20);
    auto expected = reference.NewState(20);
    for (const std::vector<size_t>& cut : {std::vector<size_t>{0, 7}, {7, 8}, {8, 19}}) {
      const auto some = std::span(tokens).subspan(cut[0], cut[1] - cut[0]);
      CHECK(SameBits(*model.Forward(some, state), *reference.Forward(some, expected)));
    }
    // What is saved is of this cache: a file of it is one of a model that has no other.
    REQUIRE(SaveState(model, state, path.path()).ok());
    auto loaded = model.NewState(20);
    auto of_one = reference.NewState(20);
    REQUIRE(LoadState(model, path.path(), loaded).ok());
    REQUIRE(LoadState(reference, path.path(), of_one).ok());
    const auto last = std::span(tokens).last(1);
    const std::vector<float> logits = Copy(*reference.Forward(last, expected));
    CHECK(SameBits(*model.Forward(last, loaded), logits));
    CHECK(SameBits(*reference.Forward(last, of_one), logits));
    // Of a model with the other cache it is none.
    const OfTwo other = ModelOfTwo(1 - cache);
    auto refused = other.NewState(20);
    const Result<Done> restored = LoadState(other, path.path(), refused);
    REQUIRE(!restored.ok());
    CHECK(restored.error().find("a cache of other formats than this model has") != std::string::npos);
    CHECK(refused.length() == 0);
    CHECK_FALSE(other.IsOwn(state));
    CHECK(Breaks("another model's", [&] { static_cast<void>(other.Forward(last, state)); }));
    CHECK(Breaks("another model's", [&] { static_cast<void>(other.NewState(20, model.NewPool(4))); }));
  };
  check(std::type_identity<A48>(), 0);
  check(std::type_identity<WithFloat16Cache<A48>>(), 1);
  CHECK(Breaks("not as many caches", [] { ModelOfTwo(2); }));
  CHECK(Erased<SimdBackend>::DescribeAttention<CacheQuantizersOf<OfTwoCaches>>().find(", or ") != std::string::npos);
}

TEST_CASE("Erased: a file of a conversation that is of none of the caches is refused") {
  using Int8 = WithInt8Cache<A48>;
  const Transformer<Int8, ReferenceBackend> reference(TinyWeights<Int8>(TinyConfig()));
  auto state = reference.NewState(20);
  REQUIRE(reference.Forward(RandomTokens(3, TinyConfig().vocab), state).ok());
  const TemporaryFile path;
  REQUIRE(SaveState(reference, state, path.path()).ok());
  const OfTwo model = ModelOfTwo(0);
  auto refused = model.NewState(20);
  const Result<Done> loaded = LoadState(model, path.path(), refused);
  REQUIRE(!loaded.ok());
  CHECK(loaded.error().find("layer0.keys") != std::string::npos);
}

}  // namespace
}  // namespace bitnet::testing
