// FaultOfVocabulary: what is wrong with a vocabulary, in a sentence; empty if nothing is.
#ifndef BITNET_IO_TOKENIZER_CHECK_VOCABULARY_H_
#define BITNET_IO_TOKENIZER_CHECK_VOCABULARY_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitnet/io/quoted.h"
#include "bitnet/io/tokenizer/bpe.h"
#include "bitnet/io/tokenizer/vocabulary.h"

namespace bitnet::detail {

// The byte of a piece <0x00> to <0xFF>; nothing for other texts.
inline std::optional<uint8_t> ByteOfPiece(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return std::nullopt;
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  const size_t high = kDigits.find(piece[3]), low = kDigits.find(piece[4]);
  if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
  return static_cast<uint8_t>(16 * high + low);
}

// What both kinds of vocabularies have. `merged_by_texts`: all pairs of tokens that make a token are looked for.
inline std::string FaultOfTokens(const std::vector<std::string>& tokens, const std::vector<TokenType>& types,
                                 const std::vector<Merge>& merges, bool merged_by_texts, const NamedTokens& named,
                                 const std::vector<SpecialMatch>& special_matches) {
  if (tokens.empty()) return "there are no tokens";
  if (tokens.size() >= 0x7fffffffu) return std::to_string(tokens.size()) + " tokens; fewer than 2^31 - 1 were expected";
  uint64_t bytes = 0;
  for (const std::string& token : tokens) bytes += token.size();
  if (bytes >= 0xffffffffu)
    return "the tokens have " + std::to_string(bytes) + " bytes; fewer than 4 GiB were expected";
  if (!types.empty() && types.size() != tokens.size()) {
    return std::to_string(types.size()) + " types of tokens, and " + std::to_string(tokens.size()) + " tokens";
  }
  for (size_t i = 0; i < types.size(); ++i) {
    if (types[i] < TokenType::kNormal || types[i] > TokenType::kByte) {
      return "token " + std::to_string(i) + " has the type " + std::to_string(static_cast<int>(types[i])) +
             "; 1 to 6 were expected";
    }
  }
  const auto type_of = [&](size_t id) { return types.empty() ? TokenType::kNormal : types[id]; };
  for (size_t i = 0; i < tokens.size() && merged_by_texts; ++i) {
    const bool is_merged = type_of(i) == TokenType::kNormal || type_of(i) == TokenType::kUnused;
    if (is_merged && tokens[i].size() > BpeEncoder::kLongestMerged) {
      return "token " + std::to_string(i) + " has " + std::to_string(tokens[i].size()) + " bytes; at most " +
             std::to_string(BpeEncoder::kLongestMerged) + " were expected";
    }
  }
  for (size_t i = 0; i < merges.size(); ++i) {
    const Merge& m = merges[i];
    const std::string merge = "merge " + std::to_string(i);
    if (m.left >= tokens.size() || m.right >= tokens.size() || m.merged >= tokens.size()) {
      return merge + " names a token beyond the " + std::to_string(tokens.size()) + " that there are";
    }
    const std::string &left = tokens[m.left], &right = tokens[m.right], &merged = tokens[m.merged];
    if (left.empty() || right.empty() || left.size() + right.size() != merged.size() || !merged.starts_with(left) ||
        !merged.ends_with(right)) {
      return merge + " makes " + Quoted(merged) + " of " + Quoted(left) + " and " + Quoted(right) +
             "; the two texts, one after the other, were expected";
    }
  }
  const std::pair<const char*, std::optional<Token>> names[] = {
      {"bos", named.bos}, {"eos", named.eos}, {"eot", named.eot}, {"unk", named.unk}, {"pad", named.pad}};
  for (const auto& [name, token] : names) {
    if (token && *token >= tokens.size()) {
      return std::string(name) + " is token " + std::to_string(*token) + "; there are " + std::to_string(tokens.size());
    }
  }
  if (named.add_bos && !named.bos) return "texts are to begin with bos, and no token is named as bos";
  if (named.add_eos && !named.eos) return "texts are to end with eos, and no token is named as eos";
  for (const SpecialMatch& match : special_matches) {
    const TokenType type = match.token < tokens.size() ? type_of(match.token) : TokenType::kNormal;
    if (type != TokenType::kControl && type != TokenType::kUserDefined && type != TokenType::kUnknown) {
      return "token " + std::to_string(match.token) +
             " strips white space, and is not control, unknown or user-defined";
    }
  }
  return {};
}

inline std::string FaultOfVocabulary(const BpeVocabulary& v) {
  if (static_cast<size_t>(v.pre_tokenizer) >= kPreTokenizers.size()) return "there is no such pre-tokenizer";
  return FaultOfTokens(v.tokens, v.types, v.merges, v.merges.empty(), v.named, v.special_matches);
}

inline std::string FaultOfVocabulary(const SentencePieceVocabulary& v) {
  const bool is_bpe = v.kind == SentencePieceKind::kBpe;
  if (!is_bpe && v.kind != SentencePieceKind::kUnigram) {
    return "the kind of model is " + std::to_string(static_cast<int>(v.kind)) + "; 1 (unigram) or 2 (BPE) was expected";
  }
  std::string fault =
      FaultOfTokens(v.pieces, v.types, v.merges, is_bpe && v.merges.empty(), v.named, v.special_matches);
  if (!fault.empty()) return fault;
  const bool needs_scores = !is_bpe || v.merges.empty();
  if (needs_scores && v.scores.size() != v.pieces.size()) {
    return std::to_string(v.scores.size()) + " scores, and " + std::to_string(v.pieces.size()) + " pieces";
  }
  for (size_t i = 0; i < v.scores.size(); ++i) {
    if (!std::isfinite(v.scores[i])) return "the score of piece " + std::to_string(i) + " is not finite";
  }
  bool has_byte[256] = {};
  bool has_unknown = v.named.unk.has_value();
  for (size_t i = 0; i < v.pieces.size(); ++i) {
    if (v.pieces[i].empty()) return "piece " + std::to_string(i) + " is empty";
    const TokenType type = v.types.empty() ? TokenType::kNormal : v.types[i];
    has_unknown = has_unknown || type == TokenType::kUnknown;
    if (type != TokenType::kByte) continue;
    const std::optional<uint8_t> byte = ByteOfPiece(v.pieces[i]);
    if (!byte)
      return "piece " + std::to_string(i) + ", " + Quoted(v.pieces[i]) +
             ", is of a byte; <0x00> to <0xFF> was expected";
    has_byte[*byte] = true;
  }
  for (size_t byte = 0; byte < 256 && v.byte_fallback; ++byte) {
    if (!has_byte[byte])
      return "unknown characters are to become bytes, and byte " + std::to_string(byte) + " has no piece";
  }
  if (!v.byte_fallback && !has_unknown) return "there is neither an unknown token nor a piece for each byte";
  return {};
}

}  // namespace bitnet::detail

#endif  // BITNET_IO_TOKENIZER_CHECK_VOCABULARY_H_
