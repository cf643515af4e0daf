// Products of rows of codes, by each kernel that takes them.
#include "bitnet/backend/cuda/product_of_rows.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <span>

#include "bitnet/backend/cuda/products.h"
#include "testing/awkward_formats.h"
#include "testing/product_test.h"

namespace bitnet::testing {
namespace {

using cuda::AllRows;
using cuda::ListedRows;
using cuda::Reals;
using cuda::RowsKernel;
using cuda::StoreTo;

// Whether the unit takes runs of these groups: all begin at multiples of a span.
bool IsInSpans(size_t w_group, size_t x_group) { return (w_group | x_group) % cuda::kSpanCols == 0; }

template <Operand W, Operand X>
void TestCase(const char* pair, const ProductCase& c, size_t cols, const Schedule& schedule) {
  if (!DotFits<FormatOf<W>, FormatOf<X>>(cols)) return;
  DeviceProduct<W, X> product(pair, c, cols);
  const auto w = product.template Matrix<cuda::PackedRows<W>>();
  const auto& x = product.x();
  using View = cuda::PackedRowsView<W>;
  product.ExpectAll("by values", schedule, [&](auto& stream, Reals y) {
    cuda::MatMulByValues<View, X, AllRows, StoreTo>::LaunchIn(stream, w, x, AllRows(), StoreTo{y});
  });
  product.ExpectListed("listed, by values", schedule, [&](auto& stream, const cuda::ListsView& lists, Reals y) {
    cuda::MatMulByValues<View, X, ListedRows, StoreTo>::LaunchIn(stream, w, x, ListedRows{lists}, StoreTo{y});
  });
  if (!IsInSpans(c.weights.group < cols ? c.weights.group : 0, c.group < cols ? c.group : 0)) return;
  product.ExpectAll("few tokens", schedule, [&](auto& stream, Reals y) {
    cuda::MatMulByRows<W, X, 1, AllRows, StoreTo>::LaunchIn(stream, w, x, AllRows(), StoreTo{y});
  });
  if constexpr (!kIsGrouped<W> && !kIsGrouped<X>) {
    product.ExpectAll("some tokens", schedule, [&](auto& stream, Reals y) {
      cuda::MatMulByRows<W, X, 2, AllRows, StoreTo>::LaunchIn(stream, w, x, AllRows(), StoreTo{y});
    });
  }
  product.ExpectListed("listed", schedule, [&](auto& stream, const cuda::ListsView& lists, Reals y) {
    cuda::MatMulByRows<W, X, 1, ListedRows, StoreTo>::LaunchIn(stream, w, x, ListedRows{lists}, StoreTo{y});
  });
  product.ExpectAll("tiles", schedule, [&](auto& stream, Reals y) {
    cuda::MatMulTiles<W, X, StoreTo>::LaunchIn(stream, w, x, StoreTo{y});
  });
}

constexpr size_t kWidths[] = {1, 7, 63, 65, 192, 300, 1000};

constexpr ProductCase kCases[] = {
    {1, 1, {false, 0}, 0, Fill::kRandom},  {3, 5, {true, 0}, 0, Fill::kRandom},   {33, 2, {false, 0}, 0, Fill::kTop},
    {17, 1, {true, 0}, 0, Fill::kBottom},  {16, 16, {true, 0}, 0, Fill::kRandom}, {5, 17, {false, 0}, 0, Fill::kSparse},
    {3, 2, {true, 0}, 0, Fill::kBadSteps}, {2, 9, {true, 0}, 0, Fill::kZero},
};
constexpr ProductCase kOfGroups[] = {
    {9, 2, {true, 32}, 32, Fill::kRandom},    {4, 9, {true, 64}, 100, Fill::kSparse},
    {33, 1, {true, 64}, 32, Fill::kTop},      {3, 5, {true, 128}, 48, Fill::kBottom},
    {2, 17, {true, 16}, 1000, Fill::kRandom}, {5, 1, {true, 300}, 128, Fill::kRandom},
    {3, 3, {true, 3}, 1, Fill::kRandom},      {3, 2, {true, 96}, 64, Fill::kBadSteps},
};

template <Operand W, Operand X>
void Test(const char* pair) {
  EachCase<W, X>(kIsGrouped<W> || kIsGrouped<X> ? std::span<const ProductCase>(kOfGroups) : kCases, kWidths,
                 [&](const auto&... of_case) { TestCase<W, X>(pair, of_case...); });
}

TEST_CASE("Products of rows of codes on a device: the reference's bits, for weights of every kind") {
  Test<Ternary, Int<4>>("Ternary and Int<4>");
  Test<Binary, Int<8>>("Binary and Int<8>");
  Test<Int<2>, Int<8>>("Int<2> and Int<8>");
  Test<Int<4>, Int<8>>("Int<4> and Int<8>");
  Test<Int<8>, Int<8>>("Int<8> and Int<8>");
  Test<UInt<2>, Int<8>>("UInt<2> and Int<8>");
  Test<MidRise<3>, MidRise<3>>("MidRise<3> and MidRise<3>");
  Test<Fp4E2M1, Fp4E2M1>("Fp4E2M1 and Fp4E2M1");
  Test<OneSided, Squares>("OneSided and Squares");
  Test<Lopsided, PowersOfTwo>("Lopsided and PowersOfTwo");
}

TEST_CASE("Products of rows of codes on a device: steps for groups of columns, of any size") {
  Test<Grouped<Ternary>, Int<8>>("Grouped<Ternary> and Int<8>");
  Test<Ternary, Grouped<Int<4>>>("Ternary and Grouped<Int<4>>");
  Test<Grouped<Binary>, Grouped<Int<8>>>("Grouped<Binary> and Grouped<Int<8>>");
  Test<Grouped<Int<4>>, Grouped<Int<8>>>("Grouped<Int<4>> and Grouped<Int<8>>");
  Test<Grouped<Int<8>>, Grouped<Fp4E2M1>>("Grouped<Int<8>> and Grouped<Fp4E2M1>");
}

TEST_CASE("Products of rows of codes on a device: in every schedule, of many rows, tokens and lines") {
  for (const Schedule& schedule : kSchedules) {
    CAPTURE(schedule);
    TestCase<Ternary, Int<8>>("Ternary and Int<8>", {130, 1, {true, 0}, 0, Fill::kRandom}, 300, schedule);
    TestCase<MidRise<3>, Int<4>>("MidRise<3> and Int<4>", {33, 40, {true, 0}, 0, Fill::kRandom}, 700, schedule);
    TestCase<Ternary, Int<4>>("Ternary and Int<4>", {3, 2, {false, 0}, 0, Fill::kRandom}, 9000, schedule);
    TestCase<Grouped<Int<4>>, Int<8>>("Grouped<Int<4>> and Int<8>", {3, 2, {true, 32}, 0, Fill::kRandom}, 5000,
                                      schedule);
    TestCase<Grouped<Ternary>, Grouped<Int<8>>>("Grouped<Ternary> and Grouped<Int<8>>",
                                                {17, 7, {true, 16}, 112, Fill::kRandom}, 2100, schedule);
    // Runs that go on from round to round.
    TestCase<Grouped<Int<8>>, Grouped<Int<4>>>("Grouped<Int<8>> and Grouped<Int<4>>",
                                               {2, 3, {true, 1600}, 2000, Fill::kRandom}, 4500, schedule);
  }
}

TEST_CASE("Products of rows of codes on a device: more columns than a sum of shifted codes holds") {
  const ProductCase c = {1, 1, {false, 0}, 0, Fill::kBottom};
  DeviceProduct<Int<2>, Int<8>> product("Int<2> and Int<8>", c, 1'200'000);
  const auto w = product.Matrix<cuda::PackedRows<Int<2>>>();
  CHECK(cuda::ChooseRowsKernel(w, product.x()) == RowsKernel::kFew);
  product.ExpectAll("many columns", kSchedules[0],
                    [&](auto& stream, Reals y) { cuda::MatMul(stream, w, product.x(), y); });
}

}  // namespace
}  // namespace bitnet::testing
