// ShownIn: that a document shows the code which a test runs, so that following the document is what
// the test does.
//
//   CHECK(ShownIn("docs/bring-your-own-weights.md", "tests/guides/bring_your_own_weights_test.cc"));
//
// Every block of the document that starts with ```cpp (alone, or followed by `compile`) or ```c must be in
// the source file, layout aside (ShownInOneOf: in one of several). At least one block must be there.
//
//   CHECK(ShownWhole("docs/add-a-format.md", "tests/guides/add_a_format_test.cc"));
//
// The blocks, one after another, must be the source file, from what follows its inclusion of this
// file to its test case "Guide ...", but for the unnamed namespace around them: so that they compile
// as they are written.
#ifndef BITNET_TESTS_GUIDES_SHOWN_IN_H_
#define BITNET_TESTS_GUIDES_SHOWN_IN_H_

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace bitnet::testing {

// Without white space and slashes: what clang-format may move when it breaks lines and comments.
inline std::string WithoutLayout(std::string_view text) {
  std::string kept;
  for (const char c : text) {
    if (std::string_view(" \t\r\n/").find(c) == std::string_view::npos) kept += c;
  }
  return kept;
}

struct CodeBlock {
  size_t line;  // of its first line of code, in the document
  std::string code;
};

inline std::vector<CodeBlock> CppBlocks(std::istream& document) {
  std::vector<CodeBlock> blocks;
  bool inside = false;
  size_t number = 0;
  for (std::string line; std::getline(document, line);) {
    ++number;
    if (line.starts_with("```")) {
      inside = line == "```cpp" || line == "```c" || line.starts_with("```cpp ");
      if (inside) blocks.push_back({number + 1, {}});
    } else if (inside) {
      blocks.back().code += line + "\n";
    }
  }
  return blocks;
}

inline bool ShownInOneOf(const std::string& document, const std::vector<std::string>& sources) {
  const std::string root = std::string(BITNET_SOURCE_DIR) + "/";
  std::ifstream document_file(root + document);
  bool all = document_file.is_open();
  if (!all) MESSAGE("cannot be opened: " << document);
  std::vector<std::string> codes;
  for (const std::string& source : sources) {
    std::ifstream source_file(root + source);
    if (!source_file) {
      MESSAGE("cannot be opened: " << source);
      all = false;
    }
    std::ostringstream text;
    text << source_file.rdbuf();
    codes.push_back(WithoutLayout(text.str()));
  }
  const std::vector<CodeBlock> blocks = CppBlocks(document_file);
  all = all && !blocks.empty();
  for (const CodeBlock& block : blocks) {
    const std::string wanted = WithoutLayout(block.code);
    const auto holds = [&](const std::string& code) { return code.find(wanted) != std::string::npos; };
    if (std::none_of(codes.begin(), codes.end(), holds)) {
      for (const std::string& source : sources) {
        MESSAGE(document << ":" << block.line << ": this block is not in " << source);
      }
      all = false;
    }
  }
  return all;
}

inline bool ShownIn(const std::string& document, const std::string& source) { return ShownInOneOf(document, {source}); }

inline bool ShownWhole(const std::string& document, const std::string& source) {
  const std::string root = std::string(BITNET_SOURCE_DIR) + "/";
  std::ifstream document_file(root + document), source_file(root + source);
  std::string shown;
  for (const CodeBlock& block : CppBlocks(document_file)) shown += block.code;
  std::ostringstream text;
  text << source_file.rdbuf();
  std::string code = text.str();
  const std::string first = "#include \"guides/shown_in.h\"\n", opening = "\nnamespace {\n";
  for (const std::string& part : {first, opening, std::string("\nTEST_CASE(\"Guide ")}) {
    if (code.find(part) == std::string::npos) {
      MESSAGE(source << ": it has no " << part);
      return false;
    }
  }
  code.erase(code.find("\nTEST_CASE(\"Guide "));
  code.erase(0, code.find(first) + first.size());
  code.erase(code.find(opening), opening.size());
  const std::string wanted = WithoutLayout(code), given = WithoutLayout(shown);
  const auto [at, there] = std::mismatch(wanted.begin(), wanted.end(), given.begin(), given.end());
  if (at == wanted.end() && there == given.end()) return true;
  MESSAGE(document << " differs from " << source << " at: " << std::string(at, wanted.end()).substr(0, 60)
                   << ", and has: " << std::string(there, given.end()).substr(0, 60));
  return false;
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_GUIDES_SHOWN_IN_H_
