// ReadGgufTokenizer: the vocabulary in a GGUF file's metadata (tokenizer.ggml.*).
//
//   model "gpt2"   byte-level BPE; tokenizer.ggml.pre names the pre-tokenizer
//   model "llama"  SentencePiece's BPE
//   model "t5"     SentencePiece's unigram
//
// Other models, pre-tokenizers that are not known and keys tokenizer.ggml.* that are not known are refused by their
// name. A file without a pre-tokenizer, as those of the released 2B model are, is taken to cut words as Llama 3 does; a
// note says so, and the caller may say otherwise.
#ifndef BITNET_IO_TOKENIZER_GGUF_H_
#define BITNET_IO_TOKENIZER_GGUF_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/io/gguf.h"
#include "bitnet/io/quoted.h"
#include "bitnet/io/tokenizer/merge_list.h"
#include "bitnet/io/tokenizer/vocabulary.h"

namespace bitnet {

struct GgufTokenizerOptions {
  std::optional<PreTokenizer> pre_tokenizer;  // instead of what the file says
};

namespace detail {

// Names that llama.cpp writes, and what they stand for.
struct GgufPreTokenizer {
  std::string_view name;
  PreTokenizer id;
};
inline constexpr GgufPreTokenizer kGgufPreTokenizers[] = {
    {"gpt-2", PreTokenizer::kGpt2},
    {"phi-2", PreTokenizer::kGpt2},
    {"llama3", PreTokenizer::kLlama3},
    {"llama-v3", PreTokenizer::kLlama3},
    {"llama-bpe", PreTokenizer::kLlama3},
    {"falcon3", PreTokenizer::kLlama3},
    {"falcon-h1", PreTokenizer::kLlama3},
    {"qwen2", PreTokenizer::kQwen2},
    {"deepseek-r1-qwen", PreTokenizer::kQwen2},
    {"qwen35", PreTokenizer::kQwen35},
};

// What tokenizer.ggml.KEY may be; those that are not read here change no token of a text.
inline constexpr std::string_view kGgufTokenizerKeys[] = {"model",
                                                          "pre",
                                                          "tokens",
                                                          "token_type",
                                                          "token_type_count",
                                                          "scores",
                                                          "merges",
                                                          "added_tokens",
                                                          "bos_token_id",
                                                          "eos_token_id",
                                                          "eot_token_id",
                                                          "eom_token_id",
                                                          "unknown_token_id",
                                                          "seperator_token_id",
                                                          "separator_token_id",
                                                          "padding_token_id",
                                                          "cls_token_id",
                                                          "mask_token_id",
                                                          "prefix_token_id",
                                                          "suffix_token_id",
                                                          "middle_token_id",
                                                          "fim_pre_token_id",
                                                          "fim_suf_token_id",
                                                          "fim_mid_token_id",
                                                          "fim_pad_token_id",
                                                          "fim_rep_token_id",
                                                          "fim_sep_token_id",
                                                          "add_bos_token",
                                                          "add_eos_token",
                                                          "add_sep_token",
                                                          "add_space_prefix",
                                                          "remove_extra_whitespaces",
                                                          "escape_whitespaces",
                                                          "precompiled_charsmap"};

inline std::string GgufKey(std::string_view key) { return "tokenizer.ggml." + std::string(key); }

// What every kind of model has.
struct GgufTokens {
  std::vector<std::string> texts;
  std::vector<TokenType> types;
  NamedTokens named;
};

inline Result<GgufTokens> ReadGgufTokens(const GgufFile& file, bool add_bos, bool add_eos) {
  GgufTokens tokens;
  auto texts = file.Get<std::vector<std::string_view>>(GgufKey("tokens"));
  if (!texts.ok()) return Error{texts.error()};
  tokens.texts.assign(texts->begin(), texts->end());
  const bool has_types = file.Find(GgufKey("token_type")) != nullptr;
  if (has_types) {
    auto types = file.Get<std::vector<int32_t>>(GgufKey("token_type"));
    if (!types.ok()) return Error{types.error()};
    for (const int32_t type : *types) {
      if (type < 1 || type > 6) {
        return Error{file.path() + ": token " + std::to_string(tokens.types.size()) + " has the type " +
                     std::to_string(type) + "; 1 to 6 were expected"};
      }
      tokens.types.push_back(static_cast<TokenType>(type));
    }
    if (tokens.types.size() != tokens.texts.size()) {
      return Error{file.path() + ": " + std::to_string(tokens.types.size()) + " types of tokens, and " +
                   std::to_string(tokens.texts.size()) + " tokens"};
    }
  } else {
    tokens.types.assign(tokens.texts.size(), TokenType::kNormal);
  }
  const std::pair<const char*, std::optional<Token>*> names[] = {{"bos_token_id", &tokens.named.bos},
                                                                 {"eos_token_id", &tokens.named.eos},
                                                                 {"eot_token_id", &tokens.named.eot},
                                                                 {"unknown_token_id", &tokens.named.unk},
                                                                 {"padding_token_id", &tokens.named.pad}};
  for (const auto& [key, token] : names) {
    if (file.Find(GgufKey(key)) == nullptr) continue;
    // Some writers have -1, or all bits, for none.
    const auto id = file.Get<int64_t>(GgufKey(key));
    if (!id.ok()) return Error{id.error()};
    if (*id == -1 || *id == 0xffffffff) continue;
    if (*id < 0 || static_cast<uint64_t>(*id) >= tokens.texts.size()) {
      return Error{file.path() + ": " + GgufKey(key) + " is " + std::to_string(*id) + "; there are " +
                   std::to_string(tokens.texts.size()) + " tokens"};
    }
    *token = static_cast<Token>(*id);
    // Without types only these are known to be no ordinary text.
    if (!has_types) tokens.types[**token] = key[0] == 'u' ? TokenType::kUnknown : TokenType::kControl;
  }
  const auto bos = file.GetOr<bool>(GgufKey("add_bos_token"), add_bos && tokens.named.bos.has_value());
  if (!bos.ok()) return Error{bos.error()};
  const auto eos = file.GetOr<bool>(GgufKey("add_eos_token"), add_eos && tokens.named.eos.has_value());
  if (!eos.ok()) return Error{eos.error()};
  tokens.named.add_bos = *bos;
  tokens.named.add_eos = *eos;
  return tokens;
}

inline Result<PreTokenizer> ReadGgufPreTokenizer(const GgufFile& file, const GgufTokenizerOptions& options,
                                                 std::vector<std::string>& notes) {
  if (options.pre_tokenizer) return *options.pre_tokenizer;
  if (file.Find(GgufKey("pre")) == nullptr) {
    notes.push_back(file.path() + ": there is no tokenizer.ggml.pre; words are cut as by Llama 3");
    return PreTokenizer::kLlama3;
  }
  const auto name = file.Get<std::string_view>(GgufKey("pre"));
  if (!name.ok()) return Error{name.error()};
  for (const GgufPreTokenizer& known : kGgufPreTokenizers) {
    if (known.name == *name) return known.id;
  }
  std::string names;
  for (const GgufPreTokenizer& known : kGgufPreTokenizers)
    names += (names.empty() ? "" : ", ") + std::string(known.name);
  return Error{file.path() + ": tokenizer.ggml.pre is " + Quoted(*name) + "; known are " + names};
}

inline Result<Vocabulary> ReadGgufBpe(const GgufFile& file, const GgufTokenizerOptions& options,
                                      std::vector<std::string>& notes) {
  const Result<PreTokenizer> pre = ReadGgufPreTokenizer(file, options, notes);
  if (!pre.ok()) return Error{pre.error()};
  const bool is_llama3 = *pre == PreTokenizer::kLlama3;
  Result<GgufTokens> tokens = ReadGgufTokens(file, is_llama3, false);
  if (!tokens.ok()) return Error{tokens.error()};
  const auto texts = file.Get<std::vector<std::string_view>>(GgufKey("merges"));
  if (!texts.ok()) return Error{texts.error()};
  if (texts->empty()) return Error{file.path() + ": tokenizer.ggml.merges is empty"};

  BpeVocabulary vocabulary;
  MergeReader reader(tokens->texts);
  for (const std::string_view text : *texts) {
    const auto pair = SplitMerge(text);
    if (!pair) {
      return Error{file.path() + ": merge " + std::to_string(vocabulary.merges.size()) + " is " + Quoted(text) +
                   "; two tokens with a space between them were expected"};
    }
    if (Result<Done> read = reader.Read(pair->first, pair->second, vocabulary.merges); !read.ok()) {
      return Error{file.path() + ": " + read.error()};
    }
  }
  vocabulary.tokens = std::move(tokens->texts);
  vocabulary.types = std::move(tokens->types);
  TranslateLetters(vocabulary.tokens, vocabulary.types);
  vocabulary.named = tokens->named;
  vocabulary.pre_tokenizer = *pre;
  vocabulary.whole_words = is_llama3;
  // The file does not say it; the models of this pre-tokenizer were trained on such texts.
  vocabulary.nfc = *pre == PreTokenizer::kQwen2 || *pre == PreTokenizer::kQwen35;
  return Vocabulary(std::move(vocabulary));
}

inline Result<Vocabulary> ReadGgufSentencePiece(const GgufFile& file, SentencePieceKind kind) {
  const bool is_bpe = kind == SentencePieceKind::kBpe;
  Result<GgufTokens> tokens = ReadGgufTokens(file, is_bpe, !is_bpe);
  if (!tokens.ok()) return Error{tokens.error()};
  SentencePieceVocabulary vocabulary;
  auto scores = file.Get<std::vector<float>>(GgufKey("scores"));
  if (!scores.ok()) return Error{scores.error()};
  const auto add_space = file.GetOr<bool>(GgufKey("add_space_prefix"), true);
  if (!add_space.ok()) return Error{add_space.error()};
  const auto removes = file.GetOr<bool>(GgufKey("remove_extra_whitespaces"), false);
  if (!removes.ok()) return Error{removes.error()};
  const auto escapes = file.GetOr<bool>(GgufKey("escape_whitespaces"), true);
  if (!escapes.ok()) return Error{escapes.error()};
  if (const GgufValue* charsmap = file.Find(GgufKey("precompiled_charsmap"))) {
    const bool is_bytes = charsmap->is_array() && (charsmap->element_type() == GgufValueType::kUint8 ||
                                                   charsmap->element_type() == GgufValueType::kInt8);
    if (!is_bytes) {
      return Error{file.path() + ": " + GgufKey("precompiled_charsmap") +
                   ": an array of 8-bit integers was expected, " + "and it is " + charsmap->Describe()};
    }
    vocabulary.charsmap.assign(reinterpret_cast<const char*>(charsmap->bytes().data()), charsmap->bytes().size());
  }
  vocabulary.pieces = std::move(tokens->texts);
  vocabulary.types = std::move(tokens->types);
  vocabulary.scores = *std::move(scores);
  vocabulary.kind = kind;
  vocabulary.space_prefix = *add_space ? SpacePrefix::kAlways : SpacePrefix::kNever;
  vocabulary.remove_extra_whitespaces = *removes;
  vocabulary.escape_whitespaces = *escapes;
  vocabulary.byte_fallback =
      std::find(vocabulary.types.begin(), vocabulary.types.end(), TokenType::kByte) != vocabulary.types.end();
  vocabulary.named = tokens->named;
  return Vocabulary(std::move(vocabulary));
}

}  // namespace detail

inline Result<TokenizerDescription> ReadGgufTokenizer(const GgufFile& file, const GgufTokenizerOptions& options = {}) {
  for (const GgufEntry& entry : file.metadata()) {
    constexpr std::string_view kPrefix = "tokenizer.ggml.";
    if (!entry.key.starts_with(kPrefix)) continue;
    const auto& known = detail::kGgufTokenizerKeys;
    if (std::find(std::begin(known), std::end(known), entry.key.substr(kPrefix.size())) == std::end(known)) {
      return Error{file.path() + ": the metadata " + Quoted(entry.key) + " is not known: its tokens may differ"};
    }
  }
  const auto separates = file.GetOr<bool>(detail::GgufKey("add_sep_token"), false);
  if (!separates.ok()) return Error{separates.error()};
  if (*separates) return Error{file.path() + ": tokenizer.ggml.add_sep_token is set, which is not supported"};
  const auto model = file.Get<std::string_view>(detail::GgufKey("model"));
  if (!model.ok()) return Error{model.error()};

  TokenizerDescription description;
  if (const GgufValue* value = file.Find("tokenizer.chat_template"); value != nullptr && !value->is_array()) {
    const auto text = file.Get<std::string_view>("tokenizer.chat_template");
    if (!text.ok()) return Error{text.error()};
    description.chat_template = *text;
  }
  Result<Vocabulary> vocabulary = Error{};
  if (*model == "gpt2") {
    vocabulary = detail::ReadGgufBpe(file, options, description.notes);
  } else if (*model == "llama") {
    vocabulary = detail::ReadGgufSentencePiece(file, SentencePieceKind::kBpe);
  } else if (*model == "t5") {
    vocabulary = detail::ReadGgufSentencePiece(file, SentencePieceKind::kUnigram);
  } else {
    return Error{file.path() + ": tokenizer.ggml.model is " + Quoted(*model) + "; gpt2, llama or t5 was expected"};
  }
  if (!vocabulary.ok()) return Error{vocabulary.error()};
  description.vocabulary = *std::move(vocabulary);
  return description;
}

}  // namespace bitnet

#endif  // BITNET_IO_TOKENIZER_GGUF_H_
