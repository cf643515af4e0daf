// Options: the arguments of a program, one at a time.
//
//   Options options(argc, argv, kHelp);
//   while (options.Next()) {
//     if (options.Is("--quick")) {
//       quick = true;
//     } else if (options.Is("--steps")) {
//       steps = options.Whole(20, 1e9);
//     } else {
//       options.RefuseUnknown();
//     }
//   }
//
// --help and -h print the help and end the program, with 0. What is wrong is said in a sentence, and ends it with 64.
#ifndef BITNET_EXAMPLES_OPTIONS_H_
#define BITNET_EXAMPLES_OPTIONS_H_

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <string_view>

class Options {
 public:
  Options(int argc, char** argv, const char* help) : count_(argc), arguments_(argv), help_(help) {}

  // Goes to the next argument; false after the last.
  bool Next() {
    if (at_ + 1 >= count_) return false;
    name_ = arguments_[++at_];
    if (Is("--help") || Is("-h")) {
      std::fputs(help_, stdout);
      std::exit(0);
    }
    return true;
  }
  bool Is(std::string_view option) const { return name_ == option; }
  // Whether it is no option: a path.
  bool IsPath() const { return !name_.starts_with("-"); }
  const std::string& Path() const { return name_; }

  // What follows the option.
  std::string Value() {
    if (at_ + 1 >= count_) Misused(name_ + " needs a value");
    return arguments_[++at_];
  }
  double Number(double lowest, double highest) {
    const std::string text = Value();
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0' || !(value >= lowest && value <= highest)) {
      char range[80];
      std::snprintf(range, sizeof(range), " takes a number from %g to %g, not '", lowest, highest);
      Misused(name_ + range + text + "'");
    }
    return value;
  }
  uint64_t Whole(double lowest, double highest) {
    const double value = Number(lowest, highest);
    if (value != std::floor(value)) Misused(name_ + " takes a whole number, not '" + arguments_[at_] + "'");
    return static_cast<uint64_t>(value);
  }
  std::string OneOf(std::initializer_list<std::string_view> words) {
    const std::string text = Value();
    std::string known;
    for (const std::string_view word : words) {
      if (text == word) return text;
      known += (known.empty() ? "" : ", ") + std::string(word);
    }
    Misused(name_ + " takes one of " + known + ", not '" + text + "'");
  }

  [[noreturn]] void RefuseUnknown() const {
    Misused(IsPath() ? "'" + name_ + "' is one path too many" : "there is no option '" + name_ + "'");
  }
  [[noreturn]] void Misused(const std::string& why) const {
    std::fprintf(stderr, "%s (--help lists the options)\n", why.c_str());
    std::exit(64);
  }

 private:
  int count_;
  char** arguments_;
  const char* help_;
  int at_ = 0;
  std::string name_;
};

#endif  // BITNET_EXAMPLES_OPTIONS_H_
