// ExamineHf: what a transformers checkpoint is, and what is wrong with it (io/checkpoint_report.h): a folder with
// config.json, or a safetensors file alone, whose tensors are then not held against any configuration. What readers
// refuse becomes a finding, and all that can be read is examined, tensor by tensor.
#ifndef BITNET_IO_EXAMINE_HF_H_
#define BITNET_IO_EXAMINE_HF_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "bitnet/base/file.h"
#include "bitnet/base/result.h"
#include "bitnet/io/checkpoint_checks.h"
#include "bitnet/io/checkpoint_report.h"
#include "bitnet/io/hf_config.h"
#include "bitnet/io/hf_names.h"
#include "bitnet/io/hf_packed.h"
#include "bitnet/io/json.h"
#include "bitnet/io/load_tokenizer.h"
#include "bitnet/io/mapped_file.h"
#include "bitnet/io/quoted.h"
#include "bitnet/io/safetensors.h"
#include "bitnet/io/safetensors_header.h"

namespace bitnet {

namespace detail {

class HfExaminer {
 public:
  HfExaminer(const std::string& path, const ExamineOptions& options) : options_(options) { report_.path = path; }

  CheckpointReport Examine() {
    std::error_code unknown;
    const bool is_folder = std::filesystem::is_directory(report_.path, unknown);
    report_.kind = is_folder ? "transformers folder" : "safetensors";
    if (is_folder) {
      ReadConfig();
      OpenShards();
    } else {
      OpenFile(report_.path);
      if (stored_.empty() && report_.Has("reader")) report_.kind.clear();
      report_.Add(Severity::kNote, "configuration", report_.path,
                  "a file alone: which tensors a model needs is not known", "the folder, with its config.json");
    }
    ExamineTensors();
    if (report_.config) {
      CheckTensorsOf(*report_.config);
      CheckTokenIds(*report_.config);
    }
    if (is_folder) ExamineTokenizer();
    CompareScales(report_);
    return std::move(report_);
  }

 private:
  struct Shard {
    std::string name;
    MappedFile file;
  };
  struct Stored {
    SafetensorsTensor tensor;
    size_t shard;
    std::span<const uint8_t> bytes;  // that the file has
  };

  void Error(const char* rule, const std::string& subject, const std::string& found, const std::string& expected = {}) {
    report_.Add(Severity::kError, rule, subject, found, expected);
  }

  void ReadConfig() {
    const std::string path = report_.path + "/config.json";
    const Result<CheckpointConfig> config = LoadHfConfig(report_.path);
    if (config.ok()) {
      report_.config = *config;
      report_.architecture = config->architecture;
    } else {
      Error("configuration", path, config.error());
    }
    const Result<std::vector<uint8_t>> bytes = ReadFile(path, kHfConfigLimits);
    if (!bytes.ok()) return;
    const Result<JsonDocument> json = JsonDocument::Parse(*bytes, path);
    if (!json.ok()) return;
    const auto text_of = [&](const std::optional<JsonValue>& value) -> std::string {
      if (!value) return {};
      const Result<std::string_view> text = value->AsText();
      return text.ok() ? std::string(*text) : std::string();
    };
    for (const JsonValue item : json->root().items()) {
      if (const Result<std::string_view> text = item.AsText(); text.ok()) {
        report_.metadata.emplace_back(std::string(item.key()), Quoted(*text));
      } else if (const Result<double> real = item.AsReal(); real.ok()) {
        report_.metadata.emplace_back(std::string(item.key()), ShortReal(*real));
      } else {
        report_.metadata.emplace_back(std::string(item.key()), KindInWords(item.kind()));
      }
    }
    if (report_.architecture.empty()) report_.architecture = text_of(json->root().Find("model_type"));
    // What the published models of these classes have.
    std::string architecture;
    if (const auto list = json->root().Find("architectures"); list && list->ExpectList().ok()) {
      if (list->items().size() > 0) architecture = text_of(*list->items().begin());
    }
    const std::string activation = text_of(json->root().Find("hidden_act"));
    if (architecture.empty() || activation.empty()) return;
    const bool expects_relu = architecture == "BitNetForCausalLM";
    const bool expects_silu =
        architecture == "LlamaForCausalLM" || architecture == "Qwen3ForCausalLM" || architecture == "BitnetForCausalLM";
    if ((expects_relu && activation != "relu2") || (expects_silu && activation != "silu" && activation != "swish")) {
      report_.Add(
          Severity::kWarning, "activation", "hidden_act", "it is " + Quoted(activation),
          std::string(expects_relu ? "'relu2'" : "'silu'") + ", as published models of " + architecture + " have");
    }
  }

  void OpenShards() {
    std::error_code unknown;
    const std::string one = report_.path + "/model.safetensors";
    const std::string index = one + ".index.json";
    if (std::filesystem::exists(one, unknown)) {
      OpenFile(one);
    } else if (std::filesystem::exists(index, unknown)) {
      std::set<std::string> names;
      const Result<std::vector<uint8_t>> text = ReadFile(index, {.regular = kMostSafetensorsHeaderBytes});
      if (!text.ok()) return Error("reader", index, text.error());
      const Result<JsonDocument> json = JsonDocument::Parse(*text, index);
      if (!json.ok()) return Error("reader", index, json.error());
      if (const auto map = json->root().Find("weight_map"); map && map->ExpectObject().ok()) {
        for (const JsonValue item : map->items()) {
          const Result<std::string_view> name = item.AsText();
          if (name.ok() && name->find('/') == name->npos) names.emplace(*name);
        }
      }
      for (const std::string& name : names) OpenFile(report_.path + "/" + name);
    } else {
      return Error("reader", report_.path, "there are no weights",
                   "model.safetensors, or model.safetensors.index.json");
    }
    // What an index says is held against the files by the reader; it says the first fault.
    if (report_.Has("reader")) return;
    if (const Result<Safetensors> all = Safetensors::Open(report_.path); !all.ok()) {
      Error("reader", report_.path, all.error());
    }
  }

  void OpenFile(const std::string& path) {
    Result<MappedFile> file = MappedFile::Open(path);
    if (!file.ok()) return Error("reader", path, file.error());
    const size_t slash = path.rfind('/');
    shards_.push_back({slash == std::string::npos ? path : path.substr(slash + 1), *std::move(file)});
    const std::span<const uint8_t> bytes = shards_.back().file.bytes();
    report_.bytes += bytes.size();
    SafetensorsRemains remains = ReadSafetensorsRemains(bytes, path);
    if (!remains.fault.empty()) Error("reader", path, remains.fault);
    for (auto& [key, value] : remains.header.metadata) report_.metadata.emplace_back(std::move(key), Quoted(value));
    for (SafetensorsTensor& tensor : remains.header.tensors) {
      const uint64_t begin = std::min<uint64_t>(tensor.begin, bytes.size());
      const uint64_t there = std::min<uint64_t>(tensor.bytes, bytes.size() - begin);
      stored_.push_back({std::move(tensor), shards_.size() - 1,
                         bytes.subspan(static_cast<size_t>(begin), static_cast<size_t>(there))});
    }
  }

  const Stored* FindStored(const std::string& name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : &stored_[found->second];
  }

  void ExamineTensors() {
    for (size_t i = 0; i < stored_.size(); ++i) {
      const SafetensorsTensor& tensor = stored_[i].tensor;
      if (by_name_.emplace(tensor.name, i).second) continue;
      Error("double", tensor.name, "the tensor is there twice, the second time in " + shards_[stored_[i].shard].name,
            "each name once");
    }
    size_t done = 0;
    for (const Stored& stored : stored_) {
      if (options_.progress) options_.progress(done++, stored_.size());
      const SafetensorsTensor& tensor = stored.tensor;
      TensorReport to;
      to.name = tensor.name;
      to.type = Name(tensor.type);
      to.shape = tensor.shape;
      to.bytes = tensor.bytes;
      to.missing = tensor.bytes - stored.bytes.size();
      if (shards_.size() > 1) to.file = shards_[stored.shard].name;
      const Stored* const scale = FindStored(tensor.name + "_scale");
      const bool is_packed = tensor.type == SafetensorsType::kU8 && tensor.shape.size() == 2 &&
                             (scale != nullptr || tensor.name.ends_with("_proj.weight")) &&
                             tensor.shape[0] < (uint64_t{1} << 58);
      if (is_packed) {
        to.type = "packed";
        to.shape[0] *= 4;
      }
      if (to.missing > 0) {
        Error("truncated", tensor.name, "the file has " + std::to_string(stored.bytes.size()) + " bytes of it",
              std::to_string(tensor.bytes) + " bytes");
      }
      if (options_.values) {
        to.facts = FactsOf(stored, is_packed ? to.shape[0] : 0);
        if (is_packed && scale != nullptr) SetScale(*scale, to.facts);
        shards_[stored.shard].file.Release(tensor.begin, tensor.bytes);
        if (!to.facts.unread.empty()) report_.Add(Severity::kWarning, "unread", to.name, to.facts.unread);
        CheckValues(report_, to);
      }
      report_.tensors.push_back(std::move(to));
    }
  }

  static TensorFacts FactsOf(const Stored& stored, uint64_t packed_rows) {
    const uint64_t cols = stored.tensor.shape.empty() ? 1 : stored.tensor.shape.back();
    if (packed_rows != 0) return FactsOfHfPacked(stored.bytes, packed_rows, cols);
    switch (stored.tensor.type) {
      case SafetensorsType::kF32:
        return FactsOfReals<Float>(stored.bytes, cols);
      case SafetensorsType::kF16:
        return FactsOfReals<Float16>(stored.bytes, cols);
      case SafetensorsType::kBF16:
        return FactsOfReals<BFloat16>(stored.bytes, cols);
      default: {
        TensorFacts facts;
        facts.unread = "its type is " + std::string(Name(stored.tensor.type)) + ", whose values are not looked at";
        return facts;
      }
    }
  }

  // The step that a scale stands for, where the configuration says which; what is wrong with the scale is said of its
  // own tensor.
  void SetScale(const Stored& stored, TensorFacts& facts) const {
    if (!report_.config) return;
    const TensorFacts of_scale = FactsOf(stored, 0);
    if (of_scale.values != 1 || of_scale.not_finite > 0 || !(of_scale.lowest > 0.0f)) return;
    const bool multiplies = report_.config->weights == CheckpointWeights::kPackedMultiplying;
    ScaleFactsMaker scales;
    scales.Add(multiplies ? of_scale.lowest : 1.0f / of_scale.lowest);
    facts.scales = scales.Facts();
  }

  void CheckTensorsOf(const CheckpointConfig& config) {
    const bool packed =
        config.weights == CheckpointWeights::kPackedDividing || config.weights == CheckpointWeights::kPackedMultiplying;
    std::map<std::string_view, const TensorReport*> by_name;
    for (const TensorReport& tensor : report_.tensors) by_name.emplace(tensor.name, &tensor);
    std::set<std::string> scales;
    const auto name_of = [](const TensorInfo& t) { return HfNameOf(t.layer, t.name).now; };
    const auto find = [&](const TensorInfo& t) -> const TensorReport* {
      const HfTensorName names = HfNameOf(t.layer, t.name);
      auto found = by_name.find(names.now);
      if (found == by_name.end()) found = by_name.find(names.older);
      if (found == by_name.end()) return nullptr;
      const TensorReport& tensor = *found->second;
      if (t.role != TensorRole::kProjection) return &tensor;
      const bool is_packed = tensor.type == "packed";
      if (is_packed != packed) {
        Error("type", tensor.name, "its type is " + tensor.type,
              packed ? "packed weights, as the configuration says"
                     : "reals: the configuration says nothing of packed ones");
      }
      if (is_packed) {
        const std::string scale = tensor.name + "_scale";
        if (!by_name.contains(scale)) Error("missing", scale, "there is no such tensor", "a tensor of one value");
        scales.insert(scale);
      }
      return &tensor;
    };
    CheckTensors(report_, config, find, name_of, [&](const TensorReport& tensor) {
      if (by_name.at(tensor.name) != &tensor) return true;  // twice: said already
      if (scales.contains(tensor.name)) return tensor.Values() == 1;
      if (tensor.name.ends_with(".rotary_emb.inv_freq")) return true;
      const Stored* const head = FindStored(HfNameOf({}, "head").now);
      const Stored* const embedding = FindStored(HfNameOf({}, "embedding").now);
      return config.tied_embedding && head != nullptr && head->tensor.name == tensor.name && embedding != nullptr &&
             head->tensor.type == embedding->tensor.type && std::ranges::equal(head->bytes, embedding->bytes);
    });
  }

  void CheckTokenIds(const CheckpointConfig& config) {
    const auto check = [&](const char* key, uint32_t id) {
      if (id >= config.vocab) {
        Error("special-id", key, "it is " + std::to_string(id), "an id below " + std::to_string(config.vocab));
      }
    };
    if (config.bos) check("bos_token_id", *config.bos);
    for (const uint32_t id : config.eos) check("eos_token_id", id);
    if (config.eos.empty()) {
      report_.Add(Severity::kWarning, "special-id", "eos_token_id", "no token ends a text",
                  "the id of the token at which generation stops");
    }
  }

  void ExamineTokenizer() {
    std::error_code unknown;
    const bool has_one = std::filesystem::exists(report_.path + "/tokenizer.json", unknown) ||
                         std::filesystem::exists(report_.path + "/tokenizer.model", unknown);
    if (!has_one) {
      report_.Add(Severity::kWarning, "tokenizer", report_.path, "the folder has no tokenizer",
                  "tokenizer.json or tokenizer.model");
      return;
    }
    const Result<LoadedTokenizer> loaded = LoadTokenizer(report_.path);
    if (!loaded.ok()) return Error("tokenizer", report_.path, loaded.error());
    for (const std::string& note : loaded->notes) report_.Add(Severity::kNote, "tokenizer", report_.path, note);
    const Tokenizer& tokenizer = loaded->tokenizer;
    report_.tokenizer = std::string(tokenizer.is_sentencepiece() ? "SentencePiece" : "byte-level BPE") + ", " +
                        std::to_string(tokenizer.size()) + " tokens";
    if (!report_.config) return;
    const std::string vocab = std::to_string(report_.config->vocab);
    if (tokenizer.size() > report_.config->vocab) {
      Error("vocabulary", report_.path, "there are " + std::to_string(tokenizer.size()) + " tokens",
            "at most as many as the embedding has rows: " + vocab);
    } else if (tokenizer.size() < report_.config->vocab) {
      report_.Add(Severity::kNote, "vocabulary", report_.path,
                  "there are " + std::to_string(tokenizer.size()) + " tokens",
                  "as many as the embedding has rows, " + vocab + "; those beyond stand for no text");
    }
  }

  const ExamineOptions& options_;
  CheckpointReport report_;
  std::vector<Shard> shards_;
  std::vector<Stored> stored_;
  std::map<std::string, size_t> by_name_;
};

}  // namespace detail

// `path`: a folder, or a safetensors file.
inline CheckpointReport ExamineHf(const std::string& path, const ExamineOptions& options = {}) {
  return detail::HfExaminer(path, options).Examine();
}

}  // namespace bitnet

#endif  // BITNET_IO_EXAMINE_HF_H_
