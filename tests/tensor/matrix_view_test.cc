#include "bitnet/tensor/matrix_view.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "bitnet/tensor/aligned_vector.h"
#include "bitnet/tensor/step_groups.h"
#include "testing/expect_assertion.h"

namespace bitnet {
namespace {

TEST_CASE("MatrixView: row r starts at data + r * stride") {
  std::vector<float> data(20);
  for (size_t i = 0; i < 20; ++i) data[i] = static_cast<float>(i);
  const MatrixView<float> view(data.data(), 3, 4, 6);
  CHECK(view.rows() == 3);
  CHECK(view.cols() == 4);
  CHECK(view.stride() == 6);
  CHECK(view.Row(2) == data.data() + 12);
  CHECK(view[1].size() == 4);
  CHECK(view[1][3] == 9.0f);
  CHECK_FALSE(view.IsContiguous());
  CHECK(MatrixView<float>(data.data(), 5, 4).IsContiguous());
  CHECK(view.Rows(1, 1).IsContiguous());  // one row always is

  const MatrixView<float> part = view.Rows(1, 2).Cols(1, 2);
  CHECK(part.rows() == 2);
  CHECK(part.cols() == 2);
  CHECK(part[1][1] == 14.0f);
  part[0][0] = -1.0f;
  CHECK(data[7] == -1.0f);

  const MatrixView<const float> constant = view;
  CHECK(constant[2][0] == 12.0f);
  CHECK(constant.stride() == 6);
  const MatrixView<const float> row = AsRow(std::span<const float>(data));
  CHECK(row.rows() == 1);
  CHECK(row.cols() == 20);
  CHECK(MatrixView<float>().rows() == 0);
}

static_assert(std::is_convertible_v<MatrixView<float>, MatrixView<const float>>);
static_assert(!std::is_convertible_v<MatrixView<const float>, MatrixView<float>>);
static_assert(!std::is_convertible_v<MatrixView<float>, MatrixView<const double>>);

TEST_CASE("MatrixView: a stride below the columns is an assertion") {
  float data[4] = {};
  CHECK(testing::Breaks("stride", [&] { MatrixView<float>(data, 1, 4, 3); }));
}

TEST_CASE("AlignedVector: starts on a cache line whatever it holds") {
  for (size_t n = 1; n < 300; n += 37) {
    const AlignedVector<int8_t> bytes(n);
    const AlignedVector<double> doubles(n);
    CHECK(reinterpret_cast<uintptr_t>(bytes.data()) % kAlignment == 0);
    CHECK(reinterpret_cast<uintptr_t>(doubles.data()) % kAlignment == 0);
  }
  CHECK(RoundUp(0, 8) == 0);
  CHECK(RoundUp(1, 8) == 8);
  CHECK(RoundUp(8, 8) == 8);
  CHECK(RoundUp(9, 8) == 16);
}

TEST_CASE("StepGroups: cut every `group` columns, the last may be short") {
  const StepGroups whole{10, 0};
  CHECK(whole.Count() == 1);
  CHECK(whole.Of(9) == 0);
  CHECK(whole.End(3) == 10);
  const StepGroups three{10, 3};
  CHECK(three.Count() == 4);
  CHECK(three.Of(2) == 0);
  CHECK(three.Of(3) == 1);
  CHECK(three.Of(9) == 3);
  CHECK(three.End(0) == 3);
  CHECK(three.End(5) == 6);
  CHECK(three.End(9) == 10);
  CHECK(StepGroups{10, 10}.Count() == 1);
  CHECK(StepGroups{10, 100}.Count() == 1);
  CHECK(StepGroups{10, 100}.End(0) == 10);
  CHECK(StepGroups{0, 4}.Count() == 1);
}

TEST_CASE("StepGroups: groups near the largest size are not wrapped around") {
  constexpr size_t kMax = ~size_t{0};
  CHECK(StepGroups{10, kMax}.Count() == 1);
  CHECK(StepGroups{10, kMax}.End(9) == 10);
  CHECK(StepGroups{kMax, kMax - 1}.Count() == 2);
  CHECK(StepGroups{kMax, kMax - 1}.End(0) == kMax - 1);
  CHECK(StepGroups{kMax, kMax - 1}.End(kMax - 1) == kMax);
  CHECK(StepGroups{kMax, 2}.Count() == kMax / 2 + 1);
}

TEST_CASE("EachCommonRun: runs in which both have one step cover all columns in order") {
  for (size_t cols = 0; cols <= 40; ++cols) {
    for (const size_t a : {0u, 1u, 3u, 4u, 8u, 100u}) {
      for (const size_t b : {0u, 1u, 5u, 8u}) {
        const StepGroups left{cols, a};
        const StepGroups right{cols, b};
        size_t at = 0;
        bool well = true;
        bool longest = true;
        size_t last_left = ~size_t{0};
        size_t last_right = ~size_t{0};
        EachCommonRun(left, right, [&](size_t begin, size_t end, size_t of_left, size_t of_right) {
          well = well && begin == at && begin < end && end <= cols;
          for (size_t c = begin; c < end; ++c) well = well && left.Of(c) == of_left && right.Of(c) == of_right;
          longest = longest && (of_left != last_left || of_right != last_right);
          last_left = of_left;
          last_right = of_right;
          at = end;
        });
        if (!well || !longest || at != cols) FAIL_CHECK("cols = " << cols << ", groups " << a << " and " << b);
      }
    }
  }
}

}  // namespace
}  // namespace bitnet
