// Products of columns of codes: those that a list names, and all.
#include "bitnet/backend/cuda/product_of_columns.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bitnet/backend/cuda/products.h"
#include "bitnet/base/random.h"
#include "testing/awkward_formats.h"
#include "testing/product_test.h"

namespace bitnet::testing {
namespace {

using cuda::ColumnsProduct;
using cuda::Reals;
using cuda::StoreTo;

template <Operand W, Operand X>
void TestCase(const char* pair, const ProductCase& c, size_t cols, const Schedule& schedule) {
  if (!DotFits<FormatOf<W>, FormatOf<X>>(cols)) return;
  DeviceProduct<W, X> product(pair, c, cols);
  const auto w = product.template Matrix<cuda::PackedColumns<W>>();
  const auto& x = product.x();
  product.ExpectAll("MatMul", schedule, [&](auto& stream, Reals y) { cuda::MatMul(stream, w, x, y); });
  product.ExpectColumns("MatMulColumns", schedule,
                        [&](auto& stream, Reals y) { cuda::MatMulColumns(stream, w, x, y); });
  if (!TakesColumns(w, x)) return;
  // Whatever the number of tokens.
  if constexpr (!kIsGrouped<W> && !kIsGrouped<X>) {
    product.ExpectColumns("listed, by few rows", schedule, [&](auto& stream, Reals y) {
      cuda::MatMulByListed<W, X, StoreTo>::LaunchIn(stream, w, x, StoreTo{y});
    });
  }
  product.ExpectColumns("listed", schedule, [&](auto& stream, Reals y) {
    ColumnsProduct<W, X, 1, true, StoreTo>::LaunchIn(stream, w, x, StoreTo{y});
  });
  product.ExpectAll("one tile", schedule, [&](auto& stream, Reals y) {
    ColumnsProduct<W, X, 1, false, StoreTo>::LaunchIn(stream, w, x, StoreTo{y});
  });
  product.ExpectAll("two tiles", schedule, [&](auto& stream, Reals y) {
    ColumnsProduct<W, X, 2, false, StoreTo>::LaunchIn(stream, w, x, StoreTo{y});
  });
}

constexpr size_t kWidths[] = {1, 7, 63, 65, 192, 300, 700};

constexpr ProductCase kCases[] = {
    {1, 1, {false, 0}, 0, Fill::kRandom},  {3, 5, {true, 0}, 0, Fill::kSparse},  {33, 2, {false, 0}, 0, Fill::kTop},
    {130, 1, {true, 0}, 0, Fill::kSparse}, {32, 9, {true, 0}, 0, Fill::kBottom}, {5, 17, {false, 0}, 0, Fill::kSparse},
    {3, 2, {true, 0}, 0, Fill::kBadSteps}, {2, 1, {true, 0}, 0, Fill::kZero},
};
constexpr ProductCase kOfGroups[] = {
    {9, 2, {true, 32}, 32, Fill::kSparse},    {4, 9, {true, 64}, 100, Fill::kSparse},
    {33, 1, {true, 64}, 32, Fill::kTop},      {3, 1, {true, 128}, 96, Fill::kBottom},
    {2, 17, {true, 32}, 1000, Fill::kRandom}, {5, 1, {true, 300}, 128, Fill::kRandom},
    {3, 2, {true, 3}, 1, Fill::kRandom},      {3, 2, {true, 96}, 64, Fill::kBadSteps},
};

template <Operand W, Operand X>
void Test(const char* pair) {
  EachCase<W, X>(kIsGrouped<W> || kIsGrouped<X> ? std::span<const ProductCase>(kOfGroups) : kCases, kWidths,
                 [&](const auto&... of_case) { TestCase<W, X>(pair, of_case...); });
}

TEST_CASE("Products of columns of codes on a device: the reference's bits, for weights of every kind") {
  Test<Ternary, Int<8>>("Ternary and Int<8>");
  Test<Binary, Int<4>>("Binary and Int<4>");
  Test<Int<4>, Int<8>>("Int<4> and Int<8>");
  Test<Int<8>, Fp4E2M1>("Int<8> and Fp4E2M1");
  Test<Fp4E2M1, MidRise<3>>("Fp4E2M1 and MidRise<3>");
  Test<OneSided, Squares>("OneSided and Squares");
}

TEST_CASE("Products of columns of codes on a device: steps for groups of columns, of any size") {
  Test<Grouped<Ternary>, Int<8>>("Grouped<Ternary> and Int<8>");
  Test<Ternary, Grouped<Int<8>>>("Ternary and Grouped<Int<8>>");
  Test<Grouped<MidRise<3>>, Grouped<Int<8>>>("Grouped<MidRise<3>> and Grouped<Int<8>>");
}

TEST_CASE("Products of columns of codes on a device: in every schedule, of many rows, tokens and parts") {
  for (const Schedule& schedule : kSchedules) {
    CAPTURE(schedule);
    TestCase<Ternary, Int<8>>("Ternary and Int<8>", {300, 2, {true, 0}, 0, Fill::kSparse}, 700, schedule);
    TestCase<Ternary, Int<8>>("Ternary and Int<8>", {65, 1, {true, 0}, 0, Fill::kRandom}, 5000, schedule);
    TestCase<Int<3>, Int<4>>("Int<3> and Int<4>", {33, 40, {true, 0}, 0, Fill::kRandom}, 300, schedule);
    TestCase<Grouped<Ternary>, Grouped<Int<8>>>("Grouped<Ternary> and Grouped<Int<8>>",
                                                {40, 2, {true, 512}, 768, Fill::kSparse}, 2100, schedule);
  }
}

TEST_CASE("Products of columns of codes on a device: more columns than a sum of shifted codes holds") {
  const ProductCase c = {1, 1, {false, 0}, 0, Fill::kBottom};
  DeviceProduct<Int<2>, Int<8>> product("Int<2> and Int<8>", c, 530'000);
  const auto w = product.Matrix<cuda::PackedColumns<Int<2>>>();
  using Kernel = cuda::MatMulByColumns<Int<2>, Int<8>, 1, false, StoreTo>;
  const auto& x = product.x();
  product.ExpectAll("one part", kSchedules[0], [&](auto& stream, Reals y) {
    stream.Launch(Kernel{w, x, StoreTo{y}, {cuda::Runs::Of(w.cols, w.group, x.group), 1, nullptr}, 1}, cuda::Grid{});
  });
}

// A warp that counts.
struct Counting {
  static constexpr unsigned kThreads = 32;
  using Shared = cuda::NoShared;
  const uint32_t* list;
  uint32_t count;
  uint32_t bound;
  uint32_t* below;
  template <class Device>
  void operator()(Device& d, Shared&) const {
    const uint32_t counted = cuda::CountBelow(d, list, count, bound);
    if (d.lane() == 7) *below = counted;
  }
};

TEST_CASE("How many of a list are below a bound: of every length, at every place") {
  Random random(1);
  constexpr uint32_t kCounts[] = {0, 1, 2, 31, 32, 33, 63, 65, 300, 1024, 1025, 3000};
  for (const uint32_t count : kCounts) {
    DeviceMemory memory;
    std::vector<uint32_t> list(count);
    uint32_t next = 0;
    for (uint32_t& v : list) v = next += 1 + static_cast<uint32_t>(UniformBelow(random, 3));
    const uint32_t* device_list = memory.Upload(list);
    auto* below = memory.Allocate<uint32_t>(1);
    size_t wrong = 0;
    for (uint32_t i = 0; i <= 60; ++i) {
      const uint32_t bound = count < 60 ? i : next * i / 59;
      Launch(Counting{device_list, count, bound, below}, cuda::Grid{}, kSchedules[i % kSchedules.size()]);
      const auto expected = std::lower_bound(list.begin(), list.end(), bound) - list.begin();
      wrong += *below == static_cast<uint32_t>(expected) ? 0u : 1u;
    }
    CAPTURE(count);
    CHECK(wrong == 0);
  }
}

}  // namespace
}  // namespace bitnet::testing
