#include "bitnet/tensor/quantized_rows.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <new>

#include "testing/expect_assertion.h"

namespace bitnet {
namespace {

using testing::Breaks;

TEST_CASE("QuantizedRows: rows of levels, a step for each") {
  QuantizedRows<Int<4>> rows;
  rows.Resize(2, 3);
  CHECK(rows.rows() == 2);
  CHECK(rows.cols() == 3);
  CHECK(rows.step_groups().Count() == 1);
  for (size_t r = 0; r < 2; ++r) {
    rows.Steps(r)[0] = static_cast<float>(r + 1);
    for (size_t c = 0; c < 3; ++c) rows[r][c] = static_cast<int8_t>(3 * r + c);
  }
  const QuantizedRows<Int<4>> same = rows;
  for (size_t r = 0; r < 2; ++r) {
    CHECK(same[r].size() == 3);
    CHECK(same.Steps(r).size() == 1);
    CHECK(same.Steps(r)[0] == static_cast<float>(r + 1));
    for (size_t c = 0; c < 3; ++c) CHECK(same[r][c] == static_cast<int8_t>(3 * r + c));
  }
}

TEST_CASE("QuantizedRows: a step for each group of columns belongs to Grouped<> operands") {
  QuantizedRows<Grouped<Int<4>>> rows;
  rows.Resize(3, 10, 4);
  CHECK(rows.Steps(2).size() == 3);
  rows.Steps(1)[0] = 5.0f;
  CHECK(rows.Steps(0).data() + 3 == rows.Steps(1).data());
  CHECK(Breaks("Grouped<> operands", [&] { rows.Resize(3, 10); }));
  QuantizedRows<Int<4>> whole;
  CHECK(Breaks("Grouped<> operands", [&] { whole.Resize(3, 10, 4); }));
}

TEST_CASE("QuantizedRows: Resize forgets the lists of columns; a smaller size allocates nothing") {
  QuantizedRows<Int<4>> rows;
  rows.Resize(4, 30);
  rows.nonzero().Resize(4, 30);
  const int8_t* levels = rows[0].data();
  rows.Resize(3, 20);
  CHECK(rows.nonzero().tokens() == 0);
  CHECK(rows[0].data() == levels);
}

TEST_CASE("QuantizedRows: a size that does not fit throws, and leaves the shape that was") {
  QuantizedRows<Int<4>> rows;
  rows.Resize(2, 3);
  constexpr size_t kQuarter = ~size_t{0} / 4 + 1;  // times 4 would wrap around to 0
  CHECK_THROWS_AS(rows.Resize(4, kQuarter), std::bad_array_new_length);
  CHECK_THROWS_AS(rows.Resize(kQuarter, 0), std::bad_array_new_length);
  CHECK(rows.rows() == 2);
  CHECK(rows.cols() == 3);
}

}  // namespace
}  // namespace bitnet
