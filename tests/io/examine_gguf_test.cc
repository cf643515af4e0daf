#include "bitnet/io/examine_gguf.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bitnet/io/examine_checkpoint.h"
#include "bitnet/io/report_text.h"
#include "io/gguf_bytes.h"
#include "io/gguf_seeds.h"
#include "io/small_checkpoint.h"
#include "testing/mutations.h"
#include "testing/temporary_file.h"

namespace bitnet::examine_gguf_test {
namespace {

using testing::SmallCheckpoint;
using testing::TemporaryFile;

CheckpointReport ExamineBytes(std::vector<uint8_t> bytes, const ExamineOptions& options = {}) {
  return ExamineGguf(ReadGgufRemains(MappedFile::FromBytes(std::move(bytes), "f")), options);
}
std::vector<uint8_t> BytesOf(const SmallCheckpoint& checkpoint) {
  const TemporaryFile path;
  checkpoint.Write(path.path());
  return *ReadFile(path.path());
}
CheckpointReport Examine(const SmallCheckpoint& checkpoint, const ExamineOptions& options = {}) {
  return ExamineBytes(BytesOf(checkpoint), options);
}

// All findings, a line each: "error rule subject".
std::string Lines(const CheckpointReport& report) {
  std::string lines;
  for (const Finding& finding : report.findings) {
    lines += std::string(Name(finding.severity)) + " " + finding.rule + " " + finding.subject + "\n";
  }
  return lines;
}
const Finding& Only(const CheckpointReport& report) {
  REQUIRE_MESSAGE(report.findings.size() == 1, Lines(report));
  return report.findings[0];
}

TEST_CASE("ExamineGguf: of a file that is right nothing is found, and it says what the file is") {
  for (const char* type : {"I2_S", "TQ1_0", "TQ2_0", "Q2_0"}) {
    const CheckpointReport report = Examine(SmallCheckpoint(type));
    CHECK(Lines(report) == "");
    CHECK(ExitCode(report) == 0);
    CHECK(report.kind == "GGUF, version 3");
    CHECK(report.architecture == "bitnet-b1.58");
    REQUIRE(report.config);
    CHECK(report.config->hidden == 256);
    CHECK(report.config->layers == 4);
    CHECK(report.config->activation == ActivationKind::kSquaredRelu);
    CHECK(report.tokenizer == "gpt2, 257 tokens, pre-tokenizer llama-bpe, bos 1, eos 2");
    REQUIRE(report.tensors.size() == 2 + 4 * 11);
    CHECK(report.tensors[0].name == "token_embd.weight");
    CHECK(report.tensors[0].shape == std::vector<uint64_t>{257, 256});
    CHECK(report.tensors[0].BitsPerValue() == 32.0);
    const TensorReport& q = report.tensors[2];
    CHECK(q.name == "blk.0.attn_q.weight");
    CHECK(q.type == type);
    CHECK(std::fabs(q.facts.Share(0) - 1.0 / 3) < 0.01);
    CHECK(q.facts.scales.smallest == q.facts.scales.largest);
  }
  SmallCheckpoint llama("TQ2_0", "llama", [] {
    ModelConfig c = SmallCheckpoint::Config();
    c.sub_layer_norms = false;
    c.tied_embedding = false;
    return c;
  }());
  CHECK(Lines(Examine(llama)) == "");
  // Without values.
  SmallCheckpoint constant;
  constant.Find("blk.1.attn_q.weight").bytes.assign(constant.Find("blk.1.attn_q.weight").bytes.size(), 0);
  CHECK(Lines(Examine(constant, {.values = false})) == "");
  CHECK(Examine(constant, {.values = false}).tensors[2].facts.values == 0);
}

TEST_CASE("ExamineGguf: values that are wrong, each with the tensor's name") {
  SmallCheckpoint file;
  file.Find("blk.1.ffn_up.weight").bytes[70] = 0xff;
  CheckpointReport report = Examine(file);
  CHECK(Only(report).rule == "illegal-codes");
  CHECK(Only(report).subject == "blk.1.ffn_up.weight");
  CHECK(Only(report).found == "4 codes have no level, the first at row 1, column 6");
  CHECK(ExitCode(report) == 2);

  for (const char* type : {"TQ1_0", "TQ2_0"}) {
    SmallCheckpoint blocks(type);
    blocks.Find("blk.1.ffn_up.weight").bytes[1] = std::string(type) == "TQ1_0" ? 1 : 0xff;
    CHECK(Lines(Examine(blocks)) == "error illegal-codes blk.1.ffn_up.weight\n");
    CHECK(Only(Examine(blocks)).found == (std::string(type) == "TQ1_0"
                                              ? "1 block has bytes that are no trits, at row 0, column 1"
                                              : "4 codes have no level, the first at row 0, column 1"));
  }
  SmallCheckpoint two("Q2_0");
  two.Find("blk.1.ffn_up.weight").bytes[7] = 0xff;  // legal there
  CHECK(Lines(Examine(two)) == "");

  file = SmallCheckpoint();
  file.SetScale("blk.0.attn_v.weight", NAN);
  CHECK(Lines(Examine(file)) == "error not-finite blk.0.attn_v.weight\n");
  file.SetScale("blk.0.attn_v.weight", 0.0f);
  CHECK(Lines(Examine(file)) == "error zero-scale blk.0.attn_v.weight\nerror all-zero blk.0.attn_v.weight\n");
  file.SetScale("blk.0.attn_v.weight", -0.5f);
  CHECK(Lines(Examine(file)) == "note negative-scale blk.0.attn_v.weight\n");

  file = SmallCheckpoint();
  SmallCheckpoint::Tensor& gate = file.Find("blk.2.ffn_gate.weight");
  std::fill(gate.bytes.begin(), gate.bytes.end() - 32, uint8_t{0x00});
  report = Examine(file);
  CHECK(Only(report).rule == "constant");
  CHECK(Only(report).found == "all its values are -1 times the scale");
  CHECK(Only(report).severity == Severity::kError);
  std::fill(gate.bytes.begin(), gate.bytes.end() - 32, uint8_t{0x55});
  CHECK(Lines(Examine(file)) == "error all-zero blk.2.ffn_gate.weight\n");
  std::fill(gate.bytes.begin(), gate.bytes.end() - 32, uint8_t{0x65});
  CHECK(Lines(Examine(file)) == "note shares blk.2.ffn_gate.weight\n");  // no -1, a quarter +1

  file = SmallCheckpoint();
  SmallCheckpoint::Tensor& norm = file.Find("blk.0.attn_norm.weight");
  for (size_t i = 0; i < norm.bytes.size(); i += 4) std::memcpy(norm.bytes.data() + i, "\0\0\x80\x3f", 4);
  report = Examine(file);
  CHECK(Only(report).severity == Severity::kWarning);
  CHECK(Only(report).found == "all its values are 1");
  CHECK(ExitCode(report) == 1);
  std::memcpy(norm.bytes.data() + 40, "\0\0\x80\x7f", 4);
  report = Examine(file);
  CHECK(Only(report).rule == "not-finite");
  CHECK(Only(report).found == "1 value is NaN or infinite, at row 0, column 10");
  std::fill(norm.bytes.begin(), norm.bytes.end(), uint8_t{0});
  CHECK(Lines(Examine(file)) == "error all-zero blk.0.attn_norm.weight\n");

  // A block's step among others.
  SmallCheckpoint blocks("TQ2_0");
  std::memcpy(blocks.Find("blk.0.attn_q.weight").bytes.data() + 64, "\x00\x7b", 2);  // 57344
  CHECK(Lines(Examine(blocks)) == "warning far-scale blk.0.attn_q.weight\n");
  std::memcpy(blocks.Find("blk.0.attn_q.weight").bytes.data() + 64, "\x00\x00", 2);
  CHECK(Lines(Examine(blocks)) == "warning zero-scale blk.0.attn_q.weight\n");
}

TEST_CASE("ExamineGguf: scales that are far from those of the other layers, or inverted") {
  SmallCheckpoint file;
  for (const char* name : {"blk.0.attn_k.weight", "blk.1.attn_k.weight", "blk.2.attn_k.weight"}) {
    file.SetScale(name, 0.02f);
  }
  file.SetScale("blk.3.attn_k.weight", 50.0f);
  CheckpointReport report = Examine(file);
  CHECK(Only(report).rule == "inverted-scale");
  CHECK(Only(report).subject == "blk.3.attn_k.weight");
  CHECK(Only(report).found == "its scale is 50, which looks like 1 / 0.02");
  CHECK(Only(report).expected == "the scales of blk.N.attn_k.weight are about 0.02");
  file.SetScale("blk.3.attn_k.weight", 1.0f);
  CHECK(Only(Examine(file)).rule == "far-scale");
  file.SetScale("blk.3.attn_k.weight", 0.0001f);
  CHECK(Only(Examine(file)).rule == "far-scale");
  file.SetScale("blk.3.attn_k.weight", 0.1f);
  CHECK(Lines(Examine(file)) == "");
  // All of a file.
  for (const auto& tensor : file.tensors) {
    if (tensor.type == "I2_S") file.SetScale(tensor.name, 40.0f);
  }
  report = Examine(file);
  CHECK(Only(report).rule == "inverted-scale");
  CHECK(Only(report).subject == "f");
}

TEST_CASE("ExamineGguf: tensors that are missing, of another shape, too many") {
  SmallCheckpoint file;
  std::erase_if(file.tensors, [](const auto& t) { return t.name == "blk.3.attn_v.weight"; });
  file.Find("blk.2.attn_q.weight").name = "blk.2.attn_qq.weight";
  file.Find("blk.1.attn_norm.weight").dims = {256, 1};  // of one row: the same
  file.Find("blk.0.attn_k.weight").dims = {512, 64};
  file.Find("output_norm.weight").dims = {128};
  file.Find("output_norm.weight").bytes.resize(512);
  CheckpointReport report = Examine(file);
  CHECK(Lines(report) ==
        "error shape blk.0.attn_k.weight\nerror missing blk.2.attn_q.weight\nerror missing blk.3.attn_v.weight\n"
        "error shape output_norm.weight\nerror unexpected blk.2.attn_qq.weight\n");
  CHECK(report.findings[0].found == "it is 64 x 512");
  CHECK(report.findings[0].expected == "128 x 256");
  CHECK(report.findings[1].expected == "a tensor of 256 x 256");

  // Layers that are stated and not there: a finding each for a while, then one for the rest.
  file = SmallCheckpoint();
  file.Set("bitnet-b1.58.block_count", uint32_t{1u << 20});
  report = Examine(file);
  CHECK(report.Has("missing"));
  CHECK(report.findings.size() < 1000);
  // One layer too few: its tensors are too many.
  file.Set("bitnet-b1.58.block_count", uint32_t{3});
  report = Examine(file);
  CHECK(report.Count(Severity::kError) == 11);
  CHECK(report.Has("unexpected"));

  // What belongs to others' files: scales of the community's models, factors of the rotary embedding.
  SmallCheckpoint old("TQ2_0", "bitnet");
  for (size_t i = 0; i < 4; ++i) {
    const float scale = 0.5f;
    std::vector<uint8_t> bytes(4);
    std::memcpy(bytes.data(), &scale, 4);
    old.tensors.push_back({"blk." + std::to_string(i) + ".attn_q.scale", {1}, "F32", bytes});
  }
  CHECK(Lines(Examine(old)) == "");
  std::memset(old.tensors.back().bytes.data(), 0, 4);
  CHECK(Lines(Examine(old)) == "error zero-scale blk.3.attn_q.scale\n");
  const float inverted = 2000.0f;
  std::memcpy(old.tensors.back().bytes.data(), &inverted, 4);
  CHECK(Lines(Examine(old)) == "warning far-scale blk.3.attn_q.scale\n");
}

TEST_CASE("ExamineGguf: metadata that are missing, wrong or unknown") {
  SmallCheckpoint file;
  file.Erase("bitnet-b1.58.embedding_length");
  file.Erase("bitnet-b1.58.attention.layer_norm_rms_epsilon");
  CHECK(Lines(Examine(file)) ==
        "error configuration bitnet-b1.58.embedding_length\n"
        "error configuration bitnet-b1.58.attention.layer_norm_rms_epsilon\n");
  file = SmallCheckpoint();
  file.Set("prism.hadamard.version", uint32_t{1});
  CheckpointReport report = Examine(file);
  CHECK(Only(report).rule == "configuration");
  CHECK(Only(report).found.find("prism.hadamard.version") != std::string::npos);
  // Tensors are checked all the same.
  file.tensors.pop_back();
  CHECK(Lines(Examine(file)) == "error configuration f\nerror missing output_norm.weight\n");
  CHECK(Lines(Examine(SmallCheckpoint("I2_S", "gemma"))) == "error configuration f\n");
  file = SmallCheckpoint();
  file.Erase("general.architecture");
  CHECK(Lines(Examine(file)) == "error configuration general.architecture\n");

  file = SmallCheckpoint("I2_S", "bitnet");
  file.Set("bitnet.hidden_act", std::string("relu2"));
  CHECK(Examine(file).Has("activation"));
  // The released model's dimensions under the name of another activation; of this size only its metadata are made.
  testing::GgufBytes big;
  big.Text("general.architecture", "bitnet").Number("bitnet.embedding_length", 4, uint32_t{2560});
  big.Number("bitnet.block_count", 4, uint32_t{30}).Number("bitnet.feed_forward_length", 4, uint32_t{6912});
  big.Number("bitnet.attention.head_count", 4, uint32_t{20}).Number("bitnet.context_length", 4, uint32_t{4096});
  big.Number("bitnet.attention.layer_norm_rms_epsilon", 6, 1e-5f);
  big.tensors = {{"token_embd.weight", {2560, 2}, 1, 0}};
  big.data.resize(4 * 2560);
  report = ExamineBytes(big.Make());
  CHECK(report.Has("activation"));
}

TEST_CASE("ExamineCheckpoint: without errors is what loads") {
  const TemporaryFile path;
  SmallCheckpoint file;
  const auto agree = [&] {
    file.Write(path.path());
    CHECK((ExamineCheckpoint(path.path()).Count(Severity::kError) == 0) == Checkpoint::Open(path.path()).ok());
    return Checkpoint::Open(path.path()).ok();
  };
  CHECK(agree());
  file.Set("tokenizer.ggml.bos_token_id", uint32_t{0xffffffff});  // none
  CHECK(agree());
  file.Erase("tokenizer.ggml.model");
  CHECK(agree());
  file.Set("tokenizer.ggml.eos_token_id", uint32_t{999999});
  CHECK_FALSE(agree());
}

TEST_CASE("ExamineGguf: tokenizers") {
  SmallCheckpoint file;
  file.Erase("tokenizer.ggml.pre");
  CheckpointReport report = Examine(file);
  CHECK(Only(report).rule == "pre-tokenizer");
  CHECK(Only(report).severity == Severity::kWarning);
  CHECK(Only(report).subject == "tokenizer.ggml.pre");

  file = SmallCheckpoint();
  file.Set("tokenizer.ggml.bos_token_id", uint32_t{257});
  file.Set("tokenizer.ggml.padding_token_id", uint32_t{100000});
  file.Set("tokenizer.ggml.unknown_token_id", int32_t{-1});
  report = Examine(file);
  CHECK(Lines(report) ==
        "error special-id tokenizer.ggml.bos_token_id\nerror special-id tokenizer.ggml.padding_token_id\n"
        "note special-id tokenizer.ggml.unknown_token_id\n");
  CHECK(report.findings[0].expected == "an id below 257");

  file = SmallCheckpoint();
  file.Erase("tokenizer.ggml.eos_token_id");
  file.Erase("tokenizer.chat_template");
  CHECK(Lines(Examine(file)) ==
        "warning special-id tokenizer.ggml.eos_token_id\nnote chat-template tokenizer.chat_template\n");
  file = SmallCheckpoint();
  file.Set("tokenizer.ggml.model", std::string("bert"));
  CHECK(Lines(Examine(file)) == "error tokenizer tokenizer.ggml.model\n");
  file = SmallCheckpoint();
  std::erase_if(file.entries, [](const auto& entry) { return entry.first.starts_with("tokenizer."); });
  CHECK(Lines(Examine(file)) == "warning tokenizer tokenizer.ggml.model\n");

  // More tokens than rows of the embedding, and fewer.
  ModelConfig small = SmallCheckpoint::Config();
  small.vocab = 250;
  CHECK(Examine(SmallCheckpoint("I2_S", "bitnet-b1.58", small)).Has("vocabulary"));
  small.vocab = 260;
  CHECK(Lines(Examine(SmallCheckpoint("I2_S", "bitnet-b1.58", small))) == "note vocabulary tokenizer.ggml.tokens\n");
  // A vocabulary without weights.
  file = SmallCheckpoint();
  file.tensors.clear();
  CHECK(Lines(Examine(file)) == "note no-tensors f\n");
}

TEST_CASE("ExamineGguf: of a truncated file all that is there") {
  const std::vector<uint8_t> bytes = BytesOf(SmallCheckpoint());
  const CheckpointReport whole = ExamineBytes(bytes);
  std::vector<uint8_t> cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(bytes.size() * 3 / 4));
  CheckpointReport report = ExamineBytes(cut);
  REQUIRE(report.tensors.size() == whole.tensors.size());
  CHECK(report.findings[0].rule == "reader");
  CHECK(report.findings[0].found.find("truncated") != std::string::npos);
  CHECK(report.Has("truncated"));
  CHECK_FALSE(report.Has("missing"));
  CHECK_FALSE(report.Has("shape"));
  CHECK(report.config == whole.config);
  CHECK(report.tokenizer == whole.tokenizer);
  for (const Finding& finding : report.findings) CHECK((finding.rule == "reader" || finding.rule == "truncated"));
  uint64_t missing = 0;
  for (const TensorReport& tensor : report.tensors) missing += tensor.missing;
  CHECK(missing > bytes.size() / 5);
  CHECK(missing <= bytes.size() / 4 + 1);
  for (size_t i = 0; i < report.tensors.size(); ++i) CHECK(report.tensors[i].bytes == whole.tensors[i].bytes);
  CHECK(ReportText(report).find("not there\n") != std::string::npos);
  for (size_t i = 0; i < 10; ++i) CHECK(report.tensors[i].facts.counts == whole.tensors[i].facts.counts);
  CHECK(ExitCode(report) == 2);
  // In the metadata, in the list of tensors, and before anything.
  const auto data = static_cast<size_t>(GgufFile::Parse(MappedFile::FromBytes(bytes, "f"))->data_offset());
  for (const size_t size : {size_t{0}, size_t{3}, size_t{20}, size_t{2000}, data - 1000, data - 100}) {
    cut.assign(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    report = ExamineBytes(cut);
    CHECK(Only(report).rule == "reader");
    CHECK(report.architecture == (size >= 2000 ? "bitnet-b1.58" : ""));
    CHECK(report.tensors.empty() == (size <= 2000));
  }
}

TEST_CASE("ExamineGguf: names that stand twice, types that are not known") {
  testing::GgufBytes file;
  file.Text("general.architecture", "llama").Number("n", 4, uint32_t{1}).Number("n", 4, uint32_t{1});
  file.tensors = {{"a", {4}, 0, 0}, {"a", {4}, 0, 32}, {"b", {4}, 77, 64}, {"c", {4}, 38, 96}, {"d", {100}, 35, 128}};
  file.data.resize(160);
  for (size_t i = 0; i < file.data.size(); ++i) file.data[i] = static_cast<uint8_t>(i % 60);
  const CheckpointReport report = ExamineBytes(file.Make());
  const std::string lines = Lines(report);
  for (const char* line : {"error reader f", "error double n", "error double a", "error unknown-type b",
                           "error unknown-type c", "error shape d"}) {
    CHECK_MESSAGE(lines.find(line) != std::string::npos, line);
  }
}

TEST_CASE("ReportText and ReportJson: whatever a file says, they say it, and the JSON is JSON") {
  const std::vector<std::vector<uint8_t>> seeds = [] {
    std::vector<std::vector<uint8_t>> all = testing::GgufSeeds();
    SmallCheckpoint tiny;
    tiny.tensors.resize(4);
    for (size_t i = 0; i < 20; ++i) all.push_back(BytesOf(tiny));
    return all;
  }();
  for (size_t n = 0; n < 2000; ++n) {
    const CheckpointReport report =
        ExamineBytes(n < seeds.size() ? seeds[n] : testing::Mutated(seeds[n % seeds.size()], n));
    const std::string text = ReportText(report), json = ReportJson(report);
    for (const char c : text) REQUIRE((c == '\n' || (c >= ' ' && c < 0x7f)));
    const Result<JsonDocument> read = JsonDocument::Parse(json, "report");
    REQUIRE_MESSAGE(read.ok(), (read.ok() ? "" : read.error()));
    CHECK(*read->root().At("errors")->AsUnsigned() == report.Count(Severity::kError));
    CHECK(*read->root().At("exit_code")->AsUnsigned() == static_cast<uint64_t>(ExitCode(report)));
    CHECK(read->root().At("tensors")->items().size() == report.tensors.size());
    CHECK(read->root().At("findings")->items().size() == report.findings.size());
  }
  const std::string text = ReportText(Examine(SmallCheckpoint()));
  CHECK(text.find("architecture  bitnet-b1.58\n") != std::string::npos);
  CHECK(text.find("4 layers, hidden 256") != std::string::npos);
  CHECK(text.find("squared ReLU") != std::string::npos);
  CHECK(text.find("0 errors, 0 warnings, 0 notes\n") != std::string::npos);
  SmallCheckpoint bad;
  for (auto& tensor : bad.tensors) tensor.bytes.assign(tensor.bytes.size(), 0);
  const CheckpointReport report = Examine(bad);
  CHECK(ReportText(report).find("error   all-zero: and 41 more like these") != std::string::npos);
  CHECK(ReportText(report, 1000).find("more like these") == std::string::npos);
}

}  // namespace
}  // namespace bitnet::examine_gguf_test
