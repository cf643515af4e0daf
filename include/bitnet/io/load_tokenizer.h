// LoadTokenizer: the tokenizer in a file or a folder, whatever kind it is: told by what the file begins with.
//
//   folder                 its tokenizer.json, or else its tokenizer.model
//   GGUF                   its metadata
//   tokenizer.json         with the tokenizer_config.json beside it, if there is one
//   tokenizer.model        SentencePiece, with the same; or tiktoken's ranks as Llama 3 has them (with its special
//                          tokens)
//
// Nothing is taken from a file's name but tokenizer_config.json's.
#ifndef BITNET_IO_LOAD_TOKENIZER_H_
#define BITNET_IO_LOAD_TOKENIZER_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "bitnet/base/file.h"
#include "bitnet/base/result.h"
#include "bitnet/io/gguf.h"
#include "bitnet/io/tokenizer.h"
#include "bitnet/io/tokenizer_gguf.h"
#include "bitnet/io/tokenizer_json.h"
#include "bitnet/io/tokenizer_sentencepiece.h"
#include "bitnet/io/tokenizer_tiktoken.h"

namespace bitnet {

struct LoadedTokenizer {
  Tokenizer tokenizer;
  std::string chat_template;  // as in TokenizerDescription
  std::vector<std::string> notes;
};

namespace detail {

// Adds what the tokenizer_config.json beside a file says, if there is one.
inline Result<Done> ApplyConfigBeside(const std::string& path, TokenizerDescription& description) {
  std::error_code error;
  const std::string config = (std::filesystem::path(path).parent_path() / "tokenizer_config.json").string();
  if (!std::filesystem::exists(config, error)) return Done{};
  const Result<std::vector<uint8_t>> bytes = ReadFile(config);
  if (!bytes.ok()) return Error{bytes.error()};
  const std::string_view text(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  return ApplyTokenizerConfig(text, config, description);
}

}  // namespace detail

// What a file says, before a tokenizer is made of it.
inline Result<TokenizerDescription> DescribeTokenizer(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    for (const char* name : {"tokenizer.json", "tokenizer.model"}) {
      const auto inner = std::filesystem::path(path) / name;
      if (std::filesystem::exists(inner, error)) return DescribeTokenizer(inner.string());
    }
    return Error{path + ": there is neither tokenizer.json nor tokenizer.model in this folder"};
  }
  std::vector<uint8_t> magic;
  {
    Result<FileReader> reader = FileReader::Open(path);
    if (!reader.ok()) return Error{reader.error()};
    if (Result<Done> read = reader->Append(magic, 4); !read.ok()) return Error{read.error()};
  }
  if (std::string_view(reinterpret_cast<const char*>(magic.data()), magic.size()) == "GGUF") {
    const Result<GgufFile> file = GgufFile::Open(path);
    if (!file.ok()) return Error{file.error()};
    return ReadGgufTokenizer(*file);
  }
  const Result<std::vector<uint8_t>> bytes = ReadFile(path);
  if (!bytes.ok()) return Error{bytes.error()};
  const std::string_view text(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && text[first] == '{') {
    Result<TokenizerDescription> description = ParseTokenizerJson(text, path);
    if (!description.ok()) return description;
    if (Result<Done> done = detail::ApplyConfigBeside(path, *description); !done.ok()) return Error{done.error()};
    return description;
  }
  TokenizerDescription description;
  // A model begins with its first piece; a line of ranks with a digit of base64.
  if (!text.empty() && text[0] == '\x0a') {
    Result<SentencePieceVocabulary> vocabulary = ParseSentencePieceModel(text, path);
    if (!vocabulary.ok()) return Error{vocabulary.error()};
    description.vocabulary = *std::move(vocabulary);
    if (Result<Done> done = detail::ApplyConfigBeside(path, description); !done.ok()) return Error{done.error()};
    return description;
  }
  Result<BpeVocabulary> vocabulary = ParseTiktoken(text, path, {});
  if (!vocabulary.ok()) return Error{vocabulary.error()};
  if (vocabulary->tokens.size() != 128000) {
    return Error{
        path + ": has " + std::to_string(vocabulary->tokens.size()) +
        " ranks, and does not say how words are cut; only the 128000 of Llama 3 are known (see ParseTiktoken)"};
  }
  vocabulary = ParseTiktoken(text, path, {PreTokenizer::kLlama3, Llama3SpecialTokens(128000), false});
  if (!vocabulary.ok()) return Error{vocabulary.error()};
  description.vocabulary = *std::move(vocabulary);
  description.notes.push_back(path + ": ranks alone; the pre-tokenizer and the special tokens are Llama 3's");
  return description;
}

inline Result<LoadedTokenizer> LoadTokenizer(const std::string& path) {
  Result<TokenizerDescription> description = DescribeTokenizer(path);
  if (!description.ok()) return Error{description.error()};
  Result<Tokenizer> tokenizer = Tokenizer::Make(std::move(description->vocabulary));
  if (!tokenizer.ok()) return Error{path + ": " + tokenizer.error()};
  return LoadedTokenizer{*std::move(tokenizer), std::move(description->chat_template), std::move(description->notes)};
}

}  // namespace bitnet

#endif  // BITNET_IO_LOAD_TOKENIZER_H_
