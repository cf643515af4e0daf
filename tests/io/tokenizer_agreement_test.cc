// What tokenizers of others make of texts (tests/golden/make_io_tokenizers.py), and what ours do: small vocabularies in
// tests/golden/io/tokenizers, and whatever the folder holds that BITNET_TOKENIZER_CASES names. The same of the files
// that are written of them, which stay in the folder that BITNET_TOKENIZERS_WRITTEN names
// (tests/golden/check_written_tokenizers.py reads them).
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bitnet/base/file.h"
#include "bitnet/io/gguf.h"
#include "bitnet/io/load_tokenizer.h"
#include "bitnet/io/text_decoder.h"
#include "bitnet/io/tokenizer.h"
#include "bitnet/io/tokenizer_gguf.h"
#include "bitnet/io/tokenizer_json.h"
#include "bitnet/io/tokenizer_sentencepiece.h"
#include "bitnet/io/tokenizer_tiktoken.h"
#include "bitnet/io/write_tokenizer_hf.h"
#include "testing/temporary_file.h"

namespace bitnet::tokenizer_agreement_test {
namespace {

std::string Slurp(const std::filesystem::path& path) {
  const auto bytes = ReadFile(path.string());
  REQUIRE_MESSAGE(bytes.ok(), (bytes.ok() ? "" : bytes.error()));
  return {bytes->begin(), bytes->end()};
}

// Where the test's words would hide the sentence.
template <class T>
T Must(Result<T> result) {
  REQUIRE_MESSAGE(result.ok(), (result.ok() ? std::string() : result.error()));
  return *std::move(result);
}

TokenizerDescription Describe(const std::string& kind, const std::filesystem::path& path) {
  if (kind == "gguf") return Must(ReadGgufTokenizer(Must(GgufFile::Open(path.string()))));
  const std::string file = Slurp(path);
  if (kind == "json") return Must(ParseTokenizerJson(file, path.string()));
  TokenizerDescription description;
  if (kind == "sentencepiece") {
    description.vocabulary = Must(ParseSentencePieceModel(file, path.string()));
    return description;
  }
  REQUIRE(kind.starts_with("tiktoken-"));
  TiktokenOptions options;
  if (kind == "tiktoken-llama3") options.special_tokens = Llama3SpecialTokens(128000);
  options.nfc = kind == "tiktoken-qwen2";
  options.pre_tokenizer = options.nfc ? PreTokenizer::kQwen2 : PreTokenizer::kLlama3;
  description.vocabulary = Must(ParseTiktoken(file, path.string(), options));
  return description;
}

// The tokenizer of the folder that is written of it; nothing where there can be none such.
std::optional<Tokenizer> Written(const TokenizerDescription& description, const std::filesystem::path& folder) {
  const Result<std::vector<NamedFile>> files = HfTokenizerFiles(description);
  if (!files.ok()) {
    if (std::getenv("BITNET_TOKENIZER_CASES") != nullptr) MESSAGE(folder.filename().string(), ": ", files.error());
    return std::nullopt;
  }
  std::filesystem::create_directories(folder);
  for (const auto& [name, text] : *files) {
    const std::span bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size());
    REQUIRE(WriteFile((folder / name).string(), bytes).ok());
  }
  return Must(LoadTokenizer(folder.string())).tokenizer;
}

std::string FromHex(std::string_view hex) {
  std::string bytes;
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(static_cast<char>(16 * digit(hex[i]) + digit(hex[i + 1])));
  return bytes;
}

struct Case {
  std::string hex, text, decoded;
  std::vector<Token> ids;
  bool has_decoded;
};

Case ParseCase(std::string_view line) {
  Case c;
  const size_t first = line.find('|'), second = line.find('|', first + 1);
  REQUIRE(second != std::string_view::npos);
  c.hex = line.substr(0, first);
  c.text = FromHex(c.hex);
  Token id = 0;
  bool in_number = false;
  for (const char d : line.substr(first + 1, second - first)) {
    if (d >= '0' && d <= '9') {
      id = 10 * id + static_cast<Token>(d - '0');
      in_number = true;
    } else if (in_number) {
      c.ids.push_back(id);
      id = 0, in_number = false;
    }
  }
  const std::string_view back = line.substr(second + 1);
  c.has_decoded = back != "?";
  c.decoded = back == "=" ? c.text : FromHex(back);
  return c;
}

// Whether there is such a tokenizer. `written`: where its files are written and read; empty: as it is.
bool Check(const std::filesystem::path& path, const std::filesystem::path& written) {
  CAPTURE(path.string());
  const std::string file = Slurp(path);
  const size_t head = file.find('\n'), space = file.find(' ');
  const std::string kind = file.substr(0, space);
  const TokenizerDescription description =
      Describe(kind, path.parent_path() / file.substr(space + 1, head - space - 1));
  const std::optional<Tokenizer> made =
      written.empty() ? Must(Tokenizer::Make(description.vocabulary)) : Written(description, written / path.stem());
  if (!made) return false;
  const Tokenizer& tokenizer = *made;
  const bool of_bytes = !tokenizer.is_sentencepiece();
  size_t count = 0, other_ids = 0, other_text = 0;
  for (size_t at = head + 1; at < file.size(); ++count) {
    const size_t end = file.find('\n', at);
    const Case c = ParseCase(std::string_view(file).substr(at, end - at));
    at = end + 1;
    // The oracles of tokenizer.json find special tokens that are written in a text; the others do not.
    const auto ids = tokenizer.Encode(c.text, {.add_special = false, .parse_control = kind == "json"});
    REQUIRE(ids.ok());
    if (*ids != c.ids && ++other_ids <= 3) {
      std::string got, expected;
      for (const Token id : *ids) got += std::to_string(id) + " ";
      for (const Token id : c.ids) expected += std::to_string(id) + " ";
      MESSAGE("text ", c.hex, ": ", got, "; expected ", expected);
    }
    const std::string text = Must(tokenizer.Decode(c.ids, {.show_control = kind == "json"}));
    if (c.has_decoded && text != c.decoded && ReplaceInvalidUtf8(text) != c.decoded && ++other_text <= 3) {
      MESSAGE("text ", c.hex, " is decoded as ", text, "; expected ", c.decoded);
    }
    // What is decoded piece by piece is the same.
    TextDecoder decoder(tokenizer, {.show_control = kind == "json"});
    std::string streamed;
    for (const Token id : c.ids) streamed += Must(decoder.Append(id));
    streamed += decoder.Finish();
    CHECK(streamed == ReplaceInvalidUtf8(text));
    if (of_bytes && kind.find("qwen") == std::string::npos && kind != "json") CHECK(text == c.text);
  }
  CHECK(count > 0);
  // Counts, so that thousands of texts fail in one line.
  CHECK_MESSAGE(other_ids == 0, path.filename().string(), ": other ids for ", other_ids, " of ", count, " texts");
  CHECK_MESSAGE(other_text == 0, path.filename().string(), ": other text for ", other_text, " of ", count, " texts");
  if (std::getenv("BITNET_TOKENIZER_CASES") != nullptr) {
    MESSAGE(path.filename().string(), ": ", count - other_ids, " of ", count, " texts agree");
  }
  return true;
}

size_t CheckFolder(const std::filesystem::path& folder, const std::filesystem::path& written = {}) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".cases") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  size_t checked = 0;
  for (const auto& path : paths) checked += Check(path, written) ? size_t{1} : size_t{0};
  return checked;
}

// With what is written gone at the end, if nobody wants it.
size_t CheckWritten(const std::filesystem::path& folder) {
  if (const char* kept = std::getenv("BITNET_TOKENIZERS_WRITTEN")) return CheckFolder(folder, kept);
  const testing::TemporaryFile written;
  const size_t checked = CheckFolder(folder, written.path());
  std::filesystem::remove_all(written.path());
  return checked;
}

TEST_CASE("Tokenizer: the oracles' ids and texts, by small vocabularies") {
  CHECK(CheckFolder(std::string(BITNET_SOURCE_DIR) + "/tests/golden/io/tokenizers") == 11);
}

TEST_CASE("HfTokenizerFiles: what is written has the oracles' ids and texts") {
  // (Not pieces with merges, nor those that end with white space.)
  CHECK(CheckWritten(std::string(BITNET_SOURCE_DIR) + "/tests/golden/io/tokenizers") == 8);
}

TEST_CASE("Tokenizer: the oracles' ids and texts, in the folder that BITNET_TOKENIZER_CASES names") {
  const char* folder = std::getenv("BITNET_TOKENIZER_CASES");
  if (folder == nullptr) {
    MESSAGE("BITNET_TOKENIZER_CASES is not set: nothing compared");
    return;
  }
  CheckFolder(folder);
  CheckWritten(folder);
}

}  // namespace
}  // namespace bitnet::tokenizer_agreement_test
