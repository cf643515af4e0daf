#include "bitnet/io/convert_gguf.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <variant>
#include <vector>

#include "bitnet/io/hf_packed.h"
#include "io/gguf_bytes.h"
#include "io/small_checkpoint.h"
#include "testing/temporary_file.h"

namespace bitnet::convert_gguf_test {
namespace {

using testing::SmallCheckpoint;
using testing::TemporaryFile;
using Bytes = std::vector<uint8_t>;

bool Has(const std::string& sentence, std::string_view part) { return sentence.find(part) != std::string::npos; }

GgufFile Open(const std::string& path) {
  Result<GgufFile> file = GgufFile::Open(path);
  if (!file.ok()) FAIL(file.error());
  return *std::move(file);
}
ConvertReport Convert(const std::string& in, const std::string& out, const std::string& type) {
  const GgufFile file = Open(in);
  Result<ConvertReport> report = ConvertGguf(file, out, {.type = type});
  if (!report.ok()) FAIL(report.error());
  return *std::move(report);
}

std::vector<int> Levels(const GgufFile& file, std::string_view name) {
  const Result<DecodedTensor> decoded = DecodeTensor(file, *file.FindTensor(name));
  if (!decoded.ok()) FAIL(decoded.error());
  std::vector<int> levels;
  std::visit(
      [&]<Format F>(const QuantizedMatrix<F>& matrix) {
        if constexpr (LevelFormat<F>) {
          std::vector<LevelOf<F>> row(matrix.cols());
          for (size_t r = 0; r < matrix.rows(); ++r) {
            matrix.UnpackRow(r, row);
            levels.insert(levels.end(), row.begin(), row.end());
          }
        }
      },
      decoded->matrix);
  return levels;
}
float StepOf(const GgufFile& file, std::string_view name) {
  const Result<DecodedTensor> decoded = DecodeTensor(file, *file.FindTensor(name));
  if (!decoded.ok()) FAIL(decoded.error());
  return std::visit([](const auto& matrix) { return matrix.steps()[0]; }, decoded->matrix);
}
bool Same(std::span<const uint8_t> a, std::span<const uint8_t> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

// All metadata but the file's type, and all tensors that are no ternary ones, to the byte.
void CheckCopied(const GgufFile& from, const GgufFile& to, uint32_t file_type) {
  REQUIRE(from.metadata().size() == to.metadata().size());
  for (size_t i = 0; i < from.metadata().size(); ++i) {
    CHECK(from.metadata()[i].key == to.metadata()[i].key);
    CHECK(from.metadata()[i].value.Describe() == to.metadata()[i].value.Describe());
    if (from.metadata()[i].key == "general.file_type") continue;
    CHECK(Same(from.metadata()[i].value.bytes(), to.metadata()[i].value.bytes()));
  }
  CHECK(*to.Get<uint32_t>("general.file_type") == file_type);
  REQUIRE(from.tensors().size() == to.tensors().size());
  for (size_t i = 0; i < from.tensors().size(); ++i) {
    const GgufTensor &a = from.tensors()[i], &b = to.tensors()[i];
    CHECK(a.name == b.name);
    CHECK(a.rank == b.rank);
    CHECK(a.dims == b.dims);
    if (a.type->name == "F32") {
      CHECK(b.type == a.type);
      CHECK(Same(a.bytes, b.bytes));
    } else {
      CHECK(Levels(from, a.name) == Levels(to, b.name));
    }
  }
}

TEST_CASE("ConvertGguf: from each type to each: trits exact, and all else byte for byte") {
  for (const char* from : {"I2_S", "TQ1_0", "TQ2_0", "Q2_0"}) {
    for (const char* to : {"I2_S", "TQ1_0", "TQ2_0", "Q2_0"}) {
      CAPTURE(from);
      CAPTURE(to);
      const TemporaryFile in, out;
      SmallCheckpoint checkpoint(from);
      checkpoint.Write(in.path());
      size_t calls = 0;
      const GgufFile before = Open(in.path());
      const Result<ConvertReport> report =
          ConvertGguf(before, out.path(), {.type = to, .progress = [&](size_t done, size_t all) {
                                             CHECK(done == calls++);
                                             CHECK(all == 28);
                                           }});
      REQUIRE_MESSAGE(report.ok(), (report.ok() ? "" : report.error()));
      const bool same = std::string(from) == to;
      CHECK(report->converted.size() == (same ? 0 : 28));
      CHECK(calls == report->converted.size());
      CHECK(report->copied == (same ? 46 : 18));
      CHECK(report->LargestLoss() == 0.0);  // steps are halves
      CHECK(report->WithLoss() == 0);
      const GgufFile after = Open(out.path());
      CheckCopied(before, after, std::string(to) == "TQ1_0" ? 36 : std::string(to) == "TQ2_0" ? 37 : 40);
      for (const GgufTensor& tensor : after.tensors()) {
        if (tensor.type->name == "F32") continue;
        CHECK(tensor.type->name == to);
        CHECK(StepOf(after, tensor.name) == StepOf(before, tensor.name));
      }
      // And back: the bytes of the beginning.
      Convert(out.path(), out.path(), from);
      const GgufFile back = Open(out.path());
      for (size_t i = 0; i < back.tensors().size(); ++i)
        CHECK(Same(back.tensors()[i].bytes, before.tensors()[i].bytes));
    }
  }
}

TEST_CASE("ConvertGguf: what a half loses of a scale is said, and no more is lost") {
  const TemporaryFile in, out;
  SmallCheckpoint checkpoint;
  checkpoint.SetScale("blk.2.attn_q.weight", 0.3f);
  checkpoint.SetScale("blk.3.attn_q.weight", 1.0f / 3);
  checkpoint.Write(in.path());
  const ConvertReport report = Convert(in.path(), out.path(), "TQ2_0");
  CHECK(report.WithLoss() == 2);
  const auto loss = [](float step) {
    return std::abs(static_cast<double>(float{Float16::Nearest(step)}) - double{step}) / double{step};
  };
  CHECK(report.LargestLoss() == std::max(loss(0.3f), loss(1.0f / 3)));
  CHECK(report.LargestLoss() < 1.0 / 2048);
  for (const ConvertedTensor& tensor : report.converted) {
    if (tensor.name != "blk.2.attn_q.weight") continue;
    CHECK(tensor.loss == loss(0.3f));
    CHECK(tensor.from == "I2_S");
    CHECK(tensor.to == "TQ2_0");
  }
  CHECK(StepOf(Open(out.path()), "blk.2.attn_q.weight") == float{Float16::Nearest(0.3f)});
  // Of equal halves a float is made without a loss.
  const ConvertReport folded = Convert(out.path(), out.path(), "I2_S");
  CHECK(folded.LargestLoss() == 0.0);
  CHECK(folded.converted[0].folded);
}

TEST_CASE("ConvertGguf: what the type cannot hold is refused by the tensor's name, and the old file is whole") {
  const TemporaryFile in, out;
  const Bytes old = {'o', 'l', 'd'};
  const auto refused = [&](const SmallCheckpoint& checkpoint, const std::string& type) {
    checkpoint.Write(in.path());
    REQUIRE(WriteFile(out.path(), old).ok());
    const GgufFile file = Open(in.path());
    const Result<ConvertReport> report = ConvertGguf(file, out.path(), {.type = type});
    REQUIRE_FALSE(report.ok());
    CHECK(*ReadFile(out.path()) == old);
    // Over itself too.
    const Bytes before = *ReadFile(in.path());
    CHECK_FALSE(ConvertGguf(file, in.path(), {.type = type}).ok());
    CHECK(*ReadFile(in.path()) == before);
    size_t beside = 0;
    for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(out.path()).parent_path())) {
      beside += entry.path().string().starts_with(out.path() + ".") ? 1u : 0u;
    }
    CHECK(beside == 0);
    return report.error();
  };
  SmallCheckpoint two("Q2_0");
  two.Find("blk.1.ffn_up.weight").bytes[2] |= 0x03;
  for (const char* type : {"I2_S", "TQ1_0", "TQ2_0"}) {
    const std::string error = refused(two, type);
    CHECK(Has(error, "'blk.1.ffn_up.weight'"));
    CHECK(Has(error, "row 0, column 0: the level is 2, which the type does not have"));
  }
  SmallCheckpoint groups("TQ2_0");
  groups.Find("blk.1.ffn_down.weight").bytes[64] ^= 1;  // of one block's step
  CHECK(Has(refused(groups, "I2_S"), "'blk.1.ffn_down.weight': I2_S: the matrix has several steps"));
  SmallCheckpoint fine("Q2_0");
  fine.Find("blk.1.ffn_down.weight").bytes[0] ^= 1;
  CHECK(Has(refused(fine, "TQ1_0"), "'blk.1.ffn_down.weight': TQ1_0: row 0, column 0: the matrix has several steps"));
  SmallCheckpoint scales;
  scales.SetScale("blk.0.attn_v.weight", 1e6f);
  CHECK(Has(refused(scales, "TQ2_0"), "'blk.0.attn_v.weight': TQ2_0: row 0, column 0: the step is 1000000.000000"));
  scales.SetScale("blk.0.attn_v.weight", 1e-9f);
  CHECK(Has(refused(scales, "TQ2_0"), "'blk.0.attn_v.weight': TQ2_0: a step is so small"));
  scales.SetScale("blk.0.attn_v.weight", NAN);
  CHECK(Has(refused(scales, "TQ2_0"), "'blk.0.attn_v.weight': row 0, column 0: the step is NaN"));
  SmallCheckpoint narrow;
  narrow.tensors.push_back({"x", {96, 4}, "I2_S", Bytes(96 + 32)});
  CHECK(Has(refused(narrow, "TQ2_0"), "tensor 'x': its rows have 96 values; in TQ2_0 they have multiples of 256"));
  SmallCheckpoint code;
  code.Find("blk.0.attn_k.weight").bytes[0] = 0xff;
  CHECK(Has(refused(code, "TQ2_0"), "'blk.0.attn_k.weight'"));
  CHECK(refused(SmallCheckpoint(), "Q4_K") == "nothing is converted to 'Q4_K'; known are I2_S, TQ1_0, TQ2_0, Q2_0");

  testing::GgufBytes unknown;
  unknown.tensors = {{"t", {4}, 77, 0}};
  unknown.data.resize(32);
  const Result<GgufFile> file = unknown.Parse();
  REQUIRE(file.ok());
  CHECK(ConvertGguf(*file, out.path(), {.type = "TQ2_0"}).error() ==
        "f: tensor 't': its type is type 77, whose length is not known: it cannot be copied");
}

TEST_CASE("ConvertGguf: over the file that is read") {
  const TemporaryFile path;
  SmallCheckpoint checkpoint;
  checkpoint.Write(path.path());
  const Bytes before = *ReadFile(path.path());
  const Result<GgufFile> original = GgufFile::Parse(MappedFile::FromBytes(before));
  Convert(path.path(), path.path(), "TQ1_0");
  CheckCopied(*original, Open(path.path()), 36);
  Convert(path.path(), path.path(), "I2_S");
  CHECK(*ReadFile(path.path()) == before);
}

TEST_CASE("ConvertGguf: I2_S of another layout is brought to layout A") {
  const TemporaryFile in, out;
  SmallCheckpoint checkpoint;
  checkpoint.Write(in.path());
  const GgufFile file = Open(in.path());
  const Result<ConvertReport> report = ConvertGguf(file, out.path(), {.type = "I2_S", .i2s = I2sLayout::kB});
  REQUIRE(report.ok());
  CHECK(report->converted.size() == 28);
  const GgufFile after = Open(out.path());
  for (const GgufTensor& tensor : file.tensors()) {
    if (tensor.type->name != "I2_S") continue;
    const auto read = DecodeTensor(file, tensor, {I2sLayout::kB});
    const auto written = DecodeTensor(after, *after.FindTensor(tensor.name));
    CHECK(Same(std::get<QuantizedMatrix<Ternary>>(read->matrix).bytes(),
               std::get<QuantizedMatrix<Ternary>>(written->matrix).bytes()));
  }
}

TEST_CASE("ConvertGguf: alignments, scalars, tensors of four dimensions") {
  const TemporaryFile in, out;
  SmallCheckpoint checkpoint;
  checkpoint.alignment = 128;
  checkpoint.tensors.push_back({"four", {256, 1, 2, 2}, "I2_S", Bytes(256 + 32, 0x55)});
  checkpoint.SetScale("four", 2.0f);
  checkpoint.Write(in.path());
  Convert(in.path(), out.path(), "TQ2_0");
  GgufFile file = Open(out.path());
  CHECK(file.alignment() == 128);
  CHECK(file.FindTensor("four")->rank == 4);
  CHECK(file.FindTensor("four")->dims[2] == 2);
  // A key that says the usual, an alignment that is too small to be written, a tensor without dimensions.
  testing::GgufBytes odd;
  odd.Number("general.alignment", 4, uint32_t{1}).Number("general.file_type", 4, uint32_t{40});
  odd.alignment = 1;
  odd.tensors = {{"scalar", {}, 0, 0}, {"next", {1}, 0, 4}};
  odd.data = {1, 2, 3, 4, 5, 6, 7, 8};
  const Result<GgufFile> read = odd.Parse();
  REQUIRE_MESSAGE(read.ok(), (read.ok() ? "" : read.error()));
  REQUIRE(ConvertGguf(*read, out.path(), {.type = "Q2_0"}).ok());
  file = Open(out.path());
  CHECK(file.alignment() == 8);
  CHECK(*file.Get<uint32_t>("general.file_type") == 40);  // Q2_0 has no number that is known
  CHECK(file.FindTensor("next")->bytes[0] == 5);
  CHECK(file.FindTensor("scalar")->bytes[0] == 1);
}

}  // namespace
}  // namespace bitnet::convert_gguf_test
