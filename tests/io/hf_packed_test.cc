#include "bitnet/io/hf_packed.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "bitnet/base/random.h"

namespace bitnet::hf_packed_test {
namespace {

QuantizedMatrix<Ternary> RandomMatrix(size_t rows, size_t cols, uint64_t seed, float step) {
  Random random(seed);
  std::vector<LevelOf<Ternary>> levels(rows * cols);
  for (auto& level : levels) level = static_cast<LevelOf<Ternary>>(static_cast<int>(random() % 3) - 1);
  return *QuantizedMatrix<Ternary>::FromLevels(levels, rows, cols, std::vector<float>{step});
}

TEST_CASE("UnpackHf: worked by hand") {
  // Bits of byte (r, c) from the lowest: rows r, r + 2, r + 4, r + 6.
  const std::vector<uint8_t> packed = {0b10100001, 0b00011000, 0b10010000, 0b00001010};
  const auto matrix = UnpackHf(packed, 8, 2, 0.25f);
  REQUIRE(matrix.ok());
  CHECK(matrix->steps()[0] == 0.25f);
  const int expected[8][2] = {{0, -1}, {-1, 1}, {-1, 1}, {-1, 1}, {1, 0}, {0, -1}, {1, -1}, {1, -1}};
  std::vector<LevelOf<Ternary>> row(2);
  for (size_t r = 0; r < 8; ++r) {
    matrix->UnpackRow(r, row);
    CHECK(int{row[0]} == expected[r][0]);
    CHECK(int{row[1]} == expected[r][1]);
  }
}

TEST_CASE("UnpackHf: what PackHfRow packs comes back") {
  for (const size_t rows : {size_t{4}, size_t{12}, size_t{68}}) {
    for (const size_t cols : {size_t{1}, size_t{5}, size_t{64}, size_t{131}}) {
      const QuantizedMatrix<Ternary> matrix = RandomMatrix(rows, cols, rows * cols, 0.5f);
      std::vector<uint8_t> packed(rows / 4 * cols);
      for (size_t r = 0; r < rows / 4; ++r) PackHfRow(matrix, r, std::span(packed).subspan(r * cols, cols));
      const auto back = UnpackHf(packed, rows, cols, 0.5f);
      REQUIRE(back.ok());
      CHECK(std::ranges::equal(back->bytes(), matrix.bytes()));
    }
  }
}

TEST_CASE("UnpackHf: the code 3 is refused, wherever it is") {
  for (size_t byte = 0; byte < 6; ++byte) {
    for (size_t i = 0; i < 4; ++i) {
      std::vector<uint8_t> packed(6, 0b01010101);
      packed[byte] = static_cast<uint8_t>(packed[byte] | 3u << (2 * i));
      const auto matrix = UnpackHf(packed, 8, 3, 1.0f);
      REQUIRE_FALSE(matrix.ok());
      CHECK(matrix.error() == "row " + std::to_string(byte / 3 + 2 * i) + ", column " + std::to_string(byte % 3) +
                                  ": the code is 3; 0, 1 and 2 are weights");
    }
  }
}

TEST_CASE("StepOfHfScale: multiplies or divides; what is no positive normal number is refused") {
  CHECK(*StepOfHfScale(1.75f, HfScale::kMultiplies) == 1.75f);
  CHECK(*StepOfHfScale(1.75f, HfScale::kDivides) == 1.0f / 1.75f);
  for (const HfScale meaning : {HfScale::kDivides, HfScale::kMultiplies}) {
    for (const float scale : {0.0f, -0.0f, -1.0f, NAN, INFINITY, -INFINITY, std::numeric_limits<float>::denorm_min()}) {
      CHECK_FALSE(StepOfHfScale(scale, meaning).ok());
    }
  }
  CHECK_FALSE(StepOfHfScale(3e38f, HfScale::kDivides).ok());  // a step that is subnormal
  CHECK(StepOfHfScale(3e38f, HfScale::kMultiplies).ok());
}

TEST_CASE("HfScaleOfStep: the step comes back, but for few, and those within a rounding") {
  Random random(7);
  size_t exact = 0;
  const size_t count = 10000;
  for (size_t i = 0; i < count; ++i) {
    const float step = std::exp(3.0f * Normal(random));
    CHECK(*StepOfHfScale(HfScaleOfStep(step, HfScale::kMultiplies), HfScale::kMultiplies) == step);
    const float back = *StepOfHfScale(HfScaleOfStep(step, HfScale::kDivides), HfScale::kDivides);
    exact += back == step;
    CHECK(std::fabs(back - step) <= step * 0x1p-23f);
  }
  CHECK(exact > count * 8 / 10);
  CHECK(exact < count);
}

}  // namespace
}  // namespace bitnet::hf_packed_test
