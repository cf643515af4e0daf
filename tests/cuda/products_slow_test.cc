// The operations as a backend calls them, for every layout and use; and what takes reals, or levels that are no bytes.
#include "bitnet/backend/cuda/products.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "testing/awkward_formats.h"
#include "testing/product_test.h"

namespace bitnet::testing {
namespace {

using cuda::MatrixLayout;
using cuda::Reals;

template <Operand W, Operand X, class U>
void TestUses(DeviceProduct<W, X>& product, const char* name, const Schedule& schedule) {
  const auto w = product.template Matrix<MatrixLayout<W, X, U>>();
  const auto& x = product.x();
  const auto what = [&](const char* operation) { return std::string(operation) + ", " + name; };
  if constexpr (U::kMultiplies) {
    product.ExpectAll(what("MatMul").c_str(), schedule, [&](auto& stream, Reals y) { cuda::MatMul(stream, w, x, y); });
  }
  if constexpr (U::template kHas<ChosenRows>) {
    product.ExpectListed(
        what("MatMulRows").c_str(), schedule,
        [&](auto& stream, const cuda::ListsView& lists, Reals y) { cuda::MatMulRows(stream, w, x, lists, y); });
  }
  if constexpr (U::template kHas<ChosenColumns>) {
    product.ExpectColumns(what("MatMulColumns").c_str(), schedule,
                          [&](auto& stream, Reals y) { cuda::MatMulColumns(stream, w, x, y); });
  }
  if constexpr (U::template kHas<RowLookup>) {
    product.ExpectLookedUp(what("Embed").c_str(), schedule, [&](auto& stream, const uint32_t* numbers, Reals y) {
      cuda::Embed(stream, w, numbers, 3, y);
    });
  }
}

template <Operand W, Operand X>
void TestCase(const char* pair, const ProductCase& c, size_t cols, const Schedule& schedule) {
  if (!DotFits<FormatOf<W>, FormatOf<X>>(cols)) return;
  DeviceProduct<W, X> product(pair, c, cols);
  TestUses<W, X, Uses<Dense, RowLookup>>(product, "dense", schedule);
  TestUses<W, X, Uses<ChosenRows>>(product, "rows", schedule);
  TestUses<W, X, Uses<ChosenColumns>>(product, "columns", schedule);
  TestUses<W, X, Uses<RowLookup>>(product, "lookup", schedule);
}

constexpr size_t kWidths[] = {1, 7, 63, 64, 65, 255, 257, 300, 1000};

constexpr ProductCase kCases[] = {
    {1, 1, {false, 0}, 0, Fill::kRandom}, {3, 5, {true, 0}, 0, Fill::kSparse},
    {33, 2, {false, 0}, 0, Fill::kTop},   {9, 1, {true, 0}, 0, Fill::kBadSteps},
    {2, 17, {true, 0}, 0, Fill::kBottom}, {3, 2, {false, 0}, 0, Fill::kBadWeights},
    {5, 1, {true, 0}, 0, Fill::kZero},    {4, 1, {false, 0}, 0, Fill::kBadWeights},
};
constexpr ProductCase kOfGroups[] = {
    {9, 2, {true, 32}, 32, Fill::kSparse},   {4, 9, {true, 3}, 5, Fill::kRandom},
    {2, 1, {true, 1}, 1000, Fill::kTop},     {3, 1, {true, 270}, 64, Fill::kSparse},
    {3, 2, {true, 100}, 7, Fill::kBadSteps},
};

template <Operand W, Operand X>
void Test(const char* pair) {
  EachCase<W, X>(kIsGrouped<W> || kIsGrouped<X> ? std::span<const ProductCase>(kOfGroups) : kCases, kWidths,
                 [&](const auto&... of_case) { TestCase<W, X>(pair, of_case...); });
}

TEST_CASE("Products on a device: the reference's bits, whatever the layout") {
  Test<Ternary, Int<4>>("Ternary and Int<4>");
  Test<Int<8>, Int<8>>("Int<8> and Int<8>");
  Test<Grouped<Int<4>>, Int<8>>("Grouped<Int<4>> and Int<8>");
}

TEST_CASE("Products on a device: levels beyond signed bytes") {
  Test<Ternary, UInt<8>>("Ternary and UInt<8>");
  Test<MidRise<8>, Int<4>>("MidRise<8> and Int<4>");
  Test<BigSteps, BigSteps>("BigSteps and BigSteps");
  Test<Grouped<MidRise<8>>, Grouped<UInt<8>>>("Grouped<MidRise<8>> and Grouped<UInt<8>>");
}

TEST_CASE("Products on a device: reals, in the order of long sums") {
  Test<Float, Float>("Float and Float");
  Test<BFloat16, Float>("BFloat16 and Float");
  Test<Float16, Int<8>>("Float16 and Int<8>");
  Test<Ternary, Float16>("Ternary and Float16");
  Test<MidRise<8>, Float>("MidRise<8> and Float");
  Test<Float, Grouped<Int<8>>>("Float and Grouped<Int<8>>");
  Test<Grouped<Fp4E2M1>, Float>("Grouped<Fp4E2M1> and Float");
}

TEST_CASE("Products on a device: reals of many blocks") {
  for (const Schedule& schedule : kSchedules) {
    CAPTURE(schedule);
    constexpr size_t kBlocks[] = {1023, 1024, 1025, 3300, 7 * 1024, 9 * 1024 + 700};
    for (const size_t cols : kBlocks) {
      TestCase<Float, Float>("Float and Float", {5, 1, {false, 0}, 0, Fill::kRandom}, cols, schedule);
      TestCase<BFloat16, Float>("BFloat16 and Float", {2, 5, {false, 0}, 0, Fill::kSparse}, cols, schedule);
    }
    TestCase<Float, Grouped<Int<8>>>("Float and Grouped<Int<8>>", {3, 2, {false, 0}, 1500, Fill::kRandom}, 4000,
                                     schedule);
  }
}

TEST_CASE("Products on a device: nothing of nothing") {
  for (const Schedule& schedule : kSchedules) {
    const auto test = [&]<Operand W, Operand X, class U>(size_t rows, size_t cols, size_t tokens) {
      // (The steps of what has no columns are NaN.)
      QuantizedMatrix<FormatOf<W>> weights(rows, cols, {true, 0});
      for (float& step : weights.steps()) step = std::numeric_limits<float>::quiet_NaN();
      QuantizedRows<X> inputs;
      inputs.Resize(tokens, cols, kIsGrouped<X> ? 8 : 0);
      for (size_t t = 0; t < tokens; ++t) inputs.Steps(t)[0] = std::numeric_limits<float>::quiet_NaN();
      reference::FindNonzero(inputs);
      DeviceMemory memory;
      const auto w = UploadMatrix<MatrixLayout<W, X, U>>(memory, weights);
      const auto x = UploadRows(memory, inputs);
      GuardedMatrix expected(tokens, rows);
      reference::MatMul(weights, inputs, expected.view());
      EmulatedStream stream(schedule);
      DeviceOutput y(memory, tokens, rows);
      cuda::MatMul(stream, w, x, y.view());
      y.Host().ExpectSame(expected, "MatMul", "");
      if constexpr (U::template kHas<ChosenColumns>) {
        DeviceOutput by_columns(memory, tokens, rows);
        cuda::MatMulColumns(stream, w, x, by_columns.view());
        by_columns.Host().ExpectSame(expected, "MatMulColumns", "");
      }
    };
    const auto shapes = [&]<Operand W, Operand X, class U>() {
      test.template operator()<W, X, U>(3, 40, 0);
      test.template operator()<W, X, U>(0, 40, 2);
      test.template operator()<W, X, U>(3, 0, 2);
      test.template operator()<W, X, U>(0, 0, 0);
    };
    shapes.operator()<Ternary, Int<4>, Uses<Dense>>();
    shapes.operator()<Ternary, Grouped<Int<4>>, Uses<Dense>>();
    shapes.operator()<Ternary, Int<8>, Uses<ChosenColumns>>();
    shapes.operator()<Ternary, UInt<8>, Uses<ChosenColumns>>();
    shapes.operator()<Float, Int<8>, Uses<ChosenColumns>>();
  }
}

TEST_CASE("Products on a device: what is added is added once, to what was there") {
  const ProductCase c = {33, 2, {true, 0}, 0, Fill::kSparse};
  const auto test = [&]<Operand W, Operand X, class U>(const char* pair, size_t cols) {
    DeviceProduct<W, X> product(pair, c, cols);
    const auto w = product.template Matrix<MatrixLayout<W, X, U>>();
    for (const bool by_columns : {false, true}) {
      DeviceMemory memory;
      DeviceOutput y(memory, c.tokens, c.rows);
      GuardedMatrix expected(c.tokens, c.rows);
      for (size_t t = 0; t < c.tokens; ++t) {
        for (size_t r = 0; r < c.rows; ++r) {
          const float was = static_cast<float>(r) * 0.3f - static_cast<float>(t);
          y.view().Row(t)[r] = was;
          expected.view()[t][r] = was + GuardedMatrix(product.expected().all).view()[t][r];
        }
      }
      EmulatedStream stream(kSchedules[1]);
      if (by_columns) {
        if constexpr (U::template kHas<ChosenColumns>) cuda::MatMulColumnsAdd(stream, w, product.x(), y.view());
      } else {
        cuda::MatMulAdd(stream, w, product.x(), y.view());
      }
      if (!by_columns || U::template kHas<ChosenColumns>) y.Host().ExpectSame(expected, "Add", pair);
    }
  };
  test.operator()<Ternary, Int<4>, Uses<Dense>>("Ternary and Int<4>", 300);
  test.operator()<Ternary, Int<8>, Uses<ChosenColumns>>("Ternary and Int<8>", 300);
  test.operator()<Float, Int<8>, Uses<ChosenColumns>>("Float and Int<8>", 300);
  test.operator()<BigSteps, Int<8>, Uses<Dense>>("BigSteps and Int<8>", 300);
}

TEST_CASE("Products on a device: which kernel") {
  using cuda::RowsKernel;
  const auto choose = []<Operand W, Operand X>(size_t rows, size_t cols, size_t tokens, size_t group) {
    cuda::PackedRowsView<W> w = {};
    w.rows = static_cast<uint32_t>(rows);
    w.cols = static_cast<uint32_t>(cols);
    w.group = static_cast<uint32_t>(group == 0 ? cols : group);
    cuda::RowsView<X> x = {};
    x.rows = static_cast<uint32_t>(tokens);
    x.cols = w.cols;
    x.group = w.cols;
    return cuda::ChooseRowsKernel(w, x);
  };
  const auto ternary = [&](size_t rows, size_t cols, size_t tokens) {
    return choose.operator()<Ternary, Int<4>>(rows, cols, tokens, 0);
  };
  CHECK(ternary(2560, 2560, 1) == RowsKernel::kFew);
  CHECK(ternary(2560, 2560, 16) == RowsKernel::kFew);
  CHECK(ternary(2560, 2560, 64) == RowsKernel::kFew);  // 20 tiles would leave most of a device idle
  CHECK(ternary(2560, 2560, 512) == RowsKernel::kTiles);
  CHECK(ternary(128256, 2560, 17) == RowsKernel::kTiles);
  CHECK(ternary(6912, 2560, 128) == RowsKernel::kTiles);
  CHECK(ternary(6912, 200000, 512) == RowsKernel::kFew);  // wider than a sum of shifted codes
  CHECK(ternary(6912, 0, 512) == RowsKernel::kValues);
  const auto grouped = [&](size_t group) { return choose.operator()<Grouped<Int<4>>, Int<8>>(2560, 2560, 1, group); };
  CHECK(grouped(16) == RowsKernel::kFew);
  CHECK(grouped(32) == RowsKernel::kFew);
  CHECK(grouped(100) == RowsKernel::kValues);
}

TEST_CASE("Products on a device: what runs, in a line") {
  const auto has = [](const std::string& text, const char* part) {
    INFO(text);
    CHECK(text.find(part) != std::string::npos);
  };
  has(cuda::DescribeProduct<Ternary, Int<4>, Uses<Dense>>(), "matrix unit: rows");
  has(cuda::DescribeProduct<Ternary, Int<4>, Uses<ChosenRows>>(), "those listed of up to 2 tokens");
  has(cuda::DescribeProduct<Ternary, Int<8>, Uses<ChosenColumns>>(), "matrix unit: columns, those listed");
  has(cuda::DescribeProduct<Grouped<Ternary>, Int<8>, Uses<Dense>>(), "group by group");
  has(cuda::DescribeProduct<Ternary, UInt<8>, Uses<Dense>>(), "value by value");
  has(cuda::DescribeProduct<Float, Int<8>, Uses<Dense>>(), "float: sums in double");
  has(cuda::DescribeProduct<Ternary, Int<8>, Uses<RowLookup>>(), "rows looked up");
}

}  // namespace
}  // namespace bitnet::testing
