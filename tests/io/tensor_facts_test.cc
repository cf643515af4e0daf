#include "bitnet/io/tensor_facts.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "bitnet/base/random.h"

namespace bitnet::tensor_facts_test {
namespace {

using Bytes = std::vector<uint8_t>;

GgufTensor TensorOf(const char* type, uint64_t rows, uint64_t cols, const Bytes& bytes) {
  GgufTensor tensor;
  tensor.name = "t";
  tensor.rank = 2;
  tensor.dims = {cols, rows, 1, 1};
  tensor.type = FindGgufType(type);
  REQUIRE(tensor.type != nullptr);
  tensor.type_id = tensor.type->id;
  tensor.bytes = bytes;
  return tensor;
}

void PutHalf(Bytes& bytes, size_t at, float x) {
  const Float16 half = Float16::Nearest(x);
  std::memcpy(bytes.data() + at, &half, sizeof(half));
}
void PutFloat(Bytes& bytes, size_t at, float x) { std::memcpy(bytes.data() + at, &x, sizeof(x)); }

// Where a type's steps are: the offset in each unit of so many bytes.
struct Place {
  const char* type;
  size_t unit;   // bytes; 0: a row
  size_t at;     // of the step
  size_t steps;  // floats there; 0: a half
};
constexpr Place kPlaces[] = {
    {"TQ1_0", 54, 52, 0}, {"TQ2_0", 66, 64, 0},   {"PTQ1_0", 28, 26, 0}, {"Q1_0", 18, 0, 0},    {"Q2_0", 18, 0, 0},
    {"PQ2_0", 34, 0, 0},  {"Q4_0", 18, 0, 0},     {"Q8_0", 34, 0, 0},    {"Q6_K", 210, 208, 0}, {"IQ1_BN", 0, 0, 0},
    {"IQ2_BN", 0, 0, 1},  {"IQ2_BN_R4", 0, 0, 4}, {"I2_S", 0, 0, 0},
};

// Random legal codes, and the steps 0.5 and 0.25 in turn (of the tensor: 0.5).
Bytes Draw(const Place& place, uint64_t rows, uint64_t cols, uint64_t seed) {
  const std::string type = place.type;
  const GgufType& facts = *FindGgufType(type);
  Bytes bytes(static_cast<size_t>(*facts.Bytes(rows, cols)));
  Random random(seed);
  const bool trits = type == "TQ1_0" || type == "PTQ1_0" || type == "IQ1_BN";
  const bool twos = type == "TQ2_0" || type == "I2_S" || type.starts_with("IQ2_BN");
  for (uint8_t& byte : bytes) {
    byte = static_cast<uint8_t>(UniformBelow(random, 256));
    // The first and the last trit are 0: a byte that is legal of four trits and of five.
    if (trits) byte = static_cast<uint8_t>((UniformBelow(random, 27) * 3 * 256 + 242) / 243);
    if (twos) byte = static_cast<uint8_t>(byte & ~(byte & (byte >> 1) & 0x55));
  }
  if (type == "I2_S") {
    PutFloat(bytes, bytes.size() - 32, 0.5f);
    return bytes;
  }
  const size_t row = bytes.size() / static_cast<size_t>(rows) * facts.rows_together;
  const size_t unit = place.unit != 0 ? place.unit : row;
  for (size_t begin = 0, n = 0; begin < bytes.size(); begin += unit) {
    if (place.steps == 0) PutHalf(bytes, begin + place.at, n++ % 2 == 0 ? 0.5f : 0.25f);
    for (size_t i = 0; i < place.steps; ++i) PutFloat(bytes, begin + 4 * i, n++ % 2 == 0 ? 0.5f : 0.25f);
    if (type == "Q6_K") {
      for (size_t i = 0; i < 16; ++i) bytes[begin + 192 + i] = static_cast<uint8_t>(1 + i % 2);
    }
  }
  return bytes;
}

TEST_CASE("FactsOfTensor: levels are counted as DecodeTensor gives them, of every type") {
  for (const Place& place : kPlaces) {
    CAPTURE(place.type);
    const uint64_t rows = 8, cols = 512;
    const Bytes bytes = Draw(place, rows, cols, 5);
    const GgufTensor tensor = TensorOf(place.type, rows, cols, bytes);
    for (const I2sLayout i2s : {I2sLayout::kA, I2sLayout::kB, I2sLayout::kC}) {
      const TensorFacts facts = FactsOfTensor(tensor, i2s);
      CHECK(facts.unread.empty());
      CHECK(facts.values == rows * cols);
      CHECK(facts.illegal == 0);
      CHECK(facts.first_illegal.empty());
      CHECK_FALSE(facts.all_zero);
      CHECK_FALSE(facts.constant);
      const Result<DecodedTensor> decoded = DecodeTensor(GgufFile(), tensor, {i2s});
      REQUIRE(decoded.ok());
      std::map<int, uint64_t> counts;
      std::visit(
          [&]<Format F>(const QuantizedMatrix<F>& matrix) {
            if constexpr (LevelFormat<F>) {
              std::vector<LevelOf<F>> row(matrix.cols());
              for (size_t r = 0; r < matrix.rows(); ++r) {
                matrix.UnpackRow(r, row);
                for (const auto level : row) ++counts[static_cast<int>(level)];
              }
            }
          },
          decoded->matrix);
      REQUIRE(facts.levels.size() == facts.counts.size());
      uint64_t all = 0;
      for (size_t i = 0; i < facts.levels.size(); ++i) {
        CHECK(facts.counts[i] == counts[facts.levels[i]]);
        all += facts.counts[i];
      }
      CHECK(all == rows * cols);
      CHECK(facts.Share(facts.levels[0]) == static_cast<double>(facts.counts[0]) / static_cast<double>(rows * cols));
      CHECK(facts.Share(1000) == 0.0);
      const bool one = std::string(place.type) == "I2_S";
      CHECK(facts.scales.largest == (std::string(place.type) == "Q6_K" ? 2 * 0.5f : 0.5f));
      CHECK(facts.scales.smallest == (one ? 0.5f : 0.25f));
      CHECK(facts.scales.zeros + facts.scales.negative + facts.scales.not_finite == 0);
      const size_t per_row = place.unit == 0 ? 1 : cols / FindGgufType(place.type)->block_values;
      if (std::string(place.type) != "Q6_K") CHECK(facts.scales.count == (one ? 1 : rows * per_row));
    }
  }
}

TEST_CASE("FactsOfTensor: of bytes that end early, the whole rows") {
  for (const Place& place : kPlaces) {
    CAPTURE(place.type);
    Bytes bytes = Draw(place, 8, 512, 6);
    const TensorFacts all = FactsOfTensor(TensorOf(place.type, 8, 512, bytes));
    bytes.resize(bytes.size() - bytes.size() / 4);
    const TensorFacts some = FactsOfTensor(TensorOf(place.type, 8, 512, bytes));
    CHECK(some.values > 0);
    CHECK(some.values < all.values);
    if (std::string(place.type) != "I2_S") CHECK(some.values % 512 == 0);
    CHECK(FactsOfTensor(TensorOf(place.type, 8, 512, {})).values == 0);
    // A shape for which no bytes are there takes no memory.
    CHECK(FactsOfTensor(TensorOf(place.type, 1u << 20, uint64_t{1} << 36, bytes)).values <= 4 * bytes.size());
  }
  const Bytes three(11);
  CHECK(FactsOfTensor(TensorOf("F32", 1, 100, three)).values == 2);
}

TEST_CASE("FactsOfTensor: codes without a level are counted, and the first has its place") {
  // Layout A of I2_S: 128 values in 32 bytes; byte 33, highest digit: value 128 + 1.
  Bytes bytes = Draw(kPlaces[12], 4, 96, 1);
  bytes[33] |= 0xc0;
  bytes[40] |= 0x03;
  TensorFacts facts = FactsOfTensor(TensorOf("I2_S", 4, 96, bytes));
  CHECK(facts.illegal == 2);
  CHECK(facts.first_illegal == "row 1, column 33");
  CHECK(FactsOfTensor(TensorOf("I2_S", 4, 96, bytes), I2sLayout::kB).first_illegal == "row 1, column 33");
  CHECK(FactsOfTensor(TensorOf("I2_S", 4, 96, bytes), I2sLayout::kC).first_illegal == "row 0, column 33");
  const Result<DecodedTensor> decoded = DecodeTensor(GgufFile(), TensorOf("I2_S", 4, 96, bytes));
  CHECK(decoded.error().find(facts.first_illegal) != std::string::npos);

  for (const char* type : {"TQ2_0", "IQ2_BN", "IQ2_BN_R4", "TQ1_0", "PTQ1_0", "IQ1_BN"}) {
    CAPTURE(type);
    const Place* place = std::find_if(std::begin(kPlaces), std::end(kPlaces),
                                      [&](const Place& p) { return std::string(p.type) == type; });
    Bytes wrong = Draw(*place, 8, 512, 3);
    wrong[wrong.size() / 2 + 20] = std::string(type).find("Q1_") == std::string::npos ? 0xff : 1;  // 1: no trits
    const Result<DecodedTensor> refused = DecodeTensor(GgufFile(), TensorOf(type, 8, 512, wrong));
    REQUIRE_FALSE(refused.ok());
    facts = FactsOfTensor(TensorOf(type, 8, 512, wrong));
    CHECK(facts.illegal > 0);
    CHECK(refused.error().find(facts.first_illegal + ":") != std::string::npos);
  }
  // Code 3 of Q2_0 is the level 2.
  const Bytes threes(18 * 8, 0xff);
  facts = FactsOfTensor(TensorOf("Q2_0", 1, 512, threes));
  CHECK(facts.illegal == 0);
  CHECK(facts.Share(2) == 1.0);
}

TEST_CASE("FactsOfTensor: scales that are zero, negative, not finite; their median") {
  Bytes bytes(66 * 9, 0x55);  // codes 1, which are 0
  for (size_t b = 0; b < 9; ++b) PutHalf(bytes, 66 * b + 64, 0.5f);
  TensorFacts facts = FactsOfTensor(TensorOf("TQ2_0", 9, 256, bytes));
  CHECK(facts.all_zero);
  CHECK(facts.constant);
  CHECK(facts.scales.typical == 0.5f);
  std::fill_n(bytes.begin() + 66, 64, uint8_t{0xaa});  // a row of +1
  CHECK_FALSE(FactsOfTensor(TensorOf("TQ2_0", 9, 256, bytes)).constant);
  for (size_t b = 0; b < 9; ++b) std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(66 * b), 64, uint8_t{0xaa});
  facts = FactsOfTensor(TensorOf("TQ2_0", 9, 256, bytes));
  CHECK(facts.constant);
  CHECK_FALSE(facts.all_zero);
  PutHalf(bytes, 64, 0.0f);
  PutHalf(bytes, 66 + 64, -0.25f);
  PutHalf(bytes, 66 * 2 + 64, INFINITY);
  PutHalf(bytes, 66 * 3 + 64, NAN);
  PutHalf(bytes, 66 * 4 + 64, 64.0f);
  facts = FactsOfTensor(TensorOf("TQ2_0", 9, 256, bytes));
  CHECK(facts.scales.count == 9);
  CHECK(facts.scales.zeros == 1);
  CHECK(facts.zeroed == 1);
  CHECK(facts.scales.negative == 1);
  CHECK(facts.scales.not_finite == 2);
  CHECK(facts.first_not_finite == "row 2, column 0");
  CHECK(facts.scales.smallest == 0.25f);
  CHECK(facts.scales.largest == 64.0f);
  CHECK(std::fabs(facts.scales.typical - 0.5f) <= 0.5f / 16);
  CHECK_FALSE(facts.constant);
  // All scales are 0: so is the tensor.
  for (size_t b = 0; b < 9; ++b) PutHalf(bytes, 66 * b + 64, 0.0f);
  facts = FactsOfTensor(TensorOf("TQ2_0", 9, 256, bytes));
  CHECK(facts.all_zero);
  CHECK(facts.zeroed == 9);
  // I2_S, whose one scale is behind the codes.
  Bytes one = Draw(kPlaces[12], 4, 96, 1);
  PutFloat(one, one.size() - 32, NAN);
  CHECK(FactsOfTensor(TensorOf("I2_S", 4, 96, one)).scales.not_finite == 1);
  PutFloat(one, one.size() - 32, 0.0f);
  facts = FactsOfTensor(TensorOf("I2_S", 4, 96, one));
  CHECK(facts.all_zero);
  CHECK(facts.zeroed == 1);
  // Rows with steps of their own.
  Bytes rows = Draw(kPlaces[10], 4, 64, 1);
  PutFloat(rows, 20, 0.0f);
  CHECK(FactsOfTensor(TensorOf("IQ2_BN", 4, 64, rows)).zeroed == 1);
}

TEST_CASE("FactsOfReals: range, zeros, and what is not finite") {
  std::vector<float> values(1000, 2.0f);
  const auto facts_of = [&] {
    Bytes bytes(4 * values.size());
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return FactsOfReals<Float>(bytes, 100);
  };
  CHECK(facts_of().constant);
  CHECK_FALSE(facts_of().all_zero);
  values[999] = -3.0f;
  values[5] = 0.0f;
  TensorFacts facts = facts_of();
  CHECK_FALSE(facts.constant);
  CHECK(facts.lowest == -3.0f);
  CHECK(facts.highest == 2.0f);
  CHECK(facts.zeros == 1);
  CHECK(facts.values == 1000);
  values[312] = NAN;
  values[313] = -INFINITY;
  facts = facts_of();
  CHECK(facts.not_finite == 2);
  CHECK(facts.first_not_finite == "row 3, column 12");
  CHECK(facts.lowest == -3.0f);
  values.assign(1000, -0.0f);
  CHECK(facts_of().all_zero);
  values.assign(1, 1.0f);
  CHECK_FALSE(facts_of().constant);
  const Bytes halves = {0x00, 0x3c, 0x00, 0xbc};  // 1, -1
  CHECK(FactsOfReals<Float16>(halves, 2).lowest == -1.0f);
  CHECK(FactsOfReals<BFloat16>(halves, 2).highest == 0.0078125f);  // 0x3c00, of which a half is 1
}

TEST_CASE("FactsOfHfPacked: four rows a byte, from the lowest bits") {
  const Bytes packed = {0b10100001, 0b00011000, 0b10010000, 0b00001010};
  TensorFacts facts = FactsOfHfPacked(packed, 8, 2);
  CHECK(facts.counts == std::vector<uint64_t>{7, 3, 6});
  CHECK(facts.values == 16);
  CHECK(facts.is_ternary);
  const Bytes wrong = {0, 0, 0, 0b00110000};
  facts = FactsOfHfPacked(wrong, 8, 2);
  CHECK(facts.illegal == 1);
  CHECK(facts.first_illegal == "row 5, column 1");
  const Bytes zero(4, 0x55);
  CHECK(FactsOfHfPacked(zero, 8, 2).all_zero);
  const Bytes ones(4, 0xaa);
  CHECK(FactsOfHfPacked(ones, 8, 2).constant);
}

TEST_CASE("FactsOfTensor: what is not decoded says why") {
  CHECK(FactsOfTensor(TensorOf("TL1", 1, 4, {})).unread.find("permuted") != std::string::npos);
  CHECK(FactsOfTensor(TensorOf("Q4_K", 1, 256, Bytes(144))).unread.find("Q4_K") != std::string::npos);
  GgufTensor unknown;
  unknown.type_id = 99;
  CHECK(FactsOfTensor(unknown).unread.find("99") != std::string::npos);
  CHECK(FactsOfTensor(TensorOf("TQ2_0", 1, 100, Bytes(66))).unread.find("TQ2_0") != std::string::npos);
}

}  // namespace
}  // namespace bitnet::tensor_facts_test
