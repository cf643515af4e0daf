// ParseTiktoken: the vocabulary of a file of ranks (tokenizer.model of Llama 3, qwen.tiktoken): on each line the bytes
// of a token in base64, a space, and its rank, which is its id. The file has neither special tokens nor the pattern
// that cuts words: the caller says both.
#ifndef BITNET_IO_TOKENIZER_TIKTOKEN_H_
#define BITNET_IO_TOKENIZER_TIKTOKEN_H_

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/io/base64.h"
#include "bitnet/io/quoted.h"
#include "bitnet/io/tokenizer/vocabulary.h"

namespace bitnet {

struct TiktokenOptions {
  PreTokenizer pre_tokenizer = PreTokenizer::kLlama3;
  std::vector<std::pair<std::string, Token>> special_tokens;  // control tokens, beyond the ranks
  bool nfc = false;                                           // Qwen
};

// The 256 control tokens that Llama 3 has after its ranks, from `first` on (128000 there).
inline std::vector<std::pair<std::string, Token>> Llama3SpecialTokens(Token first) {
  std::vector<std::pair<std::string, Token>> special;
  const auto add = [&](std::string text) {
    special.push_back({std::move(text), first + static_cast<Token>(special.size())});
  };
  const auto reserved = [](int i) { return "<|reserved_special_token_" + std::to_string(i) + "|>"; };
  add("<|begin_of_text|>"), add("<|end_of_text|>");
  for (int i = 0; i < 4; ++i) add(reserved(i));
  add("<|start_header_id|>"), add("<|end_header_id|>"), add(reserved(4)), add("<|eot_id|>");
  for (int i = 5; i < 251; ++i) add(reserved(i));
  return special;
}

// `name` stands for the file in messages. Ranks may leave holes, but not many.
inline Result<BpeVocabulary> ParseTiktoken(std::string_view file, const std::string& name,
                                           const TiktokenOptions& options) {
  BpeVocabulary vocabulary;
  vocabulary.pre_tokenizer = options.pre_tokenizer;
  vocabulary.whole_words = true;
  vocabulary.nfc = options.nfc;
  size_t line_number = 0;
  const auto refuse = [&](const std::string& why) {
    return Error{name + ": line " + std::to_string(line_number) + ": " + why};
  };
  std::vector<std::pair<std::string, Token>> tokens;
  for (size_t at = 0; at < file.size();) {
    const size_t end = std::min(file.find('\n', at), file.size());
    std::string_view line = file.substr(at, end - at);
    at = end + 1;
    ++line_number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const size_t space = line.find(' ');
    const std::string_view digits = space == std::string_view::npos ? std::string_view() : line.substr(space + 1);
    const std::optional<std::string> bytes = DecodeBase64(line.substr(0, std::min(space, line.size())));
    Token rank = 0;
    const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), rank);
    if (!bytes || bytes->empty() || digits.empty() || error != std::errc() || stop != digits.data() + digits.size()) {
      return refuse("a token in base64, a space and its rank were expected, and this is " + Quoted(line));
    }
    tokens.push_back({*bytes, rank});
  }
  const size_t ranks = tokens.size();
  tokens.insert(tokens.end(), options.special_tokens.begin(), options.special_tokens.end());
  const uint64_t most = 2 * uint64_t{tokens.size()} + 4096;
  for (size_t i = 0; i < tokens.size(); ++i) {
    auto& [text, id] = tokens[i];
    line_number = i < ranks ? i + 1 : line_number;
    if (id >= most) {
      return refuse("the id " + std::to_string(id) + " is too large for a vocabulary of " +
                    std::to_string(tokens.size()) + " tokens");
    }
    if (id >= vocabulary.tokens.size()) {
      vocabulary.tokens.resize(id + 1);
      vocabulary.types.resize(id + 1, TokenType::kUnused);
    }
    if (!vocabulary.tokens[id].empty()) return refuse("the id " + std::to_string(id) + " is there twice");
    vocabulary.tokens[id] = std::move(text);
    vocabulary.types[id] = i < ranks ? TokenType::kNormal : TokenType::kControl;
    const std::string& special = vocabulary.tokens[id];
    if (i < ranks) continue;
    if (special == "<|begin_of_text|>") vocabulary.named.bos = id, vocabulary.named.add_bos = true;
    if (special == "<|end_of_text|>" || special == "<|endoftext|>") vocabulary.named.eos = id;
    if (special == "<|eot_id|>" || special == "<|im_end|>") vocabulary.named.eot = id;
  }
  std::vector<std::string_view> sorted;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (vocabulary.types[id] == TokenType::kNormal) sorted.push_back(vocabulary.tokens[id]);
  }
  std::sort(sorted.begin(), sorted.end());
  if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end()) {
    return Error{name + ": the token " + Quoted(*twice) + " is there twice"};
  }
  return vocabulary;
}

}  // namespace bitnet

#endif  // BITNET_IO_TOKENIZER_TIKTOKEN_H_
