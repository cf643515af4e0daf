#include "bitnet/io/blocks.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bitnet/base/random.h"
#include "io/gguf_bytes.h"
#include "testing/awkward_formats.h"

namespace bitnet::blocks_test {
namespace {

using Bytes = std::vector<uint8_t>;

bool Has(const std::string& sentence, std::string_view part) { return sentence.find(part) != std::string::npos; }

// A tensor of these bytes that lies in no file.
GgufTensor TensorOf(const char* type, uint64_t rows, uint64_t cols, const Bytes& bytes) {
  GgufTensor tensor;
  tensor.name = "t";
  tensor.rank = 2;
  tensor.dims = {cols, rows, 1, 1};
  tensor.type = FindGgufType(type);
  REQUIRE(tensor.type != nullptr);
  tensor.type_id = tensor.type->id;
  REQUIRE(tensor.type->Bytes(rows, cols) == bytes.size());
  tensor.bytes = bytes;
  return tensor;
}

Result<DecodedTensor> Decode(const char* type, uint64_t rows, uint64_t cols, const Bytes& bytes,
                             I2sLayout i2s = I2sLayout::kA) {
  return DecodeTensor(GgufFile(), TensorOf(type, rows, cols, bytes), {i2s});
}

std::string ErrorOf(const Result<DecodedTensor>& decoded) { return decoded.ok() ? std::string() : decoded.error(); }

template <Format F>
const QuantizedMatrix<F>& As(const Result<DecodedTensor>& decoded) {
  REQUIRE_MESSAGE(decoded.ok(), ErrorOf(decoded));
  const auto* matrix = std::get_if<QuantizedMatrix<F>>(&decoded->matrix);
  REQUIRE(matrix != nullptr);
  return *matrix;
}

std::vector<float> Values(const DecodedTensor& decoded) {
  std::vector<float> values;
  std::visit(
      [&](const auto& matrix) {
        values.resize(matrix.rows() * matrix.cols());
        for (size_t r = 0; r < matrix.rows(); ++r) {
          matrix.DequantizeRow(r, std::span(values).subspan(r * matrix.cols(), matrix.cols()));
        }
        CHECK(matrix.IsValid());
      },
      decoded.matrix);
  return values;
}

std::vector<int> Levels(const DecodedTensor& decoded) {
  std::vector<int> levels;
  std::visit(
      [&]<Format F>(const QuantizedMatrix<F>& matrix) {
        std::vector<LevelOf<F>> row(matrix.cols());
        for (size_t r = 0; r < matrix.rows(); ++r) {
          matrix.UnpackRow(r, row);
          for (const auto level : row) levels.push_back(static_cast<int>(level));
        }
      },
      decoded.matrix);
  return levels;
}

void PutHalf(Bytes& to, size_t at, float value) {
  const Float16 half = Float16::Nearest(value);
  std::memcpy(to.data() + at, &half, 2);
}
void PutFloat(Bytes& to, size_t at, float value) { std::memcpy(to.data() + at, &value, 4); }

TEST_CASE("DecodeTensor: what PyPI's gguf wrote and reads has the same values, to the bit") {
  const Result<GgufFile> file = GgufFile::Open("tests/golden/io/gguf_types.gguf");
  REQUIRE(file.ok());
  std::vector<std::string> types;
  for (const GgufTensor& tensor : file->tensors()) {
    const GgufTensor* expected = file->FindTensor(std::string(tensor.name) + ".expected");
    if (expected == nullptr) continue;
    const std::string name(tensor.name);
    const Result<DecodedTensor> decoded = DecodeTensor(*file, tensor);
    REQUIRE_MESSAGE(decoded.ok(), ErrorOf(decoded));
    const Result<std::vector<float>> values = DecodeReals(*file, *expected);
    REQUIRE(values.ok());
    const std::vector<float> got = Values(*decoded);
    REQUIRE(got.size() == values->size());
    size_t wrong = 0;
    for (size_t i = 0; i < got.size(); ++i) wrong += got[i] != (*values)[i] ? 1u : 0u;
    CHECK_MESSAGE(wrong == 0, name);
    types.push_back(name);
    if (name == "TQ1_0.one_step" || name == "TQ2_0.one_step") {
      CHECK(decoded->folded);
      CHECK(std::get<QuantizedMatrix<Ternary>>(decoded->matrix).granularity() == StepGranularity());
      CHECK(std::get<QuantizedMatrix<Ternary>>(decoded->matrix).Step(0, 0) == 0.75f);
    } else if (name == "TQ1_0" || name == "TQ2_0") {
      CHECK(!decoded->folded);
      CHECK(std::get<QuantizedMatrix<Ternary>>(decoded->matrix).granularity() == StepGranularity{true, 256});
    } else if (name == "Q6_K") {
      CHECK(std::get<QuantizedMatrix<Int<6>>>(decoded->matrix).granularity() == StepGranularity{true, 16});
      CHECK(decoded->negative_steps);
    } else if (name == "Q4_0" || name == "Q8_0") {
      CHECK(decoded->negative_steps == (name == "Q4_0"));
    }
  }
  CHECK(types == std::vector<std::string>{"Q8_0", "Q4_0", "BF16", "F16", "TQ1_0", "TQ2_0", "TQ1_0.one_step",
                                          "TQ2_0.one_step", "Q6_K"});
}

TEST_CASE("DecodeTensor: blocks that a transcription of the formats' programs decoded have its levels and steps") {
  std::ifstream golden("tests/golden/io/gguf_blocks.txt");
  REQUIRE(golden.good());
  std::string header, hex, signs, step_text;
  std::getline(golden, header);
  size_t count = 0;
  while (std::getline(golden, header)) {
    std::getline(golden, hex);
    std::getline(golden, signs);
    std::getline(golden, step_text);
    std::istringstream words(header);
    std::string type;
    size_t rows = 0, cols = 0;
    words >> type >> rows >> cols;
    I2sLayout i2s = I2sLayout::kA;
    if (type.starts_with("I2_S/")) {
      i2s = static_cast<I2sLayout>(type.back() - 'A');
      type = "I2_S";
    }
    Bytes bytes;
    for (size_t i = 0; i + 1 < hex.size(); i += 2) {
      bytes.push_back(static_cast<uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    }
    std::vector<int> levels;
    for (const char c : signs) levels.push_back(c == '-' ? -1 : c == '0' ? 0 : c == '+' ? 1 : 2);
    std::vector<float> steps;
    std::istringstream numbers(step_text);
    for (std::string number; numbers >> number;) steps.push_back(std::strtof(number.c_str(), nullptr));

    const Result<DecodedTensor> decoded = Decode(type.c_str(), rows, cols, bytes, i2s);
    REQUIRE_MESSAGE(decoded.ok(), header, ErrorOf(decoded));
    CHECK_MESSAGE(Levels(*decoded) == levels, header);
    std::visit(
        [&](const auto& matrix) {
          CHECK_MESSAGE(std::equal(matrix.steps().begin(), matrix.steps().end(), steps.begin(), steps.end()), header);
        },
        decoded->matrix);
    const bool has_two = std::find(levels.begin(), levels.end(), 2) != levels.end();
    CHECK_MESSAGE((std::get_if<QuantizedMatrix<MinusOneToTwo>>(&decoded->matrix) != nullptr) == has_two, header);
    ++count;
  }
  CHECK(count == 12);
}

// ---- By hand: one byte is other than zero's, and these values are.

std::vector<size_t> NotZero(const std::vector<int>& levels) {
  std::vector<size_t> at;
  for (size_t i = 0; i < levels.size(); ++i) {
    if (levels[i] != 0) at.push_back(i);
  }
  return at;
}

TEST_CASE("I2_S: bytes worked by hand, in the three layouts") {
  Bytes bytes(4 * 256 / 4 + 32, 0x55);  // all codes 1
  PutFloat(bytes, 256, 0.5f);
  // 2 0 1 2 from the high bits down: +1, -1, 0, +1.
  bytes[32 + 5] = 0b10000110;
  // A: byte 5 of the second 32 has values 128 + 5, + 32, + 64, + 96 of row 0.
  const std::vector<int> a = Levels(*Decode("I2_S", 4, 256, bytes, I2sLayout::kA));
  CHECK(NotZero(a) == std::vector<size_t>{133, 165, 229});
  CHECK(a[133] == 1);
  CHECK(a[165] == -1);
  CHECK(a[229] == 1);
  // B: byte 37 is byte 5 of the third 16: values 128 + 5, + 16, + 32, + 48.
  const std::vector<int> b = Levels(*Decode("I2_S", 4, 256, bytes, I2sLayout::kB));
  CHECK(NotZero(b) == std::vector<size_t>{133, 149, 181});
  CHECK(b[149] == -1);
  // C: column 37 of rows 0 to 3.
  const std::vector<int> c = Levels(*Decode("I2_S", 4, 256, bytes, I2sLayout::kC));
  CHECK(NotZero(c) == std::vector<size_t>{37, 256 + 37, 768 + 37});
  CHECK(c[256 + 37] == -1);
  CHECK(Values(*Decode("I2_S", 4, 256, bytes))[133] == 0.5f);
}

TEST_CASE("TQ2_0 and TQ1_0: bytes worked by hand") {
  Bytes tq2(66, 0x55);
  PutHalf(tq2, 64, 2.0f);
  tq2[32 + 3] = 0b10000110;  // value 128 + 32 l + 3 at bits 2 l: codes 2, 1, 0, 2
  std::vector<int> levels = Levels(*Decode("TQ2_0", 1, 256, tq2));
  CHECK(NotZero(levels) == std::vector<size_t>{131, 195, 227});
  CHECK(levels[131] == 1);
  CHECK(levels[195] == -1);
  CHECK(levels[227] == 1);
  // Trits 1 1 1 1 1 are 121, (121 * 256 + 242) / 243 = 128.
  Bytes tq1(54, 128);
  for (size_t i = 48; i < 52; ++i) tq1[i] = 127;  // 1 1 1 1 and nothing: 120, 127
  PutHalf(tq1, 52, 2.0f);
  CHECK(NotZero(Levels(*Decode("TQ1_0", 1, 256, tq1))).empty());
  tq1[7] = 170;   // 2 0 0 0 0 = 162: ceil(162 * 256 / 243) = 171
  tq1[7] = 171;   // value 7 is +1, values 39, 71, 103, 135 are -1
  tq1[33] = 174;  // 2 0 0 1 0 = 165: 174; values 161, 177, 193, 209, 225
  tq1[50] = 4;    // 0 0 0 1 = 3: 4; values 242, 246, 250 are -1, 254 is 0
  levels = Levels(*Decode("TQ1_0", 1, 256, tq1));
  CHECK(NotZero(levels) == std::vector<size_t>{7, 39, 71, 103, 135, 161, 177, 193, 225, 242, 246, 250});
  CHECK(levels[7] == 1);
  CHECK(levels[39] == -1);
  CHECK(levels[161] == 1);
  CHECK(levels[225] == -1);
  CHECK(levels[250] == -1);
}

TEST_CASE("PTQ1_0, IQ1_BN: bytes worked by hand") {
  Bytes ptq(28, 128);
  ptq[24] = ptq[25] = 127;
  PutHalf(ptq, 26, 1.0f);
  ptq[2] = 171;   // 2 0 0 0 0: values 2, 18, 34, 50, 66
  ptq[17] = 174;  // 2 0 0 1 0: values 80 + 1, 89, 97, 105, 113
  ptq[25] = 4;    // 0 0 0 1: values 121, 123, 125, 127
  std::vector<int> levels = Levels(*Decode("PTQ1_0", 1, 128, ptq));
  CHECK(NotZero(levels) == std::vector<size_t>{2, 18, 34, 50, 66, 81, 89, 97, 113, 121, 123, 125});
  CHECK(levels[2] == 1);
  CHECK(levels[18] == -1);
  CHECK(levels[81] == 1);
  CHECK(levels[113] == -1);
  // Here the first trit is the lowest: 1 1 1 1 1 is 128 again; four ones are 40: ceil(40 * 256 / 243) = 43.
  Bytes iq1(2 + 13, 128);
  iq1[14] = 43;
  PutHalf(iq1, 0, 0.25f);
  CHECK(NotZero(Levels(*Decode("IQ1_BN", 1, 64, iq1))).empty());
  iq1[2 + 4] = 3;  // group 1, second byte: trits 2 0 0 0 0 are 2: ceil(512 / 243) = 3; values 16 + 5 to 16 + 9
  iq1[14] = 57;    // 0 0 0 2 of groups 0 to 3 are 54: ceil(54 * 256 / 243) = 57; values 15, 31, 47 and 63
  levels = Levels(*Decode("IQ1_BN", 1, 64, iq1));
  CHECK(NotZero(levels) == std::vector<size_t>{15, 21, 22, 23, 24, 25, 31, 47, 63});
  CHECK(levels[21] == 1);
  CHECK(levels[22] == -1);
  CHECK(levels[47] == -1);
  CHECK(levels[63] == 1);
}

TEST_CASE("IQ2_BN, IQ2_BN_R4, Q2_0, PQ2_0, Q1_0: bytes worked by hand") {
  Bytes iq2(4 + 16, 0x55);
  PutFloat(iq2, 0, 1.0f);
  iq2[4 + 9] = 0b00100110;  // codes 2, 1, 2, 0 at shifts 0, 2, 4, 6: values 9, 25, 41, 57
  std::vector<int> levels = Levels(*Decode("IQ2_BN", 1, 64, iq2));
  CHECK(NotZero(levels) == std::vector<size_t>{9, 41, 57});
  CHECK(levels[41] == 1);
  CHECK(levels[57] == -1);

  Bytes r4(4 * (4 + 16), 0x55);
  for (size_t k = 0; k < 4; ++k) PutFloat(r4, 4 * k, static_cast<float>(k + 1));
  r4[16 + 4 * 2 + 3 + 16 * 1] = 0b00100110;  // row 2, i = 3, l = 1: columns 16 + 3, + 4, + 8, + 12
  const Result<DecodedTensor> four = Decode("IQ2_BN_R4", 4, 64, r4);
  levels = Levels(*four);
  CHECK(NotZero(levels) == std::vector<size_t>{128 + 19, 128 + 27, 128 + 31});
  CHECK(levels[128 + 31] == -1);
  CHECK(As<Ternary>(four).Step(2, 0) == 3.0f);

  Bytes q2(18, 0x55);
  PutHalf(q2, 0, 1.0f);
  q2[2 + 3] = 0b11100001;  // 1, 0, 2, 3 of values 12 to 15
  levels = Levels(*Decode("Q2_0", 1, 64, q2));
  CHECK(NotZero(levels) == std::vector<size_t>{13, 14, 15});
  CHECK(levels[13] == -1);
  CHECK(levels[15] == 2);
  Bytes pq2(34, 0x55);
  PutHalf(pq2, 0, 1.0f);
  pq2[2 + 31] = 0b01010100;  // value 124
  CHECK(NotZero(Levels(*Decode("PQ2_0", 1, 128, pq2))) == std::vector<size_t>{124});

  Bytes q1(18, 0);
  PutHalf(q1, 0, 1.0f);
  q1[2 + 4] = 0b00000100;  // value 8 * 4 + 2
  levels = Levels(*Decode("Q1_0", 1, 128, q1));
  CHECK(levels[34] == 1);
  CHECK(std::count(levels.begin(), levels.end(), -1) == 127);
}

TEST_CASE("Q6_K, Q4_0, Q8_0: bytes worked by hand") {
  Bytes q6(210, 0);
  PutHalf(q6, 208, 0.5f);
  for (size_t i = 0; i < 16; ++i) q6[192 + i] = static_cast<uint8_t>(i + 1);
  // Value 128 + 64 + 32 + 5 has its low bits in the high half of ql[64 + 32 + 5], its high bits at 6 of qh[32 + 5].
  q6[64 + 37] = 0xf0;
  q6[128 + 32 + 5] = 0xc0;
  std::vector<int> levels = Levels(*Decode("Q6_K", 1, 256, q6));
  CHECK(levels[229] == 31);
  CHECK(std::count(levels.begin(), levels.end(), -32) == 255);
  CHECK(Values(*Decode("Q6_K", 1, 256, q6))[229] == 31 * 0.5f * 15);

  Bytes q4(18, 0x88);
  PutHalf(q4, 0, 1.0f);
  q4[2 + 6] = 0x1f;  // value 6 is 15 - 8, value 22 is 1 - 8
  levels = Levels(*Decode("Q4_0", 1, 32, q4));
  CHECK(NotZero(levels) == std::vector<size_t>{6, 22});
  CHECK(levels[6] == 7);
  CHECK(levels[22] == -7);

  Bytes q8(34, 0);
  PutHalf(q8, 0, 1.0f);
  q8[2] = 0x80;
  q8[2 + 31] = 0x7f;
  levels = Levels(*Decode("Q8_0", 1, 32, q8));
  CHECK(NotZero(levels) == std::vector<size_t>{0, 31});
  CHECK(levels[0] == -128);
  CHECK(levels[31] == 127);
}

// ---- What is refused.

TEST_CASE("DecodeTensor: a code without a level is refused with its row and column") {
  struct Case {
    const char* type;
    uint64_t rows, cols;
    size_t byte;    // in which it is
    uint8_t value;  // that byte
    size_t row, col;
    I2sLayout i2s = I2sLayout::kA;
  };
  const Case cases[] = {
      {"I2_S", 4, 128, 64 + 3, 0b01011101, 2, 64 + 3},
      {"I2_S", 4, 96, 32, 0b11010101, 1, 32},     // value 128 of all
      {"I2_S", 4, 96, 32 + 8, 0b01011101, 2, 8},  // value 200, in a block that begins in row 1
      {"I2_S", 4, 64, 16 + 3, 0b01110101, 1, 16 + 3, I2sLayout::kB},
      {"I2_S", 8, 40, 40 + 39, 0b01011101, 6, 39, I2sLayout::kC},
      {"TQ2_0", 2, 512, 66 * 3 + 33, 0b01110101, 1, 256 + 128 + 64 + 1},
      {"TQ1_0", 2, 256, 54 + 40, 20, 1, 160 + 8},  // 18 is written as 19, 19 as 21
      {"TQ1_0", 2, 256, 54 + 48, 128, 1, 240},     // five ones, of which four are used
      {"PTQ1_0", 2, 128, 28 + 24, 128, 1, 120},
      {"IQ1_BN", 2, 64, 15 + 2 + 3, 20, 1, 16},
      {"IQ1_BN", 2, 64, 15 + 14, 255, 1, 15},
      {"IQ2_BN", 2, 64, 20 + 4 + 2, 0b01011101, 1, 16 + 2},
      {"IQ2_BN_R4", 8, 64, 80 + 16 + 4 * 3 + 1 + 16 * 2, 0b01110101, 7, 32 + 1 + 8},
  };
  for (const Case& c : cases) {
    const size_t n = static_cast<size_t>(*FindGgufType(c.type)->Bytes(c.rows, c.cols));
    const bool has_trits = std::string_view(c.type).find("Q1_") != std::string_view::npos;
    Bytes bytes(n, 0x55);
    if (has_trits) {
      // Bytes of trits: the zero byte is one (all trits 0). Halves of zeros are steps of 0.
      std::fill(bytes.begin(), bytes.end(), uint8_t{0});
    }
    const std::string type = c.type;
    if (type == "I2_S") PutFloat(bytes, n - 32, 1.0f);
    REQUIRE_MESSAGE(Decode(c.type, c.rows, c.cols, bytes, c.i2s).ok(), c.type);
    bytes[c.byte] = c.value;
    const std::string error = ErrorOf(Decode(c.type, c.rows, c.cols, bytes, c.i2s));
    CAPTURE(type);
    CAPTURE(error);
    CHECK(Has(error, "tensor 't': row " + std::to_string(c.row) + ", column " + std::to_string(c.col) + ": "));
  }
}

TEST_CASE("DecodeTensor: steps and values that are not finite are refused with their row and column") {
  constexpr float kBad[] = {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()};
  struct Case {
    const char* type;
    uint64_t rows, cols;
    size_t at;
    bool is_half;
    const char* place;
  };
  const Case cases[] = {
      {"I2_S", 4, 128, 128, false, "row 0, column 0"},
      {"TQ2_0", 2, 512, 66 * 3 + 64, true, "row 1, column 256"},
      {"TQ1_0", 2, 512, 54 * 3 + 52, true, "row 1, column 256"},
      {"PTQ1_0", 2, 256, 28 * 3 + 26, true, "row 1, column 128"},
      {"IQ1_BN", 2, 128, 28, true, "row 1, column 0"},
      {"IQ2_BN", 2, 128, 36, false, "row 1, column 0"},
      {"IQ2_BN_R4", 8, 64, 80 + 8, false, "row 6, column 0"},
      {"Q1_0", 2, 256, 54, true, "row 1, column 128"},
      {"Q2_0", 2, 128, 54, true, "row 1, column 64"},
      {"PQ2_0", 2, 256, 102, true, "row 1, column 128"},
      {"Q4_0", 2, 64, 54, true, "row 1, column 32"},
      {"Q8_0", 2, 64, 102, true, "row 1, column 32"},
      {"Q6_K", 2, 512, 210 * 3 + 208, true, "row 1, column 256"},
      {"F32", 2, 100, 4 * 142, false, "row 1, column 42"},
      {"F16", 2, 100, 2 * 142, true, "row 1, column 42"},
      {"BF16", 2, 100, 2 * 142, true, "row 1, column 42"},
  };
  for (const Case& c : cases) {
    for (const float bad : kBad) {
      Bytes bytes(static_cast<size_t>(*FindGgufType(c.type)->Bytes(c.rows, c.cols)));
      if (std::string_view(c.type) == "Q6_K") std::fill(bytes.begin(), bytes.end(), uint8_t{1});
      REQUIRE_MESSAGE(Decode(c.type, c.rows, c.cols, bytes).ok(), c.type);
      if (std::string_view(c.type) == "BF16") {
        const BFloat16 real = BFloat16::Nearest(bad);
        std::memcpy(bytes.data() + c.at, &real, 2);
      } else if (c.is_half) {
        PutHalf(bytes, c.at, bad);
      } else {
        PutFloat(bytes, c.at, bad);
      }
      const std::string error = ErrorOf(Decode(c.type, c.rows, c.cols, bytes));
      CAPTURE(error);
      CHECK(Has(error, std::string("tensor 't': ") + c.place + ": "));
      CHECK(Has(error, "finite"));
    }
  }
}

TEST_CASE("DecodeTensor: types that are not read are refused by name or number, TL1 and TL2 with their reason") {
  const auto why = [](uint32_t id, const char* name) {
    GgufTensor tensor;
    tensor.name = "t";
    tensor.type_id = id;
    tensor.type = name == nullptr ? nullptr : FindGgufType(name);
    const Result<DecodedTensor> decoded = DecodeTensor(GgufFile(), tensor);
    CHECK(WhyNotDecoded(tensor) != "");
    return ErrorOf(decoded);
  };
  CHECK(why(77, nullptr) == ": tensor 't': its type is number 77, which is not known");
  CHECK(why(12, "Q4_K") == ": tensor 't': its type is Q4_K (number 12), which is not read");
  CHECK(why(38, "TL1") == ": tensor 't': TL1 and TL2 are permuted by a configuration that is not in the file");
  CHECK(why(39, "TL2") == ": tensor 't': TL1 and TL2 are permuted by a configuration that is not in the file");
  GgufTensor tensor;
  tensor.type = FindGgufType("TQ2_0");
  CHECK(WhyNotDecoded(tensor).empty());
  CHECK(!DecodeReals(GgufFile(), tensor).ok());
}

TEST_CASE("I2_S: a layout that cannot have so many values is refused") {
  Bytes bytes(3 * 64 / 4 + 32, 0x55);
  PutFloat(bytes, 48, 1.0f);
  CHECK(Has(ErrorOf(Decode("I2_S", 3, 64, bytes)), "multiples of 128"));
  CHECK(Decode("I2_S", 3, 64, bytes, I2sLayout::kB).ok());
  CHECK(Has(ErrorOf(Decode("I2_S", 3, 64, bytes, I2sLayout::kC)), "rows in fours"));
}

// ---- Steps.

TEST_CASE("DecodeTensor: negative steps change the sign of symmetric codes, and stay in other formats") {
  const auto check = [](const char* type, size_t rows, size_t cols, Bytes bytes, size_t at, bool is_half, bool kept) {
    is_half ? PutHalf(bytes, at, 0.5f) : PutFloat(bytes, at, 0.5f);
    const Result<DecodedTensor> positive = Decode(type, rows, cols, bytes);
    REQUIRE_MESSAGE(positive.ok(), ErrorOf(positive));
    is_half ? PutHalf(bytes, at, -0.5f) : PutFloat(bytes, at, -0.5f);
    const Result<DecodedTensor> negative = Decode(type, rows, cols, bytes);
    REQUIRE(negative.ok());
    CHECK_MESSAGE(negative->negative_steps == kept, type);
    CHECK(!positive->negative_steps);
    const std::vector<float> a = Values(*positive), b = Values(*negative);
    size_t wrong = 0, changed = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      wrong += b[i] != a[i] && b[i] != -a[i] ? 1u : 0u;
      changed += b[i] != a[i] ? 1u : 0u;
    }
    CHECK(wrong == 0);
    CHECK(changed > 0);
    std::visit(
        [&](const auto& matrix) {
          const auto steps = matrix.steps();
          CHECK(std::any_of(steps.begin(), steps.end(), [](float s) { return s < 0.0f; }) == kept);
        },
        negative->matrix);
  };
  Bytes ternary(66, 0b10010010);
  check("TQ2_0", 1, 256, ternary, 64, true, false);
  check("I2_S", 1, 128, Bytes(64, 0b10010010), 32, false, false);
  check("IQ2_BN", 2, 64, Bytes(40, 0b00010010), 20, false, false);
  check("Q1_0", 1, 128, Bytes(18, 0x35), 0, true, false);
  check("Q2_0", 1, 64, Bytes(18, 0b10010010), 0, true, false);  // ternary
  check("Q2_0", 1, 64, Bytes(18, 0b11010010), 0, true, true);
  check("Q4_0", 1, 32, Bytes(18, 0x35), 0, true, true);
  check("Q8_0", 1, 32, Bytes(34, 0x35), 0, true, true);
  Bytes q6(210, 0x35);
  check("Q6_K", 1, 256, q6, 208, true, true);
}

TEST_CASE("DecodeTensor: equal steps become one, but for blocks of step 0, whose codes become 0") {
  Bytes bytes(4 * 66, 0b10010010);
  for (size_t b = 0; b < 4; ++b) PutHalf(bytes, b * 66 + 64, b == 2 ? 0.0f : b == 1 ? -0.25f : 0.25f);
  const Result<DecodedTensor> folded = Decode("TQ2_0", 2, 512, bytes);
  REQUIRE(folded.ok());
  CHECK(folded->folded);
  const QuantizedMatrix<Ternary>& matrix = As<Ternary>(folded);
  CHECK(matrix.granularity() == StepGranularity());
  CHECK(matrix.steps().size() == 1);
  CHECK(matrix.Step(0, 0) == 0.25f);
  const std::vector<int> levels = Levels(*folded);
  // 0b10010010: codes 2, 0, 1, 2 of columns m, 32 + m, 64 + m, 96 + m.
  CHECK(levels[0] == 1);
  CHECK(levels[32] == -1);
  CHECK(levels[256] == -1);
  CHECK(levels[256 + 32] == 1);
  CHECK(std::count(levels.begin() + 512, levels.begin() + 768, 0) == 256);

  PutHalf(bytes, 3 * 66 + 64, 0.26f);
  const Result<DecodedTensor> several = Decode("TQ2_0", 2, 512, bytes);
  REQUIRE(several.ok());
  CHECK(!several->folded);
  CHECK(As<Ternary>(several).granularity() == StepGranularity{true, 256});
  CHECK(As<Ternary>(several).Step(1, 0) == 0.0f);
  CHECK(Levels(*several)[512] == 1);  // as it is in the file
  PutHalf(bytes, 2 * 66 + 64, -0.0f);
  CHECK(!std::signbit(As<Ternary>(Decode("TQ2_0", 2, 512, bytes)).Step(1, 0)));

  // A single block has one step: nothing was folded. Nor was in I2_S.
  CHECK(!Decode("TQ2_0", 1, 256, {bytes.begin(), bytes.begin() + 66})->folded);
  // All zero.
  for (size_t b = 0; b < 4; ++b) PutHalf(bytes, b * 66 + 64, b == 1 ? -0.0f : 0.0f);
  const Result<DecodedTensor> zero = Decode("TQ2_0", 2, 512, bytes);
  CHECK(As<Ternary>(zero).steps()[0] == 0.0f);
  CHECK(!std::signbit(As<Ternary>(zero).steps()[0]));
  // Rows of IQ2_BN.
  Bytes rows(3 * 20, 0b00010010);
  for (size_t r = 0; r < 3; ++r) PutFloat(rows, r * 20, 0.7f);
  CHECK(As<Ternary>(Decode("IQ2_BN", 3, 64, rows)).granularity() == StepGranularity());
  PutFloat(rows, 20, 0.6f);
  CHECK(As<Ternary>(Decode("IQ2_BN", 3, 64, rows)).granularity() == StepGranularity{true, 0});
  CHECK(As<Ternary>(Decode("IQ2_BN", 3, 64, rows)).Step(1, 0) == 0.6f);
  // Binary has no code of 0: its zero steps differ from others.
  Bytes binary(2 * 18, 0x35);
  PutHalf(binary, 0, 0.5f);
  PutHalf(binary, 18, 0.0f);
  CHECK(!Decode("Q1_0", 2, 128, binary)->folded);
  PutHalf(binary, 18, -0.5f);
  CHECK(Decode("Q1_0", 2, 128, binary)->folded);
}

// ---- The parts.

template <const BlockLayout& kLayout, unsigned kCount>
void CheckLayout(const char* name) {
  CAPTURE(name);
  Random random(kLayout.values + kLayout.bytes);
  for (size_t i = 0; i < 200; ++i) {
    Bytes codes(kLayout.values), got(kLayout.values), block(kLayout.bytes, 0xa5);
    for (uint8_t& code : codes) code = static_cast<uint8_t>(UniformBelow(random, kCount));
    PackBlock<kLayout>(codes.data(), block.data());
    UnpackBlock<kLayout>(block.data(), got.data());
    CHECK(got == codes);
    CHECK(IsLegalBlock<kLayout, kCount>(block.data()));
    CHECK(FindIllegal(kLayout, kCount, block.data()) == kLayout.values);
    // Any bytes: digits are those of the description, and both views of what is legal agree.
    for (uint8_t& byte : block) byte = static_cast<uint8_t>(UniformBelow(random, 256));
    UnpackBlock<kLayout>(block.data(), got.data());
    Bytes described(kLayout.values, 0);
    kLayout.ForEachDigit([&](size_t value, const CodeRun& run, size_t byte, int n) {
      described[value] = static_cast<uint8_t>(described[value] | run.digits.Of(block[byte], n) << run.code_shift);
    });
    CHECK(got == described);
    CHECK(IsLegalBlock<kLayout, kCount>(block.data()) ==
          (FindIllegal(kLayout, kCount, block.data()) == kLayout.values));
  }
}

TEST_CASE("Block layouts: codes packed and unpacked are the same, and what is illegal is found") {
  CheckLayout<layout::kTq2_0, 3>("TQ2_0");
  CheckLayout<layout::kTq1_0, 3>("TQ1_0");
  CheckLayout<layout::kPtq1_0, 3>("PTQ1_0");
  CheckLayout<layout::kI2sA, 3>("I2_S/A");
  CheckLayout<layout::kI2sB, 3>("I2_S/B");
  CheckLayout<layout::kIq1Bn, 3>("IQ1_BN");
  CheckLayout<layout::kIq2Bn, 3>("IQ2_BN");
  CheckLayout<layout::kIq2BnR4, 3>("IQ2_BN_R4");
  CheckLayout<layout::kQ1_0, 2>("Q1_0");
  CheckLayout<layout::kQ2_0, 4>("Q2_0");
  CheckLayout<layout::kPq2_0, 3>("PQ2_0");
  CheckLayout<layout::kQ4_0, 16>("Q4_0");
  CheckLayout<layout::kQ8_0, 256>("Q8_0");
  CheckLayout<layout::kQ6_K, 64>("Q6_K");
}

template <LevelFormat F>
void CheckPacking(const char* name) {
  CAPTURE(name);
  Random random(5);
  for (size_t n = 0; n < 70; ++n) {
    Bytes codes(n + kPackCodesSlack, 0xff);
    for (size_t i = 0; i < n; ++i) codes[i] = static_cast<uint8_t>(UniformBelow(random, FormatTraits<F>::kCount));
    Bytes expected(Packing<F>::Bytes(n)), packed(Packing<F>::Bytes(n) + 1, 0xee);
    Packing<F>::Pack(std::span<const uint8_t>(codes).first(n), expected);
    PackCodes<F>(codes.data(), n, packed.data());
    CHECK(packed.back() == 0xee);
    packed.pop_back();
    CHECK(packed == expected);
  }
}

TEST_CASE("PackCodes: is Packing<F>::Pack") {
  CheckPacking<Ternary>("Ternary");
  CheckPacking<Binary>("Binary");
  CheckPacking<MinusOneToTwo>("MinusOneToTwo");
  CheckPacking<Int<3>>("Int<3>");
  CheckPacking<Int<4>>("Int<4>");
  CheckPacking<Int<5>>("Int<5>");
  CheckPacking<Int<6>>("Int<6>");
  CheckPacking<Int<7>>("Int<7>");
  CheckPacking<Int<8>>("Int<8>");
  CheckPacking<Fp4E2M1>("Fp4E2M1");
}

}  // namespace
}  // namespace bitnet::blocks_test
