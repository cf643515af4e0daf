// CheckpointReport: what a checkpoint's file is, tensor by tensor, and what is wrong with it. Plain values, which
// io/examine_checkpoint.h fills and io/report_text.h writes.
#ifndef BITNET_IO_CHECKPOINT_REPORT_H_
#define BITNET_IO_CHECKPOINT_REPORT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/io/blocks.h"
#include "bitnet/io/checkpoint_config.h"
#include "bitnet/io/tensor_facts.h"
#include "bitnet/layer/weight_use.h"

namespace bitnet {

// How an examination goes. (What needs a model that runs: io/try_checkpoint.h.)
struct ExamineOptions {
  bool values = true;                                 // look at the values of tensors, not only at what is said of them
  I2sLayout i2s = I2sLayout::kA;                      // for the places of codes; what they count does not depend on it
  std::function<void(size_t, size_t)> progress = {};  // called before each tensor's values: (tensors done, of so many)
};

enum class Severity : uint8_t {
  kNote,     // to know
  kWarning,  // may be meant so, and often is not
  kError,    // the file cannot be used as it is
};

inline std::string_view Name(Severity severity) {
  return severity == Severity::kError ? "error" : severity == Severity::kWarning ? "warning" : "note";
}

struct Finding {
  Severity severity = Severity::kNote;
  std::string rule;      // one word for each kind of finding, for scripts: "truncated"
  std::string subject;   // the name of a tensor, of a key, or of a file
  std::string found;     // what is there
  std::string expected;  // what should be; may be empty
};

struct TensorReport {
  std::string name;
  std::string type;             // "I2_S", "BF16"; of packed weights of transformers "packed"
  std::vector<uint64_t> shape;  // of the values, the columns last
  uint64_t bytes = 0;           // that its type and shape take, where that is known; else those that are there
  uint64_t missing = 0;         // of them, beyond the file's end
  std::string file;             // which of several files has it
  TensorFacts facts;            // without values where they were not looked at

  uint64_t Values() const {
    uint64_t values = 1;
    for (const uint64_t dimension : shape) values *= dimension;  // at most 2^60, as readers see to
    return values;
  }
  double BitsPerValue() const {
    return Values() == 0 ? 0.0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(Values());
  }
};

// What running the model on a text showed.
struct CheckpointTrial {
  struct Score {
    std::string name;
    double perplexity = 0.0;
    std::string fault;  // why there is none
  };
  size_t tokens = 0;           // of the text
  std::vector<Score> layouts;  // of I2_S, where there is such a tensor
  std::vector<Score> schemes;  // what fewer bits of inputs and cache cost
  WeightUse use;               // what W1.58A8 used of each projection's weights
};

struct CheckpointReport {
  std::string path;
  std::string kind;                                           // "GGUF, version 3"; empty where that cannot be told
  uint64_t bytes = 0;                                         // of all files
  std::string architecture;                                   // as the file calls it
  std::optional<CheckpointConfig> config;                     // where it is one that is known
  std::string tokenizer;                                      // in words; empty where there is none
  std::vector<std::pair<std::string, std::string>> metadata;  // keys and their values in words
  std::vector<TensorReport> tensors;
  std::vector<Finding> findings;  // in the order in which they were found
  std::optional<CheckpointTrial> trial;

  size_t Count(Severity severity) const {
    return static_cast<size_t>(
        std::count_if(findings.begin(), findings.end(), [&](const Finding& f) { return f.severity == severity; }));
  }
  bool Has(std::string_view rule) const {
    return std::any_of(findings.begin(), findings.end(), [&](const Finding& f) { return f.rule == rule; });
  }
  // (Of a sentence that begins with its subject, as readers' errors do, the rest is kept.)
  void Add(Severity severity, std::string rule, std::string subject, std::string found, std::string expected = {}) {
    if (found.starts_with(subject + ": ")) found.erase(0, subject.size() + 2);
    findings.push_back({severity, std::move(rule), std::move(subject), std::move(found), std::move(expected)});
  }
};

// For scripts: 0 healthy, 1 warnings, 2 errors.
inline int ExitCode(const CheckpointReport& report) {
  return report.Count(Severity::kError) > 0 ? 2 : report.Count(Severity::kWarning) > 0 ? 1 : 0;
}

}  // namespace bitnet

#endif  // BITNET_IO_CHECKPOINT_REPORT_H_
