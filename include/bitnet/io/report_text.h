// A CheckpointReport in words, and as a JSON object.
//
//   ReportText(report)    for people: what the file is, a line a tensor, and the findings; of many findings of one kind
//                         the first few
//   ReportJson(report)    for scripts: all of it. Texts are UTF-8, whatever a file's names are: other bytes are \xNN
//                         there, as in messages. Numbers that are not finite are null.
#ifndef BITNET_IO_REPORT_TEXT_H_
#define BITNET_IO_REPORT_TEXT_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "bitnet/io/checkpoint_checks.h"
#include "bitnet/io/checkpoint_report.h"
#include "bitnet/io/json.h"
#include "bitnet/io/quoted.h"

namespace bitnet {

namespace detail {

inline std::string Fixed(double x, int digits) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", digits, x);
  return text;
}
inline std::string Padded(std::string text, size_t width, bool right = false) {
  const std::string spaces(text.size() < width ? width - text.size() : 0, ' ');
  return right ? spaces + text : text + spaces;
}

// A stranger's text without what a terminal would obey.
inline std::string Printable(std::string_view text) {
  std::string printable;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      printable += c;
    } else {
      printable += {'\\', 'x', "0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
    }
  }
  return printable;
}

struct ReportTotals {
  uint64_t values = 0, bytes = 0;
  uint64_t ternary_values = 0, ternary_bytes = 0;
  explicit ReportTotals(const CheckpointReport& report) {
    for (const TensorReport& tensor : report.tensors) {
      values += tensor.Values();
      bytes += tensor.bytes;
      if (!HasTrits(tensor.facts)) continue;
      ternary_values += tensor.Values();
      ternary_bytes += tensor.bytes;
    }
  }
  static double Bits(uint64_t bytes, uint64_t values) {
    return values == 0 ? 0.0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(values);
  }
};

inline std::string TensorLine(const TensorReport& tensor, size_t name_width) {
  const TensorFacts& facts = tensor.facts;
  std::string line = "  " + Padded(Printable(tensor.name), name_width) + "  " + Padded(tensor.type, 8) + "  " +
                     Padded(Times(tensor.shape), 16) + "  " + Padded(std::to_string(tensor.bytes), 11, true) + "  " +
                     Padded(Fixed(tensor.BitsPerValue(), 2), 6, true);
  if (facts.values == 0) return line + (tensor.missing > 0 ? "  not there\n" : "\n");
  if (HasTrits(facts)) {
    for (const int level : {-1, 0, 1}) line += Padded(Fixed(100.0 * facts.Share(level), 1), 7, true);
    const ScaleFacts& s = facts.scales;
    line += "  " + (s.count == 0 ? "?" : ShortReal(static_cast<double>(s.typical)));
    if (s.smallest != s.largest) {
      line +=
          " (" + ShortReal(static_cast<double>(s.smallest)) + " to " + ShortReal(static_cast<double>(s.largest)) + ")";
    }
  } else if (facts.levels.empty()) {
    line +=
        "  " + ShortReal(static_cast<double>(facts.lowest)) + " to " + ShortReal(static_cast<double>(facts.highest));
  }
  return line + "\n";
}

inline std::string ConfigLines(const CheckpointConfig& c) {
  const auto number = [](uint64_t n) { return std::to_string(n); };
  std::string text = "  dimensions    " + number(c.layers) + " layers, hidden " + number(c.hidden) + ", FFN " +
                     number(c.ffn) + ", " + number(c.heads) + " heads of " + number(c.head_dim) + ", " +
                     number(c.kv_heads) + " of keys and values, vocabulary " + number(c.vocab) + ", " +
                     number(c.max_positions) + " positions\n";
  text += "  layers        " + std::string(c.activation == ActivationKind::kSilu ? "SiLU" : "squared ReLU") +
          (c.sub_layer_norms ? ", norms below the layers" : "") + (c.head_norms ? ", norms of heads" : "") +
          (c.tied_embedding ? ", the head is the embedding" : ", a head of its own") + ", RMS epsilon " +
          ShortReal(static_cast<double>(c.rms_eps)) + ", RoPE base " + ShortReal(static_cast<double>(c.rope_base)) +
          (c.rope_scaling.kind != RopeScalingKind::kDefault ? ", scaled" : "") + "\n";
  return text;
}

// Members of a JSON object, one after the other.
class JsonObjectText {
 public:
  JsonObjectText& Raw(std::string_view key, const std::string& json) {
    text_ += (text_.empty() ? "" : ", ") + JsonText(key) + ": " + json;
    return *this;
  }
  JsonObjectText& Text(std::string_view key, std::string_view text) { return Raw(key, JsonText(Printable(text))); }
  JsonObjectText& Number(std::string_view key, uint64_t number) { return Raw(key, std::to_string(number)); }
  JsonObjectText& Real(std::string_view key, double real) {
    char digits[40] = "null";
    if (std::isfinite(real)) std::snprintf(digits, sizeof(digits), "%.9g", real);
    return Raw(key, digits);
  }
  JsonObjectText& Flag(std::string_view key, bool flag) { return Raw(key, flag ? "true" : "false"); }
  std::string Make() const { return "{" + text_ + "}"; }

 private:
  std::string text_;
};

template <class List, class F>
std::string JsonListText(const List& list, F&& text_of, const char* between = ", ") {
  std::string text;
  for (const auto& item : list) text += (text.empty() ? "" : between) + text_of(item);
  return "[" + text + "]";
}

inline std::string TensorJson(const TensorReport& tensor) {
  const TensorFacts& facts = tensor.facts;
  JsonObjectText json;
  json.Text("name", tensor.name).Text("type", tensor.type);
  json.Raw("shape", JsonListText(tensor.shape, [](uint64_t n) { return std::to_string(n); }));
  json.Number("bytes", tensor.bytes).Number("missing_bytes", tensor.missing);
  json.Real("bits_per_value", tensor.BitsPerValue());
  if (!tensor.file.empty()) json.Text("file", tensor.file);
  if (facts.values == 0) return json.Make();
  json.Number("values_examined", facts.values).Flag("all_zero", facts.all_zero).Flag("constant", facts.constant);
  if (facts.levels.empty()) {
    json.Real("lowest", static_cast<double>(facts.lowest)).Real("highest", static_cast<double>(facts.highest));
    json.Number("zeros", facts.zeros).Number("not_finite", facts.not_finite);
    return json.Make();
  }
  if (HasTrits(facts)) {
    JsonObjectText shares;
    for (size_t i = 0; i < facts.levels.size(); ++i) {
      shares.Real(std::to_string(facts.levels[i]), facts.Share(facts.levels[i]));
    }
    json.Raw("shares", shares.Make());
  }
  json.Number("illegal", facts.illegal);
  const ScaleFacts& s = facts.scales;
  JsonObjectText scales;
  scales.Number("count", s.count).Number("zeros", s.zeros).Number("negative", s.negative);
  scales.Number("not_finite", s.not_finite).Real("smallest", static_cast<double>(s.smallest));
  scales.Real("typical", static_cast<double>(s.typical)).Real("largest", static_cast<double>(s.largest));
  json.Raw("scales", scales.Make());
  return json.Make();
}

inline std::string ConfigJson(const CheckpointConfig& c) {
  JsonObjectText json;
  json.Number("layers", c.layers).Number("hidden", c.hidden).Number("ffn", c.ffn).Number("heads", c.heads);
  json.Number("kv_heads", c.kv_heads).Number("head_dim", c.head_dim).Number("vocab", c.vocab);
  json.Number("max_positions", c.max_positions);
  json.Text("activation", c.activation == ActivationKind::kSilu ? "silu" : "relu2");
  json.Flag("sub_layer_norms", c.sub_layer_norms).Flag("head_norms", c.head_norms);
  json.Flag("tied_embedding", c.tied_embedding).Real("rms_eps", static_cast<double>(c.rms_eps));
  json.Real("rope_base", static_cast<double>(c.rope_base));
  json.Flag("rope_scaled", c.rope_scaling.kind != RopeScalingKind::kDefault);
  return json.Make();
}

inline const std::pair<const char*, WeightCount WeightUse::*> kProjectionsOfUse[] = {{"q, k, v", &WeightUse::qkv},
                                                                                     {"o", &WeightUse::out},
                                                                                     {"gate", &WeightUse::gate},
                                                                                     {"up", &WeightUse::up},
                                                                                     {"down", &WeightUse::down}};

inline std::string TrialLines(const CheckpointTrial& trial) {
  std::string text = "\n  on a text of " + std::to_string(trial.tokens) + " tokens\n";
  for (const auto* scores : {&trial.layouts, &trial.schemes}) {
    for (const CheckpointTrial::Score& score : *scores) {
      text += "  " + Padded(score.name, 44) +
              (score.fault.empty() ? "perplexity " + Fixed(score.perplexity, 4) : Printable(score.fault)) + "\n";
    }
  }
  text += "  weights that a token skips, W1.58A8:";
  for (const auto& [name, part] : kProjectionsOfUse) {
    text +=
        std::string(part == &WeightUse::qkv ? " " : "; ") + name + " " + Fixed((trial.use.*part).Sparsity(), 1) + " %";
  }
  return text + "; of all " + Fixed(trial.use.Overall().Sparsity(), 1) + " %\n";
}

inline std::string TrialJson(const CheckpointTrial& trial) {
  const auto scores = [](const std::vector<CheckpointTrial::Score>& list) {
    return JsonListText(
        list,
        [](const CheckpointTrial::Score& score) {
          JsonObjectText item;
          item.Text("name", score.name).Raw("perplexity", score.fault.empty() ? Fixed(score.perplexity, 6) : "null");
          return item.Text("fault", score.fault).Make();
        },
        ", ");
  };
  JsonObjectText skipped;
  for (const auto& [name, part] : kProjectionsOfUse) skipped.Raw(name, Fixed((trial.use.*part).Sparsity(), 3));
  JsonObjectText json;
  json.Number("tokens", trial.tokens).Raw("layouts", scores(trial.layouts)).Raw("schemes", scores(trial.schemes));
  return json.Raw("percent_skipped", skipped.Make()).Make();
}

}  // namespace detail

// `most_of_a_kind`: findings of one kind and severity that are printed before the rest is counted.
inline std::string ReportText(const CheckpointReport& report, size_t most_of_a_kind = 5) {
  const detail::ReportTotals totals(report);
  std::string text = detail::Printable(report.path) + ": " + (report.kind.empty() ? "unknown" : report.kind) + ", " +
                     std::to_string(report.bytes) + " bytes\n";
  if (!report.architecture.empty()) text += "  architecture  " + detail::Printable(report.architecture) + "\n";
  if (report.config) text += detail::ConfigLines(*report.config);
  if (!report.tokenizer.empty()) text += "  tokenizer     " + detail::Printable(report.tokenizer) + "\n";
  if (!report.config) {
    for (const auto& [key, value] : report.metadata) {
      if (!key.starts_with("tokenizer.")) text += "  " + detail::Printable(key) + " = " + value + "\n";
    }
  }
  if (!report.tensors.empty()) {
    size_t width = 6;
    for (const TensorReport& tensor : report.tensors) {
      width = std::max(width, std::min<size_t>(detail::Printable(tensor.name).size(), 60));
    }
    text += "\n  " + detail::Padded("tensor", width) + "  " + detail::Padded("type", 8) + "  " +
            detail::Padded("shape", 16) + "  " + detail::Padded("bytes", 11, true) + "    bits   % -1    % 0   % +1" +
            "  scales, or lowest to highest\n";
    for (const TensorReport& tensor : report.tensors) text += detail::TensorLine(tensor, width);
    text += "  " + std::to_string(report.tensors.size()) + " tensors: " + std::to_string(totals.values) +
            " values in " + std::to_string(totals.bytes) + " bytes, " +
            detail::Fixed(detail::ReportTotals::Bits(totals.bytes, totals.values), 2) + " bits each";
    if (totals.ternary_values > 0) {
      text += "; of them " + std::to_string(totals.ternary_values) + " ternary, " +
              detail::Fixed(detail::ReportTotals::Bits(totals.ternary_bytes, totals.ternary_values), 2) + " bits each";
    }
    text += "\n";
  }
  if (report.trial) text += detail::TrialLines(*report.trial);
  text += "\n";
  for (const Severity severity : {Severity::kError, Severity::kWarning, Severity::kNote}) {
    std::map<std::string_view, size_t> printed;
    for (const Finding& finding : report.findings) {
      if (finding.severity != severity || ++printed[finding.rule] > most_of_a_kind) continue;
      text += detail::Padded(std::string(Name(severity)), 8) + finding.rule + ": " +
              detail::Printable(finding.subject) + ": " + detail::Printable(finding.found) +
              (finding.expected.empty() ? "" : "; expected: " + detail::Printable(finding.expected)) + "\n";
    }
    for (const auto& [rule, count] : printed) {
      if (count <= most_of_a_kind) continue;
      text += detail::Padded(std::string(Name(severity)), 8) + std::string(rule) + ": and " +
              std::to_string(count - most_of_a_kind) + " more like these (--json has them all)\n";
    }
  }
  const auto counted = [&](Severity severity) {
    const size_t n = report.Count(severity);
    return std::to_string(n) + " " + std::string(Name(severity)) + (n == 1 ? "" : "s");
  };
  return text + counted(Severity::kError) + ", " + counted(Severity::kWarning) + ", " + counted(Severity::kNote) + "\n";
}

// One object, on several lines, with a line break at its end.
inline std::string ReportJson(const CheckpointReport& report) {
  const detail::ReportTotals totals(report);
  detail::JsonObjectText json;
  json.Text("path", report.path).Text("kind", report.kind).Number("bytes", report.bytes);
  json.Text("architecture", report.architecture);
  json.Raw("config", report.config ? detail::ConfigJson(*report.config) : "null");
  json.Text("tokenizer", report.tokenizer);
  json.Number("errors", report.Count(Severity::kError)).Number("warnings", report.Count(Severity::kWarning));
  json.Number("notes", report.Count(Severity::kNote)).Number("exit_code", static_cast<uint64_t>(ExitCode(report)));
  detail::JsonObjectText sums;
  sums.Number("tensors", report.tensors.size()).Number("values", totals.values).Number("bytes", totals.bytes);
  sums.Number("ternary_values", totals.ternary_values).Number("ternary_bytes", totals.ternary_bytes);
  json.Raw("totals", sums.Make());
  json.Raw("trial", report.trial ? detail::TrialJson(*report.trial) : "null");
  json.Raw("findings", detail::JsonListText(
                           report.findings,
                           [](const Finding& finding) {
                             detail::JsonObjectText item;
                             item.Text("severity", Name(finding.severity)).Text("rule", finding.rule);
                             item.Text("subject", finding.subject).Text("found", finding.found);
                             return item.Text("expected", finding.expected).Make();
                           },
                           ",\n  "));
  json.Raw("metadata",
           detail::JsonListText(
               report.metadata,
               [](const std::pair<std::string, std::string>& entry) {
                 return detail::JsonObjectText().Text("key", entry.first).Text("value", entry.second).Make();
               },
               ",\n  "));
  json.Raw("tensors", detail::JsonListText(report.tensors, detail::TensorJson, ",\n  "));
  return json.Make() + "\n";
}

}  // namespace bitnet

#endif  // BITNET_IO_REPORT_TEXT_H_
