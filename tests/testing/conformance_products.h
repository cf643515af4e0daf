// TestProducts<B>(): the products of a backend against the reference. Part of backend_conformance.h.
#ifndef BITNET_TESTS_TESTING_CONFORMANCE_PRODUCTS_H_
#define BITNET_TESTS_TESTING_CONFORMANCE_PRODUCTS_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/reference_operations.h"
#include "bitnet/base/random.h"
#include "bitnet/format/real16.h"
#include "testing/awkward_formats.h"
#include "testing/device_matrix.h"
#include "testing/same_bits.h"

namespace bitnet::testing {

// What fills the operands of a product.
enum class Fill { kRandom, kSparse, kTop, kBottom, kZero, kHalfSteps, kBadSteps, kBadWeights };

struct ProductCase {
  size_t rows;
  size_t tokens;
  StepGranularity weights;
  size_t group;  // of the inputs
  Fill fill;
};

// Each is tried with every number of columns and every use.
inline constexpr ProductCase kProductCases[] = {
    {1, 1, {false, 0}, 0, Fill::kRandom},     {3, 5, {true, 0}, 0, Fill::kRandom},
    {6, 2, {false, 0}, 0, Fill::kTop},        {5, 1, {true, 0}, 0, Fill::kBottom},
    {70, 1, {false, 0}, 0, Fill::kSparse},    {5, 50, {false, 0}, 0, Fill::kSparse},
    {4, 3, {true, 0}, 0, Fill::kZero},        {4, 2, {true, 0}, 0, Fill::kBadSteps},
    {3, 2, {false, 0}, 0, Fill::kBadWeights},
};
// With steps for groups of columns, of the operands that have them.
inline constexpr ProductCase kGroupedCases[] = {
    {9, 2, {true, 32}, 32, Fill::kRandom},     {4, 9, {true, 3}, 5, Fill::kSparse},
    {2, 1, {true, 1}, 1000, Fill::kTop},       {70, 1, {true, 64}, 128, Fill::kRandom},
    {67, 17, {true, 64}, 32, Fill::kBottom},   {3, 2, {true, 16}, 7, Fill::kBadSteps},
    {5, 70, {true, 128}, 16, Fill::kRandom},   {3, 2, {true, 300}, 400, Fill::kRandom},
    {70, 1, {true, 32}, 64, Fill::kHalfSteps}, {67, 17, {true, 64}, 32, Fill::kHalfSteps},
};

// The columns: around the lengths of vectors of 16, 32 and 64 bytes, of blocks of 2-bit codes, and ones that divide
// nothing; 125, 185 and 250 end just before a multiple of 64 that whole quads of five columns pass.
inline constexpr size_t kProductCols[] = {1,  3,  7,   16,  21,  31,  32,  33,  63,  64,
                                          65, 85, 125, 127, 130, 185, 192, 250, 257, 514};

inline std::string Describe(const char* pair, const ProductCase& c, size_t cols) {
  return std::string(pair) + ", " + std::to_string(c.rows) + "x" + std::to_string(cols) + ", " +
         std::to_string(c.tokens) + " tokens, groups " + std::to_string(c.weights.group) + " and " +
         std::to_string(c.group) + ", fill " + std::to_string(static_cast<int>(c.fill));
}

// A level of F: the code is drawn, or an end of the list.
template <LevelFormat F>
int DrawLevel(Random& random, Fill fill, int sign) {
  using Traits = FormatTraits<F>;
  switch (fill) {
    case Fill::kTop:
      return sign > 0 ? Traits::kTop : Traits::kBottom;
    case Fill::kBottom:
      return Traits::kBottom;
    case Fill::kZero:
      return Traits::kZeroLevel;
    case Fill::kSparse:
      if (UniformBelow(random, 5) != 0) return Traits::kZeroLevel;
      [[fallthrough]];
    default:
      return Traits::Level(UniformBelow(random, Traits::kCount));
  }
}

inline float DrawReal(Random& random, Fill fill) {
  switch (fill) {
    case Fill::kTop:
      return 3e38f;
    case Fill::kBottom:
      return -0.0f;
    case Fill::kZero:
      return 0.0f;
    case Fill::kSparse:
      return UniformBelow(random, 5) != 0 ? 0.0f : Normal(random);
    default:
      return Normal(random);
  }
}

inline float DrawStep(Random& random, Fill fill) {
  constexpr float kBad[] = {0.0f, 1e30f, std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity()};
  if (fill == Fill::kBadSteps && UniformBelow(random, 2) == 0) return kBad[UniformBelow(random, 4)];
  if (fill == Fill::kHalfSteps) {
    // Normal and subnormal ones.
    return Float16::Nearest(static_cast<float>(std::ldexp(0.01 + UniformReal(random), -int(UniformBelow(random, 20)))));
  }
  return static_cast<float>(0.01 + UniformReal(random));
}

template <Format W>
QuantizedMatrix<W> DrawWeights(const ProductCase& c, size_t cols, uint64_t seed) {
  Random random(seed);
  QuantizedMatrix<W> matrix(c.rows, cols, c.weights);
  const size_t row_bytes = QuantizedMatrix<W>::RowBytes(cols);
  for (size_t r = 0; r < c.rows; ++r) {
    uint8_t* row = matrix.bytes().data() + r * row_bytes;
    if constexpr (kIsFloat<W>) {
      std::vector<float> values(cols);
      for (float& value : values) {
        value = DrawReal(random, c.fill == Fill::kSparse ? Fill::kRandom : c.fill);
        if (c.fill == Fill::kBadWeights && UniformBelow(random, 20) == 0) {
          value = std::numeric_limits<float>::infinity();
        }
      }
      StoreReals<W>(values, row);
    } else {
      std::vector<uint8_t> codes(cols);
      for (uint8_t& code : codes) {
        code = static_cast<uint8_t>(CodeOfLevel<W>(DrawLevel<W>(random, c.fill, r % 2 == 0 ? 1 : -1)));
      }
      Packing<W>::Pack(codes, {row, row_bytes});
    }
  }
  for (float& step : matrix.steps()) step = kIsFloat<W> ? 1.0f : DrawStep(random, c.fill);
  return matrix;
}

template <Operand O>
QuantizedRows<O> DrawInputs(const ProductCase& c, size_t cols, uint64_t seed) {
  using X = FormatOf<O>;
  Random random(seed);
  QuantizedRows<O> x;
  x.Resize(c.tokens, cols, c.group);
  const Fill fill = c.fill == Fill::kBadWeights ? Fill::kSparse : c.fill;
  for (size_t t = 0; t < c.tokens; ++t) {
    for (auto& level : x[t]) {
      if constexpr (kIsFloat<X>) {
        level = NearestReal<X>(DrawReal(random, fill));
      } else {
        level = static_cast<LevelOf<X>>(DrawLevel<X>(random, fill, 1));
      }
    }
    for (float& step : x.Steps(t)) step = kIsFloat<X> ? 1.0f : DrawStep(random, c.fill);
  }
  reference::FindNonzero(x);
  return x;
}

// For each token: no rows, all rows, or some.
inline ChannelLists DrawRows(size_t tokens, size_t rows, uint64_t seed) {
  Random random(seed);
  ChannelLists lists;
  lists.Resize(tokens, rows);
  for (size_t t = 0; t < tokens; ++t) {
    size_t count = 0;
    for (size_t r = 0; r < rows; ++r) {
      lists.Row(t)[count] = static_cast<uint32_t>(r);
      count += t % 3 == 1 || (t % 3 == 0 && UniformBelow(random, 3) == 0) ? 1u : 0u;
    }
    lists.SetCount(t, count);
  }
  return lists;
}

// Elements that no list names may hold anything: y's become what they were before the product.
inline void ForgetUnlisted(const ChannelLists& lists, MatrixView<float> y) {
  for (size_t t = 0; t < y.rows(); ++t) {
    size_t next = 0;
    for (const uint32_t listed : lists[t]) {
      std::fill(y.Row(t) + next, y.Row(t) + listed, GuardedMatrix::kCanary);
      next = listed + 1;
    }
    std::fill(y.Row(t) + next, y.Row(t) + y.cols(), GuardedMatrix::kCanary);
  }
}

// A case and its results.
template <Format W, Operand X>
struct ProductExpectation {
  std::string place;
  QuantizedMatrix<W> weights;
  QuantizedRows<X> x;
  ChannelLists rows;
  std::vector<uint32_t> numbers;  // rows that are looked up
  GuardedMatrix all, listed, by_columns, looked_up;
};

// (Apart from the backend, so that it is compiled once for all of them.)
template <Format W, Operand X>
[[gnu::noinline]] ProductExpectation<W, X> ExpectProduct(const char* pair, const ProductCase& c, size_t cols) {
  const uint64_t seed = cols * 1000 + c.rows * 10 + static_cast<uint64_t>(c.fill);
  const auto last = static_cast<uint32_t>(c.rows - 1);
  ProductExpectation<W, X> expected{Describe(pair, c, cols),
                                    DrawWeights<W>(c, cols, seed),
                                    DrawInputs<X>(c, cols, seed + 1),
                                    DrawRows(c.tokens, c.rows, seed + 2),
                                    {last, 0, last / 2},
                                    {c.tokens, c.rows},
                                    {c.tokens, c.rows},
                                    {c.tokens, c.rows},
                                    {3, cols}};
  reference::MatMul(expected.weights, expected.x, expected.all.view());
  reference::MatMulRows(expected.weights, expected.x, expected.rows, expected.listed.view());
  reference::MatMulColumns(expected.weights, expected.x, expected.by_columns.view());
  reference::Embed(expected.weights, expected.numbers, expected.looked_up.view());
  return expected;
}

// What a matrix of the uses U does, against the expectation; `name` is that of the uses.
template <Operand W, Operand X, class U, class B>
void TestUses(const B& backend, const char* name, const ProductExpectation<FormatOf<W>, X>& expected) {
  typename B::Stream stream = backend.NewStream();
  const size_t tokens = expected.x.rows();
  const size_t rows = expected.weights.rows();
  const std::string place = expected.place + ", " + name;
  const auto matrix = backend.template PrepareMatrix<W, X, U>(expected.weights);
  Expect(matrix.rows() == rows && matrix.cols() == expected.weights.cols(), "the shape", place);
  typename B::template Rows<X> x;
  backend.Write(stream, expected.x, x);
  if constexpr (U::kMultiplies) {
    // Twice: the second may find what the first made of the inputs.
    for (const char* which : {"MatMul", "MatMul once more"}) {
      DeviceMatrix y(backend, stream, tokens, rows);
      backend.MatMul(stream, matrix, x, y.view());
      y.ExpectSame(expected.all, which, place);
    }
  }
  if constexpr (U::template kHas<ChosenRows>) {
    typename B::Lists lists;
    backend.Write(stream, expected.rows, lists);
    DeviceMatrix y(backend, stream, tokens, rows);
    backend.MatMulRows(stream, matrix, x, lists, y.view());
    GuardedMatrix host = y.Host();
    ForgetUnlisted(expected.rows, host.view());
    host.ExpectSame(expected.listed, "MatMulRows", place);
  }
  if constexpr (U::template kHas<ChosenColumns>) {
    DeviceMatrix y(backend, stream, tokens, rows);
    backend.MatMulColumns(stream, matrix, x, y.view());
    y.ExpectSame(expected.by_columns, "MatMulColumns", place);
  }
  if constexpr (U::template kHas<RowLookup>) {
    DeviceMatrix y(backend, stream, expected.numbers.size(), expected.weights.cols());
    backend.Embed(stream, matrix, expected.numbers, y.view());
    y.ExpectSame(expected.looked_up, "Embed", place);
  }
}

template <Operand W, Operand X, class B>
void TestProductCase(const B& backend, const char* pair, const ProductCase& c, size_t cols) {
  if (!DotFits<FormatOf<W>, FormatOf<X>>(cols)) return;
  const auto expected = ExpectProduct<FormatOf<W>, X>(pair, c, cols);
  TestUses<W, X, Uses<Dense, RowLookup>>(backend, "dense", expected);
  TestUses<W, X, Uses<ChosenRows>>(backend, "rows", expected);
  TestUses<W, X, Uses<ChosenColumns>>(backend, "columns", expected);
  TestUses<W, X, Uses<RowLookup>>(backend, "lookup", expected);
}

// A pair of formats in all cases; `wide` adds the widths of the paper, and products large enough for several threads.
template <Format W, Format X, class B>
void TestProduct(const B& backend, const char* pair, bool wide = false) {
  for (const size_t cols : kProductCols) {
    for (const ProductCase& c : kProductCases) TestProductCase<W, X>(backend, pair, c, cols);
  }
  TestProductCase<W, X>(backend, pair, {600, 2, {true, 0}, 0, Fill::kRandom}, 70);
  if (!wide) return;
  TestProductCase<W, X>(backend, pair, {4, 66, {false, 0}, 0, Fill::kRandom}, 130);
  TestProductCase<W, X>(backend, pair, {130, 270, {true, 0}, 0, Fill::kTop}, 130);
  // More rows and columns than the kernels of many tokens take at once.
  TestProductCase<W, X>(backend, pair, {530, 50, {true, 0}, 0, Fill::kRandom}, 401);
  TestProductCase<W, X>(backend, pair, {3, 129, {false, 0}, 0, Fill::kBottom}, 1300);
  TestProductCase<W, X>(backend, pair, {5, 2, {false, 0}, 0, Fill::kTop}, 5460);
  // More columns than a few tokens take at once.
  TestProductCase<W, X>(backend, pair, {2100, 2, {true, 0}, 0, Fill::kRandom}, 1100);
}

// The same with steps for groups of columns, of the weights, the inputs, or both.
template <Operand W, Operand X, class B>
void TestGroupedProduct(const B& backend, const char* pair) {
  const auto test = [&](ProductCase c, size_t cols) {
    if (!kIsGrouped<W>) c.weights.group = 0;
    if (!kIsGrouped<X>) c.group = 0;
    TestProductCase<W, X>(backend, pair, c, cols);
  };
  for (const size_t cols : kProductCols) {
    for (const ProductCase& c : kGroupedCases) test(c, cols);
  }
  test({3, 1, {true, 128}, 128, Fill::kRandom}, 8640);
  test({130, 66, {true, 64}, 256, Fill::kTop}, 520);
  // More blocks of rows than are walked through at once.
  test({330, 2, {true, 16}, 16, Fill::kRandom}, 70);
}

// More results than caches hold, in rows that start on cache lines, as the layers' buffers do.
template <class U, class B>
void TestManyResultsOf(const B& backend, const char* name) {
  const ProductCase c = {1040, 260, {true, 0}, 0, Fill::kRandom};
  const size_t cols = 40;
  const auto weights = DrawWeights<Ternary>(c, cols, 1);
  const auto x = DrawInputs<Int<4>>(c, cols, 2);
  std::vector<float> expected(c.tokens * c.rows);
  reference::MatMul(weights, x, {expected.data(), c.tokens, c.rows});
  typename B::Stream stream = backend.NewStream();
  typename B::template Rows<Int<4>> rows;
  typename B::Reals memory;
  GrowingMatrix host;
  backend.Write(stream, x, rows);
  const MatrixView<float> y = backend.Shape(stream, memory, c.tokens, c.rows);
  const auto matrix = backend.template PrepareMatrix<Ternary, Int<4>, U>(weights);
  backend.MatMul(stream, matrix, rows, y);
  const MatrixView<const float> read = backend.Read(stream, y, host);
  ExpectFinished(backend, stream, name);
  Expect(std::equal(expected.begin(), expected.end(), read.data(), [](float a, float b) { return SameBits(a, b); }),
         name, Describe("Ternary and Int<4>", c, cols));
}
template <class B>
void TestManyResults(const B& backend) {
  TestManyResultsOf<Uses<Dense>>(backend, "MatMul of many tokens, dense");
  TestManyResultsOf<Uses<ChosenRows>>(backend, "MatMul of many tokens, rows");
  TestManyResultsOf<Uses<ChosenColumns>>(backend, "MatMul of many tokens, columns");
}

// One object for all inputs of a stream: it is quantized anew between products, and several matrices, of formats of
// their own, read it; a second stream works beside the first.
template <class B>
void TestSharedInputs(const B& backend) {
  constexpr size_t kCols = 257;
  const ProductCase c = {9, 2, {true, 0}, 0, Fill::kRandom};
  const auto ternary = DrawWeights<Ternary>(c, kCols, 1);
  const auto four = DrawWeights<Int<4>>(c, kCols, 2);
  const auto two = DrawWeights<Int<2>>(c, kCols, 3);
  const auto a = backend.template PrepareMatrix<Ternary, Int<4>, Uses<Dense>>(ternary);
  const auto b = backend.template PrepareMatrix<Int<4>, Int<4>, Uses<Dense>>(four);
  const auto d = backend.template PrepareMatrix<Int<2>, Int<4>, Uses<Dense>>(two);
  struct Side {
    typename B::Stream stream;
    typename B::template Rows<Int<4>> rows;
    QuantizedRows<Int<4>> host;
  };
  Side sides[2];
  for (Side& side : sides) side.stream = backend.NewStream();
  const auto check = [&](Side& side, const auto& matrix, const auto& weights, const std::string& place) {
    GuardedMatrix expected(c.tokens, c.rows);
    DeviceMatrix y(backend, side.stream, c.tokens, c.rows);
    reference::MatMul(weights, side.host, expected.view());
    backend.MatMul(side.stream, matrix, side.rows, y.view());
    y.ExpectSame(expected, "MatMul of shared inputs", place);
  };
  for (uint64_t round = 0; round < 3; ++round) {
    for (size_t i = 0; i < 2; ++i) {
      std::vector<float> x(c.tokens * kCols);
      Random random(2 * round + i);
      for (float& value : x) value = Normal(random);
      DeviceMatrix reals(backend, sides[i].stream, c.tokens, kCols, x);
      reference::Quantize<Quantizer<Int<4>, AbsMean>>({x.data(), c.tokens, kCols}, sides[i].host);
      backend.template Quantize<Quantizer<Int<4>, AbsMean>>(sides[i].stream, reals.view(), sides[i].rows);
      ExpectFinished(backend, sides[i].stream, "shared inputs");  // before the reals go
    }
    for (const char* which : {"the first time", "once more"}) {
      for (Side& side : sides) {
        const std::string place = "round " + std::to_string(round) + ", " + which;
        check(side, a, ternary, place + ", ternary");
        check(side, b, four, place + ", Int<4>");
        check(side, d, two, place + ", Int<2>");
      }
    }
  }
}

// The list in three parts: a test of many targets takes all of it for some of them only.
template <class B>
void TestFewProducts() {
  const B backend = MakeBackend<B>();
  TestProduct<Ternary, Int<4>>(backend, "Ternary and Int<4>", true);
  TestProduct<Fp4E2M1, UInt<8>>(backend, "Fp4E2M1 and UInt<8>");
  TestProduct<Float, Float>(backend, "Float and Float", true);
  TestGroupedProduct<Grouped<Ternary>, Int<4>>(backend, "Grouped<Ternary> and Int<4>");
  TestManyResults(backend);
  TestSharedInputs(backend);
}

template <class B>
void TestSomeProducts() {
  const B backend = MakeBackend<B>();
  TestProduct<Int<8>, Int<8>>(backend, "Int<8> and Int<8>", true);
  TestProduct<BigSteps, MidRise<8>>(backend, "BigSteps and MidRise<8>");
  // Indices of 3 bits, which straddle the vectors that hold them (lookup_layout-inl.h).
  TestProduct<Sixteens, Ternary>(backend, "Sixteens and Ternary");
  TestProduct<Ternary, Float>(backend, "Ternary and Float");
  TestProduct<BFloat16, Float>(backend, "BFloat16 and Float", true);
  TestProduct<Float16, Float16>(backend, "Float16 and Float16");
  TestGroupedProduct<Grouped<Int<8>>, Grouped<Int<8>>>(backend, "Grouped<Int<8>> and Grouped<Int<8>>");
  TestGroupedProduct<Grouped<Ternary>, Float>(backend, "Grouped<Ternary> and Float");
}

template <class B>
void TestOtherProducts() {
  const B backend = MakeBackend<B>();
  TestProduct<Binary, Int<8>>(backend, "Binary and Int<8>", true);
  TestProduct<OnOff, Fp4E2M1>(backend, "OnOff and Fp4E2M1", true);
  TestProduct<Int<2>, Fp4E2M1>(backend, "Int<2> and Fp4E2M1");
  TestProduct<FiveLevels, Int<3>>(backend, "FiveLevels and Int<3>");
  // Lookups of one weight each, where tables have 16 entries.
  TestProduct<Int<3>, Int<4>>(backend, "Int<3> and Int<4>");
  TestProduct<Fp4E2M1, MidRise<4>>(backend, "Fp4E2M1 and MidRise<4>");
  TestProduct<Squares, Int<8>>(backend, "Squares and Int<8>");
  TestProduct<BigSteps, Int<4>>(backend, "BigSteps and Int<4>");
  TestProduct<Lopsided, PowersOfTwo>(backend, "Lopsided and PowersOfTwo");
  TestProduct<MidRise<8>, UInt<8>>(backend, "MidRise<8> and UInt<8>", true);
  // Odd dots beyond 2^24, which are no floats.
  TestProductCase<MidRise<8>, UInt<8>>(backend, "MidRise<8> and UInt<8>", {70, 1, {true, 0}, 0, Fill::kTop}, 401);
  TestProduct<Float, Int<8>>(backend, "Float and Int<8>");
  TestGroupedProduct<Ternary, Grouped<Int<8>>>(backend, "Ternary and Grouped<Int<8>>");
  TestGroupedProduct<Grouped<Int<2>>, Int<8>>(backend, "Grouped<Int<2>> and Int<8>");
  TestGroupedProduct<Grouped<FiveLevels>, Grouped<Int<3>>>(backend, "Grouped<FiveLevels> and Grouped<Int<3>>");
  TestGroupedProduct<Grouped<BigSteps>, Int<4>>(backend, "Grouped<BigSteps> and Int<4>");
  TestGroupedProduct<Grouped<MidRise<8>>, Grouped<UInt<8>>>(backend, "Grouped<MidRise<8>> and Grouped<UInt<8>>");
  TestProduct<Float16, Int<8>>(backend, "Float16 and Int<8>");
  TestGroupedProduct<Float, Grouped<Int<8>>>(backend, "Float and Grouped<Int<8>>");
  TestGroupedProduct<BFloat16, Grouped<Int<8>>>(backend, "BFloat16 and Grouped<Int<8>>");
}

template <class B>
void TestProducts() {
  TestFewProducts<B>();
  TestSomeProducts<B>();
  TestOtherProducts<B>();
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_CONFORMANCE_PRODUCTS_H_
