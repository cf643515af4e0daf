// Tokenizer: from text to tokens and back, by the vocabulary of a checkpoint: byte-level BPE (GPT-2, Llama 3, Qwen) or
// SentencePiece (BPE or unigram). Useful alone.
//
//   auto loaded = LoadTokenizer("model.gguf");        io/load_tokenizer.h; or a reader of one kind of file,
//   io/tokenizer_*.h; const Tokenizer& tokenizer = loaded->tokenizer;   or Tokenizer::Make of plain data
//   (io/tokenizer/vocabulary.h) auto tokens = tokenizer.Encode("Hello"); auto text = tokenizer.Decode(*tokens);
//
// Text is bytes, best UTF-8. Byte-level BPE keeps bytes that are none, so that Decode(Encode(text)) is the text;
// SentencePiece makes them U+FFFD. For tokens that come one by one see io/text_decoder.h; for roles and turns see
// io/chat_template.h.
//
// A Tokenizer is a value that is cheap to copy; all copies share what never changes. Any number of threads may use one.
#ifndef BITNET_IO_TOKENIZER_H_
#define BITNET_IO_TOKENIZER_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bitnet/base/assert.h"
#include "bitnet/base/result.h"
#include "bitnet/io/quoted.h"
#include "bitnet/io/tokenizer/bpe.h"
#include "bitnet/io/tokenizer/byte_trie.h"
#include "bitnet/io/tokenizer/check_vocabulary.h"
#include "bitnet/io/tokenizer/sentencepiece_text.h"
#include "bitnet/io/tokenizer/special_tokens.h"
#include "bitnet/io/tokenizer/token_table.h"
#include "bitnet/io/tokenizer/unigram.h"
#include "bitnet/io/tokenizer/vocabulary.h"
#include "bitnet/io/tokenizer/word_cache.h"
#include "bitnet/io/unicode_nfc.h"

namespace bitnet {

struct EncodeOptions {
  bool add_special = true;     // bos before and eos after the text, where the vocabulary asks for them
  bool parse_control = false;  // control tokens written in the text count; never for what a user typed
};

struct DecodeOptions {
  bool show_control = false;  // the texts of control tokens; otherwise nothing
  bool at_start = true;       // the tokens begin a text: the space that SentencePiece put before its first word goes
};

class Tokenizer {
 public:
  // Checks the vocabulary, and takes it over; the sentence says what is wrong with it.
  static Result<Tokenizer> Make(BpeVocabulary vocabulary);
  static Result<Tokenizer> Make(SentencePieceVocabulary vocabulary);
  static Result<Tokenizer> Make(Vocabulary vocabulary) {
    return std::visit([](auto& kind) { return Make(std::move(kind)); }, vocabulary);
  }

  // The tokens of a text of fewer than 2^31 bytes. An error where it holds what the vocabulary has no token for.
  Result<std::vector<Token>> Encode(std::string_view text, const EncodeOptions& options = {}) const {
    std::vector<Token> tokens;
    const TextPart part = {text, options.parse_control};
    if (Result<Done> done = Encode(std::span(&part, 1), options.add_special, tokens); !done.ok()) {
      return Error{done.error()};
    }
    return tokens;
  }

  // Appends the tokens of a text that is given in parts: it is encoded as one, so that words may go over from part to
  // part, but control tokens count only in parts that may hold them. After an error `tokens` are as they were.
  Result<Done> Encode(std::span<const TextPart> parts, bool add_special, std::vector<Token>& tokens) const;

  // The bytes of the tokens. They are UTF-8 if those of a text's tokens are given; a model may write others, for which
  // see ReplaceInvalidUtf8 (io/unicode.h). An error for a token that the vocabulary does not have.
  Result<std::string> Decode(std::span<const Token> tokens, const DecodeOptions& options = {}) const {
    std::string text;
    bool at_start = options.at_start;
    for (const Token token : tokens) {
      if (token >= size()) return NoSuchToken(token);
      AppendBytes(token, options.show_control, at_start, text);
    }
    return text;
  }

  // ---- The vocabulary ------------------------------------------------------------------------------------------

  size_t size() const { return data_->table.size(); }
  const NamedTokens& named() const { return data_->named; }
  bool is_sentencepiece() const { return data_->is_sentencepiece; }
  // Of byte-level BPE.
  PreTokenizer pre_tokenizer() const { return data_->pre_tokenizer; }

  // The token's own text: its bytes, of SentencePiece the piece (U+2581 for spaces, <0x0A> for a byte). token < size().
  std::string_view Text(Token token) const {
    BITNET_ASSERT(token < size(), "Tokenizer::Text: the vocabulary has no such token");
    return data_->table.Text(token);
  }
  TokenType Type(Token token) const {
    BITNET_ASSERT(token < size(), "Tokenizer::Type: the vocabulary has no such token");
    return data_->types[token];
  }
  // The token of this text (see Text). Of several the first one that is normal, or else the first.
  std::optional<Token> Find(std::string_view text) const {
    const uint32_t id = text.empty() ? detail::TokenTable::kNone : data_->table.Find(text);
    return id == detail::TokenTable::kNone ? std::nullopt : std::optional<Token>(id);
  }
  // The tokens that end a reply: eos, eot, and those that known models end one with (<|eot_id|>, <|im_end|>, ...).
  std::span<const Token> ends() const { return data_->ends; }
  bool IsEnd(Token token) const { return std::find(ends().begin(), ends().end(), token) != ends().end(); }

  // Appends the bytes of one token; `at_start` becomes false when SentencePiece's first space is behind. Most callers
  // want Decode or TextDecoder. token < size().
  void AppendBytes(Token token, bool show_control, bool& at_start, std::string& bytes) const;

  Error NoSuchToken(Token token) const {
    return Error{"token " + std::to_string(token) + " is not in the vocabulary, which has " + std::to_string(size())};
  }

 private:
  struct Data {
    detail::TokenTable table;
    std::vector<TokenType> types;
    NamedTokens named;
    std::vector<Token> ends;
    detail::SpecialTokens specials;
    detail::BpeEncoder bpe;
    // Byte-level BPE.
    PreTokenizer pre_tokenizer = PreTokenizer::kLlama3;
    bool nfc = false;
    // SentencePiece.
    bool is_sentencepiece = false, is_unigram = false, byte_fallback = false, fuse_unknown = false;
    bool strips_first_space = false, strips_all_first_spaces = false, only_one_space = false;
    SpacePrefix space_prefix = SpacePrefix::kNever;
    std::string space, unknown_text;
    detail::SentencePieceText text;
    detail::UnigramEncoder unigram;
    detail::ByteTrie user_defined;
    std::array<Token, 256> byte_tokens{};
    std::vector<char32_t> joins_space;  // characters that a piece has before a space; sorted
  };
  struct Scratch {
    detail::BpeEncoder::Scratch bpe;
    detail::UnigramEncoder::Scratch unigram;
    detail::WordCache cache;
    std::string text;
    std::string fault;
  };

  explicit Tokenizer(std::shared_ptr<const Data> data) : data_(std::move(data)) {}

  static std::shared_ptr<Data> MakeData(const std::vector<std::string>& tokens, std::vector<TokenType> types,
                                        const NamedTokens& named, const std::vector<SpecialMatch>& matches,
                                        bool finds_user_defined);
  void EncodeBpe(std::string_view text, Scratch& scratch, std::vector<Token>& tokens) const;
  void EncodeSentencePiece(std::string_view text, bool add_space, Scratch& scratch, std::vector<Token>& tokens) const;
  template <class OnWord>
  void ForEachPieceWord(std::string_view text, OnWord&& word) const;
  template <class OnUnknown>
  void EncodeWord(std::string_view word, Scratch& scratch, std::vector<Token>& tokens, bool& after_unknown,
                  OnUnknown&& unknown) const;

  std::shared_ptr<const Data> data_;
};

// ---- How it is done ----------------------------------------------------------------------------------------------

inline std::shared_ptr<Tokenizer::Data> Tokenizer::MakeData(const std::vector<std::string>& tokens,
                                                            std::vector<TokenType> types, const NamedTokens& named,
                                                            const std::vector<SpecialMatch>& matches,
                                                            bool finds_user_defined) {
  auto data = std::make_shared<Data>();
  if (types.empty()) types.assign(tokens.size(), TokenType::kNormal);
  data->types = std::move(types);
  data->named = named;
  data->table = detail::TokenTable(tokens, [&](auto add) {
    for (uint32_t id = 0; id < tokens.size(); ++id) {
      if (data->types[id] == TokenType::kNormal) add(id);
    }
    for (uint32_t id = 0; id < tokens.size(); ++id) {
      if (data->types[id] != TokenType::kNormal) add(id);
    }
  });
  std::vector<detail::SpecialTokens::Special> specials;
  for (uint32_t id = 0; id < tokens.size(); ++id) {
    const bool is_control = data->types[id] == TokenType::kControl || data->types[id] == TokenType::kUnknown;
    const bool is_found = is_control || (finds_user_defined && data->types[id] == TokenType::kUserDefined);
    if (is_found && !tokens[id].empty()) specials.push_back({data->table.Text(id), {id, false, false}, is_control});
  }
  std::vector<SpecialMatch> sorted = matches;
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.token < b.token; });
  for (auto& special : specials) {
    const auto found = std::lower_bound(sorted.begin(), sorted.end(), special.match.token,
                                        [](const SpecialMatch& m, Token token) { return m.token < token; });
    if (found != sorted.end() && found->token == special.match.token) special.match = *found;
  }
  data->specials = detail::SpecialTokens(std::move(specials));

  const auto end = [&](std::optional<Token> token) {
    if (token && std::find(data->ends.begin(), data->ends.end(), *token) == data->ends.end()) {
      data->ends.push_back(*token);
    }
  };
  end(named.eos);
  end(named.eot);
  for (const std::string_view text : {"<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>",
                                      "<|end|>", "<end_of_turn>", "</s>"}) {
    const uint32_t id = data->table.Find(text);
    if (id != detail::TokenTable::kNone && data->types[id] == TokenType::kControl) end(id);
  }
  return data;
}

inline Result<Tokenizer> Tokenizer::Make(BpeVocabulary vocabulary) {
  if (const std::string fault = detail::FaultOfVocabulary(vocabulary); !fault.empty()) {
    return Error{"byte-level BPE vocabulary: " + fault};
  }
  auto data =
      MakeData(vocabulary.tokens, std::move(vocabulary.types), vocabulary.named, vocabulary.special_matches, true);
  data->pre_tokenizer = vocabulary.pre_tokenizer;
  data->nfc = vocabulary.nfc;
  data->bpe = detail::BpeEncoder(data->table, data->types, detail::BpeEncoder::Units::kBytes, vocabulary.whole_words);
  if (vocabulary.merges.empty()) {
    data->bpe.AddAllMerges(data->table, data->types, [](uint32_t id) { return id; });
  }
  uint32_t rank = 0;
  for (const Merge& merge : vocabulary.merges) data->bpe.AddMerge(data->types, merge, rank++);
  return Tokenizer(std::move(data));
}

inline Result<Tokenizer> Tokenizer::Make(SentencePieceVocabulary vocabulary) {
  if (const std::string fault = detail::FaultOfVocabulary(vocabulary); !fault.empty()) {
    return Error{"SentencePiece vocabulary: " + fault};
  }
  Result<detail::Charsmap> charsmap = detail::Charsmap::Make(vocabulary.charsmap);
  if (!charsmap.ok()) return Error{"SentencePiece vocabulary: " + charsmap.error()};
  auto data =
      MakeData(vocabulary.pieces, std::move(vocabulary.types), vocabulary.named, vocabulary.special_matches, false);
  data->is_sentencepiece = true;
  data->is_unigram = vocabulary.kind == SentencePieceKind::kUnigram;
  data->byte_fallback = vocabulary.byte_fallback;
  data->fuse_unknown = vocabulary.fuse_unknown;
  data->space_prefix = vocabulary.space_prefix;
  data->only_one_space = vocabulary.only_one_space;
  data->strips_all_first_spaces = vocabulary.remove_extra_whitespaces;
  data->strips_first_space = vocabulary.remove_extra_whitespaces || vocabulary.space_prefix != SpacePrefix::kNever;
  data->space = vocabulary.escape_whitespaces ? detail::kSpaceSymbol : std::string_view(" ");
  data->unknown_text = vocabulary.unknown_text;
  data->text = detail::SentencePieceText(
      *std::move(charsmap),
      {vocabulary.remove_extra_whitespaces, vocabulary.escape_whitespaces, vocabulary.whitespace_is_suffix});

  std::vector<std::pair<std::string_view, uint32_t>> user_defined;
  for (uint32_t id = 0; id < data->table.size(); ++id) {
    const std::string_view text = data->table.Text(id);
    switch (data->types[id]) {
      case TokenType::kUserDefined:
        user_defined.push_back({text, id});
        break;
      case TokenType::kByte:
        data->byte_tokens[*detail::ByteOfPiece(text)] = id;
        break;
      case TokenType::kUnknown:
        if (!data->named.unk) data->named.unk = id;
        break;
      case TokenType::kNormal:
      case TokenType::kUnused:
        for (size_t at = text.find(data->space); at != std::string_view::npos; at = text.find(data->space, at + 1)) {
          size_t before = at;
          while (before > 0 && (static_cast<uint8_t>(text[--before]) & 0xc0) == 0x80) {
          }
          if (at > 0) data->joins_space.push_back(DecodeUtf8(text, before).code);
        }
        break;
      case TokenType::kControl:
        break;
    }
  }
  data->user_defined = detail::ByteTrie(std::move(user_defined));
  auto& joins = data->joins_space;
  std::sort(joins.begin(), joins.end());
  joins.erase(std::unique(joins.begin(), joins.end()), joins.end());

  if (data->is_unigram) {
    data->unigram = detail::UnigramEncoder(data->table, data->types, std::move(vocabulary.scores));
    return Tokenizer(std::move(data));
  }
  data->bpe = detail::BpeEncoder(data->table, data->types, detail::BpeEncoder::Units::kChars, false);
  if (vocabulary.merges.empty()) {
    // Pieces of one score have one rank: then the leftmost goes first.
    std::vector<float> scores = vocabulary.scores;
    std::sort(scores.begin(), scores.end(), [](float a, float b) { return a > b; });
    scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
    data->bpe.AddAllMerges(data->table, data->types, [&](uint32_t id) {
      const auto found =
          std::lower_bound(scores.begin(), scores.end(), vocabulary.scores[id], [](float a, float b) { return a > b; });
      return static_cast<uint32_t>(found - scores.begin());
    });
  }
  uint32_t rank = 0;
  for (const Merge& merge : vocabulary.merges) data->bpe.AddMerge(data->types, merge, rank++);
  return Tokenizer(std::move(data));
}

inline Result<Done> Tokenizer::Encode(std::span<const TextPart> parts, bool add_special,
                                      std::vector<Token>& tokens) const {
  std::string joined;
  std::string_view whole = parts.empty() ? std::string_view() : parts[0].text;
  if (parts.size() > 1) {
    for (const TextPart& part : parts) joined += part.text;
    whole = joined;
  }
  if (whole.size() >= 0x7fffffffu) {
    return Error{"the text has " + std::to_string(whole.size()) + " bytes; fewer than 2^31 - 1 can be encoded at once"};
  }
  const size_t before = tokens.size();
  const NamedTokens& named = data_->named;
  if (add_special && named.add_bos) tokens.push_back(*named.bos);
  Scratch scratch;
  data_->specials.ForEach(
      whole, parts,
      [&](std::string_view text, size_t begin) {
        if (data_->is_sentencepiece) {
          const bool add_space = (data_->space_prefix == SpacePrefix::kAlways ||
                                  (data_->space_prefix == SpacePrefix::kFirst && begin == 0)) &&
                                 !(data_->only_one_space && (text.starts_with(' ') || text.starts_with(data_->space)));
          EncodeSentencePiece(text, add_space, scratch, tokens);
        } else {
          EncodeBpe(text, scratch, tokens);
        }
      },
      [&](Token token) { tokens.push_back(token); });
  if (add_special && named.add_eos) tokens.push_back(*named.eos);
  if (!scratch.fault.empty()) {
    tokens.resize(before);
    return Error{scratch.fault};
  }
  return Done{};
}

inline void Tokenizer::EncodeBpe(std::string_view text, Scratch& scratch, std::vector<Token>& tokens) const {
  const Data& data = *data_;
  if (data.nfc && !IsPlainlyNfc(text)) {
    scratch.text = ComposeNfc(text);
    text = scratch.text;
  }
  bool after_unknown = false;  // of no use here
  const auto unknown = [&](std::string_view byte) {
    if (data.named.unk) {
      tokens.push_back(*data.named.unk);
    } else if (scratch.fault.empty()) {
      scratch.fault = "the vocabulary has no token for the byte " + Quoted(byte) + " of the text";
    }
  };
  scratch.cache.Reserve(text.size());
  ForEachWord(data.pre_tokenizer, text,
              [&](std::string_view word) { EncodeWord(word, scratch, tokens, after_unknown, unknown); });
}

// A word by byte-pair encoding. after_unknown: whether the last token is for an unknown character.
template <class OnUnknown>
void Tokenizer::EncodeWord(std::string_view word, Scratch& scratch, std::vector<Token>& tokens, bool& after_unknown,
                           OnUnknown&& unknown) const {
  const Data& data = *data_;
  const uint64_t hash = detail::HashBytes(word);
  if (const uint32_t id = data.bpe.Whole(data.table, data.types, word, hash, scratch.bpe);
      id != detail::TokenTable::kNone) {
    tokens.push_back(id);
    after_unknown = false;
    return;
  }
  if (const auto place = scratch.cache.Find(word, hash); place.count != 0) {
    for (size_t i = 0; i < place.count; ++i) tokens.push_back(Token{tokens[place.begin + i]});
    after_unknown = false;
    return;
  }
  const size_t begin = tokens.size();
  bool has_unknown = false;
  data.bpe.Encode(
      data.table, data.types, word, scratch.bpe,
      [&](Token id) {
        tokens.push_back(id);
        after_unknown = false;
      },
      [&](std::string_view part) {
        unknown(part);
        has_unknown = true;
      });
  // What an unknown character becomes depends on what is before the word.
  if (!has_unknown) scratch.cache.Keep(word, hash, {begin, tokens.size() - begin});
}

// The parts of a text across which no piece lies: a space begins one if no piece has the character before it and a
// space. In each of them merging does what it does in the whole text.
template <class OnWord>
void Tokenizer::ForEachPieceWord(std::string_view text, OnWord&& word) const {
  const Data& data = *data_;
  if (data.bpe.has_unused()) return word(text);
  size_t begin = 0;
  for (size_t at = text.find(data.space, 1); at != std::string_view::npos; at = text.find(data.space, at + 1)) {
    size_t before = at - 1;
    while (before > begin && (static_cast<uint8_t>(text[before]) & 0xc0) == 0x80) --before;
    if (std::binary_search(data.joins_space.begin(), data.joins_space.end(), DecodeUtf8(text, before).code)) continue;
    word(text.substr(begin, at - begin));
    begin = at;
  }
  word(text.substr(begin));
}

inline void Tokenizer::EncodeSentencePiece(std::string_view text, bool add_space, Scratch& scratch,
                                           std::vector<Token>& tokens) const {
  const Data& data = *data_;
  scratch.text.clear();
  data.text.Append(text, add_space, data.user_defined, scratch.text);
  const std::string_view prepared = scratch.text;
  scratch.cache.Reserve(prepared.size());
  bool after_unknown = false;
  const auto token = [&](Token id) {
    tokens.push_back(id);
    after_unknown = false;
  };
  const auto unknown = [&](std::string_view part) {
    if (data.byte_fallback) {
      for (const char byte : part) tokens.push_back(data.byte_tokens[static_cast<uint8_t>(byte)]);
      return;
    }
    if (!after_unknown || !data.fuse_unknown) tokens.push_back(*data.named.unk);
    after_unknown = true;
  };
  if (data.is_unigram) {
    if (!prepared.empty()) data.unigram.Encode(prepared, scratch.unigram, token, unknown);
    return;
  }
  const auto encode = [&](size_t begin, size_t end) {
    if (begin == end) return;
    ForEachPieceWord(prepared.substr(begin, end - begin),
                     [&](std::string_view word) { EncodeWord(word, scratch, tokens, after_unknown, unknown); });
  };
  size_t begin = 0;
  for (size_t at = 0; at < prepared.size() && !data.user_defined.empty();) {
    const auto [bytes, id] = data.user_defined.Longest(prepared, at);
    if (bytes == 0) {
      at = std::min(prepared.size(), at + detail::BytesByLead(prepared[at]));
      continue;
    }
    encode(begin, at);
    token(id);
    begin = at += bytes;
  }
  encode(begin, prepared.size());
}

inline void Tokenizer::AppendBytes(Token token, bool show_control, bool& at_start, std::string& bytes) const {
  const Data& data = *data_;
  std::string_view text = data.table.Text(token);
  const TokenType type = data.types[token];
  if (type == TokenType::kControl) {
    if (show_control) {
      bytes += text;
      at_start = false;
    }
    return;
  }
  if (!data.is_sentencepiece) {
    bytes += text;
    return;
  }
  const size_t before = bytes.size();
  if (type == TokenType::kByte) {
    bytes.push_back(static_cast<char>(*detail::ByteOfPiece(text)));
  } else if (type == TokenType::kUnknown || data.named.unk == token) {
    bytes += data.unknown_text;
  } else {
    if (at_start && data.strips_first_space && text.starts_with(detail::kSpaceSymbol)) {
      text.remove_prefix(detail::kSpaceSymbol.size());
      at_start = data.strips_all_first_spaces;
    }
    for (size_t at = 0; at < text.size();) {
      if (text.substr(at).starts_with(detail::kSpaceSymbol)) {
        bytes.push_back(' ');
        at += detail::kSpaceSymbol.size();
      } else {
        bytes.push_back(text[at++]);
      }
    }
  }
  if (bytes.size() > before) at_start = false;
}

}  // namespace bitnet

#endif  // BITNET_IO_TOKENIZER_H_
