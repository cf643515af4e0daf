// Golden: the reader of tests/golden/NAME.txt, values that an independent program computed (tests/golden/README.md).
//
//   const Golden golden("quantizers");
//   golden.Floats("int4_absmean/3/input");   golden.Int("topk/0/k");   golden.Shape("logits");
//
// A file holds `name dim0 dim1 ...` and, on the next line, its values; lines that start with # are comments. Whatever
// is missing or malformed ends the test case with a sentence.
#ifndef BITNET_TESTS_TESTING_GOLDEN_H_
#define BITNET_TESTS_TESTING_GOLDEN_H_

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace bitnet::testing {

class Golden {
 public:
  explicit Golden(const std::string& name) : path_(std::string(BITNET_SOURCE_DIR) + "/tests/golden/" + name + ".txt") {
    std::ifstream file(path_);
    if (!file) Refuse("cannot be opened");
    std::string line;
    for (size_t number = 0; NextLine(file, line, number);) {
      std::istringstream head(line);
      std::string key;
      head >> key;
      Entry entry;
      size_t expected = 1;
      for (size_t dim; head >> dim;) {
        entry.shape.push_back(dim);
        expected *= dim;
      }
      if (!head.eof()) Refuse("line " + std::to_string(number) + ": '" + line + "' is not a name and its dimensions");
      if (!NextLine(file, line, number)) Refuse(key + " has no line of values");
      entry.values.reserve(expected);
      const char* at = line.c_str();
      for (char* end = nullptr;; at = end) {
        const double value = std::strtod(at, &end);
        if (end == at) break;
        entry.values.push_back(value);
      }
      if (entry.values.size() != expected || std::string(at).find_first_not_of(" \r") != std::string::npos) {
        Refuse("line " + std::to_string(number) + ": " + key + " needs " + std::to_string(expected) + " numbers, " +
               std::to_string(entry.values.size()) + " were read");
      }
      if (!entries_.emplace(key, std::move(entry)).second) Refuse(key + " is there twice");
    }
    if (entries_.empty()) Refuse("is empty");
  }

  bool Has(const std::string& key) const { return entries_.count(key) != 0; }
  const std::vector<size_t>& Shape(const std::string& key) const { return Find(key).shape; }
  // Values in row-major order.
  const std::vector<double>& Doubles(const std::string& key) const { return Find(key).values; }
  std::vector<float> Floats(const std::string& key) const { return As<float>(key); }
  std::vector<int> Ints(const std::string& key) const { return As<int>(key); }
  // The only value of an entry.
  double Double(const std::string& key) const {
    if (Find(key).values.size() != 1) Refuse(key + " is not one number");
    return Find(key).values[0];
  }
  float Float(const std::string& key) const { return static_cast<float>(Double(key)); }
  int Int(const std::string& key) const { return static_cast<int>(Double(key)); }

 private:
  struct Entry {
    std::vector<size_t> shape;
    std::vector<double> values;
  };

  static bool NextLine(std::ifstream& file, std::string& line, size_t& number) {
    while (std::getline(file, line)) {
      ++number;
      if (!line.empty() && line[0] != '#') return true;
    }
    return false;
  }
  const Entry& Find(const std::string& key) const {
    const auto found = entries_.find(key);
    if (found == entries_.end()) Refuse("has no " + key);
    return found->second;
  }
  template <class T>
  std::vector<T> As(const std::string& key) const {
    std::vector<T> values;
    for (double v : Find(key).values) values.push_back(static_cast<T>(v));
    return values;
  }
  [[noreturn]] void Refuse(const std::string& why) const {
    FAIL(path_ << ": " << why);
    std::abort();  // FAIL throws
  }

  std::string path_;
  std::map<std::string, Entry> entries_;
};

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_GOLDEN_H_
