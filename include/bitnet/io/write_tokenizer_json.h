// TokenizerJsonText: a vocabulary of byte-level BPE as a tokenizer.json, the opposite of io/tokenizer_json.h. Hugging
// Face's tokenizers make the same ids of a text by it, and this library's reader the same tokenizer.
//
// Every token stands in the model's vocabulary, special ones among added_tokens too, so that no id depends on an order.
// Left out are unused tokens that a text could make if they were there: those whose text could be a word, where words
// that are tokens stay whole.
//
// Refused by a sentence: tokens of one text, which JSON cannot tell apart, texts of special tokens that are no UTF-8,
// and ranks without merges.
#ifndef BITNET_IO_WRITE_TOKENIZER_JSON_H_
#define BITNET_IO_WRITE_TOKENIZER_JSON_H_

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/io/json.h"
#include "bitnet/io/quoted.h"
#include "bitnet/io/tokenizer/byte_level.h"
#include "bitnet/io/tokenizer/check_vocabulary.h"
#include "bitnet/io/tokenizer/vocabulary.h"
#include "bitnet/io/unicode.h"

namespace bitnet {

namespace detail {

inline TokenType TypeOf(const std::vector<TokenType>& types, size_t id) {
  return types.empty() ? TokenType::kNormal : types[id];
}
inline bool IsSpecial(TokenType type) {
  return type == TokenType::kControl || type == TokenType::kUnknown || type == TokenType::kUserDefined;
}

// What is wrong with texts that stand for one token each; empty if nothing is. Empty texts stand for none.
inline std::string FaultOfTexts(const std::vector<std::string>& texts) {
  std::unordered_map<std::string_view, size_t> ids;
  for (size_t id = 0; id < texts.size(); ++id) {
    if (texts[id].empty()) continue;
    if (ReplaceInvalidUtf8(texts[id]) != texts[id])
      return "the text of token " + std::to_string(id) + " is no UTF-8: " + Quoted(texts[id]);
    const auto [first, is_new] = ids.emplace(texts[id], id);
    if (!is_new) {
      return "tokens " + std::to_string(first->second) + " and " + std::to_string(id) + " have one text, " +
             Quoted(texts[id]);
    }
  }
  return {};
}

// Whether a word of a text could be this token although no merge makes it.
inline bool IsLeftOut(const BpeVocabulary& v, size_t id) {
  return TypeOf(v.types, id) == TokenType::kUnused && v.whole_words && v.tokens[id].size() > 1;
}

// The texts as the file has them, in GPT-2's letters for bytes; empty for those that are left out.
inline std::vector<std::string> TextsInLetters(const BpeVocabulary& v) {
  std::vector<std::string> texts(v.tokens.size());
  for (size_t id = 0; id < texts.size(); ++id) {
    const TokenType type = TypeOf(v.types, id);
    const bool is_text = type == TokenType::kNormal || type == TokenType::kUnused;
    if (!IsLeftOut(v, id)) texts[id] = is_text ? LettersOfBytes(v.tokens[id]) : v.tokens[id];
  }
  return texts;
}

inline std::string JsonFlag(bool flag) { return flag ? "true" : "false"; }

inline std::string AddedTokensJson(const BpeVocabulary& v) {
  std::map<Token, SpecialMatch> matches;
  for (const SpecialMatch& match : v.special_matches) matches[match.token] = match;
  std::string json;
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    const TokenType type = TypeOf(v.types, id);
    if (!IsSpecial(type) || v.tokens[id].empty()) continue;
    const SpecialMatch match = matches[static_cast<Token>(id)];
    json += (json.empty() ? "\n    {\"id\": " : ",\n    {\"id\": ") + std::to_string(id) +
            ", \"content\": " + JsonText(v.tokens[id]) +
            ", \"single_word\": false, \"lstrip\": " + JsonFlag(match.strips_left) +
            ", \"rstrip\": " + JsonFlag(match.strips_right) +
            ", \"normalized\": false, \"special\": " + JsonFlag(type != TokenType::kUserDefined) + "}";
  }
  return "[" + json + "]";
}

inline std::string PreTokenizerJson(PreTokenizer id) {
  const auto byte_level = [](bool cuts) {
    return R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": )" + JsonFlag(cuts) +
           "}";
  };
  if (id == PreTokenizer::kGpt2) return byte_level(true);
  return R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": )" +
         JsonText(FactsOf(id).pattern) + R"(}, "behavior": "Isolated", "invert": false}, )" + byte_level(false) + "]}";
}

// What is put around a text, or around each of two.
inline std::string PostProcessorJson(const BpeVocabulary& v) {
  if (!v.named.add_bos && !v.named.add_eos) return "null";
  std::string tokens;
  const auto special = [&](Token id) {
    const std::string text = JsonText(v.tokens[id]);
    const std::string line =
        text + ": {\"id\": " + text + ", \"ids\": [" + std::to_string(id) + "], \"tokens\": [" + text + "]}";
    if (tokens.empty()) {
      tokens = line;
    } else if (tokens != line) {
      tokens += ", " + line;
    }
    return text;
  };
  const std::string bos = v.named.add_bos ? special(*v.named.bos) : "",
                    eos = v.named.add_eos ? special(*v.named.eos) : "";
  const auto around = [&](const char* text, const char* type) {
    const auto token = [&](const std::string& id) {
      return "{\"SpecialToken\": {\"id\": " + id + ", \"type_id\": " + type + "}}";
    };
    return (bos.empty() ? "" : token(bos) + ", ") + "{\"Sequence\": {\"id\": \"" + text + "\", \"type_id\": " + type +
           "}}" + (eos.empty() ? "" : ", " + token(eos));
  };
  return "{\"type\": \"TemplateProcessing\", \"single\": [" + around("A", "0") + "], \"pair\": [" + around("A", "0") +
         ", " + around("B", "1") + "], \"special_tokens\": {" + tokens + "}}";
}

}  // namespace detail

inline Result<std::string> TokenizerJsonText(const BpeVocabulary& v) {
  if (const std::string fault = detail::FaultOfVocabulary(v); !fault.empty()) return Error{fault};
  if (v.merges.empty()) return Error{"the tokenizer has ranks and no merges, which tokenizer.json cannot say"};
  const std::vector<std::string> texts = detail::TextsInLetters(v);
  if (const std::string fault = detail::FaultOfTexts(texts); !fault.empty()) {
    return Error{fault + ", which tokenizer.json cannot say"};
  }
  std::string vocab, merges;
  for (size_t id = 0; id < texts.size(); ++id) {
    if (texts[id].empty()) continue;
    vocab += (vocab.empty() ? "\n      " : ",\n      ") + JsonText(texts[id]) + ": " + std::to_string(id);
  }
  for (const Merge& merge : v.merges) {
    const std::string &left = texts[merge.left], &right = texts[merge.right];
    const bool is_plain = !left.empty() && !right.empty() && left + right == texts[merge.merged] &&
                          texts[merge.merged].find(' ') == std::string::npos;
    if (!is_plain) {
      return Error{"the merge that makes token " + std::to_string(merge.merged) +
                   " is of unused or special tokens, which tokenizer.json cannot say"};
    }
    merges += (merges.empty() ? "\n      " : ",\n      ") + JsonText(left + " " + right);
  }
  return "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": " +
         detail::AddedTokensJson(v) + ",\n  \"normalizer\": " + (v.nfc ? "{\"type\": \"NFC\"}" : "null") +
         ",\n  \"pre_tokenizer\": " + detail::PreTokenizerJson(v.pre_tokenizer) +
         ",\n  \"post_processor\": " + detail::PostProcessorJson(v) +
         ",\n  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, "
         "\"use_regex\": true},\n  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": " +
         (v.named.unk ? JsonText(texts[*v.named.unk]) : "null") +
         ",\n    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n"
         "    \"byte_fallback\": false,\n    \"ignore_merges\": " +
         detail::JsonFlag(v.whole_words) + ",\n    \"vocab\": {" + vocab + "\n    },\n    \"merges\": [" + merges +
         "\n    ]\n  }\n}\n";
}

}  // namespace bitnet

#endif  // BITNET_IO_WRITE_TOKENIZER_JSON_H_
