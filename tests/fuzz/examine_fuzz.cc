// What is said of a GGUF file, whatever is wrong with it.
#include <string>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/io/examine_gguf.h"
#include "bitnet/io/report_text.h"
#include "fuzz/fuzz.h"
#include "io/gguf_seeds.h"

namespace bitnet::testing::examine_fuzz {

std::vector<std::vector<uint8_t>> Seeds() {
  std::vector<std::vector<uint8_t>> seeds = GgufSeeds();
  // A model's metadata, and some of its tensors.
  GgufBytes model;
  model.Text("general.architecture", "bitnet-b1.58");
  for (const char* key : {"embedding_length", "feed_forward_length", "context_length"}) {
    model.Number(std::string("bitnet-b1.58.") + key, 4, uint32_t{128});
  }
  model.Number("bitnet-b1.58.block_count", 4, uint32_t{1}).Number("bitnet-b1.58.attention.head_count", 4, uint32_t{2});
  model.Number("bitnet-b1.58.attention.layer_norm_rms_epsilon", 6, 1e-5f);
  model.Text("tokenizer.ggml.model", "gpt2").Number("tokenizer.ggml.eos_token_id", 4, uint32_t{1});
  model.tensors = {{"token_embd.weight", {128, 2}, 1, 0},
                   {"blk.0.attn_q.weight", {128, 128}, 36, 512},
                   {"blk.0.attn_norm.weight", {128}, 0, 512 + 4096 + 32}};
  model.data.resize(512 + 4096 + 32 + 512, 0x24);
  seeds.push_back(model.Make());
  return seeds;
}

int OneInput(const uint8_t* data, size_t size) {
  const std::vector<uint8_t> bytes(data, data + size);
  const bitnet::GgufRemains remains = bitnet::ReadGgufRemains(bitnet::MappedFile::FromBytes(bytes, "f"));
  const bitnet::CheckpointReport report = bitnet::ExamineGguf(remains);
  const bool is_read = bitnet::GgufFile::Parse(bitnet::MappedFile::FromBytes(bytes, "f")).ok();
  BITNET_ASSERT(is_read != report.Has("reader"), "what the reader refuses is a finding, and nothing else");
  BITNET_ASSERT(report.tensors.size() == remains.file.tensors().size(), "each tensor is reported");
  for (const bitnet::TensorReport& tensor : report.tensors) {
    BITNET_ASSERT(tensor.facts.values <= tensor.Values(), "no more values are looked at than there are");
    uint64_t counted = tensor.facts.levels.empty() ? tensor.facts.values : 0;
    for (const uint64_t count : tensor.facts.counts) counted += count;
    BITNET_ASSERT(counted <= tensor.facts.values, "a value has at most one level");
  }
  for (const char c : bitnet::ReportText(report)) {
    BITNET_ASSERT(c == '\n' || (c >= ' ' && c < 0x7f), "a report is printable");
  }
  const bitnet::Result<bitnet::JsonDocument> json = bitnet::JsonDocument::Parse(bitnet::ReportJson(report), "report");
  BITNET_ASSERT(json.ok(), json.ok() ? "" : json.error().c_str());
  return 0;
}

BITNET_FUZZ_TARGET(examine);

}  // namespace bitnet::testing::examine_fuzz
