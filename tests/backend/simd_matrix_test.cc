#include <doctest/doctest.h>

#include <cstddef>
#include <new>
#include <span>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "bitnet/backend/reference.h"
#include "bitnet/backend/simd/simd_backend.h"
#include "bitnet/base/executor.h"
#include "bitnet/base/random.h"
#include "testing/conformance_products.h"
#include "testing/expect_assertion.h"

namespace bitnet {
namespace {

// Hidden and FFN widths of the paper's models and of the released 2B.
constexpr size_t kShapes[][2] = {{1536, 4096}, {2048, 5460}, {3200, 8640}, {4096, 11008}, {2560, 6912}};

template <class U>
double BitsAWeight(size_t rows, size_t cols) {
  const QuantizedMatrix<Ternary> weights(rows, cols, {});
  const auto matrix = SimdBackend().PrepareMatrix<Ternary, Int<4>, U>(weights);
  return 8.0 * static_cast<double>(matrix.StoredBytes()) / static_cast<double>(rows * cols);
}

TEST_CASE("SimdMatrix: ternary weights are held once, in at most 1.7 bits by lookups and 2 by rows and columns") {
  constexpr bool kHasLookups = HWY_NAMESPACE::kTableEntries != 0;
  // The step, and what vectors may read beyond the end, weigh less than this.
  constexpr double kRest = 0.002;
  constexpr double kQuadSteps = 32.0 / 1536;  // quads have a step for each row
  for (const auto& shape : kShapes) {
    const size_t hidden = shape[0], ffn = shape[1];
    INFO(hidden << " and " << ffn);
    CHECK(BitsAWeight<Uses<Dense>>(hidden, hidden) <= (kHasLookups ? 1.7 : 2.0 + kQuadSteps));
    CHECK(BitsAWeight<Uses<Dense>>(ffn, hidden) <= (kHasLookups ? 1.7 : 2.0 + kQuadSteps));
    CHECK(BitsAWeight<Uses<ChosenRows>>(ffn, hidden) <= 2.0 + kRest);
    CHECK(BitsAWeight<Uses<ChosenColumns>>(hidden, hidden) <= 2.0 + kRest);
    CHECK(BitsAWeight<Uses<ChosenColumns>>(hidden, ffn) <= 2.0 + kRest);
  }
}

TEST_CASE("SimdMatrix: bytes of trits that no encoder writes are the levels that they are to the reference") {
  constexpr size_t kRows = 70, kTokens = 2;
  for (const size_t cols : {15u, 16u, 19u, 1280u}) {
    INFO(cols << " columns");
    QuantizedMatrix<Ternary> weights(kRows, cols, {});
    weights.steps()[0] = 0.5f;
    for (size_t i = 0; i < weights.bytes().size(); ++i) weights.bytes()[i] = static_cast<uint8_t>(i * 7 + i / 256);
    Random random(1);
    std::vector<float> x(kTokens * cols);
    for (float& v : x) v = Normal(random);
    const auto product = [&](const auto& backend) {
      using B = std::remove_cvref_t<decltype(backend)>;
      auto stream = backend.NewStream();
      typename B::template Rows<Int<4>> rows;
      backend.template Quantize<Quantizer<Int<4>, AbsMax>>(stream, {x.data(), kTokens, cols}, rows);
      std::vector<float> y(kTokens * kRows);
      const auto matrix = backend.template PrepareMatrix<Ternary, Int<4>, Uses<Dense>>(weights);
      backend.MatMul(stream, matrix, rows, {y.data(), kTokens, kRows});
      return y;
    };
    CHECK(product(SimdBackend()) == product(ReferenceBackend()));
  }
}

TEST_CASE("SimdMatrix: the layout follows from the type") {
  using namespace HWY_NAMESPACE;
  constexpr bool kHasLookups = kTableEntries != 0;
  static_assert(kWeightLayout<Ternary, Int<4>, Uses<Dense>> ==
                (kHasLookups ? WeightLayout::kLookups : WeightLayout::kQuads));
  static_assert(kWeightLayout<Ternary, Int<4>, Uses<Dense, RowLookup>> == kWeightLayout<Ternary, Int<4>, Uses<Dense>>);
  static_assert(kWeightLayout<Grouped<Ternary>, Int<4>, Uses<Dense>> == WeightLayout::kQuads);
  static_assert(kWeightLayout<Ternary, Grouped<Int<4>>, Uses<Dense>> == WeightLayout::kQuads);
  static_assert(SimdMatrix<Grouped<Ternary>, Int<4>, Uses<Dense>>::kPlan.method == ProductMethod::kIntegerDot);
  static_assert(kWeightLayout<Int<6>, Int<8>, Uses<Dense>> == WeightLayout::kQuads);
  static_assert(kWeightLayout<Int<6>, UInt<8>, Uses<Dense>> == WeightLayout::kRows);
  static_assert(kWeightLayout<Ternary, Int<4>, Uses<ChosenRows>> == WeightLayout::kRows);
  static_assert(kWeightLayout<Ternary, Int<4>, Uses<Dense, ChosenRows>> == WeightLayout::kRows);
  static_assert(kWeightLayout<Ternary, Int<4>, Uses<ChosenColumns>> == WeightLayout::kColumns);
  static_assert(kWeightLayout<Ternary, Float, Uses<ChosenColumns>> == WeightLayout::kRows);
  static_assert(kWeightLayout<Ternary, Int<4>, Uses<RowLookup>> == WeightLayout::kRows);
  static_assert(kWeightLayout<Float, Float, Uses<ChosenColumns>> == WeightLayout::kReals);
  static_assert(kWeightLayout<BFloat16, Float, Uses<Dense, RowLookup>> == WeightLayout::kReals);
}

TEST_CASE("SimdMatrix: an embedding of reals of 16 bits takes two bytes a value") {
  const QuantizedMatrix<BFloat16> embedding(33, 2560, StepGranularity{});
  const auto matrix = SimdBackend().PrepareMatrix<BFloat16, Float, Uses<Dense, RowLookup>>(embedding);
  CHECK(embedding.StoredBytes() == 33 * 2560 * 2);
  CHECK(matrix.StoredBytes() == 33 * 2560 * 2);
}

TEST_CASE("SimdMatrix: steps for groups of columns and Grouped<> operands belong together, however wide the groups") {
  const SimdBackend backend;
  const QuantizedMatrix<Ternary> plain(3, 8, {true, 0}), groups(3, 8, {true, 8}), wide(3, 8, {true, 100});
  const auto breaks = [&](auto&& prepare) {
    return testing::Breaks("steps for groups of columns belong to Grouped<> operands", prepare);
  };
  backend.PrepareMatrix<Ternary, Int<4>, Uses<Dense>>(plain);
  backend.PrepareMatrix<Grouped<Ternary>, Int<4>, Uses<Dense>>(groups);
  backend.PrepareMatrix<Grouped<Ternary>, Int<4>, Uses<Dense>>(wide);
  CHECK(breaks([&] { backend.PrepareMatrix<Grouped<Ternary>, Int<4>, Uses<Dense>>(plain); }));
  CHECK(breaks([&] { backend.PrepareMatrix<Ternary, Int<4>, Uses<Dense>>(groups); }));
  CHECK(breaks([&] { backend.PrepareMatrix<Ternary, Int<4>, Uses<Dense>>(wide); }));
}

TEST_CASE("SimdMatrix: a row that is looked up is step times level in every layout") {
  const auto test = []<class W, class X, class U>(std::type_identity<W>, std::type_identity<X>, std::type_identity<U>) {
    using F = FormatOf<W>;
    constexpr size_t kRows = 70, kCols = 1100;
    Random random(1);
    std::vector<float> reals(kRows * kCols);
    for (float& v : reals) v = Normal(random);
    using Q = Quantizer<F, AbsMax, std::conditional_t<kIsGrouped<W>, PerGroup<40>, PerRow>>;
    const auto weights = QuantizedMatrix<F>::template Quantize<Q>({reals.data(), kRows, kCols});
    const auto matrix = SimdBackend().PrepareMatrix<W, X, U>(weights);
    std::vector<float> expected(kCols), values(kCols);
    for (const size_t row : {0u, 63u, 69u}) {
      weights.DequantizeRow(row, expected);
      HWY_NAMESPACE::LookUpRow(matrix, row, values);
      CHECK(values == expected);
    }
  };
  using std::type_identity;
  test(type_identity<Ternary>(), type_identity<Int<4>>(), type_identity<Uses<Dense, RowLookup>>());
  test(type_identity<Ternary>(), type_identity<Int<4>>(), type_identity<Uses<ChosenColumns, RowLookup>>());
  test(type_identity<Ternary>(), type_identity<Int<4>>(), type_identity<Uses<RowLookup>>());
  test(type_identity<Grouped<Ternary>>(), type_identity<Int<4>>(), type_identity<Uses<Dense, RowLookup>>());
  test(type_identity<Grouped<Int<8>>>(), type_identity<Int<8>>(), type_identity<Uses<Dense, RowLookup>>());
}

TEST_CASE("SimdMatrix: on 32 bits a layout that is too large to prepare throws, and is not memory that is too small") {
  if constexpr (sizeof(size_t) == 4) {
    // A column takes 16 bytes, however few rows it has: 2^32 bytes of 53 MB.
    const QuantizedMatrix<Ternary> weights(1, size_t{1} << 28, {});
    CHECK_THROWS_AS((SimdBackend().PrepareMatrix<Ternary, Ternary, Uses<ChosenColumns>>(weights)),
                    std::bad_array_new_length);
  }
}

TEST_CASE("SimdBackend: so many columns that the sums of codes multiplied in place would not fit 32 bits at once") {
  constexpr size_t kRows = 20;  // the last four in the upper bits of the first sixteen's bytes
  constexpr size_t kCols = 80000;
  const std::vector<float> ones(kRows * kCols, 1.0f);
  const auto weights = QuantizedMatrix<Int<4>>::Quantize<Quantizer<Int<4>, AbsMax>>({ones.data(), kRows, kCols});
  const auto multiply = [&](const auto& backend) {
    using B = std::remove_cvref_t<decltype(backend)>;
    auto stream = backend.NewStream();
    typename B::template Rows<Int<8>> x;
    backend.template Quantize<Quantizer<Int<8>, AbsMax>>(stream, MatrixView<const float>(ones.data(), 1, kCols), x);
    backend.FindNonzero(stream, x);
    std::vector<float> y(kRows);
    const auto matrix = backend.template PrepareMatrix<Int<4>, Int<8>, Uses<ChosenColumns>>(weights);
    backend.MatMulColumns(stream, matrix, x, {y.data(), 1, kRows});
    return y;
  };
  SequentialExecutor executor;  // threads would share the columns
  CHECK(multiply(SimdBackend(executor)) == multiply(ReferenceBackend(executor)));
}

// y of one token: all of its inputs are the top level of X, with step 1, all weights that of W.
template <class W, class X, class U, class B>
std::vector<float> MultiplyTops(const B& backend, size_t rows, size_t cols, float w_step) {
  QuantizedMatrix<W> weights(rows, cols, {});
  const std::vector<uint8_t> codes(cols, static_cast<uint8_t>(FormatTraits<W>::kCount - 1));
  const size_t row_bytes = QuantizedMatrix<W>::RowBytes(cols);
  for (size_t r = 0; r < rows; ++r) Packing<W>::Pack(codes, weights.bytes().subspan(r * row_bytes, row_bytes));
  weights.steps()[0] = w_step;
  const auto matrix = backend.template PrepareMatrix<W, X, U>(weights);
  const std::vector<float> tops(cols, static_cast<float>(FormatTraits<X>::kTop));
  auto stream = backend.NewStream();
  typename B::template Rows<X> x;
  backend.template Quantize<Quantizer<X, AbsMax>>(stream, MatrixView<const float>(tops.data(), 1, cols), x);
  std::vector<float> y(rows);
  if constexpr (U::template kHas<ChosenColumns>) {
    backend.FindNonzero(stream, x);
    backend.MatMulColumns(stream, matrix, x, {y.data(), 1, rows});
  } else {
    backend.MatMul(stream, matrix, x, {y.data(), 1, rows});
  }
  return y;
}

TEST_CASE("SimdBackend: dots of unsigned inputs that are no floats are rounded once, with their scale") {
  SequentialExecutor executor;
  const SimdBackend simd(executor);
  const ReferenceBackend reference(executor);
  const auto test = [&]<class W, class X, class U>(size_t cols) {
    constexpr float kStep = 0.7f;
    const size_t dot = size_t{FormatTraits<W>::kTop} * size_t{FormatTraits<X>::kTop} * cols;
    CHECK(static_cast<size_t>(static_cast<float>(dot)) != dot);
    const std::vector<float> y = MultiplyTops<W, X, U>(simd, 70, cols, kStep);
    CHECK(y == MultiplyTops<W, X, U>(reference, 70, cols, kStep));
    CHECK(y[0] == static_cast<float>(static_cast<double>(dot) * static_cast<double>(kStep)));
  };
  test.operator()<Int<8>, UInt<8>, Uses<ChosenColumns>>(1001);
  test.operator()<Ternary, UInt<8>, Uses<Dense>>(70001);
}

TEST_CASE("SimdBackend: tables that a product of few threads or few rows made of its inputs serve products of many") {
  constexpr size_t kCols = 2560;
  constexpr size_t kFewRows = 64;  // one range
  constexpr size_t kRows = 1000;   // a range for each thread
  Random random(1);
  std::vector<float> values(kRows * kCols);
  for (float& v : values) v = Normal(random);
  const auto prepare = [&](const SimdBackend& backend, size_t rows) {
    const auto weights = QuantizedMatrix<Ternary>::Quantize<Quantizer<Ternary, AbsMean>>({values.data(), rows, kCols});
    return backend.PrepareMatrix<Ternary, Int<4>, Uses<Dense>>(weights);
  };
  ThreadPool three_threads(3);
  SequentialExecutor one_thread;
  const SimdBackend three(three_threads), one(one_thread);
  const auto few = prepare(three, kFewRows);
  const auto many = prepare(three, kRows);
  for (const size_t tokens : {1u, 3u}) {
    SimdBackend::Stream stream;
    const auto multiply = [&](auto&& product_before) {
      SimdBackend::Rows<Int<4>> x;
      three.Quantize<Quantizer<Int<4>, AbsMean>>(stream, {values.data(), tokens, kCols}, x);
      std::vector<float> other(tokens * kRows), y(tokens * kRows);
      product_before(x, other);
      three.MatMul(stream, many, x, {y.data(), tokens, kRows});
      return y;
    };
    const auto by = [&](const SimdBackend& backend, const auto& matrix) {
      return [&, tokens](auto& x, std::vector<float>& other) {
        backend.MatMul(stream, matrix, x, {other.data(), tokens, matrix.rows()});
      };
    };
    const std::vector<float> expected = multiply([](const auto&, const auto&) {});
    CHECK(multiply(by(three, many)) == expected);
    CHECK(multiply(by(three, few)) == expected);
    CHECK(multiply(by(one, many)) == expected);
  }
}

TEST_CASE("SimdBackend: a matrix without rows has products, of as many tokens as there are, without outputs") {
  constexpr size_t kCols = 100;
  const SimdBackend backend;
  const auto test = [&]<class W, class X, class U>(StepGranularity granularity) {
    const auto matrix = backend.PrepareMatrix<W, X, U>(QuantizedMatrix<FormatOf<W>>(0, kCols, granularity));
    for (const size_t tokens : {1u, 5u, 70u}) {
      const std::vector<float> reals(tokens * kCols, 1.0f);
      SimdBackend::Stream stream;
      SimdBackend::Rows<X> x;
      backend.Quantize<Quantizer<X, AbsMax>>(stream, MatrixView<const float>(reals.data(), tokens, kCols), x);
      const MatrixView<float> y(nullptr, tokens, 0);
      backend.MatMul(stream, matrix, x, y);
      if constexpr (U::template kHas<ChosenColumns>) {
        backend.FindNonzero(stream, x);
        backend.MatMulColumns(stream, matrix, x, y);
      }
      if constexpr (U::template kHas<ChosenRows>) {
        ChannelLists none;
        none.Resize(tokens, 0);
        backend.MatMulRows(stream, matrix, x, none, y);
      }
    }
  };
  test.operator()<Ternary, Int<4>, Uses<Dense>>({});
  test.operator()<Ternary, Int<4>, Uses<ChosenRows>>({});
  test.operator()<Ternary, Int<4>, Uses<ChosenColumns>>({});
  test.operator()<Grouped<Ternary>, Int<4>, Uses<Dense>>({true, 32});
  test.operator()<Grouped<Ternary>, Int<4>, Uses<ChosenColumns>>({true, 32});
}

TEST_CASE("SimdBackend: listed rows and columns of more weights than several tokens read at once") {
  constexpr testing::ProductCase kCase = {1400, 3, {true, 0}, 0, testing::Fill::kSparse};
  constexpr size_t kCols = 1000;  // a byte a weight: 1.4 MB
  static_assert(kCase.rows * kCols > 2 * HWY_NAMESPACE::kSharedBytes);
  ThreadPool pool(3);
  SequentialExecutor sequential;
  for (Executor* executor : {static_cast<Executor*>(&pool), static_cast<Executor*>(&sequential)}) {
    const auto test = [&]<Operand W, Operand X>(const char* pair) {
      const auto expected = testing::ExpectProduct<FormatOf<W>, X>(pair, kCase, kCols);
      testing::TestUses<W, X, Uses<ChosenRows>>(SimdBackend(*executor), "rows", expected);
      testing::TestUses<W, X, Uses<ChosenColumns>>(SimdBackend(*executor), "columns", expected);
    };
    test.operator()<Int<8>, Int<8>>("Int<8> and Int<8>");
    test.operator()<Float, Float>("Float and Float");
  }
}

TEST_CASE("SimdBackend: threads that share a pool, so that some get no workers, get the same bits") {
  constexpr size_t kRows = 512, kCols = 600, kCallers = 3;
  Random random(1);
  std::vector<float> reals(kRows * kCols);
  for (float& value : reals) value = Normal(random);
  ThreadPool pool(3);
  const SimdBackend backend(pool);
  const auto matrix = backend.PrepareMatrix<Ternary, Int<4>, Uses<Dense>>(
      QuantizedMatrix<Ternary>::Quantize<Quantizer<Ternary, AbsMean>>({reals.data(), kRows, kCols}));
  const auto multiply = [&](const SimdBackend& with, size_t tokens) {
    SimdBackend::Stream stream;
    SimdBackend::Rows<Int<4>> x;
    with.Quantize<Quantizer<Int<4>, AbsMean>>(stream, MatrixView<const float>(reals.data(), tokens, kCols), x);
    std::vector<float> y(tokens * kRows);
    with.MatMul(stream, matrix, x, {y.data(), tokens, kRows});
    return y;
  };
  SequentialExecutor executor;
  const auto one = multiply(SimdBackend(executor), 1), many = multiply(SimdBackend(executor), 70);
  std::vector<std::thread> callers;
  std::vector<int> wrong(kCallers);
  for (size_t i = 0; i < kCallers; ++i) {
    callers.emplace_back([&, i] {
      for (int k = 0; k < 20; ++k) wrong[i] += (multiply(backend, 1) != one) + (multiply(backend, 70) != many);
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (size_t i = 0; i < kCallers; ++i) CHECK(wrong[i] == 0);
}

}  // namespace
}  // namespace bitnet
