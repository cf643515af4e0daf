// Vocabularies as plain data: what a tokenizer is made of, whichever file it came from (io/tokenizer.h makes one;
// io/tokenizer_*.h read the files).
#ifndef BITNET_IO_TOKENIZER_VOCABULARY_H_
#define BITNET_IO_TOKENIZER_VOCABULARY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "bitnet/io/tokenizer/pre_tokenizer.h"

namespace bitnet {

using Token = uint32_t;  // as in model/transformer_state.h, which this header does not need

// The numbers are those of SentencePiece and of GGUF.
enum class TokenType : uint8_t {
  kNormal = 1,
  kUnknown = 2,      // stands for characters without a token; else as kControl
  kControl = 3,      // <s>, <|eot_id|>: no text makes it unless the caller says that the text may hold it
  kUserDefined = 4,  // <think>: stands for its text wherever that occurs, and is never merged
  kUnused = 5,
  kByte = 6,  // <0x0A>: one byte of a character that has no token
};

// Tokens with a task of their own.
struct NamedTokens {
  std::optional<Token> bos, eos, eot, unk, pad;  // begin, end of text; end of a turn; unknown; padding
  bool add_bos = false, add_eos = false;         // whether the model expects them around a text
};

// How a control or user-defined token is found in a text, beyond its own characters.
struct SpecialMatch {
  Token token = 0;
  bool strips_left = false, strips_right = false;  // takes the white space before or after it
};

// Two tokens that become one. The order of a list of them is their rank: the first goes first.
struct Merge {
  Token left = 0, right = 0, merged = 0;
};

// Byte-level BPE (GPT-2, Llama 3, Qwen, Falcon, the released 2B model).
struct BpeVocabulary {
  std::vector<std::string> tokens;  // the bytes of each, not GPT-2's letters for them; special tokens: their text
  std::vector<TokenType> types;     // of each; empty: all normal
  // Empty: any two tokens merge whose bytes together are a token, the one with the lowest id first (tiktoken's ranks).
  std::vector<Merge> merges;
  PreTokenizer pre_tokenizer = PreTokenizer::kLlama3;
  bool whole_words = false;  // a word that is a token is that token, whatever the merges say (ignore_merges)
  bool nfc = false;          // texts are brought to Unicode's form C first
  NamedTokens named;
  std::vector<SpecialMatch> special_matches;  // of special tokens that strip white space; others need none
};

enum class SentencePieceKind : uint8_t { kUnigram = 1, kBpe = 2 };  // SentencePiece's numbers

// Where a space is put before a text (SentencePiece's dummy prefix).
enum class SpacePrefix : uint8_t {
  kNever,
  kFirst,   // before the text
  kAlways,  // before the text, and after each control token in it: GGUF, transformers' "legacy"
};

// SentencePiece (Llama 2, the community's 700M and 3.3B models).
struct SentencePieceVocabulary {
  std::vector<std::string> pieces;  // with U+2581 for spaces; byte pieces: <0x00> to <0xFF>
  std::vector<float> scores;
  std::vector<TokenType> types;  // empty: all normal
  SentencePieceKind kind = SentencePieceKind::kBpe;
  // BPE by a list of merges, as tokenizer.json has it. Empty: by scores.
  std::vector<Merge> merges;
  std::string charsmap;  // SentencePiece's precompiled_charsmap; empty: characters stay as they are
  SpacePrefix space_prefix = SpacePrefix::kAlways;
  bool only_one_space = false;  // none is put before a text that begins with one (tokenizer.json's Metaspace)
  bool remove_extra_whitespaces = false;
  bool escape_whitespaces = true;
  bool whitespace_is_suffix = false;            // treat_whitespace_as_suffix
  bool byte_fallback = true;                    // an unknown character becomes its bytes' pieces
  bool fuse_unknown = true;                     // unknown characters in a row become one unknown token
  std::string unknown_text = " \xe2\x81\x87 ";  // what the unknown token decodes to
  NamedTokens named;
  std::vector<SpecialMatch> special_matches;
};

using Vocabulary = std::variant<BpeVocabulary, SentencePieceVocabulary>;

// What a file says of its tokenizer.
struct TokenizerDescription {
  Vocabulary vocabulary;
  std::string chat_template;       // Jinja, as the file has it; empty if it has none (see io/chat_template.h)
  std::vector<std::string> notes;  // what was assumed, a sentence each
};

}  // namespace bitnet

#endif  // BITNET_IO_TOKENIZER_VOCABULARY_H_
