// ExamineGguf: what a GGUF file is, and what is wrong with it (io/checkpoint_report.h), whatever is wrong with it: what
// the reader refuses becomes a finding, and all that can be read is examined.
//
// Tensors are looked at one after the other, block by block; the pages of each may go to others afterwards.
#ifndef BITNET_IO_EXAMINE_GGUF_H_
#define BITNET_IO_EXAMINE_GGUF_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/io/checkpoint_checks.h"
#include "bitnet/io/checkpoint_report.h"
#include "bitnet/io/gguf.h"
#include "bitnet/io/gguf_checkpoint.h"
#include "bitnet/io/gguf_config.h"
#include "bitnet/io/quoted.h"
#include "bitnet/io/tokenizer.h"
#include "bitnet/io/tokenizer_gguf.h"

namespace bitnet {

namespace detail {

// A value of the metadata in a few words: "30", "'bitnet-b1.58'", "an array of 128256 texts".
inline std::string InWords(const GgufValue& value) {
  if (value.is_array()) return value.Describe();
  if (const auto text = value.As<std::string_view>(); text.ok()) return Quoted(*text);
  if (const auto flag = value.As<bool>(); flag.ok()) return *flag ? "true" : "false";
  if (const auto number = value.As<int64_t>(); number.ok()) return std::to_string(*number);
  if (const auto number = value.As<uint64_t>(); number.ok()) return std::to_string(*number);
  if (const auto real = value.As<double>(); real.ok()) {
    char digits[40];
    std::snprintf(digits, sizeof(digits), "%.9g", *real);
    return digits;
  }
  return value.Describe();
}

class GgufExaminer {
 public:
  GgufExaminer(const GgufRemains& remains, const ExamineOptions& options)
      : file_(remains.file), fault_(remains.fault), options_(options) {}

  CheckpointReport Examine() {
    report_.path = file_.path();
    report_.bytes = file_.file().bytes().size();
    if (file_.version() != 0) report_.kind = "GGUF, version " + std::to_string(file_.version());
    if (!fault_.empty()) report_.Add(Severity::kError, "reader", file_.path(), fault_);
    for (const GgufEntry& entry : file_.metadata()) {
      report_.metadata.emplace_back(std::string(entry.key), InWords(entry.value));
    }
    FindDoubles();
    ExamineTensors();
    if (const auto name = file_.Get<std::string_view>("general.architecture"); name.ok()) report_.architecture = *name;
    const bool has_weights = !file_.tensors().empty();
    if (IsListed() && has_weights) ExamineConfig();
    if (IsListed() && !has_weights) {
      report_.Add(Severity::kNote, "no-tensors", file_.path(),
                  "the file has no tensors, and may be a vocabulary alone");
    }
    if (IsListed()) ExamineTokenizer(has_weights);
    CompareScales(report_);
    return std::move(report_);
  }

 private:
  void Error(const char* rule, std::string_view subject, const std::string& found, const std::string& expected = {}) {
    report_.Add(Severity::kError, rule, std::string(subject), found, expected);
  }

  // Where the list of tensors does not end, what is missing says nothing more.
  bool IsListed() const { return fault_.empty() || file_.data_offset() != 0; }

  void FindDoubles() {
    std::set<std::string_view> seen;
    for (const GgufEntry& entry : file_.metadata()) {
      if (!seen.insert(entry.key).second) Error("double", entry.key, "the key is there twice", "each key once");
    }
    seen.clear();
    for (const GgufTensor& tensor : file_.tensors()) {
      if (!seen.insert(tensor.name).second) Error("double", tensor.name, "the tensor is there twice", "each name once");
    }
  }

  void ExamineTensors() {
    size_t done = 0;
    for (const GgufTensor& tensor : file_.tensors()) {
      if (options_.progress) options_.progress(done++, file_.tensors().size());
      TensorReport to;
      to.name = tensor.name;
      to.type = tensor.TypeName();
      for (uint32_t d = tensor.rank; d > 0; --d) to.shape.push_back(tensor.dims[d - 1]);
      to.bytes = tensor.bytes.size();
      if (tensor.type == nullptr) {
        Error("unknown-type", tensor.name,
              "its type is number " + std::to_string(tensor.type_id) + ", which " +
                  std::string(FindGgufTypes(tensor.type_id).empty() ? "is not known" : "stands for several types"));
      } else if (!tensor.type->refusal.empty()) {
        Error("unknown-type", tensor.name, "its type is " + to.type, std::string(tensor.type->refusal));
      } else if (IsListed()) {
        CheckSize(tensor, to);
        if (options_.values) {
          to.facts = FactsOfTensor(tensor, options_.i2s);
          file_.Release(tensor);
          if (!to.facts.unread.empty() && !tensor.bytes.empty()) {
            report_.Add(Severity::kWarning, "unread", to.name, "its values were not looked at: " + to.facts.unread);
          }
          CheckValues(report_, to);
        }
      }
      report_.tensors.push_back(std::move(to));
    }
  }

  void CheckSize(const GgufTensor& tensor, TensorReport& to) {
    const std::optional<uint64_t> bytes = tensor.type->Bytes(tensor.rows(), tensor.cols());
    if (bytes) {
      to.bytes = *bytes;
      to.missing = *bytes - tensor.bytes.size();
    }
    if (!bytes) {
      Error("shape", tensor.name,
            "it is " + std::to_string(tensor.rows()) + " x " + std::to_string(tensor.cols()) + ", in " +
                tensor.TypeName(),
            "rows of multiples of " + std::to_string(tensor.type->block_values) + " values" +
                (tensor.type->rows_together > 1 ? ", in " + std::to_string(tensor.type->rows_together) + "s" : ""));
    } else if (to.missing > 0) {
      Error("truncated", tensor.name, "the file has " + std::to_string(tensor.bytes.size()) + " bytes of it",
            std::to_string(*bytes) + " bytes");
    } else if (tensor.type->name == "I2_S" && tensor.rows() * tensor.cols() % 128 != 0) {
      report_.Add(Severity::kWarning, "shape", std::string(tensor.name),
                  "I2_S of " + std::to_string(tensor.rows()) + " x " + std::to_string(tensor.cols()) + " values",
                  "a multiple of 128: writers disagree about the rest");
    }
  }

  // Architectures that ReadGgufConfig knows, and the activation that readers give them.
  static std::optional<ActivationKind> ActivationOf(std::string_view architecture) {
    if (architecture == "bitnet-b1.58" || architecture == "bitnet-25") return ActivationKind::kSquaredRelu;
    if (architecture == "bitnet" || architecture == "llama" || architecture == "qwen3") {
      return ActivationKind::kSilu;
    }
    return std::nullopt;
  }

  void ExamineConfig() {
    const auto architecture = file_.Get<std::string_view>("general.architecture");
    if (!architecture.ok()) return Error("configuration", "general.architecture", architecture.error());
    const std::string prefix = report_.architecture + ".";
    const std::optional<ActivationKind> activation = ActivationOf(*architecture);
    if (activation) {
      for (const char* key : {"embedding_length", "block_count", "feed_forward_length", "attention.head_count",
                              "context_length", "attention.layer_norm_rms_epsilon"}) {
        if (file_.Find(prefix + key) == nullptr)
          Error("configuration", prefix + key, "there is no such key", "a number");
      }
    }
    Result<CheckpointConfig> config = ReadGgufConfig(file_);
    if (config.ok()) {
      report_.config = *config;
    } else if (!report_.Has("configuration") && !HasBadTokenId()) {
      Error("configuration", file_.path(), config.error());
    }
    // Dimensions alone are enough to know which tensors there should be.
    const std::optional<CheckpointConfig> dimensions = config.ok()  ? std::optional(*config)
                                                       : activation ? Dimensions()
                                                                    : std::nullopt;
    if (dimensions) {
      CheckTensorsOf(*dimensions);
      CheckActivation(*dimensions, activation);
    }
  }

  bool HasBadTokenId() const {
    const GgufTensor* const embedding = file_.FindTensor("token_embd.weight");
    if (embedding == nullptr) return false;
    for (const char* key : {"bos_token_id", "eos_token_id", "eot_token_id"}) {
      const auto id = file_.Get<int64_t>(GgufKey(key));
      if (id.ok() && (*id < 0 || static_cast<uint64_t>(*id) >= embedding->rows())) return true;
    }
    return false;
  }

  // As far as the metadata says them, of a file that ReadGgufConfig refuses.
  std::optional<CheckpointConfig> Dimensions() const {
    CheckpointConfig c;
    bool ok = true;
    const std::string prefix = report_.architecture + ".";
    const auto read = [&](uint32_t& to, const char* key, uint32_t otherwise) {
      const auto value = file_.GetOr<uint32_t>(prefix + key, otherwise);
      if (value.ok()) to = *value;
      ok = ok && value.ok() && to != 0;
    };
    read(c.hidden, "embedding_length", 0);
    read(c.layers, "block_count", 0);
    read(c.ffn, "feed_forward_length", 0);
    read(c.heads, "attention.head_count", 0);
    if (!ok) return std::nullopt;
    read(c.kv_heads, "attention.head_count_kv", c.heads);
    read(c.head_dim, "attention.key_length", c.hidden / c.heads);
    const GgufTensor* const embedding = file_.FindTensor("token_embd.weight");
    const auto tokens = file_.Find(GgufKey("tokens"));
    const uint64_t vocab = embedding != nullptr ? embedding->rows() : tokens != nullptr ? tokens->size() : 0;
    if (!ok || vocab == 0 || vocab > 0xffffffffu) return std::nullopt;
    c.vocab = static_cast<uint32_t>(vocab);
    c.max_positions = 1;
    c.rope_base = 10000.0f;
    c.rms_eps = 1e-5f;
    c.tied_embedding = file_.FindTensor("output.weight") == nullptr;
    c.sub_layer_norms = file_.FindTensor("blk.0.attn_sub_norm.weight") != nullptr;
    c.head_norms = file_.FindTensor("blk.0.attn_q_norm.weight") != nullptr;
    return c;
  }

  void CheckTensorsOf(const CheckpointConfig& config) {
    std::map<std::string_view, const TensorReport*> by_name;
    for (const TensorReport& tensor : report_.tensors) by_name.emplace(tensor.name, &tensor);
    std::set<std::string> scales;
    const auto name_of = [](const TensorInfo& t) { return GgufNameOf(t); };
    const auto find = [&](const TensorInfo& t) {
      const std::string name = name_of(t);
      if (t.role == TensorRole::kProjection) scales.insert(name.substr(0, name.rfind('.')) + ".scale");
      const auto found = by_name.find(name);
      return found == by_name.end() ? nullptr : found->second;
    };
    CheckTensors(report_, config, find, name_of, [&](const TensorReport& tensor) {
      if (scales.contains(tensor.name)) return tensor.Values() == 1;
      if (by_name.at(tensor.name) != &tensor) return true;  // twice: said already
      return tensor.name == "rope_freqs.weight" && tensor.Values() == config.head_dim / 2;
    });
  }

  void CheckActivation(const CheckpointConfig& c, std::optional<ActivationKind> activation) {
    const std::string prefix = report_.architecture + ".";
    for (const char* key : {"hidden_act", "hidden_activation", "feed_forward.activation"}) {
      const auto stated = file_.Get<std::string_view>(prefix + key);
      if (!stated.ok() || !activation) continue;
      const bool is_silu = *stated == "silu" || *stated == "swish";
      if (is_silu == (*activation == ActivationKind::kSilu)) continue;
      Error("activation", prefix + key, "it is " + Quoted(*stated),
            "what readers give the architecture " + Quoted(report_.architecture) + ": " +
                (is_silu ? "squared ReLU" : "SiLU"));
    }
    // Both were called `bitnet` once; of SiLU's models only the first have scales as tensors of their own.
    const bool has_scales = file_.FindTensor("blk.0.attn_q.scale") != nullptr;
    if (report_.architecture == "bitnet" && c.hidden == 2560 && c.layers == 30 && c.ffn == 6912 && !has_scales) {
      report_.Add(Severity::kWarning, "activation", "general.architecture",
                  "it is 'bitnet', whose activation is SiLU, and the dimensions are those of the released 2B model, "
                  "whose activation is squared ReLU",
                  "'bitnet-b1.58'");
    }
  }

  void ExamineTokenizer(bool has_weights) {
    const auto model = file_.Get<std::string_view>(GgufKey("model"));
    if (file_.Find(GgufKey("model")) == nullptr) {
      report_.Add(Severity::kWarning, "tokenizer", GgufKey("model"), "the file has no tokenizer",
                  "tokenizer.ggml.model, and what goes with it");
      return;
    }
    if (!model.ok()) return Error("tokenizer", GgufKey("model"), model.error());
    const GgufValue* const list = file_.Find(GgufKey("tokens"));
    const uint64_t tokens = list != nullptr && list->is_array() ? list->size() : 0;
    report_.tokenizer = std::string(*model) + ", " + std::to_string(tokens) + " tokens";
    if (const auto pre = file_.Get<std::string_view>(GgufKey("pre")); pre.ok()) {
      report_.tokenizer += ", pre-tokenizer " + std::string(*pre);
    } else if (*model == "gpt2" && file_.Find(GgufKey("pre")) == nullptr) {
      report_.Add(Severity::kWarning, "pre-tokenizer", GgufKey("pre"),
                  "there is no such key: readers guess how words are cut",
                  "the pre-tokenizer's name, such as 'llama-bpe'");
    }
    bool bad_id = false;
    for (const GgufEntry& entry : file_.metadata()) {
      const std::string_view key = entry.key;
      if (!key.starts_with(GgufKey("")) || !key.ends_with("_token_id")) continue;
      const auto id = entry.value.As<int64_t>();
      if (!id.ok()) {
        bad_id = true;
        Error("special-id", key, id.error());
        continue;
      }
      if (*id == -1 || *id == 0xffffffff) {
        report_.Add(Severity::kNote, "special-id", std::string(key),
                    "it is " + std::to_string(*id) + ", which some readers take for none",
                    "no such key where there is no such token");
        continue;
      }
      const std::string short_key(key.substr(GgufKey("").size(), key.size() - GgufKey("_token_id").size()));
      if (short_key == "bos" || short_key == "eos" || short_key == "eot") {
        report_.tokenizer += ", " + short_key + " " + std::to_string(*id);
      }
      if (*id >= 0 && static_cast<uint64_t>(*id) < tokens) continue;
      bad_id = true;
      Error("special-id", key, "it is " + std::to_string(*id), "an id below " + std::to_string(tokens));
    }
    if (const GgufTensor* const embedding = file_.FindTensor("token_embd.weight"); embedding != nullptr && tokens > 0) {
      const std::string rows = std::to_string(embedding->rows());
      if (tokens > embedding->rows()) {
        Error("vocabulary", GgufKey("tokens"), "there are " + std::to_string(tokens) + " tokens",
              "at most as many as the embedding has rows: " + rows);
      } else if (tokens < embedding->rows()) {
        report_.Add(Severity::kNote, "vocabulary", GgufKey("tokens"), "there are " + std::to_string(tokens) + " tokens",
                    "as many as the embedding has rows, " + rows + "; those beyond stand for no text");
      }
    }
    if (has_weights && file_.Find(GgufKey("eos_token_id")) == nullptr &&
        file_.Find(GgufKey("eot_token_id")) == nullptr) {
      report_.Add(Severity::kWarning, "special-id", GgufKey("eos_token_id"), "no token ends a text",
                  "the id of the token at which generation stops");
    }
    Result<TokenizerDescription> description = ReadGgufTokenizer(file_);
    if (!description.ok()) {
      if (!bad_id) Error("tokenizer", GgufKey("model"), description.error());
      return;
    }
    if (Result<Tokenizer> made = Tokenizer::Make(std::move(description->vocabulary)); !made.ok()) {
      Error("tokenizer", GgufKey("tokens"), made.error());
    }
    if (description->chat_template.empty() && has_weights) {
      report_.Add(Severity::kNote, "chat-template", "tokenizer.chat_template", "there is no such key");
    }
  }

  const GgufFile& file_;
  const std::string& fault_;
  const ExamineOptions& options_;
  CheckpointReport report_;
};

}  // namespace detail

inline CheckpointReport ExamineGguf(const GgufRemains& remains, const ExamineOptions& options = {}) {
  return detail::GgufExaminer(remains, options).Examine();
}

}  // namespace bitnet

#endif  // BITNET_IO_EXAMINE_GGUF_H_
