#include "bitnet/tensor/aligned_vector.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <new>

#include "bitnet/tensor/growing_matrix.h"

namespace bitnet {
namespace {

bool StartsAtMultipleOf(size_t alignment, const AlignedVector<uint8_t>& v) {
  return reinterpret_cast<uintptr_t>(v.data()) % alignment == 0;
}

TEST_CASE("AlignedVector: starts on a line, and on a huge page where it fills one") {
  for (const size_t bytes : {size_t{1}, size_t{127}, size_t{4097}, kHugePage - 1, kHugePage, 3 * kHugePage / 2}) {
    CAPTURE(bytes);
    const AlignedVector<uint8_t> v(bytes, 7);
    CHECK(StartsAtMultipleOf(bytes >= kHugePage ? kHugePage : kAlignment, v));
    CHECK(std::all_of(v.begin(), v.end(), [](uint8_t byte) { return byte == 7; }));
  }
}

TEST_CASE("AlignedVector: keeps its values while it grows past a huge page and shrinks") {
  AlignedVector<uint32_t> v;
  for (uint32_t i = 0; i < (3 * kHugePage / 2) / sizeof(uint32_t); ++i) v.push_back(i);
  v.resize(1000);
  v.shrink_to_fit();
  CHECK(v.size() == 1000);
  for (uint32_t i = 0; i < 1000; ++i) {
    if (v[i] != i) FAIL_CHECK("value " << i << " was lost");
  }
}

TEST_CASE("RoundUp: to the next multiple; one that does not fit throws") {
  static_assert(RoundUp(0, 4) == 0 && RoundUp(1, 4) == 4 && RoundUp(4, 4) == 4 && RoundUp(~size_t{0} - 3, 4) != 0);
  CHECK_THROWS_AS(RoundUp(~size_t{0}, 4), std::bad_array_new_length);
}

TEST_CASE("GrowingMatrix: a size that does not fit throws, and earlier shapes stay possible") {
  GrowingMatrix matrix;
  const MatrixView<float> small = matrix.Shape(2, 3);
  CHECK_THROWS_AS(matrix.Shape(4, ~size_t{0} / 4 + 1), std::bad_array_new_length);
  CHECK_THROWS_AS(matrix.Shape(1, ~size_t{0} / 4), std::bad_array_new_length);
  CHECK(matrix.Shape(3, 2).data() == small.data());
}

}  // namespace
}  // namespace bitnet
