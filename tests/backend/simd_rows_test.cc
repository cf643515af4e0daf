#include "bitnet/backend/simd/simd_rows.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <new>
#include <vector>

#include "testing/expect_assertion.h"

namespace bitnet {
namespace {

template <Format F>
bool PaddingIsZero(const SimdRows<F>& rows) {
  for (size_t t = 0; t < rows.rows(); ++t) {
    for (size_t c = rows.cols(); c < rows.stride(); ++c) {
      if (rows.Row(t)[c] != LevelOf<F>{}) return false;
    }
  }
  return true;
}

template <Format F>
void FillAll(SimdRows<F>& rows) {
  for (size_t t = 0; t < rows.rows(); ++t) {
    for (size_t c = 0; c < rows.cols(); ++c) rows.Row(t)[c] = LevelOf<F>{7};
  }
}

template <Format F>
void CheckReuse() {
  SimdRows<F> rows;
  // Larger and smaller in both directions, so that old values lie where padding comes to be.
  const size_t sizes[][2] = {{1, 5},  {3, 128}, {2, 100}, {7, 129}, {1, 1}, {4, 300},
                             {9, 37}, {2, 256}, {5, 3},   {0, 9},   {3, 64}};
  for (const auto& size : sizes) {
    const size_t n = size[0];
    const size_t cols = size[1];
    CAPTURE(n);
    CAPTURE(cols);
    rows.Resize(n, cols);
    CHECK(rows.rows() == n);
    CHECK(rows.cols() == cols);
    CHECK(rows.stride() >= cols);
    CHECK(rows.stride() % SimdRows<F>::kPadding == 0);
    CHECK(PaddingIsZero(rows));
    FillAll(rows);
    CHECK(PaddingIsZero(rows));
    CHECK(reinterpret_cast<uintptr_t>(rows.Row(0)) % kAlignment == 0);
  }
}

TEST_CASE("SimdRows: padding stays zero, however the buffer is used again") {
  CheckReuse<Int<4>>();
  CheckReuse<UInt<8>>();
  CheckReuse<MidRise<8>>();
  CheckReuse<Float>();
}

TEST_CASE("SimdRows: a smaller size allocates nothing") {
  SimdRows<Grouped<Int<8>>> rows;
  rows.Resize(8, 200, 16);
  const int8_t* levels = rows.Row(0);
  const float* steps = rows.Steps(0).data();
  rows.Resize(3, 150, 16);
  CHECK(rows.Row(0) == levels);
  CHECK(rows.Steps(0).data() == steps);
  rows.Resize(8, 200, 16);
  CHECK(rows.Row(0) == levels);
}

TEST_CASE("SimdRows: a step for each group of each row") {
  SimdRows<Grouped<Int<4>>> rows;
  rows.Resize(3, 10, 4);
  CHECK(rows.step_groups().Count() == 3);
  float value = 0.0f;
  for (size_t t = 0; t < 3; ++t) {
    for (float& step : rows.Steps(t)) step = ++value;
  }
  const SimdRows<Grouped<Int<4>>>& same = rows;
  CHECK(same.Steps(0)[0] == 1.0f);
  CHECK(same.Steps(1)[0] == 4.0f);
  CHECK(same.Steps(2)[2] == 9.0f);
  CHECK(testing::Breaks("Grouped<> operands", [&] { rows.Resize(3, 10); }));
  SimdRows<Int<4>> whole;
  whole.Resize(3, 10);
  CHECK(whole.step_groups().Count() == 1);
  CHECK(testing::Breaks("Grouped<> operands", [&] { whole.Resize(3, 10, 4); }));
}

TEST_CASE("SimdRows: Resize forgets the list of non-zero columns") {
  SimdRows<Int<4>> rows;
  rows.Resize(2, 300);
  rows.nonzero().Resize(2, 300);
  rows.nonzero().Row(1)[0] = 299;
  rows.nonzero().SetCount(1, 1);
  rows.Resize(2, 3);
  CHECK(rows.nonzero().tokens() == 0);
}

TEST_CASE("SimdRows: a prepared form has its key and size until Resize") {
  static constexpr char kKey = 0;
  SimdRows<Int<4>> rows;
  rows.Resize(1, 3);
  CHECK(rows.prepared().key == nullptr);
  const uint8_t* bytes = rows.TablesFor(&kKey, 300);
  CHECK(rows.prepared().bytes.data() == bytes);
  rows.TablesFor(&kKey, 200);
  CHECK(rows.prepared().key == &kKey);
  CHECK(rows.prepared().bytes.size() == 200);
  rows.Resize(1, 3);
  CHECK(rows.prepared().key == nullptr);
}

TEST_CASE("SimdRows: a size that does not fit throws, and leaves the shape that was") {
  SimdRows<Int<4>> rows;
  rows.Resize(2, 3);
  constexpr size_t kQuarter = ~size_t{0} / 4 + 1;  // times 4 would wrap around to 0
  CHECK_THROWS_AS(rows.Resize(4, kQuarter), std::bad_array_new_length);
  CHECK_THROWS_AS(rows.Resize(kQuarter, 0), std::bad_array_new_length);
  CHECK_THROWS_AS(rows.Resize(1, ~size_t{0}), std::bad_array_new_length);
  CHECK(rows.rows() == 2);
  CHECK(rows.cols() == 3);
  CHECK(rows.stride() == SimdRows<Int<4>>::kPadding);
  static constexpr char kKey = 0;
  CHECK_THROWS_AS(rows.TablesFor(&kKey, ~size_t{0}), std::bad_array_new_length);
  CHECK(rows.prepared().key == nullptr);
}

}  // namespace
}  // namespace bitnet
