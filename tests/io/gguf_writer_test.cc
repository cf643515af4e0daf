#include "bitnet/io/gguf_writer.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bitnet/base/random.h"
#include "bitnet/io/blocks.h"
#include "bitnet/io/encode_tensor.h"
#include "testing/temporary_file.h"

namespace bitnet::gguf_writer_test {
namespace {

using testing::TemporaryFile;
using Bytes = std::vector<uint8_t>;

bool Has(const std::string& sentence, std::string_view part) { return sentence.find(part) != std::string::npos; }

template <LevelFormat F>
QuantizedMatrix<F> Draw(size_t rows, size_t cols, StepGranularity granularity, uint64_t seed = 1) {
  Random random(seed);
  std::vector<LevelOf<F>> levels(rows * cols);
  for (auto& level : levels) {
    level = static_cast<LevelOf<F>>(
        FormatTraits<F>::Level(static_cast<size_t>(UniformBelow(random, FormatTraits<F>::kCount))));
  }
  std::vector<float> steps(granularity.Count(rows, cols));
  for (float& step : steps) step = Float16::Nearest(static_cast<float>(0.01 + UniformReal(random)));
  return *QuantizedMatrix<F>::FromLevels(levels, rows, cols, steps, granularity);
}

QuantizedMatrix<Float> Reals(size_t rows, size_t cols, const std::vector<float>& values) {
  return QuantizedMatrix<Float>::Quantize<Unquantized>(MatrixView<const float>(values.data(), rows, cols));
}

template <Format F>
std::vector<float> Values(const QuantizedMatrix<F>& matrix) {
  std::vector<float> values(matrix.rows() * matrix.cols());
  for (size_t r = 0; r < matrix.rows(); ++r) {
    matrix.DequantizeRow(r, std::span(values).subspan(r * matrix.cols(), matrix.cols()));
  }
  return values;
}
std::vector<float> Values(const TensorMatrix& any) {
  return std::visit([](const auto& matrix) { return Values(matrix); }, any);
}

Bytes AsBytes(const std::vector<float>& values) {
  Bytes bytes(values.size() * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

const GgufType& Type(const char* name) { return *FindGgufType(name); }

template <Format F>
EncodedTensor Encode(const QuantizedMatrix<F>& matrix, const char* type) {
  Result<EncodedTensor> encoded = EncodeTensor(matrix, Type(type));
  if (!encoded.ok()) FAIL(encoded.error());
  return *std::move(encoded);
}
template <Format F>
std::string EncodeError(const QuantizedMatrix<F>& matrix, const char* type) {
  const Result<EncodedTensor> encoded = EncodeTensor(matrix, Type(type));
  return encoded.ok() ? std::string() : encoded.error();
}

void SetAllTypes(GgufWriter& to) {
  to.Set("general.architecture", "bitnet-b1.58");
  to.Set("t.uint8", uint8_t{200});
  to.Set("t.int8", int8_t{-100});
  to.Set("t.uint16", uint16_t{60000});
  to.Set("t.int16", int16_t{-30000});
  to.Set("t.uint32", uint32_t{4000000000u});
  to.Set("t.int32", int32_t{-2000000000});
  to.Set("t.uint64", (uint64_t{1} << 63) + 5);
  to.Set("t.int64", -(int64_t{1} << 62) - 7);
  to.Set("t.float32", 0.1f);
  to.Set("t.float64", 0.1);
  to.Set("t.true", true);
  to.Set("t.false", false);
  to.Set("t.string", std::string("zw\xc3\xb6lf \xe6\xbc\xa2\xe5\xad\x97"));
  to.Set("t.ints", std::vector<int32_t>{1, -2, 300000});
  to.Set("t.reals", std::vector<float>{0.5f, -1.25f});
  to.Set("t.strings", std::vector<std::string>{"a", "bc", "d e f"});
  to.Set("t.bools", std::vector<bool>{true, false, true});
  to.Set("t.nested", std::vector<std::vector<int32_t>>{{1, 2}, {3}});
}

TEST_CASE("GgufWriter: metadata of all types are written as PyPI's gguf writes them") {
  const TemporaryFile path;
  GgufWriter writer;
  SetAllTypes(writer);
  REQUIRE(writer.Write(path.path()).ok());
  const Result<GgufFile> ours = GgufFile::Open(path.path());
  REQUIRE(ours.ok());
  const Result<GgufFile> theirs = GgufFile::Open("tests/golden/io/gguf_types.gguf");
  REQUIRE(theirs.ok());
  const auto check = [&](const GgufFile& file) {
    REQUIRE(file.metadata().size() == theirs->metadata().size());
    for (const GgufEntry& entry : theirs->metadata()) {
      const GgufValue* value = file.Find(entry.key);
      REQUIRE(value != nullptr);
      CHECK(value->Describe() == entry.value.Describe());
      CHECK(std::equal(value->bytes().begin(), value->bytes().end(), entry.value.bytes().begin(),
                       entry.value.bytes().end()));
    }
  };
  check(*ours);
  // Copied value by value.
  GgufWriter copy;
  for (const GgufEntry& entry : theirs->metadata()) copy.Set(std::string(entry.key), entry.value);
  REQUIRE(copy.Write(path.path()).ok());
  const Result<GgufFile> copied = GgufFile::Open(path.path());
  REQUIRE(copied.ok());
  check(*copied);
}

// Every type that PyPI's gguf reads, each with what it is expected to be. BITNET_GGUF_OUT=FILE keeps it, for
// `make_io_gguf.py --read FILE`.
TEST_CASE("GgufWriter: tensors of all types come back: codes exact, steps as they are stored") {
  const TemporaryFile temporary;
  const char* kept = std::getenv("BITNET_GGUF_OUT");
  const std::string path = kept != nullptr ? kept : temporary.path();
  GgufWriter writer;
  SetAllTypes(writer);
  std::vector<std::pair<std::string, std::vector<float>>> expected;
  const auto add = [&](const std::string& name, size_t rows, size_t cols, const char* type, EncodedTensor encoded,
                       const std::vector<float>& values) {
    writer.AddTensor(name, {cols, rows}, Type(type), [bytes = std::move(encoded.bytes)] { return bytes; });
    writer.AddTensor(name + ".expected", {cols, rows}, Type("F32"), [values] { return AsBytes(values); });
    expected.push_back({name, values});
  };
  const auto one = Draw<Ternary>(3, 512, {});
  const auto grouped = Draw<Ternary>(3, 512, {true, 256});
  for (const char* type : {"TQ1_0", "TQ2_0"}) {
    add(type, 3, 512, type, Encode(grouped, type), Values(grouped));
    add(std::string(type) + ".one_step", 3, 512, type, Encode(one, type), Values(one));
    add(std::string(type) + ".per_row", 3, 512, type, Encode(Draw<Ternary>(3, 512, {true, 0}), type),
        Values(Draw<Ternary>(3, 512, {true, 0})));
  }
  const auto eight = Draw<Int<8>>(2, 96, {true, 32});
  add("Q8_0", 2, 96, "Q8_0", Encode(eight, "Q8_0"), Values(eight));
  const auto four = Draw<Int<4>>(2, 96, {true, 96});
  add("Q8_0.of_Int4", 2, 96, "Q8_0", Encode(four, "Q8_0"), Values(four));
  add("F32", 2, 96, "F32", Encode(eight, "F32"), Values(eight));
  const auto small = Draw<Ternary>(3, 50, {true, 0});  // a half times -1, 0, 1
  add("F16", 3, 50, "F16", Encode(small, "F16"), Values(small));
  const auto reals = Reals(2, 3, {1.0f, -2.5f, 0.0f, 1024.0f, -0.125f, 3.0f});
  add("BF16", 2, 3, "BF16", Encode(reals, "BF16"), Values(reals));
  REQUIRE(writer.Write(path).ok());
  const Result<GgufFile> file = GgufFile::Open(path);
  REQUIRE(file.ok());
  for (const auto& tensor : expected) {
    const Result<DecodedTensor> decoded = DecodeTensor(*file, *file->FindTensor(tensor.first));
    REQUIRE(decoded.ok());
    CHECK_MESSAGE(Values(decoded->matrix) == tensor.second, tensor.first);
  }
}

TEST_CASE("GgufWriter: what PyPI's gguf does not know comes back: I2_S and Q2_0") {
  const TemporaryFile path;
  GgufWriter writer(64);
  const auto one = Draw<Ternary>(4, 1024, {});
  const auto across = Draw<Ternary>(4, 96, {});  // rows begin within blocks
  const auto groups = Draw<Ternary>(8, 1024, {true, 64});
  const auto four = Draw<MinusOneToTwo>(8, 1024, {true, 64});
  writer.AddTensor("a", {1024, 4}, Type("I2_S"), [&] { return Encode(one, "I2_S").bytes; });
  writer.AddTensor("b", {96, 4}, Type("I2_S"), [&] { return Encode(across, "I2_S").bytes; });
  writer.AddTensor("c", {1024, 8}, Type("Q2_0"), [&] { return Encode(groups, "Q2_0").bytes; });
  writer.AddTensor("d", {1024, 8}, Type("Q2_0"), [&] { return Encode(four, "Q2_0").bytes; });
  REQUIRE(writer.Write(path.path()).ok());
  const Result<GgufFile> file = GgufFile::Open(path.path());
  REQUIRE(file.ok());
  CHECK(file->alignment() == 64);
  for (const GgufTensor& tensor : file->tensors()) CHECK(tensor.offset % 64 == 0);
  CHECK(Values(DecodeTensor(*file, *file->FindTensor("a"))->matrix) == Values(one));
  CHECK(Values(DecodeTensor(*file, *file->FindTensor("b"))->matrix) == Values(across));
  CHECK(Values(DecodeTensor(*file, *file->FindTensor("c"))->matrix) == Values(groups));
  const Result<DecodedTensor> d = DecodeTensor(*file, *file->FindTensor("d"));
  CHECK(std::get_if<QuantizedMatrix<MinusOneToTwo>>(&d->matrix) != nullptr);
  CHECK(Values(d->matrix) == Values(four));
}

TEST_CASE("EncodeTensor: gives the bytes that PyPI's gguf gives, of its reals and of its codes") {
  const Result<GgufFile> file = GgufFile::Open("tests/golden/io/gguf_types.gguf");
  REQUIRE(file.ok());
  const auto same = [](const EncodedTensor& encoded, const GgufTensor& tensor) {
    return std::equal(encoded.bytes.begin(), encoded.bytes.end(), tensor.bytes.begin(), tensor.bytes.end());
  };
  for (const char* type : {"Q8_0", "F16", "BF16"}) {
    const GgufTensor& tensor = *file->FindTensor(type);
    const GgufTensor& source = *file->FindTensor(std::string(type) + ".source");
    const Result<std::vector<float>> reals = DecodeReals(*file, source);
    REQUIRE(reals.ok());
    CHECK_MESSAGE(same(Encode(Reals(3, 64, *reals), type), tensor), type);
  }
  for (const char* name : {"Q8_0", "TQ1_0", "TQ2_0", "TQ1_0.one_step"}) {
    const GgufTensor& tensor = *file->FindTensor(name);
    const Result<DecodedTensor> decoded = DecodeTensor(*file, tensor);
    REQUIRE(decoded.ok());
    std::visit(
        [&]<Format F>(const QuantizedMatrix<F>& matrix) {
          const bool is_same = same(Encode(matrix, std::string(tensor.type->name).c_str()), tensor);
          // A block whose step was 0 has the one step of the others.
          CHECK_MESSAGE(is_same == !decoded->folded, name);
        },
        decoded->matrix);
  }
}

TEST_CASE("EncodeTensor: Q8_0 of reals: two blocks worked by hand") {
  std::vector<float> values(64, 0.0f);
  values[0] = 12.7f;   // step 0.1 (half 0x2e66), code 127
  values[1] = -12.7f;  // -127
  values[2] = 0.05f;   // 0.05 / 0.1 = 0.5 or a bit less or more: its product with 1 / step decides
  values[3] = 0.26f;   // 3
  const Bytes bytes = Encode(Reals(1, 64, values), "Q8_0").bytes;
  CHECK(bytes[0] == 0x66);
  CHECK(bytes[1] == 0x2e);
  CHECK(bytes[2] == 127);
  CHECK(bytes[3] == 0x81);
  CHECK(bytes[4] == static_cast<uint8_t>(std::round(0.05f * (1.0f / (12.7f / 127.0f)))));
  CHECK(bytes[5] == 3);
  for (size_t i = 34; i < 68; ++i) CHECK(bytes[i] == 0);
  values[40] = std::numeric_limits<float>::infinity();
  CHECK(Has(EncodeError(Reals(1, 64, values), "Q8_0"), "Q8_0: row 0, columns from 32 on"));
  values[40] = 3e38f;
  CHECK(Has(EncodeError(Reals(1, 64, values), "Q8_0"), "a step that a half holds"));
}

TEST_CASE("EncodeTensor: the loss is the largest relative difference of a step or value") {
  std::vector<int8_t> levels(256, 1);
  const float exact[] = {0.5f}, between[] = {0.3f}, tiny[] = {1e-9f}, huge[] = {1e6f};
  const auto with = [&](std::span<const float> steps) {
    return *QuantizedMatrix<Ternary>::FromLevels(levels, 1, 256, steps);
  };
  CHECK(Encode(with(exact), "TQ2_0").loss == 0.0);
  const double loss = std::abs(double{float{Float16::Nearest(0.3f)}} - double{0.3f}) / double{0.3f};
  CHECK(Encode(with(between), "TQ2_0").loss == loss);
  CHECK(loss < 1.0 / 2048);
  CHECK(Encode(with(between), "I2_S").loss == 0.0);
  CHECK(Encode(with(between), "F32").loss == 0.0);
  CHECK(Encode(with(between), "F16").loss == loss);
  CHECK(Encode(with(tiny), "TQ1_0").loss == 1.0);  // nothing is left of it
  CHECK(EncodeError(with(huge), "TQ1_0") ==
        "TQ1_0: row 0, column 0: the step is 1000000.000000, which is too large for a half");
  CHECK(Has(EncodeError(with(huge), "F16"), "F16: row 0, column 0: the value is"));
}

TEST_CASE("EncodeTensor: what a type cannot hold is refused") {
  const auto fine = Draw<Ternary>(2, 512, {true, 64});
  CHECK(Has(EncodeError(fine, "TQ2_0"), "TQ2_0: row 0, column 0: the matrix has several steps in the 256 columns"));
  CHECK(EncodeError(fine, "I2_S") == "I2_S: the matrix has several steps; this type has one for all");
  CHECK(EncodeError(fine, "Q2_0").empty());
  const auto four = Draw<MinusOneToTwo>(2, 512, {});
  CHECK(Has(EncodeError(four, "TQ2_0"), "the level is 2, which the type does not have"));
  CHECK(Has(EncodeError(Draw<Int<4>>(2, 512, {}), "Q2_0"), "which the type does not have"));
  CHECK(EncodeError(Draw<Binary>(2, 512, {}), "TQ1_0").empty());
  CHECK(EncodeError(Draw<Ternary>(2, 100, {}), "TQ2_0") ==
        "TQ2_0: no tensor of this type has 2 x 100 values; multiples of 256 were expected");
  CHECK(Has(EncodeError(Draw<Ternary>(2, 100, {}), "I2_S"), "multiples of 128 were expected"));
  CHECK(EncodeError(Draw<Ternary>(2, 256, {}), "Q4_K") == "Q4_K: codes are not written in this type");
  CHECK(EncodeError(Reals(1, 256, std::vector<float>(256)), "TQ2_0") == "TQ2_0: reals are not written in this type");
}

TEST_CASE("GgufWriter: what is wrong is refused, and the old file is whole") {
  const TemporaryFile path;
  const Bytes old = {'o', 'l', 'd'};
  REQUIRE(WriteFile(path.path(), old).ok());
  const auto refused = [&](const GgufWriter& writer) {
    const Result<Done> written = writer.Write(path.path());
    REQUIRE(!written.ok());
    CHECK(*ReadFile(path.path()) == old);
    size_t beside = 0;
    for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(path.path()).parent_path())) {
      beside += entry.path().string().starts_with(path.path() + ".") ? 1u : 0u;
    }
    CHECK(beside == 0);
    return written.error();
  };
  const Bytes four(16);
  {
    GgufWriter writer;
    writer.Set("k", 1);
    writer.Set("k", 2);
    CHECK(refused(writer) == path.path() + ": not written: metadata 'k' is there twice");
  }
  {
    GgufWriter writer;
    writer.AddTensor("x", {4}, Type("F32"), four);
    writer.AddTensor("x", {4}, Type("F32"), four);
    CHECK(Has(refused(writer), "tensor 'x' is there twice"));
  }
  {
    GgufWriter writer;
    writer.AddTensor("x", {5}, Type("F32"), four);
    CHECK(Has(refused(writer), "tensor 'x' has 16 bytes; its shape in F32 takes 20"));
  }
  for (const std::vector<uint64_t>& dims :
       {std::vector<uint64_t>{}, {0}, {4, 0}, {1, 1, 1, 1, 1}, {uint64_t{1} << 60, 1u << 20}, {255}}) {
    GgufWriter writer;
    writer.AddTensor("x", dims, Type("TQ2_0"), four);
    CHECK(Has(refused(writer), "tensor 'x' has a shape that TQ2_0 does not have"));
  }
  {
    // Interrupted in the second tensor.
    GgufWriter writer;
    writer.AddTensor("x", {4}, Type("F32"), four);
    writer.AddTensor("y", {4}, Type("F32"), []() -> Result<Bytes> { return Error{"no more"}; });
    CHECK(refused(writer) == path.path() + ": not written: tensor 'y': no more");
  }
  GgufWriter writer;
  writer.AddTensor("x", {4}, Type("F32"), four);
  CHECK(!writer.Write(path.path() + ".missing/f").ok());
  CHECK(writer.Write(path.path()).ok());
  CHECK(*ReadFile(path.path()) != old);
}

TEST_CASE("GgufWriter: a file may be written over itself, from its own mapped bytes") {
  const TemporaryFile path;
  const auto matrix = Draw<Ternary>(64, 1024, {});
  const Bytes bytes = Encode(matrix, "TQ2_0").bytes;
  GgufWriter first;
  first.AddTensor("x", {1024, 64}, Type("TQ2_0"), bytes);
  REQUIRE(first.Write(path.path()).ok());
  const Result<GgufFile> file = GgufFile::Open(path.path());
  REQUIRE(file.ok());
  const GgufTensor& tensor = file->tensors()[0];
  GgufWriter second;
  size_t after = 0;
  second.AddTensor("copy", {1024, 64}, *tensor.type, tensor.bytes, [&] {
    ++after;
    file->Release(tensor);
  });
  second.AddTensor("i2s", {1024, 64}, Type("I2_S"), [&]() -> Result<Bytes> {
    Result<DecodedTensor> decoded = DecodeTensor(*file, tensor);
    if (!decoded.ok()) return Error{decoded.error()};
    return Encode(std::get<QuantizedMatrix<Ternary>>(decoded->matrix), "I2_S").bytes;
  });
  CHECK(after == 0);
  REQUIRE(second.Write(path.path()).ok());
  CHECK(after == 1);
  const Result<GgufFile> written = GgufFile::Open(path.path());
  REQUIRE(written.ok());
  CHECK(Values(DecodeTensor(*written, *written->FindTensor("copy"))->matrix) == Values(matrix));
  CHECK(Values(DecodeTensor(*written, *written->FindTensor("i2s"))->matrix) == Values(matrix));
  CHECK(Values(DecodeTensor(*file, tensor)->matrix) == Values(matrix));
}

}  // namespace
}  // namespace bitnet::gguf_writer_test
