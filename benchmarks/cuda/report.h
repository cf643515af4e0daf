// Report: what was measured on a GPU, as records of named values in sections, and as a JSON file.
#ifndef BITNET_BENCHMARKS_CUDA_REPORT_H_
#define BITNET_BENCHMARKS_CUDA_REPORT_H_

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace bitnet::cuda_bench {

class Record {
 public:
  Record& Set(const char* name, double value) {
    char text[40];
    std::snprintf(text, sizeof(text), "%.6g", value);
    return SetText(name, std::isfinite(value) ? text : "null");
  }
  Record& Set(const char* name, bool value) { return SetText(name, value ? "true" : "false"); }
  Record& Set(const char* name, size_t value) { return SetText(name, std::to_string(value)); }
  Record& Set(const char* name, const std::string& value) {
    std::string text = "\"";
    for (const char c : value) {
      if (c == '"' || c == '\\') text += '\\';
      text += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
    return SetText(name, text + "\"");
  }
  Record& Set(const char* name, const char* value) { return Set(name, std::string(value)); }

  // As JSON, in one line.
  std::string Json() const {
    std::string json = "{";
    for (const auto& [name, value] : values_) {
      json += (json.size() == 1 ? "\"" : ", \"") + name + "\": " + value;
    }
    return json + "}";
  }

 private:
  Record& SetText(const char* name, std::string value) {
    values_.emplace_back(name, std::move(value));
    return *this;
  }
  std::vector<std::pair<std::string, std::string>> values_;
};

class Report {
 public:
  // A new record of a section.
  void Add(const char* section, Record record) {
    for (auto& [name, records] : sections_) {
      if (name == section) return records.push_back(std::move(record));
    }
    sections_.push_back({section, {std::move(record)}});
  }
  // Writes all so far: whatever ends the run, what was measured is there. Returns whether it could.
  bool Write(const std::string& path) const {
    std::FILE* file = std::fopen(path.c_str(), "w");
    if (file == nullptr) return false;
    std::fprintf(file, "{");
    const char* separator = "";
    for (const auto& [name, records] : sections_) {
      std::fprintf(file, "%s\n  \"%s\": [", separator, name.c_str());
      separator = "";
      for (const Record& record : records) {
        std::fprintf(file, "%s\n    %s", separator, record.Json().c_str());
        separator = ",";
      }
      std::fprintf(file, "\n  ]");
      separator = ",";
    }
    std::fprintf(file, "\n}\n");
    return std::fclose(file) == 0;
  }

 private:
  std::vector<std::pair<std::string, std::vector<Record>>> sections_;
};

// ---- Targets: a measured number beside what was asked for.

struct Targets {
  Report& report;
  size_t missed = 0;

  void AtLeast(const std::string& what, double target, double measured) {
    const bool is_met = measured >= target;
    missed += is_met ? 0u : 1u;
    report.Add("targets",
               Record().Set("what", what).Set("at_least", target).Set("measured", measured).Set("met", is_met));
    std::printf("  %-84s at least %5.2f: %6.2f%s\n", what.c_str(), target, measured, is_met ? "" : "  MISSED");
    std::fflush(stdout);
  }
};

}  // namespace bitnet::cuda_bench

#endif  // BITNET_BENCHMARKS_CUDA_REPORT_H_
