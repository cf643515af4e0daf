// SetGgufTokenizer: a tokenizer as the metadata of a GGUF file, the opposite of io/tokenizer_gguf.h: read again, it is
// the same tokenizer.
//
// Refused, with nothing set: what that metadata cannot say, such as tokens that strip white space or merges beside
// scores. One thing is said by approximation, in a note: where a space is put before a text alone, readers of GGUF put
// one behind control tokens too.
#ifndef BITNET_IO_WRITE_TOKENIZER_GGUF_H_
#define BITNET_IO_WRITE_TOKENIZER_GGUF_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/io/gguf_writer.h"
#include "bitnet/io/tokenizer/byte_level.h"
#include "bitnet/io/tokenizer/vocabulary.h"
#include "bitnet/io/tokenizer_gguf.h"

namespace bitnet {

namespace detail {

inline std::vector<int32_t> GgufTokenTypes(const std::vector<TokenType>& types, size_t tokens) {
  std::vector<int32_t> numbers(tokens, static_cast<int32_t>(TokenType::kNormal));
  for (size_t i = 0; i < types.size(); ++i) numbers[i] = static_cast<int32_t>(types[i]);
  return numbers;
}

// All but bos, eos and eot, which the caller sets.
inline void SetGgufNamedTokens(GgufWriter& to, const NamedTokens& named) {
  if (named.unk) to.Set(GgufKey("unknown_token_id"), *named.unk);
  if (named.pad) to.Set(GgufKey("padding_token_id"), *named.pad);
  to.Set(GgufKey("add_bos_token"), named.add_bos);
  to.Set(GgufKey("add_eos_token"), named.add_eos);
}

inline Result<std::vector<std::string>> SetGgufBpe(GgufWriter& to, const BpeVocabulary& v) {
  const std::string_view pre = FactsOf(v.pre_tokenizer).name;
  const bool is_llama3 = v.pre_tokenizer == PreTokenizer::kLlama3;
  const bool is_qwen = v.pre_tokenizer == PreTokenizer::kQwen2 || v.pre_tokenizer == PreTokenizer::kQwen35;
  if (v.merges.empty()) return Error{"the tokenizer has ranks and no merges, which GGUF cannot say"};
  if (v.whole_words != is_llama3 || v.nfc != is_qwen) {
    return Error{"readers of GGUF take it from the pre-tokenizer " + std::string(pre) + " that words that are tokens " +
                 (is_llama3 ? "stay whole" : "are merged") + " and texts " +
                 (is_qwen ? "are normalized" : "are not normalized") + ", and the tokenizer does otherwise"};
  }
  if (!v.special_matches.empty()) return Error{"special tokens that strip white space cannot be said in GGUF"};
  std::vector<std::string> letters(v.tokens.size());
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    const TokenType type = v.types.empty() ? TokenType::kNormal : v.types[i];
    const bool is_text = type == TokenType::kNormal || type == TokenType::kUnused;
    letters[i] = is_text ? LettersOfBytes(v.tokens[i]) : v.tokens[i];
  }
  std::vector<std::string> merges;
  merges.reserve(v.merges.size());
  for (const Merge& merge : v.merges) merges.push_back(letters[merge.left] + " " + letters[merge.right]);
  to.Set(GgufKey("model"), "gpt2");
  to.Set(GgufKey("pre"), pre);
  to.Set(GgufKey("tokens"), letters);
  to.Set(GgufKey("token_type"), GgufTokenTypes(v.types, v.tokens.size()));
  to.Set(GgufKey("merges"), merges);
  SetGgufNamedTokens(to, v.named);
  return std::vector<std::string>();
}

inline Result<std::vector<std::string>> SetGgufSentencePiece(GgufWriter& to, const SentencePieceVocabulary& v) {
  if (!v.merges.empty()) return Error{"pieces that merge by a list cannot be said in GGUF, which has scores"};
  if (v.only_one_space || v.whitespace_is_suffix || !v.special_matches.empty() || !v.fuse_unknown) {
    return Error{"how the tokenizer treats white space and unknown characters cannot be said in GGUF"};
  }
  std::vector<std::string> notes;
  if (v.space_prefix == SpacePrefix::kFirst) {
    notes.push_back(
        "readers of GGUF put a space behind control tokens too, where the tokenizer puts one before the text");
  }
  to.Set(GgufKey("model"), v.kind == SentencePieceKind::kBpe ? "llama" : "t5");
  to.Set(GgufKey("tokens"), v.pieces);
  to.Set(GgufKey("scores"), v.scores);
  to.Set(GgufKey("token_type"), GgufTokenTypes(v.types, v.pieces.size()));
  to.Set(GgufKey("add_space_prefix"), v.space_prefix != SpacePrefix::kNever);
  to.Set(GgufKey("remove_extra_whitespaces"), v.remove_extra_whitespaces);
  to.Set(GgufKey("escape_whitespaces"), v.escape_whitespaces);
  if (!v.charsmap.empty()) {
    to.Set(GgufKey("precompiled_charsmap"), std::vector<uint8_t>(v.charsmap.begin(), v.charsmap.end()));
  }
  SetGgufNamedTokens(to, v.named);
  return notes;
}

}  // namespace detail

// Sets tokenizer.ggml.* but the ids of bos, eos and eot, and the chat template if there is one. Gives notes.
inline Result<std::vector<std::string>> SetGgufTokenizer(GgufWriter& to, const TokenizerDescription& tokenizer) {
  Result<std::vector<std::string>> notes = Error{};
  if (const auto* bpe = std::get_if<BpeVocabulary>(&tokenizer.vocabulary)) notes = detail::SetGgufBpe(to, *bpe);
  if (const auto* pieces = std::get_if<SentencePieceVocabulary>(&tokenizer.vocabulary)) {
    notes = detail::SetGgufSentencePiece(to, *pieces);
  }
  if (notes.ok() && !tokenizer.chat_template.empty()) to.Set("tokenizer.chat_template", tokenizer.chat_template);
  return notes;
}

inline const NamedTokens& NamedTokensOf(const TokenizerDescription& tokenizer) {
  return std::visit([](const auto& vocabulary) -> const NamedTokens& { return vocabulary.named; },
                    tokenizer.vocabulary);
}

}  // namespace bitnet

#endif  // BITNET_IO_WRITE_TOKENIZER_GGUF_H_
