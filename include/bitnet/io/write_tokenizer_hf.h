// HfTokenizerFiles: a tokenizer as the files of a folder of transformers: tokenizer.json (byte-level BPE) or
// tokenizer.model (SentencePiece), and tokenizer_config.json with the named tokens and the chat template. LoadTokenizer
// of the folder gives the same tokenizer; transformers the same ids.
//
// What is written has been read again and compared: what does not come back the same is refused by a sentence.
#ifndef BITNET_IO_WRITE_TOKENIZER_HF_H_
#define BITNET_IO_WRITE_TOKENIZER_HF_H_

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/io/json.h"
#include "bitnet/io/tokenizer/vocabulary.h"
#include "bitnet/io/tokenizer_json.h"
#include "bitnet/io/tokenizer_sentencepiece.h"
#include "bitnet/io/unicode.h"
#include "bitnet/io/write_tokenizer_json.h"
#include "bitnet/io/write_tokenizer_sentencepiece.h"

namespace bitnet {

struct NamedFile {
  std::string name, text;
};

namespace detail {

inline const std::vector<std::string>& TextsOf(const BpeVocabulary& v) { return v.tokens; }
inline const std::vector<std::string>& TextsOf(const SentencePieceVocabulary& v) { return v.pieces; }

template <class V>
Result<std::string> TokenizerConfigText(const V& v, const std::string& chat_template) {
  constexpr bool kIsBpe = std::is_same_v<V, BpeVocabulary>;
  std::string json = "{";
  const auto line = [&](std::string_view key, const std::string& value) {
    json += (json.back() == '{' ? "\n  " : ",\n  ") + JsonText(key) + ": " + value;
  };
  line("tokenizer_class", "\"PreTrainedTokenizerFast\"");
  if constexpr (!kIsBpe) {
    line("legacy", "true");  // a space goes before the text, and behind each control token in it
    // Else transformers finds none of them in a text.
    std::string added;
    for (size_t id = 0; id < v.pieces.size(); ++id) {
      const TokenType type = TypeOf(v.types, id);
      if (type != TokenType::kControl && type != TokenType::kUnknown) continue;
      added += (added.empty() ? "\n    \"" : ",\n    \"") + std::to_string(id) +
               "\": {\"content\": " + JsonText(v.pieces[id]) +
               ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, "
               "\"special\": true}";
    }
    line("added_tokens_decoder", "{" + added + "\n  }");
  }
  const std::pair<const char*, std::optional<Token>> names[] = {{"bos_token", v.named.bos},
                                                                {"eos_token", v.named.eos},
                                                                {"eot_token", v.named.eot},
                                                                {"unk_token", v.named.unk},
                                                                {"pad_token", v.named.pad}};
  for (const auto& [key, token] : names) {
    if (!token) continue;
    const std::string& text = TextsOf(v)[*token];
    if (!IsSpecial(TypeOf(v.types, *token))) {
      if (token == v.named.unk || token == v.named.pad) continue;
      // Readers would take its text for it wherever that occurs.
      return Error{"token " + std::to_string(*token) + " is named " + key + ", and is ordinary text"};
    }
    line(key, JsonText(text));
  }
  line("add_bos_token", JsonFlag(v.named.add_bos));
  line("add_eos_token", JsonFlag(v.named.add_eos));
  line("clean_up_tokenization_spaces", "false");
  if (ReplaceInvalidUtf8(chat_template) != chat_template) return Error{"the chat template is no UTF-8"};
  if (!chat_template.empty()) line("chat_template", JsonText(chat_template));
  return json + "\n}\n";
}

// Whether `read` names all that `named` does. (It may name more: files have names for what they do not use.)
inline bool NamesTheSame(const NamedTokens& named, const NamedTokens& read) {
  const auto same = [](std::optional<Token> token, std::optional<Token> other) { return !token || token == other; };
  return same(named.bos, read.bos) && same(named.eos, read.eos) && same(named.eot, read.eot) &&
         same(named.unk, read.unk) && named.add_bos == read.add_bos && named.add_eos == read.add_eos;
}

// What is not the same, in words; empty if nothing is.
inline std::string DifferenceOf(const BpeVocabulary& v, const BpeVocabulary& read) {
  for (size_t id = 0; id < std::max(v.tokens.size(), read.tokens.size()); ++id) {
    const bool is_read = id < read.tokens.size() && !read.tokens[id].empty();
    if (id >= v.tokens.size()) return "token " + std::to_string(id);
    if (!is_read && (v.tokens[id].empty() || IsLeftOut(v, id))) continue;
    const auto kind_of = [](TokenType type) {
      return type == TokenType::kUnused ? TokenType::kNormal : type == TokenType::kUnknown ? TokenType::kControl : type;
    };
    if (!is_read || read.tokens[id] != v.tokens[id] ||
        kind_of(TypeOf(v.types, id)) != kind_of(TypeOf(read.types, id))) {
      return "token " + std::to_string(id);
    }
  }
  const bool same_merges = std::equal(
      v.merges.begin(), v.merges.end(), read.merges.begin(), read.merges.end(),
      [](const Merge& a, const Merge& b) { return a.left == b.left && a.right == b.right && a.merged == b.merged; });
  if (!same_merges) return "a merge";
  const bool same_matches =
      std::equal(v.special_matches.begin(), v.special_matches.end(), read.special_matches.begin(),
                 read.special_matches.end(), [](const SpecialMatch& a, const SpecialMatch& b) {
                   return a.token == b.token && a.strips_left == b.strips_left && a.strips_right == b.strips_right;
                 });
  if (!same_matches) return "a token that strips white space";
  if (v.pre_tokenizer != read.pre_tokenizer || v.whole_words != read.whole_words || v.nfc != read.nfc) {
    return "how texts are cut";
  }
  return NamesTheSame(v.named, read.named) ? "" : "a named token";
}

inline std::string DifferenceOf(const SentencePieceVocabulary& v, const SentencePieceVocabulary& read) {
  if (v.pieces != read.pieces || v.types != read.types || v.scores != read.scores) return "a piece";
  if (v.kind != read.kind || v.charsmap != read.charsmap || v.space_prefix != read.space_prefix ||
      v.remove_extra_whitespaces != read.remove_extra_whitespaces || v.escape_whitespaces != read.escape_whitespaces ||
      v.whitespace_is_suffix != read.whitespace_is_suffix || v.byte_fallback != read.byte_fallback ||
      v.unknown_text != read.unknown_text) {
    return "how texts are cut";
  }
  return NamesTheSame(v.named, read.named) ? "" : "a named token";
}

// The vocabulary in its file.
inline Result<NamedFile> VocabularyFile(const BpeVocabulary& v) {
  Result<std::string> text = TokenizerJsonText(v);
  if (!text.ok()) return Error{text.error()};
  return NamedFile{"tokenizer.json", *std::move(text)};
}
inline Result<NamedFile> VocabularyFile(const SentencePieceVocabulary& v) {
  if (v.whitespace_is_suffix) return Error{"transformers puts the space before a text, and the tokenizer behind it"};
  Result<std::string> text = SentencePieceModelText(v);
  if (!text.ok()) return Error{text.error()};
  return NamedFile{"tokenizer.model", *std::move(text)};
}
inline Result<TokenizerDescription> ReadVocabulary(const BpeVocabulary&, const NamedFile& file) {
  return ParseTokenizerJson(file.text, file.name);
}
inline Result<TokenizerDescription> ReadVocabulary(const SentencePieceVocabulary&, const NamedFile& file) {
  Result<SentencePieceVocabulary> v = ParseSentencePieceModel(file.text, file.name);
  if (!v.ok()) return Error{v.error()};
  TokenizerDescription description;
  description.vocabulary = *std::move(v);
  return description;
}

}  // namespace detail

inline Result<std::vector<NamedFile>> HfTokenizerFiles(const TokenizerDescription& tokenizer) {
  return std::visit(
      [&]<class V>(const V& v) -> Result<std::vector<NamedFile>> {
        Result<NamedFile> vocabulary = detail::VocabularyFile(v);
        if (!vocabulary.ok()) return Error{vocabulary.error()};
        Result<std::string> config = detail::TokenizerConfigText(v, tokenizer.chat_template);
        if (!config.ok()) return Error{config.error()};
        Result<TokenizerDescription> read = detail::ReadVocabulary(v, *vocabulary);
        if (!read.ok()) return Error{read.error()};
        if (Result<Done> done = ApplyTokenizerConfig(*config, "tokenizer_config.json", *read); !done.ok()) {
          return Error{done.error()};
        }
        const V* const again = std::get_if<V>(&read->vocabulary);
        const std::string difference = again == nullptr ? "its kind"
                                       : read->chat_template != tokenizer.chat_template
                                           ? "the chat template"
                                           : detail::DifferenceOf(v, *again);
        if (!difference.empty()) return Error{vocabulary->name + " cannot say all of the tokenizer: " + difference};
        return std::vector<NamedFile>{*std::move(vocabulary), {"tokenizer_config.json", *std::move(config)}};
      },
      tokenizer.vocabulary);
}

}  // namespace bitnet

#endif  // BITNET_IO_WRITE_TOKENIZER_HF_H_
