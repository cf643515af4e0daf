// ParseTokenizerJson: the vocabulary of a tokenizer.json (Hugging Face's tokenizers): byte-level BPE, and BPE over
// characters as Llama 2 has it. ApplyTokenizerConfig adds what tokenizer_config.json says.
//
// What the file declares is done or refused by its path and name: other models (Unigram, WordPiece), other normalizers
// than NFC (Llama 2's apart), patterns that are not in kPreTokenizers, dropout, truncation and padding.
#ifndef BITNET_IO_TOKENIZER_JSON_H_
#define BITNET_IO_TOKENIZER_JSON_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/io/json.h"
#include "bitnet/io/quoted.h"
#include "bitnet/io/tokenizer/check_vocabulary.h"
#include "bitnet/io/tokenizer/merge_list.h"
#include "bitnet/io/tokenizer/sentencepiece_text.h"
#include "bitnet/io/tokenizer/vocabulary.h"

namespace bitnet {

namespace detail {

// Reads one document. The first fault is kept; after it, reading goes on without harm.
class TokenizerJsonReader {
 public:
  explicit TokenizerJsonReader(JsonValue root) : root_(root) {}

  const std::string& fault() const { return fault_; }

  Vocabulary Read() {
    ExpectKeys(root_, {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                       "post_processor", "decoder", "model"});
    ExpectNull(root_, "truncation");
    ExpectNull(root_, "padding");
    const std::optional<JsonValue> model = Member(root_, "model");
    if (!model) return {};
    ReadModel(*model);
    ReadAddedTokens();
    if (!fault_.empty()) return {};
    types_.resize(tokens_.size(), TokenType::kUnused);
    ReadNormalizer();
    ReadPreTokenizer();
    ReadPostProcessor();
    ReadDecoder();
    if (!fault_.empty()) return {};
    return is_byte_level_ ? ByteLevel() : SentencePiece(*model);
  }

 private:
  void Refuse(const JsonValue& value, const std::string& why) {
    if (fault_.empty()) fault_ = value.Refuse(why).message;
  }
  template <class T>
  T Take(const Result<T>& result, T otherwise) {
    if (result.ok()) return *result;
    if (fault_.empty()) fault_ = result.error();
    return otherwise;
  }

  // What is there and not null.
  static std::optional<JsonValue> Present(const JsonValue& object, std::string_view key) {
    const std::optional<JsonValue> value = object.Find(key);
    return value && !value->IsNull() ? value : std::nullopt;
  }
  std::optional<JsonValue> Member(const JsonValue& object, std::string_view key) {
    const Result<JsonValue> value = object.At(key);
    if (!value.ok()) {
      if (fault_.empty()) fault_ = value.error();
      return std::nullopt;
    }
    return *value;
  }
  bool Flag(const JsonValue& object, std::string_view key, bool otherwise) {
    const std::optional<JsonValue> value = Present(object, key);
    return value ? Take(value->AsFlag(), otherwise) : otherwise;
  }
  std::string_view Text(const JsonValue& object, std::string_view key) {
    const std::optional<JsonValue> value = Present(object, key);
    return value ? Take(value->AsText(), std::string_view()) : std::string_view();
  }
  std::string_view Type(const JsonValue& object) {
    const std::optional<JsonValue> type = Member(object, "type");
    return type ? Take(type->AsText(), std::string_view()) : std::string_view();
  }
  void ExpectKeys(const JsonValue& object, std::initializer_list<std::string_view> keys) {
    if (Result<Done> is_object = object.ExpectObject(); !is_object.ok() && fault_.empty()) fault_ = is_object.error();
    for (const JsonValue item : object.items()) {
      if (std::find(keys.begin(), keys.end(), item.key()) == keys.end()) Refuse(item, "this key is not known");
    }
  }
  void ExpectNull(const JsonValue& object, std::string_view key) {
    if (const auto value = Present(object, key)) Refuse(*value, "is set, which is not supported");
  }
  void ExpectEmpty(const JsonValue& object, std::string_view key) {
    if (!Text(object, key).empty()) Refuse(*object.Find(key), "is set, which is not supported");
  }
  void ExpectFlag(const JsonValue& object, std::string_view key, bool expected, bool otherwise) {
    if (Flag(object, key, otherwise) != expected) {
      const auto value = object.Find(key);
      Refuse(value ? *value : object,
             std::string(key) + " is " + (expected ? "false" : "true") + ", which is not supported");
    }
  }
  void RefuseType(const JsonValue& value, std::string_view expected) {
    Refuse(value, "is of type " + Quoted(Text(value, "type")) + "; " + std::string(expected) + " was expected");
  }
  // f(step) for the value, or for those of which it is a sequence. (Sequences in sequences are refused by f.)
  template <class F>
  void ForEachStep(const JsonValue& value, std::string_view list, F&& f) {
    if (Type(value) != "Sequence") return f(value);
    const std::optional<JsonValue> steps = Member(value, list);
    if (!steps) return;
    if (Result<Done> is_list = steps->ExpectList(); !is_list.ok() && fault_.empty()) fault_ = is_list.error();
    for (const JsonValue step : steps->items()) f(step);
  }

  // Takes a token of the file; the ids leave no large holes.
  bool Place(const JsonValue& where, uint64_t id, std::string_view text, TokenType type) {
    if (id >= most_) {
      Refuse(where, "the id " + std::to_string(id) + " is too large for a vocabulary of so few tokens");
      return false;
    }
    const auto index = static_cast<size_t>(id);
    if (index >= tokens_.size()) {
      tokens_.resize(index + 1);
      types_.resize(index + 1, TokenType::kUnused);
    }
    if (!tokens_[index].empty() && tokens_[index] != text) {
      Refuse(where, "the id " + std::to_string(id) + " is that of " + Quoted(tokens_[index]) + " already");
      return false;
    }
    tokens_[index] = text;
    types_[index] = type;
    return true;
  }

  void ReadModel(const JsonValue& model) {
    if (const std::string_view type = Text(model, "type"); !type.empty() && type != "BPE") {
      return RefuseType(model, "BPE");
    }
    ExpectKeys(model, {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                       "byte_fallback", "ignore_merges", "vocab", "merges"});
    ExpectNull(model, "dropout");
    ExpectEmpty(model, "continuing_subword_prefix");
    ExpectEmpty(model, "end_of_word_suffix");
    const auto vocab = Member(model, "vocab"), merges = Member(model, "merges");
    if (!vocab || !merges) return;
    if (Result<Done> object = vocab->ExpectObject(); !object.ok()) return Refuse(*vocab, "an object was expected");
    if (Result<Done> list = merges->ExpectList(); !list.ok()) return Refuse(*merges, "a list was expected");
    const auto added = Present(root_, "added_tokens");
    most_ = 2 * (uint64_t{vocab->items().size()} + (added ? added->items().size() : 0)) + 4096;
    for (const JsonValue entry : vocab->items()) {
      if (!Place(entry, Take(entry.AsUnsigned(), most_), entry.key(), TokenType::kNormal)) return;
    }
    MergeReader reader(tokens_);
    for (const JsonValue entry : merges->items()) {
      std::optional<std::pair<std::string_view, std::string_view>> pair;
      if (entry.kind() == JsonKind::kText) {
        pair = SplitMerge(Take(entry.AsText(), std::string_view()));
      } else if (entry.kind() == JsonKind::kList && entry.items().size() == 2) {
        const auto left = entry.items().begin();
        auto right = left;
        pair = {Take((*left).AsText(), std::string_view()), Take((*++right).AsText(), std::string_view())};
      }
      if (!pair) return Refuse(entry, "a merge of two tokens was expected");
      if (Result<Done> read = reader.Read(pair->first, pair->second, merges_); !read.ok()) {
        return Refuse(entry, read.error());
      }
    }
    if (const std::string_view unknown = Text(model, "unk_token"); !unknown.empty()) {
      const auto entry = vocab->Find(unknown);
      if (!entry) return Refuse(*model.Find("unk_token"), "there is no token " + Quoted(unknown));
      named_.unk = static_cast<Token>(Take(entry->AsUnsigned(), uint64_t{0}));
    }
    whole_words_ = Flag(model, "ignore_merges", false);
    byte_fallback_ = Flag(model, "byte_fallback", false);
    fuse_unknown_ = Flag(model, "fuse_unk", false);
  }

  void ReadAddedTokens() {
    const auto added = Present(root_, "added_tokens");
    if (!added || !fault_.empty()) return;
    if (Result<Done> list = added->ExpectList(); !list.ok()) return Refuse(*added, "a list was expected");
    for (const JsonValue token : added->items()) {
      ExpectKeys(token, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
      const auto id = Member(token, "id"), content = Member(token, "content");
      if (!id || !content) return;
      ExpectFlag(token, "single_word", false, false);
      const std::string_view text = Take(content->AsText(), std::string_view());
      const uint64_t number = Take(id->AsUnsigned(), most_);
      const bool is_unknown = named_.unk == number;
      const bool is_special = Flag(token, "special", false);
      const TokenType type = is_unknown   ? TokenType::kUnknown
                             : is_special ? TokenType::kControl
                                          : TokenType::kUserDefined;
      if (text.empty()) return Refuse(token, "content is empty");
      if (!fault_.empty() || !Place(token, number, text, type)) return;
      const SpecialMatch match = {static_cast<Token>(number), Flag(token, "lstrip", false),
                                  Flag(token, "rstrip", false)};
      if (match.strips_left || match.strips_right) special_matches_.push_back(match);
    }
  }

  void ReadNormalizer() {
    const auto normalizer = Present(root_, "normalizer");
    if (!normalizer) return;
    ForEachStep(*normalizer, "normalizers", [&](const JsonValue& step) {
      const std::string_view type = Type(step);
      if (type == "NFC") {
        nfc_ = true;
      } else if (type == "Prepend" && Text(step, "prepend") == kSpaceSymbol && !replaces_space_) {
        prefix_ = SpacePrefix::kAlways;
      } else if (type == "Replace" && Text(step, "content") == kSpaceSymbol && IsSpacePattern(step)) {
        replaces_space_ = true;
      } else {
        RefuseType(step, "NFC, or Llama 2's Prepend and Replace of U+2581,");
      }
    });
  }
  bool IsSpacePattern(const JsonValue& step) {
    const auto pattern = Present(step, "pattern");
    return pattern && Text(*pattern, "String") == " ";
  }

  void ReadPreTokenizer() {
    const auto pre = Present(root_, "pre_tokenizer");
    if (!pre) return;
    ForEachStep(*pre, "pretokenizers", [&](const JsonValue& step) {
      const std::string_view type = Type(step);
      if (type == "ByteLevel" && !is_byte_level_) {
        is_byte_level_ = true;
        ExpectFlag(step, "add_prefix_space", false, true);
        const bool cuts = Flag(step, "use_regex", true);
        if (cuts == pre_tokenizer_.has_value()) return Refuse(step, "words are cut twice, or not at all");
        if (cuts) pre_tokenizer_ = PreTokenizer::kGpt2;
      } else if (type == "Split" && !is_byte_level_ && !pre_tokenizer_) {
        const auto pattern = Member(step, "pattern");
        if (!pattern) return;
        const std::string_view regex = Text(*pattern, "Regex");
        pre_tokenizer_ = PreTokenizerOfPattern(regex);
        if (!pre_tokenizer_) return Refuse(*pattern, "the pattern " + QuotedPattern(regex) + " is not known");
        if (Text(step, "behavior") != "Isolated") Refuse(step, "behavior is not Isolated, which is not supported");
        ExpectFlag(step, "invert", false, false);
      } else if (type == "Metaspace" && !is_byte_level_ && !pre_tokenizer_ && !is_metaspace_) {
        ReadMetaspace(step);
      } else {
        RefuseType(step, "Split and ByteLevel, ByteLevel alone, or Metaspace");
      }
    });
    if (pre_tokenizer_ && !is_byte_level_) Refuse(*pre, "words are cut, but not into bytes, which is not supported");
  }
  // Patterns are longer than names.
  static std::string QuotedPattern(std::string_view pattern) {
    std::string quoted;
    for (size_t at = 0; at < pattern.size() && at < 400; at += 80) {
      const std::string part = Quoted(pattern.substr(at, 80));
      quoted += part.substr(1, part.size() - 2);
    }
    return "'" + quoted + "'";
  }
  void ReadMetaspace(const JsonValue& step) {
    is_metaspace_ = true;
    ExpectFlag(step, "split", false, true);
    if (Text(step, "replacement") != kSpaceSymbol) Refuse(step, "replacement is not U+2581, which is not supported");
    const std::string_view scheme = Text(step, "prepend_scheme");
    if (scheme == "always" || (scheme.empty() && Flag(step, "add_prefix_space", true))) {
      prefix_ = SpacePrefix::kAlways;
    } else if (scheme == "first") {
      prefix_ = SpacePrefix::kFirst;
    } else if (!scheme.empty() && scheme != "never") {
      Refuse(step, "prepend_scheme is " + Quoted(scheme) + "; always, first or never was expected");
    }
  }

  void ReadPostProcessor() {
    const auto post = Present(root_, "post_processor");
    if (!post) return;
    ForEachStep(*post, "processors", [&](const JsonValue& step) {
      const std::string_view type = Type(step);
      if (type == "ByteLevel") return;  // offsets alone
      if (type != "TemplateProcessing") return RefuseType(step, "ByteLevel or TemplateProcessing");
      const auto single = Member(step, "single");
      if (!single) return;
      bool after_text = false;
      for (const JsonValue part : single->items()) {
        if (part.Find("Sequence")) {
          after_text = true;
          continue;
        }
        const auto special = Member(part, "SpecialToken");
        const auto name = special ? Member(*special, "id") : std::nullopt;
        if (!name) return;
        const std::string_view text = Take(name->AsText(), std::string_view());
        std::optional<Token>& token = after_text ? named_.eos : named_.bos;
        bool& adds = after_text ? named_.add_eos : named_.add_bos;
        const auto found = std::find(tokens_.begin(), tokens_.end(), text);
        if (found == tokens_.end()) return Refuse(*name, "there is no token " + Quoted(text));
        if (adds) return Refuse(*single, "there are two tokens on one side of the text, which is not supported");
        token = static_cast<Token>(found - tokens_.begin());
        adds = true;
      }
    });
  }

  void ReadDecoder() {
    const auto decoder = Present(root_, "decoder");
    if (!decoder) return;
    ForEachStep(*decoder, "decoders", [&](const JsonValue& step) {
      const std::string_view type = Type(step);
      const bool of_characters =
          type == "Replace" || type == "ByteFallback" || type == "Fuse" || type == "Strip" || type == "Metaspace";
      const bool fits = is_byte_level_ ? type == "ByteLevel" : of_characters;
      if (!fits) RefuseType(step, is_byte_level_ ? "ByteLevel" : "Replace, ByteFallback, Fuse, Strip or Metaspace");
    });
  }

  Vocabulary ByteLevel() {
    if (prefix_ != SpacePrefix::kNever || replaces_space_ || byte_fallback_) {
      Refuse(root_, "a byte-level pre_tokenizer, and a normalizer or byte_fallback of another kind");
    }
    BpeVocabulary vocabulary;
    TranslateLetters(tokens_, types_);
    vocabulary.tokens = std::move(tokens_);
    vocabulary.types = std::move(types_);
    vocabulary.merges = std::move(merges_);
    if (vocabulary.merges.empty()) Refuse(root_, "model.merges is empty");
    vocabulary.pre_tokenizer = pre_tokenizer_.value_or(PreTokenizer::kGpt2);
    vocabulary.whole_words = whole_words_;
    vocabulary.nfc = nfc_;
    vocabulary.named = named_;
    vocabulary.special_matches = std::move(special_matches_);
    return vocabulary;
  }

  Vocabulary SentencePiece(const JsonValue& model) {
    if (!is_metaspace_ && !replaces_space_) {
      Refuse(root_, "neither a byte-level pre_tokenizer nor U+2581 for spaces: this kind is not supported");
    }
    if (nfc_ || whole_words_) Refuse(model, "NFC or ignore_merges with U+2581 for spaces is not supported");
    SentencePieceVocabulary vocabulary;
    if (merges_.empty()) Refuse(model, "merges is empty");
    for (size_t id = 0; id < tokens_.size() && byte_fallback_; ++id) {
      if (types_[id] == TokenType::kNormal && ByteOfPiece(tokens_[id])) types_[id] = TokenType::kByte;
    }
    // Holes between the ids: a piece must have a text.
    for (size_t id = 0; id < tokens_.size(); ++id) {
      if (tokens_[id].empty()) tokens_[id] = "[unused " + std::to_string(id) + "]";
    }
    if (named_.unk) {
      types_[*named_.unk] = TokenType::kUnknown;
      vocabulary.unknown_text = tokens_[*named_.unk];
    }
    vocabulary.pieces = std::move(tokens_);
    vocabulary.types = std::move(types_);
    vocabulary.merges = std::move(merges_);
    vocabulary.space_prefix = prefix_;
    vocabulary.only_one_space = is_metaspace_;
    vocabulary.byte_fallback = byte_fallback_;
    vocabulary.fuse_unknown = fuse_unknown_;
    vocabulary.named = named_;
    vocabulary.special_matches = std::move(special_matches_);
    return vocabulary;
  }

  JsonValue root_;
  std::string fault_;
  uint64_t most_ = 0;  // ids lie below
  std::vector<std::string> tokens_;
  std::vector<TokenType> types_;
  std::vector<Merge> merges_;
  std::vector<SpecialMatch> special_matches_;
  NamedTokens named_;
  bool is_byte_level_ = false, is_metaspace_ = false, replaces_space_ = false;
  bool whole_words_ = false, byte_fallback_ = false, fuse_unknown_ = false, nfc_ = false;
  std::optional<PreTokenizer> pre_tokenizer_;
  SpacePrefix prefix_ = SpacePrefix::kNever;
};

}  // namespace detail

// `name` stands for the file in messages.
inline Result<TokenizerDescription> ParseTokenizerJson(std::string_view file, const std::string& name) {
  const Result<JsonDocument> document = JsonDocument::Parse(file, name);
  if (!document.ok()) return Error{document.error()};
  detail::TokenizerJsonReader reader(document->root());
  TokenizerDescription description;
  description.vocabulary = reader.Read();
  if (!reader.fault().empty()) return Error{reader.fault()};
  return description;
}

// Adds what a tokenizer_config.json says: the named tokens, whether bos and eos are put around a text, the chat
// template. Everything else in it is of no use here.
inline Result<Done> ApplyTokenizerConfig(std::string_view file, const std::string& name,
                                         TokenizerDescription& description) {
  const Result<JsonDocument> document = JsonDocument::Parse(file, name);
  if (!document.ok()) return Error{document.error()};
  const JsonValue root = document->root();
  if (Result<Done> object = root.ExpectObject(); !object.ok()) return object;
  const bool is_bpe = std::holds_alternative<BpeVocabulary>(description.vocabulary);
  auto* bpe = std::get_if<BpeVocabulary>(&description.vocabulary);
  auto* pieces = std::get_if<SentencePieceVocabulary>(&description.vocabulary);
  const std::vector<std::string>& tokens = is_bpe ? bpe->tokens : pieces->pieces;
  NamedTokens& named = is_bpe ? bpe->named : pieces->named;

  const std::pair<const char*, std::optional<Token>*> names[] = {
      {"bos_token", &named.bos}, {"eos_token", &named.eos}, {"eot_token", &named.eot}, {"pad_token", &named.pad}};
  for (const auto& [key, token] : names) {
    std::optional<JsonValue> value = root.Find(key);
    if (value && value->kind() == JsonKind::kObject) value = value->Find("content");
    if (!value || value->IsNull()) continue;
    const auto text = value->AsText();
    if (!text.ok()) return Error{text.error()};
    const auto found = std::find(tokens.begin(), tokens.end(), *text);
    // No text needs these two.
    if (found == tokens.end() && (token == &named.pad || token == &named.eot)) continue;
    if (found == tokens.end()) {
      return value->Refuse(
          "there is no token " + Quoted(*text) +
          (is_bpe ? "" : " among the pieces (tokens that are added beside a tokenizer.model are not read)"));
    }
    *token = static_cast<Token>(found - tokens.begin());
  }
  const std::pair<const char*, bool*> flags[] = {{"add_bos_token", &named.add_bos}, {"add_eos_token", &named.add_eos}};
  for (const auto& [key, flag] : flags) {
    const std::optional<JsonValue> value = root.Find(key);
    if (!value || value->IsNull()) continue;
    const auto read = value->AsFlag();
    if (!read.ok()) return Error{read.error()};
    *flag = *read;
  }
  named.add_bos = named.add_bos && named.bos;
  named.add_eos = named.add_eos && named.eos;
  if (const auto value = root.Find("chat_template"); value && value->kind() == JsonKind::kText) {
    description.chat_template = *value->AsText();
  }
  return Done{};
}

}  // namespace bitnet

#endif  // BITNET_IO_TOKENIZER_JSON_H_
