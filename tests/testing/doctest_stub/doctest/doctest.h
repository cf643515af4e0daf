// A stand-in for doctest, for machines that have this tree and no network: it offers what the tests of
// tests/cuda/device use, and no more (no sub-cases, no Approx). An expression that is false is shown as it is written,
// without its values. ./dev cuda takes it where there is no doctest; tests/cmake/check_doctest_stub.sh tests it.
#ifndef BITNET_TESTS_TESTING_DOCTEST_STUB_DOCTEST_DOCTEST_H_
#define BITNET_TESTS_TESTING_DOCTEST_STUB_DOCTEST_DOCTEST_H_

#include <atomic>
#include <cctype>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <mutex>
#include <ostream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace doctest {
namespace detail {

struct Case {
  const char* name;
  void (*run)();
};

// What lies in scope where something fails.
struct Info {
  virtual void Print(std::ostream& to) const = 0;

 protected:
  ~Info() = default;
};

struct State {
  std::vector<Case> cases;
  std::atomic<size_t> checks = 0, failures = 0;
  const char* running = "";
  std::mutex printing;
};
inline State& TheState() {
  static State state;
  return state;
}
inline std::vector<const Info*>& Infos() {
  thread_local std::vector<const Info*> infos;
  return infos;
}

// Leaves a test case that cannot go on.
struct CaseEnds {};

struct Registration {
  Registration(const char* name, void (*run)()) { TheState().cases.push_back({name, run}); }
};

// MessageBuilder() * "a" << b: any << of streams, whatever stands first.
class MessageBuilder {
 public:
  template <class T>
  MessageBuilder& operator*(const T& value) {
    return *this << value;
  }
  template <class T>
  MessageBuilder& operator<<(const T& value) {
    if constexpr (requires { text_ << value; }) {
      text_ << std::boolalpha << value;
    } else {
      text_ << "{?}";
    }
    return *this;
  }
  std::string text() const { return text_.str(); }

 private:
  std::ostringstream text_;
};

inline void Print(const char* file, int line, const char* what, std::string_view text) {
  std::ostringstream infos;
  for (const Info* info : Infos()) {
    infos << "  where ";
    info->Print(infos);
    infos << "\n";
  }
  State& state = TheState();
  const std::lock_guard lock(state.printing);
  std::printf("%s:%d: %s: %s: %.*s\n%s", file, line, state.running, what, static_cast<int>(text.size()), text.data(),
              infos.str().c_str());
}
inline void Fail(const char* file, int line, std::string_view text) {
  ++TheState().failures;
  Print(file, line, "FAILED", text);
}
inline bool Check(bool holds, const char* file, int line, const char* expression) {
  ++TheState().checks;
  if (!holds) Fail(file, line, expression);
  return holds;
}

template <class F>
class InfoInScope final : public Info {
 public:
  explicit InfoInScope(const F& print) : print_(print) { Infos().push_back(this); }
  InfoInScope(const InfoInScope&) = delete;
  InfoInScope& operator=(const InfoInScope&) = delete;
  ~InfoInScope() { Infos().pop_back(); }
  void Print(std::ostream& to) const override {
    MessageBuilder message;
    print_(message);
    to << message.text();
  }

 private:
  F print_;
};

// Whether `text` is what the pattern says, where * is anything, and a letter is either case.
inline bool Matches(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return text.empty();
  if (pattern[0] == '*') {
    return Matches(pattern.substr(1), text) || (!text.empty() && Matches(pattern, text.substr(1)));
  }
  const auto lower = [](char c) { return std::tolower(static_cast<unsigned char>(c)); };
  return !text.empty() && lower(pattern[0]) == lower(text[0]) && Matches(pattern.substr(1), text.substr(1));
}
inline bool MatchesAny(std::string_view patterns, std::string_view text) {
  while (true) {
    const size_t comma = patterns.find(',');
    if (Matches(patterns.substr(0, comma), text)) return true;
    if (comma == std::string_view::npos) return false;
    patterns.remove_prefix(comma + 1);
  }
}

}  // namespace detail

// Runs the test cases: those that --test-case=PATTERN,... names, but for those that --test-case-exclude=... does.
class Context {
 public:
  Context(int argc, const char* const* argv) : arguments_(argv + 1, argv + argc) {}
  int run() {
    std::string_view only = "*", never;
    for (const std::string_view argument : arguments_) {
      if (constexpr std::string_view kOnly = "--test-case="; argument.substr(0, kOnly.size()) == kOnly) {
        only = argument.substr(kOnly.size());
      } else if (constexpr std::string_view kNever = "--test-case-exclude=";
                 argument.substr(0, kNever.size()) == kNever) {
        never = argument.substr(kNever.size());
      } else {
        std::fprintf(stderr, "this stand-in for doctest does not know '%.*s'\n", static_cast<int>(argument.size()),
                     argument.data());
        return 2;
      }
    }
    detail::State& state = detail::TheState();
    size_t ran = 0, failed = 0;
    for (const detail::Case& test : state.cases) {
      if (!detail::MatchesAny(only, test.name) || (!never.empty() && detail::MatchesAny(never, test.name))) continue;
      ++ran;
      failed += Run(test) ? 0u : 1u;
    }
    std::printf("test cases: %zu | %zu passed | %zu failed\nassertions: %zu | %zu failed\n", ran, ran - failed, failed,
                state.checks.load(), state.failures.load());
    std::fflush(stdout);
    return failed == 0 ? 0 : 1;
  }

 private:
  static bool Run(const detail::Case& test) {
    detail::State& state = detail::TheState();
    const size_t failures = state.failures;
    state.running = test.name;
    try {
      test.run();
    } catch (const detail::CaseEnds&) {
    } catch (const std::exception& exception) {
      detail::Fail(__FILE__, __LINE__, std::string("an exception left the test case: ") + exception.what());
    } catch (...) {
      detail::Fail(__FILE__, __LINE__, "something was thrown and left the test case");
    }
    std::fflush(stdout);
    return state.failures == failures;
  }

  std::vector<std::string_view> arguments_;
};

}  // namespace doctest

#define DOCTEST_STUB_JOINED(a, b) a##b
#define DOCTEST_STUB_JOIN(a, b) DOCTEST_STUB_JOINED(a, b)
#define DOCTEST_STUB_CASE(function, name)                                                                  \
  static void function();                                                                                  \
  static const ::doctest::detail::Registration DOCTEST_STUB_JOIN(function, Registration){name, &function}; \
  static void function()
#define DOCTEST_STUB_TEXT(...) (::doctest::detail::MessageBuilder() * __VA_ARGS__).text()
#define DOCTEST_STUB_ENDS(holds)                       \
  do {                                                 \
    if (!(holds)) throw ::doctest::detail::CaseEnds(); \
  } while (false)
#define DOCTEST_STUB_CHECKED(holds, text) ::doctest::detail::Check(static_cast<bool>(holds), __FILE__, __LINE__, text)
// (The text is made where it is wanted alone.)
#define DOCTEST_STUB_CHECKED_MESSAGE(holds, text, ...)                                                               \
  [&](bool it_holds) {                                                                                               \
    return DOCTEST_STUB_CHECKED(it_holds, it_holds ? "" : (text + (": " + DOCTEST_STUB_TEXT(__VA_ARGS__))).c_str()); \
  }(static_cast<bool>(holds))
#define DOCTEST_STUB_INFO(name, ...)         \
  const ::doctest::detail::InfoInScope name( \
      [&](::doctest::detail::MessageBuilder& doctest_message) { doctest_message* __VA_ARGS__; })

#define TEST_CASE(name) DOCTEST_STUB_CASE(DOCTEST_STUB_JOIN(DoctestStubCase, __COUNTER__), name)
#define CHECK(...) static_cast<void>(DOCTEST_STUB_CHECKED((__VA_ARGS__), #__VA_ARGS__))
#define CHECK_FALSE(...) static_cast<void>(DOCTEST_STUB_CHECKED(!(__VA_ARGS__), "not " #__VA_ARGS__))
#define CHECK_MESSAGE(holds, ...) static_cast<void>(DOCTEST_STUB_CHECKED_MESSAGE(holds, #holds, __VA_ARGS__))
#define REQUIRE(...) DOCTEST_STUB_ENDS(DOCTEST_STUB_CHECKED((__VA_ARGS__), #__VA_ARGS__))
#define REQUIRE_FALSE(...) DOCTEST_STUB_ENDS(DOCTEST_STUB_CHECKED(!(__VA_ARGS__), "not " #__VA_ARGS__))
#define REQUIRE_MESSAGE(holds, ...) DOCTEST_STUB_ENDS(DOCTEST_STUB_CHECKED_MESSAGE(holds, #holds, __VA_ARGS__))
#define FAIL_CHECK(...) ::doctest::detail::Fail(__FILE__, __LINE__, DOCTEST_STUB_TEXT(__VA_ARGS__))
#define FAIL(...)             \
  do {                        \
    FAIL_CHECK(__VA_ARGS__);  \
    DOCTEST_STUB_ENDS(false); \
  } while (false)
#define MESSAGE(...) ::doctest::detail::Print(__FILE__, __LINE__, "note", DOCTEST_STUB_TEXT(__VA_ARGS__))
#define INFO(...) DOCTEST_STUB_INFO(DOCTEST_STUB_JOIN(doctest_info_, __COUNTER__), __VA_ARGS__)
#define CAPTURE(value) INFO(#value " is " << (value))
#define CHECK_THROWS_AS(expression, type)                                                 \
  do {                                                                                    \
    bool doctest_threw = false;                                                           \
    try {                                                                                 \
      static_cast<void>(expression);                                                      \
    } catch (const type&) {                                                               \
      doctest_threw = true;                                                               \
    } catch (...) {                                                                       \
    }                                                                                     \
    static_cast<void>(DOCTEST_STUB_CHECKED(doctest_threw, #expression " throws " #type)); \
  } while (false)

#ifdef DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
int main(int argc, char** argv) { return doctest::Context(argc, argv).run(); }
#endif

#endif  // BITNET_TESTS_TESTING_DOCTEST_STUB_DOCTEST_DOCTEST_H_
