#include "bitnet/io/examine_hf.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "bitnet/io/examine_checkpoint.h"
#include "bitnet/io/report_text.h"
#include "io/small_checkpoint.h"
#include "testing/mutations.h"
#include "testing/temporary_file.h"

namespace bitnet::examine_hf_test {
namespace {

using Bytes = std::vector<uint8_t>;
namespace fs = std::filesystem;

const std::string kGolden = std::string(BITNET_SOURCE_DIR) + "/tests/golden/io/";
const std::string kNoTokenizer = "warning tokenizer\n";

// A copy of a checkpoint that is right but for its tokenizer, which it has not.
class Copy {
 public:
  explicit Copy(const std::string& name) { fs::copy(kGolden + name, name_.path(), fs::copy_options::recursive); }
  ~Copy() { fs::remove_all(name_.path()); }
  const std::string& path() const { return name_.path(); }
  std::string operator/(const std::string& file) const { return name_.path() + "/" + file; }

  // Changes a text of a file.
  void Replace(const std::string& file, const std::string& from, const std::string& to) const {
    const Bytes bytes = *ReadFile(*this / file);
    std::string text(bytes.begin(), bytes.end());
    const size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    text.replace(at, from.size(), to);
    REQUIRE(WriteFile(*this / file, Bytes(text.begin(), text.end())).ok());
  }
  // Changes bytes of a tensor.
  void Put(const std::string& file, const std::string& tensor, size_t at, const Bytes& bytes) const {
    Bytes all = *ReadFile(*this / file);
    const Result<SafetensorsHeader> header = ReadSafetensorsHeader(all, file);
    REQUIRE(header.ok());
    for (const SafetensorsTensor& t : header->tensors) {
      if (t.name != tensor) continue;
      REQUIRE(at + bytes.size() <= t.bytes);
      std::copy(bytes.begin(), bytes.end(), all.begin() + static_cast<std::ptrdiff_t>(t.begin + at));
      REQUIRE(WriteFile(*this / file, all).ok());
      return;
    }
    FAIL("there is no such tensor");
  }

 private:
  testing::TemporaryFile name_;
};

// Lines of all findings: "error missing model.norm.weight"; of files and folders without their names.
std::string Lines(const CheckpointReport& report) {
  std::string lines;
  for (const Finding& finding : report.findings) {
    const bool is_file = finding.subject.find('/') != std::string::npos;
    lines += std::string(Name(finding.severity)) + " " + finding.rule + (is_file ? "" : " " + finding.subject) + "\n";
  }
  return lines;
}
std::string LinesOf(const Copy& copy) { return Lines(ExamineHf(copy.path())); }

TEST_CASE("ExamineHf: checkpoints that are right, packed by both meanings and masters in three files") {
  for (const char* name : {"hf_packed", "hf_packed_dividing", "hf_masters"}) {
    CAPTURE(name);
    const CheckpointReport report = ExamineCheckpoint(kGolden + name);
    CHECK(Lines(report) == kNoTokenizer);
    CHECK(report.kind == "transformers folder");
    CHECK(report.architecture == "bitnet");
    REQUIRE(report.config);
    CHECK(report.config->hidden == 12);
    size_t ternary = 0;
    for (const TensorReport& tensor : report.tensors) {
      if (tensor.type != "packed") continue;
      ++ternary;
      CHECK(tensor.BitsPerValue() == 2.0);
      CHECK(tensor.facts.values == tensor.Values());
      CHECK(tensor.facts.scales.count == 1);
      CHECK(tensor.facts.scales.typical > 0.03f);  // by either meaning
      CHECK(tensor.facts.scales.typical < 0.05f);
    }
    CHECK(ternary == (std::string(name) == "hf_masters" ? 0 : 14));
  }
  // By the name of the index, of the configuration, of the file alone.
  CHECK(Lines(ExamineCheckpoint(kGolden + "hf_masters/model.safetensors.index.json")) == kNoTokenizer);
  CHECK(Lines(ExamineCheckpoint(kGolden + "hf_masters/config.json")) == kNoTokenizer);
  const CheckpointReport alone = ExamineCheckpoint(kGolden + "hf_packed/model.safetensors");
  CHECK(Lines(alone) == "note configuration\n");
  CHECK(alone.kind == "safetensors");
  CHECK(alone.tensors.size() == 38);
}

TEST_CASE("ExamineHf: values and scales that are wrong") {
  const std::string gate = "model.layers.1.mlp.gate_proj.weight";
  {
    const Copy copy("hf_packed");
    copy.Put("model.safetensors", gate, 13, {0b00110000});
    const CheckpointReport report = ExamineHf(copy.path());
    CHECK(Lines(report) == "error illegal-codes " + gate + "\n" + kNoTokenizer);
    CHECK(report.findings[0].found == "1 code has no level, at row 15, column 1");
  }
  {
    const Copy copy("hf_packed");
    copy.Put("model.safetensors", gate + "_scale", 0, {0x00, 0x00});
    CHECK(LinesOf(copy) == "error zero-scale " + gate + "_scale\n" + kNoTokenizer);
    copy.Put("model.safetensors", gate + "_scale", 0, {0x80, 0x7f});
    CHECK(LinesOf(copy) == "error not-finite " + gate + "_scale\n" + kNoTokenizer);
    copy.Put("model.safetensors", gate + "_scale", 0, {0xc8, 0x41});  // 25
    CHECK(LinesOf(copy) == kNoTokenizer + "warning inverted-scale " + gate + "\n");
  }
  {
    // The meaning of all scales is the wrong one.
    const Copy copy("hf_packed");
    copy.Replace("config.json", "autobitlinear", "bitlinear");
    CHECK(LinesOf(copy) == kNoTokenizer + "warning inverted-scale\n");
  }
  {
    const Copy copy("hf_masters");
    copy.Put("model-00003-of-00003.safetensors", "lm_head.weight", 24, {0xc0, 0x7f});
    const CheckpointReport report = ExamineHf(copy.path());
    CHECK(Lines(report) == "error not-finite lm_head.weight\n" + kNoTokenizer);
    CHECK(report.findings[0].found == "1 value is NaN or infinite, at row 1, column 0");
    for (const TensorReport& tensor : report.tensors) {
      if (tensor.name == "lm_head.weight") CHECK(tensor.file == "model-00003-of-00003.safetensors");
    }
    copy.Put("model-00003-of-00003.safetensors", "lm_head.weight", 0, Bytes(552));
    CHECK(LinesOf(copy) == "error all-zero lm_head.weight\n" + kNoTokenizer);
  }
}

TEST_CASE("ExamineHf: tensors and files that are missing, double, truncated, or of another type") {
  {
    const Copy copy("hf_packed");
    copy.Replace("model.safetensors", "model.norm.weight", "model.morn.weight");
    CHECK(LinesOf(copy) == "error missing model.norm.weight\nerror unexpected model.morn.weight\n" + kNoTokenizer);
  }
  {
    const Copy copy("hf_packed");
    copy.Replace("model.safetensors", "layers.0.mlp.up_proj.weight_scale", "layers.0.mlp.up_proj.weight_scals");
    CHECK(LinesOf(copy) ==
          "error missing model.layers.0.mlp.up_proj.weight_scale\n"
          "error unexpected model.layers.0.mlp.up_proj.weight_scals\n" +
              kNoTokenizer);
  }
  {
    const Copy copy("hf_packed");
    copy.Replace("config.json", "\"intermediate_size\": 28", "\"intermediate_size\": 24");
    const CheckpointReport report = ExamineHf(copy.path());
    CHECK(report.Count(Severity::kError) == 8);  // gate, up, down and a norm, of two layers
    CHECK(report.Has("shape"));
  }
  {
    const Copy copy("hf_masters");
    copy.Replace("config.json", "\"online\"", "\"offline\"");
    const CheckpointReport report = ExamineHf(copy.path());
    CHECK(report.Count(Severity::kError) == 14);
    CHECK(report.Has("type"));
  }
  {
    const Copy copy("hf_packed");
    Bytes bytes = *ReadFile(copy / "model.safetensors");
    bytes.resize(bytes.size() - 200);
    REQUIRE(WriteFile(copy / "model.safetensors", bytes).ok());
    const CheckpointReport report = ExamineHf(copy.path());
    CHECK(report.findings[0].rule == "reader");
    CHECK(report.Has("truncated"));
    CHECK_FALSE(report.Has("missing"));
    CHECK(report.tensors.size() == 38);
    CHECK(report.tensors[0].facts.values == 23 * 12);
    CHECK(ExitCode(report) == 2);
  }
  {
    const Copy copy("hf_masters");
    fs::remove(copy / "model-00002-of-00003.safetensors");
    const CheckpointReport report = ExamineHf(copy.path());
    CHECK(report.findings[0].rule == "reader");
    CHECK(report.Has("missing"));
    CHECK(report.tensors.size() == 17);
    fs::copy(copy / "model-00001-of-00003.safetensors", copy / "model-00002-of-00003.safetensors");
    CHECK(ExamineHf(copy.path()).Has("double"));
  }
  {
    // An index that says what the files have not.
    const Copy copy("hf_masters");
    copy.Replace("model.safetensors.index.json", "model.norm.weight", "model.mrno.weight");
    CHECK(LinesOf(copy) == "error reader\n" + kNoTokenizer);
    fs::remove(copy / "model.safetensors.index.json");
    CHECK(ExamineHf(copy.path()).Has("reader"));
  }
}

TEST_CASE("ExamineHf: configurations and tokenizers") {
  const Copy copy("hf_packed");
  copy.Replace("config.json", "\"relu2\"", "\"silu\"");
  CHECK(LinesOf(copy) == "warning activation hidden_act\n" + kNoTokenizer);
  copy.Replace("config.json", "\"silu\"", "\"relu2\"");
  copy.Replace("config.json", "\"eos_token_id\": 2", "\"eos_token_id\": [2, 23]");
  copy.Replace("config.json", "\"bos_token_id\": 1", "\"bos_token_id\": 99");
  CHECK(LinesOf(copy) == "error special-id bos_token_id\nerror special-id eos_token_id\n" + kNoTokenizer);
  copy.Replace("config.json", "\"eos_token_id\": [2, 23]", "\"eos_token_id\": null");
  copy.Replace("config.json", "\"bos_token_id\": 99", "\"bos_token_id\": 1");
  CHECK(LinesOf(copy) == "warning special-id eos_token_id\n" + kNoTokenizer);
  // What the reader of the configuration refuses; the tensors are listed all the same.
  copy.Replace("config.json", "\"eos_token_id\": null", "\"eos_token_id\": 2, \"clever_trick\": 3");
  CheckpointReport report = ExamineHf(copy.path());
  CHECK(Lines(report) == "error configuration\n" + kNoTokenizer);
  CHECK(report.findings[0].found.find("clever_trick") != std::string::npos);
  CHECK(report.tensors.size() == 38);
  CHECK(report.architecture == "bitnet");
  fs::remove(copy / "config.json");
  CHECK(LinesOf(copy) == "error configuration\n" + kNoTokenizer);

  const Copy other("hf_packed");
  REQUIRE(WriteFile(other / "tokenizer.json", Bytes{'{', '}'}).ok());
  CHECK(LinesOf(other) == "error tokenizer\n");
}

TEST_CASE("ExamineCheckpoint: GGUF by its first bytes; what cannot be opened is a finding") {
  const testing::TemporaryFile path;
  testing::SmallCheckpoint().Write(path.path());
  CHECK(ExamineCheckpoint(path.path()).kind == "GGUF, version 3");
  CHECK(Lines(ExamineCheckpoint(path.path())).empty());
  CHECK(Lines(ExamineCheckpoint(path.path() + ".none")) == "error reader\n");
  // What nothing but a loader finds: factors of the rotary embedding that are 0.
  testing::SmallCheckpoint factors("I2_S", "llama", [] {
    ModelConfig c = testing::SmallCheckpoint::Config();
    c.sub_layer_norms = false;
    return c;
  }());
  Bytes ones(4 * 32);
  for (size_t i = 4; i < ones.size(); i += 4) std::memcpy(ones.data() + i, "\0\0\x80\x3f", 4);
  factors.tensors.push_back({"rope_freqs.weight", {32}, "F32", ones});
  factors.Write(path.path());
  CHECK(Lines(ExamineGguf(ReadGgufRemains(*MappedFile::Open(path.path())))).empty());
  CHECK(Lines(ExamineCheckpoint(path.path())) == "error loader\n");
  REQUIRE(WriteFile(path.path(), Bytes{'h', 'e', 'l', 'l', 'o', ' ', 'y', 'o', 'u', '!'}).ok());
  const CheckpointReport report = ExamineCheckpoint(path.path());
  CHECK(Lines(report) == "error reader\nnote configuration\n");
  CHECK(report.kind.empty());
  CHECK(ExitCode(report) == 2);
}

TEST_CASE("ExamineHf: whatever a file says, there is a report, and its JSON is JSON") {
  const Bytes whole = *ReadFile(kGolden + "hf_packed/model.safetensors");
  const testing::TemporaryFile path;
  for (size_t n = 0; n < 300; ++n) {
    REQUIRE(WriteFile(path.path(), testing::Mutated(whole, n)).ok());
    const CheckpointReport report = ExamineHf(path.path());
    const Result<JsonDocument> read = JsonDocument::Parse(ReportJson(report), "report");
    REQUIRE_MESSAGE(read.ok(), (read.ok() ? "" : read.error()));
  }
}

}  // namespace
}  // namespace bitnet::examine_hf_test
